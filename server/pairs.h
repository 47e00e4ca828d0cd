/* pairs.h: key=value texts: query strings, form bodies, the parts of Authorization headers. Pure. */
#ifndef PENSTOCK_PAIRS_H
#define PENSTOCK_PAIRS_H

#include <stdbool.h>

#include "penstock/bytes.h"

/* The next piece of *rest up to any of the characters in `cuts`; false at the end. */
bool pairs_next(struct str *rest, const char *cuts, struct str *out);
/* The value of the first pair with that key, as it stands there: nothing is decoded. A key without
 * `=` has an empty value. False: there is none. */
bool pairs_find(struct str text, const char *cuts, const char *key, struct str *value);

#endif
