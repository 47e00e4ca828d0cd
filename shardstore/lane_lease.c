/* lane_lease.c: join and leave. One live subscription per (consumer, shard) is the lane's state, so no lock spans workers.
 *
 * - join: more than one a second of that (consumer, shard): refused, and the lease that there is is left alone (lane_rate.c).
 * - no lease, or one past LEASE_GUARD_NS: granted. Interest and start cursor are set in this one step, before anything else can
 *   become durable.
 * - a later join within the guard: the holder's worker is asked to look at its socket (probe); the join waits with the lease. Gone:
 * granted. Still there: IN_USE, unless the guard has run out meanwhile.
 * - leave, takeover, the consumer or stream gone: the lease ends, its interest with it, and joins that waited are tried again (or fail with
 *   the stream).
 *
 * A probe holds no pointer into the lane: it names lease by stream, shard and subscription, and what it finds on its return is as good as
 * nothing when that lease has ended; its joins were dealt with then.
 *
 * Threads: the lane's; probe_at_worker, lease_end_at_worker and join_replied the worker's. */
#include <stdlib.h>

#include "shardstore/lane.h"

/* ---- Answers to joins ---- */

static void join_replied(struct mail *mail)
{
	struct store_join *join = container_of(mail, struct store_join, mail);
	if (join->interest)
		interest_refresh(join->interest, join);
	join->interest = NULL;
	join->on_done(join);
}

static void answer(struct lane *lane, struct store_join *join, enum status status)
{
	join->status = status;
	join->mail.run = join_replied;
	outbox_add(&lane->outbox, join->reply_to, &join->mail);
}

static void answer_all(struct lane *lane, struct mail_fifo *joins, enum status status)
{
	struct mail *mail;
	while ((mail = fifo_pop(joins)))
		answer(lane, container_of(mail, struct store_join, mail), status);
}

/* ---- The end of a lease, told to its holder ---- */

struct lease_end_mail {
	struct mail mail;
	struct lease_holder *holder;
	uint64_t subscription;
	enum lease_end why;
};

static void lease_end_at_worker(struct mail *mail)
{
	struct lease_end_mail *end = container_of(mail, struct lease_end_mail, mail);
	end->holder->on_lease_end(end->holder, end->subscription, end->why);
	free(end);
}

static void tell_holder(const struct lease *lease, enum lease_end why)
{
	struct lease_end_mail *end = xmalloc(sizeof(*end));
	*end = (struct lease_end_mail){
		.mail.run = lease_end_at_worker, .holder = lease->holder, .subscription = lease->subscription, .why = why};
	outbox_add(&lease->shard->stream->lane->outbox, lease->holder->box, &end->mail);
}

/* Frees the lease; the joins that waited for it are the caller's. */
static void remove_lease(struct lease *lease, struct mail_fifo *waiting)
{
	fifo_move(waiting, &lease->waiting);
	list_remove(&lease->link);
	interest_drop(lease->interest);
	free(lease);
}

/* ---- Probe ---- */

struct probe {
	struct mail mail;
	struct lane *lane;
	struct lease_holder *holder;
	uint64_t stream, subscription;
	uint32_t shard;
	bool gone;
};

static void probe_back(struct mail *mail);

static void probe_at_worker(struct mail *mail)
{
	struct probe *probe = container_of(mail, struct probe, mail);
	probe->gone = probe->holder->on_lease_probe(probe->holder, probe->subscription);
	probe->mail.run = probe_back;
	mailbox_post(&probe->lane->box, &probe->mail);
}

static void send_probe(struct lease *lease)
{
	struct lane *lane = lease->shard->stream->lane;
	struct probe *probe = xmalloc(sizeof(*probe));
	*probe = (struct probe){.mail.run = probe_at_worker,
				.lane = lane,
				.holder = lease->holder,
				.stream = lease->shard->key.stream,
				.shard = lease->shard->key.shard,
				.subscription = lease->subscription};
	lease->probing = true;
	outbox_add(&lane->outbox, lease->holder->box, &probe->mail);
}

/* ---- Join ---- */

