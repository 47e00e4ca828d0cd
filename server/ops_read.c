/* ops_read.c: GetShardIterator and GetRecords.
 *
 * An iterator is a sealed position (token.h): the server keeps nothing for it. Only positions that are durable leave the store, so
 * every iterator goes through store_locate, also one made of a sequence number: none points beyond the durable end.
 *
 * Threads: the request's worker, but on_read, which runs on a reader and touches nothing but its own struct records_call.
 *
 * - GetShardIterator: the checks of kinesis-behaviour 3.23 in their order, locate, seal;
 * - GetRecords: open the iterator, find its stream and shard, one limited store_read;
 * - on_read (reader): "Records" is encoded, since base64 of 10 MiB would hold a worker's other clients up; under a delivery profile what is
 *   not to be seen yet is cut off first, and costs nothing of the shard's limits;
 * - on_records (worker): MillisBehindLatest, and either NextShardIterator or, behind the last record of a closed shard, ChildShards.
 *
 * The end form (no iterator, ChildShards) is given only when the snapshot has the children (R9): a lane seals a shard a moment before
 * the catalogue tells of them, and until then the reader gets an iterator and asks again.
 *
 * Fails: a stream or shard that went away in between: AWS's "does not exist". Records are reserved in the budget of answers by what was
 * read, on the reader's thread; a call for which there is no room is refused as throttled, which every client waits out. */
#include <inttypes.h>
#include <stdlib.h>

#include "penstock/batch.h"
#include "penstock/metrics.h"
#include "penstock/seq.h"
#include "server/ops.h"
#include "server/peers.h"
#include "server/resolve.h"
#include "server/token.h"
#include "server/worker.h"

#define READ_RECORDS_MAX 10000
#define READ_BYTES_MAX (10u << 20)
#define READ_FIRST (16u << 10) /* of the budget, before it is known what there is: with less no read begins */
#define RECORD_TEXT 256        /* of a record beside its data and key: names, number, time */

/* ---- GetShardIterator ---- */

struct iterator_call {
	struct request *request;
	struct iterator iterator;
	struct store_locate locate;
};

static void iterator_write(struct request *request, struct writer *w, const char *key, struct iterator *iterator)
{
	const struct server *server = request->worker->server;
	char text[TOKEN_TEXT_MAX];
	iterator->created_ms = io_wall_ms(server->io);
	token_iterator_seal(server->iterator_key, iterator, text);
	write_kv_str(w, key, str_of(text));
}

/* What the store may say instead of an answer. */
static void fail_store(struct request *request, const struct iterator *iterator, enum status status)
{
	if (status == STATUS_NOT_FOUND)
		resolve_fail_shard(request, iterator->shard, str_of(iterator->name));
	else if (status == STATUS_THROTTLED)
		resolve_fail_rate(request, iterator->shard, str_of(iterator->name));
	else if (status == STATUS_CLOSING)
		request_fail(request, status, "The server is shutting down.");
	else
		request_fail_bare(request, STATUS_INTERNAL); /* the log says what: file, offset, length */
}

static void on_located(struct store_locate *locate)
{
	struct iterator_call *call = container_of(locate, struct iterator_call, locate);
	struct request *request = call->request;
	if (locate->status != STATUS_OK) {
		fail_store(request, &call->iterator, locate->status);
		return;
	}
	call->iterator.next = locate->next;
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	iterator_write(request, &w, "ShardIterator", &call->iterator);
	write_map_end(&w);
	request_ok(request, &body);
}

static void locate_send(struct request *request, const struct stream_info *stream, uint32_t shard, struct position position)
{
	struct worker *worker = request->worker;
	struct iterator_call *call = arena_zalloc(&request->arena, sizeof(*call));
	call->request = request;
	call->iterator.stream = stream->id;
	call->iterator.shard = shard;
	memcpy(call->iterator.name, stream->name, sizeof(call->iterator.name));
	call->locate.reply_to = &worker->box;
	call->locate.on_done = on_located;
	call->locate.stream = stream->id;
	call->locate.shard = shard;
	call->locate.position = position;
	call->locate.limited = true;
	store_locate(worker->server->store, &worker->outbox, &call->locate);
}

