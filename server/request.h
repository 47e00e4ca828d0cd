/* request.h: one request, whichever protocol carried it; the seam between transport (conn, h1, h2) and operations (ops_*.c).
 *
 * Thread: the worker that owns the connection. Life: the transport makes it when the head is complete, dispatch_request() takes it
 * when the body is, and it ends when it is answered. A client may leave before that: the transport then detaches it
 * (transport NULL) and the operation's answer falls away; mail in flight that embeds in the request's arena stays valid until its
 * own on_done, because only request_reply / request_end free it. */
#ifndef PENSTOCK_REQUEST_H
#define PENSTOCK_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/fanout.h"
#include "penstock/list.h"
#include "penstock/shape.h"
#include "penstock/status.h"
#include "penstock/value.h"
#include "server/answers.h"

struct worker;
struct request;

/* The requests in work that one connection has left behind: they cost as much as if it still waited for them. Lives until the connection
 * and the last of them are gone. */
struct ghosts {
	size_t n;
	bool left; /* the connection is gone */
};

struct header {
	struct str name;  /* lower case */
	struct str value; /* blanks trimmed */
};

#define REQUEST_HEADERS_MAX 64
#define REQUEST_EXTRA_MAX 8
#define REQUEST_ID 37 /* a UUID and its NUL */
#define REQUEST_HEAD_BYTES_MAX 16384 /* names + values + 32 each: beyond it 431 */

/* What the transport does for a request. */
struct transport_ops {
	/* Sends a whole answer and ends the exchange. Headers beyond those of section 1.3 (x-amzn-RequestId, x-amz-id-2, Date, Content-Length are
	 * the transport's to add, by request->plain) are in its exchange. Takes body's bytes. */
	void (*reply)(struct request *request, int http_status, const char *content_type, struct buf *body);
	/* Begins a subscription's body: 200, application/vnd.amazon.eventstream; from now on the transport pulls request->sub until SUB_END. */
	void (*stream)(struct request *request);
	/* There are bytes to pull (a subscription's on_ready). */
	void (*ready)(struct request *request);
	/* Look at the socket now (a lease probe); true: the client is gone, and the request's subscription has been stopped. */
	bool (*probe)(struct request *request);
	/* Why a subscription that has bytes is not pulled, for /state: "WINDOW": HTTP/2 flow control is shut; "ROOM": the socket is backed up;
	 * NULL: it is not held up. */
	const char *(*blocked)(struct request *request);
	/* Ends the exchange without an answer, or in the middle of one: RST_STREAM, or the end of the connection. Frees the request. */
	void (*reset)(struct request *request);
	/* The client is on this machine: its address is a loopback one. */
	bool (*local)(struct request *request);
};

/* What is wanted of a request until it is answered, or until its subscription begins: in its arena, so gone from then on. */
struct exchange {
	uint64_t started_ns;           /* head complete, monotonic */
	struct ghosts *ghosts;         /* it is one of these, or NULL */

	/* the head; strings in the arena */
	struct str method, path, query;
	struct str host;               /* Host, or :authority */
	struct header *headers;        /* in the arena: room for 16, then for REQUEST_HEADERS_MAX */
	uint32_t n_headers;
	uint32_t head_bytes;           /* names + values + 32 each */

	uint8_t *body;                 /* owned; counted in body_bytes */
	size_t body_len, body_cap;

	/* the answer's memory (answers.h) */
	struct peer *peer;             /* of the client's address, set by the transport; NULL: of none, or the client is gone */
	bool prompt;                   /* its connection has taken a large answer promptly, set with peer */
	size_t reserved;               /* bytes that this request holds of it */

	/* the answer's head */
	char id[REQUEST_ID];           /* x-amzn-RequestId */
	uint32_t n_extra;
	struct header extra[REQUEST_EXTRA_MAX]; /* beyond the usual (CORS, x-amzn-ErrorType) */

	/* dispatch */
	const struct operation *operation;
	void *input;                   /* made of the body: operation->size bytes in the arena */
};

/* A hundred thousand may wait for records, so this is what they cost, beside nghttp2's stream and ours. */
struct request {
	struct worker *worker;
	const struct transport_ops *transport; /* NULL: detached, the client is gone */
	union {
		void *stream;          /* transport's, while there is one: its h1 connection or h2 stream */
		struct request *next_ended; /* on its worker's list of those that are freed at the end of the turn */
	};
	struct arena arena;            /* dies with the request; when a subscription begins, all that lies in it is gone already */
	struct exchange *exchange;     /* in the arena; NULL once a subscription has begun */
	struct fault_plan *fault;      /* faults that it is to meet (fault.h); NULL unless some are asked for */
	enum encoding encoding;
	bool in_work : 1;              /* dispatch has it: from request_dispatch until it is answered */
	bool streams : 1;              /* its answer is a subscription that has begun */
	bool plain : 1;                /* answer without x-amzn-RequestId and x-amz-id-2 (admin pages, 413) */
	bool bare : 1;                 /* answer with x-amzn-RequestId, without x-amz-id-2 (CORS preflight) */
	bool subscribed : 1;           /* sub_start was called, sub_stop was not */
	struct subscription sub;       /* a SubscribeToShard that was begun */
};

