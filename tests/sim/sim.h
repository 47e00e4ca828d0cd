/* sim.h: the simulation: lanes, workers, readers and syncers in one thread under a seeded scheduler, on a simulated disk and clock.
 *
 *      sim ── streams ── shards: what is known of each record (truth)
 *       ├──── store (no threads: its lanes and pools are stepped)
 *       └──── workers: a hub, a mailbox, an outbox ── clients: fake subscribers that decode and check all they get
 *
 * A life of the store is an epoch: recover, check everything, work, end (a power cut at a random call, a kill, a clean stop). What was
 * acknowledged, pushed or read in any epoch must be there in all later ones.
 *
 * Files: sim.c scheduler and epochs; sim_world.c start and end of the store; sim_truth.c what is known; sim_put.c producers, GetRecords,
 * admin; sim_client.c subscribers; sim_event.c what an event says. All on one thread. */
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

#define SIM_STREAMS 2
#define SIM_SHARDS 10     /* per stream, closed ones included */
#define SIM_CONSUMERS 2   /* per stream */
#define SIM_WORKERS 2
#define SIM_CLIENTS 6     /* per worker */
#define SIM_PUT_RECORDS 16
#define SIM_RECORD_MAX (400u << 10)
#define SIM_CONTINUATIONS 8

/* ---- What is known of a record ---- */

struct sim_record { /* by index of its shard */
	uint64_t id;      /* of sim.puts; 0: nobody has seen it yet */
	int64_t arrival_ms;
};

struct sim_origin { /* by id: what was put */
	uint32_t size;
	bool refused;     /* answered THROTTLED: must never be seen */
	struct sim_shard *shard; /* where it was seen; NULL: nowhere yet */
	uint64_t index;
};

struct sim_shard {
	struct sim_stream *stream;
	uint32_t number;
	struct sim_record *records; /* records[0] is not used */
	uint64_t n, cap;            /* indexes below n may be known */
	uint64_t behind_max;        /* an event with MillisBehindLatest > 0 ended here: more was durable */
};

struct sim_stream {
	struct stream_info *info;
	struct sim_shard shards[SIM_SHARDS];
	int64_t horizon_ms;         /* what retention was told, ever: older records may be gone */
};

/* ---- Subscribers ---- */

struct sim_client {
	struct subscription sub;
	struct sim *sim;
	struct sim_worker *worker;
	struct sim_shard *shard;
	unsigned consumer;
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
	bool resumes;           /* position is AFTER a number that was told */
	uint64_t expected;      /* next index */
	uint64_t told[SIM_CONTINUATIONS]; /* indexes of the last continuations, of this shard */
	unsigned n_told;
	uint64_t joined_ns, heard_ns;
	uint64_t payload, payload_max;
};

struct sim_worker {
	struct sim *sim;
	unsigned number;
	struct mailbox box;
	struct outbox outbox;
	struct hub *hub;
	struct sim_client clients[SIM_CLIENTS];
};

struct sim {
	uint64_t seed;
	struct rng rng;
	bool verbose;
	bool failed;
	char violation[600];

	struct sim_disk *disk;
	struct io *io;

	/* by seed */
	struct limits limits;
	uint64_t life_ns;
	unsigned n_workers, n_lanes;
	bool retains, faults, clock_steps, reshards, skewed;

	struct catalogue snapshot;
	struct stream_info infos[SIM_STREAMS];
	struct shard_info shard_infos[SIM_STREAMS][SIM_SHARDS];
	struct consumer_info consumer_infos[SIM_STREAMS][SIM_CONSUMERS];
	struct sim_stream streams[SIM_STREAMS];
	uint64_t next_consumer;

	struct sim_origin *puts;
	uint64_t n_puts, cap_puts;  /* ids from 1 */
	uint8_t *noise;             /* where data of records is cut from */
	int64_t wall_max;           /* latest wall clock ever */

	/* this epoch */
	struct store *store;
	struct mailbox box;         /* producers', pollers', admin's */
	struct outbox outbox;
	struct sim_worker workers[SIM_WORKERS];
	unsigned puts_out, reads_out, admins_out;
	bool poisoned, stopping;
	unsigned pace[16];          /* weights of what may happen next */
	uint128 hot;                /* with skewed puts: where most of them go */

	struct { /* how much happened, for a look at what a seed covers */
		uint64_t acked, failed_puts, throttled, events, records, joins, polls, crashes, heartbeats, finals, resumed;
	} count;
};

/* Runs one seed. false: sim->violation says what. */
bool sim_run(struct sim *sim, uint64_t seed, unsigned steps);

__attribute__((format(printf, 2, 3))) void sim_fail(struct sim *sim, const char *format, ...);

/* ---- sim_world.c ---- */
void sim_world_init(struct sim *sim);
void sim_world_free(struct sim *sim);
bool sim_world_open(struct sim *sim);  /* false: the disk died, or sim->failed */
void sim_world_close(struct sim *sim); /* clean when the disk lives; everything in memory is gone afterwards */
void sim_publish(struct sim *sim);     /* the snapshot to the hubs */
void sim_reshard(struct sim *sim);     /* while the store is closed: closes a shard, adds its children */

/* ---- sim.c ---- */
bool sim_step_any(struct sim *sim);    /* something that waits is done; false: nothing waits */
void sim_worker_turn(struct sim_worker *worker, bool pull);

/* ---- sim_truth.c ---- */
uint64_t sim_origin_new(struct sim *sim, uint32_t size);
struct str sim_data(struct sim *sim, uint64_t id);
size_t sim_key(char out[24], uint64_t id);
uint64_t sim_durable_end(const struct sim *sim, const struct sim_shard *shard); /* as the lane has it */
/* Somebody outside has seen this record: is it the one that was put, once, and durable? */
void sim_observe(struct sim *sim, struct sim_shard *shard, const struct record *record, const char *who);
/* A reader was led from `from` to `to` (not included): is what it did not see past retention? */
void sim_observe_gap(struct sim *sim, struct sim_shard *shard, uint64_t from, uint64_t to, const char *who);
/* Reads every shard from its oldest record to its end. false: the disk died meanwhile, or sim->failed. */
bool sim_check_all(struct sim *sim);

/* ---- sim_put.c ---- */
void sim_put(struct sim *sim);
void sim_poll(struct sim *sim, struct sim_shard *shard);
void sim_retain(struct sim *sim);
void sim_drop_consumer(struct sim *sim);
struct sim_shard *sim_any_shard(struct sim *sim, bool open);

/* ---- sim_client.c ---- */
void sim_client_start(struct sim_client *client);
void sim_client_stop(struct sim_client *client);
void sim_client_pull(struct sim_client *client);
void sim_client_mood(struct sim_client *client); /* something about it changes */
/* Nothing waits anywhere and every window is open: is each subscription at the tail, or waiting for its budget? */
void sim_clients_check_quiet(struct sim *sim, bool *waiting);

/* ---- sim_event.c ---- */
void sim_check_message(struct sim_client *client, const uint8_t *p, const struct eventstream_view *view);

#endif
