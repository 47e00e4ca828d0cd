/* Workers with their threads: adopted from another thread, asked over sockets, stopped while requests and subscriptions are there. */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/fake_hub.h"

#define CLIENTS 40
#define ROUNDS 50

static int failed, passed;

static void check(bool good, const char *what)
{
	if (good)
		passed++;
	else
		fprintf(stderr, "failed: %s\n", what);
	failed += !good;
}

/* Reads until `needle` has come, or the end. */
static bool hear(int fd, const char *needle)
{
	char text[8192] = "";
	size_t n = 0;
	while (!memmem(text, n, needle, strlen(needle))) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		if (n == sizeof(text) || poll(&poll_fd, 1, 10000) != 1)
			return false;
		ssize_t got = recv(fd, text + n, sizeof(text) - n, 0);
		if (got <= 0)
			return false;
		n += (size_t)got;
	}
	return true;
}

static bool say(int fd, const char *text) { return send(fd, text, strlen(text), MSG_NOSIGNAL) == (ssize_t)strlen(text); }

static int adopt(void)
{
	int fds[2];
	int rc = socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	assert(rc == 0);
	worker_adopt(&worker, fds[0]);
	return fds[1];
}

static void on_snapshot_mail(struct mail *mail) { worker_on_snapshot(&worker, (struct catalogue *)(void *)(mail + 1)); }

/* A snapshot of nothing, mailed as the control thread does. */
static struct catalogue *mail_snapshot(void)
{
	struct snapshot_mail {
		struct mail mail;
		struct catalogue snapshot;
	} *both = xcalloc(1, sizeof(*both));
	both->mail.run = on_snapshot_mail;
	atomic_init(&both->snapshot.refs, 1000); /* it is freed here, with its mail */
	mailbox_post(&worker.box, &both->mail);
	return &both->snapshot;
}

int main(void)
{
	int fds[CLIENTS];
	bool good = true;
	alarm(120);
	fake_server();
	check(worker_start(&worker, &server, 0) == 0, "start");
	struct catalogue *first = mail_snapshot(), *second = mail_snapshot();
	for (int i = 0; i < CLIENTS; i++)
		fds[i] = adopt();
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < CLIENTS; i++)
			good = say(fds[i], "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi") && good;
		for (int i = 0; i < CLIENTS; i++)
			good = hear(fds[i], "POST /echo||h|hi") && good;
	}
	check(good, "every request is answered");
	check(atomic_load(&worker.connections) == CLIENTS, "connections are counted");
	check(say(fds[0], "POST /sub HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}") && hear(fds[0], "eventstream"),
	      "a stream begins");
	close(fds[1]);
	worker_stop(&worker);
	check(hear(fds[0], "0\r\n\r\n"), "a stream ends whole");
	worker_join(&worker);
	check(adopt() >= 0, "adopted after the stop: closed by worker_fini");
	worker_fini(&worker);
	check(atomic_load(&worker.connections) == 0, "no connection is left");
	check(atomic_load(&first->refs) == 999 && atomic_load(&second->refs) == 999, "each snapshot was let go");
	for (int i = 0; i < CLIENTS; i++)
		if (i != 1)
			close(fds[i]);
	free((struct mail *)(void *)first - 1);
	free((struct mail *)(void *)second - 1);
	message_unref(fake_subs[0].message);
	printf("thread_worker: %d passed, %d failed\n", passed, failed);
	return failed != 0;
}
