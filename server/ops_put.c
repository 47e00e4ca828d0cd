/* ops_put.c: PutRecord and PutRecords.
 *
 * Thread: the request's worker. Key and data are lent from the request's body until the store has answered; the only copy is the lane's.
 *
 * - resolve the stream, check the records one by one (kinesis-behaviour 3.21, 3.22: order and texts);
 * - hash of each: its ExplicitHashKey, else the MD5 of its key; which shard that is, the lane decides, so no route is ever stale;
 * - a dry run ends here: it passed all checks but those of the lane;
 * - one store_put; on_put answers when everything is durable: one result per record, in order.
 *
 * Fails: what is wrong with any record fails the whole request before anything is stored; what the lane refuses (throughput, disk) fails
 * that record alone. FailedRecordCount is written first and compactly, since Fluent Bit looks for its bytes (R16). */
#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>

#include "penstock/md5.h"
#include "penstock/seq.h"
#include "server/ops.h"
#include "server/resolve.h"
#include "server/worker.h"

#define PUT_BYTES_MAX (10u << 20) /* of one PutRecords, data and keys */
#define VALIDATION_ITEMS_MAX 10   /* AWS counts no further */
#define HASHING_WIDE 4            /* keys from which on sixteen at once are cheaper than one by one */

struct put_call {
	struct request *request;
	struct str stream; /* name, for texts; the stream may be gone when the store answers */
	bool many;         /* PutRecords */
	struct store_put put;
	struct put_record records[];
};

static uint128 hash_from(const uint8_t *digest)
{
	uint128 hash = 0;
	for (unsigned i = 0; i < MD5_BYTES; i++)
		hash = hash << 8 | digest[i];
	return hash;
}

static uint128 hash_of(struct worker *worker, struct str key)
{
	uint8_t digest[MD5_BYTES];
	unsigned n = 0;
	int good = EVP_DigestInit_ex2(worker->md5_ctx, worker->md5, NULL) && EVP_DigestUpdate(worker->md5_ctx, key.p, key.n) &&
		   EVP_DigestFinal_ex(worker->md5_ctx, digest, &n);
	assert(good && n == sizeof(digest)); /* a wrong hash would send records to a wrong shard */
	return hash_from(digest);
}

/* Keys whose digests are due: short ones are taken many at once. */
struct hashing {
	struct worker *worker;
	struct put_record *records[MD5_TEXTS];
	struct str keys[MD5_TEXTS];
	unsigned n;
};

static void hashing_finish(struct hashing *hashing)
{
	uint8_t digests[MD5_TEXTS][MD5_BYTES];
	bool wide = hashing->n >= HASHING_WIDE && md5_short(hashing->keys, hashing->n, digests);
	for (unsigned i = 0; i < hashing->n; i++)
		hashing->records[i]->hash = wide ? hash_from(digests[i]) : hash_of(hashing->worker, hashing->keys[i]);
	hashing->n = 0;
}

static void hashing_add(struct hashing *hashing, struct put_record *record)
{
	if (record->key.n > MD5_SHORT) {
		record->hash = hash_of(hashing->worker, record->key);
		return;
	}
	hashing->records[hashing->n] = record;
	hashing->keys[hashing->n++] = record->key;
	if (hashing->n == MD5_TEXTS)
		hashing_finish(hashing);
}

/* Fills record from one entry, but for a hash that hashing_finish gives; false: the explicit hash is out of range, answered. */
static bool record_fill(struct request *request, struct hashing *hashing, struct put_record *record, struct str key,
			struct str explicit_hash, struct str data)
{
	record->key = key;
	record->data = data;
	if (!str_present(explicit_hash)) {
		hashing_add(hashing, record);
		return true;
	}
	if (hash_parse(explicit_hash, &record->hash))
		return true;
	request_fail(request, STATUS_INVALID_ARGUMENT,
		     "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was " STR_FMT,
		     STR_ARG(explicit_hash));
	return false;
}

/* ---- Sizes ---- */

/* The place of a record in a validation text: a PutRecord has one record, without a list. */
static void put_record_path(struct buf *out, const struct put_call *call, uint32_t i)
{
	if (call->many)
		buf_printf(out, "records.%" PRIu32 ".member.data", i + 1);
	else
		buf_put_str(out, STR("data"));
}

/* Data and key of each record against the stream's own maximum, in the form that AWS answers since
 * records may be larger than 1 MiB (kinesis-behaviour 2.3). False: answered. */
static bool records_fit(struct request *request, const struct stream_info *stream, const struct put_call *call)
{
	size_t most = (size_t)stream->max_record_kib << 10;
	struct buf items = {0};
	unsigned n = 0;
	for (uint32_t i = 0; i < call->put.n && n < VALIDATION_ITEMS_MAX; i++) {
		if (call->records[i].key.n + call->records[i].data.n <= most)
			continue;
		buf_put_str(&items, n++ ? STR("; Value at '") : STR("Value at '"));
		put_record_path(&items, call, i);
		buf_printf(&items, "' failed to satisfy constraint: Member must have length less than or equal to %zu", most);
	}
	if (n)
		request_fail(request, STATUS_VALIDATION, "%u validation error%s detected: %.*s", n, n == 1 ? "" : "s", (int)items.n,
			     (const char *)items.p);
	buf_free(&items);
	return n == 0;
}

