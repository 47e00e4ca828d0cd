/* lane_put.c: a put comes in: each record finds its shard, passes the limits, and is copied into its shard's batch of the open group.
 * That is the only copy between the socket's buffer and the disk.
 *
 * Invariants: a put is whole in one group. Puts of a stream are taken in the order in which they arrive, also those that had to wait. Until
 * the group is durable a taken record's `index` is its place in its batch and its `arrival_ms` the place of that batch in the group: index
 * and time are given when the group closes, since those of a group that failed are given again.
 *
 * - run_put: refuse, wait, or take.
 * - take: per record route by hash, limits, append. At least one taken: the put belongs to the open group; none: answered at once.
 * - end of a turn: of those that wait, as many are taken as there is room for, streams in turn. One that waits for the end of a reshard
 *   (lane_reshard.c) holds up all of its stream behind it: order is kept, and it is milliseconds.
 *
 * Failure: THROTTLED, DISK_FULL, IO and NO_MEMORY per record, and smaller ones may pass behind it. NOT_FOUND and CLOSING for the put.
 *
 * Thread: the lane's. */
#include "penstock/metrics.h"
#include "shardstore/lane.h"

/* ---- Answers ---- */

static void put_replied(struct mail *mail)
{
	struct store_put *put = container_of(mail, struct store_put, mail);
	put->on_done(put);
}

void lane_put_answer(struct lane *lane, struct store_put *put)
{
	put->mail.run = put_replied;
	outbox_add(&lane->outbox, put->reply_to, &put->mail);
}

static enum status status_of_put(enum status status) { return status == STATUS_NOT_FOUND || status == STATUS_CLOSING ? status : STATUS_OK; }

void lane_put_refuse(struct lane *lane, struct store_put *put, enum status status)
{
	for (uint32_t i = 0; i < put->n; i++)
		put->records[i].status = status;
	put->status = status_of_put(status);
	lane_put_answer(lane, put);
}

void lane_put_fail(struct lane *lane, struct store_put *put, enum status status)
{
	for (uint32_t i = 0; i < put->n; i++)
		if (put->records[i].status == STATUS_OK)
			put->records[i].status = status;
	put->status = status_of_put(status);
	lane_put_answer(lane, put);
}

/* ---- One record ---- */

/* The last that begins at or below the hash. */
struct lane_shard *lane_route(const struct lane_stream *stream, uint128 hash)
{
	uint32_t low = 0, high = stream->n_route;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (stream->route[middle]->hash_first <= hash)
			low = middle + 1;
		else
			high = middle;
	}
	return low ? stream->route[low - 1] : NULL;
}

/* Both or none: a record that is refused takes nothing. */
static bool within_limits(struct lane_shard *shard, int64_t bytes, uint64_t now_ns)
{
	if (!bucket_take(&shard->write_records, 1, now_ns))
		return false;
	if (bucket_take(&shard->write_bytes, bytes, now_ns))
		return true;
	bucket_charge(&shard->write_records, -1, now_ns);
	return false;
}

static enum status append(struct lane_shard *shard, struct put_record *record)
{
	struct lane_stream *stream = shard->stream;
	struct batch *batch = group_batch(stream->open, shard);
	uint32_t nth = batch->count;
	enum status status = batch_append(batch, record->key, record->data);
	if (status) {
		group_drop_empty(stream->open, shard);
		return status;
	}
	record->index = nth;
	record->arrival_ms = shard->open_place;
	size_t bytes = record_frame_len(record->key, record->data);
	stream->open->bytes += bytes;
	stream->lane->undurable += bytes;
	return STATUS_OK;
}

static enum status take_record(struct lane_stream *stream, struct put_record *record)
{
	struct lane *lane = stream->lane;
	struct lane_shard *shard = lane_route(stream, record->hash);
	if (!shard)
		return STATUS_NOT_FOUND;
	record->shard = shard->key;
	if (stream->refuses || shard->sealing)
		return STATUS_IO;
	if (atomic_load_explicit(&lane->store->full, memory_order_relaxed)) {
		store_want_space(lane);
		return STATUS_DISK_FULL;
	}
	if (!within_limits(shard, (int64_t)(record->key.n + record->data.n), lane->now_ns)) {
		metric_add(METRIC_records_throttled, 1);
		return STATUS_THROTTLED;
	}
	return append(shard, record);
}

/* ---- One put ---- */

static void take(struct lane_stream *stream, struct store_put *put)
{
	struct lane *lane = stream->lane;
	bool taken = false;
	for (uint32_t i = 0; i < put->n; i++) {
		put->records[i].status = take_record(stream, &put->records[i]);
		taken |= put->records[i].status == STATUS_OK;
	}
	if (!taken) {
		lane_put_answer(lane, put);
		return;
	}
	group_add_put(stream->open, put);
	if (!stream->flight && list_empty(&stream->dirty))
		list_append(&lane->dirty, &stream->dirty);
}

static bool has_room(const struct lane_stream *stream)
{
	return stream->open->bytes <= GROUP_BYTES_MAX && stream->lane->undurable <= LANE_BYTES_MAX;
}

/* Does it put to a parent that is being closed? Then it waits, and goes to whatever covers its hashes afterwards. */
static bool must_wait(const struct lane_stream *stream, const struct store_put *put)
{
	if (stream->n_sealing == 0 || stream->seal_refuses || stream->refuses)
		return false;
	for (uint32_t i = 0; i < put->n; i++) {
		const struct lane_shard *shard = lane_route(stream, put->records[i].hash);
		if (shard && shard->sealing)
			return true;
	}
	return false;
}

void lane_run_put(struct mail *mail)
{
	struct store_put *put = container_of(mail, struct store_put, mail);
	struct lane *lane = put->lane;
	put->status = STATUS_OK;
	put->queued_ns = lane->now_ns;
	put->closed_ns = put->durable_ns = 0;
	struct lane_stream *stream = lane->stopping ? NULL : lane_find(lane, put->stream);
	if (!stream) {
		lane_put_refuse(lane, put, lane->stopping ? STATUS_CLOSING : STATUS_NOT_FOUND);
	} else if (stream->waiting.head || !has_room(stream) || must_wait(stream, put)) {
		fifo_push(&stream->waiting, mail);
		if (list_empty(&stream->waits))
			list_append(&lane->waiting, &stream->waits);
	} else {
		take(stream, put);
	}
}

/* ---- Puts that wait ---- */

void lane_admit_waiting(struct lane *lane)
{
	struct list streams;
	list_init(&streams);
	list_splice(&streams, &lane->waiting);
	struct list *node;
	/* Those that still wait go to the end: who is first today is not always first when the lane as a whole is full. */
	while ((node = list_pop(&streams))) {
		struct lane_stream *stream = container_of(node, struct lane_stream, waits);
		while (stream->waiting.head && has_room(stream) &&
		       !must_wait(stream, container_of(stream->waiting.head, struct store_put, mail)))
			take(stream, container_of(fifo_pop(&stream->waiting), struct store_put, mail));
		if (stream->waiting.head)
			list_append(&lane->waiting, &stream->waits);
	}
}

void lane_refuse_waiting(struct lane_stream *stream, enum status status)
{
	struct mail *mail;
	while ((mail = fifo_pop(&stream->waiting)))
		lane_put_refuse(stream->lane, container_of(mail, struct store_put, mail), status);
	list_remove(&stream->waits);
}
