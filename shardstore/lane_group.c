/* lane_group.c: commit groups: gather, close, sync, done.
 *
 *      put ─ open group ──close──> flight group ──syncer──> done: index, acknowledgements, notices
 *               ^                                             │
 *               └── at most one in flight per stream: the open one closes as soon as that is done, no timer
 *
 * Invariants: nobody outside sees a record before its group is durable. `shard->next` and the index move only when a group is durable, so a
 * group that fails leaves no trace and its indexes are given again. Marks of a shard say what will hold after the group in flight.
 *
 * - close (end of turn): first index and arrival time per batch, the group to a syncer.
 * - encode (after the turn's flush, while the disk works): the batches that somebody listens to, once for all of them.
 * - done: index, acknowledgements and notices. The next group closes in the same turn.
 *
 * Arrival time is taken at the close, one for all of a shard's batch: had it been taken as each record came, AT_TIMESTAMP(now) of a reader
 * could name a moment behind that of a record that is acknowledged later, and skip it.
 *
 * Failure: DISK_FULL, NO_FILES: nothing was kept, the puts say so, the log goes on. Anything else poisons the stream: no write is ever
 * repeated as if nothing had been lost, all its puts fail with IO from now on, and the process is told.
 *
 * Threads: the lane's; run_commit a syncer's, which then runs the lane's turn, too, if the lane is idle. */
#include <assert.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "shardstore/lane.h"

static void run_commit(struct job *job);
static void run_done(struct mail *mail);

void group_init(struct lane_group *group, struct lane_stream *stream)
{
	*group = (struct lane_group){.stream = stream, .job.run = run_commit, .mail.run = run_done};
	group->puts_tail = &group->puts;
}

void group_fini(struct lane_group *group)
{
	assert(!group->puts && group->n == 0);
	free(group->shards);
	free(group->batches);
	free(group->group.extents);
}

/* ---- Gather ---- */

static void grow(struct lane_group *group)
{
	group->cap = group->cap ? group->cap * 2 : 4;
	group->shards = xrealloc(group->shards, group->cap * sizeof(*group->shards));
	group->batches = xrealloc(group->batches, group->cap * sizeof(*group->batches));
}

/* Room for so much is made ahead at most: a shard may fall silent behind one large batch. */
#define USUAL_MAX (1u << 20)

struct batch *group_batch(struct lane_group *group, struct lane_shard *shard)
{
	if (shard->open)
		return shard->open;
	if (group->n == group->cap)
		grow(group);
	shard->open = batch_new(&shard->key);
	/* Else a large batch is copied twice as it grows. No memory for it now is no error: it grows by and by. */
	batch_reserve(shard->open, shard->usual_bytes);
	shard->open_place = group->n;
	group->shards[group->n] = shard;
	group->batches[group->n++] = shard->open;
	return shard->open;
}

void group_drop_empty(struct lane_group *group, struct lane_shard *shard)
{
	if (shard->open->count)
		return;
	/* An empty batch was made by this very record, so it is the last. */
	assert(group->batches[group->n - 1] == shard->open);
	group->n--;
	batch_unref(shard->open);
	shard->open = NULL;
}

void group_add_put(struct lane_group *group, struct store_put *put)
{
	put->next_in_group = NULL;
	*group->puts_tail = put;
	group->puts_tail = &put->next_in_group;
}

static struct store_put *take_put(struct lane_group *group)
{
	struct store_put *put = group->puts;
	if (put) {
		group->puts = put->next_in_group;
		if (!group->puts)
			group->puts_tail = &group->puts;
	}
	return put;
}

/* Its puts are answered: back to empty. */
static void reset(struct lane_group *group)
{
	assert(!group->puts);
	for (uint32_t i = 0; i < group->n; i++) {
		if (group->shards[i]->open == group->batches[i])
			group->shards[i]->open = NULL;
		batch_unref(group->batches[i]);
	}
	group->stream->lane->undurable -= group->bytes;
	group->n = 0;
	group->bytes = 0;
}

void group_fail(struct lane_group *group, enum status status)
{
	struct store_put *put;
	while ((put = take_put(group)))
		lane_put_fail(group->stream->lane, put, status);
	reset(group);
}

/* ---- Close ---- */

/* What the syncer is given. There are more extents than batches where one is large. */
static void hand_out(struct lane_group *group)
{
	struct group *out = &group->group;
	out->n_batches = group->n;
	out->batches = group->batches;
	out->n_extents = group_extents(out);
	if (out->n_extents > group->extents_cap) {
		group->extents_cap = out->n_extents > group->cap ? out->n_extents : group->cap;
		out->extents = xrealloc(out->extents, group->extents_cap * sizeof(*out->extents));
	}
}

