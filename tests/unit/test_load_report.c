/* test_load_report.c: made-up outcomes in, exact text out. */
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "loadtest/figures.h"
#include "loadtest/page.h"
#include "loadtest/report.h"
#include "tests/load/sample.h"

static struct outcome outcome;
static char folder[] = "test-load-report-XXXXXX", path[256];

static void init(void)
{
	cr_assert_not_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/file", folder);
	sample_head(&outcome, "compare", "compare --shards 2");
}

static void fini(void)
{
	outcome_fini(&outcome);
	unlink(path);
	rmdir(folder);
}

TestSuite(load_report, .init = init, .fini = fini);

static void add_times(struct histogram *h, unsigned n, uint64_t ns)
{
	for (unsigned i = 0; i < n; i++)
		histogram_add(h, ns);
}

static void side_fill(struct side *side, unsigned receivers, uint64_t ns)
{
	side->receivers = receivers;
	side->each = xcalloc(receivers, sizeof(*side->each));
	for (unsigned i = 0; i < receivers; i++) {
		side->each[i] = (struct receiver){.records = 200, .bytes = 2 * 1048576, .peak_mib_s = 0.25, .mean_mib_s = 0.2};
		snprintf(side->each[i].name, sizeof side->each[i].name, "c%u", i);
	}
	side->records = 200 * receivers;
	side->bytes = 2 * 1048576 * receivers;
	add_times(&side->latency, 200 * receivers, ns);
	add_times(&side->after_answer, 200 * receivers, ns / 2);
}

/* 200 records of 10,000 bytes in 10 s to two shards, each answered in 0.5 ms. */
static struct regime *regime_add(const char *name)
{
	struct regime *regime = outcome_add(&outcome, name);
	regime->shards = 2;
	regime->rate = 20;
	regime->batch = 1;
	regime->put = regime->acknowledged = regime->put_calls = 200;
	regime->put_bytes = 2000000;
	regime->seconds = 10;
	regime->right = true;
	add_times(&regime->put_latency, 200, 500000);
	return regime;
}

static struct regime *pushed_add(const char *name, unsigned consumers, uint64_t ns)
{
	struct regime *regime = regime_add(name);
	side_fill(&regime->pushed, consumers, ns);
	return regime;
}

static struct regime *polled_add(const char *name, unsigned pollers, uint64_t ns)
{
	struct regime *regime = regime_add(name);
	side_fill(&regime->polled, pollers, ns);
	regime->polled.interval_ms = 200.0 * pollers;
	return regime;
}

static char *file_text(const char *name)
{
	static char text[2000000];
	FILE *file = fopen(name, "r");
	cr_assert_not_null(file);
	size_t n = fread(text, 1, sizeof text - 1, file);
	text[n] = '\0';
	fclose(file);
	return text;
}

static char *table_text(void)
{
	static char text[65536];
	memset(text, 0, sizeof text);
	FILE *file = fmemopen(text, sizeof text - 1, "w");
	report_table(file, &outcome);
	fclose(file);
	return text;
}

static const char *sentence(json_t *list, size_t i)
{
	static char text[512];
	snprintf(text, sizeof text, "%s", json_string_value(json_array_get(list, i)) ?: "");
	json_decref(list);
	return text;
}

Test(load_report, outcome_is_right_when_every_regime_is)
{
	cr_assert(!outcome_right(&outcome), "nothing was shown");
	regime_add("one");
	struct regime *two = regime_add("two");
	cr_assert(outcome_right(&outcome));
	two->right = false;
	cr_assert(!outcome_right(&outcome));
	cr_assert_eq(outcome.regimes[1], two);
}

Test(load_report, points_are_hdrhistograms)
{
	static struct histogram h;
	struct point points[FIGURES_POINTS];
	histogram_init(&h);
	cr_assert_eq(figures_points(&h, points), 0);
	for (uint64_t i = 1; i <= 1000; i++)
		histogram_add(&h, i * 1000000);
	uint32_t n = figures_points(&h, points);
	static const double levels[] = {0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.775};
	for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
		cr_assert_float_eq(points[i].percentile, levels[i], 1e-9);
		cr_assert_geq((double)points[i].total, levels[i] * 1000);
		cr_assert_float_eq(points[i].ms, fmax(1, levels[i] * 1000), fmax(1, levels[i] * 1000) * 0.01);
	}
	cr_assert_eq(points[n - 1].percentile, 1);
	cr_assert_eq(points[n - 1].ms, 1000);
	cr_assert_eq(points[n - 1].total, 1000);
	cr_assert_float_eq(figures_mean_ms(&h), 500.5, 1e-6);
	cr_assert_float_eq(figures_stddev_ms(&h), 288.7, 1.5);
	cr_assert_lt(n, 80);
	add_times(&h, 1u << 20, 1000000);
	for (n = figures_points(&h, points); n > 1; n--)
		cr_assert(points[n - 1].percentile > points[n - 2].percentile && points[n - 1].ms >= points[n - 2].ms);
}

