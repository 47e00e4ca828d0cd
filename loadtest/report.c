/* report.c: what was measured, as a table for people and as JSON for scripts. */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>

#include "loadtest/load.h"

static double ms(uint64_t ns) { return (double)ns / 1e6; }
static double mean(const struct histogram *h) { return h->count ? (double)h->sum / (double)h->count : 0; }
static double span_s(const struct tally *tally) { return (double)(tally->last_ns - tally->first_ns) / 1e9; }

static void print_line(const char *what, unsigned readers, const struct histogram *h)
{
	if (h->count)
		printf("  %-34s %9" PRIu64 " %9.3f %9.3f %9.3f %9.3f %9.3f\n", what, h->count, mean(h) / 1e6,
		       ms(histogram_quantile(h, 0.5)), ms(histogram_quantile(h, 0.9)), ms(histogram_quantile(h, 0.99)), ms(h->max));
	else if (readers)
		printf("  %-34s %9d\n", what, 0);
}

static void print_tally(const char *what, unsigned readers, const struct tally *tally)
{
	char line[64];
	if (!readers)
		return;
	snprintf(line, sizeof line, "%s, put sent to received", what);
	print_line(line, readers, &tally->latency);
	snprintf(line, sizeof line, "%s, put answered to received", what);
	print_line(line, readers, &tally->after_answer);
}

static void print_counts(const char *what, unsigned readers, const struct tally *tally)
{
	if (readers)
		printf("%s: %u consumers, %" PRIu64 " records in %" PRIu64 " answers, %" PRIu64 " throttled, %.2f MiB/s together\n", what,
		       readers, tally->records, tally->events, tally->throttled,
		       tally->last_ns > tally->first_ns ? (double)tally->bytes / 1048576 / span_s(tally) : 0.0);
}

static double window_rate(const struct load *load, uint64_t bytes)
{
	return (double)bytes / 1048576 / ((double)(load->window_end_ns - load->window_begin_ns) / 1e9);
}

static void print_window(const struct load *load)
{
	const struct load_options *options = load->options;
	if (!load->window_end_ns)
		return;
	for (unsigned i = 0; i < options->consumers; i++)
		printf("consumer %u: %.3f MiB/s over %.0f s\n", i, window_rate(load, consumer_window_bytes(load, i)),
		       options->drain_seconds);
	if (options->pollers)
		printf("%u pollers together: %.3f MiB/s over %.0f s\n", options->pollers, window_rate(load, pollers_window_bytes(load)),
		       options->drain_seconds);
}

void old_report_progress(const struct load *load)
{
	printf("%4.0f s: %6" PRIu64 " put, %6" PRIu64 " durable; pushed %7" PRIu64 " p50 %.2f ms p99 %.2f ms; polled %7" PRIu64
	       " p50 %.0f ms p99 %.0f ms\n",
	       (double)(now_ns() - load->put_begin_ns) / 1e9, load->put, load->acknowledged, load->pushed.records,
	       ms(histogram_quantile(&load->pushed.latency, 0.5)), ms(histogram_quantile(&load->pushed.latency, 0.99)),
	       load->polled.records, ms(histogram_quantile(&load->polled.latency, 0.5)),
	       ms(histogram_quantile(&load->polled.latency, 0.99)));
	fflush(stdout);
}

void old_report_print(const struct load *load)
{
	const struct load_options *options = load->options;
	double put_s = load->put ? (double)(load->put_end_ns - load->put_begin_ns) / 1e9 : 1;
	printf("\n%u shards, %" PRIu64 " records of %u bytes put in %.1f s (%.1f/s, %.1f MB/s), %" PRIu64 " acknowledged\n\n",
	       load->n_shards, load->put, options->size, put_s, (double)load->put / put_s, (double)load->put_bytes / 1e6 / put_s,
	       load->acknowledged);
	printf("  %-34s %9s %9s %9s %9s %9s %9s\n", "latency in ms", "n", "mean", "p50", "p90", "p99", "max");
	print_line("put, sent to answered", 1, &load->put_latency);
	print_tally("pushed", options->consumers, &load->pushed);
	print_tally("polled", options->pollers, &load->polled);
	printf("\n");
	print_counts("pushed", options->consumers, &load->pushed);
	print_counts("polled", options->pollers, &load->polled);
	print_window(load);
}

static json_t *json_window(const struct load *load)
{
	json_t *list = json_array();
	for (unsigned i = 0; load->window_end_ns && i < load->options->consumers; i++)
		json_array_append_new(list, json_real(window_rate(load, consumer_window_bytes(load, i))));
	return json_pack("{s:o,s:f}", "consumers_mib_per_s", list, "pollers_mib_per_s",
			 load->window_end_ns ? window_rate(load, pollers_window_bytes(load)) : 0.0);
}

static json_t *json_histogram(const struct histogram *h)
{
	return json_pack("{s:I,s:f,s:f,s:f,s:f,s:f}", "n", (json_int_t)h->count, "mean_ms", mean(h) / 1e6, "p50_ms",
			 ms(histogram_quantile(h, 0.5)), "p90_ms", ms(histogram_quantile(h, 0.9)), "p99_ms",
			 ms(histogram_quantile(h, 0.99)), "max_ms", ms(h->max));
}

static json_t *json_tally(const struct tally *tally, unsigned readers)
{
	return json_pack("{s:i,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:o,s:o}", "consumers", (int)readers, "records", (json_int_t)tally->records,
			 "bytes", (json_int_t)tally->bytes, "doubled", (json_int_t)tally->doubled, "disordered",
			 (json_int_t)tally->disordered, "errors", (json_int_t)tally->errors, "throttled", (json_int_t)tally->throttled,
			 "seconds", span_s(tally), "latency", json_histogram(&tally->latency), "after_answer",
			 json_histogram(&tally->after_answer));
}

static json_t *json_pushed(const struct load *load)
{
	json_t *pushed = json_tally(&load->pushed, load->options->consumers);
	json_object_set_new(pushed, "others", json_histogram(&load->pushed_others));
	return pushed;
}

bool old_report_json(const struct load *load)
{
	if (!load->options->json)
		return true;
	double put_s = load->put ? (double)(load->put_end_ns - load->put_begin_ns) / 1e9 : 1;
	json_t *root =
		json_pack("{s:I,s:I,s:f,s:f,s:o,s:o,s:o,s:o}", "put", (json_int_t)load->put, "acknowledged", (json_int_t)load->acknowledged,
			  "put_seconds", put_s, "put_mb_per_s", (double)load->put_bytes / 1e6 / put_s, "put_latency",
			  json_histogram(&load->put_latency), "pushed", json_pushed(load), "polled",
			  json_tally(&load->polled, load->options->pollers), "window", json_window(load));
	bool good = json_dump_file(root, load->options->json, JSON_INDENT(2)) == 0;
	json_decref(root);
	if (!good)
		fprintf(stderr, "penstock-load: cannot write %s\n", load->options->json);
	return good;
}
