/* utf8.h: UTF-8 as strictly as RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF. Pure. */
#ifndef CODEC_UTF8_H
#define CODEC_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/bytes.h"

/* Bytes of the well-formed sequence that starts at p (n >= 1 bytes are there); 0: none does. */
size_t utf8_sequence(const uint8_t *p, size_t n);
bool utf8_valid(const uint8_t *p, size_t n);
/* Length of a well-formed text in UTF-16 code units: what AWS counts as length. */
size_t utf8_utf16_len(struct str s);

#endif
