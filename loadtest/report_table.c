/* report_table.c: an outcome for people, in at most 120 columns, and the line of progress while it is made.
 *
 * - The headline, then blocks of lines that all begin with the regime and the side: latency, throughput, what was put twice, the textbook,
 *   the server's own account, cost; warnings come last, where they are seen.
 * - A block that has nothing to say is not there.
 *
 * One thread. Nothing fails: what cannot be written to the terminal is lost. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "loadtest/figures.h"
#include "loadtest/report.h"

#define NAME_WIDTH_MAX 28 /* of a regime's name: what 120 columns leave beside the widest block */
#define HOPS_ON_A_LINE 4

struct table {
	FILE *out;
	const struct outcome *outcome;
	int name_width;
	bool first_side; /* the next line names its regime; the regime's other lines leave that blank */
};

static void progress_side(FILE *out, const char *what, double per_s, double p50_ms, double p99_ms)
{
	char p50[FIGURES_TEXT], p99[FIGURES_TEXT];
	fprintf(out, "; %s %.0f/s p50 %s ms p99 %s ms", what, per_s, figures_text_ms(p50, p50_ms), figures_text_ms(p99, p99_ms));
}

void report_progress(FILE *out, const struct regime *regime, const struct tick *tick)
{
	fprintf(out, "%s, %3.0f s: put %" PRIu64 "/s", regime->name, tick->at_s, tick->put);
	if (regime->pushed.receivers)
		progress_side(out, "pushed", (double)tick->pushed, tick->push_p50_ms, tick->push_p99_ms);
	if (regime->polled.receivers)
		progress_side(out, "polled", (double)tick->polled, tick->poll_p50_ms, tick->poll_p99_ms);
	if (tick->throttled)
		fprintf(out, "; %" PRIu64 " throttled", tick->throttled);
	fputc('\n', out);
	fflush(out);
}

/* Takes the sentences. */
static void sentences_print(struct table *table, json_t *sentences, const char *mark)
{
	size_t i;
	json_t *sentence;
	if (json_array_size(sentences))
		fputc('\n', table->out);
	json_array_foreach(sentences, i, sentence) fprintf(table->out, "%s%s\n", mark, json_string_value(sentence));
	json_decref(sentences);
}

/* "regime  side  " at the start of a line. */
static void line_begin(struct table *table, const char *name, const char *side)
{
	fprintf(table->out, "%-*.*s  %-6s", table->name_width, table->name_width, table->first_side ? name : "", side);
	table->first_side = false;
}

static void title_print(struct table *table, const char *title, const char *columns)
{
	fprintf(table->out, "\n%-*s  %s\n", table->name_width + 8, title, columns);
}

static void latency_line(struct table *table, const struct regime *regime, const char *side, const struct histogram *h)
{
	line_begin(table, regime->name, side);
	fprintf(table->out, "  %9" PRIu64 " %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f\n", h->count, figures_mean_ms(h),
		figures_quantile_ms(h, 0.5), figures_quantile_ms(h, 0.9), figures_quantile_ms(h, 0.99), figures_quantile_ms(h, 0.999),
		figures_ms(h->max));
}

static void latency_print(struct table *table)
{
	title_print(table, "Latency in ms", "        n      mean       p50       p90       p99     p99.9       max");
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++) {
		const struct regime *regime = table->outcome->regimes[i];
		table->first_side = true;
		if (regime->put_latency.count)
			latency_line(table, regime, "put", &regime->put_latency);
		if (regime->pushed.receivers)
			latency_line(table, regime, "pushed", &regime->pushed.latency);
		if (regime->polled.receivers)
			latency_line(table, regime, "polled", &regime->polled.latency);
	}
	fprintf(table->out,
		"put: to its answer; pushed, polled: to the record's arrival; all from the time when the record was meant to be sent\n");
}

