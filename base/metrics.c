/* metrics.c: the counters, and their text form for a Prometheus scrape.
 *
 * Thread: any. Each number is read on its own: a scrape is not one moment, and no sum over several is exact while the server works. */
#include "penstock/metrics.h"

#include <inttypes.h>

#include "penstock/bytes.h"

_Atomic int64_t metrics[METRIC_COUNT];

struct metric_row {
	const char *name, *help, *type, *suffix;
};

static const struct metric_row rows[METRIC_COUNT] = {
#define COUNTER(name, help) [METRIC_##name] = {#name, help, "counter", "_total"},
#define GAUGE(name, help) [METRIC_##name] = {#name, help, "gauge", ""},
	METRIC_LIST(COUNTER, GAUGE)
#undef COUNTER
#undef GAUGE
};

void metrics_text(struct buf *out)
{
	for (int i = 0; i < METRIC_COUNT; i++) {
		const struct metric_row *row = &rows[i];
		buf_printf(out, "# HELP penstock_%s%s %s\n# TYPE penstock_%s%s %s\npenstock_%s%s %" PRId64 "\n", row->name, row->suffix,
			   row->help, row->name, row->suffix, row->type, row->name, row->suffix, metric_get((enum metric)i));
	}
	metric_times_text(out);
}
