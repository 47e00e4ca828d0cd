/* test_lane_reshard.c: seal, hold, switch at the lane; what puts, readers and listeners see of it; a crash between any two steps. */
#include "tests/unit/join_fixture.h"

static const struct limits off = LIMITS_OFF;

/* ---- What the control thread would do ---- */

/* Parents and children of the reshard at hand; the catalogue's rows are fix.shards. */
static struct test_admin seal, add, change_over;
static struct shard_info parents[2], children[4];
static uint32_t n_parents, n_children;

static void seal_send(bool refuse)
{
	seal.admin =
		(struct store_admin){.kind = ADMIN_SEAL, .stream_id = STREAM, .shards = parents, .n_shards = n_parents, .refuse = refuse};
	admin_send(&seal);
}

static void child(uint32_t parent, uint32_t adjacent, uint128 first, uint128 last)
{
	children[n_children] = (struct shard_info){.key = {STREAM, fix.info.n_shards + n_children, CREATED_S + 100},
						   .hash_first = first,
						   .hash_last = last,
						   .parent = parent,
						   .adjacent = adjacent};
	n_children++;
}

static void plan_split(uint32_t parent, uint128 at)
{
	n_parents = 1;
	n_children = 0;
	parents[0] = fix.shards[parent];
	child(parent, NO_PARENT, parents[0].hash_first, at - 1);
	child(parent, NO_PARENT, at, parents[0].hash_last);
}

static void plan_merge(uint32_t lower, uint32_t upper)
{
	n_parents = 2;
	n_children = 0;
	parents[0] = fix.shards[lower];
	parents[1] = fix.shards[upper];
	child(lower, upper, parents[0].hash_first, parents[1].hash_last);
}

/* The catalogue's transaction. */
static void commit_rows(void)
{
	for (uint32_t i = 0; i < n_parents; i++) {
		parents[i].closed_ms = wall();
		fix.shards[parents[i].key.shard].closed = true;
		fix.shards[parents[i].key.shard].end_index = parents[i].end_index;
		fix.shards[parents[i].key.shard].closed_ms = wall();
	}
	for (uint32_t i = 0; i < n_children; i++)
		fix.shards[fix.info.n_shards++] = children[i];
}

static void add_send(void)
{
	add.admin = (struct store_admin){.kind = ADMIN_ADD_SHARDS, .stream_id = STREAM, .shards = children, .n_shards = n_children};
	admin_send(&add);
}

static void switch_send(void)
{
	change_over.admin =
		(struct store_admin){.kind = ADMIN_SWITCH_SHARDS, .stream_id = STREAM, .shards = parents, .n_shards = n_parents};
	admin_send(&change_over);
}

static void reshard(void)
{
	seal_send(false);
	settle();
	cr_assert(seal.done);
	cr_assert_eq(seal.admin.status, STATUS_OK);
	for (uint32_t i = 0; i < n_parents; i++)
		cr_assert_gt(parents[i].closed_ms,
			     lane_stream_shard(lane_find(&fix.store->lanes[0], STREAM), parents[i].key.shard)->last_arrival_ms);
	commit_rows();
	add_send();
	switch_send();
	settle();
	cr_assert(add.done && change_over.done);
	cr_assert_eq(add.admin.status, STATUS_OK);
	cr_assert_eq(change_over.admin.status, STATUS_OK);
}

/* One record to a hash, not waited for. */
static struct test_put *put_hash(uint128 hash)
{
	struct test_put *test = put_new();
	put_add(test, 0, 10);
	test->records[0].hash = hash;
	put_send(test);
	return test;
}

static void expect_put(struct test_put *test, uint32_t shard, uint64_t index)
{
	cr_assert(test->done);
	cr_expect_eq(test->put.status, STATUS_OK);
	cr_expect_eq(test->records[0].status, STATUS_OK);
	cr_expect_eq(test->records[0].shard.shard, shard, "in shard %u", test->records[0].shard.shard);
	cr_expect_eq(test->records[0].index, index);
	free(test);
}

static uint64_t count_records(uint32_t shard)
{
	struct test_read test;
	read_send(&test, shard, 1);
	settle();
	cr_assert(test.done);
	cr_assert_eq(test.read.status, STATUS_OK);
	uint64_t n = read_count(&test);
	store_read_release(&test.read);
	return n;
}

/* ---- The steps ---- */

