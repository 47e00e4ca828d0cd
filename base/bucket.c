/* bucket.c: token bucket with debt, in whole tokens and nanoseconds.
 *
 * Invariant: level <= capacity, and `at_ns` moves only by the time that whole tokens took, so that a bucket asked a million times a second
 * refills as fast as one asked once: a fraction of a token is kept as time, and less than a nanosecond is lost per refill.
 *
 * Thread: the owner's. A clock that stands still or goes back refills nothing. */
#include "penstock/bucket.h"

#include <assert.h>

#define NS_PER_S UINT64_C(1000000000)

void bucket_init(struct bucket *b, int64_t rate, int64_t capacity, uint64_t now_ns)
{
	assert(rate >= 0 && capacity >= 0);
	*b = (struct bucket){.level = capacity, .capacity = capacity, .rate = rate, .at_ns = now_ns};
}

static void refill(struct bucket *b, uint64_t now_ns)
{
	if (now_ns <= b->at_ns || b->rate == 0)
		return;
	if (b->level >= b->capacity) {
		b->at_ns = now_ns;
		return;
	}
	uint64_t passed = now_ns - b->at_ns, rate = (uint64_t)b->rate;
	uint64_t missing = (uint64_t)(b->capacity - b->level);
	/* 128 bits: 2^64 ns x 2^40 tokens/s does not fit otherwise. */
	__extension__ unsigned __int128 gained = (unsigned __int128)passed * rate / NS_PER_S;
	if (gained >= missing) {
		b->level = b->capacity;
		b->at_ns = now_ns;
		return;
	}
	b->level += (int64_t)gained;
	/* Rounded up: the fraction that is left is never larger than what was earned. */
	__extension__ unsigned __int128 took = ((unsigned __int128)gained * NS_PER_S + rate - 1) / rate;
	b->at_ns += (uint64_t)took;
}

bool bucket_take(struct bucket *b, int64_t n, uint64_t now_ns)
{
	if (b->rate == 0)
		return true;
	refill(b, now_ns);
	if (b->level < n && !(n > b->capacity && b->level >= b->capacity))
		return false;
	b->level -= n;
	return true;
}

bool bucket_open(struct bucket *b, uint64_t now_ns)
{
	if (b->rate == 0)
		return true;
	refill(b, now_ns);
	return b->level > 0;
}

void bucket_charge(struct bucket *b, int64_t n, uint64_t now_ns)
{
	if (b->rate == 0)
		return;
	refill(b, now_ns);
	b->level -= n;
	if (b->level > b->capacity)
		b->level = b->capacity;
}

uint64_t bucket_open_at(struct bucket *b, uint64_t now_ns)
{
	if (bucket_open(b, now_ns))
		return now_ns;
	uint64_t rate = (uint64_t)b->rate, missing = (uint64_t)(1 - b->level);
	__extension__ unsigned __int128 wait = ((unsigned __int128)missing * NS_PER_S + rate - 1) / rate;
	uint64_t at = b->at_ns + (uint64_t)wait;
	return at > now_ns ? at : now_ns + 1;
}
