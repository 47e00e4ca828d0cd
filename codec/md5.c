/* md5.c: MD5 (RFC 1321) of sixteen texts of one block each, in two registers of eight lanes (AVX2). Pure: any thread.
 *
 * One MD5 is a chain of 64 steps that each wait for the one before; so sixteen of them side by side take hardly longer than one. Two
 * registers rather than one, since a step leaves the CPU room for another.
 *
 * - lay: each text with its end mark (0x80) and its length in bits becomes a column of 16 words;
 * - four rounds of 16 steps on all columns;
 * - the columns of the state are the digests.
 *
 * Failure: none but a CPU without AVX2, which the caller is told. The tests compare with OpenSSL. */
#include "penstock/md5.h"

#include <assert.h>

#if defined(__x86_64__)

#define WIDE __attribute__((target("avx2")))
#define WORDS 16
#define HALVES 2
#define LANES (MD5_TEXTS / HALVES)

typedef uint32_t lanes __attribute__((vector_size(4 * LANES)));

struct state {
	lanes a, b, c, d;
};

/* floor(2^32 * |sin(i + 1)|) */
/* clang-format off */
static const uint32_t sines[64] = {
	0xd76aa478, 0xe8c7b756, 0x242070db, 0xc1bdceee, 0xf57c0faf, 0x4787c62a, 0xa8304613, 0xfd469501,
	0x698098d8, 0x8b44f7af, 0xffff5bb1, 0x895cd7be, 0x6b901122, 0xfd987193, 0xa679438e, 0x49b40821,
	0xf61e2562, 0xc040b340, 0x265e5a51, 0xe9b6c7aa, 0xd62f105d, 0x02441453, 0xd8a1e681, 0xe7d3fbc8,
	0x21e1cde6, 0xc33707d6, 0xf4d50d87, 0x455a14ed, 0xa9e3e905, 0xfcefa3f8, 0x676f02d9, 0x8d2a4c8a,
	0xfffa3942, 0x8771f681, 0x6d9d6122, 0xfde5380c, 0xa4beea44, 0x4bdecfa9, 0xf6bb4b60, 0xbebfbc70,
	0x289b7ec6, 0xeaa127fa, 0xd4ef3085, 0x04881d05, 0xd9d4d039, 0xe6db99e5, 0x1fa27cf8, 0xc4ac5665,
	0xf4292244, 0x432aff97, 0xab9423a7, 0xfc93a039, 0x655b59c3, 0x8f0ccc92, 0xffeff47d, 0x85845dd1,
	0x6fa87e4f, 0xfe2ce6e0, 0xa3014314, 0x4e0811a1, 0xf7537e82, 0xbd3af235, 0x2ad7d2bb, 0xeb86d391,
};
/* clang-format on */

static const uint32_t begin[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};

static void lay(uint32_t block[WORDS][MD5_TEXTS], size_t column, struct str text)
{
	uint32_t words[WORDS] = {0};
	assert(text.n <= MD5_SHORT);
	if (text.n)
		memcpy(words, text.p, text.n);
	((uint8_t *)words)[text.n] = 0x80;
	size_t used = text.n / 4 + 1;
	for (size_t i = 0; i < used; i++)
		block[i][column] = words[i];
	block[14][column] = (uint32_t)text.n * 8;
}

/* One step: `mixed` is the round's function of b, c and d. */
static inline WIDE __attribute__((always_inline)) void step(struct state *state, const lanes *mixed, const uint32_t *words, uint32_t sine,
							    int turn)
{
	lanes word;
	memcpy(&word, words, sizeof(word));
	lanes sum = state->a + *mixed + word + sine;
	sum = (sum << turn | sum >> (32 - turn)) + state->b;
	state->a = state->d;
	state->d = state->c;
	state->c = state->b;
	state->b = sum;
}

static inline WIDE __attribute__((always_inline)) void mix(lanes *out, const struct state *state, int round)
{
	lanes b = state->b, c = state->c, d = state->d;
	switch (round) {
	case 0:
		*out = d ^ (b & (c ^ d));
		break;
	case 1:
		*out = c ^ (d & (b ^ c));
		break;
	case 2:
		*out = b ^ c ^ d;
		break;
	default:
		*out = c ^ (b | ~d);
	}
}

static inline WIDE __attribute__((always_inline)) void run_round(struct state *state, uint32_t block[WORDS][MD5_TEXTS], int round)
{
	static const int turns[4][4] = {{7, 12, 17, 22}, {5, 9, 14, 20}, {4, 11, 16, 23}, {6, 10, 15, 21}};
	static const int strides[4] = {1, 5, 3, 7}, starts[4] = {0, 1, 5, 0};
	for (int i = 0; i < WORDS; i++)
		for (int half = 0; half < HALVES; half++) {
			const uint32_t *words = block[(starts[round] + strides[round] * i) % WORDS];
			lanes mixed;
			mix(&mixed, &state[half], round);
			step(&state[half], &mixed, words + half * LANES, sines[round * WORDS + i], turns[round][i % 4]);
		}
}

static WIDE void run(uint32_t block[WORDS][MD5_TEXTS], uint32_t out[4][MD5_TEXTS])
{
	struct state state[HALVES];
	for (int half = 0; half < HALVES; half++)
		state[half] = (struct state){begin[0] + (lanes){0}, begin[1] + (lanes){0}, begin[2] + (lanes){0}, begin[3] + (lanes){0}};
	run_round(state, block, 0);
	run_round(state, block, 1);
	run_round(state, block, 2);
	run_round(state, block, 3);
	for (int half = 0; half < HALVES; half++) {
		lanes sums[4] = {state[half].a + begin[0], state[half].b + begin[1], state[half].c + begin[2], state[half].d + begin[3]};
		for (int word = 0; word < 4; word++)
			memcpy(&out[word][half * LANES], &sums[word], sizeof(sums[word]));
	}
}

bool md5_short(const struct str *texts, size_t n, uint8_t (*digests)[MD5_BYTES])
{
	uint32_t block[WORDS][MD5_TEXTS] = {0}, out[4][MD5_TEXTS];
	assert(n <= MD5_TEXTS);
	if (!__builtin_cpu_supports("avx2"))
		return false;
	for (size_t i = 0; i < n; i++)
		lay(block, i, texts[i]);
	run(block, out);
	for (size_t i = 0; i < n; i++)
		for (size_t word = 0; word < 4; word++)
			memcpy(digests[i] + 4 * word, &out[word][i], 4);
	return true;
}

#else

bool md5_short(const struct str *texts, size_t n, uint8_t (*digests)[MD5_BYTES])
{
	(void)texts, (void)n, (void)digests;
	return false;
}

#endif
