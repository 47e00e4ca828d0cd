/* wire.h: one socket of the client: connects without blocking, speaks TLS or not, hands on what is read, and keeps what is to be written.
 * Private to connection.c, its protocols, and endpoint_probe.c. One thread, one event loop; the process ignores SIGPIPE. */
#ifndef PENSTOCK_LOADTEST_WIRE_H
#define PENSTOCK_LOADTEST_WIRE_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"

struct endpoint;
struct wire;

#define WIRE_OPEN_SECONDS 10 /* to connect, and to agree on TLS and the protocol */

/* Always from the loop, never from inside a function of wire.h. All may close the wire, but only on_turn may free its memory. */
struct wire_ops {
	void (*on_open)(struct wire *wire);
	void (*on_bytes)(struct wire *wire, const uint8_t *p, size_t n);
	void (*on_closed)(struct wire *wire); /* once, `why` says why; nothing follows but on_turn */
	void (*on_turn)(struct wire *wire);   /* last in each turn */
};

enum wire_phase { WIRE_CONNECTING, WIRE_HANDSHAKE, WIRE_OPEN, WIRE_CLOSED };

struct wire {
	const struct wire_ops *ops;
	const struct endpoint *endpoint;
	enum wire_phase phase;
	int fd;
	SSL *tls;
	struct event read_event, write_event, timer;
	struct buf out;       /* to be written, from out_at on */
	size_t out_at;
	bool stalled;         /* the socket is not read */
	bool writing;         /* the socket is full, write_event is set */
	bool broken;          /* a write failed: what can still be read is read, then it is closed */
	uint64_t read_ns;     /* CLOCK_MONOTONIC of the last read */
	uint64_t bytes_in;    /* read, as far as TLS has opened it */
	char why[200];
};

/* Begins to connect to endpoint->address. alpn: the protocols to offer, in wire format. on_open or on_closed follows. */
void wire_open(struct wire *wire, struct event_base *base, const struct endpoint *endpoint, struct str alpn, const struct wire_ops *ops);
/* The protocol is agreed on: the 10 s are over. */
void wire_settled(struct wire *wire);
/* Ends it from this side; memory of the struct is the caller's. Twice is no harm. */
void wire_close(struct wire *wire);
/* May more be put? False above 256 KiB: on_turn comes when some of it has gone. */
bool wire_room(const struct wire *wire);
void wire_put(struct wire *wire, const void *p, size_t n);
/* Writes what can be written now. */
void wire_flush(struct wire *wire);
void wire_stall(struct wire *wire, bool stalled);

#endif
