/* test_crc32c.c: known answers, and every path against one bit at a time. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "base/crc32c.c" /* the statics: both ways must agree, whatever this machine has */

static uint32_t bitwise(const uint8_t *p, size_t n)
{
	uint32_t crc = ~0u;
	for (; n; p++, n--) {
		crc ^= *p;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
	}
	return ~crc;
}

Test(crc32c, known_answers)
{
	uint8_t bytes[32];
	cr_assert_eq(crc32c(0, "123456789", 9), 0xe3069283);
	cr_assert_eq(crc32c(0, "", 0), 0);
	memset(bytes, 0, 32); /* RFC 3720, B.4 */
	cr_assert_eq(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, 32);
	cr_assert_eq(crc32c(0, bytes, 32), 0x62a8ab43);
	for (int i = 0; i < 32; i++)
		bytes[i] = (uint8_t)i;
	cr_assert_eq(crc32c(0, bytes, 32), 0x46dd794e);
}

Test(crc32c, every_length_and_alignment)
{
	size_t max = 4 * 3 * STRAND;
	uint8_t *bytes = malloc(max + 8);
	uint32_t x = 1;
	for (size_t i = 0; i < max + 8; i++)
		bytes[i] = (uint8_t)((x = x * 1664525 + 1013904223) >> 24);
	for (size_t n = 0; n <= max; n += n < 40 ? 1 : 331) {
		const uint8_t *p = bytes + n % 8;
		uint32_t want = bitwise(p, n);
		cr_assert_eq(crc32c(0, p, n), want, "n %zu", n);
		cr_assert_eq(~by_table(~0u, p, n), want, "table, n %zu", n);
		size_t cut = n / 3;
		cr_assert_eq(crc32c(crc32c(0, p, cut), p + cut, n - cut), want, "in two pieces, n %zu", n);
	}
	free(bytes);
}
