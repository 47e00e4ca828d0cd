/* sim_world.c: the world of a seed, and the server's start and end in it, in the order of server/main.c.
 *
 * - start: the catalogue's file, the store, each stream recovered from the snapshot, hubs, the control thread's turns.
 * - end: clients leave, control ends, the store stops, hubs, store and catalogue go. On a dead disk this is how memory is given back:
 * nothing of it can reach the disk, and nothing that it answers is believed. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/slog.h"
#include "tests/sim/disk_vfs.h"
#include "tests/sim/sim.h"

#define DATA_DIR "/data"
#define SIM_LOG_FILES 3 /* fewer than the segments that a seed writes and reads at once */

/* ---- The seed's world ---- */

static void choose_limits(struct sim *sim)
{
	struct rng *rng = &sim->rng;
	if (rng_chance(rng, 50)) {
		sim->limits = (struct limits)LIMITS_AWS;
		/* Most worlds let clients come back at once: joins that are refused for their rate try nothing else. */
		sim->limits.subscribe_calls = rng_chance(rng, 25);
		sim->limits.updates_per_day = 0;
	} else if (rng_chance(rng, 50)) {
		sim->limits = (struct limits){.push_bytes = 50000, .read_calls = 5, .read_bytes = 1 << 20};
	} else {
		sim->limits = (struct limits)LIMITS_OFF;
	}
}

static void choose_kind(struct sim *sim)
{
	struct rng *rng = &sim->rng;
	sim->n_workers = (unsigned)rng_range(rng, 1, SIM_WORKERS);
	sim->n_lanes = (unsigned)rng_range(rng, 1, 2);
	sim->life_ns = rng_chance(rng, 50) ? UINT64_C(300000000000) : UINT64_C(20000000000);
	sim->transition_ms = rng_chance(rng, 40) ? 0 : rng_range(rng, 1, 500);
	sim->retains = rng_chance(rng, 30);
	sim->faults = rng_chance(rng, 25);
	sim->shortages = sim->faults && rng_chance(rng, 40);
	sim->fills = sim->faults || rng_chance(rng, 15);
	sim->clock_steps = rng_chance(rng, 30);
	sim->lasting = sim->clock_steps && rng_chance(rng, 25);
	sim->reshards = rng_chance(rng, 75);
	sim->skewed = rng_chance(rng, 40);
	choose_limits(sim);
	if (!sim->plan)
		return;
	/* One blow, and nothing else that could be its cause. */
	sim->transition_ms = sim->transition_ms ? 1 : 0;
	sim->retains = sim->clock_steps = sim->lasting = false;
	sim->faults = sim->fills = sim->plan->blow > SIM_BLOW_CRASH;
	sim->shortages = sim->plan->blow == SIM_BLOW_EMFILE;
	sim->reshards = true;
}

static void make_noise(struct sim *sim)
{
	size_t n = 8192 + SIM_RECORD_MAX;
	sim->noise = xmalloc(n);
	for (size_t i = 0; i + 8 <= n; i += 8) {
		uint64_t word = rng_next(&sim->rng);
		memcpy(sim->noise + i, &word, 8);
	}
	for (unsigned i = 0; i < SIM_KEYS; i++)
		sim->hashes[i] = (uint128)rng_next(&sim->rng) << 64 | rng_next(&sim->rng);
}

void sim_world_init(struct sim *sim)
{
	sim->disk = sim_disk_new(rng_next(&sim->rng));
	sim->io = sim_disk_io(sim->disk);
	sim_vfs_register(sim->disk, rng_next(&sim->rng), sim_preempt, sim);
	sim_disk_set_writeback(sim->disk, rng_chance(&sim->rng, 50) ? 30 : 0);
	sim_disk_set_direct(sim->disk, rng_chance(&sim->rng, 67)   ? SIM_DIRECT_DONE
				       : rng_chance(&sim->rng, 50) ? SIM_DIRECT_REFUSED
								   : SIM_DIRECT_REFUSED_LATE);
	choose_kind(sim);
	sim_clock_init(sim);
	make_noise(sim);
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
	sim_vfs_unregister();
	sim_disk_free(sim->disk);
}

