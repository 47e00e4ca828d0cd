/* options.c: the command line. One table says of each option its name, what it wants, and where the value goes.
 *
 * Thread: main, before any other runs. Strings in the result are argv's own.
 *
 * Happy path:
 * - defaults, then each option in order (a later one wins), then what concerns several of them
 *
 * Failure modes: one line on stderr that names the option, what it wants and what it got; exit status 2. */
#include "server/options.h"

#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "Usage: penstock [OPTION]...\n"
			    "\n"
			    "An enhanced fan-out push server that speaks the Amazon Kinesis Data Streams API:\n"
			    "it keeps records in a durable log, and pushes them to registered consumers the\n"
			    "moment they are durable. HTTP/1.1, HTTP/2 and TLS are served on one port.\n"
			    "\n"
			    "Where\n"
			    "  --data-dir DIR            where all is kept; made if missing [penstock-data]\n"
			    "  --listen ADDR:PORT        loopback; port 0 takes any free one [127.0.0.1:4567]\n"
			    "  --tls-cert FILE           certificate chain, PEM; without it one is made in\n"
			    "                            DIR/tls; clients may trust its ca.pem\n"
			    "  --tls-key FILE            its private key, PEM\n"
			    "  --region NAME             the region in ARNs [us-east-1]\n"
			    "  --account ID              the account in ARNs, 12 digits [000000000000]\n"
			    "\n"
			    "How much\n"
			    "  --limits aws|off          enforce AWS's limits, or none [aws]\n"
			    "  --workers N               event loops, 1 to 16 [one per core, at most 4]\n"
			    "  --lanes N                 lanes that order and store, 1 to 8 [1]\n"
			    "  --syncers N               threads that write and sync, 1 to 8 [2]\n"
			    "  --readers N               threads that read the log, 1 to 8 [2]\n"
			    "  --max-connections N       at once, over all workers [20000]\n"
			    "\n"
			    "How long\n"
			    "  --transition-ms N         how long CREATING and DELETING last [20]\n"
			    "  --subscription-seconds N  the life of one SubscribeToShard call [300]\n"
			    "  --heartbeat-ms N          between empty events of an idle subscription [5000]\n"
			    "  --idle-seconds N          until a connection without request or subscription\n"
			    "                            is closed [300]\n"
			    "\n"
			    "And\n"
			    "  --log-level LEVEL         error, warn, info or debug [info]\n"
			    "  --print-ready             print `listening ADDR:PORT` on stdout once it serves\n"
			    "  --test-sync-delay-us N    add so much to each sync of the disk: for tests [0]\n"
			    "  --help                    this\n"
			    "  --version                 the version\n"
			    "\n"
			    "Signatures are not verified yet: any well-formed one is accepted. Therefore only\n"
			    "loopback addresses are served.\n";

enum option_kind { TAKE_STRING, TAKE_UNSIGNED, TAKE_UINT64, TAKE_FLAG, TAKE_LIMITS, TAKE_LEVEL, SHOW_HELP, SHOW_VERSION };

struct option_rule {
	const char *name;
	enum option_kind kind;
	size_t at;            /* of the field in struct options */
	uint64_t least, most; /* numbers */
	/* strings: is it well-formed? `wants` says what it should be */
	bool (*check)(const char *value);
	const char *wants;
};

/* ---- What values must look like ---- */

static bool is_anything(const char *value) { return value[0] != '\0'; }

static bool is_region(const char *value)
{
	size_t n = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n >= 1 && n <= 32 && value[n] == '\0';
}

static bool is_account(const char *value) { return strlen(value) == 12 && strspn(value, "0123456789") == 12; }

/* Decimal digits alone: strtoul would take blanks, signs and an empty string. */
static bool parse_number(const char *value, uint64_t *out)
{
	size_t n = strspn(value, "0123456789");

	if (n == 0 || n > 18 || value[n] != '\0')
		return false;
	*out = strtoull(value, NULL, 10);
	return true;
}

static bool is_address(const char *value)
{
	struct sockaddr_storage address;
	socklen_t len;

	return options_address(value, &address, &len);
}

