/* Answers in both encodings, byte for byte; and each reads back as what was written. */
#include <signal.h>

#include "codec_fixture.h"

static struct buf out;
static struct writer w;

static void json(void)
{
	out.n = 0;
	writer_init(&w, ENCODING_JSON, &out);
}

static void cbor(void)
{
	out.n = 0;
	writer_init(&w, ENCODING_CBOR, &out);
}

static void expect_text(const char *text)
{
	cr_expect(out.n == strlen(text) && memcmp(out.p, text, out.n) == 0, "%.*s is not %s", (int)out.n, (char *)out.p, text);
}

static void expect_hex(const char *hex)
{
	size_t n;
	uint8_t *bytes = unhex(hex, &n);
	char got[256] = "";
	for (size_t i = 0; i < out.n && i < 100; i++)
		snprintf(got + 2 * i, 3, "%02x", out.p[i]);
	cr_expect(out.n == n && memcmp(out.p, bytes, n) == 0, "%s is not %s", got, hex);
	free(bytes);
}

static void document(void)
{
	write_map(&w);
	write_kv_str(&w, "s", STR("x"));
	write_kv_int(&w, "i", -5);
	write_key(&w, "l");
	write_list(&w);
	write_int(&w, 1);
	write_map(&w);
	write_map_end(&w);
	write_list(&w);
	write_list_end(&w);
	write_bool(&w, true);
	write_list_end(&w);
	write_kv_bool(&w, "b", false);
	write_kv_time(&w, "t", 1548118964772);
	write_key(&w, "d");
	write_blob(&w, STR("foob"));
	write_map_end(&w);
}

Test(writer, json_document)
{
	json();
	document();
	expect_text("{\"s\":\"x\",\"i\":-5,\"l\":[1,{},[],true],\"b\":false,\"t\":1548118964.772,\"d\":\"Zm9vYg==\"}");
}

Test(writer, cbor_document)
{
	cbor();
	document();
	expect_hex("bf 6173 6178 6169 24 616c 9f 01 bfff 9fff f5 ff 6162 f4 6174 c1 1b 000001687314ba24 6164 44666f6f62 ff");
}

Test(writer, both_read_back)
{
	struct arena arena = {0};
	struct value *v;
	json();
	document();
	cr_assert_eq(value_decode(ENCODING_JSON, out.p, out.n, &arena, &v), STATUS_OK);
	char *text = rendered(v);
	cr_expect_str_eq(text, "{\"s\":\"x\",\"i\":-5,\"l\":[1,{},[],true],\"b\":false,\"t\":1548118964.772d,\"d\":\"Zm9vYg==\"}");
	free(text);
	cbor();
	document();
	cr_assert_eq(value_decode(ENCODING_CBOR, out.p, out.n, &arena, &v), STATUS_OK);
	text = rendered(v);
	cr_expect_str_eq(text, "{\"s\":\"x\",\"i\":-5,\"l\":[1,{},[],true],\"b\":false,\"t\":T1548118964772,\"d\":<666f6f62>}");
	free(text);
	arena_free(&arena);
}

Test(writer, a_value_encoded_elsewhere)
{
	json();
	write_list(&w);
	write_encoded(&w, STR("{\"a\":1}"));
	write_encoded(&w, STR("2"));
	write_list_end(&w);
	expect_text("[{\"a\":1},2]");
	cbor();
	write_map(&w);
	write_key(&w, "k");
	write_encoded(&w, STR("\x01"));
	write_kv_int(&w, "l", 2);
	write_map_end(&w);
	expect_hex("bf 616b 01 616c 02 ff");
}

static void time_as(int64_t ms, const char *text)
{
	json();
	write_time(&w, ms);
	expect_text(text);
}

