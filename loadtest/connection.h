/* connection.h: one HTTP/2 client connection over cleartext or TLS, and the calls that run on it. One thread, one event loop. */
#ifndef PENSTOCK_LOADTEST_CONNECTION_H
#define PENSTOCK_LOADTEST_CONNECTION_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/list.h"

struct connection;

struct endpoint {
	char host[64]; /* an IPv4 address of the loopback range: load goes nowhere else */
	int port;
	bool tls;      /* any certificate is accepted */
	char region[33];
};

/* "http://127.0.0.1:4567" or "https://..." into *out. False: not such a URL, or not loopback. */
bool endpoint_parse(const char *url, struct endpoint *out);

/* One call. The caller owns it and keeps it until on_end. */
struct call {
	const char *operation;       /* "PutRecord" */
	struct buf body;             /* JSON; freed by call_free */
	struct buf answer;           /* gathered unless on_data is set */
	int status;                  /* HTTP status once the head has arrived */
	void (*on_data)(struct call *call, const uint8_t *p, size_t n); /* a stream; may be NULL */
	void (*on_end)(struct call *call, bool complete); /* complete: END_STREAM was seen; else the connection or stream broke */
	void *arg;
	/* connection's */
	struct list link;
	int32_t stream;
	size_t sent;
};
void call_free(struct call *call); /* its buffers */

/* Connects (blocking, loopback) and sends the preface. NULL: refused, errno says why. `window`: initial window of each stream and, times
 * sixteen, of the connection; 0: 4 MiB. */
struct connection *connection_open(struct event_base *base, const struct endpoint *endpoint, uint32_t window);
void connection_close(struct connection *connection); /* calls in work get no on_end */
void connection_call(struct connection *connection, struct call *call);
/* Stops to read the socket (a stalled reader), or reads again. */
void connection_stall(struct connection *connection, bool stalled);
uint64_t connection_bytes_in(const struct connection *connection);

#endif
