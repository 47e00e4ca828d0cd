/* lane.h: the inside of lanes: who owns which field, and what the lane's files call of each other. Private to shardstore.
 *
 *      lane ── streams by id ── lane_stream ── shards by number ── lane_shard ── index: extents, packed, a run per segment
 *                                   │                                  │   └──── leases, one per consumer ── joins that wait for a probe
 *                                   │                                  └──────── interests, one per listener
 *                                   └── open group (gathers) and flight group (at the syncer): puts, one batch per shard
 *
 * Everything belongs to the holder of the lane's run lock ("the lane"), but what stands under another banner. */
#ifndef PENSTOCK_LANE_H
#define PENSTOCK_LANE_H

#include <stdatomic.h>

#include "penstock/store.h"
#include "shardstore/extent_run.h"
#include "shardstore/streamlog.h"

/* A group beyond this makes further puts of its stream wait: what is in one group is lost together when the disk is full, and its sync
 * is the latency of all that wait for it. */
#define GROUP_BYTES_MAX (16u << 20)
/* Accepted but not durable, per lane: beyond it puts wait, and with them their producers' sockets. */
#define LANE_BYTES_MAX (64u << 20)
/* The free-space floor is looked at no more often than this. */
#define SPACE_CHECK_NS UINT64_C(100000000)

/* Mail that waits at its owner, oldest first: the link is the mail's own, free while the lane has it. */
struct mail_fifo {
	struct mail *head, **tail;
};

static inline void fifo_init(struct mail_fifo *fifo)
{
	fifo->head = NULL;
	fifo->tail = &fifo->head;
}

static inline void fifo_push(struct mail_fifo *fifo, struct mail *mail)
{
	mail->next = NULL;
	*fifo->tail = mail;
	fifo->tail = &mail->next;
}

static inline struct mail *fifo_pop(struct mail_fifo *fifo)
{
	struct mail *mail = fifo->head;
	if (mail) {
		fifo->head = mail->next;
		if (!fifo->head)
			fifo->tail = &fifo->head;
	}
	return mail;
}

/* All of it, in order; `from` is empty afterwards. */
static inline void fifo_move(struct mail_fifo *to, struct mail_fifo *from)
{
	fifo_init(to);
	if (!from->head)
		return;
	*to = *from;
	fifo_init(from);
}

struct lane_stream;

struct lane_shard {
	struct shard_key key;
	struct lane_stream *stream;
	uint32_t place;           /* open: in stream->route and stream->marks */
	uint128 hash_first;
	uint32_t parent, adjacent; /* or NO_PARENT */
	bool closed;
	uint64_t end_index;       /* closed: of its last record */
	int64_t closed_ms;        /* closed: for retention */
	bool sealing;             /* takes nothing more: it is being closed */

	uint64_t next;            /* index of the next record; next - 1 is the durable end */
	int64_t last_arrival_ms;  /* of the last durable record */
	struct extent_run *index; /* a run per segment: n_index from index_at, dropped from the front, grown at the back */
	size_t index_at, n_index, index_cap;

	struct batch *open;       /* its batch in the open group; NULL: none */
	size_t usual_bytes;       /* frames of the batch before: room for the next */
	uint32_t open_place;      /* in the open group's arrays */
	bool flying;              /* has a batch in the group in flight */

	struct bucket write_records, write_bytes, read_calls, read_bytes, iterator_calls;
	uint64_t reads_shut_ns;   /* an answer was larger than a second's worth: until then GetRecords is refused */
	struct list subscribers;  /* struct subscribe_rate: consumers that joined of late */
	struct list leases;       /* struct lease */
	struct list interests;    /* struct interest */
};

struct lane_group {
	struct lane_stream *stream;
	struct store_put *puts, **puts_tail;
	struct lane_shard **shards; /* n, like batches */
	struct batch **batches;
	uint32_t n, cap, extents_cap;
	uint64_t bytes;             /* of frames */
	uint64_t closed_ns;

	/* --- the syncer's, from pool_add until the mail --- */
	struct job job;
	struct mail mail;
	struct group group;
	struct shard_mark *marks;   /* the stream's when it closed; its own to free if the stream has others by now */
	uint32_t n_marks;
	enum status status;
};

/* Joins of a consumer that was dropped may still be on their way from a worker with an older snapshot: the last so many are remembered. */
#define DROPPED_CONSUMERS 64

