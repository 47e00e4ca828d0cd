/* sink.h: penstock-sink: very many subscriptions, received as cheaply as can be, so that the server is what a benchmark measures.
 *
 * Nothing is decoded but frame headers and the length of each event-stream message: bytes and messages are counted. HTTP/2 is spoken by hand,
 * since a library costs more than the server it would measure. One thread. Only for benchmarks, only on loopback; penstock-load is the
 * client that checks what it receives. */
#ifndef PENSTOCK_BENCH_SINK_H
#define PENSTOCK_BENCH_SINK_H

#include <stdbool.h>
#include <stdint.h>

#include <openssl/types.h>

#include "penstock/bytes.h"

struct subscription {
	uint64_t messages; /* whole event-stream messages */
	uint64_t consumed; /* DATA bytes since the last WINDOW_UPDATE */
	uint32_t left;     /* of the message that is being received; 0: at its length */
	uint8_t length[4]; /* the length's bytes that have come */
	uint8_t n_length;
	bool open;         /* the answer's head said 200 */
};

struct sink_connection {
	int fd;
	SSL *tls;                /* NULL: cleartext */
	struct buf out;          /* not yet written */
	struct subscription *subscriptions; /* stream 1, 3, 5, ... */
	uint32_t n_subscriptions;
	uint8_t head[9];         /* of the frame that is being received */
	uint32_t n_head, left;   /* bytes of the head; bytes of the payload that are to come */
	uint8_t small[64];       /* the first bytes of the payload of a frame that is not DATA */
	uint32_t n_small;
	uint64_t consumed;
};

struct sink_totals {
	uint64_t bytes, messages, opened, refused, ended;
};

/* sink_h2.c */
void sink_begin(struct sink_connection *connection);  /* preface, SETTINGS, the connection's window */
void sink_subscribe(struct sink_connection *connection, uint32_t number, const char *authority, const char *body);
/* Bytes that arrived. False: the server said good-bye or spoke something else. */
bool sink_receive(struct sink_connection *connection, const uint8_t *p, size_t n, struct sink_totals *totals);

#endif
