/* belief.h: which time retention goes by, while the wall clock may be wrong. Private to
 * shardstore; no I/O.
 *
 * "Off for 50 hours" and "50 hours ahead" look alike. So a reading of the wall clock is kept as
 * how far it lies ahead of the time that the server has run, and retention's time is the
 * running time plus the least that any reading of the last `grace` of running time lay ahead. A
 * clock that leaps forward is believed once it has kept its new pace for the grace; one that is
 * set back is followed at once, which deletes nothing.
 *
 * A reading that the kernel vouches for (io.h, vouched_ms) ends the wait, as far as the
 * readings before it were vouched for too. Others keep their grace: a clock that was behind has
 * made stamps that are older than they should be, and nothing tells them from a clock that was
 * right before the server was off.
 *
 * What follows: whatever the clock does, a record lives for its retention (the grace, if that
 * is shorter) of running time at least, or of time that the kernel vouches for, if its arrival
 * time is not before the last reading.
 *
 * Thread: the owner's (control). All times in ms, but for boot_ns. Nothing here fails. */
#ifndef PENSTOCK_BELIEF_H
#define PENSTOCK_BELIEF_H

#include <stdbool.h>
#include <stdint.h>

#define BELIEF_MARKS 32
#define BELIEF_GRAIN_MS 1000   /* offsets of one run that differ by less are one */
#define BELIEF_PAUSE_MS 300000 /* what counts as running between two readings, at most */

struct belief_mark {
	int64_t at_ms;    /* running time at which the clock last lay so far ahead */
	int64_t ahead_ms; /* wall clock minus running time */
	bool vouched;     /* the kernel has vouched for it */
};

struct belief {
	int64_t grace_ms;   /* 0: the wall clock is believed whatever it says */
	int64_t running_ms; /* the first reading ever, and the time that the server has run since */
	int64_t highest_ms; /* the latest reading ever */
	uint64_t boot_ns;   /* of the last reading */
	bool known;         /* there is a running time: one was restored, or a reading taken */
	bool paused;        /* the next reading is the first since a start or a pause */
	bool changed;       /* since the owner cleared it: worth writing down now */
	/* A sliding minimum: both members rise from front to back; the front is the least of
	 * the window, the back the last reading. */
	uint32_t n;
	struct belief_mark marks[BELIEF_MARKS];
};

void belief_init(struct belief *belief, int64_t grace_ms, uint64_t boot_ns);
/* Before the first reading: as it was written down. Marks in the order of at_ms. */
void belief_restore(struct belief *belief, int64_t running_ms, int64_t highest_ms);
void belief_restore_mark(struct belief *belief, struct belief_mark mark);
/* An operator's word: what the next reading says is believed. */
void belief_confirm(struct belief *belief);
/* A reading of the wall clock, and of the clock that boot_ns is of. */
void belief_read(struct belief *belief, uint64_t boot_ns, int64_t wall_ms, bool vouched);
/* The time that is believed, as of the last reading: never later than it. */
int64_t belief_ms(const struct belief *belief);
/* What the wall clock would show had it not been set since the last reading, nor anything else
 * happened; 0 before there is one. */
int64_t belief_last_ms(const struct belief *belief);

#endif
