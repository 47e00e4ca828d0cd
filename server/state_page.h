/* state_page.h: GET /state: limits, profile and faults, streams with their shards and consumers, and
 * every subscription with what it waits for, in words.
 *
 *     GET /state?limit=200&after=TOKEN
 *
 * limit: rows of one page, 1 to STATE_ROWS_MAX, which is the default. A row is a stream, a shard, a
 * consumer or a subscription. The answer's `next`, if there is one, is the `after` of the page that
 * goes on behind it. A stream that did not fit whole comes again, with its further shards and
 * consumers. A token needs nothing in the server: it names the last row. */
#ifndef PENSTOCK_STATE_PAGE_H
#define PENSTOCK_STATE_PAGE_H

#include <pthread.h>

#include "penstock/bucket.h"
#include "server/request.h"

#define STATE_ROWS_MAX 1000u
/* A page takes no more bytes than STATE_HEAD_BYTES and STATE_ROW_BYTES a row. A common row is 100 to
 * 300 bytes. */
#define STATE_HEAD_BYTES 8192u
#define STATE_ROW_BYTES 768u

/* Bounds the rows that all clients together read. A leaf mutex; zeroed memory is without a bound. */
struct state_pace {
	pthread_mutex_t lock;
	struct bucket rows;
};

void state_pace_init(struct state_pace *pace, uint64_t now_ns);

/* Answers now or in a later turn. Thread: the request's worker. */
void state_page(struct request *request);

#endif