static struct lease *find_lease(const struct lane_shard *shard, uint64_t consumer)
{
	LIST_EACH (node, &shard->leases) {
		struct lease *lease = container_of(node, struct lease, link);
		if (lease->consumer == consumer)
			return lease;
	}
	return NULL;
}

static struct lease *find_subscription(const struct lane_shard *shard, uint64_t subscription)
{
	LIST_EACH (node, &shard->leases) {
		struct lease *lease = container_of(node, struct lease, link);
		if (lease->subscription == subscription)
			return lease;
	}
	return NULL;
}

static void grant(struct lane_shard *shard, struct store_join *join)
{
	struct lane *lane = shard->stream->lane;
	struct lease *lease = xcalloc(1, sizeof(*lease));
	lease->shard = shard;
	lease->consumer = join->consumer;
	lease->subscription = join->subscription;
	lease->joined_ns = lane->now_ns;
	lease->holder = join->holder;
	lease->interest = interest_add(shard, join->listener);
	fifo_init(&lease->waiting);
	list_append(&shard->leases, &lease->link);

	join->key = shard->key;
	join->next = index_resolve(shard, &join->position);
	join->before_s = index_second_before(shard, join->next);
	if (!index_arrival(shard, join->next, &join->next_ms))
		join->next_ms = 0;
	join->durable_end = shard_durable_end(shard);
	join->durable_end_ms = shard->last_arrival_ms;
	join->closed = shard->closed;
	join->interest = interest_ref(lease->interest);
	answer(lane, join, STATUS_OK);
}

static bool was_dropped(const struct lane_stream *stream, uint64_t consumer)
{
	for (unsigned i = 0; i < stream->n_dropped && i < DROPPED_CONSUMERS; i++)
		if (stream->dropped[i] == consumer)
			return true;
	return false;
}

static void try_all(struct lane *lane, struct mail_fifo *joins, const struct probe *probe);

/* probe: the one whose answer is at hand, or NULL. The lease it spoke of is known to be held. */
static void try_join(struct lane *lane, struct store_join *join, const struct probe *probe)
{
	struct lane_stream *stream = lane_find(lane, join->stream);
	struct lane_shard *shard = stream ? lane_stream_shard(stream, join->shard) : NULL;
	if (!shard || was_dropped(stream, join->consumer)) {
		answer(lane, join, STATUS_NOT_FOUND);
		return;
	}
	struct lease *lease = find_lease(shard, join->consumer);
	if (!lease) {
		grant(shard, join);
	} else if (lane->now_ns - lease->joined_ns >= LEASE_GUARD_NS) {
		struct mail_fifo waiting;
		/* The end first, so that a worker that is both hears of them in their order; but the interest must not lapse between. */
		tell_holder(lease, LEASE_TAKEN);
		list_remove(&lease->link);
		grant(shard, join);
		remove_lease(lease, &waiting);
		try_all(lane, &waiting, NULL);
	} else if (probe && lease->subscription == probe->subscription) {
		answer(lane, join, STATUS_IN_USE);
	} else {
		fifo_push(&lease->waiting, &join->mail);
		if (!lease->probing)
			send_probe(lease);
	}
}

static void try_all(struct lane *lane, struct mail_fifo *joins, const struct probe *probe)
{
	struct mail *mail;
	while ((mail = fifo_pop(joins)))
		try_join(lane, container_of(mail, struct store_join, mail), probe);
}

static bool is_unreadable(const struct store_join *join)
{
	const struct lane_stream *stream = lane_find(join->lane, join->stream);
	return stream && stream->unreadable;
}

/* Of a stream or shard that is not there nothing is counted. */
static bool within_rate(const struct store_join *join)
{
	const struct lane_stream *stream = lane_find(join->lane, join->stream);
	struct lane_shard *shard = stream ? lane_stream_shard(stream, join->shard) : NULL;
	return !shard || lane_rate_subscribe(shard, join->consumer);
}

void lane_run_join(struct mail *mail)
{
	struct store_join *join = container_of(mail, struct store_join, mail);
	join->interest = NULL;
	if (join->lane->stopping)
		answer(join->lane, join, STATUS_CLOSING);
	else if (!within_rate(join)) /* here and not in try_join: a call that waits for a lease is one call */
		answer(join->lane, join, STATUS_LIMIT_EXCEEDED);
	else if (is_unreadable(join))
		answer(join->lane, join, STATUS_IO);
	else
		try_join(join->lane, join, NULL);
}

