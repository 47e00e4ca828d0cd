/* figures.c: arithmetic on an outcome. Nothing is measured or printed here; nothing divides by zero. One thread, nothing fails.
 *
 * Where the numbers come from:
 * - limits: 2 MiB/s and shard of reading, for each registered consumer, or for all pollers together;
 * - textbook: Amazon's own "about 200 ms with one consumer, 1,000 ms with five, 70 ms with enhanced fan-out";
 * - bill: a PUT payload unit is 25 KiB or a part of it of one record; a GB is 2^30 bytes; GetRecords costs nothing. */
#include "loadtest/figures.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

#define NS_PER_MS 1e6
#define STEPS_PER_HALVING 5 /* HdrHistogram's default */

double figures_ms(uint64_t ns) { return (double)ns / NS_PER_MS; }

double figures_mean_ms(const struct histogram *h) { return h->count ? (double)h->sum / (double)h->count / NS_PER_MS : 0; }

double figures_quantile_ms(const struct histogram *h, double q) { return figures_ms(histogram_quantile(h, q)); }

double figures_stddev_ms(const struct histogram *h)
{
	double mean = figures_mean_ms(h), sum = 0;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
		if (!h->buckets[i])
			continue;
		double off = figures_ms(histogram_value(h, i)) - mean;
		sum += off * off * h->buckets[i];
	}
	return h->count ? sqrt(sum / (double)h->count) : 0;
}

/* The step at `level`: half as long each time that half of the rest is behind. */
static double step_at(double level)
{
	double halvings = floor(-log2(1 - level)) + 1;
	return 1 / (STEPS_PER_HALVING * exp2(halvings));
}

uint32_t figures_points(const struct histogram *h, struct point points[FIGURES_POINTS])
{
	uint32_t n = 0;
	uint64_t seen = 0;
	double level = 0;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && seen < h->count; i++) {
		bool more = h->buckets[i] > 0; /* the last bucket has one point, and the maximum */
		for (seen += h->buckets[i]; more && (double)seen >= level * (double)h->count && n < FIGURES_POINTS - 1;
		     more = seen < h->count) {
			points[n++] = (struct point){level, figures_ms(histogram_value(h, i)), seen};
			level += step_at(level);
		}
	}
	if (h->count)
		points[n++] = (struct point){1, figures_ms(h->max), h->count};
	return n;
}

double figures_mib_s(const struct side *side, double seconds)
{
	double sum = 0;
	for (unsigned i = 0; i < side->receivers && side->each; i++)
		sum += side->each[i].mean_mib_s;
	if (sum > 0)
		return sum;
	return seconds > 0 ? (double)side->bytes / MIB / seconds : 0;
}

double figures_records_s(const struct side *side, double seconds)
{
	return side->bytes ? figures_mib_s(side, seconds) * MIB * (double)side->records / (double)side->bytes : 0;
}

double figures_peak_mib_s(const struct side *side)
{
	double peak = 0;
	for (unsigned i = 0; i < side->receivers && side->each; i++)
		peak = fmax(peak, side->each[i].peak_mib_s);
	return peak;
}

double figures_limit_mib_s(const struct regime *regime, const struct side *side)
{
	double limit = 2.0 * regime->shards;
	return side == &regime->polled && side->receivers ? limit / side->receivers : limit;
}

double figures_textbook_ms(const struct regime *regime, const struct side *side)
{
	if (side == &regime->pushed)
		return side->receivers ? 70 : 0;
	return side->receivers == 1 ? 200 : side->receivers == 5 ? 1000 : 0;
}

struct cost figures_cost(const struct outcome *outcome, const struct regime *regime)
{
	const struct prices *prices = &outcome->prices;
	double hours = regime->seconds > 0 ? regime->seconds / 3600 : 0;
	double record = regime->put ? (double)regime->put_bytes / (double)regime->put : 0;
	double units = (double)regime->put * fmax(1, ceil(record / 25600));
	struct cost cost = {.shard_hours = regime->shards, .consumer_shard_hours = (double)regime->shards * regime->pushed.receivers};
	if (hours > 0) {
		cost.put_units = units / hours;
		cost.gb_retrieved = (double)regime->pushed.bytes / (1024 * MIB) / hours;
	}
	cost.dollars_hour = cost.shard_hours * prices->shard_hour + cost.put_units / 1e6 * prices->million_put_units +
			    cost.consumer_shard_hours * prices->consumer_shard_hour + cost.gb_retrieved * prices->consumer_gb;
	cost.dollars_month = cost.dollars_hour * FIGURES_MONTH_HOURS;
	return cost;
}

const char *figures_text_ms(char text[FIGURES_TEXT], double ms)
{
	if (ms < 0.995)
		snprintf(text, FIGURES_TEXT, "%.2f", ms);
	else if (ms < 9.95)
		snprintf(text, FIGURES_TEXT, "%.1f", ms);
	else if (ms < 999.5)
		snprintf(text, FIGURES_TEXT, "%.0f", ms);
	else
		snprintf(text, FIGURES_TEXT, "%lld,%03lld", llround(ms) / 1000, llround(ms) % 1000);
	return text;
}

void figures_when(const struct outcome *outcome, char text[FIGURES_TEXT])
{
	struct tm tm;
	time_t at = (time_t)outcome->began_s;
	gmtime_r(&at, &tm);
	strftime(text, FIGURES_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
}
