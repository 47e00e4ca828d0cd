/* conn.c: a connection from accept to close: which protocol it speaks, when it is read, how its output leaves.
 *
 * Invariants: a connection with something to do is on its worker's dirty list, and nothing is written anywhere but in conn_flush at the
 * end of a turn: one write per connection and turn. The write event is set exactly while `blocked`. Thread: its worker.
 *
 *   - conn_open: read event; the first byte chooses TLS, the first plaintext bytes the protocol
 *   - conn_read: into the worker's staging buffer, to the protocol, which appends to the outq and marks the connection dirty
 *   - conn_fill: the protocol pulls answers and subscriptions up to OUTQ_HIGH
 *   - conn_flush: writev of references, or TLS; what the socket does not take waits for the write event
 *   - below OUTQ_LOW the protocol pulls again
 *
 * Failures: any socket or TLS error closes; conn_sweep closes what hangs: no handshake or preface in time, nothing asked for
 * idle_s, output taken 30 s behind 1 KiB/s while no subscription lives. Of one that was cut for abuse little is read any more, and its
 * last words wait 2 s for the socket. */
#include "server/conn.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "server/answers.h"
#include "server/peers.h"
#include "server/share.h"

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
#define PREFACE_LEN (sizeof(preface) - 1)

#define HANDSHAKE_NS (10 * SECOND_NS)
#define LINGER_NS (2 * SECOND_NS)
#define LINGER_CUT (256u << 10) /* bytes that are dropped so that one who was cut may read why */
#define CUT_SAID_NS SECOND_NS   /* one line a second and worker tells of an attack as well as a thousand */
#define IOV_MAX_OURS 256

static void on_readable(evutil_socket_t fd, short what, void *arg);
static void on_writable(evutil_socket_t fd, short what, void *arg);
static void release(struct conn *conn, size_t n);

static void set_phase(struct conn *conn, enum conn_phase phase)
{
	conn->phase = phase;
	conn->since_ns = conn->active_ns = worker_now_ns(conn->worker);
}

void conn_open(struct worker *worker, int fd)
{
	struct conn *conn = xcalloc(1, sizeof(*conn));
	conn->worker = worker;
	conn->fd = fd;
	list_init(&conn->dirty_link);
	list_init(&conn->wait_link);
	list_append(&worker->conns, &conn->link);
	outq_init(&conn->outq);
	conn->queues = true;
	evutil_make_socket_nonblocking(fd);
	event_assign(&conn->write_event, worker->base, fd, EV_WRITE | EV_PERSIST, on_writable, conn);
	event_priority_set(&conn->write_event, 1);
	event_assign(&conn->read_event, worker->base, fd, EV_READ | EV_PERSIST, on_readable, conn);
	event_priority_set(&conn->read_event, 1);
	set_phase(conn, CONN_NEW);
	if (peers_enter(worker->server->peers, fd, &conn->peer)) {
		conn_set_reading(conn, true);
		return;
	}
	metric_add(METRIC_connections_refused, 1);
	conn_cut(conn, "connections of one address");
	conn_close(conn);
}

