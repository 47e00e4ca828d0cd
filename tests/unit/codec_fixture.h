/* codec_fixture.h: what the codec's tests share: documents from text or hex, and trees rendered so that they can be compared. */
#ifndef TESTS_CODEC_FIXTURE_H
#define TESTS_CODEC_FIXTURE_H

#include <criterion/criterion.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/shape.h"
#include "penstock/value.h"
#include "penstock/writer.h"

/* Bytes of "bf 61 61 01 ff"; blanks are ignored. In a malloc of exactly that size, so that ASan sees a read past it. */
static inline uint8_t *unhex(const char *hex, size_t *n)
{
	uint8_t *out = malloc(strlen(hex) / 2 + 1);
	*n = 0;
	for (; *hex; hex++) {
		if (isspace((unsigned char)*hex))
			continue;
		unsigned byte;
		cr_assert_eq(sscanf(hex, "%2x", &byte), 1);
		out[(*n)++] = (uint8_t)byte;
		hex++;
	}
	return realloc(out, *n ? *n : 1);
}

static inline uint8_t *exact_copy(const void *p, size_t n)
{
	uint8_t *copy = malloc(n ? n : 1);
	memcpy(copy, p, n);
	return copy;
}

/* A tree as text: {"k":1,"t":T5,"d":1.5,"b":<0aff>,"l":[null,true]}. */
static inline void render(struct buf *out, const struct value *v)
{
	switch (v->kind) {
	case VALUE_NULL:
		buf_printf(out, "null");
		break;
	case VALUE_BOOL:
		buf_printf(out, v->boolean ? "true" : "false");
		break;
	case VALUE_INT:
		buf_printf(out, "%s%" PRId64, v->tagged_time ? "T" : "", v->integer);
		break;
	case VALUE_DOUBLE:
		buf_printf(out, "%s%.15gd", v->tagged_time ? "T" : "", v->number);
		break;
	case VALUE_STRING:
		buf_put_char(out, '"');
		buf_put_str(out, v->str);
		buf_put_char(out, '"');
		break;
	case VALUE_BYTES:
		buf_put_char(out, '<');
		for (size_t i = 0; i < v->str.n; i++)
			buf_printf(out, "%02x", (uint8_t)v->str.p[i]);
		buf_put_char(out, '>');
		break;
	case VALUE_LIST:
	case VALUE_MAP:
		buf_put_char(out, v->kind == VALUE_LIST ? '[' : '{');
		uint32_t n = 0;
		for (const struct value *child = v->first; child; child = child->next, n++) {
			if (n)
				buf_put_char(out, ',');
			if (v->kind == VALUE_MAP) {
				buf_put_char(out, '"');
				buf_put_str(out, child->key);
				buf_put_str(out, STR("\":"));
			}
			render(out, child);
		}
		cr_assert_eq(n, v->n, "count %u of %u", v->n, n);
		buf_put_char(out, v->kind == VALUE_LIST ? ']' : '}');
		break;
	}
}

/* The rendering as a C string (the test process ends soon: not freed by most). */
static inline char *rendered(const struct value *v)
{
	struct buf out = {0};
	render(&out, v);
	buf_put_char(&out, '\0');
	return (char *)out.p;
}

#endif