/* ---- Start ---- */

static void on_poisoned(void *arg, const char *why)
{
	struct sim *sim = arg;
	sim->poisoned = true;
	sim_say(sim, "poisoned: %s", why);
	if ((!sim->faults || sim->shortages) && !sim_disk_dead(sim->disk))
		sim_fail(sim, "poisoned without a fault: %s", why);
}

static bool gave_up(struct sim *sim, const char *what, enum status status, char *why)
{
	sim_say(sim, "start ends: %s: %s (%s)", what, status_name(status), why ? why : "no reason");
	if (!sim_disk_dead(sim->disk) && !sim->faults)
		sim_fail(sim, "%s: %s (%s)", what, status_name(status), why ? why : "no reason");
	free(why);
	return false;
}

static void on_name(void *arg, const char *name) { (void)arg, (void)name; }

/* As the server: a stream that is CREATING is opened by the control thread, one that is DELETING may have no directory any more. */
static bool wants_recovery(struct sim *sim, const struct stream_info *stream)
{
	char path[64];
	if (stream->status == STREAM_CREATING)
		return false;
	snprintf(path, sizeof(path), DATA_DIR "/streams/%llu", (unsigned long long)stream->id);
	int error = sim->io->list(sim->io, path, on_name, NULL);
	if (error == -ENOENT && stream->status != STREAM_DELETING)
		sim_fail(sim, "start: stream %llu has lost its directory", (unsigned long long)stream->id);
	return error != -ENOENT;
}

/* A deletion that was cut short leaves any of its files. */
static void on_damaged(void *arg, const struct stream_info *stream, const char *why)
{
	struct sim *sim = arg;
	if (stream->status != STREAM_DELETING)
		sim->damaged = !gave_up(sim, "store_recover", STATUS_CORRUPT, xstrdup(why ? why : "no reason"));
}

static bool recover_streams(struct sim *sim)
{
	struct catalogue *snapshot = control_snapshot(sim->control);
	const struct stream_info **wanted = xcalloc(snapshot->n_streams + 1, sizeof(struct stream_info *));
	uint32_t n = 0;
	sim->damaged = false;
	sim->version = 0; /* a new process counts anew */
	sim_snapshot_seen(sim, snapshot);
	for (uint32_t i = 0; i < snapshot->n_streams && !sim->failed; i++)
		if (wants_recovery(sim, &snapshot->streams[i]))
			wanted[n++] = &snapshot->streams[i];
	store_recover_all(sim->store, wanted, sim->failed ? 0 : n, on_damaged, sim);
	free(wanted);
	catalogue_unref(snapshot);
	return !sim->damaged && !sim->failed;
}

static bool open_catalogue(struct sim *sim)
{
	struct control_config config = {.io = sim->io,
					.data_dir = DATA_DIR,
					.limits = sim->limits,
					.transition_ms = sim->transition_ms,
					.retention_check_ms = sim->retains ? 2000 : 0,
					.clock_grace_ms = SIM_GRACE_MS,
					.believe_clock = sim_clock_confirm(sim),
					.stepped = true,
					.reserve_bytes = 256 << 10,
					.vfs = SIM_VFS};
	char *why = NULL;
	enum status status = control_open(&config, &sim->control, &why);
	if (status) {
		sim->control = NULL;
		return gave_up(sim, "control_open", status, why);
	}
	free(why);
	return true;
}

