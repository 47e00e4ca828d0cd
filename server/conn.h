/* conn.h: one connection: a socket, perhaps TLS, an output queue, and the protocol that its first bytes chose. Private to the transport.
 *
 *   NEW        nothing was read                 the first byte decides: 0x16 is TLS
 *   HANDSHAKE  TLS is being agreed on           ALPN decides, else the first plaintext bytes
 *   DETECT     part of HTTP/2's preface is here the next bytes decide: preface, or HTTP/1.1
 *   OPEN       `protocol` serves it
 *   LINGER     the last answer was written; what the client still sends is read and dropped, so that a reset does not take the answer
 *              away before it is read
 *
 * A dead connection keeps its memory until the worker reaps it in the same turn, so callbacks on the way may still look at it.
 * Thread: the worker that owns it. */
#ifndef PENSTOCK_CONN_H
#define PENSTOCK_CONN_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/list.h"
#include "server/outq.h"
#include "server/worker.h"

struct conn;

enum conn_phase { CONN_NEW, CONN_HANDSHAKE, CONN_DETECT, CONN_OPEN, CONN_LINGER };

/* HTTP/1.1 or HTTP/2 over a connection. */
struct protocol {
	void (*begin)(struct conn *conn);                 /* makes the session */
	size_t (*input)(struct conn *conn, const uint8_t *p, size_t n); /* how much was used; the rest is kept in `held` */
	void (*kept)(struct conn *conn);                  /* after that: is it read on, and does it wait for its turn? */
	bool (*eof)(struct conn *conn);                   /* the peer sends no more; true: it still gets what is in work */
	void (*fill)(struct conn *conn);                  /* once per turn while dirty: pull into the outq until OUTQ_HIGH */
	bool (*busy)(const struct conn *conn);            /* a request or subscription is there: not idle */
	bool (*streaming)(const struct conn *conn);       /* a subscription is there: not stalled */
	void (*sweep)(struct conn *conn, uint64_t now_ns); /* once per second: its own deadlines */
	void (*stop)(struct conn *conn);                  /* the server stops: finish what is there, take nothing new */
	void (*abort)(struct conn *conn);                 /* time is up: queue the last words */
	void (*free)(struct conn *conn);                  /* detaches every request; also for a session that never began */
};

extern const struct protocol h1_protocol, h2_protocol;

#define SECOND_NS UINT64_C(1000000000)
#define LEAST_RATE 1024u          /* bytes a second that bodies come at, and answers are taken at */
#define LEAST_RATE_HURRIED (64u << 10)
#define STALL_NS (30 * SECOND_NS) /* an answer may be so far behind it, and so may a socket's output */
#define BODY_NS (30 * SECOND_NS)  /* so may a body */
#define CROWDED_NS SECOND_NS      /* ... and no further, if half of the budget, or of its group's part, is taken */
#define SLOW_NS (2 * SECOND_NS)         /* whoever keeps us waiting for so long is slow; when too many are, */
#define HURRY_NS (5 * SECOND_NS / 2)    /* this is the longest that anybody may */
#define CLOSING_NS (5 * SECOND_NS) /* a subscription that is over has this long, without a byte taken, for its last words */
#define HEAD_NS (10 * SECOND_NS)
#define PREFACE_NS (5 * SECOND_NS)

struct conn {
	struct worker *worker;
	struct list link;        /* the worker's conns */
	struct list dirty_link;  /* the worker's dirty; on no list when there is nothing to do */
	struct list wait_link;   /* the worker's waiting; on no list when there is no input, or it has to wait for something else */
	int fd;
	struct peer *peer;       /* whose connection it is; NULL: not counted */
	enum conn_phase phase;
	const struct protocol *protocol;
	void *session;           /* struct h1 or struct h2 */
	struct event read_event, write_event;
	bool reading;            /* the read event is set; false: a request is in work, or memory is short */
	struct outq outq;
	struct buf held;         /* read, and not yet taken by a protocol */
	size_t held_at;          /* so much of it was taken */

