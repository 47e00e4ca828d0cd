/* options.c: the command line. One table says of each option its name, what it wants, and where the value goes.
 *
 * Thread: main, before any other runs. Strings in the result are argv's own.
 *
 * Happy path:
 * - defaults, then each option in order (a later one wins), then what --config has and the command line has not, then what concerns several
 *
 * Failure modes: one line on stderr that names the option (and the file), what it wants and what it got; exit status 2. */
#include "server/options_rules.h"

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
			    "  --listen ADDR:PORT        port 0 takes any free one; beyond loopback it\n"
			    "                            wants --credentials; may be repeated, up to 8\n"
			    "                            times [127.0.0.1:4567]\n"
			    "  --tls-cert FILE           certificate chain, PEM; without it one is made in\n"
			    "                            DIR/tls; clients may trust its ca.pem\n"
			    "  --tls-key FILE            its private key, PEM\n"
			    "  --region NAME             the region in ARNs [us-east-1]\n"
			    "  --account ID              the account in ARNs, 12 digits [000000000000]\n"
			    "\n"
			    "Who\n"
			    "  --credentials FILE        verify every signature with the keys of this\n"
			    "                            file, which has the form of ~/.aws/credentials and\n"
			    "                            which only its owner may read: a [profile] has\n"
			    "                            aws_access_key_id, aws_secret_access_key, and as\n"
			    "                            you like aws_session_token and account_id; read\n"
			    "                            anew on SIGHUP\n"
			    "  --metrics-token-file FILE GET /metrics wants the bearer token in this file,\n"
			    "                            which only its owner may read; read anew on\n"
			    "                            SIGHUP [open]\n"
			    "  --insecure-listen yes-without-signatures\n"
			    "                            serve more than loopback without --credentials:\n"
			    "                            who reaches the port may read and write all\n"
			    "  --allow-origin ORIGIN     let web pages of this origin call the server, such\n"
			    "                            as http://localhost:3000; * for all; may be\n"
			    "                            repeated [none; all with --credentials]\n"
			    "  --allow-host NAME         show pages such as /state under this Host too; * for\n"
			    "                            all; may be repeated [loopback's names and\n"
			    "                            addresses; all with --credentials]\n"
			    "\n"
			    "How much\n"
			    "  --limits aws|off          enforce AWS's limits, or none [aws]\n"
			    "  --limit NAME=VALUE        one of them by itself, 0 lifts it; the names stand\n"
			    "                            below; may be repeated\n"
			    "  --workers N               event loops, 1 to 16 [one per core, at most 4]\n"
			    "  --lanes N                 lanes that order and store, 1 to 8 [1]\n"
			    "  --syncers N               threads that write and sync, 1 to 8 [2]\n"
			    "  --readers N               threads that read the log, 1 to 8 [2]\n"
			    "  --free-floor MIB          while the disk has less free no put is taken [128,\n"
			    "                            or 1 % of what is free at the start, if more]\n"
			    "  --max-connections N       at once, over all workers [20000, or what the limit\n"
			    "                            on open files leaves]\n"
			    "  --max-connections-per-address N\n"
			    "                            of them, of one IPv4 address or IPv6 /64; twice as\n"
			    "                            many of a /56, four times of a /48 [2000; loopback\n"
			    "                            is not bounded unless this is given]\n"
			    "\n"
			    "How long\n"
			    "  --transition-ms N         how long CREATING and DELETING last [20]\n"
			    "  --subscription-seconds N  the life of one SubscribeToShard call [300]\n"
			    "  --heartbeat-ms N          between empty events of an idle subscription [5000]\n"
			    "  --idle-seconds N          until a connection without request or subscription\n"
			    "                            is closed [300]\n"
			    "  --clock-grace SECONDS     how long a clock that leapt forward must run on\n"
			    "                            before records and shards expire by it, unless the\n"
			    "                            kernel reports it synchronised; 0: at once [86400]\n"
			    "  --believe-clock           the clock is right at this start: old records\n"
			    "                            expire by it at once\n"
			    "\n"
			    "How badly: off unless asked, and said in the log and /metrics\n"
			    "  --profile aws|none        deliver with AWS's published delays: pushed after\n"
			    "                            about 70 ms, to be read after about 100 [none]\n"
			    "  --fault NAME=SHARE[:TIME] a share (0 to 1) of the calls meets this fault;\n"
			    "                            NAME.OPERATION=... is for one operation; may be\n"
			    "                            repeated:\n"
			    "                              throttle=0.1        refused as over a rate\n"
			    "                              error=0.02          answered 500, nothing done\n"
			    "                              lost-answer=0.01    a put: done, and answered 500\n"
			    "                              reset=0.05          RST_STREAM, or the end of the\n"
			    "                                                  HTTP/1.1 connection\n"
			    "                              delay=0.1:250ms     answered later; 50ms-250ms: at\n"
			    "                                                  random between the two\n"
			    "                              end=10s             subscriptions end at a random\n"
			    "                                                  moment, this in the mean\n"
			    "                            GET /faults shows them, PUT /faults changes them\n"
			    "  --fault-seed N            the same calls meet the same faults; the profile's\n"
			    "                            delays draw from it too [1]\n"
			    "\n"
			    "And\n"
			    "  --config FILE             a JSON object of these options, - or _ alike; the\n"
			    "                            command line wins\n"
			    "  --log-format text|json    key=value pairs, or a JSON object a line [text]\n"
			    "  --log-level LEVEL         error, warn, info or debug [info]\n"
			    "  --print-ready             print `listening ADDR:PORT` on stdout once it\n"
			    "                            serves, a line for each address\n"
			    "  --test-sync-delay-us N    add so much to each sync of the disk: for tests [0]\n"
			    "  --test-retention-ms N     between two looks for what has passed retention: for\n"
			    "                            tests [10000]\n"
			    "  --help                    this\n"
			    "  --version                 the version\n"
			    "\n"
			    "Without --credentials any well-formed signature is accepted; therefore only\n"
			    "loopback addresses are served. With it each request is verified, those of\n"
			    "/state and /faults too; GET /healthz, /metrics (see --metrics-token-file) and\n"
			    "CORS preflights are answered without. A signed request that was overheard\n"
			    "can be sent again for 5 minutes: use TLS where others listen.\n";

