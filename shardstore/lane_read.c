/* lane_read.c: positions, and reads of durable extents.
 *
 * The lane turns a position into extents and never touches a file; a reader fills the request from those extents and never touches the
 * index. Between them goes a ticket: the extents with a reference on each segment (so that retention may pass them meanwhile), and on its
 * way back what the read really was, for the limits. It is apart from the request, which its caller may free once it is answered.
 *
 * - run_read: limits, then the extents from the cursor on, up to the request's bounds. Nothing there: answered at once.
 * - run_job (reader): each extent into a batch, encoded if asked; on_read; the ticket to the lane, the answer to the caller.
 * - ticket back: the bucket is corrected by what was really read; if that was too much, further calls are refused for a while.
 *
 * The lane charges an estimate at once, since the next call of the same consumer may come before the read is done: whole extents, the
 * first and the last by their share of records.
 *
 * Failure: a damaged extent (checksum, or a hole that recovery named) ends the read before it; is it the first wanted, the status says
 * CORRUPT. IO, NO_FILES and NO_MEMORY likewise. All of a stream that was unreadable at the start is IO.
 *
 * Threads: the lane's; run_job a reader's. */
#include <stdlib.h>

#include "penstock/metrics.h"
#include "shardstore/lane.h"

/* ---- Positions ---- */

static void locate_replied(struct mail *mail)
{
	struct store_locate *locate = container_of(mail, struct store_locate, mail);
	locate->on_done(locate);
}

/* The shard, or NULL and why. */
static struct lane_shard *find_shard(const struct lane *lane, uint64_t id, uint32_t number, enum status *status)
{
	const struct lane_stream *stream = lane->stopping ? NULL : lane_find(lane, id);
	struct lane_shard *shard = stream ? lane_stream_shard(stream, number) : NULL;
	*status = shard ? STATUS_OK : lane->stopping ? STATUS_CLOSING : STATUS_NOT_FOUND;
	if (!shard || !stream->unreadable)
		return shard;
	/* What it holds is not known: an empty answer would be a wrong one. */
	*status = STATUS_IO;
	return NULL;
}

void lane_run_locate(struct mail *mail)
{
	struct store_locate *locate = container_of(mail, struct store_locate, mail);
	struct lane *lane = locate->lane;
	struct lane_shard *shard = find_shard(lane, locate->stream, locate->shard, &locate->status);
	if (shard && locate->limited && !bucket_take(&shard->iterator_calls, 1, lane->now_ns)) {
		metric_add(METRIC_reads_throttled, 1);
		locate->status = STATUS_THROTTLED;
	}
	locate->next = locate->status == STATUS_OK ? index_resolve(shard, &locate->position) : 0;
	locate->mail.run = locate_replied;
	outbox_add(&lane->outbox, locate->reply_to, &locate->mail);
}

/* ---- Tickets ---- */

struct read_ticket {
	struct mail mail;
	struct lane *lane;
	struct shard_key key;
	bool limited;
	uint64_t charged, actual;
	struct extent_ref extents[]; /* read->extents */
};

/* AWS: after an answer of 10 MiB calls fail for 5 s, after other over-reading for 1 s. Both are one rule: what is more than the bucket
 * held is paid with the time that all of the answer costs at the shard's rate, at least a second. */
static void shut_reads(struct lane_shard *shard, uint64_t bytes, uint64_t now_ns)
{
	uint64_t rate = (uint64_t)shard->read_bytes.rate, open_ns = bucket_open_at(&shard->read_bytes, now_ns);
	if (open_ns == now_ns) /* also without a limit */
		return;
	uint64_t wait_ns = bytes > rate ? bytes * 1000 / rate * 1000000 : 1000000000; /* bytes: at most some MiB */
	if (open_ns < now_ns + wait_ns)
		open_ns = now_ns + wait_ns;
	if (shard->reads_shut_ns < open_ns)
		shard->reads_shut_ns = open_ns;
}

static void ticket_back(struct mail *mail)
{
	struct read_ticket *ticket = container_of(mail, struct read_ticket, mail);
	struct lane *lane = ticket->lane;
	const struct lane_stream *stream = lane_find(lane, ticket->key.stream);
	struct lane_shard *shard = stream ? lane_stream_shard(stream, ticket->key.shard) : NULL;
	lane->jobs--;
	if (shard && ticket->limited) {
		bucket_charge(&shard->read_bytes, (int64_t)ticket->actual - (int64_t)ticket->charged, lane->now_ns);
		shut_reads(shard, ticket->actual, lane->now_ns);
	}
	free(ticket);
}

/* ---- The reader's side ---- */

static void read_replied(struct mail *mail)
{
	struct store_read *read = container_of(mail, struct store_read, mail);
	read->on_done(read);
}

static enum status read_extent(struct store_read *read, const struct read_ticket *ticket, uint32_t i)
{
	batch_encoder encode = ticket->lane->store->config.encode;
	struct batch *batch = NULL;
	enum status status = extent_read(&read->extents[i], &ticket->key, &batch);
	if (status == STATUS_OK && read->encode && encode)
		status = encode(batch);
	if (status != STATUS_OK) {
		batch_unref(batch);
		return status;
	}
	metric_add(METRIC_store_read_bytes, read->extents[i].length);
	read->batches[read->n_batches++] = batch;
	return STATUS_OK;
}

/* Payload that a caller takes who obeys the bounds: at least one record, then as long as the next one fits. */
static uint64_t taken_bytes(const struct store_read *read)
{
	uint64_t bytes = 0, records = 0;
	for (uint32_t i = 0; i < read->n_batches; i++) {
		struct record record;
		size_t cursor = 0;
		uint32_t nth = 0;
		while (batch_next(read->batches[i], &cursor, &nth, &record)) {
			uint64_t n = record.key.n + record.data.n;
			if (record.index < read->from)
				continue;
			if (records && (records >= read->max_records || bytes + n > read->max_bytes))
				return bytes;
			records++;
			bytes += n;
		}
	}
	return bytes;
}

