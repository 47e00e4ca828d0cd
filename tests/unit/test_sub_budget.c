/* test_sub_budget.c: 2 MiB/s per (consumer, shard), in debt by one event at most. */
#include "fake_store.h"

#define RATE (2 << 20)

static struct client a, b;

static const struct hub_config limited = {.limits = {.push_bytes = RATE}, .ring_bytes = 64 << 20};

static uint64_t taken(struct client *client)
{
	struct seen seen;
	while (see(client, &seen))
		;
	return client->payload;
}

Test(sub_budget, off_is_off)
{
	fake_start((struct hub_config){.ring_bytes = 64 << 20});
	client_idle(&a);
	for (int i = 0; i < 40; i++)
		publish(1, 200000);
	pull(&a);
	cr_assert(a.sub.state == SUB_IDLE && taken(&a) == 40 * 200003);
	client_stop(&a);
	fake_stop();
}

Test(sub_budget, capacity_then_rate)
{
	fake_start(limited);
	client_idle(&a);
	for (int i = 0; i < 100; i++)
		publish(1, 100000);
	pull(&a);
	cr_assert(a.sub.state == SUB_BUDGET);
	uint64_t first = taken(&a);
	cr_assert(first >= RATE && first < RATE + 100003, "capacity, and one event of debt: %llu", (unsigned long long)first);
	cr_assert(pull_once(&a, 16384) == 0, "nothing before the timer");
	uint32_t ready = a.ready;
	uint64_t due = hub_deadline(fake.hub);
	cr_assert(due > fake.mono_ns && due - fake.mono_ns < 100 * MS, "%llu", (unsigned long long)(due - fake.mono_ns));
	pass(due - fake.mono_ns);
	cr_assert(a.ready == ready + 1 && a.sub.state == SUB_READY);
	a.pull_on_ready = true;
	pull(&a);
	uint64_t start = fake.mono_ns, before = taken(&a);
	pass(2 * SECOND);
	double rate = (double)(taken(&a) - before) / ((double)(fake.mono_ns - start) / 1e9);
	cr_assert(rate < RATE * 1.06 && rate > RATE * 0.94, "%.0f", rate);
	client_stop(&a);
	fake_stop();
}

/* An event begins only while the budget is open, also within one plan: avail counts no further, and take agrees. */
Test(sub_budget, plan_stops_where_the_budget_does)
{
	fake_start(limited);
	client_idle(&a);
	for (int i = 0; i < 60; i++)
		publish(1, 100000);
	int64_t n = sub_avail(&a.sub, 1 << 30);
	sub_take(&a.sub, (size_t)n, client_emit, &a);
	cr_assert(sub_avail(&a.sub, 1 << 30) == 0 && a.sub.state == SUB_BUDGET);
	cr_assert(taken(&a) == 21 * UINT64_C(100003) && a.bytes.n == 0, "whole events, the last in debt");
	client_stop(&a);
	fake_stop();
}

/* A large record takes the budget five times over; meanwhile the connection is not silent. */
Test(sub_budget, R6_heartbeats_while_in_long_debt)
{
	fake_start((struct hub_config){.limits = {.push_bytes = 1 << 20}});
	client_idle(&a);
	publish(1, 10 << 20);
	a.pull_on_ready = true;
	pull(&a);
	publish(1, 10);
	pull(&a);
	cr_assert(a.sub.state == SUB_BUDGET);
	cr_assert(see_one(&a).records == 1);
	pass(5100 * MS);
	struct seen seen = see_one(&a);
	cr_assert(seen.records == 0 && seen.continuation == 1 && seen.behind > 0);
	pass(4 * SECOND);
	cr_assert(see_one(&a).first == 2);
	cr_assert(a.sub.state == SUB_IDLE);
	client_stop(&a);
	fake_stop();
}

/* What is spent stays spent when the client subscribes again at once. */
Test(sub_budget, outlives_the_subscription)
{
	fake_start(limited);
	client_idle(&a);
	client_idle(&b); /* keeps the ring; another subscription of the same pair */
	for (int i = 0; i < 60; i++)
		publish(1, 100000);
	pull(&a);
	cr_assert(a.sub.state == SUB_BUDGET);
	client_stop(&a);
	memset(&a, 0, sizeof(a));
	client_join(&a, 30);
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	cr_assert(see_one(&a).records == 0, "R5 holds without budget");
	see_nothing(&a);
	cr_assert(a.sub.state == SUB_BUDGET);
	client_stop(&a);
	clock_add(3 * SECOND);
	memset(&a, 0, sizeof(a));
	client_join(&a, 30);
	pull(&a);
	cr_assert(taken(&a) >= RATE, "and is full again after its time");
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* Many with different debts: each wakes at its time, none is forgotten. */
Test(sub_budget, wheel_wakes_everybody)
{
	enum { N = 300 };
	static struct client clients[N];
	fake_start((struct hub_config){.limits = {.push_bytes = 100000}, .ring_bytes = 64 << 20});
	publish(1, 10);
	for (int i = 0; i < N; i++) {
		client_idle(&clients[i]);
		clients[i].pull_on_ready = true;
		clients[i].sub.budget.level = 100 - i * 1000;
	}
	publish(1, 1000);
	publish(1, 1000);
	pass(4900 * MS);
	for (int i = 0; i < N; i++) {
		taken(&clients[i]);
		cr_assert(clients[i].ready <= 3, "woken before its time");
		cr_assert(clients[i].records == 2 && clients[i].sub.state == SUB_IDLE, "%d: %s", i, sub_state_name(clients[i].sub.state));
		client_stop(&clients[i]);
	}
	fake_stop();
}
