/* json_value.c: yajl behind one door. Pure: any thread.
 *
 * yajl takes more than JSON: overlong UTF-8, escaped lone surrogates (as `?`), vertical tabs and form feeds between tokens, any depth,
 * and half a token behind the document (`{} "x`). Invariant: none of this can be seen behind this file.
 *
 * - yajl looks at each byte, which is most of the cost of a record's base64. So a long string of plain characters (ASCII, no escape) is
 * found here, 32 bytes at a time (json_plain.c), and yajl gets a short one in its place: whether the text is JSON does not depend on it;
 * - all other text is cut into pieces at those strings. check_text walks each, eight bytes at a time: UTF-8, control characters, the
 *   surrogates in \u escapes (a backslash stands only inside strings, so no parsing is needed for that);
 * - yajl's callbacks build the tree, and note where the document ends: only blanks may follow;
 * - a string without escapes is a pointer into the body: lent; an unescaped one lies in yajl's scratch buffer: copied to the arena;
 * - numbers come as text: integers saturate at the ends of int64, all else is a double.
 *
 * Failure: a callback that returns 0 (too deep, too many nodes) cancels the parse; every failure is `false`. */
#include <assert.h>
#include <stdlib.h>
#include <yajl/yajl_parse.h>

#include "codec/json_plain.h"
#include "codec/tree.h"
#include "codec/utf8.h"

#define BYTES(c) (UINT64_C(0x0101010101010101) * (c))

/* From this length on a plain string is worth a detour around yajl. */
#define LONG 64

/* What yajl sees in the place of a long plain string. */
static const unsigned char stand_in[] = "\"-\"";
#define STAND_IN (sizeof(stand_in) - 1)

struct json {
	struct tree *tree;
	const uint8_t *body;
	size_t n;
	yajl_handle parser;
	struct str plain; /* what the stand-in stands for, while yajl is being given that; else NULL */
	size_t fed;       /* place in the body behind what yajl is being given */
	size_t chunk;     /* length of that */
	bool finishing;   /* the whole body is parsed: what comes now was its last token, a number */
	size_t end;       /* of the document */
};

/* True when one of the eight bytes is below a blank, above 127 or a backslash. */
static bool needs_look(uint64_t word)
{
	uint64_t slash = word ^ BYTES('\\');
	uint64_t found = word | ((word - BYTES(0x20)) & ~word) | ((slash - BYTES(1)) & ~slash);
	return (found & BYTES(0x80)) != 0;
}

/* The value of four hex digits; -1: not four. */
static int hex4(const uint8_t *p, size_t n)
{
	int value = 0;
	if (n < 4)
		return -1;
	for (size_t i = 0; i < 4; i++) {
		uint8_t c = p[i], lower = (uint8_t)(c | 0x20);
		if (c >= '0' && c <= '9')
			value = value * 16 + (c - '0');
		else if (lower >= 'a' && lower <= 'f')
			value = value * 16 + (lower - 'a' + 10);
		else
			return -1;
	}
	return value;
}

/* Bytes of the escape at p (p[0] is the backslash), a surrogate pair as one; 0: a lone surrogate, or no escape. */
static size_t escape_len(const uint8_t *p, size_t n)
{
	if (n < 2)
		return 0;
	if (p[1] != 'u')
		return 2;
	int unit = hex4(p + 2, n - 2);
	if (unit < 0 || (unit & 0xfc00) == 0xdc00)
		return 0;
	if ((unit & 0xfc00) != 0xd800)
		return 6;
	if (n < 12 || p[6] != '\\' || p[7] != 'u')
		return 0;
	int low = hex4(p + 8, n - 8);
	return low >= 0 && (low & 0xfc00) == 0xdc00 ? 12 : 0;
}

static bool check_text(const uint8_t *p, size_t n)
{
	size_t i = 0, step;
	while (i < n) {
		uint64_t word;
		if (n - i >= sizeof(word)) {
			memcpy(&word, p + i, sizeof(word));
			if (!needs_look(word)) {
				i += sizeof(word);
				continue;
			}
		}
		if (p[i] == '\\')
			step = escape_len(p + i, n - i);
		else if (p[i] < 0x20)
			step = p[i] == '\t' || p[i] == '\n' || p[i] == '\r';
		else
			step = utf8_sequence(p + i, n - i);
		if (step == 0)
			return false;
		i += step;
	}
	return true;
}

static struct str keep(const struct json *json, const unsigned char *p, size_t n)
{
	struct str s = {(const char *)p, n};
	if (json->plain.p)
		return json->plain; /* one token: no other string can come out of it */
	uintptr_t at = (uintptr_t)p, begin = (uintptr_t)json->body;
	return at >= begin && at - begin < json->n ? s : arena_str(json->tree->arena, s);
}

/* What a callback returns: whether to go on. Behind the root's last token it notes the place. */
static int go_on(struct json *json, bool good)
{
	if (json->tree->depth == 0)
		json->end = json->finishing ? json->n : json->fed - json->chunk + yajl_get_bytes_consumed(json->parser);
	return good;
}

static int on_null(void *context)
{
	struct json *json = context;
	return go_on(json, tree_add(json->tree, VALUE_NULL) != NULL);
}

static int on_boolean(void *context, int boolean)
{
	struct json *json = context;
	struct value *value = tree_add(json->tree, VALUE_BOOL);
	if (value)
		value->boolean = boolean != 0;
	return go_on(json, value != NULL);
}

