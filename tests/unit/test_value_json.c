/* JSON documents: what is read, what is lent, what is refused. */
#include "codec_fixture.h"

static struct arena arena;

static struct value *decode_bytes(const void *p, size_t n)
{
	struct value *out = NULL;
	enum status status = value_decode(ENCODING_JSON, p, n, &arena, &out);
	cr_assert(status == STATUS_OK || status == STATUS_SERIALIZATION);
	return status ? NULL : out;
}

static struct value *decode(const char *json) { return decode_bytes(json, strlen(json)); }

static void expect(const char *json, const char *tree)
{
	struct value *v = decode(json);
	cr_assert(v, "refused: %s", json);
	char *text = rendered(v);
	cr_expect_str_eq(text, tree);
	free(text);
}

static void refuse(const char *json)
{
	/* An exact copy: a read behind the end is seen by ASan. */
	uint8_t *copy = exact_copy(json, strlen(json));
	cr_expect_null(decode_bytes(copy, strlen(json)), "taken: %s", json);
	free(copy);
}

Test(json, kinds)
{
	expect("{}", "{}");
	expect(" \t\r\n{ } \n", "{}");
	expect("[]", "[]");
	expect("null", "null");
	expect("true", "true");
	expect("\"x\"", "\"x\"");
	expect("12", "12");
	expect("{\"a\":[1,-2,1.5,\"s\",null,true,false,{\"b\":{}}]}", "{\"a\":[1,-2,1.5d,\"s\",null,true,false,{\"b\":{}}]}");
}

Test(json, numbers)
{
	expect("0", "0");
	expect("-0", "0");
	expect("9223372036854775807", "9223372036854775807");
	expect("9223372036854775808", "9223372036854775807");
	expect("-9223372036854775808", "-9223372036854775808");
	expect("-9223372036854775809", "-9223372036854775808");
	expect("100000000000000000000000000", "9223372036854775807");
	expect("1e3", "1000d");
	expect("1E-3", "0.001d");
	expect("-2.5", "-2.5d");
	expect("1e999", "infd");
	expect("1.54811896477200000000000000000000000000000000000000000000000000000000000000000000E9", "1548118964.772d");
}

Test(json, bad_numbers)
{
	static const char *const bad[] = {"01", "-", "1.", ".5", "+1", "1e", "1e+", "0x10", "NaN", "Infinity", "-01", "1 2"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i]);
}

Test(json, one_whole_document)
{
	static const char *const bad[] = {"",
					  " ",
					  "{",
					  "}",
					  "{}{}",
					  "{} x",
					  "[1,]",
					  "{\"a\"}",
					  "{\"a\":}",
					  "{\"a\":1,}",
					  "{a:1}",
					  "'a'",
					  "\"a",
					  "tru",
					  "/* x */ {}",
					  "{} // x",
					  "[1 2]",
					  "{1:2}",
					  "\v{}",
					  "{}\f",
					  "\xef\xbb\xbf{}",
					  "nul",
					  "{\"a\":1 \"b\":2}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i]);
	/* yajl would let half a token pass. */
	static const char *const tails[] = {"{} \"", "{}\"x",   "{} 1",   "{} -",   "{} t", "{} tru", "1 \"x\\\"",
					    "[]/",   "\"a\" 1", "true 1", "null\"", "12 1", "{} 1.",  "0\"du80\\\""};
	for (size_t i = 0; i < sizeof(tails) / sizeof(tails[0]); i++)
		refuse(tails[i]);
	cr_expect_null(decode_bytes("{}\0", 3));
	cr_expect_null(decode_bytes("\"a\0b\"", 5), "a raw NUL inside a string");
	refuse("\"a\nb\"");
	refuse("\"a\x01\"");
}

Test(json, escapes)
{
	expect("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\"\\/\b\f\n\r\t\"");
	expect("\"\\u0041\\u00e4\\u20AC\"", "\"A\xc3\xa4\xe2\x82\xac\"");
	expect("\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\"");
	expect("\"a\\\\ud800\"", "\"a\\ud800\""); /* an escaped backslash, then plain letters */
	refuse("\"\\x\"");
	refuse("\"\\u12\"");
	refuse("\"\\u12g4\"");
	refuse("\"\\");
}

Test(json, lone_surrogates)
{
	static const char *const bad[] = {"\"\\ud800\"",        "\"\\udc00\"",        "\"\\ud800x\"",       "\"\\ud800\\n\"",
					  "\"\\ud800\\u0041\"", "\"\\ud83d\\ud83d\"", "\"\\ude00\\ud83d\"", "{\"\\udfff\":1}",
					  "\"\\uD800",          "\"\\ud83d\\ude0\""};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i]);
}

