/* report_hdr.c: one file of HdrHistogram's percentile text (.hgrm) for each regime and kind of latency, in ms: what HdrHistogram's own
 * plotter and its kin read.
 *
 * - The name's middle is the regime's, in small letters with hyphens; a number follows where two regimes have the same.
 * - Nothing received: no file.
 * - The footer's Buckets and SubBuckets are our histogram's: halvings, and buckets in each.
 *
 * One thread. The first file that cannot be written ends it. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>

#include "loadtest/figures.h"
#include "loadtest/report.h"

static void slug_write(const struct outcome *outcome, uint32_t at, char slug[64])
{
	const char *name = outcome->regimes[at]->name;
	size_t n = 0;
	for (const char *c = name; *c; c++)
		if (isalnum((unsigned char)*c))
			slug[n++] = (char)tolower((unsigned char)*c);
		else if (n && slug[n - 1] != '-')
			slug[n++] = '-';
	while (n && slug[n - 1] == '-')
		n--;
	slug[n] = '\0';
	unsigned same = 1;
	for (uint32_t i = 0; i < at; i++)
		same += strcmp(outcome->regimes[i]->name, name) == 0;
	if (same > 1)
		snprintf(slug + n, 64 - n, "-%u", same);
}

static void histogram_write(FILE *file, const struct histogram *h)
{
	struct point points[FIGURES_POINTS];
	uint32_t n = figures_points(h, points);
	fprintf(file, "%14s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
	for (uint32_t i = 0; i + 1 < n; i++)
		fprintf(file, "%14.6f %2.12f %10" PRIu64 " %14.2f\n", points[i].ms, points[i].percentile, points[i].total,
			1 / (1 - points[i].percentile));
	fprintf(file, "%14.6f %2.12f %10" PRIu64 "\n", points[n - 1].ms, points[n - 1].percentile, points[n - 1].total);
	fprintf(file, "#[Mean    = %12.6f, StdDeviation   = %12.6f]\n", figures_mean_ms(h), figures_stddev_ms(h));
	fprintf(file, "#[Max     = %12.6f, Total count    = %12" PRIu64 "]\n", figures_ms(h->max), h->count);
	fprintf(file, "#[Buckets = %12d, SubBuckets     = %12d]\n", HISTOGRAM_BUCKETS / HISTOGRAM_SUB, HISTOGRAM_SUB);
}

static bool file_write(const char *prefix, const char *slug, const char *kind, const struct histogram *h)
{
	if (!h->count)
		return true;
	char path[4096];
	snprintf(path, sizeof path, "%s-%s-%s.hgrm", prefix, slug, kind);
	FILE *file = report_open(path);
	if (!file)
		return false;
	histogram_write(file, h);
	return report_close(file, path);
}

bool report_hdr(const struct outcome *outcome, const char *prefix)
{
	for (uint32_t i = 0; i < outcome->n_regimes; i++) {
		const struct regime *regime = outcome->regimes[i];
		char slug[64];
		slug_write(outcome, i, slug);
		if (!file_write(prefix, slug, "put", &regime->put_latency) || !file_write(prefix, slug, "push", &regime->pushed.latency) ||
		    !file_write(prefix, slug, "poll", &regime->polled.latency))
			return false;
	}
	return true;
}
