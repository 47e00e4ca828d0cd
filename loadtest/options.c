/* options.c: the command line. One table says of each option its name, what it wants, what it is for, and where the value goes; the help is
 * printed from it.
 *
 * Thread: main, before anything else. Strings in the result are argv's own.
 *
 * Happy path:
 * - a mode, if the first word is one, gives the defaults; then each option in order (a later one wins), then what concerns several
 *
 * Failure modes: one line on stderr that names the option, what it wants and what it got; exit status 2. */
#include "loadtest/options.h"

#include <getopt.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- Modes ---------------------------------------------------------------------------------------------------------- */

struct mode_rule {
	const char *name;
	enum mode mode;
	unsigned consumers, pollers;
	double rate, seconds, warmup;
	bool progress;
	const char *what;
};

static const struct mode_rule modes[] = {
	{"compare", MODE_COMPARE, 0, 0, 50, 15, 2, true, "polling against push: 1 to N of each, alone and both together"},
	{"put", MODE_PUT, 0, 0, 100, 10, 1, true, "puts alone"},
	{"push", MODE_PUSH, 1, 0, 100, 10, 1, true, "puts, and consumers that are pushed (enhanced fan-out)"},
	{"poll", MODE_POLL, 0, 1, 100, 10, 2, true, "puts, and consumers that poll and share a shard's 5 calls a second"},
	{"idle", MODE_IDLE, 1, 0, 1, 30, 0, true, "subscriptions with next to nothing to do"},
	{"mixed", MODE_MIXED, 1, 1, 100, 10, 1, true, "puts, pushed consumers and pollers at once"},
	{"", MODE_MIXED, 1, 0, 100, 5, 1, false, NULL}, /* no mode was named */
};
#define MODES (sizeof modes / sizeof *modes)

/* ---- What options want ---------------------------------------------------------------------------------------------- */

enum kind {
	TAKE_TEXT,
	TAKE_COUNT,  /* unsigned */
	TAKE_NUMBER, /* uint64_t */
	TAKE_REAL,
	TAKE_FLAG,
	TAKE_FLAG_OFF,
	TAKE_EXISTING,
	TAKE_PROTOCOL,
	TAKE_FORMAT,
	TAKE_SIZE,
	TAKE_PRICE,
	SHOW_HELP
};

struct option_rule {
	const char *name, *wants, *what; /* what: NULL for another name of the one before */
	enum kind kind;
	size_t at;
	double least, most;
	const char *section; /* begins here */
};

#define AT(field) offsetof(struct options, field)

