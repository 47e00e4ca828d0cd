/* known_samples.c: exact quantiles, by the rank that histogram_quantile takes. */
#include <stdlib.h>

#include "tests/load/known.h"

void samples_add(struct buf *samples, uint64_t ns) { buf_put(samples, &ns, sizeof ns); }

static int ns_compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

json_t *samples_to_json(struct buf *samples)
{
	static const struct {
		const char *name;
		double q;
	} quantiles[] = {{"min_ms", 0}, {"p50_ms", 0.5}, {"p90_ms", 0.9}, {"p99_ms", 0.99}, {"max_ms", 1}};
	size_t n = samples->n / sizeof(uint64_t);
	const uint64_t *ns = (const uint64_t *)(const void *)samples->p;
	json_t *figures = json_pack("{s:I}", "n", (json_int_t)n);
	if (n)
		qsort(samples->p, n, sizeof *ns, ns_compare);
	for (size_t i = 0; n && i < sizeof quantiles / sizeof *quantiles; i++) {
		size_t rank = (size_t)(quantiles[i].q * (double)n);
		json_object_set_new(figures, quantiles[i].name, json_real((double)ns[rank < n ? rank : n - 1] / 1e6));
	}
	return figures;
}
