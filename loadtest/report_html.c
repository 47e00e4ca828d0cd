/* report_html.c: one self-contained page: the template with the style, the scripts, the figures as JSON and the table as text in it.
 *
 * - {{name}} in the template is one of ours (title, data, table) or a file of loadtest/page/. What is put in is not looked at again.
 * - Text that came from outside passes text_write; in the JSON no `<` is left, so that nothing closes the script it stands in. The page's
 *   script makes text nodes of it, never markup.
 * - A long run or a thousand consumers are thinned, so that the data stay below about 1 MB: the JSON report has everything.
 *
 * One thread. Fails when the file cannot be written. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loadtest/figures.h"
#include "loadtest/page.h"
#include "loadtest/report.h"

/* Over all regimes together: a tick is about 60 bytes of JSON, a receiver about 100. */
#define TICKS_MAX 4000
#define RECEIVERS_MAX 3000

static void text_write(FILE *file, const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		switch (text[i]) {
		case '<':
			fputs("&lt;", file);
			break;
		case '>':
			fputs("&gt;", file);
			break;
		case '&':
			fputs("&amp;", file);
			break;
		case '"':
			fputs("&quot;", file);
			break;
		default:
			fputc(text[i], file);
		}
	}
}

/* `step` values as one: the first time, the mean of counts and p50s, the worst p99. Seconds in which nothing came (0) have no p50. */
static double merged(const char *column, json_t *list, size_t at, size_t step)
{
	double sum = 0, worst = 0;
	size_t n = 0;
	bool quantile = strstr(column, "_ms");
	for (size_t i = at; i < at + step && i < json_array_size(list); i++) {
		double value = json_number_value(json_array_get(list, i));
		worst = fmax(worst, value);
		sum += value;
		n += !quantile || value > 0;
	}
	if (!strcmp(column, "at_s"))
		return json_number_value(json_array_get(list, at));
	return strstr(column, "p99") ? worst : n ? sum / (double)n : 0;
}

static void timeline_thin(json_t *timeline, size_t most)
{
	const char *column;
	json_t *list;
	void *next;
	size_t n = json_array_size(json_object_get(timeline, "at_s")), step = (n + most - 1) / most;
	if (step <= 1)
		return;
	json_object_foreach_safe(timeline, next, column, list)
	{
		json_t *thin = json_array();
		for (size_t i = 0; i < n; i += step)
			json_array_append_new(thin, json_real(merged(column, list, i, step)));
		json_object_set_new(timeline, column, thin);
	}
	json_object_set_new(timeline, "step", json_integer((json_int_t)step));
}

/* The slowest go first in a plot that looks for a receiver that gets too little, so they are the ones that stay. */
static int on_compare(const void *a, const void *b)
{
	double x = json_number_value(json_object_get(*(json_t *const *)a, "mean_mib_s"));
	double y = json_number_value(json_object_get(*(json_t *const *)b, "mean_mib_s"));
	return x < y ? -1 : x > y;
}

static void receivers_thin(json_t *side, size_t most)
{
	json_t *each = json_object_get(side, "each");
	size_t n = json_array_size(each);
	if (n <= most)
		return;
	json_t **sorted = xcalloc(n, sizeof(*sorted));
	for (size_t i = 0; i < n; i++)
		sorted[i] = json_array_get(each, i);
	qsort(sorted, n, sizeof(*sorted), on_compare);
	json_t *thin = json_array();
	for (size_t i = 0; i < most; i++)
		json_array_append(thin, sorted[i]);
	free(sorted);
	json_object_set_new(side, "each", thin);
	json_object_set_new(side, "left_out", json_integer((json_int_t)(n - most)));
}

static void data_thin(json_t *root)
{
	json_t *regimes = json_object_get(root, "regimes"), *regime;
	size_t i, n = json_array_size(regimes);
	json_array_foreach(regimes, i, regime)
	{
		timeline_thin(json_object_get(regime, "timeline"), TICKS_MAX / n + 1);
		receivers_thin(json_object_get(regime, "pushed"), RECEIVERS_MAX / 2 / n + 1);
		receivers_thin(json_object_get(regime, "polled"), RECEIVERS_MAX / 2 / n + 1);
	}
}

static void data_write(FILE *file, const struct outcome *outcome)
{
	json_t *root = report_to_json(outcome);
	data_thin(root);
	char *text = json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(8) | JSON_ENSURE_ASCII);
	for (const char *c = text; c && *c; c++)
		if (*c == '<')
			fputs("\\u003c", file);
		else
			fputc(*c, file);
	free(text);
	json_decref(root);
}

static void table_write(FILE *file, const struct outcome *outcome)
{
	char *text = NULL;
	size_t n = 0;
	FILE *memory = open_memstream(&text, &n);
	if (!memory)
		return;
	report_table(memory, outcome);
	fclose(memory);
	text_write(file, text, n);
	free(text);
}

static void title_write(FILE *file, const struct outcome *outcome)
{
	json_t *headline = words_headline(outcome);
	const char *first = json_string_value(json_array_get(headline, 0));
	if (first)
		text_write(file, first, strlen(first));
	fputs(first ? " penstock-load " : "penstock-load ", file);
	text_write(file, outcome->command, strlen(outcome->command));
	json_decref(headline);
}

static void part_write(FILE *file, const struct outcome *outcome, struct str name)
{
	struct str piece = page_piece(name);
	if (str_equal(name, STR("title")))
		title_write(file, outcome);
	else if (str_equal(name, STR("data")))
		data_write(file, outcome);
	else if (str_equal(name, STR("table")))
		table_write(file, outcome);
	else
		fwrite(piece.p, 1, piece.n, file);
}

bool report_html(const struct outcome *outcome, const char *path)
{
	FILE *file = report_open(path);
	if (!file)
		return false;
	const char *at = page_piece(STR("template")).p, *open, *close;
	while ((open = strstr(at, "{{")) && (close = strstr(open, "}}"))) {
		fwrite(at, 1, (size_t)(open - at), file);
		part_write(file, outcome, (struct str){open + 2, (size_t)(close - open - 2)});
		at = close + 2;
	}
	fputs(at, file);
	return report_close(file, path);
}
