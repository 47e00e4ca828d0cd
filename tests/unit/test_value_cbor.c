/* CBOR documents: what is read, what is lent, what is refused. */
#include "codec_fixture.h"

static struct arena arena;

static struct value *decode_bytes(const void *p, size_t n)
{
	struct value *out = NULL;
	enum status status = value_decode(ENCODING_CBOR, p, n, &arena, &out);
	cr_assert(status == STATUS_OK || status == STATUS_SERIALIZATION);
	return status ? NULL : out;
}

static void expect(const char *hex, const char *tree)
{
	size_t n;
	uint8_t *body = unhex(hex, &n);
	struct value *v = decode_bytes(body, n);
	cr_assert(v, "refused: %s", hex);
	char *text = rendered(v);
	cr_expect_str_eq(text, tree, "%s: %s, not %s", hex, text, tree);
	free(text);
	free(body);
}

static void refuse(const char *hex)
{
	size_t n;
	uint8_t *body = unhex(hex, &n);
	cr_expect_null(decode_bytes(body, n), "taken: %s", hex);
	free(body);
}

Test(cbor, integers)
{
	expect("00", "0");
	expect("17", "23");
	expect("1818", "24");
	expect("18ff", "255");
	expect("19ffff", "65535");
	expect("1affffffff", "4294967295");
	expect("1b7fffffffffffffff", "9223372036854775807");
	expect("1bffffffffffffffff", "9223372036854775807");
	expect("20", "-1");
	expect("38ff", "-256");
	expect("39ffff", "-65536");
	expect("3affffffff", "-4294967296");
	expect("3b7fffffffffffffff", "-9223372036854775808");
	expect("3bffffffffffffffff", "-9223372036854775808");
}

Test(cbor, floats)
{
	expect("f93c00", "1d");
	expect("f93e00", "1.5d");
	expect("f90001", "5.96046447753906e-08d");
	expect("f97c00", "infd");
	expect("fa47c35000", "100000d");
	expect("fb3ff199999999999a", "1.1d");
	expect("fbc010666666666666", "-4.1d");
}

Test(cbor, simple_values)
{
	expect("f4", "false");
	expect("f5", "true");
	expect("f6", "null");
	expect("f7", "null");
	refuse("e0");
	refuse("f0");
	refuse("f820");
	refuse("f8ff");
}

Test(cbor, strings)
{
	expect("60", "\"\"");
	expect("6161", "\"a\"");
	expect("62c3bc", "\"\xc3\xbc\"");
	expect("40", "<>");
	expect("43000aff", "<000aff>");
	expect("7f 6161 60 6162 ff", "\"ab\"");
	expect("7fff", "\"\"");
	expect("5f 4101 420203 ff", "<010203>");
	expect("5fff", "<>");
	refuse("62c328");
	refuse("61ff");
	refuse("63eda080");
	refuse("7f 61c3 61bc ff"); /* each chunk is a text of its own */
	refuse("7f 4161 ff");      /* bytes inside text */
	refuse("5f 6161 ff");
	refuse("7f 7f 6161 ff ff");
	refuse("7f 01 ff");
	refuse("7f c1 6161 ff");
	refuse("7f 80 ff");
	refuse("7f f6 ff");
}

Test(cbor, containers)
{
	expect("80", "[]");
	expect("83010203", "[1,2,3]");
	expect("9f010203ff", "[1,2,3]");
	expect("9fff", "[]");
	expect("a0", "{}");
	expect("bfff", "{}");
	expect("a2 6161 01 6162 82 02 03", "{\"a\":1,\"b\":[2,3]}");
	expect("bf 6161 01 6162 9f 02 03 ff ff", "{\"a\":1,\"b\":[2,3]}");
	expect("a1 6161 bf 6162 80 ff", "{\"a\":{\"b\":[]}}");
	expect("82 80 a0", "[[],{}]");
	expect("9f 80 80 ff", "[[],[]]");
	expect("a1 7f 6161 6162 ff 01", "{\"ab\":1}"); /* a key in chunks */
	expect("a2 6161 a1 6162 01 6163 02", "{\"a\":{\"b\":1},\"c\":2}");
}

