/* peer.h: the client's side of ./dev bench peers, the same for each server that has a client library in C: the schedule of puts, the clock,
 * the proof, and what is printed. What differs, how a record is put and received, is in peer_redis.c and peer_kafka.c.
 *
 * As penstock-load measures: open loop, from the time a put was meant to be sent to its receipt by each consumer; the timer comes a little
 * early, the put is made, and the rest is waited out awake. One thread. */
#ifndef PENSTOCK_BENCH_PEER_H
#define PENSTOCK_BENCH_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/histogram.h"

struct peer_options {
	int port;
	unsigned consumers;
	double rate, seconds, warmup;
	size_t size;
	const char *topic;
	bool put; /* throughput instead, of which only Kafka's client knows */
	unsigned connections, batch, in_flight, partitions, flush_messages;
};

struct peer;

struct peer_ops {
	void (*prepare)(struct peer *peer, const void *record, size_t n); /* make the next put; the record is lent until it was sent */
	void (*send)(struct peer *peer);                                  /* it is due */
	void (*on_ready)(struct peer *peer, unsigned tag);                /* a watched descriptor can be read */
};

struct peer {
	struct peer_options options;
	const struct peer_ops *ops;
	void *own; /* of peer_redis.c or peer_kafka.c */
	int epoll, timer;
	uint8_t *record;
	uint64_t put, *received; /* received[i]: by consumer i, each record once and in order */
	uint64_t begin_ns, warm_ns, end_ns;
	struct histogram latency, lag; /* lag: how late the client itself was */
};

uint64_t peer_now_ns(void);
double peer_cpu_s(void); /* of this process */
_Noreturn void peer_die(const char *format, ...) __attribute__((format(printf, 1, 2)));
void peer_options_parse(struct peer_options *options, int argc, char **argv);
void peer_init(struct peer *peer, const struct peer_options *options, const struct peer_ops *ops, void *own);
void peer_fini(struct peer *peer);
void peer_watch(struct peer *peer, int fd, unsigned tag);
/* Dies unless it is the one that comes after the consumer's last. */
void peer_received(struct peer *peer, unsigned consumer, const void *record, size_t n, uint64_t at_ns);
/* The first record alone, until each consumer has it: they are all there. Then the warm-up and the time that is measured, a line on standard
 * output for each second since the first put; last, when each consumer has everything, a line of JSON with the figures. */
void peer_run(struct peer *peer);
/* "3" on a line of its own: so many seconds have passed. */
void peer_second(uint64_t begin_ns, unsigned *told);

#endif