static const struct option_rule rules[] = {
	{"endpoint", "URL", "http:// or https:// [AWS_ENDPOINT_URL_KINESIS, else http://127.0.0.1:4567]", TAKE_TEXT, AT(endpoint.url), 0, 0,
	 "Where"},
	{"region", "NAME", "that calls are signed for [AWS_REGION, the profile's, us-east-1]", TAKE_TEXT, AT(endpoint.region), 0, 0, NULL},
	{"aws", NULL, "without a URL AWS itself is meant: it costs money", TAKE_FLAG, AT(endpoint.aws), 0, 0, NULL},
	{"ca", "FILE", "trust these certificates (PEM) beside the system's", TAKE_TEXT, AT(endpoint.ca), 0, 0, NULL},
	{"insecure", NULL, "take any certificate", TAKE_FLAG, AT(endpoint.insecure), 0, 0, NULL},
	{"protocol", "h2|http1", "[HTTP/2 where the server speaks it]", TAKE_PROTOCOL, AT(endpoint.protocol), 0, 0, NULL},
	{"format", "json|cbor", "of calls and answers; events are always JSON [json]", TAKE_FORMAT, AT(format), 0, 0, NULL},
	{"stream", "NAME", "made for the run, removed after it [penstock-load-RANDOM]", TAKE_TEXT, AT(stream), 0, 0, NULL},
	{"shards", "N", "of that stream [1]", TAKE_COUNT, AT(shards), 1, LOAD_SHARDS_MAX, NULL},
	{"keep", NULL, "do not remove the stream", TAKE_FLAG, AT(keep), 0, 0, NULL},
	{"rate", "R", "puts a second over all connections, on a fixed schedule; 0: as fast as answers come", TAKE_REAL, AT(rate), 0, 1e6,
	 "Puts"},
	{"size", "BYTES", "of each record: 1024, evenly 100-10000, or exp:1024 about a mean [1024]", TAKE_SIZE, AT(size), 0, 0, NULL},
	{"batch", "N", "records a put; 1 is PutRecord [1]", TAKE_COUNT, AT(batch), 1, 500, NULL},
	{"connections", "N", "that put [1]", TAKE_COUNT, AT(connections), 1, 1000, NULL},
	{"producers", "N", NULL, TAKE_COUNT, AT(connections), 1, 1000, NULL},
	{"in-flight", "N", "with --rate 0: puts in work at once on each connection [1]", TAKE_COUNT, AT(in_flight), 1, 100, NULL},
	{"duration", "S", "seconds of putting; of each regime in compare", TAKE_REAL, AT(seconds), 0.1, 86400, NULL},
	{"seconds", "S", NULL, TAKE_REAL, AT(seconds), 0.1, 86400, NULL},
	{"warm-up", "S", "seconds of puts before that, delivered but not measured", TAKE_REAL, AT(warmup), 0, 600, NULL},
	{"warmup", "S", NULL, TAKE_REAL, AT(warmup), 0, 600, NULL},
	{"records", "N", "at most so many; with --existing: at least what the stream holds", TAKE_NUMBER, AT(records), 1, 100e6, NULL},
	{"seed", "N", "of sizes and of the jitter of retries [1]", TAKE_NUMBER, AT(seed), 0, 1e15, NULL},
	{"consumers", "N", "pushed, a connection each", TAKE_COUNT, AT(consumers), 0, LOAD_RECEIVERS_MAX, "Receivers"},
	{"pollers", "N", "polling: 5 GetRecords a second and shard between them", TAKE_COUNT, AT(pollers), 0, LOAD_RECEIVERS_MAX, NULL},
	{"consumers-max", "N", "compare: up to so many consumers; 0: none [20]", TAKE_COUNT, AT(consumers_max), 0, LOAD_RECEIVERS_MAX,
	 NULL},
	{"pollers-max", "N", "compare: up to so many pollers; 0: none [5]", TAKE_COUNT, AT(pollers_max), 0, LOAD_RECEIVERS_MAX, NULL},
	{"stalled", "N", "so many subscriptions read nothing until the puts are over [0]", TAKE_COUNT, AT(stalled), 0, 10000, NULL},
	{"horizon", NULL, "receivers begin at TRIM_HORIZON when all is put, not at LATEST before", TAKE_FLAG, AT(horizon), 0, 0, NULL},
	{"drain-seconds", "S", "with --horizon: stop reading after so long [until all is delivered]", TAKE_REAL, AT(drain_seconds), 0.1,
	 600, NULL},
	{"drain-skip", "S", "and do not count the first seconds, until the budget's bucket is dry [0]", TAKE_REAL, AT(drain_skip), 0, 600,
	 NULL},
	{"existing", NULL, "the stream is there: put nothing, read it from TRIM_HORIZON, keep it", TAKE_EXISTING, AT(existing), 0, 0, NULL},
	{"existing-puts", NULL, "the stream is there: put into it, and keep it", TAKE_FLAG, AT(existing_puts), 0, 0, NULL},
	{"progress", NULL, "a line each second to stderr [when a mode is named]", TAKE_FLAG, AT(progress), 0, 0, "Output"},
	{"quiet", NULL, "no such lines", TAKE_FLAG_OFF, AT(progress), 0, 0, NULL},
	{"json", "FILE", "the figures", TAKE_TEXT, AT(json), 0, 0, NULL},
	{"csv", "FILE", "a row per regime and side", TAKE_TEXT, AT(csv), 0, 0, NULL},
	{"hdr", "PREFIX", "PREFIX-REGIME-SIDE.hgrm: HdrHistogram's percentile text", TAKE_TEXT, AT(hdr), 0, 0, NULL},
	{"report", "FILE", "a page with plots (HTML, self-contained)", TAKE_TEXT, AT(report), 0, 0, NULL},
	{"label", "TEXT", "the server's name in them", TAKE_TEXT, AT(label), 0, 0, NULL},
	{"price", "NAME=USD", "shard-hour, million-put-units, consumer-shard-hour, consumer-gb", TAKE_PRICE, AT(prices), 0, 0, NULL},
	{"help", NULL, "this", SHOW_HELP, 0, 0, 0, NULL},
};
#define RULES (sizeof rules / sizeof *rules)

