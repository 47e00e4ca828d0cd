/* fault_rules.c: reading, writing and drawing of fault rules.
 *
 * Thread: any; pure.
 *
 * Whether a call meets a fault is decided by a hash of seed, kind, operation and how many calls of that operation came before: so one
 * client that makes the same calls meets the same faults in each run, and no operation's traffic shifts those of another.
 *
 * Failure modes: what cannot be understood leaves the rules as they were, and is named. */
#include "server/fault_rules.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/shape.h"

#define NS_PER_MS UINT64_C(1000000)
#define TIME_MOST_MS 3600000.0
#define RESET_MEAN_NS (1000 * NS_PER_MS) /* when only a share was said */

static const struct kind {
	const char *name;
	enum { TIME_NONE, TIME_MAY, TIME_MUST } time;
} kinds[FAULT_KINDS] = {
	[FAULT_THROTTLE] = {"throttle", TIME_NONE}, [FAULT_ERROR] = {"error", TIME_NONE}, [FAULT_LOST_ANSWER] = {"lost-answer", TIME_NONE},
	[FAULT_RESET] = {"reset", TIME_MAY},        [FAULT_DELAY] = {"delay", TIME_MUST}, [FAULT_END] = {"end", TIME_MUST},
};

/* ---- Where a kind can be met ---- */

static bool possible(enum fault_kind kind, enum operation_number operation)
{
	bool subscribe = operation == OP_SUBSCRIBE_TO_SHARD;
	if (kind == FAULT_END)
		return subscribe;
	return kind != FAULT_LOST_ANSWER || !subscribe; /* its answer is its stream */
}

static bool usual(enum fault_kind kind, enum operation_number operation)
{
	if (kind == FAULT_LOST_ANSWER)
		return operation == OP_PUT_RECORD || operation == OP_PUT_RECORDS;
	return possible(kind, operation);
}

/* ---- Reading ---- */

/* Digits, and perhaps a point and more digits: strtod would take blanks, signs, exponents and infinities. */
static bool number(const char **at, double *out)
{
	size_t n = strspn(*at, "0123456789"), m = 0;
	if (n == 0 || n > 9)
		return false;
	if ((*at)[n] == '.') {
		m = strspn(*at + n + 1, "0123456789");
		if (m == 0 || m > 9)
			return false;
		m++;
	}
	*out = strtod(*at, NULL);
	*at += n + m;
	return true;
}

static bool time_of(const char **at, uint64_t *ns)
{
	double value;
	if (!number(at, &value))
		return false;
	if ((*at)[0] == 'm' && (*at)[1] == 's')
		*at += 2;
	else if ((*at)[0] == 's')
		*at += 1, value *= 1000;
	else
		return false;
	*ns = (uint64_t)(value * (double)NS_PER_MS);
	return value <= TIME_MOST_MS && *ns > 0;
}

static bool times(const char *at, struct fault_rule *rule)
{
	if (!time_of(&at, &rule->low_ns))
		return false;
	rule->high_ns = rule->low_ns;
	if (*at == '-') {
		at++;
		if (!time_of(&at, &rule->high_ns) || rule->high_ns < rule->low_ns)
			return false;
	}
	return *at == '\0';
}

static const char *value_of(const struct kind *kind, const char *value, struct fault_rule *rule)
{
	const char *behind = value, *time = value; /* a time alone */
	double share;
	*rule = (struct fault_rule){.set = true, .share = 1};
	if (!number(&behind, &share))
		return "wants a share from 0 to 1, such as 0.1";
	if (*behind == '\0' || *behind == ':') {
		if (share > 1)
			return "wants a share from 0 to 1, such as 0.1";
		rule->share = share;
		time = *behind == ':' ? behind + 1 : NULL;
	}
	if (!time)
		return kind->time == TIME_MUST ? "wants a time too, such as 0.1:250ms or 0.1:50ms-250ms" : NULL;
	if (kind->time == TIME_NONE)
		return "wants a share from 0 to 1, such as 0.1, and no time";
	return times(time, rule) ? NULL : "wants a time of at most an hour, such as 250ms, 1.5s or 50ms-250ms";
}

static bool kind_of(const char *name, size_t n, enum fault_kind *out)
{
	for (int i = 0; i < FAULT_KINDS; i++) {
		*out = (enum fault_kind)i;
		if (strlen(kinds[i].name) == n && memcmp(kinds[i].name, name, n) == 0)
			return true;
	}
	return false;
}

