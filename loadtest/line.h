/* line.h: what connection.c and its two protocols share: a line is one socket of a connection. Private to them.
 *
 * A line is made for calls that wait; `ready` once the server has shown that it speaks the protocol; `draining` when it takes no more calls
 * and goes when it has none; `dead` when its socket is closed. Whoever changes something about a line touches it: at the end of the turn it
 * writes, finds its place, or is freed. */
#ifndef PENSTOCK_LOADTEST_LINE_H
#define PENSTOCK_LOADTEST_LINE_H

#include "loadtest/connection.h"
#include "loadtest/wire.h"

struct line;

struct line_ops {
	struct str alpn;                    /* wire format */
	void (*open)(struct line *line);    /* the socket is open */
	bool (*bytes)(struct line *line, const uint8_t *p, size_t n); /* false: the server broke the protocol */
	void (*eof)(struct line *line);     /* the server closed: may complete an answer that ends so */
	bool (*room)(const struct line *line); /* for one call more; the line is ready */
	void (*send)(struct line *line, struct call *call);
	void (*cancel)(struct line *line, struct call *call);
	bool (*fill)(struct line *line);    /* puts what it has, while the wire has room; false: nothing was put */
	void (*free)(struct line *line);
};

extern const struct line_ops line_h2_ops, line_h1_ops;

struct line {
	struct wire wire;
	struct connection *connection;
	const struct line_ops *ops;
	struct list link;  /* connection->lines: those with room stand first */
	struct list touch_link; /* connection->touched */
	struct list calls;
	unsigned n_calls;
	bool ready, used, draining, dead; /* used: it was given a call */
	void *session;     /* the protocol's */
};

struct connection {
	struct event_base *base;
	const struct endpoint *endpoint;
	const struct line_ops *ops;
	struct signer *signer;
	struct event *later;  /* something is to be done at the end of the turn, and no line has one */
	struct list lines, touched, waiting, ended;
	unsigned n_lines, n_opening, n_waiting;
	unsigned inside;      /* a callback is on the way: whatever is freed now is freed at its end */
	bool closing, stalled;
	uint32_t window;
	uint64_t bytes_in;    /* of lines that are gone */
	uint64_t read_ns;
	char server[64], why[512];
};

/* For the protocols. */
void line_touch(struct line *line);
void line_ready(struct line *line);                /* calls may be given to it */
void line_lose(struct line *line, const char *why); /* from this side, in a callback; its calls end as broken */
void call_end(struct call *call, enum call_reason reason); /* told at the end of the turn */
void call_header(struct call *call, struct str name, struct str value); /* of its answer; name in lower case */
void call_bytes(struct call *call, const uint8_t *p, size_t n);

#define TARGET_MAX 96 /* "Kinesis_20131202." and the longest operation */
#define CALL_USER_AGENT "penstock-load/" PENSTOCK_VERSION

/* What a request's head says, for both protocols. Lent from the call. */
struct request_head {
	const char *method, *path, *content_type; /* content_type NULL: unsigned, none of the following */
	char target[TARGET_MAX];
	const char *date, *authorization;
	const char *token; /* NULL: none */
};
void call_head(struct call *call, struct signer *signer, struct request_head *out);

#endif
