/* peer.c: the schedule, the proof and the figures of ./dev bench peers; see peer.h.
 *
 * Failure modes: whatever goes wrong ends the process with one line on stderr and status 1: a figure without the proof is none. */
#include "bench/peer.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "penstock/bytes.h"

#define LEAD_NS 100000u /* as penstock-load: a core that sleeps in a virtual machine wakes 40 us late */
#define ARRIVE_NS 30000000000u
#define TIMER_TAG UINT32_MAX

struct record_head {
	uint64_t number, due_ns;
};

uint64_t peer_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void peer_die(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
	exit(1);
}

double peer_cpu_s(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- Options -------------------------------------------------------------------------------------------------------- */

void peer_options_parse(struct peer_options *options, int argc, char **argv)
{
	static const struct option long_options[] = {
		{"port", 1, NULL, 'p'},           {"consumers", 1, NULL, 'c'}, {"rate", 1, NULL, 'r'},      {"seconds", 1, NULL, 's'},
		{"warmup", 1, NULL, 'w'},         {"size", 1, NULL, 'b'},      {"topic", 1, NULL, 't'},     {"put", 0, NULL, 'u'},
		{"connections", 1, NULL, 'n'},    {"batch", 1, NULL, 'm'},     {"in-flight", 1, NULL, 'i'}, {"partitions", 1, NULL, 'a'},
		{"flush-messages", 1, NULL, 'f'}, {NULL, 0, NULL, 0}};
	*options = (struct peer_options){.consumers = 1,
					 .rate = 200,
					 .seconds = 20,
					 .warmup = 2,
					 .size = 1024,
					 .topic = "peers",
					 .connections = 4,
					 .batch = 500,
					 .in_flight = 5,
					 .partitions = 1};
	for (int option; (option = getopt_long(argc, argv, "", long_options, NULL)) != -1;) {
		double number = optarg ? strtod(optarg, NULL) : 0;
		switch (option) {
		case 'p':
			options->port = (int)number;
			break;
		case 'c':
			options->consumers = (unsigned)number;
			break;
		case 'r':
			options->rate = number;
			break;
		case 's':
			options->seconds = number;
			break;
		case 'w':
			options->warmup = number;
			break;
		case 'b':
			options->size = (size_t)number;
			break;
		case 't':
			options->topic = optarg;
			break;
		case 'u':
			options->put = true;
			break;
		case 'n':
			options->connections = (unsigned)number;
			break;
		case 'm':
			options->batch = (unsigned)number;
			break;
		case 'i':
			options->in_flight = (unsigned)number;
			break;
		case 'a':
			options->partitions = (unsigned)number;
			break;
		case 'f':
			options->flush_messages = (unsigned)number;
			break;
		default:
			exit(2);
		}
	}
	if (options->rate <= 0 || options->size < sizeof(struct record_head))
		peer_die("--rate above 0, and --size of %zu bytes at least", sizeof(struct record_head));
}

/* ---- Receiving ------------------------------------------------------------------------------------------------------ */

void peer_init(struct peer *peer, const struct peer_options *options, const struct peer_ops *ops, void *own)
{
	*peer = (struct peer){.options = *options, .ops = ops, .own = own, .epoll = epoll_create1(EPOLL_CLOEXEC)};
	peer->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	peer->record = xcalloc(1, options->size);
	memset(peer->record, 'x', options->size);
	peer->received = xcalloc(options->consumers, sizeof *peer->received);
	histogram_init(&peer->latency);
	histogram_init(&peer->lag);
	peer_watch(peer, peer->timer, TIMER_TAG);
}

void peer_fini(struct peer *peer)
{
	close(peer->timer);
	close(peer->epoll);
	free(peer->record);
	free(peer->received);
}

void peer_watch(struct peer *peer, int fd, unsigned tag)
{
	struct epoll_event event = {.events = EPOLLIN, .data.u32 = tag};
	if (epoll_ctl(peer->epoll, EPOLL_CTL_ADD, fd, &event) < 0)
		peer_die("epoll_ctl: %s", strerror(errno));
}

void peer_received(struct peer *peer, unsigned consumer, const void *record, size_t n, uint64_t at_ns)
{
	struct record_head head;
	if (n != peer->options.size)
		peer_die("consumer %u got a record of %zu bytes", consumer, n);
	memcpy(&head, record, sizeof head);
	if (head.number != peer->received[consumer])
		peer_die("consumer %u got record %" PRIu64 ", not %" PRIu64, consumer, head.number, peer->received[consumer]);
	peer->received[consumer]++;
	if (peer->warm_ns && head.due_ns >= peer->warm_ns)
		histogram_add(&peer->latency, at_ns > head.due_ns ? at_ns - head.due_ns : 0);
}

static bool all_received(const struct peer *peer)
{
	for (unsigned i = 0; i < peer->options.consumers; i++)
		if (peer->received[i] != peer->put)
			return false;
	return true;
}

/* One turn of the loop, which sleeps until there is something to do; in the lead of a put it does not. */
static void turn(struct peer *peer, int timeout_ms)
{
	struct epoll_event ready[64];
	int n = epoll_wait(peer->epoll, ready, 64, timeout_ms);
	if (n < 0 && errno != EINTR)
		peer_die("epoll_wait: %s", strerror(errno));
	for (int i = 0; i < n; i++) {
		uint64_t expired;
		if (ready[i].data.u32 != TIMER_TAG)
			peer->ops->on_ready(peer, ready[i].data.u32);
		else if (read(peer->timer, &expired, sizeof expired) < 0 && errno != EAGAIN)
			peer_die("timerfd: %s", strerror(errno));
	}
}

static void wait_for_all(struct peer *peer)
{
	uint64_t end_ns = peer_now_ns() + ARRIVE_NS;
	while (!all_received(peer)) {
		if (peer_now_ns() > end_ns)
			peer_die("not every consumer has all %" PRIu64 " records", peer->put);
		turn(peer, 100);
	}
}

/* ---- Putting -------------------------------------------------------------------------------------------------------- */

static void prepare(struct peer *peer, uint64_t due_ns)
{
	struct record_head head = {peer->put, due_ns};
	memcpy(peer->record, &head, sizeof head);
	peer->ops->prepare(peer, peer->record, peer->options.size);
}

static void send_prepared(struct peer *peer)
{
	peer->put++;
	peer->ops->send(peer);
}

static void wait_until(struct peer *peer, uint64_t at_ns)
{
	struct itimerspec alarm = {.it_value = {.tv_sec = (time_t)(at_ns / 1000000000u), .tv_nsec = (long)(at_ns % 1000000000u)}};
	timerfd_settime(peer->timer, TFD_TIMER_ABSTIME, &alarm, NULL);
	while (peer_now_ns() < at_ns)
		turn(peer, -1);
}

static void put_at(struct peer *peer, uint64_t due_ns)
{
	uint64_t lead_ns = (uint64_t)(1e8 / peer->options.rate); /* a tenth of a core at most */
	wait_until(peer, due_ns - (lead_ns < LEAD_NS ? lead_ns : LEAD_NS));
	prepare(peer, due_ns);
	while (peer_now_ns() < due_ns)
		turn(peer, 0);
	uint64_t now = peer_now_ns();
	send_prepared(peer);
	histogram_add(&peer->lag, now - due_ns);
}

void peer_second(uint64_t begin_ns, unsigned *told)
{
	unsigned seconds = (unsigned)((peer_now_ns() - begin_ns) / 1000000000u);
	if (seconds > *told) {
		*told = seconds;
		printf("%u\n", seconds);
		fflush(stdout);
	}
}

void peer_run(struct peer *peer)
{
	const struct peer_options *options = &peer->options;
	uint64_t puts = (uint64_t)((options->warmup + options->seconds) * options->rate);
	unsigned told = 0;
	prepare(peer, peer_now_ns());
	send_prepared(peer);
	wait_for_all(peer);
	double cpu = peer_cpu_s();
	peer->begin_ns = peer_now_ns() + 1000000;
	peer->warm_ns = peer->begin_ns + (uint64_t)(options->warmup * 1e9);
	for (uint64_t i = 0; i < puts; i++) {
		put_at(peer, peer->begin_ns + (uint64_t)((double)i * 1e9 / options->rate));
		peer_second(peer->begin_ns, &told);
	}
	cpu = (peer_cpu_s() - cpu) / (options->warmup + options->seconds);
	wait_for_all(peer);
	printf("{\"p50_ms\": %.4f, \"p99_ms\": %.4f, \"n\": %" PRIu64 ", \"client_cpu\": %.3f, \"client_lag_ms\": %.4f}\n",
	       (double)histogram_quantile(&peer->latency, 0.5) / 1e6, (double)histogram_quantile(&peer->latency, 0.99) / 1e6,
	       peer->latency.count, cpu, (double)histogram_quantile(&peer->lag, 0.99) / 1e6);
}
