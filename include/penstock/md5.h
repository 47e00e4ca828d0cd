/* md5.h: MD5 of many short texts at once: the hash keys of a PutRecords, whose partition keys are short and come by the hundred. What does
 * not fit goes through OpenSSL, which takes them one by one. Pure: any thread. */
#ifndef PENSTOCK_MD5_H
#define PENSTOCK_MD5_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/bytes.h"

#define MD5_BYTES 16
#define MD5_SHORT 55 /* bytes of the longest text that fits one block with its end mark and its length */
#define MD5_TEXTS 16 /* at once */

/* The digests of n texts, at most MD5_TEXTS, none longer than MD5_SHORT. False: not on this CPU; nothing was done. One text costs as much as
 * MD5_TEXTS of them: four through OpenSSL. */
bool md5_short(const struct str *texts, size_t n, uint8_t (*digests)[MD5_BYTES]);

#endif
