/* bucket.h: token bucket in nanoseconds of CLOCK_MONOTONIC. One owner, one thread.
 *
 * A bucket may go into debt by one taking: the takers of bytes do not know how large the next thing is, so they ask whether there
 * is anything left and pay afterwards. */
#ifndef PENSTOCK_BUCKET_H
#define PENSTOCK_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

struct bucket {
	int64_t level;     /* tokens; negative: debt */
	int64_t capacity;  /* tokens */
	int64_t rate;      /* tokens per second; 0: no limit */
	uint64_t at_ns;    /* when level was true */
};

/* Starts full. rate 0: every question is answered yes. */
void bucket_init(struct bucket *b, int64_t rate, int64_t capacity, uint64_t now_ns);
/* Takes n if the level is at least n; n > capacity is taken from a full bucket (into debt). */
bool bucket_take(struct bucket *b, int64_t n, uint64_t now_ns);
/* Is anything left? (level > 0) */
bool bucket_open(struct bucket *b, uint64_t now_ns);
/* Takes n whatever the level. A negative n gives back. */
void bucket_charge(struct bucket *b, int64_t n, uint64_t now_ns);
/* When bucket_open will next be true, ns of the monotonic clock; now_ns if it is. */
uint64_t bucket_open_at(struct bucket *b, uint64_t now_ns);

#endif
