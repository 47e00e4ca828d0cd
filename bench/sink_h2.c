/* sink_h2.c: the little of HTTP/2 (RFC 9113) that a client of streams needs: it sends requests and windows, and counts DATA.
 *
 * - sink_begin, sink_subscribe: bytes into connection->out.
 * - sink_receive: frame by frame, wherever the reads cut them. DATA is walked by its messages' length words; SETTINGS and PING are
 * answered; windows are those of the Kinesis Client Library for Java, 512 KiB, and given back by halves. */
#include "bench/sink.h"

#include <stdio.h>
#include <string.h>

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, PING = 6, GOAWAY = 7, WINDOW_UPDATE = 8 };
#define ACK 1
#define END_STREAM 1
#define END_HEADERS 4
#define STREAM_ID 0x7fffffffu
/* Wider ones let readers of one shard drift apart by what their sockets hold: 32 MiB each, all of it out of the caches. */
#define WINDOW (512u << 10)
#define WINDOW_REFILL (WINDOW / 2)
#define SETTINGS_INITIAL_WINDOW_SIZE 4

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static void put_frame(struct buf *out, uint8_t type, uint8_t flags, uint32_t stream, const void *payload, size_t n)
{
	uint8_t head[9] = {(uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags};
	put32(head + 5, stream);
	buf_put(out, head, sizeof head);
	buf_put(out, payload, n);
}

static void put_window(struct buf *out, uint32_t stream, uint32_t more)
{
	uint8_t payload[4];
	put32(payload, more);
	put_frame(out, WINDOW_UPDATE, 0, stream, payload, sizeof payload);
}

void sink_begin(struct sink_connection *connection)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	uint8_t setting[6] = {0, SETTINGS_INITIAL_WINDOW_SIZE};
	put32(setting + 2, WINDOW);
	buf_put(&connection->out, preface, sizeof preface - 1);
	put_frame(&connection->out, SETTINGS, 0, 0, setting, sizeof setting);
	put_window(&connection->out, 0, WINDOW - 65535);
}

/* A length in HPACK's integer form with a prefix of 7 bits (RFC 7541, 5.1); all are below 127 + 16384. */
static void put_length(struct buf *out, size_t n)
{
	uint8_t bytes[3] = {n < 127 ? (uint8_t)n : 127, (uint8_t)((n - 127) | 0x80), (uint8_t)((n - 127) >> 7)};
	buf_put(out, bytes, n < 127 ? 1 : 3);
}

/* A literal field that is not indexed (RFC 7541, 6.2.2). */
static void put_field(struct buf *out, const char *name, const char *value)
{
	buf_put(out, "\0", 1);
	put_length(out, strlen(name));
	buf_put(out, name, strlen(name));
	put_length(out, strlen(value));
	buf_put(out, value, strlen(value));
}

void sink_subscribe(struct sink_connection *connection, uint32_t number, const char *authority, const char *body)
{
	uint32_t stream = number * 2 + 1;
	struct buf fields = {0};
	put_field(&fields, ":method", "POST");
	put_field(&fields, ":scheme", connection->tls ? "https" : "http");
	put_field(&fields, ":authority", authority);
	put_field(&fields, ":path", "/");
	put_field(&fields, "content-type", "application/x-amz-json-1.1");
	put_field(&fields, "x-amz-target", "Kinesis_20131202.SubscribeToShard");
	put_field(&fields, "x-amz-date", "20260101T000000Z");
	/* Well-formed, which is all that a server without --credentials asks for. */
	put_field(&fields, "authorization",
		  "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/us-east-1/kinesis/aws4_request, SignedHeaders=host;x-amz-date, "
		  "Signature=0000000000000000000000000000000000000000000000000000000000000000");
	put_frame(&connection->out, HEADERS, END_HEADERS, stream, fields.p, fields.n);
	put_frame(&connection->out, DATA, END_STREAM, stream, body, strlen(body));
	buf_free(&fields);
}

/* ---- Receiving -------------------------------------------------------------------------------------------------------- */

