/* sub_read.c: catch-up. A subscription whose cursor the ring does not hold reads the log, and whoever follows reads nothing: it finds what
 * was read and encoded for the first one.
 *
 *   tail.reads:  reads of the shard, in flight or kept          read.users:  subscriptions that wait for it, or pull from it
 *   hub.kept:    those that are kept, least recently wanted first
 *
 * Thread: the hub's. A read happens only because the owner pulled: while a client's window is shut nothing is read. At most config.reads
 * are in flight per hub; the others wait in order. A read is a heap object that outlives subscriptions that are stopped meanwhile.
 *
 * - read_kept: is the cursor inside a read that is kept? Then it has arrived, at once.
 * - read_begin: READING; joins a read from the same cursor that is in flight, else begins one of config.read_bytes, encoded on the reader's
 *   thread. Reads end between batches, so that subscriptions that have met in one read go on side by side.
 * - on_read_done: it is kept, it has arrived for all that wait, the tail learns how far the shard is durable, READY.
 * - the pull takes from the ring as soon as that holds the cursor, else from what arrived, else from what is kept, else reads again.
 *
 * Kept reads are bounded by config.kept_bytes; one that falls out stays with those who pull from it, who then answer for it (sub_hold.c).
 *
 * Failure modes: what retention has passed is skipped (`from`); damage, a failed read or no memory end the subscription with an exception,
 * before which everything in front of the damage has been sent. While CLOSING only the rest of a half-sent event is read, without
 * waiting for credit: its owner gives it five seconds. */
#include <assert.h>
#include <stdlib.h>

#include "fanout/hub.h"
#include "penstock/metrics.h"

/* ---- Life ---- */

static bool is_kept(const struct read *read) { return !list_empty(&read->kept_link); }

static void drop_if_unused(struct read *read)
{
	if (!read->done || read->busy || is_kept(read) || !list_empty(&read->users))
		return;
	list_remove(&read->tail_link);
	store_read_release(&read->read);
	free(read);
}

static void unkeep(struct read *read)
{
	struct hub *hub = read->hub;
	list_remove(&read->kept_link);
	list_remove(&read->tail_link);
	hub->kept_bytes -= read->bytes;
	metric_add(METRIC_catchup_bytes, -(int64_t)read->bytes);
	LIST_EACH (node, &read->users)
		hold_count(container_of(node, struct subscription, read_link));
	drop_if_unused(read);
}

static void keep(struct read *read)
{
	struct hub *hub = read->hub;
	/* Its tail may have gone while it was in flight; then nobody could find it. */
	if (list_empty(&read->tail_link))
		return;
	list_append(&hub->kept, &read->kept_link);
	hub->kept_bytes += read->bytes;
	metric_add(METRIC_catchup_bytes, (int64_t)read->bytes);
	while (hub->kept_bytes > hub->config.kept_bytes)
		unkeep(container_of(hub->kept.next, struct read, kept_link));
}

void read_forget(struct tail *tail)
{
	for (struct list *node; (node = list_pop(&tail->reads));) {
		struct read *read = container_of(node, struct read, tail_link);
		if (is_kept(read))
			unkeep(read);
	}
}

void read_drop(struct subscription *sub)
{
	struct read *read = sub->read;
	if (!read)
		return;
	list_remove(&sub->read_link);
	sub->read = NULL;
	sub->arrived = false;
	sub->read_at = 0;
	drop_if_unused(read);
}

struct batch *read_batch(const struct subscription *sub, uint64_t next, uint32_t *at)
{
	if (!sub->arrived)
		return NULL;
	const struct store_read *read = &sub->read->read;
	/* Cursors only rise. */
	while (*at < read->n_batches && batch_last(read->batches[*at]) < next)
		++*at;
	return *at < read->n_batches && read->batches[*at]->first <= next ? read->batches[*at] : NULL;
}

size_t read_pinned(const struct read *read) { return read->done && !is_kept(read) ? read->bytes : 0; }

/* ---- Sharing ---- */

static void use(struct subscription *sub, struct read *read)
{
	sub->read = read;
	list_append(&read->users, &sub->read_link);
}

static void pull_from(struct subscription *sub)
{
	sub->arrived = true;
	sub->read_at = 0;
}

static bool covers(const struct read *read, uint64_t next)
{
	/* Until the read is done its store_read belongs to a reader thread: nothing of it is looked at before. */
	if (!read->done || read->read.n_batches == 0)
		return false;
	return read->read.batches[0]->first <= next && next <= batch_last(read->read.batches[read->read.n_batches - 1]);
}

static struct tail *tail_of(const struct subscription *sub)
{
	return sub->tail ? sub->tail : tail_find(sub->hub, sub->shard.stream, sub->shard.shard);
}

bool read_kept(struct subscription *sub)
{
	struct tail *tail = tail_of(sub);
	if (!tail)
		return false;
	LIST_EACH (node, &tail->reads) {
		struct read *read = container_of(node, struct read, tail_link);
		if (!covers(read, sub->next))
			continue;
		read_drop(sub); /* what was read before is used up */
		use(sub, read);
		pull_from(sub);
		list_remove(&read->kept_link);
		list_append(&sub->hub->kept, &read->kept_link);
		hold_update(sub);
		metric_add(METRIC_catchup_shared, 1);
		return true;
	}
	return false;
}

