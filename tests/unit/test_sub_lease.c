/* test_sub_lease.c: takeover, deletion, probes, and stops in every state. */
#include "fake_store.h"

static struct client a, b;

static struct shard_info shard = {.key = {STREAM_ID, 3, CREATED_S}, .parent = NO_PARENT, .adjacent = NO_PARENT};
static struct consumer_info consumer = {.id = CONSUMER_ID, .name = "billing"};
static struct stream_info stream = {
	.id = STREAM_ID, .name = "orders", .n_shards = 1, .shards = &shard, .n_consumers = 1, .consumers = &consumer};
static struct catalogue snapshot = {.refs = 1, .n_streams = 1, .streams = &stream}, nothing = {.refs = 1};

static void start(void)
{
	fake_start((struct hub_config){0});
	hub_set_catalogue(fake.hub, &snapshot, "eu-west-1", "123456789012");
}

static void end(enum lease_end why) { fake.hub->holder.on_lease_end(&fake.hub->holder, a.sub.id, why); }

static void see_exception(const char *type, const char *text)
{
	pull(&a);
	struct seen seen = see_one(&a);
	cr_assert(seen.kind == SEEN_EXCEPTION);
	cr_assert_str_eq(seen.type, type);
	cr_assert_str_eq(seen.text, text);
	see_nothing(&a);
	cr_assert(a.ended && a.sub.state == SUB_CLOSING);
}

Test(sub_lease, taken_over)
{
	start();
	client_idle(&a);
	end(LEASE_TAKEN);
	cr_assert(a.ready == 1 && metric_get(METRIC_subscriptions_taken_over) == 1);
	end(LEASE_TAKEN);
	cr_assert(a.ready == 1, "once");
	see_exception("ResourceInUseException",
		      "Another active subscription exists for this consumer: 123456789012:orders:shardId-000000000003:billing");
	client_stop(&a);
	fake_stop();
}

/* The names have left the snapshot by then. */
Test(sub_lease, stream_deleted)
{
	start();
	client_idle(&a);
	hub_set_catalogue(fake.hub, &nothing, "eu-west-1", "123456789012");
	end(LEASE_STREAM_GONE);
	see_exception("ResourceNotFoundException", "Stream orders under account 123456789012 not found.");
	client_stop(&a);
	fake_stop();
}

Test(sub_lease, consumer_deleted)
{
	start();
	client_idle(&a);
	end(LEASE_CONSUMER_GONE);
	see_exception("ResourceNotFoundException", "Consumer billing under stream orders under account 123456789012 not found.");
	client_stop(&a);
	fake_stop();
}

Test(sub_lease, the_event_that_is_partly_sent_comes_first)
{
	start();
	client_idle(&a);
	publish(10, 1000);
	publish(10, 1000);
	cr_assert(pull_once(&a, 2000) == 2000);
	end(LEASE_TAKEN);
	pull(&a);
	cr_assert(see_one(&a).last == 10 && see_one(&a).kind == SEEN_EXCEPTION && a.ended);
	client_stop(&a);
	fake_stop();
}

Test(sub_lease, taken_over_before_the_greeting)
{
	start();
	client_join(&a, 0);
	end(LEASE_TAKEN);
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL && see_one(&a).kind == SEEN_EXCEPTION && a.ended);
	client_stop(&a);
	fake_stop();
}

Test(sub_lease, of_one_that_was_stopped)
{
	start();
	client_idle(&a);
	client_stop(&a);
	end(LEASE_TAKEN);
	cr_assert(a.ready == 0 && fake.hub->holder.on_lease_probe(&fake.hub->holder, a.sub.id), "its leave is on the way");
	fake_stop();
}

