/* wire.c: a client's socket on raw libevent events; see wire.h.
 *
 * One read a turn into memory that all wires share, and one write for all that a turn has put: a bufferevent would copy each byte once
 * more, and its TLS writes a record per chain.
 *
 *   - CONNECTING until the socket can be written, HANDSHAKE while TLS is agreed on, then OPEN
 *   - a turn: read, hand on, on_turn, in which the owner puts what it has and flushes
 *   - what the socket does not take waits in `out` for the write event
 *
 * Failures: refused, no route, timed out, certificate not trusted: `why` says which. A failed write does not close: the answer that the
 * server sent before it closed may still be there to read. */
#include "loadtest/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "loadtest/endpoint.h"

#define READ_MAX ((size_t)256 << 10) /* a turn's share of one wire */
#define OUT_HIGH ((size_t)256 << 10)

static uint8_t scratch[READ_MAX]; /* of whichever wire is being read */

static uint64_t monotonic_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- The end ---- */

static void drop(struct wire *wire)
{
	if (wire->phase == WIRE_OPEN && wire->tls && !wire->broken)
		SSL_shutdown(wire->tls); /* close_notify, if the socket takes it */
	wire->phase = WIRE_CLOSED;
	event_del(&wire->read_event);
	event_del(&wire->write_event);
	event_del(&wire->timer);
	SSL_free(wire->tls);
	wire->tls = NULL;
	if (wire->fd >= 0)
		close(wire->fd);
	wire->fd = -1;
	buf_free(&wire->out);
	wire->out_at = 0;
	ERR_clear_error();
}

void wire_close(struct wire *wire)
{
	if (wire->phase != WIRE_CLOSED)
		drop(wire);
}

/* `why` may be there already: it is the first cause. */
static void fail(struct wire *wire, const char *why)
{
	if (!wire->why[0])
		snprintf(wire->why, sizeof wire->why, "%s", why);
	drop(wire);
	wire->ops->on_closed(wire);
}

static void fail_tls(struct wire *wire)
{
	long verified = SSL_get_verify_result(wire->tls);
	unsigned long error = ERR_peek_last_error();
	const char *reason = error ? ERR_reason_error_string(error) : NULL;
	if (wire->phase == WIRE_HANDSHAKE && verified != X509_V_OK && SSL_get_verify_mode(wire->tls) != SSL_VERIFY_NONE)
		snprintf(wire->why, sizeof wire->why, "the server's certificate is not trusted: %s",
			 X509_verify_cert_error_string(verified));
	else if (wire->phase == WIRE_HANDSHAKE)
		snprintf(wire->why, sizeof wire->why, "TLS: %s", reason ? reason : "the server closed the connection during the handshake");
	fail(wire, reason ? reason : "the server broke TLS");
}

/* ---- Writing ---- */

bool wire_room(const struct wire *wire) { return wire->phase == WIRE_OPEN && !wire->broken && wire->out.n - wire->out_at < OUT_HIGH; }

void wire_put(struct wire *wire, const void *p, size_t n)
{
	if (wire->phase == WIRE_OPEN && !wire->broken)
		buf_put(&wire->out, p, n);
}

/* A count, 0: the socket is full, -1: it is broken. */
static ssize_t write_some(struct wire *wire, const uint8_t *p, size_t n)
{
	if (!wire->tls) {
		ssize_t sent = send(wire->fd, p, n, MSG_NOSIGNAL);
		return sent >= 0 ? sent : errno == EAGAIN || errno == EINTR ? 0 : -1;
	}
	size_t sent;
	ERR_clear_error();
	if (SSL_write_ex(wire->tls, p, n, &sent) == 1)
		return (ssize_t)sent;
	int error = SSL_get_error(wire->tls, 0);
	return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? 0 : -1;
}

static void set_writing(struct wire *wire, bool writing)
{
	if (writing == wire->writing)
		return;
	wire->writing = writing;
	if (writing)
		event_add(&wire->write_event, NULL);
	else
		event_del(&wire->write_event);
}

void wire_flush(struct wire *wire)
{
	if (wire->phase != WIRE_OPEN || wire->broken)
		return;
	ssize_t n = 1;
	while (wire->out_at < wire->out.n && (n = write_some(wire, wire->out.p + wire->out_at, wire->out.n - wire->out_at)) > 0)
		wire->out_at += (size_t)n;
	if (n < 0) {
		wire->broken = true;
		event_active(&wire->read_event, EV_READ, 0);
	}
	set_writing(wire, n == 0);
	if (n != 0) /* all went, or none will */
		wire->out_at = wire->out.n = 0;
}

/* ---- Reading ---- */

static void hand_on(struct wire *wire, size_t n)
{
	wire->read_ns = monotonic_ns();
	wire->bytes_in += n;
	wire->ops->on_bytes(wire, scratch, n);
}

static void read_plain(struct wire *wire)
{
	ssize_t n = recv(wire->fd, scratch, sizeof scratch, 0);
	if (n > 0)
		hand_on(wire, (size_t)n);
	else if (n == 0)
		fail(wire, "the server closed the connection");
	else if (errno != EAGAIN && errno != EINTR)
		fail(wire, strerror(errno));
	else if (wire->broken)
		fail(wire, "the connection broke");
}

/* A record a time, until none is whole. TLS may hold bytes that the socket does not show, so the loop is told when a turn's share is used
 * up. */
