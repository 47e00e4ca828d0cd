/* test_sub.c: the life of a subscription: greeting, records, heartbeats, the end. */
#include "fake_store.h"

static struct client a, b;

/* R5: the first event follows at once even with no record, with continuation and MillisBehindLatest. */
Test(sub, R5_greeting_and_first_empty_event)
{
	fake_start((struct hub_config){0});
	client_join(&a, 0);
	cr_assert(a.ready == 0, "on_joined is enough");
	cr_assert(pull_once(&a, 16384) == 104);
	cr_assert(pull_once(&a, 16384) > 0);
	cr_assert(pull_once(&a, 16384) == 0 && a.sub.state == SUB_IDLE);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	struct seen seen = see_one(&a);
	cr_assert(seen.records == 0 && seen.continuation == 0 && seen.behind == 0 && seen.children == 0);
	see_nothing(&a);
	client_stop(&a);
	cr_assert(fake.n_left == 1 && fake.left[0] == a.sub.id);
	fake_stop();
}

Test(sub, R5_records_that_wait_are_the_first_event)
{
	fake_start((struct hub_config){0});
	client_idle(&b); /* so that there is a ring */
	publish(3, 10);
	client_join(&a, 1);
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	cr_assert(see_one(&a).first == 1);
	see_nothing(&a);
	cr_assert(a.empties == 0 && a.sub.state == SUB_IDLE);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* A position before which there are records: the continuation names the one before. */
Test(sub, R10_continuation_of_the_first_empty_event)
{
	fake_start((struct hub_config){0});
	commit(5, 10);
	client_join(&a, 0);
	pull(&a);
	see_one(&a);
	cr_assert(see_one(&a).continuation == 5);
	publish(2, 10);
	pull(&a);
	cr_assert(see_one(&a).continuation == 7);
	pass(5 * SECOND);
	pull(&a);
	cr_assert(see_one(&a).continuation == 7, "behind the same record");
	client_stop(&a);
	fake_stop();
}

/* While nothing comes the position moves: each empty event names a later one behind the same record, whatever the clock does. */
Test(sub, R10_positions_rise_while_a_shard_is_idle)
{
	fake_start((struct hub_config){0});
	commit(5, 10);
	client_idle(&a);
	client_idle(&b);
	int64_t live = metric_get(METRIC_events_live), before = fake.wall_ms / 1000;
	pass(5 * SECOND);
	pull(&a);
	pull(&b);
	cr_assert(metric_get(METRIC_events_live) == live, "one encoding for all who stand there");
	struct seen seen = see_one(&a);
	cr_assert(seen.continuation == 5 && seen.second == before + 5 && see_one(&b).second == before + 5);
	for (int64_t i = 1; i < 4; i++) {
		fake.wall_ms -= 3600000; /* the clock goes back */
		pass(5 * SECOND);
		pull(&a);
		seen = see_one(&a);
		cr_assert(seen.continuation == 5 && seen.second == before + 5 + i && seen.behind == 0);
	}
	publish(1, 10);
	pull(&a);
	seen = see_one(&a);
	cr_assert(seen.continuation == 6 && seen.second == 0, "records name themselves");
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* A client that comes back to a position never sees a lower one, even if the clock of this server is behind. */
Test(sub, R10_positions_rise_across_subscriptions)
{
	int64_t ahead = CREATED_S + 100000;
	fake_start((struct hub_config){0});
	commit(5, 10);
	sub_start(fake.hub, &a.sub, &client_ops, the_shard, CONSUMER_ID,
		  (struct position){.kind = POSITION_AFTER, .index = 5, .second = ahead});
	answer_join(STATUS_OK, 6);
	pull(&a);
	see_one(&a);
	cr_assert(see_one(&a).second == ahead + 1);
	client_stop(&a);
	/* Retention or the durable end put it elsewhere: that second says nothing there. */
	memset(&a, 0, sizeof(a));
	sub_start(fake.hub, &a.sub, &client_ops, the_shard, CONSUMER_ID,
		  (struct position){.kind = POSITION_AFTER, .index = 9, .second = ahead});
	answer_join(STATUS_OK, 6);
	pull(&a);
	see_one(&a);
	cr_assert(see_one(&a).second == fake.wall_ms / 1000);
	client_stop(&a);
	/* Made up: it cannot rise above the last second that there is. */
	memset(&a, 0, sizeof(a));
	sub_start(fake.hub, &a.sub, &client_ops, the_shard, CONSUMER_ID,
		  (struct position){.kind = POSITION_AFTER, .index = 5, .second = SEQ_TIME_MAX});
	answer_join(STATUS_OK, 6);
	pull(&a);
	see_one(&a);
	cr_assert(see_one(&a).second == SEQ_TIME_MAX);
	client_stop(&a);
	fake_stop();
}

Test(sub, records_as_they_come_without_copy)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	int64_t live = metric_get(METRIC_events_live);
	for (uint64_t i = 1; i <= 100; i++) {
		publish(1, 1000);
		cr_assert(a.ready == i && a.sub.state == SUB_READY);
		pull(&a);
		cr_assert(see_one(&a).last == i && a.sub.state == SUB_IDLE);
	}
	cr_assert(metric_get(METRIC_events_live) == live + 100, "nothing was made for this subscriber");
	cr_assert(a.sub.delivered_records == 100 && a.sub.delivered_bytes == 100 * 1003 && a.sub.next == 101);
	hub_deadline(fake.hub);
	cr_assert(metric_get(METRIC_records_pushed) == 100 && metric_get(METRIC_bytes_pushed) == 100 * 1003);
	cr_assert(metric_get(METRIC_events_pushed) == 101 && metric_get(METRIC_heartbeats) == 1);
	client_stop(&a);
	fake_stop();
}

Test(sub, several_events_count_together_and_any_split_is_the_same)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	client_idle(&b);
	for (int i = 0; i < 40; i++)
		publish(1 + (uint32_t)i % 3, 300);
	cr_assert(pull_once(&a, 16384) == 16384, "one frame holds several events");
	pull(&a);
	for (size_t max = 1; pull_once(&b, max) > 0; max = max % 97 + 1)
		;
	cr_assert(a.bytes.n == b.bytes.n);
	struct seen seen;
	while (see(&a, &seen))
		cr_assert(seen.behind == (seen.last == fake.durable_end ? 0 : 1), "1 ms at least when behind");
	while (see(&b, &seen))
		;
	cr_assert(a.records == b.records && a.expect == fake.durable_end + 1 && b.expect == a.expect);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* R15 and its truth: 0 at the tip only, else the event's age. */
Test(sub, R15_millis_behind_latest)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	publish(1, 10);
	clock_add(70 * MS);
	publish(1, 10);
	uint64_t records;
	int64_t ms;
	sub_lag(&a.sub, &records, &ms);
	cr_assert(records == 2 && ms > 0);
	pull(&a);
	cr_assert(see_one(&a).behind == 70 && see_one(&a).behind == 0);
	sub_lag(&a.sub, &records, &ms);
	cr_assert(records == 0 && ms == 0);
	client_stop(&a);
	fake_stop();
}

