/* rng.h: the simulation's dice. xoshiro256** (Blackman, Vigna: public domain), seeded by splitmix64, so that a seed gives the same run on
 * every machine and with every C library. Not for secrets. */
#ifndef PENSTOCK_TESTS_RNG_H
#define PENSTOCK_TESTS_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct rng {
	uint64_t s[4];
};

static inline void rng_init(struct rng *rng, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		rng->s[i] = z ^ (z >> 31);
	}
}

static inline uint64_t rng_rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static inline uint64_t rng_next(struct rng *rng)
{
	uint64_t *s = rng->s;
	uint64_t result = rng_rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rng_rotl(s[3], 45);
	return result;
}

/* 0 to n - 1; 0 when n is 0. The bias of the modulo does not matter here. */
static inline uint64_t rng_below(struct rng *rng, uint64_t n) { return n ? rng_next(rng) % n : 0; }
/* low to high, both included. */
static inline uint64_t rng_range(struct rng *rng, uint64_t low, uint64_t high) { return low + rng_below(rng, high - low + 1); }
static inline bool rng_chance(struct rng *rng, unsigned percent) { return rng_below(rng, 100) < percent; }

#endif
