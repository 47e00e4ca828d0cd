/* shape.h: one table per operation serves type errors, validation, JSON and CBOR.
 *
 * shape_bind turns a decoded document into the operation's C struct (api.h), with AWS's checks in AWS's order: type conversion in field
 * order (the first failure ends the request with a SerializationException), then constraints (a ValidationException that counts up to
 * ten). Texts and orders: kinesis-behaviour.md 2.1, 2.2, 2.4; constraints: the public service model. */
#ifndef PENSTOCK_SHAPE_H
#define PENSTOCK_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/status.h"
#include "penstock/value.h"

struct shape;

/* An operation of API version 2013-12-02, of which there are 57; "not there yet" ones too. */
struct operation {
	const char *name;          /* "PutRecords" */
	const struct shape *input; /* table; never NULL */
	size_t size;               /* of its input struct in api.h; 0: not there yet */
	int number;                /* enum operation_number of api.h */
};

/* NULL: no such operation. */
const struct operation *operation_find(struct str name);
const struct operation *operation_at(size_t i); /* NULL behind the last */

/* Binds `document` to the struct at `out` (operation->size bytes, zeroed by this call; blobs and strings in the arena or lent from the
 * tree). STATUS_OK; or STATUS_SERIALIZATION / STATUS_VALIDATION with the exact text of AWS in *text (in the arena; p NULL: no text). */
enum status shape_bind(const struct operation *operation, enum encoding encoding, const struct value *document, struct arena *arena,
		       void *out, struct str *text);

#endif