static void put_throughput(struct table *table, const struct regime *regime)
{
	double per_s = regime->seconds > 0 ? 1 / regime->seconds : 0, mib_s = (double)regime->put_bytes / MIB * per_s;
	line_begin(table, regime->name, "put");
	fprintf(table->out, "  %5s %10.1f %9.3f %9s %9.3f %5.1f %%  %9" PRIu64 " %8" PRIu64 "\n", "", (double)regime->put * per_s, mib_s,
		"", (double)regime->shards, regime->shards ? mib_s / regime->shards * 100 : 0, regime->put_throttled, regime->put_retried);
}

static void side_throughput(struct table *table, const struct regime *regime, const struct side *side, const char *name)
{
	if (!side->receivers)
		return;
	double each = figures_mib_s(side, regime->seconds) / side->receivers, limit = figures_limit_mib_s(regime, side);
	line_begin(table, regime->name, name);
	fprintf(table->out, "  %5u %10.1f %9.3f %9.3f %9.3f %5.1f %%  %9" PRIu64 " %8" PRIu64, side->receivers,
		figures_records_s(side, regime->seconds), each, figures_peak_mib_s(side), limit, limit > 0 ? each / limit * 100 : 0,
		side->throttled, side->retried);
	if (side == &regime->pushed)
		fprintf(table->out, " %7" PRIu64, side->resubscribed);
	fputc('\n', table->out);
}

static void throughput_print(struct table *table)
{
	title_print(table, "Throughput", "   of  records/s MiB/s ea.    best s     limit    used  throttled  retried resubs.");
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++) {
		const struct regime *regime = table->outcome->regimes[i];
		table->first_side = true;
		if (regime->put)
			put_throughput(table, regime);
		side_throughput(table, regime, &regime->pushed, "pushed");
		side_throughput(table, regime, &regime->polled, "polled");
	}
	fprintf(table->out, "limit, MiB/s: puts 1 a shard; 2 a shard for each pushed consumer; 2 a shard that all pollers share\n");
	double most = 0;
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++)
		most = table->outcome->regimes[i]->client_cpu > most ? table->outcome->regimes[i]->client_cpu : most;
	fprintf(table->out, "this client's own CPU: at most %.0f %% of a core\n", most * 100);
}

static void twice_line(struct table *table, const struct regime *regime, const struct side *side, const char *name)
{
	if (!side->put_twice)
		return;
	line_begin(table, regime->name, name);
	fprintf(table->out, "  %9" PRIu64 "\n", side->put_twice);
}

static void twice_print(struct table *table)
{
	uint64_t all = 0;
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++)
		all += table->outcome->regimes[i]->pushed.put_twice + table->outcome->regimes[i]->polled.put_twice;
	if (!all)
		return;
	title_print(table, "Put twice", "  records");
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++) {
		const struct regime *regime = table->outcome->regimes[i];
		table->first_side = true;
		twice_line(table, regime, &regime->pushed, "pushed");
		twice_line(table, regime, &regime->polled, "polled");
	}
	fputs("a put whose answer was lost was made again: these doubles are the producer's, not the server's\n", table->out);
}

static void textbook_line(struct table *table, const struct regime *regime, const struct side *side, const char *name)
{
	if (!side->receivers || !side->latency.count)
		return;
	double textbook_ms = figures_textbook_ms(regime, side);
	line_begin(table, regime->name, name);
	if (textbook_ms > 0)
		fprintf(table->out, "  %9.0f", textbook_ms);
	else
		fprintf(table->out, "  %9s", "");
	if (side->interval_ms > 0)
		fprintf(table->out, " %9.1f", side->interval_ms);
	else
		fprintf(table->out, " %9s", "");
	fprintf(table->out, " %9.3f %9.3f\n", figures_mean_ms(&side->latency), figures_quantile_ms(&side->latency, 0.99));
}

static void textbook_print(struct table *table)
{
	title_print(table, "Beside the textbook, in ms", " textbook  interval      mean       p99");
	bool polled = false;
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++) {
		const struct regime *regime = table->outcome->regimes[i];
		table->first_side = true;
		textbook_line(table, regime, &regime->pushed, "pushed");
		textbook_line(table, regime, &regime->polled, "polled");
		polled |= regime->polled.receivers > 0;
	}
	if (polled)
		fputs(WORDS_TEXTBOOK_1 "\n" WORDS_TEXTBOOK_2 "\n", table->out);
}

