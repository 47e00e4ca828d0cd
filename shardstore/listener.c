/* listener.c: a worker's ear. Lanes put news of a shard under the listener's lock, the worker takes it; mail is only the knock.
 *
 *      lane: shard->interests ── interest ──┐            worker: listener->mail, once, however much is new
 *                                listener->dirty ── interest (news of one shard) ── batches, oldest first
 *
 * Invariants: the mail is posted at most once at a time. Batches that wait in a listener weigh at most LISTENER_BYTES, or are a single
 * larger one; beyond that only the durable end is told, and the worker reads the log. The batches of one notice are dense.
 *
 * - interest_tell (lane): the durable end, a reference on the batch if there is room, the knock if none is on its way.
 * - listener_run (worker): on_notice, which takes shard after shard.
 * - a join's reply (worker): mail is first-in first-out, but the knock may have been posted before the reply and the news of the joined
 * shard have been added after it. Then the worker took news for a subscription that it had not yet. So the reply carries on what was taken
 *   meanwhile: interest and start cursor begin in one step, whichever way the two cross.
 *
 * An interest has a reference of the lane's and one for each join reply on its way. It is freed with the last.
 *
 * Threads: the lanes', and the listener's worker; each function says whose. */
#include <assert.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "shardstore/lane.h"

/* ---- The worker ---- */

static void listener_run(struct mail *mail)
{
	struct listener *listener = container_of(mail, struct listener, mail);
	/* Before the taking: news that comes meanwhile knocks again, at worst for nothing. */
	pthread_mutex_lock(&listener->lock);
	listener->posted = false;
	pthread_mutex_unlock(&listener->lock);
	listener->on_notice(listener);
}

void listener_init(struct listener *listener, struct mailbox *box, void (*on_notice)(struct listener *))
{
	*listener = (struct listener){.mail.run = listener_run, .box = box, .on_notice = on_notice};
	pthread_mutex_init(&listener->lock, NULL);
	list_init(&listener->dirty);
}

bool listener_take(struct listener *listener, struct notice *out)
{
	pthread_mutex_lock(&listener->lock);
	struct list *node = list_pop(&listener->dirty);
	if (node) {
		struct interest *interest = container_of(node, struct interest, dirty);
		*out = (struct notice){.shard = interest->shard,
				       .durable_end = interest->durable_end,
				       .durable_end_ms = interest->durable_end_ms,
				       .closed = interest->closed,
				       .durable_ns = interest->durable_ns,
				       .batches = interest->batches,
				       .n_batches = interest->n_batches};
		for (uint32_t i = 0; i < interest->n_batches; i++)
			listener->bytes -= interest->batches[i]->payload;
		interest->batches = NULL;
		interest->n_batches = interest->cap = 0;
		interest->skipped = false;
		interest->durable_ns = 0;
		interest->taken_end = interest->durable_end;
		interest->taken_end_ms = interest->durable_end_ms;
	}
	pthread_mutex_unlock(&listener->lock);
	return node != NULL;
}

static void drop_batches(struct batch **batches, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		batch_unref(batches[i]);
	free(batches);
}

void notice_fini(struct notice *notice)
{
	drop_batches(notice->batches, notice->n_batches);
	notice->batches = NULL;
	notice->n_batches = 0;
}

void listener_fini(struct listener *listener)
{
	struct notice notice;
	while (listener_take(listener, &notice))
		notice_fini(&notice);
	pthread_mutex_destroy(&listener->lock);
}

/* Under the lock; true: the caller frees it, without the lock. */
static bool unref(struct interest *interest)
{
	assert(interest->refs > 0);
	return --interest->refs == 0;
}

void interest_refresh(struct interest *interest, struct store_join *join)
{
	struct listener *listener = interest->listener;
	pthread_mutex_lock(&listener->lock);
	if (interest->taken_end > join->durable_end) {
		join->durable_end = interest->taken_end;
		join->durable_end_ms = interest->taken_end_ms;
	}
	if (interest->closed) { /* the notice of the seal may have been taken before this reply */
		join->closed = true;
		join->durable_end = interest->durable_end;
		join->durable_end_ms = interest->durable_end_ms;
	}
	bool last = unref(interest);
	pthread_mutex_unlock(&listener->lock);
	if (last)
		free(interest);
}

/* ---- The lane ---- */

struct interest *interest_add(struct lane_shard *shard, struct listener *listener)
{
	LIST_EACH (node, &shard->interests) {
		struct interest *interest = container_of(node, struct interest, link);
		if (interest->listener == listener) {
			interest->subscriptions++;
			return interest;
		}
	}
	struct interest *interest = xcalloc(1, sizeof(*interest));
	interest->listener = listener;
	interest->subscriptions = 1;
	interest->refs = 1;
	interest->shard = shard->key;
	list_init(&interest->dirty);
	list_append(&shard->interests, &interest->link);
	return interest;
}

struct interest *interest_ref(struct interest *interest)
{
	pthread_mutex_lock(&interest->listener->lock);
	interest->refs++;
	pthread_mutex_unlock(&interest->listener->lock);
	return interest;
}

void interest_drop(struct interest *interest)
{
	struct listener *listener = interest->listener;
	if (--interest->subscriptions)
		return;
	list_remove(&interest->link);
	pthread_mutex_lock(&listener->lock);
	list_remove(&interest->dirty);
	struct batch **batches = interest->batches;
	uint32_t n = interest->n_batches;
	for (uint32_t i = 0; i < n; i++)
		listener->bytes -= batches[i]->payload;
	interest->batches = NULL;
	interest->n_batches = interest->cap = 0;
	bool last = unref(interest);
	pthread_mutex_unlock(&listener->lock);
	drop_batches(batches, n);
	if (last)
		free(interest);
}

/* Under the lock. */
static void add_batch(struct interest *interest, struct batch *batch)
{
	struct listener *listener = interest->listener;
	bool room = listener->bytes == 0 || listener->bytes + batch->payload <= LISTENER_BYTES;
	if (interest->skipped || !room) {
		interest->skipped = true;
		return;
	}
	if (interest->n_batches == interest->cap) {
		interest->cap = interest->cap ? interest->cap * 2 : 4;
		interest->batches = xrealloc(interest->batches, interest->cap * sizeof(*interest->batches));
	}
	interest->batches[interest->n_batches++] = batch_ref(batch);
	listener->bytes += batch->payload;
}

void interest_tell(struct interest *interest, const struct lane_shard *shard, struct batch *batch, uint64_t durable_ns, struct outbox *out)
{
	struct listener *listener = interest->listener;
	pthread_mutex_lock(&listener->lock);
	interest->durable_end = shard_durable_end(shard);
	interest->durable_end_ms = shard->last_arrival_ms;
	interest->closed = shard->closed;
	if (!interest->durable_ns)
		interest->durable_ns = durable_ns;
	if (batch)
		add_batch(interest, batch);
	else
		interest->skipped = true;
	if (list_empty(&interest->dirty))
		list_append(&listener->dirty, &interest->dirty);
	bool knock = !listener->posted;
	listener->posted = true;
	pthread_mutex_unlock(&listener->lock);
	if (knock) {
		metric_add(METRIC_notices, 1);
		outbox_add(out, listener->box, &listener->mail);
	}
}
