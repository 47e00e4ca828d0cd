/* test_options_file.c: --config: what a file sets, that the command line wins, and what is said of a bad member. */
#include <criterion/criterion.h>
#include <criterion/redirect.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "server/options.h"

static struct options options;
static char path[] = "/tmp/penstock-options-XXXXXX";

static void init(void)
{
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_redirect_stderr();
}

static void fini(void) { unlink(path); }

TestSuite(options_file, .init = init, .fini = fini);

static void file(const char *text)
{
	FILE *out = fopen(path, "w");
	cr_assert_not_null(out);
	fputs(text, out);
	fclose(out);
}

static int parse(const char *first, ...)
{
	char *argv[32] = {"penstock", "--config", path};
	int argc = 3;
	va_list args;

	va_start(args, first);
	for (const char *arg = first; arg; arg = va_arg(args, const char *))
		argv[argc++] = (char *)arg;
	va_end(args);
	return options_parse(argc, argv, &options);
}

static void refuses(int line, const char *json, const char *text)
{
	char said[512], expect[512];
	static long at;
	FILE *err;
	size_t n;

	file(json);
	cr_expect_eq(parse(NULL), 2, "line %d", line);
	fflush(stderr);
	err = cr_get_redirected_stderr();
	n = fread(said, 1, sizeof(said) - 1, err);
	said[n] = '\0';
	at += (long)n;
	snprintf(expect, sizeof(expect), "penstock: %s%s%s\n", text[0] == '-' ? "--config " : "", path, text[0] == '-' ? text + 1 : text);
	cr_expect_str_eq(said, expect, "line %d", line);
}
#define REFUSES(json, text) refuses(__LINE__, json, text)

Test(options_file, sets_every_kind)
{
	file("{\"data-dir\": \"d\", \"log_format\": \"json\", \"log_level\": \"debug\", \"workers\": 3, \"heartbeat_ms\": 7, "
	     "\"free_floor\": 8, \"print-ready\": true,"
	     " \"limits\": \"off\", \"limit\": {\"consumers\": 3, \"read-bytes\": 4}}");
	cr_assert_eq(parse(NULL), 0);
	cr_expect_str_eq(options.data_dir, "d");
	cr_expect_str_eq(options.config, path);
	cr_expect_eq(options.log_format, SLOG_JSON);
	cr_expect_eq(options.log_level, SLOG_DEBUG);
	cr_expect_eq(options.workers, 3);
	cr_expect_eq(options.heartbeat_ms, 7);
	cr_expect_eq(options.free_floor_mib, 8);
	cr_expect(options.print_ready);
	cr_expect_eq(options.limits.consumers, 3);
	cr_expect_eq(options.limits.read_bytes, 4);
	cr_expect_eq(options.limits.write_bytes, 0);
	cr_expect_str_eq(options.region, "us-east-1", "what is not there keeps its default");
}

Test(options_file, the_command_line_wins)
{
	file("{\"workers\": 3, \"lanes\": 2, \"region\": \"eu-west-1\", \"limits\": \"off\", \"limit\": {\"consumers\": 3, \"shards\": "
	     "4}}");
	cr_assert_eq(parse("--workers", "5", "--region", "eu-west-3", "--limits", "aws", "--limit", "shards=6", NULL), 0);
	cr_expect_eq(options.workers, 5);
	cr_expect_eq(options.lanes, 2);
	cr_expect_str_eq(options.region, "eu-west-3");
	cr_expect_eq(options.limits.write_records, 1000);
	cr_expect_eq(options.limits.shards, 6);
	cr_expect_eq(options.limits.consumers, 3, "not said on the command line");
}

Test(options_file, addresses)
{
	file("{\"listen\": \"127.0.0.1:1\"}");
	cr_assert_eq(parse(NULL), 0);
	cr_expect(options.listen.n == 1 && strcmp(options.listen.items[0], "127.0.0.1:1") == 0);
	file("{\"listen\": [\"127.0.0.1:1\", \"[::1]:2\"]}");
	cr_assert_eq(parse(NULL), 0);
	cr_expect(options.listen.n == 2 && strcmp(options.listen.items[1], "[::1]:2") == 0);
	cr_assert_eq(parse("--listen", "127.0.0.1:3", NULL), 0);
	cr_expect(options.listen.n == 1 && strcmp(options.listen.items[0], "127.0.0.1:3") == 0, "the command line wins");
	REFUSES("{\"listen\": [\"127.0.0.1:1\", 2]}", ": listen wants a list of strings, not a number in it");
	REFUSES("{\"listen\": 1}", ": listen wants a string, or a list of strings, not a number");
}

Test(options_file, a_flag_may_be_false)
{
	file("{\"print_ready\": false}");
	cr_assert_eq(parse(NULL), 0);
	cr_expect(!options.print_ready);
}

Test(options_file, an_empty_one_is_none)
{
	file("{}");
	cr_assert_eq(parse(NULL), 0);
	cr_expect_eq(options.limits.consumers, 20);
}

