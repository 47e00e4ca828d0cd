/* Tests of shardstore/belief.c: every kind of wrong clock, and a server that was off. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "shardstore/belief.h"

#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
#define ROUND_MS 10000
#define START_MS INT64_C(1700000000000)

static struct belief belief;
static int64_t true_ms, boot_ms, error_ms; /* the right time; the machine's; what the wall clock is off by */
static bool vouched;

static int64_t read_clock(void)
{
	belief_read(&belief, (uint64_t)boot_ms * 1000000, true_ms + error_ms, vouched);
	return belief_ms(&belief);
}

static void begin(void)
{
	true_ms = START_MS;
	boot_ms = 1000;
	error_ms = 0;
	vouched = false;
	belief_init(&belief, DAY_MS, (uint64_t)boot_ms * 1000000);
	read_clock();
}

/* The server runs; each round it reads the clock. */
static int64_t run_for(int64_t ms)
{
	for (int64_t end_ms = true_ms + ms; true_ms < end_ms;) {
		true_ms += ROUND_MS;
		boot_ms += ROUND_MS;
		read_clock();
	}
	return belief_ms(&belief);
}

/* The server stops, and a new process takes up what this one wrote down, on a machine that was
 * switched off. */
static int64_t off_for(int64_t ms)
{
	struct belief was = belief;

	true_ms += ms;
	boot_ms = 5000;
	belief_init(&belief, was.grace_ms, (uint64_t)boot_ms * 1000000);
	belief_restore(&belief, was.running_ms, was.highest_ms);
	for (uint32_t i = 0; i < was.n; i++)
		belief_restore_mark(&belief, was.marks[i]);
	return read_clock();
}

TestSuite(belief, .init = begin);

Test(belief, a_right_clock_is_believed)
{
	cr_expect_eq(belief_ms(&belief), true_ms);
	cr_expect_eq(run_for(3 * DAY_MS), true_ms);
	cr_expect_eq(belief.n, 1);
}

Test(belief, a_leap_forward_is_believed_after_the_grace)
{
	run_for(HOUR_MS);
	error_ms = 50 * HOUR_MS;
	cr_expect_eq(read_clock(), true_ms);
	cr_expect_eq(run_for(DAY_MS), true_ms);
	cr_expect_eq(run_for(BELIEF_PAUSE_MS + 2 * ROUND_MS), true_ms + error_ms);
}

Test(belief, a_leap_that_is_set_right_leaves_nothing)
{
	error_ms = 50 * HOUR_MS;
	run_for(23 * HOUR_MS);
	error_ms = 0;
	cr_expect_eq(run_for(ROUND_MS), true_ms);
	cr_expect_eq(run_for(DAY_MS), true_ms);
}

Test(belief, a_clock_set_back_is_followed_and_keeps_its_records_when_it_is_set_right)
{
	run_for(HOUR_MS);
	error_ms = -30 * DAY_MS;
	cr_expect_eq(run_for(ROUND_MS), true_ms + error_ms);
	int64_t stamp_ms = true_ms + error_ms;
	error_ms = 0;
	for (int hour = 0; hour < 24; hour++)
		cr_assert_leq(run_for(HOUR_MS) - DAY_MS, stamp_ms, "hour %d", hour);
	cr_expect_eq(run_for(HOUR_MS), true_ms);
}

Test(belief, the_kernel_vouches_for_a_leap)
{
	vouched = true;
	run_for(HOUR_MS);
	vouched = false;
	error_ms = 50 * HOUR_MS; /* by hand; or the machine was asleep */
	cr_expect_eq(run_for(HOUR_MS), true_ms);
	vouched = true;
	cr_expect_eq(run_for(ROUND_MS), true_ms + error_ms);
	cr_expect_eq(belief.n, 1);
}

/* No clock of its own: it goes on where it was switched off, until the network tells it the
 * time. */
Test(belief, a_clock_behind_until_the_network_is_there)
{
	vouched = true;
	run_for(HOUR_MS);
	vouched = false;
	error_ms = -50 * HOUR_MS;
	cr_expect_leq(off_for(50 * HOUR_MS), true_ms + error_ms);
	int64_t stamp_ms = true_ms + error_ms;
	run_for(HOUR_MS);
	off_for(1000);
	error_ms = 0;
	vouched = true;
	cr_expect_leq(run_for(ROUND_MS), stamp_ms + DAY_MS);
	off_for(HOUR_MS);
	cr_expect_leq(run_for(22 * HOUR_MS), stamp_ms + DAY_MS, "also over restarts");
	cr_expect_eq(run_for(3 * HOUR_MS), true_ms);
}

