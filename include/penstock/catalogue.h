/* catalogue.h: which streams, shards and consumers there are.
 *
 * Truth is SQLite in the data directory (WAL mode, synchronous=FULL), touched by the control thread alone. Everybody else reads an
 * immutable, reference-counted snapshot, made anew after each change and mailed to every worker. Mail order gives what clients
 * expect: the snapshot with a change is posted to every worker before the reply to whoever asked for it.
 *
 * Life of a stream: CREATING -> ACTIVE <-> UPDATING; any -> DELETING -> gone. CREATING, UPDATING and DELETING go on after a restart. */
#ifndef PENSTOCK_CATALOGUE_H
#define PENSTOCK_CATALOGUE_H

#include <stdatomic.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/io.h"
#include "penstock/limits.h"
#include "penstock/mail.h"
#include "penstock/seq.h"
#include "penstock/status.h"

enum stream_status { STREAM_CREATING, STREAM_ACTIVE, STREAM_UPDATING, STREAM_DELETING };
enum consumer_status { CONSUMER_CREATING, CONSUMER_ACTIVE, CONSUMER_DELETING };
enum stream_mode { MODE_PROVISIONED, MODE_ON_DEMAND };

#define STREAM_NAME_MAX 128
#define NO_PARENT UINT32_MAX

struct shard_info {
	struct shard_key key;
	uint128 hash_first, hash_last; /* inclusive */
	uint32_t parent, adjacent;     /* shard numbers or NO_PARENT */
	bool closed;
	uint64_t end_index;            /* closed: index of its last record (0: it has none) */
	int64_t closed_s;              /* closed: second of its EndingSequenceNumber */
	int64_t opened_ms, closed_ms;  /* wall clock; closed_ms 0 while open: for ListShards filters and expiry */
};

struct consumer_info {
	uint64_t id;                   /* never used again */
	char name[STREAM_NAME_MAX + 1];
	enum consumer_status status;
	int64_t created_s;             /* the suffix of its ARN: unique per (stream, name) */
	int64_t created_ms;
};

struct stream_info {
	uint64_t id;                   /* this incarnation's; never used again */
	char name[STREAM_NAME_MAX + 1];
	enum stream_status status;
	enum stream_mode mode;
	uint32_t shard_target;         /* shards asked for, also while CREATING (then n_shards is 0) */
	int64_t created_ms;            /* StreamCreationTimestamp; its second strictly rises per name */
	int32_t retention_hours;
	int32_t max_record_kib;
	uint32_t n_shards;             /* in order of shard number, expired ones left out */
	struct shard_info *shards;
	uint32_t n_consumers;          /* by name, byte order */
	struct consumer_info *consumers;
};

struct catalogue {
	atomic_uint refs;
	uint64_t version;              /* rises by one per change */
	uint32_t n_streams;            /* by name, byte order; one entry per name */
	struct stream_info *streams;
};

struct catalogue *catalogue_ref(struct catalogue *snapshot);
void catalogue_unref(struct catalogue *snapshot);

/* Look-ups in a snapshot: any thread that holds a reference. NULL when there is none; the result lives as long as the snapshot. */
const struct stream_info *catalogue_stream(const struct catalogue *snapshot, struct str name);
const struct stream_info *catalogue_stream_by_id(const struct catalogue *snapshot, uint64_t id);
const struct shard_info *stream_shard(const struct stream_info *stream, uint32_t shard);
const struct shard_info *stream_shard_for(const struct stream_info *stream, uint128 hash); /* the open one that covers it */
const struct consumer_info *stream_consumer(const struct stream_info *stream, struct str name);
uint32_t stream_open_shards(const struct stream_info *stream);
const char *stream_status_name(enum stream_status status);     /* "CREATING" ... */
const char *consumer_status_name(enum consumer_status status);
const char *stream_mode_name(enum stream_mode mode);           /* "PROVISIONED", "ON_DEMAND" */

/* ---- Changes: to the control thread ---- */

enum change_kind { CHANGE_CREATE_STREAM, CHANGE_DELETE_STREAM, CHANGE_REGISTER_CONSUMER, CHANGE_DEREGISTER_CONSUMER,
		   CHANGE_SPLIT_SHARD, CHANGE_MERGE_SHARDS, CHANGE_UPDATE_SHARD_COUNT };

