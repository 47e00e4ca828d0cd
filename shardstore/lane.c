/* lane.c: the lane itself: its turn, its streams, its end.
 *
 * A lane owns whole streams. Everything it does is the handling of a piece of mail, and nothing it does blocks: what may, goes to a pool
 * and comes back as mail.
 *
 * - turn: run the mail (puts gather in open groups; group done acknowledges), hand the groups that can go to the syncers, flush the
 *   answers, encode what was handed out while it syncs.
 * - who: the lane's thread, once it is woken; or a worker or syncer whose mail finds the box empty and the lane idle, as far as the turn
 *   is light: waking another core takes longer than the turn of a lone put. Under load the lane's thread works beside them.
 * - end: the stop mail makes every later request answer CLOSING; the lane is stopped when nothing gathers, waits or is at a pool.
 *
 * The order inside a turn matters twice. Groups leave before the answers do, so that the disk works while workers wake up. Encoding comes
 * last, after the flush: no acknowledgement waits for it.
 *
 * Invariant: whoever holds run_lock owns the lane. Under it nothing waits, no other lane's lock is tried (a lane's own mail goes to workers
 * and the control thread, which only their threads run), and no pool's or mailbox's lock is held when it is tried: so nothing can deadlock.
 *
 * Thread: the holder of run_lock, or in the simulation whoever calls store_lane_turn. Before the start and after the end: the owner of the
 * store. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "shardstore/lane.h"

static bool run_here(struct mailbox *box);

int lane_init(struct lane *lane, struct store *store, unsigned number)
{
	*lane = (struct lane){.store = store, .io = store->config.io, .number = number};
	int error = mailbox_init(&lane->box, store->config.threads);
	if (error)
		return error;
	lane->box.run_here = store->config.threads ? run_here : NULL;
	pthread_mutex_init(&lane->run_lock, NULL);
	outbox_init(&lane->outbox);
	list_init(&lane->dirty);
	list_init(&lane->waiting);
	lane->now_ns = io_mono_ns(lane->io);
	return 0;
}

void lane_fini(struct lane *lane)
{
	for (size_t i = 0; i < lane->n_streams; i++)
		lane_stream_free(lane->streams[i]);
	free(lane->streams);
	free(lane->encode);
	pthread_mutex_destroy(&lane->run_lock);
	mailbox_fini(&lane->box);
}

void lane_run_stop(struct mail *mail)
{
	struct lane *lane = container_of(mail, struct lane, stop_mail);
	lane->stopping = true;
	for (size_t i = 0; i < lane->n_streams; i++) {
		if (lane->streams[i]->n_sealing) /* nobody is left to release what waits for that */
			lane_refuse_waiting(lane->streams[i], STATUS_CLOSING);
		for (uint32_t k = 0; k < lane->streams[i]->n_shards; k++)
			lane_leases_stop(lane->streams[i]->shards[k]);
	}
}

static void turn(struct lane *lane, size_t (*run_mail)(struct mailbox *box))
{
	lane->now_ns = io_mono_ns(lane->io);
	run_mail(&lane->box);
	lane_close_groups(lane);
	if (!list_empty(&lane->waiting)) {
		/* The groups that just closed make room. What comes in now gathers beside them, or closes where nothing is in flight. */
		lane_admit_waiting(lane);
		lane_close_groups(lane);
	}
	outbox_flush(&lane->outbox);
	lane_encode_groups(lane);
	if (lane->stopping && lane->jobs == 0 && list_empty(&lane->dirty) && list_empty(&lane->waiting))
		lane->stopped = true;
}

void lane_turn(struct lane *lane) { turn(lane, mailbox_run); }

/* Light: what is gathered and in flight, which is all that a turn may have to encode or acknowledge, and nobody waits for room. */
static bool is_light(const struct lane *lane)
{
	return lane->started && !lane->stopping && lane->undurable <= MAIL_LIGHT_BYTES && list_empty(&lane->waiting);
}

static bool run_here(struct mailbox *box)
{
	struct lane *lane = container_of(box, struct lane, box);
	if (pthread_mutex_trylock(&lane->run_lock) != 0)
		return false;
	bool light = is_light(lane);
	if (light)
		turn(lane, mailbox_run_here);
	bool stopped = lane->stopped; /* in this turn: its thread has still to hear of it */
	pthread_mutex_unlock(&lane->run_lock);
	return light && !stopped;
}