Test(options_file, faults)
{
	file("{\"fault\": {\"throttle\": 0.00001, \"end\": \"10s\"}, \"fault_seed\": 9}");
	cr_assert_eq(parse(NULL), 0);
	cr_expect_eq(options.faults.seed, 9);
	cr_expect_eq(fault_rules_of(&options.faults, FAULT_THROTTLE, OP_PUT_RECORD)->share, 0.00001);
	cr_expect_eq(fault_rules_of(&options.faults, FAULT_END, OP_SUBSCRIBE_TO_SHARD)->share, 1);
	cr_assert_eq(parse("--fault", "error=0.5", NULL), 0);
	cr_expect_null(fault_rules_of(&options.faults, FAULT_THROTTLE, OP_PUT_RECORD), "the command line's stand for all");
	cr_expect_not_null(fault_rules_of(&options.faults, FAULT_ERROR, OP_PUT_RECORD));
}

Test(options_file, lists)
{
	file("{\"allow_origin\": [\"http://a\", \"null\"], \"allow-host\": \"kinesis\"}");
	cr_assert_eq(parse(NULL), 0);
	cr_assert_eq(options.allow_origin.n, 2);
	cr_expect_str_eq(options.allow_origin.items[0], "http://a");
	cr_expect_str_eq(options.allow_origin.items[1], "null");
	cr_assert_eq(options.allow_host.n, 1);
	cr_expect_str_eq(options.allow_host.items[0], "kinesis");
	cr_assert_eq(parse("--allow-origin", "http://b", NULL), 0);
	cr_assert_eq(options.allow_origin.n, 1, "those of the command line stand for all");
	cr_expect_str_eq(options.allow_origin.items[0], "http://b");
	REFUSES("{\"allow_origin\": [1]}", ": allow-origin wants a list of strings, not a number in it");
	REFUSES("{\"allow_origin\": {}}", ": allow-origin wants a string, or a list of strings, not an object");
	REFUSES("{\"allow_host\": [\"a\", \"a:1\"]}", ": allow-host wants a host name or address without a port, or *, not \"a:1\"");
}

Test(options_file, names_what_is_wrong)
{
	REFUSES("{\"fault\": 0.1}", ": fault wants an object of shares, not a fraction");
	REFUSES("{\"fault\": {\"throttle\": null}}", ": fault: throttle wants a number or a string, not null");
	REFUSES("{\"fault\": {\"throttle\": 2}}", ": fault: \"throttle\" wants a share from 0 to 1, such as 0.1, not \"2.000000000\"");
	REFUSES("{\"wokers\": 1}", ": \"wokers\" is no option; --help lists them");
	REFUSES("{\"help\": true}", ": \"help\" is no option; --help lists them");
	REFUSES("{\"config\": \"x\"}", ": \"config\" is no option; --help lists them");
	REFUSES("{\"workers\": \"4\"}", ": workers wants a number, not a string");
	REFUSES("{\"workers\": 1.5}", ": workers wants a number, not a fraction");
	REFUSES("{\"workers\": 0}", ": workers wants 1 to 16, not \"0\"");
	REFUSES("{\"workers\": -1}", ": workers wants 1 to 16, not \"-1\"");
	REFUSES("{\"region\": 5}", ": region wants a string, not a number");
	REFUSES("{\"region\": \"US\"}", ": region wants 1 to 32 of a-z, 0-9 and -, not \"US\"");
	REFUSES("{\"print_ready\": 1}", ": print-ready wants true or false, not a number");
	REFUSES("{\"limits\": \"some\"}", ": limits wants aws or off, not \"some\"");
	REFUSES("{\"limit\": \"shards=1\"}", ": limit wants an object of numbers, not a string");
	REFUSES("{\"limit\": {\"shard\": 1}}", ": limit knows no \"shard\"; --help lists the names");
	REFUSES("{\"limit\": {\"shards\": -1}}", ": limit shards wants 0 to 1000000000000000, not \"-1\"");
	REFUSES("{\"limit\": {\"shards\": null}}", ": limit: shards wants a number, not null");
	REFUSES("{\"data_dir\": \"a\", \"data-dir\": \"b\"}", ": data-dir is there twice");
	REFUSES("{\"data_dir\": \"a\", \"data_dir\": \"b\"}", "-, line 1: duplicate object key near '\"data_dir\"'");
	REFUSES("[1]", "- must hold one JSON object, not a list");
	REFUSES("{\"workers\": 1", "-, line 1: '}' expected near end of file");
}

Test(options_file, a_bad_member_counts_although_the_command_line_wins)
{
	file("{\"workers\": 99}");
	cr_expect_eq(parse("--workers", "2", NULL), 2);
}

Test(options_file, one_that_is_not_there)
{
	unlink(path);
	cr_expect_eq(parse(NULL), 2);
	fflush(stderr);
	char expect[256];
	snprintf(expect, sizeof(expect), "penstock: --config unable to open %s: No such file or directory\n", path);
	cr_expect_stderr_eq_str(expect);
}
