/* test_bytes.c: strings, small memory, buffers, arenas. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "penstock/bytes.h"

Test(bytes, str)
{
	cr_assert(str_equal(STR("abc"), str_of("abc")));
	cr_assert(!str_equal(STR("abc"), STR("abd")));
	cr_assert(!str_equal(STR("ab"), STR("abc")));
	cr_assert(str_equal(STR(""), (struct str){NULL, 0}));
	cr_assert(!str_present(str_of(NULL)));
	cr_assert(str_present(STR("")));
	cr_assert_lt(str_compare(STR("ab"), STR("abc")), 0);
	cr_assert_gt(str_compare(STR("b"), STR("abc")), 0);
	cr_assert_eq(str_compare(STR("abc"), STR("abc")), 0);
	cr_assert_gt(str_compare(STR("\xff"), STR("a")), 0, "bytes are unsigned");
	cr_assert_eq(str_compare((struct str){NULL, 0}, STR("")), 0);
}

Test(bytes, small_memory)
{
	char *z = xstrndup("stream-1\0rest", 13);
	cr_assert_str_eq(z, "stream-1");
	free(z);
	z = xstrndup("stream", 3);
	cr_assert_str_eq(z, "str");
	free(z);
	void *none = xmalloc(0);
	cr_assert_not_null(none);
	free(none);
	unsigned char *zero = xcalloc(3, 5);
	for (int i = 0; i < 15; i++)
		cr_assert_eq(zero[i], 0);
	free(zero);
}

Test(bytes, buf_grows)
{
	struct buf buf = {0};
	for (int i = 0; i < 10000; i++)
		buf_put_char(&buf, (char)('a' + i % 26));
	cr_assert_eq(buf.n, 10000);
	for (int i = 0; i < 10000; i++)
		cr_assert_eq(buf.p[i], 'a' + i % 26);
	buf_put(&buf, NULL, 0);
	buf_put_str(&buf, STR("tail"));
	cr_assert_eq(memcmp(buf.p + 10000, "tail", 4), 0);
	uint8_t *room = buf_reserve(&buf, 100000);
	cr_assert_eq(room, buf.p + 10004);
	cr_assert_geq(buf.cap, 110004);
	cr_assert_eq(buf.n, 10004);
	buf_free(&buf);
	cr_assert_null(buf.p);
	cr_assert_eq(buf.cap, 0);
}

Test(bytes, buf_printf_of_every_length)
{
	static char long_text[300];
	for (size_t n = 0; n < sizeof(long_text) - 1; n++) {
		memset(long_text, 'x', n);
		long_text[n] = '\0';
		struct buf buf = {0};
		buf_printf(&buf, "%s|%d", long_text, 42);
		cr_assert_eq(buf.n, n + 3);
		cr_assert_eq(memcmp(buf.p, long_text, n), 0);
		cr_assert_eq(memcmp(buf.p + n, "|42", 3), 0);
		buf_free(&buf);
	}
}

Test(bytes, arena)
{
	struct arena arena = {0};
	void *blocks[500];
	for (size_t i = 0; i < 500; i++) {
		size_t n = i % 7 == 0 ? 3000 + i : i; /* large ones have chunks of their own */
		blocks[i] = arena_alloc(&arena, n);
		cr_assert_eq((uintptr_t)blocks[i] % 16, 0);
		memset(blocks[i], (int)(i & 0xff), n);
	}
	for (size_t i = 0; i < 500; i++) {
		size_t n = i % 7 == 0 ? 3000 + i : i;
		for (size_t k = 0; k < n; k++)
			cr_assert_eq(((unsigned char *)blocks[i])[k], i & 0xff, "block %zu is overwritten", i);
	}
	struct str copy = arena_str(&arena, STR("shardId"));
	cr_assert_str_eq(copy.p, "shardId");
	struct str text = arena_printf(&arena, "%s-%05d", "a", 7);
	cr_assert(str_equal(text, STR("a-00007")));
	for (int n = 250; n < 260; n++) {
		text = arena_printf(&arena, "%0*d", n, 7);
		cr_assert_eq(text.n, n);
		cr_assert(text.p[n - 1] == '7' && text.p[n] == '\0');
	}
	unsigned char *zero = arena_zalloc(&arena, 4000);
	for (int i = 0; i < 4000; i++)
		cr_assert_eq(zero[i], 0);
	arena_free(&arena);
	cr_assert_null(arena.chunks);
}