void *lane_main(void *arg)
{
	struct lane *lane = arg;
	bool stopped = false;
	while (!stopped) {
		mailbox_wait(&lane->box, -1);
		pthread_mutex_lock(&lane->run_lock);
		lane_turn(lane);
		stopped = lane->stopped;
		pthread_mutex_unlock(&lane->run_lock);
	}
	return NULL;
}

void lane_job(struct lane *lane, struct pool *pool, struct job *job)
{
	lane->jobs++;
	pool_add(pool, job);
}

void lane_forget_listeners(struct lane *lane)
{
	for (size_t i = 0; i < lane->n_streams; i++)
		for (uint32_t k = 0; k < lane->streams[i]->n_shards; k++)
			lane_leases_forget(lane->streams[i]->shards[k]);
}

/* ---- The lane's streams, sorted by id: ids rise, so a new one goes to the end ---- */

/* Where the stream is, or would be. */
static size_t place_of(const struct lane *lane, uint64_t id)
{
	size_t low = 0, high = lane->n_streams;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (lane->streams[middle]->id < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct lane_stream *lane_find(const struct lane *lane, uint64_t id)
{
	size_t place = place_of(lane, id);
	return place < lane->n_streams && lane->streams[place]->id == id ? lane->streams[place] : NULL;
}

void lane_insert(struct lane *lane, struct lane_stream *stream)
{
	size_t place = place_of(lane, stream->id);
	assert(place == lane->n_streams || lane->streams[place]->id != stream->id);
	if (lane->n_streams == lane->streams_cap) {
		lane->streams_cap = lane->streams_cap ? lane->streams_cap * 2 : 16;
		lane->streams = xrealloc(lane->streams, lane->streams_cap * sizeof(*lane->streams));
	}
	memmove(lane->streams + place + 1, lane->streams + place, (lane->n_streams - place) * sizeof(*lane->streams));
	lane->streams[place] = stream;
	lane->n_streams++;
}

void lane_remove(struct lane *lane, struct lane_stream *stream)
{
	size_t place = place_of(lane, stream->id);
	assert(place < lane->n_streams && lane->streams[place] == stream);
	lane->n_streams--;
	memmove(lane->streams + place, lane->streams + place + 1, (lane->n_streams - place) * sizeof(*lane->streams));
}

/* ---- A stream and its shards ---- */

struct lane_shard *lane_shard_new(struct lane_stream *stream, const struct shard_info *info)
{
	const struct limits *limits = &stream->lane->store->config.limits;
	uint64_t now_ns = io_mono_ns(stream->lane->io);
	struct lane_shard *shard = xcalloc(1, sizeof(*shard));
	shard->key = info->key;
	shard->stream = stream;
	shard->hash_first = info->hash_first;
	shard->parent = info->parent;
	shard->adjacent = info->adjacent;
	shard->closed = info->closed;
	shard->end_index = info->end_index;
	shard->closed_ms = info->closed_ms;
	shard->next = info->closed ? info->end_index + 1 : 1;
	/* Capacities are one second's worth: that is what AWS lets pass at once. */
	bucket_init(&shard->write_records, limits->write_records, limits->write_records, now_ns);
	bucket_init(&shard->write_bytes, limits->write_bytes, limits->write_bytes, now_ns);
	bucket_init(&shard->read_calls, limits->read_calls, limits->read_calls, now_ns);
	bucket_init(&shard->read_bytes, limits->read_bytes, limits->read_bytes, now_ns);
	bucket_init(&shard->iterator_calls, limits->iterator_calls, limits->iterator_calls, now_ns);
	list_init(&shard->subscribers);
	list_init(&shard->leases);
	list_init(&shard->interests);
	return shard;
}

void lane_shard_free(struct lane_shard *shard)
{
	assert(list_empty(&shard->leases) && list_empty(&shard->interests));
	lane_rate_free(shard);
	index_fini(shard);
	free(shard);
}

static int by_hash(const void *a, const void *b)
{
	const struct lane_shard *left = *(struct lane_shard *const *)a, *right = *(struct lane_shard *const *)b;
	return left->hash_first < right->hash_first ? -1 : left->hash_first > right->hash_first;
}

/* What will hold after the group in flight: of a shard that has a batch in it, the old mark says it. */
static struct shard_mark mark_of(const struct lane_stream *stream, const struct lane_shard *shard)
{
	if (shard->flying)
		return stream->marks[shard->place];
	return (struct shard_mark){.shard = shard->key.shard, .next_index = shard->next, .last_arrival_ms = shard->last_arrival_ms};
}

/* Closed shards need no marks, since they get no index any more; and a stream that is often resharded has many. */
void lane_route_shards(struct lane_stream *stream)
{
	struct shard_mark *marks = xcalloc(stream->n_shards + 1, sizeof(*marks));
	stream->route = xrealloc(stream->route, (stream->n_shards + 1) * sizeof(*stream->route));
	stream->n_route = 0;
	for (uint32_t i = 0; i < stream->n_shards; i++)
		if (!stream->shards[i]->closed)
			stream->route[stream->n_route++] = stream->shards[i];
	if (stream->n_route)
		qsort(stream->route, stream->n_route, sizeof(*stream->route), by_hash);
	for (uint32_t i = 0; i < stream->n_route; i++) {
		marks[i] = mark_of(stream, stream->route[i]);
		stream->route[i]->place = i;
	}
	/* A syncer may be reading the old ones: then they are its group's to free. */
	if (!stream->flight || stream->flight->marks != stream->marks)
		free(stream->marks);
	stream->marks = marks;
}

void lane_raise_arrivals(struct lane_stream *stream, uint32_t from)
{
	for (uint32_t i = from; i < stream->n_shards; i++) {
		struct lane_shard *shard = stream->shards[i];
		const uint32_t parents[2] = {shard->parent, shard->adjacent};
		for (int k = 0; k < 2; k++) {
			const struct lane_shard *parent = parents[k] == NO_PARENT ? NULL : lane_stream_shard(stream, parents[k]);
			if (parent && parent->last_arrival_ms > shard->last_arrival_ms)
				shard->last_arrival_ms = parent->last_arrival_ms;
		}
	}
}

static void add_shards(struct lane_stream *stream, const struct stream_info *info)
{
	stream->shards = xcalloc(info->n_shards, sizeof(*stream->shards));
	stream->n_shards = info->n_shards;
	for (uint32_t i = 0; i < info->n_shards; i++)
		stream->shards[i] = lane_shard_new(stream, &info->shards[i]);
	lane_route_shards(stream);
}

char *lane_stream_path(const char *streams_dir, uint64_t id)
{
	struct buf path = {0};
	buf_printf(&path, "%s/%llu", streams_dir, (unsigned long long)id);
	char *text = xstrndup((const char *)path.p, path.n);
	buf_free(&path);
	return text;
}

struct lane_stream *lane_stream_new(struct lane *lane, const struct stream_info *info, const char *streams_dir)
{
	struct lane_stream *stream = xcalloc(1, sizeof(*stream));
	stream->lane = lane;
	stream->id = info->id;
	stream->path = lane_stream_path(streams_dir, info->id);
	add_shards(stream, info);
	group_init(&stream->groups[0], stream);
	group_init(&stream->groups[1], stream);
	stream->open = &stream->groups[0];
	list_init(&stream->dirty);
	list_init(&stream->waits);
	fifo_init(&stream->waiting);
	fifo_init(&stream->admins);
	stream->horizon_ms = INT64_MIN;
	return stream;
}

void lane_stream_free(struct lane_stream *stream)
{
	assert(!stream->flight && !stream->seal && !stream->waiting.head && !stream->log);
	for (uint32_t i = 0; i < stream->n_shards; i++)
		lane_shard_free(stream->shards[i]);
	group_fini(&stream->groups[0]);
	group_fini(&stream->groups[1]);
	free(stream->shards);
	free(stream->route);
	free(stream->marks);
	free(stream->path);
	free(stream);
}

struct lane_shard *lane_stream_shard(const struct lane_stream *stream, uint32_t shard)
{
	uint32_t low = 0, high = stream->n_shards;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (stream->shards[middle]->key.shard < shard)
			low = middle + 1;
		else
			high = middle;
	}
	return low < stream->n_shards && stream->shards[low]->key.shard == shard ? stream->shards[low] : NULL;
}
