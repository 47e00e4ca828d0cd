/* sub_read.c: catch-up. A subscription whose cursor the ring does not hold reads the log.
 *
 * Thread: the hub's. A read happens only because the owner pulled: while a client's window is shut nothing is read. At most config.reads
 * are in flight per hub; the others wait in order. The read is a heap object that outlives a subscription that is stopped meanwhile.
 *
 * - read_begin: READING; a read of config.read_bytes from the cursor, encoded on the reader's thread.
 * - on_read_done: its batches become `pending`, the tail learns how far the shard is durable, READY.
 * - the pull takes from the ring as soon as that holds the cursor, else from pending, else reads again.
 *
 * Failure modes: what retention has passed is skipped (`from`); damage, a failed read or no memory end the subscription with an exception,
 * before which everything in front of the damage has been sent. While CLOSING only the rest of a half-sent event is read, without
 * waiting for credit: its owner gives it five seconds. */
#include <assert.h>
#include <stdlib.h>

#include "fanout/hub.h"
#include "penstock/metrics.h"

struct read {
	struct store_read read;
	struct hub *hub;
	struct subscription *sub; /* NULL: nobody wants it any more */
	bool done;
};

static void read_free(struct read *read)
{
	store_read_release(&read->read);
	free(read);
}

struct batch *read_batch(const struct subscription *sub, uint64_t next, uint32_t *at)
{
	/* Cursors only rise. */
	while (*at < sub->n_pending && batch_last(sub->pending[*at]) < next)
		++*at;
	return *at < sub->n_pending && sub->pending[*at]->first <= next ? sub->pending[*at] : NULL;
}

void read_drop(struct subscription *sub)
{
	if (!sub->read)
		return;
	struct read *read = container_of(sub->read, struct read, read);
	if (read->done)
		read_free(read);
	else
		read->sub = NULL;
	sub->read = NULL;
	sub->pending = NULL;
	sub->n_pending = sub->pending_at = 0;
}

/* ---- Arrival ---- */

/* What came is what was asked for: else it is damage that the reader did not see. */
static enum status check(const struct subscription *sub, const struct store_read *read)
{
	if (read->status)
		return read->status;
	for (uint32_t i = 0; i < read->n_batches; i++)
		if (!read->batches[i]->messages)
			return STATUS_NO_MEMORY;
	if (read->from < sub->next || (sub->offset > 0 && read->from > sub->next))
		return STATUS_CORRUPT; /* half of an event is sent, and retention has taken the rest */
	if (read->n_batches == 0)
		return read->from <= read->durable_end ? STATUS_CORRUPT : STATUS_OK;
	bool first = read->batches[0]->first <= read->from && read->from <= batch_last(read->batches[0]);
	return first ? STATUS_OK : STATUS_CORRUPT;
}

static void keep(struct subscription *sub, struct store_read *read)
{
	sub->next = read->from;
	sub->pending = read->batches;
	sub->n_pending = read->n_batches;
	sub->pending_at = 0;
	if (!sub->pending)
		read_drop(sub); /* retention has passed all of it */
}

static void arrived_closing(struct subscription *sub, struct store_read *read)
{
	if (check(sub, read) == STATUS_OK && read->n_batches) {
		keep(sub, read);
	} else {
		read_drop(sub);
		sub_cut(sub);
	}
	sub->ops->on_ready(sub);
}

static void arrived(struct subscription *sub, struct store_read *read)
{
	struct hub *hub = sub->hub;
	struct tail *tail = sub->tail;
	enum status status = check(sub, read);
	if (status) {
		read_drop(sub);
		sub_fail(sub, status);
		sub->ops->on_ready(sub);
		return;
	}
	uint64_t durable_end = read->durable_end;
	int64_t durable_end_ms = read->durable_end_ms;
	bool closed = read->closed;
	keep(sub, read);
	hold_update(sub);
	tail->users++;
	bool news = tail_raise(hub, tail, durable_end, durable_end_ms, closed);
	sub_ready(sub);
	if (news)
		tail_wake(tail);
	tail_put(hub, tail);
}

/* ---- In flight ---- */

static void on_read_done(struct store_read *done);

static void start(struct subscription *sub)
{
	struct hub *hub = sub->hub;
	struct read *read = xcalloc(1, sizeof(*read));
	read->hub = hub;
	read->sub = sub;
	read->read = (struct store_read){
		.reply_to = hub->config.box,
		.on_done = on_read_done,
		.stream = sub->shard.stream,
		.shard = sub->shard.shard,
		.next = sub->next,
		.max_records = UINT32_MAX,
		.max_bytes = hub->config.read_bytes,
		.encode = true,
	};
	sub->read = &read->read;
	hub->reads++;
	metric_add(METRIC_catchup_reads, 1);
	store_read(hub->config.store, hub->config.outbox, &read->read);
}

static void start_waiting(struct hub *hub)
{
	struct list *node;
	while (hub->reads < hub->config.reads && (node = list_pop(&hub->read_waiting))) {
		list_append(&hub->reading, node);
		start(container_of(node, struct subscription, link));
	}
}

static void on_read_done(struct store_read *done)
{
	struct read *read = container_of(done, struct read, read);
	struct hub *hub = read->hub;
	struct subscription *sub = read->sub;
	hub->reads--;
	read->done = true;
	if (!sub)
		read_free(read);
	else if (sub->state == SUB_CLOSING)
		arrived_closing(sub, done);
	else
		arrived(sub, done);
	start_waiting(hub);
}

void read_begin(struct subscription *sub)
{
	struct hub *hub = sub->hub;
	read_drop(sub); /* what was read before is used up */
	hold_update(sub);
	bool credit = hub->reads < hub->config.reads;
	if (sub->state != SUB_CLOSING)
		sub_move(sub, SUB_READING, credit ? &hub->reading : &hub->read_waiting);
	if (credit || sub->state == SUB_CLOSING)
		start(sub);
}
