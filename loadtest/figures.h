/* figures.h: what follows from an outcome, so that every report says the same: means, percentiles, throughput, cost, and the sentences. */
#ifndef PENSTOCK_LOADTEST_FIGURES_H
#define PENSTOCK_LOADTEST_FIGURES_H

#include <jansson.h>

#include "loadtest/outcome.h"

#define FIGURES_MONTH_HOURS 730 /* a year's 8,760 hours over 12 */
#define MIB 1048576.0

double figures_ms(uint64_t ns);
double figures_mean_ms(const struct histogram *h); /* 0 when empty, as all below */
double figures_stddev_ms(const struct histogram *h); /* from the buckets: within 1 % */
double figures_quantile_ms(const struct histogram *h, double q);

/* HdrHistogram's way through a distribution: five steps to each halving of the distance to 100 %, the last one the maximum. */
struct point {
	double percentile;       /* 0 to 1 */
	double ms;
	uint64_t total;          /* values up to and with this one */
};
#define FIGURES_POINTS 360       /* five steps for each halving of a 64 bit count, and some */
uint32_t figures_points(const struct histogram *h, struct point points[FIGURES_POINTS]);

/* Of all receivers of a side together, from first record to last; when the receivers have no rates, over the time of putting. */
double figures_mib_s(const struct side *side, double seconds);
double figures_records_s(const struct side *side, double seconds);
double figures_peak_mib_s(const struct side *side); /* the best second of the best receiver */
/* What the service allows one receiver: 2 MiB/s and shard for each pushed consumer; for a poller its part of the 2 MiB/s that all share. */
double figures_limit_mib_s(const struct regime *regime, const struct side *side);

/* What the textbook says of so many receivers; 0: it says nothing. */
double figures_textbook_ms(const struct regime *regime, const struct side *side);

/* One hour of this load at list prices, in the units of the bill. */
struct cost {
	double shard_hours, put_units, consumer_shard_hours, gb_retrieved;
	double dollars_hour, dollars_month;
};
struct cost figures_cost(const struct outcome *outcome, const struct regime *regime);

/* "0.61", "9.3", "102", "1,012": two figures below 10, whole above. */
#define FIGURES_TEXT 32
const char *figures_text_ms(char text[FIGURES_TEXT], double ms);
void figures_when(const struct outcome *outcome, char text[FIGURES_TEXT]); /* 2026-08-12T10:11:12Z */

/* words.c: JSON arrays of sentences; the caller's. */
json_t *words_text(const char *text); /* bytes that are no UTF-8 become question marks */
json_t *words_headline(const struct outcome *outcome);
json_t *words_warnings(const struct outcome *outcome);
#define WORDS_TEXTBOOK_1 "The textbook's polling figures are the interval between two polls of one consumer:"
#define WORDS_TEXTBOOK_2 "a clock shows a mean of half of it, and a p99 near it."

#endif