/* The socket is full and its client reads nothing: a reset, or the kernel would keep what is in it for minutes. */
static void set_reset(struct conn *conn)
{
	struct linger now = {.l_onoff = 1};
	(void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void conn_free(struct conn *conn)
{
	if (conn->blocked)
		set_reset(conn);
	if (conn->protocol)
		conn->protocol->free(conn);
	if (conn->reading)
		event_del(&conn->read_event);
	if (conn->blocked)
		event_del(&conn->write_event);
	list_remove(&conn->link);
	list_remove(&conn->dirty_link);
	share_leave(conn);
	if (conn->tls)
		conn_tls_free(conn);
	outq_fini(&conn->outq);
	release(conn, conn->charged);
	buf_free(&conn->held);
	buf_free(&conn->sealed);
	close(conn->fd);
	peers_leave(conn->worker->server->peers, conn->peer);
	atomic_fetch_sub_explicit(&conn->worker->connections, 1, memory_order_relaxed);
	metric_add(METRIC_connections, -1);
	free(conn);
}

void conn_dirty(struct conn *conn)
{
	conn->want_fill = true;
	if (list_empty(&conn->dirty_link))
		list_append(&conn->worker->dirty, &conn->dirty_link);
}

void conn_close(struct conn *conn)
{
	conn->dead = true;
	conn_set_reading(conn, false);
	conn_dirty(conn);
}

void conn_cut(struct conn *conn, const char *why)
{
	struct worker *worker = conn->worker;
	uint64_t now_ns = worker_now_ns(worker);
	conn->cut = true;
	metric_add(METRIC_clients_cut, 1);
	if (worker->cut_said_ns && now_ns - worker->cut_said_ns < CUT_SAID_NS)
		return;
	worker->cut_said_ns = now_ns;
	slog(SLOG_WARN, "client_cut", "why=\"%s\" all=%lld", why, (long long)metric_get(METRIC_clients_cut));
}

bool conn_late(struct conn *conn, uint64_t waited_ns, uint64_t limit_ns)
{
	struct worker *worker = conn->worker;
	if (waited_ns <= SLOW_NS)
		return false;
	worker->slow++;
	return waited_ns > (worker->hurried && HURRY_NS < limit_ns ? HURRY_NS : limit_ns);
}

bool conn_answer_late(struct conn *conn, uint64_t waited_ns, uint64_t limit_ns)
{
	if (waited_ns <= CROWDED_NS)
		return false;
	conn->prompt = false;
	if (budget_is_crowded(&conn->worker->server->answers) || peers_crowded(conn->peer))
		return true;
	return conn_late(conn, waited_ns, limit_ns);
}

uint64_t conn_paid(const struct conn *conn, uint64_t since_ns, size_t n, uint64_t now_ns)
{
	uint64_t paid_ns = n * SECOND_NS / (conn->worker->hurried ? LEAST_RATE_HURRIED : LEAST_RATE);
	if (since_ns >= now_ns)
		return since_ns;
	return now_ns - since_ns > paid_ns ? since_ns + paid_ns : now_ns;
}

bool conn_body_late(struct conn *conn, uint64_t since_ns, uint64_t now_ns, bool withheld)
{
	return withheld ? now_ns - since_ns > BODY_NS : conn_late(conn, now_ns - since_ns, BODY_NS);
}

void conn_finish(struct conn *conn, bool linger)
{
	conn->closing = true;
	conn->linger = conn->linger || linger;
	conn_dirty(conn);
}

void conn_set_reading(struct conn *conn, bool reading)
{
	if (conn->reading == reading)
		return;
	conn->reading = reading;
	if (!reading) {
		event_del(&conn->read_event);
		return;
	}
	event_add(&conn->read_event, NULL);
	if (conn->read_again)
		conn_dirty(conn);
}

/* ---- Input ---- */

static void drop_held(struct conn *conn)
{
	buf_free(&conn->held);
	conn->held_at = 0;
}

static bool is_over(const struct conn *conn) { return conn->dead || conn->closing; }

static void after_input(struct conn *conn)
{
	conn->queues = conn_held(conn) > 0;
	conn->protocol->kept(conn);
}

/* What was just read. Behind what is held it has to wait as well. */
static void take_input(struct conn *conn, const uint8_t *p, size_t n)
{
	size_t used = 0;
	if (!conn_held(conn))
		used = conn->protocol->input(conn, p, n);
	if (is_over(conn))
		return;
	buf_put(&conn->held, p + used, n - used);
	after_input(conn);
}

void conn_serve(struct conn *conn)
{
	if (!conn_held(conn) || conn->phase != CONN_OPEN) {
		conn_set_reading(conn, !conn->dead);
		conn_read(conn);
		return;
	}
	share_begin(conn->worker);
	if (!is_over(conn))
		conn->held_at += conn->protocol->input(conn, conn->held.p + conn->held_at, conn_held(conn));
	if (!conn_held(conn) || is_over(conn))
		drop_held(conn);
	if (!is_over(conn))
		after_input(conn);
}

/* ---- Which protocol ---- */

static void open_protocol(struct conn *conn, const struct protocol *protocol)
{
	conn->protocol = protocol;
	set_phase(conn, CONN_OPEN);
	struct buf held = conn->held;
	conn->held = (struct buf){0};
	protocol->begin(conn);
	if (held.n && !is_over(conn))
		take_input(conn, held.p, held.n);
	buf_free(&held);
}

/* The preface, whole, is HTTP/2; the beginning of it waits for more; anything else is HTTP/1.1. */
static void detect(struct conn *conn, const uint8_t *p, size_t n)
{
	buf_put(&conn->held, p, n);
	size_t part = conn->held.n < PREFACE_LEN ? conn->held.n : PREFACE_LEN;
	if (memcmp(conn->held.p, preface, part) != 0) {
		open_protocol(conn, &h1_protocol);
	} else if (part == PREFACE_LEN) {
		open_protocol(conn, &h2_protocol);
	} else if (conn->phase != CONN_DETECT) {
		set_phase(conn, CONN_DETECT);
	}
}

static void input(struct conn *conn, const uint8_t *p, size_t n)
{
	if (conn->phase == CONN_OPEN)
		take_input(conn, p, n);
	else if (conn->phase != CONN_LINGER)
		detect(conn, p, n);
	else if ((conn->lingered += n) > LINGER_CUT && conn->cut)
		conn_close(conn);
}

/* ---- Reading ---- */

/* The first byte is only looked at, so that TLS reads its hello from the socket itself. False: nothing more to do now. */
static bool choose_tls(struct conn *conn)
{
	uint8_t first;
	ssize_t n = recv(conn->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n <= 0 || (first == 0x16 && !conn_tls_start(conn))) {
		conn_close(conn);
		return false;
	}
	if (conn->tls)
		set_phase(conn, CONN_HANDSHAKE);
	return true;
}

static bool handshake(struct conn *conn)
{
	ssize_t rc = conn_tls_handshake(conn);
	conn_dirty(conn); /* its records leave at the end of the turn */
	if (rc == -EAGAIN)
		return false;
	if (rc < 0) {
		conn_finish(conn, false); /* with the alert */
		conn_set_reading(conn, false);
		return false;
	}
	bool decided, is_h2 = conn_tls_is_h2(conn, &decided);
	if (decided)
		open_protocol(conn, is_h2 ? &h2_protocol : &h1_protocol);
	else
		set_phase(conn, CONN_DETECT);
	return true;
}

static ssize_t receive(struct conn *conn, uint8_t *p, size_t n)
{
	if (conn->tls)
		return conn_tls_recv(conn, p, n);
	ssize_t got = recv(conn->fd, p, n, MSG_DONTWAIT);
	return got >= 0 ? got : errno == EINTR ? -EAGAIN : -errno;
}

/* One read. False: nothing more is there, or wanted. */
static bool read_once(struct conn *conn)
{
	if (conn->phase == CONN_NEW && !choose_tls(conn))
		return false;
	if (conn->phase == CONN_HANDSHAKE)
		return handshake(conn);
	ssize_t n = receive(conn, conn->worker->staging, WORKER_STAGING);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		if (n < 0 || conn->phase != CONN_OPEN || !conn->protocol->eof(conn))
			conn_close(conn);
		return false;
	}
	input(conn, conn->worker->staging, (size_t)n);
	return conn->tls || n == WORKER_STAGING; /* a short read has emptied the socket */
}

void conn_read(struct conn *conn)
{
	bool more = true;
	share_begin(conn->worker);
	while (more && conn->reading && !conn->dead) {
		more = read_once(conn);
		if (more && !share_more(conn->worker)) {
			conn->queues = true;
			break;
		}
	}
	/* TLS may hold what the socket no longer shows; a cleartext socket stays readable by itself. */
	conn->read_again = more && conn->tls;
	if (conn->read_again && conn->reading)
		conn_dirty(conn);
}

static void read_in_turn(struct conn *conn)
{
	if (!conn->queues) {
		conn_read(conn);
		return;
	}
	conn_set_reading(conn, false);
	share_wait(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	read_in_turn(arg);
}

/* ---- Writing ---- */

bool conn_full(struct conn *conn)
{
	if (conn->outq.bytes >= OUTQ_HIGH)
		conn->above = true;
	return conn->above;
}

void conn_charge(struct conn *conn, size_t n)
{
	if (n > BUDGET_LARGE && !conn->large_ns)
		conn->large_ns = worker_now_ns(conn->worker);
	conn->charged += n;
	conn->worker->answer_bytes += n;
	metric_add(METRIC_answer_bytes, (int64_t)n);
}

static void release(struct conn *conn, size_t n)
{
	if (!n)
		return;
	conn->charged -= n;
	conn->worker->answer_bytes -= n;
	metric_add(METRIC_answer_bytes, -(int64_t)n);
	answers_give(conn->worker, conn->peer, n);
}

/* Bytes of subscriptions are in the outq too; a connection that has some counts there what it owns alone. */
void conn_settle(struct conn *conn)
{
	size_t held = conn->answers + conn->outq.heap;
	if (conn->charged > held && !(conn->protocol && conn->protocol->streaming(conn)))
		held += conn->outq.bytes + conn->sealed.n - conn->sealed_at;
	if (conn->charged > held)
		release(conn, conn->charged - held);
	if (conn->large_ns && conn->charged <= BUDGET_LARGE) {
		conn->prompt = worker_now_ns(conn->worker) - conn->large_ns < CROWDED_NS;
		conn->large_ns = 0;
	}
}

void conn_fill(struct conn *conn)
{
	conn->want_fill = false;
	if (conn->dead)
		return;
	if (conn->read_again && conn->reading)
		read_in_turn(conn);
	if (!conn->dead && conn->phase == CONN_OPEN && !conn->closing)
		conn->protocol->fill(conn);
}

ssize_t conn_send(struct conn *conn, const struct iovec *iov, int count)
{
	struct msghdr msg = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)count};
	ssize_t n = sendmsg(conn->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0)
		return errno == EINTR ? -EAGAIN : -errno;
	metric_add(METRIC_socket_writes, 1);
	metric_add(METRIC_socket_bytes, n);
	if (n && conn->blocked) {
		conn->progress_ns = worker_now_ns(conn->worker);
		conn->paid_ns = conn_paid(conn, conn->paid_ns, (size_t)n, conn->progress_ns);
	}
	return n;
}