Test(lane_reshard, a_split)
{
	fixture(off, 1);
	put_group(0, 3, 10);
	plan_split(0, 1000);
	reshard();
	cr_expect_eq(parents[0].end_index, 3);
	struct test_put *low = put_hash(999), *high = put_hash(1000);
	settle();
	expect_put(low, 1, 1);
	expect_put(high, 2, 1);
	struct test_read test;
	read_send(&test, 0, 3);
	settle();
	cr_expect(test.read.closed && test.read.durable_end == 3 && read_count(&test) == 1);
	store_read_release(&test.read);
	cr_expect_eq(locate(0, (struct position){.kind = POSITION_LATEST}), 4);
	cr_expect_eq(locate(0, (struct position){.kind = POSITION_AFTER, .index = SEQ_INDEX_MAX}), 4);
	cr_expect_eq(locate(0, (struct position){.kind = POSITION_TRIM_HORIZON}), 1);
	cr_expect_eq(locate(1, (struct position){.kind = POSITION_LATEST}), 2);
	fixture_fini();
}

Test(lane_reshard, a_merge_of_empty_shards)
{
	fixture(off, 2);
	plan_merge(0, 1);
	reshard();
	cr_expect(parents[0].end_index == 0 && parents[1].end_index == 0);
	struct test_put *put = put_hash(~(uint128)0);
	settle();
	expect_put(put, 2, 1);
	cr_expect_eq(locate(0, (struct position){.kind = POSITION_LATEST}), 1, "of a closed and empty shard");
	fixture_fini();
}

Test(lane_reshard, the_seal_waits_for_what_is_in_flight_and_what_gathers)
{
	fixture(off, 1);
	struct test_put *puts[3];
	puts[0] = put_hash(1);
	lane_step(); /* in flight */
	puts[1] = put_hash(2);
	lane_step(); /* gathers */
	plan_split(0, 1000);
	seal_send(false);
	puts[2] = put_hash(3);
	lane_step(); /* sealed: waits */
	box_step();
	cr_expect(!puts[0]->done && !puts[1]->done && !seal.done);
	syncer_step();
	lane_step();
	box_step();
	cr_expect(puts[0]->done && !puts[1]->done && !seal.done, "its second group has just left");
	settle();
	cr_expect(puts[1]->done && seal.done && !puts[2]->done);
	cr_expect_eq(parents[0].end_index, 2);
	commit_rows();
	add_send();
	settle();
	cr_expect(!puts[2]->done, "not before the workers' snapshots are on their way");
	switch_send();
	settle();
	expect_put(puts[0], 0, 1);
	expect_put(puts[1], 0, 2);
	expect_put(puts[2], 1, 1);
	fixture_fini();
}

Test(lane_reshard, other_shards_go_on_until_a_put_waits_then_order_is_kept)
{
	fixture(off, 2);
	plan_split(0, 1000);
	seal_send(false);
	settle();
	struct test_put *free_one = put_hash(fix.shards[1].hash_first);
	settle();
	expect_put(free_one, 1, 1);
	struct test_put *held = put_new(); /* of both shards: whole in one group */
	put_add(held, 1, 10);
	put_add(held, 0, 10);
	put_send(held);
	struct test_put *behind = put_hash(fix.shards[1].hash_first);
	settle();
	cr_expect(!held->done && !behind->done);
	commit_rows();
	add_send();
	switch_send();
	settle();
	cr_assert(held->done);
	cr_expect_eq(held->records[0].index, 2);
	cr_expect_eq(held->records[1].shard.shard, 2);
	free(held);
	expect_put(behind, 1, 3);
	fixture_fini();
}

Test(lane_reshard, many_producers_lose_nothing)
{
	fixture(off, 1);
	enum { PUTS = 400 };
	struct test_put *puts[PUTS];
	uint64_t in_parent = 0, in_children = 0;
	plan_split(0, (uint128)1 << 127);
	for (unsigned i = 0; i < PUTS; i++) {
		puts[i] = put_hash((uint128)i << 120);
		if (i % 3 == 0)
			lane_step();
		if (i % 7 == 0)
			syncer_step();
		if (i == 100)
			seal_send(false);
		box_step();
		if (i == 250) {
			settle();
			cr_assert(seal.done);
			commit_rows();
			add_send();
			switch_send();
		}
	}
	settle();
	for (unsigned i = 0; i < PUTS; i++) {
		cr_assert(puts[i]->done);
		cr_assert_eq(puts[i]->records[0].status, STATUS_OK);
		in_parent += puts[i]->records[0].shard.shard == 0;
		in_children += puts[i]->records[0].shard.shard != 0;
		free(puts[i]);
	}
	cr_expect_eq(in_parent, parents[0].end_index);
	cr_expect_eq(count_records(0), in_parent);
	cr_expect_eq(count_records(1) + count_records(2), in_children);
	cr_expect_gt(in_parent, 90);
	cr_expect_gt(in_children, 250);
	fixture_fini();
}

