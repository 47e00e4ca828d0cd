/* status.c: the names of outcomes. One table by value, made from the list in status.h; values are dense from 0 downwards, which a
 * static assertion holds on to.
 *
 * Thread: any; nothing here changes. A value outside the list reads as INTERNAL: it is our mistake, so the client is told 500. */
#include "penstock/status.h"

#include <stddef.h>

struct status_row {
	int http;
	const char *type, *name;
};

static const struct status_row rows[] = {
#define X(name, value, http, type) [-(value)] = {(http), (type), #name},
	STATUS_LIST(X)
#undef X
};

enum {
#define X(name, value, http, type) count_##name,
	STATUS_LIST(X)
#undef X
		status_count
};
_Static_assert(sizeof(rows) / sizeof(rows[0]) == status_count, "status values are dense from 0 downwards");

static const struct status_row *row_of(enum status status)
{
	int at = -(int)status;
	if (at < 0 || at >= status_count)
		at = -(int)STATUS_INTERNAL;
	return &rows[at];
}

int status_http(enum status status) { return row_of(status)->http; }

const char *status_type(enum status status) { return row_of(status)->type; }

const char *status_name(enum status status) { return row_of(status)->name; }