static struct shard_info family[] = {
	{.key = {STREAM_ID, 3, CREATED_S}, .parent = NO_PARENT, .adjacent = NO_PARENT},
	{.key = {STREAM_ID, 4, CREATED_S}, .parent = 3, .adjacent = NO_PARENT, .hash_first = 0, .hash_last = 99},
	{.key = {STREAM_ID, 5, CREATED_S}, .parent = 3, .adjacent = NO_PARENT, .hash_first = 100, .hash_last = 200},
};
static struct stream_info the_stream = {.id = STREAM_ID, .name = "orders", .n_shards = 1, .shards = family};
static struct catalogue snapshot = {.refs = 1, .n_streams = 1, .streams = &the_stream};

/* Of what is not read yet: the age of the next record, not of the one before it, which may be older by any time. */
Test(sub, R15_the_lag_of_a_cursor_is_that_of_the_next_record)
{
	fake_start((struct hub_config){0});
	commit(1, 10);
	clock_add(20 * SECOND);
	commit(1, 10);
	clock_add(231 * MS);
	for (uint64_t next = 1; next <= 2; next++) {
		uint64_t records;
		int64_t ms, want = next == 1 ? 20231 : 231;
		memset(&a, 0, sizeof(a));
		client_join(&a, next);
		sub_lag(&a.sub, &records, &ms);
		cr_assert(records == 3 - next && ms == want, "%lld", (long long)ms);
		sub_finish(&a.sub);
		pull(&a);
		see_one(&a);
		cr_assert(see_one(&a).behind == want);
		client_stop(&a);
	}
	fake_stop();
}

