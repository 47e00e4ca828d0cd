/* seq.c: sequence numbers, hash keys and shard names. All pure.
 *
 * A sequence number is three 64-bit words, most significant last:
 *
 *   w[2]  bits 184 `2` | 148 creation second, 36 bits | 144 shard nibble | 128 index, high 16 bits
 *   w[1]  bits  80 index, low 48 bits | 72 mark | 64 second of the record, high 8 bits
 *   w[0]  bits  36 second, low 28 bits | 4 shard number | 0 version `2`
 *
 * Decimal comes 19 digits at a time: 10^19 is the largest power of ten in a word, and its top bit is set, so that a step of the long
 * division is two multiplications with a ready-made reciprocal (Möller and Granlund, "Improved division by invariant integers", algorithm
 * 4) instead of a division of 128 by 64 bits. seq_format runs once per record put and once per record encoded.
 *
 * Failure: only what clients sent can be wrong: STATUS_INVALID_ARGUMENT or false. */
#include "penstock/seq.h"

#include <assert.h>

struct u192 {
	uint64_t w[3];
};

#define TEN19 UINT64_C(10000000000000000000)
#define TEN19_DIGITS 19
#define TEN19_RECIPROCAL ((uint64_t)(~(uint128)0 / TEN19)) /* less 2^64, which the cast drops */

/* ---- Decimal out ---- */

/* (high, low) / 10^19 with high < 10^19. */
static uint64_t divide_step(uint64_t high, uint64_t low, uint64_t *rest)
{
	uint128 q = (uint128)TEN19_RECIPROCAL * high + ((uint128)high << 64 | low);
	uint64_t q1 = (uint64_t)(q >> 64) + 1;
	uint64_t r = low - q1 * TEN19;
	if (r > (uint64_t)q) {
		q1--;
		r += TEN19;
	}
	if (r >= TEN19) {
		q1++;
		r -= TEN19;
	}
	*rest = r;
	return q1;
}

/* n /= 10^19; returns the rest. */
static uint64_t divide(struct u192 *n)
{
	uint64_t rest = n->w[2] >= TEN19 ? n->w[2] - TEN19 : n->w[2];
	n->w[2] = n->w[2] >= TEN19;
	n->w[1] = divide_step(rest, n->w[1], &rest);
	n->w[0] = divide_step(rest, n->w[0], &rest);
	return rest;
}

static const char pairs[] = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
			    "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

/* Eight digits side by side in a word: halves of four, then twos, then ones; each step divides all places by one multiplication. */
static void put_eight(char *out, uint64_t n)
{
	uint64_t fours = n / 10000 | n % 10000 << 32;
	uint64_t hundreds = fours * 10486 >> 20 & UINT64_C(0x7f0000007f); /* 10486 / 2^20 = 1 / 100, near enough below 10,000 */
	uint64_t twos = hundreds | (fours - 100 * hundreds) << 16;
	uint64_t tens = twos * 103 >> 10 & UINT64_C(0x000f000f000f000f); /* 103 / 2^10 = 1 / 10, near enough below 100 */
	uint64_t ones = tens | (twos - 10 * tens) << 8 | UINT64_C(0x3030303030303030);
	memcpy(out, &ones, sizeof(ones));
}

/* The last `digits` digits of n, with leading zeros. */
static inline __attribute__((always_inline)) void put_digits(char *out, unsigned digits, uint64_t n)
{
	for (; digits >= 8; digits -= 8) {
		put_eight(out + digits - 8, n % 100000000);
		n /= 100000000;
	}
	uint32_t rest = (uint32_t)n;
	for (; digits >= 2; digits -= 2) {
		memcpy(out + digits - 2, pairs + rest % 100 * 2, 2);
		rest /= 100;
	}
	if (digits)
		*out = (char)('0' + rest % 10);
}