/* A shard that can be read: of a stream that serves, and not expired. */
static const struct shard_info *shard_serving(const struct request *request, const struct stream_info *stream, uint32_t number)
{
	return stream && resolve_serving(stream) ? ops_shards_find(request, stream, number) : NULL;
}

void ops_read_iterator(struct request *request)
{
	const struct get_shard_iterator_input *input = request->exchange->input;
	struct str name;
	uint32_t number;
	struct position position;
	if (!resolve_name(request, input->stream_name, input->stream_arn, &name) ||
	    !resolve_shard_number(request, input->shard_id, name, &number))
		return;
	const struct stream_info *stream = catalogue_stream(request->worker->catalogue, name);
	const struct shard_info *shard = shard_serving(request, stream, number);
	if (shard == NULL) {
		resolve_fail_shard(request, number, name);
		return;
	}
	if (resolve_position(request, "GetShardIterator", name, shard, input->shard_iterator_type, input->starting_sequence_number,
			     input->timestamp, &position) &&
	    !resolve_dry_run(request, input->dry_run))
		locate_send(request, stream, number, position);
}

/* ---- GetRecords: the reader's part ---- */

struct records_call {
	struct request *request;
	struct iterator iterator;
	uint32_t limit;
	struct store_read read;
	const struct profile *profile; /* NULL: none */
	struct io *io;
	struct server *server;
	struct peer *peer; /* one reference; NULL: none */
	bool prompt;       /* the connection's (request.h) */

	/* --- the reader's until on_records, then the worker's --- */
	struct buf body;
	struct writer w;
	bool begun;         /* "Records" is written */
	enum status status; /* why it could not be */
	uint64_t next;      /* first index behind what was written */
	int64_t last_ms;    /* arrival of the last one written */
	int64_t unseen_ms;  /* of the first that the profile holds back; 0: none */
	size_t reserved;    /* of the answers' budget, and counted in METRIC_answer_bytes */
};

static void record_write(struct writer *w, const struct shard_key *shard, const struct record *record)
{
	char digits[SEQ_DIGITS];
	seq_format(digits, shard, record->index, seq_time_s(shard, record->arrival_ms));
	write_map(w);
	write_kv_str(w, "SequenceNumber", (struct str){digits, SEQ_DIGITS});
	write_kv_time(w, "ApproximateArrivalTimestamp", record->arrival_ms);
	write_key(w, "Data");
	write_blob(w, record->data);
	write_kv_str(w, "PartitionKey", record->key);
	write_map_end(w);
}

/* What the answer will take at most, up to escapes in keys. */
static size_t answer_estimate(const struct records_call *call)
{
	const struct store_read *read = &call->read;
	size_t payload = 0, records = 0;
	for (uint32_t i = 0; i < read->n_batches; i++) {
		payload += (size_t)read->batches[i]->payload;
		records += read->batches[i]->count;
	}
	records = records < call->limit ? records : call->limit;
	return base64_len(payload) + records * RECORD_TEXT + TOKEN_TEXT_MAX + 1024;
}

/* The answer is data-sized: its memory is asked for at once, counted, and may be refused. */
static enum status answer_reserve(struct records_call *call)
{
	size_t n = answer_estimate(call);
	enum budget_class large = call->prompt ? BUDGET_READ : BUDGET_READ_FIRST;
	if (!answers_take_anywhere(call->server, call->peer, n, n > BUDGET_LARGE ? large : BUDGET_CALL))
		return STATUS_THROTTLED;
	call->body.p = malloc(n);
	if (call->body.p == NULL) {
		answers_give_anywhere(call->server, call->peer, n);
		return STATUS_NO_MEMORY;
	}
	call->body.cap = n;
	call->reserved = n;
	metric_add(METRIC_answer_bytes, (int64_t)n);
	return STATUS_OK;
}

