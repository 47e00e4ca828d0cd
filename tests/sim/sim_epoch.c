/* sim_epoch.c: the epochs of a seed, and planned runs.
 *
 * - An epoch ends by a power cut (the disk dies at a random call, or between calls), by kill -9, or by a clean stop. The next one recovers,
 *   is sometimes cut short in that, and checks everything that is there against everything that was ever seen.
 * - A planned run has one blow, at a call that is given: a sweep runs the same seed once per call. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "tests/sim/sim.h"

#define PLAN_STEPS 220    /* before the blow: a split or two, some segments, all kinds of calls */
#define SHORTAGE_CALLS 12 /* a shortage of one call would be mended by closing an idle file */
#define PLAN_AFTER 60     /* in the life after it */

static bool chance(struct sim *sim, unsigned percent) { return rng_chance(&sim->rng, percent); }

/* ---- What a clean stop leaves ---- */

static void on_directory(void *arg, const char *name)
{
	struct sim *sim = arg;
	const struct sim_stream *stream = sim_stream_of(sim, strtoull(name, NULL, 10));
	if (!stream || stream->gone)
		sim_fail(sim, "stop: the directory of stream %s is left over", name);
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
	if (!sim->faults) /* a directory that a failing disk would not delete stays, and is named in the log */
		sim->io->list(sim->io, "/data/streams", on_directory, sim);
}

/* ---- The end of an epoch ---- */

/* Whatever is in memory goes; then the disk is as the power cut, or the kill, has left it. */
static void crash(struct sim *sim)
{
	sim->count.crashes++;
	if (!sim_disk_dead(sim->disk)) {
		sim_disk_arm(sim->disk, 1);
		sim->io->free_bytes(sim->io, "/");
	}
	sim_world_close(sim);
	if (sim->failed)
		return;
	uint64_t dice = rng_below(&sim->rng, sim->rather_killed ? 30 : 100);
	sim->rather_killed = false;
	sim_say(sim, dice < 20 ? "killed" : "the power is cut%s", dice < 30 ? ", and all goes that was not synced" : "");
	if (dice < 20)
		sim_disk_kill(sim->disk);
	else
		sim_disk_crash(sim->disk, dice < 30 ? NULL : &sim->rng);
	sim_disk_set_capacity(sim->disk, 0);
	sim->full = false;
}

static void no_more_faults(struct sim *sim)
{
	for (unsigned kind = 0; kind <= SIM_ANY; kind++)
		sim_disk_fail(sim->disk, (enum sim_call)kind, 1, 0, EIO);
	sim_disk_set_capacity(sim->disk, 0);
	sim->full = false;
}

static void clean_stop(struct sim *sim)
{
	sim_settle(sim);
	if (sim_over(sim)) {
		if (!sim->failed)
			crash(sim);
		return;
	}
	no_more_faults(sim);
	sim_world_close(sim);
	sim_say(sim, "stopped");
	if (!sim->failed)
		check_nothing_left(sim);
}

/* ---- Its beginning ---- */

/* Recovers, and sees that everything is there; cut short, it begins again. */
static bool begin(struct sim *sim)
{
	static const uint64_t reach[] = {8, 60, 60, 400};
	for (int tries = 0; !sim->failed; tries++) {
		if (sim->plan)
			sim_disk_arm(sim->disk, tries == 0 && sim->count.crashes ? sim->plan->again : 0);
		else if (tries < 3 && chance(sim, 25))
			sim_disk_arm(sim->disk, rng_range(&sim->rng, 1, reach[rng_below(&sim->rng, 4)]));
		uint64_t calls = sim_disk_calls(sim->disk, SIM_ANY);
		sim_say(sim, "starts");
		if (sim_world_open(sim) && sim_check_all(sim)) {
			if (sim->plan && sim->count.crashes == 1)
				sim->plan->recovery_calls = sim_disk_calls(sim->disk, SIM_ANY) - calls;
			return true;
		}
		if (!sim->failed)
			crash(sim);
		if (tries == 50)
			sim_fail(sim, "start: 50 starts fail");
	}
	return false;
}

static void work(struct sim *sim, unsigned steps)
{
	unsigned quiet = (unsigned)rng_range(&sim->rng, 20, 400); /* about so many steps from one quiet moment to the next */
	sim_choose_pace(sim);
	if (!sim_found(sim))
		return;
	for (unsigned i = 0; i < steps && !sim_over(sim); i++) {
		sim_step(sim);
		if (i % 16 == 0)
			sim_check_bounds(sim);
		if (rng_below(&sim->rng, quiet) == 0 && !sim_over(sim))
			sim_settle(sim);
	}
}

