/* histogram.h: latencies in ns, 1 ns to 2^40 ns, relative error below 1 %. One owner; merge to add up. */
#ifndef PENSTOCK_HISTOGRAM_H
#define PENSTOCK_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB 128 /* buckets per power of two */
#define HISTOGRAM_BUCKETS ((41 - 7) * HISTOGRAM_SUB + HISTOGRAM_SUB)

struct histogram {
	uint64_t count, sum, min, max;
	uint32_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_init(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
uint64_t histogram_quantile(const struct histogram *h, double q); /* 0 <= q <= 1; 0 when empty */
uint64_t histogram_value(const struct histogram *h, uint32_t bucket); /* what stands for a bucket: its middle, within min and max */

#endif