Test(lane_reshard, children_added_while_a_group_is_in_flight)
{
	fixture(off, 2);
	plan_split(0, 1000);
	seal_send(false);
	settle();
	commit_rows();
	struct test_put *flying = put_hash(fix.shards[1].hash_first);
	lane_step(); /* its syncer has the marks of two shards */
	add_send();
	switch_send();
	lane_step();
	settle();
	cr_expect(add.done && change_over.done);
	expect_put(flying, 1, 1);
	struct test_put *put = put_hash(5);
	settle();
	expect_put(put, 2, 1);
	fixture_fini();
}

Test(lane_reshard, arrival_times_never_go_back_from_parent_to_child)
{
	fixture(off, 1);
	put_one(0, 10);
	int64_t last = wall();
	sim_disk_step_wall(fix.disk, -60000);
	plan_split(0, 1000);
	reshard();
	struct test_put *put = put_hash(5);
	settle();
	cr_expect_eq(put->records[0].arrival_ms, last, "a clock that was set back must not show");
	expect_put(put, 1, 1);
	store_down();
	store_up();
	put = put_hash(2000);
	settle();
	cr_expect_eq(put->records[0].arrival_ms, last, "the other child had no record: recovery knows it from the parent");
	expect_put(put, 2, 1);
	fixture_fini();
}

/* Of the first record nothing but a mark is left: it must be the child's, though the segment was born long after the split. */
Test(lane_reshard, a_childs_index_outlives_its_records)
{
	fixture(off, 1);
	plan_split(0, 1000);
	reshard();
	struct test_put *put = put_hash(2000);
	settle();
	expect_put(put, 2, 1);
	for (int i = 0; i < 4; i++) { /* rolls */
		put = put_new();
		put_add(put, 0, MIB);
		put->records[0].hash = 5;
		put_send(put);
		settle();
		expect_put(put, 1, (uint64_t)i + 1);
	}
	sim_disk_advance(fix.disk, 3600 * SECOND);
	struct test_admin retain = {.admin = {.kind = ADMIN_RETAIN, .id = STREAM, .expired_ms = wall() - 1, .horizon_ms = wall() - 1}};
	admin_send(&retain);
	settle();
	cr_expect(retain.done && retain.admin.status == STATUS_OK);
	struct index_cursor cursor;
	cr_expect_not(index_find(shard_of(2), 0, &cursor));
	store_down();
	store_up();
	put = put_hash(2000);
	settle();
	expect_put(put, 2, 2);
	fixture_fini();
}

/* ---- Listeners ---- */

Test(lane_reshard, listeners_are_told_at_the_switch_and_not_before)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	join_now(1, 0, 6, 101);
	put_one(0, 10);
	forget_notices();
	plan_split(0, 1000);
	seal_send(false);
	settle();
	commit_rows();
	add_send();
	settle();
	cr_expect_eq(ears[0].n_notices + ears[1].n_notices, 0);
	struct test_join early;
	join_send(&early, 0, 1, 5, 102); /* who sees the child in a snapshot finds it */
	settle();
	cr_expect_eq(early.join.status, STATUS_OK);
	cr_expect(early.join.next == 1 && !early.join.closed);
	switch_send();
	settle();
	for (int i = 0; i < 2; i++) {
		cr_assert_eq(ears[i].n_notices, 1);
		cr_expect(ears[i].notices[0].closed && ears[i].notices[0].durable_end == 1 && ears[i].notices[0].shard.shard == 0);
	}
	struct test_join late;
	join_send(&late, 0, 0, 7, 103);
	settle();
	cr_expect(late.join.status == STATUS_OK && late.join.closed && late.join.next == 2 && late.join.durable_end == 1);
	join_fixture_fini();
}

/* ---- Failures ---- */

