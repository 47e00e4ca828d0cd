/* test_profile.c: the delays of --profile aws: their mean, their order, and what makes them repeat. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "penstock/profile.h"

#define START_MS INT64_C(1600000000000)
#define SPAN_MS 600000 /* 6,000 draws: the mean of a run strays by half a percent */

static const struct shard_key shard = {.stream = 7, .shard = 3, .created_s = START_MS / 1000};
static struct profile aws;

static void setup(void) { cr_assert(profile_find("aws", 1, &aws) && aws.name); }

TestSuite(profile, .init = setup);

/* When what arrived then is seen, asked as the server asks: from the moment of arrival. */
static int64_t seen_at(const struct profile *profile, enum profile_path path, const struct shard_key *key, int64_t arrival_ms)
{
	return arrival_ms + profile_wait_ms(profile, path, key, arrival_ms, arrival_ms);
}

static double mean_of(enum profile_path path)
{
	double sum = 0;
	for (int64_t ms = 0; ms < SPAN_MS; ms++)
		sum += (double)(seen_at(&aws, path, &shard, START_MS + ms) - START_MS - ms);
	return sum / SPAN_MS;
}

Test(profile, names)
{
	struct profile profile;
	cr_expect(profile_find("none", 1, &profile) && !profile.name);
	cr_expect_not(profile_find("AWS", 1, &profile));
	cr_expect_not(profile_find("", 1, &profile));
}

Test(profile, pushed_after_70_ms_in_the_mean)
{
	double mean = mean_of(PROFILE_PUSH);
	cr_expect(fabs(mean - 70) < 3, "%g", mean);
}

Test(profile, visible_after_100_ms_in_the_mean)
{
	double mean = mean_of(PROFILE_GET);
	cr_expect(fabs(mean - 100) < 4, "%g", mean);
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return x < y ? -1 : x > y;
}

Test(profile, they_scatter)
{
	static int64_t waits[SPAN_MS];
	for (int64_t ms = 0; ms < SPAN_MS; ms++)
		waits[ms] = seen_at(&aws, PROFILE_PUSH, &shard, START_MS + ms) - START_MS - ms;
	qsort(waits, SPAN_MS, sizeof(waits[0]), by_size);
	cr_expect(waits[0] > 0);
	cr_expect(waits[SPAN_MS / 100] < 35, "p1 %ld", (long)waits[SPAN_MS / 100]);
	cr_expect(waits[SPAN_MS / 2] > 55 && waits[SPAN_MS / 2] < 70, "p50 %ld", (long)waits[SPAN_MS / 2]);
	cr_expect(waits[SPAN_MS * 99l / 100] > 120 && waits[SPAN_MS * 99l / 100] < 220, "p99 %ld", (long)waits[SPAN_MS * 99l / 100]);
	cr_expect(waits[SPAN_MS - 1] <= profile_longest_ms(&aws, PROFILE_PUSH));
}

/* What AWS publishes, as a consumer would measure it. */
static double polled_mean(int64_t every_ms, int64_t phase_ms)
{
	double sum = 0;
	for (int64_t ms = 0; ms < SPAN_MS; ms++) {
		int64_t seen = seen_at(&aws, PROFILE_GET, &shard, START_MS + ms) - START_MS - phase_ms;
		int64_t poll = (seen + every_ms - 1) / every_ms * every_ms + phase_ms;
		sum += (double)(poll - ms);
	}
	return sum / SPAN_MS;
}

Test(profile, one_poller_at_5_calls_a_second_sees_200_ms)
{
	double mean = polled_mean(200, 0);
	cr_expect(fabs(mean - 200) < 10, "%g", mean);
}

Test(profile, five_pollers_see_half_their_interval_and_100_ms)
{
	for (int64_t phase = 0; phase < 1000; phase += 200) {
		double mean = polled_mean(1000, phase);
		cr_expect(fabs(mean - 600) < 30, "phase %ld: %g", (long)phase, mean);
	}
}

Test(profile, what_comes_later_is_never_seen_before)
{
	for (int path = 0; path < PROFILE_PATHS; path++) {
		int64_t before = 0;
		for (int64_t ms = 0; ms < SPAN_MS; ms++) {
			int64_t seen = seen_at(&aws, (enum profile_path)path, &shard, START_MS + ms);
			cr_assert(seen >= before, "at %ld", (long)ms);
			before = seen;
		}
	}
}

/* A worker asks when it is told, a reader in the midst of it, another after a restart. */
Test(profile, whoever_asks_and_whenever_the_moment_is_the_same)
{
	for (int64_t ms = 0; ms < 2000; ms += 7) {
		int64_t arrival = START_MS + ms, seen = seen_at(&aws, PROFILE_GET, &shard, arrival);
		for (int64_t now = arrival; now < seen; now += 13)
			cr_assert_eq(now + profile_wait_ms(&aws, PROFILE_GET, &shard, arrival, now), seen);
		cr_assert_eq(profile_wait_ms(&aws, PROFILE_GET, &shard, arrival, seen), 0);
		cr_assert_eq(profile_wait_ms(&aws, PROFILE_GET, &shard, arrival, seen + 100000), 0);
	}
}

static unsigned same(const struct profile *a, const struct profile *b, enum profile_path path, const struct shard_key *key)
{
	unsigned n = 0;
	for (int64_t slot = 0; slot < 100; slot++) {
		int64_t arrival = START_MS + slot * 100 + 50;
		n += seen_at(a, PROFILE_PUSH, &shard, arrival) == seen_at(b, path, key, arrival);
	}
	return n;
}

Test(profile, they_hang_on_seed_shard_and_path)
{
	struct shard_key sibling = {.stream = 7, .shard = 4, .created_s = START_MS / 1000};
	struct shard_key elsewhere = {.stream = 8, .shard = 3, .created_s = START_MS / 1000};
	struct profile again, other;
	cr_assert(profile_find("aws", 1, &again) && profile_find("aws", 2, &other));
	cr_expect_eq(same(&aws, &again, PROFILE_PUSH, &shard), 100);
	cr_expect_lt(same(&aws, &other, PROFILE_PUSH, &shard), 20);
	cr_expect_lt(same(&aws, &aws, PROFILE_PUSH, &sibling), 20);
	cr_expect_lt(same(&aws, &aws, PROFILE_PUSH, &elsewhere), 20);
	cr_expect_lt(same(&aws, &aws, PROFILE_GET, &shard), 20);
}

/* Arrival times never go back, so a clock that was set back by an hour would hide everything for an hour. */
Test(profile, nothing_waits_for_a_clock_that_was_set_back)
{
	cr_expect_eq(profile_wait_ms(&aws, PROFILE_PUSH, &shard, START_MS + 3600000, START_MS), 0);
	cr_expect_eq(profile_wait_ms(&aws, PROFILE_PUSH, &shard, START_MS + 1, START_MS), 0);
}