Test(load_report, cost_is_the_bill_of_an_hour)
{
	struct regime *regime = pushed_add("5 consumers", 5, 1000000);
	struct cost cost = figures_cost(&outcome, regime);
	cr_assert_eq(cost.shard_hours, 2);
	cr_assert_eq(cost.consumer_shard_hours, 10);
	cr_assert_float_eq(cost.put_units, 72000, 1e-6, "one unit a record");
	cr_assert_float_eq(cost.gb_retrieved, 3.515625, 1e-9, "1 MiB/s for an hour, in 2^30 bytes");
	double dollars = 2 * 0.015 + 0.072 * 0.014 + 10 * 0.015 + 3.515625 * 0.013;
	cr_assert_float_eq(cost.dollars_hour, dollars, 1e-9);
	cr_assert_float_eq(cost.dollars_month, dollars * 730, 1e-6);
	regime->put_bytes = 200 * 25601;
	cr_assert_float_eq(figures_cost(&outcome, regime).put_units, 144000, 1e-6, "a byte over 25 KiB is a second unit");
	regime->seconds = 0;
	cr_assert_eq(figures_cost(&outcome, regime).gb_retrieved, 0);
}

Test(load_report, limits_and_textbook)
{
	struct regime *regime = pushed_add("5 and 5", 5, 1000000);
	side_fill(&regime->polled, 5, 1000000);
	cr_assert_eq(figures_limit_mib_s(regime, &regime->pushed), 4);
	cr_assert_float_eq(figures_limit_mib_s(regime, &regime->polled), 0.8, 1e-9);
	cr_assert_eq(figures_textbook_ms(regime, &regime->pushed), 70);
	cr_assert_eq(figures_textbook_ms(regime, &regime->polled), 1000);
	regime->polled.receivers = 2;
	cr_assert_eq(figures_textbook_ms(regime, &regime->polled), 0, "the textbook has one and five");
	regime->polled.receivers = 1;
	cr_assert_eq(figures_textbook_ms(regime, &regime->polled), 200);
	cr_assert_float_eq(figures_mib_s(&regime->pushed, 10), 1, 1e-9);
	cr_assert_float_eq(figures_records_s(&regime->pushed, 10), 100, 1e-9);
	cr_assert_eq(figures_peak_mib_s(&regime->pushed), 0.25);
}

Test(load_report, milliseconds_in_words)
{
	static const struct {
		double ms;
		const char *text;
	} expect[] = {{0, "0.00"},  {0.612, "0.61"}, {0.9951, "1.0"},  {9.94, "9.9"},
		      {9.96, "10"}, {503.4, "503"},  {999.6, "1,000"}, {12345, "12,345"}};
	char text[FIGURES_TEXT];
	for (size_t i = 0; i < sizeof expect / sizeof *expect; i++)
		cr_assert_str_eq(figures_text_ms(text, expect[i].ms), expect[i].text);
}

Test(load_report, headline_follows_from_the_data)
{
	pushed_add("20", 20, 650000);
	pushed_add("1", 1, 610000);
	pushed_add("5", 5, 9000000)->polled.receivers = 1; /* not alone: left out */
	polled_add("1 p", 1, 101000000);
	polled_add("5 p", 5, 503000000);
	cr_assert_str_eq(sentence(words_headline(&outcome), 0), "Pushed: p50 0.61 to 0.65 ms, whether 1 or 20 consumers.");
	cr_assert_str_eq(sentence(words_headline(&outcome), 1),
			 "Polled: mean 101 ms with 1 poller, 503 ms with 5: they share 5 calls a second and shard.");
	cr_assert_str_eq(sentence(words_headline(&outcome), 2), "Every record reached every receiver exactly once and in order.");
	add_times(&outcome.regimes[0]->pushed.latency, 10000, 3000000);
	cr_assert_str_eq(sentence(words_headline(&outcome), 0), "Pushed: p50 0.61 ms with 1 consumer, 3.0 ms with 20.");
}

