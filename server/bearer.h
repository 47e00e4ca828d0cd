/* bearer.h: the token that /metrics wants (--metrics-token-file), since a scraper cannot sign.
 *
 * Thread: any; a leaf mutex. The main thread reads the file at the start and on SIGHUP; workers
 * compare. Only a hash of the token is kept. */
#ifndef PENSTOCK_BEARER_H
#define PENSTOCK_BEARER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/status.h"

/* Zeroed memory is one that nothing satisfies. */
struct bearer {
	pthread_mutex_t lock;
	bool set;
	uint8_t hash[32];
};

/* The file holds one token: 1 to 1024 characters of ASCII without blanks; one newline may follow.
 * STATUS_IO, STATUS_INVALID_ARGUMENT: the former token stays; *why, which the caller frees, names
 * the file and the flaw, and no token. */
enum status bearer_load(struct bearer *bearer, const char *path, char **why);
/* Is this Authorization header `Bearer TOKEN`? In constant time as to the token. */
bool bearer_is_good(struct bearer *bearer, struct str authorization);

#endif
