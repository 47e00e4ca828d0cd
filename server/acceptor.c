/* acceptor.c: accepts connections and hands each to the worker with fewest.
 *
 * Thread: main, but acceptor_alarm, which any may call. It blocks in poll() alone: accept4 does not block, and a connection leaves by mail.
 *
 * Happy path:
 * - acceptor_open binds early, so that a port in use is said before anything is recovered; acceptor_listen opens the door last
 * - a readable listening socket is emptied, some at a time, with a breath between, so that a signal is never kept waiting, nor anybody else
 * - each connection is counted by worker_adopt at once, so that a burst is spread too
 *
 * Failure modes:
 * - as many connections as allowed: the next is closed at once, and counted; the client sees a reset rather than silence
 * - no descriptors left (files.h shares them out, but the system's may end): no connection is accepted for 100 ms, clients wait in the
 *   backlog; poll would otherwise return at once, for ever
 * - a connection that died in the backlog is nobody's fault: the next one */
#include "server/acceptor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "server/worker.h"

#define BACKLOG 4096 /* as much as Linux allows by itself: in a storm they wait here, and not for the second that a lost SYN takes */
#define NOTSENT_LOWAT (128 << 10) /* what waits, waits in the outq, where it is a reference and a PING answer can pass */
#define ACCEPTS_PER_TURN 16
#define BREATH_NS UINT64_C(1000000) /* after so many: a storm of connections takes at most a tenth of a processor */
#define PAUSE_NS UINT64_C(100000000)

/* ---- Open ---- */

static void print_address(int fd, char out[64])
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);
	char host[INET6_ADDRSTRLEN] = "?";

	getsockname(fd, (struct sockaddr *)&address, &len);
	if (address.ss_family == AF_INET6) {
		struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;

		inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
		snprintf(out, 64, "[%s]:%u", host, ntohs(v6->sin6_port));
	} else {
		struct sockaddr_in *v4 = (struct sockaddr_in *)&address;

		inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
		snprintf(out, 64, "%s:%u", host, ntohs(v4->sin_port));
	}
}

static enum status fail(const char *address, const char *doing, char **why)
{
	*why = xasprintf("%s: cannot %s: %s%s", address, doing, strerror(errno),
			 errno == EADDRINUSE ? "; stop who has it, or give another one with --listen" : "");
	return STATUS_IO;
}

