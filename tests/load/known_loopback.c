/* known_loopback.c: what the machine itself takes: two processes, blocking calls over loopback, and nothing else.
 *
 *   wake         from the time at which a sleeper was to wake until it runs: the clock's interrupt, and the scheduler
 *   round_trip   from then until the other process has answered
 *
 * It is paced like the measurement it is subtracted from: a core that has slept for 10 ms wakes later than a busy one. The sleep's slack,
 * 50 us by default, is taken away, since the client's timers have none. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "loadtest/load.h" /* now_ns */
#include "tests/load/known.h"

static uint8_t bytes[1 << 20];

static void check(bool good, const char *what)
{
	if (good)
		return;
	perror(what);
	exit(1);
}

/* False: the other end has closed. */
static bool take(int fd, size_t n)
{
	for (ssize_t got; n; n -= (size_t)got)
		if ((got = recv(fd, bytes, n, 0)) <= 0)
			return false;
	return true;
}

static void give(int fd, size_t n)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	check(send(fd, bytes, n, MSG_NOSIGNAL) == (ssize_t)n, "send");
}

static void connected_pair(int fd[2])
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	fd[0] = socket(AF_INET, SOCK_STREAM, 0);
	check(bind(listener, (struct sockaddr *)&address, n) == 0 && listen(listener, 1) == 0, "listen");
	check(getsockname(listener, (struct sockaddr *)&address, &n) == 0, "getsockname");
	check(connect(fd[0], (struct sockaddr *)&address, n) == 0 && (fd[1] = accept(listener, NULL, NULL)) >= 0, "connect");
	close(listener);
}

void loopback(size_t out, size_t back, double rate, double seconds)
{
	struct buf trips = {0}, wakes = {0};
	int fd[2];
	connected_pair(fd);
	pid_t child = fork();
	check(child >= 0, "fork");
	close(fd[child == 0 ? 0 : 1]);
	if (child == 0) {
		while (take(fd[1], out))
			give(fd[1], back);
		_exit(0);
	}
	prctl(PR_SET_TIMERSLACK, 1);
	uint64_t begin = now_ns(), gap = (uint64_t)(1e9 / rate);
	for (uint64_t due = begin; due < begin + (uint64_t)(seconds * 1e9); due += gap) {
		const struct timespec at = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)};
		while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR)
			;
		uint64_t woke = now_ns();
		give(fd[0], out);
		check(take(fd[0], back), "recv");
		samples_add(&trips, now_ns() - woke);
		samples_add(&wakes, woke - due);
	}
	close(fd[0]);
	wait(NULL);
	json_t *figures = json_pack("{s:o,s:o}", "round_trip", samples_to_json(&trips), "wake", samples_to_json(&wakes));
	json_dumpf(figures, stdout, JSON_REAL_PRECISION(6));
	json_decref(figures);
	buf_free(&trips);
	buf_free(&wakes);
}
