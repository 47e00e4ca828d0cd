/* test_load_options.c: penstock-load's command line, its sizes, and what it reads of a server's metrics. */
#include <criterion/criterion.h>
#include <math.h>

#include "loadtest/load.h"

static struct options options;

/* Up to 8 words, NULL-ended. */
static int parse(char **words)
{
	char *argv[10] = {"penstock-load"};
	int argc = 1;
	while (*words)
		argv[argc++] = *words++;
	return load_options_parse(argc, argv, &options);
}
#define PARSE(...) parse((char *[]){__VA_ARGS__, NULL})

Test(load_options, no_mode_is_mixed_as_it_always_was)
{
	cr_assert_eq(PARSE("--shards", "2"), 0);
	cr_assert_eq(options.mode, MODE_MIXED);
	cr_assert_eq(options.shards, 2);
	cr_assert_eq(options.consumers, 1);
	cr_assert_eq(options.pollers, 0);
	cr_assert_eq(options.seconds, 5);
	cr_assert_not(options.progress);
	cr_assert_str_eq(options.mode_name, "mixed");
	cr_assert_null(options.stream);
}

Test(load_options, a_mode_brings_its_defaults)
{
	cr_assert_eq(PARSE("compare", "--consumers-max", "7"), 0);
	cr_assert_eq(options.mode, MODE_COMPARE);
	cr_assert_eq(options.rate, 50);
	cr_assert_eq(options.pollers_max, 5);
	cr_assert_eq(options.consumers_max, 7);
	cr_assert(options.progress);
	cr_assert_str_eq(options.arguments, "compare --consumers-max 7");
	cr_assert_eq(PARSE("poll"), 0);
	cr_assert_eq(options.pollers, 1);
	cr_assert_eq(options.consumers, 0);
}

Test(load_options, where_values_go)
{
	cr_assert_eq(PARSE("put", "--format", "cbor", "--protocol", "http1", "--quiet", "--insecure"), 0);
	cr_assert_eq(options.format, ENCODING_CBOR);
	cr_assert_eq(options.endpoint.protocol, PROTOCOL_HTTP1);
	cr_assert(options.endpoint.insecure);
	cr_assert_not(options.progress);
	cr_assert_eq(PARSE("put", "--price", "consumer-gb=0.02", "--producers", "3", "--warm-up", "0"), 0);
	cr_assert_eq(options.prices.consumer_gb, 0.02);
	cr_assert_eq(options.prices.shard_hour, 0.015);
	cr_assert_eq(options.connections, 3);
	cr_assert_eq(options.warmup, 0);
}

Test(load_options, bad_words_are_refused)
{
	cr_assert_eq(PARSE("pull"), 2);
	cr_assert_eq(PARSE("--shards", "0"), 2);
	cr_assert_eq(PARSE("--shards", "2.5"), 2);
	cr_assert_eq(PARSE("--shards", "-1"), 2);
	cr_assert_eq(PARSE("--rate", "nan"), 2);
	cr_assert_eq(PARSE("--size", "27"), 2);
	cr_assert_eq(PARSE("--size", "100-"), 2);
	cr_assert_eq(PARSE("--size", "exp:"), 2);
	cr_assert_eq(PARSE("--stream", ""), 2);
	cr_assert_eq(PARSE("--existing"), 2);
	cr_assert_eq(PARSE("push", "--drain-seconds", "5"), 2);
	cr_assert_eq(PARSE("compare", "--rate", "0"), 2);
}

static double mean_size(uint32_t *least, uint32_t *most)
{
	double sum = 0;
	*least = UINT32_MAX;
	*most = 0;
	for (uint64_t i = 0; i < 100000; i++) {
		uint32_t size = size_of(&options, i);
		sum += size;
		*least = size < *least ? size : *least;
		*most = size > *most ? size : *most;
	}
	return sum / 100000;
}

Test(load_options, sizes)
{
	uint32_t least, most;
	cr_assert_eq(PARSE("put", "--size", "2000"), 0);
	cr_assert_eq(mean_size(&least, &most), 2000);
	cr_assert_eq(PARSE("put", "--size", "100-103"), 0);
	cr_assert_lt(fabs(mean_size(&least, &most) - 101.5), 0.1);
	cr_assert_eq(least, 100);
	cr_assert_eq(most, 103);
	cr_assert_eq(PARSE("put", "--size", "exp:4096"), 0);
	cr_assert_lt(fabs(mean_size(&least, &most) - 4096), 100);
	cr_assert_eq(least, RECORD_MIN);
	cr_assert_gt(most, 8 * 4096);
	uint32_t first = size_of(&options, 7);
	options.seed++;
	cr_assert_neq(size_of(&options, 7), first, "the seed decides");
	options.seed--;
	cr_assert_eq(size_of(&options, 7), first);
}

Test(load_hops, what_the_server_tells)
{
	struct regime regime = {0};
	hops_parse(STR("# TYPE penstock_queue_seconds summary\npenstock_queue_seconds{quantile=\"0.5\"} 0.002\n"
		       "penstock_queue_seconds{quantile=\"0.9\"} 0.003\npenstock_queue_seconds{quantile=\"0.99\"} 0.0045\n"
		       "penstock_sync_seconds{quantile=\"0.5\"} 1\npenstock_sync_seconds{quantile=\"0.99\"} 1\n"
		       "penstock_notice_seconds{quantile=\"0.5\"} 1\npenstock_write_seconds{quantile=\"0.5\"} 1e-05\n"
		       "penstock_write_seconds{quantile=\"0.99\"} 2e-05"),
		   &regime);
	cr_assert_eq(regime.n_hops, 2, "a hop without both quantiles is none");
	cr_assert_str_eq(regime.hops[0].name, "queue");
	cr_assert_float_eq(regime.hops[0].p50_ms, 2, 1e-9);
	cr_assert_float_eq(regime.hops[0].p99_ms, 4.5, 1e-9);
	cr_assert_str_eq(regime.hops[1].name, "write");
	cr_assert_float_eq(regime.hops[1].p99_ms, 0.02, 1e-9);
	hops_parse(STR("<html>"), &regime);
	cr_assert_eq(regime.n_hops, 2);
}
