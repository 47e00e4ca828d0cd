/* tree.h: what the fuzz targets of the two decoders share: trees compared, checked, and written again in either encoding. */
#ifndef TESTS_FUZZ_TREE_H
#define TESTS_FUZZ_TREE_H

#include <assert.h>
#include <cbor.h>
#include <math.h>
#include <stdio.h>

#include "codec/utf8.h"
#include "penstock/value.h"
#include "penstock/writer.h"

/* Counts, depth, texts. Returns the number of nodes. */
static inline size_t tree_check(const struct value *v, unsigned depth)
{
	size_t nodes = 1;
	if (v->kind == VALUE_STRING)
		assert(v->str.p && utf8_valid((const uint8_t *)v->str.p, v->str.n));
	if (v->kind == VALUE_BYTES)
		assert(v->str.p);
	if (v->kind != VALUE_LIST && v->kind != VALUE_MAP)
		return nodes;
	assert(depth < VALUE_DEPTH_MAX);
	uint32_t n = 0;
	for (const struct value *child = v->first; child; child = child->next, n++) {
		assert(v->kind == VALUE_LIST || (child->key.p && utf8_valid((const uint8_t *)child->key.p, child->key.n)));
		nodes += tree_check(child, depth + 1);
	}
	assert(n == v->n);
	return nodes;
}

/* Whether JSON can say it: no byte strings, no NaN. */
static inline bool tree_is_json(const struct value *v)
{
	if (v->kind == VALUE_BYTES || (v->kind == VALUE_DOUBLE && isnan(v->number)))
		return false;
	if (v->kind == VALUE_LIST || v->kind == VALUE_MAP)
		for (const struct value *child = v->first; child; child = child->next)
			if (!tree_is_json(child))
				return false;
	return true;
}

static inline bool tree_same(const struct value *a, const struct value *b, bool with_tags)
{
	if (a->kind != b->kind || (with_tags && a->tagged_time != b->tagged_time))
		return false;
	switch (a->kind) {
	case VALUE_NULL:
		return true;
	case VALUE_BOOL:
		return a->boolean == b->boolean;
	case VALUE_INT:
		return a->integer == b->integer;
	case VALUE_DOUBLE:
		return a->number == b->number || (isnan(a->number) && isnan(b->number));
	case VALUE_STRING:
	case VALUE_BYTES:
		return str_equal(a->str, b->str);
	case VALUE_LIST:
	case VALUE_MAP:
		break;
	}
	const struct value *x = a->first, *y = b->first;
	for (; x && y; x = x->next, y = y->next)
		if ((a->kind == VALUE_MAP && !str_equal(x->key, y->key)) || !tree_same(x, y, with_tags))
			return false;
	return !x && !y && a->n == b->n;
}

static inline void tree_put_json_text(struct buf *out, struct str s)
{
	buf_put_char(out, '"');
	char *p = (char *)buf_reserve(out, json_escaped_len(s));
	out->n += json_escape(p, s);
	buf_put_char(out, '"');
}

static inline void tree_put_double(struct buf *out, double number)
{
	char text[40];
	snprintf(text, sizeof(text), "%.17g", number);
	if (isinf(number))
		buf_printf(out, "%s1e999", number < 0 ? "-" : "");
	else
		buf_printf(out, "%s%s", text, strpbrk(text, ".e") ? "" : "e0"); /* so that it stays a double */
}

static inline void tree_put_json(struct buf *out, const struct value *v)
{
	switch (v->kind) {
	case VALUE_NULL:
		buf_put_str(out, STR("null"));
		return;
	case VALUE_BOOL:
		buf_put_str(out, v->boolean ? STR("true") : STR("false"));
		return;
	case VALUE_INT:
		buf_printf(out, "%lld", (long long)v->integer);
		return;
	case VALUE_DOUBLE:
		tree_put_double(out, v->number);
		return;
	case VALUE_STRING:
	case VALUE_BYTES:
		tree_put_json_text(out, v->str);
		return;
	case VALUE_LIST:
	case VALUE_MAP:
		break;
	}
	buf_put_char(out, v->kind == VALUE_MAP ? '{' : '[');
	for (const struct value *child = v->first; child; child = child->next) {
		if (child != v->first)
			buf_put_char(out, ',');
		if (v->kind == VALUE_MAP) {
			tree_put_json_text(out, child->key);
			buf_put_char(out, ':');
		}
		tree_put_json(out, child);
	}
	buf_put_char(out, v->kind == VALUE_MAP ? '}' : ']');
}

static inline void tree_put_cbor_text(struct buf *out, struct str s)
{
	out->n += cbor_encode_string_start(s.n, buf_reserve(out, 9), 9);
	buf_put_str(out, s);
}

static inline void tree_put_cbor_scalar(struct buf *out, const struct value *v)
{
	uint8_t *p = buf_reserve(out, 10);
	if (v->tagged_time) {
		*p++ = 0xc1;
		out->n++;
	}
	if (v->kind == VALUE_NULL)
		out->n += cbor_encode_null(p, 9);
	else if (v->kind == VALUE_BOOL)
		out->n += cbor_encode_bool(v->boolean, p, 9);
	else if (v->kind == VALUE_DOUBLE)
		out->n += cbor_encode_double(v->number, p, 9);
	else if (v->integer < 0)
		out->n += cbor_encode_negint((uint64_t)~v->integer, p, 9);
	else
		out->n += cbor_encode_uint((uint64_t)v->integer, p, 9);
}

static inline void tree_put_cbor(struct buf *out, const struct value *v, bool definite)
{
	bool map = v->kind == VALUE_MAP;
	if (v->kind == VALUE_STRING) {
		tree_put_cbor_text(out, v->str);
	} else if (v->kind == VALUE_BYTES) {
		out->n += cbor_encode_bytestring_start(v->str.n, buf_reserve(out, 9), 9);
		buf_put_str(out, v->str);
	} else if (v->kind != VALUE_LIST && !map) {
		tree_put_cbor_scalar(out, v);
	} else {
		uint8_t *p = buf_reserve(out, 9);
		if (definite)
			out->n += map ? cbor_encode_map_start(v->n, p, 9) : cbor_encode_array_start(v->n, p, 9);
		else
			out->n += map ? cbor_encode_indef_map_start(p, 9) : cbor_encode_indef_array_start(p, 9);
		for (const struct value *child = v->first; child; child = child->next) {
			if (map)
				tree_put_cbor_text(out, child->key);
			tree_put_cbor(out, child, definite);
		}
		if (!definite)
			buf_put_char(out, (char)0xff);
	}
}

/* Writes the tree and reads it back; what comes back must be the same. The result lives in the arena and in *out. */
static inline struct value *tree_again_json(const struct value *v, struct arena *arena, struct buf *out)
{
	struct value *again;
	tree_put_json(out, v);
	assert(value_decode(ENCODING_JSON, out->p, out->n, arena, &again) == STATUS_OK);
	assert(tree_same(v, again, false));
	return again;
}

static inline struct value *tree_again_cbor(const struct value *v, bool definite, struct arena *arena, struct buf *out)
{
	struct value *again;
	tree_put_cbor(out, v, definite);
	assert(value_decode(ENCODING_CBOR, out->p, out->n, arena, &again) == STATUS_OK);
	assert(tree_same(v, again, true));
	return again;
}

#endif
