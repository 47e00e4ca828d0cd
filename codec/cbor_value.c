/* cbor_value.c: libcbor's streaming decoder behind one door. Pure: any thread.
 *
 * libcbor reads one item head (and a definite string's bytes) per call and knows no nesting; this file keeps the grammar.
 * Invariants: depth stays within the tree's cap; a declared length is only a countdown, never an allocation; a string lies either in
 * the body (definite) or, put together from its chunks, in the arena.
 *
 * - cbor_stream_decode calls one callback per item; scalars become nodes, containers become nodes and frames;
 * - inside a map items alternate: a text string is kept as key, the next item is its value;
 * - tag 1 marks the number behind it as a time; every other tag, self-describe (55799) among them, is skipped;
 * - a definite container closes when its countdown ends, an indefinite one by the break; when depth is 0 again the document is whole,
 *   and must end the body.
 *
 * Failure: `failed` ends the loop: text that is not UTF-8, keys that are not text, a break in the wrong place, a tag with nothing behind
 * it, chunks of another type, items that libcbor refuses, a body that ends early or late. */
#include <cbor.h>

#include "codec/tree.h"
#include "codec/utf8.h"

#define TAG_EPOCH_TIME 1

struct level {
	bool map;
	bool indefinite;
	bool keyed;    /* a map whose key has come and whose value has not */
	uint64_t left; /* items, or pairs, still to come; definite only */
};

struct cbor {
	struct tree *tree;
	bool failed;
	bool tagged;    /* a tag stands before the next item */
	bool time;      /* one of them was TAG_EPOCH_TIME */
	bool in_chunks; /* inside an indefinite string */
	bool text;      /* which is a text string */
	struct buf chunks;
	struct level level[VALUE_DEPTH_MAX];
};

static struct level *top(struct cbor *cbor) { return cbor->tree->depth > 0 ? &cbor->level[cbor->tree->depth - 1] : NULL; }

/* An item (with all that is inside it) is complete: counts it, and closes the definite containers that it completes. */
static void complete(struct cbor *cbor)
{
	cbor->tagged = cbor->time = false;
	for (struct level *level = top(cbor); level; level = top(cbor)) {
		level->keyed = false;
		if (level->indefinite || --level->left > 0)
			return;
		tree_close(cbor->tree);
	}
}

/* True when the next item may be a value here; otherwise the document has failed. */
static bool value_allowed(struct cbor *cbor)
{
	struct level *level = top(cbor);
	if (cbor->in_chunks || (level && level->map && !level->keyed))
		cbor->failed = true;
	return !cbor->failed;
}

static struct value *add(struct cbor *cbor, enum value_kind kind)
{
	struct value *value = value_allowed(cbor) ? tree_add(cbor->tree, kind) : NULL;
	if (!value)
		cbor->failed = true;
	else if (kind == VALUE_INT || kind == VALUE_DOUBLE)
		value->tagged_time = cbor->time;
	return value;
}

static void add_integer(struct cbor *cbor, int64_t integer)
{
	struct value *value = add(cbor, VALUE_INT);
	if (!value)
		return;
	value->integer = integer;
	complete(cbor);
}

static void on_uint64(void *context, uint64_t v) { add_integer(context, v > INT64_MAX ? INT64_MAX : (int64_t)v); }

static void on_uint32(void *context, uint32_t v) { add_integer(context, v); }

static void on_uint16(void *context, uint16_t v) { add_integer(context, v); }

static void on_uint8(void *context, uint8_t v) { add_integer(context, v); }

/* The wire has -1 - v. */
static void on_negint64(void *context, uint64_t v) { add_integer(context, v > INT64_MAX ? INT64_MIN : -1 - (int64_t)v); }

static void on_negint32(void *context, uint32_t v) { add_integer(context, -1 - (int64_t)v); }

static void on_negint16(void *context, uint16_t v) { add_integer(context, -1 - (int64_t)v); }

static void on_negint8(void *context, uint8_t v) { add_integer(context, -1 - (int64_t)v); }

static void on_double(void *context, double number)
{
	struct value *value = add(context, VALUE_DOUBLE);
	if (!value)
		return;
	value->number = number;
	complete(context);
}

static void on_float(void *context, float number) { on_double(context, (double)number); }

static void on_boolean(void *context, bool boolean)
{
	struct value *value = add(context, VALUE_BOOL);
	if (!value)
		return;
	value->boolean = boolean;
	complete(context);
}

static void on_null(void *context)
{
	if (add(context, VALUE_NULL))
		complete(context);
}

