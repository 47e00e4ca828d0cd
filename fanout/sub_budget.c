/* sub_budget.c: those whose push budget is spent, and budgets that outlive their subscription.
 *
 * Thread: the hub's. A budget belongs to (consumer, shard), not to a subscription: a client that subscribes again at once (five minutes,
 * takeover) must not get a second's worth more each time. So the bucket of one that ends with less than a full bucket waits here until
 * it would be full, a second or two. (A takeover from another worker starts with a full bucket: one capacity, once.)
 *
 *   wheel: slot = wake_ns / 4.2 ms, modulo 256; a wait longer than a turn of the wheel is looked at once per turn.
 *
 * Failure modes: more than ALLOWANCES in the list: the oldest is forgotten, and that consumer starts with a full bucket. */
#include <assert.h>
#include <stdlib.h>

#include "fanout/hub.h"

#define ALLOWANCES 1024u /* bounds memory and the search at a join; 1024 ends within the second that it takes to refill */

struct allowance {
	struct list link;
	uint64_t consumer, stream;
	uint32_t shard;
	struct bucket bucket;
};

/* ---- Kept budgets ---- */

static void forget(struct hub *hub, struct allowance *allowance)
{
	list_remove(&allowance->link);
	hub->n_allowances--;
	free(allowance);
}

void budget_free(struct hub *hub)
{
	LIST_EACH (node, &hub->allowances)
		forget(hub, container_of(node, struct allowance, link));
}

static bool is_full(struct bucket *bucket, uint64_t now_ns)
{
	bucket_open(bucket, now_ns);
	return bucket->level >= bucket->capacity;
}

void budget_begin(struct subscription *sub, uint64_t now_ns)
{
	struct hub *hub = sub->hub;
	int64_t rate = hub->config.limits.push_bytes;
	bucket_init(&sub->budget, rate, rate, now_ns);
	LIST_EACH (node, &hub->allowances) {
		struct allowance *allowance = container_of(node, struct allowance, link);
		if (allowance->consumer == sub->consumer && allowance->stream == sub->shard.stream &&
		    allowance->shard == sub->shard.shard) {
			sub->budget = allowance->bucket;
			forget(hub, allowance);
		} else if (is_full(&allowance->bucket, now_ns)) {
			forget(hub, allowance);
		}
	}
}

void budget_end(struct subscription *sub)
{
	struct hub *hub = sub->hub;
	if (sub->budget.rate == 0 || is_full(&sub->budget, io_mono_ns(hub->config.io)))
		return;
	if (hub->n_allowances == ALLOWANCES)
		forget(hub, container_of(hub->allowances.next, struct allowance, link));
	struct allowance *allowance = xcalloc(1, sizeof(*allowance));
	allowance->consumer = sub->consumer;
	allowance->stream = sub->shard.stream;
	allowance->shard = sub->shard.shard;
	allowance->bucket = sub->budget;
	list_append(&hub->allowances, &allowance->link);
	hub->n_allowances++;
}

/* ---- Waiting ---- */

void budget_wait(struct subscription *sub, uint64_t now_ns)
{
	struct hub *hub = sub->hub;
	uint64_t heartbeat = sub->quiet_ns + hub->config.heartbeat_ns;
	sub->wake_ns = bucket_open_at(&sub->budget, now_ns);
	if (heartbeat < sub->wake_ns)
		sub->wake_ns = heartbeat;
	if (hub->n_budget == 0)
		hub->wheel_at = now_ns >> WHEEL_SHIFT;
	uint64_t slot = sub->wake_ns >> WHEEL_SHIFT;
	if (slot < hub->wheel_at)
		slot = hub->wheel_at;
	sub_move(sub, SUB_BUDGET, &hub->wheel[slot % WHEEL_SLOTS]);
}

static void run_slot(struct list *slot, uint64_t now_ns)
{
	struct list due, *node;
	list_init(&due);
	list_splice(&due, slot);
	while ((node = list_pop(&due))) {
		struct subscription *sub = container_of(node, struct subscription, link);
		if (sub->wake_ns <= now_ns)
			sub_ready(sub);
		else
			list_append(slot, node);
	}
}

void budget_tick(struct hub *hub, uint64_t now_ns)
{
	uint64_t to = now_ns >> WHEEL_SHIFT, from = hub->wheel_at;
	if (to >= from + WHEEL_SLOTS)
		from = to - (WHEEL_SLOTS - 1);
	/* Before anybody is told: who waits again meanwhile is put where the wheel comes next. */
	if (hub->wheel_at < to)
		hub->wheel_at = to;
	for (; hub->n_budget && from <= to; from++)
		run_slot(&hub->wheel[from % WHEEL_SLOTS], now_ns);
}

uint64_t budget_deadline(const struct hub *hub)
{
	if (hub->n_budget == 0)
		return UINT64_MAX;
	uint64_t at = hub->wheel_at, end = at + WHEEL_SLOTS;
	while (at < end && list_empty(&hub->wheel[at % WHEEL_SLOTS]))
		at++;
	return (at + 1) << WHEEL_SHIFT;
}