static void close_group(struct lane_stream *stream)
{
	struct lane *lane = stream->lane;
	struct lane_group *group = stream->open;
	assert(!stream->flight && group->n);
	int64_t now_ms = store_stamp_ms(lane->store);
	if (now_ms < stream->horizon_ms)
		now_ms = stream->horizon_ms; /* else nobody could read it */
	for (uint32_t i = 0; i < group->n; i++) {
		struct lane_shard *shard = group->shards[i];
		struct batch *batch = group->batches[i];
		batch->first = shard->next;
		batch->arrival_ms = now_ms > shard->last_arrival_ms ? now_ms : shard->last_arrival_ms;
		stream->marks[shard->place].next_index = batch_last(batch) + 1;
		stream->marks[shard->place].last_arrival_ms = batch->arrival_ms;
		shard->usual_bytes = batch->frames_len < USUAL_MAX ? batch->frames_len : USUAL_MAX;
		batch_trim(batch);
		shard->open = NULL;
		shard->flying = true;
	}
	group->closed_ns = io_mono_ns(lane->io);
	hand_out(group);
	group->marks = stream->marks;
	group->n_marks = stream->n_route;
	stream->flight = group;
	stream->open = group == &stream->groups[0] ? &stream->groups[1] : &stream->groups[0];
	lane_job(lane, &lane->store->syncers, &group->job);
}

static void remember_to_encode(struct lane *lane, struct lane_stream *stream)
{
	if (lane->n_encode == lane->encode_cap) {
		lane->encode_cap = lane->encode_cap ? lane->encode_cap * 2 : 16;
		lane->encode = xrealloc(lane->encode, lane->encode_cap * sizeof(*lane->encode));
	}
	lane->encode[lane->n_encode++] = stream;
}

void lane_close_groups(struct lane *lane)
{
	struct list *node;
	while ((node = list_pop(&lane->dirty))) {
		struct lane_stream *stream = container_of(node, struct lane_stream, dirty);
		close_group(stream);
		remember_to_encode(lane, stream);
	}
}

void lane_encode_groups(struct lane *lane)
{
	batch_encoder encode = lane->store->config.encode;
	for (size_t k = 0; k < lane->n_encode; k++) {
		struct lane_group *group = lane->encode[k]->flight;
		for (uint32_t i = 0; encode && i < group->n; i++)
			if (!list_empty(&group->shards[i]->interests) && encode(group->batches[i]) != STATUS_OK)
				slog(SLOG_WARN, "batch_not_encoded", "stream=%llu shard=%u reason=memory",
				     (unsigned long long)group->batches[i]->shard.stream, group->batches[i]->shard.shard);
	}
	lane->n_encode = 0;
}

/* ---- Sync ---- */

static void run_commit(struct job *job)
{
	struct lane_group *group = container_of(job, struct lane_group, job);
	struct lane_stream *stream = group->stream;
	struct store *store = stream->lane->store;
	group->status = streamlog_commit(stream->log, &group->group, group->marks, group->n_marks);
	if (group->status == STATUS_DISK_FULL)
		store_check_space(store, true);
	mailbox_post_here(&stream->lane->box, &group->mail);
	/* Behind the answers, since it may ask the disk. The group and its stream are no longer ours. */
	store_check_space(store, false);
}

/* ---- Done ---- */

static void count(const struct lane_group *group)
{
	int64_t records = 0, bytes = 0;
	for (uint32_t i = 0; i < group->n; i++) {
		records += group->batches[i]->count;
		bytes += (int64_t)group->batches[i]->payload;
	}
	metric_add(METRIC_records_put, records);
	metric_add(METRIC_bytes_put, bytes);
	metric_add(METRIC_groups, 1);
	metric_add(METRIC_syncs, 1);
	metric_add(METRIC_sync_ns, (int64_t)group->group.sync_ns);
	metric_add(METRIC_group_bytes, (int64_t)group->group.bytes);
	metric_observe(METRIC_TIME_sync, group->group.sync_ns);
}

static void index_group(struct lane_group *group)
{
	const struct extent_ref *extent = group->group.extents;
	for (uint32_t i = 0; i < group->n; i++) {
		struct lane_shard *shard = group->shards[i];
		const struct batch *batch = group->batches[i];
		assert(batch->first == shard->next);
		for (uint32_t k = 0; k < batch_parts(batch); k++)
			index_append(shard, extent++);
		shard->next = batch_last(batch) + 1;
		shard->last_arrival_ms = batch->arrival_ms;
	}
}

