/* Tests of shardstore/listener.c: who is told what, when, and how much of it waits. */
#include "tests/unit/join_fixture.h"

TestSuite(listener, .fini = join_fixture_fini);

Test(listener, an_interested_worker_gets_the_encoded_batch)
{
	join_fixture(2);
	join_now(0, 0, 5, 100);
	struct test_put *test = put_new();
	for (int i = 0; i < 3; i++) {
		put_add(test, 0, 10);
		put_add(test, 1, 10);
	}
	put_send(test);
	lane_step();
	cr_expect_eq(fix.encoded, 1, "while the disk works, and only what somebody listens to");
	cr_assert(syncer_step());
	cr_expect_not(box_step(), "told before the lane knew that it is durable");
	settle();
	free(test);
	cr_assert_eq(ears[0].n_notices, 1);
	cr_expect_eq(ears[1].n_notices, 0);
	const struct notice *notice = &ears[0].notices[0];
	cr_expect_eq(notice->shard.shard, 0);
	cr_expect_eq(notice->durable_end, 3);
	cr_expect_eq(notice->durable_end_ms, SIM_WALL_START_MS);
	cr_expect_not(notice->closed);
	cr_assert_eq(notice->n_batches, 1);
	cr_expect_eq(notice->batches[0]->first, 1);
	cr_expect_eq(notice->batches[0]->count, 3);
	cr_expect_eq(notice->batches[0]->n_messages, 1);
	cr_expect_eq(ears[0].listener.bytes, 0);
}

Test(listener, workers_share_one_encoding)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	join_now(1, 0, 6, 101);
	join_now(1, 0, 7, 102);
	put_one(0, 10);
	cr_expect_eq(fix.encoded, 1);
	cr_assert(ears[0].n_notices == 1 && ears[1].n_notices == 1);
	cr_expect_eq(ears[0].notices[0].batches[0], ears[1].notices[0].batches[0]);
}

/* Is the worker told of what became durable before the put is answered? */
static bool told_first(void)
{
	struct test_put *test = put_new();
	put_add(test, 0, 10);
	put_send(test);
	settle_store();
	bool first = fix.box.head == &ears[0].listener.mail;
	cr_assert(first || fix.box.head == &test->put.mail);
	cr_expect_not(test->done);
	settle();
	cr_expect(test->done);
	free(test);
	return first;
}

Test(listener, few_are_told_before_the_put_is_answered_and_many_behind_it)
{
	join_fixture(1);
	for (uint64_t n = 1; n <= 4; n++) {
		join_now((int)n % 2 ? 0 : 1, 0, n, 100 + n);
		cr_expect(told_first(), "%" PRIu64 " subscriptions", n);
	}
	join_now(0, 0, 5, 105);
	cr_expect_not(told_first());
}

Test(listener, one_knock_for_all_that_waits)
{
	join_fixture(3);
	int64_t notices = metric_get(METRIC_notices);
	for (uint32_t shard = 0; shard < 3; shard++)
		join_now(0, shard, 5, 100 + shard);
	struct test_put *puts[3];
	for (int k = 0; k < 3; k++) {
		puts[k] = put_new();
		for (uint32_t shard = 0; shard < 3; shard++)
			put_add(puts[k], shard, 10);
		put_send(puts[k]);
		settle_store();
	}
	box_step();
	cr_expect_eq(ears[0].knocks, 1);
	cr_expect_eq(metric_get(METRIC_notices) - notices, 1);
	cr_assert_eq(ears[0].n_notices, 3);
	for (uint32_t shard = 0; shard < 3; shard++) {
		const struct notice *notice = &ears[0].notices[shard];
		cr_expect_eq(notice->shard.shard, shard);
		cr_expect_eq(notice->durable_end, 3);
		cr_assert_eq(notice->n_batches, 3);
		for (uint64_t k = 0; k < 3; k++)
			cr_expect_eq(notice->batches[k]->first, k + 1);
	}
	for (int k = 0; k < 3; k++) {
		cr_expect(puts[k]->done);
		free(puts[k]);
	}
	put_one(0, 10);
	cr_expect_eq(ears[0].knocks, 2, "knocks again for what came later");
}

Test(listener, beyond_its_bytes_only_the_end_is_told)
{
	join_fixture(2);
	join_now(0, 0, 5, 100);
	join_now(0, 1, 5, 101);
	struct test_put *puts[4];
	for (int k = 0; k < 4; k++) {
		puts[k] = put_new();
		put_add(puts[k], 0, k < 3 ? 3 * MIB / 2 : 1);
		if (k == 3)
			put_add(puts[k], 1, 1);
		put_send(puts[k]);
		settle_store();
		cr_expect_leq(ears[0].listener.bytes, LISTENER_BYTES);
	}
	box_step();
	cr_assert_eq(ears[0].n_notices, 2);
	cr_expect_eq(ears[0].notices[0].durable_end, 4);
	cr_expect_eq(ears[0].notices[0].n_batches, 2, "the small one behind the third would leave a hole");
	cr_expect_eq(ears[0].notices[1].shard.shard, 1);
	cr_expect_eq(ears[0].notices[1].n_batches, 1, "another shard's fits");
	cr_expect_eq(ears[0].listener.bytes, 0);
	forget_notices();
	cr_expect_eq(put_one(0, 10), 5);
	cr_assert_eq(ears[0].n_notices, 1);
	cr_expect_eq(ears[0].notices[0].n_batches, 1, "taken: there is room again");
	for (int k = 0; k < 4; k++)
		free(puts[k]);
}

