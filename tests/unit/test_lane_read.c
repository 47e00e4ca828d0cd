/* Tests of shardstore/lane_read.c and lane_index.c: positions, what a read brings, the read limits, damage. */
#include "tests/unit/store_fixture.h"

TestSuite(lane_read, .fini = fixture_fini);

static const struct limits off = LIMITS_OFF, aws = LIMITS_AWS;

/* Three groups: indexes 1-3 at 0 ms, 4-6 at 100 ms, 7-9 at 200 ms. */
static void three_groups(void)
{
	for (int i = 0; i < 3; i++) {
		if (i)
			sim_disk_advance(fix.disk, 100 * MS);
		put_group(0, 3, 100);
	}
}

static uint64_t at(enum position_kind kind, uint64_t index) { return locate(0, (struct position){.kind = kind, .index = index}); }
static uint64_t at_time(int64_t ms) { return locate(0, (struct position){.kind = POSITION_AT_TIME, .time_ms = SIM_WALL_START_MS + ms}); }

Test(lane_read, positions)
{
	fixture(off, 1);
	three_groups();
	cr_expect_eq(at(POSITION_TRIM_HORIZON, 0), 1);
	cr_expect_eq(at(POSITION_LATEST, 0), 10);
	cr_expect_eq(at(POSITION_AT, 0), 1, "the shard's start");
	cr_expect_eq(at(POSITION_AT, 5), 5);
	cr_expect_eq(at(POSITION_AFTER, 5), 6);
	cr_expect_eq(at(POSITION_AFTER, 0), 1);
	cr_expect_eq(at(POSITION_AT, 11), 10, "beyond the durable end");
	cr_expect_eq(at(POSITION_AFTER, SEQ_INDEX_MAX), 10);
	cr_expect_eq(at(POSITION_AFTER, UINT64_MAX), 10);
}

Test(lane_read, positions_by_time)
{
	fixture(off, 1);
	three_groups();
	cr_expect_eq(at_time(-1000), 1);
	cr_expect_eq(at_time(0), 1);
	cr_expect_eq(at_time(1), 4);
	cr_expect_eq(at_time(100), 4);
	cr_expect_eq(at_time(200), 7);
	cr_expect_eq(at_time(201), 10);
}

Test(lane_read, an_empty_shard_has_one_position)
{
	fixture(off, 1);
	cr_expect_eq(at(POSITION_TRIM_HORIZON, 0), 1);
	cr_expect_eq(at(POSITION_LATEST, 0), 1);
	cr_expect_eq(at_time(0), 1);
}

Test(lane_read, nothing_that_is_not_durable_is_a_position)
{
	fixture(off, 1);
	three_groups();
	struct test_put *test = put_new();
	put_add(test, 0, 1);
	put_send(test);
	struct store_locate ask = {.reply_to = &fix.box, .on_done = on_located, .stream = STREAM, .position = {.kind = POSITION_LATEST}};
	store_locate(fix.store, &fix.out, &ask);
	lane_step();
	box_step();
	cr_expect_eq(ask.next, 10);
	settle();
	free(test);
	cr_expect_eq(at(POSITION_LATEST, 0), 11);
}

Test(lane_read, from_the_middle_of_a_batch_to_the_end)
{
	fixture(off, 1);
	three_groups();
	struct test_read test;
	read_send(&test, 0, 5);
	settle();
	cr_assert(test.done);
	cr_expect(test.read_first);
	cr_expect_eq(test.read.status, STATUS_OK);
	cr_expect_eq(test.read.from, 5);
	cr_expect_eq(test.read.n_batches, 2);
	cr_expect_eq(test.read.batches[0]->first, 4);
	cr_expect_eq(read_count(&test), 5);
	cr_expect_eq(test.read.durable_end, 9);
	cr_expect_eq(test.read.durable_end_ms, SIM_WALL_START_MS + 200);
	cr_expect_not(test.read.closed);
	cr_expect(test.read.batches[0]->messages == NULL, "encoded unasked");
	cr_expect_eq(test.read.batches[1]->arrival_ms, SIM_WALL_START_MS + 200);
	store_read_release(&test.read);
	cr_expect(test.read.batches == NULL && test.read.n_batches == 0);
}