/* fd: -1, or one that is to take SIGHUP too from here on. */
static int take_signals(int fd, bool hangup)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	if (hangup)
		sigaddset(&signals, SIGHUP);
	return signalfd(fd, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

void acceptor_on_hangup(struct acceptor *acceptor, void (*on_hangup)(void *arg), void *arg)
{
	acceptor->on_hangup = on_hangup;
	acceptor->arg = arg;
	take_signals(acceptor->signal_fd, true); /* it is open: only its set changes */
}

static bool is_v4(const char *listen_on)
{
	struct sockaddr_storage address;
	socklen_t len;

	return options_address(listen_on, &address, &len) && address.ss_family == AF_INET;
}

/* beside_v4: an IPv6 wildcard would take the IPv4 addresses, too. */
static enum status bind_one(struct listening *listening, const char *listen_on, bool beside_v4, char **why)
{
	struct sockaddr_storage address;
	int one = 1, lowat = NOTSENT_LOWAT;
	socklen_t len;

	listening->fd = -1;
	if (!options_address(listen_on, &address, &len)) {
		errno = EINVAL;
		return fail(listen_on, "be read as ADDR:PORT", why);
	}
	listening->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (listening->fd < 0)
		return fail(listen_on, "get descriptors", why);
	/* A restart must not wait for the connections of the process before to time out. */
	setsockopt(listening->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (address.ss_family == AF_INET6 && beside_v4)
		setsockopt(listening->fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	/* Accepted sockets inherit these. Answers and events are small and must not wait for an ACK of the one before. */
	setsockopt(listening->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(listening->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat));
	if (bind(listening->fd, (struct sockaddr *)&address, len) != 0)
		return fail(listen_on, "be bound", why);
	print_address(listening->fd, listening->address);
	return STATUS_OK;
}

enum status acceptor_open(struct acceptor *acceptor, const struct option_list *listen, char **why)
{
	enum status status = STATUS_OK;
	bool v4 = false;

	*acceptor = (struct acceptor){.signal_fd = -1, .alarm_fd = -1};
	acceptor->signal_fd = take_signals(-1, false);
	acceptor->alarm_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (acceptor->signal_fd < 0 || acceptor->alarm_fd < 0)
		return fail(listen->items[0], "get descriptors", why);
	for (unsigned i = 0; i < listen->n; i++)
		v4 |= is_v4(listen->items[i]);
	for (unsigned i = 0; i < listen->n && !status; i++)
		status = bind_one(&acceptor->sockets[acceptor->n_sockets++], listen->items[i], v4, why);
	return status;
}

enum status acceptor_listen(struct acceptor *acceptor, char **why)
{
	for (unsigned i = 0; i < acceptor->n_sockets; i++)
		if (listen(acceptor->sockets[i].fd, BACKLOG) != 0)
			return fail(acceptor->sockets[i].address, "be listened on", why);
	return STATUS_OK;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void acceptor_shut(struct acceptor *acceptor)
{
	for (unsigned i = 0; i < acceptor->n_sockets; i++)
		close_fd(&acceptor->sockets[i].fd);
}

void acceptor_close(struct acceptor *acceptor)
{
	acceptor_shut(acceptor);
	close_fd(&acceptor->signal_fd);
	close_fd(&acceptor->alarm_fd);
}

/* ---- Accept ---- */

/* The worker with fewest connections; NULL when all of them together have as many as allowed. */
static struct worker *choose(struct acceptor *acceptor)
{
	struct server *server = acceptor->server;
	struct worker *best = NULL;
	int64_t total = 0;
	int fewest = INT32_MAX;

	for (unsigned i = 0; i < server->n_workers; i++) {
		int n = atomic_load_explicit(&server->workers[i].connections, memory_order_relaxed);

		total += n;
		if (n < fewest) {
			fewest = n;
			best = &server->workers[i];
		}
	}
	return total < acceptor->max_connections ? best : NULL;
}

static void pass_on(struct acceptor *acceptor, int fd)
{
	struct worker *worker = choose(acceptor);

	if (!worker) {
		if (!acceptor->full)
			slog(SLOG_WARN, "connections_full", "max=%u advice=\"raise --max-connections\"", acceptor->max_connections);
		acceptor->full = true;
		metric_add(METRIC_connections_refused, 1);
		close(fd);
		return;
	}
	acceptor->full = false;
	metric_add(METRIC_connections_accepted, 1);
	worker_adopt(worker, fd);
}

static bool is_shortage(int code) { return code == EMFILE || code == ENFILE || code == ENOBUFS || code == ENOMEM; }

static void say_starved(struct acceptor *acceptor, int code)
{
	if (!acceptor->starved)
		slog(SLOG_WARN, "accept_paused", "error=\"%s\" advice=\"raise the limit on open files\"", strerror(code));
	acceptor->starved = true;
	metric_add(METRIC_connections_refused, 1);
}

static void accept_some(struct acceptor *acceptor, int listen_fd)
{
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			acceptor->starved = false;
			pass_on(acceptor, fd);
		} else if (is_shortage(errno)) {
			say_starved(acceptor, errno);
			acceptor->paused_until_ns = io_mono_ns(acceptor->server->io) + PAUSE_NS;
			return;
		} else if (errno == EAGAIN || errno == EWOULDBLOCK) {
			return;
		}
		/* Else that connection failed before it was accepted. */
	}
	acceptor->paused_until_ns = io_mono_ns(acceptor->server->io) + BREATH_NS;
}

/* How long poll may wait, and whether the listening socket is among what it waits for. */
static int unpause(struct acceptor *acceptor)
{
	uint64_t now_ns;

	if (!acceptor->paused_until_ns)
		return -1;
	now_ns = io_mono_ns(acceptor->server->io);
	if (now_ns < acceptor->paused_until_ns)
		return (int)((acceptor->paused_until_ns - now_ns) / 1000000) + 1;
	acceptor->paused_until_ns = 0;
	return -1;
}

/* True: one that ends the process. */
static bool take_signal(struct acceptor *acceptor)
{
	struct signalfd_siginfo info;

	if (read(acceptor->signal_fd, &info, sizeof(info)) != sizeof(info))
		return false;
	if (info.ssi_signo == SIGHUP) {
		acceptor->on_hangup(acceptor->arg);
		return false;
	}
	slog(SLOG_INFO, "stopping", "signal=%s", info.ssi_signo == SIGINT ? "SIGINT" : "SIGTERM");
	return true;
}

enum acceptor_end acceptor_run(struct acceptor *acceptor, struct server *server)
{
	acceptor->server = server;
	acceptor->max_connections = server->options->max_connections;
	for (;;) {
		int wait_ms = unpause(acceptor);
		struct pollfd fds[2 + LISTEN_MOST] = {
			{.fd = acceptor->signal_fd, .events = POLLIN},
			{.fd = acceptor->alarm_fd, .events = POLLIN},
		};

		for (unsigned i = 0; i < acceptor->n_sockets; i++)
			fds[2 + i] = (struct pollfd){.fd = acceptor->paused_until_ns ? -1 : acceptor->sockets[i].fd, .events = POLLIN};
		if (poll(fds, 2 + acceptor->n_sockets, wait_ms) < 0)
			continue; /* EINTR: stopped and continued, or traced */
		if (fds[1].revents)
			return ACCEPTOR_ALARMED;
		if (fds[0].revents && take_signal(acceptor))
			return ACCEPTOR_SIGNALLED;
		for (unsigned i = 0; i < acceptor->n_sockets; i++)
			if (fds[2 + i].revents)
				accept_some(acceptor, acceptor->sockets[i].fd);
	}
}

void acceptor_alarm(struct acceptor *acceptor)
{
	uint64_t one = 1;

	/* It can only fail when it has been rung often enough already. */
	if (write(acceptor->alarm_fd, &one, sizeof(one)) < 0)
		return;
}