static void acknowledge(struct lane_group *group, uint64_t durable_ns)
{
	struct store_put *put;
	while ((put = take_put(group))) {
		for (uint32_t i = 0; i < put->n; i++) {
			struct put_record *record = &put->records[i];
			if (record->status != STATUS_OK)
				continue;
			const struct batch *batch = group->batches[record->arrival_ms];
			record->index += batch->first;
			record->arrival_ms = batch->arrival_ms;
		}
		put->closed_ns = group->closed_ns;
		put->durable_ns = durable_ns;
		metric_observe(METRIC_TIME_queue, put->closed_ns - put->queued_ns);
		metric_observe(METRIC_TIME_commit, durable_ns - put->closed_ns);
		lane_put_answer(group->stream->lane, put);
	}
}

/* Each push costs its worker a write to a socket. So few go ahead of the answers to the puts; more of them would be the puts' latency. */
#define PUSHED_FIRST 4

static bool few_listen(const struct lane_group *group)
{
	uint64_t n = 0;
	for (uint32_t i = 0; i < group->n && n <= PUSHED_FIRST; i++)
		LIST_EACH (node, &group->shards[i]->interests)
			n += container_of(node, struct interest, link)->subscriptions;
	return n <= PUSHED_FIRST;
}

/* By the same outbox as join replies: whatever a worker is told of a shard, it is told in order. */
static void notify(struct lane_group *group, uint64_t durable_ns)
{
	for (uint32_t i = 0; i < group->n; i++) {
		struct lane_shard *shard = group->shards[i];
		struct batch *batch = group->batches[i]->messages ? group->batches[i] : NULL;
		LIST_EACH (node, &shard->interests)
			interest_tell(container_of(node, struct interest, link), shard, batch, durable_ns, &group->stream->lane->outbox);
	}
}

static void unmark(struct lane_group *group)
{
	for (uint32_t i = 0; i < group->n; i++) {
		const struct lane_shard *shard = group->shards[i];
		struct shard_mark *mark = &group->stream->marks[shard->place];
		mark->next_index = shard->next;
		mark->last_arrival_ms = shard->last_arrival_ms;
	}
}

/* No syncer looks at it any more. */
static void land(struct lane_group *group)
{
	struct lane_stream *stream = group->stream;
	stream->flight = NULL;
	if (group->marks != stream->marks)
		free(group->marks);
	group->marks = NULL;
	for (uint32_t i = 0; i < group->n; i++)
		group->shards[i]->flying = false;
}

static void run_done(struct mail *mail)
{
	struct lane_group *group = container_of(mail, struct lane_group, mail);
	struct lane_stream *stream = group->stream;
	struct lane *lane = stream->lane;
	lane->jobs--;
	land(group);
	if (group->status == STATUS_OK) {
		count(group);
		index_group(group);
		uint64_t durable_ns = io_mono_ns(lane->io);
		bool first = few_listen(group);
		if (first)
			notify(group, durable_ns);
		acknowledge(group, durable_ns);
		if (!first)
			notify(group, durable_ns);
		reset(group);
	} else {
		unmark(group);
		group_fail(group, streamlog_kept_nothing(group->status) ? group->status : STATUS_IO);
		if (!streamlog_kept_nothing(group->status))
			lane_poison(stream, "a commit group could not be written and synced");
	}
	if (stream->open->n)
		list_append(&lane->dirty, &stream->dirty);
	lane_stream_idle(stream);
}

void lane_poison(struct lane_stream *stream, const char *what)
{
	struct store *store = stream->lane->store;
	if (stream->refuses)
		return;
	stream->refuses = true;
	list_remove(&stream->dirty);
	group_fail(stream->open, STATUS_IO);
	lane_refuse_waiting(stream, STATUS_IO);
	struct buf why = {0};
	buf_printf(&why, "%s: %s; the log takes no more records", stream->path, what);
	buf_put_char(&why, '\0');
	slog(SLOG_ERROR, "log_poisoned", "path=%s reason=\"%s\"", stream->path, what);
	if (!atomic_flag_test_and_set(&store->poisoned) && store->config.on_poisoned)
		store->config.on_poisoned(store->config.arg, (const char *)why.p);
	buf_free(&why);
	lane_seal_settle(stream);
}
