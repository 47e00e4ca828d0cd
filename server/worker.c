/* worker.c: one event loop and the order of its turn.
 *
 * Invariants: everything of a worker is touched on its own thread alone; the mailbox and the counter of connections are the exceptions.
 * Whatever a turn posts to lanes leaves before the turn's bytes do: a subscription's leave reaches its lane before its client can see
 * END_STREAM and ask again. Mail runs before sockets, so that a snapshot is seen before a request that was sent after it.
 *
 *   - mail (priority 0), sockets and timers (1): they append to output queues and mark connections dirty
 *   - some new connections, and some of the input that had to wait (share.c), as long as no mail has come
 *   - one slice of one chore (a large page is made in slices)
 *   - dead connections are reaped: their requests detach, which posts leaves
 *   - dirty connections are filled: subscriptions and answers are pulled
 *   - the hub's timer is set, the outbox flushed
 *   - dirty connections are written, once each; what can go on at once is taken up by the next turn, which then does not wait
 *
 * Stop: every connection finishes what it has; after 5 s the rest is reset; the loop ends when no worker has a connection or a request
 * (or after one more second, should a lane never answer; workers_fini runs what comes later). */
#include "server/worker.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "server/auth.h"
#include "server/conn.h"
#include "server/fault.h"
#include "server/request.h"
#include "server/share.h"

#define STOP_NS (5 * SECOND_NS)
#define STOP_GRACE_NS SECOND_NS

uint64_t worker_now_ns(const struct worker *worker) { return io_mono_ns(worker->server->io); }

/* ---- Mail ---- */

static void on_mail(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	(void)fd, (void)what;
	mailbox_run_here(&worker->box); /* the event is edge-triggered: each wake-up is one, and there is nothing to read away */
}

struct new_keys {
	struct mail mail;
	struct worker *worker;
	struct keys *keys;
};

static void on_keys(struct mail *mail)
{
	struct new_keys *new_keys = container_of(mail, struct new_keys, mail);
	auth_set_keys(new_keys->worker->auth, new_keys->keys);
	free(new_keys);
}

void worker_set_keys(struct worker *worker, struct keys *keys)
{
	struct new_keys *new_keys = xmalloc(sizeof(*new_keys));
	*new_keys = (struct new_keys){.mail.run = on_keys, .worker = worker, .keys = keys};
	mailbox_post(&worker->box, &new_keys->mail);
}

void worker_on_snapshot(void *arg, struct catalogue *snapshot)
{
	struct worker *worker = arg;
	struct catalogue *old = worker->catalogue;
	worker->catalogue = snapshot;
	hub_set_catalogue(worker->hub, snapshot, worker->server->region, worker->server->account);
	if (old)
		catalogue_unref(old);
}

/* ---- Timers ---- */

static void on_hub_timer(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	(void)fd, (void)what;
	worker->hub_armed_ns = UINT64_MAX;
	hub_tick(worker->hub, worker_now_ns(worker));
}