static void probe_back(struct mail *mail)
{
	struct probe *probe = container_of(mail, struct probe, mail);
	struct lane *lane = probe->lane;
	struct lane_stream *stream = lane_find(lane, probe->stream);
	struct lane_shard *shard = stream ? lane_stream_shard(stream, probe->shard) : NULL;
	struct lease *lease = shard ? find_subscription(shard, probe->subscription) : NULL;
	if (lease) {
		struct mail_fifo waiting;
		lease->probing = false;
		if (probe->gone) /* its leave is on the way, and will find nothing */
			remove_lease(lease, &waiting);
		else
			fifo_move(&waiting, &lease->waiting);
		try_all(lane, &waiting, probe);
	}
	free(probe);
}

/* ---- Leave ---- */

struct leave {
	struct mail mail;
	struct lane *lane;
	uint64_t stream, consumer, subscription;
	uint32_t shard;
};

/* A join of this subscription that still waits: its worker has given it up. */
static void cancel_waiting(struct lane *lane, struct lease *lease, uint64_t subscription)
{
	struct mail_fifo waiting;
	fifo_move(&waiting, &lease->waiting);
	struct mail *mail;
	while ((mail = fifo_pop(&waiting))) {
		struct store_join *join = container_of(mail, struct store_join, mail);
		if (join->subscription == subscription)
			answer(lane, join, STATUS_CLOSING);
		else
			fifo_push(&lease->waiting, mail);
	}
}

static void run_leave(struct mail *mail)
{
	struct leave *leave = container_of(mail, struct leave, mail);
	struct lane *lane = leave->lane;
	struct lane_stream *stream = lane_find(lane, leave->stream);
	struct lane_shard *shard = stream ? lane_stream_shard(stream, leave->shard) : NULL;
	struct lease *lease = shard ? find_lease(shard, leave->consumer) : NULL;
	if (lease && lease->subscription == leave->subscription) {
		struct mail_fifo waiting;
		remove_lease(lease, &waiting);
		try_all(lane, &waiting, NULL);
	} else if (lease) {
		cancel_waiting(lane, lease, leave->subscription);
	}
	free(leave);
}

struct mail *leave_new(struct lane *lane, uint64_t stream, uint32_t shard, uint64_t consumer, uint64_t subscription)
{
	struct leave *leave = xmalloc(sizeof(*leave));
	*leave = (struct leave){
		.mail.run = run_leave, .lane = lane, .stream = stream, .shard = shard, .consumer = consumer, .subscription = subscription};
	return &leave->mail;
}

/* ---- Ends from above ---- */

static void end_lease(struct lease *lease, enum lease_end why)
{
	struct lane *lane = lease->shard->stream->lane;
	struct mail_fifo waiting;
	tell_holder(lease, why);
	remove_lease(lease, &waiting);
	answer_all(lane, &waiting, STATUS_NOT_FOUND);
}

void lane_leases_end(struct lane_shard *shard, enum lease_end why)
{
	LIST_EACH (node, &shard->leases)
		end_lease(container_of(node, struct lease, link), why);
}

void lane_leases_drop_consumer(struct lane_stream *stream, uint64_t consumer)
{
	stream->dropped[stream->n_dropped++ % DROPPED_CONSUMERS] = consumer;
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		struct lease *lease = find_lease(stream->shards[i], consumer);
		if (lease)
			end_lease(lease, LEASE_CONSUMER_GONE);
	}
}

void lane_leases_stop(struct lane_shard *shard)
{
	LIST_EACH (node, &shard->leases)
		answer_all(shard->stream->lane, &container_of(node, struct lease, link)->waiting, STATUS_CLOSING);
}

void lane_leases_forget(struct lane_shard *shard)
{
	LIST_EACH (node, &shard->leases) {
		struct mail_fifo waiting;
		remove_lease(container_of(node, struct lease, link), &waiting);
		answer_all(shard->stream->lane, &waiting, STATUS_CLOSING);
	}
}
