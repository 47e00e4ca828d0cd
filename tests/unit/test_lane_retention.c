/* Tests of shardstore/lane_admin.c: retention, streams opened and closed. */
#include "tests/unit/store_fixture.h"

static const struct limits off = LIMITS_OFF;

static void small_segments(void)
{
	fixture(off, 2);
	store_down();
	fix.config.segment_min = fix.config.segment_max = 64 << 10;
	store_up();
	for (int i = 0; i < 10; i++) {
		put_group(0, 4, 10 << 10); /* one every minute; a segment holds one or two */
		sim_disk_advance(fix.disk, 60 * SECOND);
	}
}

TestSuite(lane_retention, .fini = fixture_fini);

static bool retain_pass(int64_t horizon_ms)
{
	struct test_admin test = {.admin = {.kind = ADMIN_RETAIN, .id = STREAM, .horizon_ms = horizon_ms}};
	admin_send(&test);
	settle();
	cr_assert(test.done);
	cr_assert_eq(test.admin.status, STATUS_OK);
	return test.admin.more;
}

static void retain(int64_t horizon_ms)
{
	while (retain_pass(horizon_ms))
		;
}

static int64_t minute(int n) { return SIM_WALL_START_MS + n * INT64_C(60000); }
static uint64_t oldest(void) { return locate(0, (struct position){.kind = POSITION_TRIM_HORIZON}); }

Test(lane_retention, reads_keep_to_the_horizon_and_segments_go)
{
	small_segments();
	char *first = xstrdup(extent_of(0, 0).segment->path);
	uint64_t used = sim_disk_used(fix.disk);
	cr_expect_eq(oldest(), 1);
	retain(minute(3));
	cr_expect_eq(oldest(), 13);
	cr_expect_eq(locate(0, (struct position){.kind = POSITION_AT, .index = 2}), 13);
	cr_expect_eq(locate(0, (struct position){.kind = POSITION_AT_TIME, .time_ms = minute(0)}), 13);
	cr_expect_eq(sim_disk_file_size(fix.disk, first), -ENOENT);
	cr_expect_lt(sim_disk_used(fix.disk), used);
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(test.read.from, 13);
	cr_expect_eq(test.read.batches[0]->first, 13);
	cr_expect_eq(read_count(&test), 28);
	store_read_release(&test.read);
	cr_expect_eq(put_one(0, 1), 41);
	free(first);
}

Test(lane_retention, the_horizon_cuts_inside_a_segment_too)
{
	fixture(off, 1);
	put_group(0, 3, 100);
	sim_disk_advance(fix.disk, 60 * SECOND);
	put_group(0, 3, 100);
	retain(minute(1));
	cr_expect_eq(oldest(), 4);
	retain(minute(2));
	cr_expect_eq(oldest(), 7, "all has passed: the durable end");
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(test.read.status, STATUS_OK);
	cr_expect_eq(test.read.n_batches, 0);
	cr_expect_eq(test.read.from, 7);
}

Test(lane_retention, a_read_under_way_keeps_its_segments)
{
	small_segments();
	struct test_read test;
	read_send(&test, 0, 1);
	lane_step();
	struct test_admin admin = {.admin = {.kind = ADMIN_RETAIN, .id = STREAM, .horizon_ms = minute(9)}};
	admin_send(&admin);
	while (lane_step() || syncer_step() || box_step())
		;
	cr_expect(admin.done && !test.done);
	settle();
	cr_expect_eq(test.read.status, STATUS_OK);
	cr_expect_eq(read_count(&test), 40);
	store_read_release(&test.read);
	cr_expect_eq(oldest(), 37);
}

Test(lane_retention, an_emptied_shard_goes_on_with_its_indexes_after_a_restart)
{
	small_segments();
	/* Shard 1 is never written; shard 0's last records pass, too. */
	retain(minute(100));
	cr_expect_eq(oldest(), 41);
	store_down();
	store_up();
	retain(minute(100));
	cr_expect_eq(oldest(), 41);
	sim_disk_advance(fix.disk, 2 * 3600 * SECOND); /* behind that horizon */
	cr_expect_eq(put_one(0, 1), 41);
	cr_expect_eq(put_one(1, 1), 1);
	cr_expect_eq(oldest(), 41);
}

Test(lane_retention, one_segment_goes_in_a_pass)
{
	small_segments();
	uint64_t segment = extent_of(0, 0).segment->number;
	for (uint64_t number = 1; number < segment; number++)
		retain_pass(minute(9)); /* without records */
	cr_expect_eq(extent_of(0, 0).segment->number, segment);
	cr_expect(retain_pass(minute(9)), "there is more");
	cr_expect_eq(extent_of(0, 0).segment->number, segment + 1);
	cr_expect_eq(oldest(), 37, "reads keep to the horizon all the same");
}

