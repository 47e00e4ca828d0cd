/* Tests of shardstore/lane_put.c and lane_group.c: routing, limits, groups, acknowledgements, failure, and what a restart finds. */
#include "tests/unit/store_fixture.h"

TestSuite(lane_put, .fini = fixture_fini);

static const struct limits off = LIMITS_OFF, aws = LIMITS_AWS;

Test(lane_put, a_record_gets_shard_index_and_arrival_time)
{
	fixture(off, 2);
	struct test_put *test = put_new();
	put_add(test, 1, 10);
	put_send(test);
	settle();
	cr_assert(test->done);
	const struct put_record *record = &test->records[0];
	cr_expect_eq(test->put.status, STATUS_OK);
	cr_expect_eq(record->status, STATUS_OK);
	cr_expect_eq(record->index, 1);
	cr_expect_eq(record->arrival_ms, SIM_WALL_START_MS);
	cr_expect(record->shard.stream == STREAM && record->shard.shard == 1 && record->shard.created_s == CREATED_S);
	cr_expect(test->put.queued_ns && test->put.closed_ns >= test->put.queued_ns && test->put.durable_ns >= test->put.closed_ns);
	free(test);
}

Test(lane_put, the_hash_picks_the_shard_up_to_the_borders)
{
	fixture(off, 5);
	struct test_put *test = put_new();
	for (uint32_t i = 0; i < 5; i++) {
		put_add(test, i, 1);
		put_add(test, i, 1);
		test->records[2 * i + 1].hash = fix.shards[i].hash_last;
	}
	put_send(test);
	settle();
	for (uint32_t i = 0; i < 10; i++) {
		cr_expect_eq(test->records[i].shard.shard, i / 2);
		cr_expect_eq(test->records[i].index, i % 2 + 1);
	}
	free(test);
}

Test(lane_put, closed_shards_take_nothing)
{
	fixture(off, 1);
	store_down();
	/* The parent is closed, its two children cover its range. */
	fix.shards[1] = fix.shards[2] = fix.shards[0];
	fix.shards[0].closed = true;
	fix.shards[0].end_index = 41;
	fix.shards[1].key.shard = 1;
	fix.shards[2].key.shard = 2;
	fix.shards[2].hash_first = hash_uniform_start(1, 2);
	fix.shards[1].hash_last = fix.shards[2].hash_first - 1;
	fix.info.n_shards = 3;
	store_up();
	struct test_put *test = put_new();
	put_add(test, 1, 1);
	put_add(test, 2, 1);
	put_send(test);
	settle();
	cr_expect_eq(test->records[0].shard.shard, 1);
	cr_expect_eq(test->records[1].shard.shard, 2);
	cr_expect_eq(locate(0, (struct position){.kind = POSITION_LATEST}), 42);
	free(test);
}

Test(lane_put, one_group_in_flight_and_the_rest_gathers)
{
	fixture(off, 1);
	int64_t groups = metric_get(METRIC_groups), records = metric_get(METRIC_records_put);
	struct test_put *a = put_new(), *b = put_new(), *c = put_new();
	put_add(a, 0, 100);
	put_add(b, 0, 100);
	put_add(b, 0, 100);
	put_add(c, 0, 100);
	put_send(a);
	lane_step();
	put_send(b);
	lane_step();
	put_send(c);
	lane_step();
	cr_assert(syncer_step());
	cr_expect_not(syncer_step(), "a second group was handed out while the first was in flight");
	cr_expect_not(box_step(), "acknowledged before the lane knew that it is durable");
	lane_step();
	box_step();
	cr_expect(a->done && !b->done && !c->done);
	settle();
	cr_expect(b->done && c->done);
	cr_expect_eq(metric_get(METRIC_groups) - groups, 2);
	cr_expect_eq(metric_get(METRIC_records_put) - records, 4);
	cr_expect_eq(a->records[0].index, 1);
	cr_expect_eq(b->records[0].index, 2);
	cr_expect_eq(b->records[1].index, 3);
	cr_expect_eq(c->records[0].index, 4);
	free(a), free(b), free(c);
}