Test(writer, json_times_have_three_decimals)
{
	time_as(0, "0.000");
	time_as(1, "0.001");
	time_as(1548118964772, "1548118964.772");
	time_as(1548118964000, "1548118964.000");
	time_as(1548118964050, "1548118964.050");
	time_as(-1, "-0.001");
	time_as(-1500, "-1.500");
	time_as(INT64_MIN, "-9223372036854775.808");
	time_as(INT64_MAX, "9223372036854775.807");
}

static void int_as(int64_t v, const char *text, const char *hex)
{
	json();
	write_int(&w, v);
	expect_text(text);
	cbor();
	write_int(&w, v);
	expect_hex(hex);
}

Test(writer, integers_in_shortest_form)
{
	int_as(0, "0", "00");
	int_as(23, "23", "17");
	int_as(24, "24", "1818");
	int_as(255, "255", "18ff");
	int_as(256, "256", "190100");
	int_as(65536, "65536", "1a00010000");
	int_as(4294967296, "4294967296", "1b0000000100000000");
	int_as(INT64_MAX, "9223372036854775807", "1b7fffffffffffffff");
	int_as(-1, "-1", "20");
	int_as(-25, "-25", "3818");
	int_as(INT64_MIN, "-9223372036854775808", "3b7fffffffffffffff");
}

static void text_as(struct str s, const char *text)
{
	json();
	write_str(&w, s);
	expect_text(text);
	cr_expect_eq(json_escaped_len(s), strlen(text) - 2);
}

Test(writer, json_strings)
{
	text_as(STR(""), "\"\"");
	text_as((struct str){NULL, 0}, "\"\"");
	text_as(STR("plain"), "\"plain\"");
	text_as(STR("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
	text_as(STR("\b\f\n\r\t"), "\"\\b\\f\\n\\r\\t\"");
	text_as(STR("\0\x01\x1f\x7f"), "\"\\u0000\\u0001\\u001f\x7f\"");
	text_as(STR("\xc3\xa4\xf0\x9f\x98\x80"), "\"\xc3\xa4\xf0\x9f\x98\x80\"");
}

Test(writer, cbor_strings)
{
	cbor();
	write_list(&w);
	write_str(&w, STR(""));
	write_str(&w, STR("\xc3\xa4\""));
	write_blob(&w, (struct str){NULL, 0});
	write_blob(&w, STR("\0\xff"));
	write_list_end(&w);
	expect_hex("9f 60 63c3a422 40 4200ff ff");
}

/* Lengths on both sides of each step of the length's own length. */
Test(writer, lengths)
{
	static const size_t lengths[] = {23, 24, 255, 256, 65535, 65536};
	struct arena arena = {0};
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		struct str s = {memset(arena_alloc(&arena, lengths[i]), 'x', lengths[i]), lengths[i]};
		struct value *v;
		cbor();
		write_list(&w);
		write_str(&w, s);
		write_blob(&w, s);
		write_list_end(&w);
		cr_assert_eq(value_decode(ENCODING_CBOR, out.p, out.n, &arena, &v), STATUS_OK);
		cr_expect(v->first->kind == VALUE_STRING && str_equal(v->first->str, s));
		cr_expect(v->first->next->kind == VALUE_BYTES && str_equal(v->first->next->str, s));
	}
	arena_free(&arena);
}

Test(writer, value_without_key_is_a_bug, .signal = SIGABRT)
{
	json();
	write_map(&w);
	write_int(&w, 1);
}

Test(writer, key_in_a_list_is_a_bug, .signal = SIGABRT)
{
	json();
	write_list(&w);
	write_key(&w, "a");
}

Test(writer, key_without_value_is_a_bug, .signal = SIGABRT)
{
	cbor();
	write_map(&w);
	write_key(&w, "a");
	write_map_end(&w);
}

Test(writer, wrong_end_is_a_bug, .signal = SIGABRT)
{
	json();
	write_list(&w);
	write_map_end(&w);
}

Test(writer, two_documents_are_a_bug, .signal = SIGABRT)
{
	json();
	write_int(&w, 1);
	write_int(&w, 2);
}
