/* main.c: penstock-load: puts, pushed consumers and pollers against a Kinesis endpoint on this machine, measured and checked. */
#include <errno.h>
#include <event2/thread.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "loadtest/load.h"

static const char help[] =
	"penstock-load [OPTION...]: measures put-to-delivery latency and checks every record (exit status 1: lost, doubled or out of "
	"order)\n"
	"  --endpoint URL        http:// or https:// (http://127.0.0.1:4567)\n"
	"  --stream NAME         made for the run, deleted after it (penstock-load)\n"
	"  --shards N            (1)\n"
	"  --consumers N         enhanced fan-out consumers, pushed over HTTP/2 (1)\n"
	"  --pollers N           shared consumers, 5 GetRecords a second and shard between them (0)\n"
	"  --producers N         connections that put (1)\n"
	"  --rate R              puts a second over all producers, on a fixed schedule; 0: as fast as answers come (100)\n"
	"  --in-flight N         with --rate 0: puts in work at once on each connection (1)\n"
	"  --batch N             records a put, 1 to 500; 1 is PutRecord (1)\n"
	"  --size BYTES          of each record's data, 28 to 1048576 (1024)\n"
	"  --seconds S           of putting (5)\n"
	"  --warmup S            puts before that, delivered but not counted (1)\n"
	"  --records N           at most so many; with --existing: at least what the stream holds (as seconds and rate say)\n"
	"  --stalled N           so many subscriptions read nothing until the puts are over (0)\n"
	"  --horizon             consumers begin at TRIM_HORIZON when everything is put, instead of LATEST before\n"
	"  --drain-seconds S     with --horizon: stop reading after so long (until all is delivered)\n"
	"  --drain-skip S        with --drain-seconds: not counted at the start, until the budget's bucket is dry (0)\n"
	"  --existing            the stream is there already: put nothing, read it from TRIM_HORIZON, keep it\n"
	"  --keep                do not delete the stream\n"
	"  --progress            a line each second while it puts\n"
	"  --json FILE           the figures as JSON\n"
	"Calls are signed with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN and AWS_REGION of the environment.\n";

enum {
	O_ENDPOINT = 256,
	O_STREAM,
	O_SHARDS,
	O_CONSUMERS,
	O_POLLERS,
	O_PRODUCERS,
	O_RATE,
	O_BATCH,
	O_IN_FLIGHT,
	O_SIZE,
	O_SECONDS,
	O_WARMUP,
	O_STALLED,
	O_RECORDS,
	O_HORIZON,
	O_DRAIN,
	O_SKIP,
	O_EXISTING,
	O_KEEP,
	O_PROGRESS,
	O_JSON,
	O_HELP
};

static const struct option long_options[] = {{"endpoint", 1, NULL, O_ENDPOINT},
					     {"stream", 1, NULL, O_STREAM},
					     {"shards", 1, NULL, O_SHARDS},
					     {"consumers", 1, NULL, O_CONSUMERS},
					     {"pollers", 1, NULL, O_POLLERS},
					     {"producers", 1, NULL, O_PRODUCERS},
					     {"rate", 1, NULL, O_RATE},
					     {"batch", 1, NULL, O_BATCH},
					     {"size", 1, NULL, O_SIZE},
					     {"seconds", 1, NULL, O_SECONDS},
					     {"warmup", 1, NULL, O_WARMUP},
					     {"stalled", 1, NULL, O_STALLED},
					     {"horizon", 0, NULL, O_HORIZON},
					     {"drain-seconds", 1, NULL, O_DRAIN},
					     {"keep", 0, NULL, O_KEEP},
					     {"progress", 0, NULL, O_PROGRESS},
					     {"json", 1, NULL, O_JSON},
					     {"drain-skip", 1, NULL, O_SKIP},
					     {"existing", 0, NULL, O_EXISTING},
					     {"records", 1, NULL, O_RECORDS},
					     {"in-flight", 1, NULL, O_IN_FLIGHT},
					     {"help", 0, NULL, O_HELP},
					     {NULL, 0, NULL, 0}};

static double number(const char *name, const char *text, double low, double high)
{
	char *end;
	double v = strtod(text, &end);
	if (*end || end == text || !(v >= low && v <= high)) {
		fprintf(stderr, "penstock-load: --%s wants %g to %g, not \"%s\"\n", name, low, high, text);
		exit(2);
	}
	return v;
}

static void parse_one(struct load_options *options, int option, const char *name)
{
	switch (option) {
	case O_ENDPOINT:
		options->where.url = optarg;
		break;
	case O_STREAM:
		options->stream = optarg;
		break;
	case O_SHARDS:
		options->shards = (unsigned)number(name, optarg, 1, LOAD_SHARDS_MAX);
		break;
	case O_CONSUMERS:
		options->consumers = (unsigned)number(name, optarg, 0, LOAD_CONSUMERS_MAX);
		break;
	case O_POLLERS:
		options->pollers = (unsigned)number(name, optarg, 0, LOAD_CONSUMERS_MAX);
		break;
	case O_PRODUCERS:
		options->producers = (unsigned)number(name, optarg, 1, 1000);
		break;
	case O_RATE:
		options->rate = number(name, optarg, 0, 1e6);
		break;
	case O_IN_FLIGHT:
		options->in_flight = (unsigned)number(name, optarg, 1, 100);
		break;
	case O_BATCH:
		options->batch = (unsigned)number(name, optarg, 1, 500);
		break;
	case O_SIZE:
		options->size = (unsigned)number(name, optarg, RECORD_MIN, 1 << 20);
		break;
	case O_SECONDS:
		options->seconds = number(name, optarg, 0.1, 3600);
		break;
	case O_WARMUP:
		options->warmup = number(name, optarg, 0, 600);
		break;
	case O_RECORDS:
		options->records = (uint64_t)number(name, optarg, 1, 100e6);
		break;
	case O_STALLED:
		options->stalled = (unsigned)number(name, optarg, 0, 10000);
		break;
	case O_HORIZON:
		options->horizon = true;
		break;
	case O_DRAIN:
		options->drain_seconds = number(name, optarg, 0.1, 600);
		break;
	case O_SKIP:
		options->drain_skip = number(name, optarg, 0, 600);
		break;
	case O_EXISTING:
		options->existing = options->horizon = options->keep = true;
		break;
	case O_PROGRESS:
		options->progress = true;
		break;
	case O_KEEP:
		options->keep = true;
		break;
	case O_JSON:
		options->json = optarg;
		break;
	case O_HELP:
		fputs(help, stdout);
		exit(0);
	default:
		exit(2);
	}
}

