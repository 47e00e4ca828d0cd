/* batch.c: the memory of batches and of encoded events, their parts, and the walk over record frames.
 *
 * Life: made by one owner, filled, then shared; references are counted with release on the way down and acquire before the free, so that
 * whoever drops the last one sees all that the others wrote. Every live byte is in a gauge: the tests compare them with the bounds.
 *
 * - batch_append: grows the frames by half again and writes head, key, data; keeps the part's checksum up piece by piece: a pass over the
 *   whole batch later would fetch it all from memory again (5 % of a put's CPU). A part that is full is closed first.
 * - batch_next: reads one frame back; stops without moving when what is left cannot be one.
 *
 * Failure: data-sized memory may be refused: NULL or STATUS_NO_MEMORY, and the batch stays as it was. */
#include "penstock/batch.h"

#include <assert.h>
#include <stdlib.h>

#include "penstock/crc32c.h"
#include "penstock/metrics.h"

/* ---- Encoded events ---- */

static int64_t message_bytes(const struct message *message) { return (int64_t)(sizeof(*message) + message->head_len); }

struct message *message_new(size_t head_len)
{
	if (head_len > SIZE_MAX / 2)
		return NULL;
	struct message *message = malloc(sizeof(*message) + head_len);
	if (!message)
		return NULL;
	memset(message, 0, sizeof(*message));
	atomic_init(&message->refs, 1);
	message->head_len = head_len;
	metric_add(METRIC_events_live, 1);
	metric_add(METRIC_event_bytes_live, message_bytes(message));
	return message;
}

struct message *message_ref(struct message *message)
{
	atomic_fetch_add_explicit(&message->refs, 1, memory_order_relaxed);
	return message;
}

/* True: that was the last one, and everything the other holders did is visible. */
static bool last_reference(atomic_uint *refs)
{
	unsigned before = atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel);
	assert(before > 0);
	return before == 1;
}

void message_unref(struct message *message)
{
	if (!message || !last_reference(&message->refs))
		return;
	metric_add(METRIC_events_live, -1);
	metric_add(METRIC_event_bytes_live, -message_bytes(message));
	free(message);
}

/* ---- Batches ---- */

struct batch *batch_new(const struct shard_key *shard)
{
	struct batch *batch = xcalloc(1, sizeof(*batch));
	atomic_init(&batch->refs, 1);
	batch->shard = *shard;
	metric_add(METRIC_batches_live, 1);
	metric_add(METRIC_batch_bytes_live, (int64_t)sizeof(*batch));
	return batch;
}

struct batch *batch_ref(struct batch *batch)
{
	atomic_fetch_add_explicit(&batch->refs, 1, memory_order_relaxed);
	return batch;
}

void batch_unref(struct batch *batch)
{
	if (!batch || !last_reference(&batch->refs))
		return;
	for (uint32_t i = 0; i < batch->n_messages; i++)
		message_unref(batch->messages[i]);
	free(batch->messages);
	free(batch->parts);
	metric_add(METRIC_batches_live, -1);
	metric_add(METRIC_batch_bytes_live, -(int64_t)(sizeof(*batch) + batch->frames_cap));
	free(batch->frames);
	free(batch);
}

enum status batch_reserve(struct batch *batch, size_t bytes)
{
	if (bytes <= batch->frames_cap - batch->frames_len)
		return STATUS_OK;
	if (bytes > SIZE_MAX / 4)
		return STATUS_NO_MEMORY;
	size_t cap = batch->frames_cap + batch->frames_cap / 2;
	if (cap < batch->frames_len + bytes)
		cap = batch->frames_len + bytes;
	uint8_t *frames = realloc(batch->frames, cap);
	if (!frames)
		return STATUS_NO_MEMORY;
	metric_add(METRIC_batch_bytes_live, (int64_t)(cap - batch->frames_cap));
	batch->frames = frames;
	batch->frames_cap = cap;
	return STATUS_OK;
}

