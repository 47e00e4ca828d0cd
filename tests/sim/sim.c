/* sim.c: the scheduler, and the epochs of a seed.
 *
 * - One step is one thing that could happen next in a real server: a lane's turn, one job of a syncer or reader, a worker's turn, a
 * client's mood, a call from outside, time. The dice choose; so every order of threads is met sooner or later, and met again with the seed.
 * - Now and then all that waits is done without letting time pass (settle). Then nothing may be left to do: a subscription with an open
 *   window that is not at the tail, and does not wait for its budget, has lost its wake-up.
 * - An epoch ends by a power cut (the disk dies at a random call, or between calls), by kill -9, or by a clean stop. The next one recovers,
 * is sometimes cut short in that, and checks everything that is there against everything that was ever seen.
 *
 * Whatever the run does hangs on the seed alone: no address, no time of day, no order of a hash table goes into a decision. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "tests/sim/sim.h"

#define MS UINT64_C(1000000)
#define STEPS_PER_TIME_LIMIT 100000 /* a drain that takes more steps than this does not end */

void sim_fail(struct sim *sim, const char *format, ...)
{
	if (sim->failed)
		return;
	sim->failed = true;
	va_list args;
	va_start(args, format);
	vsnprintf(sim->violation, sizeof(sim->violation), format, args);
	va_end(args);
}

static bool chance(struct sim *sim, unsigned percent) { return rng_chance(&sim->rng, percent); }

static void advance(struct sim *sim, uint64_t ns)
{
	sim_disk_advance(sim->disk, ns);
	if (io_wall_ms(sim->io) > sim->wall_max)
		sim->wall_max = io_wall_ms(sim->io);
}

/* ---- One thing ---- */

void sim_worker_turn(struct sim_worker *worker, bool pull)
{
	struct sim *sim = worker->sim;
	mailbox_run(&worker->box);
	uint64_t now = io_mono_ns(sim->io);
	if (hub_deadline(worker->hub) <= now)
		hub_tick(worker->hub, now);
	outbox_flush(&worker->outbox);
	for (unsigned i = 0; pull && i < SIM_CLIENTS; i++)
		sim_client_pull(&worker->clients[i]);
	/* Pulling may have asked for reads: they must not wait for the next turn, which may never come. */
	outbox_flush(&worker->outbox);
}

static void lane_step(struct sim *sim)
{
	unsigned lane = (unsigned)rng_below(&sim->rng, store_lanes(sim->store));
	if (store_lane_pending(sim->store, lane))
		store_lane_turn(sim->store, lane);
}

static bool has_work(struct sim_worker *worker)
{
	if (mailbox_pending(&worker->box) || hub_deadline(worker->hub) <= io_mono_ns(worker->sim->io))
		return true;
	for (unsigned i = 0; i < SIM_CLIENTS; i++) {
		struct sim_client *client = &worker->clients[i];
		if (client->live && client->joined && client->ready && client->window && !client->vanished)
			return true;
	}
	return false;
}

bool sim_step_any(struct sim *sim)
{
	bool done = pool_step(store_syncers(sim->store));
	done |= pool_step(store_readers(sim->store));
	for (unsigned lane = 0; lane < store_lanes(sim->store); lane++) {
		if (store_lane_pending(sim->store, lane)) {
			store_lane_turn(sim->store, lane);
			done = true;
		}
	}
	for (unsigned w = 0; w < sim->n_workers; w++) {
		if (sim->workers[w].hub && has_work(&sim->workers[w])) {
			sim_worker_turn(&sim->workers[w], true);
			done = true;
		}
	}
	done |= mailbox_run(&sim->box) > 0;
	outbox_flush(&sim->outbox);
	return done;
}

static void drain(struct sim *sim)
{
	outbox_flush(&sim->outbox);
	for (unsigned w = 0; w < sim->n_workers; w++)
		outbox_flush(&sim->workers[w].outbox);
	for (unsigned n = 0; !sim->failed && sim_step_any(sim); n++)
		if (n == STEPS_PER_TIME_LIMIT)
			sim_fail(sim, "settle: it never becomes quiet");
}