Test(load_report, headline_of_one_regime)
{
	pushed_add("push", 3, 1200000)->right = false;
	cr_assert_str_eq(sentence(words_headline(&outcome), 0), "Pushed: p50 1.2 ms, p99 1.2 ms with 3 consumers.");
	json_t *headline = words_headline(&outcome);
	cr_assert_eq(json_array_size(headline), 1, "nothing is claimed of a run that is not right");
	json_decref(headline);
}

Test(load_report, warnings_name_what_is_wrong)
{
	cr_assert_str_eq(sentence(words_warnings(&outcome), 0), "Nothing was measured.");
	struct regime *one = polled_add("1 poller", 1, 1000000), *two = polled_add("5 pollers", 5, 1000000);
	json_t *none = words_warnings(&outcome);
	cr_assert_eq(json_array_size(none), 0);
	json_decref(none);
	one->polled.missing = 3;
	one->polled.disordered = 1;
	one->right = false;
	one->no_push = two->no_push = true;
	strcpy(one->why_no_push, "400 UnknownOperationException");
	strcpy(two->why_no_push, "400 UnknownOperationException");
	two->saturated = true;
	two->client_cpu = 0.97;
	two->put_failed = 2;
	outcome.interrupted = true;
	static const char *expect[] = {
		"Interrupted: this is what was measured until then.",
		"No push at this endpoint (400 UnknownOperationException): the pushed side was left out.",
		"1 poller: WRONG: polled: 3 missing, 0 doubled, 1 out of order, 0 damaged.",
		"5 pollers: 2 records could not be put.",
		"5 pollers: the client was saturated (97 % of a core): these are the client's figures, not the server's.",
		""};
	for (size_t i = 0; i < sizeof expect / sizeof *expect; i++)
		cr_assert_str_eq(sentence(words_warnings(&outcome), i), expect[i]);
	two->client_cpu = 0.03;
	two->client_lag_ms = 7.5;
	cr_assert_str_eq(
		sentence(words_warnings(&outcome), 4),
		"5 pollers: the machine was busy (the client used 3 % of a core, puts 7.5 ms late at p99): latencies may be too high.");
	one->polled.missing = one->polled.disordered = 0;
	cr_assert_str_eq(sentence(words_warnings(&outcome), 2), "1 poller: cut short, so that nothing is proven of it.");
	outcome.interrupted = false;
	cr_assert_str_eq(sentence(words_warnings(&outcome), 1), "1 poller: WRONG: it could not be shown that every record arrived.");
}

Test(load_report, table_exactly)
{
	struct regime *regime = pushed_add("5 consumers", 5, 1000000);
	regime->pushed.resubscribed = 7;
	regime->hops[0] = (struct hop){"queue", 0.02, 0.09};
	regime->hops[1] = (struct hop){"commit", 0.31, 0.7};
	regime->n_hops = 2;
	polled_add("1 poller", 1, 100000000)->polled.throttled = 4;
	outcome.regimes[1]->saturated = true;
	cr_assert_str_eq(
		table_text(),
		"penstock-load compare, 2026-02-02T02:40:00Z\n"
		"http://127.0.0.1:4567 (penstock/0.1.0), records of 1024 bytes\n"
		"\n"
		"Pushed: p50 1.0 ms, p99 1.0 ms with 5 consumers.\n"
		"Polled: mean 100 ms, p99 100 ms with 1 poller.\n"
		"Every record reached every receiver exactly once and in order.\n"
		"\n"
		"Latency in ms                         n      mean       p50       p90       p99     p99.9       max\n"
		"5 consumers           put           200     0.500     0.500     0.500     0.500     0.500     0.500\n"
		"                      pushed       1000     1.000     1.000     1.000     1.000     1.000     1.000\n"
		"1 poller              put           200     0.500     0.500     0.500     0.500     0.500     0.500\n"
		"                      polled        200   100.000   100.000   100.000   100.000   100.000   100.000\n"
		"put: to its answer; pushed, polled: to the record's arrival; all from the time when the record was meant to be "
		"sent\n"
		"\n"
		"Throughput                       of  records/s MiB/s ea.    best s     limit    used  throttled  retried resubs.\n"
		"5 consumers           put                 20.0     0.191               2.000   9.5 %          0        0\n"
		"                      pushed      5      100.0     0.200     0.250     4.000   5.0 %          0        0       7\n"
		"1 poller              put                 20.0     0.191               2.000   9.5 %          0        0\n"
		"                      polled      1       20.0     0.200     0.250     4.000   5.0 %          4        0\n"
		"limit, MiB/s: puts 1 a shard; 2 a shard for each pushed consumer; 2 a shard that all pollers share\n"
		"this client's own CPU: at most 0 % of a core\n"
		"\n"
		"Beside the textbook, in ms     textbook  interval      mean       p99\n"
		"5 consumers           pushed         70               1.000     1.000\n"
		"1 poller              polled        200     200.0   100.000   100.000\n"
		"The textbook's polling figures are the interval between two polls of one consumer:\n"
		"a clock shows a mean of half of it, and a p99 near it.\n"
		"\n"
		"The server's own account: p50 / p99 in ms\n"
		"                                  queue             commit\n"
		"5 consumers             0.020 /   0.090    0.310 /   0.700\n"
		"\n"
		"Cost of an hour of this load   shard h    put units consumer-shard h  GB pushed     $/hour    $/month\n"
		"5 consumers                          2        72000               10      3.516     0.2267     165.50\n"
		"1 poller                             2        72000                0      0.000     0.0310      22.64\n"
		"at $0.015 a shard hour, $0.014 a million PUT payload units, $0.015 a consumer-shard hour, $0.013 a GB retrieved by\n"
		"enhanced fan-out (GetRecords costs nothing); month: 730 such hours, extrapolated from what was measured\n"
		"\n"
		"! 1 poller: the client was saturated (0 % of a core): these are the client's figures, not the server's.\n");
}

