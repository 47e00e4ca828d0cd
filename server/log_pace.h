/* log_pace.h: log lines that clients cause, at most one a minute and subject.
 *
 * Thread: any; a leaf mutex. Memory: fixed. With more subjects in a minute than there are places,
 * the further ones are not logged, so that no client fills a disk. */
#ifndef PENSTOCK_LOG_PACE_H
#define PENSTOCK_LOG_PACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"

#define LOG_PACE_PLACES 32
#define LOG_PACE_NS UINT64_C(60000000000)

/* Zeroed memory is a valid one. */
struct log_pace {
	pthread_mutex_t lock;
	struct {
		uint64_t subject;  /* a hash */
		uint64_t until_ns; /* monotonic; past: the place is free */
	} places[LOG_PACE_PLACES];
};

/* True: log a line of this event about this subject now. now_ns: monotonic. */
bool log_pace_take(struct log_pace *pace, const char *event, struct str subject, uint64_t now_ns);

#endif
