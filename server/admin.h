/* admin.h: /healthz, /metrics, /state and /faults: plain pages for people and probes, beside the API on the same port. Nothing secret is in them. */
#ifndef PENSTOCK_ADMIN_H
#define PENSTOCK_ADMIN_H

#include <stdbool.h>

#include "server/request.h"

/* Answers the request if it is for one of these pages; false: it is not, and is untouched. Thread: the request's worker. */
bool admin_request(struct request *request);

#endif
