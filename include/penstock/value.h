/* value.h: a decoded JSON or CBOR document: a small tree in an arena, with strings lent from the body where they need no change.
 *
 * Pure: bytes in, tree out, no I/O, no globals. Depth is capped, and so is the number of values (65,536; PutRecords needs 3,000);
 * declared CBOR lengths are never trusted for allocation; JSON must be UTF-8 without lone surrogates. Numbers keep their kind. */
#ifndef PENSTOCK_VALUE_H
#define PENSTOCK_VALUE_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/status.h"

#define VALUE_DEPTH_MAX 16

enum encoding { ENCODING_JSON, ENCODING_CBOR };

enum value_kind { VALUE_NULL, VALUE_BOOL, VALUE_INT, VALUE_DOUBLE, VALUE_STRING, VALUE_BYTES, VALUE_LIST, VALUE_MAP };

struct value {
	enum value_kind kind;
	bool tagged_time;        /* CBOR tag 1 stood before it */
	uint32_t n;              /* LIST, MAP: children */
	union {
		bool boolean;
		int64_t integer; /* saturated at the ends of int64 */
		double number;
		struct str str;  /* STRING, BYTES */
		struct value *first; /* LIST, MAP: first child */
	};
	struct str key;          /* inside a MAP */
	struct value *next;      /* sibling */
};

/* The whole body must be one document (surrounding JSON blanks allowed). STATUS_OK or STATUS_SERIALIZATION. The body must live, and not
 * change, as long as the tree. */
enum status value_decode(enum encoding encoding, const uint8_t *body, size_t n, struct arena *arena, struct value **out);
/* Last member of that name in a MAP (a repeated key: the last wins); NULL: absent. A null member is returned as VALUE_NULL. */
const struct value *value_member(const struct value *map, struct str key);

#endif
