/* test_token.c: iterators and page tokens: forms, lengths, tampering, age. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "penstock/writer.h"
#include "server/token.h"

#define NOW INT64_C(1600000000000)

static const uint8_t key[32] = {1, 2, 3}, other_key[32] = {3, 2, 1};

static struct iterator iterator_of(size_t name)
{
	struct iterator iterator = {.created_ms = NOW, .stream = 7, .shard = 3, .next = INT64_MAX};
	memset(iterator.name, 'n', name);
	return iterator;
}

Test(token, iterator_round_trip_for_every_name_length)
{
	for (size_t n = 1; n <= STREAM_NAME_MAX; n++) {
		struct iterator in = iterator_of(n), out;
		char text[TOKEN_TEXT_MAX];
		token_iterator_seal(key, &in, text);
		cr_assert_eq(token_iterator_open(key, str_of(text), NOW, &out), STATUS_OK);
		cr_assert_eq(out.stream, 7);
		cr_assert_eq(out.shard, 3);
		cr_assert_eq(out.next, INT64_MAX);
		cr_assert_eq(out.created_ms, NOW);
		cr_assert_str_eq(out.name, in.name);
	}
}

Test(token, iterator_has_the_length_and_head_of_aws)
{
	for (size_t n = 1; n <= STREAM_NAME_MAX; n++) {
		struct iterator in = iterator_of(n);
		char text[TOKEN_TEXT_MAX];
		uint8_t bytes[TOKEN_TEXT_MAX];
		size_t length;
		token_iterator_seal(key, &in, text);
		cr_assert(base64_decode(str_of(text), bytes, &length));
		cr_assert_eq(length, 152 + 16 * ((n + 2) / 16), "name %zu: %zu", n, length);
		cr_assert_eq(memcmp(bytes, "\0\0\0\0\0\0\0\1", 8), 0);
	}
}

Test(token, every_iterator_differs)
{
	struct iterator in = iterator_of(5);
	char a[TOKEN_TEXT_MAX], b[TOKEN_TEXT_MAX];
	token_iterator_seal(key, &in, a);
	token_iterator_seal(key, &in, b);
	cr_assert_str_neq(a, b);
}

Test(token, iterator_in_double_quotes)
{
	struct iterator in = iterator_of(5), out;
	char text[TOKEN_TEXT_MAX], quoted[TOKEN_TEXT_MAX + 2];
	token_iterator_seal(key, &in, text);
	snprintf(quoted, sizeof(quoted), "\"%s\"", text);
	cr_assert_eq(token_iterator_open(key, str_of(quoted), NOW, &out), STATUS_OK);
}

Test(token, any_changed_bit_is_refused)
{
	struct iterator in = iterator_of(5), out;
	char text[TOKEN_TEXT_MAX], changed[TOKEN_TEXT_MAX];
	uint8_t bytes[TOKEN_TEXT_MAX];
	size_t n;
	token_iterator_seal(key, &in, text);
	base64_decode(str_of(text), bytes, &n);
	for (size_t bit = 0; bit < 8 * n; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		size_t length = base64_encode(changed, bytes, n);
		cr_assert_eq(token_iterator_open(key, (struct str){changed, length}, NOW, &out), STATUS_INVALID_ARGUMENT);
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

Test(token, garbage_is_refused)
{
	struct iterator out;
	const char *garbage[] = {
		"", "\"", "\"\"", "x", "AAAA", "AAAAAAAAAAE=", "not base64 at all", "AAAAAAAAAAEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
	for (size_t i = 0; i < sizeof(garbage) / sizeof(garbage[0]); i++)
		cr_assert_eq(token_iterator_open(key, str_of(garbage[i]), NOW, &out), STATUS_INVALID_ARGUMENT, "%s", garbage[i]);
	char longest[600];
	memset(longest, 'A', sizeof(longest));
	cr_assert_eq(token_iterator_open(key, (struct str){longest, 600}, NOW, &out), STATUS_INVALID_ARGUMENT);
	cr_assert_eq(token_iterator_open(key, (struct str){longest, 512}, NOW, &out), STATUS_INVALID_ARGUMENT);
}

Test(token, truncated_is_refused)
{
	struct iterator in = iterator_of(5), out;
	char text[TOKEN_TEXT_MAX];
	token_iterator_seal(key, &in, text);
	for (size_t n = strlen(text) - 1; n > 0; n--)
		cr_assert_eq(token_iterator_open(key, (struct str){text, n}, NOW, &out), STATUS_INVALID_ARGUMENT);
}

Test(token, another_key_is_refused)
{
	struct iterator in = iterator_of(5), out;
	char text[TOKEN_TEXT_MAX];
	token_iterator_seal(other_key, &in, text);
	cr_assert_eq(token_iterator_open(key, str_of(text), NOW, &out), STATUS_INVALID_ARGUMENT);
}

Test(token, iterator_lives_300_seconds)
{
	struct iterator in = iterator_of(5), out;
	char text[TOKEN_TEXT_MAX];
	token_iterator_seal(key, &in, text);
	cr_expect_eq(token_iterator_open(key, str_of(text), NOW + 300000, &out), STATUS_OK);
	cr_expect_eq(token_iterator_open(key, str_of(text), NOW + 300001, &out), STATUS_EXPIRED_ITERATOR);
	cr_expect_eq(out.created_ms, NOW);
}

Test(token, a_token_from_before_the_clock_was_set_back_counts_as_new)
{
	struct iterator in = iterator_of(5), out;
	char text[TOKEN_TEXT_MAX];
	token_iterator_seal(key, &in, text);
	cr_expect_eq(token_iterator_open(key, str_of(text), NOW - 4999, &out), STATUS_OK);
	cr_expect_eq(token_iterator_open(key, str_of(text), NOW - INT64_C(2592000000), &out), STATUS_OK);
	struct page page = {.kind = PAGE_SHARDS, .created_ms = NOW, .stream = 9}, page_out;
	token_page_seal(key, &page, text);
	cr_expect_eq(token_page_open(key, PAGE_SHARDS, str_of(text), NOW - INT64_C(2592000000), &page_out), STATUS_OK);
}

Test(token, page_round_trip_and_age)
{
	struct page in = {.kind = PAGE_SHARDS, .created_ms = NOW, .stream = 9, .shard = 4, .filter = 3, .filter_ms = -5}, out;
	memset(in.name, 'p', STREAM_NAME_MAX);
	char text[TOKEN_TEXT_MAX];
	token_page_seal(key, &in, text);
	cr_assert_eq(token_page_open(key, PAGE_SHARDS, str_of(text), NOW, &out), STATUS_OK);
	cr_expect_eq(out.stream, 9);
	cr_expect_eq(out.shard, 4);
	cr_expect_eq(out.filter, 3);
	cr_expect_eq(out.filter_ms, -5);
	cr_expect_str_eq(out.name, in.name);
	cr_expect_eq(token_page_open(key, PAGE_SHARDS, str_of(text), NOW + 300001, &out), STATUS_EXPIRED_TOKEN);
}

Test(token, kinds_do_not_mix)
{
	struct page page = {.kind = PAGE_STREAMS, .created_ms = NOW}, out;
	struct iterator iterator = iterator_of(5), opened;
	char text[TOKEN_TEXT_MAX];
	token_page_seal(key, &page, text);
	cr_expect_eq(token_page_open(key, PAGE_SHARDS, str_of(text), NOW, &out), STATUS_INVALID_ARGUMENT);
	cr_expect_eq(token_iterator_open(key, str_of(text), NOW, &opened), STATUS_INVALID_ARGUMENT);
	token_iterator_seal(key, &iterator, text);
	cr_expect_eq(token_page_open(key, PAGE_STREAMS, str_of(text), NOW, &out), STATUS_INVALID_ARGUMENT);
}

Test(token, time_as_aws_writes_it)
{
	char out[TOKEN_TIME_MAX];
	token_time(out, INT64_C(1421889722000));
	cr_assert_str_eq(out, "Thu Jan 22 01:22:02 UTC 2015");
}