/* ---- What values must look like ---- */

static bool is_anything(const char *value) { return value[0] != '\0'; }

static bool is_profile(const char *value) { return strcmp(value, "aws") == 0 || strcmp(value, "none") == 0; }

static bool is_insecure(const char *value) { return strcmp(value, "yes-without-signatures") == 0; }

static bool is_region(const char *value)
{
	size_t n = strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789-");

	return n >= 1 && n <= 32 && value[n] == '\0';
}

/* Decimal digits alone: strtoul would take blanks, signs and an empty string. */
static bool parse_number(const char *value, uint64_t *out)
{
	size_t n = strspn(value, "0123456789");

	if (n == 0 || n > 18 || value[n] != '\0')
		return false;
	*out = strtoull(value, NULL, 10);
	return true;
}

/* Behind a host name or address: nothing, or a port. */
static bool is_port(const char *value)
{
	uint64_t port;

	return value[0] == '\0' || (value[0] == ':' && parse_number(value + 1, &port) && port >= 1 && port <= 65535);
}

/* The length of the name or address that value begins with; 0: there is none. */
static size_t host_length(const char *value)
{
	struct in6_addr v6;
	char address[INET6_ADDRSTRLEN];
	const char *end;

	if (value[0] != '[')
		return strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._");
	end = strchr(value, ']');
	if (!end || end - value > (ptrdiff_t)sizeof(address))
		return 0;
	snprintf(address, sizeof(address), "%.*s", (int)(end - value - 1), value + 1);
	return inet_pton(AF_INET6, address, &v6) == 1 ? (size_t)(end - value + 1) : 0;
}

static bool is_host(const char *value)
{
	size_t n = host_length(value);

	return strcmp(value, "*") == 0 || (n >= 1 && n <= 253 && value[n] == '\0');
}

/* scheme://host[:port]: no path, and no port that the scheme implies, since browsers send neither. */
static bool is_origin(const char *value)
{
	const char *host = strstr(value, "://");
	size_t scheme = host ? (size_t)(host - value) : 0, n;

	if (strcmp(value, "*") == 0 || strcmp(value, "null") == 0)
		return true;
	if (scheme == 0 || strspn(value, "abcdefghijklmnopqrstuvwxyz0123456789+-.") != scheme)
		return false;
	host += 3;
	n = host_length(host);
	if (n == 0 || n > 253 || !is_port(host + n))
		return false;
	return !(scheme == 4 && strncmp(value, "http", 4) == 0 && strcmp(host + n, ":80") == 0) &&
	       !(scheme == 5 && strncmp(value, "https", 5) == 0 && strcmp(host + n, ":443") == 0);
}

