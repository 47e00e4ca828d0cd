/* report_csv.c: one row for each regime and side (put, pushed, polled), as RFC 4180 has it: CRLF, quotes where they are needed.
 *
 * One thread. A side that the regime has not has no row. */
#include <inttypes.h>
#include <string.h>

#include "loadtest/figures.h"
#include "loadtest/report.h"

static const char header[] = "command,endpoint,server,began,regime,side,shards,rate,receivers,records,bytes,n,mean_ms,p50_ms,p90_ms,p99_ms,"
			     "p999_ms,max_ms,records_per_s,mib_per_s,calls,throttled,retried,resubscribed,missing,doubled,disordered,"
			     "damaged,interval_ms,client_cpu,saturated,right\r\n";

static void text_write(FILE *file, const char *text)
{
	if (!strpbrk(text, ",\"\r\n")) {
		fprintf(file, "%s,", text);
		return;
	}
	fputc('"', file);
	for (; *text; text++) {
		if (*text == '"')
			fputc('"', file);
		fputc(*text, file);
	}
	fputs("\",", file);
}

static void row_begin(FILE *file, const struct outcome *outcome, const struct regime *regime, const char *side)
{
	char when[FIGURES_TEXT];
	figures_when(outcome, when);
	text_write(file, outcome->command);
	text_write(file, outcome->endpoint);
	text_write(file, outcome->server);
	text_write(file, when);
	text_write(file, regime->name);
	text_write(file, side);
	fprintf(file, "%u,%g,", regime->shards, regime->rate);
}

static void latency_write(FILE *file, const struct histogram *h)
{
	fprintf(file, "%" PRIu64 ",%.6f,%.6f,%.6f,%.6f,%.6f,%.6f,", h->count, figures_mean_ms(h), figures_quantile_ms(h, 0.5),
		figures_quantile_ms(h, 0.9), figures_quantile_ms(h, 0.99), figures_quantile_ms(h, 0.999), figures_ms(h->max));
}

static void row_end(FILE *file, const struct regime *regime)
{
	fprintf(file, "%.3f,%s,%s\r\n", regime->client_cpu, regime->saturated ? "true" : "false", regime->right ? "true" : "false");
}

static void put_write(FILE *file, const struct outcome *outcome, const struct regime *regime)
{
	double per_s = regime->seconds > 0 ? 1 / regime->seconds : 0;
	row_begin(file, outcome, regime, "put");
	fprintf(file, ",%" PRIu64 ",%" PRIu64 ",", regime->put, regime->put_bytes);
	latency_write(file, &regime->put_latency);
	fprintf(file, "%.3f,%.6f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",,,,,,,", (double)regime->put * per_s,
		(double)regime->put_bytes / MIB * per_s, regime->put_calls, regime->put_throttled, regime->put_retried);
	row_end(file, regime);
}

static void side_write(FILE *file, const struct outcome *outcome, const struct regime *regime, const struct side *side, const char *name)
{
	if (!side->receivers)
		return;
	row_begin(file, outcome, regime, name);
	fprintf(file, "%u,%" PRIu64 ",%" PRIu64 ",", side->receivers, side->records, side->bytes);
	latency_write(file, &side->latency);
	fprintf(file, "%.3f,%.6f,%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",", figures_records_s(side, regime->seconds),
		figures_mib_s(side, regime->seconds), side->calls, side->throttled, side->retried, side->resubscribed);
	fprintf(file, "%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%" PRIu64 ",%.3f,", side->missing, side->doubled, side->disordered,
		side->damaged, side->interval_ms);
	row_end(file, regime);
}

bool report_csv(const struct outcome *outcome, const char *path)
{
	FILE *file = report_open(path);
	if (!file)
		return false;
	fputs(header, file);
	for (uint32_t i = 0; i < outcome->n_regimes; i++) {
		const struct regime *regime = outcome->regimes[i];
		put_write(file, outcome, regime);
		side_write(file, outcome, regime, &regime->pushed, "pushed");
		side_write(file, outcome, regime, &regime->polled, "polled");
	}
	return report_close(file, path);
}
