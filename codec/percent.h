/* percent.h: percent-encoding of URIs (RFC 3986, 2.1), byte by byte. Pure, any thread. */
#ifndef PENSTOCK_CODEC_PERCENT_H
#define PENSTOCK_CODEC_PERCENT_H

#include <stdbool.h>

#include "penstock/bytes.h"

/* The byte that stands at *at < text.n, encoded or not; *at goes behind it. False: a percent sign without two hexadecimal digits. */
bool percent_decode(struct str text, size_t *at, char *c);
/* Appends c, encoded (digits in upper case) unless it is one of A-Z a-z 0-9 - _ . ~ */
void percent_encode(char c, struct buf *out);

#endif