static void arm_hub_timer(struct worker *worker)
{
	uint64_t deadline_ns = hub_deadline(worker->hub);
	if (deadline_ns == worker->hub_armed_ns)
		return;
	worker->hub_armed_ns = deadline_ns;
	if (deadline_ns == UINT64_MAX) {
		event_del(worker->hub_timer);
		return;
	}
	uint64_t now_ns = worker_now_ns(worker), us = deadline_ns > now_ns ? (deadline_ns - now_ns + 999) / 1000 : 0;
	struct timeval wait = {.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
	event_add(worker->hub_timer, &wait);
}

/* ---- A turn ---- */

static void reap(struct worker *worker)
{
	LIST_EACH (node, &worker->dirty) {
		struct conn *conn = container_of(node, struct conn, dirty_link);
		if (conn->dead)
			conn_free(conn);
	}
	request_bury(worker);
}

/* Fills every dirty connection once; returns them in `filled`. One that is dirty again afterwards wants the next turn. */
static void fill(struct worker *worker, struct list *filled)
{
	struct list *node;
	while ((node = list_pop(&worker->dirty))) {
		list_append(filled, node);
		conn_fill(container_of(node, struct conn, dirty_link));
	}
}

/* taken_ns: when the records that were pulled became known here, 0: none were. They went to the connections with subscriptions. */
static void flush(struct worker *worker, struct list *filled, uint64_t taken_ns)
{
	struct list *node;
	while ((node = list_pop(filled))) {
		struct conn *conn = container_of(node, struct conn, dirty_link);
		conn_flush(conn);
		if (taken_ns && conn->protocol && conn->protocol->streaming(conn)) {
			metric_observe(METRIC_TIME_write, worker_now_ns(worker) - taken_ns);
			taken_ns = 0;
		}
		if (conn->want_fill || conn->dead)
			conn_dirty(conn);
	}
}

static void end_turn(struct worker *worker)
{
	struct list filled;
	list_init(&filled);
	reap(worker);
	fill(worker, &filled);
	request_bury(worker);
	uint64_t taken_ns = hub_taken_ns(worker->hub);
	arm_hub_timer(worker);
	outbox_flush_here(&worker->outbox);
	flush(worker, &filled, taken_ns);
	reap(worker); /* what failed in writing leaves its lane in this turn too */
	outbox_flush(&worker->outbox);
}

static void on_wake(struct mail *mail) { (void)mail; }

/* No request can come any more. The last idle worker ends the loops of those that waited for it. */
static void become_idle(struct worker *worker)
{
	struct server *server = worker->server;
	worker->idle = true;
	if (atomic_fetch_sub(&server->busy, 1) != 1)
		return;
	for (unsigned i = 0; i < server->n_workers; i++)
		if (&server->workers[i] != worker)
			mailbox_post(&server->workers[i].box, &server->workers[i].wake);
}

/* Requests of other workers may visit this one (pages of /state do) until all workers are idle. */
static bool finished(struct worker *worker)
{
	if (!worker->stopping || !list_empty(&worker->conns))
		return false;
	if (worker->requests == 0 && !worker->idle)
		become_idle(worker);
	return atomic_load(&worker->server->busy) == 0 || worker_now_ns(worker) > worker->stop_at_ns + STOP_GRACE_NS;
}

void worker_later(struct worker *worker, struct chore *chore) { list_append(&worker->chores, &chore->link); }

static bool do_chore(struct worker *worker)
{
	struct list *node = list_pop(&worker->chores);
	if (!node)
		return false;
	struct chore *chore = container_of(node, struct chore, link);
	chore->run(chore);
	return true;
}

bool worker_turn(struct worker *worker, bool block)
{
	bool more = !list_empty(&worker->dirty) || share_pending(worker) || !list_empty(&worker->chores);
	int flags = EVLOOP_ONCE | (more || !block ? EVLOOP_NONBLOCK : 0);
	event_base_loop(worker->base, flags);
	share_serve(worker);
	do_chore(worker);
	end_turn(worker);
	if (share_pending(worker) || !list_empty(&worker->chores))
		sched_yield(); /* a syncer that is woken on our processor waits for a turn, not for the kernel's tick */
	return !finished(worker);
}

static void *run(void *arg)
{
	struct worker *worker = arg;
	while (worker_turn(worker, true))
		;
	return NULL;
}

/* ---- Stop ---- */

struct stop_order {
	struct mail mail;
	struct worker *worker;
};

static void on_stop(struct mail *mail)
{
	struct stop_order *order = container_of(mail, struct stop_order, mail);
	struct worker *worker = order->worker;
	free(order);
	if (worker->stopping)
		return;
	worker->stopping = true;
	worker->stop_at_ns = worker_now_ns(worker) + STOP_NS;
	share_stop(worker);
	fault_stop(worker);
	LIST_EACH (node, &worker->conns)
		conn_stop(container_of(node, struct conn, link));
}

void worker_stop(struct worker *worker)
{
	struct stop_order *order = xmalloc(sizeof(*order));
	*order = (struct stop_order){.mail.run = on_stop, .worker = worker};
	mailbox_post(&worker->box, &order->mail);
}

void worker_join(struct worker *worker) { pthread_join(worker->thread, NULL); }

/* ---- Life ---- */

static struct event_base *new_base(void)
{
	struct event_config *config = event_config_new();
	if (!config)
		return NULL;
	event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER); /* budgets and heartbeats fall due within a millisecond */
	struct event_base *base = event_base_new_with_config(config);
	event_config_free(config);
	if (base)
		event_base_priority_init(base, 2);
	return base;
}

static struct event *new_event(struct worker *worker, int fd, short what, event_callback_fn fn, int priority)
{
	struct event *event = event_new(worker->base, fd, what, fn, worker);
	if (event)
		event_priority_set(event, priority);
	return event;
}

