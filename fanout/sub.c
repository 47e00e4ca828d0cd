/* sub.c: the life of a subscription, and the table of its states.
 *
 * Thread: the hub's. A subscription has a tail exactly while the lane knows it: from the join's answer to the leave.
 *
 * - sub_start: JOINING; the join is a heap object, since it may outlive a subscription that is stopped meanwhile.
 * - the answer: cursor and tail, deadline, READY with the initial-response to pull. Lane and mail are first-in first-out, so nothing
 *   between `next` and the first notice is lost or doubled.
 * - sub_close: leaves the lane (the owner's END_STREAM comes after it) and keeps what is partly sent.
 * - sub_stop: every reference goes.
 *
 * Failure modes: a join refused is CLOSED before the owner hears of it; a join answered after the stop is left at once; a fault while
 * reading becomes an exception event and a clean end, never a hole. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fanout/hub.h"
#include "penstock/metrics.h"
#include "penstock/slog.h"

struct join {
	struct store_join join;
	struct hub *hub;
	struct subscription *sub; /* NULL: stopped meanwhile */
};

/* ---- States ---- */

#define TO(state) (1u << SUB_##state)
static const unsigned legal[] = {
	[SUB_JOINING] = TO(READY) | TO(CLOSED),
	[SUB_IDLE] = TO(READY) | TO(CLOSING) | TO(CLOSED),
	[SUB_READY] = TO(IDLE) | TO(BUDGET) | TO(READING) | TO(CLOSING) | TO(CLOSED),
	[SUB_BUDGET] = TO(READY) | TO(CLOSING) | TO(CLOSED),
	[SUB_READING] = TO(READY) | TO(CLOSING) | TO(CLOSED),
	[SUB_CLOSING] = TO(CLOSED),
	[SUB_CLOSED] = TO(JOINING),
};
#undef TO

void sub_move(struct subscription *sub, enum sub_state to, struct list *list)
{
	assert(legal[sub->state] & 1u << to);
	if (sub->state == SUB_IDLE)
		list_remove(&sub->idle_link);
	if (to == SUB_BUDGET)
		sub->hub->n_budget++;
	else if (sub->state == SUB_BUDGET)
		sub->hub->n_budget--;
	list_remove(&sub->link);
	if (list)
		list_append(list, &sub->link);
	sub->state = to;
}

void sub_ready(struct subscription *sub)
{
	sub_move(sub, SUB_READY, &sub->hub->ready);
	sub->ops->on_ready(sub);
}

const char *sub_state_name(enum sub_state state)
{
	static const char *const names[] = {
		[SUB_JOINING] = "JOINING", [SUB_IDLE] = "IDLE",       [SUB_READY] = "READY",   [SUB_BUDGET] = "BUDGET",
		[SUB_READING] = "READING", [SUB_CLOSING] = "CLOSING", [SUB_CLOSED] = "CLOSED",
	};
	return names[state];
}

void sub_names(const struct subscription *sub, const char **stream, const char **consumer)
{
	*stream = sub->names ? sub->names : "";
	*consumer = sub->names ? sub->names + strlen(sub->names) + 1 : "";
}

/* ---- Start ---- */

static void index_add(struct hub *hub, struct subscription *sub)
{
	struct subscription **bucket = &hub->subs[sub->id % HUB_BUCKETS];
	sub->next_in_bucket = *bucket;
	*bucket = sub;
}

static void index_remove(struct hub *hub, struct subscription *sub)
{
	struct subscription **at = &hub->subs[sub->id % HUB_BUCKETS];
	while (*at != sub)
		at = &(*at)->next_in_bucket;
	*at = sub->next_in_bucket;
}

/* Deletion is told after the names have left the snapshot. */
static char *remember_names(const struct hub *hub, const struct shard_key *shard, uint64_t consumer)
{
	const struct stream_info *stream = hub->snapshot ? catalogue_stream_by_id(hub->snapshot, shard->stream) : NULL;
	const char *consumer_name = "";
	for (uint32_t i = 0; stream && i < stream->n_consumers; i++)
		if (stream->consumers[i].id == consumer)
			consumer_name = stream->consumers[i].name;
	const char *stream_name = stream ? stream->name : "";
	size_t n = strlen(stream_name) + 1, m = strlen(consumer_name) + 1;
	char *names = xmalloc(n + m);
	memcpy(names, stream_name, n);
	memcpy(names + n, consumer_name, m);
	return names;
}

