/* fuzz_json.c: any bytes as a JSON document.
 *
 * Oracles: no read outside the body (ASan), memory in proportion to it, depth and UTF-8 as promised; what was read, written again in
 * either encoding, reads the same; jansson, another parser, takes the same documents (but for its own limits). */
#include <jansson.h>

#include "tree.h"

static unsigned larger(unsigned a, unsigned b) { return a > b ? a : b; }

static unsigned depth_of(json_t *json)
{
	unsigned deepest = 0;
	const char *key;
	json_t *child;
	size_t i;
	if (!json_is_array(json) && !json_is_object(json))
		return 0;
	json_array_foreach(json, i, child) deepest = larger(deepest, depth_of(child));
	json_object_foreach(json, key, child) deepest = larger(deepest, depth_of(child));
	return deepest + 1;
}

/* jansson refuses some JSON for reasons of its own. */
static bool own_limit(const json_error_t *error)
{
	enum json_error_code code = json_error_code(error);
	return code == json_error_numeric_overflow || code == json_error_null_byte_in_key || code == json_error_stack_overflow;
}

static void compare_with_jansson(const uint8_t *data, size_t n, bool taken)
{
	json_error_t error;
	json_t *json = json_loadb((const char *)data, n, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &error);
	if (json && !taken)
		assert(depth_of(json) > VALUE_DEPTH_MAX || n > 65536);
	if (!json && taken)
		assert(own_limit(&error));
	json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena arena = {0};
	struct buf json = {0}, cbor = {0};
	struct value *v;
	enum status status = value_decode(ENCODING_JSON, data, n, &arena, &v);
	assert(status == STATUS_OK || status == STATUS_SERIALIZATION);
	assert(arena_used(&arena) <= 128 * n + 4096);
	/* jansson takes a NUL for the end of the text. */
	if (n < 4096 && !memchr(data, 0, n))
		compare_with_jansson(data, n, status == STATUS_OK);
	if (status == STATUS_OK) {
		assert(tree_check(v, 0) <= n);
		tree_again_json(v, &arena, &json);
		tree_again_cbor(v, n % 2, &arena, &cbor);
	}
	buf_free(&json);
	buf_free(&cbor);
	arena_free(&arena);
	return 0;
}