Test(lane_put, arrival_time_is_taken_when_the_group_closes)
{
	fixture(off, 1);
	struct test_put *a = put_new(), *b = put_new();
	put_add(a, 0, 1);
	put_add(b, 0, 1);
	put_send(a);
	lane_step();
	put_send(b);
	lane_step();
	sim_disk_advance(fix.disk, 50 * MS);
	settle();
	cr_expect_eq(a->records[0].arrival_ms, SIM_WALL_START_MS);
	cr_expect_eq(b->records[0].arrival_ms, SIM_WALL_START_MS + 50, "AT_TIMESTAMP of a moment ago would skip it");
	free(a), free(b);
}

Test(lane_put, arrival_time_never_goes_back)
{
	fixture(off, 1);
	put_one(0, 1);
	sim_disk_step_wall(fix.disk, -5000);
	struct test_put *test = put_new();
	put_add(test, 0, 1);
	put_send(test);
	settle();
	cr_expect_eq(test->records[0].arrival_ms, SIM_WALL_START_MS);
	free(test);
}

/* ---- Limits ---- */

Test(lane_put, the_1001st_record_of_a_second_is_throttled_and_takes_no_index)
{
	fixture(aws, 1);
	struct test_put *puts[3] = {put_new(), put_new(), put_new()};
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < (k < 2 ? 500 : 2); i++)
			put_add(puts[k], 0, 1);
	for (int k = 0; k < 3; k++)
		put_send(puts[k]);
	int64_t throttled = metric_get(METRIC_records_throttled);
	settle();
	cr_expect_eq(puts[1]->records[499].status, STATUS_OK);
	cr_expect_eq(puts[2]->put.status, STATUS_OK);
	cr_expect_eq(puts[2]->records[0].status, STATUS_THROTTLED);
	cr_expect_eq(puts[2]->records[0].shard.stream, STREAM, "the text needs the shard");
	cr_expect_eq(metric_get(METRIC_records_throttled) - throttled, 2);
	sim_disk_advance(fix.disk, MS); /* one record's worth */
	cr_expect_eq(put_one(0, 1), 1001);
	for (int k = 0; k < 3; k++)
		free(puts[k]);
}

Test(lane_put, small_records_pass_behind_a_large_one_that_did_not)
{
	fixture(aws, 2);
	struct test_put *test = put_new();
	put_add(test, 0, 900 << 10);
	put_add(test, 0, 200 << 10);
	put_add(test, 0, 1 << 10);
	put_add(test, 1, 200 << 10); /* another shard's limit */
	put_send(test);
	settle();
	cr_expect_eq(test->records[0].status, STATUS_OK);
	cr_expect_eq(test->records[1].status, STATUS_THROTTLED);
	cr_expect_eq(test->records[2].status, STATUS_OK);
	cr_expect_eq(test->records[3].status, STATUS_OK);
	cr_expect_eq(test->records[2].index, 2);
	free(test);
}

Test(lane_put, a_record_larger_than_a_seconds_bytes_passes_from_a_full_bucket)
{
	fixture(aws, 1);
	put_one(0, 3 * MIB);
	struct test_put *test = put_new();
	put_add(test, 0, 1);
	put_send(test);
	settle();
	cr_expect_eq(test->records[0].status, STATUS_THROTTLED);
	free(test);
	sim_disk_advance(fix.disk, 2 * SECOND + 10 * MS);
	cr_expect_eq(put_one(0, 1), 2);
}

