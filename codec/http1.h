/* http1.h: HTTP/1.1 requests: bytes in, callbacks out. Debian's http-parser reads the messages; a guard in front of it walks the same
 * bytes and refuses what that (non-strict) build would let pass and what two parsers could read in two ways.
 *
 * Pure: no I/O, no globals. One owner, one thread. What comes out does not depend on how the input was cut. */
#ifndef PENSTOCK_HTTP1_H
#define PENSTOCK_HTTP1_H

#include <http_parser.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"

#define HTTP1_HEAD_MAX 16384    /* request line and header lines together; beyond it 431 */
#define HTTP1_FIELDS_MAX 64     /* header lines; beyond it 431 */
#define HTTP1_TRAILERS_MAX 4096 /* bytes of trailer lines; they are checked and dropped */
#define HTTP1_CHUNK_LINE_MAX 256 /* a chunk's size line with its extensions */

/* All strings are lent for the call. Each returns 0 to go on, or the HTTP status that refuses the request: then http1_feed returns it. */
struct http1_ops {
	int (*on_request)(void *arg, struct str method, struct str target);
	int (*on_header)(void *arg, struct str name, struct str value); /* name as it was sent, value without blanks around it */
	int (*on_head)(void *arg);                                      /* the head is complete: the fields below are set */
	int (*on_body)(void *arg, const uint8_t *p, size_t n);          /* n > 0 */
};

struct http1 {
	/* the owner may read, from on_head on */
	bool keep_alive;      /* the connection may serve another request (never for HTTP/1.0) */
	bool one_zero;        /* HTTP/1.0 */
	bool chunked;         /* the body is chunked; else content_length says how long it is */
	bool expect_continue; /* Expect: 100-continue */
	bool alien;           /* refused with 400, and the request line does not even end in HTTP/ and a version: it is no answer's reader */
	uint64_t content_length;

	/* private */
	const struct http1_ops *ops;
	void *arg;
	http_parser parser;
	int state;        /* of the guard */
	int refused;      /* the status, once refused */
	struct buf head;  /* of a head that came in pieces */
	size_t line;      /* bytes of the present line or group of lines that is measured */
	unsigned fields;  /* header lines; in the request line: blanks */
	uint64_t left;    /* body or chunk bytes to come */
	struct str name;  /* inside the head: the field whose value comes next */
	bool have_host, have_length, have_coding;
	bool complete;    /* http-parser saw the message's end */
};

void http1_init(struct http1 *parser, const struct http1_ops *ops, void *arg);
void http1_fini(struct http1 *parser);

enum { HTTP1_MORE = 0, HTTP1_DONE = 1 };
/* Eats from p; *used says how much. HTTP1_MORE: all of it, go on with more. HTTP1_DONE: one request is complete; the next call begins the
 * next one. Else an HTTP status (400, 417, 431, 501, 505, or a callback's): refused for good, answer it and close. */
int http1_feed(struct http1 *parser, const uint8_t *p, size_t n, size_t *used);

/* Has a request begun that is not complete? */
bool http1_inside(const struct http1 *parser);

#endif
