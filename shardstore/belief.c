/* belief.c: a sliding minimum over how far the wall clock lies ahead of the running time
 * (belief.h).
 *
 * - a reading at the offset of the one before moves its mark on; else marks that lie as far
 *   ahead or farther go, since the new one is lower and lasts longer, and it is added
 * - the first reading of a run is a mark of its own: that it agrees with the last run's proves
 *   nothing
 * - a vouched reading: the vouched marks before it go
 * - marks older than the grace go
 *
 * Invariants: the array is bounded; if it is full, its highest mark stands for the new one,
 * which is higher: that keeps data longer, and deletes nothing. */
#include "shardstore/belief.h"

#include <string.h>

void belief_init(struct belief *belief, int64_t grace_ms, uint64_t boot_ns)
{
	*belief = (struct belief){.grace_ms = grace_ms, .boot_ns = boot_ns, .paused = true};
}

void belief_restore(struct belief *belief, int64_t running_ms, int64_t highest_ms)
{
	belief->running_ms = running_ms;
	belief->highest_ms = highest_ms;
	belief->known = true;
}

void belief_confirm(struct belief *belief)
{
	belief->n = 0;
	belief->changed = true;
}

/* ---- Marks ---- */

static struct belief_mark *back(struct belief *belief) { return belief->n ? &belief->marks[belief->n - 1] : NULL; }

static void add(struct belief *belief, struct belief_mark mark)
{
	while (belief->n && back(belief)->ahead_ms >= mark.ahead_ms)
		belief->n--;
	if (belief->n < BELIEF_MARKS) {
		belief->marks[belief->n++] = mark;
		return;
	}
	back(belief)->at_ms = mark.at_ms;
	back(belief)->vouched &= mark.vouched;
}

void belief_restore_mark(struct belief *belief, struct belief_mark mark) { add(belief, mark); }

/* Clocks are read to the ms, one after the other: the same offset is met a little higher or
 * lower. The lower one counts. */
static void stay(struct belief *belief, const struct belief_mark *mark)
{
	struct belief_mark now = *back(belief);

	now.at_ms = mark->at_ms;
	now.ahead_ms = mark->ahead_ms < now.ahead_ms ? mark->ahead_ms : now.ahead_ms;
	belief->changed |= mark->vouched && !now.vouched;
	now.vouched |= mark->vouched;
	belief->n--;
	add(belief, now);
}

static void see(struct belief *belief, struct belief_mark mark)
{
	const struct belief_mark *last = back(belief);
	int64_t rise_ms = last ? mark.ahead_ms - last->ahead_ms : 0;

	if (last && !belief->paused && rise_ms < BELIEF_GRAIN_MS && rise_ms > -BELIEF_GRAIN_MS) {
		stay(belief, &mark);
		return;
	}
	add(belief, mark);
	belief->changed = true;
}

/* Of those before the last, those stay that nothing vouched for. */
static void trust_last(struct belief *belief)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < belief->n; i++)
		if (!belief->marks[i].vouched || i + 1 == belief->n)
			belief->marks[n++] = belief->marks[i];
	belief->n = n;
}

static void expire(struct belief *belief)
{
	/* A record may have been stamped just before the reading after the mark. */
	int64_t slack_ms = belief->grace_ms / 10 < BELIEF_PAUSE_MS ? belief->grace_ms / 10 : BELIEF_PAUSE_MS;
	int64_t before_ms = belief->running_ms - belief->grace_ms - slack_ms;
	uint32_t n = 0;

	while (belief->n - n > 1 && (belief->grace_ms == 0 || belief->marks[n].at_ms < before_ms))
		n++;
	belief->n -= n;
	memmove(belief->marks, belief->marks + n, belief->n * sizeof(belief->marks[0]));
}

/* ---- Readings ---- */

static void run_on(struct belief *belief, uint64_t boot_ns, int64_t wall_ms)
{
	int64_t ms = (int64_t)((boot_ns - belief->boot_ns) / 1000000);

	if (!belief->known)
		belief_restore(belief, wall_ms - ms, wall_ms);
	if (ms > BELIEF_PAUSE_MS) {
		belief->paused = true;
		belief->running_ms += BELIEF_PAUSE_MS;
		belief->boot_ns = boot_ns;
	} else {
		belief->running_ms += ms;
		belief->boot_ns += (uint64_t)ms * 1000000;
	}
}

void belief_read(struct belief *belief, uint64_t boot_ns, int64_t wall_ms, bool vouched)
{
	uint32_t n = belief->n;

	run_on(belief, boot_ns, wall_ms);
	see(belief, (struct belief_mark){.at_ms = belief->running_ms, .ahead_ms = wall_ms - belief->running_ms, .vouched = vouched});
	if (vouched)
		trust_last(belief);
	expire(belief);
	belief->changed |= n != belief->n;
	if (wall_ms > belief->highest_ms)
		belief->highest_ms = wall_ms;
	belief->paused = false;
}

int64_t belief_ms(const struct belief *belief) { return belief->running_ms + (belief->n ? belief->marks[0].ahead_ms : 0); }

int64_t belief_last_ms(const struct belief *belief) { return belief->running_ms + (belief->n ? belief->marks[belief->n - 1].ahead_ms : 0); }