/* ---- Quiet ---- */

static void open_all(struct sim *sim)
{
	for (unsigned w = 0; w < sim->n_workers; w++) {
		for (unsigned i = 0; i < SIM_CLIENTS; i++) {
			struct sim_client *client = &sim->workers[w].clients[i];
			if (client->vanished)
				sim_client_stop(client);
			client->window = SIZE_MAX / 2;
			client->stalled = client->slow = false;
		}
	}
}

/* To the next deadline of a hub. */
static void to_deadline(struct sim *sim)
{
	uint64_t now = io_mono_ns(sim->io), first = UINT64_MAX;
	for (unsigned w = 0; w < sim->n_workers; w++) {
		uint64_t deadline = hub_deadline(sim->workers[w].hub);
		if (deadline < first)
			first = deadline;
	}
	if (first == UINT64_MAX)
		sim_fail(sim, "settle: a subscription waits for its budget, and no hub has a deadline");
	else if (first > now)
		advance(sim, first - now);
}

/* Who has an open window hears something every 5 s, and nothing any more after its life. */
static void check_cadence(struct sim *sim)
{
	advance(sim, 5001 * MS);
	drain(sim);
	uint64_t now = io_mono_ns(sim->io);
	for (unsigned w = 0; w < sim->n_workers && !sim_disk_dead(sim->disk); w++) {
		for (unsigned i = 0; i < SIM_CLIENTS; i++) {
			const struct sim_client *client = &sim->workers[w].clients[i];
			if (client->live && client->joined && now - client->heard_ns > 5001 * MS)
				sim_fail(sim, "heartbeat: shard %u: %s, silent for %llu ms", client->shard->number,
					 sub_state_name(client->sub.state), (unsigned long long)((now - client->heard_ns) / MS));
			if (client->live && client->joined && now - client->joined_ns > sim->life_ns)
				sim_fail(sim, "life: shard %u: %s after %llu ms", client->shard->number, sub_state_name(client->sub.state),
					 (unsigned long long)((now - client->joined_ns) / MS));
		}
	}
}

static bool over(struct sim *sim) { return sim->failed || sim->poisoned || sim_disk_dead(sim->disk); }

static void settle(struct sim *sim)
{
	bool waiting = true;
	open_all(sim);
	drain(sim);
	for (unsigned n = 0; waiting && !over(sim); n++) {
		sim_clients_check_quiet(sim, &waiting);
		if (!waiting)
			break;
		to_deadline(sim);
		drain(sim);
		if (n == 5000)
			sim_fail(sim, "settle: the budget never lets a subscription reach the tail");
	}
	if (!over(sim) && chance(sim, 30))
		check_cadence(sim);
	if (!over(sim) && sim->puts_out + sim->reads_out + sim->admins_out)
		sim_fail(sim, "settle: %u puts, %u reads, %u admins are not answered", sim->puts_out, sim->reads_out, sim->admins_out);
}

/* ---- Bounds ---- */

/* What may be live: the rings, what lies in listeners, what reads bring, groups that are open or in flight, and the largest batch over
 * each. */
static void check_bounds(struct sim *sim)
{
	int64_t rings = 0, largest = SIM_RECORD_MAX * SIM_PUT_RECORDS * 2;
	for (unsigned w = 0; w < sim->n_workers; w++)
		rings += 300000 + largest;
	if (metric_get(METRIC_ring_bytes) > rings)
		sim_fail(sim, "bounds: rings hold %lld bytes", (long long)metric_get(METRIC_ring_bytes));
	int64_t listeners = sim->n_workers * (int64_t)LISTENER_BYTES, lanes = (int64_t)sim->n_lanes * (64 << 20);
	int64_t reads = sim->n_workers * (int64_t)SIM_CLIENTS * 65536 + sim->reads_out * (int64_t)(10 << 20);
	int64_t most = rings + listeners + lanes + reads + 4 * largest;
	if (metric_get(METRIC_batch_bytes_live) > most)
		sim_fail(sim, "bounds: batches hold %lld bytes", (long long)metric_get(METRIC_batch_bytes_live));
	if (metric_get(METRIC_event_bytes_live) > 2 * most)
		sim_fail(sim, "bounds: events hold %lld bytes", (long long)metric_get(METRIC_event_bytes_live));
}