static const struct stream_info *resolve_writable(struct request *request, struct str name, struct str arn)
{
	const struct stream_info *stream = resolve_stream(request, name, arn);
	if (stream == NULL || resolve_serving(stream))
		return stream;
	resolve_fail_stream(request, str_of(stream->name));
	return NULL;
}

static struct put_call *call_new(struct request *request, const struct stream_info *stream, uint32_t n, void (*on_done)(struct store_put *))
{
	struct put_call *call = arena_zalloc(&request->arena, sizeof(*call) + n * sizeof(call->records[0]));
	call->request = request;
	call->stream = arena_str(&request->arena, str_of(stream->name));
	call->put.reply_to = &request->worker->box;
	call->put.on_done = on_done;
	call->put.stream = stream->id;
	call->put.records = call->records;
	call->put.n = n;
	return call;
}

static void call_send(struct put_call *call)
{
	struct worker *worker = call->request->worker;
	store_put(worker->server->store, &worker->outbox, &call->put);
}

static void write_place(struct writer *w, struct str number, struct str shard)
{
	write_map(w);
	write_kv_str(w, "SequenceNumber", number);
	write_kv_str(w, "ShardId", shard);
	write_map_end(w);
}

/* ---- PutRecord ---- */

static void put_record_fail(struct put_call *call, enum status status)
{
	if (status == STATUS_NOT_FOUND)
		resolve_fail_stream(call->request, call->stream);
	else if (status == STATUS_THROTTLED)
		resolve_fail_rate(call->request, call->records[0].shard.shard, call->stream);
	else if (status == STATUS_DISK_FULL)
		request_fail(call->request, status, "The disk of the log has reached its free-space floor; nothing was stored.");
	else if (status == STATUS_NO_FILES)
		request_fail(call->request, status, "The server has no file descriptor left for the log; nothing was stored.");
	else if (status == STATUS_CLOSING)
		request_fail(call->request, status, "The server is shutting down.");
	else
		request_fail_bare(call->request, STATUS_INTERNAL);
}

static void on_put_record(struct store_put *put)
{
	struct put_call *call = container_of(put, struct put_call, put);
	enum status status = put->status == STATUS_OK ? put->records[0].status : put->status;
	if (status != STATUS_OK) {
		put_record_fail(call, status);
		return;
	}
	const struct put_record *record = &put->records[0];
	char digits[SEQ_DIGITS], name[SHARD_NAME_LEN + 1];
	seq_format(digits, &record->shard, record->index, seq_time_s(&record->shard, record->arrival_ms));
	shard_name(name, record->shard.shard);
	struct buf body = {0};
	struct writer w;
	writer_init(&w, call->request->encoding, &body);
	write_place(&w, (struct str){digits, sizeof(digits)}, str_of(name));
	request_ok(call->request, &body);
}

/* The latest second of a number that may have been given out: a child's seconds run ahead. */
static int64_t latest_second(const struct request *request, const struct stream_info *stream, const struct seq *seq)
{
	int64_t latest_s = store_latest_ms(request->worker->server->store) / 1000;
	const struct shard_info *shard = stream_shard(stream, seq->shard);
	if (!shard || shard->key.created_s != seq->created_s)
		return latest_s;
	int64_t shard_s = shard->closed && shard->closed_s > shard->key.created_s ? shard->closed_s : shard->key.created_s;
	return shard_s > latest_s ? shard_s : latest_s;
}

/* Our numbers always rise, so SequenceNumberForOrdering asks for nothing; it must only be a
 * record's number that may have been given out. */
static bool ordering_check(struct request *request, const struct stream_info *stream, struct str number)
{
	struct seq seq;
	if (!str_present(number) ||
	    (seq_parse(number, &seq) == STATUS_OK && !seq.position && seq.time_s <= latest_second(request, stream, &seq)))
		return true;
	request_fail(request, STATUS_INVALID_ARGUMENT,
		     "ExclusiveMinimumSequenceNumber " STR_FMT " used in PutRecord on stream %s under account %s is invalid.",
		     STR_ARG(number), stream->name, request->worker->server->account);
	return false;
}

void ops_put_record(struct request *request)
{
	const struct put_record_input *input = request->exchange->input;
	const struct stream_info *stream = resolve_writable(request, input->stream_name, input->stream_arn);
	if (stream == NULL)
		return;
	struct put_call *call = call_new(request, stream, 1, on_put_record);
	struct hashing hashing = {.worker = request->worker};
	if (!record_fill(request, &hashing, &call->records[0], input->partition_key, input->explicit_hash_key, input->data) ||
	    !ordering_check(request, stream, input->sequence_number_for_ordering) || !records_fit(request, stream, call) ||
	    resolve_dry_run(request, input->dry_run))
		return;
	hashing_finish(&hashing);
	call_send(call);
}