	bool dead;
	bool want_fill;          /* something may be pulled */
	bool above;              /* pulling stopped at OUTQ_HIGH; goes on below OUTQ_LOW */
	bool blocked, writable;  /* the socket is full and the write event is set; it has fired */
	bool queues;             /* its last input took more than its share, or nothing was served yet: read only when its turn has come */
	bool read_again;         /* reading stopped early; TLS may hold bytes that the socket does not show */
	size_t charged;          /* bytes of answers that this connection holds of the budget (answers.h) */
	uint64_t large_ns;       /* when the first of them that is large was charged; 0: none is */
	bool prompt;             /* the last large answer was taken without delay: the next may use more of the budget */
	size_t answers;          /* bytes of answers that the protocol still has, and not the outq */
	bool closing;            /* close when all is written */
	bool linger;             /* ... and drop what still comes for a while */
	bool cut;                /* for abuse: no more patience */
	size_t lingered;         /* bytes dropped while it lingers */

	SSL *tls;
	struct buf sealed;       /* TLS records on their way to the socket */
	size_t sealed_at;

	uint64_t since_ns;       /* when this phase began */
	uint64_t active_ns;      /* when a request last began or ended */
	uint64_t progress_ns;    /* when the socket last took something while blocked, or became so */
	uint64_t paid_ns;        /* blocked: see conn_paid, of all output */
};

void conn_open(struct worker *worker, int fd); /* takes fd */
void conn_close(struct conn *conn);            /* dead now, reaped in this turn */
void conn_finish(struct conn *conn, bool linger); /* close when the outq is written */
/* The client has passed a bound: counted, and told to the log now and then. What happens to the connection is the caller's to say. */
void conn_cut(struct conn *conn, const char *why);
/* For sweeps: has it kept us waiting too long? The limit is shorter while too many do. */
bool conn_late(struct conn *conn, uint64_t waited_ns, uint64_t limit_ns);
/* The same of an answer that waits for its client: it also depends on how much others hold. */
bool conn_answer_late(struct conn *conn, uint64_t waited_ns, uint64_t limit_ns);
/* A body that comes, or an answer that is taken, is a debt that grows by a second each second and is paid by bytes, at LEAST_RATE:
 * since_ns is when it was last paid in full. Returns it after n more bytes. So "moved a byte" is no progress. */
uint64_t conn_paid(const struct conn *conn, uint64_t since_ns, size_t n, uint64_t now_ns);
/* For sweeps: is it late? Withheld: we do not let it come. Its client is not slow then, but it may not stand there for ever either. */
bool conn_body_late(struct conn *conn, uint64_t since_ns, uint64_t now_ns, bool withheld);
void conn_dirty(struct conn *conn);            /* fill and flush at the end of this turn */
void conn_set_reading(struct conn *conn, bool reading);
void conn_read(struct conn *conn);             /* reads now what is there, and processes it */
void conn_serve(struct conn *conn);            /* its turn has come: goes on with what is held, or reads */
static inline size_t conn_held(const struct conn *conn) { return conn->held.n - conn->held_at; }
bool conn_full(struct conn *conn);             /* at OUTQ_HIGH: pull no more; remembers it */
void conn_charge(struct conn *conn, size_t n);  /* n bytes of the budget are the connection's: an answer begins to leave */
void conn_settle(struct conn *conn);            /* gives back what is no longer held; after bytes have left, or an answer was dropped */
void conn_fill(struct conn *conn);
void conn_flush(struct conn *conn);
void conn_sweep(struct conn *conn, uint64_t now_ns);
void conn_stop(struct conn *conn);
void conn_abort(struct conn *conn);
void conn_free(struct conn *conn);
/* n bytes of the outq (or of sealed records) were accepted by the socket; counts, and notes progress. */
ssize_t conn_send(struct conn *conn, const struct iovec *iov, int count);

/* conn_tls.c. Results: a count; 0 for the end of the stream; -EAGAIN; another -errno to close. */
bool conn_tls_start(struct conn *conn);
ssize_t conn_tls_handshake(struct conn *conn); /* 1: done */
ssize_t conn_tls_recv(struct conn *conn, uint8_t *p, size_t n);
bool conn_tls_is_h2(const struct conn *conn, bool *decided);
int conn_tls_flush(struct conn *conn); /* 0: all is written; -EAGAIN; -errno */
void conn_tls_goodbye(struct conn *conn);
void conn_tls_free(struct conn *conn);

#endif
