/* shape.c: from a decoded document to the operation's C struct. Pure: any thread.
 *
 * - the struct is zeroed; for each member of the table, in its order, the document's member is looked up (null and absent are skipped) and
 *   converted by its type: strings are lent from the tree, base64 is decoded into the arena, numbers are floored and capped;
 * - lists become arrays (a null element is a zeroed struct, so that validation finds its members missing), tag maps arrays in document
 *   order, of a repeated key the last;
 * - then shape_check validates the filled struct.
 *
 * Failure: the first member that cannot be converted ends it with AWS's text (kinesis-behaviour.md 2.1; the grammar of "an String" is
 * AWS's). A CBOR byte string where none may stand is not in AWS's list; it is reported like any other wrong class. */
#include "penstock/shape.h"

#include <math.h>
#include <stdlib.h>

#include "codec/shape_table.h"
#include "codec/utf8.h"
#include "penstock/api.h"
#include "penstock/echo.h"
#include "penstock/writer.h"

#define INTEGER_MAX 2147483647 /* java.lang.Integer; no lower cap is known */

struct binding {
	enum encoding encoding;
	struct arena *arena;
	struct str *text;
};

static enum status convert_members(struct binding *binding, const struct shape *shape, const struct value *map, void *base);

/* ---- Texts ---- */

/* Takes a buffer's content as the error text. */
static enum status refuse(struct binding *binding, struct buf *text)
{
	*binding->text = arena_str(binding->arena, (struct str){(const char *)text->p, text->n});
	buf_free(text);
	return STATUS_SERIALIZATION;
}

static const char *class_name(const struct value *value)
{
	switch (value->kind) {
	case VALUE_BOOL:
		return "java.lang.Boolean";
	case VALUE_INT:
	case VALUE_DOUBLE:
		return "com.amazon.coral.value.json.numbers.TruncatingBigNumber";
	case VALUE_BYTES:
		return "java.nio.HeapByteBuffer";
	default:
		return "java.lang.String";
	}
}

static const char *target_name(enum shape_type type)
{
	switch (type) {
	case SHAPE_INTEGER:
		return "an Integer";
	case SHAPE_BOOLEAN:
		return "an Boolean";
	case SHAPE_BLOB:
		return "a Blob";
	case SHAPE_TIMESTAMP:
		return "milliseconds since epoch";
	default:
		return "an String";
	}
}

static enum status refuse_type(struct binding *binding, enum shape_type type, const struct value *value)
{
	struct buf text = {0};
	if (value->kind == VALUE_LIST && type != SHAPE_LIST)
		buf_put_str(&text, STR("Start of list found where not expected"));
	else if (value->kind == VALUE_MAP && type != SHAPE_TAGS && type != SHAPE_STRUCTURE)
		buf_put_str(&text, STR("Start of structure or map found where not expected."));
	else if (type == SHAPE_LIST)
		buf_put_str(&text, STR("Expected list or null"));
	else if (type == SHAPE_TAGS)
		buf_put_str(&text, STR("Expected map or null"));
	else if (type == SHAPE_STRUCTURE)
		buf_put_str(&text, STR("Expected null"));
	else
		buf_printf(&text, "class %s can not be converted to %s", class_name(value), target_name(type));
	return refuse(binding, &text);
}

/* ---- Scalars ---- */

static enum status convert_string(struct binding *binding, const struct value *value, struct str *out)
{
	if (value->kind != VALUE_STRING)
		return refuse_type(binding, SHAPE_STRING, value);
	*out = value->str;
	return STATUS_OK;
}

/* The double as an int64, capped at its ends; what is no number is 0, as in Java. */
static int64_t saturated(double number)
{
	if (isnan(number))
		return 0;
	if (number >= 9223372036854775807.0)
		return INT64_MAX;
	return number <= -9223372036854775808.0 ? INT64_MIN : (int64_t)number;
}

static enum status convert_integer(struct binding *binding, const struct value *value, struct opt_int *out)
{
	if (value->kind != VALUE_INT && value->kind != VALUE_DOUBLE)
		return refuse_type(binding, SHAPE_INTEGER, value);
	int64_t integer = value->kind == VALUE_INT ? value->integer : saturated(floor(value->number));
	*out = (struct opt_int){true, integer > INTEGER_MAX ? INTEGER_MAX : integer};
	return STATUS_OK;
}

