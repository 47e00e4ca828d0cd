/* test_sub_delay.c: subscriptions under a delivery profile: nothing too early, everything in order, and the truth about what is behind. */
#include "fake_store.h"

static struct client a, b;
static struct profile aws;

static void start(void)
{
	cr_assert(profile_find("aws", 1, &aws));
	fake_start((struct hub_config){.profile = &aws});
}

static int64_t wait_of(const struct batch *batch)
{
	return profile_wait_ms(&aws, PROFILE_PUSH, &the_shard, batch->arrival_ms, fake.wall_ms);
}

/* Until the client has been given something. */
static void pass_until_seen(struct client *client)
{
	for (int ms = 0; client->bytes.n == 0; ms++) {
		cr_assert(ms < 300, "nothing is shown");
		pass(MS);
		pull(client);
	}
}

Test(sub_delay, a_record_is_pushed_at_its_time)
{
	start();
	client_idle(&a);
	publish(2, 10);
	int64_t wait_ms = wait_of(fake.log[0]);
	cr_assert(wait_ms > 5, "another seed is needed");
	cr_expect_eq(a.ready, 0, "nobody is woken for what cannot be pulled");
	pass((uint64_t)wait_ms * MS - 1);
	pull(&a);
	see_nothing(&a);
	pass(1);
	cr_expect_eq(a.ready, 1);
	pull(&a);
	cr_expect(see_one(&a).records == 2);
	cr_expect(a.sub.state == SUB_IDLE);
	client_stop(&a);
	fake_stop();
}

