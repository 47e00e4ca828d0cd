/* store.h: the records. Asynchronous throughout, so that a remote cluster can stand behind the same calls later.
 *
 * Lanes own whole streams: order, limits, the index, leases. Requests are mail to the stream's lane; answers are mail to the
 * caller's box. Positions inside are indexes (seq.h). Everything that leaves the store is durable: no position past the durable
 * end is ever told, no batch is seen before its group is synced. One lane runs by default; nothing may assume that there is only one.
 *
 * Requests embed in the caller's objects. The store has them from the call until on_done runs on the thread of reply_to; strings and
 * record bytes inside are lent for that time. Any thread may call, with its own outbox. */
#ifndef PENSTOCK_STORE_H
#define PENSTOCK_STORE_H

#include <stdint.h>

#include "penstock/batch.h"
#include "penstock/bucket.h"
#include "penstock/bytes.h"
#include "penstock/catalogue.h"
#include "penstock/io.h"
#include "penstock/limits.h"
#include "penstock/list.h"
#include "penstock/mail.h"
#include "penstock/pool.h"
#include "penstock/seq.h"
#include "penstock/status.h"

struct store;
struct lane;

struct store_config {
	struct io *io;
	const char *data_dir;        /* streams lie in data_dir/streams/<id>/ */
	struct limits limits;
	batch_encoder encode;
	unsigned lanes;              /* 1 to 8 */
	unsigned syncers, readers;   /* threads; 0 in the simulation, which steps the pools itself */
	bool threads;                /* false: no lane threads and no eventfds; the simulation calls lane_turn */
	uint64_t segment_min, segment_max; /* bytes; 0: 1 MiB and 64 MiB */
	uint64_t free_floor;         /* free bytes below which puts are refused; 0: max(2 largest segments, 1 % of what is free at start) */
	/* A file of the log is poisoned (first failed write or sync). Called once, by a lane; the process should say why and exit. */
	void (*on_poisoned)(void *arg, const char *why);
	void *arg;
};

enum status store_open(const struct store_config *config, struct store **out, char **why); /* no stream is open yet */
/* At start, before any other call, on the caller's thread: recovers the stream's log and gives it to its lane. A stream that has no
 * directory yet is made. `why` names file, offset and length of damage. STATUS_CORRUPT: the stream is served read-only as far as it is whole;
 * one whose log cannot be opened is served, too, and answers IO to all but its deletion. */
enum status store_recover(struct store *store, const struct stream_info *stream, char **why);
/* The same for n streams at once, with threads of its own if the store has threads. Log lines and on_damaged (STATUS_CORRUPT's *why, lent) come
 * in the order of the streams, on the caller's thread. */
void store_recover_all(struct store *store, const struct stream_info *const *streams, uint32_t n,
		       void (*on_damaged)(void *arg, const struct stream_info *stream, const char *why), void *arg);
enum status store_start(struct store *store);
/* [control thread] Is there more free on the disk than the floor? At most 100 ms old. */
bool store_has_room(struct store *store);
void store_stop(struct store *store); /* lanes drain, acknowledgements leave; then readers, syncers join */
void store_free(struct store *store);

/* ---- Put ---- */

struct put_record {
	/* in */
	uint128 hash;
	struct str key, data;
	/* out */
	enum status status;      /* OK, or THROTTLED, DISK_FULL, NO_FILES, IO, CLOSING, NOT_FOUND: this record is not stored */
	struct shard_key shard;  /* also when throttled */
	uint64_t index;
	int64_t arrival_ms;
};

struct store_put {
	struct mail mail;
	struct lane *lane;       /* store's */
	struct mailbox *reply_to;
	void (*on_done)(struct store_put *put);
	uint64_t stream;
	struct put_record *records; /* lent; 1 to 500. Of one shard: indexes rise in this order */
	uint32_t n;
	enum status status;      /* OK: look at each record. NOT_FOUND: no such stream here (deleted meanwhile) */
	uint64_t queued_ns, closed_ns, durable_ns; /* per hop, monotonic: reached the lane, group closed, group durable */
	struct store_put *next_in_group; /* lane's */
};

void store_put(struct store *store, struct outbox *from, struct store_put *put);

/* ---- Positions ---- */

enum position_kind { POSITION_AT, POSITION_AFTER, POSITION_TRIM_HORIZON, POSITION_LATEST, POSITION_AT_TIME };

struct position {
	enum position_kind kind;
	uint64_t index;          /* AT, AFTER */
	int64_t second;          /* AFTER: of the position that a client was given behind `index`; 0: it names a record */
	int64_t time_ms;         /* AT_TIME: the first record that arrived at or after it, else the tip */
};

/* AT or AFTER a number of version 2. A position lies behind its record: the next number at or above it is the next record's. */
static inline struct position position_of(const struct seq *seq, bool at)
{
	return (struct position){
		.kind = at && !seq->position ? POSITION_AT : POSITION_AFTER,
		.index = seq->index,
		.second = seq->position ? seq->time_s : 0,
	};
}

