/* metrics.c: the counters, and their text form for a Prometheus scrape.
 *
 * Thread: any. Each number is read on its own: a scrape is not one moment, and no sum over several is exact while the server works. */
#include "penstock/metrics.h"

#include <inttypes.h>

#include "penstock/bytes.h"

_Atomic int64_t metrics[METRIC_COUNT];

/* All of a metric's text but its number: a page is these and numbers, made in some microseconds. */
static const struct str heads[METRIC_COUNT] = {
#define TEXT(literal)                        \
	{                                    \
		literal, sizeof(literal) - 1 \
	}
#define HEAD(name, help, type) TEXT("# HELP " name " " help "\n# TYPE " name " " type "\n" name " ")
#define COUNTER(name, help) [METRIC_##name] = HEAD("penstock_" #name "_total", help, "counter"),
#define GAUGE(name, help) [METRIC_##name] = HEAD("penstock_" #name, help, "gauge"),
	METRIC_LIST(COUNTER, GAUGE)
#undef COUNTER
#undef GAUGE
#undef HEAD
#undef TEXT
};

void metrics_text(struct buf *out)
{
	for (int i = 0; i < METRIC_COUNT; i++) {
		buf_put_str(out, heads[i]);
		buf_printf(out, "%" PRId64 "\n", metric_get((enum metric)i));
	}
	metric_times_text(out);
}
