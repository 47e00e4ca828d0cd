/* admin.h: /healthz, /metrics, /state and /faults: plain pages for people and probes, beside the API on the same port. Nothing secret is in them. */
#ifndef PENSTOCK_ADMIN_H
#define PENSTOCK_ADMIN_H

#include <stdbool.h>

#include "server/request.h"

/* Each answers the request if it is for that page; false: it is not, and is untouched. Thread: the
 * request's worker. */
bool admin_healthz(struct request *request); /* open to every client */
bool admin_page(struct request *request);    /* the other pages */

#endif
