/* base64_wide.c: base64 in 32-byte registers (AVX2). Pure: any thread.
 *
 * Each step of the table version is done for 32 characters at once (the method is Wojciech Mula's and Daniel Lemire's, "Faster Base64
 * Encoding and Decoding using AVX2 Instructions", 2018):
 *
 * - encode: bytes are spread so that each 32-bit place holds the three of one group; two multiplications shift the four digits into their
 *   bytes; the character is the digit plus an offset that depends on its range only (A-Z, a-z, 0-9, +, /), which is looked up.
 * - decode: a character is in the alphabet if the table rows of its two nibbles share no bit; the digit is the character plus an offset by
 *   its high nibble (`/` has one of its own); two multiply-adds pack four digits into three bytes.
 *
 * Lanes of 16 bytes never mix, but for the last permutation of the decoder. Without AVX2 nothing is taken, and the tables do it all. */
#include "codec/base64_wide.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define WIDE __attribute__((target("avx2")))

static inline WIDE __m256i twice(__m128i lane) { return _mm256_broadcastsi128_si256(lane); }

static WIDE size_t encode_avx2(char *out, const uint8_t *in, size_t n)
{
	const __m256i spread = twice(_mm_setr_epi8(1, 0, 2, 1, 4, 3, 5, 4, 7, 6, 8, 7, 10, 9, 11, 10));
	/* By class of digit: a-z, ten digits, +, /, A-Z. */
	const __m256i offsets = twice(_mm_setr_epi8('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
						    '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0));
	size_t at = 0;
	/* The second load reads 4 bytes behind its 12. */
	for (; n - at >= 28; at += 24, out += 32) {
		__m128i low = _mm_loadu_si128((const __m128i *)(in + at)), high = _mm_loadu_si128((const __m128i *)(in + at + 12));
		__m256i bytes = _mm256_shuffle_epi8(_mm256_set_m128i(high, low), spread);
		__m256i odd = _mm256_mulhi_epu16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x0fc0fc00)), _mm256_set1_epi32(0x04000040));
		__m256i even = _mm256_mullo_epi16(_mm256_and_si256(bytes, _mm256_set1_epi32(0x003f03f0)), _mm256_set1_epi32(0x01000010));
		__m256i digits = _mm256_or_si256(odd, even);
		__m256i upper = _mm256_and_si256(_mm256_cmpgt_epi8(_mm256_set1_epi8(26), digits), _mm256_set1_epi8(13));
		__m256i class = _mm256_or_si256(_mm256_subs_epu8(digits, _mm256_set1_epi8(51)), upper);
		_mm256_storeu_si256((__m256i *)out, _mm256_add_epi8(digits, _mm256_shuffle_epi8(offsets, class)));
	}
	return at;
}

static WIDE size_t decode_avx2(uint8_t *out, const uint8_t *in, size_t n, bool *good)
{
	/* One bit for each class of high nibble that the low nibble must not meet. */
	const __m256i low_rows =
		twice(_mm_setr_epi8(0x15, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x11, 0x13, 0x1a, 0x1b, 0x1b, 0x1b, 0x1a));
	const __m256i high_rows =
		twice(_mm_setr_epi8(0x10, 0x10, 0x01, 0x02, 0x04, 0x08, 0x04, 0x08, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10, 0x10));
	/* By high nibble; place 1 is for `/`, whose nibble 2 is less by one. */
	const __m256i offsets =
		twice(_mm_setr_epi8(0, 63 - '/', 62 - '+', 52 - '0', -'A', -'A', 26 - 'a', 26 - 'a', 0, 0, 0, 0, 0, 0, 0, 0));
	const __m256i pack = twice(_mm_setr_epi8(2, 1, 0, 6, 5, 4, 10, 9, 8, 14, 13, 12, -1, -1, -1, -1));
	const __m256i nibble = _mm256_set1_epi8(0x0f), slash = _mm256_set1_epi8('/');
	__m256i bad = _mm256_setzero_si256();
	size_t at = 0;
	for (; n - at > 32 + 11; at += 32, out += 24) {
		__m256i text = _mm256_loadu_si256((const __m256i *)(in + at));
		__m256i high = _mm256_and_si256(_mm256_srli_epi32(text, 4), nibble);
		__m256i rows = _mm256_and_si256(_mm256_shuffle_epi8(low_rows, _mm256_and_si256(text, nibble)),
						_mm256_shuffle_epi8(high_rows, high));
		bad = _mm256_or_si256(bad, rows);
		__m256i place = _mm256_add_epi8(high, _mm256_cmpeq_epi8(text, slash));
		__m256i digits = _mm256_add_epi8(text, _mm256_shuffle_epi8(offsets, place));
		__m256i pairs = _mm256_maddubs_epi16(digits, _mm256_set1_epi32(0x01400140));
		__m256i groups = _mm256_shuffle_epi8(_mm256_madd_epi16(pairs, _mm256_set1_epi32(0x00011000)), pack);
		groups = _mm256_permutevar8x32_epi32(groups, _mm256_setr_epi32(0, 1, 2, 4, 5, 6, 3, 7));
		_mm256_storeu_si256((__m256i *)out, groups);
	}
	if (!_mm256_testz_si256(bad, bad))
		*good = false;
	return at;
}

size_t base64_encode_wide(char *out, const uint8_t *in, size_t n)
{
	return __builtin_cpu_supports("avx2") && n >= 28 ? encode_avx2(out, in, n) : 0;
}

size_t base64_decode_wide(uint8_t *out, const uint8_t *in, size_t n, bool *good)
{
	return __builtin_cpu_supports("avx2") && n > 32 + 11 ? decode_avx2(out, in, n, good) : 0;
}

#else

size_t base64_encode_wide(char *out, const uint8_t *in, size_t n)
{
	(void)out, (void)in, (void)n;
	return 0;
}

size_t base64_decode_wide(uint8_t *out, const uint8_t *in, size_t n, bool *good)
{
	(void)out, (void)in, (void)n, (void)good;
	return 0;
}
#endif