/* The clock was ahead when the horizon was told, and is right now. */
Test(lane_retention, nothing_arrives_before_the_horizon)
{
	fixture(off, 2);
	retain(SIM_WALL_START_MS + INT64_C(26) * 3600000);
	cr_expect_eq(put_one(0, 10), 1);
	cr_expect_eq(oldest(), 1);
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(read_count(&test), 1);
	store_read_release(&test.read);
	retain(SIM_WALL_START_MS - INT64_C(24) * 3600000);
	cr_expect_eq(oldest(), 1);
	store_down();
	store_up();
	retain(SIM_WALL_START_MS - INT64_C(24) * 3600000);
	cr_expect_eq(oldest(), 1);
}

Test(lane_retention, a_horizon_that_falls_gives_back_what_is_still_there)
{
	fixture(off, 1);
	put_group(0, 3, 100);
	retain(minute(100));
	cr_expect_eq(oldest(), 4);
	retain(minute(0));
	cr_expect_eq(oldest(), 1);
}

/* Between two readings of the clock. */
Test(lane_retention, no_stamp_lies_before_the_last_reading_of_the_clock)
{
	fixture(off, 2);
	store_set_clock(fix.store, SIM_WALL_START_MS, SIM_WALL_START_MS - 5000, SIM_WALL_START_MS);
	sim_disk_advance(fix.disk, 3 * SECOND);
	cr_expect_eq(store_believed_ms(fix.store), SIM_WALL_START_MS - 2000);
	sim_disk_step_wall(fix.disk, -INT64_C(30) * 86400000);
	cr_expect_eq(put_one(0, 10), 1);
	cr_expect_geq(extent_of(0, 0).arrival_ms, SIM_WALL_START_MS + 2999);
	cr_expect_leq(extent_of(0, 0).arrival_ms, SIM_WALL_START_MS + 3000);
	sim_disk_step_wall(fix.disk, INT64_C(60) * 86400000);
	cr_expect_eq(put_one(1, 10), 1);
	int64_t stamp_ms = extent_of(1, 0).arrival_ms;
	sim_disk_step_wall(fix.disk, -INT64_C(60) * 86400000);
	cr_expect_geq(store_latest_ms(fix.store), stamp_ms, "it was given out");
	store_set_clock(fix.store, SIM_WALL_START_MS, SIM_WALL_START_MS, SIM_WALL_START_MS);
	cr_expect_geq(store_latest_ms(fix.store), stamp_ms, "also after the next reading");
}

Test(lane_retention, a_clock_set_back_makes_no_segments)
{
	fixture(off, 1);
	put_one(0, 10);
	sim_disk_step_wall(fix.disk, -INT64_C(2) * 86400000);
	for (int i = 0; i < 100; i++)
		put_one(0, 10);
	cr_expect_eq(extent_of(0, 100).segment->number, extent_of(0, 0).segment->number);
	store_down();
	store_up();
	put_one(0, 10);
	uint64_t segment = extent_of(0, 101).segment->number;
	for (int i = 0; i < 100; i++)
		put_one(0, 10);
	cr_expect_eq(extent_of(0, 201).segment->number, segment, "nor after a restart");
}

Test(lane_retention, trimming_waits_for_the_group_in_flight)
{
	small_segments();
	struct test_put *put = put_new();
	put_add(put, 0, 10);
	put_send(put);
	lane_step();
	struct test_admin test = {.admin = {.kind = ADMIN_RETAIN, .id = STREAM, .horizon_ms = minute(5)}};
	admin_send(&test);
	lane_step();
	lane_step();
	box_step();
	cr_expect_not(test.done);
	cr_expect_eq(extent_of(0, 0).first, 1, "the log was trimmed beside a commit");
	settle();
	cr_expect(test.done && put->done);
	cr_expect_eq(oldest(), 21);
	free(put);
}

Test(lane_retention, an_unknown_stream_is_not_found)
{
	fixture(off, 1);
	struct test_admin test = {.admin = {.kind = ADMIN_RETAIN, .id = 99}};
	admin_send(&test);
	settle();
	cr_expect_eq(test.admin.status, STATUS_NOT_FOUND);
	test = (struct test_admin){.admin = {.kind = ADMIN_DROP_CONSUMER, .id = 5, .stream_id = 99}};
	admin_send(&test);
	settle();
	cr_expect_eq(test.admin.status, STATUS_NOT_FOUND);
}

/* ---- Open and close ---- */

static enum status open_second(void)
{
	static struct shard_info shard;
	static struct stream_info info;
	shard = fix.shards[0];
	shard.key.stream = 2;
	info = (struct stream_info){.id = 2, .n_shards = 1, .shards = &shard};
	struct test_admin test = {.admin = {.kind = ADMIN_OPEN_STREAM, .stream = &info}};
	admin_send(&test);
	settle();
	cr_assert(test.done);
	return test.admin.status;
}

static enum status put_second(void)
{
	struct test_put *test = put_new();
	test->put.stream = 2;
	put_add(test, 0, 10);
	put_send(test);
	settle();
	enum status status = test->records[0].status;
	free(test);
	return status;
}