static void show_help(void)
{
	printf("Usage: penstock-load [MODE] [OPTION]...\n\n"
	       "Measures put-to-delivery latency at a Kinesis endpoint, and checks that each receiver got each\n"
	       "record exactly once and in order. It makes its stream and consumers, and removes them again.\n\nModes\n");
	for (size_t i = 0; i < MODES; i++)
		if (modes[i].what)
			printf("  %-22s  %s\n  %-22s  [rate %g, %g s after %g s of warm-up]\n", modes[i].name, modes[i].what, "",
			       modes[i].rate, modes[i].seconds, modes[i].warmup);
	printf("  %-22s  mixed, without pollers, 5 s, and without progress\n", "none");
	for (size_t i = 0; i < RULES; i++) {
		char left[64];
		if (rules[i].section)
			printf("\n%s\n", rules[i].section);
		snprintf(left, sizeof left, "--%s%s%s", rules[i].name, rules[i].wants ? " " : "", rules[i].wants ? rules[i].wants : "");
		printf("  %-22s  %s\n", left, rules[i].what ? rules[i].what : "the same");
	}
	printf("\nCalls are signed with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else with the keys of\n"
	       "the profile AWS_PROFILE in ~/.aws/credentials.\n\n"
	       "It wakes up to 0.2 ms before a put is due, makes it, and waits awake for its time: at most a tenth of a\n"
	       "core, which its CPU figure has in it.\n\n"
	       "Exit status: 0, all is right; 1, a record was lost, doubled, out of order or refused, or nothing could be\n"
	       "measured; 2, a bad option; 130, interrupted.\n");
}

static int refuse(const struct option_rule *rule, const char *value)
{
	fprintf(stderr, "penstock-load: --%s wants ", rule->name);
	if (rule->kind == TAKE_SIZE)
		fprintf(stderr, "%d to 1048576, or LEAST-MOST, or exp:MEAN", RECORD_MIN);
	else if (rule->kind == TAKE_PRICE)
		fprintf(stderr, "NAME=USD with one of the names that --help lists");
	else if (rule->most > 0)
		fprintf(stderr, "%.10g to %.10g", rule->least, rule->most);
	else
		fprintf(stderr, "%s", rule->wants);
	fprintf(stderr, ", not \"%s\"\n", value);
	return 2;
}

static bool take_real(const char *value, double least, double most, double *out)
{
	char *end;
	*out = strtod(value, &end);
	return end != value && *end == '\0' && *out >= least && *out <= most;
}

static bool take_whole(const char *value, double least, double most, uint64_t *out)
{
	double number;
	bool good = strspn(value, "0123456789") == strlen(value) && take_real(value, least, most, &number);
	*out = good ? strtoull(value, NULL, 10) : 0;
	return good;
}

static bool take_bytes(const char *value, uint32_t *out)
{
	uint64_t number;
	bool good = take_whole(value, RECORD_MIN, 1 << 20, &number);
	*out = (uint32_t)number;
	return good;
}