bool options_address(const char *listen, struct sockaddr_storage *out, socklen_t *len)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
	const char *colon = strrchr(listen, ':');
	char host[INET6_ADDRSTRLEN + 2];
	uint64_t port;
	size_t n;

	if (!colon || !parse_number(colon + 1, &port) || port > 65535)
		return false;
	n = (size_t)(colon - listen);
	if (n == 0 || n >= sizeof(host))
		return false;
	memcpy(host, listen, n);
	host[n] = '\0';
	memset(out, 0, sizeof(*out));
	if (host[0] == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)port);
		*len = sizeof(*v6);
		return inet_pton(AF_INET6, host + 1, &v6->sin6_addr) == 1;
	}
	v4->sin_family = AF_INET;
	v4->sin_port = htons((uint16_t)port);
	*len = sizeof(*v4);
	return inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host, &v4->sin_addr) == 1;
}

static bool is_loopback(const char *listen)
{
	struct sockaddr_storage address;
	socklen_t len;

	if (!options_address(listen, &address, &len))
		return false;
	if (address.ss_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(&((struct sockaddr_in6 *)&address)->sin6_addr);
	return ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr) >> 24 == 127;
}

/* ---- The table ---- */

#define HOUR_MS UINT64_C(3600000)
#define DAY_S UINT64_C(86400)
#define FIELD(name) offsetof(struct options, name)
#define NUMBER(option, kind, field, least, most)                    \
	{                                                           \
		option, kind, FIELD(field), least, most, NULL, NULL \
	}
#define STRING(option, field, check, wants)                           \
	{                                                             \
		option, TAKE_STRING, FIELD(field), 0, 0, check, wants \
	}

static const struct option_rule rules[] = {
	STRING("data-dir", data_dir, is_anything, "a directory"),
	STRING("listen", listen, is_address, "ADDR:PORT, such as 127.0.0.1:4567 or [::1]:4567"),
	STRING("tls-cert", tls_cert, is_anything, "a PEM file"),
	STRING("tls-key", tls_key, is_anything, "a PEM file"),
	STRING("region", region, is_region, "1 to 32 of a-z, 0-9 and -"),
	STRING("account", account, is_account, "12 digits"),
	{"limits", TAKE_LIMITS, FIELD(limits), 0, 0, NULL, "aws or off"},
	NUMBER("workers", TAKE_UNSIGNED, workers, 1, 16),
	NUMBER("lanes", TAKE_UNSIGNED, lanes, 1, 8),
	NUMBER("syncers", TAKE_UNSIGNED, syncers, 1, 8),
	NUMBER("readers", TAKE_UNSIGNED, readers, 1, 8),
	NUMBER("max-connections", TAKE_UNSIGNED, max_connections, 1, 1000000),
	NUMBER("transition-ms", TAKE_UINT64, transition_ms, 0, HOUR_MS),
	NUMBER("subscription-seconds", TAKE_UINT64, subscription_s, 1, DAY_S),
	NUMBER("heartbeat-ms", TAKE_UINT64, heartbeat_ms, 1, HOUR_MS),
	NUMBER("idle-seconds", TAKE_UINT64, idle_s, 1, DAY_S),
	NUMBER("test-sync-delay-us", TAKE_UINT64, fsync_delay_us, 0, 10000000),
	{"log-level", TAKE_LEVEL, FIELD(log_level), 0, 0, NULL, "error, warn, info or debug"},
	{"print-ready", TAKE_FLAG, FIELD(print_ready), 0, 0, NULL, NULL},
	{"help", SHOW_HELP, 0, 0, 0, NULL, NULL},
	{"version", SHOW_VERSION, 0, 0, 0, NULL, NULL},
};
#define RULES (sizeof(rules) / sizeof(rules[0]))

static bool takes_value(const struct option_rule *rule)
{
	return rule->kind != TAKE_FLAG && rule->kind != SHOW_HELP && rule->kind != SHOW_VERSION;
}

/* ---- Taking them ---- */

static int refuse(const struct option_rule *rule, const char *value)
{
	if (rule->wants)
		fprintf(stderr, "penstock: --%s wants %s, not \"%s\"\n", rule->name, rule->wants, value);
	else
		fprintf(stderr, "penstock: --%s wants %llu to %llu, not \"%s\"\n", rule->name, (unsigned long long)rule->least,
			(unsigned long long)rule->most, value);
	return 2;
}

