/* test_fault_rules.c: --fault NAME[.OPERATION]=SHARE[:TIME]: reading, writing, drawing. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "server/fault_rules.h"

#define MS UINT64_C(1000000)

static struct fault_rules rules;

static const char *take(const char *name, const char *value) { return fault_rules_take(&rules, name, strlen(name), value); }

static void expect_rule(int line, enum fault_kind kind, enum operation_number operation, double share, uint64_t low_ns, uint64_t high_ns)
{
	const struct fault_rule *rule = fault_rules_of(&rules, kind, operation);
	cr_assert_not_null(rule, "line %d", line);
	cr_expect(fabs(rule->share - share) < 1e-12, "line %d: %g", line, rule->share);
	cr_expect(rule->low_ns == low_ns && rule->high_ns == high_ns, "line %d: %lu %lu", line, rule->low_ns, rule->high_ns);
}
#define RULE(...) expect_rule(__LINE__, __VA_ARGS__)

Test(fault_rules, shares_and_times)
{
	cr_expect_not(fault_rules_any(&rules));
	cr_assert_null(take("throttle", "0.1"));
	cr_expect(fault_rules_any(&rules));
	RULE(FAULT_THROTTLE, OP_GET_RECORDS, 0.1, 0, 0);
	cr_assert_null(take("error", "1"));
	RULE(FAULT_ERROR, OP_LIST_STREAMS, 1, 0, 0);
	cr_assert_null(take("delay", "0.25:250ms"));
	RULE(FAULT_DELAY, OP_PUT_RECORD, 0.25, 250 * MS, 250 * MS);
	cr_assert_null(take("delay", "0.5:50ms-1.5s"));
	RULE(FAULT_DELAY, OP_PUT_RECORD, 0.5, 50 * MS, 1500 * MS);
	cr_assert_null(take("delay", "20ms"));
	RULE(FAULT_DELAY, OP_PUT_RECORD, 1, 20 * MS, 20 * MS);
	cr_assert_null(take("end", "10s"));
	RULE(FAULT_END, OP_SUBSCRIBE_TO_SHARD, 1, 10000 * MS, 10000 * MS);
	cr_assert_null(take("end", "0.5:0.5ms-2s"));
	RULE(FAULT_END, OP_SUBSCRIBE_TO_SHARD, 0.5, MS / 2, 2000 * MS);
	cr_assert_null(take("reset", "0.05"));
	RULE(FAULT_RESET, OP_SUBSCRIBE_TO_SHARD, 0.05, 0, 0);
	cr_assert_null(take("reset", "0"));
	RULE(FAULT_RESET, OP_SUBSCRIBE_TO_SHARD, 0, 0, 0);
}

Test(fault_rules, where_they_can_be_met)
{
	cr_assert_null(take("lost-answer", "0.2"));
	RULE(FAULT_LOST_ANSWER, OP_PUT_RECORDS, 0.2, 0, 0);
	cr_expect_null(fault_rules_of(&rules, FAULT_LOST_ANSWER, OP_GET_RECORDS), "puts, unless it is named");
	cr_assert_null(take("lost-answer.CreateStream", "0.3"));
	RULE(FAULT_LOST_ANSWER, OP_CREATE_STREAM, 0.3, 0, 0);
	cr_assert_null(take("end", "1s"));
	cr_expect_null(fault_rules_of(&rules, FAULT_END, OP_PUT_RECORD));
	cr_expect_null(fault_rules_of(&rules, FAULT_THROTTLE, OP_PUT_RECORD), "nobody asked");
}

/* Whichever was said first. */
Test(fault_rules, one_that_names_an_operation_wins)
{
	cr_assert_null(take("throttle.PutRecord", "0.9"));
	cr_assert_null(take("throttle", "0.1"));
	RULE(FAULT_THROTTLE, OP_PUT_RECORD, 0.9, 0, 0);
	RULE(FAULT_THROTTLE, OP_PUT_RECORDS, 0.1, 0, 0);
	cr_assert_null(take("throttle.PutRecord", "0"));
	RULE(FAULT_THROTTLE, OP_PUT_RECORD, 0, 0, 0);
}