static bool take_size(const char *value, struct size_rule *size)
{
	char least[12];
	const char *dash = strchr(value, '-');
	*size = (struct size_rule){.kind = SIZE_FIXED, .least = RECORD_MIN, .most = 1 << 20};
	if (strncmp(value, "exp:", 4) == 0) {
		size->kind = SIZE_EXPONENTIAL;
		return take_bytes(value + 4, &size->mean);
	}
	if (!dash) {
		bool good = take_bytes(value, &size->mean);
		size->least = size->most = size->mean;
		return good;
	}
	size->kind = SIZE_EVEN;
	snprintf(least, sizeof least, "%.*s", (int)(dash - value < 11 ? dash - value : 11), value);
	if (!take_bytes(least, &size->least) || !take_bytes(dash + 1, &size->most) || size->least > size->most)
		return false;
	size->mean = (size->least + size->most) / 2;
	return true;
}

static bool take_price(const char *value, struct prices *prices)
{
	const struct {
		const char *name;
		double *price;
	} known[] = {{"shard-hour", &prices->shard_hour},
		     {"million-put-units", &prices->million_put_units},
		     {"consumer-shard-hour", &prices->consumer_shard_hour},
		     {"consumer-gb", &prices->consumer_gb}};
	const char *equals = strchr(value, '=');
	for (size_t i = 0; equals && i < sizeof known / sizeof *known; i++)
		if (strlen(known[i].name) == (size_t)(equals - value) && strncmp(value, known[i].name, (size_t)(equals - value)) == 0)
			return take_real(equals + 1, 0, 1e6, known[i].price);
	return false;
}

/* The number of one of two names. */
static bool take_either(const char *value, const char *first, const char *second, int *out)
{
	*out = strcmp(value, second) == 0;
	return *out || strcmp(value, first) == 0;
}

static int take(const struct option_rule *rule, const char *value, struct options *out)
{
	void *field = (char *)out + rule->at;
	uint64_t number = 0;
	int which = 0;
	bool ok = true;
	switch (rule->kind) {
	case TAKE_TEXT:
		ok = value[0] != '\0';
		*(const char **)field = value;
		break;
	case TAKE_COUNT:
		ok = take_whole(value, rule->least, rule->most, &number);
		*(unsigned *)field = (unsigned)number;
		break;
	case TAKE_NUMBER:
		ok = take_whole(value, rule->least, rule->most, field);
		break;
	case TAKE_REAL:
		ok = take_real(value, rule->least, rule->most, field);
		break;
	case TAKE_FLAG:
	case TAKE_FLAG_OFF:
		*(bool *)field = rule->kind == TAKE_FLAG;
		break;
	case TAKE_EXISTING:
		out->existing = out->horizon = out->keep = true;
		break;
	case TAKE_PROTOCOL:
		ok = take_either(value, "h2", "http1", field);
		break;
	case TAKE_FORMAT:
		ok = take_either(value, "json", "cbor", &which);
		out->format = which ? ENCODING_CBOR : ENCODING_JSON;
		break;
	case TAKE_SIZE:
		ok = take_size(value, field);
		break;
	case TAKE_PRICE:
		ok = take_price(value, field);
		break;
	case SHOW_HELP:
		show_help();
		return 1;
	}
	return ok ? 0 : refuse(rule, value);
}

/* ---- The line ------------------------------------------------------------------------------------------------------- */

static const struct mode_rule *mode_find(const char *name)
{
	for (size_t i = 0; i < MODES - 1; i++)
		if (strcmp(name, modes[i].name) == 0)
			return &modes[i];
	return NULL;
}

static struct options defaults(const struct mode_rule *mode)
{
	return (struct options){.mode = mode->mode,
				.mode_name = mode->what ? mode->name : "mixed",
				.endpoint.protocol = -1,
				.shards = 1,
				.consumers = mode->consumers,
				.pollers = mode->pollers,
				.consumers_max = 20,
				.pollers_max = 5,
				.connections = 1,
				.rate = mode->rate,
				.in_flight = 1,
				.batch = 1,
				.size = {SIZE_FIXED, 1024, 1024, 1024},
				.seconds = mode->seconds,
				.warmup = mode->warmup,
				.seed = 1,
				.progress = mode->progress,
				.prices = {0.015, 0.014, 0.015, 0.013}};
}