struct request *request_new(struct worker *worker, const struct transport_ops *transport, void *stream);
/* Transport: adds a header of the head (copied; the name is lowered). False: too many or too large, answer 431. */
bool request_add_header(struct request *request, struct str name, struct str value);
/* First header of that lower-case name; p NULL when absent. */
struct str request_header(const struct request *request, const char *name);

/* Transport: the client is gone. Stops the subscription if there is one; frees the request now if no operation has it, else when it answers. */
void request_detach(struct request *request);
/* Worker, end of turn: frees the requests whose subscriptions were stopped in it. */
void request_bury(struct worker *worker);
/* Frees. Transport: after `reply` was carried out, or after SUB_END was sent (stops the subscription). */
void request_free(struct request *request);

struct ghosts *ghosts_new(void);
/* Transport, right before request_detach. */
void ghosts_add(struct ghosts *ghosts, struct request *request);
void ghosts_leave(struct ghosts *ghosts);

/* Transport: the subscription's answer begins. */
void request_streams(struct request *request);
/* Its head is written: of the request only the subscription is wanted any more, perhaps for five minutes and a hundred thousand times. */
void request_shrink(struct request *request);
/* So many requests wait on this worker that a new one must be answered 503 at once. */
bool request_crowded(const struct worker *worker);

/* Transport: method, and the target split into path and query (absolute form: also host). */
void request_set_target(struct request *request, struct str method, struct str target);
/* Transport: more of the body; expected: its whole length if the client said one, else 0. 0, or the status that refuses it: 413 beyond
 * BODY_MAX, 503 when all bodies together have passed BODIES_MAX by far. */
int request_add_body(struct request *request, const void *p, size_t n, uint64_t expected);
/* Transport: may more of it come? It has all its room already, or there is memory for more bodies. False: give no window back, read no
 * socket; it is for the sweep to ask request_make_room. */
bool request_takes_more(const struct request *request, uint64_t expected);
/* Transport, for one that had to wait: may more come now? Then it gets all its room, if its length is trusted. Urgent: even when memory is short, as
 * long as it is not far over the bound. */
bool request_make_room(struct request *request, uint64_t expected, bool urgent);
/* Transport: the request is whole: to dispatch_request. */
void request_dispatch(struct request *request);

#define BODY_MAX (16u << 20)     /* a 10 MiB record in base64, and what stands around it */
#define BODIES_MAX (256ll << 20) /* over the process */
#define REQUESTS_MAX 16384       /* on a worker, beside subscriptions: about 3 KB each before their bodies */

/* Transport: the head of an answer, in order; strings live as long as this and the request. Counts the answer in the metrics. */
#define ANSWER_HEADERS_MAX 16
struct answer_head {
	uint32_t n;
	struct header fields[ANSWER_HEADERS_MAX];
	char id2[97], length[24], date[40];
};
/* content_length < 0: none is said (a stream). content_type p NULL: none. */
void request_answer_head(struct request *request, int http_status, const char *content_type, int64_t content_length, struct answer_head *out);

/* ---- The answer's memory ---- */

/* Raises what the request has reserved to n bytes, head included. False: there is no room, and nothing has changed. */
bool request_reserve(struct request *request, size_t n, enum budget_class class);
/* n bytes more, reserved by another thread for the request's peer, are the request's from here. */
void request_take_over(struct request *request, size_t n);
/* Transport, as it sends an answer with a body of n bytes: what is reserved for it is the connection's from here (conn_charge). */
size_t request_hand_over(struct request *request, size_t n);

/* The body is complete (or refused by the transport, see dispatch_refuse). Takes the request until it answers through its transport. */
void dispatch_request(struct request *request);

/* ---- For the operations: each ends the exchange (falls away when detached) ---- */
void request_ok(struct request *request, struct buf *body);                    /* 200; body empty: Content-Length 0 */
void request_fail(struct request *request, enum status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void request_fail_bare(struct request *request, enum status status);           /* {"__type": ...} without message */
/* 503 without a body: there is no memory for an answer. If there is none for that either, the exchange is reset. */
void request_refuse(struct request *request);
void request_answer(struct request *request, int http_status, const char *content_type, struct buf *body);

#endif