static void check_nothing_left(struct sim *sim)
{
	static const enum metric gauges[] = {METRIC_batches_live,     METRIC_batch_bytes_live, METRIC_events_live,
					     METRIC_event_bytes_live, METRIC_ring_bytes,       METRIC_subscriptions};
	for (size_t i = 0; i < sizeof(gauges) / sizeof(gauges[0]); i++)
		if (metric_get(gauges[i]))
			sim_fail(sim, "stop: gauge %zu is at %lld", i, (long long)metric_get(gauges[i]));
	if (sim_disk_open_files(sim->disk))
		sim_fail(sim, "stop: %zu files are left open", sim_disk_open_files(sim->disk));
}

/* ---- Steps ---- */

static void pass_time(struct sim *sim)
{
	uint64_t dice = rng_below(&sim->rng, 100);
	if (dice < 80)
		advance(sim, rng_range(&sim->rng, 10000, 5 * MS));
	else if (dice < 97)
		advance(sim, rng_range(&sim->rng, 5, 1000) * MS);
	else
		advance(sim, rng_range(&sim->rng, 1000, 30000) * MS);
}

static void disturb(struct sim *sim)
{
	uint64_t dice = rng_below(&sim->rng, 100);
	if (sim->retains && dice < 40)
		sim_retain(sim);
	else if (dice < 44)
		sim_drop_consumer(sim);
	else if (sim->clock_steps && dice < 55)
		sim_disk_step_wall(sim->disk, (int64_t)rng_below(&sim->rng, 20000) - 10000);
	else if (sim->faults && dice < 60)
		sim_disk_fail(sim->disk, SIM_FDATASYNC, rng_range(&sim->rng, 1, 20), 1, EIO);
	else if (sim->faults && dice < 65)
		sim_disk_fail(sim->disk, SIM_PWRITEV, rng_range(&sim->rng, 1, 20), 1, EIO);
	else if (sim->faults && dice < 80)
		sim_disk_set_capacity(sim->disk, sim_disk_used(sim->disk) + rng_below(&sim->rng, 2 << 20));
	else if (sim->faults)
		sim_disk_set_capacity(sim->disk, 0);
	if (io_wall_ms(sim->io) > sim->wall_max)
		sim->wall_max = io_wall_ms(sim->io);
}

/* What may happen next, and how often before the pace of an epoch is laid on it. */
enum what { PUT, LANE, SYNCER, READER, WORKER, ANSWERS, MOOD, POLL, DISTURB, TIME, WHATS };
static const unsigned usual[WHATS] = {
	[PUT] = 12,    [LANE] = 20, [SYNCER] = 16, [READER] = 10, [WORKER] = 20,
	[ANSWERS] = 6, [MOOD] = 6,  [POLL] = 2,    [DISTURB] = 2, [TIME] = 6,
};

/* In each epoch other threads are slow, so that mail piles up in other places. */
static void choose_pace(struct sim *sim)
{
	static const unsigned paces[] = {1, 4, 4, 4, 12};
	for (unsigned what = 0; what < WHATS; what++)
		sim->pace[what] = usual[what] * paces[rng_below(&sim->rng, sizeof(paces) / sizeof(paces[0]))];
	sim->hot = (uint128)rng_next(&sim->rng) << 64;
}

static enum what choose(struct sim *sim)
{
	unsigned all = 0, what = 0;
	for (unsigned i = 0; i < WHATS; i++)
		all += sim->pace[i];
	uint64_t dice = rng_below(&sim->rng, all);
	while (dice >= sim->pace[what])
		dice -= sim->pace[what++];
	return (enum what)what;
}

