/* writer.c: answers in JSON or CBOR by the same calls. Pure: one writer, one thread.
 *
 * Invariants, which asserts check: begin and end match in kind, a map alternates key and value, depth stays below 32 (a bit per depth).
 *
 * - JSON: compact; `place` writes the comma before what needs one;
 * - CBOR: maps and lists of indefinite length, as AWS answers; numbers in shortest form (libcbor's encoders); a time is tag 1 with whole
 *   *milliseconds*, which is what the SDKs read.
 *
 * Failure: none; the buffer grows, its owner bounds what is put in. */
#include "penstock/writer.h"

#include <assert.h>
#include <cbor.h>

#define HEAD_MAX 9     /* of a CBOR item */
#define DECIMAL_MAX 20 /* -9223372036854775808 */
#define DEPTH_MAX 31

static uint32_t bit(const struct writer *w) { return UINT32_C(1) << w->depth; }

void writer_init(struct writer *w, enum encoding encoding, struct buf *out) { *w = (struct writer){.out = out, .encoding = encoding}; }

/* Before each value and each key: checks that it may stand here, and writes JSON's comma. */
static void place(struct writer *w, bool key)
{
	bool in_map = (w->maps & bit(w)) != 0;
	assert(key ? in_map && !w->keyed : in_map == w->keyed);
	if (w->encoding == ENCODING_JSON && !w->keyed && (w->comma & bit(w)))
		buf_put_char(w->out, ',');
	assert(w->depth > 0 || !(w->comma & bit(w))); /* one document */
	w->comma |= bit(w);
	w->keyed = key;
}

static void open_container(struct writer *w, bool map)
{
	place(w, false);
	assert(w->depth < DEPTH_MAX);
	w->depth++;
	w->comma &= ~bit(w);
	w->maps = map ? w->maps | bit(w) : w->maps & ~bit(w);
}

static void close_container(struct writer *w, bool map)
{
	assert(w->depth > 0 && !w->keyed && ((w->maps & bit(w)) != 0) == map);
	w->depth--;
	if (w->encoding == ENCODING_JSON)
		buf_put_char(w->out, map ? '}' : ']');
	else
		w->out->n += cbor_encode_break(buf_reserve(w->out, 1), 1);
}

void write_map(struct writer *w)
{
	open_container(w, true);
	if (w->encoding == ENCODING_JSON)
		buf_put_char(w->out, '{');
	else
		w->out->n += cbor_encode_indef_map_start(buf_reserve(w->out, 1), 1);
}

void write_map_end(struct writer *w) { close_container(w, true); }

void write_list(struct writer *w)
{
	open_container(w, false);
	if (w->encoding == ENCODING_JSON)
		buf_put_char(w->out, '[');
	else
		w->out->n += cbor_encode_indef_array_start(buf_reserve(w->out, 1), 1);
}

void write_list_end(struct writer *w) { close_container(w, false); }

static void put_quoted(struct buf *out, struct str v)
{
	size_t n = json_escaped_len(v);
	char *p = (char *)buf_reserve(out, n + 2);
	p[0] = '"';
	if (n == v.n && n > 0)
		memcpy(p + 1, v.p, n);
	else
		json_escape(p + 1, v);
	p[n + 1] = '"';
	out->n += n + 2;
}

static void put_text(struct buf *out, struct str v)
{
	out->n += cbor_encode_string_start(v.n, buf_reserve(out, HEAD_MAX), HEAD_MAX);
	buf_put_str(out, v);
}

void write_key(struct writer *w, const char *key)
{
	place(w, true);
	if (w->encoding == ENCODING_CBOR) {
		put_text(w->out, str_of(key));
		return;
	}
	put_quoted(w->out, str_of(key));
	buf_put_char(w->out, ':');
}

void write_str(struct writer *w, struct str v)
{
	place(w, false);
	if (w->encoding == ENCODING_JSON)
		put_quoted(w->out, v);
	else
		put_text(w->out, v);
}

/* Decimal digits of v, at least `width` of them. */
static void put_decimal(struct buf *out, uint64_t v, size_t width)
{
	char digits[DECIMAL_MAX];
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v > 0 || sizeof(digits) - at < width);
	buf_put(out, digits + at, sizeof(digits) - at);
}

/* Without undefined behaviour at the lower end. */
static uint64_t magnitude(int64_t v) { return v < 0 ? UINT64_C(0) - (uint64_t)v : (uint64_t)v; }

static void put_cbor_int(struct buf *out, int64_t v)
{
	uint8_t *p = buf_reserve(out, HEAD_MAX);
	out->n += v < 0 ? cbor_encode_negint(magnitude(v) - 1, p, HEAD_MAX) : cbor_encode_uint((uint64_t)v, p, HEAD_MAX);
}

void write_int(struct writer *w, int64_t v)
{
	place(w, false);
	if (w->encoding == ENCODING_CBOR) {
		put_cbor_int(w->out, v);
		return;
	}
	if (v < 0)
		buf_put_char(w->out, '-');
	put_decimal(w->out, magnitude(v), 1);
}

void write_bool(struct writer *w, bool v)
{
	place(w, false);
	if (w->encoding == ENCODING_JSON)
		buf_put_str(w->out, v ? STR("true") : STR("false"));
	else
		w->out->n += cbor_encode_bool(v, buf_reserve(w->out, 1), 1);
}

void write_blob(struct writer *w, struct str v)
{
	place(w, false);
	if (w->encoding == ENCODING_CBOR) {
		w->out->n += cbor_encode_bytestring_start(v.n, buf_reserve(w->out, HEAD_MAX), HEAD_MAX);
		buf_put_str(w->out, v);
		return;
	}
	char *p = (char *)buf_reserve(w->out, base64_len(v.n) + 2);
	p[0] = '"';
	size_t n = base64_encode(p + 1, v.p, v.n);
	p[n + 1] = '"';
	w->out->n += n + 2;
}

void write_time(struct writer *w, int64_t ms)
{
	place(w, false);
	if (w->encoding == ENCODING_CBOR) {
		w->out->n += cbor_encode_tag(1, buf_reserve(w->out, HEAD_MAX), HEAD_MAX);
		put_cbor_int(w->out, ms);
		return;
	}
	if (ms < 0)
		buf_put_char(w->out, '-');
	put_decimal(w->out, magnitude(ms) / 1000, 1);
	buf_put_char(w->out, '.');
	put_decimal(w->out, magnitude(ms) % 1000, 3);
}

void write_encoded(struct writer *w, struct str v)
{
	place(w, false);
	buf_put_str(w->out, v);
}

void write_kv_str(struct writer *w, const char *key, struct str v)
{
	write_key(w, key);
	write_str(w, v);
}

void write_kv_int(struct writer *w, const char *key, int64_t v)
{
	write_key(w, key);
	write_int(w, v);
}

void write_kv_bool(struct writer *w, const char *key, bool v)
{
	write_key(w, key);
	write_bool(w, v);
}

void write_kv_time(struct writer *w, const char *key, int64_t ms)
{
	write_key(w, key);
	write_time(w, ms);
}
