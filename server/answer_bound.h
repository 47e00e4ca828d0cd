/* answer_bound.h: how large the answer of a call may be, before it is made. Thread: the request's worker. */
#ifndef PENSTOCK_ANSWER_BOUND_H
#define PENSTOCK_ANSWER_BOUND_H

#include <stdbool.h>
#include <stddef.h>

struct request;

/* Bytes, head included, that the answer of a request with a bound input (exchange->operation, ->input) takes at most. GetRecords: without
 * its records, which are reserved when it is known how many there are (ops_read.c). */
size_t answer_bound(const struct request *request);
/* Reserves it; false: there is no room, and the request is answered. An operation that changes something has its room before it begins. */
bool answer_bound_reserve(struct request *request);

#endif