static int check_all(const struct options *options)
{
	if ((options->mode == MODE_PUT && options->consumers + options->pollers > 0) ||
	    (options->mode == MODE_PUSH && options->pollers > 0) || (options->mode == MODE_POLL && options->consumers > 0) ||
	    (options->mode == MODE_IDLE && options->pollers > 0)) {
		fprintf(stderr, "penstock-load: %s has no such receivers; mixed has both kinds\n", options->mode_name);
		return 2;
	}
	if (options->mode == MODE_COMPARE && (options->existing || options->horizon || options->stalled || options->rate <= 0)) {
		fprintf(stderr, "penstock-load: compare wants a --rate, and neither --existing, --horizon nor --stalled\n");
		return 2;
	}
	if ((options->existing || options->existing_puts || options->keep) && !options->stream) {
		fprintf(stderr, "penstock-load: --keep, --existing and --existing-puts want a --stream by its name\n");
		return 2;
	}
	if (options->drain_seconds > 0 && !options->horizon) {
		fprintf(stderr, "penstock-load: --drain-seconds goes with --horizon or --existing\n");
		return 2;
	}
	return 0;
}

static void keep_arguments(int argc, char **argv, struct options *out)
{
	size_t n = 0;
	for (int i = 1; i < argc && n < sizeof out->arguments; i++)
		n += (size_t)snprintf(out->arguments + n, sizeof out->arguments - n, "%s%s", i > 1 ? " " : "", argv[i]);
}

int load_options_parse(int argc, char **argv, struct options *out)
{
	struct option table[RULES + 1] = {0};
	const struct mode_rule *mode = &modes[MODES - 1];
	int which, at, first = 1, code = 0;
	if (argc > 1 && argv[1][0] != '-') {
		mode = mode_find(argv[1]);
		first = 2;
		if (!mode) {
			fprintf(stderr, "penstock-load: there is no mode \"%s\"; --help lists them\n", argv[1]);
			return 2;
		}
	}
	*out = defaults(mode);
	keep_arguments(argc, argv, out);
	for (size_t i = 0; i < RULES; i++)
		table[i] = (struct option){rules[i].name, rules[i].wants ? required_argument : no_argument, NULL, (int)i};
	opterr = 0;
	optind = first;
	/* '+': no permutation, so that argv[at] is what is looked at; ':': the messages are ours. */
	while (at = optind, (which = getopt_long(argc, argv, "+:", table, NULL)) != -1) {
		if (which == '?' || which == ':') {
			fprintf(stderr,
				which == ':' ? "penstock-load: %s wants a value; --help says which\n"
					     : "penstock-load: %s is no option, or one without a value; --help lists them\n",
				argv[at]);
			return 2;
		}
		code = take(&rules[which], optarg, out);
		if (code)
			return code;
	}
	if (optind < argc) {
		fprintf(stderr, "penstock-load: what is \"%s\"? The mode comes first; all else is an option; --help lists them\n",
			argv[optind]);
		return 2;
	}
	return check_all(out);
}

/* ---- Sizes ---------------------------------------------------------------------------------------------------------- */

uint32_t size_of(const struct options *options, uint64_t number)
{
	const struct size_rule *rule = &options->size;
	uint64_t z = (options->seed + 1) * 0x9e3779b97f4a7c15u + number * 0xbf58476d1ce4e5b9u;
	double chance, size;
	if (rule->kind == SIZE_FIXED)
		return rule->mean;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u; /* splitmix64's finish */
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	chance = ((double)((z ^ (z >> 31)) >> 11) + 0.5) * 0x1p-53;
	if (rule->kind == SIZE_EVEN)
		return rule->least + (uint32_t)(chance * (double)(rule->most - rule->least + 1));
	size = -log(chance) * rule->mean;
	return size < rule->least ? rule->least : size > rule->most ? rule->most : (uint32_t)size;
}