Test(lane_retention, a_stream_is_there_from_open_to_close)
{
	fixture(off, 1);
	cr_expect_eq(put_second(), STATUS_NOT_FOUND);
	cr_expect_eq(open_second(), STATUS_OK);
	cr_expect_eq(open_second(), STATUS_OK, "asked again after a restart");
	cr_expect_eq(put_second(), STATUS_OK);
	cr_expect_geq(sim_disk_file_size(fix.disk, "data/streams/2/00000000000000000001.seg"), 0);
	struct test_admin close = {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = 2}};
	admin_send(&close);
	settle();
	cr_expect_eq(close.admin.status, STATUS_OK);
	cr_expect_eq(put_second(), STATUS_NOT_FOUND);
	cr_expect_eq(fix.io->rmdir(fix.io, "data/streams/2"), -ENOENT);
	admin_send(&close);
	settle();
	cr_expect_eq(close.admin.status, STATUS_NOT_FOUND);
	cr_expect_eq(put_one(0, 1), 1, "the other one stays");
}

Test(lane_retention, an_open_that_a_crash_cut_short_can_be_repeated)
{
	fixture(off, 1);
	uint64_t before = sim_disk_calls(fix.disk, SIM_ANY);
	open_second();
	uint64_t calls = sim_disk_calls(fix.disk, SIM_ANY) - before;
	for (uint64_t n = 1; n <= calls; n++) {
		fixture_fini();
		fixture(off, 1);
		sim_disk_arm(fix.disk, n);
		open_second();
		store_down();
		sim_disk_crash(fix.disk, NULL);
		store_up();
		cr_assert_eq(open_second(), STATUS_OK, "call %" PRIu64 " of %" PRIu64, n, calls);
		cr_assert_eq(put_second(), STATUS_OK);
	}
}

Test(lane_retention, close_fails_what_gathers_and_waits_for_what_is_in_flight)
{
	fixture(off, 1);
	struct test_put *puts[4];
	for (int i = 0; i < 4; i++) {
		puts[i] = put_new();
		put_add(puts[i], 0, i == 1 || i == 2 ? 9 * MIB : 1);
		put_send(puts[i]);
		lane_step(); /* 0 in flight, 1 and 2 gather, 3 waits for room */
	}
	struct test_admin close = {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = STREAM}};
	admin_send(&close);
	lane_step();
	box_step();
	cr_expect(!puts[0]->done && puts[1]->done && puts[2]->done && puts[3]->done && !close.done);
	for (int i = 1; i < 4; i++) {
		cr_expect_eq(puts[i]->put.status, STATUS_NOT_FOUND);
		cr_expect_eq(puts[i]->records[0].status, STATUS_NOT_FOUND);
	}
	settle();
	cr_expect(puts[0]->done && close.done);
	cr_expect_eq(puts[0]->records[0].status, STATUS_OK, "it was durable");
	cr_expect_eq(close.admin.status, STATUS_OK);
	cr_expect_eq(fix.store->lanes[0].undurable, 0);
	for (int i = 0; i < 4; i++)
		free(puts[i]);
}

Test(lane_retention, close_leaves_reads_their_segments)
{
	fixture(off, 1);
	put_group(0, 5, 10);
	struct test_read test;
	read_send(&test, 0, 1);
	lane_step();
	struct test_admin close = {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = STREAM}};
	admin_send(&close);
	while (lane_step() || syncer_step() || box_step())
		;
	cr_expect(close.done && !test.done);
	settle();
	cr_expect_eq(read_count(&test), 5);
	store_read_release(&test.read);
}

Test(lane_retention, close_answers_a_retain_that_waits)
{
	fixture(off, 1);
	struct test_put *put = put_new();
	put_add(put, 0, 1);
	put_send(put);
	lane_step();
	struct test_admin retain_wait = {.admin = {.kind = ADMIN_RETAIN, .id = STREAM, .horizon_ms = minute(1)}};
	struct test_admin close = {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = STREAM}};
	admin_send(&retain_wait);
	admin_send(&close);
	settle();
	cr_expect(retain_wait.done && close.done && put->done);
	cr_expect_eq(retain_wait.admin.status, STATUS_NOT_FOUND);
	cr_expect_eq(close.admin.status, STATUS_OK);
	free(put);
}

Test(lane_retention, after_the_stop_everything_is_refused)
{
	fixture(off, 1);
	store_stop(fix.store);
	struct test_admin asks[4] = {{.admin = {.kind = ADMIN_OPEN_STREAM, .stream = &fix.info}},
				     {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = STREAM}},
				     {.admin = {.kind = ADMIN_RETAIN, .id = STREAM}},
				     {.admin = {.kind = ADMIN_DROP_CONSUMER, .id = 5, .stream_id = STREAM}}};
	for (int i = 0; i < 4; i++)
		admin_send(&asks[i]);
	lane_step();
	box_step();
	for (int i = 0; i < 4; i++) {
		cr_expect(asks[i].done);
		cr_expect_eq(asks[i].admin.status, STATUS_CLOSING);
	}
}
