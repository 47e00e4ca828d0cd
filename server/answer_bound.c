/* answer_bound.c: one row per operation: the most that its answer takes, in JSON, which is never shorter than CBOR.
 *
 * A row counts items where an answer has many: those that the request asks for, and of which the snapshot has no fewer. Names and numbers
 * have bounds of their own (shape_tables.c). An error's text fits ANSWER_FIRST, or is settled when it is made (request.c). */
#include "server/answer_bound.h"

#include "penstock/api.h"
#include "penstock/catalogue.h"
#include "server/answers.h"
#include "server/request.h"
#include "server/worker.h"

#define ITEMS_MAX 10000 /* of any listing, whatever the request asks for */

/* Bytes of one item, from its longest members and their keys. */
#define SHARD_TEXT 480
#define STREAM_TEXT 704   /* its name twice, and its ARN */
#define CONSUMER_TEXT 640 /* its name twice, and its stream's */
#define PLACE_TEXT 128    /* a sequence number and a shard */
#define FAILURE_TEXT 192  /* beside the name of the stream */

static uint32_t least(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t asked(struct opt_int limit) { return limit.has && limit.v < ITEMS_MAX ? (uint32_t)limit.v : ITEMS_MAX; }

/* By name, or by what stands behind the ARN's last slash. *known false: the request names none (it has a token). */
static const struct stream_info *stream_of(const struct request *request, struct str name, struct str arn, bool *known)
{
	const char *slash = arn.n ? memrchr(arn.p, '/', arn.n) : NULL;
	if (!str_present(name) && slash)
		name = (struct str){slash + 1, (size_t)(arn.p + arn.n - slash - 1)};
	*known = str_present(name);
	return *known ? catalogue_stream(request->worker->catalogue, name) : NULL;
}

static uint32_t shards(const struct request *request, struct opt_int limit, struct str name, struct str arn)
{
	bool known;
	const struct stream_info *stream = stream_of(request, name, arn, &known);
	return known ? least(asked(limit), stream ? stream->n_shards : 0) : asked(limit);
}

static size_t of_describe(const struct request *request)
{
	const struct describe_stream_input *input = request->exchange->input;
	return STREAM_TEXT + SHARD_TEXT * (size_t)shards(request, input->limit, input->stream_name, input->stream_arn);
}

static size_t of_shards(const struct request *request)
{
	const struct list_shards_input *input = request->exchange->input;
	return SHARD_TEXT * (size_t)shards(request, input->max_results, input->stream_name, input->stream_arn);
}

static size_t of_streams(const struct request *request)
{
	const struct list_streams_input *input = request->exchange->input;
	return STREAM_TEXT * (size_t)least(asked(input->limit), request->worker->catalogue->n_streams);
}

static size_t of_consumers(const struct request *request)
{
	const struct list_stream_consumers_input *input = request->exchange->input;
	bool known;
	const struct stream_info *stream = stream_of(request, (struct str){NULL, 0}, input->stream_arn, &known);
	return CONSUMER_TEXT *
	       (size_t)(known ? least(asked(input->max_results), stream ? stream->n_consumers : 0) : asked(input->max_results));
}

/* Each record is stored or has failed; a failure tells the stream's name. */
static size_t of_puts(const struct request *request)
{
	const struct put_records_input *input = request->exchange->input;
	size_t name = str_present(input->stream_name) ? input->stream_name.n : STREAM_NAME_MAX, failure = FAILURE_TEXT + name;
	return input->n_records * (failure > PLACE_TEXT ? failure : PLACE_TEXT);
}

static const struct row {
	enum budget_class class;
	size_t (*items)(const struct request *request); /* bytes beyond ANSWER_FIRST and FIXED_TEXT; NULL: none */
} rows[OP_COUNT] = {
	[OP_CREATE_STREAM] = {BUDGET_CALL, NULL},
	[OP_DELETE_STREAM] = {BUDGET_CALL, NULL},
	[OP_DESCRIBE_STREAM] = {BUDGET_PAGE, of_describe},
	[OP_DESCRIBE_STREAM_SUMMARY] = {BUDGET_CALL, NULL},
	[OP_LIST_STREAMS] = {BUDGET_PAGE, of_streams},
	[OP_LIST_SHARDS] = {BUDGET_PAGE, of_shards},
	[OP_PUT_RECORD] = {BUDGET_CALL, NULL},
	[OP_PUT_RECORDS] = {BUDGET_CALL, of_puts},
	[OP_GET_SHARD_ITERATOR] = {BUDGET_CALL, NULL},
	[OP_GET_RECORDS] = {BUDGET_CALL, NULL},
	[OP_REGISTER_STREAM_CONSUMER] = {BUDGET_CALL, NULL},
	[OP_DESCRIBE_STREAM_CONSUMER] = {BUDGET_CALL, NULL},
	[OP_LIST_STREAM_CONSUMERS] = {BUDGET_PAGE, of_consumers},
	[OP_DEREGISTER_STREAM_CONSUMER] = {BUDGET_CALL, NULL},
	[OP_SUBSCRIBE_TO_SHARD] = {BUDGET_CALL, NULL},
	[OP_SPLIT_SHARD] = {BUDGET_CALL, NULL},
	[OP_MERGE_SHARDS] = {BUDGET_CALL, NULL},
	[OP_UPDATE_SHARD_COUNT] = {BUDGET_CALL, NULL},
};

#define FIXED_TEXT 1536 /* an operation's members beside its items: names, ARNs, an iterator or a token */

static const struct row *row_of(const struct request *request) { return &rows[request->exchange->operation->number]; }

size_t answer_bound(const struct request *request)
{
	const struct row *row = row_of(request);
	bool small = request->exchange->operation->number == OP_PUT_RECORD; /* a place */
	return ANSWER_FIRST + (small ? 0 : FIXED_TEXT) + (row->items ? row->items(request) : 0);
}

static bool is_data(int operation)
{
	return operation == OP_PUT_RECORD || operation == OP_PUT_RECORDS || operation == OP_GET_RECORDS ||
	       operation == OP_GET_SHARD_ITERATOR;
}

bool answer_bound_reserve(struct request *request)
{
	if (request_reserve(request, answer_bound(request), row_of(request)->class))
		return true;
	request_fail(request, is_data(request->exchange->operation->number) ? STATUS_THROTTLED : STATUS_LIMIT_EXCEEDED,
		     "Too many bytes of answers wait for their clients; nothing was done. Take them, or ask again later.");
	return false;
}
