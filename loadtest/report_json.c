/* report_json.c: an outcome as JSON: the file for scripts, and the data of the page. docs/load-json.md says what each member is.
 *
 * One thread. jansson refuses numbers that are none (figures.c never divides by zero) and text that is not UTF-8 (words_text mends it). */
#include <stdio.h>

#include "loadtest/figures.h"
#include "loadtest/report.h"

#define I(x) ((json_int_t)(x))

static json_t *distribution_to_json(const struct histogram *h)
{
	struct point points[FIGURES_POINTS];
	uint32_t n = figures_points(h, points);
	json_t *list = json_array();
	for (uint32_t i = 0; i < n; i++)
		json_array_append_new(list, json_pack("[f,f]", points[i].percentile * 100, points[i].ms));
	return list;
}

static json_t *histogram_to_json(const struct histogram *h)
{
	return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:f,s:o}", "n", I(h->count), "mean_ms", figures_mean_ms(h), "stddev_ms",
			 figures_stddev_ms(h), "min_ms", h->count ? figures_ms(h->min) : 0.0, "p50_ms", figures_quantile_ms(h, 0.5),
			 "p90_ms", figures_quantile_ms(h, 0.9), "p99_ms", figures_quantile_ms(h, 0.99), "p999_ms",
			 figures_quantile_ms(h, 0.999), "max_ms", figures_ms(h->max), "distribution", distribution_to_json(h));
}

static json_t *put_to_json(const struct regime *regime)
{
	double per_s = regime->seconds > 0 ? 1 / regime->seconds : 0;
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:o}", "records", I(regime->put), "acknowledged", I(regime->acknowledged),
			 "failed", I(regime->put_failed), "bytes", I(regime->put_bytes), "calls", I(regime->put_calls), "throttled",
			 I(regime->put_throttled), "retried", I(regime->put_retried), "records_per_s", (double)regime->put * per_s,
			 "mib_per_s", (double)regime->put_bytes / MIB * per_s, "latency", histogram_to_json(&regime->put_latency));
}

static json_t *receivers_to_json(const struct side *side)
{
	json_t *list = json_array();
	for (unsigned i = 0; i < side->receivers && side->each; i++) {
		const struct receiver *each = &side->each[i];
		json_array_append_new(list,
				      json_pack("{s:o,s:I,s:I,s:f,s:f}", "name", words_text(each->name), "records", I(each->records),
						"bytes", I(each->bytes), "mean_mib_s", each->mean_mib_s, "peak_mib_s", each->peak_mib_s));
	}
	return list;
}

static json_t *proof_to_json(const struct side *side)
{
	return json_pack("{s:I,s:I,s:I,s:I}", "missing", I(side->missing), "doubled", I(side->doubled), "disordered", I(side->disordered),
			 "damaged", I(side->damaged));
}

static json_t *side_to_json(const struct regime *regime, const struct side *side)
{
	if (!side->receivers)
		return json_null();
	json_t *object = json_pack("{s:i,s:I,s:I,s:f,s:f,s:f,s:f}", "receivers", (int)side->receivers, "records", I(side->records), "bytes",
				   I(side->bytes), "records_per_s", figures_records_s(side, regime->seconds), "mib_per_s",
				   figures_mib_s(side, regime->seconds), "limit_mib_s", figures_limit_mib_s(regime, side), "interval_ms",
				   side->interval_ms);
	json_t *more = json_pack(
		"{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:o,s:o,s:o,s:o}", "calls", I(side->calls), "events", I(side->events), "empty_events",
		I(side->empty_events), "throttled", I(side->throttled), "retried", I(side->retried), "resubscribed", I(side->resubscribed),
		"put_twice", I(side->put_twice), "textbook_ms", figures_textbook_ms(regime, side), "proof", proof_to_json(side), "latency",
		histogram_to_json(&side->latency), "after_answer", histogram_to_json(&side->after_answer), "each", receivers_to_json(side));
	json_object_update_missing(object, more);
	json_decref(more);
	return object;
}