static inline __attribute__((always_inline)) void format(char out[SEQ_DIGITS], const struct shard_key *shard, uint64_t index, uint64_t mark,
							 int64_t time_s)
{
	uint64_t created = (uint64_t)shard->created_s & 0xfffffffff, time = (uint64_t)time_s & 0xfffffffff;
	assert(index <= SEQ_INDEX_MAX && shard->created_s < SEQ_SECONDS_MAX);
	struct u192 n = {{
		time << 36 | (uint64_t)shard->shard << 4 | 2,
		index << 16 | mark << 8 | time >> 28,
		UINT64_C(2) << 56 | created << 20 | (uint64_t)(shard->shard & 15) << 16 | index >> 48,
	}};
	uint64_t low = divide(&n), middle = divide(&n);
	put_digits(out, SEQ_DIGITS - 2 * TEN19_DIGITS, n.w[0]);
	put_digits(out + SEQ_DIGITS - 2 * TEN19_DIGITS, TEN19_DIGITS, middle);
	put_digits(out + SEQ_DIGITS - TEN19_DIGITS, TEN19_DIGITS, low);
}

void seq_format(char out[SEQ_DIGITS], const struct shard_key *shard, uint64_t index, int64_t time_s)
{
	format(out, shard, index, 0, time_s);
}

void seq_format_position(char out[SEQ_DIGITS], const struct shard_key *shard, uint64_t index, int64_t time_s)
{
	format(out, shard, index, 1, time_s);
}

size_t hash_format(char out[HASH_DIGITS], uint128 hash)
{
	struct u192 n = {{(uint64_t)hash, (uint64_t)(hash >> 64), 0}};
	char digits[3 * TEN19_DIGITS];
	for (int chunk = 2; chunk >= 0; chunk--)
		put_digits(digits + chunk * TEN19_DIGITS, TEN19_DIGITS, divide(&n));
	size_t skip = 0;
	while (skip < sizeof(digits) - 1 && digits[skip] == '0')
		skip++;
	memcpy(out, digits + skip, sizeof(digits) - skip);
	return sizeof(digits) - skip;
}

/* ---- Decimal in ---- */

static bool all_digits(struct str text)
{
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
	return text.n > 0;
}

/* n = n * factor + add; what does not fit in 192 bits is lost. */
static void multiply_add(struct u192 *n, uint64_t factor, uint64_t add)
{
	uint128 carry = add;
	for (int i = 0; i < 3; i++) {
		carry += (uint128)n->w[i] * factor;
		n->w[i] = (uint64_t)carry;
		carry >>= 64;
	}
}

/* At most 57 digits, which always fit. */
static struct u192 parse_digits(struct str text)
{
	struct u192 n = {{0}};
	while (text.n) {
		size_t count = text.n < TEN19_DIGITS ? text.n : TEN19_DIGITS;
		uint64_t chunk = 0, scale = 1;
		for (size_t i = 0; i < count; i++) {
			chunk = chunk * 10 + (uint64_t)(text.p[i] - '0');
			scale *= 10;
		}
		multiply_add(&n, scale, chunk);
		text.p += count;
		text.n -= count;
	}
	return n;
}

/* `bits` bits of n from bit `at` up; bits <= 64. */
static uint64_t field(const struct u192 *n, unsigned at, unsigned bits)
{
	unsigned word = at / 64, shift = at % 64;
	uint64_t value = n->w[word] >> shift;
	if (shift && word < 2)
		value |= n->w[word + 1] << (64 - shift);
	return bits < 64 ? value & ((UINT64_C(1) << bits) - 1) : value;
}

/* Version 2: the layout at the head of this file. */
static enum status read_v2(const struct u192 *n, struct seq *out)
{
	*out = (struct seq){
		.created_s = (int64_t)field(n, 148, 36),
		.index = field(n, 80, 64),
		.time_s = (int64_t)field(n, 36, 36),
		.shard = (uint32_t)field(n, 4, 32),
		.version = 2,
		.position = field(n, 72, 8) != 0,
	};
	return out->index > SEQ_INDEX_MAX || out->created_s >= SEQ_SECONDS_MAX ? STATUS_INVALID_ARGUMENT : STATUS_OK;
}

