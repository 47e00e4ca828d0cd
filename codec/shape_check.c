/* shape_check.c: the constraints of the service model on a filled struct. Pure: any thread.
 *
 * - members in the table's order, depth first; per value: pattern, then minimum, then maximum, then enum;
 * - an absent optional member is not looked at; of an absent required one only that is said;
 * - what fails becomes an item of one text (kinesis-behaviour.md 2.2); paths are put together only then, from the chain of callers;
 * - at ten items the walk stops.
 *
 * Failure is the purpose. A valid struct costs no allocation. */
#include <stdio.h>

#include "codec/shape_table.h"
#include "codec/utf8.h"
#include "penstock/api.h"
#include "penstock/echo.h"

#define ITEMS_MAX 10 /* AWS never counts further */

struct check {
	struct buf items;
	unsigned n;
};

/* Where a value stands: the chain of names above it. */
struct path {
	const struct path *up;
	const char *name; /* of a member; NULL: an element */
	uint32_t index;   /* of an element, from 1 */
};

/* A value under check. */
struct subject {
	const struct member *member;
	const void *base; /* the struct that the member is in */
	struct path path;
};

/* ---- Text ---- */

static void put_path(struct buf *out, const struct path *path)
{
	if (path->up) {
		put_path(out, path->up);
		buf_put_char(out, '.');
	}
	if (!path->name) {
		buf_printf(out, "%u.member", path->index);
		return;
	}
	/* Only the first letter falls: StreamARN is streamARN. */
	buf_put_char(out, (char)(path->name[0] | 0x20));
	buf_put_str(out, str_of(path->name + 1));
}

static uint32_t count_of(const struct subject *subject) { return *(const uint32_t *)field_at(subject->base, subject->member->extra); }

/* Scalars are repeated, in quotes. Lists, maps and blobs are not: AWS's texts of today name only
 * their place (kinesis-behaviour.md 2.3, the recording of December 2025). */
static void put_value(struct buf *out, const struct subject *subject)
{
	const void *field = field_at(subject->base, subject->member->offset);
	switch (subject->member->shape->type) {
	case SHAPE_STRING:
		buf_put_str(out, STR("'"));
		echo_put(out, *(const struct str *)field);
		buf_put_str(out, STR("' "));
		break;
	case SHAPE_INTEGER:
		buf_printf(out, "'%lld' ", (long long)((const struct opt_int *)field)->v);
		break;
	case SHAPE_BLOB:
	case SHAPE_LIST:
	case SHAPE_TAGS:
		break;
	case SHAPE_BOOLEAN:
	case SHAPE_TIMESTAMP:
	case SHAPE_STRUCTURE:
		break; /* have no constraint but to be there */
	}
}

/* Begins an item, up to and with "constraint: ". False: the text is full. */
static bool begin_item(struct check *check, const struct subject *subject, bool absent)
{
	if (check->n == ITEMS_MAX)
		return false;
	buf_put_str(&check->items, check->n++ ? STR("; ") : STR(""));
	buf_put_str(&check->items, STR("Value "));
	if (absent)
		buf_put_str(&check->items, STR("null "));
	else
		put_value(&check->items, subject);
	buf_put_str(&check->items, STR("at '"));
	put_path(&check->items, &subject->path);
	buf_put_str(&check->items, STR("' failed to satisfy constraint: "));
	return true;
}

/* ---- Constraints ---- */

/* what: "value", "length" */
static void check_range(struct check *check, const struct subject *subject, const char *what, int64_t v)
{
	const struct range *range = &subject->member->shape->range;
	if (range->has_min && v < range->min && begin_item(check, subject, false))
		buf_printf(&check->items, "Member must have %s greater than or equal to %lld", what, (long long)range->min);
	if (range->has_max && v > range->max && begin_item(check, subject, false))
		buf_printf(&check->items, "Member must have %s less than or equal to %lld", what, (long long)range->max);
}

/* Units are never more than bytes, and none only when there are no bytes: so most texts need no count. */
static int64_t units_of(const struct range *range, struct str s)
{
	return (int64_t)s.n > range->max || range->min > 1 ? (int64_t)utf8_utf16_len(s) : (int64_t)s.n;
}

static void check_enum(struct check *check, const struct subject *subject, struct str s)
{
	const char *const *values = subject->member->shape->values;
	for (const char *const *value = values; *value; value++)
		if (str_equal(s, str_of(*value)))
			return;
	if (!begin_item(check, subject, false))
		return;
	buf_put_str(&check->items, STR("Member must satisfy enum value set: ["));
	for (const char *const *value = values; *value; value++)
		buf_printf(&check->items, "%s%s", value == values ? "" : ", ", *value);
	buf_put_char(&check->items, ']');
}

