/* encode.c: the event-stream bytes of a batch, made once and shared by every subscriber.
 *
 * Runs on a lane while fdatasync runs, or on a reader for catch-up, on a batch that nobody else sees yet; the cuts depend on nothing but
 * the batch, so that the bytes are the same whoever makes them.
 *
 * - measure: walks frames, adds up what each record takes, stops before the one that would cross MESSAGE_CUT, and where a part of the
 *   batch ends (batch.h): the log is read in parts, and from there, too, come the same events.
 * - message_begin: one allocation of exactly that size; prelude and headers.
 * - write: walks the same frames again and writes them; no length is looked at twice.
 * - message_seal: CRC32 once over the head, and the trailer for a reader at the tip.
 *
 * Failure: no memory for an event undoes the batch's events; such a batch never enters a ring, and its readers go to the log. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "fanout/message.h"
#include "penstock/fanout.h"
#include "penstock/metrics.h"
#include "penstock/writer.h"

/* What all records of a batch share. */
struct stamp {
	int64_t time_s;
	size_t n;
	char text[24]; /* ApproximateArrivalTimestamp: seconds with three decimals */
};

/* Some frames that follow each other: what one event holds. */
struct slice {
	size_t part;   /* where the part begins that the frame before it is in */
	size_t cursor; /* of the first frame */
	uint32_t nth;
	uint32_t count;
	size_t len; /* encoded, commas included */
	uint64_t payload;
};

#define RECORD_SEQUENCE "{\"SequenceNumber\":\""
#define RECORD_ARRIVAL "\",\"ApproximateArrivalTimestamp\":"
#define RECORD_DATA ",\"Data\":\""
#define RECORD_KEY "\",\"PartitionKey\":\""
#define RECORD_END "\"}"
#define EVENT_RECORDS "{\"Records\":["
#define EVENT_CONTINUATION "],\"ContinuationSequenceNumber\":\""
#define RECORD_FIXED (sizeof(RECORD_SEQUENCE RECORD_ARRIVAL RECORD_DATA RECORD_KEY RECORD_END) - 1 + SEQ_DIGITS)
#define EVENT_FIXED (sizeof(EVENT_RECORDS EVENT_CONTINUATION "\"") - 1 + SEQ_DIGITS)

static void stamp_init(struct stamp *stamp, const struct batch *batch)
{
	stamp->time_s = message_time_s(&batch->shard, batch->arrival_ms);
	int n = snprintf(stamp->text, sizeof(stamp->text), "%" PRId64 ".%03d", batch->arrival_ms / 1000, (int)(batch->arrival_ms % 1000));
	assert(n > 0 && (size_t)n < sizeof(stamp->text));
	stamp->n = (size_t)n;
}

static size_t record_len(const struct stamp *stamp, const struct record *record)
{
	return RECORD_FIXED + stamp->n + base64_len(record->data.n) + json_escaped_len(record->key);
}

/* Adds frames from (cursor, nth) up to index `to`, while the encoded bytes stay within `cut` and the part goes on; at least one. Returns
 * where it stopped. */
static size_t measure(const struct batch *batch, const struct stamp *stamp, uint64_t to, size_t cut, struct slice *slice)
{
	size_t cursor = slice->cursor, before = cursor;
	uint32_t nth = slice->nth;
	struct record record;
	slice->count = 0;
	slice->len = 0;
	slice->payload = 0;
	while (batch_next(batch, &cursor, &nth, &record) && record.index <= to) {
		size_t len = record_len(stamp, &record) + (slice->count > 0);
		bool ends = batch_part_ends(before - slice->part, cursor - before);
		if (slice->count && (ends || slice->len + len > cut))
			break;
		if (ends)
			slice->part = before;
		slice->count++;
		slice->len += len;
		slice->payload += record.key.n + record.data.n;
		before = cursor;
	}
	return before;
}

