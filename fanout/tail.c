/* tail.c: shards that somebody on this worker listens to.
 *
 * A tail lives as long as it has subscriptions: with the last leave the lane stops sending, and a ring without news is only memory.
 * Thread: the hub's.
 *
 * - tail_notice: each batch newer than the ring's newest goes in (a reference, no copy), old ones go out by bytes; then durable_end
 *   moves, and every idle subscription becomes READY.
 * - tail_batch: newest first, since nearly everybody stands there; else where the reader was the last time; else a binary search.
 *
 * Failure modes: a batch twice or too late is dropped. A batch that is missing, or came without events (no memory to encode), leaves a
 * gap: durable_end moves all the same, and who stands before the gap reads the log. */
#include "fanout/tail.h"

#include <assert.h>
#include <stdlib.h>

#include "fanout/hub.h"
#include "penstock/metrics.h"

/* ---- Look-up and life ---- */

static struct tail **bucket_of(struct hub *hub, uint64_t stream, uint32_t shard)
{
	uint64_t hash = (stream * UINT64_C(0x9e3779b97f4a7c15) + shard) * UINT64_C(0x9e3779b97f4a7c15);
	return &hub->tails[(hash >> 32) % HUB_BUCKETS];
}

struct tail *tail_find(struct hub *hub, uint64_t stream, uint32_t shard)
{
	struct tail *tail = *bucket_of(hub, stream, shard);
	while (tail && (tail->shard.stream != stream || tail->shard.shard != shard))
		tail = tail->next_in_bucket;
	return tail;
}

struct tail *tail_get(struct hub *hub, const struct shard_key *shard)
{
	struct tail *tail = tail_find(hub, shard->stream, shard->shard);
	if (!tail) {
		struct tail **bucket = bucket_of(hub, shard->stream, shard->shard);
		tail = xcalloc(1, sizeof(*tail));
		tail->shard = *shard;
		list_init(&tail->idle);
		list_init(&tail->rings_link);
		list_init(&tail->ended_link);
		list_init(&tail->reads);
		tail->next_in_bucket = *bucket;
		*bucket = tail;
	}
	tail->users++;
	return tail;
}

static void pop_oldest(struct hub *hub, struct tail *tail)
{
	struct ring_entry *entry = &tail->ring[tail->ring_begin++ & (tail->ring_cap - 1)];
	tail->ring_bytes -= entry->bytes;
	hub->rings_bytes -= entry->bytes;
	metric_add(METRIC_ring_bytes, -(int64_t)entry->bytes);
	batch_unref(entry->batch);
	if (tail->ring_begin == tail->ring_end)
		list_remove(&tail->rings_link);
}

void tail_put(struct hub *hub, struct tail *tail)
{
	assert(tail->users > 0);
	if (--tail->users > 0)
		return;
	assert(list_empty(&tail->idle));
	while (tail->ring_begin != tail->ring_end)
		pop_oldest(hub, tail);
	read_forget(tail);
	free(tail->ring);
	tail_delay_free(tail);
	message_unref(tail->empty);
	message_unref(tail->final);
	list_remove(&tail->ended_link);
	struct tail **at = bucket_of(hub, tail->shard.stream, tail->shard.shard);
	while (*at != tail)
		at = &(*at)->next_in_bucket;
	*at = tail->next_in_bucket;
	free(tail);
}

/* ---- The ring ---- */

static const struct ring_entry *entry_at(const struct tail *tail, uint64_t n) { return &tail->ring[n & (tail->ring_cap - 1)]; }

size_t batch_bytes(const struct batch *batch)
{
	size_t bytes = sizeof(*batch) + batch->frames_cap;
	for (uint32_t i = 0; i < batch->n_messages; i++)
		bytes += sizeof(struct message *) + sizeof(struct message) + batch->messages[i]->head_len;
	return bytes;
}

static void grow(struct tail *tail)
{
	uint32_t cap = tail->ring_cap ? tail->ring_cap * 2 : 8;
	struct ring_entry *ring = xmalloc(cap * sizeof(*ring));
	for (uint64_t n = tail->ring_begin; n != tail->ring_end; n++)
		ring[n & (cap - 1)] = *entry_at(tail, n);
	free(tail->ring);
	tail->ring = ring;
	tail->ring_cap = cap;
}

/* The newest batch of a shard always stays, so that at least those at the tip share it. Hub-wide, shards that were fed longest ago pay. */
static void evict(struct hub *hub, struct tail *tail)
{
	while (tail->ring_bytes > hub->config.ring_bytes && tail->ring_end - tail->ring_begin > 1)
		pop_oldest(hub, tail);
	while (hub->rings_bytes > hub->config.rings_bytes) {
		struct tail *victim = container_of(hub->rings.next, struct tail, rings_link);
		if (victim == tail && tail->ring_end - tail->ring_begin == 1)
			break;
		pop_oldest(hub, victim);
	}
}

