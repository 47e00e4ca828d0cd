/* fault_rules.h: which faults are to be met, how often: the form that --fault and PUT /faults share. Plain values; any thread.
 *
 *   NAME[.OPERATION]=SHARE[:TIME]      0.1 of these calls; SHARE 0 to 1
 *   NAME[.OPERATION]=TIME              all of them
 *   TIME: 250ms, 1.5s, or a range 50ms-250ms
 *
 *   throttle     refused as over a rate: ProvisionedThroughputExceeded for puts and reads, LimitExceeded for the rest; nothing was done
 *   error        answered 500 InternalFailure; nothing was done
 *   lost-answer  done, and answered 500 InternalFailure all the same: puts, unless an operation is named
 *   reset        RST_STREAM, or over HTTP/1.1 the end of the connection, instead of an answer; nothing was done. A subscription: at a
 *                random moment while it lives, TIME being the mean
 *   delay        answered so much later; what a call does is done at once, but a subscription also begins later
 *   end          a subscription: its stream ends, as after five minutes, at a random moment, TIME being the mean
 *
 * A rule that names an operation wins over one that names none. */
#ifndef PENSTOCK_FAULT_RULES_H
#define PENSTOCK_FAULT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/api.h"

enum fault_kind { FAULT_THROTTLE, FAULT_ERROR, FAULT_LOST_ANSWER, FAULT_RESET, FAULT_DELAY, FAULT_END, FAULT_KINDS };

struct fault_rule {
	bool set;
	double share;
	uint64_t low_ns, high_ns; /* equal: one time was said; 0: none was */
};

struct fault_rules {
	uint64_t seed;
	struct fault_rule rules[FAULT_KINDS][OP_COUNT + 1]; /* the last one of each: without an operation */
};

/* Takes NAME[.OPERATION] and what follows the equals sign. NULL; or what was wrong, in words. */
const char *fault_rules_take(struct fault_rules *rules, const char *name, size_t name_len, const char *value);

/* What holds for that operation; NULL: nothing does. */
const struct fault_rule *fault_rules_of(const struct fault_rules *rules, enum fault_kind kind, enum operation_number operation);
bool fault_rules_any(const struct fault_rules *rules);

/* Calls fn for each rule that was said, with its name and its value as fault_rules_take takes them. */
void fault_rules_each(const struct fault_rules *rules, void (*fn)(void *arg, const char *name, const char *value), void *arg);

/* In [0, 1): the same for the same arguments. nth: the running number of the call among those of its operation; which: several draws of
 * one call. */
double fault_rules_draw(const struct fault_rules *rules, enum fault_kind kind, enum operation_number operation, uint64_t nth,
			unsigned which);
/* Is the nth call of that operation to meet it? Then *time_ns is the time drawn for it (0: none was said). */
bool fault_rules_meet(const struct fault_rules *rules, enum fault_kind kind, enum operation_number operation, uint64_t nth,
		      uint64_t *time_ns);

#endif