static bool take_number(const struct option_rule *rule, const char *value, void *field)
{
	uint64_t number;

	if (!parse_number(value, &number) || number < rule->least || number > rule->most)
		return false;
	if (rule->kind == TAKE_UNSIGNED)
		*(unsigned *)field = (unsigned)number;
	else
		*(uint64_t *)field = number;
	return true;
}

static bool take_limits(const char *value, struct limits *field)
{
	if (strcmp(value, "aws") == 0)
		*field = (struct limits)LIMITS_AWS;
	else if (strcmp(value, "off") == 0)
		*field = (struct limits)LIMITS_OFF;
	else
		return false;
	return true;
}

static bool take_level(const char *value, enum slog_level *field)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};

	for (unsigned i = 0; i < 4; i++)
		if (strcmp(value, names[i]) == 0) {
			*field = (enum slog_level)i;
			return true;
		}
	return false;
}

/* 0, 1 or 2, as options_parse. */
static int take(const struct option_rule *rule, const char *value, struct options *out)
{
	void *field = (char *)out + rule->at;
	bool ok = true;

	switch (rule->kind) {
	case TAKE_STRING:
		ok = rule->check(value);
		*(const char **)field = value;
		break;
	case TAKE_UNSIGNED:
	case TAKE_UINT64:
		ok = take_number(rule, value, field);
		break;
	case TAKE_LIMITS:
		ok = take_limits(value, field);
		break;
	case TAKE_LEVEL:
		ok = take_level(value, field);
		break;
	case TAKE_FLAG:
		*(bool *)field = true;
		break;
	case SHOW_HELP:
		fputs(usage, stdout);
		return 1;
	case SHOW_VERSION:
		puts("penstock " PENSTOCK_VERSION);
		return 1;
	}
	return ok ? 0 : refuse(rule, value);
}

/* What concerns more than one option, or is well-formed and still not served. */
static int check_all(const struct options *options)
{
	if (!is_loopback(options->listen)) {
		fprintf(stderr,
			"penstock: --listen %s is no loopback address: signatures are not verified yet, so that anybody who reaches the "
			"port could read and write everything; use 127.0.0.1 or [::1]\n",
			options->listen);
		return 2;
	}
	if (!options->tls_cert != !options->tls_key) {
		fprintf(stderr, "penstock: --tls-cert and --tls-key belong together: give both, or neither\n");
		return 2;
	}
	return 0;
}

static unsigned default_workers(void)
{
	cpu_set_t cpus;
	int n = sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : 1;

	/* Beyond four loops one lane is what bounds a server; more have to be asked for. */
	return n < 1 ? 1 : n > 4 ? 4 : (unsigned)n;
}

static struct options defaults(void)
{
	return (struct options){
		.data_dir = "penstock-data",
		.listen = "127.0.0.1:4567",
		.region = "us-east-1",
		.account = "000000000000",
		.workers = default_workers(),
		.lanes = 1,
		.syncers = 2,
		.readers = 2,
		.limits = LIMITS_AWS,
		.transition_ms = 20,
		.subscription_s = 300,
		.heartbeat_ms = 5000,
		.max_connections = 20000,
		.idle_s = 300,
		.log_level = SLOG_INFO,
	};
}

int options_parse(int argc, char **argv, struct options *out)
{
	struct option table[RULES + 1] = {0};
	int at, which, code;

	for (size_t i = 0; i < RULES; i++)
		table[i] = (struct option){rules[i].name, takes_value(&rules[i]) ? required_argument : no_argument, NULL, (int)i};
	*out = defaults();
	opterr = 0;
	optind = 0; /* begin anew: tests call this more than once */
	/* '+': no permutation, so that argv[at] is what is looked at; ':': the messages are ours. */
	while (at = optind ? optind : 1, (which = getopt_long(argc, argv, "+:", table, NULL)) != -1) {
		if (which == '?' || which == ':') {
			fprintf(stderr,
				which == ':' ? "penstock: %s wants a value; --help says which\n"
					     : "penstock: %s is no option, or one without a value; --help lists them\n",
				argv[at]);
			return 2;
		}
		code = take(&rules[which], optarg, out);
		if (code)
			return code;
	}
	if (optind < argc) {
		fprintf(stderr, "penstock: what is \"%s\"? Everything is an option; --help lists them\n", argv[optind]);
		return 2;
	}
	return check_all(out);
}