/* ---- PutRecords ---- */

/* The entry of a record that is stored: all are alike but for the digits, so it is encoded once, and each gets a copy with digits of its
 * own. */
struct placed {
	struct buf text;
	size_t digits, name; /* where they stand in the text */
};

/* Where `n` bytes of a marker stand. */
static size_t find(const struct buf *text, const char *marker, size_t n)
{
	const uint8_t *at = memmem(text->p, text->n, marker, n);
	assert(at);
	return (size_t)(at - text->p);
}

static void placed_init(struct placed *placed, enum encoding encoding)
{
	char digits[SEQ_DIGITS], name[SHARD_NAME_LEN];
	struct writer w;
	memset(digits, '#', sizeof(digits));
	memset(name, '?', sizeof(name));
	*placed = (struct placed){0};
	writer_init(&w, encoding, &placed->text);
	write_place(&w, (struct str){digits, sizeof(digits)}, (struct str){name, sizeof(name)});
	placed->digits = find(&placed->text, digits, sizeof(digits));
	placed->name = find(&placed->text, name, sizeof(name));
}

static void write_placed(struct writer *w, struct placed *placed, const struct put_record *record)
{
	char name[SHARD_NAME_LEN + 1];
	seq_format((char *)placed->text.p + placed->digits, &record->shard, record->index, seq_time_s(&record->shard, record->arrival_ms));
	shard_name(name, record->shard.shard);
	memcpy(placed->text.p + placed->name, name, SHARD_NAME_LEN);
	write_encoded(w, (struct str){(const char *)placed->text.p, placed->text.n});
}

static void write_failure(struct writer *w, const struct put_call *call, const struct put_record *record)
{
	struct str code = STR("InternalFailure"), text = STR("Internal Service Failure");
	if (record->status == STATUS_THROTTLED) {
		char name[SHARD_NAME_LEN + 1];
		shard_name(name, record->shard.shard);
		code = str_of(status_type(STATUS_THROTTLED));
		text = arena_printf(&call->request->arena, "Rate exceeded for shard %s in stream " STR_FMT " under account %s.", name,
				    STR_ARG(call->stream), call->request->worker->server->account);
	}
	write_map(w);
	write_kv_str(w, "ErrorCode", code);
	write_kv_str(w, "ErrorMessage", text);
	write_map_end(w);
}

static void on_put_records(struct store_put *put)
{
	struct put_call *call = container_of(put, struct put_call, put);
	if (put->status != STATUS_OK) {
		put_record_fail(call, put->status);
		return;
	}
	int64_t failed = 0;
	for (uint32_t i = 0; i < put->n; i++)
		failed += put->records[i].status != STATUS_OK;
	struct buf body = {0};
	struct writer w;
	writer_init(&w, call->request->encoding, &body);
	write_map(&w);
	write_kv_int(&w, "FailedRecordCount", failed);
	write_key(&w, "Records");
	write_list(&w);
	struct placed placed;
	placed_init(&placed, call->request->encoding);
	buf_reserve(&body, put->n * placed.text.n);
	for (uint32_t i = 0; i < put->n; i++) {
		if (put->records[i].status == STATUS_OK)
			write_placed(&w, &placed, &put->records[i]);
		else
			write_failure(&w, call, &put->records[i]);
	}
	write_list_end(&w);
	write_map_end(&w);
	buf_free(&placed.text);
	request_ok(call->request, &body);
}

/* Data and keys of all records. AWS's text from when the limit was 5 MB. False: answered. */
static bool total_fits(struct request *request, const struct put_call *call)
{
	size_t total = 0;
	for (uint32_t i = 0; i < call->put.n; i++)
		total += call->records[i].key.n + call->records[i].data.n;
	if (total <= PUT_BYTES_MAX)
		return true;
	request_fail(request, STATUS_INVALID_ARGUMENT, "Records size exceeds 10 MB limit");
	return false;
}

void ops_put_records(struct request *request)
{
	const struct put_records_input *input = request->exchange->input;
	const struct stream_info *stream = resolve_writable(request, input->stream_name, input->stream_arn);
	if (stream == NULL)
		return;
	struct put_call *call = call_new(request, stream, input->n_records, on_put_records);
	call->many = true;
	struct hashing hashing = {.worker = request->worker};
	for (uint32_t i = 0; i < input->n_records; i++) {
		const struct put_records_entry *entry = &input->records[i];
		if (!record_fill(request, &hashing, &call->records[i], entry->partition_key, entry->explicit_hash_key, entry->data))
			return;
	}
	hashing_finish(&hashing);
	if (records_fit(request, stream, call) && total_fits(request, call) && !resolve_dry_run(request, input->dry_run))
		call_send(call);
}