static void epoch(struct sim *sim, unsigned steps)
{
	if (!begin(sim))
		return;
	sim_disk_arm(sim->disk, chance(sim, 60) ? rng_range(&sim->rng, 1, chance(sim, 30) ? 120 : 1200) : 0);
	work(sim, steps);
	if (sim->failed)
		return;
	if (sim_over(sim) || chance(sim, 50))
		crash(sim);
	else
		clean_stop(sim);
}

/* Nothing is on its way any more: what was CREATING, UPDATING or DELETING is done. */
static void check_at_rest(struct sim *sim)
{
	sim_advance(sim, (sim->transition_ms + 2000) * 1000000);
	sim_drain(sim);
	for (unsigned s = 0; s < sim->n_streams && !sim_over(sim); s++) {
		const struct sim_stream *stream = &sim->streams[s];
		if (stream->gone)
			continue;
		if (stream->status != STREAM_ACTIVE)
			sim_fail(sim, "rest: stream %llu is %s for good", (unsigned long long)stream->id,
				 stream_status_name(stream->status));
		for (uint32_t i = 0; i < stream->n_consumers; i++)
			if (!stream->consumers[i].gone && stream->consumers[i].status != CONSUMER_ACTIVE)
				sim_fail(sim, "rest: consumer %llu is %s for good", (unsigned long long)stream->consumers[i].id,
					 consumer_status_name(stream->consumers[i].status));
	}
}

/* The last start is left alone: all must come to its end. */
static void last_epoch(struct sim *sim)
{
	sim_disk_arm(sim->disk, 0);
	if (!sim->failed && begin(sim)) {
		sim_disk_arm(sim->disk, 0);
		sim_settle(sim);
		if (!sim_over(sim))
			check_at_rest(sim);
		sim_follow_all(sim);
		if (!sim->failed)
			clean_stop(sim);
	}
}

/* ---- Runs ---- */

static void sim_begin(struct sim *sim, uint64_t seed, struct sim_plan *plan)
{
	bool verbose = sim->verbose;
	memset(sim, 0, sizeof(*sim));
	sim->seed = seed;
	sim->verbose = verbose;
	sim->plan = plan;
	rng_init(&sim->rng, seed);
	sim_world_init(sim);
}

bool sim_run(struct sim *sim, uint64_t seed, unsigned steps)
{
	sim_begin(sim, seed, NULL);
	while (steps && !sim->failed) {
		unsigned n = (unsigned)rng_range(&sim->rng, 50, 600);
		n = n < steps ? n : steps;
		epoch(sim, n);
		steps -= n;
	}
	last_epoch(sim);
	sim->count.calls = sim_disk_calls(sim->disk, SIM_ANY);
	if (!sim->failed)
		sim_world_free(sim); /* a violation leaves all as it is: the process is about to say so and go */
	return !sim->failed;
}

static void strike(struct sim *sim)
{
	struct sim_plan *plan = sim->plan;
	if (plan->at && plan->blow == SIM_BLOW_CRASH)
		sim_disk_arm(sim->disk, plan->at);
	else if (plan->at)
		sim_disk_fail(sim->disk, SIM_ANY, plan->at, plan->blow == SIM_BLOW_EMFILE ? SHORTAGE_CALLS : 1,
			      plan->blow == SIM_BLOW_EIO      ? EIO
			      : plan->blow == SIM_BLOW_EMFILE ? EMFILE
							      : ENOSPC);
}

/* One try to start, and the work, in which the blow falls. */
static void first_life(struct sim *sim)
{
	strike(sim);
	sim_say(sim, "starts");
	bool opened = sim_world_open(sim);
	if (opened)
		work(sim, PLAN_STEPS);
	if (sim->failed)
		return;
	/* Without a blow, or when it did no harm: the end is swept as well. */
	if (opened && !sim_over(sim)) {
		sim_settle(sim);
		sim_world_close(sim);
	}
	sim->plan->calls = sim_disk_calls(sim->disk, SIM_ANY);
	if (!sim->failed)
		crash(sim);
}

bool sim_run_plan(struct sim *sim, uint64_t seed, struct sim_plan *plan)
{
	sim_begin(sim, seed, plan);
	first_life(sim);
	if (!sim->failed && begin(sim))
		work(sim, PLAN_AFTER);
	if (!sim->failed)
		crash(sim);
	plan->again = 0;
	last_epoch(sim);
	if (!sim->failed)
		sim_world_free(sim);
	return !sim->failed;
}
