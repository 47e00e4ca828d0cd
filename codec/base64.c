/* base64.c: standard alphabet, padded. Pure: any thread.
 *
 * Every record passes here twice (into the store, out to JSON readers), so long texts go through base64_wide.c, and what is left of them
 * through tables, by groups of three bytes. The decoder looks at nothing while it goes: a character outside the alphabet has a high bit in
 * the table, and the bits of all groups are collected and looked at once, at the end. OpenSSL's EVP_DecodeBlock is no help: it trims
 * blanks, takes `QR==` and counts padding.
 *
 * - decode: all groups but the last are four characters to three bytes; the last may end in one or two `=`, and the bits that these
 *   leave over must be zero: so each byte string has exactly one text (canonical).
 *
 * Failure: false; what is in `out` then is undefined. */
#include "codec/base64_wide.h"
#include "penstock/writer.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

#define NO 0x80 /* no character of the alphabet */

/* clang-format off */
static const uint8_t digits[256] = {
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, 62, NO, NO, NO, 63,
	52, 53, 54, 55, 56, 57, 58, 59, 60, 61, NO, NO, NO, NO, NO, NO,
	NO,  0,  1,  2,  3,  4,  5,  6,  7,  8,  9, 10, 11, 12, 13, 14,
	15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, NO, NO, NO, NO, NO,
	NO, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
	41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
	NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO,
};
/* clang-format on */

size_t base64_encode(char *out, const void *p, size_t n)
{
	const uint8_t *in = p;
	size_t wide = base64_encode_wide(out, in, n);
	char *o = out + wide / 3 * 4;
	in += wide;
	n -= wide;
	for (; n >= 3; n -= 3, in += 3, o += 4) {
		uint32_t group = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
		o[0] = alphabet[group >> 18];
		o[1] = alphabet[group >> 12 & 63];
		o[2] = alphabet[group >> 6 & 63];
		o[3] = alphabet[group & 63];
	}
	if (n > 0) {
		uint32_t group = (uint32_t)in[0] << 16 | (n == 2 ? (uint32_t)in[1] << 8 : 0);
		o[0] = alphabet[group >> 18];
		o[1] = alphabet[group >> 12 & 63];
		o[2] = n == 2 ? alphabet[group >> 6 & 63] : '=';
		o[3] = '=';
		o += 4;
	}
	return (size_t)(o - out);
}

/* The last group, which may be padded: its bytes, 1 to 3; 0: not base64. */
static size_t decode_last(const uint8_t *in, uint8_t *out)
{
	size_t pads = in[3] != '=' ? 0 : in[2] != '=' ? 1 : 2;
	uint8_t a = digits[in[0]], b = digits[in[1]], c = pads == 2 ? 0 : digits[in[2]], d = pads ? 0 : digits[in[3]];
	uint32_t group = (uint32_t)a << 18 | (uint32_t)b << 12 | (uint32_t)c << 6 | d;
	if (((a | b | c | d) & NO) || (group & ((1u << 8 * pads) - 1)))
		return 0;
	out[0] = (uint8_t)(group >> 16);
	if (pads < 2)
		out[1] = (uint8_t)(group >> 8);
	if (pads == 0)
		out[2] = (uint8_t)group;
	return 3 - pads;
}

bool base64_decode(struct str in, uint8_t *out, size_t *n)
{
	const uint8_t *p = (const uint8_t *)in.p;
	uint8_t *o = out;
	uint32_t seen = 0;
	bool good = true;
	*n = 0;
	if (in.n == 0)
		return true;
	if (in.n % 4 != 0)
		return false;
	const uint8_t *last = p + in.n - 4;
	size_t wide = base64_decode_wide(o, p, in.n, &good);
	p += wide;
	o += wide / 4 * 3;
	for (; p < last; p += 4, o += 3) {
		uint32_t a = digits[p[0]], b = digits[p[1]], c = digits[p[2]], d = digits[p[3]];
		uint32_t group = a << 18 | b << 12 | c << 6 | d;
		seen |= a | b | c | d;
		o[0] = (uint8_t)(group >> 16);
		o[1] = (uint8_t)(group >> 8);
		o[2] = (uint8_t)group;
	}
	size_t rest = decode_last(p, o);
	*n = (size_t)(o - out) + rest;
	return good && rest > 0 && !(seen & NO);
}
