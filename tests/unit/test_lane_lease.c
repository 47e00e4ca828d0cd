/* Tests of shardstore/lane_lease.c: joins, the guard, probes, takeover, leaves, and what ends leases from above. */
#include "tests/unit/join_fixture.h"

TestSuite(lane_lease, .fini = join_fixture_fini);

Test(lane_lease, a_join_tells_where_the_reader_stands)
{
	join_fixture(1);
	struct test_join test;
	join_send(&test, 0, 0, 5, 100);
	settle();
	cr_expect_eq(test.join.status, STATUS_OK);
	cr_expect_eq(test.join.next, 1);
	cr_expect_eq(test.join.before_s, CREATED_S);
	cr_expect_eq(test.join.durable_end, 0);
	cr_expect(test.join.key.stream == STREAM && test.join.key.created_s == CREATED_S);
	leave_send(0, 0, 5, 100);
	put_group(0, 3, 10);
	sim_disk_advance(fix.disk, 5 * SECOND);
	put_group(0, 3, 10);
	join_send(&test, 0, 0, 5, 101);
	settle();
	cr_expect_eq(test.join.next, 7);
	cr_expect_eq(test.join.before_s, SIM_WALL_START_MS / 1000 + 5);
	cr_expect_eq(test.join.durable_end, 6);
	cr_expect_eq(test.join.durable_end_ms, SIM_WALL_START_MS + 5000);
	cr_expect_eq(test.join.next_ms, 0);
	cr_expect_not(test.join.closed);
	leave_send(0, 0, 5, 101);
	join_send(&test, 0, 0, 5, 102);
	test.join.position = (struct position){.kind = POSITION_AT, .index = 4};
	settle();
	cr_expect_eq(test.join.next, 4);
	cr_expect_eq(test.join.before_s, SIM_WALL_START_MS / 1000);
	cr_expect_eq(test.join.next_ms, SIM_WALL_START_MS + 5000, "of the record that comes, not of the one before");
	cr_expect_eq(ears[0].probes, 0);
}

Test(lane_lease, before_is_known_when_retention_took_the_record)
{
	join_fixture(1);
	put_group(0, 3, 10);
	struct test_admin retain = {.admin = {.kind = ADMIN_RETAIN, .id = STREAM, .horizon_ms = INT64_MAX}};
	admin_send(&retain);
	struct test_join test;
	join_send(&test, 0, 0, 5, 100);
	test.join.position.kind = POSITION_TRIM_HORIZON;
	settle();
	cr_expect_eq(test.join.next, 4);
	cr_expect_eq(test.join.before_s, SIM_WALL_START_MS / 1000);
}

Test(lane_lease, no_stream_no_shard)
{
	join_fixture(1);
	struct test_join test;
	join_send(&test, 0, 3, 5, 100);
	settle();
	cr_expect_eq(test.join.status, STATUS_NOT_FOUND);
	join_send(&test, 0, 0, 5, 101);
	test.join.stream = 99;
	settle();
	cr_expect_eq(test.join.status, STATUS_NOT_FOUND);
}

Test(lane_lease, consumers_and_shards_have_their_own)
{
	join_fixture(2);
	join_now(0, 0, 5, 100);
	join_now(0, 1, 5, 101);
	join_now(1, 0, 6, 102);
	cr_expect_eq(ears[0].probes + ears[1].probes, 0);
}

Test(lane_lease, a_second_within_the_guard_is_in_use_after_one_probe)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	sim_disk_advance(fix.disk, LEASE_GUARD_NS - 1);
	struct test_join a, b;
	join_send(&a, 1, 0, 5, 200);
	join_send(&b, 1, 0, 5, 201);
	lane_step();
	cr_expect_not(a.done);
	settle();
	cr_expect(a.done && b.done);
	cr_expect_eq(a.join.status, STATUS_IN_USE);
	cr_expect_eq(b.join.status, STATUS_IN_USE);
	cr_expect_eq(ears[0].probes, 1, "asked once for both");
	cr_expect_eq(ears[0].n_ends, 0);
	/* A refused join does not renew the guard of the one who holds. */
	sim_disk_advance(fix.disk, 1);
	join_now(1, 0, 5, 202);
}

Test(lane_lease, a_client_that_is_gone_is_found_out)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	ears[0].gone = true;
	join_now(1, 0, 5, 200);
	cr_expect_eq(ears[0].probes, 1);
	cr_expect_eq(ears[0].n_ends, 0, "who is gone need not be told");
	leave_send(0, 0, 5, 100); /* that was on its way */
	settle();
	struct test_join test;
	join_send(&test, 0, 0, 5, 300);
	settle();
	cr_expect_eq(test.join.status, STATUS_IN_USE, "a late leave ended somebody else's lease");
}

