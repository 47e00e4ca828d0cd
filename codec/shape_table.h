/* shape_table.h: what a table says of a member: its type for the conversion, its constraints for the validation, its place in the
 * C struct of api.h. Read-only, shared by all threads. */
#ifndef CODEC_SHAPE_TABLE_H
#define CODEC_SHAPE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/shape.h"

/* In C:                struct str    opt_int        opt_bool       opt_time         struct str, bytes
 *                      array + n     tag array + n  fields of the struct around it, and a flag */
enum shape_type { SHAPE_STRING, SHAPE_INTEGER, SHAPE_BOOLEAN, SHAPE_TIMESTAMP, SHAPE_BLOB, SHAPE_LIST, SHAPE_TAGS, SHAPE_STRUCTURE };

struct pattern {
	const char *text; /* as the service model prints it */
	bool (*matches)(struct str s);
};

struct range {
	bool has_min, has_max;
	int64_t min, max;
};

struct member;

struct shape {
	enum shape_type type;
	struct range range;            /* INTEGER: value; STRING: UTF-16 units; BLOB: bytes; LIST: elements; TAGS: entries */
	struct range key, value;       /* TAGS: UTF-16 units */
	const struct pattern *pattern; /* STRING; NULL: none */
	const char *const *values;     /* STRING: enum, in AWS's order, NULL behind the last; NULL: none */
	const struct member *members;  /* STRUCTURE: in the order of conversion and validation; name NULL behind the last */
	const struct shape *element;   /* LIST: a STRUCTURE */
	size_t element_size;           /* LIST: its C struct */
};

struct member {
	const char *name; /* "StreamName" */
	const struct shape *shape;
	bool required;
	size_t offset; /* in the C struct; STRUCTURE: of its struct, 0 where its fields lie in the struct around it */
	size_t extra;  /* LIST, TAGS: offset of the uint32_t count; STRUCTURE: offset of the bool that says it is there */
};

/* Anchored at both ends, as AWS matches. */
extern const struct pattern pattern_name; /* streams, shards, consumers */
extern const struct pattern pattern_stream_arn;
extern const struct pattern pattern_consumer_arn;
extern const struct pattern pattern_hash_key;
extern const struct pattern pattern_sequence_number;

/* The field at that offset of the C struct. */
static inline const void *field_at(const void *base, size_t offset) { return (const char *)base + offset; }
static inline bool member_present(const struct member *member, const void *base)
{
	if (member->shape->type == SHAPE_STRUCTURE)
		return *(const bool *)field_at(base, member->extra);
	/* opt_int, opt_bool and opt_time begin with their flag; str and the arrays with a pointer that is NULL when absent. */
	if (member->shape->type == SHAPE_INTEGER || member->shape->type == SHAPE_BOOLEAN || member->shape->type == SHAPE_TIMESTAMP)
		return *(const bool *)field_at(base, member->offset);
	return *(const void *const *)field_at(base, member->offset) != NULL;
}

/* The second half of shape_bind (shape_check.c): constraints on the filled struct. STATUS_OK, or STATUS_VALIDATION and *text. */
enum status shape_check(const struct shape *input, const void *base, struct arena *arena, struct str *text);

#endif