static int64_t saturated_integer(const char *p, size_t n)
{
	bool negative = p[0] == '-';
	int64_t integer = 0;
	for (size_t i = negative; i < n; i++) {
		int digit = p[i] - '0';
		if (__builtin_mul_overflow(integer, 10, &integer) || __builtin_add_overflow(integer, negative ? -digit : digit, &integer))
			return negative ? INT64_MIN : INT64_MAX;
	}
	return integer;
}

static int on_number(void *context, const char *p, size_t n)
{
	struct json *json = context;
	bool whole = !memchr(p, '.', n) && !memchr(p, 'e', n) && !memchr(p, 'E', n);
	struct value *value = tree_add(json->tree, whole ? VALUE_INT : VALUE_DOUBLE);
	if (!value)
		return 0;
	if (whole) {
		value->integer = saturated_integer(p, n);
		return go_on(json, true);
	}
	/* strtod wants a NUL. Sixty-four bytes hold every number that a client prints. */
	char copy[64];
	if (n < sizeof(copy)) {
		memcpy(copy, p, n);
		copy[n] = '\0';
		value->number = strtod(copy, NULL);
	} else {
		value->number = strtod(arena_str(json->tree->arena, (struct str){p, n}).p, NULL);
	}
	return go_on(json, true);
}

static int on_string(void *context, const unsigned char *p, size_t n)
{
	struct json *json = context;
	struct value *value = tree_add(json->tree, VALUE_STRING);
	if (value)
		value->str = keep(json, p, n);
	return go_on(json, value != NULL);
}

static int on_key(void *context, const unsigned char *p, size_t n)
{
	struct json *json = context;
	json->tree->key = keep(json, p, n);
	return 1;
}

static int on_map(void *context)
{
	struct json *json = context;
	return tree_open(json->tree, VALUE_MAP) != NULL;
}

static int on_list(void *context)
{
	struct json *json = context;
	return tree_open(json->tree, VALUE_LIST) != NULL;
}

static int on_end(void *context)
{
	struct json *json = context;
	tree_close(json->tree);
	return go_on(json, true);
}

static const yajl_callbacks callbacks = {
	.yajl_null = on_null,
	.yajl_boolean = on_boolean,
	.yajl_number = on_number,
	.yajl_string = on_string,
	.yajl_start_map = on_map,
	.yajl_map_key = on_key,
	.yajl_end_map = on_end,
	.yajl_start_array = on_list,
	.yajl_end_array = on_end,
};

/* yajl does not look at what its allocator returns: so it gets one that does not fail. */
static void *on_malloc(void *context, size_t n)
{
	(void)context;
	return xmalloc(n);
}

static void *on_realloc(void *context, void *p, size_t n)
{
	(void)context;
	return xrealloc(p, n);
}

static void on_free(void *context, void *p)
{
	(void)context;
	free(p);
}

/* Only then is it sure that nothing stands behind the document. */
static bool only_blanks(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!memchr(" \t\r\n", p[i], 4))
			return false;
	return true;
}

/* Gives yajl n bytes that stand for the body up to `upto`. */
static bool feed(struct json *json, const uint8_t *p, size_t n, size_t upto)
{
	json->fed = upto;
	json->chunk = n;
	return yajl_parse(json->parser, p, n) == yajl_status_ok;
}

static bool feed_text(struct json *json, size_t from, size_t upto)
{
	return from == upto || (check_text(json->body + from, upto - from) && feed(json, json->body + from, upto - from, upto));
}

/* The place behind the string whose first characters, up to `at`, were plain. */
static size_t string_end(const uint8_t *body, size_t n, size_t at)
{
	while (at < n && body[at] != '"')
		at += body[at] == '\\' ? 2 : 1;
	return at < n ? at + 1 : n;
}

/* Outside strings a quote begins one, whatever else the text is. */
static bool feed_all(struct json *json)
{
	const uint8_t *body = json->body, *quote;
	size_t n = json->n, from = 0, at = 0;
	while (at < n && (quote = memchr(body + at, '"', n - at))) {
		size_t begin = (size_t)(quote - body) + 1, run = json_plain_run(body + begin, n - begin);
		if (run < LONG || begin + run == n || body[begin + run] != '"') {
			at = string_end(body, n, begin + run);
			continue;
		}
		if (!feed_text(json, from, begin - 1))
			return false;
		json->plain = (struct str){(const char *)body + begin, run};
		bool good = feed(json, stand_in, STAND_IN, begin + run + 1);
		json->plain = (struct str){0};
		if (!good)
			return false;
		from = at = begin + run + 1;
	}
	return feed_text(json, from, n);
}

bool json_value_decode(const uint8_t *body, size_t n, struct tree *tree)
{
	struct json json = {.tree = tree, .body = body, .n = n};
	yajl_alloc_funcs allocator = {.malloc = on_malloc, .realloc = on_realloc, .free = on_free};
	json.parser = yajl_alloc(&callbacks, &allocator, &json);
	assert(json.parser);
	yajl_config(json.parser, yajl_dont_validate_strings, 1); /* check_text did, and better */
	bool whole = feed_all(&json);
	json.finishing = true;
	whole = whole && yajl_complete_parse(json.parser) == yajl_status_ok;
	yajl_free(json.parser);
	return whole && only_blanks(body + json.end, n - json.end);
}