static bool join_in_flight(struct subscription *sub)
{
	struct tail *tail = tail_of(sub);
	if (!tail)
		return false;
	LIST_EACH (node, &tail->reads) {
		struct read *read = container_of(node, struct read, tail_link);
		if (!read->done && read->read.next == sub->next) {
			use(sub, read);
			metric_add(METRIC_catchup_shared, 1);
			return true;
		}
	}
	return false;
}

/* ---- Arrival ---- */

/* What came is what was asked for: else it is damage that the reader did not see. */
static enum status check(const struct store_read *read)
{
	if (read->status)
		return read->status;
	for (uint32_t i = 0; i < read->n_batches; i++)
		if (!read->batches[i]->messages)
			return STATUS_NO_MEMORY;
	if (read->from < read->next)
		return STATUS_CORRUPT;
	if (read->n_batches == 0)
		return read->from <= read->durable_end ? STATUS_CORRUPT : STATUS_OK;
	bool first = read->batches[0]->first <= read->from && read->from <= batch_last(read->batches[0]);
	return first ? STATUS_OK : STATUS_CORRUPT;
}

static size_t bytes_of(const struct store_read *read)
{
	size_t bytes = 0;
	for (uint32_t i = 0; i < read->n_batches; i++)
		bytes += batch_bytes(read->batches[i]);
	return bytes;
}

/* Half of an event is sent, and retention has taken the rest. */
static bool torn(const struct subscription *sub) { return sub->offset > 0 && sub->read->read.from > sub->next; }

static void arrived_closing(struct subscription *sub, enum status status)
{
	if (status == STATUS_OK && sub->read->read.n_batches && !torn(sub)) {
		pull_from(sub);
	} else {
		read_drop(sub);
		sub_cut(sub);
	}
	sub->ops->on_ready(sub);
}

static void arrived(struct subscription *sub, enum status status)
{
	if (status == STATUS_OK && torn(sub))
		status = STATUS_CORRUPT;
	if (status) {
		read_drop(sub);
		sub_fail(sub, status);
		sub->ops->on_ready(sub);
		return;
	}
	if (sub->next != sub->read->read.from)
		sub->unread_ms = 0;
	sub->next = sub->read->read.from;
	if (sub->read->read.n_batches)
		pull_from(sub);
	else
		read_drop(sub); /* retention has passed all of it */
	hold_update(sub);
	sub_ready(sub);
}

/* Owners may do anything to any subscription meanwhile: the read and its tail are held. */
static void tell(struct read *read, enum status status)
{
	struct hub *hub = read->hub;
	const struct store_read *done = &read->read;
	struct tail *tail = tail_find(hub, done->stream, done->shard);
	bool news = false;
	struct list waiting, *node;
	list_init(&waiting);
	list_splice(&waiting, &read->users);
	if (tail) {
		tail->users++;
		if (status == STATUS_OK)
			news = tail_raise(hub, tail, done->durable_end, done->durable_end_ms, done->closed);
	}
	while ((node = list_pop(&waiting))) {
		struct subscription *sub = container_of(node, struct subscription, read_link);
		list_append(&read->users, node);
		if (sub->state == SUB_CLOSING)
			arrived_closing(sub, status);
		else
			arrived(sub, status);
	}
	if (news)
		tail_wake(tail);
	if (tail)
		tail_put(hub, tail);
	read->busy = false;
	drop_if_unused(read);
}

/* ---- In flight ---- */

static void on_read_done(struct store_read *done);

static void start(struct subscription *sub)
{
	struct hub *hub = sub->hub;
	struct tail *tail = tail_of(sub);
	struct read *read = xcalloc(1, sizeof(*read));
	read->hub = hub;
	list_init(&read->users);
	list_init(&read->kept_link);
	list_init(&read->tail_link);
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
	if (tail)
		list_append(&tail->reads, &read->tail_link);
	use(sub, read);
	hub->reads++;
	metric_add(METRIC_catchup_reads, 1);
	store_read(hub->config.store, hub->config.outbox, &read->read);
}

/* Who has waited may meanwhile find kept what it wants. */
static void start_waiting(struct hub *hub)
{
	struct list *node;
	while (hub->reads < hub->config.reads && (node = list_pop(&hub->read_waiting))) {
		struct subscription *sub = container_of(node, struct subscription, link);
		list_append(&hub->reading, node);
		if (read_kept(sub))
			sub_ready(sub);
		else if (!join_in_flight(sub))
			start(sub);
	}
}

static void on_read_done(struct store_read *done)
{
	struct read *read = container_of(done, struct read, read);
	struct hub *hub = read->hub;
	enum status status = check(done);
	hub->reads--;
	read->done = true;
	read->busy = true;
	read->bytes = bytes_of(done);
	if (status == STATUS_OK && done->n_batches)
		keep(read);
	else
		list_remove(&read->tail_link);
	tell(read, status);
	hold_settle(hub);
	start_waiting(hub);
}

void read_begin(struct subscription *sub)
{
	struct hub *hub = sub->hub;
	read_drop(sub);
	hold_update(sub);
	bool joined = join_in_flight(sub), credit = joined || hub->reads < hub->config.reads;
	if (sub->state != SUB_CLOSING)
		sub_move(sub, SUB_READING, credit ? &hub->reading : &hub->read_waiting);
	if (!joined && (credit || sub->state == SUB_CLOSING))
		start(sub);
}