static void step(struct sim *sim)
{
	struct sim_worker *worker = &sim->workers[rng_below(&sim->rng, sim->n_workers)];
	switch (choose(sim)) {
	case PUT:
		if (sim->puts_out < 40)
			sim_put(sim);
		break;
	case LANE:
		lane_step(sim);
		break;
	case SYNCER:
		pool_step(store_syncers(sim->store));
		break;
	case READER:
		pool_step(store_readers(sim->store));
		break;
	case WORKER:
		sim_worker_turn(worker, chance(sim, 80));
		break;
	case ANSWERS:
		mailbox_run(&sim->box);
		break;
	case MOOD:
		sim_client_mood(&worker->clients[rng_below(&sim->rng, SIM_CLIENTS)]);
		break;
	case POLL:
		if (sim->reads_out < 10)
			sim_poll(sim, sim_any_shard(sim, false));
		break;
	case DISTURB:
		disturb(sim);
		break;
	case TIME:
	case WHATS:
		pass_time(sim);
		break;
	}
}

/* ---- Epochs ---- */

/* Whatever is in memory goes; then the disk is as the power cut, or the kill, has left it. */
static void crash(struct sim *sim)
{
	sim->count.crashes++;
	if (!sim_disk_dead(sim->disk)) {
		sim_disk_arm(sim->disk, 1);
		sim->io->free_bytes(sim->io, "/");
	}
	sim_world_close(sim);
	uint64_t dice = rng_below(&sim->rng, 100);
	if (dice < 20)
		sim_disk_kill(sim->disk);
	else if (dice < 30)
		sim_disk_crash(sim->disk, NULL);
	else
		sim_disk_crash(sim->disk, &sim->rng);
	sim_disk_set_capacity(sim->disk, 0);
}

static void clean_stop(struct sim *sim)
{
	settle(sim);
	if (over(sim)) {
		crash(sim);
		return;
	}
	sim_disk_fail(sim->disk, SIM_FDATASYNC, 1, 0, EIO);
	sim_disk_fail(sim->disk, SIM_PWRITEV, 1, 0, EIO);
	sim_world_close(sim);
	check_nothing_left(sim);
	if (sim->reshards && chance(sim, 60))
		sim_reshard(sim);
}

/* Recovers, and sees that everything is there; cut short, it begins again. */
static bool begin(struct sim *sim)
{
	for (int tries = 0; !sim->failed; tries++) {
		if (tries < 3 && chance(sim, 25))
			sim_disk_arm(sim->disk, rng_range(&sim->rng, 1, 60));
		if (sim_world_open(sim) && sim_check_all(sim))
			return true;
		if (!sim->failed)
			crash(sim);
	}
	return false;
}

static void epoch(struct sim *sim, unsigned steps)
{
	if (!begin(sim))
		return;
	sim_disk_arm(sim->disk, chance(sim, 60) ? rng_range(&sim->rng, 1, 400) : 0);
	unsigned quiet = (unsigned)rng_range(&sim->rng, 20, 400); /* about so many steps from one quiet moment to the next */
	choose_pace(sim);
	for (unsigned i = 0; i < steps && !over(sim); i++) {
		step(sim);
		if (i % 16 == 0)
			check_bounds(sim);
		if (rng_below(&sim->rng, quiet) == 0 && !over(sim))
			settle(sim);
	}
	if (sim->failed)
		return;
	if (over(sim) || chance(sim, 50))
		crash(sim);
	else
		clean_stop(sim);
}

bool sim_run(struct sim *sim, uint64_t seed, unsigned steps)
{
	bool verbose = sim->verbose;
	*sim = (struct sim){.seed = seed, .verbose = verbose};
	rng_init(&sim->rng, seed);
	sim_world_init(sim);
	advance(sim, 0);
	while (steps && !sim->failed) {
		unsigned n = (unsigned)rng_range(&sim->rng, 50, 600);
		n = n < steps ? n : steps;
		epoch(sim, n);
		steps -= n;
	}
	if (!sim->failed && begin(sim))
		clean_stop(sim);
	if (!sim->failed)
		sim_world_free(sim); /* a violation leaves all as it is: the process is about to say so and go */
	return !sim->failed;
}