static void run_job(struct job *job)
{
	struct store_read *read = container_of(job, struct store_read, job);
	struct read_ticket *ticket = container_of(read->extents, struct read_ticket, extents);
	read->batches = xcalloc(read->n_extents, sizeof(struct batch *));
	read->status = STATUS_OK;
	for (uint32_t i = 0; i < read->n_extents && read->status == STATUS_OK; i++)
		read->status = read_extent(read, ticket, i);
	for (uint32_t i = 0; i < read->n_extents; i++)
		segment_unref(read->extents[i].segment);
	read->extents = NULL;
	metric_add(METRIC_store_reads, 1);
	if (read->n_batches)
		read->status = STATUS_OK; /* what lies before the damage is good; the next read begins with it */
	if (read->n_batches && read->on_read)
		read->on_read(read);
	if (read->limited)
		ticket->actual = taken_bytes(read);
	if (!read->n_batches)
		store_read_release(read);
	/* The ticket first: then a caller's next call finds the bucket corrected. */
	mailbox_post(&ticket->lane->box, &ticket->mail);
	mailbox_post(read->reply_to, &read->mail);
}

void store_read_release(struct store_read *read)
{
	for (uint32_t i = 0; i < read->n_batches; i++)
		batch_unref(read->batches[i]);
	free(read->batches);
	read->batches = NULL;
	read->n_batches = 0;
}

/* ---- The lane's side ---- */

/* The bytes are looked at first: a call that they refuse is not counted as one. */
static bool within_limits(struct lane_shard *shard, uint64_t now_ns)
{
	return now_ns >= shard->reads_shut_ns && bucket_open(&shard->read_bytes, now_ns) && bucket_take(&shard->read_calls, 1, now_ns);
}

/* How many extents from the cursor on satisfy the request, and their bytes as it would take them. A hole ends them. */
static uint32_t measure(const struct store_read *read, struct index_cursor cursor, uint64_t *bytes)
{
	const struct extent_ref *extent = index_extent(&cursor);
	uint64_t records = 0, expect = read->from;
	uint32_t n = 0;
	*bytes = 0;
	do {
		if (extent->first > expect)
			break;
		uint64_t wanted = extent->first + extent->count - expect;
		uint64_t useful =
			read->max_records > records && wanted > read->max_records - records ? read->max_records - records : wanted;
		*bytes += useful == extent->count ? extent->payload : extent->payload * useful / extent->count;
		records += wanted;
		expect += wanted;
		n++;
	} while (records < read->max_records && *bytes < read->max_bytes && index_next(&cursor));
	if (*bytes > read->max_bytes)
		*bytes = read->max_bytes;
	return n;
}

static void send_to_reader(struct lane_shard *shard, struct store_read *read, struct index_cursor cursor, uint32_t n)
{
	struct lane *lane = shard->stream->lane;
	struct read_ticket *ticket = xmalloc(sizeof(*ticket) + n * sizeof(struct extent_ref));
	*ticket = (struct read_ticket){.mail.run = ticket_back,
				       .lane = lane,
				       .key = shard->key,
				       .limited = read->limited,
				       .charged = read->charged,
				       .actual = read->charged};
	for (uint32_t k = 0; k < n; k++) {
		ticket->extents[k] = *index_extent(&cursor);
		segment_ref(ticket->extents[k].segment);
		index_next(&cursor);
	}
	read->extents = ticket->extents;
	read->n_extents = n;
	read->job.run = run_job;
	lane_job(lane, &lane->store->readers, &read->job);
}

/* True: a reader has it, and may have answered already: it must not be touched any more. False: read->status is the answer; OK without
 * extents means that the caller stands at the durable end. */
static bool start_read(struct lane_shard *shard, struct store_read *read)
{
	struct lane *lane = shard->stream->lane;
	uint64_t oldest = index_oldest(shard);
	read->durable_end = shard_durable_end(shard);
	read->durable_end_ms = shard->last_arrival_ms;
	read->closed = shard->closed;
	read->from = read->next > oldest ? read->next : oldest;
	if (read->limited && !within_limits(shard, lane->now_ns)) {
		metric_add(METRIC_reads_throttled, 1);
		read->status = STATUS_THROTTLED;
		return false;
	}
	if (read->from >= shard->next)
		return false;
	struct index_cursor cursor;
	uint64_t bytes = 0;
	uint32_t n = index_find(shard, read->from, &cursor) ? measure(read, cursor, &bytes) : 0;
	if (n == 0) {
		read->status = STATUS_CORRUPT;
		return false;
	}
	if (read->limited) {
		read->charged = bytes;
		bucket_charge(&shard->read_bytes, (int64_t)bytes, lane->now_ns);
	}
	send_to_reader(shard, read, cursor, n);
	return true;
}

void lane_run_read(struct mail *mail)
{
	struct store_read *read = container_of(mail, struct store_read, mail);
	struct lane *lane = read->lane;
	read->batches = NULL;
	read->extents = NULL;
	read->n_batches = read->n_extents = 0;
	read->from = read->next;
	read->durable_end = read->charged = 0;
	read->durable_end_ms = 0;
	read->closed = false;
	read->mail.run = read_replied;
	struct lane_shard *shard = find_shard(lane, read->stream, read->shard, &read->status);
	if (!shard || !start_read(shard, read))
		outbox_add(&lane->outbox, read->reply_to, &read->mail);
}
