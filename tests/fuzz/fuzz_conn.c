/* Whatever a client sends, over HTTP/1.1 or HTTP/2, and however it comes in pieces: no crash, no leak, and every counter is back at zero
 * when it has gone. The first byte of the input chooses the cut and when time passes. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FAKE_BYTES 100000
#define FAKE_SUBS 1000
#include "tests/unit/fake_hub.h"

static void turn(void) { worker_turn(&worker, false); }

static void answer_held(void)
{
	for (unsigned i = 0; i < n_held; i++)
		echo(held[i]);
	n_held = 0;
}

static void drain(int fd)
{
	static uint8_t bytes[65536];
	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
}

static void step(int fd, unsigned what)
{
	for (unsigned i = 0; i < n_fake_subs; i++)
		if (fake_subs[i].sub && fake_subs[i].upto + 1000 < fake_subs[i].message->head_len)
			fake_push(i, 1000);
	if (what % 3 == 0)
		answer_held();
	if (what % 5 == 0 && n_fake_subs && fake_subs[0].sub)
		fake_end(0);
	if (what % 7 == 0) {
		fake_ahead_ns += 2 * SECOND_NS;
		event_active(worker.sweep_timer, EV_TIMEOUT, 0);
	}
	turn();
	drain(fd);
}

static void feed(int fd, const uint8_t *p, size_t n, uint32_t cut)
{
	while (n) {
		cut = cut * 1664525 + 1013904223;
		size_t part = cut & 0x10000 ? n : 1 + (cut >> 20) % 64;
		ssize_t sent = send(fd, p, part < n ? part : n, MSG_NOSIGNAL);
		if (sent < 0 && errno != EAGAIN)
			return;
		p += sent < 0 ? 0 : sent;
		n -= sent < 0 ? 0 : (size_t)sent;
		step(fd, cut >> 24);
	}
}

static void check_quiet(void)
{
	assert(list_empty(&worker.conns) && worker.requests == 0 && worker.body_bytes == 0 && worker.answer_bytes == 0);
	assert(metric_get(METRIC_body_bytes) == 0 && metric_get(METRIC_answer_bytes) == 0 && metric_get(METRIC_connections) == 0);
	assert(budget_taken(&server.answers) == worker.answers.spare);
	for (unsigned i = 0; i < n_fake_subs; i++) {
		assert(!fake_subs[i].sub && atomic_load(&fake_subs[i].message->refs) == 1);
		message_unref(fake_subs[i].message);
		fake_subs[i] = (struct fake_sub){0};
	}
	n_fake_subs = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	int fds[2], rc = socketpair(AF_UNIX, SOCK_STREAM, 0, fds);
	assert(rc == 0);
	if (!worker.base) {
		fake_server();
		rc = worker_init(&worker, &server, 0);
		assert(rc == 0);
	}
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	worker_adopt(&worker, fds[0]);
	turn();
	if (n > 1)
		feed(fds[1], p + 1, n - 1, p[0]);
	turn();
	close(fds[1]);
	turn();
	turn();
	answer_held();
	fake_ahead_ns += 3 * SECOND_NS; /* lingering ends */
	event_active(worker.sweep_timer, EV_TIMEOUT, 0);
	turn();
	turn();
	check_quiet();
	return 0;
}