Test(load_report, what_was_put_twice_is_in_the_table_when_something_was)
{
	struct regime *regime = pushed_add("1 and 1", 1, 1000000);
	side_fill(&regime->polled, 1, 100000000);
	cr_assert_null(strstr(table_text(), "wice"));
	regime->polled.put_twice = 3;
	cr_assert_not_null(strstr(table_text(),
				  "\nPut twice                       records\n"
				  "1 and 1               polled          3\n"
				  "a put whose answer was lost was made again: these doubles are the producer's, not the server's\n"));
}

Test(load_report, what_was_left_out_costs_nothing)
{
	struct regime *left_out = outcome_add(&outcome, "1 consumer");
	left_out->no_push = left_out->right = true;
	cr_assert_null(strstr(table_text(), "Cost of"));
	polled_add("1 poller", 1, 100000000);
	char *cost = strstr(table_text(), "Cost of");
	cr_assert(cost && strstr(cost, "1 poller  "));
	cr_assert_null(strstr(cost, "1 consumer"), "a row of zeros");
}

Test(load_report, cbor_that_could_not_be_read_is_said_in_place_of_a_proof)
{
	struct regime *regime = polled_add("poll", 1, 1000000);
	regime->right = false;
	strcpy(regime->unreadable, "GetRecords: the endpoint's CBOR answer could not be read");
	cr_assert_str_eq(sentence(words_warnings(&outcome), 0), "poll: GetRecords: the endpoint's CBOR answer could not be read.");
	cr_assert_str_eq(sentence(words_warnings(&outcome), 1), "");
}

Test(load_report, table_fits_120_columns)
{
	sample_outcome(&outcome);
	sample_spoil(&outcome);
	strcpy(outcome.regimes[3]->name, "a regime whose name is as long as can be, 47 ");
	outcome.regimes[0]->n_hops = 8;
	for (int i = 0; i < 8; i++)
		outcome.regimes[0]->hops[i] = (struct hop){"a-hop", 1000.5, 10000.5};
	outcome.regimes[3]->pushed.latency.max = UINT64_C(86400000000000);
	char *text = table_text();
	cr_assert_not_null(strstr(text, "a-hop"));
	for (char *line = strtok(text, "\n"); line && line[0] != '!'; line = strtok(NULL, "\n"))
		cr_assert_leq(strlen(line), 120, "%s", line);
}