/* Where a reader stands: the next index it wants. 1 <= next <= durable end + 1. */
struct store_locate {
	struct mail mail;
	struct lane *lane;
	struct mailbox *reply_to;
	void (*on_done)(struct store_locate *locate);
	uint64_t stream;
	uint32_t shard;
	struct position position;
	bool limited;            /* GetShardIterator: counts against 5 calls/s of the shard */
	enum status status;      /* OK, NOT_FOUND, THROTTLED, IO (the stream is unreadable) */
	uint64_t next;
};

void store_locate(struct store *store, struct outbox *from, struct store_locate *locate);

/* ---- Read: durable extents into batches ---- */

struct store_read {
	struct mail mail;
	struct job job;          /* store's */
	struct lane *lane;
	struct mailbox *reply_to;
	void (*on_done)(struct store_read *read);

	/* in */
	uint64_t stream;
	uint32_t shard;
	uint64_t next;           /* first index wanted; one that retention has passed means the oldest kept */
	uint32_t max_records;
	size_t max_bytes;        /* payload; at least one record comes whatever its size, and the batch that crosses the line comes whole:
	                            what is read is parts of what was put together (batch.h), so BATCH_PART_BYTES or a record more at most */
	bool limited;            /* GetRecords: counts against 5 calls/s and 2 MiB/s of the shard. Catch-up of a subscription: false */
	bool encode;             /* run the encoder over each batch (catch-up) */
	/* Runs on the reader's thread when the batches are there, before on_done: GetRecords encodes its answer here. It may drop batches from
	 * the end: what it leaves is what counts against the limits. May be NULL. */
	void (*on_read)(struct store_read *read);

	/* out */
	enum status status;      /* OK, NOT_FOUND, THROTTLED, CORRUPT (damage: named in the log), IO, NO_FILES, NO_MEMORY */
	struct batch **batches;  /* in order, dense; each a reference that the caller drops. The first may begin before `next` (its records
	                            below `from` are to be skipped), the last may reach past the limits. NULL when n_batches is 0 */
	uint32_t n_batches;
	uint64_t from;           /* the first index that is really read: max(next, oldest kept) */
	uint64_t durable_end;    /* index of the last durable record when the lane answered (0: none) */
	int64_t durable_end_ms;  /* its arrival time */
	bool closed;             /* the shard is sealed and durable_end is its last record for ever */
	struct extent_ref *extents; /* store's */
	uint32_t n_extents;
	uint64_t charged;        /* store's: bytes the lane took from the bucket */
};

void store_read(struct store *store, struct outbox *from, struct store_read *read);
void store_read_release(struct store_read *read); /* drops the batches; any thread, after on_done */

/* ---- Listening: what a worker is told of shards that its subscriptions follow ---- */

/* A worker's ear. Lanes append what became durable, under `lock`, while the mail still lies there: batch references up to
 * LISTENER_BYTES, beyond that only "durable up to n". Embedded in the worker's hub. */
#define LISTENER_BYTES (4u << 20)

struct listener {
	struct mail mail;
	struct mailbox *box;
	void (*on_notice)(struct listener *listener); /* on the thread of box: calls listener_take until it says false */
	pthread_mutex_t lock;
	bool posted;             /* under lock: the mail is on its way */
	struct list dirty;       /* under lock: struct interest with something new */
	size_t bytes;            /* under lock: payload of the batches that wait */
};

void listener_init(struct listener *listener, struct mailbox *box, void (*on_notice)(struct listener *));
void listener_fini(struct listener *listener); /* once the store is stopped: drops what waits */

/* One shard's news: all batches that still wait, oldest first, and how far the shard is durable. */
struct notice {
	struct shard_key shard;
	uint64_t durable_end;
	int64_t durable_end_ms;
	bool closed;             /* sealed: durable_end is the end */
	uint64_t durable_ns;     /* when the first of this became durable, monotonic; 0: nothing did */
	struct batch **batches;  /* references, the caller's; freed with notice_fini */
	uint32_t n_batches;
};
bool listener_take(struct listener *listener, struct notice *out); /* on the worker's thread */
void notice_fini(struct notice *notice);

/* ---- Join and leave the tail; leases ---- */

struct store_join {
	struct mail mail;
	struct lane *lane;
	struct mailbox *reply_to;
	void (*on_done)(struct store_join *join);
	/* in */
	uint64_t stream;
	uint32_t shard;
	uint64_t consumer;           /* catalogue id */
	struct position position;
	struct listener *listener;   /* the worker's ear: interest begins with the reply, in one step with `next` */
	struct lease_holder *holder; /* whom to tell of takeover and deletion */
	uint64_t subscription;       /* the holder's name for it; unique in the process */
	/* out */
	enum status status;          /* OK; IN_USE: another began < 5 s ago; NOT_FOUND: no stream or shard; LIMIT_EXCEEDED: more than
	                                1 call/s of this consumer and shard; the lease that there may be was not looked at;
	                                IO: the stream is unreadable */
	struct shard_key key;
	uint64_t next;               /* start cursor */
	int64_t before_s;            /* second of the record before `next` (or the shard's creation): for ContinuationSequenceNumber */
	int64_t next_ms;             /* arrival of record `next`; 0: it is not there yet */
	uint64_t durable_end;
	int64_t durable_end_ms;
	bool closed;
	struct interest *interest;   /* store's */
};

