/* crc32c.c: CRC-32C (Castagnoli, reflected polynomial 0x82f63b78).
 *
 * - With SSE4.2: the crc32 instruction has a latency of three cycles and can start one each cycle. So a long buffer is cut in three strands
 * that run beside each other, and their results are joined: the CRC of A followed by n bytes is the CRC of A moved over n zero bytes (a
 *   linear map, kept as four tables of 256 words) xor the CRC of those n bytes begun at 0.
 * - Without: eight tables (slicing by 8).
 *
 * Thread: any. The tables are made once, at the first call (pthread_once). No failure. */
#include "penstock/crc32c.h"

#include <pthread.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#define CRC32C_SSE42 1
#endif

#define POLYNOMIAL 0x82f63b78u
#define STRAND 1024u /* bytes; below 3 strands one is used: joining costs about 10 ns */

static uint32_t slice[8][256];
#ifdef CRC32C_SSE42
static uint32_t over_strand[4][256]; /* a CRC moved over STRAND zero bytes */
static int have_instruction;
#endif
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_slices(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++)
			crc = crc & 1 ? crc >> 1 ^ POLYNOMIAL : crc >> 1;
		slice[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++)
		for (int k = 1; k < 8; k++)
			slice[k][i] = slice[k - 1][i] >> 8 ^ slice[0][slice[k - 1][i] & 0xff];
}

#ifdef CRC32C_SSE42
static void make_strand(void)
{
	for (int byte = 0; byte < 4; byte++) {
		for (uint32_t i = 0; i < 256; i++) {
			uint32_t crc = i << (8 * byte);
			for (unsigned n = 0; n < STRAND; n++)
				crc = crc >> 8 ^ slice[0][crc & 0xff];
			over_strand[byte][i] = crc;
		}
	}
}
#endif

static void init(void)
{
	make_slices();
#ifdef CRC32C_SSE42
	make_strand();
	have_instruction = __builtin_cpu_supports("sse4.2");
#endif
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;
	memcpy(&v, p, sizeof(v));
	return v;
}

/* crc: already inverted, here and below. Little-endian machines; others go byte by byte. */
static uint32_t by_table(uint32_t crc, const uint8_t *p, size_t n)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	for (; n >= 8; p += 8, n -= 8) {
		uint64_t v = load64(p) ^ crc;
		crc = slice[7][v & 0xff] ^ slice[6][v >> 8 & 0xff] ^ slice[5][v >> 16 & 0xff] ^ slice[4][v >> 24 & 0xff] ^
		      slice[3][v >> 32 & 0xff] ^ slice[2][v >> 40 & 0xff] ^ slice[1][v >> 48 & 0xff] ^ slice[0][v >> 56];
	}
#endif
	for (; n; p++, n--)
		crc = crc >> 8 ^ slice[0][(crc ^ *p) & 0xff];
	return crc;
}

#ifdef CRC32C_SSE42
static uint32_t move_over_strand(uint32_t crc)
{
	return over_strand[0][crc & 0xff] ^ over_strand[1][crc >> 8 & 0xff] ^ over_strand[2][crc >> 16 & 0xff] ^ over_strand[3][crc >> 24];
}

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *p, size_t n)
{
	uint64_t a = crc;
	for (; n >= 3 * STRAND; p += 3 * STRAND, n -= 3 * STRAND) {
		uint64_t b = 0, c = 0;
		for (size_t i = 0; i < STRAND; i += 8) {
			a = _mm_crc32_u64(a, load64(p + i));
			b = _mm_crc32_u64(b, load64(p + STRAND + i));
			c = _mm_crc32_u64(c, load64(p + 2 * STRAND + i));
		}
		a = move_over_strand((uint32_t)a) ^ (uint32_t)b;
		a = move_over_strand((uint32_t)a) ^ (uint32_t)c;
	}
	for (; n >= 8; p += 8, n -= 8)
		a = _mm_crc32_u64(a, load64(p));
	uint32_t rest = (uint32_t)a;
	for (; n; p++, n--)
		rest = _mm_crc32_u8(rest, *p);
	return rest;
}
#endif

uint32_t crc32c(uint32_t crc, const void *p, size_t n)
{
	pthread_once(&once, init);
#ifdef CRC32C_SSE42
	if (have_instruction)
		return ~by_instruction(~crc, p, n);
#endif
	return ~by_table(~crc, p, n);
}