/* Whole numbers are seconds in JSON and ms in CBOR, tagged or not; fractions are seconds in both. */
static enum status convert_timestamp(struct binding *binding, const struct value *value, struct opt_time *out)
{
	if (value->kind != VALUE_INT && value->kind != VALUE_DOUBLE)
		return refuse_type(binding, SHAPE_TIMESTAMP, value);
	out->has = true;
	if (value->kind == VALUE_DOUBLE)
		out->ms = saturated(round(value->number * 1000));
	else if (binding->encoding == ENCODING_CBOR)
		out->ms = value->integer;
	else if (__builtin_mul_overflow(value->integer, 1000, &out->ms))
		out->ms = value->integer < 0 ? INT64_MIN : INT64_MAX;
	return STATUS_OK;
}

static char ascii_upper(char c) { return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c; }

static bool equal_ignoring_case(struct str s, const char *upper)
{
	if (s.n != strlen(upper))
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (ascii_upper(s.p[i]) != upper[i])
			return false;
	return true;
}

static enum status convert_boolean(struct binding *binding, const struct value *value, struct opt_bool *out)
{
	static const char *const words[2][3] = {{"FALSE", "0", "NO"}, {"TRUE", "1", "YES"}};
	out->has = true;
	if (value->kind == VALUE_BOOL) {
		out->v = value->boolean;
		return STATUS_OK;
	}
	if (value->kind != VALUE_STRING)
		return refuse_type(binding, SHAPE_BOOLEAN, value);
	for (size_t i = 0; i < 6; i++)
		if (equal_ignoring_case(value->str, words[i / 3][i % 3])) {
			out->v = i / 3;
			return STATUS_OK;
		}
	struct buf text = {0};
	buf_put_char(&text, '\'');
	echo_put(&text, value->str);
	for (size_t i = 0; i < text.n; i++)
		text.p[i] = (uint8_t)ascii_upper((char)text.p[i]);
	buf_put_str(&text, STR("' can not be converted to an Boolean"));
	return refuse(binding, &text);
}

/* ---- Blobs ---- */

static bool is_base64_char(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=';
}

/* The first character that base64 does not have, or a '=' with something else behind it; empty: none. */
static struct str bad_base64_char(struct str s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (!is_base64_char(s.p[i]))
			return (struct str){s.p + i, utf8_sequence((const uint8_t *)s.p + i, s.n - i)};
		if (s.p[i] == '=' && i + 1 < s.n && s.p[i + 1] != '=')
			return (struct str){s.p + i, 1};
	}
	return (struct str){NULL, 0};
}

/* Why s is not base64, by AWS's order of checks. */
static enum status refuse_base64(struct binding *binding, struct str s)
{
	struct buf text = {0};
	buf_put_char(&text, '\'');
	echo_put(&text, s);
	buf_put_str(&text, STR("' can not be converted to a Blob: "));
	size_t units = utf8_utf16_len(s);
	struct str bad = bad_base64_char(s);
	if (units % 4 != 0) {
		buf_printf(&text, "Base64 encoded length is expected a multiple of 4 bytes but found: %zu", units);
	} else if (bad.n) {
		buf_put_str(&text, STR("Invalid Base64 character: '"));
		buf_put_str(&text, bad);
		buf_put_char(&text, '\'');
	} else {
		buf_put_str(&text, STR("Invalid last non-pad Base64 character dectected"));
	}
	return refuse(binding, &text);
}

static enum status convert_blob(struct binding *binding, const struct value *value, struct str *out)
{
	if (value->kind == VALUE_BYTES) {
		*out = value->str;
		return STATUS_OK;
	}
	if (value->kind != VALUE_STRING)
		return refuse_type(binding, SHAPE_BLOB, value);
	uint8_t *bytes = arena_alloc(binding->arena, value->str.n / 4 * 3);
	if (!base64_decode(value->str, bytes, &out->n))
		return refuse_base64(binding, value->str);
	out->p = (const char *)bytes;
	return STATUS_OK;
}

/* ---- Containers ---- */

static enum status convert_list(struct binding *binding, const struct member *member, const struct value *value, void *base)
{
	const struct shape *shape = member->shape;
	if (value->kind != VALUE_LIST)
		return refuse_type(binding, SHAPE_LIST, value);
	char *element = arena_zalloc(binding->arena, value->n * shape->element_size);
	*(void **)((char *)base + member->offset) = element;
	*(uint32_t *)(void *)((char *)base + member->extra) = value->n;
	for (const struct value *child = value->first; child; child = child->next, element += shape->element_size) {
		if (child->kind == VALUE_NULL)
			continue;
		if (child->kind != VALUE_MAP)
			return refuse_type(binding, SHAPE_STRUCTURE, child);
		enum status status = convert_members(binding, shape->element, child, element);
		if (status)
			return status;
	}
	return STATUS_OK;
}