static struct hub *new_hub(struct worker *worker)
{
	const struct options *options = worker->server->options;
	struct hub_config config = {
		.io = worker->server->io,
		.store = worker->server->store,
		.box = &worker->box,
		.outbox = &worker->outbox,
		.limits = options->limits,
		.profile = worker->server->profile,
		.worker = worker->number,
		.heartbeat_ns = options->heartbeat_ms * 1000000,
		.life_ns = options->subscription_s * SECOND_NS,
	};
	return hub_new(&config);
}

int worker_init(struct worker *worker, struct server *server, unsigned number)
{
	memset(worker, 0, sizeof(*worker));
	worker->server = server;
	worker->number = number;
	worker->wake.run = on_wake;
	worker->hub_armed_ns = UINT64_MAX;
	list_init(&worker->conns);
	fault_begin(worker);
	list_init(&worker->dirty);
	list_init(&worker->chores);
	outbox_init(&worker->outbox);
	int rc = mailbox_init(&worker->box, true);
	if (rc < 0)
		return rc;
	worker->staging = xmalloc(WORKER_STAGING);
	worker->md5 = EVP_MD_fetch(NULL, "MD5", NULL); /* once: a fetch per digest costs more than the digest */
	worker->md5_ctx = EVP_MD_CTX_new();
	if (server->keys)
		worker->auth = auth_new(keys_ref(server->keys));
	worker->base = new_base();
	assert(worker->md5 && worker->md5_ctx && worker->base); /* small memory; see bytes.h */
	worker->mail_event = new_event(worker, worker->box.fd, EV_READ | EV_PERSIST | EV_ET, on_mail, 0);
	worker->hub_timer = new_event(worker, -1, 0, on_hub_timer, 1);
	assert(worker->mail_event && worker->hub_timer);
	event_add(worker->mail_event, NULL);
	share_init(worker);
	worker->hub = new_hub(worker);
	atomic_fetch_add(&server->busy, 1);
	return 0;
}

int worker_run(struct worker *worker)
{
	char name[16];
	sigset_t all, old;
	sigfillset(&all); /* signals are the main thread's */
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int rc = pthread_create(&worker->thread, NULL, run, worker);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc != 0)
		return -rc;
	snprintf(name, sizeof(name), "worker-%u", worker->number);
	pthread_setname_np(worker->thread, name);
	return 0;
}

int worker_start(struct worker *worker, struct server *server, unsigned number)
{
	int rc = worker_init(worker, server, number);
	return rc < 0 ? rc : worker_run(worker);
}

/* The store has stopped: what was still mailed to the worker is run here, on the caller's thread, and
 * frees what it was about. True: something ran. */
static bool drain(struct worker *worker)
{
	bool ran = false;
	while (mailbox_pending(&worker->box) || !list_empty(&worker->chores)) {
		mailbox_run(&worker->box);
		do_chore(worker);
		outbox_flush(&worker->outbox); /* to other workers; leaves of joins that came too late: store_free takes them */
		ran = true;
	}
	outbox_flush(&worker->outbox);
	request_bury(worker);
	return ran;
}

void workers_fini(struct worker *workers, unsigned n)
{
	bool ran;
	do {
		ran = false;
		for (unsigned i = 0; i < n; i++)
			ran = drain(&workers[i]) || ran;
	} while (ran);
	for (unsigned i = 0; i < n; i++)
		worker_fini(&workers[i]);
}

void worker_fini(struct worker *worker)
{
	drain(worker);
	if (!worker->idle)
		atomic_fetch_sub(&worker->server->busy, 1);
	if (worker->requests)
		slog(SLOG_WARN, "requests_unanswered", "worker=%u count=%zu", worker->number, worker->requests);
	hub_free(worker->hub);
	event_free(worker->mail_event);
	event_free(worker->hub_timer);
	share_fini(worker);
	event_base_free(worker->base);
	if (worker->catalogue)
		catalogue_unref(worker->catalogue);
	auth_free(worker->auth);
	fault_fini(worker);
	EVP_MD_CTX_free(worker->md5_ctx);
	EVP_MD_free(worker->md5);
	free(worker->staging);
	buf_free(&worker->sealed_spare);
	mailbox_fini(&worker->box);
}