const char *fault_rules_take(struct fault_rules *rules, const char *name, size_t name_len, const char *value)
{
	const char *dot = memchr(name, '.', name_len);
	size_t n = dot ? (size_t)(dot - name) : name_len;
	enum fault_kind kind;
	int place = OP_COUNT;
	struct fault_rule rule;
	if (!kind_of(name, n, &kind))
		return "is no fault; there are throttle, error, lost-answer, reset, delay and end";
	if (dot) {
		const struct operation *operation = operation_find((struct str){dot + 1, name_len - n - 1});
		if (!operation || operation->number >= OP_COUNT)
			return "names an operation that is not there";
		place = operation->number;
		if (!possible(kind, (enum operation_number)place))
			return kind == FAULT_END ? "is for SubscribeToShard alone"
						 : "is not for SubscribeToShard: its answer is its stream";
	}
	const char *wrong = value_of(&kinds[kind], value, &rule);
	if (!wrong)
		rules->rules[kind][place] = rule;
	return wrong;
}

/* ---- What holds ---- */

const struct fault_rule *fault_rules_of(const struct fault_rules *rules, enum fault_kind kind, enum operation_number operation)
{
	const struct fault_rule *own = &rules->rules[kind][operation], *general = &rules->rules[kind][OP_COUNT];
	if (own->set)
		return own;
	return general->set && usual(kind, operation) ? general : NULL;
}

bool fault_rules_any(const struct fault_rules *rules)
{
	for (int kind = 0; kind < FAULT_KINDS; kind++)
		for (int place = 0; place <= OP_COUNT; place++)
			if (rules->rules[kind][place].set)
				return true;
	return false;
}

static const char *operation_name(int number_of)
{
	const struct operation *operation;
	for (size_t i = 0; (operation = operation_at(i)); i++)
		if (operation->number == number_of)
			return operation->name;
	return "";
}

static void print(char out[64], const struct fault_rule *rule)
{
	int n = snprintf(out, 64, "%.9f", rule->share); /* not %g: 1e-05 cannot be read again */
	while (out[n - 1] == '0')
		n--;
	n -= out[n - 1] == '.';
	out[n] = '\0';
	if (rule->low_ns)
		n += snprintf(out + n, 64 - (size_t)n, ":%.9gms", (double)rule->low_ns / (double)NS_PER_MS);
	if (rule->high_ns != rule->low_ns)
		snprintf(out + n, 64 - (size_t)n, "-%.9gms", (double)rule->high_ns / (double)NS_PER_MS);
}

void fault_rules_each(const struct fault_rules *rules, void (*fn)(void *arg, const char *name, const char *value), void *arg)
{
	for (int kind = 0; kind < FAULT_KINDS; kind++)
		for (int i = 0; i <= OP_COUNT; i++) {
			int place = i == 0 ? OP_COUNT : i - 1; /* the general one first */
			const struct fault_rule *rule = &rules->rules[kind][place];
			char name[64], value[64];
			if (!rule->set)
				continue;
			bool general = place == OP_COUNT;
			snprintf(name, sizeof(name), "%s%s%s", kinds[kind].name, general ? "" : ".", general ? "" : operation_name(place));
			print(value, rule);
			fn(arg, name, value);
		}
}

/* ---- Drawing ---- */

/* splitmix64's finisher: each bit of the input changes half of the output's. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

double fault_rules_draw(const struct fault_rules *rules, enum fault_kind kind, enum operation_number operation, uint64_t nth,
			unsigned which)
{
	uint64_t what = (uint64_t)kind << 32 | (uint64_t)operation << 16 | which;
	uint64_t hash = mix(mix(mix(rules->seed) ^ what) ^ nth);
	return (double)(hash >> 11) * 0x1p-53;
}

bool fault_rules_meet(const struct fault_rules *rules, enum fault_kind kind, enum operation_number operation, uint64_t nth,
		      uint64_t *time_ns)
{
	const struct fault_rule *rule = fault_rules_of(rules, kind, operation);
	*time_ns = 0;
	if (!rule || fault_rules_draw(rules, kind, operation, nth, 0) >= rule->share)
		return false;
	double low = (double)rule->low_ns, high = (double)rule->high_ns;
	if (kind == FAULT_RESET && rule->high_ns == 0)
		low = high = RESET_MEAN_NS;
	if (kind != FAULT_DELAY && rule->low_ns == rule->high_ns) { /* at a random moment, this being the mean */
		high = 2 * low;
		low = 0;
	}
	*time_ns = 1 + (uint64_t)(low + (high - low) * fault_rules_draw(rules, kind, operation, nth, 1));
	return true;
}