static void joined(struct subscription *sub, const struct store_join *join)
{
	struct hub *hub = sub->hub;
	uint64_t now = io_mono_ns(hub->config.io);
	struct tail *tail = tail_get(hub, &join->key);
	bool news = tail_raise(hub, tail, join->durable_end, join->durable_end_ms, join->closed);
	sub->tail = tail;
	sub->shard = join->key;
	sub->next = join->next;
	sub->second_s = join->before_s;
	sub->unread_ms = join->next_ms;
	/* A client that resumes from a position that it was given keeps on from there. */
	if (join->position.kind == POSITION_AFTER && join->position.second && join->position.index + 1 == join->next) {
		sub->second_s = join->position.second;
		sub->positioned = true;
	}
	sub->quiet_ns = now;
	sub->started_ns = now; /* the answer, not the call, or the list's order were not that of the deadlines */
	list_append(&hub->life, &sub->life_link);
	budget_begin(sub, now);
	metric_add(METRIC_subscriptions, 1);
	metric_add(METRIC_subscriptions_started, 1);
	sub_move(sub, SUB_READY, &hub->ready);
	tail->users++;
	sub->ops->on_joined(sub, STATUS_OK);
	if (sub->finishing)
		sub_finish(sub);
	if (news)
		tail_wake(tail);
	tail_put(hub, tail);
}

static void refused(struct subscription *sub, enum status status)
{
	index_remove(sub->hub, sub);
	free(sub->names);
	sub->names = NULL;
	sub_move(sub, SUB_CLOSED, NULL);
	sub->ops->on_joined(sub, status);
}

static void post_leave(struct hub *hub, uint64_t stream, uint32_t shard, uint64_t consumer, uint64_t id)
{
	store_leave(hub->config.store, hub->config.outbox, stream, shard, consumer, id, &hub->listener);
}

static void on_join_done(struct store_join *done)
{
	struct join *join = container_of(done, struct join, join);
	struct hub *hub = join->hub;
	struct subscription *sub = join->sub;
	hub->joins--;
	if (sub) {
		sub->join = NULL;
		if (done->status == STATUS_OK)
			joined(sub, done);
		else
			refused(sub, done->status);
	} else if (done->status == STATUS_OK) {
		/* The stop has left it already, so that a join that waits for another's lease is given up at once. A store that granted it
		 * all the same (its mail need not come in that order) hears it again; who is not there cannot leave twice. */
		post_leave(hub, done->stream, done->shard, done->consumer, done->subscription);
	}
	free(join);
}

static void sub_init(struct hub *hub, struct subscription *sub, const struct sub_ops *ops)
{
	*sub = (struct subscription){.state = SUB_CLOSED, .ops = ops, .hub = hub};
	list_init(&sub->link);
	list_init(&sub->idle_link);
	list_init(&sub->life_link);
	list_init(&sub->hold_link);
	list_init(&sub->read_link);
}

void sub_start(struct hub *hub, struct subscription *sub, const struct sub_ops *ops, struct shard_key shard, uint64_t consumer,
	       struct position position)
{
	sub_init(hub, sub, ops);
	sub->id = ++hub->next_id;
	sub->shard = shard;
	sub->consumer = consumer;
	sub->started_ns = io_mono_ns(hub->config.io);
	sub->names = remember_names(hub, &shard, consumer);
	index_add(hub, sub);
	sub_move(sub, SUB_JOINING, &hub->joining);

	struct join *join = xcalloc(1, sizeof(*join));
	join->hub = hub;
	join->sub = sub;
	join->join = (struct store_join){
		.reply_to = hub->config.box,
		.on_done = on_join_done,
		.stream = shard.stream,
		.shard = shard.shard,
		.consumer = consumer,
		.position = position,
		.listener = &hub->listener,
		.holder = &hub->holder,
		.subscription = sub->id,
	};
	sub->join = &join->join;
	hub->joins++;
	store_join(hub->config.store, hub->config.outbox, &join->join);
}

/* ---- Lag ---- */

/* The stream's start and retention, looked up once per snapshot. A stream that has left the snapshot keeps what it had. */
static void refresh_limits(struct hub *hub, struct tail *tail)
{
	const struct stream_info *stream = hub->snapshot ? catalogue_stream_by_id(hub->snapshot, tail->shard.stream) : NULL;
	tail->snapshots = hub->snapshots;
	if (!stream)
		return;
	tail->stream_ms = stream->created_ms;
	tail->retention_ms = stream->retention_hours * INT64_C(3600000);
}

int64_t sub_behind(const struct subscription *sub, int64_t then_ms)
{
	struct hub *hub = sub->hub;
	struct tail *tail = sub->tail;
	int64_t now_ms = io_wall_ms(hub->config.io), ms = now_ms - then_ms;
	if (tail->snapshots != hub->snapshots)
		refresh_limits(hub, tail);
	if (tail->retention_ms && ms > tail->retention_ms)
		ms = tail->retention_ms;
	if (ms > now_ms - tail->stream_ms)
		ms = now_ms - tail->stream_ms;
	return ms > 1 ? ms : 1;
}

/* A position lies at or behind the clock's second when it was given, so at worst the last one stands in for the record's arrival. */
int64_t sub_unread_ms(const struct subscription *sub)
{
	int64_t ms = sub_arrival_ms(sub, sub->next);
	if (!ms)
		ms = sub->unread_ms;
	if (!ms && sub->next == sub->tail->durable_end)
		ms = sub->tail->durable_end_ms;
	return ms ? ms : sub->second_s * 1000;
}

