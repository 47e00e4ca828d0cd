/* writer.h: answers, in JSON or CBOR by the same calls. Append-only; the caller keeps the grammar (begin/end pairs, key before value),
 * which asserts check. Pure. */
#ifndef PENSTOCK_WRITER_H
#define PENSTOCK_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/value.h" /* enum encoding */

struct writer {
	struct buf *out;
	enum encoding encoding;
	uint8_t depth;
	uint32_t comma;  /* bit per depth: a member was written */
	uint32_t maps;   /* bit per depth: it is a map */
	bool keyed;      /* a key waits for its value */
};

void writer_init(struct writer *w, enum encoding encoding, struct buf *out);
void write_map(struct writer *w);           /* { ; CBOR: indefinite length */
void write_map_end(struct writer *w);
void write_list(struct writer *w);
void write_list_end(struct writer *w);
void write_key(struct writer *w, const char *key);
void write_str(struct writer *w, struct str v);      /* UTF-8; escaped for JSON */
void write_int(struct writer *w, int64_t v);
void write_bool(struct writer *w, bool v);
void write_blob(struct writer *w, struct str v);     /* base64, or a byte string */
void write_time(struct writer *w, int64_t ms);       /* seconds with three decimals, or tag 1 + ms */
void write_encoded(struct writer *w, struct str v);  /* a whole value, as a writer of this encoding has written it elsewhere */

/* "key": value, for the common cases. */
void write_kv_str(struct writer *w, const char *key, struct str v);
void write_kv_int(struct writer *w, const char *key, int64_t v);
void write_kv_bool(struct writer *w, const char *key, bool v);
void write_kv_time(struct writer *w, const char *key, int64_t ms);

/* The pieces that the event encoder shares. */
size_t json_escaped_len(struct str s);               /* without the quotes */
size_t json_escape(char *out, struct str s);
static inline size_t base64_len(size_t n) { return (n + 2) / 3 * 4; }
size_t base64_encode(char *out, const void *p, size_t n); /* standard alphabet, padded, no NUL */
/* Strict (canonical, padded, no blanks). False: not base64. out has room for in.n / 4 * 3 bytes and may be in.p itself. */
bool base64_decode(struct str in, uint8_t *out, size_t *n);

#endif
