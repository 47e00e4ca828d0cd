/* connection.h: a client's connection to an endpoint, and the calls that run on it. One thread, one event loop.
 *
 * Over HTTP/2 it is one socket, and one more when the server's limit of streams is reached or it has said GOAWAY (calls that it goes on with
 * end on the old one). Over HTTP/1.1 it is a socket for each call in work, kept and used again: a subscription keeps nobody waiting.
 * A connection that broke, or could not be made, is made anew by the next call. */
#ifndef PENSTOCK_LOADTEST_CONNECTION_H
#define PENSTOCK_LOADTEST_CONNECTION_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "loadtest/endpoint.h"
#include "loadtest/signer.h"
#include "penstock/bytes.h"
#include "penstock/list.h"
#include "penstock/value.h"

struct connection;

/* Why a call did not complete. */
enum call_reason {
	CALL_OK,
	CALL_REFUSED, /* no connection was to be had: refused, timed out, TLS failed. The call was not sent */
	CALL_BROKEN,  /* the connection broke; whether the server did what was asked is not known */
	CALL_RESET,   /* the server reset the stream; likewise */
	CALL_GOAWAY   /* the server says that it did not look at the call (GOAWAY, REFUSED_STREAM): it may be made again */
};

/* One call. The caller owns it and keeps it, body and all, until on_end. Zero what is not used. */
struct call {
	const char *operation;       /* "PutRecord"; NULL: not of Kinesis: `method` of `path`, unsigned */
	const char *method, *path;   /* without operation: NULL is GET, and "/" */
	enum encoding encoding;      /* of the body; an operation's alone */
	struct buf body;             /* freed by call_free */
	struct buf answer;           /* gathered unless on_data is set and the status is 200 */
	int status;                  /* HTTP status once the head has arrived */
	enum encoding answer_encoding; /* as the answer's Content-Type says */
	enum call_reason reason;
	void (*on_data)(struct call *call, const uint8_t *p, size_t n); /* a stream; may be NULL */
	void (*on_end)(struct call *call, bool complete); /* complete: the answer came to its end; else `reason` says why not */
	void *arg;
	/* connection's */
	struct list link;
	struct line *line; /* NULL: it waits for one */
	int32_t stream;
	size_t sent;
	bool whole, ended; /* the answer's last byte is here; on_end is due */
	bool is_signed;    /* ahead: the signature is of the body as it is */
	struct signature signature;
};
void call_free(struct call *call); /* its buffers */

/* Begins to connect. Never NULL: a refusal is told by on_end of the calls. `endpoint` is lent for as long as the connection lives. `window`:
 * initial window of each stream and, times sixteen, of a socket (HTTP/2); 0: 4 MiB. */
struct connection *connection_open(struct event_base *base, const struct endpoint *endpoint, uint32_t window);
/* Calls in work get no on_end. May be called from on_data and on_end. */
void connection_close(struct connection *connection);
/* Signs an operation's call ahead of connection_call, so that this has less to do: with its body, and at most a minute before. */
void connection_sign(struct connection *connection, struct call *call);
/* on_data and on_end are called from the loop, never from inside this. */
void connection_call(struct connection *connection, struct call *call);
/* The call is over now (RST_STREAM, or its socket is closed) and gets no on_end. Not after on_end. */
void connection_cancel(struct connection *connection, struct call *call);
/* Stops to read its sockets (a stalled reader), or reads again. */
void connection_stall(struct connection *connection, bool stalled);

uint64_t connection_bytes_in(const struct connection *connection);
/* CLOCK_MONOTONIC of the read that brought what on_data or on_end is being told. */
uint64_t connection_read_ns(const struct connection *connection);
const char *connection_server(const struct connection *connection); /* the Server header; "": none was sent yet */
const char *connection_why(const struct connection *connection);    /* why a socket was last lost, for people; "": none was */

#endif
