/* load.h: one measurement: producers, pushed consumers and pollers against one stream, in one thread and one event loop.
 *
 * Every record carries its number and the monotonic time at which it was to be sent; whoever receives it on this machine takes the
 * difference. Puts go out on a fixed schedule (open loop), so that a slow server cannot hide behind its own slowness. */
#ifndef PENSTOCK_LOADTEST_LOAD_H
#define PENSTOCK_LOADTEST_LOAD_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "loadtest/connection.h"
#include "penstock/histogram.h"
#include "penstock/value.h"

#define LOAD_SHARDS_MAX 1024
#define LOAD_CONSUMERS_MAX 100

struct load_options {
	struct endpoint_options where;
	struct endpoint endpoint; /* what became of `where` */
	const char *stream;      /* name; made, and deleted again */
	unsigned shards;
	unsigned consumers;      /* pushed; one connection each */
	unsigned pollers;        /* shared consumers: each polls every shard, all together at 5 calls/s and shard */
	unsigned producers;      /* connections that put */
	double rate;             /* puts per second over all producers; 0: closed loop, as fast as answers come */
	unsigned in_flight;      /* with rate 0: puts that each connection has in work at once */
	unsigned batch;          /* records a put; 1: PutRecord */
	unsigned size;           /* bytes of data a record; at least RECORD_MIN */
	double seconds, warmup;  /* of putting; records of the warm-up are delivered, not counted */
	uint64_t records;        /* at most so many; 0: as seconds and rate say. With existing: at least what the stream holds */
	unsigned stalled;        /* so many subscriptions (of the last consumers) are not read until the puts are over */
	bool horizon;            /* consumers begin at TRIM_HORIZON after everything was put (drain), not at LATEST before */
	double drain_seconds;    /* with horizon: how long to read; 0: until all is delivered */
	double drain_skip;       /* with drain_seconds: so long at the start is not counted (until the budget's bucket is dry) */
	bool existing;           /* the stream is there, with its records: put nothing, read it from TRIM_HORIZON, keep it */
	bool keep;               /* do not delete the stream */
	bool progress;           /* a line each second while it puts */
	const char *json;        /* file for the figures; NULL: none */
};

#define RECORD_MAGIC "PSTK"
#define RECORD_MIN 28        /* magic, u64 number, u64 sent ns, u64 counted */

struct record_stamp {
	uint64_t number, sent_ns;
	bool counted;
};
void record_stamp_write(uint8_t *p, const struct record_stamp *stamp);
bool record_stamp_read(const uint8_t *p, size_t n, struct record_stamp *stamp);

/* What one kind of consumer saw. */
struct tally {
	struct histogram latency;       /* put sent to received */
	struct histogram after_answer;  /* put answered to received; a record received before its answer counts as 0 */
	uint64_t records, bytes, doubled, disordered, events, empty_events, throttled, errors;
	uint64_t first_ns, last_ns;
};

/* Each receiver's proof of exactly once and in order. */
struct ledger {
	uint8_t *seen;           /* bit per record number */
	char (*last_sequence)[60]; /* per shard; equal widths, so text order is number order */
	uint64_t count;
	uint64_t window_bytes;   /* data and partition keys received between window_begin_ns and window_end_ns */
};

struct load {
	const struct load_options *options;
	struct event_base *base;
	struct connection *control;
	struct event *decode_event; /* lower priority than sockets */
	struct list undecoded;      /* struct shard_reader with bytes */
	char arn[256];
	char shard_ids[LOAD_SHARDS_MAX][32];
	unsigned n_shards;
	uint64_t *answered_ns;   /* by record number; 0: not yet */
	uint64_t put, acknowledged, put_failed, put_bytes, put_calls;
	uint64_t numbers_max;
	uint64_t counted;        /* records acknowledged after the warm-up */
	struct histogram put_latency;
	uint64_t put_begin_ns, put_end_ns;
	uint64_t window_begin_ns, window_end_ns; /* what drain_skip and drain_seconds say; 0: none */
	struct producer *producers;
	struct consumer *consumers;
	struct poller *pollers;
	bool putting, failed;
	struct tally pushed, polled;
	struct histogram pushed_others; /* put sent to received, subscriptions that were never stalled */
};

uint64_t now_ns(void);
/* Runs the loop until *done or `seconds` have passed; false: the time is over. */
bool load_wait(struct load *load, const bool *done, double seconds);
/* A control call, waited for. False: it was answered with an error (printed) or not at all. The answer's tree is in `arena`. */
bool load_ask(struct load *load, const char *operation, const char *body, struct arena *arena, struct value **answer);

/* setup.c */
bool stream_make(struct load *load);
void stream_remove(struct load *load);
bool consumer_register(struct load *load, const char *name, char arn[300]);

/* producer.c */
bool producers_start(struct load *load);
bool producers_idle(const struct load *load);
void producers_free(struct load *load);

/* consumer.c */
bool consumers_start(struct load *load);
bool consumers_ready(const struct load *load); /* each subscription has had its first event */
void consumers_resume(struct load *load);      /* stalled ones read again */
bool consumers_have(const struct load *load, uint64_t records); /* each consumer has so many */
void consumers_free(struct load *load);

/* poller.c */
bool pollers_start(struct load *load);
bool pollers_have(const struct load *load, uint64_t records);
void pollers_free(struct load *load);

/* check.c */
void ledger_init(struct ledger *ledger, uint64_t numbers_max);
void ledger_fini(struct ledger *ledger);
/* Books one received record; counts doubles and disorder in the tally, and its latency (in `also` too unless that is NULL). */
void ledger_book(struct load *load, struct ledger *ledger, struct tally *tally, unsigned shard, struct str sequence, size_t key_len,
		 const uint8_t *data, size_t n, uint64_t at_ns, struct histogram *also);
bool load_checked(struct load *load); /* every acknowledged record once to each consumer, in order: says what is wrong */

/* report.c */
uint64_t consumer_window_bytes(const struct load *load, unsigned i); /* consumer.c */
uint64_t pollers_window_bytes(const struct load *load);             /* poller.c: together */
void old_report_progress(const struct load *load);
void old_report_print(const struct load *load);
bool old_report_json(const struct load *load);

#endif