Test(lane_read, the_bounds_cut_between_batches)
{
	fixture(off, 1);
	three_groups();
	struct test_read test;
	read_send(&test, 0, 1);
	test.read.max_records = 4;
	settle();
	cr_expect_eq(test.read.n_batches, 2);
	store_read_release(&test.read);
	read_send(&test, 0, 3);
	test.read.max_records = 1;
	settle();
	cr_expect_eq(test.read.n_batches, 1);
	store_read_release(&test.read);
	read_send(&test, 0, 1);
	test.read.max_bytes = 1; /* one record comes whatever its size */
	settle();
	cr_expect_eq(test.read.n_batches, 1);
	store_read_release(&test.read);
	read_send(&test, 0, 1);
	test.read.max_bytes = 400;
	settle();
	cr_expect_eq(test.read.n_batches, 2);
	store_read_release(&test.read);
}

static char tags[50000 + 400];

/* Records of 1 to 50 KB in one group of several MiB, the first byte of each telling which it is. Returns how many. */
static uint32_t large_group(void)
{
	struct test_put *test = put_new();
	int64_t groups = metric_get(METRIC_groups);
	for (size_t i = 0; i < sizeof(tags); i++)
		tags[i] = (char)(i * 131);
	for (uint32_t i = 0; i < 400; i++) {
		put_add(test, 0, 1000 + i * i * 7 % 49000);
		test->records[i].data.p = &tags[i];
	}
	put_send(test);
	settle();
	uint32_t n = test->put.n;
	for (uint32_t i = 0; i < n; i++)
		cr_assert(test->records[i].status == STATUS_OK && test->records[i].index == i + 1);
	cr_assert_eq(metric_get(METRIC_groups) - groups, 1);
	free(test);
	return n;
}

/* Reads as a cursor does; each record comes once, and what it was. */
static uint32_t walk_large_group(uint64_t next, uint32_t n)
{
	uint32_t reads = 0;
	while (next <= n) {
		struct test_read test;
		read_send(&test, 0, next);
		test.read.max_bytes = 256 << 10;
		settle();
		cr_assert(test.done && test.read.status == STATUS_OK && test.read.n_batches && test.read.from == next);
		cr_assert_eq(test.read.durable_end, n);
		size_t bytes = 0;
		for (uint32_t i = 0; i < test.read.n_batches; i++) {
			const struct batch *batch = test.read.batches[i];
			struct record record;
			size_t cursor = 0;
			uint32_t nth = 0;
			cr_assert_eq(batch->arrival_ms, test.read.durable_end_ms, "one time for all of the group");
			while (batch_next(batch, &cursor, &nth, &record)) {
				if (record.index < next)
					continue;
				uint32_t place = (uint32_t)record.index - 1;
				cr_assert_eq(record.index, next++);
				cr_assert_eq(record.data.n, 1000 + place * place * 7 % 49000);
				cr_assert_eq(record.data.p[0], tags[place]);
			}
			bytes += batch->frames_len;
		}
		cr_assert_leq(bytes, 2 * BATCH_PART_BYTES, "what is left of a part, and the next");
		store_read_release(&test.read);
		reads++;
	}
	return reads;
}

Test(lane_read, a_large_group_is_read_in_parts)
{
	fixture(off, 1);
	uint32_t n = large_group();
	cr_expect_geq(walk_large_group(1, n), 8);
	for (uint64_t next = 1; next <= n; next += 13)
		walk_large_group(next, n);
	cr_expect_eq(at_time(0), 1, "its first part is where its time begins");
	cr_expect_eq(at_time(1), n + 1);
	store_down(); /* with a footer */
	store_up();
	walk_large_group(1, n);
}

Test(lane_read, a_large_group_is_recovered_in_parts)
{
	fixture(off, 1);
	uint32_t n = large_group();
	sim_disk_arm(fix.disk, 1); /* no footer */
	store_down();
	sim_disk_crash(fix.disk, NULL);
	store_up();
	walk_large_group(1, n);
	cr_expect_eq(put_one(0, 10), n + 1);
}