/* A whole string: a key where a key is due, else a value. */
static void add_string(struct cbor *cbor, bool text, struct str s)
{
	struct level *level = top(cbor);
	if (level && level->map && !level->keyed) {
		cbor->failed |= !text;
		cbor->tree->key = s;
		level->keyed = true;
		cbor->tagged = cbor->time = false;
		return;
	}
	struct value *value = add(cbor, text ? VALUE_STRING : VALUE_BYTES);
	if (!value)
		return;
	value->str = s;
	complete(cbor);
}

static void on_definite(struct cbor *cbor, bool text, const uint8_t *p, size_t n)
{
	if (text && !utf8_valid(p, n)) {
		cbor->failed = true;
	} else if (!cbor->in_chunks) {
		add_string(cbor, text, (struct str){(const char *)p, n});
	} else if (text != cbor->text) {
		cbor->failed = true;
	} else {
		buf_put(&cbor->chunks, p, n);
	}
}

static void on_text(void *context, cbor_data p, size_t n) { on_definite(context, true, p, n); }

static void on_bytes(void *context, cbor_data p, size_t n) { on_definite(context, false, p, n); }

static void start_chunks(struct cbor *cbor, bool text)
{
	cbor->failed |= cbor->in_chunks;
	cbor->in_chunks = true;
	cbor->text = text;
	cbor->chunks.n = 0;
}

static void on_text_start(void *context) { start_chunks(context, true); }

static void on_bytes_start(void *context) { start_chunks(context, false); }

static void end_chunks(struct cbor *cbor)
{
	cbor->in_chunks = false;
	add_string(cbor, cbor->text, arena_str(cbor->tree->arena, (struct str){(const char *)cbor->chunks.p, cbor->chunks.n}));
}

static void open_container(struct cbor *cbor, bool map, bool indefinite, uint64_t left)
{
	if (!value_allowed(cbor))
		return;
	if (!tree_open(cbor->tree, map ? VALUE_MAP : VALUE_LIST)) {
		cbor->failed = true;
		return;
	}
	cbor->tagged = cbor->time = false;
	*top(cbor) = (struct level){.map = map, .indefinite = indefinite, .left = left};
	if (!indefinite && left == 0) {
		tree_close(cbor->tree);
		complete(cbor);
	}
}

static void on_array(void *context, size_t n) { open_container(context, false, false, n); }

static void on_map(void *context, size_t n) { open_container(context, true, false, n); }

static void on_array_start(void *context) { open_container(context, false, true, 0); }

static void on_map_start(void *context) { open_container(context, true, true, 0); }

static void on_break(void *context)
{
	struct cbor *cbor = context;
	struct level *level = top(cbor);
	if (cbor->in_chunks) {
		end_chunks(cbor);
	} else if (cbor->tagged || !level || !level->indefinite || level->keyed) {
		cbor->failed = true;
	} else {
		tree_close(cbor->tree);
		complete(cbor);
	}
}

static void on_tag(void *context, uint64_t tag)
{
	struct cbor *cbor = context;
	cbor->failed |= cbor->in_chunks;
	cbor->tagged = true;
	cbor->time |= tag == TAG_EPOCH_TIME;
}

static const struct cbor_callbacks callbacks = {
	.uint8 = on_uint8,
	.uint16 = on_uint16,
	.uint32 = on_uint32,
	.uint64 = on_uint64,
	.negint8 = on_negint8,
	.negint16 = on_negint16,
	.negint32 = on_negint32,
	.negint64 = on_negint64,
	.byte_string = on_bytes,
	.byte_string_start = on_bytes_start,
	.string = on_text,
	.string_start = on_text_start,
	.array_start = on_array,
	.indef_array_start = on_array_start,
	.map_start = on_map,
	.indef_map_start = on_map_start,
	.tag = on_tag,
	.float2 = on_float,
	.float4 = on_float,
	.float8 = on_double,
	.undefined = on_null,
	.null = on_null,
	.boolean = on_boolean,
	.indef_break = on_break,
};

bool cbor_value_decode(const uint8_t *body, size_t n, struct tree *tree)
{
	struct cbor cbor = {.tree = tree};
	size_t at = 0;
	while (at < n && !cbor.failed) {
		struct cbor_decoder_result result = cbor_stream_decode(body + at, n - at, &callbacks, &cbor);
		if (result.status != CBOR_DECODER_FINISHED)
			break;
		at += result.read;
		if (tree->root && tree->depth == 0)
			break;
	}
	buf_free(&cbor.chunks);
	return !cbor.failed && at == n && tree->root && tree->depth == 0;
}