/* Trims to `from`, Limit and 10 MiB; at least one record comes, whatever its size. Returns false when the answer is full. */
static bool batch_write(struct records_call *call, const struct batch *batch, uint32_t *records, size_t *bytes)
{
	struct record record;
	size_t cursor = 0;
	uint32_t nth = 0;
	while (batch_next(batch, &cursor, &nth, &record)) {
		if (record.index < call->read.from)
			continue;
		size_t size = record.key.n + record.data.n;
		if (*records == call->limit || (*records > 0 && *bytes + size > READ_BYTES_MAX))
			return false;
		record_write(&call->w, &batch->shard, &record);
		*records += 1;
		*bytes += size;
		call->next = record.index + 1;
		call->last_ms = record.arrival_ms;
	}
	return true;
}

/* Leaves the document open behind "Records"; records_finish goes on. */
static void records_write(struct records_call *call)
{
	uint32_t records = 0;
	size_t bytes = 0;
	call->status = answer_reserve(call);
	if (call->status != STATUS_OK)
		return;
	call->begun = true;
	call->next = call->read.from > call->iterator.next ? call->read.from : call->iterator.next;
	write_map(&call->w);
	write_key(&call->w, "Records");
	write_list(&call->w);
	for (uint32_t i = 0; i < call->read.n_batches; i++)
		if (!batch_write(call, call->read.batches[i], &records, &bytes))
			break;
	write_list_end(&call->w);
}

/* The profile's delays rise with the arrival, and a batch has one. */
static void cut_unseen(struct records_call *call)
{
	struct store_read *read = &call->read;
	int64_t now_ms = io_wall_ms(call->io);
	while (read->n_batches) {
		struct batch *last = read->batches[read->n_batches - 1];
		if (profile_wait_ms(call->profile, PROFILE_GET, &last->shard, last->arrival_ms, now_ms) == 0)
			break;
		call->unseen_ms = last->arrival_ms;
		batch_unref(last);
		read->n_batches--;
	}
}

static void on_read(struct store_read *read)
{
	struct records_call *call = container_of(read, struct records_call, read);
	if (call->profile)
		cut_unseen(call);
	if (read->status == STATUS_OK && !call->begun)
		records_write(call);
}

/* ---- GetRecords: the worker's part ---- */

/* 0 exactly when there is nothing further to read: batch readers take it as their end. */
static int64_t behind_ms(const struct records_call *call, const struct stream_info *stream, int64_t now_ms)
{
	if (call->next > call->read.durable_end)
		return 0;
	int64_t since = call->last_ms ? call->last_ms : call->unseen_ms ? call->unseen_ms : call->read.durable_end_ms;
	int64_t ms = now_ms - since;
	if (stream && ms > stream->retention_hours * INT64_C(3600000)) /* a clock that leapt makes no record older than that */
		ms = stream->retention_hours * INT64_C(3600000);
	if (stream && ms > now_ms - stream->created_ms)
		ms = now_ms - stream->created_ms;
	return ms > 1 ? ms : 1;
}

/* Is there no record behind what was read, for ever? The lane knows of the end a moment after the catalogue, which clients see. */
static bool has_ended(const struct records_call *call, const struct stream_info *stream)
{
	const struct shard_info *shard = stream ? stream_shard(stream, call->iterator.shard) : NULL;
	return (call->read.closed && call->next > call->read.durable_end) || (shard && shard->closed && call->next > shard->end_index);
}

static void records_finish(struct records_call *call)
{
	struct request *request = call->request;
	const struct stream_info *stream = catalogue_stream_by_id(request->worker->catalogue, call->iterator.stream);
	struct writer *w = &call->w;
	write_kv_int(w, "MillisBehindLatest", behind_ms(call, stream, io_wall_ms(request->worker->server->io)));
	if (!has_ended(call, stream) || stream == NULL || !ops_shards_write_children(w, stream, call->iterator.shard)) {
		call->iterator.next = call->next;
		iterator_write(request, w, "NextShardIterator", &call->iterator);
	}
	write_map_end(w);
	request_ok(request, &call->body);
}