Test(json, utf8_is_strict)
{
	expect("\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"",
	       "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"");
	static const char *const bad[] = {
		"\"\x80\"",             /* a continuation alone */
		"\"\xc0\x80\"",         /* overlong NUL */
		"\"\xc1\xbf\"",         /* overlong */
		"\"\xe0\x9f\xbf\"",     /* overlong */
		"\"\xf0\x8f\xbf\xbf\"", /* overlong */
		"\"\xed\xa0\x80\"",     /* a surrogate */
		"\"\xf4\x90\x80\x80\"", /* above U+10FFFF */
		"\"\xf5\x80\x80\x80\"",
		"\"\xff\"",
		"\"\xc3\"",
		"\"\xe2\x82\"",
		"\"\xf0\x9f\x98",
		"\"aaaaaaaaaaaa\xc3(\"",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refuse(bad[i]);
}

Test(json, nul_in_keys)
{
	struct value *v = decode("{\"a\\u0000b\":1,\"a\":2}");
	cr_assert(v);
	cr_expect_eq(value_member(v, STR("a"))->integer, 2);
	cr_expect_eq(value_member(v, (struct str){"a\0b", 3})->integer, 1);
	cr_expect_null(value_member(v, (struct str){"a\0c", 3}));
}

Test(json, repeated_keys_the_last_wins)
{
	struct value *v = decode("{\"a\":1,\"b\":2,\"a\":3,\"n\":4,\"n\":null}");
	cr_expect_eq(value_member(v, STR("a"))->integer, 3);
	cr_expect_eq(value_member(v, STR("b"))->integer, 2);
	cr_expect_eq(value_member(v, STR("n"))->kind, VALUE_NULL);
	cr_expect_null(value_member(v, STR("A")));
	cr_expect_null(value_member(decode("[1]"), STR("a")));
}

Test(json, plain_strings_are_lent)
{
	static const char json[] = "{\"key\":\"value\",\"e\":\"\",\"x\":\"a\\nb\"}";
	struct value *v = decode(json);
	const struct value *plain = v->first, *empty = plain->next, *escaped = empty->next;
	cr_expect_eq(plain->key.p, json + 2);
	cr_expect_eq(plain->str.p, strstr(json, "value"));
	cr_expect_eq(plain->str.n, 5);
	cr_expect(str_present(empty->str));
	cr_expect_eq(empty->str.n, 0);
	cr_expect(escaped->str.p < json || escaped->str.p > json + sizeof(json));
	cr_expect(str_equal(escaped->str, STR("a\nb")));
}

/* A long plain string makes a detour around the parser: what stands in it, and where, must make no difference. */
Test(json, anything_anywhere_in_a_long_string)
{
	static const char head[] = "{\"k\":[7,\"", foot[] = "\",8],\"end\":true}";
	enum { LEN = 150, HEAD = sizeof(head) - 1, ALL = LEN + HEAD + sizeof(foot) - 1 };
	for (size_t n = 0; n <= LEN; n += 5)
		for (size_t at = 0; at < n; at++)
			for (unsigned c = 0; c < 256; c++) {
				char json[ALL + 1], *text = json + HEAD;
				memcpy(json, head, HEAD);
				memset(text, 'x', n);
				memcpy(text + n, foot, sizeof(foot));
				text[at] = (char)c;
				uint8_t *copy = exact_copy(json, strlen(json));
				struct value *v = c ? decode_bytes(copy, strlen(json)) : NULL;
				bool plain = c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
				cr_assert_eq(v != NULL, plain, "%zu %zu %u", n, at, c);
				if (v) {
					struct str got = v->first->first->next->str;
					cr_assert(got.n == n && memcmp(got.p, text, n) == 0 && got.p == (char *)copy + HEAD);
					cr_assert(v->first->n == 3 && v->n == 2 && v->first->next->boolean);
				}
				free(copy);
				arena_free(&arena);
			}
}

Test(json, long_strings)
{
	char x[101], json[1200], tree[1200];
	memset(x, 'x', 100);
	x[100] = '\0';
	/* As key, as root, with escapes, with more than ASCII, one after the other. */
	snprintf(json, sizeof(json), "{\"%s\":[\"%s\",\"%s\",-1],\"b\":\"%s\"}", x, x, x, x);
	expect(json, json);
	snprintf(json, sizeof(json), "\"%s\" \n", x);
	snprintf(tree, sizeof(tree), "\"%s\"", x);
	expect(json, tree);
	snprintf(json, sizeof(json), "[\"%s\\u0041%s\",\"%s\"]", x, x, x);
	snprintf(tree, sizeof(tree), "[\"%sA%s\",\"%s\"]", x, x, x);
	expect(json, tree);
	snprintf(json, sizeof(json), "[\"%s\xc3\xa4%s\",\"%s\"]", x, x, x);
	expect(json, json);
	/* The grammar around them is looked at all the same. */
	static const char *const bad[] = {"\"%s",      "[\"%s\"",   "[\"%s\"]]",     "{\"%s\"}", "[\"%s\"\"%s\"]",
					  "[1\"%s\"]", "[\"%s\"1]", "\"%s\" \"%s\"", "\"%s\"x",  "{\"%s\":\"%s\",}",
					  "\"%s\\",    "tru\"%s\"", "[\"%s\",\v1]"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(json, sizeof(json), bad[i], x, x);
		refuse(json);
	}
	arena_free(&arena);
}

static struct value *nested(char open, char close, size_t depth)
{
	char json[256];
	memset(json, open, depth);
	memset(json + depth, close, depth);
	return decode_bytes(json, 2 * depth);
}

Test(json, depth_is_capped)
{
	cr_expect(nested('[', ']', VALUE_DEPTH_MAX));
	cr_expect_null(nested('[', ']', VALUE_DEPTH_MAX + 1));
	cr_expect_null(nested('[', ']', 100));
	expect("{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}",
	       "{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}");
}

Test(json, memory_is_capped)
{
	struct buf json = {0};
	buf_put_char(&json, '[');
	for (size_t i = 0; i < 200000; i++)
		buf_put_str(&json, STR("0,"));
	buf_put_str(&json, STR("0]"));
	cr_expect_null(decode_bytes(json.p, json.n));
	cr_expect_lt(arena_used(&arena), (size_t)8 << 20);
	buf_free(&json);
	arena_free(&arena);
}

Test(json, every_cut_is_refused)
{
	static const char json[] = "{\"Records\":[{\"Data\":\"AAA=\",\"PartitionKey\":\"k\\u00e4\\ud83d\\ude00\xc3\xa4\"},{\"a\":-1.5e3}],"
				   "\"n\":null,\"b\":true}";
	cr_assert(decode(json));
	for (size_t n = 0; n < sizeof(json) - 1; n++) {
		uint8_t *copy = exact_copy(json, n);
		cr_expect_null(decode_bytes(copy, n), "cut at %zu", n);
		free(copy);
	}
	arena_free(&arena);
}
