/* fuzz_cbor.c: any bytes as a CBOR document.
 *
 * Oracles: no read outside the body (ASan), memory in proportion to it whatever lengths it declares, depth and UTF-8 as promised; what was
 * read, written again with definite and with indefinite lengths, reads the same; and as JSON, where JSON can say it. */
#include "tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena arena = {0};
	struct buf definite = {0}, indefinite = {0}, json = {0};
	struct value *v;
	enum status status = value_decode(ENCODING_CBOR, data, n, &arena, &v);
	assert(status == STATUS_OK || status == STATUS_SERIALIZATION);
	assert(arena_used(&arena) <= 128 * n + 4096);
	if (status == STATUS_OK) {
		assert(tree_check(v, 0) <= n);
		tree_again_cbor(v, true, &arena, &definite);
		tree_again_cbor(v, false, &arena, &indefinite);
		if (tree_is_json(v))
			tree_again_json(v, &arena, &json);
	}
	buf_free(&definite);
	buf_free(&indefinite);
	buf_free(&json);
	arena_free(&arena);
	return 0;
}