/* A clock that leapt makes no record older than its stream, or than what is kept. */
Test(sub, R15_no_lag_beyond_the_streams_age_or_retention)
{
	fake_start((struct hub_config){0});
	the_stream.n_shards = 1;
	the_stream.created_ms = fake.wall_ms + 3600000 - 90;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	client_idle(&a);
	publish(1, 10);
	fake.wall_ms += 3600000;
	publish(1, 10);
	uint64_t records;
	int64_t ms;
	sub_lag(&a.sub, &records, &ms);
	cr_assert(ms == 90, "%lld", (long long)ms);
	the_stream.created_ms = 0;
	the_stream.retention_hours = 24;
	fake.wall_ms += INT64_C(100) * 3600000;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	sub_lag(&a.sub, &records, &ms);
	cr_assert(ms == 24 * 3600000, "%lld", (long long)ms);
	pull(&a);
	cr_assert(see_one(&a).behind == ms);
	client_stop(&a);
	the_stream.retention_hours = 0;
	fake_stop();
}

/* R6: an empty event after each 5 s of idleness, and only then. */
Test(sub, R6_heartbeats)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	a.pull_on_ready = true;
	pass(5 * SECOND - 1);
	cr_assert(a.ready == 0);
	pass(1);
	cr_assert(a.ready == 1 && see_one(&a).records == 0);
	pass(3 * SECOND);
	publish(1, 10);
	cr_assert(see_one(&a).records == 1);
	pass(5 * SECOND - 1);
	see_nothing(&a);
	pass(1);
	struct seen seen = see_one(&a);
	cr_assert(seen.records == 0 && seen.continuation == 1 && seen.behind == 0);
	pass(60 * SECOND);
	for (int i = 0; i < 12; i++)
		cr_assert(see_one(&a).records == 0);
	see_nothing(&a);
	client_stop(&a);
	fake_stop();
}

Test(sub, R6_those_nearly_due_go_along)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	clock_add(400 * MS);
	client_idle(&b);
	pass(4600 * MS);
	cr_assert(a.ready == 1 && b.ready == 1);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* A client that does not read gets no heap of heartbeats: one waits. */
Test(sub, no_heartbeats_while_nothing_is_pulled)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	pass(60 * SECOND);
	cr_assert(a.ready == 1 && a.sub.state == SUB_READY);
	publish(1, 10);
	pull(&a);
	cr_assert(see_one(&a).records == 0 && see_one(&a).records == 1);
	see_nothing(&a);
	client_stop(&a);
	fake_stop();
}

/* R7: after five minutes the body ends cleanly, and the lease is left before the owner can write END_STREAM. */
Test(sub, R7_five_minutes)
{
	fake_start((struct hub_config){0});
	client_join(&a, 0);
	a.pull_on_ready = true;
	pull(&a);
	pass(300 * SECOND - 1);
	cr_assert(!a.ended && fake.n_left == 0);
	pass(1);
	cr_assert(a.ended && fake.n_left == 1 && a.sub.state == SUB_CLOSING);
	struct seen seen;
	while (see(&a, &seen))
		cr_assert(seen.kind != SEEN_EXCEPTION);
	see_nothing(&a);
	client_stop(&a);
	cr_assert(fake.n_left == 1, "left once");
	fake_stop();
}

Test(sub, R7_ends_after_the_event_that_is_partly_sent)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	publish(10, 1000);
	publish(10, 1000);
	cr_assert(pull_once(&a, 5000) == 5000);
	sub_finish(&a.sub);
	cr_assert(a.ready == 2 && a.sub.state == SUB_CLOSING && fake.n_left == 1);
	sub_finish(&a.sub);
	cr_assert(a.ready == 2);
	publish(10, 1000);
	pull(&a);
	cr_assert(a.ended && see_one(&a).last == 10);
	see_nothing(&a);
	client_stop(&a);
	fake_stop();
}

/* The event that was only looked at is not sent: its records come with the next subscription. */
Test(sub, R7_nothing_new_begins)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	publish(10, 1000);
	cr_assert(sub_avail(&a.sub, 100) == 100);
	sub_finish(&a.sub);
	pull(&a);
	cr_assert(a.ended && a.bytes.n == 0 && a.sub.next == 1);
	client_stop(&a);
	fake_stop();
}

