/* sim_world.c: streams, shards and consumers of a seed; the store's start and end.
 *
 * The catalogue is a model: a snapshot made by hand, which is always there after a crash. A shard is closed, and its children are added,
 * while the store is down: what a reshard looks like to the log at the next start. */
#include <stdio.h>
#include <stdlib.h>

#include "penstock/slog.h"
#include "tests/sim/sim.h"

#define DATA_DIR "/data"

/* ---- The catalogue ---- */

static void add_shard(struct sim *sim, unsigned s, uint128 first, uint128 last, uint32_t parent, int64_t created_s)
{
	struct stream_info *info = &sim->infos[s];
	uint32_t number = info->n_shards++;
	sim->shard_infos[s][number] = (struct shard_info){
		.key = {.stream = info->id, .shard = number, .created_s = created_s},
		.hash_first = first,
		.hash_last = last,
		.parent = parent,
		.adjacent = NO_PARENT,
		.opened_ms = io_wall_ms(sim->io),
	};
	sim->streams[s].shards[number].stream = &sim->streams[s];
	sim->streams[s].shards[number].number = number;
}

static void make_stream(struct sim *sim, unsigned s)
{
	struct stream_info *info = &sim->infos[s];
	int64_t now_ms = io_wall_ms(sim->io);
	*info = (struct stream_info){.id = 100 + s,
				     .status = STREAM_ACTIVE,
				     .created_ms = now_ms,
				     .retention_hours = 24,
				     .max_record_kib = 1024,
				     .shards = sim->shard_infos[s],
				     .n_consumers = SIM_CONSUMERS,
				     .consumers = sim->consumer_infos[s]};
	snprintf(info->name, sizeof(info->name), "stream-%u", s);
	uint32_t n = (uint32_t)rng_range(&sim->rng, 1, 3);
	for (uint32_t i = 0; i < n; i++)
		add_shard(sim, s, hash_uniform_start(i, n), i + 1 < n ? hash_uniform_start(i + 1, n) - 1 : ~(uint128)0, NO_PARENT,
			  now_ms / 1000);
	for (unsigned c = 0; c < SIM_CONSUMERS; c++) {
		struct consumer_info *consumer = &info->consumers[c];
		*consumer = (struct consumer_info){.id = sim->next_consumer++, .status = CONSUMER_ACTIVE, .created_s = now_ms / 1000};
		snprintf(consumer->name, sizeof(consumer->name), "consumer-%u", c);
	}
	sim->streams[s].info = info;
}

void sim_reshard(struct sim *sim)
{
	unsigned s = (unsigned)rng_below(&sim->rng, SIM_STREAMS);
	struct stream_info *info = &sim->infos[s];
	if (info->n_shards + 2 > SIM_SHARDS)
		return;
	struct shard_info *parent = &info->shards[rng_below(&sim->rng, info->n_shards)];
	if (parent->closed)
		return;
	/* After a clean stop and a check of all: what is known is all there is. */
	struct sim_shard *shard = &sim->streams[s].shards[parent->key.shard];
	int64_t now_s = io_wall_ms(sim->io) / 1000;
	parent->closed = true;
	parent->closed_s = now_s > parent->key.created_s ? now_s : parent->key.created_s;
	parent->closed_ms = io_wall_ms(sim->io);
	parent->end_index = shard->n ? shard->n - 1 : 0;
	uint128 middle = parent->hash_first + (parent->hash_last - parent->hash_first) / 2;
	add_shard(sim, s, parent->hash_first, middle, parent->key.shard, parent->closed_s + 1);
	add_shard(sim, s, middle + 1, parent->hash_last, parent->key.shard, parent->closed_s + 1);
}

void sim_publish(struct sim *sim)
{
	sim->snapshot.version++;
	for (unsigned w = 0; w < sim->n_workers; w++)
		hub_set_catalogue(sim->workers[w].hub, &sim->snapshot, "us-east-1", "000000000000");
}

/* ---- The seed's world ---- */

void sim_world_init(struct sim *sim)
{
	struct rng *rng = &sim->rng;
	sim->disk = sim_disk_new(rng_next(rng));
	sim->io = sim_disk_io(sim->disk);
	sim_disk_set_writeback(sim->disk, rng_chance(rng, 50) ? 30 : 0);
	sim->io->mkdir(sim->io, DATA_DIR);
	sim->io->sync_dir(sim->io, "/");

	sim->n_workers = (unsigned)rng_range(rng, 1, SIM_WORKERS);
	sim->n_lanes = (unsigned)rng_range(rng, 1, 2);
	sim->life_ns = rng_chance(rng, 50) ? UINT64_C(300000000000) : UINT64_C(20000000000);
	sim->retains = rng_chance(rng, 30);
	sim->faults = rng_chance(rng, 25);
	sim->clock_steps = rng_chance(rng, 25);
	sim->reshards = rng_chance(rng, 40);
	sim->skewed = rng_chance(rng, 40);
	if (rng_chance(rng, 50)) {
		sim->limits = (struct limits)LIMITS_AWS;
		/* Most worlds let clients come back at once: joins that are refused for their rate try nothing else. */
		sim->limits.subscribe_calls = rng_chance(rng, 25);
	} else if (rng_chance(rng, 50)) {
		sim->limits = (struct limits){.push_bytes = 50000, .read_calls = 5, .read_bytes = 1 << 20};
	} else {
		sim->limits = (struct limits)LIMITS_OFF;
	}

	size_t n = 8192 + SIM_RECORD_MAX;
	sim->noise = xmalloc(n);
	for (size_t i = 0; i + 8 <= n; i += 8) {
		uint64_t word = rng_next(rng);
		memcpy(sim->noise + i, &word, 8);
	}
	sim->next_consumer = 1;
	sim->snapshot = (struct catalogue){.version = 1, .n_streams = SIM_STREAMS, .streams = sim->infos};
	atomic_init(&sim->snapshot.refs, 1);
	for (unsigned s = 0; s < SIM_STREAMS; s++)
		make_stream(sim, s);
	mailbox_init(&sim->box, false);
	outbox_init(&sim->outbox);
	for (unsigned w = 0; w < SIM_WORKERS; w++) {
		struct sim_worker *worker = &sim->workers[w];
		worker->sim = sim;
		worker->number = w;
		mailbox_init(&worker->box, false);
		outbox_init(&worker->outbox);
		for (unsigned i = 0; i < SIM_CLIENTS; i++) {
			worker->clients[i].sim = sim;
			worker->clients[i].worker = worker;
		}
	}
}