Test(belief, ahead_at_a_start)
{
	run_for(HOUR_MS);
	error_ms = 48 * HOUR_MS;
	cr_expect_leq(off_for(0), true_ms);
	error_ms = 0;
	cr_expect_eq(run_for(ROUND_MS), true_ms);
	cr_expect_eq(run_for(2 * DAY_MS), true_ms);
}

Test(belief, ahead_at_the_very_first_start)
{
	error_ms = 50 * HOUR_MS;
	begin();
	true_ms = START_MS;
	belief_init(&belief, DAY_MS, (uint64_t)boot_ms * 1000000);
	error_ms = 50 * HOUR_MS;
	cr_expect_eq(read_clock(), true_ms + error_ms);
	error_ms = 0;
	cr_expect_eq(run_for(ROUND_MS), true_ms);
}

Test(belief, off_for_a_time_without_anybody_to_ask)
{
	run_for(HOUR_MS);
	cr_expect_eq(off_for(50 * HOUR_MS), true_ms - 50 * HOUR_MS);
	run_for(12 * HOUR_MS);
	off_for(0);
	cr_expect_lt(run_for(11 * HOUR_MS), true_ms - 40 * HOUR_MS, "the grace goes on over a restart");
	cr_expect_eq(run_for(2 * HOUR_MS), true_ms);
}

Test(belief, off_for_a_time_and_the_kernel_knows)
{
	vouched = true;
	run_for(HOUR_MS);
	vouched = false;
	off_for(50 * HOUR_MS);
	cr_expect_lt(run_for(60000), true_ms - 49 * HOUR_MS);
	vouched = true;
	cr_expect_eq(run_for(ROUND_MS), true_ms);
}

Test(belief, an_operator_confirms)
{
	run_for(HOUR_MS);
	true_ms += 50 * HOUR_MS;
	belief_confirm(&belief);
	cr_expect_eq(read_clock(), true_ms);
}

/* Eight hours a day, the clock never synchronised: what is believed lags by some days, and goes
 * on. */
Test(belief, a_laptop_keeps_some_days_and_no_more)
{
	for (int day = 0; day < 100; day++) {
		off_for(16 * HOUR_MS);
		cr_assert_leq(true_ms - run_for(8 * HOUR_MS), 65 * HOUR_MS, "day %d", day);
	}
	cr_expect_leq(belief.n, 6);
}

/* More starts than there are marks, within the grace. */
Test(belief, many_short_runs)
{
	for (int run = 0; run < 5000; run++) {
		off_for(HOUR_MS);
		run_for(600000);
		cr_assert_leq(belief.n, BELIEF_MARKS);
	}
	cr_expect_leq(true_ms - belief_ms(&belief), 400 * HOUR_MS);
	cr_expect_leq(belief_ms(&belief), true_ms);
	cr_expect_eq(run_for(2 * DAY_MS + HOUR_MS), true_ms, "twice the grace, where marks ran out");
}

Test(belief, without_grace_the_clock_is_believed)
{
	belief.grace_ms = 0;
	run_for(HOUR_MS);
	error_ms = 50 * HOUR_MS;
	cr_expect_eq(run_for(ROUND_MS), true_ms + error_ms);
	cr_expect_eq(belief.n, 1);
}

Test(belief, a_long_gap_between_readings_is_a_pause)
{
	run_for(HOUR_MS);
	true_ms += 30 * HOUR_MS;
	boot_ms += 30 * HOUR_MS;
	cr_expect_leq(read_clock(), true_ms - 29 * HOUR_MS);
}

/* Whatever steps, set right within the grace: a stamp of the last reading stays for a day of
 * right time. */
Test(belief, random_steps)
{
	struct {
		int64_t stamp_ms, at_ms;
	} stamps[4096];
	unsigned n = 0;

	srand(7);
	for (int i = 0; i < 40000; i++) {
		int dice = rand() % 100;

		if (dice < 4) {
			error_ms = (rand() % 1441 - 720) * HOUR_MS;
			vouched = false;
		} else if (dice < 8) {
			error_ms = 0;
			vouched = rand() % 2;
		} else if (dice < 10) {
			off_for(rand() % 60 * HOUR_MS);
		}
		int64_t minutes = rand() % 5;
		true_ms += minutes * 60000;
		boot_ms += minutes * 60000;
		int64_t horizon_ms = read_clock() - DAY_MS;
		for (unsigned k = n > 4096 ? n - 4096 : 0; k < n; k++)
			if (true_ms - stamps[k % 4096].at_ms < DAY_MS)
				cr_assert_leq(horizon_ms, stamps[k % 4096].stamp_ms, "round %d, %u", i, k);
		stamps[n % 4096].stamp_ms = true_ms + error_ms;
		stamps[n++ % 4096].at_ms = true_ms;
	}
}