Test(lane_reshard, while_the_catalogue_cannot_be_written_puts_fail)
{
	fixture(off, 2);
	plan_split(0, 1000);
	seal_send(false);
	settle();
	struct test_put *held = put_hash(5), *behind = put_hash(fix.shards[1].hash_first);
	settle();
	cr_expect(!held->done && !behind->done);
	seal_send(true);
	settle();
	cr_expect(seal.done && seal.admin.status == STATUS_OK);
	cr_expect(held->done && held->records[0].status == STATUS_IO);
	free(held);
	expect_put(behind, 1, 1);
	commit_rows();
	add_send();
	switch_send();
	settle();
	struct test_put *put = put_hash(5);
	settle();
	expect_put(put, 2, 1);
	fixture_fini();
}

Test(lane_reshard, a_log_that_is_poisoned_is_not_sealed)
{
	fixture(off, 1);
	struct test_put *put = put_hash(5);
	lane_step();
	sim_disk_fail(fix.disk, SIM_FDATASYNC, 1, 1, EIO);
	plan_split(0, 1000);
	seal_send(false);
	settle();
	cr_expect(seal.done);
	cr_expect_eq(seal.admin.status, STATUS_IO, "nobody knows where its end is");
	cr_expect_eq(put->records[0].status, STATUS_IO);
	free(put);
	seal_send(false);
	settle();
	cr_expect_eq(seal.admin.status, STATUS_IO);
	put = put_hash(5);
	settle();
	cr_expect(put->done, "it does not wait either");
	free(put);
	fixture_fini();
}

Test(lane_reshard, a_full_disk_does_not_stop_it)
{
	fixture(off, 1);
	put_one(0, 10);
	struct test_put *put = put_new();
	put_add(put, 0, 5 * MIB);
	put_send(put);
	lane_step();
	sim_disk_set_capacity(fix.disk, sim_disk_used(fix.disk) + 100);
	plan_split(0, 1000);
	seal_send(false);
	settle();
	cr_expect(put->done && put->records[0].status == STATUS_DISK_FULL);
	free(put);
	cr_expect(seal.done && seal.admin.status == STATUS_OK);
	cr_expect_eq(parents[0].end_index, 1, "what was refused is not in front of the end");
	commit_rows();
	add_send();
	switch_send();
	settle();
	sim_disk_set_capacity(fix.disk, 0);
	sim_disk_advance(fix.disk, SECOND);
	put = put_hash(5);
	settle();
	free(put); /* finds out that there is room again */
	put = put_hash(2000);
	settle();
	cr_expect_eq(put->records[0].status, STATUS_OK);
	free(put);
	fixture_fini();
}

Test(lane_reshard, of_what_is_not_there)
{
	fixture(off, 1);
	plan_split(0, 1000);
	parents[0].key.shard = 9;
	seal_send(false);
	settle();
	cr_expect_eq(seal.admin.status, STATUS_NOT_FOUND);
	struct test_put *put = put_hash(5);
	settle();
	expect_put(put, 0, 1);
	seal.admin.stream_id = add.admin.stream_id = change_over.admin.stream_id = 99;
	seal.admin.kind = ADMIN_SEAL;
	add.admin = (struct store_admin){.kind = ADMIN_ADD_SHARDS, .stream_id = 99};
	change_over.admin = (struct store_admin){.kind = ADMIN_SWITCH_SHARDS, .stream_id = 99};
	admin_send(&seal);
	admin_send(&add);
	admin_send(&change_over);
	settle();
	cr_expect_eq(seal.admin.status, STATUS_NOT_FOUND);
	cr_expect_eq(add.admin.status, STATUS_NOT_FOUND);
	cr_expect_eq(change_over.admin.status, STATUS_NOT_FOUND);
	fixture_fini();
}

Test(lane_reshard, a_stream_is_deleted_under_it)
{
	fixture(off, 1);
	struct test_put *flying = put_hash(5);
	lane_step();
	plan_split(0, 1000);
	seal_send(false);
	struct test_put *held = put_hash(5);
	struct test_admin close = {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = STREAM}};
	admin_send(&close);
	settle();
	cr_expect(seal.done && seal.admin.status == STATUS_NOT_FOUND);
	cr_expect(held->done && held->put.status == STATUS_NOT_FOUND);
	cr_expect(flying->done && close.done && close.admin.status == STATUS_OK);
	free(flying);
	free(held);
	fixture_fini();
}

