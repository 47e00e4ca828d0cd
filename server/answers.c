/* answers.c: reservations of answers' memory: in the groups of the client's address first, then in the process's budget.
 *
 * Threads: a worker takes from its own shares, any other thread from the shared counters; both are given back either way. */
#include "server/answers.h"

#include "server/peers.h"
#include "server/worker.h"

bool answers_take(struct worker *worker, struct peer *peer, size_t n, enum budget_class class)
{
	if (!peers_take(peer, worker->number, n, class))
		return false;
	if (budget_share_take(&worker->server->answers, &worker->answers, n, class))
		return true;
	peers_give(peer, worker->number, n);
	return false;
}

void answers_force(struct worker *worker, struct peer *peer, size_t n)
{
	peers_force(peer, n);
	budget_force(&worker->server->answers, n);
}

void answers_give(struct worker *worker, struct peer *peer, size_t n)
{
	peers_give(peer, worker->number, n);
	budget_share_give(&worker->server->answers, &worker->answers, n);
}

bool answers_take_anywhere(struct server *server, struct peer *peer, size_t n, enum budget_class class)
{
	if (!peers_take(peer, PEERS_ANYWHERE, n, class))
		return false;
	if (budget_take(&server->answers, n, class))
		return true;
	peers_give(peer, PEERS_ANYWHERE, n);
	return false;
}

void answers_give_anywhere(struct server *server, struct peer *peer, size_t n)
{
	peers_give(peer, PEERS_ANYWHERE, n);
	budget_give(&server->answers, n);
}
