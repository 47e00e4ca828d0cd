/* worker.h: one event loop with everything that it owns: connections, TLS staging, requests, subscriptions (its hub), timers.
 *
 * A turn: mail, sockets, timers, posts to lanes (outbox), flush of dirty connections. Posts leave *before* the turn's bytes: a subscription's
 * leave reaches its lane before the client can see END_STREAM and ask again. No blocking call. Mail has a higher priority than
 * sockets, so that a catalogue snapshot is seen before a request that was sent after it. */
#ifndef PENSTOCK_WORKER_H
#define PENSTOCK_WORKER_H

#include <event2/event.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/catalogue.h"
#include "penstock/fanout.h"
#include "penstock/list.h"
#include "penstock/mail.h"
#include "penstock/profile.h"
#include "penstock/store.h"
#include "server/bearer.h"
#include "server/budget.h"
#include "server/log_pace.h"
#include "server/options.h"
#include "server/state_page.h"

/* What all workers share, read-only once they run. */
struct server {
	const struct options *options;
	struct io *io;
	struct store *store;
	struct control *control;
	struct rates *rates;
	const struct profile *profile; /* --profile; NULL: none */
	struct keys *keys;            /* --credentials, as they were at the start; NULL: signatures are not verified */
	struct peers *peers;          /* NULL: addresses are not counted */
	struct budget answers;        /* memory of all answers, any thread (answers.h) */
	SSL_CTX *tls;
	uint8_t iterator_key[32], page_key[32];
	uint64_t started_ns;
	struct worker *workers;
	unsigned n_workers;
	_Atomic unsigned busy; /* workers that are not idle for good: while there is one, the loops of all turn */
	struct bearer metrics_token; /* --metrics-token-file */
	struct state_pace state_pace;
	struct log_pace log_pace; /* of lines that refused requests cause */
	char region[33], account[13];
};

/* Work that is done in slices beside the sockets: a turn runs one slice of one chore. Embedded in what
 * it is about. */
struct chore {
	struct list link;
	void (*run)(struct chore *chore);
};

struct worker {
	/* --- shared, read-only --- */
	struct server *server;
	unsigned number;

	/* --- any thread --- */
	struct mailbox box;
	_Atomic int connections; /* for the acceptor's choice */

	/* --- the worker's thread --- */
	pthread_t thread;
	struct event_base *base;
	struct event *mail_event, *hub_timer, *sweep_timer;
	struct outbox outbox;
	struct hub *hub;
	struct catalogue *catalogue;  /* the present snapshot; one reference */
	struct list conns;            /* struct conn, all */
	struct list dirty;            /* struct conn with bytes to flush at the end of this turn */
	struct list newcomers;        /* accepted, not opened yet */
	struct list chores;           /* struct chore: what is left for later turns */
	struct list waiting;          /* struct conn with input that it could go on with */
	unsigned n_waiting;
	uint64_t quantum_end_ns;      /* until when the present connection may take further requests */
	size_t sweep_left;            /* connections that this round of deadlines has still to look at */
	struct request *ended;        /* freed at the end of this turn */
	uint8_t *staging;             /* WORKER_STAGING bytes: TLS gather, and reads */
	struct buf sealed_spare;      /* for the next connection that seals TLS records (conn_tls.c) */
	size_t requests;              /* that live, also the detached ones */
	size_t streaming;             /* of them: subscriptions that have begun */
	unsigned slow;                /* clients that this sweep found keeping us waiting */
	bool hurried;                 /* too many were, or memory is short: no one may for long */
	uint64_t hurried_until_ns;
	uint64_t cut_said_ns;         /* when the log last told of a client that was cut */
	uint64_t hub_armed_ns;        /* what hub_timer is set to; UINT64_MAX: nothing */
	void *md5, *md5_ctx;          /* EVP_MD fetched once, and a context to reuse */
	struct faults *faults;        /* those that are met on purpose; NULL: none */
	struct list holds;            /* struct fault_hold: what they keep back */
	struct auth *auth;            /* what signatures are verified with; NULL: any well-formed one is accepted */
	bool stopping;
	bool idle;                    /* for good: it stops, and has neither connections nor requests */
	struct mail wake;             /* does nothing: every worker is idle now */
	uint64_t stop_at_ns;
	struct budget_share answers;  /* this worker's part of server->answers */
	size_t body_bytes, answer_bytes; /* in memory */
};

#define WORKER_STAGING (64u << 10)
#define PRESSED_ANSWERS (32 << 20) /* bytes of answers in memory: from here on none may stand still for long */

int worker_start(struct worker *worker, struct server *server, unsigned number);
/* Any thread: a new connection; the worker owns fd from here. */
void worker_adopt(struct worker *worker, int fd);
/* Any thread: from here on these keys are in force. Takes the reference. Only for workers that were started with keys. */
void worker_set_keys(struct worker *worker, struct keys *keys);
/* Any thread: begin to stop (GOAWAY, finish subscriptions, END_STREAM); 5 s later RST_STREAM the rest. worker_join waits. */
void worker_stop(struct worker *worker);
void worker_join(struct worker *worker);
void worker_fini(struct worker *worker); /* after the store has stopped, if there is no other worker */
/* The same for all: workers mail each other, so that none is freed before every one's mail was run. */
void workers_fini(struct worker *workers, unsigned n);
/* The worker's thread: runs the chore in a later turn. */
void worker_later(struct worker *worker, struct chore *chore);
/* A catalogue_reader's on_snapshot, whose arg is the worker; on its thread. Takes the reference. */
void worker_on_snapshot(void *worker, struct catalogue *snapshot);

/* worker_start is worker_init and worker_run: a thread that calls worker_turn until it says false. Tests take turns themselves. */
int worker_init(struct worker *worker, struct server *server, unsigned number);
int worker_run(struct worker *worker);
/* One turn. block: wait for something to happen. False: stopped, and nothing is left. */
bool worker_turn(struct worker *worker, bool block);
uint64_t worker_now_ns(const struct worker *worker);

#endif
