/* sim.h: the simulation: lanes, control, workers, readers and syncers in one thread under a seeded scheduler, on a simulated disk and clock.
 *
 *      sim ── streams ── shards: what is known of each record (truth)
 *       ├──── control (no thread: its turns are the scheduler's), SQLite on the simulated disk
 *       ├──── store (no threads: its lanes and pools are stepped)
 *       └──── workers: a hub, a mailbox, an outbox, a snapshot ── clients: fake subscribers that decode and check all they get
 *
 * A life of the server is an epoch: recover, check everything, work, end (a power cut at a random call, a kill, a clean stop). What was
 * acknowledged, pushed or read in any epoch must be there in all later ones; so must what a snapshot of the catalogue has shown.
 *
 * Files: sim.c scheduler; sim_epoch.c epochs, crashes, planned runs; sim_world.c start and end of the server; sim_truth.c what is known of
 * records; sim_snapshot.c what snapshots may say; sim_change.c what is asked of the catalogue; sim_put.c producers, GetRecords;
 * sim_clock.c what the clocks do; sim_follow.c pollers that go on from parent to child; sim_client.c subscribers; sim_event.c what an event says. All on one thread. */
#ifndef PENSTOCK_TESTS_SIM_H
#define PENSTOCK_TESTS_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/catalogue.h"
#include "penstock/eventstream.h"
#include "penstock/fanout.h"
#include "penstock/store.h"
#include "tests/sim/disk.h"
#include "tests/sim/rng.h"

#define SIM_STREAMS 10    /* all that a seed ever makes */
#define SIM_NAMES 3       /* so many at a time */
#define SIM_SHARDS 64     /* per stream, all that ever were */
#define SIM_CONSUMERS 24  /* per stream, all that ever were */
#define SIM_KEYS 24       /* partition keys: order is kept in each */
#define SIM_WORKERS 2
#define SIM_CLIENTS 6     /* per worker */
#define SIM_PUT_RECORDS 16
#define SIM_RECORD_MAX (400u << 10)
#define SIM_CONTINUATIONS 8
#define SIM_GRACE_MS INT64_C(86400000)
#define SIM_STEPS 1500    /* of a seed */
#define SIM_TRACE 24      /* lines of the trace that a failure shows */

/* ---- What is known of a record ---- */

struct sim_record { /* by index of its shard */
	uint64_t id;      /* of sim.puts; 0: nobody has seen it yet */
	int64_t arrival_ms;
};

struct sim_origin { /* by id: what was put */
	uint32_t size;
	uint32_t key;     /* below SIM_KEYS */
	bool refused;     /* answered THROTTLED: must never be seen */
	uint64_t put_ns;  /* when it was sent */
	struct sim_shard *shard; /* where it was seen; NULL: nowhere yet */
	uint64_t index;
};

struct sim_shard {
	struct sim_stream *stream;
	uint32_t number;
	bool known;                 /* a snapshot has shown it */
	bool expired;               /* retention has taken it from the catalogue */
	uint64_t open_ns;           /* when a snapshot last had it open; 0: none did */
	struct shard_info info;     /* as the latest snapshot that had it */
	struct sim_record *records; /* records[0] is not used */
	uint64_t n, cap;            /* indexes below n may be known */
	uint64_t durable;           /* what the lane has ever had as durable */
	uint64_t behind_max;        /* an event with MillisBehindLatest > 0 ended here: more was durable */
	uint64_t follow;            /* where the poller stands; 0: it has not begun */
	bool following;             /* its read is on its way */
	bool followed;              /* it has read all of a closed shard */
};

struct sim_consumer {
	uint64_t id;
	enum consumer_status status;
	bool gone;
};

struct sim_stream { /* one incarnation */
	uint64_t id;
	char name[STREAM_NAME_MAX + 1];
	enum stream_status status;
	unsigned updates;           /* how often it became UPDATING */
	bool gone;
	int64_t created_ms;
	struct sim_shard shards[SIM_SHARDS]; /* by number */
	uint32_t n_shards;
	struct sim_consumer consumers[SIM_CONSUMERS];
	uint32_t n_consumers;
	int64_t horizon_ms;             /* what lanes were told beside the control thread: older records may be gone */
	uint64_t followed[SIM_KEYS];    /* the poller's last id of each key */
};

/* ---- Subscribers ---- */

struct sim_client {
	struct subscription sub;
	struct sim *sim;
	struct sim_worker *worker;
	struct sim_shard *shard;
	uint64_t consumer_id;
	bool live;              /* sub_start, until sub_stop or a refusal */
	bool joined;
	bool ready;             /* on_ready, until there was nothing to pull */
	bool stalled;           /* the window is shut */
	bool slow;              /* the window opens by crumbs */
	bool vanished;          /* the client is gone, the worker has not looked yet */
	bool rival;             /* somebody wanted the same lease while it asked */
	bool over;              /* exception or end of shard was told: only the end may follow */
	bool greeted;
	size_t window;
	struct buf rx;
	struct position position;
	uint64_t low;           /* durable end when it asked */
	bool resumes;           /* position is AT or AFTER a continuation */
	uint64_t expected;      /* next index */
	struct seq told[SIM_CONTINUATIONS]; /* the last continuations, of this shard */
	struct seq floor;       /* the next one lies above it */
	bool floored;
	unsigned n_told;
	struct sim_shard *heir; /* a child that the end of the shard named: where it goes on; NULL: none */
	uint64_t joined_ns, heard_ns;
	uint64_t payload, payload_max;
};

