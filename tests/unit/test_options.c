/* test_options.c: the command line: defaults, every option, and what is said of a bad one. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <netinet/in.h>
#include <stdio.h>

#include "server/options.h"

static struct options options;

static int parse(const char *first, ...)
{
	char *argv[32] = {"penstock"};
	int argc = 1;
	va_list args;

	va_start(args, first);
	for (const char *arg = first; arg; arg = va_arg(args, const char *))
		argv[argc++] = (char *)arg;
	va_end(args);
	return options_parse(argc, argv, &options);
}

static void redirect(void)
{
	cr_redirect_stdout();
	cr_redirect_stderr();
}

#define TEST(name) Test(options, name, .init = redirect)

TEST(has_defaults)
{
	cr_assert_eq(parse(NULL), 0);
	cr_assert_str_eq(options.data_dir, "penstock-data");
	cr_assert_str_eq(options.listen.items[0], "127.0.0.1:4567");
	cr_assert_str_eq(options.region, "us-east-1");
	cr_assert_str_eq(options.account, "000000000000");
	cr_assert_null(options.tls_cert);
	cr_assert(options.workers >= 1 && options.workers <= 4);
	cr_assert_eq(options.lanes, 1);
	cr_assert_eq(options.syncers, 2);
	cr_assert_eq(options.readers, 2);
	cr_assert_eq(options.limits.write_records, 1000);
	cr_assert_eq(options.transition_ms, 20);
	cr_assert_eq(options.subscription_s, 300);
	cr_assert_eq(options.heartbeat_ms, 5000);
	cr_assert_eq(options.fsync_delay_us, 0);
	cr_assert_eq(options.free_floor_mib, 0);
	cr_assert_eq(options.max_connections, 0);
	cr_assert_eq(options.idle_s, 300);
	cr_assert_eq(options.clock_grace_s, 86400);
	cr_assert_not(options.believe_clock);
	cr_assert_eq(options.log_level, SLOG_INFO);
	cr_assert(!options.print_ready);
	cr_assert_str_eq(options.profile, "none");
	cr_assert(!fault_rules_any(&options.faults) && options.faults.seed == 1);
}

TEST(takes_faults_and_a_profile)
{
	cr_assert_eq(parse("--fault", "throttle=0.1", "--profile=aws", "--fault-seed", "7", "--fault", "delay.PutRecord=0.5:250ms", NULL),
		     0);
	cr_assert_str_eq(options.profile, "aws");
	cr_assert_eq(options.faults.seed, 7);
	cr_assert_eq(fault_rules_of(&options.faults, FAULT_THROTTLE, OP_GET_RECORDS)->share, 0.1);
	cr_assert_eq(fault_rules_of(&options.faults, FAULT_DELAY, OP_PUT_RECORD)->low_ns, 250000000);
	cr_assert_null(fault_rules_of(&options.faults, FAULT_DELAY, OP_PUT_RECORDS));
}

TEST(takes_origins_and_hosts)
{
	const char *origins[] = {"http://localhost:3000", "https://a.example", "null", "*", "http://[::1]:8080", "chrome-extension://abc"};
	const char *hosts[] = {"kinesis", "a.example", "10.0.0.1", "[2001:db8::1]", "*"};
	const char *no_origins[] = {
		"",           "localhost",         "http://",    "http://a/",    "http://a/b", "http://a:80",   "https://a:443",
		"http://a:b", "http://[::1]:443x", "Http://a b", "http://[::g]", "://a",       "http://a:65536"};
	const char *no_hosts[] = {"", "a:4567", "http://a", "a b", "[::1", "[a]", "::1"};
	for (size_t i = 0; i < sizeof(origins) / sizeof(origins[0]); i++)
		cr_expect_eq(parse("--allow-origin", origins[i], NULL), 0, "%s", origins[i]);
	for (size_t i = 0; i < sizeof(no_origins) / sizeof(no_origins[0]); i++)
		cr_expect_eq(parse("--allow-origin", no_origins[i], NULL), 2, "%s", no_origins[i]);
	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		cr_expect_eq(parse("--allow-host", hosts[i], NULL), 0, "%s", hosts[i]);
	for (size_t i = 0; i < sizeof(no_hosts) / sizeof(no_hosts[0]); i++)
		cr_expect_eq(parse("--allow-host", no_hosts[i], NULL), 2, "%s", no_hosts[i]);
	cr_assert_eq(parse("--allow-origin=http://a", "--allow-host", "a", "--allow-origin", "http://b", NULL), 0);
	cr_assert_eq(options.allow_origin.n, 2);
	cr_assert_str_eq(options.allow_origin.items[1], "http://b");
	cr_assert_eq(options.allow_host.n, 1);
}

TEST(takes_every_option)
{
	cr_assert_eq(parse("--data-dir", "d", "--listen=[::1]:0", "--region", "eu-west-1", "--account", "123456789012", "--tls-cert", "c",
			   "--tls-key", "k", "--workers", "16", "--lanes=8", "--syncers=1", "--readers=8", NULL),
		     0);
	cr_assert_str_eq(options.data_dir, "d");
	cr_assert_str_eq(options.listen.items[0], "[::1]:0");
	cr_assert_str_eq(options.region, "eu-west-1");
	cr_assert_str_eq(options.account, "123456789012");
	cr_assert_str_eq(options.tls_cert, "c");
	cr_assert_str_eq(options.tls_key, "k");
	cr_assert_eq(options.workers, 16);
	cr_assert_eq(options.lanes, 8);
	cr_assert_eq(options.syncers, 1);
	cr_assert_eq(options.readers, 8);
	cr_assert_eq(parse("--limits", "off", "--transition-ms", "0", "--subscription-seconds", "3", "--heartbeat-ms", "100",
			   "--test-sync-delay-us", "5000", "--free-floor", "64", "--max-connections", "7", "--idle-seconds", "9",
			   "--clock-grace", "0", "--believe-clock", "--test-retention-ms", "50", "--log-level", "debug", "--print-ready",
			   NULL),
		     0);
	cr_assert_eq(options.limits.write_records, 0);
	cr_assert_eq(options.limits.shards, 0);
	cr_assert_eq(options.transition_ms, 0);
	cr_assert_eq(options.subscription_s, 3);
	cr_assert_eq(options.heartbeat_ms, 100);
	cr_assert_eq(options.fsync_delay_us, 5000);
	cr_assert_eq(options.free_floor_mib, 64);
	cr_assert_eq(options.max_connections, 7);
	cr_assert_eq(options.idle_s, 9);
	cr_assert_eq(options.clock_grace_s, 0);
	cr_assert_eq(options.retention_ms, 50);
	cr_assert(options.believe_clock);
	cr_assert_eq(options.log_level, SLOG_DEBUG);
	cr_assert(options.print_ready);
}

TEST(listens_on_several_addresses)
{
	cr_assert_eq(parse("--listen", "127.0.0.1:1", "--listen=[::1]:2", NULL), 0);
	cr_assert_eq(options.listen.n, 2);
	cr_assert_str_eq(options.listen.items[0], "127.0.0.1:1");
	cr_assert_str_eq(options.listen.items[1], "[::1]:2");
	cr_assert_eq(parse("--listen", "127.0.0.1:1", "--listen", "0.0.0.0:2", NULL), 2, "each must be loopback");
	cr_assert_eq(parse("--listen", "0.0.0.0:2", "--listen", "127.0.0.1:1", NULL), 2, "whatever the order");
	cr_assert_eq(parse("--listen", "0.0.0.0:2", "--listen", "127.0.0.1:1", "--insecure-listen", "yes-without-signatures", NULL), 0);
	cr_assert_eq(parse("--listen", "127.0.0.1:1", "--listen", "here", NULL), 2);
	cr_assert_eq(parse("--listen=[::1]:1", "--listen=[::1]:2", "--listen=[::1]:3", "--listen=[::1]:4", "--listen=[::1]:5",
			   "--listen=[::1]:6", "--listen=[::1]:7", "--listen=[::1]:8", NULL),
		     0);
	cr_assert_eq(options.listen.n, LISTEN_MOST);
	cr_assert_eq(parse("--listen=[::1]:1", "--listen=[::1]:2", "--listen=[::1]:3", "--listen=[::1]:4", "--listen=[::1]:5",
			   "--listen=[::1]:6", "--listen=[::1]:7", "--listen=[::1]:8", "--listen=[::1]:9", NULL),
		     2);
}

TEST(a_limit_by_itself)
{
	cr_assert_eq(parse("--limit", "consumers=2", "--limit", "read-bytes=0", "--limit", "shards=9", "--limit", "shards=7", NULL), 0);
	cr_assert_eq(options.limits.consumers, 2);
	cr_assert_eq(options.limits.read_bytes, 0);
	cr_assert_eq(options.limits.shards, 7);
	cr_assert_eq(options.limits.write_records, 1000);
	cr_assert_eq(parse("--limit", "consumers=2", "--limits", "off", NULL), 0, "--limits is the ground, also when it comes later");
	cr_assert_eq(options.limits.consumers, 2);
	cr_assert_eq(options.limits.write_records, 0);
}

TEST(the_format_of_the_log)
{
	cr_assert_eq(parse("--log-format", "json", NULL), 0);
	cr_assert_eq(options.log_format, SLOG_JSON);
	cr_assert_eq(parse("--log-format", "text", NULL), 0);
	cr_assert_eq(options.log_format, SLOG_TEXT);
}

TEST(the_last_one_wins)
{
	cr_assert_eq(parse("--limits", "off", "--limits", "aws", "--lanes", "2", "--lanes", "3", NULL), 0);
	cr_assert_eq(options.limits.consumers, 20);
	cr_assert_eq(options.lanes, 3);
}

#define REFUSES(name, text, ...)                           \
	TEST(name)                                         \
	{                                                  \
		cr_assert_eq(parse(__VA_ARGS__, NULL), 2); \
		fflush(stderr);                            \
		cr_assert_stderr_eq_str(text);             \
	}

REFUSES(zero_workers, "penstock: --workers wants 1 to 16, not \"0\"\n", "--workers", "0")
REFUSES(no_free_floor, "penstock: --free-floor wants 1 to 1073741824, not \"0\"\n", "--free-floor", "0")
REFUSES(too_many_workers, "penstock: --workers wants 1 to 16, not \"17\"\n", "--workers", "17")
REFUSES(a_negative_number, "penstock: --lanes wants 1 to 8, not \"-1\"\n", "--lanes", "-1")
REFUSES(a_number_with_a_unit, "penstock: --heartbeat-ms wants 1 to 3600000, not \"5s\"\n", "--heartbeat-ms", "5s")
REFUSES(an_empty_number, "penstock: --readers wants 1 to 8, not \"\"\n", "--readers", "")
REFUSES(a_number_beyond_64_bits, "penstock: --syncers wants 1 to 8, not \"18446744073709551617\"\n", "--syncers", "18446744073709551617")
REFUSES(unknown_limits, "penstock: --limits wants aws or off, not \"on\"\n", "--limits", "on")
REFUSES(a_limit_without_value, "penstock: --limit wants NAME=VALUE, not \"shards\"\n", "--limit", "shards")
REFUSES(an_unknown_limit, "penstock: --limit knows no \"shard\"; --help lists the names\n", "--limit", "shard=1")
REFUSES(a_negative_limit, "penstock: --limit shards wants 0 to 1000000000000000, not \"-1\"\n", "--limit", "shards=-1")
REFUSES(an_empty_limit, "penstock: --limit shards wants 0 to 1000000000000000, not \"\"\n", "--limit", "shards=")
REFUSES(a_limit_with_a_unit, "penstock: --limit read_bytes wants 0 to 1000000000000000, not \"2M\"\n", "--limit", "read_bytes=2M")
REFUSES(an_unknown_profile, "penstock: --profile wants aws or none, not \"azure\"\n", "--profile", "azure")
REFUSES(a_fault_without_share, "penstock: --fault wants NAME=SHARE, such as throttle=0.1, not \"throttle\"\n", "--fault", "throttle")
REFUSES(a_fault_beyond_all, "penstock: --fault: \"error\" wants a share from 0 to 1, such as 0.1, not \"1.5\"\n", "--fault", "error=1.5")
REFUSES(an_unknown_format, "penstock: --log-format wants text or json, not \"xml\"\n", "--log-format", "xml")
REFUSES(an_unknown_level, "penstock: --log-level wants error, warn, info or debug, not \"loud\"\n", "--log-level", "loud")
REFUSES(a_short_account, "penstock: --account wants 12 digits, not \"123\"\n", "--account", "123")
REFUSES(a_shouting_region, "penstock: --region wants 1 to 32 of a-z, 0-9 and -, not \"US\"\n", "--region", "US")
REFUSES(an_address_without_port, "penstock: --listen wants ADDR:PORT, such as 127.0.0.1:4567 or [::1]:4567, not \"127.0.0.1\"\n",
	"--listen", "127.0.0.1")
REFUSES(a_port_beyond_65535, "penstock: --listen wants ADDR:PORT, such as 127.0.0.1:4567 or [::1]:4567, not \"127.0.0.1:65536\"\n",
	"--listen", "127.0.0.1:65536")
REFUSES(an_unknown_option, "penstock: --wokers is no option, or one without a value; --help lists them\n", "--wokers", "1")
REFUSES(an_unknown_letter, "penstock: -x is no option, or one without a value; --help lists them\n", "-x")
REFUSES(a_value_for_a_flag, "penstock: --print-ready=1 is no option, or one without a value; --help lists them\n", "--print-ready=1")
REFUSES(a_missing_value, "penstock: --data-dir wants a value; --help says which\n", "--print-ready", "--data-dir")
REFUSES(an_argument, "penstock: what is \"serve\"? Everything is an option; --help lists them\n", "serve")
REFUSES(half_a_certificate, "penstock: --tls-cert and --tls-key belong together: give both, or neither\n", "--tls-cert", "c")
REFUSES(other_addresses,
	"penstock: --listen 0.0.0.0:4567 is no loopback address: without --credentials anybody who reaches the port could read and write "
	"everything; give --credentials FILE, or use 127.0.0.1 or [::1]\n",
	"--listen", "0.0.0.0:4567")
REFUSES(other_addresses_v6,
	"penstock: --listen [::]:1 is no loopback address: without --credentials anybody who reaches the port could read and write "
	"everything; give --credentials FILE, or use 127.0.0.1 or [::1]\n",
	"--listen", "[::]:1")
REFUSES(insecurity_in_other_words, "penstock: --insecure-listen wants the words yes-without-signatures, not \"yes\"\n", "--listen",
	"0.0.0.0:1", "--insecure-listen", "yes")

TEST(other_addresses_with_credentials_or_in_words)
{
	cr_assert_eq(parse("--listen", "0.0.0.0:0", "--credentials", "keys", NULL), 0);
	cr_assert_str_eq(options.credentials, "keys");
	cr_assert_eq(parse("--insecure-listen", "yes-without-signatures", "--listen", "[::]:0", NULL), 0);
	cr_assert_null(options.credentials);
}

TEST(help_names_every_option)
{
	static const char *const names[] = {"data-dir",
					    "listen",
					    "region",
					    "account",
					    "tls-cert",
					    "tls-key",
					    "credentials",
					    "insecure-listen",
					    "workers",
					    "lanes",
					    "syncers",
					    "readers",
					    "free-floor",
					    "limits",
					    "limit",
					    "profile",
					    "fault",
					    "fault-seed",
					    "config",
					    "log-format",
					    "transition-ms",
					    "subscription-seconds",
					    "heartbeat-ms",
					    "test-sync-delay-us",
					    "test-retention-ms",
					    "max-connections",
					    "idle-seconds",
					    "clock-grace",
					    "believe-clock",
					    "log-level",
					    "print-ready",
					    "help",
					    "version"};
	char text[8192];
	FILE *out;
	size_t n;

	cr_assert_eq(parse("--help", NULL), 1);
	fflush(stdout);
	out = cr_get_redirected_stdout();
	n = fread(text, 1, sizeof(text) - 1, out);
	text[n] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char option[32];

		snprintf(option, sizeof(option), "\n  --%s ", names[i]);
		cr_assert_not_null(strstr(text, option), "%s", option);
	}
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		cr_assert_not_null(strstr(text, limit_name((enum limit)i)));
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
		cr_assert_leq(strlen(line), 80, "%s", line);
}

TEST(version)
{
	cr_assert_eq(parse("--version", NULL), 1);
	fflush(stdout);
	cr_assert_stdout_eq_str("penstock " PENSTOCK_VERSION "\n");
}

Test(options_address, reads_both_families)
{
	struct sockaddr_storage address;
	socklen_t len;

	cr_assert(options_address("localhost:80", &address, &len));
	cr_assert_eq(address.ss_family, AF_INET);
	cr_assert_eq(ntohs(((struct sockaddr_in *)&address)->sin_port), 80);
	cr_assert_eq(ntohl(((struct sockaddr_in *)&address)->sin_addr.s_addr), INADDR_LOOPBACK);
	cr_assert(options_address("[::1]:0", &address, &len));
	cr_assert_eq(address.ss_family, AF_INET6);
	cr_assert_eq(len, sizeof(struct sockaddr_in6));
	cr_assert(!options_address("::1:0x", &address, &len));
	cr_assert(!options_address(":80", &address, &len));
	cr_assert(!options_address("[:80", &address, &len));
	cr_assert(!options_address("example.com:80", &address, &len));
	cr_assert(!options_address("", &address, &len));
}

Test(options_address, other_loopback_addresses_are_served)
{
	cr_assert_eq(parse("--listen", "127.1.2.3:1", NULL), 0);
	cr_assert_eq(parse("--listen", "localhost:1", NULL), 0);
}