Test(cbor, tags)
{
	expect("c1 1b 000001687313a7d4", "T1548118894548");
	expect("c1 fb 41d7115959500000", "T1548051813.25d");
	expect("d9d9f7 a1 6161 01", "{\"a\":1}");
	expect("d9d9f7 c1 01", "T1");
	expect("c1 d9d9f7 01", "T1");
	expect("82 c1 01 02", "[T1,2]");
	expect("82 c1 80 02", "[[],2]"); /* the mark does not leak into or behind a container */
	expect("82 c1 9f 01 ff 02", "[[1],2]");
	expect("a1 c1 6161 02", "{\"a\":2}");
	expect("c2 420102", "<0102>");
	expect("c1 6161", "\"a\"");
	refuse("c1");
	refuse("9f c1 ff");
	refuse("81 c1");
}

Test(cbor, bad_grammar)
{
	refuse("");
	refuse("ff");
	refuse("0000");
	refuse("a0a0");
	refuse("a0ff");
	refuse("81ff");
	refuse("a1 01 02"); /* keys are text */
	refuse("a1 4161 02");
	refuse("a1 80 02");
	refuse("a1 f6 02");
	refuse("a1 5f ff 02");
	refuse("bf 6161 ff"); /* a key without a value */
	refuse("a1 6161 ff");
	refuse("9f 01");
	refuse("1c"); /* reserved */
	refuse("3f");
	refuse("1f");
	refuse("df");
	refuse("fc");
	refuse("dc 01");
}

Test(cbor, declared_lengths_are_not_believed)
{
	refuse("9b ffffffffffffffff 01");
	refuse("9a ffffffff 01");
	refuse("bb ffffffffffffffff 6161 01");
	refuse("ba 7fffffff 6161 01");
	refuse("5b ffffffffffffffff 01");
	refuse("5b 7fffffffffffffff 01");
	refuse("7a ffffffff 61");
	refuse("7b fffffffffffffff0 61");
	cr_expect_lt(arena_used(&arena), 65536);
}

Test(cbor, memory_is_capped)
{
	struct buf body = {0};
	buf_put_char(&body, (char)0x9f);
	memset(buf_reserve(&body, 200000), 0x00, 200000);
	body.n += 200000;
	buf_put_char(&body, (char)0xff);
	cr_expect_null(decode_bytes(body.p, body.n));
	cr_expect_lt(arena_used(&arena), (size_t)8 << 20);
	buf_free(&body);
	arena_free(&arena);
}

Test(cbor, depth_is_capped)
{
	uint8_t body[64];
	memset(body, 0x81, sizeof(body));
	body[VALUE_DEPTH_MAX - 1] = 0x80;
	cr_expect(decode_bytes(body, VALUE_DEPTH_MAX));
	body[VALUE_DEPTH_MAX - 1] = 0x81;
	body[VALUE_DEPTH_MAX] = 0x80;
	cr_expect_null(decode_bytes(body, VALUE_DEPTH_MAX + 1));
	memset(body, 0x9f, sizeof(body) / 2);
	memset(body + sizeof(body) / 2, 0xff, sizeof(body) / 2);
	cr_expect_null(decode_bytes(body, sizeof(body)));
}

Test(cbor, definite_strings_are_lent)
{
	size_t n;
	uint8_t *body = unhex("a2 6161 6162 6163 4164", &n);
	const struct value *v = decode_bytes(body, n);
	cr_expect_eq((const void *)v->first->key.p, body + 2);
	cr_expect_eq((const void *)v->first->str.p, body + 4);
	cr_expect_eq((const void *)v->first->next->str.p, body + 8);
	free(body);
}

Test(cbor, repeated_keys_the_last_wins)
{
	size_t n;
	uint8_t *body = unhex("bf 6161 01 6161 02 ff", &n);
	cr_expect_eq(value_member(decode_bytes(body, n), STR("a"))->integer, 2);
	free(body);
}

Test(cbor, every_cut_is_refused)
{
	size_t n;
	uint8_t *body = unhex("bf 6752 65636f726473 9f a2 64446174 61 4401020304 6c506172746974696f6e4b6579 7f 616b 62c3a4 ff ff 61 74 c1 "
			      "1b 000001687313a7d4"
			      "6164 f93c00 ff",
			      &n);
	cr_assert(decode_bytes(body, n));
	for (size_t cut = 0; cut < n; cut++) {
		uint8_t *copy = exact_copy(body, cut);
		cr_expect_null(decode_bytes(copy, cut), "cut at %zu", cut);
		free(copy);
	}
	free(body);
	arena_free(&arena);
}
