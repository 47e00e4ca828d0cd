/* value.c: one decoded document, whichever encoding it came in. Pure: any thread.
 *
 * - the encoding's adapter (json_value.c, cbor_value.c) builds the tree through tree.c, which holds the caps;
 * - members are found by a walk: no operation has more than seven, and a map of many unknown ones is walked once per known name.
 *
 * Failure: one status, no position; AWS answers an undecodable body without a text. */
#include "penstock/value.h"

#include "codec/tree.h"

enum status value_decode(enum encoding encoding, const uint8_t *body, size_t n, struct arena *arena, struct value **out)
{
	struct tree tree;
	tree_init(&tree, arena);
	bool whole = encoding == ENCODING_JSON ? json_value_decode(body, n, &tree) : cbor_value_decode(body, n, &tree);
	if (!whole || !tree.root)
		return STATUS_SERIALIZATION;
	*out = tree.root;
	return STATUS_OK;
}

const struct value *value_member(const struct value *map, struct str key)
{
	const struct value *found = NULL;
	if (map->kind != VALUE_MAP)
		return NULL;
	for (const struct value *member = map->first; member; member = member->next)
		if (str_equal(member->key, key))
			found = member;
	return found;
}