/* A later join of the same (consumer, shard) wins from LEASE_GUARD on. Before IN_USE is answered, the holder is asked to look at its
 * socket once: a client that cancels on one connection and subscribes on another at once must not be refused. */
#define LEASE_GUARD_NS UINT64_C(5000000000)

void store_join(struct store *store, struct outbox *from, struct store_join *join);

enum lease_end { LEASE_TAKEN, LEASE_CONSUMER_GONE, LEASE_STREAM_GONE };

/* Whom a lane writes to about a lease: one per worker, embedded in its hub. Both run on the worker's thread. */
struct lease_holder {
	struct mailbox *box;
	void (*on_lease_end)(struct lease_holder *holder, uint64_t subscription, enum lease_end why); /* the lease is gone already */
	/* Look at the subscription's socket now; true if the client is gone (then its leave is on its way, in this same turn). */
	bool (*on_lease_probe)(struct lease_holder *holder, uint64_t subscription);
};

/* Fire and forget: allocated by the store. Posted before END_STREAM is written. Interest ends with the lane's handling. */
void store_leave(struct store *store, struct outbox *from, uint64_t stream, uint32_t shard, uint64_t consumer, uint64_t subscription,
		 struct listener *listener);

/* ---- From the control thread ---- */

struct store_admin {
	struct mail mail;
	struct job job;
	struct lane *lane;
	struct mailbox *reply_to;
	void (*on_done)(struct store_admin *admin);
	enum {
		ADMIN_OPEN_STREAM,
		ADMIN_CLOSE_STREAM,
		ADMIN_DROP_CONSUMER,
		ADMIN_RETAIN,
		/* Resharding, in this order; between the second and the third the snapshot with the children is published.
		 * SEAL: answered when all that the parents took is durable; from then on they take nothing, and puts to them wait, with all of
		 *   the stream that come behind them. The end is final once the catalogue says it: until then a crash forgets the seal.
		 * ADD_SHARDS: the catalogue has closed the parents; the children can be read and joined, and take nothing yet.
		 * SWITCH_SHARDS: parents closed, listeners told, children take the puts, those that waited first. */
		ADMIN_SEAL,
		ADMIN_ADD_SHARDS,
		ADMIN_SWITCH_SHARDS,
	} kind;
	struct stream_info *stream; /* OPEN: with its shards, lent. Makes directory and first segment. CLOSE: ends leases, deletes the directory */
	uint64_t id;                /* DROP_CONSUMER: consumer's; RETAIN: stream's */
	uint64_t stream_id;         /* CLOSE, DROP_CONSUMER, and resharding's */
	struct shard_info *shards;  /* lent. SEAL: the parents; end_index is filled, and closed_ms with the
	                               earliest time that it may be. SWITCH_SHARDS: the same, as the catalogue closed them.
	                               ADD_SHARDS: the children by number; intermediate ones closed */
	uint32_t n_shards;
	bool refuse;                /* SEAL, again: the catalogue cannot be written just now: puts to the parents fail with IO instead of waiting */
	int64_t expired_ms;         /* RETAIN: the catalogue no longer has shards that closed before it: forget them unless somebody listens */
	int64_t horizon_ms;         /* RETAIN: drop segments whose every record arrived before it; reads from now on never return older records */
	bool more;                  /* RETAIN, out: further segments have passed; one goes in a pass */
	enum status status;
	void *state;                /* store's */
};
void store_admin(struct store *store, struct outbox *from, struct store_admin *admin);

/* ---- Time ---- */

/* From the control thread, after each reading of the clocks, ms: the wall clock; the time that
 * retention goes by; the latest time that the wall clock ever showed. The first two run on with the
 * monotonic clock. */
void store_set_clock(struct store *store, int64_t wall_ms, int64_t believed_ms, int64_t highest_ms);
/* Any thread: the time that retention goes by, ms. Answers leave out what has expired by this time. */
int64_t store_believed_ms(const struct store *store);
/* Any thread: the latest arrival time, ms, that may have been given out; never before the wall clock. */
int64_t store_latest_ms(const struct store *store);

/* ---- Simulation and tests (config.threads false): the scheduler's handles ---- */
unsigned store_lanes(struct store *store);
bool store_lane_pending(struct store *store, unsigned lane);
void store_lane_turn(struct store *store, unsigned lane);
struct pool *store_syncers(struct store *store);
struct pool *store_readers(struct store *store);

#endif
