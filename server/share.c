/* share.c: how a worker's turn is shared between its connections.
 *
 * Invariants: no step that many connections can ask for at once is done for all of them in one turn: opening, TLS handshakes, input,
 * deadlines. A connection is on `waiting` exactly while it has input that it could go on with; it is not read meanwhile, so what it
 * may keep here is one read's rest. Thread: the worker's.
 *
 *   - input is processed for a quantum, at least one request; what was read beyond waits in `held`, and the connection in the queue
 *   - who needed more than his quantum, and who has not been served yet (handshakes are strangers'), is not even read until his turn in the
 *     queue has come (conn->queues); others pass him: what they ask for is little
 *   - the queue is served for SERVE_NS a turn, one quantum each, and less when mail has come, but one is always served
 *   - the more wait, the shorter the quantum: a good client with one small request waits for one request of each of the others at most,
 *     and alone on its worker a connection is served without a break
 *   - the sweep of deadlines goes round: SWEEP_NS or CLOSED_PER_SWEEP at a time, so that thousands that fall due together hold up nobody
 *
 * Failures: none; who asks for more than his share waits, and when he does not read his answers either, a deadline ends him. */
#include "server/share.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "penstock/metrics.h"
#include "server/answers.h"
#include "server/conn.h"
#include "server/request.h"

#define QUANTUM_NS 100000 /* some five requests */
#define SERVE_NS 100000   /* a put takes two or three turns to its subscriber */
#define OPENED_PER_TURN 4 /* about 10 us each */
#define WAITING_MANY 16
#define SWEEP_NS 100000
#define CLOSED_PER_SWEEP 8 /* 10 us each, over TLS 30 */
#define SWEEP_MS 1000
#define SWEEP_HURRIED_MS 100
#define SWEEP_GO_ON_MS 1
#define HURRIED_NS (5 * SECOND_NS) /* twice what it takes to be cut then */
#define SLOW_MAX 32                /* clients that are slow at once: more than chance would have */
#define PRESSED_BODIES (BODIES_MAX / 4)

/* ---- New connections ---- */

struct adoption {
	struct mail mail;
	struct list link;
	struct worker *worker;
	int fd;
};

static void refuse(struct adoption *adoption)
{
	close(adoption->fd);
	atomic_fetch_sub_explicit(&adoption->worker->connections, 1, memory_order_relaxed);
	metric_add(METRIC_connections, -1);
	free(adoption);
}

static void on_adopt(struct mail *mail)
{
	struct adoption *adoption = container_of(mail, struct adoption, mail);
	if (adoption->worker->stopping)
		refuse(adoption);
	else
		list_append(&adoption->worker->newcomers, &adoption->link);
}

void worker_adopt(struct worker *worker, int fd)
{
	struct adoption *adoption = xmalloc(sizeof(*adoption));
	*adoption = (struct adoption){.mail.run = on_adopt, .worker = worker, .fd = fd};
	atomic_fetch_add_explicit(&worker->connections, 1, memory_order_relaxed);
	metric_add(METRIC_connections, 1);
	mailbox_post(&worker->box, &adoption->mail);
}

/* Who is not opened yet has no deadline: while many wait, theirs would pass before they are served. */
static void open_some(struct worker *worker)
{
	struct list *node;
	unsigned some = worker->n_waiting > WAITING_MANY ? 1 : OPENED_PER_TURN;
	for (unsigned i = 0; i < some && (node = list_pop(&worker->newcomers)); i++) {
		struct adoption *adoption = container_of(node, struct adoption, link);
		conn_open(worker, adoption->fd);
		free(adoption);
	}
}

/* ---- Input ---- */

void share_begin(struct worker *worker) { worker->quantum_end_ns = worker_now_ns(worker) + QUANTUM_NS / (1 + worker->n_waiting); }

bool share_more(const struct worker *worker) { return worker_now_ns(worker) < worker->quantum_end_ns; }