struct lane_stream {
	struct lane *lane;
	uint64_t id;
	char *path;
	struct streamlog *log;
	bool refuses;             /* poisoned or damaged: puts answer IO */
	bool unreadable;          /* its files could not be read at the start: reads answer IO too */

	struct lane_shard **shards; /* by number */
	uint32_t n_shards;
	struct lane_shard **route; /* the open ones, by hash */
	uint32_t n_route;
	struct shard_mark *marks; /* like route; read by the syncer while a group is in flight: then only a copy may change */

	struct lane_group groups[2], *open, *flight; /* flight NULL: no group at the syncer */
	struct list dirty;        /* on lane->dirty: has an open group and none in flight */
	struct mail_fifo waiting; /* puts that found no room, or a parent that is being closed */
	struct list waits;        /* on lane->waiting */

	uint32_t n_sealing;       /* shards that are */
	bool seal_refuses;        /* puts to them fail instead of waiting */
	struct store_admin *seal; /* waits for what the parents took to be durable */

	int64_t horizon_ms;       /* what arrived before is not read any more */
	struct mail_fifo admins;  /* RETAIN and CLOSE, waiting for the group in flight */
	bool closing;             /* no longer in the lane's table */
	bool sweeping;            /* a RETAIN's job is at a syncer: the sweep, or the rest */
	bool preparing;           /* prepare_job is at a syncer */
	struct job prepare_job;
	struct mail prepare_mail;
	enum status prepare_status;
	uint64_t dropped[DROPPED_CONSUMERS];
	unsigned n_dropped;       /* ever; the place is modulo */
};

struct lane {
	/* --- read-only once started --- */
	struct store *store;
	struct io *io;
	unsigned number;
	pthread_t thread;

	/* --- any thread --- */
	struct mailbox box;
	pthread_mutex_t run_lock; /* the lane's thread waits for it, all others only try */

	/* --- whoever holds run_lock --- */
	bool started;                 /* others may run it; false: it is its owner's, before and after all threads */
	struct outbox outbox;
	uint64_t now_ns;              /* at the start of this turn */
	struct lane_stream **streams; /* by id */
	size_t n_streams, streams_cap;
	struct list dirty;            /* lane_stream.dirty: groups to close at the end of this turn */
	struct list waiting;          /* lane_stream.waits */
	struct lane_stream **encode;  /* whose flight groups were handed out in this turn */
	size_t n_encode, encode_cap;
	uint64_t undurable;           /* bytes accepted, not yet durable */
	uint64_t jobs;                /* at a pool, whose mail will come back here */
	struct mail stop_mail;
	bool stopping, stopped;       /* told to stop; nothing is in flight any more */
};

struct store {
	/* --- read-only once started --- */
	struct store_config config;
	char *streams_dir;
	uint64_t free_floor;
	struct lane *lanes;
	bool started, ended;
	struct pool syncers, readers;

	/* --- any thread --- */
	atomic_bool full;             /* below the free-space floor */
	_Atomic uint64_t space_checked_ns;
	atomic_bool space_checking;   /* space_job is queued or runs */
	struct job space_job;
	atomic_flag poisoned;         /* on_poisoned was called */
	/* As store_set_clock told, ms ahead of the monotonic clock; CLOCK_UNSET before that. */
	_Atomic int64_t wall_ahead_ms, believed_ahead_ms;
	_Atomic int64_t highest_ms;
};

#define CLOCK_UNSET INT64_MIN

/* ---- store_clock.c ---- */

/* Any thread: the wall clock, ms, but not before the control thread's last reading of it. A clock
 * that was set back between two readings must not make stamps that belief.h does not know. */
int64_t store_stamp_ms(struct store *store);

/* ---- store.c ---- */

/* A syncer's thread, or control's: looks at the free space if the last look is SPACE_CHECK_NS old, or `now`. */
void store_check_space(struct store *store, bool now);
/* The lane's thread: asks a syncer to look, if that is due. */
void store_want_space(struct lane *lane);

/* ---- lane.c ---- */