static char *write_record(char *p, const struct batch *batch, const struct stamp *stamp, const struct record *record)
{
	p = put_str(p, STR(RECORD_SEQUENCE));
	seq_format(p, &batch->shard, record->index, stamp->time_s);
	p = put_str(p + SEQ_DIGITS, STR(RECORD_ARRIVAL));
	p = put_bytes(p, stamp->text, stamp->n);
	p = put_str(p, STR(RECORD_DATA));
	p += base64_encode(p, record->data.p, record->data.n);
	p = put_str(p, STR(RECORD_KEY));
	p += json_escape(p, record->key);
	return put_str(p, STR(RECORD_END));
}

static struct message *write_event(const struct batch *batch, const struct stamp *stamp, const struct slice *slice)
{
	char *p;
	struct message *message = message_begin(EVENT_FIXED + slice->len, &p);
	if (!message)
		return NULL;
	size_t cursor = slice->cursor;
	uint32_t nth = slice->nth;
	const char *number = NULL;
	p = put_str(p, STR(EVENT_RECORDS));
	for (uint32_t i = 0; i < slice->count; i++) {
		struct record record;
		bool there = batch_next(batch, &cursor, &nth, &record);
		assert(there);
		if (i)
			*p++ = ',';
		number = p + sizeof(RECORD_SEQUENCE) - 1;
		p = write_record(p, batch, stamp, &record);
	}
	p = put_str(p, STR(EVENT_CONTINUATION));
	p = put_bytes(p, number, SEQ_DIGITS);
	*p++ = '"';
	assert((uint8_t *)p == message->head + message->head_len);
	message->count = slice->count;
	message->first = batch->first + slice->nth;
	message->last = message->first + slice->count - 1;
	message->arrival_ms = batch->arrival_ms;
	message->payload = slice->payload;
	message_seal(message);
	metric_add(METRIC_events_encoded, 1);
	metric_add(METRIC_event_bytes_encoded, (int64_t)message_len(message));
	return message;
}

/* Nearly every batch is one event: room for one, then twice as many each time. */
static enum status add_message(struct batch *batch, struct message *message)
{
	uint32_t n = batch->n_messages;
	if ((n & (n - 1)) == 0) {
		struct message **messages = realloc(batch->messages, (n ? 2 * (size_t)n : 1) * sizeof(struct message *));
		if (!messages)
			return STATUS_NO_MEMORY;
		batch->messages = messages;
	}
	batch->messages[batch->n_messages++] = message;
	return STATUS_OK;
}

static void drop_messages(struct batch *batch)
{
	for (uint32_t i = 0; i < batch->n_messages; i++)
		message_unref(batch->messages[i]);
	free(batch->messages);
	batch->messages = NULL;
	batch->n_messages = 0;
}

enum status message_encode(struct batch *batch)
{
	assert(batch->count > 0 && !batch->messages);
	struct stamp stamp;
	stamp_init(&stamp, batch);
	struct slice slice = {0};
	while (slice.nth < batch->count) {
		size_t next = measure(batch, &stamp, UINT64_MAX, MESSAGE_CUT, &slice);
		assert(slice.count > 0); /* the frames are whole: whoever read them has checked their CRC */
		struct message *message = write_event(batch, &stamp, &slice);
		if (!message || add_message(batch, message)) {
			message_unref(message);
			drop_messages(batch);
			return STATUS_NO_MEMORY;
		}
		slice.nth += slice.count;
		slice.cursor = next;
	}
	metric_add(METRIC_batches_encoded, 1);
	return STATUS_OK;
}

struct message *message_range(const struct batch *batch, uint64_t from, uint64_t to)
{
	assert(from >= batch->first && from <= to && to <= batch_last(batch));
	struct stamp stamp;
	stamp_init(&stamp, batch);
	struct slice slice = {0};
	struct record record;
	while (batch->first + slice.nth < from) {
		bool there = batch_next(batch, &slice.cursor, &slice.nth, &record);
		assert(there);
	}
	slice.part = slice.cursor; /* inside one event, so inside one part */
	measure(batch, &stamp, to, SIZE_MAX, &slice);
	return write_event(batch, &stamp, &slice);
}