Test(lane_reshard, the_store_stops_under_it)
{
	fixture(off, 2);
	plan_split(0, 1000);
	seal_send(false);
	settle();
	struct test_put *held = put_hash(5), *behind = put_hash(fix.shards[1].hash_first);
	settle();
	store_stop(fix.store);
	while (box_step())
		;
	cr_expect(held->done && held->put.status == STATUS_CLOSING);
	cr_expect(behind->done && behind->put.status == STATUS_CLOSING);
	free(held);
	free(behind);
	fixture_fini();
}

/* ---- Crashes ---- */

static void power_cut(void)
{
	sim_disk_arm(fix.disk, 1); /* nothing is closed in order any more */
	store_down();
	sim_disk_crash(fix.disk, NULL);
	store_up();
}

/* The steps up to `step` are done when the power goes; the rows are what the catalogue has. Then it is begun again, or gone on with. */
Test(lane_reshard, a_crash_between_any_two_steps)
{
	for (int step = 0; step < 5; step++) {
		fixture(off, 1);
		put_group(0, 3, 10);
		plan_split(0, 1000);
		if (step >= 1) {
			seal_send(false);
			settle();
		}
		struct test_put *held = step >= 1 ? put_hash(5) : NULL;
		if (step >= 2)
			commit_rows();
		if (step >= 3)
			add_send();
		if (step >= 4)
			switch_send();
		settle();
		cr_expect(!held || held->done == (step == 4));
		power_cut();
		free(held);
		if (step < 2) {
			put_group(0, 2, 10); /* between the start and the reshard's redoing */
			plan_split(0, 1000);
			reshard();
			cr_expect_eq(parents[0].end_index, 5);
		}
		cr_expect(shard_of(0)->closed && !shard_of(1)->closed && !shard_of(2)->closed);
		cr_expect_eq(count_records(0), step < 2 ? 5 : 3);
		struct test_put *put = put_hash(6);
		settle();
		expect_put(put, 1, step == 4 ? 2 : 1);
		cr_expect_eq(locate(0, (struct position){.kind = POSITION_LATEST}), step < 2 ? 6 : 4);
		fixture_fini();
	}
}

/* The undo of a refused group may be due still when the power goes: then the group is whole on the disk, though nobody was told. */
Test(lane_reshard, what_lies_behind_the_end_of_a_closed_shard_is_not_its)
{
	fixture(off, 1);
	put_group(0, 3, 10);
	put_group(0, 2, 10);
	fix.shards[0].closed = true; /* as if the second group had been refused */
	fix.shards[0].end_index = 3;
	fix.shards[1] =
		(struct shard_info){.key = {STREAM, 1, CREATED_S + 100}, .hash_last = ~(uint128)0, .parent = 0, .adjacent = NO_PARENT};
	fix.info.n_shards = 2;
	store_down();
	store_up();
	cr_expect_eq(count_records(0), 3);
	cr_expect_eq(locate(0, (struct position){.kind = POSITION_LATEST}), 4);
	fixture_fini();
}

/* ---- Expiry ---- */

Test(lane_reshard, retention_forgets_closed_shards)
{
	join_fixture(1);
	put_one(0, 10);
	plan_split(0, 1000);
	reshard();
	join_now(0, 0, 5, 100);
	sim_disk_advance(fix.disk, 3600 * SECOND);
	struct test_admin retain = {.admin = {.kind = ADMIN_RETAIN, .id = STREAM, .expired_ms = wall() - 1, .horizon_ms = wall() - 1}};
	admin_send(&retain);
	settle();
	cr_expect_not_null(shard_of(0), "somebody listens to it");
	leave_send(0, 0, 5, 100);
	settle();
	retain.admin = (struct store_admin){.kind = ADMIN_RETAIN, .id = STREAM, .expired_ms = wall() - 1, .horizon_ms = wall() - 1};
	admin_send(&retain);
	settle();
	cr_expect(retain.done);
	cr_expect_null(shard_of(0));
	struct test_put *low = put_hash(5), *high = put_hash(1000);
	settle();
	expect_put(low, 1, 1);
	expect_put(high, 2, 1);
	plan_merge(1, 2);
	reshard();
	struct test_put *put = put_hash(7);
	settle();
	expect_put(put, 3, 1);
	join_fixture_fini();
}
