/* sim.c: the scheduler.
 *
 * - One step is one thing that could happen next in a real server: a lane's turn, one job of a syncer or reader, a worker's turn, the
 * control thread's, a client's mood, a call from outside, time. The dice choose; so every order of threads is met sooner or later, and met
 * again with the seed.
 * - Now and then all that waits is done without letting time pass (settle). Then nothing may be left to do: a subscription with an open
 *   window that is not at the tail, and does not wait for its budget, has lost its wake-up.
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

/* ---- What it says ---- */

void sim_say(struct sim *sim, const char *format, ...)
{
	char *line = sim->trace[sim->n_trace++ % SIM_TRACE];
	int n = snprintf(line, sizeof(sim->trace[0]), "call %llu, %.3f s: ", (unsigned long long)sim_disk_calls(sim->disk, SIM_ANY),
			 (double)(io_mono_ns(sim->io) - SIM_MONO_START_NS) / 1e9);
	va_list args;
	va_start(args, format);
	vsnprintf(line + n, sizeof(sim->trace[0]) - (size_t)n, format, args);
	va_end(args);
	if (sim->verbose)
		printf("%s\n", line);
}

void sim_show_trace(const struct sim *sim)
{
	for (unsigned i = sim->n_trace > SIM_TRACE ? sim->n_trace - SIM_TRACE : 0; i < sim->n_trace; i++)
		printf("  %s\n", sim->trace[i % SIM_TRACE]);
}

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

void sim_advance(struct sim *sim, uint64_t ns) { sim_disk_advance(sim->disk, ns); }

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

/* What threads do of themselves: the control thread, which has called SQLite, is not among them. */
void sim_preempt(void *arg)
{
	struct sim *sim = arg;
	if (!sim->in_control || sim->stopping || !chance(sim, 12))
		return;
	for (uint64_t n = rng_range(&sim->rng, 1, 8); n > 0; n--) {
		struct sim_worker *worker = &sim->workers[rng_below(&sim->rng, sim->n_workers)];
		switch (rng_below(&sim->rng, 4)) {
		case 0:
		case 1:
			lane_step(sim);
			break;
		case 2:
			pool_step(store_syncers(sim->store));
			break;
		default:
			if (chance(sim, 50))
				sim_worker_turn(worker, chance(sim, 80));
			else
				mailbox_run(&sim->box);
			break;
		}
	}
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

static bool control_waits(struct sim *sim)
{
	return !sim->in_control && (control_pending(sim->control) || sim->control_due_ns <= io_mono_ns(sim->io));
}

static void control_step(struct sim *sim)
{
	if (!control_waits(sim))
		return;
	sim->in_control = true;
	control_turn(sim->control, &sim->control_due_ns);
	sim->in_control = false;
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
	if (!sim->stopping && control_waits(sim)) {
		control_step(sim);
		done = true;
	}
	done |= mailbox_run(&sim->box) > 0;
	outbox_flush(&sim->outbox);
	return done;
}

void sim_drain(struct sim *sim)
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
		sim_advance(sim, first - now);
}