Test(fault_rules, what_cannot_be_understood_changes_nothing)
{
	static const char *const wrong[][2] = {
		{"throttled", "0.1"},
		{"", "0.1"},
		{"throttle.Put", "0.1"},
		{"throttle.", "0.1"},
		{"throttle.MergeAll", "1"},
		{"end.PutRecord", "1s"},
		{"lost-answer.SubscribeToShard", "1"},
		{"throttle", ""},
		{"throttle", "1.1"},
		{"throttle", "-0.1"},
		{"throttle", " 0.1"},
		{"throttle", "0.1 "},
		{"throttle", "1e-1"},
		{"throttle", ".5"},
		{"throttle", "5."},
		{"throttle", "nan"},
		{"throttle", "0x1"},
		{"throttle", "0.1:10ms"},
		{"error", "10ms"},
		{"delay", "0.1"},
		{"delay", "0.1:"},
		{"delay", "0.1:10"},
		{"delay", "0.1:10m"},
		{"delay", "0.1:10msx"},
		{"delay", "0.1:20ms-10ms"},
		{"delay", "0.1:10ms-"},
		{"delay", "0.1:0ms"},
		{"delay", "0.1:3601s"},
		{"delay", "2:10ms"},
		{"delay", "0.1:1s-2s-3s"},
		{"end", "0.5"},
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		cr_expect_not_null(take(wrong[i][0], wrong[i][1]), "%s=%s", wrong[i][0], wrong[i][1]);
	cr_expect_not(fault_rules_any(&rules));
}

static void add(void *arg, const char *name, const char *value) { sprintf((char *)arg + strlen(arg), "%s=%s ", name, value); }

Test(fault_rules, what_is_written_can_be_read)
{
	char before[512] = "", after[512] = "";
	take("throttle", "0.1");
	take("throttle.PutRecord", "0.25");
	take("delay", "0.5:50ms-1.5s");
	take("reset", "1:2s");
	take("end", "10s");
	fault_rules_each(&rules, add, before);
	cr_expect_str_eq(before, "throttle=0.1 throttle.PutRecord=0.25 reset=1:2000ms delay=0.5:50ms-1500ms end=1:10000ms ");
	rules = (struct fault_rules){0};
	for (char *word = strtok(strcpy(after, before), " "); word; word = strtok(NULL, " ")) {
		char *equals = strchr(word, '=');
		cr_expect_null(fault_rules_take(&rules, word, (size_t)(equals - word), equals + 1), "%s", word);
	}
	after[0] = '\0';
	fault_rules_each(&rules, add, after);
	cr_expect_str_eq(after, before);
}

/* ---- Drawing ---- */

#define CALLS 20000

static unsigned met(enum fault_kind kind, enum operation_number operation, uint8_t *which)
{
	unsigned n = 0;
	uint64_t ns;
	for (uint64_t i = 0; i < CALLS; i++) {
		which[i] = fault_rules_meet(&rules, kind, operation, i, &ns);
		n += which[i];
	}
	return n;
}

Test(fault_rules, the_share_is_met)
{
	static uint8_t which[CALLS];
	static const double shares[] = {0.01, 0.1, 0.5, 0.9};
	for (size_t i = 0; i < 4; i++) {
		char text[16];
		snprintf(text, sizeof(text), "%g", shares[i]);
		take("throttle", text);
		double n = met(FAULT_THROTTLE, OP_PUT_RECORD, which), want = shares[i] * CALLS;
		cr_expect(fabs(n - want) < 5 * sqrt(want * (1 - shares[i])), "%g: %g", shares[i], n);
	}
	take("throttle", "0");
	cr_expect_eq(met(FAULT_THROTTLE, OP_PUT_RECORD, which), 0);
	take("throttle", "1");
	cr_expect_eq(met(FAULT_THROTTLE, OP_PUT_RECORD, which), CALLS);
}

/* By the same seed the same calls; operations, kinds and seeds draw apart. */
Test(fault_rules, what_repeats_and_what_does_not)
{
	static uint8_t first[CALLS], second[CALLS];
	take("throttle", "0.5");
	take("error", "0.5");
	met(FAULT_THROTTLE, OP_PUT_RECORD, first);
	met(FAULT_THROTTLE, OP_PUT_RECORD, second);
	cr_expect(memcmp(first, second, CALLS) == 0);
	for (int i = 0; i < 3; i++) {
		unsigned same = 0;
		rules.seed = i == 0;
		met(i == 1 ? FAULT_ERROR : FAULT_THROTTLE, i == 2 ? OP_PUT_RECORDS : OP_PUT_RECORD, second);
		for (unsigned k = 0; k < CALLS; k++)
			same += first[k] == second[k];
		cr_expect(same > CALLS * 48 / 100 && same < CALLS * 52 / 100, "%d: %u", i, same);
	}
}

static double mean_ms(enum fault_kind kind, uint64_t *least, uint64_t *most)
{
	double sum = 0;
	*least = UINT64_MAX;
	*most = 0;
	for (uint64_t i = 0; i < CALLS; i++) {
		uint64_t ns;
		cr_assert(fault_rules_meet(&rules, kind, OP_SUBSCRIBE_TO_SHARD, i, &ns));
		sum += (double)ns / 1e6;
		*least = ns < *least ? ns : *least;
		*most = ns > *most ? ns : *most;
	}
	return sum / CALLS;
}

Test(fault_rules, times)
{
	uint64_t least, most;
	take("delay", "1:250ms");
	cr_expect(fabs(mean_ms(FAULT_DELAY, &least, &most) - 250) < 0.01 && least == most, "one time is that time");
	take("delay", "1:50ms-250ms");
	cr_expect(fabs(mean_ms(FAULT_DELAY, &least, &most) - 150) < 3);
	cr_expect(least >= 50 * MS && most <= 250 * MS + 1);
	take("end", "10s");
	cr_expect(fabs(mean_ms(FAULT_END, &least, &most) - 10000) < 200, "it is the mean of a random moment");
	cr_expect(least < 100 * MS && most > 19000 * MS);
	take("reset", "1");
	cr_expect(fabs(mean_ms(FAULT_RESET, &least, &most) - 1000) < 20, "a second, if none is said");
}