Test(lane_put, what_the_bytes_refuse_costs_no_record)
{
	struct limits limits = {.write_records = 2, .write_bytes = 1000};
	fixture(limits, 1);
	struct test_put *test = put_new();
	put_add(test, 0, 899);
	put_add(test, 0, 200); /* no bytes left for it */
	put_add(test, 0, 9);   /* and this is the second record */
	put_add(test, 0, 9);   /* and this the third */
	put_send(test);
	settle();
	cr_expect_eq(test->records[0].status, STATUS_OK);
	cr_expect_eq(test->records[1].status, STATUS_THROTTLED);
	cr_expect_eq(test->records[2].status, STATUS_OK);
	cr_expect_eq(test->records[3].status, STATUS_THROTTLED);
	free(test);
}

Test(lane_put, a_put_of_which_all_is_throttled_is_answered_without_the_disk)
{
	struct limits limits = {.write_records = 1, .write_bytes = 1000};
	fixture(limits, 1);
	put_one(0, 1);
	struct test_put *test = put_new();
	put_add(test, 0, 1);
	put_send(test);
	lane_step();
	cr_expect_not(pool_pending(store_syncers(fix.store)));
	box_step();
	cr_expect(test->done);
	free(test);
}

/* ---- Bounds ---- */

Test(lane_put, puts_wait_in_order_for_a_group_with_room)
{
	fixture(off, 1);
	struct test_put *puts[6];
	int64_t groups = metric_get(METRIC_groups);
	for (int i = 0; i < 6; i++) {
		puts[i] = put_new();
		put_add(puts[i], 0, 9 * MIB);
	}
	put_add(puts[5], 0, 1);
	for (int i = 0; i < 6; i++) {
		put_send(puts[i]);
		lane_step();
	}
	/* In flight: 0. Gathered: 1, 2. */
	cr_expect_eq(fix.store->lanes[0].undurable / (9 * MIB), 3);
	cr_assert(syncer_step());
	lane_step();
	/* In flight: 1, 2. Gathered: 3, 4. */
	cr_expect_eq(fix.store->lanes[0].undurable / (9 * MIB), 4);
	settle();
	for (int i = 0; i < 6; i++) {
		cr_expect(puts[i]->done);
		cr_expect_eq(puts[i]->records[0].index, (uint64_t)i + 1);
		free(puts[i]);
	}
	cr_expect_eq(metric_get(METRIC_groups) - groups, 4);
	cr_expect_eq(fix.store->lanes[0].undurable, 0);
}

static void open_stream(struct stream_info *info)
{
	struct test_admin open = {.admin = {.kind = ADMIN_OPEN_STREAM, .stream = info}};
	admin_send(&open);
	settle();
	cr_assert(open.done && open.admin.status == STATUS_OK);
}

static void close_stream(uint64_t id)
{
	struct test_admin close = {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = id}};
	admin_send(&close);
	settle();
	cr_assert(close.done && close.admin.status == STATUS_OK);
}

Test(lane_put, a_full_lane_makes_puts_of_every_stream_wait_and_lets_them_go_on)
{
	fixture(off, 1);
	struct shard_info shards[8];
	struct test_put *puts[9];
	for (uint64_t i = 0; i < 8; i++) {
		shards[i] = fix.shards[0];
		shards[i].key.stream = 10 + i;
		open_stream(&(struct stream_info){.id = 10 + i, .n_shards = 1, .shards = &shards[i]});
	}
	for (uint64_t i = 0; i < 9; i++) {
		puts[i] = put_new();
		puts[i]->put.stream = i < 8 ? 10 + i : STREAM;
		put_add(puts[i], 0, i < 8 ? 9 * MIB : 1);
		put_send(puts[i]);
	}
	lane_step();
	cr_expect_eq(fix.store->lanes[0].undurable / MIB, 72, "eight times nine: the limit is crossed by one put, not by more");
	cr_expect_not(list_empty(&fix.store->lanes[0].waiting));
	settle();
	for (uint64_t i = 0; i < 9; i++) {
		cr_expect(puts[i]->done);
		free(puts[i]);
	}
	for (uint64_t i = 0; i < 8; i++)
		close_stream(10 + i);
}