Test(lane_lease, of_two_that_wait_one_wins)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	ears[0].gone = true;
	struct test_join a, b;
	join_send(&a, 1, 0, 5, 200);
	join_send(&b, 1, 0, 5, 201);
	settle();
	cr_expect_eq(a.join.status, STATUS_OK);
	cr_expect(b.done);
	cr_expect_eq(b.join.status, STATUS_IN_USE);
	cr_expect_eq(ears[1].probes, 1, "the new holder was asked for the second");
}

Test(lane_lease, takeover_after_the_guard)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	sim_disk_advance(fix.disk, LEASE_GUARD_NS);
	join_now(1, 0, 5, 200);
	cr_expect_eq(ears[0].probes, 0);
	cr_expect_eq(ears[0].n_ends, 1);
	cr_expect_eq(ears[0].ends[0].subscription, 100);
	cr_expect_eq(ears[0].ends[0].why, LEASE_TAKEN);
	leave_send(0, 0, 5, 100);
	put_one(0, 10);
	cr_expect_eq(ears[0].n_notices, 0);
	cr_expect_eq(ears[1].n_notices, 1);
}

Test(lane_lease, takeover_on_one_worker_keeps_the_interest)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	sim_disk_advance(fix.disk, LEASE_GUARD_NS);
	join_now(0, 0, 5, 101);
	put_one(0, 10);
	cr_expect_eq(ears[0].n_notices, 1);
	leave_send(0, 0, 5, 101);
	settle();
	cr_expect(list_empty(&shard_of(0)->interests));
	put_one(0, 10);
	cr_expect_eq(ears[0].n_notices, 1);
}

Test(lane_lease, a_leave_makes_room_at_once)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	leave_send(0, 0, 5, 100);
	join_now(1, 0, 5, 200);
	cr_expect_eq(ears[0].probes, 0);
}

Test(lane_lease, a_leave_that_crosses_the_probe_lets_the_waiting_one_in)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	struct test_join test;
	join_send(&test, 1, 0, 5, 200);
	lane_step(); /* the probe lies in the box */
	leave_send(0, 0, 5, 100);
	lane_step();
	settle();
	cr_expect_eq(test.join.status, STATUS_OK);
	/* The probe's answer was about somebody who has left: it must not harm the new holder. */
	put_one(0, 10);
	cr_expect_eq(ears[1].n_notices, 1);
}

Test(lane_lease, a_guard_that_runs_out_during_the_probe_is_a_takeover)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	struct test_join test;
	join_send(&test, 1, 0, 5, 200);
	lane_step();
	sim_disk_advance(fix.disk, LEASE_GUARD_NS);
	settle();
	cr_expect_eq(test.join.status, STATUS_OK);
	cr_expect_eq(ears[0].n_ends, 1);
	cr_expect_eq(ears[0].ends[0].why, LEASE_TAKEN);
}

Test(lane_lease, a_takeover_during_the_probe_moves_the_waiting_ones)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	struct test_join waiting, taker;
	join_send(&waiting, 0, 0, 5, 200);
	lane_step();
	sim_disk_advance(fix.disk, LEASE_GUARD_NS);
	join_send(&taker, 1, 0, 5, 201);
	settle();
	cr_expect_eq(taker.join.status, STATUS_OK);
	cr_expect(waiting.done);
	cr_expect_eq(waiting.join.status, STATUS_IN_USE);
}

Test(lane_lease, a_waiting_join_can_be_given_up)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	ears[0].gone = true;
	struct test_join a, b;
	join_send(&a, 1, 0, 5, 200);
	join_send(&b, 1, 0, 5, 201);
	lane_step();
	leave_send(1, 0, 5, 200);
	lane_step();
	settle();
	cr_expect(a.done && b.done);
	cr_expect_neq(a.join.status, STATUS_OK, "a lease that nobody will ever leave");
	cr_expect_eq(b.join.status, STATUS_OK);
}

Test(lane_lease, a_leave_of_nothing_is_nothing)
{
	join_fixture(1);
	leave_send(0, 0, 5, 100);
	leave_send(0, 7, 5, 100);
	store_leave(fix.store, &fix.out, 99, 0, 5, 100, &ears[0].listener);
	join_now(0, 0, 5, 101);
	leave_send(0, 0, 5, 999);
	leave_send(0, 0, 6, 101);
	settle();
	cr_expect_not(list_empty(&shard_of(0)->leases));
}

Test(lane_lease, closing_the_stream_ends_leases_and_waiting_joins)
{
	join_fixture(2);
	join_now(0, 0, 5, 100);
	join_now(1, 1, 5, 101);
	struct test_join test;
	join_send(&test, 1, 0, 5, 200);
	lane_step();
	struct test_admin close = {.admin = {.kind = ADMIN_CLOSE_STREAM, .stream_id = STREAM}};
	admin_send(&close);
	settle();
	cr_expect(close.done && test.done);
	cr_expect_eq(test.join.status, STATUS_NOT_FOUND);
	for (int i = 0; i < 2; i++) {
		cr_expect_eq(ears[i].n_ends, 1);
		cr_expect_eq(ears[i].ends[0].subscription, 100 + (unsigned)i);
		cr_expect_eq(ears[i].ends[0].why, LEASE_STREAM_GONE);
	}
}

