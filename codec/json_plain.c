/* json_plain.c: plain characters, 32 at a time where the CPU can (AVX2). Pure: any thread.
 *
 * Four tests a byte: equal to a quote, equal to a backslash, and, taken as signed, less than a blank: which are control characters and all
 * that is not ASCII. DEL (127) is plain. */
#include "codec/json_plain.h"

#include <string.h>

static size_t run_of_bytes(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i] < 0x20 || p[i] > 0x7f || p[i] == '"' || p[i] == '\\')
			return i;
	return n;
}

#if defined(__x86_64__)
#include <immintrin.h>

__attribute__((target("avx2"))) static size_t run_avx2(const uint8_t *p, size_t n)
{
	const __m256i quote = _mm256_set1_epi8('"'), slash = _mm256_set1_epi8('\\'), blank = _mm256_set1_epi8(0x20);
	size_t at = 0;
	for (; n - at >= 32; at += 32) {
		__m256i text = _mm256_loadu_si256((const __m256i *)(p + at));
		__m256i stops = _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi8(text, quote), _mm256_cmpeq_epi8(text, slash)),
						_mm256_cmpgt_epi8(blank, text));
		unsigned found = (unsigned)_mm256_movemask_epi8(stops);
		if (found)
			return at + (unsigned)__builtin_ctz(found);
	}
	return at + run_of_bytes(p + at, n - at);
}

size_t json_plain_run(const uint8_t *p, size_t n) { return __builtin_cpu_supports("avx2") ? run_avx2(p, n) : run_of_bytes(p, n); }

#else

size_t json_plain_run(const uint8_t *p, size_t n) { return run_of_bytes(p, n); }

#endif