Test(lane_put, room_that_a_closed_stream_leaves_lets_puts_go_on)
{
	fixture(off, 1);
	struct shard_info shard = fix.shards[0];
	shard.key.stream = 10;
	open_stream(&(struct stream_info){.id = 10, .n_shards = 1, .shards = &shard});
	struct test_put *large = put_new(), *small = put_new();
	large->put.stream = 10;
	for (int i = 0; i < 8; i++)
		put_add(large, 0, 9 * MIB);
	put_add(small, 0, 1);
	struct test_admin close = {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = 10}};
	put_send(large);
	put_send(small);
	admin_send(&close); /* in the same turn: nothing of the large put is at the disk */
	lane_step();
	settle();
	cr_expect(large->done && close.done);
	cr_expect_eq(large->records[7].status, STATUS_NOT_FOUND);
	cr_expect(small->done);
	cr_expect_eq(small->records[0].status, STATUS_OK);
	free(large), free(small);
}

/* ---- Failure ---- */

Test(lane_put, an_unknown_stream_is_not_found)
{
	fixture(off, 1);
	struct test_put *test = put_new();
	test->put.stream = 99;
	put_add(test, 0, 1);
	put_send(test);
	settle();
	cr_expect(test->done);
	cr_expect_eq(test->put.status, STATUS_NOT_FOUND);
	cr_expect_eq(test->records[0].status, STATUS_NOT_FOUND);
	free(test);
}

Test(lane_put, a_full_disk_fails_the_group_and_its_indexes_are_given_again)
{
	fixture(off, 1);
	fix.store->free_floor = 0; /* so that the write itself is what fails */
	put_one(0, 10);
	sim_disk_set_capacity(fix.disk, sim_disk_used(fix.disk) + 100);
	struct test_put *a = put_new(), *b = put_new();
	put_add(a, 0, 5 * MIB);
	put_add(b, 0, 10);
	put_send(a);
	lane_step();
	put_send(b);
	lane_step();
	cr_assert(syncer_step());
	lane_step();
	box_step();
	cr_expect(a->done);
	cr_expect_eq(a->put.status, STATUS_OK);
	cr_expect_eq(a->records[0].status, STATUS_DISK_FULL);
	sim_disk_set_capacity(fix.disk, 0);
	settle();
	cr_assert(b->done);
	cr_expect_eq(b->records[0].status, STATUS_OK);
	cr_expect_eq(b->records[0].index, 2, "what failed left a hole");
	cr_expect_eq(fix.poisoned, 0);
	free(a), free(b);
	struct test_read test;
	read_send(&test, 0, 1);
	settle();
	cr_expect_eq(read_count(&test), 2);
	store_read_release(&test.read);
}

Test(lane_put, below_the_floor_puts_are_refused_without_the_log_and_resume_by_themselves)
{
	fixture(off, 1);
	put_one(0, 10);
	fix.store->free_floor = MIB;
	sim_disk_set_capacity(fix.disk, sim_disk_used(fix.disk) + MIB / 2);
	sim_disk_advance(fix.disk, SECOND);
	put_one(0, 10); /* the look after this commit finds it */
	uint64_t writes = sim_disk_calls(fix.disk, SIM_PWRITEV);
	struct test_put *test = put_new();
	put_add(test, 0, 10);
	put_send(test);
	settle();
	cr_expect_eq(test->records[0].status, STATUS_DISK_FULL);
	cr_expect_eq(sim_disk_calls(fix.disk, SIM_PWRITEV), writes);

	struct test_read read;
	read_send(&read, 0, 1);
	settle();
	cr_expect_eq(read_count(&read), 2, "reads go on");
	store_read_release(&read.read);

	sim_disk_set_capacity(fix.disk, 0);
	test->done = false;
	uint64_t looks = sim_disk_calls(fix.disk, SIM_FREE_BYTES);
	put_send(test);
	settle();
	cr_expect_eq(test->records[0].status, STATUS_DISK_FULL);
	cr_expect_eq(sim_disk_calls(fix.disk, SIM_FREE_BYTES), looks, "no more often than every 100 ms");
	sim_disk_advance(fix.disk, 100 * MS);
	test->done = false;
	put_send(test);
	settle(); /* refused, but it made somebody look */
	cr_expect_eq(put_one(0, 10), 3);
	free(test);
}