static void push(struct hub *hub, struct tail *tail, struct batch *batch)
{
	if (tail->ring_end - tail->ring_begin == tail->ring_cap)
		grow(tail);
	size_t bytes = batch_bytes(batch);
	tail->ring[tail->ring_end++ & (tail->ring_cap - 1)] = (struct ring_entry){batch_ref(batch), batch->first, batch_last(batch), bytes};
	tail->ring_bytes += bytes;
	hub->rings_bytes += bytes;
	metric_add(METRIC_ring_bytes, (int64_t)bytes);
	list_remove(&tail->rings_link);
	list_append(&hub->rings, &tail->rings_link);
	evict(hub, tail);
}

static bool holds(const struct tail *tail, uint64_t n, uint64_t next)
{
	const struct ring_entry *entry = entry_at(tail, n);
	return entry->first <= next && next <= entry->last;
}

struct batch *tail_batch(const struct tail *tail, uint64_t next, uint64_t *at)
{
	uint64_t begin = tail->ring_begin, end = tail->ring_end;
	if (begin == end || next < entry_at(tail, begin)->first)
		return NULL;
	uint64_t found = end - 1;
	if (next < entry_at(tail, found)->first) {
		if (*at >= begin && *at < end && holds(tail, *at, next)) {
			found = *at;
		} else if (*at + 1 > begin && *at + 1 < end && holds(tail, *at + 1, next)) {
			found = *at + 1;
		} else {
			/* The last one that does not begin behind `next`: begin <= it < found. */
			while (found - begin > 1) {
				uint64_t middle = begin + (found - begin) / 2;
				if (entry_at(tail, middle)->first <= next)
					begin = middle;
				else
					found = middle;
			}
			found = begin;
		}
	}
	*at = found;
	return holds(tail, found, next) ? entry_at(tail, found)->batch : NULL;
}

/* ---- News ---- */

static bool show(struct hub *hub, struct tail *tail, uint64_t end, int64_t arrival_ms)
{
	if (hub->config.profile)
		return tail_delay(hub, tail, end, arrival_ms);
	tail->shown_end = end;
	return true;
}

bool tail_raise(struct hub *hub, struct tail *tail, uint64_t durable_end, int64_t durable_end_ms, bool closed)
{
	bool news = false;
	if (durable_end > tail->durable_end) {
		tail->durable_end = durable_end;
		tail->durable_end_ms = durable_end_ms;
		news = show(hub, tail, durable_end, durable_end_ms);
	}
	if (closed && !tail->closed) {
		tail->closed = true;
		if (tail_final(hub, tail) || tail_childless(hub, tail))
			news = true;
		else
			list_append(&hub->ended, &tail->ended_link);
	}
	return news;
}

void tail_wake(struct tail *tail)
{
	/* Whoever goes back to the idle list meanwhile is not woken again; whoever is stopped meanwhile leaves this one. */
	struct list woken, *node;
	list_init(&woken);
	list_splice(&woken, &tail->idle);
	while ((node = list_pop(&woken)))
		sub_ready(container_of(node, struct subscription, link));
}

void tail_notice(struct hub *hub, const struct notice *notice)
{
	struct tail *tail = tail_find(hub, notice->shard.stream, notice->shard.shard);
	if (!tail)
		return;
	uint64_t durable_end = notice->durable_end;
	int64_t durable_end_ms = notice->durable_end_ms;
	bool news = false;
	for (uint32_t i = 0; i < notice->n_batches; i++) {
		struct batch *batch = notice->batches[i];
		uint64_t newest = tail->ring_begin == tail->ring_end ? 0 : entry_at(tail, tail->ring_end - 1)->last;
		if (batch_last(batch) > durable_end) {
			durable_end = batch_last(batch);
			durable_end_ms = batch->arrival_ms;
		}
		if (batch->messages && batch->first > newest)
			push(hub, tail, batch);
		if (hub->config.profile) /* each batch has its own delay */
			news |= tail_raise(hub, tail, batch_last(batch), batch->arrival_ms, false);
	}
	tail->users++;
	news |= tail_raise(hub, tail, durable_end, durable_end_ms, notice->closed);
	if (news)
		tail_wake(tail);
	tail_put(hub, tail);
}

/* ---- Events of those at the tip ---- */

struct message *tail_empty(struct tail *tail, int64_t time_s)
{
	/* S idle subscriptions of a shard say the same thing every 5 s: one encoding. */
	if (tail->empty && tail->empty->last == tail->durable_end && tail->empty_s == time_s)
		return tail->empty;
	message_unref(tail->empty);
	tail->empty_s = time_s;
	tail->empty = message_empty(&tail->shard, tail->durable_end, time_s);
	return tail->empty;
}

struct message *tail_final(struct hub *hub, struct tail *tail)
{
	if (tail->final || !hub->snapshot)
		return tail->final;
	const struct stream_info *stream = catalogue_stream_by_id(hub->snapshot, tail->shard.stream);
	if (stream)
		tail->final = message_shard_end(stream, tail->shard.shard);
	return tail->final;
}

bool tail_childless(const struct hub *hub, const struct tail *tail)
{
	const struct stream_info *stream = hub->snapshot ? catalogue_stream_by_id(hub->snapshot, tail->shard.stream) : NULL;
	const struct shard_info *shard = stream ? stream_shard(stream, tail->shard.shard) : NULL;
	/* Parents are closed and children added in one snapshot: one that has the parent's end, or not the parent any more, has no children
	 * because retention has passed them. */
	return stream && !tail->final && (!shard || shard->closed);
}