/* From here on what is reserved is the request's, and soon the transport's, which counts what it holds. If the client is gone, it goes
 * back. */
static void hand_over(struct records_call *call)
{
	metric_add(METRIC_answer_bytes, -(int64_t)call->reserved);
	if (call->request->transport)
		request_take_over(call->request, call->reserved);
	else
		answers_give_anywhere(call->server, call->peer, call->reserved);
	peers_unref(call->server->peers, call->peer);
	call->reserved = 0;
}

static void on_records(struct store_read *read)
{
	struct records_call *call = container_of(read, struct records_call, read);
	if (read->status == STATUS_OK && !call->begun && call->status == STATUS_OK)
		records_write(call); /* nothing was there to read, so no reader was asked */
	enum status status = read->status != STATUS_OK ? read->status : call->status;
	store_read_release(read);
	hand_over(call);
	if (status == STATUS_OK)
		records_finish(call);
	else
		fail_store(call->request, &call->iterator, status);
}

static bool iterator_open(struct request *request, struct str text, struct iterator *out)
{
	const struct server *server = request->worker->server;
	int64_t now_ms = io_wall_ms(server->io);
	enum status status = token_iterator_open(server->iterator_key, text, now_ms, out);
	if (status == STATUS_OK)
		return true;
	char created[TOKEN_TIME_MAX], now[TOKEN_TIME_MAX];
	token_time(now, now_ms);
	if (status == STATUS_EXPIRED_ITERATOR) {
		token_time(created, out->created_ms);
		request_fail(request, status,
			     "Iterator expired. The iterator was created at time %s while right now it is %s which is further in the "
			     "future than the "
			     "tolerated delay of %d milliseconds.",
			     created, now, TOKEN_LIFE_MS);
	} else {
		request_fail(request, STATUS_INVALID_ARGUMENT, "Invalid ShardIterator.");
	}
	return false;
}

/* StreamARN must be that of the iterator's stream. Our text. */
static bool iterator_arn(struct request *request, const struct iterator *iterator, struct str text)
{
	if (!str_present(text) || str_equal(text, resolve_stream_arn(request->worker->server, &request->arena, str_of(iterator->name))))
		return true;
	request_fail(request, STATUS_INVALID_ARGUMENT, "StreamARN does not match the stream of the ShardIterator.");
	return false;
}

void ops_read_records(struct request *request)
{
	const struct get_records_input *input = request->exchange->input;
	struct worker *worker = request->worker;
	struct records_call *call = arena_zalloc(&request->arena, sizeof(*call));
	call->request = request;
	struct iterator *iterator = &call->iterator;
	if (!iterator_open(request, input->shard_iterator, iterator))
		return;
	if (!shard_serving(request, catalogue_stream_by_id(worker->catalogue, iterator->stream), iterator->shard)) {
		resolve_fail_shard(request, iterator->shard, str_of(iterator->name));
		return;
	}
	if (!iterator_arn(request, iterator, input->stream_arn) || resolve_dry_run(request, input->dry_run))
		return;
	if (!request_reserve(request, request->exchange->reserved + READ_FIRST, BUDGET_CALL)) {
		resolve_fail_rate(request, iterator->shard, str_of(iterator->name));
		return;
	}
	call->limit = input->limit.has ? (uint32_t)input->limit.v : READ_RECORDS_MAX;
	writer_init(&call->w, request->encoding, &call->body);
	call->profile = worker->server->profile;
	call->io = worker->server->io;
	call->server = worker->server;
	call->peer = peers_ref(worker->server->peers, request->exchange->peer);
	call->prompt = request->exchange->prompt;
	call->read.reply_to = &worker->box;
	call->read.on_done = on_records;
	call->read.on_read = on_read;
	call->read.stream = iterator->stream;
	call->read.shard = iterator->shard;
	call->read.next = iterator->next;
	call->read.max_records = call->limit;
	call->read.max_bytes = READ_BYTES_MAX;
	call->read.limited = true;
	store_read(worker->server->store, &worker->outbox, &call->read);
}
