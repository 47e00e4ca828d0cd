/* fault.h: faults on purpose, so that an application can be tried under what it will meet. Off unless asked; see fault_rules.h for what
 * there is. A fault never breaks a promise silently: what was throttled, reset or answered 500 was not done, lost-answer excepted, which is
 * there to do just that.
 *
 * Threads: each worker has the rules that hold, as it has the keys; they change by mail. The running counts are the process's. */
#ifndef PENSTOCK_FAULT_H
#define PENSTOCK_FAULT_H

#include <stdbool.h>

#include "penstock/bytes.h"
#include "server/fault_rules.h"
#include "server/request.h"

struct server;
struct faults;

/* Worker's thread, at its start and end. */
void fault_begin(struct worker *worker);
void fault_fini(struct worker *worker);
/* It stops: what is held back goes on now, and nothing is held back any more. */
void fault_stop(struct worker *worker);

/* Any thread that may log: these hold from here on, in all workers; counts begin anew. Said in the log. */
void fault_set(struct server *server, const struct fault_rules *rules);
const struct fault_rules *fault_rules_now(const struct worker *worker); /* NULL: there are none. The worker's thread */

/* dispatch.c, if the worker has faults: a valid call is about to be performed. True: this took care of it (answered, or perform is called
 * later). */
bool fault_call(struct request *request, void (*perform)(struct request *request));
/* request.c. Each true: it took the answer. */
bool fault_lost(struct request *request);
bool fault_hold_answer(struct request *request, int http_status, const char *content_type, struct buf *body);
void fault_drop(struct request *request); /* the request is freed: nothing of it is held any more */
/* ops_subscribe.c: the subscription lives from here on. */
void fault_joined(struct request *request);

/* ---- fault_page.c ---- */

/* Answers GET and PUT /faults. */
void fault_page(struct request *request);
/* {"seed": 1, "throttle": "0.1", ...}; without rules {}. A new reference. */
struct json_t *fault_json(const struct fault_rules *rules);

#endif