int lane_init(struct lane *lane, struct store *store, unsigned number);
void lane_fini(struct lane *lane); /* frees streams; their logs are closed */
void *lane_main(void *lane);
void lane_turn(struct lane *lane);
struct lane_stream *lane_find(const struct lane *lane, uint64_t id);
void lane_insert(struct lane *lane, struct lane_stream *stream);
void lane_remove(struct lane *lane, struct lane_stream *stream);
/* A job whose mail comes back to this lane. */
void lane_job(struct lane *lane, struct pool *pool, struct job *job);
/* Drops leases and interests of every stream without a word: the listeners may go next. Called once the lane is stopped. */
void lane_forget_listeners(struct lane *lane);
void lane_run_stop(struct mail *mail);

char *lane_stream_path(const char *streams_dir, uint64_t id); /* of its directory; the caller frees it */
/* Not yet in a lane; log NULL. */
struct lane_stream *lane_stream_new(struct lane *lane, const struct stream_info *info, const char *streams_dir);
void lane_stream_free(struct lane_stream *stream); /* the log is closed or destroyed */
struct lane_shard *lane_stream_shard(const struct lane_stream *stream, uint32_t shard);
/* For lane_reshard.c. The shard is in no array yet. */
struct lane_shard *lane_shard_new(struct lane_stream *stream, const struct shard_info *info);
void lane_shard_free(struct lane_shard *shard); /* nobody listens to it */
void lane_route_shards(struct lane_stream *stream); /* route and marks anew, of the open ones among `shards` */
/* The children of a shard never carry arrival times before its own. Of all shards, or those from that place on; parents lie in front. */
void lane_raise_arrivals(struct lane_stream *stream, uint32_t from);

/* ---- lane_reshard.c ---- */

void lane_seal(struct lane *lane, struct store_admin *admin);
void lane_add_shards(struct lane *lane, struct store_admin *admin);
void lane_switch_shards(struct lane *lane, struct store_admin *admin);
/* Answers the SEAL that waits, if it need not wait any more: after a group, or when the log is poisoned. */
void lane_seal_settle(struct lane_stream *stream);
void lane_seal_cancel(struct lane_stream *stream); /* the stream is being closed */
/* Forgets shards that closed before then and nobody listens to. */
void lane_expire_shards(struct lane_stream *stream, int64_t expired_ms);

/* ---- lane_put.c ---- */

/* The open shard that covers the hash; NULL: the stream has none. */
struct lane_shard *lane_route(const struct lane_stream *stream, uint128 hash);

void lane_run_put(struct mail *mail);
void lane_put_answer(struct lane *lane, struct store_put *put);
/* Answers: none of its records was looked at, or each that was taken so far fails. NOT_FOUND and CLOSING are also the put's own status. */
void lane_put_refuse(struct lane *lane, struct store_put *put, enum status status);
void lane_put_fail(struct lane *lane, struct store_put *put, enum status status);
void lane_admit_waiting(struct lane *lane); /* there may be room again */
void lane_refuse_waiting(struct lane_stream *stream, enum status status);

/* ---- lane_group.c ---- */

void group_init(struct lane_group *group, struct lane_stream *stream);
void group_fini(struct lane_group *group);
struct batch *group_batch(struct lane_group *group, struct lane_shard *shard); /* the shard's batch in the open group; made if need be */
void group_drop_empty(struct lane_group *group, struct lane_shard *shard);     /* that batch, just made, if nothing came into it */
void group_add_put(struct lane_group *group, struct store_put *put);
void group_fail(struct lane_group *group, enum status status); /* answers its puts, empties it */
void lane_close_groups(struct lane *lane); /* end of turn: hands out what can go */
void lane_encode_groups(struct lane *lane); /* after the outbox was flushed, while they sync */
void lane_poison(struct lane_stream *stream, const char *what);

/* ---- lane_index.c: all O(log n) or amortised O(1) ---- */

static inline uint64_t shard_durable_end(const struct lane_shard *shard) { return shard->next - 1; }

/* A place in the index, and the extent there. Valid until the index changes; a copy is a place of its own. */
struct index_cursor {
	const struct lane_shard *shard;
	size_t place; /* of the run */
	struct extent_cursor in;
};