static bool is_account(const char *value) { return strlen(value) == 12 && strspn(value, "0123456789") == 12; }

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
#define LIMIT_MOST UINT64_C(1000000000000000) /* what a day of it counts still fits in 63 bits */
#define FIELD(name) offsetof(struct options, name)
#define NUMBER(option, kind, field, least, most)                    \
	{                                                           \
		option, kind, FIELD(field), least, most, NULL, NULL \
	}
#define STRING(option, field, check, wants)                           \
	{                                                             \
		option, TAKE_STRING, FIELD(field), 0, 0, check, wants \
	}

#define LIST(option, field, most, check, wants)                        \
	{                                                              \
		option, TAKE_LIST, FIELD(field), 0, most, check, wants \
	}

static const struct option_rule rules[] = {
	STRING("data-dir", data_dir, is_anything, "a directory"),
	LIST("listen", listen, LISTEN_MOST, is_address, "ADDR:PORT, such as 127.0.0.1:4567 or [::1]:4567"),
	STRING("tls-cert", tls_cert, is_anything, "a PEM file"),
	STRING("tls-key", tls_key, is_anything, "a PEM file"),
	STRING("credentials", credentials, is_anything, "a file"),
	STRING("metrics-token-file", metrics_token_file, is_anything, "a file"),
	STRING("insecure-listen", insecure_listen, is_insecure, "the words yes-without-signatures"),
	LIST("allow-origin", allow_origin, OPTION_LIST_MAX, is_origin,
	     "an origin as browsers send it, such as http://localhost:3000, or null, or *"),
	LIST("allow-host", allow_host, OPTION_LIST_MAX, is_host, "a host name or address without a port, or *"),
	STRING("region", region, is_region, "1 to 32 of a-z, 0-9 and -"),
	STRING("account", account, is_account, "12 digits"),
	{"limits", TAKE_LIMITS, FIELD(limits), 0, 0, NULL, "aws or off"},
	{"limit", TAKE_LIMIT, 0, 0, LIMIT_MOST, NULL, "NAME=VALUE"},
	NUMBER("workers", TAKE_UNSIGNED, workers, 1, 16),
	NUMBER("lanes", TAKE_UNSIGNED, lanes, 1, 8),
	NUMBER("syncers", TAKE_UNSIGNED, syncers, 1, 8),
	NUMBER("readers", TAKE_UNSIGNED, readers, 1, 8),
	NUMBER("free-floor", TAKE_UINT64, free_floor_mib, 1, UINT64_C(1) << 30),
	NUMBER("max-connections", TAKE_UNSIGNED, max_connections, 1, 1000000),
	NUMBER("max-connections-per-address", TAKE_UNSIGNED, connections_per_address, 1, 1000000),
	NUMBER("transition-ms", TAKE_UINT64, transition_ms, 0, HOUR_MS),
	NUMBER("subscription-seconds", TAKE_UINT64, subscription_s, 1, DAY_S),
	NUMBER("heartbeat-ms", TAKE_UINT64, heartbeat_ms, 1, HOUR_MS),
	NUMBER("idle-seconds", TAKE_UINT64, idle_s, 1, DAY_S),
	NUMBER("clock-grace", TAKE_UINT64, clock_grace_s, 0, 366 * DAY_S),
	{"believe-clock", TAKE_FLAG, FIELD(believe_clock), 0, 0, NULL, NULL},
	NUMBER("test-sync-delay-us", TAKE_UINT64, fsync_delay_us, 0, 10000000),
	NUMBER("test-retention-ms", TAKE_UINT64, retention_ms, 1, HOUR_MS),
	STRING("profile", profile, is_profile, "aws or none"),
	{"fault", TAKE_FAULT, FIELD(faults), 0, 0, NULL, "NAME=SHARE, such as throttle=0.1"},
	NUMBER("fault-seed", TAKE_UINT64, faults.seed, 0, UINT64_C(999999999999999999)),
	STRING("config", config, is_anything, "a JSON file"),
	{"log-format", TAKE_FORMAT, FIELD(log_format), 0, 0, NULL, "text or json"},
	{"log-level", TAKE_LEVEL, FIELD(log_level), 0, 0, NULL, "error, warn, info or debug"},
	{"print-ready", TAKE_FLAG, FIELD(print_ready), 0, 0, NULL, NULL},
	{"help", SHOW_HELP, 0, 0, 0, NULL, NULL},
	{"version", SHOW_VERSION, 0, 0, 0, NULL, NULL},
};
#define RULES (sizeof(rules) / sizeof(rules[0]))
_Static_assert(RULES <= OPTIONS_MAX, "option_reader has a place for each");