Test(lane_read, damage_in_a_large_group_hides_one_part)
{
	fixture(off, 1);
	uint32_t n = large_group();
	struct extent_ref extent = extent_of(0, 3), behind = extent_of(0, 4);
	cr_assert(extent.first > 1 && behind.first == extent.first + extent.count);
	cr_assert(sim_disk_flip(fix.disk, extent.segment->path, extent.offset, 0x40));
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(test.read.status, STATUS_OK);
	cr_expect_eq(read_count(&test), extent.first - 1);
	store_read_release(&test.read);
	read_send(&test, 0, extent.first);
	settle();
	cr_expect_eq(test.read.status, STATUS_CORRUPT);
	walk_large_group(behind.first, n);
}

Test(lane_read, encoded_if_asked)
{
	fixture(off, 1);
	three_groups();
	cr_expect_eq(fix.encoded, 0, "nobody listened");
	struct test_read test;
	read_send(&test, 0, 1);
	test.read.encode = true;
	settle();
	cr_expect_eq(fix.encoded, 3);
	cr_expect_eq(test.read.batches[2]->n_messages, 1);
	cr_expect_eq(test.read.batches[2]->messages[0]->first, 7);
	store_read_release(&test.read);
}

Test(lane_read, a_reader_at_the_end_is_answered_without_a_job)
{
	fixture(off, 1);
	three_groups();
	struct test_read test;
	read_send(&test, 0, 10);
	lane_step();
	cr_expect_not(pool_pending(store_readers(fix.store)));
	box_step();
	cr_expect(test.done && !test.read_first);
	cr_expect_eq(test.read.status, STATUS_OK);
	cr_expect_eq(test.read.n_batches, 0);
	cr_expect_eq(test.read.from, 10);
	cr_expect_eq(test.read.durable_end, 9);
}

Test(lane_read, shards_do_not_mix)
{
	fixture(off, 3);
	struct test_put *test = put_new();
	for (uint32_t i = 0; i < 30; i++)
		put_add(test, i % 3, i);
	put_send(test);
	settle();
	free(test);
	for (uint32_t shard = 0; shard < 3; shard++) {
		struct test_read read;
		read_send(&read, shard, 1);
		settle();
		cr_expect_eq(read_count(&read), 10);
		cr_expect_eq(read.read.batches[0]->shard.shard, shard);
		struct record record;
		size_t cursor = 0;
		uint32_t nth = 0;
		while (batch_next(read.read.batches[0], &cursor, &nth, &record))
			cr_expect_eq(record.data.n, (nth - 1) * 3 + shard);
		store_read_release(&read.read);
	}
}

Test(lane_read, no_such_shard_or_stream)
{
	fixture(off, 1);
	struct test_read test;
	read_send(&test, 9, 1);
	settle();
	cr_expect_eq(test.read.status, STATUS_NOT_FOUND);
	read_send(&test, 0, 1);
	test.read.stream = 99;
	settle();
	cr_expect_eq(test.read.status, STATUS_NOT_FOUND);
}

Test(lane_read, a_closed_shard_says_so)
{
	fixture(off, 1);
	three_groups();
	store_down();
	fix.shards[0].closed = true;
	fix.shards[0].end_index = 9;
	store_up();
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect(test.read.closed);
	cr_expect_eq(read_count(&test), 9);
	store_read_release(&test.read);
}

/* ---- Limits ---- */

static enum status limited_read(uint64_t next, uint32_t max_records)
{
	struct test_read test;
	read_send(&test, 0, next);
	test.read.limited = true;
	test.read.max_records = max_records;
	settle();
	cr_assert(test.done);
	store_read_release(&test.read);
	return test.read.status;
}

Test(lane_read, five_calls_a_second)
{
	fixture(aws, 1);
	put_one(0, 10);
	int64_t throttled = metric_get(METRIC_reads_throttled);
	for (int i = 0; i < 5; i++)
		cr_expect_eq(limited_read(i % 2 ? 2 : 1, 100), STATUS_OK, "also a reader at the end makes a call");
	cr_expect_eq(limited_read(1, 100), STATUS_THROTTLED);
	cr_expect_eq(metric_get(METRIC_reads_throttled) - throttled, 1);
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(test.read.status, STATUS_OK, "catch-up has its own budget");
	store_read_release(&test.read);
	sim_disk_advance(fix.disk, 200 * MS);
	cr_expect_eq(limited_read(1, 100), STATUS_OK);
	cr_expect_eq(limited_read(1, 100), STATUS_THROTTLED);
}

