/* utf8.c: strict UTF-8, eight bytes at a time where they are ASCII. Pure: any thread.
 *
 * - a body is nearly always ASCII (keys, base64), so a word without a high bit is skipped at once;
 * - otherwise one sequence is checked by its lead byte and by the range that the lead allows for the second byte: this range is what
 *   rules out overlong forms (E0, F0), surrogates (ED) and values above U+10FFFF (F4). */
#include "codec/utf8.h"

#define HIGH_BITS UINT64_C(0x8080808080808080)

static bool is_continuation(uint8_t c) { return (c & 0xc0) == 0x80; }

size_t utf8_sequence(const uint8_t *p, size_t n)
{
	uint8_t lead = p[0];
	if (lead < 0x80)
		return 1;
	if (lead >= 0xc2 && lead <= 0xdf)
		return n >= 2 && is_continuation(p[1]) ? 2 : 0;
	if ((lead & 0xf0) == 0xe0) {
		uint8_t low = lead == 0xe0 ? 0xa0 : 0x80, high = lead == 0xed ? 0x9f : 0xbf;
		return n >= 3 && p[1] >= low && p[1] <= high && is_continuation(p[2]) ? 3 : 0;
	}
	if (lead >= 0xf0 && lead <= 0xf4) {
		uint8_t low = lead == 0xf0 ? 0x90 : 0x80, high = lead == 0xf4 ? 0x8f : 0xbf;
		return n >= 4 && p[1] >= low && p[1] <= high && is_continuation(p[2]) && is_continuation(p[3]) ? 4 : 0;
	}
	return 0;
}

bool utf8_valid(const uint8_t *p, size_t n)
{
	size_t i = 0;
	while (i < n) {
		uint64_t word;
		if (n - i >= sizeof(word)) {
			memcpy(&word, p + i, sizeof(word));
			if ((word & HIGH_BITS) == 0) {
				i += sizeof(word);
				continue;
			}
		}
		size_t step = p[i] < 0x80 ? 1 : utf8_sequence(p + i, n - i);
		if (step == 0)
			return false;
		i += step;
	}
	return true;
}

size_t utf8_utf16_len(struct str s)
{
	size_t units = 0;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];
		/* Every sequence is one unit, counted at its lead; four bytes are a surrogate pair. */
		units += !is_continuation(c);
		units += c >= 0xf0;
	}
	return units;
}
