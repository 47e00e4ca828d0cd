/* floor.c: penstock-floor: what nobody can go below, measured on the same machine in the same minute.
 *
 *   floor write --bytes N --connections C --rounds R [--pause-us U]
 *       one write of N bytes to each of C sockets, R times; prints CPU us per write of the writer alone
 *   floor put --dir DIR --connections C --batch N --size BYTES --group-bytes G --seconds S
 *       one thread: recv PutRecords bodies (CBOR) from C loopback connections, walk them, MD5 of each partition key, one copy, CRC32C, and
 * for each G bytes one pwritev and fdatasync; prints bytes of record data per CPU second, and per second
 *
 * The other end of the sockets is a child of this process, pinned to the last CPU; this one is pinned to the first. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/crc32c.h"

struct floor_options {
	size_t bytes, batch, size, group_bytes;
	unsigned connections, rounds, pause_us;
	double seconds;
	const char *dir;
};

static void die(const char *what)
{
	fprintf(stderr, "penstock-floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void pin(long cpu_number)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu_number, &set);
	sched_setaffinity(0, sizeof set, &set);
}

/* Pairs of connected TCP sockets over loopback: ours[i] and theirs[i]. */
static void connect_pairs(unsigned n, int *ours, int *theirs)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t length = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	if (listener < 0 || bind(listener, (struct sockaddr *)&at, sizeof at) < 0 || listen(listener, 128) < 0 ||
	    getsockname(listener, (struct sockaddr *)&at, &length) < 0)
		die("listen");
	for (unsigned i = 0; i < n; i++) {
		theirs[i] = socket(AF_INET, SOCK_STREAM, 0);
		if (theirs[i] < 0 || connect(theirs[i], (struct sockaddr *)&at, sizeof at) < 0)
			die("connect");
		ours[i] = accept(listener, NULL, NULL);
		if (ours[i] < 0)
			die("accept");
		setsockopt(ours[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	}
	close(listener);
}

/* ---- write -------------------------------------------------------------------------------------------------------------- */

static void drain_forever(const int *fds, unsigned n)
{
	static uint8_t bytes[256 << 10];
	struct epoll_event ready[256];
	int epoll = epoll_create1(0);
	for (unsigned i = 0; i < n; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
		epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event);
	}
	for (;;)
		for (int got = epoll_wait(epoll, ready, 256, -1), i = 0; i < got; i++)
			if (recv(ready[i].data.fd, bytes, sizeof bytes, 0) <= 0)
				_exit(0);
}

static void floor_write(const struct floor_options *options)
{
	int *ours = xcalloc(options->connections, sizeof *ours), *theirs = xcalloc(options->connections, sizeof *theirs);
	uint8_t *bytes = xcalloc(1, options->bytes);
	connect_pairs(options->connections, ours, theirs);
	pid_t reader = fork();
	if (reader == 0) {
		pin(sysconf(_SC_NPROCESSORS_ONLN) - 1);
		drain_forever(theirs, options->connections);
	}
	pin(0);
	struct timespec pause = {.tv_sec = options->pause_us / 1000000, .tv_nsec = options->pause_us % 1000000 * 1000};
	double begin = cpu();
	for (unsigned round = 0; round < options->rounds; round++) {
		for (unsigned i = 0; i < options->connections; i++)
			if (write(ours[i], bytes, options->bytes) != (ssize_t)options->bytes)
				die("write");
		if (options->pause_us)
			nanosleep(&pause, NULL);
	}
	printf("%.4f\n", (cpu() - begin) * 1e6 / ((double)options->rounds * options->connections));
	kill(reader, SIGKILL);
	waitpid(reader, NULL, 0);
	free(ours);
	free(theirs);
	free(bytes);
}

/* ---- put ---------------------------------------------------------------------------------------------------------------- */

