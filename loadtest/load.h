/* load.h: the engine of penstock-load, in one thread and one event loop.
 *
 * A load is one stream at one endpoint, with its registered consumers: made before anything is measured, removed after it, whatever happened.
 * A run is one regime on that stream: producers that put on a fixed schedule (open loop, so that a slow server cannot hide behind its own
 * slowness), pushed consumers and pollers that receive, and the proof that each got each record exactly once and in order.
 *
 * Every record carries the run that put it, its number, and the monotonic time at which it was to be sent; whoever receives it on this machine
 * takes the difference. */
#ifndef PENSTOCK_LOADTEST_LOAD_H
#define PENSTOCK_LOADTEST_LOAD_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "loadtest/connection.h"
#include "loadtest/endpoint.h"
#include "loadtest/options.h"
#include "loadtest/outcome.h"
#include "penstock/list.h"
#include "penstock/value.h"

#define SHARD_ID_MAX 128
#define ARN_MAX 400
#define SEQUENCE_MAX 129 /* the API's own bound on a sequence number's digits */

struct shard {
	char id[SHARD_ID_MAX + 1];
	char parents[2][SHARD_ID_MAX + 1]; /* empty: none */
};

/* Work that may wait until every socket that had bytes was read. */
struct deferred {
	struct list link;
	void (*run)(struct deferred *deferred);
};

struct load {
	const struct options *options;
	struct event_base *base;
	struct endpoint endpoint;
	struct connection *control;
	struct event *deferred_event; /* of lower priority than sockets and timers */
	struct list deferred;
	char stream[SHARD_ID_MAX + 1], arn[ARN_MAX];
	bool stream_ours;        /* CreateStream was sent: it is to be removed */
	struct shard shards[LOAD_SHARDS_MAX]; /* those after n_shards_first came by a split or a merge */
	unsigned n_shards, n_shards_first;
	char (*consumer_arns)[ARN_MAX]; /* registered for this load; they serve one run after another */
	unsigned n_consumers;
	bool no_push;
	char why_no_push[160];
	struct event *signals[2];
	bool interrupted, removing; /* Ctrl-C was seen; waits are cut short by it, but not while what was made is removed */
	uint64_t chance;         /* state of load_chance */
	uint32_t tag;            /* at random, whatever the seed: of names */
	uint32_t epoch;          /* of the last run; begins at a random one, so that a foreign record is known as such */
};

/* ---- clock.c: time, waiting, chance --------------------------------------------------------------------------------- */

uint64_t now_ns(void);
struct timeval timeval_until(uint64_t at_ns); /* from now; 0 when it has passed */
/* Runs the loop until *done, `seconds` have passed, or Ctrl-C; returns *done. */
bool load_wait(struct load *load, const bool *done, double seconds);
void load_sleep(struct load *load, double seconds);
void load_defer(struct load *load, struct deferred *deferred); /* a second time before it ran changes nothing */
uint64_t load_chance(struct load *load);   /* 64 bits, by --seed */
/* How long to wait before try number `tries` (1 for the first retry): exponential with full jitter, as SDKs do. */
uint64_t backoff_ns(struct load *load, unsigned tries, uint64_t base_ns, uint64_t most_ns);
void load_watch_signals(struct load *load);

/* ---- answer.c: what an answer means to a client --------------------------------------------------------------------- */

enum verdict {
	VERDICT_GOOD,
	VERDICT_THROTTLED,    /* ProvisionedThroughputExceeded, LimitExceeded: nothing was done, ask later */
	VERDICT_IN_USE,       /* ResourceInUse: not now, or it is there already */
	VERDICT_EXPIRED,      /* the iterator */
	VERDICT_MISSING,      /* ResourceNotFound */
	VERDICT_NO_OPERATION, /* the endpoint does not know it */
	VERDICT_UNSURE,       /* no answer, or a 5xx: it may or may not have been done; ask again */
	VERDICT_REFUSED       /* anything else: asking again would not help */
};
enum verdict answer_verdict(const struct call *call, bool complete);
/* The answer as a tree (in the arena, strings lent from the call), whichever of the two encodings it has; NULL: neither. */
struct value *answer_tree(const struct call *call, struct arena *arena);
struct str text_member(const struct value *map, const char *key); /* "" when it is absent or no string */
/* "400 SomeException: message", for people; cut to fit. */
void answer_describe(const struct call *call, bool complete, char *out, size_t n);

/* ---- setup.c: the stream and the consumers -------------------------------------------------------------------------- */

/* A control call, waited for, asked again while throttled or unsure. In the arena: the answer's tree (NULL: none) and, if `why` is given, a
 * sentence about anything but VERDICT_GOOD. */
enum verdict load_ask(struct load *load, const char *operation, const struct buf *body, struct arena *arena, struct value **answer,
		      const char **why);
bool stream_make(struct load *load);
void stream_remove(struct load *load);     /* and the consumers; says so if it cannot */
/* So many registered and ACTIVE; false: stop. An endpoint that has no such operation sets no_push, and that is true. */
bool consumers_register(struct load *load, unsigned n);
void consumer_names(struct load *load, unsigned i, char out[64]);
unsigned shard_find(struct load *load, struct str id); /* its index; LOAD_SHARDS_MAX: unknown */
/* Learns the members of ChildShards; out[] gets their indexes. */
unsigned shards_learn_children(struct load *load, const struct value *children, unsigned out[2]);

/* ---- run.c: one regime ---------------------------------------------------------------------------------------------- */

struct plan {
	char name[48];
	unsigned consumers, pollers;
};
/* Fills *regime. False: it could not be carried out (said on stderr), or was interrupted. */
bool run_regime(struct load *load, const struct plan *plan, struct regime *regime);

/* ---- compare.c, hops.c ---------------------------------------------------------------------------------------------- */

bool compare(struct load *load, struct outcome *outcome);
void hops_ask(struct load *load, struct regime *regime); /* nothing, when the server has no such page */
void hops_parse(struct str page, struct regime *regime);

#endif