/* Each at its own time, though told in one notice, and though some are read from the log. */
Test(sub_delay, nothing_is_early_late_lost_doubled_or_out_of_order)
{
	start();
	client_idle(&a);
	client_idle(&b);
	srand(1);
	for (int i = 0; i < 3000; i++) {
		if (rand() % 8 == 0)
			commit(1 + (uint32_t)rand() % 3, 10);
		if (rand() % 16 == 0)
			notify_how(rand() % 4 > 0);
		pass(MS);
		pull(&a);
		if (i % 97 == 0)
			pull(&b);
		while (fake.n_reads)
			answer_read(STATUS_OK);
		pull(&a);
		uint64_t shown = a.sub.next - 1;
		for (uint32_t k = 0; k < fake.n_log; k++)
			if (batch_last(fake.log[k]) <= shown)
				cr_assert_eq(wait_of(fake.log[k]), 0, "batch %u is early", k);
		/* What was told without its batches is shown with the last of it. */
		const struct batch *told = fake.n_told ? fake.log[fake.n_told - 1] : NULL;
		if (told && wait_of(told) == 0)
			cr_assert(shown >= batch_last(told) || a.sub.state != SUB_IDLE, "late at %d", i);
	}
	notify();
	for (int i = 0; i < 300; i++) {
		pass(MS);
		pull(&a);
		pull(&b);
		while (fake.n_reads)
			answer_read(STATUS_OK);
	}
	for (struct client *client = &a;; client = &b) {
		struct seen seen;
		while (see(client, &seen)) /* asserts the order */
			;
		cr_expect_eq(client->records, fake.durable_end);
		cr_expect_eq(client->sub.next, fake.durable_end + 1);
		if (client == &b)
			break;
	}
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* Who reads until MillisBehindLatest is 0 must come to all that was durable when he was told so. */
Test(sub_delay, whoever_is_behind_is_told_so)
{
	start();
	client_idle(&b); /* the ring */
	publish(1, 10);
	clock_add(10 * MS); /* the timers are not asked */
	publish(1, 10);
	client_join(&a, 1);
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	struct seen seen = see_one(&a);
	cr_expect(seen.records == 0 && seen.continuation == 0 && seen.behind > 0, "two are there, and not shown yet");
	see_nothing(&a);
	cr_expect(a.sub.state == SUB_IDLE);
	pass_until_seen(&a);
	seen = see_one(&a);
	cr_expect(seen.first == 1 && (seen.last == 2 || seen.behind > 0));
	if (seen.last == 1) {
		pass_until_seen(&a);
		seen = see_one(&a);
	}
	cr_expect(seen.last == 2 && seen.behind == 0);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* LATEST is the durable end, shown or not: what was durable before the start is not sent. */
Test(sub_delay, latest_is_the_durable_end)
{
	start();
	client_idle(&b);
	publish(3, 10);
	client_idle(&a);
	cr_expect_eq(a.sub.next, 4);
	publish(1, 10);
	pass(300 * MS);
	pull(&a);
	struct seen seen = see_one(&a);
	cr_expect(seen.first == 4 && seen.last == 4);
	see_nothing(&a);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* A tail that is made anew knows nothing of the moments before: it shows all when the newest one's time has come. */
Test(sub_delay, from_the_beginning_behind_a_busy_producer)
{
	start();
	for (int i = 0; i < 50; i++) {
		commit(1, 10);
		pass(10 * MS);
	}
	fake.n_told = fake.n_log;
	client_join(&a, 1);
	for (int i = 0; i < 300; i++) {
		pull(&a);
		while (fake.n_reads)
			answer_read(STATUS_OK);
		pull(&a);
		pass(MS);
	}
	struct seen seen;
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	seen = see_one(&a);
	cr_expect(seen.records == 0 && seen.behind > 0);
	while (see(&a, &seen))
		;
	cr_expect_eq(a.records, 50);
	client_stop(&a);
	fake_stop();
}

static struct shard_info family[] = {
	{.key = {STREAM_ID, 3, CREATED_S}, .parent = NO_PARENT, .adjacent = NO_PARENT},
	{.key = {STREAM_ID, 4, CREATED_S}, .parent = 3, .adjacent = NO_PARENT, .hash_first = 0, .hash_last = 99},
	{.key = {STREAM_ID, 5, CREATED_S}, .parent = 3, .adjacent = NO_PARENT, .hash_first = 100, .hash_last = 200},
};
static struct stream_info the_stream = {.id = STREAM_ID, .name = "orders", .n_shards = 3, .shards = family};
static struct catalogue snapshot = {.refs = 1, .n_streams = 1, .streams = &the_stream};

Test(sub_delay, the_end_of_a_shard_comes_behind_its_last_record)
{
	start();
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
	client_idle(&a);
	publish(2, 10);
	fake.closed = true;
	notify();
	pull(&a);
	see_nothing(&a);
	cr_expect(!a.ended && a.sub.state == SUB_IDLE);
	pass_until_seen(&a);
	cr_expect(see_one(&a).records == 2);
	cr_expect(see_one(&a).children == 2 && a.ended);
	client_stop(&a);
	fake_stop();
}

/* A heartbeat while something is hidden says where the client is, and that it is behind. */
Test(sub_delay, a_heartbeat_in_between)
{
	cr_assert(profile_find("aws", 1, &aws));
	fake_start((struct hub_config){.profile = &aws, .heartbeat_ns = 10 * MS});
	client_idle(&a);
	publish(1, 10);
	cr_assert(wait_of(fake.log[0]) > 15, "another seed is needed");
	pass(11 * MS);
	pull(&a);
	struct seen seen = see_one(&a);
	cr_expect(seen.records == 0 && seen.continuation == 0 && seen.behind > 0);
	client_stop(&a);
	fake_stop();
}

/* What the worker asks for its hop: when the records that were pulled in this turn became known to it. */
Test(sub_delay, when_the_news_was_taken)
{
	fake_start((struct hub_config){0});
	client_idle(&a);
	cr_expect_eq(hub_taken_ns(fake.hub), 0);
	hub_deadline(fake.hub);
	clock_add(5 * MS);
	publish(1, 10);
	uint64_t then = fake.mono_ns;
	clock_add(1 * MS);
	pull(&a);
	cr_expect_eq(hub_taken_ns(fake.hub), then);
	hub_deadline(fake.hub);
	cr_expect_eq(hub_taken_ns(fake.hub), 0, "told once");
	publish(1, 10);
	cr_expect_eq(hub_taken_ns(fake.hub), 0, "nobody pulled");
	see_one(&a);
	client_stop(&a);
	fake_stop();
}

/* A lane may add news while the worker takes what was there. */
Test(sub_delay, news_that_became_durable_meanwhile)
{
	struct buf out = {0};
	fake_start((struct hub_config){0});
	client_idle(&a);
	fake.notices[0] = (struct notice){.shard = the_shard, .durable_ns = fake.mono_ns - MS};
	fake.notices[1] = (struct notice){.shard = the_shard, .durable_ns = fake.mono_ns + MS};
	fake.n_notices = 2;
	fake.notice_at = 0;
	fake.listener->on_notice(fake.listener);
	metric_times_text(&out);
	buf_put_char(&out, '\0');
	cr_expect_not_null(strstr((const char *)out.p, "penstock_notice_seconds_sum 0.001000000\npenstock_notice_seconds_count 2\n"));
	buf_free(&out);
	client_stop(&a);
	fake_stop();
}

Test(sub_delay, a_delayed_record_counts_from_the_end_of_its_delay)
{
	start();
	client_idle(&a);
	publish(1, 10);
	uint64_t due = fake.mono_ns + (uint64_t)wait_of(fake.log[0]) * MS;
	hub_taken_ns(fake.hub);
	hub_deadline(fake.hub);
	a.pull_on_ready = true;
	uint64_t next = hub_deadline(fake.hub);
	cr_assert_eq(next, due);
	clock_add(next - fake.mono_ns);
	fake.mono_ns = due;
	tail_delay_tick(fake.hub, due);
	cr_expect_eq(hub_taken_ns(fake.hub), due);
	cr_expect(see_one(&a).records == 1);
	client_stop(&a);
	fake_stop();
}
