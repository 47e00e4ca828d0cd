/* transport_fixture.h: a worker with real sockets (socketpairs) and no thread: tests take its turns; hub and dispatch are fake_hub.h's. */
#ifndef TRANSPORT_FIXTURE_H
#define TRANSPORT_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/fake_hub.h"

/* ---- The worker ---- */

static void setup(void)
{
	fake_server();
	cr_assert_eq(worker_init(&worker, &server, 0), 0);
}

static void exact_turns(unsigned n)
{
	while (n--)
		worker_turn(&worker, false);
}

/* And as many more as the input takes that has come: a turn's share of it is a time, which a slow machine has spent sooner. */
static void turns(unsigned n)
{
	while (n--)
		worker_turn(&worker, false);
	for (unsigned more = 0; more < 10000 && !list_empty(&worker.waiting); more++)
		worker_turn(&worker, false);
}

/* Lets time pass, and the sweep and the hub's timer see it: libevent's own clock does not move with ours. */
MAYBE_UNUSED static void pass(uint64_t ns)
{
	fake_ahead_ns += ns;
	event_active(worker.sweep_timer, EV_TIMEOUT, 0);
	turns(3);
}

static void teardown(void)
{
	worker_stop(&worker);
	for (unsigned i = 0; i < 5; i++)
		worker_turn(&worker, false);
	pass(6 * SECOND_NS);
	for (unsigned i = 0; i < n_held; i++)
		if (held[i])
			echo(held[i]);
	turns(2);
	cr_assert(list_empty(&worker.conns));
	cr_assert_eq(worker.requests, 0);
	cr_assert_eq(budget_taken(&server.answers), worker.answers.spare, "an answer's memory was not given back");
	worker_fini(&worker);
	for (unsigned i = 0; i < n_fake_subs; i++) {
		cr_assert_null(fake_subs[i].sub, "a subscription was not stopped");
		cr_assert_eq(atomic_load(&fake_subs[i].message->refs), 1u, "a reference is left");
		message_unref(fake_subs[i].message);
	}
	cr_assert_eq(metric_get(METRIC_body_bytes), 0);
	cr_assert_eq(metric_get(METRIC_answer_bytes), 0);
	cr_assert_eq(metric_get(METRIC_connections), 0);
}

/* A connection; returns the client's end, non-blocking. */
MAYBE_UNUSED static int connect_client(void)
{
	int fds[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	worker_adopt(&worker, fds[0]);
	turns(1);
	return fds[1];
}

MAYBE_UNUSED static void send_all(int fd, const void *p, size_t n)
{
	const char *at = p;
	while (n) {
		ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
		if (sent < 0) {
			cr_assert(errno == EAGAIN, "send: %s", strerror(errno));
			exact_turns(1);
			continue;
		}
		at += sent;
		n -= (size_t)sent;
	}
}

/* Reads what is there, taking turns until nothing comes. Returns true when the server has closed. */
MAYBE_UNUSED static bool receive_all(int fd, struct buf *out)
{
	for (unsigned idle = 0; idle < 4;) {
		turns(1);
		ssize_t n = recv(fd, buf_reserve(out, 65536), 65536, 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return true;
		if (n > 0)
			out->n += (size_t)n;
		else
			idle++;
		idle = n > 0 ? 0 : idle;
	}
	return false;
}

#endif
