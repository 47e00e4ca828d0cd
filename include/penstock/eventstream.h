/* eventstream.h: application/vnd.amazon.eventstream, one message at a time: bytes in, bytes out.
 *
 * Message: u32 total length, u32 headers length, u32 CRC32 of those 8 bytes, headers, payload, u32 CRC32 of all before it; big-endian.
 * Header: u8 name length, name, u8 type 7, u16 value length, value. (AWS event stream encoding.) */
#ifndef PENSTOCK_EVENTSTREAM_H
#define PENSTOCK_EVENTSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/bytes.h"

#define EVENTSTREAM_CONTENT_TYPE "application/vnd.amazon.eventstream"
#define EVENTSTREAM_PRELUDE 12
#define EVENTSTREAM_OVERHEAD 16
#define EVENTSTREAM_MAX (24u << 20) /* larger messages are refused when decoding */

enum eventstream_kind { EVENTSTREAM_INITIAL, EVENTSTREAM_EVENT, EVENTSTREAM_EXCEPTION };

/* Headers of a message of that kind, and their length. INITIAL: :event-type initial-response; EVENT: SubscribeToShardEvent;
 * EXCEPTION: :exception-type `type`. Order :event-type, :content-type, :message-type as AWS sends them. */
size_t eventstream_headers_len(enum eventstream_kind kind, struct str type);
/* Writes prelude and headers for a payload of payload_len to out (EVENTSTREAM_PRELUDE + headers_len bytes); returns how many. */
size_t eventstream_begin(uint8_t *out, enum eventstream_kind kind, struct str type, size_t payload_len);
/* A whole message. */
void eventstream_message(struct buf *out, enum eventstream_kind kind, struct str type, struct str payload);

/* Decoding, for the load client and tests. */
struct eventstream_view {
	size_t total;        /* bytes of the message */
	struct str message_type, event_type, exception_type, content_type; /* absent: p NULL */
	struct str payload;
};
/* 1: a whole message is at p, in *out (lent from p); 0: more bytes are needed; -1: not a message (length, header or CRC wrong). */
int eventstream_decode(const uint8_t *p, size_t n, struct eventstream_view *out);

#endif
