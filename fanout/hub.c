/* hub.c: one worker's fan-out: its life, its timers, what it knows of the catalogue.
 *
 * Thread: the worker's, from the first call after hub_new on.
 *
 * - notices: the listener's mail; each shard's news goes to its tail.
 * - hub_tick: subscriptions whose five minutes are over; the idle whose 5 s are over, and with them those due within a tenth of that, so
 *   that one write serves many streams of a connection; those whose budget has filled.
 * - hub_deadline: when the next of these is due. All three are kept in order, so that asking costs nothing that grows.
 *
 * No timer stands on the way of a record: these three are all there are, unless a delivery profile asks for delays (tail_delay.c). Owners
 * may do anything from on_ready, also stop other subscriptions, so each loop here looks at its list's head anew. */
#include "fanout/hub.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/metrics.h"

#define NS_PER_S UINT64_C(1000000000)

static void on_notice(struct listener *listener)
{
	struct hub *hub = container_of(listener, struct hub, listener);
	struct notice notice;
	uint64_t now = io_mono_ns(hub->config.io);
	while (listener_take(listener, &notice)) {
		if (notice.durable_ns) /* a lane may add to what is taken here */
			metric_observe(METRIC_TIME_notice, notice.durable_ns < now ? now - notice.durable_ns : 0);
		if (notice.n_batches && !hub->taken_ns)
			hub->taken_ns = now;
		tail_notice(hub, &notice);
		notice_fini(&notice);
	}
}

/* ---- Life ---- */

static void lists_init(struct hub *hub)
{
	struct list *lists[] = {&hub->joining, &hub->ready, &hub->reading, &hub->read_waiting, &hub->closing, &hub->quiet,  &hub->life,
				&hub->rings,   &hub->ended, &hub->holders, &hub->allowances,   &hub->kept,    &hub->delayed};
	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		list_init(lists[i]);
	for (size_t i = 0; i < WHEEL_SLOTS; i++)
		list_init(&hub->wheel[i]);
}

static void defaults(struct hub_config *config)
{
	if (!config->heartbeat_ns)
		config->heartbeat_ns = 5 * NS_PER_S;
	if (!config->life_ns)
		config->life_ns = 300 * NS_PER_S;
	if (!config->ring_bytes)
		config->ring_bytes = 1u << 20;
	if (!config->rings_bytes)
		config->rings_bytes = 64u << 20;
	if (!config->reads)
		config->reads = 32;
	if (!config->read_bytes)
		config->read_bytes = 256u << 10;
	if (!config->kept_bytes)
		config->kept_bytes = 32u << 20;
}

struct hub *hub_new(const struct hub_config *config)
{
	struct hub *hub = xcalloc(1, sizeof(*hub));
	hub->config = *config;
	defaults(&hub->config);
	lists_init(hub);
	hub->delayed_ns = UINT64_MAX;
	listener_init(&hub->listener, config->box, on_notice);
	hub->holder = (struct lease_holder){.box = config->box, .on_lease_end = on_lease_end, .on_lease_probe = on_lease_probe};
	hub->initial = message_initial();
	hub->next_id = (uint64_t)config->worker << 48; /* 2^48 subscriptions per worker: for ever */
	return hub;
}

static void count_pushed(struct hub *hub)
{
	if (hub->pushed.events) {
		metric_add(METRIC_events_pushed, hub->pushed.events);
		metric_add(METRIC_records_pushed, hub->pushed.records);
		metric_add(METRIC_bytes_pushed, hub->pushed.bytes);
		metric_add(METRIC_heartbeats, hub->pushed.heartbeats);
	}
	memset(&hub->pushed, 0, sizeof(hub->pushed));
}

void hub_free(struct hub *hub)
{
	if (!hub)
		return;
	assert(list_empty(&hub->quiet) && list_empty(&hub->life) && list_empty(&hub->holders));
	assert(list_empty(&hub->rings) && list_empty(&hub->ended) && hub->rings_bytes == 0 && hub->held == 0);
	assert(list_empty(&hub->kept) && hub->kept_bytes == 0 && list_empty(&hub->delayed));
	assert(hub->n_budget == 0 && hub->reads == 0 && hub->joins == 0);
	for (size_t i = 0; i < HUB_BUCKETS; i++)
		assert(!hub->tails[i] && !hub->subs[i]);
	count_pushed(hub);
	budget_free(hub);
	listener_fini(&hub->listener);
	message_unref(hub->initial);
	free(hub);
}

