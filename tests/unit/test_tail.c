/* test_tail.c: the ring of recent batches, what goes in and out, and who is woken. */
#include "fake_store.h"

static struct client a, b;

static struct tail *the_tail(void) { return tail_find(fake.hub, STREAM_ID, the_shard.shard); }

static struct batch *in_ring(uint64_t next)
{
	uint64_t at = 0;
	return tail_batch(the_tail(), next, &at);
}

static void tell(struct batch **batches, uint32_t n, uint64_t durable_end)
{
	struct notice notice = {.shard = the_shard, .durable_end = durable_end, .durable_end_ms = fake.wall_ms, .n_batches = n};
	notice.batches = malloc(n * sizeof(struct batch *) + 1);
	for (uint32_t i = 0; i < n; i++)
		notice.batches[i] = batches[i];
	fake.notices[0] = notice;
	fake.n_notices = 1;
	fake.notice_at = 0;
	if (durable_end > fake.durable_end)
		fake.durable_end = durable_end;
	fake.listener->on_notice(fake.listener);
}

static void tell_one(uint64_t first, uint32_t count)
{
	struct batch *batch = make_batch(first, count, 100, true);
	tell(&batch, 1, batch_last(batch));
}

Test(tail, accepts_what_follows_and_wakes_the_idle)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	tell_one(1, 3);
	cr_assert(a.ready == 1 && a.sub.state == SUB_READY);
	tell_one(4, 1);
	cr_assert(a.ready == 1, "once per change");
	cr_assert(in_ring(1) == in_ring(3) && in_ring(4) && in_ring(4) != in_ring(3) && !in_ring(5) && !in_ring(0));
	pull(&a);
	cr_assert(see_one(&a).last == 3 && see_one(&a).last == 4);
	cr_assert(a.sub.state == SUB_IDLE);
	client_stop(&a);
	fake_stop();
}

Test(tail, twice_or_too_late_is_dropped)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	tell_one(1, 3);
	pull(&a);
	see_one(&a);
	struct batch *first = in_ring(2);
	tell_one(1, 3);
	cr_assert(in_ring(2) == first && a.ready == 1 && a.sub.state == SUB_IDLE);
	client_stop(&a);
	fake_stop();
}

Test(tail, a_gap_only_moves_the_end)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	tell_one(1, 1);
	tell(NULL, 0, 5);
	cr_assert(the_tail()->durable_end == 5 && !in_ring(2));
	tell_one(6, 1);
	cr_assert(in_ring(1) && in_ring(6) && !in_ring(5));
	pull(&a);
	cr_assert(see_one(&a).last == 1);
	cr_assert(a.sub.state == SUB_READING && fake.n_reads == 1 && fake.reads[0]->next == 2);
	client_stop(&a);
	store_read_release(fake.reads[0]);
	pop_read(0)->on_done(fake.reads[0]);
	fake_stop();
}

/* A batch that came without events (no memory to encode) is not in the ring. */
Test(tail, not_encoded_is_not_in_the_ring)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	struct batch *batch = make_batch(1, 2, 10, false);
	tell(&batch, 1, 2);
	cr_assert(!in_ring(1) && the_tail()->durable_end == 2 && a.sub.state == SUB_READY);
	client_stop(&a);
	fake_stop();
}

Test(tail, evicts_by_bytes_but_keeps_the_newest)
{
	fake_start((struct hub_config){.ring_bytes = 20000});
	client_idle(&a);
	for (uint64_t i = 0; i < 40; i++)
		tell_one(i * 10 + 1, 10);
	cr_assert(the_tail()->ring_bytes <= 20000 && metric_get(METRIC_ring_bytes) == (int64_t)the_tail()->ring_bytes);
	cr_assert(!in_ring(1) && in_ring(391));
	struct batch *huge = make_batch(401, 1, 100000, true);
	tell(&huge, 1, 401);
	cr_assert(the_tail()->ring_end - the_tail()->ring_begin == 1 && in_ring(401) == huge);
	cr_assert(the_tail()->ring_bytes > 20000);
	client_stop(&a);
	fake_stop();
}