Test(listener, a_single_large_batch_is_handed_over)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	put_one(0, 9 * MIB);
	cr_assert_eq(ears[0].n_notices, 1);
	cr_expect_eq(ears[0].notices[0].n_batches, 1);
}

Test(listener, who_joins_during_the_flush_is_told_the_end)
{
	join_fixture(1);
	struct test_put *put = put_new();
	put_add(put, 0, 10);
	put_send(put);
	lane_step(); /* handed out, with nobody to encode for */
	struct test_join join;
	join_send(&join, 0, 0, 5, 100);
	settle();
	cr_expect_eq(join.join.next, 1);
	cr_expect_eq(join.join.durable_end, 0);
	cr_assert_eq(ears[0].n_notices, 1);
	cr_expect_eq(ears[0].notices[0].durable_end, 1);
	cr_expect_eq(ears[0].notices[0].n_batches, 0);
	free(put);
}

Test(listener, the_reply_comes_before_the_news)
{
	join_fixture(1);
	struct test_put *put = put_new();
	put_add(put, 0, 10);
	put_send(put);
	lane_step();
	cr_assert(syncer_step());
	/* Join and group done in one turn, in either order: as a worker sees it, next = durable end + 1 of that moment, then the rest. */
	struct test_join join;
	join_send(&join, 0, 0, 5, 100);
	lane_step();
	box_step();
	cr_expect(join.done);
	cr_expect_eq(join.join.next, join.join.durable_end + 1);
	cr_expect_eq(join.join.durable_end, 1, "the group was done before the join came");
	cr_expect_eq(ears[0].n_notices, 0, "so there is no news");
	free(put);
}

Test(listener, news_that_overtakes_the_reply_is_in_the_reply)
{
	join_fixture(2);
	join_now(0, 0, 5, 100);
	struct test_put *a = put_new(), *b = put_new();
	put_add(a, 0, 10);
	put_send(a);
	settle_store(); /* the knock lies in the box, for shard 0 */
	struct test_join join;
	join_send(&join, 0, 1, 5, 101);
	lane_step(); /* the reply lies behind it */
	put_add(b, 1, 10);
	put_send(b);
	settle_store(); /* shard 1's news joins those that the knock is about */
	box_step();
	cr_assert(join.done);
	cr_expect_eq(ears[0].n_notices, 2);
	cr_expect_eq(join.join.next, 1);
	cr_expect_eq(join.join.durable_end, 1, "the worker has taken this news already and would wait for ever");
	cr_expect_eq(ears[0].knocks, 1);
	free(a), free(b);
}

Test(listener, news_still_to_come_is_not_in_the_reply)
{
	join_fixture(1);
	struct test_join join;
	join_send(&join, 0, 0, 5, 100);
	lane_step();
	struct test_put *put = put_new();
	put_add(put, 0, 10);
	put_send(put);
	settle_store();
	box_step();
	cr_expect_eq(join.join.durable_end, 0, "else the log is read for what the notice brings");
	cr_assert_eq(ears[0].n_notices, 1);
	cr_expect_eq(ears[0].notices[0].n_batches, 1);
	free(put);
}

Test(listener, the_last_leave_drops_what_waits)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	join_now(0, 0, 6, 101);
	struct test_put *put = put_new();
	put_add(put, 0, 100);
	put_send(put);
	settle_store();
	cr_expect_eq(ears[0].listener.bytes, 101);
	leave_send(0, 0, 5, 100);
	settle_store();
	cr_expect_eq(ears[0].listener.bytes, 101, "another one still listens");
	leave_send(0, 0, 6, 101);
	settle_store();
	cr_expect_eq(ears[0].listener.bytes, 0);
	cr_expect_eq(metric_get(METRIC_batches_live), 0);
	box_step();
	cr_expect_eq(ears[0].knocks, 1);
	cr_expect_eq(ears[0].n_notices, 0);
	free(put);
}

Test(listener, a_leave_that_overtakes_the_reply_frees_nothing_too_early)
{
	join_fixture(1);
	struct test_join join;
	join_send(&join, 0, 0, 5, 100);
	lane_step();
	leave_send(0, 0, 5, 100);
	lane_step();
	box_step();
	cr_expect(join.done);
	cr_expect(list_empty(&shard_of(0)->interests));
}

Test(listener, what_waits_at_the_stop_is_dropped)
{
	join_fixture(1);
	join_now(0, 0, 5, 100);
	struct test_put *put = put_new();
	put_add(put, 0, 100);
	put_send(put);
	settle_store();
	store_stop(fix.store);
	box_step();
	cr_expect(put->done);
	cr_expect_eq(ears[0].n_notices, 0);
	cr_expect_eq(ears[0].listener.bytes, 0);
	free(put);
}