/* ---- Catalogue ---- */

void hub_set_catalogue(struct hub *hub, const struct catalogue *snapshot, const char *region, const char *account)
{
	struct list ended, *node;
	(void)region; /* the texts of last words name the account alone */
	hub->snapshot = snapshot;
	hub->snapshots++;
	snprintf(hub->account, sizeof(hub->account), "%s", account);
	list_init(&ended);
	list_splice(&ended, &hub->ended);
	while ((node = list_pop(&ended))) {
		struct tail *tail = container_of(node, struct tail, ended_link);
		tail->users++;
		if (tail_final(hub, tail) || tail_childless(hub, tail))
			tail_wake(tail);
		else
			list_append(&hub->ended, &tail->ended_link);
		tail_put(hub, tail);
	}
}

/* ---- Timers ---- */

/* Within so much of being due the idle are sent along. */
static uint64_t slack(const struct hub *hub) { return hub->config.heartbeat_ns / 10; }

static uint64_t first_life(const struct hub *hub)
{
	if (list_empty(&hub->life))
		return UINT64_MAX;
	return container_of(hub->life.next, struct subscription, life_link)->started_ns + hub->config.life_ns;
}

static uint64_t first_quiet(const struct hub *hub)
{
	if (list_empty(&hub->quiet))
		return UINT64_MAX;
	return container_of(hub->quiet.next, struct subscription, idle_link)->quiet_ns + hub->config.heartbeat_ns;
}

uint64_t hub_deadline(struct hub *hub)
{
	count_pushed(hub);
	uint64_t life = first_life(hub), quiet = first_quiet(hub), budget = budget_deadline(hub);
	uint64_t first = life < quiet ? life : quiet;
	first = first < budget ? first : budget;
	return first < hub->delayed_ns ? first : hub->delayed_ns;
}

static void beat(struct hub *hub, uint64_t now_ns)
{
	if (first_quiet(hub) > now_ns)
		return;
	while (first_quiet(hub) <= now_ns + slack(hub)) {
		struct subscription *sub = container_of(hub->quiet.next, struct subscription, idle_link);
		sub->message = sub_empty_event(sub);
		sub_ready(sub);
	}
}

void hub_tick(struct hub *hub, uint64_t now_ns)
{
	while (first_life(hub) <= now_ns)
		sub_finish(container_of(hub->life.next, struct subscription, life_link));
	beat(hub, now_ns);
	budget_tick(hub, now_ns);
	tail_delay_tick(hub, now_ns);
	count_pushed(hub);
}

uint64_t hub_taken_ns(struct hub *hub)
{
	uint64_t taken_ns = hub->pushed.records ? hub->taken_ns : 0;
	hub->taken_ns = 0;
	return taken_ns;
}

/* ---- Look-up ---- */

#define FIRST_ID_MASK ((UINT64_C(1) << 48) - 1) /* ids begin behind worker << 48 */

struct subscription *hub_subscription(struct hub *hub, uint64_t id)
{
	struct subscription *sub = hub->subs[id % HUB_BUCKETS];
	while (sub && sub->id != id)
		sub = sub->next_in_bucket;
	return sub;
}

/* A chain's ids fall, since a new subscription comes first. */
bool hub_each(struct hub *hub, uint64_t *after, unsigned most, void (*fn)(void *arg, struct subscription *sub), void *arg)
{
	uint64_t before = *after & FIRST_ID_MASK ? *after : UINT64_MAX;
	for (size_t i = before == UINT64_MAX ? 0 : before % HUB_BUCKETS; i < HUB_BUCKETS; i++, before = UINT64_MAX)
		for (struct subscription *sub = hub->subs[i], *next; sub; sub = next) {
			next = sub->next_in_bucket;
			if (sub->id >= before)
				continue;
			if (most-- == 0)
				return true;
			*after = sub->id;
			fn(arg, sub);
		}
	return false;
}