Test(lane_read, bytes_go_into_debt_and_come_back)
{
	struct limits limits = {.read_calls = 5, .read_bytes = 2 * MIB};
	fixture(limits, 1);
	put_one(0, 3 * MIB);
	cr_expect_eq(limited_read(1, 1), STATUS_OK);
	cr_expect_eq(limited_read(1, 1), STATUS_THROTTLED, "what the answer cost at 2 MiB/s");
	sim_disk_advance(fix.disk, 1499 * MS);
	cr_expect_eq(limited_read(1, 1), STATUS_THROTTLED);
	sim_disk_advance(fix.disk, 2 * MS);
	cr_expect_eq(limited_read(1, 1), STATUS_OK);
}

Test(lane_read, after_10_MiB_calls_fail_for_5_seconds)
{
	struct limits limits = {.read_bytes = 2 * MIB};
	fixture(limits, 1);
	for (int i = 0; i < 10; i++)
		put_one(0, MIB - 1); /* the key is one byte */
	cr_expect_eq(limited_read(1, 100), STATUS_OK);
	sim_disk_advance(fix.disk, 4999 * MS);
	cr_expect_eq(limited_read(1, 1), STATUS_THROTTLED);
	sim_disk_advance(fix.disk, 1 * MS);
	cr_expect_eq(limited_read(1, 1), STATUS_OK, "a call that was refused does not make it longer");
}

/* A delivery profile does: what is not to be seen yet is not paid for. */
static void drop_the_last(struct store_read *read)
{
	while (read->n_batches > 1)
		batch_unref(read->batches[--read->n_batches]);
}
static void drop_all(struct store_read *read)
{
	while (read->n_batches)
		batch_unref(read->batches[--read->n_batches]);
}

Test(lane_read, what_on_read_drops_costs_nothing)
{
	struct limits limits = {.read_bytes = 2 * MIB};
	fixture(limits, 1);
	put_one(0, MIB / 2);
	put_one(0, 3 * MIB);
	struct test_read test;
	read_send(&test, 0, 1);
	test.read.limited = true;
	test.read.on_read = drop_the_last;
	settle();
	cr_assert(test.done && test.read.status == STATUS_OK && test.read.n_batches == 1);
	store_read_release(&test.read);
	read_send(&test, 0, 2);
	test.read.limited = true;
	test.read.on_read = drop_all;
	settle();
	cr_assert(test.done && test.read.status == STATUS_OK && test.read.n_batches == 0 && !test.read.batches);
	cr_expect_eq(limited_read(1, 1), STATUS_OK, "half a MiB is all that was taken");
}

Test(lane_read, over_reading_costs_a_second_at_least)
{
	struct limits limits = {.read_bytes = 2 * MIB};
	fixture(limits, 1);
	put_one(0, MIB + 1000);
	cr_expect_eq(limited_read(1, 1), STATUS_OK);
	cr_expect_eq(limited_read(1, 1), STATUS_OK, "something is left");
	sim_disk_advance(fix.disk, 999 * MS); /* the bucket has been open again for long */
	cr_expect_eq(limited_read(1, 1), STATUS_THROTTLED);
	sim_disk_advance(fix.disk, 1 * MS);
	cr_expect_eq(limited_read(1, 1), STATUS_OK);
}

static enum status limited_locate(uint32_t shard, enum position_kind kind)
{
	struct store_locate ask = {
		.reply_to = &fix.box, .on_done = on_located, .stream = STREAM, .shard = shard, .position = {.kind = kind}, .limited = true};
	store_locate(fix.store, &fix.out, &ask);
	settle();
	return ask.status;
}

Test(lane_read, five_iterators_a_second)
{
	fixture(aws, 2);
	for (int i = 0; i < 5; i++)
		cr_expect_eq(limited_locate(0, i % 2 ? POSITION_LATEST : POSITION_AT), STATUS_OK);
	cr_expect_eq(limited_locate(0, POSITION_TRIM_HORIZON), STATUS_THROTTLED);
	cr_expect_eq(limited_locate(1, POSITION_TRIM_HORIZON), STATUS_OK, "another shard");
	cr_expect_eq(at(POSITION_TRIM_HORIZON, 0), 1, "a subscription's own looks are not calls");
	cr_expect_eq(limited_read(1, 1), STATUS_OK, "nor are reads");
	sim_disk_advance(fix.disk, 200 * MS);
	cr_expect_eq(limited_locate(0, POSITION_LATEST), STATUS_OK);
	cr_expect_eq(limited_locate(0, POSITION_LATEST), STATUS_THROTTLED);
}