static void put_cbor_head(struct buf *out, unsigned major, size_t n)
{
	uint8_t bytes[5] = {(uint8_t)(major << 5 | 26), (uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
	buf_put(out, bytes, sizeof bytes);
}

static void put_cbor_text(struct buf *out, const char *text)
{
	put_cbor_head(out, 3, strlen(text));
	buf_put(out, text, strlen(text));
}

/* One PutRecords body behind its length in 4 bytes. */
static void body_make(struct buf *out, const struct floor_options *options)
{
	uint8_t *data = xcalloc(1, options->size), length[4] = {0};
	char key[32];
	buf_put(out, length, 4);
	put_cbor_head(out, 5, 2);
	put_cbor_text(out, "StreamName");
	put_cbor_text(out, "floor");
	put_cbor_text(out, "Records");
	put_cbor_head(out, 4, options->batch);
	for (size_t i = 0; i < options->batch; i++) {
		put_cbor_head(out, 5, 2);
		put_cbor_text(out, "Data");
		put_cbor_head(out, 2, options->size);
		buf_put(out, data, options->size);
		put_cbor_text(out, "PartitionKey");
		snprintf(key, sizeof key, "key-%zu", i * 7919);
		put_cbor_text(out, key);
	}
	uint32_t n = (uint32_t)(out->n - 4);
	memcpy(out->p, &n, 4);
	free(data);
}

/* The child: sends the same body on every connection for ever. */
static void send_forever(const int *fds, const struct floor_options *options)
{
	struct buf body = {0};
	size_t *sent = xcalloc(options->connections, sizeof *sent);
	struct epoll_event ready[256];
	int epoll = epoll_create1(0);
	body_make(&body, options);
	for (unsigned i = 0; i < options->connections; i++) {
		struct epoll_event event = {.events = EPOLLOUT, .data.u32 = i};
		fcntl(fds[i], F_SETFL, O_NONBLOCK);
		epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event);
	}
	for (;;)
		for (int got = epoll_wait(epoll, ready, 256, -1), i = 0; i < got; i++) {
			uint32_t at = ready[i].data.u32;
			ssize_t n = send(fds[at], body.p + sent[at], body.n - sent[at], MSG_NOSIGNAL);
			if (n <= 0)
				_exit(0);
			sent[at] = (sent[at] + (size_t)n) % body.n;
		}
}

struct put_floor {
	const struct floor_options *options;
	EVP_MD *md5;
	EVP_MD_CTX *digest;
	struct buf group; /* what will be written: the one copy */
	uint64_t data_bytes, groups;
	int file;
	off_t at;
};

/* The head of an item: its major type, and its count or value. */
static const uint8_t *item(const uint8_t *p, unsigned *major, size_t *n)
{
	*major = *p >> 5;
	*n = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
	return p + 5;
}

static void write_group(struct put_floor *floor)
{
	struct iovec part = {floor->group.p, floor->group.n};
	uint32_t crc = crc32c(0, floor->group.p, floor->group.n);
	memcpy(floor->group.p, &crc, sizeof crc);
	if (pwritev(floor->file, &part, 1, floor->at) != (ssize_t)floor->group.n || fdatasync(floor->file) < 0)
		die("write");
	/* Over the same space again: as in a log whose space ahead is written. */
	floor->at = floor->at > (256 << 20) ? 0 : floor->at + (off_t)floor->group.n;
	floor->group.n = 0;
	floor->groups++;
}

static void take_body(struct put_floor *floor, const uint8_t *p)
{
	unsigned major;
	size_t members, records, n;
	uint8_t hash[16];
	p = item(p, &major, &members);
	for (size_t i = 0; i < 3; i++) { /* StreamName, its value, Records */
		p = item(p, &major, &n);
		p += n;
	}
	p = item(p, &major, &records);
	for (; records > 0; records--) {
		size_t data_n, key_n;
		p = item(p, &major, &members);
		p = item(p, &major, &n) + 4; /* Data */
		const uint8_t *data = p = item(p, &major, &data_n);
		p = item(p + data_n, &major, &n) + 12; /* PartitionKey */
		const uint8_t *key = p = item(p, &major, &key_n);
		p += key_n;
		EVP_DigestInit_ex2(floor->digest, floor->md5, NULL);
		EVP_DigestUpdate(floor->digest, key, key_n);
		EVP_DigestFinal_ex(floor->digest, hash, NULL);
		buf_put(&floor->group, hash, 8);
		buf_put(&floor->group, key, key_n);
		buf_put(&floor->group, data, data_n);
		floor->data_bytes += data_n;
		if (floor->group.n >= floor->options->group_bytes)
			write_group(floor);
	}
}

static void prepare_file(struct put_floor *floor, const char *dir)
{
	static uint8_t zeros[1 << 20];
	char path[512];
	snprintf(path, sizeof path, "%s/penstock-floor.tmp", dir);
	floor->file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (floor->file < 0)
		die(path);
	unlink(path);
	for (off_t at = 0; at < (320 << 20); at += (off_t)sizeof zeros)
		if (pwrite(floor->file, zeros, sizeof zeros, at) != (ssize_t)sizeof zeros)
			die(path);
	fsync(floor->file);
}

/* Bytes of one connection until a body is whole. */
static void receive(struct put_floor *floor, int fd, struct buf *in)
{
	uint32_t n;
	ssize_t got = recv(fd, buf_reserve(in, 256 << 10), 256 << 10, 0);
	if (got <= 0)
		die("recv");
	in->n += (size_t)got;
	size_t at = 0;
	while (in->n - at >= 4) {
		memcpy(&n, in->p + at, 4);
		if (in->n - at < 4 + (size_t)n)
			break;
		take_body(floor, in->p + at + 4);
		at += 4 + (size_t)n;
	}
	memmove(in->p, in->p + at, in->n - at);
	in->n -= at;
}

static void floor_put(const struct floor_options *options)
{
	int *ours = xcalloc(options->connections, sizeof *ours), *theirs = xcalloc(options->connections, sizeof *theirs);
	struct buf *in = xcalloc(options->connections, sizeof *in);
	struct put_floor floor = {.options = options, .md5 = EVP_MD_fetch(NULL, "MD5", NULL), .digest = EVP_MD_CTX_new()};
	struct epoll_event ready[256];
	int epoll = epoll_create1(0);
	connect_pairs(options->connections, ours, theirs);
	pid_t sender = fork();
	if (sender == 0) {
		pin(sysconf(_SC_NPROCESSORS_ONLN) - 1);
		send_forever(theirs, options);
	}
	pin(0);
	prepare_file(&floor, options->dir);
	for (unsigned i = 0; i < options->connections; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.u32 = i};
		epoll_ctl(epoll, EPOLL_CTL_ADD, ours[i], &event);
	}
	double begin = now(), begin_cpu = cpu();
	floor.data_bytes = 0;
	while (now() - begin < options->seconds)
		for (int got = epoll_wait(epoll, ready, 256, 1000), i = 0; i < got; i++)
			receive(&floor, ours[ready[i].data.u32], &in[ready[i].data.u32]);
	double seconds = now() - begin, used = cpu() - begin_cpu;
	printf("%.0f %.0f %.0f\n", (double)floor.data_bytes / used, (double)floor.data_bytes / seconds, (double)floor.groups);
	kill(sender, SIGKILL);
	waitpid(sender, NULL, 0);
}