static void parse(int argc, char **argv, struct load_options *options)
{
	int option, index = 0;
	*options = (struct load_options){.where = {.protocol = -1, .insecure = true},
					 .stream = "penstock-load",
					 .shards = 1,
					 .consumers = 1,
					 .producers = 1,
					 .rate = 100,
					 .batch = 1,
					 .in_flight = 1,
					 .size = 1024,
					 .seconds = 5,
					 .warmup = 1};
	while ((option = getopt_long(argc, argv, "", long_options, &index)) != -1)
		parse_one(options, option, long_options[index].name);
	if (optind < argc) {
		fprintf(stderr, "penstock-load: what is \"%s\"? --help lists the options\n", argv[optind]);
		exit(2);
	}
}

/* Waits for what `ready` says, looking every 20 ms; false after `seconds`. */
static bool until(struct load *load, bool (*ready)(const struct load *load), double seconds)
{
	bool never = false;
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9), next = load->put_begin_ns + 1000000000;
	while (!ready(load)) {
		if (load->failed || now_ns() > end)
			return false;
		load_wait(load, &never, 0.02);
		if (load->options->progress && load->putting && now_ns() >= next) {
			old_report_progress(load);
			next += 1000000000;
		}
	}
	return true;
}

static bool all_delivered(const struct load *load)
{
	return consumers_have(load, load->acknowledged) && pollers_have(load, load->acknowledged);
}

static void window_set(struct load *load)
{
	if (load->options->drain_seconds <= 0)
		return;
	load->window_begin_ns = now_ns() + (uint64_t)(load->options->drain_skip * 1e9);
	load->window_end_ns = load->window_begin_ns + (uint64_t)(load->options->drain_seconds * 1e9);
}

static bool window_over(const struct load *load) { return load->window_end_ns ? now_ns() >= load->window_end_ns : all_delivered(load); }

static bool put_all(struct load *load)
{
	const struct load_options *options = load->options;
	if (!producers_start(load)) {
		perror("penstock-load: connect");
		return false;
	}
	return until(load, producers_idle, options->seconds + options->warmup + 30);
}

static bool readers_start(struct load *load)
{
	if (!consumers_start(load) || !pollers_start(load) || !until(load, consumers_ready, 30)) {
		fprintf(stderr, "penstock-load: the consumers could not begin\n");
		return false;
	}
	return true;
}

static bool measure(struct load *load)
{
	const struct load_options *options = load->options;
	if (options->horizon) {
		if (!options->existing && !put_all(load))
			return false;
		window_set(load);
		if (!readers_start(load))
			return false;
	} else if (!readers_start(load) || !put_all(load)) {
		return false;
	}
	consumers_resume(load);
	until(load, window_over, options->drain_seconds > 0 ? options->drain_seconds + options->drain_skip + 30 : 120);
	return true;
}

static void load_init(struct load *load, const struct load_options *options)
{
	struct event_config *config = event_config_new();
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	double most = options->rate > 0 && !options->existing ? (options->seconds + options->warmup) * options->rate * options->batch + 1000
							      : 20e6;
	*load = (struct load){.options = options, .base = event_base_new_with_config(config)};
	event_config_free(config);
	event_base_priority_init(load->base, 3); /* 1, the default: sockets and timers; 2: decoding */
	load->numbers_max = options->records ? options->records : (uint64_t)most;
	load->answered_ns = xcalloc(load->numbers_max, sizeof *load->answered_ns);
	histogram_init(&load->put_latency);
	histogram_init(&load->pushed.latency);
	histogram_init(&load->pushed.after_answer);
	histogram_init(&load->pushed_others);
	histogram_init(&load->polled.latency);
	histogram_init(&load->polled.after_answer);
}

int main(int argc, char **argv)
{
	static struct load load; /* its histograms are too large for a stack */
	struct load_options options;
	char why[256];
	bool good = false;
	parse(argc, argv, &options);
	signal(SIGPIPE, SIG_IGN);
	load_init(&load, &options);
	if (!endpoint_open(&options.endpoint, &options.where, why)) {
		fprintf(stderr, "penstock-load: %s\n", why);
		return 1;
	}
	load.control = connection_open(load.base, &options.endpoint, 0);
	if (!stream_make(&load))
		return 1;
	if (measure(&load)) {
		old_report_print(&load);
		good = old_report_json(&load) && (options.drain_seconds > 0 || load_checked(&load));
		if (good && options.drain_seconds <= 0)
			printf("each record was delivered to each consumer exactly once and in order\n");
	}
	pollers_free(&load);
	consumers_free(&load);
	producers_free(&load);
	if (!options.keep)
		stream_remove(&load);
	connection_close(load.control);
	free(load.answered_ns);
	event_base_free(load.base);
	endpoint_close(&options.endpoint);
	return good ? 0 : 1;
}
