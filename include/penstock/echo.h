/* echo.h: a client's value as an error text repeats it. Pure: any thread.
 *
 * Every text that repeats a value of the request goes through echo_put, so that an answer
 * to a refused request is small whatever the request held. */
#ifndef PENSTOCK_ECHO_H
#define PENSTOCK_ECHO_H

#include "penstock/bytes.h"

/* Bytes of a value that are repeated. An ARN that is just too long, of 2,049 characters, is still
 * repeated whole. */
#define ECHO_MAX 2560

/* Appends the value: whole up to ECHO_MAX bytes, else cut behind the last whole character within
 * ECHO_MAX, with "..." after it. The value is valid UTF-8. */
void echo_put(struct buf *out, struct str value);

#endif