static inline const struct extent_ref *index_extent(const struct index_cursor *cursor) { return &cursor->in.extent; }
bool index_find(const struct lane_shard *shard, uint64_t index, struct index_cursor *cursor); /* first that ends at or after; false: none */
bool index_find_time(const struct lane_shard *shard, int64_t arrival_ms, struct index_cursor *cursor); /* first that arrived at or after */
bool index_next(struct index_cursor *cursor); /* false: there is no further one, the cursor stays on the last */
void index_append(struct lane_shard *shard, const struct extent_ref *extent);
void index_adopt(struct lane_shard *shard, const struct extent_run *run); /* a copy of all of it, behind all that is there */
void index_fini(struct lane_shard *shard);
void index_drop_below(struct lane_shard *shard, uint64_t segment); /* extents in segments with lower numbers */
uint64_t index_oldest(const struct lane_shard *shard); /* first index that may be read; next if there is none */
uint64_t index_resolve(const struct lane_shard *shard, const struct position *position);
bool index_arrival(const struct lane_shard *shard, uint64_t index, int64_t *ms); /* of record `index`; false: it is not there */
int64_t index_second_before(const struct lane_shard *shard, uint64_t next); /* of record next - 1, else the shard's creation */

/* ---- lane_read.c ---- */

void lane_run_locate(struct mail *mail);
void lane_run_read(struct mail *mail);

/* ---- lane_rate.c ---- */

/* Counts a SubscribeToShard of that consumer; false: it is one too many. */
bool lane_rate_subscribe(struct lane_shard *shard, uint64_t consumer);
void lane_rate_free(struct lane_shard *shard);

/* ---- lane_lease.c ---- */

struct lease {
	struct list link;           /* shard->leases */
	struct lane_shard *shard;
	uint64_t consumer, subscription;
	uint64_t joined_ns;
	struct lease_holder *holder;
	struct interest *interest;
	bool probing;               /* a probe is on its way to the holder's worker or back */
	struct mail_fifo waiting;   /* struct store_join: until the probe is back or the lease ends */
};

void lane_run_join(struct mail *mail);
struct mail *leave_new(struct lane *lane, uint64_t stream, uint32_t shard, uint64_t consumer, uint64_t subscription);
void lane_leases_end(struct lane_shard *shard, enum lease_end why); /* all of them; waiting joins answer NOT_FOUND */
void lane_leases_drop_consumer(struct lane_stream *stream, uint64_t consumer);
void lane_leases_stop(struct lane_shard *shard); /* waiting joins answer CLOSING */
void lane_leases_forget(struct lane_shard *shard);

/* ---- listener.c: interest of a listener in a shard ---- */

struct interest {
	/* --- the lane's --- */
	struct list link;        /* shard->interests */
	struct listener *listener;
	uint32_t subscriptions;

	/* --- under listener->lock --- */
	struct list dirty;       /* listener->dirty */
	uint32_t refs;           /* the lane, and each join reply on its way */
	struct shard_key shard;
	uint64_t durable_end, taken_end; /* told by the lane; taken by the worker */
	int64_t durable_end_ms, taken_end_ms;
	uint64_t durable_ns;     /* when the first of what is not taken became durable; 0: nothing is */
	bool closed;
	bool skipped;            /* a batch was left out since the last take: later ones would leave a hole */
	struct batch **batches;
	uint32_t n_batches, cap;
};

struct interest *interest_add(struct lane_shard *shard, struct listener *listener); /* one subscription more */
void interest_drop(struct interest *interest);                                    /* one less; the last drops what waits */
struct interest *interest_ref(struct interest *interest);
/* The shard is durable up to its new end since durable_ns (0: it has not moved). batch: what became durable, encoded; NULL: only say so. */
void interest_tell(struct interest *interest, const struct lane_shard *shard, struct batch *batch, uint64_t durable_ns, struct outbox *out);
/* The worker's thread, as a join's reply arrives: what it took of the shard meanwhile counts for this join too. Drops the reference. */
void interest_refresh(struct interest *interest, struct store_join *join);

/* ---- lane_admin.c ---- */

void lane_run_admin(struct mail *mail);
void lane_admin_answer(struct lane *lane, struct store_admin *admin, enum status status);
void lane_stream_idle(struct lane_stream *stream); /* no group in flight, or a chore ended: what waited for that goes on */
void lane_want_prepare(struct lane_stream *stream); /* space ahead of the log, if it lacks some */

/* ---- store_recover.c ---- */

/* A pool's thread, or at start: opens the log of a stream that is in no lane yet, or makes it. *why: the caller's, may stay NULL. */
enum status stream_attach(struct lane_stream *stream, char **why);

#endif
