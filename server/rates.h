/* rates.h: calls per second of the control plane: of the account, or of one stream (kinesis-behaviour 6.2).
 *
 * Any thread: one table for the whole process, behind one mutex. See rates.c for why. */
#ifndef PENSTOCK_RATES_H
#define PENSTOCK_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/limits.h"
#include "server/request.h"

struct rates;

struct rates *rates_new(const struct limits *limits);
void rates_free(struct rates *rates);

/* Counts a call of that operation (enum operation_number); `stream` is the id of the one it names, and means something only to operations
 * that are limited per stream. False: it is one too many, and costs nothing. */
bool rates_take(struct rates *rates, int operation, uint64_t stream, uint64_t now_ns);

/* The same for the request at hand. name: of the stream it speaks of; p NULL: of none, or of all. False: answered. An operation calls it
 * once it knows its stream, before it answers from it or changes anything: what fails earlier costs nothing. */
bool rates_pass(struct request *request, uint64_t stream, struct str name);

#endif