/* R5: KCL repeats its first position (LATEST: a gap) when it saw no event: it gets one even when the end comes first. */
Test(sub, R5_an_early_end_still_names_a_position)
{
	fake_start((struct hub_config){0});
	commit(4, 10);
	client_join(&a, 3);
	sub_finish(&a.sub);
	pull(&a);
	cr_assert(a.ended && see_one(&a).kind == SEEN_INITIAL);
	struct seen seen = see_one(&a);
	cr_assert(seen.records == 0 && seen.continuation == 2 && seen.behind > 0);
	see_nothing(&a);
	client_stop(&a);
	fake_stop();
}

Test(sub, finish_while_joining)
{
	fake_start((struct hub_config){0});
	client_start(&a);
	sub_finish(&a.sub);
	cr_assert(a.sub.state == SUB_JOINING && a.ready == 0);
	answer_join(STATUS_OK, 0);
	cr_assert(a.joined == 1 && a.sub.state == SUB_CLOSING && a.ready == 1 && fake.n_left == 1);
	pull(&a);
	see_greeting(&a);
	cr_assert(a.ended);
	client_stop(&a);
	fake_stop();
}

Test(sub, join_refused)
{
	fake_start((struct hub_config){0});
	client_start(&a);
	answer_join(STATUS_IN_USE, 0);
	cr_assert(a.joined == 1 && a.status == STATUS_IN_USE && a.sub.state == SUB_CLOSED && fake.n_left == 0);
	cr_assert(sub_avail(&a.sub, 100) == SUB_END);
	sub_stop(&a.sub);
	client_start(&a); /* the same memory may begin again */
	answer_join(STATUS_NOT_FOUND, 0);
	cr_assert(a.joined == 2 && a.status == STATUS_NOT_FOUND);
	fake_stop();
}

Test(sub, pulling_out_of_turn_changes_nothing)
{
	fake_start((struct hub_config){0});
	client_start(&a);
	cr_assert(sub_avail(&a.sub, 100) == 0 && a.sub.state == SUB_JOINING);
	answer_join(STATUS_OK, 0);
	pull(&a);
	cr_assert(sub_avail(&a.sub, 100) == 0 && a.sub.state == SUB_IDLE);
	client_stop(&a);
	fake_stop();
}

static void count(void *arg, struct subscription *sub)
{
	cr_assert(sub->hub == fake.hub);
	++*(int *)arg;
}

Test(sub, each_and_names)
{
	int n = 0;
	fake_start((struct hub_config){.worker = 2});
	client_idle(&a);
	client_idle(&b);
	uint64_t after = UINT64_C(2) << 48;
	cr_assert_not(hub_each(fake.hub, &after, 2, count, &n));
	cr_assert_eq(n, 2);
	after = UINT64_C(2) << 48;
	cr_assert(hub_each(fake.hub, &after, 1, count, &n) && n == 3 && after == a.sub.id);
	cr_assert(hub_each(fake.hub, &after, 0, count, &n) && n == 3);
	cr_assert(!hub_each(fake.hub, &after, 1, count, &n) && n == 4 && after == b.sub.id);
	cr_assert(!hub_each(fake.hub, &after, 1, count, &n) && n == 4);
	const char *stream, *consumer;
	sub_names(&a.sub, &stream, &consumer);
	cr_assert(stream && consumer);
	cr_assert(n == 4 && a.sub.id != b.sub.id && a.sub.id >> 48 == 2);
	cr_assert(hub_subscription(fake.hub, a.sub.id) == &a.sub && metric_get(METRIC_subscriptions) == 2);
	cr_assert_str_eq(sub_state_name(a.sub.state), "IDLE");
	cr_assert_str_eq(sub_state_name(SUB_CLOSED), "CLOSED");
	client_stop(&a);
	client_stop(&b);
	cr_assert(!hub_subscription(fake.hub, a.sub.id) && metric_get(METRIC_subscriptions_started) == 2);
	fake_stop();
}

static void note_id(void *arg, struct subscription *sub)
{
	uint64_t **at = arg;
	*(*at)++ = sub->id;
}