struct entry {
	const struct value *value;
	uint32_t place; /* in the document */
	bool last;      /* of its key */
};

static int by_key(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order = str_compare(x->value->key, y->value->key);
	return order ? order : (x->place > y->place) - (x->place < y->place);
}

static int by_place(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	return (x->place > y->place) - (x->place < y->place);
}

/* The map's entries in document order, those marked that no later one of the same key overrides. By sorting: a map may have
 * thousands of entries before its length is validated. */
static struct entry *entries_of(struct arena *arena, const struct value *map)
{
	struct entry *entries = arena_alloc(arena, map->n * sizeof(*entries));
	uint32_t n = 0;
	for (const struct value *value = map->first; value; value = value->next, n++)
		entries[n] = (struct entry){value, n, true};
	qsort(entries, n, sizeof(*entries), by_key);
	for (uint32_t i = 0; i + 1 < n; i++)
		entries[i].last = !str_equal(entries[i].value->key, entries[i + 1].value->key);
	qsort(entries, n, sizeof(*entries), by_place);
	return entries;
}

static enum status convert_tags(struct binding *binding, const struct member *member, const struct value *value, void *base)
{
	if (value->kind != VALUE_MAP)
		return refuse_type(binding, SHAPE_TAGS, value);
	const struct entry *entries = entries_of(binding->arena, value);
	struct tag *tags = arena_alloc(binding->arena, value->n * sizeof(*tags));
	uint32_t n = 0;
	for (uint32_t i = 0; i < value->n; i++) {
		if (!entries[i].last || entries[i].value->kind == VALUE_NULL)
			continue;
		enum status status = convert_string(binding, entries[i].value, &tags[n].value);
		if (status)
			return status;
		tags[n++].key = entries[i].value->key;
	}
	*(struct tag **)(void *)((char *)base + member->offset) = tags;
	*(uint32_t *)(void *)((char *)base + member->extra) = n;
	return STATUS_OK;
}

static enum status convert_structure(struct binding *binding, const struct member *member, const struct value *value, void *base)
{
	if (value->kind != VALUE_MAP)
		return refuse_type(binding, SHAPE_STRUCTURE, value);
	*((bool *)base + member->extra) = true;
	return convert_members(binding, member->shape, value, (char *)base + member->offset);
}

static enum status convert(struct binding *binding, const struct member *member, const struct value *value, void *base)
{
	void *field = (char *)base + member->offset;
	switch (member->shape->type) {
	case SHAPE_STRING:
		return convert_string(binding, value, field);
	case SHAPE_INTEGER:
		return convert_integer(binding, value, field);
	case SHAPE_BOOLEAN:
		return convert_boolean(binding, value, field);
	case SHAPE_TIMESTAMP:
		return convert_timestamp(binding, value, field);
	case SHAPE_BLOB:
		return convert_blob(binding, value, field);
	case SHAPE_LIST:
		return convert_list(binding, member, value, base);
	case SHAPE_TAGS:
		return convert_tags(binding, member, value, base);
	case SHAPE_STRUCTURE:
		return convert_structure(binding, member, value, base);
	}
	return STATUS_INTERNAL;
}

static enum status convert_members(struct binding *binding, const struct shape *shape, const struct value *map, void *base)
{
	for (const struct member *member = shape->members; member->name; member++) {
		const struct value *value = value_member(map, str_of(member->name));
		if (!value || value->kind == VALUE_NULL)
			continue;
		enum status status = convert(binding, member, value, base);
		if (status)
			return status;
	}
	return STATUS_OK;
}

enum status shape_bind(const struct operation *operation, enum encoding encoding, const struct value *document, struct arena *arena,
		       void *out, struct str *text)
{
	struct binding binding = {.encoding = encoding, .arena = arena, .text = text};
	*text = (struct str){NULL, 0};
	memset(out, 0, operation->size);
	if (document->kind != VALUE_MAP)
		return STATUS_SERIALIZATION;
	enum status status = convert_members(&binding, operation->input, document, out);
	return status ? status : shape_check(operation->input, out, arena, text);
}