void sim_world_free(struct sim *sim)
{
	for (unsigned w = 0; w < SIM_WORKERS; w++) {
		mailbox_fini(&sim->workers[w].box);
		for (unsigned i = 0; i < SIM_CLIENTS; i++)
			buf_free(&sim->workers[w].clients[i].rx);
	}
	mailbox_fini(&sim->box);
	for (unsigned s = 0; s < SIM_STREAMS; s++)
		for (unsigned i = 0; i < SIM_SHARDS; i++)
			free(sim->streams[s].shards[i].records);
	free(sim->puts);
	free(sim->noise);
	sim_disk_free(sim->disk);
}

/* ---- Start ---- */

static void on_poisoned(void *arg, const char *why)
{
	struct sim *sim = arg;
	sim->poisoned = true;
	if (!sim->faults && !sim_disk_dead(sim->disk))
		sim_fail(sim, "poisoned without a fault: %s", why);
}

static bool gave_up(struct sim *sim, const char *what, enum status status, char *why)
{
	if (!sim_disk_dead(sim->disk))
		sim_fail(sim, "%s: %s (%s)", what, status_name(status), why ? why : "no reason");
	free(why);
	return false;
}

static bool recover(struct sim *sim)
{
	for (unsigned s = 0; s < SIM_STREAMS; s++) {
		char *why = NULL;
		enum status status = store_recover(sim->store, &sim->infos[s], &why);
		if (status)
			return gave_up(sim, "store_recover", status, why);
		free(why);
	}
	enum status status = store_start(sim->store);
	return status ? gave_up(sim, "store_start", status, NULL) : true;
}

static struct hub *open_hub(struct sim_worker *worker)
{
	struct sim *sim = worker->sim;
	return hub_new(&(struct hub_config){
		.io = sim->io,
		.store = sim->store,
		.box = &worker->box,
		.outbox = &worker->outbox,
		.limits = sim->limits,
		.worker = worker->number,
		.life_ns = sim->life_ns,
		.ring_bytes = 100000, /* small, so that rings turn over within a seed */
		.rings_bytes = 300000,
		.reads = 2,
		.read_bytes = 65536,
	});
}

bool sim_world_open(struct sim *sim)
{
	sim->poisoned = sim->stopping = false;
	char *why = NULL;
	struct store_config config = {
		.io = sim->io,
		.data_dir = DATA_DIR,
		.limits = sim->limits,
		.encode = message_encode,
		.lanes = sim->n_lanes,
		.segment_min = 64 << 10,
		.segment_max = 256 << 10,
		.free_floor = 1 << 20,
		.on_poisoned = on_poisoned,
		.arg = sim,
	};
	enum status status = store_open(&config, &sim->store, &why);
	if (status) {
		sim->store = NULL;
		return gave_up(sim, "store_open", status, why);
	}
	free(why);
	if (!recover(sim))
		return false;
	for (unsigned w = 0; w < sim->n_workers; w++)
		sim->workers[w].hub = open_hub(&sim->workers[w]);
	sim_publish(sim);
	return true;
}

/* ---- End ---- */

/* The store has stopped: its answers reach the workers, and what they make of them the lanes (leaves, probes). */
static void run_boxes(struct sim *sim)
{
	bool more = true;
	while (more) {
		more = mailbox_run(&sim->box) > 0;
		outbox_flush(&sim->outbox);
		for (unsigned w = 0; w < SIM_WORKERS; w++) {
			more |= mailbox_run(&sim->workers[w].box) > 0;
			outbox_flush(&sim->workers[w].outbox);
		}
		for (unsigned lane = 0; sim->store && lane < store_lanes(sim->store); lane++) {
			if (store_lane_pending(sim->store, lane)) {
				store_lane_turn(sim->store, lane);
				more = true;
			}
		}
	}
}

void sim_world_close(struct sim *sim)
{
	sim->stopping = true;
	for (unsigned w = 0; w < sim->n_workers; w++)
		for (unsigned i = 0; i < SIM_CLIENTS; i++)
			sim_client_stop(&sim->workers[w].clients[i]);
	for (unsigned w = 0; w < SIM_WORKERS; w++)
		outbox_flush(&sim->workers[w].outbox);
	while (sim->store && sim->workers[0].hub && sim_step_any(sim))
		;
	if (sim->store)
		store_stop(sim->store);
	run_boxes(sim);
	for (unsigned w = 0; w < sim->n_workers; w++) {
		if (sim->workers[w].hub)
			hub_free(sim->workers[w].hub);
		sim->workers[w].hub = NULL;
	}
	if (sim->store)
		store_free(sim->store);
	sim->store = NULL;
	if (sim->puts_out + sim->reads_out + sim->admins_out)
		sim_fail(sim, "stop: %u puts, %u reads, %u admins are never answered", sim->puts_out, sim->reads_out, sim->admins_out);
}