/* Columns, not rows: a tenth of the text, and what plots want. */
static json_t *timeline_to_json(const struct regime *regime)
{
	static const char *names[] = {"at_s",        "put",         "pushed",      "polled",     "throttled",
				      "push_p50_ms", "push_p99_ms", "poll_p50_ms", "poll_p99_ms"};
	json_t *object = json_object();
	for (size_t column = 0; column < sizeof names / sizeof *names; column++) {
		json_t *list = json_array();
		for (uint32_t i = 0; i < regime->n_ticks; i++) {
			const struct tick *tick = &regime->ticks[i];
			double values[] = {tick->at_s,           (double)tick->put,       (double)tick->pushed,
					   (double)tick->polled, (double)tick->throttled, tick->push_p50_ms,
					   tick->push_p99_ms,    tick->poll_p50_ms,       tick->poll_p99_ms};
			bool whole = column > 0 && column < 5;
			json_array_append_new(list, whole ? json_integer(I(values[column])) : json_real(values[column]));
		}
		json_object_set_new(object, names[column], list);
	}
	return object;
}

static json_t *hops_to_json(const struct regime *regime)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < regime->n_hops; i++)
		json_array_append_new(list, json_pack("{s:o,s:f,s:f}", "name", words_text(regime->hops[i].name), "p50_ms",
						      regime->hops[i].p50_ms, "p99_ms", regime->hops[i].p99_ms));
	return list;
}

static json_t *cost_to_json(const struct outcome *outcome, const struct regime *regime)
{
	struct cost cost = figures_cost(outcome, regime);
	return json_pack("{s:f,s:f,s:f,s:f,s:f,s:f}", "shard_hours", cost.shard_hours, "put_payload_units", cost.put_units,
			 "consumer_shard_hours", cost.consumer_shard_hours, "gb_retrieved", cost.gb_retrieved, "dollars_per_hour",
			 cost.dollars_hour, "dollars_per_month", cost.dollars_month);
}

static json_t *regime_to_json(const struct outcome *outcome, const struct regime *regime)
{
	json_t *no_push = regime->no_push ? words_text(regime->why_no_push) : json_null();
	return json_pack("{s:o,s:b,s:i,s:f,s:i,s:f,s:f,s:f,s:b,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "name", words_text(regime->name), "right",
			 regime->right, "shards", (int)regime->shards, "rate", regime->rate, "batch", (int)regime->batch, "seconds",
			 regime->seconds, "client_cpu", regime->client_cpu, "client_lag_ms", regime->client_lag_ms, "saturated",
			 regime->saturated, "no_push", no_push, "put", put_to_json(regime), "pushed", side_to_json(regime, &regime->pushed),
			 "polled", side_to_json(regime, &regime->polled), "hops", hops_to_json(regime), "cost",
			 cost_to_json(outcome, regime), "timeline", timeline_to_json(regime));
}

static json_t *prices_to_json(const struct prices *prices)
{
	return json_pack("{s:f,s:f,s:f,s:f}", "shard_hour", prices->shard_hour, "million_put_units", prices->million_put_units,
			 "consumer_shard_hour", prices->consumer_shard_hour, "consumer_gb", prices->consumer_gb);
}

json_t *report_to_json(const struct outcome *outcome)
{
	char when[FIGURES_TEXT];
	figures_when(outcome, when);
	json_t *regimes = json_array();
	for (uint32_t i = 0; i < outcome->n_regimes; i++)
		json_array_append_new(regimes, regime_to_json(outcome, outcome->regimes[i]));
	return json_pack("{s:s,s:o,s:o,s:o,s:o,s:s,s:I,s:i,s:b,s:b,s:o,s:o,s:o,s:o}", "format", "penstock-load/1", "command",
			 words_text(outcome->command), "arguments", words_text(outcome->arguments), "endpoint",
			 words_text(outcome->endpoint), "server", words_text(outcome->server), "began", when, "began_s",
			 I(outcome->began_s), "record_size", (int)outcome->record_size, "interrupted", outcome->interrupted, "right",
			 outcome_right(outcome), "headline", words_headline(outcome), "warnings", words_warnings(outcome), "prices",
			 prices_to_json(&outcome->prices), "regimes", regimes);
}

bool report_json(const struct outcome *outcome, const char *path)
{
	json_t *root = report_to_json(outcome);
	FILE *file = report_open(path);
	/* Nine digits: a ns in a second. */
	bool good = file && json_dumpf(root, file, JSON_INDENT(1) | JSON_REAL_PRECISION(9)) == 0 && fputc('\n', file) != EOF;
	if (file)
		good = report_close(file, path) && good;
	json_decref(root);
	return good;
}
