/* histogram.c: latencies in buckets of equal relative width.
 *
 * A value below 128 has its own bucket; above, each power of two is cut in 128 equal buckets, so that a bucket is at most 1/128 of its
 * value wide and the middle is at most 0.4 % off. Larger than 2^41: the last bucket (max tells the truth). A bucket that would overflow
 * stays full.
 *
 * Thread: one owner. Nothing fails. */
#include "penstock/histogram.h"

#include <string.h>

#define SUB_BITS 7
_Static_assert(1 << SUB_BITS == HISTOGRAM_SUB, "buckets per power of two");

void histogram_init(struct histogram *h)
{
	memset(h, 0, sizeof(*h));
	h->min = UINT64_MAX;
}

static uint32_t bucket_of(uint64_t ns)
{
	if (ns < HISTOGRAM_SUB)
		return (uint32_t)ns;
	uint32_t power = 63 - (uint32_t)__builtin_clzll(ns); /* >= SUB_BITS */
	uint32_t shift = power - SUB_BITS;
	uint32_t at = (shift + 1) * HISTOGRAM_SUB + (uint32_t)(ns >> shift) - HISTOGRAM_SUB;
	return at < HISTOGRAM_BUCKETS ? at : HISTOGRAM_BUCKETS - 1;
}

/* The middle of a bucket. */
static uint64_t value_of(uint32_t bucket)
{
	if (bucket < HISTOGRAM_SUB)
		return bucket;
	uint32_t shift = bucket / HISTOGRAM_SUB - 1;
	uint64_t low = (uint64_t)(bucket % HISTOGRAM_SUB + HISTOGRAM_SUB) << shift;
	return low + ((UINT64_C(1) << shift) - 1) / 2;
}

static void bucket_add(uint32_t *bucket, uint32_t n) { *bucket = *bucket > UINT32_MAX - n ? UINT32_MAX : *bucket + n; }

void histogram_add(struct histogram *h, uint64_t ns)
{
	h->count++;
	h->sum += ns;
	if (ns < h->min)
		h->min = ns;
	if (ns > h->max)
		h->max = ns;
	bucket_add(&h->buckets[bucket_of(ns)], 1);
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
	into->count += from->count;
	into->sum += from->sum;
	if (from->min < into->min)
		into->min = from->min;
	if (from->max > into->max)
		into->max = from->max;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		bucket_add(&into->buckets[i], from->buckets[i]);
}

uint64_t histogram_value(const struct histogram *h, uint32_t bucket)
{
	uint64_t value = bucket == HISTOGRAM_BUCKETS - 1 ? h->max : value_of(bucket);
	if (value < h->min)
		return h->min;
	return value > h->max ? h->max : value;
}

uint64_t histogram_quantile(const struct histogram *h, double q)
{
	if (h->count == 0)
		return 0;
	if (q >= 1)
		return h->max;
	uint64_t rank = q <= 0 ? 1 : (uint64_t)(q * (double)h->count) + 1; /* the rank-th smallest */
	uint64_t seen = 0;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += h->buckets[i];
		if (seen >= rank)
			return histogram_value(h, i);
	}
	return h->max;
}