enum change_cause { /* which rule refused it, for the text; CAUSE_NONE with STATUS_OK */
	CAUSE_NONE,
	CAUSE_EXISTS,          /* IN_USE: a stream or consumer of that name exists */
	CAUSE_NO_STREAM,       /* NOT_FOUND */
	CAUSE_NO_CONSUMER,     /* NOT_FOUND */
	CAUSE_SHARD_LIMIT,     /* LIMIT_EXCEEDED; have, limit, would are set */
	CAUSE_CHANGING_LIMIT,  /* LIMIT_EXCEEDED: too many streams CREATING or DELETING */
	CAUSE_CONSUMER_LIMIT,  /* LIMIT_EXCEEDED */
	CAUSE_CREATING_LIMIT,  /* LIMIT_EXCEEDED: too many consumers CREATING, over all streams */
	CAUSE_HAS_CONSUMERS,   /* IN_USE: DeleteStream without EnforceConsumerDeletion */
	CAUSE_NOT_ACTIVE,      /* IN_USE: stream or consumer in another state */
	CAUSE_NO_SHARD,        /* NOT_FOUND: `shard` is the one that is not there */
	CAUSE_ON_DEMAND,       /* VALIDATION: not for a stream in on-demand mode */
	CAUSE_SHARD_CLOSED,    /* INVALID_ARGUMENT: `shard` is split or merged already */
	CAUSE_HASH_KEY,        /* INVALID_ARGUMENT: not inside the shard's range, which is in `parent` */
	CAUSE_NOT_ADJACENT,    /* INVALID_ARGUMENT */
	CAUSE_TARGET_LIMIT,    /* LIMIT_EXCEEDED: have, limit, would */
	CAUSE_SCALE_UP,        /* LIMIT_EXCEEDED: more than so many times as many; have, would */
	CAUSE_SCALE_DOWN,      /* LIMIT_EXCEEDED */
	CAUSE_UPDATES_LIMIT,   /* LIMIT_EXCEEDED: UpdateShardCount too often in 24 h; limit */
	CAUSE_ALL_SHARDS_LIMIT, /* LIMIT_EXCEEDED: open and closed shards: have, limit, would (those to add) */
	CAUSE_NO_ROOM,         /* DISK_FULL: the disk has reached the free-space floor */
	CAUSE_FAULT,           /* INTERNAL: the catalogue could not be written */
};

/* One change. Embedded in the caller's request; the control thread has it between catalogue_change() and on_done. */
struct change {
	struct mail mail;
	struct control *control;
	struct mailbox *reply_to;               /* the caller's mailbox */
	void (*on_done)(struct change *change); /* on the thread of reply_to */

	/* in */
	enum change_kind kind;
	struct str stream;                      /* name; lent until on_done */
	struct str consumer;                    /* name */
	enum stream_mode mode;
	uint32_t shards;                        /* CREATE_STREAM: >= 1; UPDATE_SHARD_COUNT: the target */
	uint32_t shard, adjacent;               /* SPLIT_SHARD: shard; MERGE_SHARDS: both */
	uint128 hash;                           /* SPLIT_SHARD: where the second child begins; 0: nowhere that can be */
	int32_t max_record_kib;                 /* CREATE_STREAM */
	bool enforce_consumer_deletion;         /* DELETE_STREAM */

	/* out */
	enum status status;
	enum change_cause cause;
	int64_t have, limit, would;             /* UPDATE_SHARD_COUNT, done: have: open shards before */
	enum stream_status state;               /* resharding, CAUSE_NOT_ACTIVE: the stream's */
	struct shard_info parent;               /* CAUSE_HASH_KEY */
	struct consumer_info registered;        /* REGISTER_CONSUMER: as it was made */
};

/* Any thread. The change is durable when on_done says STATUS_OK. */
void catalogue_change(struct control *control, struct outbox *from, struct change *change);

/* ---- The control thread ---- */

struct store;
struct control;

struct control_config {
	struct io *io;
	const char *data_dir;
	struct limits limits;
	uint64_t transition_ms;      /* how long a stream or consumer stays CREATING or DELETING */
	int64_t retention_check_ms;  /* how often lanes are told to drop what has passed retention; 0: 10 s */
	uint64_t reserve_bytes;      /* room that is kept on the disk for deletions when it is full; 0: none */
	int64_t clock_grace_ms;      /* running time until a clock that leapt forward is believed; 0: none */
	bool believe_clock;          /* the wall clock is right at this start, by an operator's word */
	/* The simulation's: no thread and no eventfd, control_turn does the work; and the name of a VFS of SQLite's, for a catalogue.db on a
	 * simulated disk that nobody else can open: no lock is taken on the directory. NULL: the system's. */
	bool stepped;
	const char *vfs;
};

/* A worker that wants snapshots: on_snapshot runs on its thread, and takes one reference. */
struct catalogue_reader {
	struct mailbox *box;
	void (*on_snapshot)(void *arg, struct catalogue *snapshot);
	void *arg;
};

/* Opens or makes data_dir/catalogue.db. On failure writes a reason (file, what is wrong, what to do) to *why, which the caller
 * frees. Does not start the thread yet: the snapshot can be read (control_snapshot) to open the store's streams. */
enum status control_open(const struct control_config *config, struct control **out, char **why);
struct catalogue *control_snapshot(struct control *control); /* a new reference; before control_start, or on the control thread */
/* 32 secret bytes, made once and kept in the catalogue: iterators and page tokens outlive a restart. `name` up to 32 characters. */
enum status control_secret(struct control *control, const char *name, uint8_t out[32]);

/* Starts the thread; readers are copied, and each is mailed the present snapshot first. `store` must have every stream open. */
enum status control_start(struct control *control, struct store *store, const struct catalogue_reader *readers, size_t n);
void control_stop(struct control *control); /* drains changes, joins the thread. config.stepped: only tells it to end */
void control_free(struct control *control);

/* ---- Simulation (config.stepped): the scheduler's handles ---- */
bool control_pending(struct control *control);
/* What the thread does between two sleeps. *due_ns: when it wants the next, mail or not (UINT64_MAX: it waits for mail). False: it has ended. */
bool control_turn(struct control *control, uint64_t *due_ns);

#endif