Test(tail, search_finds_every_index_through_growth_and_wrap)
{
	fake_start((struct hub_config){.ring_bytes = 200000});
	client_idle(&a);
	uint64_t next = 1;
	for (uint32_t i = 0; i < 300; i++) {
		uint32_t count = 1 + i % 7;
		tell_one(next, count);
		next += count;
		uint64_t hint = 0, oldest = 0;
		for (uint64_t index = next - 1; index > 0; index--) {
			struct batch *cold = in_ring(index), *warm = tail_batch(the_tail(), index, &hint);
			cr_assert(cold == warm && (!cold || (cold->first <= index && index <= batch_last(cold))));
			if (cold)
				oldest = index;
		}
		for (uint64_t index = oldest; index < next; index++)
			cr_assert(tail_batch(the_tail(), index, &hint));
	}
	cr_assert(the_tail()->ring_begin > 0);
	client_stop(&a);
	fake_stop();
}

/* All rings of a hub together: the shard that was fed longest ago pays. */
Test(tail, evicts_by_the_hubs_bytes)
{
	fake_start((struct hub_config){.rings_bytes = 30000});
	client_idle(&a);
	struct shard_key other = {.stream = STREAM_ID, .shard = 8, .created_s = CREATED_S};
	struct tail *second = tail_get(fake.hub, &other);
	tell_one(1, 40);
	tell_one(41, 5);
	cr_assert(in_ring(1) && fake.hub->rings_bytes <= 30000);
	struct batch *batch = batch_new(&other);
	batch->first = 1;
	char data[200] = {0};
	for (int i = 0; i < 30; i++)
		batch_append(batch, STR("key"), (struct str){data, sizeof(data)});
	cr_assert(message_encode(batch) == STATUS_OK);
	struct notice notice = {.shard = other, .durable_end = 30, .batches = &batch, .n_batches = 1};
	tail_notice(fake.hub, &notice);
	batch_unref(batch);
	uint64_t at = 0;
	cr_assert(fake.hub->rings_bytes <= 30000 && tail_batch(second, 1, &at) && !in_ring(1));
	tail_put(fake.hub, second);
	client_stop(&a);
	fake_stop();
}

Test(tail, nobody_listens)
{
	fake_start((struct hub_config){0});
	tell_one(1, 1);
	cr_assert(!the_tail() && metric_get(METRIC_batches_live) == 0);
	client_idle(&a);
	cr_assert(the_tail());
	client_stop(&a);
	cr_assert(!the_tail(), "a tail lives as long as its subscriptions");
	fake_stop();
}

/* A join or a read may know more than the notices told: those who are idle hear of it. */
Test(tail, a_joins_answer_wakes_others)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	commit(2, 10);
	client_join(&b, 0);
	cr_assert(a.ready == 1 && the_tail()->durable_end == 2);
	notify();
	pull(&a);
	cr_assert(see_one(&a).last == 2 && fake.n_reads == 0, "the notice that came later still filled the ring");
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* Heartbeats of a shard are encoded once. */
Test(tail, heartbeats_are_shared)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	client_idle(&b);
	int64_t live = metric_get(METRIC_events_live);
	pass(5 * SECOND);
	cr_assert(a.sub.message && a.sub.message == b.sub.message && metric_get(METRIC_events_live) <= live + 1);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* Whoever is woken may be stopped by another who was woken before. */
static void stop_both(struct subscription *sub)
{
	(void)sub;
	sub_stop(&a.sub);
	sub_stop(&b.sub);
}

Test(tail, stopping_others_while_being_woken)
{
	fake_start((struct hub_config){0});
	static const struct sub_ops killer = {.on_joined = on_joined, .on_ready = stop_both, .on_probe = on_probe};
	client_idle(&a);
	client_idle(&b);
	a.sub.ops = b.sub.ops = &killer;
	publish(1, 10);
	cr_assert(a.sub.state == SUB_CLOSED && b.sub.state == SUB_CLOSED && !the_tail());
	buf_free(&a.bytes);
	buf_free(&b.bytes);
	fake_stop();
}