Test(lane_put, a_failed_sync_poisons_the_stream_once)
{
	fixture(off, 1);
	put_one(0, 10);
	struct test_put *puts[3] = {put_new(), put_new(), put_new()};
	for (int i = 0; i < 3; i++)
		put_add(puts[i], 0, 10);
	sim_disk_fail(fix.disk, SIM_FDATASYNC, 1, 1, EIO);
	put_send(puts[0]);
	lane_step();
	put_send(puts[1]);
	settle();
	put_send(puts[2]); /* the next sync would say 0 */
	settle();
	for (int i = 0; i < 3; i++) {
		cr_expect(puts[i]->done);
		cr_expect_eq(puts[i]->put.status, STATUS_OK);
		cr_expect_eq(puts[i]->records[0].status, STATUS_IO);
		free(puts[i]);
	}
	cr_expect_eq(fix.poisoned, 1);
	struct test_read read;
	read_send(&read, 0, 1);
	settle();
	cr_expect_eq(read_count(&read), 1);
	cr_expect_eq(read.read.durable_end, 1);
	store_read_release(&read.read);
}

/* ---- Stop and restart ---- */

Test(lane_put, stop_finishes_what_gathers_and_refuses_what_comes_later)
{
	fixture(off, 1);
	struct test_put *puts[3] = {put_new(), put_new(), put_new()};
	for (int i = 0; i < 3; i++)
		put_add(puts[i], 0, 10);
	put_send(puts[0]);
	lane_step();
	put_send(puts[1]);
	outbox_flush(&fix.out);
	store_stop(fix.store);
	put_send(puts[2]);
	lane_step();
	box_step();
	cr_expect_eq(puts[0]->records[0].index, 1);
	cr_expect_eq(puts[1]->records[0].index, 2);
	cr_expect(puts[2]->done);
	cr_expect_eq(puts[2]->put.status, STATUS_CLOSING);
	cr_expect_eq(puts[2]->records[0].status, STATUS_CLOSING);
	for (int i = 0; i < 3; i++)
		free(puts[i]);
}

Test(lane_put, a_clean_restart_goes_on_where_it_was)
{
	fixture(off, 2);
	put_group(0, 3, 100);
	put_group(1, 2, 100);
	store_down();
	store_up();
	struct test_read read;
	read_send(&read, 0, 1);
	settle();
	cr_expect_eq(read_count(&read), 3);
	cr_expect_eq(read.read.durable_end, 3);
	cr_expect_eq(read.read.durable_end_ms, SIM_WALL_START_MS);
	store_read_release(&read.read);
	cr_expect_eq(put_one(0, 1), 4);
	cr_expect_eq(put_one(1, 1), 3);
}

Test(lane_put, a_power_cut_takes_nothing_that_was_acknowledged)
{
	fixture(off, 1);
	put_group(0, 5, 100);
	struct test_put *test = put_new();
	put_add(test, 0, 10);
	put_send(test);
	lane_step(); /* the group is at the syncer, not on the disk */
	sim_disk_arm(fix.disk, 1);
	store_down();
	cr_expect_neq(test->records[0].status, STATUS_OK);
	free(test);
	sim_disk_crash(fix.disk, NULL);
	store_up();
	struct test_read read;
	read_send(&read, 0, 1);
	settle();
	cr_expect_eq(read_count(&read), 5);
	store_read_release(&read.read);
	cr_expect_eq(put_one(0, 1), 6);
}
