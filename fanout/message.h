/* message.h: the making of events. Private to fanout. All pure; any thread. */
#ifndef FANOUT_MESSAGE_H
#define FANOUT_MESSAGE_H

#include "penstock/batch.h"
#include "penstock/catalogue.h"
#include "penstock/eventstream.h"

/* Encoded records in one event: beyond this the next record begins another one. Large enough that the fixed part is nothing, small
 * enough that an event leaves a socket buffer of ordinary size in one turn. */
#define MESSAGE_CUT (256u << 10)

/* One private event of the records from..to of `batch` (a cursor that starts inside an event). NULL: no memory. */
struct message *message_range(const struct batch *batch, uint64_t from, uint64_t to);

/* Small ones; they end the process when there is no memory, as xmalloc does. One reference, the caller's. */
struct message *message_initial(void);                                                       /* initial-response, payload {} */
/* No records. Its continuation is the position behind record `last`, with second `time_s`, which lies not before the shard's. */
struct message *message_empty(const struct shard_key *shard, uint64_t last, int64_t time_s);
struct message *message_exception(struct str type, struct str text);
/* The end-of-shard event. NULL: the snapshot names no children yet. */
struct message *message_shard_end(const struct stream_info *stream, uint32_t shard);

/* The second inside a sequence number: that of the arrival, but never before the shard's own. */
static inline int64_t message_time_s(const struct shard_key *shard, int64_t arrival_ms)
{
	int64_t time_s = arrival_ms / 1000;
	return time_s < shard->created_s ? shard->created_s : time_s;
}

/* Event heads only: where the payload goes (writes prelude and headers), and the end of the work when the head is complete. */
#define MESSAGE_PAYLOAD_TRAILER (MESSAGE_TRAILER - 4) /* of the payload; the CRC is none of it */
struct message *message_begin(size_t payload_head_len, char **payload);
void message_seal(struct message *message); /* crc_head and trailer0 */

/* The trailer for a reader that is behind_ms behind. */
void message_trailer(const struct message *message, int64_t behind_ms, uint8_t out[MESSAGE_TRAILER]);

static inline char *put_bytes(char *p, const void *from, size_t n)
{
	memcpy(p, from, n);
	return p + n;
}
static inline char *put_str(char *p, struct str s) { return put_bytes(p, s.p, s.n); }

#endif
