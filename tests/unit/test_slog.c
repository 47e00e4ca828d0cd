/* test_slog.c: log lines in both formats: of the same call the same content; a JSON line is valid whatever is in it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/slog.h"

static int saved = -1, ends[2];
static char line[8192];
static json_t *root;

static void init(void)
{
	saved = dup(STDERR_FILENO);
	cr_assert(saved >= 0 && pipe2(ends, O_NONBLOCK) == 0);
	dup2(ends[1], STDERR_FILENO);
}

static void restore(void)
{
	if (saved >= 0) {
		dup2(saved, STDERR_FILENO);
		close(saved);
		close(ends[0]);
		close(ends[1]);
	}
	saved = -1;
	json_decref(root);
}

TestSuite(slog, .init = init, .fini = restore);

/* The line that was just written, without its newline; "" when there is none. */
static const char *written(void)
{
	ssize_t n = read(ends[0], line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	if (n > 0) {
		cr_assert_eq(line[n - 1], '\n');
		line[n - 1] = '\0';
	}
	cr_assert_null(strchr(line, '\n'), "one line: %s", line);
	return line;
}

static json_t *parsed(void)
{
	json_error_t error;
	json_decref(root);
	root = json_loads(written(), JSON_REJECT_DUPLICATES, &error);
	cr_assert_not_null(root, "%s: %s", error.text, line);
	return root;
}

static const char *text(const char *key) { return json_string_value(json_object_get(root, key)); }

Test(slog, text)
{
	slog(SLOG_WARN, "disk_full", "file=%s why=\"%s\" bytes=%zu", "a/b", "no room", (size_t)7);
	written();
	cr_expect_str_eq(line + 24, " warn  disk_full file=a/b why=\"no room\" bytes=7");
	cr_expect_eq(line[23], 'Z');
	slog(SLOG_INFO, "stopped", NULL);
	cr_expect_str_eq(written() + 24, " info  stopped");
	slog(SLOG_INFO, "odd", "name=%s", "a\nb\x1b");
	cr_expect_str_eq(written() + 24, " info  odd name=a?b?");
	slog(SLOG_DEBUG, "too_much", NULL);
	cr_expect_str_eq(written(), "");
}

Test(slog, held_lines_come_when_they_are_said)
{
	struct buf lines = {0};
	slog_hold(&lines);
	slog(SLOG_INFO, "first", "n=%d", 1);
	slog(SLOG_INFO, "second", NULL);
	slog_hold(NULL);
	cr_expect_str_eq(written(), "", "nobody has said them");
	slog(SLOG_INFO, "between", NULL);
	cr_expect_str_eq(written() + 24, " info  between");
	slog_say(&lines);
	ssize_t n = read(ends[0], line, sizeof(line) - 1);
	cr_assert_gt(n, 48);
	line[n] = '\0';
	char *second = strchr(line, '\n');
	cr_assert_not_null(second);
	*second++ = '\0';
	cr_expect_str_eq(line + 24, " info  first n=1");
	cr_expect_str_eq(second + 24, " info  second\n");
	slog_say(&(struct buf){0});
	cr_expect_str_eq(written(), "");
	buf_free(&lines);
}

Test(slog, text_is_cut)
{
	char *long_text = calloc(1, 5000);
	memset(long_text, 'x', 4999);
	slog(SLOG_INFO, "long", "a=%s", long_text);
	written();
	cr_expect_eq(strlen(line), 2047);
	cr_expect_str_eq(line + 2044, "...");
	free(long_text);
}

Test(slog, json)
{
	slog_set_format(SLOG_JSON);
	slog(SLOG_WARN, "disk_full", "file=%s why=\"%s\" bytes=%zu left=%" PRIu64 " code=%d advice=\"make room, then wait\"", "a/b",
	     "no \"room\" = none", (size_t)7, UINT64_MAX / 2, -3);
	parsed();
	cr_expect_eq(json_object_size(root), 9);
	cr_expect_eq(strlen(text("ts")), 24);
	cr_expect_str_eq(text("level"), "warn");
	cr_expect_str_eq(text("event"), "disk_full");
	cr_expect_str_eq(text("file"), "a/b");
	cr_expect_str_eq(text("why"), "no \"room\" = none");
	cr_expect_str_eq(text("advice"), "make room, then wait");
	cr_expect_eq(json_integer_value(json_object_get(root, "bytes")), 7);
	cr_expect_eq(json_integer_value(json_object_get(root, "left")), INT64_MAX);
	cr_expect_eq(json_integer_value(json_object_get(root, "code")), -3);
	cr_expect_str_eq(line + 31,
			 "\",\"level\":\"warn\",\"event\":\"disk_full\",\"file\":\"a/b\",\"why\":\"no \\\"room\\\" = none\",\"bytes\":7,"
			 "\"left\":9223372036854775807,\"code\":-3,\"advice\":\"make room, then wait\"}");
	slog(SLOG_INFO, "stopped", NULL);
	parsed();
	cr_expect_eq(json_object_size(root), 3);
}

Test(slog, json_of_formats_beside_the_plain_ones)
{
	slog_set_format(SLOG_JSON);
	slog(SLOG_INFO, "stream_lost", "missing=\"%s/streams/%" PRIu64 "\" stream=%.*s at=%03d", "dir with blanks", UINT64_C(5), 3,
	     "abcdef", 7);
	parsed();
	cr_expect_str_eq(text("missing"), "dir with blanks/streams/5");
	cr_expect_str_eq(text("stream"), "abc");
	cr_expect_str_eq(text("at"), "007", "not a JSON number");
	slog(SLOG_INFO, "empty", "a=%s b=\"%s\" c=plain", "", "");
	parsed();
	cr_expect_str_eq(text("a"), "");
	cr_expect_str_eq(text("b"), "");
	cr_expect_str_eq(text("c"), "plain");
}

Test(slog, json_is_valid_whatever_the_bytes)
{
	static const char *const odd[] = {"tab\tnewline\nbell\x07",
					  "back\\slash \"quote\"",
					  "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
					  "\xff\xfe",
					  "cut \xe2\x82",
					  "\xc0\xaf overlong",
					  "\xed\xa0\x80 surrogate",
					  "\xf4\x90\x80\x80 beyond",
					  "\x7f"};
	slog_set_format(SLOG_JSON);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		slog(SLOG_INFO, "odd", "value=\"%s\" after=%d", odd[i], 1);
		parsed();
		cr_expect_eq(json_object_size(root), 5, "%s", line);
	}
	slog(SLOG_INFO, "odd", "value=%s", odd[0]);
	parsed();
	cr_expect_str_eq(text("value"), odd[0]);
	slog(SLOG_INFO, "odd", "value=%s", odd[2]);
	parsed();
	cr_expect_str_eq(text("value"), odd[2]);
}

Test(slog, json_is_cut_and_still_valid)
{
	char *long_text = calloc(1, 5000);
	slog_set_format(SLOG_JSON);
	/* Every length around the line's end, with a character that takes six bytes there, and one that takes three. */
	for (size_t n = 1850; n < 2100; n++) {
		memset(long_text, 'x', n);
		memcpy(long_text + n, n % 2 ? "\x01" : "\xe2\x82\xac", n % 2 ? 1 : 3);
		slog(SLOG_INFO, "long", "a=%s b=%d c=%s", long_text, 123456, "end");
		parsed();
		cr_assert_leq(strlen(line), 2047);
		cr_assert(json_object_size(root) == 6 || strlen(line) > 1980, "left out without need: %s", line);
	}
	cr_expect_str_eq(text("a") + strlen(text("a")) - 3, "...");
	memset(long_text, 'x', 4999);
	slog(SLOG_INFO, "long", "a=%s b=%d", long_text, 1);
	parsed();
	cr_expect_null(json_object_get(root, "b"));
	free(long_text);
}