/* Version 1, 47 hex digits: `2`, 9 creation, 1 nibble, 2 unknown, 9 time, 14 random, 2 index, 8 shard, `1`. */
static enum status read_v1(const struct u192 *n, struct seq *out)
{
	*out = (struct seq){
		.created_s = (int64_t)field(n, 148, 36),
		.time_s = (int64_t)field(n, 100, 36),
		.index = field(n, 36, 8),
		.shard = (uint32_t)field(n, 4, 32),
		.version = 1,
	};
	return STATUS_OK;
}

/* Version 0, 32 hex digits: `1`, 9 creation, 2 unknown, 16 random, 4 shard. A value from 2^128 up has a digit more and its fields, which
 * are counted from the left, lie four bits higher. It has no second of its own: the shard's stands in. */
static enum status read_v0(const struct u192 *n, struct seq *out)
{
	unsigned up = n->w[2] ? 4 : 0;
	*out = (struct seq){
		.created_s = (int64_t)field(n, 88 + up, 36),
		.shard = (uint32_t)field(n, up, 16),
		.version = 0,
	};
	out->time_s = out->created_s;
	return out->created_s >= SEQ_SECONDS_MAX ? STATUS_INVALID_ARGUMENT : STATUS_OK;
}

enum status seq_parse(struct str text, struct seq *out)
{
	/* 1.5 * 2^185 has 56 digits: nothing longer is a number of any version. */
	if (!all_digits(text) || text.n > SEQ_DIGITS || (text.p[0] == '0' && text.n > 1))
		return STATUS_INVALID_ARGUMENT;
	struct u192 n = parse_digits(text);
	if (n.w[2] == 0 && n.w[1] >> 60 == 0)
		n.w[1] |= UINT64_C(1) << 60; /* below 2^124: 2^124 is added */
	if (n.w[2] < 2)
		return read_v0(&n, out);
	bool above = n.w[2] > UINT64_C(2) << 56 || n.w[1] || n.w[0]; /* strictly above 2^185 */
	if (n.w[2] >> 56 != 2 || !above)
		return STATUS_INVALID_ARGUMENT;
	switch (n.w[0] & 15) {
	case 1:
		return read_v1(&n, out);
	case 2:
		return read_v2(&n, out);
	default:
		return STATUS_INVALID_ARGUMENT;
	}
}

bool hash_parse(struct str text, uint128 *out)
{
	if (!all_digits(text))
		return false;
	while (text.n > 1 && *text.p == '0') {
		text.p++;
		text.n--;
	}
	if (text.n > HASH_DIGITS)
		return false;
	struct u192 n = parse_digits(text);
	if (n.w[2])
		return false;
	*out = (uint128)n.w[1] << 64 | n.w[0];
	return true;
}

/* ---- Shards ---- */

void shard_name(char out[SHARD_NAME_LEN + 1], uint32_t shard)
{
	memcpy(out, "shardId-", 8);
	put_digits(out + 8, SHARD_NAME_LEN - 8, shard);
	out[SHARD_NAME_LEN] = '\0';
}

bool shard_parse(struct str text, uint32_t *out)
{
	const char *dash = text.n ? memchr(text.p, '-', text.n) : NULL;
	if (dash) {
		size_t skip = (size_t)(dash - text.p) + 1;
		text = (struct str){text.p + skip, text.n - skip};
		const char *next = text.n ? memchr(text.p, '-', text.n) : NULL;
		if (next)
			text.n = (size_t)(next - text.p);
	}
	if (!all_digits(text))
		return false;
	uint64_t shard = 0;
	for (size_t i = 0; i < text.n; i++) {
		shard = shard * 10 + (uint64_t)(text.p[i] - '0');
		if (shard > INT32_MAX)
			return false;
	}
	*out = (uint32_t)shard;
	return true;
}

uint128 hash_uniform_start(uint32_t i, uint32_t n)
{
	assert(n >= 1 && i < n);
	if (n == 1)
		return 0;
	/* 2^128 itself does not fit: 2^128 - 1 divided, and one more where n divides 2^128. */
	uint128 all = ~(uint128)0, step = all / n + (all % n == n - 1);
	return step * i;
}