Test(sub_lease, probe)
{
	start();
	client_idle(&a);
	client_idle(&b);
	cr_assert(!fake.hub->holder.on_lease_probe(&fake.hub->holder, a.sub.id));
	a.gone = true;
	cr_assert(fake.hub->holder.on_lease_probe(&fake.hub->holder, a.sub.id));
	cr_assert(a.sub.state == SUB_CLOSED && fake.n_left == 1 && b.sub.state == SUB_IDLE);
	sub_finish(&b.sub);
	cr_assert(fake.hub->holder.on_lease_probe(&fake.hub->holder, b.sub.id), "it has left");
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* ---- Stop ---- */

Test(sub_lease, stop_while_joining)
{
	start();
	client_start(&a);
	sub_stop(&a.sub);
	cr_assert(a.sub.state == SUB_CLOSED && fake.n_left == 1, "a join that waits for a lease is given up at once");
	memset(&a.sub, 0xa5, sizeof(a.sub)); /* its owner may free it */
	answer_join(STATUS_OK, 0);
	cr_assert(fake.n_left == 2 && fake.left[0] == fake.left[1], "answered OK all the same: left at once");
	cr_assert(a.joined == 0);
	memset(&a, 0, sizeof(a));
	client_start(&a);
	sub_stop(&a.sub);
	answer_join(STATUS_IN_USE, 0);
	cr_assert(a.joined == 0 && fake.n_left == 3);
	fake_stop();
}

Test(sub_lease, stop_while_reading)
{
	start();
	commit(3, 100);
	client_join(&a, 1);
	pull(&a);
	cr_assert(a.sub.state == SUB_READING);
	client_stop(&a);
	memset(&a.sub, 0xa5, sizeof(a.sub));
	answer_read(STATUS_OK);
	cr_assert(a.ready == 0 && fake.n_left == 1);
	fake_stop();
}

Test(sub_lease, stop_with_what_was_read)
{
	start();
	for (int i = 0; i < 20; i++)
		commit(10, 1000);
	client_join(&a, 1);
	pull(&a);
	answer_read(STATUS_OK);
	cr_assert(pull_once(&a, 3000) == 3000);
	client_stop(&a);
	fake_stop();
}

Test(sub_lease, stop_while_waiting_for_the_budget)
{
	fake_start((struct hub_config){.limits = {.push_bytes = 100}});
	client_idle(&a);
	publish(1, 1000);
	publish(1, 1000);
	pull(&a);
	cr_assert(a.sub.state == SUB_BUDGET);
	client_stop(&a);
	pass(20 * SECOND);
	cr_assert(a.ready == 1);
	fake_stop();
}

Test(sub_lease, stop_while_closing)
{
	start();
	client_idle(&a);
	end(LEASE_TAKEN);
	client_stop(&a);
	cr_assert(fake.n_left == 1);
	sub_stop(&a.sub);
	fake_stop();
}

Test(sub_lease, stop_from_on_ready)
{
	start();
	client_idle(&a);
	client_idle(&b);
	a.stop_on_ready = b.pull_on_ready = true;
	publish(1, 10);
	cr_assert(a.sub.state == SUB_CLOSED && see_one(&b).records == 1);
	b.stop_on_ready = true;
	pass(5 * SECOND);
	cr_assert(b.sub.state == SUB_CLOSED);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

Test(sub_lease, stop_from_on_ready_when_taken_and_when_read)
{
	start();
	client_idle(&a);
	a.stop_on_ready = true;
	end(LEASE_TAKEN);
	cr_assert(a.sub.state == SUB_CLOSED);
	client_stop(&a);
	memset(&a, 0, sizeof(a));
	commit(3, 10);
	client_join(&a, 1);
	pull(&a);
	a.stop_on_ready = true;
	answer_read(STATUS_OK);
	cr_assert(a.sub.state == SUB_CLOSED);
	client_stop(&a);
	memset(&a, 0, sizeof(a));
	client_join(&a, 1);
	pull(&a);
	a.stop_on_ready = true;
	answer_read(STATUS_IO);
	cr_assert(a.sub.state == SUB_CLOSED);
	client_stop(&a);
	fake_stop();
}

Test(sub_lease, R7_subscribing_again_after_a_clean_end)
{
	start();
	client_idle(&a);
	publish(3, 10);
	pull(&a);
	see_one(&a);
	sub_finish(&a.sub);
	pull(&a);
	cr_assert(a.ended && fake.n_left == 1, "left before END_STREAM can be written");
	client_start(&b);
	client_stop(&a);
	answer_join(STATUS_OK, 4);
	pull(&b);
	see_one(&b);
	cr_assert(see_one(&b).continuation == 3);
	client_stop(&b);
	fake_stop();
}