const struct option_rule *option_rules(size_t *n)
{
	*n = RULES;
	return rules;
}

static bool takes_value(const struct option_rule *rule)
{
	return rule->kind != TAKE_FLAG && rule->kind != SHOW_HELP && rule->kind != SHOW_VERSION;
}

/* ---- Taking them ---- */

/* "--workers", or "FILE: workers" */
static void say_where(const struct option_reader *reader, const struct option_rule *rule)
{
	fprintf(stderr, "penstock: %s%s%s", reader->file ? reader->file : "", reader->file ? ": " : "--", rule->name);
}

static int refuse(const struct option_reader *reader, const struct option_rule *rule, const char *value)
{
	say_where(reader, rule);
	if (rule->wants)
		fprintf(stderr, " wants %s, not \"%s\"\n", rule->wants, value);
	else
		fprintf(stderr, " wants %llu to %llu, not \"%s\"\n", (unsigned long long)rule->least, (unsigned long long)rule->most,
			value);
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

/* One of n names, by its number. */
static bool take_name(const char *value, const char *const *names, unsigned n, unsigned *out)
{
	for (*out = 0; *out < n; ++*out)
		if (strcmp(value, names[*out]) == 0)
			return true;
	return false;
}

static bool take_level(const char *value, enum slog_level *field)
{
	static const char *const names[] = {"error", "warn", "info", "debug"};
	unsigned which;
	bool ok = take_name(value, names, 4, &which);

	*field = (enum slog_level)which;
	return ok;
}

static bool take_format(const char *value, enum slog_format *field)
{
	static const char *const names[] = {"text", "json"};
	unsigned which;
	bool ok = take_name(value, names, 2, &which);

	*field = (enum slog_format)which;
	return ok;
}

/* NAME=VALUE; 0 or 2. */
static int take_limit(struct option_reader *reader, const struct option_rule *rule, const char *value)
{
	enum option_source source = reader->file ? FROM_FILE : FROM_COMMAND_LINE;
	const char *equals = strchr(value, '=');
	uint64_t number;
	enum limit limit;

	if (!equals)
		return refuse(reader, rule, value);
	limit = limit_find(value, (size_t)(equals - value));
	if (limit == LIMIT_COUNT) {
		say_where(reader, rule);
		fprintf(stderr, " knows no \"%.*s\"; --help lists the names\n", (int)(equals - value), value);
		return 2;
	}
	if (!parse_number(equals + 1, &number) || number > LIMIT_MOST) {
		say_where(reader, rule);
		fprintf(stderr, " %s wants 0 to %llu, not \"%s\"\n", limit_name(limit), (unsigned long long)LIMIT_MOST, equals + 1);
		return 2;
	}
	if (reader->file && reader->limit_from[limit] == FROM_COMMAND_LINE)
		return 0;
	limit_set(&reader->limits, limit, (int64_t)number);
	reader->limit_from[limit] = source;
	return 0;
}

/* The first of a source that wins takes the place of what was there: of the defaults, or of the file's. 0 or 2. */
static int take_item(const struct option_reader *reader, const struct option_rule *rule, const char *value, bool first,
		     struct option_list *field)
{
	if (!rule->check(value))
		return refuse(reader, rule, value);
	if (first)
		field->n = 0;
	if (field->n == rule->most) {
		say_where(reader, rule);
		fprintf(stderr, " may be given %u times, and \"%s\" is one more\n", field->n, value);
		return 2;
	}
	field->items[field->n++] = value;
	return 0;
}

static int take_fault(const struct option_reader *reader, const struct option_rule *rule, const char *value, struct fault_rules *field)
{
	const char *equals = strchr(value, '='), *wrong;

	if (!equals)
		return refuse(reader, rule, value);
	wrong = fault_rules_take(field, value, (size_t)(equals - value), equals + 1);
	if (!wrong)
		return 0;
	say_where(reader, rule);
	fprintf(stderr, ": \"%.*s\" %s, not \"%s\"\n", (int)(equals - value), value, wrong, equals + 1);
	return 2;
}

static void show_help(void)
{
	static const struct limits aws = LIMITS_AWS;

	fputs(usage, stdout);
	fputs("\nThe limits, as AWS has them; those on calls and bytes are per second\n", stdout);
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		printf("  %-26s %8lld  %s\n", limit_name((enum limit)i), (long long)limit_get(&aws, (enum limit)i),
		       limit_what((enum limit)i));
}

int option_take(struct option_reader *reader, const struct option_rule *rule, const char *value)
{
	struct options beaten = {0}; /* what the command line has said already is looked at, and falls away */
	enum option_source *from = &reader->from[rule - rules], source = reader->file ? FROM_FILE : FROM_COMMAND_LINE;
	bool wins = !reader->file || *from != FROM_COMMAND_LINE;
	void *field = (char *)(wins ? reader->out : &beaten) + rule->at;
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
	case TAKE_LIMIT:
		return take_limit(reader, rule, value);
	case TAKE_LIST:
		if (take_item(reader, rule, value, *from != source, field))
			return 2;
		break;
	case TAKE_FAULT:
		if (take_fault(reader, rule, value, field))
			return 2;
		break;
	case TAKE_LEVEL:
		ok = take_level(value, field);
		break;
	case TAKE_FORMAT:
		ok = take_format(value, field);
		break;
	case TAKE_FLAG:
		*(bool *)field = true;
		break;
	case SHOW_HELP:
		show_help();
		return 1;
	case SHOW_VERSION:
		puts("penstock " PENSTOCK_VERSION);
		return 1;
	}
	if (wins)
		*from = source;
	return ok ? 0 : refuse(reader, rule, value);
}