static void read_tls(struct wire *wire)
{
	size_t n, sum = 0;
	while (wire->phase == WIRE_OPEN && sum < READ_MAX) {
		ERR_clear_error();
		if (SSL_read_ex(wire->tls, scratch, sizeof scratch, &n) != 1) {
			int error = SSL_get_error(wire->tls, 0);
			if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
				if (wire->broken)
					fail(wire, "the connection broke");
			} else if (error == SSL_ERROR_ZERO_RETURN) {
				fail(wire, "the server closed the connection");
			} else if (error == SSL_ERROR_SYSCALL) {
				fail(wire, errno ? strerror(errno) : "the server closed the connection");
			} else {
				fail_tls(wire);
			}
			return;
		}
		sum += n;
		hand_on(wire, n);
	}
	if (wire->phase == WIRE_OPEN)
		event_active(&wire->read_event, EV_READ, 0);
}

static void set_reading(struct wire *wire)
{
	if (wire->stalled)
		event_del(&wire->read_event);
	else
		event_add(&wire->read_event, NULL);
}

void wire_stall(struct wire *wire, bool stalled)
{
	wire->stalled = stalled;
	if (wire->phase != WIRE_OPEN)
		return;
	set_reading(wire);
	if (!stalled && wire->tls) /* what TLS has read ahead */
		event_active(&wire->read_event, EV_READ, 0);
}

/* ---- The beginning ---- */

static void opened(struct wire *wire)
{
	wire->phase = WIRE_OPEN;
	set_reading(wire);
	wire->ops->on_open(wire);
}

static void handshake(struct wire *wire)
{
	ERR_clear_error();
	int rc = SSL_connect(wire->tls);
	int error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(wire->tls, rc);
	if (error == SSL_ERROR_WANT_WRITE) {
		set_writing(wire, true);
		return;
	}
	set_writing(wire, false);
	if (error == SSL_ERROR_NONE)
		opened(wire);
	else if (error == SSL_ERROR_WANT_READ)
		event_add(&wire->read_event, NULL);
	else
		fail_tls(wire);
}

static bool tls_begin(struct wire *wire)
{
	struct in6_addr address;
	const char *host = wire->endpoint->host;
	bool named = inet_pton(AF_INET, host, &address) != 1 && inet_pton(AF_INET6, host, &address) != 1;
	wire->tls = SSL_new(wire->endpoint->tls_context);
	if (!wire->tls || SSL_set_fd(wire->tls, wire->fd) != 1)
		return false;
	if (named)
		return SSL_set_tlsext_host_name(wire->tls, host) == 1 && SSL_set1_host(wire->tls, host) == 1;
	return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(wire->tls), host) == 1;
}

static void connected(struct wire *wire)
{
	int error = 0;
	socklen_t n = sizeof error;
	set_writing(wire, false);
	getsockopt(wire->fd, SOL_SOCKET, SO_ERROR, &error, &n);
	if (error) {
		fail(wire, strerror(error));
	} else if (!wire->tls) {
		opened(wire);
	} else {
		wire->phase = WIRE_HANDSHAKE;
		handshake(wire);
	}
}

/* ---- The loop's side ---- */

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	struct wire *wire = arg;
	(void)fd;
	if (wire->phase == WIRE_CONNECTING)
		connected(wire);
	else if (wire->phase == WIRE_HANDSHAKE)
		handshake(wire);
	else if (wire->phase == WIRE_OPEN && what & EV_WRITE)
		wire_flush(wire);
	else if (wire->phase == WIRE_OPEN && wire->tls)
		read_tls(wire);
	else if (wire->phase == WIRE_OPEN)
		read_plain(wire);
	wire->ops->on_turn(wire);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct wire *wire = arg;
	(void)fd, (void)what;
	if (wire->phase != WIRE_CLOSED)
		fail(wire, "timed out");
	wire->ops->on_turn(wire);
}

static bool begin(struct wire *wire, const struct endpoint *endpoint, struct str alpn)
{
	const struct sockaddr *address = (const struct sockaddr *)&endpoint->address;
	int one = 1;
	wire->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (wire->fd < 0)
		return false;
	setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (endpoint->tls && (!tls_begin(wire) || SSL_set_alpn_protos(wire->tls, (const uint8_t *)alpn.p, (unsigned)alpn.n) != 0)) {
		errno = EPROTO;
		return false;
	}
	return connect(wire->fd, address, endpoint->address_len) == 0 || errno == EINPROGRESS;
}

void wire_open(struct wire *wire, struct event_base *base, const struct endpoint *endpoint, struct str alpn, const struct wire_ops *ops)
{
	struct timeval limit = {.tv_sec = WIRE_OPEN_SECONDS};
	*wire = (struct wire){.ops = ops, .endpoint = endpoint, .fd = -1};
	bool good = begin(wire, endpoint, alpn);
	if (!good)
		snprintf(wire->why, sizeof wire->why, "%s", strerror(errno));
	event_assign(&wire->read_event, base, wire->fd, EV_READ | EV_PERSIST, on_ready, wire);
	event_assign(&wire->write_event, base, wire->fd, EV_WRITE | EV_PERSIST, on_ready, wire);
	evtimer_assign(&wire->timer, base, on_timer, wire);
	evtimer_add(&wire->timer, &limit);
	if (good)
		set_writing(wire, true);
	else
		event_active(&wire->timer, EV_TIMEOUT, 0);
}

void wire_settled(struct wire *wire) { evtimer_del(&wire->timer); }