/* In one chain of the hub, and one of them is over when the walk goes on behind it. */
Test(sub, each_goes_on_within_a_chain)
{
	static struct client clients[4];
	uint64_t ids[8] = {0}, *at = ids, after = 0;
	fake_start((struct hub_config){0});
	for (int i = 0; i < 4; i++) {
		client_idle(&clients[i]);
		fake.hub->next_id += HUB_BUCKETS - 1;
	}
	cr_assert(hub_each(fake.hub, &after, 2, note_id, &at));
	cr_assert(at == ids + 2 && ids[0] == clients[3].sub.id && ids[1] == clients[2].sub.id && after == ids[1]);
	client_stop(&clients[2]);
	cr_assert_not(hub_each(fake.hub, &after, 9, note_id, &at));
	cr_assert(at == ids + 4 && ids[2] == clients[1].sub.id && ids[3] == clients[0].sub.id);
	for (int i = 0; i < 4; i++)
		if (i != 2)
			client_stop(&clients[i]);
	fake_stop();
}

/* ---- End of shard ---- */

Test(sub, R8_end_of_shard)
{
	fake_start((struct hub_config){0});
	the_stream.n_shards = 3;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	client_idle(&a);
	commit(2, 10);
	fake.closed = true;
	notify();
	pull(&a);
	cr_assert(see_one(&a).records == 2);
	struct seen seen = see_one(&a);
	cr_assert(seen.records == 0 && seen.children == 2 && seen.continuation == UINT64_MAX && seen.behind == 0);
	cr_assert(a.ended && fake.n_left == 1 && a.ready == 1);
	client_stop(&a);
	hub_deadline(fake.hub);
	cr_assert(metric_get(METRIC_heartbeats) == 1, "the last event is none");
	fake_stop();
}

Test(sub, R8_subscribing_at_the_end_of_a_closed_shard)
{
	fake_start((struct hub_config){0});
	the_stream.n_shards = 3;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	commit(2, 10);
	fake.closed = true;
	client_join(&a, 0);
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	cr_assert(see_one(&a).children == 2 && a.ended);
	see_nothing(&a);
	client_stop(&a);
	fake_stop();
}

/* Sealed, and the children not published yet: never "end" without children, but heartbeats. */
Test(sub, R8_children_that_are_not_published_yet)
{
	fake_start((struct hub_config){0});
	the_stream.n_shards = 1;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	client_idle(&a);
	a.pull_on_ready = true;
	commit(1, 10);
	fake.closed = true;
	notify();
	cr_assert(see_one(&a).records == 1 && a.sub.state == SUB_IDLE);
	pass(5 * SECOND);
	cr_assert(see_one(&a).continuation == 1);
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	see_nothing(&a);
	the_stream.n_shards = 3;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	cr_assert(see_one(&a).children == 2 && a.ended);
	client_stop(&a);
	fake_stop();
}

/* Retention has passed the children, or the shard too: a clean end; whoever asks again is told that it is gone. */
Test(sub, closed_without_children_ends_cleanly)
{
	struct shard_info expired = family[0];
	expired.closed = true;
	the_stream.shards = &expired;
	fake_start((struct hub_config){0});
	for (uint32_t known = 0; known < 2; known++) {
		the_stream.n_shards = known;
		hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
		fake.closed = false;
		memset(&a, 0, sizeof(a));
		client_idle(&a);
		commit(1, 10);
		fake.closed = true;
		notify();
		pull(&a);
		cr_assert(see_one(&a).records == 1 && a.ended);
		see_nothing(&a);
		client_stop(&a);
	}
	/* It was closed, with children to come, as far as was known; then both are gone. */
	expired.closed = false;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	fake.closed = false;
	memset(&a, 0, sizeof(a));
	client_idle(&a);
	a.pull_on_ready = true;
	fake.closed = true;
	notify();
	cr_assert(!a.ended && a.sub.state == SUB_IDLE);
	the_stream.n_shards = 0;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	cr_assert(a.ended);
	client_stop(&a);
	the_stream.shards = family;
	fake_stop();
}

Test(sub, R8_reading_the_log_of_a_closed_shard)
{
	fake_start((struct hub_config){0});
	the_stream.n_shards = 3;
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	commit(2, 10);
	client_join(&a, 1);
	a.pull_on_ready = true;
	pull(&a);
	fake.closed = true; /* the read is the first to know */
	answer_read(STATUS_OK);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	cr_assert(see_one(&a).records == 2 && see_one(&a).children == 2 && a.ended);
	client_stop(&a);
	fake_stop();
}
