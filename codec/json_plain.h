/* json_plain.h: how far a JSON string is plain. Room-private. Pure: any thread. */
#ifndef PENSTOCK_CODEC_JSON_PLAIN_H
#define PENSTOCK_CODEC_JSON_PLAIN_H

#include <stddef.h>
#include <stdint.h>

/* Bytes of p[0..n) before the first that is a quote, a backslash, a control character (below a blank) or not ASCII; n: none is. */
size_t json_plain_run(const uint8_t *p, size_t n);

#endif
