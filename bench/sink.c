/* sink.c: penstock-sink's connections, and what it prints; see sink.h.
 *
 *   sink --port N [--tls] [--connections N] --subscribe FILE
 *
 * FILE has one line per subscription: the body of its SubscribeToShard call; they are dealt to the connections in turn. When all are open
 * it prints "open"; for each line on standard input one line with the totals so far: bytes, messages, CPU seconds of its own. End of input
 * ends it. The benchmark that drives it takes differences. */
#include "bench/sink.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SIZE (256u << 10)

struct sink {
	int port;
	bool tls;
	uint32_t n_connections;
	struct sink_connection *connections;
	struct sink_totals totals;
	uint64_t subscriptions;
	int epoll;
	SSL_CTX *context;
	bool told;
};

static void die(const char *what)
{
	fprintf(stderr, "penstock-sink: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void raise_file_limit(void)
{
	struct rlimit limit;
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

/* Writes what waits; the socket is watched for room while some is left. */
static void flush(struct sink *sink, struct sink_connection *connection)
{
	size_t at = 0;
	while (at < connection->out.n) {
		ssize_t n = connection->tls ? SSL_write(connection->tls, connection->out.p + at, (int)(connection->out.n - at))
					    : send(connection->fd, connection->out.p + at, connection->out.n - at, MSG_NOSIGNAL);
		if (n <= 0)
			break;
		at += (size_t)n;
	}
	memmove(connection->out.p, connection->out.p + at, connection->out.n - at);
	connection->out.n -= at;
	struct epoll_event event = {.events = EPOLLIN | (connection->out.n ? EPOLLOUT : 0), .data.ptr = connection};
	epoll_ctl(sink->epoll, EPOLL_CTL_MOD, connection->fd, &event);
}

static void receive(struct sink *sink, struct sink_connection *connection)
{
	static uint8_t bytes[READ_SIZE];
	for (;;) {
		ssize_t n = connection->tls ? SSL_read(connection->tls, bytes, sizeof bytes) : recv(connection->fd, bytes, sizeof bytes, 0);
		if (n == 0 || (n > 0 && !sink_receive(connection, bytes, (size_t)n, &sink->totals))) {
			fprintf(stderr, "penstock-sink: the server closed a connection\n");
			exit(1);
		}
		if (n < 0 || (!connection->tls && (size_t)n < sizeof bytes))
			break;
	}
	if (connection->out.n)
		flush(sink, connection);
}

static void connect_one(struct sink *sink, struct sink_connection *connection)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)sink->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int one = 1;
	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connection->fd < 0 || connect(connection->fd, (struct sockaddr *)&to, sizeof to) < 0)
		die("connect");
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (sink->tls) {
		connection->tls = SSL_new(sink->context);
		SSL_set_fd(connection->tls, connection->fd);
		if (SSL_connect(connection->tls) != 1)
			die("TLS");
	}
	fcntl(connection->fd, F_SETFL, O_NONBLOCK);
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
	epoll_ctl(sink->epoll, EPOLL_CTL_ADD, connection->fd, &event);
	sink_begin(connection);
}

static void connect_all(struct sink *sink, const char *path)
{
	static const unsigned char alpn[] = "\x02h2";
	char authority[32], *line = NULL;
	size_t size = 0;
	FILE *file = fopen(path, "r");
	if (!file)
		die(path);
	snprintf(authority, sizeof authority, "127.0.0.1:%d", sink->port);
	sink->context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_alpn_protos(sink->context, alpn, sizeof alpn - 1);
	sink->connections = xcalloc(sink->n_connections, sizeof *sink->connections);
	for (uint32_t i = 0; i < sink->n_connections; i++)
		connect_one(sink, &sink->connections[i]);
	for (ssize_t n; (n = getline(&line, &size, file)) > 0; sink->subscriptions++) {
		struct sink_connection *connection = &sink->connections[sink->subscriptions % sink->n_connections];
		uint32_t number = connection->n_subscriptions++;
		line[strcspn(line, "\n")] = 0;
		connection->subscriptions =
			xrealloc(connection->subscriptions, connection->n_subscriptions * sizeof *connection->subscriptions);
		connection->subscriptions[number] = (struct subscription){0};
		sink_subscribe(connection, number, authority, line);
	}
	free(line);
	fclose(file);
	for (uint32_t i = 0; i < sink->n_connections; i++)
		flush(sink, &sink->connections[i]);
}

/* A line of input: the totals. False: the end of it. */
static bool answer(const struct sink *sink)
{
	char bytes[256];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
	struct rusage usage;
	if (n <= 0)
		return false;
	getrusage(RUSAGE_SELF, &usage);
	double cpu =
		(double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
	printf("%" PRIu64 " %" PRIu64 " %.3f %" PRIu64 "\n", sink->totals.bytes, sink->totals.messages, cpu, sink->totals.ended);
	fflush(stdout);
	return true;
}

static void run(struct sink *sink)
{
	struct epoll_event ready[256], input = {.events = EPOLLIN, .data.ptr = NULL};
	epoll_ctl(sink->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &input);
	for (;;) {
		int n = epoll_wait(sink->epoll, ready, 256, -1);
		for (int i = 0; i < n; i++) {
			struct sink_connection *connection = ready[i].data.ptr;
			if (!connection) {
				if (!answer(sink))
					return;
				continue;
			}
			if (ready[i].events & EPOLLOUT)
				flush(sink, connection);
			receive(sink, connection);
		}
		if (sink->totals.refused) {
			fprintf(stderr, "penstock-sink: a subscription was refused\n");
			exit(1);
		}
		if (!sink->told && sink->totals.opened == sink->subscriptions) {
			printf("open\n");
			fflush(stdout);
			sink->told = true;
		}
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"port", 1, NULL, 'p'},
						{"tls", 0, NULL, 't'},
						{"connections", 1, NULL, 'c'},
						{"subscribe", 1, NULL, 's'},
						{NULL, 0, NULL, 0}};
	struct sink sink = {.n_connections = 1, .epoll = epoll_create1(EPOLL_CLOEXEC)};
	const char *path = NULL;
	for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		switch (option) {
		case 'p':
			sink.port = atoi(optarg);
			break;
		case 't':
			sink.tls = true;
			break;
		case 'c':
			sink.n_connections = (uint32_t)atoi(optarg);
			break;
		case 's':
			path = optarg;
			break;
		default:
			return 2;
		}
	}
	if (!sink.port || !path || !sink.n_connections) {
		fprintf(stderr, "penstock-sink: --port, --subscribe and at least one connection are needed\n");
		return 2;
	}
	raise_file_limit();
	connect_all(&sink, path);
	run(&sink);
	return 0;
}
