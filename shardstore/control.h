/* control.h: the control thread's insides, shared by control*.c. Private to shardstore; the contract is penstock/catalogue.h. */
#ifndef PENSTOCK_CONTROL_H
#define PENSTOCK_CONTROL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/catalogue.h"
#include "penstock/list.h"
#include "penstock/mail.h"
#include "penstock/store.h"
#include "shardstore/belief.h"
#include "shardstore/control_db.h"

#define CONTROL_PRUNED_TABLES 3

/* How far the sweep of a table has come: the key of the last row looked at; all zero: at its beginning. */
struct prune_key {
	int64_t number; /* consumer_seconds: stream; shard_updates: row */
	char name[STREAM_NAME_MAX + 1];
};

struct control {
	/* --- read-only once the thread runs --- */
	struct io *io;
	struct limits limits;
	uint64_t transition_ns, retention_check_ns;
	struct store *store;
	struct catalogue_reader *readers; /* owned copy */
	size_t n_readers;
	pthread_t thread;
	bool started, stepped;

	/* --- any thread --- */
	struct mailbox box;

	/* --- the control thread's; before control_start and after control_stop, the main thread's --- */
	pthread_t self;              /* as the thread itself sees it: `thread` may be written after it has begun */
	struct control_db db;
	struct catalogue *catalogue; /* the present snapshot; one reference */
	struct outbox outbox;        /* to lanes */
	struct mail stop_mail;
	bool stopping;
	struct list tasks;           /* struct task */
	struct list reshards;        /* struct reshard: one per stream that is UPDATING */
	unsigned in_flight;          /* store_admin requests that the store has */
	unsigned retains_in_flight;  /* of these, ADMIN_RETAIN */
	uint64_t retain_at_ns;       /* when the next round of retention is due */
	uint64_t prune_at_ns;        /* when the next slice of rows that have passed is due */
	struct prune_key pruned[CONTROL_PRUNED_TABLES];
	struct belief belief;        /* the time that retention goes by */
	uint64_t clock_save_ns;      /* when it is written down next, though nothing changed */
	uint64_t clock_retry_ns;     /* after a failure: not before */
	int64_t clock_ahead_ms;      /* wall clock minus boot_ns, when it was written down last */
	int64_t clock_told_ms;       /* what the gauge has of it */
	bool clock_apart;            /* the log has a line that the two are far apart */
};

/* Asserts that the caller is the control thread, or that there is none. */
void control_assert_thread(const struct control *control);

/* The file has changed: builds the new snapshot and posts it to every reader. Posted at once, not staged: whoever hears of the change by a
 * later mail, on whatever thread, must find every worker's snapshot posted already. */
enum status control_publish(struct control *control);

/* ---- control_change.c ---- */

/* Carries out one change and posts the answer; the mail of catalogue_change runs this. */
void control_on_change(struct mail *mail);

/* ---- control_life.c: what happens after the answer ---- */

/* One thing on its way from CREATING to ACTIVE, or from DELETING to gone. It ends when its time is up *and* the store has done its
 * part. Named by ids, so that a task whose object is gone meanwhile finds nothing to do. */
enum task_kind { TASK_CREATE_STREAM, TASK_DELETE_STREAM, TASK_CREATE_CONSUMER, TASK_DELETE_CONSUMER };

void control_add_task(struct control *control, enum task_kind kind, uint64_t stream, uint64_t consumer);
/* The consumer, or with consumer 0 the stream with all of its own, is being deleted: what waits to create it falls away. */
void control_drop_creations(struct control *control, uint64_t stream, uint64_t consumer);
/* At start: goes on with whatever the catalogue says is CREATING, UPDATING or DELETING. */
void control_resume(struct control *control);
/* Does what is due; returns when something will next be, ns of the monotonic clock (UINT64_MAX: nothing waits). */
uint64_t control_run_tasks(struct control *control, uint64_t now_ns);
void control_free_tasks(struct control *control); /* none is in flight */

/* ---- control_reshard.c: SplitShard, MergeShards, UpdateShardCount up to their answer ---- */

enum status control_split_shard(struct control *control, struct change *change);
enum status control_merge_shards(struct control *control, struct change *change);
enum status control_update_shard_count(struct control *control, struct change *change);
/* Open shards of all streams; those that are on their way count too: otherwise several at once would get past the limit. */
int64_t control_count_shards(const struct catalogue *catalogue);

/* ---- control_reshard_run.c: what happens after it ---- */

/* The stream is UPDATING, and the file has its intent. */
void control_add_reshard(struct control *control, uint64_t stream);
void control_drop_reshard(struct control *control, uint64_t stream); /* it is being deleted */
uint64_t control_run_reshards(struct control *control, uint64_t now_ns); /* like control_run_tasks */
void control_free_reshards(struct control *control);

/* ---- control_reserve.c ---- */

uint64_t control_run_reserve(struct control *control, uint64_t now_ns); /* like control_run_tasks */
/* Before a change that needs room on the disk: DISK_FULL with CAUSE_NO_ROOM below the free-space floor. */
enum status control_check_room(struct control *control, struct change *change);

/* ---- control_retain.c ---- */

/* Tells the lanes, when it is time, what has passed retention; returns when it is next time. */
uint64_t control_run_retention(struct control *control, uint64_t now_ns);

/* ---- control_clock.c ---- */

/* Takes up what the last process believed. The catalogue is open, control->io set. */
enum status control_clock_open(struct control *control, const struct control_config *config);
/* A reading of the wall clock, ms. Every time in the catalogue is one, so that belief.h knows it. */
int64_t control_wall_ms(struct control *control);
/* The time, ms, that retention goes by, after a reading. Shards expire by this one. */
int64_t control_believed_ms(struct control *control);
/* Writes it down, if that is due or `now`. */
void control_clock_save(struct control *control, bool now);

/* ---- control_prune.c ---- */

#define CONTROL_KEEP_MS INT64_C(86400000) /* the shortest retention; UpdateShardCount is counted as long */

/* Deletes a bounded number of rows that have passed, if a slice is due; returns when the next is. */
uint64_t control_run_prune(struct control *control, uint64_t now_ns);

#endif