static int check_listen(const struct options *options)
{
	for (unsigned i = 0; i < options->listen.n; i++) {
		const char *listen = options->listen.items[i];

		if (is_loopback(listen) || options->credentials || options->insecure_listen)
			continue;
		fprintf(stderr,
			"penstock: --listen %s is no loopback address: without --credentials anybody who reaches the port could read and "
			"write everything; give --credentials FILE, or use 127.0.0.1 or [::1]\n",
			listen);
		return 2;
	}
	return 0;
}

/* What concerns more than one option, or is well-formed and still not served. */
static int check_all(const struct options *options)
{
	if (check_listen(options))
		return 2;
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
		.listen = {.items = {"127.0.0.1:4567"}, .n = 1},
		.region = "us-east-1",
		.account = "000000000000",
		.workers = default_workers(),
		.lanes = 1,
		.syncers = 2,
		.readers = 2,
		.limits = LIMITS_AWS,
		.transition_ms = 20,
		.subscription_s = 300,
		.clock_grace_s = DAY_S,
		.retention_ms = 10000,
		.heartbeat_ms = 5000,
		.profile = "none",
		.faults = {.seed = 1},
		.idle_s = 300,
		.log_level = SLOG_INFO,
	};
}

/* --limits is the ground, whatever the order; what --limit said stands on it. */
static void set_limits(const struct option_reader *reader)
{
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		if (reader->limit_from[i] != FROM_DEFAULTS)
			limit_set(&reader->out->limits, (enum limit)i, limit_get(&reader->limits, (enum limit)i));
}

static int read_command_line(struct option_reader *reader, int argc, char **argv)
{
	struct option table[RULES + 1] = {0};
	int at, which, code;

	for (size_t i = 0; i < RULES; i++)
		table[i] = (struct option){rules[i].name, takes_value(&rules[i]) ? required_argument : no_argument, NULL, (int)i};
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
		code = option_take(reader, &rules[which], optarg);
		if (code)
			return code;
	}
	if (optind < argc) {
		fprintf(stderr, "penstock: what is \"%s\"? Everything is an option; --help lists them\n", argv[optind]);
		return 2;
	}
	return 0;
}

int options_parse(int argc, char **argv, struct options *out)
{
	struct option_reader reader = {.out = out};
	int code;

	*out = defaults();
	code = read_command_line(&reader, argc, argv);
	if (!code && out->config)
		code = options_read_file(&reader, out->config);
	if (code)
		return code;
	set_limits(&reader);
	return check_all(out);
}
