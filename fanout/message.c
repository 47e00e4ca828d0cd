/* message.c: what every event has in common (its frame, its trailer), and the events that hold no records.
 *
 * - message_begin: allocates a head, writes prelude and headers for the length that the trailer will complete.
 * - message_seal: the CRC32 of the head is kept, so that any trailer costs 43 bytes of CRC.
 * - initial-response and exceptions are whole messages: head only, trailer_len 0.
 *
 * All pure; any thread. Failure: message_begin returns NULL; the small ones end the process, as xmalloc does. */
#include "fanout/message.h"

#include <assert.h>
#include <inttypes.h>
#include <libdeflate.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/slog.h"
#include "penstock/writer.h"

static void put_be32(uint8_t *p, uint32_t n)
{
	p[0] = (uint8_t)(n >> 24);
	p[1] = (uint8_t)(n >> 16);
	p[2] = (uint8_t)(n >> 8);
	p[3] = (uint8_t)n;
}

/* ---- Frame and trailer of an event ---- */

struct message *message_begin(size_t payload_head_len, char **payload)
{
	size_t front = EVENTSTREAM_PRELUDE + eventstream_headers_len(EVENTSTREAM_EVENT, (struct str){0});
	struct message *message = message_new(front + payload_head_len);
	if (!message)
		return NULL;
	message->trailer_len = MESSAGE_TRAILER;
	size_t written = eventstream_begin(message->head, EVENTSTREAM_EVENT, (struct str){0}, payload_head_len + MESSAGE_PAYLOAD_TRAILER);
	assert(written == front);
	*payload = (char *)message->head + front;
	return message;
}

void message_trailer(const struct message *message, int64_t behind_ms, uint8_t out[MESSAGE_TRAILER])
{
	/* The number stands at the left of its 20 places: JSON allows blanks behind it. */
	char text[MESSAGE_PAYLOAD_TRAILER + 1];
	int n = snprintf(text, sizeof(text), ",\"MillisBehindLatest\":%-20" PRId64 "}", behind_ms);
	assert(n == MESSAGE_PAYLOAD_TRAILER && behind_ms >= 0);
	memcpy(out, text, MESSAGE_PAYLOAD_TRAILER);
	put_be32(out + MESSAGE_PAYLOAD_TRAILER, libdeflate_crc32(message->crc_head, out, MESSAGE_PAYLOAD_TRAILER));
}

void message_seal(struct message *message)
{
	/* The CRC of the trailer 0 is one of 43 constant bytes behind another start; snprintf for it would cost more than all of it. */
	static const char zero[] = ",\"MillisBehindLatest\":0                   }";
	_Static_assert(sizeof(zero) - 1 == MESSAGE_PAYLOAD_TRAILER, "width of the trailer");
	message->crc_head = libdeflate_crc32(0, message->head, message->head_len);
	memcpy(message->trailer0, zero, MESSAGE_PAYLOAD_TRAILER);
	put_be32(message->trailer0 + MESSAGE_PAYLOAD_TRAILER,
		 libdeflate_crc32(message->crc_head, message->trailer0, MESSAGE_PAYLOAD_TRAILER));
}

/* ---- Events without records ---- */

static struct message *or_die(struct message *message)
{
	if (!message) {
		slog(SLOG_ERROR, "out_of_memory", "what=message");
		abort();
	}
	return message;
}

static struct message *whole(enum eventstream_kind kind, struct str type, struct str payload)
{
	struct buf out = {0};
	eventstream_message(&out, kind, type, payload);
	struct message *message = or_die(message_new(out.n));
	memcpy(message->head, out.p, out.n);
	message->crc_head = libdeflate_crc32(0, message->head, message->head_len);
	buf_free(&out);
	return message;
}

struct message *message_initial(void) { return whole(EVENTSTREAM_INITIAL, (struct str){0}, STR("{}")); }

struct message *message_exception(struct str type, struct str text)
{
	struct buf out = {0};
	struct writer w;
	writer_init(&w, ENCODING_JSON, &out);
	write_map(&w);
	write_kv_str(&w, "message", text);
	write_map_end(&w);
	struct message *message = whole(EVENTSTREAM_EXCEPTION, type, (struct str){(const char *)out.p, out.n});
	buf_free(&out);
	return message;
}

struct message *message_empty(const struct shard_key *shard, uint64_t last, int64_t time_s)
{
	static const char before[] = "{\"Records\":[],\"ContinuationSequenceNumber\":\"";
	char *p;
	struct message *message = or_die(message_begin(sizeof(before) - 1 + SEQ_DIGITS + 1, &p));
	p = put_str(p, STR(before));
	seq_format_position(p, shard, last, time_s);
	p[SEQ_DIGITS] = '"';
	message->first = last + 1;
	message->last = last;
	message_seal(message);
	return message;
}

static void write_hash(struct writer *w, const char *key, uint128 hash)
{
	char text[HASH_DIGITS];
	write_kv_str(w, key, (struct str){text, hash_format(text, hash)});
}

static void write_child(struct writer *w, const struct shard_info *child)
{
	char name[SHARD_NAME_LEN + 1];
	write_map(w);
	shard_name(name, child->key.shard);
	write_kv_str(w, "ShardId", str_of(name));
	write_key(w, "ParentShards");
	write_list(w);
	const uint32_t parents[] = {child->parent, child->adjacent};
	for (size_t i = 0; i < 2; i++) {
		if (parents[i] == NO_PARENT)
			continue;
		shard_name(name, parents[i]);
		write_str(w, str_of(name));
	}
	write_list_end(w);
	write_key(w, "HashKeyRange");
	write_map(w);
	write_hash(w, "StartingHashKey", child->hash_first);
	write_hash(w, "EndingHashKey", child->hash_last);
	write_map_end(w);
	write_map_end(w);
}

/* Returns how many children there are. */
static uint32_t write_children(struct writer *w, const struct stream_info *stream, uint32_t shard)
{
	uint32_t n = 0;
	write_list(w);
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		const struct shard_info *child = &stream->shards[i];
		if (child->parent != shard && child->adjacent != shard)
			continue;
		write_child(w, child);
		n++;
	}
	write_list_end(w);
	return n;
}

struct message *message_shard_end(const struct stream_info *stream, uint32_t shard)
{
	/* No ContinuationSequenceNumber, and children: together they say "finished" to every client (KCL checks both). */
	static const char before[] = "{\"Records\":[],\"ChildShards\":";
	struct buf children = {0};
	struct writer w;
	writer_init(&w, ENCODING_JSON, &children);
	struct message *message = NULL;
	if (write_children(&w, stream, shard)) {
		char *p;
		message = or_die(message_begin(sizeof(before) - 1 + children.n, &p));
		p = put_str(p, STR(before));
		put_bytes(p, children.p, children.n);
		message_seal(message);
	}
	buf_free(&children);
	return message;
}