int main(int argc, char **argv)
{
	static const struct option long_options[] = {{"bytes", 1, NULL, 'b'},    {"connections", 1, NULL, 'c'}, {"rounds", 1, NULL, 'r'},
						     {"pause-us", 1, NULL, 'p'}, {"dir", 1, NULL, 'd'},         {"batch", 1, NULL, 'n'},
						     {"size", 1, NULL, 's'},     {"group-bytes", 1, NULL, 'g'}, {"seconds", 1, NULL, 't'},
						     {NULL, 0, NULL, 0}};
	struct floor_options options = {.bytes = 1024,
					.batch = 500,
					.size = 1024,
					.group_bytes = 1 << 20,
					.connections = 8,
					.rounds = 100,
					.seconds = 3,
					.dir = "."};
	const char *what = argc > 1 ? argv[1] : "";
	for (int option; (option = getopt_long(argc - 1, argv + 1, "", long_options, NULL)) != -1;) {
		size_t number = optarg ? strtoul(optarg, NULL, 10) : 0;
		switch (option) {
		case 'b':
			options.bytes = number;
			break;
		case 'c':
			options.connections = (unsigned)number;
			break;
		case 'r':
			options.rounds = (unsigned)number;
			break;
		case 'p':
			options.pause_us = (unsigned)number;
			break;
		case 'd':
			options.dir = optarg;
			break;
		case 'n':
			options.batch = number;
			break;
		case 's':
			options.size = number;
			break;
		case 'g':
			options.group_bytes = number;
			break;
		case 't':
			options.seconds = (double)number;
			break;
		default:
			return 2;
		}
	}
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (strcmp(what, "write") == 0)
		floor_write(&options);
	else if (strcmp(what, "put") == 0)
		floor_put(&options);
	else
		fprintf(stderr, "penstock-floor: write or put, not \"%s\"\n", what);
	return strcmp(what, "write") && strcmp(what, "put") ? 2 : 0;
}