static void count_messages(struct subscription *subscription, const uint8_t *p, size_t n, struct sink_totals *totals)
{
	while (n > 0) {
		if (subscription->left == 0) {
			subscription->length[subscription->n_length++] = *p++;
			n--;
			if (subscription->n_length < 4)
				continue;
			uint32_t whole = get32(subscription->length);
			subscription->n_length = 0;
			subscription->left = whole > 4 ? whole - 4 : 1;
			continue;
		}
		size_t take = n < subscription->left ? n : subscription->left;
		subscription->left -= (uint32_t)take;
		p += take;
		n -= take;
		if (subscription->left == 0) {
			subscription->messages++;
			totals->messages++;
		}
	}
}

static struct subscription *stream_of(struct sink_connection *connection)
{
	uint32_t stream = get32(connection->head + 5) & STREAM_ID, number = stream / 2;
	return stream % 2 == 1 && number < connection->n_subscriptions ? &connection->subscriptions[number] : NULL;
}

static void on_data(struct sink_connection *connection, const uint8_t *p, size_t n, struct sink_totals *totals)
{
	struct subscription *subscription = stream_of(connection);
	totals->bytes += n;
	connection->consumed += n;
	if (connection->consumed >= WINDOW_REFILL) {
		put_window(&connection->out, 0, (uint32_t)connection->consumed);
		connection->consumed = 0;
	}
	if (!subscription)
		return;
	subscription->consumed += n;
	if (subscription->consumed >= WINDOW_REFILL) {
		put_window(&connection->out, get32(connection->head + 5), (uint32_t)subscription->consumed);
		subscription->consumed = 0;
	}
	if (subscription->open)
		count_messages(subscription, p, n, totals);
	else
		fprintf(stderr, "penstock-sink: refused: %.*s\n", (int)n, (const char *)p);
}

/* The payload's first bytes are in connection->small. False: good-bye. */
static bool on_frame(struct sink_connection *connection, struct sink_totals *totals)
{
	struct subscription *subscription = stream_of(connection);
	uint8_t type = connection->head[3], flags = connection->head[4];
	if (type == HEADERS && subscription) {
		subscription->open = connection->small[0] == 0x88; /* :status 200 (RFC 7541, appendix A) */
		totals->opened += subscription->open;
		totals->refused += !subscription->open;
	} else if (type == SETTINGS && !(flags & ACK)) {
		put_frame(&connection->out, SETTINGS, ACK, 0, "", 0);
	} else if (type == PING && !(flags & ACK)) {
		put_frame(&connection->out, PING, ACK, 0, connection->small, 8);
	}
	if (type == RST_STREAM || ((type == DATA || type == HEADERS) && (flags & END_STREAM)))
		totals->ended++;
	return type != GOAWAY;
}

static size_t take_head(struct sink_connection *connection, const uint8_t *p, size_t n)
{
	size_t take = 9 - connection->n_head < n ? 9 - connection->n_head : n;
	memcpy(connection->head + connection->n_head, p, take);
	connection->n_head += (uint32_t)take;
	if (connection->n_head == 9)
		connection->left = get32(connection->head) >> 8;
	connection->n_small = 0;
	return take;
}

static size_t take_payload(struct sink_connection *connection, const uint8_t *p, size_t n, struct sink_totals *totals)
{
	size_t take = n < connection->left ? n : connection->left;
	if (connection->head[3] == DATA) {
		on_data(connection, p, take, totals);
	} else {
		size_t room = sizeof connection->small - connection->n_small, keep = take < room ? take : room;
		memcpy(connection->small + connection->n_small, p, keep);
		connection->n_small += (uint32_t)keep;
	}
	connection->left -= (uint32_t)take;
	return take;
}

bool sink_receive(struct sink_connection *connection, const uint8_t *p, size_t n, struct sink_totals *totals)
{
	while (n > 0) {
		size_t took = connection->n_head < 9 ? take_head(connection, p, n) : take_payload(connection, p, n, totals);
		p += took;
		n -= took;
		if (connection->n_head == 9 && connection->left == 0) {
			connection->n_head = 0;
			if (!on_frame(connection, totals))
				return false;
		}
	}
	return true;
}
