/* share.h: how a worker's turn is shared between its connections, so that no one waits long for others: who asks for much is served a little
 * each turn. Private to the transport; the worker's thread. */
#ifndef PENSTOCK_SHARE_H
#define PENSTOCK_SHARE_H

#include "server/worker.h"

struct conn;

void share_init(struct worker *worker); /* worker->base is there */
void share_fini(struct worker *worker);
/* Once per turn: opens some of the new connections, then lets those with unread input go on, in turn, for a while. */
void share_serve(struct worker *worker);
bool share_pending(const struct worker *worker); /* there is more to do at once */
void share_stop(struct worker *worker);          /* worker->stopping: new connections are closed, deadlines looked at at once */

/* Input of the connection begins to be processed; may it take another request? One is always allowed. */
void share_begin(struct worker *worker);
bool share_more(const struct worker *worker);
/* The connection has input that it could go on with, in `held` or, unread, in its socket: it goes on when its turn has come. */
void share_wait(struct conn *conn);
void share_leave(struct conn *conn);

#endif