struct sim_worker {
	struct sim *sim;
	unsigned number;
	struct mailbox box;
	struct outbox outbox;
	struct hub *hub;
	struct catalogue *catalogue; /* the snapshot it has; one reference */
	struct sim_client clients[SIM_CLIENTS];
};

/* A run with one blow, at a call that is known beforehand. */
struct sim_plan {
	enum { SIM_NO_BLOW, SIM_BLOW_CRASH, SIM_BLOW_EIO, SIM_BLOW_ENOSPC, SIM_BLOW_EMFILE } blow;
	uint64_t at;      /* the disk's at-th call; 0: none, to count them */
	uint64_t again;   /* the recovery after it is cut at its so-manieth call; 0: not */
	uint64_t calls;   /* out: calls before the recovery, and of it */
	uint64_t recovery_calls;
};

struct sim {
	uint64_t seed;
	struct rng rng;
	bool verbose;
	bool failed;
	bool damaged; /* this start found a stream damaged that is not being deleted */
	char violation[600];
	char trace[SIM_TRACE][200]; /* a ring */
	unsigned n_trace;

	struct sim_disk *disk;
	struct io *io;
	struct io *log_io; /* the store's: few files of `io` open at a time; NULL: no store */
	struct sim_plan *plan;      /* NULL: blows fall by dice */

	/* by seed */
	struct limits limits;
	uint64_t life_ns, transition_ms;
	unsigned n_workers, n_lanes;
	bool retains, faults, fills, clock_steps, reshards, skewed;
	bool shortages;             /* the faults are lacks of descriptors, which break nothing */
	bool lasting;               /* errors may outlast the grace, or be vouched for */

	/* truth */
	struct sim_stream streams[SIM_STREAMS]; /* ids rise */
	unsigned n_streams;
	struct sim_origin *puts;
	uint64_t n_puts, cap_puts;  /* ids from 1 */
	uint128 hashes[SIM_KEYS];
	uint8_t *noise;             /* where data of records is cut from */
	int64_t wall_min;           /* the earliest that the wall clock ever showed */
	int64_t ahead_max_ms;       /* how far it ever was ahead of the monotonic clock, at most */
	int64_t error_ms;           /* what it is wrong by now */
	uint64_t wrong_ns;          /* since when the server runs with a wrong one */
	uint64_t steady_ns;         /* since when it has run without a step, a pause or a start */
	bool was_behind;            /* it was ever: some stamps are too old */

	/* this epoch */
	struct control *control;
	uint64_t control_due_ns;    /* its next turn without mail */
	bool in_control;            /* it is in its turn */
	struct store *store;
	struct mailbox box;         /* producers', pollers', admin's */
	struct outbox outbox;
	struct catalogue *catalogue; /* the outside's snapshot; one reference */
	uint64_t version;           /* of the newest snapshot that was checked */
	struct sim_worker workers[SIM_WORKERS];
	unsigned puts_out, reads_out, admins_out, changes_out;
	bool poisoned, stopping;
	bool rather_killed;         /* the end of this epoch */
	bool full;                  /* the disk has a limit just now */
	unsigned pace[16];          /* weights of what may happen next */
	uint32_t hot;               /* with skewed puts: the key of most of them */

	struct { /* how much happened, for a look at what a seed covers */
		uint64_t acked, failed_puts, throttled, events, records, joins, polls, crashes, heartbeats, finals, resumed, heirs, followed;
		uint64_t created, deleted, splits, merges, updates, closed, expired, refused_changes, failed_changes, calls;
	} count;
};

/* Runs one seed. false: sim->violation says what. */
bool sim_run(struct sim *sim, uint64_t seed, unsigned steps);
/* A short run of the seed's world with the plan's blow in it, recovery, and a second life. */
bool sim_run_plan(struct sim *sim, uint64_t seed, struct sim_plan *plan);

__attribute__((format(printf, 2, 3))) void sim_fail(struct sim *sim, const char *format, ...);
__attribute__((format(printf, 2, 3))) void sim_say(struct sim *sim, const char *format, ...); /* a line of the trace */
void sim_show_trace(const struct sim *sim);

/* ---- sim_world.c ---- */
void sim_world_init(struct sim *sim);
void sim_world_free(struct sim *sim);
bool sim_world_open(struct sim *sim);  /* false: the disk died, a fault ended the start, or sim->failed */
void sim_world_close(struct sim *sim); /* clean when the disk lives; everything in memory is gone afterwards */