Test(load_report, progress_is_a_line)
{
	char text[512] = "";
	struct regime *regime = pushed_add("both", 5, 1000000);
	struct tick tick = {.at_s = 12, .put = 200, .pushed = 1000, .push_p50_ms = 0.612, .push_p99_ms = 1.53};
	FILE *file = fmemopen(text, sizeof text, "w");
	report_progress(file, regime, &tick);
	regime->polled.receivers = 1;
	tick.polled = 200;
	tick.poll_p50_ms = 101;
	tick.poll_p99_ms = 201;
	tick.throttled = 3;
	report_progress(file, regime, &tick);
	fclose(file);
	cr_assert_str_eq(text,
			 "both,  12 s: put 200/s; pushed 1000/s p50 0.61 ms p99 1.5 ms\n"
			 "both,  12 s: put 200/s; pushed 1000/s p50 0.61 ms p99 1.5 ms; polled 200/s p50 101 ms p99 201 ms; 3 throttled\n");
}

Test(load_report, csv_exactly)
{
	strcpy(outcome.server, "a \"quoted\", server");
	struct regime *regime = pushed_add("5, consumers", 5, 1000000);
	regime->pushed.calls = 10;
	regime->pushed.doubled = 2;
	regime->client_cpu = 0.25;
	regime->right = false;
	cr_assert(report_csv(&outcome, path));
	cr_assert_str_eq(
		file_text(path),
		"command,endpoint,server,began,regime,side,shards,rate,receivers,records,bytes,n,mean_ms,p50_ms,p90_ms,p99_ms,p999_ms,max_"
		"ms,"
		"records_per_s,mib_per_s,calls,throttled,retried,resubscribed,missing,doubled,disordered,damaged,interval_ms,client_cpu,"
		"saturated,right\r\n"
		"compare,http://127.0.0.1:4567,\"a \"\"quoted\"\", server\",2026-02-02T02:40:00Z,\"5, "
		"consumers\",put,2,20,,200,2000000,200,0.500000,"
		"0.500000,0.500000,0.500000,0.500000,0.500000,20.000,0.190735,200,0,0,,,,,,,0.250,false,false\r\n"
		"compare,http://127.0.0.1:4567,\"a \"\"quoted\"\", server\",2026-02-02T02:40:00Z,\"5, "
		"consumers\",pushed,2,20,5,1000,10485760,1000,"
		"1.000000,1.000000,1.000000,1.000000,1.000000,1.000000,100.000,1.000000,10,0,0,0,0,2,0,0,0.000,0.250,false,false\r\n");
}

Test(load_report, hdr_exactly)
{
	pushed_add("5 Consumers!", 5, 1000000);
	char prefix[300], name[400];
	snprintf(prefix, sizeof prefix, "%s/x", folder);
	cr_assert(report_hdr(&outcome, prefix));
	snprintf(name, sizeof name, "%s-5-consumers-push.hgrm", prefix);
	cr_assert_str_eq(file_text(name), "         Value     Percentile TotalCount 1/(1-Percentile)\n"
					  "\n"
					  "      1.000000 0.000000000000       1000           1.00\n"
					  "      1.000000 1.000000000000       1000\n"
					  "#[Mean    =     1.000000, StdDeviation   =     0.000000]\n"
					  "#[Max     =     1.000000, Total count    =         1000]\n"
					  "#[Buckets =           35, SubBuckets     =          128]\n");
	cr_assert_eq(unlink(name), 0);
	snprintf(name, sizeof name, "%s-5-consumers-put.hgrm", prefix);
	cr_assert_eq(unlink(name), 0);
	snprintf(name, sizeof name, "%s-5-consumers-poll.hgrm", prefix);
	cr_assert_neq(unlink(name), 0, "nothing was polled");
}

Test(load_report, hdr_names_do_not_clash)
{
	pushed_add("same", 1, 1000000);
	pushed_add("same", 1, 1000000);
	char prefix[300], name[400];
	snprintf(prefix, sizeof prefix, "%s/x", folder);
	cr_assert(report_hdr(&outcome, prefix));
	static const char *names[] = {"same-put", "same-push", "same-2-put", "same-2-push"};
	for (int i = 0; i < 4; i++) {
		snprintf(name, sizeof name, "%s-%s.hgrm", prefix, names[i]);
		cr_assert_eq(unlink(name), 0, "%s", names[i]);
	}
}

