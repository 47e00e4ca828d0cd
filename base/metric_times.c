/* metric_times.c: how long each hop takes, as quantiles since the start.
 *
 * Thread: any; one mutex per time, held for a few dozen instructions. A scrape copies a histogram under it and works on the copy. */
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "penstock/bytes.h"
#include "penstock/histogram.h"
#include "penstock/metrics.h"

struct time_row {
	const char *name, *help;
	pthread_mutex_t lock;
	struct histogram histogram; /* under lock; zero is an empty one, but for min, which is not printed */
};

static struct time_row rows[METRIC_TIME_COUNT] = {
#define X(name, help) {#name, help, PTHREAD_MUTEX_INITIALIZER, {0}},
	METRIC_TIME_LIST(X)
#undef X
};

void metric_observe(enum metric_time time, uint64_t ns)
{
	struct time_row *row = &rows[time];
	pthread_mutex_lock(&row->lock);
	histogram_add(&row->histogram, ns);
	pthread_mutex_unlock(&row->lock);
}

static void print_row(struct time_row *row, struct histogram *copy, struct buf *out)
{
	static const double quantiles[] = {0.5, 0.9, 0.99};
	pthread_mutex_lock(&row->lock);
	*copy = row->histogram;
	pthread_mutex_unlock(&row->lock);
	buf_printf(out, "# HELP penstock_%s_seconds %s\n# TYPE penstock_%s_seconds summary\n", row->name, row->help, row->name);
	for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++)
		buf_printf(out, "penstock_%s_seconds{quantile=\"%g\"} %.9f\n", row->name, quantiles[i],
			   (double)histogram_quantile(copy, quantiles[i]) / 1e9);
	buf_printf(out, "penstock_%s_seconds_sum %.9f\npenstock_%s_seconds_count %" PRIu64 "\n", row->name, (double)copy->sum / 1e9,
		   row->name, copy->count);
}

void metric_times_text(struct buf *out)
{
	struct histogram *copy = xmalloc(sizeof *copy);
	for (int i = 0; i < METRIC_TIME_COUNT; i++)
		print_row(&rows[i], copy, out);
	free(copy);
}