static bool open_store(struct sim *sim)
{
	sim->log_io = io_bounded(sim->io, SIM_LOG_FILES);
	struct store_config config = {
		.io = sim->log_io,
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
	char *why = NULL;
	enum status status = store_open(&config, &sim->store, &why);
	if (status) {
		sim->store = NULL;
		return gave_up(sim, "store_open", status, why);
	}
	free(why);
	if (!recover_streams(sim))
		return false;
	status = store_start(sim->store);
	return status ? gave_up(sim, "store_start", status, NULL) : true;
}

static void on_snapshot_at_worker(void *arg, struct catalogue *snapshot)
{
	struct sim_worker *worker = arg;
	struct catalogue *old = worker->catalogue;
	sim_snapshot_seen(worker->sim, snapshot);
	worker->catalogue = snapshot;
	if (worker->hub)
		hub_set_catalogue(worker->hub, snapshot, "us-east-1", "000000000000");
	catalogue_unref(old);
}

static void on_snapshot_outside(void *arg, struct catalogue *snapshot)
{
	struct sim *sim = arg;
	sim_snapshot_seen(sim, snapshot);
	catalogue_unref(sim->catalogue);
	sim->catalogue = snapshot;
}

static void open_hub(struct sim_worker *worker)
{
	struct sim *sim = worker->sim;
	worker->hub = hub_new(&(struct hub_config){
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

static bool start_control(struct sim *sim)
{
	struct catalogue_reader readers[SIM_WORKERS + 1];
	for (unsigned w = 0; w < sim->n_workers; w++)
		readers[w] = (struct catalogue_reader){
			.box = &sim->workers[w].box, .on_snapshot = on_snapshot_at_worker, .arg = &sim->workers[w]};
	readers[sim->n_workers] = (struct catalogue_reader){.box = &sim->box, .on_snapshot = on_snapshot_outside, .arg = sim};
	sim->control_due_ns = 0;
	enum status status = control_start(sim->control, sim->store, readers, sim->n_workers + 1);
	return status ? gave_up(sim, "control_start", status, NULL) : true;
}

bool sim_world_open(struct sim *sim)
{
	sim->poisoned = sim->stopping = false;
	sim_clock_start(sim);
	if (!open_catalogue(sim) || !open_store(sim))
		return false;
	for (unsigned w = 0; w < sim->n_workers; w++)
		open_hub(&sim->workers[w]);
	return start_control(sim);
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

static void stop_control(struct sim *sim)
{
	control_stop(sim->control);
	for (unsigned n = 0; control_turn(sim->control, &sim->control_due_ns); n++) {
		if (n == 100000) {
			sim_fail(sim, "stop: the control thread never ends");
			return;
		}
		sim_step_any(sim);
	}
}

static void close_hubs(struct sim *sim)
{
	for (unsigned w = 0; w < sim->n_workers; w++) {
		struct sim_worker *worker = &sim->workers[w];
		if (worker->hub)
			hub_free(worker->hub);
		worker->hub = NULL;
		catalogue_unref(worker->catalogue);
		worker->catalogue = NULL;
	}
	catalogue_unref(sim->catalogue);
	sim->catalogue = NULL;
}

void sim_world_close(struct sim *sim)
{
	bool started = sim->store && sim->workers[0].hub;
	sim->stopping = true;
	for (unsigned w = 0; w < sim->n_workers; w++)
		for (unsigned i = 0; i < SIM_CLIENTS; i++)
			sim_client_stop(&sim->workers[w].clients[i]);
	for (unsigned w = 0; w < SIM_WORKERS; w++)
		outbox_flush(&sim->workers[w].outbox);
	outbox_flush(&sim->outbox);
	while (started && !sim->failed && sim_step_any(sim))
		;
	if (started)
		stop_control(sim);
	if (sim->failed)
		return;
	if (sim->store)
		store_stop(sim->store);
	run_boxes(sim);
	close_hubs(sim);
	store_free(sim->store);
	if (sim->log_io)
		io_bounded_free(sim->log_io);
	control_free(sim->control);
	sim->log_io = NULL;
	sim->store = NULL;
	sim->control = NULL;
	if (sim->puts_out + sim->reads_out + sim->admins_out + sim->changes_out)
		sim_fail(sim, "stop: %u puts, %u reads, %u admins, %u changes are never answered", sim->puts_out, sim->reads_out,
			 sim->admins_out, sim->changes_out);
}
