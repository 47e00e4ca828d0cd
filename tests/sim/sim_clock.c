/* sim_clock.c: what the clocks do while the server runs and while it is off.
 *
 * The monotonic clock is the right time; the wall clock is that and an error. In most worlds an
 * error lasts for less than the grace, and the kernel vouches for the clock only while it is
 * right: then no record may go before a day has passed. In others it may last, or be vouched
 * for: then records may go early, but they must go on going.
 *
 * - step: an error of up to 30 days, or none; the kernel synchronises a right clock, or loses
 *   it
 * - start: the machine was off for up to 60 hours; its clock may have stood still, or be
 *   anything
 * - hours: in pieces that the control thread takes for running; at the end, if nothing happened
 *   to the clock for the grace, retention's time must be the wall clock's, and the lanes must
 *   keep no more than a day by it */
#include <stdlib.h>

#include "shardstore/lane.h" /* the horizon: private */
#include "tests/sim/sim.h"

#define MS UINT64_C(1000000)
#define HOUR_MS INT64_C(3600000)
#define DAY_MS (24 * HOUR_MS)
#define HOUR_NS UINT64_C(3600000000000)
#define PIECE_NS UINT64_C(290000000000) /* below BELIEF_PAUSE_MS */
#define WRONG_MOST_NS (8 * HOUR_NS)     /* an error that does not last */
#define GRACE_NS ((uint64_t)SIM_GRACE_MS * MS + 3 * UINT64_C(300000000000))

static bool chance(struct sim *sim, unsigned percent) { return rng_chance(&sim->rng, percent); }

void sim_clock_init(struct sim *sim)
{
	sim->wall_min = io_wall_ms(sim->io);
	sim->ahead_max_ms = sim->wall_min - (int64_t)(io_mono_ns(sim->io) / MS);
	sim->steady_ns = io_mono_ns(sim->io);
}

static void set_error(struct sim *sim, int64_t error_ms)
{
	int64_t delta_ms = error_ms - sim->error_ms, ahead_ms;
	if (delta_ms == 0)
		return;
	sim_say(sim, "the clock is set by %lld s, and is wrong by %lld s", (long long)delta_ms / 1000, (long long)error_ms / 1000);
	sim_disk_step_wall(sim->disk, delta_ms);
	if (sim->error_ms == 0)
		sim->wrong_ns = io_mono_ns(sim->io);
	sim->error_ms = error_ms;
	sim->was_behind |= error_ms < 0;
	sim->steady_ns = io_mono_ns(sim->io);
	ahead_ms = io_wall_ms(sim->io) - (int64_t)(io_mono_ns(sim->io) / MS);
	if (ahead_ms > sim->ahead_max_ms)
		sim->ahead_max_ms = ahead_ms;
	if (io_wall_ms(sim->io) < sim->wall_min)
		sim->wall_min = io_wall_ms(sim->io);
}

static int64_t any_error(struct sim *sim)
{
	switch (rng_below(&sim->rng, 4)) {
	case 0:
		return (int64_t)rng_below(&sim->rng, 20000) - 10000;
	case 1:
		return ((int64_t)rng_below(&sim->rng, 61) - 30) * HOUR_MS;
	default:
		return ((int64_t)rng_below(&sim->rng, 61) - 30) * DAY_MS;
	}
}

static void vouch(struct sim *sim, bool vouched)
{
	if (vouched && sim->error_ms && !sim->lasting)
		return;
	sim_say(sim, vouched ? "the kernel vouches for the clock" : "the kernel vouches for no clock");
	sim_disk_vouch(sim->disk, vouched);
}

void sim_clock_step(struct sim *sim)
{
	if (chance(sim, 40))
		set_error(sim, any_error(sim));
	else if (chance(sim, 60))
		set_error(sim, 0);
	if (chance(sim, 30))
		vouch(sim, chance(sim, 60));
}

void sim_clock_start(struct sim *sim)
{
	uint64_t off_ns = 0;
	if (sim->clock_steps && chance(sim, 30)) {
		off_ns = rng_below(&sim->rng, 60) * HOUR_NS + rng_below(&sim->rng, 1000) * MS;
		sim_say(sim, "off for %llu s", (unsigned long long)(off_ns / 1000000000));
		sim_disk_vouch(sim->disk, false);
		sim_advance(sim, off_ns);
		sim->wrong_ns += off_ns; /* it is no running time */
	}
	if (off_ns && chance(sim, 25))
		set_error(sim, sim->error_ms - (int64_t)(off_ns / MS)); /* it stood still */
	else if (sim->clock_steps && chance(sim, 20))
		sim_clock_step(sim);
	sim->steady_ns = io_mono_ns(sim->io);
}

bool sim_clock_confirm(struct sim *sim)
{
	return sim->clock_steps && (sim->lasting || (!sim->was_behind && sim->error_ms == 0)) && chance(sim, 10);
}

/* ---- Hours ---- */

/* Nothing happened to the clock for the grace: it is believed, and lanes go by it. */
static void check_believed(struct sim *sim)
{
	int64_t wall_ms = io_wall_ms(sim->io), believed_ms = store_believed_ms(sim->store);
	if (wall_ms - believed_ms > 1001 || believed_ms - wall_ms > 1)
		sim_fail(sim, "clock: %lld ms ahead of what is believed, after the grace", (long long)(wall_ms - believed_ms));
	for (unsigned i = 0; i < store_lanes(sim->store); i++) {
		const struct lane *lane = &sim->store->lanes[i];
		for (size_t k = 0; k < lane->n_streams; k++) {
			const struct lane_stream *stream = lane->streams[k];
			if (stream->horizon_ms < wall_ms - DAY_MS - 20000)
				sim_fail(sim, "clock: stream %llu keeps %lld s more than a day", (unsigned long long)stream->id,
					 (long long)(wall_ms - DAY_MS - stream->horizon_ms) / 1000);
		}
	}
}

void sim_pass_hours(struct sim *sim)
{
	uint64_t end_ns = io_mono_ns(sim->io) + rng_range(&sim->rng, 6, 30) * HOUR_NS;
	uint64_t right_ns = sim->lasting ? UINT64_MAX : sim->wrong_ns + rng_below(&sim->rng, WRONG_MOST_NS);
	sim_say(sim, "hours pass");
	sim_advance(sim, 10000 * MS);
	sim_drain(sim); /* the control thread may not have run for long: that is a pause */
	sim->steady_ns = io_mono_ns(sim->io);
	while (io_mono_ns(sim->io) < end_ns && !sim_over(sim)) {
		if (sim->error_ms && io_mono_ns(sim->io) >= right_ns)
			set_error(sim, 0);
		if (sim->clock_steps && chance(sim, 1))
			vouch(sim, chance(sim, 60));
		sim_advance(sim, PIECE_NS);
		sim_drain(sim);
	}
	if (!sim_over(sim) && io_mono_ns(sim->io) - sim->steady_ns > GRACE_NS && !sim_broken(sim) && !sim->fills)
		check_believed(sim);
}