static void hops_title(struct table *table, const struct regime *regime, uint32_t from, uint32_t to)
{
	fprintf(table->out, "\nThe server's own account: p50 / p99 in ms\n%-*s", table->name_width, "");
	for (uint32_t k = from; k < to; k++)
		fprintf(table->out, " %18s", regime->hops[k].name);
	fputc('\n', table->out);
}

/* One group of hops: its columns from the first regime that has them, a line for each regime. */
static void hops_group(struct table *table, uint32_t from)
{
	bool titled = false;
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++) {
		const struct regime *regime = table->outcome->regimes[i];
		uint32_t to = regime->n_hops < from + HOPS_ON_A_LINE ? regime->n_hops : from + HOPS_ON_A_LINE;
		if (to <= from)
			continue;
		if (!titled)
			hops_title(table, regime, from, to);
		fprintf(table->out, "%-*.*s", table->name_width, table->name_width, regime->name);
		titled = true;
		for (uint32_t k = from; k < to; k++)
			fprintf(table->out, " %8.3f /%8.3f", regime->hops[k].p50_ms, regime->hops[k].p99_ms);
		fputc('\n', table->out);
	}
}

static void hops_print(struct table *table)
{
	uint32_t most = 0;
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++)
		if (table->outcome->regimes[i]->n_hops > most)
			most = table->outcome->regimes[i]->n_hops;
	for (uint32_t from = 0; from < most; from += HOPS_ON_A_LINE)
		hops_group(table, from);
}

/* A regime without shards was left out, for want of push. */
static void cost_print(struct table *table)
{
	const struct prices *prices = &table->outcome->prices;
	unsigned shards = 0;
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++)
		shards += table->outcome->regimes[i]->shards;
	if (!shards)
		return;
	title_print(table, "Cost of an hour of this load", " shard h    put units consumer-shard h  GB pushed     $/hour    $/month");
	for (uint32_t i = 0; i < table->outcome->n_regimes; i++) {
		const struct regime *regime = table->outcome->regimes[i];
		struct cost cost = figures_cost(table->outcome, regime);
		if (!regime->shards)
			continue;
		table->first_side = true;
		line_begin(table, regime->name, "");
		fprintf(table->out, "  %8.0f %12.0f %16.0f %10.3f %10.4f %10.2f\n", cost.shard_hours, cost.put_units,
			cost.consumer_shard_hours, cost.gb_retrieved, cost.dollars_hour, cost.dollars_month);
	}
	fprintf(table->out,
		"at $%g a shard hour, $%g a million PUT payload units, $%g a consumer-shard hour, $%g a GB retrieved by\n"
		"enhanced fan-out (GetRecords costs nothing); month: %d such hours, extrapolated from what was measured\n",
		prices->shard_hour, prices->million_put_units, prices->consumer_shard_hour, prices->consumer_gb, FIGURES_MONTH_HOURS);
}

static void head_print(struct table *table)
{
	const struct outcome *outcome = table->outcome;
	char when[FIGURES_TEXT];
	figures_when(outcome, when);
	fprintf(table->out, "penstock-load %s, %s\n%s%s%s%s, records of %" PRIu32 " bytes\n", outcome->command, when, outcome->endpoint,
		outcome->server[0] ? " (" : "", outcome->server, outcome->server[0] ? ")" : "", outcome->record_size);
}

void report_table(FILE *out, const struct outcome *outcome)
{
	struct table table = {.out = out, .outcome = outcome, .name_width = 20};
	for (uint32_t i = 0; i < outcome->n_regimes; i++)
		table.name_width = (int)fmin(NAME_WIDTH_MAX, fmax(table.name_width, (double)strlen(outcome->regimes[i]->name)));
	head_print(&table);
	sentences_print(&table, words_headline(outcome), "");
	if (outcome->n_regimes) {
		latency_print(&table);
		throughput_print(&table);
		twice_print(&table);
		textbook_print(&table);
		hops_print(&table);
		cost_print(&table);
	}
	sentences_print(&table, words_warnings(outcome), "! ");
	fflush(out);
}
