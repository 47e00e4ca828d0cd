/* answers.h: the memory of answers: one budget over the process, and no more than a quarter of it for a group of addresses (peers.h).
 *
 * The way of a reservation: the request's exchange has it from dispatch on (request_reserve), by the bound of its operation
 * (answer_bound.h); when the answer is made it is settled to what the answer takes; the connection has it from then (conn_charge), and
 * gives it back as the bytes leave. METRIC_answer_bytes reports what answers take; nothing is decided by it. */
#ifndef PENSTOCK_ANSWERS_H
#define PENSTOCK_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>

#include "server/budget.h"

struct worker;
struct server;
struct peer;

#define ANSWERS_MAX (256ll << 20)             /* bytes, over the process */
#define ANSWERS_OF_GROUP (ANSWERS_MAX / 4)    /* of one group of addresses */
#define ANSWER_HEAD 512u                      /* what an answer takes beside its body */
#define ANSWER_FIRST (ANSWER_HEAD + 512u)     /* what every request reserves before it is looked at: an ordinary error fits */

/* Reserves n bytes for peer (NULL: for nobody in particular), on the worker's thread. False: no room, and nothing is reserved. */
bool answers_take(struct worker *worker, struct peer *peer, size_t n, enum budget_class class);
/* For an answer that says what has taken effect: it is never refused. Operations' bounds see to it that this is not needed. */
void answers_force(struct worker *worker, struct peer *peer, size_t n);
void answers_give(struct worker *worker, struct peer *peer, size_t n);
/* The same on a thread that is no worker's; the caller has a reference of peer (peers_ref). */
bool answers_take_anywhere(struct server *server, struct peer *peer, size_t n, enum budget_class class);
void answers_give_anywhere(struct server *server, struct peer *peer, size_t n);

#endif