/* 0: all is written. */
static int flush_clear(struct conn *conn)
{
	struct iovec iov[IOV_MAX_OURS];
	while (conn->outq.bytes) {
		size_t asked = 0;
		int count = outq_peek(&conn->outq, iov, IOV_MAX_OURS);
		for (int i = 0; i < count; i++)
			asked += iov[i].iov_len;
		ssize_t n = conn_send(conn, iov, count);
		if (n < 0)
			return (int)n;
		outq_drop(&conn->outq, (size_t)n);
		if ((size_t)n < asked)
			return -EAGAIN;
	}
	return 0;
}

static void set_blocked(struct conn *conn, bool blocked)
{
	if (conn->blocked == blocked)
		return;
	conn->blocked = blocked;
	if (blocked) {
		conn->progress_ns = conn->paid_ns = worker_now_ns(conn->worker);
		event_add(&conn->write_event, NULL);
	} else {
		event_del(&conn->write_event);
	}
}

static void written_out(struct conn *conn)
{
	if (!conn->closing || conn->phase == CONN_LINGER)
		return;
	if (conn->tls)
		conn_tls_goodbye(conn);
	if (!conn->linger) {
		conn_close(conn);
		return;
	}
	set_phase(conn, CONN_LINGER);
	shutdown(conn->fd, SHUT_WR);
	conn_set_reading(conn, true);
}