static void check_string(struct check *check, const struct subject *subject)
{
	const struct shape *shape = subject->member->shape;
	struct str s = *(const struct str *)field_at(subject->base, subject->member->offset);
	if (shape->pattern && !shape->pattern->matches(s) && begin_item(check, subject, false))
		buf_printf(&check->items, "Member must satisfy regular expression pattern: %s", shape->pattern->text);
	if (shape->range.has_max)
		check_range(check, subject, "length", units_of(&shape->range, s));
	if (shape->values)
		check_enum(check, subject, s);
}

/* who: "keys", "value", in AWS's words */
static void put_tag_item(struct check *check, const struct subject *subject, const char *who, const struct range *range)
{
	if (begin_item(check, subject, false))
		buf_printf(&check->items,
			   "Map %s must satisfy constraint: [Member must have length less than or equal to %lld, "
			   "Member must have length greater than or equal to %lld]",
			   who, (long long)range->max, (long long)range->min);
}

static bool in_range(const struct range *range, struct str s)
{
	int64_t units = units_of(range, s);
	return units >= range->min && units <= range->max;
}

static void check_tags(struct check *check, const struct subject *subject)
{
	const struct shape *shape = subject->member->shape;
	const struct tag *tags = *(const struct tag *const *)field_at(subject->base, subject->member->offset);
	bool keys = true, values = true;
	check_range(check, subject, "length", count_of(subject));
	for (uint32_t i = 0; i < count_of(subject); i++) {
		keys = keys && in_range(&shape->key, tags[i].key);
		values = values && in_range(&shape->value, tags[i].value);
	}
	if (!keys)
		put_tag_item(check, subject, "keys", &shape->key);
	if (!values)
		put_tag_item(check, subject, "value", &shape->value);
}

static void check_members(struct check *check, const struct shape *shape, const void *base, const struct path *up);

static void check_list(struct check *check, const struct subject *subject)
{
	const struct shape *shape = subject->member->shape;
	const char *element = *(const char *const *)field_at(subject->base, subject->member->offset);
	check_range(check, subject, "length", count_of(subject));
	for (uint32_t i = 0; i < count_of(subject) && check->n < ITEMS_MAX; i++, element += shape->element_size) {
		struct path path = {.up = &subject->path, .index = i + 1};
		check_members(check, shape->element, element, &path);
	}
}

static void check_present(struct check *check, const struct subject *subject)
{
	const void *field = field_at(subject->base, subject->member->offset);
	switch (subject->member->shape->type) {
	case SHAPE_STRING:
		check_string(check, subject);
		break;
	case SHAPE_INTEGER:
		check_range(check, subject, "value", ((const struct opt_int *)field)->v);
		break;
	case SHAPE_BLOB:
		check_range(check, subject, "length", (int64_t)((const struct str *)field)->n);
		break;
	case SHAPE_LIST:
		check_list(check, subject);
		break;
	case SHAPE_TAGS:
		check_tags(check, subject);
		break;
	case SHAPE_STRUCTURE:
		check_members(check, subject->member->shape, field, &subject->path);
		break;
	case SHAPE_BOOLEAN:
	case SHAPE_TIMESTAMP:
		break;
	}
}

static void check_members(struct check *check, const struct shape *shape, const void *base, const struct path *up)
{
	for (const struct member *member = shape->members; member->name; member++) {
		struct subject subject = {.member = member, .base = base, .path = {.up = up, .name = member->name}};
		if (member_present(member, base))
			check_present(check, &subject);
		else if (member->required && begin_item(check, &subject, true))
			buf_put_str(&check->items, STR("Member must not be null"));
	}
}

enum status shape_check(const struct shape *input, const void *base, struct arena *arena, struct str *text)
{
	struct check check = {.n = 0};
	check_members(&check, input, base, NULL);
	if (check.n == 0)
		return STATUS_OK;
	/* The items may hold NULs from the request's strings: no %s for them. */
	struct buf whole = {0};
	buf_printf(&whole, "%u validation error%s detected: ", check.n, check.n == 1 ? "" : "s");
	buf_put(&whole, check.items.p, check.items.n);
	*text = arena_str(arena, (struct str){(const char *)whole.p, whole.n});
	buf_free(&whole);
	buf_free(&check.items);
	return STATUS_VALIDATION;
}
