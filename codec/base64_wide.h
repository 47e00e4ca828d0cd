/* base64_wide.h: the middle of a long base64 text, 32 characters at a time; base64.c does the ends. Room-private. Pure: any thread. */
#ifndef PENSTOCK_CODEC_BASE64_WIDE_H
#define PENSTOCK_CODEC_BASE64_WIDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Encodes whole groups of 24 bytes from in[0..n). Returns how many bytes were taken (a multiple of 24, 0 when the CPU has no AVX2);
 * out has 32 characters for each 24 of them. */
size_t base64_encode_wide(char *out, const uint8_t *in, size_t n);

/* Decodes whole groups of 32 characters from in[0..n), leaving at least the last 12, where padding may stand. Returns how many were taken (a
 * multiple of 32, 0 without AVX2). 8 bytes behind the 24 of a group are written too, all within n / 4 * 3. out may be in. *good is cleared if a
 * character was not of the alphabet. */
size_t base64_decode_wide(uint8_t *out, const uint8_t *in, size_t n, bool *good);

#endif