void conn_flush(struct conn *conn)
{
	if (conn->dead || (conn->blocked && !conn->writable))
		return;
	conn->writable = false;
	int rc = conn->tls ? conn_tls_flush(conn) : flush_clear(conn);
	if (rc < 0 && rc != -EAGAIN) {
		conn_close(conn);
		return;
	}
	set_blocked(conn, rc == -EAGAIN);
	if (conn->above && conn->outq.bytes <= OUTQ_LOW) {
		conn->above = false;
		conn_dirty(conn);
	}
	if (conn->charged)
		conn_settle(conn);
	if (rc == 0)
		written_out(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct conn *conn = arg;
	(void)fd;
	(void)what;
	conn->writable = true;
	conn_dirty(conn); /* written at the end of the turn, together with what has come meanwhile */
}

/* ---- Deadlines and shutdown ---- */

static uint64_t phase_limit(const struct conn *conn)
{
	switch (conn->phase) {
	case CONN_NEW:
		return HEAD_NS;
	case CONN_HANDSHAKE:
		return HANDSHAKE_NS;
	case CONN_DETECT:
		return PREFACE_NS;
	default:
		return UINT64_MAX;
	}
}

void conn_sweep(struct conn *conn, uint64_t now_ns)
{
	uint64_t idle_ns = conn->worker->server->options->idle_s * SECOND_NS;
	if (conn->dead)
		return;
	if (conn->phase == CONN_LINGER ? now_ns - conn->since_ns > LINGER_NS
				       : conn->phase != CONN_OPEN && conn_late(conn, now_ns - conn->since_ns, phase_limit(conn))) {
		conn_close(conn);
		return;
	}
	bool streaming = conn->protocol && conn->protocol->streaming(conn);
	if (conn->blocked && !streaming && conn_answer_late(conn, now_ns - conn->paid_ns, conn->cut ? LINGER_NS : STALL_NS)) {
		conn_close(conn);
		return;
	}
	if (conn->phase != CONN_OPEN)
		return;
	conn->protocol->sweep(conn, now_ns);
	if (!conn->dead && !conn->closing && !conn->protocol->busy(conn) && now_ns - conn->active_ns > idle_ns)
		conn_stop(conn);
}

void conn_stop(struct conn *conn)
{
	if (conn->phase != CONN_OPEN)
		conn_close(conn);
	else if (!conn->closing)
		conn->protocol->stop(conn);
}

void conn_abort(struct conn *conn)
{
	if (!conn->dead && conn->phase == CONN_OPEN && !conn->closing)
		conn->protocol->abort(conn);
	conn->writable = true;
	conn_flush(conn);
	conn_close(conn);
}
