/* tags.h: what tags a stream or consumer may be given. Thread: the request's worker. */
#ifndef PENSTOCK_TAGS_H
#define PENSTOCK_TAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/api.h"
#include "server/request.h"

/* Tags of one resource at most (Kinesis quotas; the shape alone allows 200). */
#define TAGS_MAX 50

/* Checks characters, reserved keys and number of n tags for the resource `name`, which is a `kind`
 * ("stream", "consumer"). False: the request is answered with InvalidArgumentException. Lengths are
 * checked by the shape before. */
bool tags_pass(struct request *request, const char *kind, struct str name, const struct tag *tags, uint32_t n);

#endif
