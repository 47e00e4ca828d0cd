/* run.h: the parts of one run: run.c begins and ends it, producer.c and put.c put, consumer.c and subscription.c are pushed, poller.c polls,
 * intake.c proves. */
#ifndef PENSTOCK_LOADTEST_RUN_H
#define PENSTOCK_LOADTEST_RUN_H

#include "loadtest/load.h"

#define RECORD_MAGIC "PSTK"

/* The first RECORD_MIN bytes of a record's data. */
struct record_stamp {
	uint32_t epoch;          /* the run that put it */
	uint64_t number, sent_ns; /* sent: when it was to be */
	bool counted;            /* after the warm-up */
};
void record_stamp_write(uint8_t *p, const struct record_stamp *stamp);
bool record_stamp_read(const uint8_t *p, size_t n, struct record_stamp *stamp);

/* What the producers know of each record. */
struct book {
	uint64_t max;            /* numbers below it */
	uint64_t *answered_ns;   /* 0: not acknowledged */
	uint8_t *sends;          /* how often it may be in the stream: sent, and not refused */
	/* Per shard: the largest number of an acknowledged put that was sent again; "": none. */
	char (*retried)[SEQUENCE_MAX + 1];
};

/* Writes down that a put which was sent again is acknowledged with this sequence number. */
void book_retried(struct book *book, unsigned shard, struct str sequence);

struct intake;
struct run {
	struct load *load;
	const struct plan *plan;
	struct regime *regime;
	uint32_t epoch;
	struct book book;
	struct producer *producers;
	struct consumer *consumers;
	struct poller *pollers;
	struct intake *intakes;  /* consumers, then pollers */
	unsigned n_intakes;
	bool putting, failed;    /* failed: a receiver cannot go on; said on stderr */
	unsigned puts_in_work;
	uint64_t numbers;        /* given out so far */
	uint64_t put_begin_ns, warm_ns, put_end_ns; /* warm: the warm-up's end */
	uint64_t drain_begin_ns;
	uint64_t window_begin_ns, window_end_ns; /* what drain_skip and drain_seconds say; 0: none */
	struct histogram lag;    /* how late the schedule was served */
	struct ticker *ticker;
};

/* The receiving end of one consumer or poller: its ledger, the proof of exactly once and in order. */
struct intake {
	struct run *run;
	struct side *side;
	struct receiver *receiver;
	struct histogram *second; /* the side's latencies since the last tick; the ticker's */
	uint8_t *seen;           /* times per record number */
	char (*last_sequence)[SEQUENCE_MAX + 1]; /* per shard; compared as numbers */
	uint64_t unique;         /* records seen at least once */
	uint64_t first_ns, last_ns, second_bytes, window_bytes;
};
void intake_init(struct intake *intake, struct run *run, struct side *side, struct histogram *second);
void intake_fini(struct intake *intake);
/* Books the records of one answer or event: a Records list as decoded. Data is decoded in place, so the list can be read once. `measured`:
 * their latency counts. */
void intake_records(struct intake *intake, unsigned shard, const struct value *records, enum encoding encoding, uint64_t at_ns, bool measured);
/* The endpoint's CBOR is not as the API has it: no damage on the way, and it would go on so. Ends the run, and says why. */
void intake_unreadable(struct intake *intake, const char *operation, const char *how);
/* Has each acknowledged record, and each double that retried puts left: those lie before the copy
 * that was acknowledged. */
bool intake_complete(const struct intake *intake);
/* Counts what is missing, after the drain: what was acknowledged; of a stream that was there already, what another one had (`most`). */
void intake_judge(struct intake *intake, uint64_t most);

/* producer.c: the schedule; put.c: one put. */
struct producer {
	struct run *run;
	struct connection *connection;
	struct event *timer;
	uint64_t due_ns, gap_ns, lead_ns;
	struct put *next;        /* made ahead of its time; NULL: not yet */
	struct list puts;        /* in work or waiting to be sent again */
};
void producers_start(struct run *run);
bool producers_idle(const struct run *run);
void producers_free(struct run *run);
void producer_put_over(struct producer *producer); /* one put is answered for good */
/* All of a put but to send it. NULL: the book is full. The producer's, until it begins, or is freed. */
struct put *put_new(struct producer *producer, uint64_t due_ns);
void put_begin(struct put *put); /* sends it; it frees itself when it is over */
void put_free(struct put *put);
void puts_free(struct producer *producer);

/* consumer.c and subscription.c */
void consumers_start(struct run *run);
bool consumers_ready(const struct run *run);  /* each subscription has begun */
void consumers_pause(struct run *run);        /* stalled ones read nothing */
void consumers_resume(struct run *run);
void consumers_free(struct run *run);

struct consumer {
	struct run *run;
	struct intake *intake;
	struct connection *connection;
	const char *arn;
	unsigned number;
	struct subscription **subscriptions; /* by shard; NULL: not begun */
};
struct subscription *subscription_new(struct consumer *consumer, unsigned shard, bool stalled, bool child);
bool subscription_ready(const struct subscription *subscription);
bool subscription_over(const struct subscription *subscription); /* the shard was read to its end */
void subscription_stall(struct subscription *subscription, bool stalled); /* of those made to be stalled */
void subscription_free(struct subscription *subscription);
void consumer_shard_ended(struct consumer *consumer, const struct value *children);

/* poller.c */
void pollers_start(struct run *run);
bool pollers_ready(const struct run *run);    /* each has its iterators */
void pollers_free(struct run *run);

/* ticker.c: a tick each second. */
struct ticker *ticker_new(struct run *run);
void ticker_start(struct ticker *ticker);     /* at the first put, or when reading begins */
struct histogram *ticker_pushed(struct ticker *ticker);
struct histogram *ticker_polled(struct ticker *ticker);
void ticker_free(struct ticker *ticker);

#endif