Test(lane_read, the_second_call_is_charged_before_the_first_is_read)
{
	struct limits limits = {.read_calls = 5, .read_bytes = 2 * MIB};
	fixture(limits, 1);
	put_one(0, 3 * MIB);
	struct test_read a, b;
	read_send(&a, 0, 1);
	read_send(&b, 0, 1);
	a.read.limited = b.read.limited = true;
	settle();
	cr_expect_eq(a.read.status, STATUS_OK);
	cr_expect_eq(b.read.status, STATUS_THROTTLED);
	store_read_release(&a.read);
}

Test(lane_read, what_was_read_is_what_is_charged)
{
	struct limits limits = {.read_calls = 100, .read_bytes = 2 * MIB};
	fixture(limits, 1);
	/* In one batch, so that the lane's estimate of the last record is a tenth of 9 MiB. */
	struct test_put *test = put_new();
	put_add(test, 0, 9 * MIB);
	for (int i = 0; i < 9; i++)
		put_add(test, 0, 1);
	put_send(test);
	settle();
	free(test);
	for (int i = 0; i < 20; i++)
		cr_assert_eq(limited_read(10, 100), STATUS_OK, "charged by the estimate, call %d", i);
}

/* ---- Damage ---- */

Test(lane_read, what_lies_before_the_damage_is_answered_and_behind_it_is_reached)
{
	fixture(off, 1);
	three_groups();
	struct extent_ref extent = extent_of(0, 1);
	cr_assert(sim_disk_flip(fix.disk, extent.segment->path, extent.offset + extent.length - 1, 0x40));
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(test.read.status, STATUS_OK);
	cr_expect_eq(read_count(&test), 3);
	cr_expect(test.read_first);
	store_read_release(&test.read);
	read_send(&test, 0, 4);
	settle();
	cr_expect_eq(test.read.status, STATUS_CORRUPT);
	cr_expect_eq(test.read.n_batches, 0);
	cr_expect_not(test.read_first);
	read_send(&test, 0, 7);
	settle();
	cr_expect_eq(test.read.status, STATUS_OK);
	cr_expect_eq(read_count(&test), 3);
	store_read_release(&test.read);
}

Test(lane_read, a_failed_read_is_an_error_and_no_end)
{
	fixture(off, 1);
	three_groups();
	sim_disk_fail(fix.disk, SIM_PREAD, 1, 1, EIO);
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(test.read.status, STATUS_IO);
	cr_expect_eq(fix.poisoned, 0, "what cannot be read may still be written");
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(read_count(&test), 9);
	store_read_release(&test.read);
}

Test(lane_read, a_damaged_log_is_served_as_far_as_it_is_whole)
{
	fixture(off, 1);
	three_groups();
	struct extent_ref extent = extent_of(0, 1);
	char *path = xstrdup(extent.segment->path);
	uint64_t offset = extent.offset;
	store_down();
	cr_assert(sim_disk_flip(fix.disk, path, offset, 0x40));
	/* The footer names the extents, so the flip is found by whoever reads it. */
	store_up();
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(read_count(&test), 3);
	store_read_release(&test.read);
	read_send(&test, 0, 5);
	settle();
	cr_expect_eq(test.read.status, STATUS_CORRUPT);
	free(path);
}

Test(lane_read, stop_answers_reads_that_are_under_way)
{
	fixture(off, 1);
	three_groups();
	struct test_read a, b;
	read_send(&a, 0, 1);
	lane_step();
	read_send(&b, 0, 1);
	store_stop(fix.store);
	lane_step();
	box_step();
	cr_expect(a.done && b.done);
	cr_expect_eq(a.read.status, STATUS_OK);
	cr_expect_eq(read_count(&a), 9);
	cr_expect_eq(b.read.status, STATUS_CLOSING);
	store_read_release(&a.read);
}