/* Who has an open window hears something every 5 s, and nothing any more after its life. */
static void check_cadence(struct sim *sim)
{
	sim_advance(sim, 5001 * MS);
	sim_drain(sim);
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

bool sim_over(const struct sim *sim) { return sim->failed || sim->poisoned || sim_disk_dead(sim->disk); }
bool sim_broken(const struct sim *sim) { return sim->faults || sim->poisoned || sim_disk_dead(sim->disk); }

static void probe_all(struct sim *sim, bool strict)
{
	for (uint32_t k = 0; k < sim->catalogue->n_streams && !sim_over(sim); k++)
		if (sim->catalogue->streams[k].n_shards)
			sim_put_probe(sim, sim->catalogue->streams[k].id, strict);
	sim_drain(sim);
}

/* Within a second of room on the disk every stream takes records again. Puts that fail are what makes the server look. */
static void check_room(struct sim *sim)
{
	sim_advance(sim, 500 * MS);
	sim_drain(sim);
	probe_all(sim, false);
	sim_advance(sim, 499 * MS);
	sim_drain(sim);
	probe_all(sim, true);
}

static void settle_clients(struct sim *sim)
{
	bool waiting = true;
	for (unsigned n = 0; waiting && !sim_over(sim); n++) {
		sim_clients_check_quiet(sim, &waiting);
		if (!waiting)
			break;
		to_deadline(sim);
		sim_drain(sim);
		if (n == 5000)
			sim_fail(sim, "settle: the budget never lets a subscription reach the tail");
	}
}

void sim_settle(struct sim *sim)
{
	open_all(sim);
	sim_drain(sim);
	settle_clients(sim);
	if (!sim_over(sim) && chance(sim, 30))
		check_cadence(sim);
	if (!sim_over(sim) && sim->fills && !sim->faults && !sim->full)
		check_room(sim);
	if (!sim_over(sim) && sim->puts_out + sim->reads_out + sim->admins_out + sim->changes_out)
		sim_fail(sim, "settle: %u puts, %u reads, %u admins, %u changes are not answered", sim->puts_out, sim->reads_out,
			 sim->admins_out, sim->changes_out);
}

/* ---- Bounds ---- */

/* What may be live: the rings, what lies in listeners, what reads bring, groups that are open or in flight, and the largest batch over
 * each. */
void sim_check_bounds(struct sim *sim)
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

/* ---- Steps ---- */

static void pass_time(struct sim *sim)
{
	uint64_t dice = rng_below(&sim->rng, 100);
	if (dice < 80)
		sim_advance(sim, rng_range(&sim->rng, 10000, 5 * MS));
	else if (dice < 97)
		sim_advance(sim, rng_range(&sim->rng, 5, 1000) * MS);
	else
		sim_advance(sim, rng_range(&sim->rng, 1000, 30000) * MS);
}

static void limit_disk(struct sim *sim)
{
	sim->full = chance(sim, 60);
	sim_disk_set_capacity(sim->disk, sim->full ? sim_disk_used(sim->disk) + rng_below(&sim->rng, 2 << 20) : 0);
	sim_say(sim, sim->full ? "the disk has little room" : "the disk has room");
}

/* For longer than idle files can be closed for it. */
static void lack_files(struct sim *sim)
{
	uint64_t times = rng_range(&sim->rng, 1, 60);
	sim_say(sim, "the next %llu openings find no descriptor", (unsigned long long)times);
	sim_disk_fail(sim->disk, SIM_ANY, rng_range(&sim->rng, 1, 10), times, EMFILE);
}

static void fail_call(struct sim *sim)
{
	static const enum sim_call kinds[] = {SIM_FDATASYNC, SIM_FDATASYNC, SIM_PWRITEV, SIM_PWRITEV, SIM_SYNC_DIR, SIM_TRUNCATE, SIM_ANY};
	enum sim_call kind = kinds[rng_below(&sim->rng, sizeof(kinds) / sizeof(kinds[0]))];
	uint64_t nth = rng_range(&sim->rng, 1, kind == SIM_ANY ? 200 : 20);
	sim_say(sim, "call of kind %d, the %llu-th from now, will fail", (int)kind, (unsigned long long)nth);
	sim_disk_fail(sim->disk, kind, nth, 1, EIO);
}

static void disturb(struct sim *sim)
{
	uint64_t dice = rng_below(&sim->rng, 100);
	if (sim->retains && !sim->clock_steps && dice < 30) /* its horizons follow the wall clock */
		sim_retain(sim);
	else if ((sim->retains || sim->clock_steps) && dice < 33)
		sim_pass_hours(sim);
	else if (sim->clock_steps && dice < 60)
		sim_clock_step(sim);
	else if (sim->faults && dice < 70 && sim->shortages)
		lack_files(sim);
	else if (sim->faults && dice < 70)
		fail_call(sim);
	else if (sim->fills && dice < 80)
		limit_disk(sim);
}

/* What may happen next, and how often before the pace of an epoch is laid on it. */
enum what { PUT, LANE, SYNCER, READER, WORKER, CONTROL, ANSWERS, MOOD, POLL, FOLLOW, CHANGE, DISTURB, TIME, WHATS };
static const unsigned usual[WHATS] = {
	[PUT] = 12, [LANE] = 20, [SYNCER] = 16, [READER] = 10, [WORKER] = 20, [CONTROL] = 8, [ANSWERS] = 8,
	[MOOD] = 6, [POLL] = 2,  [FOLLOW] = 4,  [CHANGE] = 2,  [DISTURB] = 2, [TIME] = 6,
};

/* In each epoch other threads are slow, so that mail piles up in other places. */
void sim_choose_pace(struct sim *sim)
{
	static const unsigned paces[] = {1, 4, 4, 4, 12};
	for (unsigned what = 0; what < WHATS; what++)
		sim->pace[what] = usual[what] * paces[rng_below(&sim->rng, sizeof(paces) / sizeof(paces[0]))];
	sim->hot = (uint32_t)rng_below(&sim->rng, SIM_KEYS);
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

void sim_step(struct sim *sim)
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
	case CONTROL:
		control_step(sim);
		break;
	case ANSWERS:
		mailbox_run(&sim->box);
		break;
	case MOOD:
		sim_client_mood(&worker->clients[rng_below(&sim->rng, SIM_CLIENTS)]);
		break;
	case POLL:
		if (sim->reads_out < 10)
			sim_poll(sim);
		break;
	case FOLLOW:
		if (sim->reads_out < 10)
			sim_follow(sim);
		break;
	case CHANGE:
		sim_change(sim);
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