void share_wait(struct conn *conn)
{
	struct worker *worker = conn->worker;
	if (!list_empty(&conn->wait_link))
		return;
	worker->n_waiting++;
	list_append(&worker->waiting, &conn->wait_link);
}

void share_leave(struct conn *conn)
{
	if (list_empty(&conn->wait_link))
		return;
	conn->worker->n_waiting--;
	list_remove(&conn->wait_link);
}

static void serve_some(struct worker *worker)
{
	if (list_empty(&worker->waiting))
		return;
	uint64_t end_ns = worker_now_ns(worker) + SERVE_NS;
	do {
		struct conn *conn = container_of(worker->waiting.next, struct conn, wait_link);
		share_leave(conn);
		conn_serve(conn);
	} while (!list_empty(&worker->waiting) && worker_now_ns(worker) < end_ns && !mailbox_pending(&worker->box));
}

void share_serve(struct worker *worker)
{
	open_some(worker);
	serve_some(worker);
}

bool share_pending(const struct worker *worker) { return !list_empty(&worker->newcomers) || !list_empty(&worker->waiting); }

/* ---- Deadlines ---- */

static void sweep_in(struct worker *worker, int ms)
{
	struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	event_add(worker->sweep_timer, &wait);
}

/* Many slow clients at once, or much memory in bodies or answers: deadlines are short until that is over, and a while longer, for those
 * that came last. Whoever gets on with what he does is not late by them. */
static bool is_pressed(const struct worker *worker)
{
	return worker->slow > SLOW_MAX || metric_get(METRIC_body_bytes) > PRESSED_BODIES ||
	       budget_taken(&worker->server->answers) > PRESSED_ANSWERS;
}

static void begin_round(struct worker *worker, uint64_t now_ns)
{
	size_t n = 0;
	LIST_EACH (node, &worker->conns)
		n++;
	worker->sweep_left = n;
	if (is_pressed(worker))
		worker->hurried_until_ns = now_ns + HURRIED_NS;
	worker->hurried = now_ns < worker->hurried_until_ns;
	worker->slow = 0;
}

/* Returns whether it is dead now. */
static bool sweep_one(struct worker *worker, uint64_t now_ns)
{
	struct conn *conn = container_of(worker->conns.next, struct conn, link);
	list_remove(&conn->link);
	list_append(&worker->conns, &conn->link);
	if (worker->stopping && now_ns >= worker->stop_at_ns)
		conn_abort(conn);
	else
		conn_sweep(conn, now_ns);
	return conn->dead;
}

/* Deadlines of seconds need no heap: each connection is looked at once a second (10,000 idle ones: well under a millisecond). */
static void on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct worker *worker = arg;
	uint64_t now_ns = worker_now_ns(worker);
	(void)fd, (void)what;
	if (worker->sweep_left == 0)
		begin_round(worker, now_ns);
	for (unsigned closed = 0; worker->sweep_left && closed < CLOSED_PER_SWEEP && worker_now_ns(worker) - now_ns < SWEEP_NS;
	     worker->sweep_left--)
		closed += !list_empty(&worker->conns) && sweep_one(worker, now_ns);
	if (worker->sweep_left)
		sweep_in(worker, SWEEP_GO_ON_MS);
	else
		sweep_in(worker, worker->stopping || worker->hurried || is_pressed(worker) ? SWEEP_HURRIED_MS : SWEEP_MS);
}

/* ---- Life ---- */

void share_init(struct worker *worker)
{
	list_init(&worker->newcomers);
	list_init(&worker->waiting);
	worker->sweep_timer = event_new(worker->base, -1, 0, on_sweep, worker);
	assert(worker->sweep_timer);
	event_priority_set(worker->sweep_timer, 1);
	sweep_in(worker, SWEEP_MS);
}

void share_stop(struct worker *worker)
{
	struct list *node;
	while ((node = list_pop(&worker->newcomers)))
		refuse(container_of(node, struct adoption, link));
	worker->sweep_left = 0;
	sweep_in(worker, 0);
}

void share_fini(struct worker *worker) { event_free(worker->sweep_timer); }
