/* outcome.h: what was measured: filled by the engine (run.c, compare.c), read by the reports. Plain data, one thread.
 *
 * An outcome is a list of regimes: one for a single measurement, several for compare (1 and 5 pollers alone, 1 and 5 consumers alone, both
 * together). Times are monotonic ns unless the name says otherwise; a latency runs from the *intended* send time of the record to the moment
 * its bytes were read from the socket. */
#ifndef PENSTOCK_LOADTEST_OUTCOME_H
#define PENSTOCK_LOADTEST_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/histogram.h"

/* One second of a regime, for progress lines and the page's timeline. Quantiles are of that second alone; 0 when nothing was received. */
struct tick {
	double at_s;             /* from the first put */
	uint64_t put, pushed, polled, throttled; /* records; throttled calls */
	double push_p50_ms, push_p99_ms, poll_p50_ms, poll_p99_ms;
};

/* One receiver: a pushed consumer or a poller. */
struct receiver {
	char name[32];
	uint64_t records, bytes; /* data and partition keys */
	double peak_mib_s;       /* best whole second, over all its shards */
	double mean_mib_s;       /* first record to last */
};

/* All pushed consumers, or all pollers, of a regime. */
struct side {
	unsigned receivers;      /* 0: this regime has none */
	struct receiver *each;   /* receivers; the regime's */
	struct histogram latency;      /* put intended to received */
	struct histogram after_answer; /* put answered to received; a record received before its answer counts as 0 */
	uint64_t records, bytes;
	uint64_t calls;          /* SubscribeToShard or GetRecords calls that were answered 200 */
	uint64_t events, empty_events;    /* pushed: messages; polled: answers */
	uint64_t throttled;      /* answers ProvisionedThroughputExceeded or LimitExceeded */
	uint64_t retried;        /* calls made again: after a throttle, an error, a reset or a broken connection */
	uint64_t resubscribed;   /* subscriptions begun again, for whatever reason */
	uint64_t missing, doubled, disordered, damaged; /* the proof: all 0, or the regime is wrong */
	uint64_t put_twice;      /* records that a retried put, its answer lost, put once more: the producer's doubles, not the server's */
	double interval_ms;      /* polled: time between two polls of one consumer of one shard; 0: pushed */
};

/* What the server says of a record's way (its /metrics, when it has them): quantiles in ms. */
struct hop {
	char name[16];           /* queue, commit, notice, write */
	double p50_ms, p99_ms;
};

struct regime {
	char name[48];           /* "1 poller", "5 consumers", "5 pollers and 5 consumers" */
	unsigned shards;
	double rate;             /* puts a second as scheduled; 0: closed loop */
	uint32_t batch;
	uint64_t put, acknowledged, put_bytes, put_calls, put_retried, put_throttled, put_failed;
	double seconds;          /* first intended put to the last answered */
	struct histogram put_latency; /* intended to answered */
	struct side pushed, polled;
	struct tick *ticks;      /* n_ticks; the regime's */
	uint32_t n_ticks;
	struct hop hops[8];
	uint32_t n_hops;         /* 0: the server tells nothing */
	double client_cpu;       /* CPU seconds per second of this process; near 1 the client is the bottleneck */
	double client_lag_ms;    /* p99 of how late the client served its schedule of puts: the machine's or its own lateness, in every latency */
	bool saturated;          /* the client fell behind: figures are the client's, not the server's */
	bool no_push;            /* the endpoint has no SubscribeToShard: the pushed side was left out */
	char why_no_push[160];
	char unreadable[300];    /* what of the endpoint's CBOR is not as the API has it, which ended the run; empty: nothing */
	bool right;              /* each record once to each receiver, in order per shard, every CRC right */
};

/* At list prices, in US dollars; settable. Sources: the service's price page, us-east-1, provisioned mode. */
struct prices {
	double shard_hour;           /* 0.015 */
	double million_put_units;    /* 0.014: PUT payload units of 25 KB */
	double consumer_shard_hour;  /* 0.015 */
	double consumer_gb;          /* 0.013: data retrieved by enhanced fan-out */
};

struct outcome {
	char command[32];        /* "compare", "push", ... */
	char arguments[512];     /* as given, without secrets: what reproduces it */
	char endpoint[256], server[64]; /* server: its Server header or name as given by --label */
	int64_t began_s;         /* wall clock, s since 1970 */
	uint32_t record_size;    /* mean, bytes of data */
	struct prices prices;
	struct regime **regimes; /* n_regimes; the outcome's */
	uint32_t n_regimes;
	bool interrupted;        /* Ctrl-C: what was measured until then */
};

struct regime *outcome_add(struct outcome *outcome, const char *name); /* zeroed, histograms ready; the outcome's */
void outcome_fini(struct outcome *outcome);
bool outcome_right(const struct outcome *outcome); /* every regime */

#endif