Test(load_report, json_is_read_back)
{
	sample_outcome(&outcome);
	strcpy(outcome.regimes[6]->name, "not UTF-8: \xff");
	cr_assert(report_json(&outcome, path));
	json_t *root = json_load_file(path, 0, NULL);
	const char *format, *name;
	json_int_t n, missing;
	double p50, interval, limit, dollars, at, first;
	int right;
	cr_assert_eq(json_unpack(root, "{s:s,s:b}", "format", &format, "right", &right), 0);
	cr_assert_str_eq(format, "penstock-load/1");
	cr_assert(right);
	json_t *regime = json_array_get(json_object_get(root, "regimes"), 2);
	cr_assert_eq(json_unpack(regime, "{s:s,s:n,s:{s:F,s:F,s:{s:I},s:{s:I,s:F,s:[[F]]}},s:{s:F},s:{s:[F]}}", "name", &name, "pushed",
				 "polled", "interval_ms", &interval, "limit_mib_s", &limit, "proof", "missing", &missing, "latency", "n",
				 &n, "p50_ms", &p50, "distribution", &first, "cost", "dollars_per_hour", &dollars, "timeline", "at_s", &at),
		     0);
	cr_assert_str_eq(name, "5 pollers");
	cr_assert_eq(interval, 1000);
	cr_assert_float_eq(limit, 0.8, 1e-9);
	cr_assert_eq(missing, 0);
	cr_assert_eq(n, 15000);
	cr_assert_float_eq(p50, 500, 15);
	cr_assert_eq(first, 0);
	cr_assert_float_eq(dollars, 0.04008, 1e-6);
	cr_assert_eq(at, 1);
	cr_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(root, "regimes"), 6), "name")), "not UTF-8: ?");
	json_decref(root);
}

static unsigned occurrences(const char *text, const char *what)
{
	unsigned n = 0;
	for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

Test(load_report, html_is_one_page_and_keeps_its_frame)
{
	sample_outcome(&outcome);
	sample_spoil(&outcome);
	strcpy(outcome.server, "<img src=x onerror=alert(1)>{{data}}");
	cr_assert(report_html(&outcome, path));
	char *text = file_text(path);
	cr_assert_eq(occurrences(text, "</script"), 3, "what came from outside closes no script");
	cr_assert_eq(occurrences(text, "<img"), 0);
	cr_assert_eq(occurrences(text, "\"format\":\"penstock-load/1\""), 1, "what was put in is not looked at again");
	cr_assert_eq(occurrences(text, "\\u003cimg src="), 1);
	cr_assert_eq(occurrences(text, "&lt;img src="), 1);
	cr_assert_eq(occurrences(text, " src="), 2, "nothing is loaded: these two are the server's name");
	cr_assert_not_null(strstr(text, "The MIT License"));
	cr_assert_not_null(strstr(text, "1 &quot;poller&quot;, &lt;/script&gt;"));
	cr_assert(strncmp(text, "<!doctype html>", 15) == 0);
	cr_assert_str_eq(text + strlen(text) - 8, "</html>\n");
}

Test(load_report, html_pieces_close_no_element)
{
	cr_assert_null(strstr(page_piece(STR("script")).p, "</script"));
	cr_assert_null(strstr(page_piece(STR("uplot")).p, "</script"));
	cr_assert_null(strstr(page_piece(STR("style")).p, "</style"));
	cr_assert(!str_present(page_piece(STR("nothing"))));
}

Test(load_report, html_of_a_long_run_stays_small)
{
	sample_long(&outcome);
	cr_assert(report_html(&outcome, path));
	char *text = file_text(path);
	cr_assert_lt(strlen(text), 1000000);
	cr_assert_not_null(strstr(text, "\"step\":2"));
	cr_assert_not_null(strstr(text, "\"left_out\":1249"));
	cr_assert(report_json(&outcome, path));
	json_t *root = json_load_file(path, 0, NULL);
	json_t *regime = json_array_get(json_object_get(root, "regimes"), 1);
	cr_assert_eq(json_array_size(json_object_get(json_object_get(regime, "timeline"), "put")), 3600, "the JSON report has everything");
	cr_assert_eq(json_array_size(json_object_get(json_object_get(regime, "pushed"), "each")), 2000);
	json_decref(root);
}

Test(load_report, unwritable_files_are_told)
{
	regime_add("one");
	cr_assert(!report_json(&outcome, "no-such-folder/x"));
	cr_assert(!report_csv(&outcome, "no-such-folder/x"));
	cr_assert(!report_html(&outcome, "no-such-folder/x"));
	cr_assert(!report_hdr(&outcome, "no-such-folder/x"));
	cr_assert(!report_html(&outcome, "/dev/full"), "a full disk");
	cr_assert(!report_json(&outcome, "/dev/full"));
}