void batch_trim(struct batch *batch)
{
	size_t room = batch->frames_cap - batch->frames_len;
	uint8_t *frames = room > batch->frames_len / 2 && batch->frames_len ? realloc(batch->frames, batch->frames_len) : NULL;
	if (!frames)
		return;
	metric_add(METRIC_batch_bytes_live, -(int64_t)room);
	batch->frames = frames;
	batch->frames_cap = batch->frames_len;
}

static void put_u32(uint8_t *p, uint32_t n)
{
	p[0] = (uint8_t)n;
	p[1] = (uint8_t)(n >> 8);
	p[2] = (uint8_t)(n >> 16);
	p[3] = (uint8_t)(n >> 24);
}

static uint32_t get_u32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

static struct batch_part last_part(const struct batch *batch)
{
	struct batch_part part = batch->part;
	part.len = batch->frames_len - part.at;
	part.count = batch->count - part.nth;
	part.crc = crc32c(part.crc, batch->frames + batch->summed, batch->frames_len - batch->summed);
	return part;
}

struct batch_part batch_part(const struct batch *batch, uint32_t i) { return i < batch->n_parts ? batch->parts[i] : last_part(batch); }

/* Nearly every batch is one part: no memory before the second, then twice as much each time. */
static enum status close_part(struct batch *batch)
{
	uint32_t n = batch->n_parts;
	if ((n & (n - 1)) == 0) {
		struct batch_part *parts = realloc(batch->parts, (n ? 2 * (size_t)n : 1) * sizeof(*parts));
		if (!parts)
			return STATUS_NO_MEMORY;
		batch->parts = parts;
	}
	batch->parts[batch->n_parts++] = last_part(batch);
	batch->part = (struct batch_part){.at = batch->frames_len, .nth = batch->count};
	batch->summed = batch->frames_len;
	return STATUS_OK;
}

/* Long enough for the fast way of crc32c.c, short enough to lie in a first-level cache of 32 KiB with what it was copied from. */
#define SUM_PIECE (12u << 10)

enum status batch_append(struct batch *batch, struct str key, struct str data)
{
	assert(key.n <= UINT16_MAX && data.n <= UINT32_MAX);
	size_t len = record_frame_len(key, data);
	enum status status = batch_reserve(batch, len);
	if (!status && batch_part_ends(batch->frames_len - batch->part.at, len))
		status = close_part(batch);
	if (status)
		return status;
	uint8_t *p = batch->frames + batch->frames_len;
	put_u32(p, (uint32_t)data.n);
	put_u32(p + 4, (uint32_t)key.n); /* u16 length, u16 zero */
	if (key.n)
		memcpy(p + RECORD_FRAME_HEAD, key.p, key.n);
	if (data.n)
		memcpy(p + RECORD_FRAME_HEAD + key.n, data.p, data.n);
	batch->frames_len += len;
	batch->payload += key.n + data.n;
	batch->count++;
	if (batch->frames_len - batch->summed >= SUM_PIECE) {
		batch->part.crc = last_part(batch).crc;
		batch->summed = batch->frames_len;
	}
	return STATUS_OK;
}

bool batch_next(const struct batch *batch, size_t *cursor, uint32_t *nth, struct record *out)
{
	size_t left = batch->frames_len - *cursor;
	if (*cursor == 0)
		*nth = 0;
	if (left < RECORD_FRAME_HEAD)
		return false;
	const uint8_t *p = batch->frames + *cursor;
	uint64_t data_len = get_u32(p), key_len = get_u32(p + 4);
	/* A key length above 16 bits means that the zero is not zero. */
	if (key_len > UINT16_MAX || data_len + key_len > left - RECORD_FRAME_HEAD)
		return false;
	*out = (struct record){
		.index = batch->first + *nth,
		.arrival_ms = batch->arrival_ms,
		.key = {(const char *)p + RECORD_FRAME_HEAD, key_len},
		.data = {(const char *)p + RECORD_FRAME_HEAD + key_len, data_len},
	};
	*cursor += RECORD_FRAME_HEAD + key_len + data_len;
	++*nth;
	return true;
}
