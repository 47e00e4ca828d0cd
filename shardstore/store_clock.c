/* store_clock.c: the store's clocks: when a record is stamped, and which time retention goes
 * by.
 *
 * The control thread reads the wall clock and decides what to believe of it (belief.h); it
 * leaves three numbers here, which run with the monotonic clock until it comes again, seconds
 * later. A lane stamps with the wall clock, but never before that reading.
 *
 * Thread: set by control; read by any. Each number by itself is an atomic; which of two
 * readings a caller meets makes no difference. Nothing fails. */
#include "shardstore/lane.h"

#define STEP_MS 1000 /* more than a stalled thread or a slewed clock makes */

static int64_t mono_ms(const struct store *store) { return (int64_t)(io_mono_ns(store->config.io) / 1000000); }

/* It only rises. */
static void note_latest(struct store *store, int64_t ms)
{
	int64_t was_ms = atomic_load_explicit(&store->highest_ms, memory_order_relaxed);
	while (was_ms < ms &&
	       !atomic_compare_exchange_weak_explicit(&store->highest_ms, &was_ms, ms, memory_order_relaxed, memory_order_relaxed))
		;
}

void store_set_clock(struct store *store, int64_t wall_ms, int64_t believed_ms, int64_t highest_ms)
{
	int64_t now_ms = mono_ms(store);
	atomic_store_explicit(&store->wall_ahead_ms, wall_ms - now_ms, memory_order_relaxed);
	atomic_store_explicit(&store->believed_ahead_ms, believed_ms - now_ms, memory_order_relaxed);
	note_latest(store, highest_ms);
}

/* What the wall clock would show had it not been set since the last reading; what it shows, if
 * there was none. The ms is for the clocks' own ms, which do not change at the same moment: a
 * stamp must not lie ahead for that. */
static int64_t read_ms(const struct store *store, int64_t wall_ms)
{
	int64_t ahead_ms = atomic_load_explicit(&store->wall_ahead_ms, memory_order_relaxed);
	return ahead_ms == CLOCK_UNSET ? wall_ms : mono_ms(store) + ahead_ms - 1;
}

int64_t store_stamp_ms(struct store *store)
{
	int64_t wall_ms = io_wall_ms(store->config.io), least_ms = read_ms(store, wall_ms);
	if (wall_ms <= least_ms)
		return least_ms;
	/* Set forward since the reading, and perhaps back before the next one: only this stamp
	 * shows it. */
	if (wall_ms > least_ms + STEP_MS)
		note_latest(store, wall_ms);
	return wall_ms;
}

int64_t store_believed_ms(const struct store *store)
{
	int64_t ahead_ms = atomic_load_explicit(&store->believed_ahead_ms, memory_order_relaxed);
	return ahead_ms == CLOCK_UNSET ? io_wall_ms(store->config.io) : mono_ms(store) + ahead_ms;
}

int64_t store_latest_ms(const struct store *store)
{
	int64_t wall_ms = io_wall_ms(store->config.io), least_ms = read_ms(store, wall_ms);
	int64_t highest_ms = atomic_load_explicit(&store->highest_ms, memory_order_relaxed);
	if (wall_ms < least_ms)
		wall_ms = least_ms;
	return wall_ms > highest_ms ? wall_ms : highest_ms;
}