/* ---- sim.c ---- */
bool sim_step_any(struct sim *sim);    /* something that waits is done; false: nothing waits */
void sim_worker_turn(struct sim_worker *worker, bool pull);
void sim_step(struct sim *sim);        /* one thing, by dice */
void sim_preempt(void *sim);           /* the control thread is in the middle of its turn: others may go on */
void sim_choose_pace(struct sim *sim);
void sim_advance(struct sim *sim, uint64_t ns);
void sim_drain(struct sim *sim);       /* all that waits, without letting time pass */
void sim_settle(struct sim *sim);      /* quiet, and checked to be so */
void sim_check_bounds(struct sim *sim);
bool sim_over(const struct sim *sim);  /* this epoch must end */
bool sim_broken(const struct sim *sim); /* calls may fail with IO now, by what was done to the disk */

/* ---- sim_truth.c ---- */
uint64_t sim_origin_new(struct sim *sim, uint32_t size, uint32_t key);
struct str sim_data(struct sim *sim, uint64_t id);
size_t sim_key(const struct sim *sim, char out[32], uint64_t id);
uint64_t sim_id_of(const struct sim *sim, struct str key); /* 0: none of ours */
uint64_t sim_durable_end(struct sim *sim, struct sim_shard *shard); /* as the lane has it, or had it */
bool sim_at_lane(const struct sim *sim, const struct sim_shard *shard); /* false: deleted, and nobody may have told us yet */
/* Somebody outside has seen this record: is it the one that was put, once, and durable? */
void sim_observe(struct sim *sim, struct sim_shard *shard, const struct record *record, const char *who);
/* A reader was led from `from` to `to` (not included): is what it did not see past retention? */
void sim_observe_gap(struct sim *sim, struct sim_shard *shard, uint64_t from, uint64_t to, const char *who);
/* Reads every shard from its oldest record to its end. false: the disk died meanwhile, or sim->failed. */
bool sim_check_all(struct sim *sim);
/* May retention have taken that record, or one that is as old? */
bool sim_may_be_gone(const struct sim *sim, const struct sim_shard *shard, uint64_t index);
bool sim_has_aged(const struct sim *sim, uint64_t since_ns); /* may a shard that was open then have expired? */

/* ---- sim_clock.c ---- */
void sim_clock_init(struct sim *sim);
void sim_clock_step(struct sim *sim);  /* the clock is set, wrong or right; or the kernel synchronises it */
void sim_clock_start(struct sim *sim); /* before a start: the machine was off, its clock is what it is */
bool sim_clock_confirm(struct sim *sim); /* is this start one with --believe-clock? */
void sim_pass_hours(struct sim *sim);  /* the server runs on for hours */

/* ---- sim_snapshot.c ---- */
void sim_snapshot_seen(struct sim *sim, const struct catalogue *snapshot);
struct sim_stream *sim_stream_of(struct sim *sim, uint64_t id); /* NULL: no snapshot has shown it */
/* A shard of that snapshot by dice, of a stream that is not being deleted; NULL: there is none. */
struct sim_shard *sim_any_shard(struct sim *sim, const struct catalogue *snapshot);
bool sim_stream_ends(const struct sim_stream *stream); /* it is being deleted, or gone */
bool sim_shard_ends(const struct sim_shard *shard);    /* the same, or retention has taken it */
/* The same, or retention may have: the lane hears of it by other mail than who holds a snapshot. */
bool sim_shard_may_be_gone(const struct sim *sim, const struct sim_shard *shard);

/* ---- sim_change.c ---- */
void sim_change(struct sim *sim);                   /* one, by dice */
bool sim_found(struct sim *sim);                    /* makes streams and consumers where there are none. false: this epoch must end */

/* ---- sim_put.c ---- */
void sim_put(struct sim *sim);
void sim_put_probe(struct sim *sim, uint64_t stream, bool strict); /* one record; strict: it must not find the disk full */
void sim_poll(struct sim *sim);
void sim_retain(struct sim *sim);

/* ---- sim_follow.c ---- */
void sim_follow(struct sim *sim);     /* one read of some stream's poller */
void sim_follow_all(struct sim *sim); /* to the end of every stream */

/* ---- sim_client.c ---- */
void sim_client_start(struct sim_client *client);
void sim_client_stop(struct sim_client *client);
void sim_client_pull(struct sim_client *client);
void sim_client_mood(struct sim_client *client); /* something about it changes */
bool sim_client_dropped(const struct sim_client *client); /* its consumer or stream is on its way out */
/* Nothing waits anywhere and every window is open: is each subscription at the tail, or waiting for its budget? */
void sim_clients_check_quiet(struct sim *sim, bool *waiting);

/* ---- sim_event.c ---- */
void sim_check_message(struct sim_client *client, const uint8_t *p, const struct eventstream_view *view);

#endif