Test(lane_lease, dropping_a_consumer_ends_its_leases_for_good)
{
	join_fixture(2);
	join_now(0, 0, 5, 100);
	join_now(0, 1, 5, 101);
	join_now(1, 0, 6, 102);
	struct test_join waiting, late;
	join_send(&waiting, 1, 0, 5, 200);
	lane_step();
	struct test_admin drop = {.admin = {.kind = ADMIN_DROP_CONSUMER, .id = 5, .stream_id = STREAM}};
	admin_send(&drop);
	join_send(&late, 1, 0, 5, 201); /* from a worker with an older snapshot */
	settle();
	cr_expect(drop.done && waiting.done && late.done);
	cr_expect_eq(drop.admin.status, STATUS_OK);
	cr_expect_eq(waiting.join.status, STATUS_NOT_FOUND);
	cr_expect_eq(late.join.status, STATUS_NOT_FOUND);
	cr_expect_eq(ears[0].n_ends, 2);
	cr_expect_eq(ears[0].ends[0].why, LEASE_CONSUMER_GONE);
	cr_expect_eq(ears[1].n_ends, 0);
	put_one(0, 1);
	cr_expect_eq(ears[0].n_notices, 0);
	cr_expect_eq(ears[1].n_notices, 1);
}

Test(lane_lease, stop_answers_joins_that_wait_and_takes_probes_back)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	struct test_join waiting, late;
	join_send(&waiting, 1, 0, 5, 200);
	lane_step();
	store_stop(fix.store);
	join_send(&late, 1, 0, 6, 201);
	leave_send(0, 0, 5, 100);
	lane_step();
	box_step(); /* the probe is answered, to a lane that has stopped; store_free takes it */
	cr_expect(waiting.done && late.done);
	cr_expect_eq(waiting.join.status, STATUS_CLOSING);
	cr_expect_eq(late.join.status, STATUS_CLOSING);
}

/* ---- SubscribeToShard, 1 a second ---- */

static const struct limits one_a_second = {.subscribe_calls = 1};

static enum status join_status(int ear, uint32_t shard, uint64_t consumer, uint64_t subscription)
{
	struct test_join test;
	join_send(&test, ear, shard, consumer, subscription);
	settle();
	cr_assert(test.done);
	return test.join.status;
}

Test(lane_lease, a_second_call_passes_and_the_third_is_too_many)
{
	join_fixture_limits(one_a_second, 2);
	for (uint64_t id = 100; id < 102; id++) {
		cr_expect_eq(join_status(0, 0, 5, id), STATUS_OK, "who cancels and comes back at once is served");
		leave_send(0, 0, 5, id);
	}
	cr_expect_eq(join_status(0, 0, 5, 102), STATUS_LIMIT_EXCEEDED);
	cr_expect_eq(join_status(0, 1, 5, 103), STATUS_OK, "another shard");
	cr_expect_eq(join_status(0, 0, 6, 104), STATUS_OK, "another consumer");
	sim_disk_advance(fix.disk, SECOND - 1);
	cr_expect_eq(join_status(0, 0, 5, 105), STATUS_LIMIT_EXCEEDED, "a refused one costs nothing, and nothing is too early");
	sim_disk_advance(fix.disk, 1);
	cr_expect_eq(join_status(0, 0, 5, 106), STATUS_OK);
	leave_send(0, 0, 5, 106);
	cr_expect_eq(join_status(0, 0, 5, 107), STATUS_LIMIT_EXCEEDED, "over time it is one a second");
	sim_disk_advance(fix.disk, 2 * SECOND);
	cr_expect_eq(join_status(0, 0, 5, 108), STATUS_OK);
}

Test(lane_lease, a_join_refused_for_its_rate_leaves_the_lease_alone)
{
	join_fixture_limits(one_a_second, 1);
	join_now(0, 0, 5, 100);
	cr_expect_eq(join_status(1, 0, 5, 200), STATUS_IN_USE, "a call that is answered ResourceInUse counts as well");
	cr_expect_eq(ears[0].probes, 1);
	cr_expect_eq(join_status(1, 0, 5, 201), STATUS_LIMIT_EXCEEDED);
	cr_expect_eq(ears[0].probes, 1, "nobody was asked");
	cr_expect_eq(ears[0].n_ends, 0);
	put_group(0, 1, 10);
	cr_expect_eq(ears[0].n_notices, 1, "and the holder goes on");
	sim_disk_advance(fix.disk, LEASE_GUARD_NS);
	cr_expect_eq(join_status(1, 0, 5, 202), STATUS_OK, "takeover is not what the rate is against");
	cr_expect_eq(ears[0].n_ends, 1);
}

Test(lane_lease, without_the_limit_anything_goes)
{
	join_fixture(1);
	for (uint64_t id = 100; id < 120; id++) {
		cr_assert_eq(join_status(0, 0, 5, id), STATUS_OK);
		leave_send(0, 0, 5, id);
	}
}