/* ---- Positions ---- */

/* The second of the next empty event's continuation: it rises with each, and keeps up with the clock. */
static int64_t next_second(struct subscription *sub)
{
	int64_t second_s = sub->second_s + sub->positioned, now_s = io_wall_ms(sub->hub->config.io) / 1000;
	if (second_s < now_s)
		second_s = now_s;
	if (second_s < sub->shard.created_s)
		second_s = sub->shard.created_s;
	if (second_s > SEQ_TIME_MAX)
		second_s = SEQ_TIME_MAX; /* only from there on that a client made up */
	sub->second_s = second_s;
	sub->positioned = true;
	return second_s;
}

struct message *sub_empty_event(struct subscription *sub)
{
	int64_t second_s = next_second(sub);
	if (sub->next == sub->tail->durable_end + 1)
		return message_ref(tail_empty(sub->tail, second_s));
	return message_empty(&sub->shard, sub->next - 1, second_s);
}

void sub_lag(const struct subscription *sub, uint64_t *records, int64_t *ms)
{
	*records = 0;
	*ms = 0;
	if (!sub->tail || sub->next > sub->tail->durable_end)
		return;
	*records = sub->tail->durable_end - (sub->next - 1);
	*ms = sub_behind(sub, sub_unread_ms(sub));
}

/* ---- End ---- */

/* The lane's leave; from here no notice and no lease concerns it. */
static void leave(struct subscription *sub)
{
	if (!sub->tail)
		return;
	post_leave(sub->hub, sub->shard.stream, sub->shard.shard, sub->consumer, sub->id);
	budget_end(sub);
	list_remove(&sub->life_link);
	metric_add(METRIC_subscriptions, -1);
}

/* Off every list that belongs to the tail first: it may be the last user. */
static void detach(struct subscription *sub, enum sub_state to, struct list *list)
{
	struct tail *tail = sub->tail;
	leave(sub);
	read_drop(sub);
	sub_move(sub, to, list);
	sub->tail = NULL;
	if (tail)
		tail_put(sub->hub, tail);
}

void sub_close(struct subscription *sub, struct message *last_words)
{
	detach(sub, SUB_CLOSING, &sub->hub->closing);
	if (sub->message && sub->offset == 0 && sub->greeted) {
		message_unref(sub->message);
		sub->message = NULL;
	}
	sub->last_words = last_words;
	hold_update(sub);
}

void sub_fail(struct subscription *sub, enum status status)
{
	char name[SHARD_NAME_LEN + 1];
	shard_name(name, sub->shard.shard);
	bool cut = sub->offset > 0 && !sub->message;
	struct message *last_words = NULL;
	if (status == STATUS_NOT_FOUND) { /* deleted; the end of the lease was on its way too */
		last_words = lease_gone(sub, LEASE_STREAM_GONE);
	} else if (status != STATUS_CLOSING) {
		slog(SLOG_ERROR, "subscription_failed", "stream=%" PRIu64 " shard=%s next=%" PRIu64 " status=%s", sub->shard.stream, name,
		     sub->next, status_name(status));
		last_words = message_exception(STR("InternalFailureException"), STR("Internal Service Error"));
	}
	sub_close(sub, last_words);
	if (cut)
		sub_cut(sub);
}

void sub_cut(struct subscription *sub)
{
	message_unref(sub->last_words);
	sub->last_words = NULL;
	sub->offset = 0;
}

void sub_finish(struct subscription *sub)
{
	if (sub->state == SUB_JOINING)
		sub->finishing = true;
	if (sub->state == SUB_JOINING || sub->state == SUB_CLOSING || sub->state == SUB_CLOSED)
		return;
	/* A client that never saw a position starts again at its first one: for LATEST that skips what came meanwhile. Give it one. */
	struct message *position = NULL;
	if (sub->events == 0 && (sub->offset == 0 || !sub->greeted)) {
		position = message_empty(&sub->shard, sub->next - 1, next_second(sub));
		if (sub->next <= sub->tail->durable_end)
			message_trailer(position, sub_behind(sub, sub_unread_ms(sub)), position->trailer0);
	}
	sub_close(sub, position);
	sub->ops->on_ready(sub);
}

void sub_stop(struct subscription *sub)
{
	if (sub->state == SUB_CLOSED)
		return;
	if (sub->state == SUB_JOINING) {
		container_of(sub->join, struct join, join)->sub = NULL;
		sub->join = NULL;
		post_leave(sub->hub, sub->shard.stream, sub->shard.shard, sub->consumer, sub->id);
	}
	detach(sub, SUB_CLOSED, NULL);
	message_unref(sub->message);
	message_unref(sub->last_words);
	sub->message = sub->last_words = NULL;
	hold_update(sub);
	index_remove(sub->hub, sub);
	free(sub->names);
	sub->names = NULL;
}
