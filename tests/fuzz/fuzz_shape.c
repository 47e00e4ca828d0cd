/* fuzz_shape.c: any document as the input of any operation. First byte: bits 0-6 the operation, bit 7 CBOR.
 *
 * Oracles: the struct is written within its size (ASan); what binds has its required members and bounds, found here without the tables;
 * an error has a text, in UTF-8, that counts what it lists; and the same document, written again in the other encoding, binds to the
 * same struct or the same text. */
#include <stdlib.h>

#include "codec/shape_table.h"
#include "penstock/api.h"
#include "penstock/echo.h"
#include "penstock/shape.h"
#include "tree.h"

static bool same_members(const struct shape *shape, const void *a, const void *b);

static bool same_tags(const struct tag *a, const struct tag *b, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (!str_equal(a[i].key, b[i].key) || !str_equal(a[i].value, b[i].value))
			return false;
	return true;
}

static bool same_list(const struct member *member, const void *a, const void *b, uint32_t n)
{
	const char *x = *(char *const *)field_at(a, member->offset), *y = *(char *const *)field_at(b, member->offset);
	for (uint32_t i = 0; i < n; i++)
		if (!same_members(member->shape->element, x + i * member->shape->element_size, y + i * member->shape->element_size))
			return false;
	return true;
}

static bool same_member(const struct member *member, const void *a, const void *b)
{
	const void *x = field_at(a, member->offset), *y = field_at(b, member->offset);
	uint32_t n = 0;
	if (member_present(member, a) != member_present(member, b))
		return false;
	switch (member->shape->type) {
	case SHAPE_STRING:
	case SHAPE_BLOB:
		return str_equal(*(const struct str *)x, *(const struct str *)y);
	case SHAPE_INTEGER:
		return ((const struct opt_int *)x)->v == ((const struct opt_int *)y)->v;
	case SHAPE_BOOLEAN:
		return ((const struct opt_bool *)x)->v == ((const struct opt_bool *)y)->v;
	case SHAPE_TIMESTAMP:
		return ((const struct opt_time *)x)->ms == ((const struct opt_time *)y)->ms;
	case SHAPE_STRUCTURE:
		return same_members(member->shape, x, y);
	case SHAPE_LIST:
	case SHAPE_TAGS:
		break;
	}
	n = *(const uint32_t *)field_at(a, member->extra);
	if (n != *(const uint32_t *)field_at(b, member->extra))
		return false;
	if (member->shape->type == SHAPE_LIST)
		return same_list(member, a, b, n);
	return same_tags(*(struct tag *const *)x, *(struct tag *const *)y, n);
}

static bool same_members(const struct shape *shape, const void *a, const void *b)
{
	for (const struct member *member = shape->members; member->name; member++)
		if (!same_member(member, a, b))
			return false;
	return true;
}

static void check_put_records(const struct put_records_input *in)
{
	assert(in->n_records >= 1 && in->n_records <= 500);
	for (uint32_t i = 0; i < in->n_records; i++) {
		const struct put_records_entry *entry = &in->records[i];
		assert(entry->partition_key.p && entry->partition_key.n >= 1 && entry->partition_key.n <= 768);
		assert(entry->data.p && entry->data.n <= 10485760);
		assert(entry->explicit_hash_key.n <= 39);
	}
}

/* What the server relies on, said again. */
static void check_bound(const struct operation *operation, const void *out)
{
	const struct create_stream_input *create = out;
	const struct put_record_input *put = out;
	const struct get_records_input *get = out;
	const struct subscribe_to_shard_input *subscribe = out;
	const struct get_shard_iterator_input *iterator = out;
	if (operation->number == OP_PUT_RECORDS)
		check_put_records(out);
	if (operation->number == OP_CREATE_STREAM)
		assert(create->stream_name.n >= 1 && create->stream_name.n <= 128 && create->n_tags <= 200 &&
		       (!create->has_stream_mode_details || create->stream_mode.p));
	if (operation->number == OP_PUT_RECORD)
		assert(put->partition_key.n >= 1 && put->data.p);
	if (operation->number == OP_GET_RECORDS)
		assert(get->shard_iterator.n >= 1 && get->shard_iterator.n <= 1536 &&
		       (!get->limit.has || (get->limit.v >= 1 && get->limit.v <= 10000)));
	if (operation->number == OP_SUBSCRIBE_TO_SHARD)
		assert(subscribe->consumer_arn.p && subscribe->shard_id.p && subscribe->position.present && subscribe->position.type.p);
	if (operation->number == OP_GET_SHARD_ITERATOR)
		assert(iterator->shard_id.p && iterator->shard_iterator_type.p);
}

static void check_text(enum status status, const struct value *document, struct str text)
{
	if (status == STATUS_OK || document->kind != VALUE_MAP) {
		assert(!text.p);
		return;
	}
	assert(text.p && text.n > 0 && text.n < 10 * (ECHO_MAX + 512) && utf8_valid((const uint8_t *)text.p, text.n));
	if (status == STATUS_VALIDATION)
		assert(text.p[0] >= '1' && text.p[0] <= '9' && memmem(text.p, text.n, " detected: Value ", 17));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct arena arena = {0};
	struct buf again = {0};
	struct value *document, *copy = NULL;
	struct str text, text_again;
	if (n == 0)
		return 0;
	const struct operation *operation = operation_at((data[0] & 127u) % 57);
	enum encoding encoding = data[0] & 128 ? ENCODING_CBOR : ENCODING_JSON;
	if (value_decode(encoding, data + 1, n - 1, &arena, &document) != STATUS_OK)
		goto out;
	void *in = malloc(operation->size), *in_again = malloc(operation->size);
	enum status status = shape_bind(operation, encoding, document, &arena, in, &text);
	assert(status == STATUS_OK || status == STATUS_SERIALIZATION || status == STATUS_VALIDATION);
	check_text(status, document, text);
	if (status == STATUS_OK)
		check_bound(operation, in);
	if (encoding == ENCODING_JSON)
		copy = tree_again_cbor(document, n % 2, &arena, &again);
	else if (tree_is_json(document))
		copy = tree_again_json(document, &arena, &again);
	if (copy) {
		/* Bound by the rules of the first encoding: only the wire was another. */
		assert(shape_bind(operation, encoding, copy, &arena, in_again, &text_again) == status);
		assert(str_equal(text, text_again));
		assert(status != STATUS_OK || same_members(operation->input, in, in_again));
	}
	free(in);
	free(in_again);
out:
	buf_free(&again);
	arena_free(&arena);
	return 0;
}
