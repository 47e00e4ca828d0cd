/* batch.h: what a shard got in one commit group, and the event-stream bytes made of it.
 *
 * A batch is immutable once its group is durable, reference-counted (atomic, release/acquire), and freed by whoever drops the last
 * reference. Its frames are the bytes that lie in the log. Its events are encoded once, by the lane while fdatasync runs or by a
 * reader for catch-up, and are then shared by every subscriber.
 *
 * Record frame, little-endian, frames follow each other without padding:
 *   u32 data length, u16 key length, u16 zero, key bytes, data bytes. */
#ifndef PENSTOCK_BATCH_H
#define PENSTOCK_BATCH_H

#include <stdatomic.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/seq.h"

#define RECORD_FRAME_HEAD 8

/* One record, lent from a batch. */
struct record {
	uint64_t index;
	int64_t arrival_ms;
	struct str key;
	struct str data;
};

/* An encoded event: a shared head and a trailer of fixed width.
 *
 *   head:    the message from its prelude up to where MillisBehindLatest begins
 *   trailer: `,"MillisBehindLatest":` number padded with spaces `}` CRC32 (or nothing: trailer_len 0, as for initial-response)
 *
 * trailer0 is ready-made for MillisBehindLatest 0; a reader that is behind computes its own from crc_head when it sends. */
#define MESSAGE_TRAILER 47 /* 22 + 20 + 1 + 4 */

struct message {
	atomic_uint refs;
	uint32_t trailer_len;  /* MESSAGE_TRAILER or 0 */
	uint32_t crc_head;     /* zlib CRC32 state after the head */
	uint32_t count;        /* records inside; 0: an empty event */
	uint64_t first, last;  /* their indexes; with count 0: last = what the continuation names, first = last + 1 */
	int64_t arrival_ms;    /* of the last record */
	uint64_t payload;      /* data + partition-key bytes: what the push budget counts */
	size_t head_len;
	uint8_t trailer0[MESSAGE_TRAILER];
	uint8_t head[];
};

struct message *message_new(size_t head_len); /* one reference; NULL when there is no memory. Counted in metrics. */
struct message *message_ref(struct message *message);
void message_unref(struct message *message);
static inline size_t message_len(const struct message *message) { return message->head_len + message->trailer_len; }

/* A large batch is cut into parts, each of which lies in the log as an extent with a checksum of its own: so a reader that is behind takes
 * a part of what may be 16 MiB. A part ends before the record that would take its frames beyond this; the first always fits. The rule
 * looks at nothing but the frames from the part's first on, since events end with parts too: a part that was read back gives the events
 * that the whole batch gave. */
#define BATCH_PART_BYTES (512u << 10)
static inline bool batch_part_ends(size_t part_len, size_t frame_len) { return part_len && part_len + frame_len > BATCH_PART_BYTES; }

struct batch_part {
	size_t at, len; /* of its frames */
	uint32_t nth;   /* of its first record in the batch */
	uint32_t count;
	uint32_t crc;   /* CRC32C of its frames */
};

struct batch {
	atomic_uint refs;
	struct shard_key shard;
	uint64_t first;        /* index of the first record */
	uint32_t count;        /* >= 1 */
	int64_t arrival_ms;    /* one for the whole batch: the moment its group closed, never before the shard's last */
	uint64_t payload;      /* data + partition-key bytes */
	uint8_t *frames;       /* owned */
	size_t frames_len, frames_cap;
	size_t summed;         /* frames up to here are in part.crc, taken while they were in the CPU's nearest cache */
	struct batch_part part; /* the last, to which records are added: len, count and what is not summed are still to come */
	struct batch_part *parts; /* those before it, whole */
	uint32_t n_parts;
	struct message **messages; /* owned array, one reference each; NULL until encoded */
	uint32_t n_messages;
};

static inline uint64_t batch_last(const struct batch *batch) { return batch->first + batch->count - 1; }

struct batch *batch_new(const struct shard_key *shard); /* one reference, empty; never NULL */
struct batch *batch_ref(struct batch *batch);
void batch_unref(struct batch *batch);
/* Owner only, before the batch is shared. STATUS_NO_MEMORY leaves it as it was. */
enum status batch_reserve(struct batch *batch, size_t bytes); /* room for so many more frame bytes */
void batch_trim(struct batch *batch); /* gives back room beyond half of what is used */
enum status batch_append(struct batch *batch, struct str key, struct str data);
/* Of a batch that was appended to (not of one that was read back): its parts, in order. */
static inline uint32_t batch_parts(const struct batch *batch) { return batch->n_parts + 1; }
struct batch_part batch_part(const struct batch *batch, uint32_t i);

/* Walks frames: start with cursor = 0; false at the end, or when a frame does not fit (then *cursor != frames_len). */
bool batch_next(const struct batch *batch, size_t *cursor, uint32_t *nth, struct record *out);
static inline size_t record_frame_len(struct str key, struct str data) { return RECORD_FRAME_HEAD + key.n + data.n; }

/* Makes events of a batch; given to the store at start, since shardstore knows no JSON. Thread: a lane or a reader, on a batch that
 * nobody else sees yet. Fills messages/n_messages. Cuts only by the batch's own bytes (about 256 KiB or one record), so that the
 * result is the same whoever encodes. STATUS_OK or STATUS_NO_MEMORY. */
typedef enum status (*batch_encoder)(struct batch *batch);

#endif
