/* ops_stream.c: CreateStream, DeleteStream, DescribeStream, DescribeStreamSummary, ListStreams.
 *
 * Thread: the request's worker. Readings are answered at once from its snapshot. Changes are mailed to the control thread, which
 * decides by the catalogue itself; its snapshot arrives before its answer, so whoever was answered sees what was done.
 *
 * - create, delete: check what can be seen in the request, mail the change, answer in its on_done (no output: an empty 200);
 * - describe, summary: resolve, write;
 * - list: from the name behind the token or ExclusiveStartStreamName.
 *
 * Fails: each cause of the control thread has AWS's text below. A client that leaves meanwhile changes nothing: the change is made. */
#include <inttypes.h>

#include "server/ops.h"
#include "server/rates.h"
#include "server/resolve.h"
#include "server/tags.h"
#include "server/token.h"
#include "server/worker.h"

#define ON_DEMAND_SHARDS 4
#define RECORD_KIB_DEFAULT 1024
#define DESCRIBE_SHARDS_MAX 100 /* default and effective maximum of DescribeStream's Limit */
#define LIST_STREAMS_MAX 100    /* and of ListStreams' */

/* ---- Changes ---- */

struct stream_change {
	struct request *request;
	struct change change;
};

void ops_stream_fail_shard_limit(struct request *request, int64_t have, int64_t limit, int64_t would)
{
	const struct server *server = request->worker->server;
	request_fail(
		request, STATUS_LIMIT_EXCEEDED,
		"This request would exceed the shard limit for the account %s in %s. Current shard count for the account: %" PRId64
		". Limit: %" PRId64 ". Number of additional shards that would have resulted from this request: %" PRId64
		". Refer to the AWS Service Limits page (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current "
		"limits and how to request higher limits.",
		server->account, server->region, have, limit, would);
}

static void fail_has_consumers(struct request *request, struct str stream)
{
	struct str arn = resolve_stream_arn(request->worker->server, &request->arena, stream);
	request_fail(
		request, STATUS_IN_USE,
		"DeleteStream can't delete " STR_FMT " because there are consumers associated with this data stream. To delete " STR_FMT
		" anyway, set the EnforceConsumerDeletion parameter to true to force the deletion of all the consumers that are associated "
		"with it.",
		STR_ARG(arn), STR_ARG(stream));
}

static void fail_not_active(struct request *request, struct str name)
{
	const struct stream_info *stream = catalogue_stream(request->worker->catalogue, name);
	if (stream == NULL)
		resolve_fail_stream(request, name);
	else
		resolve_fail_state(request, name, stream_status_name(stream->status));
}

static void fail_change(struct request *request, const struct change *change)
{
	const char *account = request->worker->server->account;
	switch (change->cause) {
	case CAUSE_EXISTS:
		request_fail(request, STATUS_IN_USE, "Stream " STR_FMT " under account %s already exists.", STR_ARG(change->stream),
			     account);
		break;
	case CAUSE_NO_STREAM:
		resolve_fail_stream(request, change->stream);
		break;
	case CAUSE_SHARD_LIMIT:
		ops_stream_fail_shard_limit(request, change->have, change->limit, change->would);
		break;
	case CAUSE_CHANGING_LIMIT: /* two spaces, as AWS has it; Terraform looks for the words behind them */
		request_fail(request, STATUS_LIMIT_EXCEEDED,
			     "This request would have exceed the limit on the number  of streams that can simultaneously be in CREATING or "
			     "DELETING "
			     "for the account %s. Limit: %" PRId64 ".",
			     account, change->limit);
		break;
	case CAUSE_HAS_CONSUMERS:
		fail_has_consumers(request, change->stream);
		break;
	case CAUSE_NOT_ACTIVE:
		fail_not_active(request, change->stream);
		break;
	case CAUSE_NO_ROOM:
		resolve_fail_room(request);
		break;
	default:
		request_fail_bare(request, STATUS_INTERNAL);
	}
}

static void on_changed(struct change *change)
{
	struct request *request = container_of(change, struct stream_change, change)->request;
	struct buf empty = {0};
	if (change->status == STATUS_OK)
		request_ok(request, &empty);
	else
		fail_change(request, change);
}

static struct change *change_new(struct request *request, enum change_kind kind, struct str stream)
{
	struct stream_change *call = arena_zalloc(&request->arena, sizeof(*call));
	call->request = request;
	call->change.reply_to = &request->worker->box;
	call->change.on_done = on_changed;
	call->change.kind = kind;
	call->change.stream = stream;
	return &call->change;
}

/* Mode and ShardCount against each other. False: answered. */
static bool create_mode(struct request *request, const struct create_stream_input *input, struct change *change)
{
	bool named = str_present(input->stream_mode), on_demand = named && str_equal(input->stream_mode, STR("ON_DEMAND"));
	if (!named)
		on_demand = !input->shard_count.has; /* neither: AWS makes an on-demand stream */
	if (on_demand && input->shard_count.has) {
		request_fail(request, STATUS_VALIDATION, "ShardCount is not expected when StreamMode=ON_DEMAND");
		return false;
	}
	if (!on_demand && !input->shard_count.has) {
		request_fail(request, STATUS_VALIDATION, "ShardCount is required when StreamMode=PROVISIONED"); /* our text */
		return false;
	}
	change->mode = on_demand ? MODE_ON_DEMAND : MODE_PROVISIONED;
	change->shards = on_demand ? ON_DEMAND_SHARDS : (uint32_t)input->shard_count.v;
	return true;
}

/* AUTO spreads records whatever their keys say. It is refused rather than ignored: a producer that
 * relies on it sends records without keys. The texts are ours. False: answered. */
static bool create_distribution(struct request *request, const struct create_stream_input *input, const struct change *change)
{
	if (!str_equal(input->record_distribution_strategy, STR("AUTO")))
		return true;
	if (change->mode == MODE_PROVISIONED)
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "RecordDistributionStrategy AUTO is only supported for streams that use the on-demand capacity mode.");
	else
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "RecordDistributionStrategy AUTO is not there yet in penstock; use USER_PARTITION_KEY.");
	return false;
}

void ops_stream_create(struct request *request)
{
	const struct create_stream_input *input = request->exchange->input;
	if (!rates_pass(request, 0, input->stream_name))
		return;
	struct change *change = change_new(request, CHANGE_CREATE_STREAM, input->stream_name);
	if (catalogue_stream(request->worker->catalogue, input->stream_name)) {
		change->cause = CAUSE_EXISTS; /* before all that follows, as on AWS */
		fail_change(request, change);
		return;
	}
	if (!create_mode(request, input, change) || !create_distribution(request, input, change))
		return;
	if (input->warm_throughput_mibps.has) {
		request_fail(request, STATUS_VALIDATION,
			     "WarmThroughputMiBps needs an account with a minimum throughput billing commitment."); /* our text */
		return;
	}
	if (!tags_pass(request, "stream", input->stream_name, input->tags, input->n_tags))
		return;
	change->max_record_kib = input->max_record_size_kib.has ? (int32_t)input->max_record_size_kib.v : RECORD_KIB_DEFAULT;
	catalogue_change(request->worker->server->control, &request->worker->outbox, change);
}

void ops_stream_delete(struct request *request)
{
	const struct delete_stream_input *input = request->exchange->input;
	struct str name;
	if (!resolve_name(request, input->stream_name, input->stream_arn, &name) || !rates_pass(request, 0, name))
		return;
	struct change *change = change_new(request, CHANGE_DELETE_STREAM, name);
	change->enforce_consumer_deletion = input->enforce_consumer_deletion.has && input->enforce_consumer_deletion.v;
	catalogue_change(request->worker->server->control, &request->worker->outbox, change);
}

/* ---- Descriptions ---- */

static void write_mode(struct writer *w, const struct stream_info *stream)
{
	write_key(w, "StreamModeDetails");
	write_map(w);
	write_kv_str(w, "StreamMode", str_of(stream_mode_name(stream->mode)));
	write_map_end(w);
}

/* What DescribeStream and DescribeStreamSummary have in common. No StreamId, ever: KCL stores it and sends it back, and the Java SDK's
 * endpoint rules then build an AWS host from it, whatever endpoint was set (R13). */
static void write_description(struct request *request, struct writer *w, const struct stream_info *stream)
{
	struct str name = str_of(stream->name);
	write_kv_str(w, "StreamName", name);
	write_kv_str(w, "StreamARN", resolve_stream_arn(request->worker->server, &request->arena, name));
	write_kv_str(w, "StreamStatus", str_of(stream_status_name(stream->status)));
	write_mode(w, stream);
	write_kv_int(w, "RetentionPeriodHours", stream->retention_hours);
	write_kv_time(w, "StreamCreationTimestamp", stream->created_ms);
	write_key(w, "EnhancedMonitoring"); /* one element, as the model wants it, with no metric in it */
	write_list(w);
	write_map(w);
	write_key(w, "ShardLevelMetrics");
	write_list(w);
	write_list_end(w);
	write_map_end(w);
	write_list_end(w);
	write_kv_str(w, "EncryptionType", STR("NONE"));
}

/* Shards behind ExclusiveStartShardId, which need not exist: names compare as text. */
static void write_shards(struct request *request, struct writer *w, const struct stream_info *stream)
{
	const struct describe_stream_input *input = request->exchange->input;
	uint32_t limit = input->limit.has && input->limit.v < DESCRIBE_SHARDS_MAX ? (uint32_t)input->limit.v : DESCRIBE_SHARDS_MAX;
	int64_t horizon_ms = ops_shards_horizon(request, stream);
	uint32_t written = 0;
	bool more = false;
	write_key(w, "Shards");
	write_list(w);
	for (uint32_t i = 0; i < stream->n_shards && !more; i++) {
		char name[SHARD_NAME_LEN + 1];
		shard_name(name, stream->shards[i].key.shard);
		if (!ops_shards_kept(&stream->shards[i], horizon_ms) ||
		    (str_present(input->exclusive_start_shard_id) && str_compare(str_of(name), input->exclusive_start_shard_id) <= 0))
			continue;
		more = written == limit;
		if (!more)
			ops_shards_write(w, &stream->shards[i]);
		written++;
	}
	write_list_end(w);
	write_kv_bool(w, "HasMoreShards", more);
}

void ops_stream_describe(struct request *request)
{
	const struct describe_stream_input *input = request->exchange->input;
	const struct stream_info *stream = resolve_stream(request, input->stream_name, input->stream_arn);
	if (stream == NULL || !rates_pass(request, stream->id, str_of(stream->name)))
		return;
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_key(&w, "StreamDescription");
	write_map(&w);
	write_description(request, &w, stream);
	write_shards(request, &w, stream);
	write_map_end(&w);
	write_map_end(&w);
	request_ok(request, &body);
}

void ops_stream_summary(struct request *request)
{
	const struct describe_stream_summary_input *input = request->exchange->input;
	const struct stream_info *stream = resolve_stream(request, input->stream_name, input->stream_arn);
	if (stream == NULL || !rates_pass(request, stream->id, str_of(stream->name)))
		return;
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_key(&w, "StreamDescriptionSummary");
	write_map(&w);
	write_description(request, &w, stream);
	write_kv_int(&w, "OpenShardCount", stream_open_shards(stream));
	write_kv_int(&w, "ConsumerCount", stream->n_consumers);
	write_kv_int(&w, "MaxRecordSizeInKiB", stream->max_record_kib);
	/* Of every stream, since the KPL warns of one without it. */
	write_kv_str(&w, "RecordDistributionStrategy", STR("USER_PARTITION_KEY"));
	write_map_end(&w);
	write_map_end(&w);
	request_ok(request, &body);
}

/* ---- ListStreams ---- */

/* The first stream whose name is above `after` (p NULL: the first of all). */
static uint32_t streams_after(const struct catalogue *catalogue, struct str after)
{
	uint32_t low = 0, high = str_present(after) ? catalogue->n_streams : 0;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (str_compare(str_of(catalogue->streams[middle].name), after) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void write_summary(struct request *request, struct writer *w, const struct stream_info *stream)
{
	struct str name = str_of(stream->name);
	write_map(w);
	write_kv_str(w, "StreamName", name);
	write_kv_str(w, "StreamARN", resolve_stream_arn(request->worker->server, &request->arena, name));
	write_kv_str(w, "StreamStatus", str_of(stream_status_name(stream->status)));
	write_mode(w, stream);
	write_kv_time(w, "StreamCreationTimestamp", stream->created_ms);
	write_map_end(w);
}

static void list_answer(struct request *request, const struct stream_info *streams, uint32_t n, bool more)
{
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_key(&w, "StreamNames");
	write_list(&w);
	for (uint32_t i = 0; i < n; i++)
		write_str(&w, str_of(streams[i].name));
	write_list_end(&w);
	write_kv_bool(&w, "HasMoreStreams", more);
	if (more) {
		struct page page = {.kind = PAGE_STREAMS};
		memcpy(page.name, streams[n - 1].name, sizeof(page.name));
		ops_page_write(request, &w, &page);
	}
	write_key(&w, "StreamSummaries");
	write_list(&w);
	for (uint32_t i = 0; i < n; i++)
		write_summary(request, &w, &streams[i]);
	write_list_end(&w);
	write_map_end(&w);
	request_ok(request, &body);
}

/* Both ways of paging: by the last name, and by NextToken, which wins when both are given. */
void ops_stream_list(struct request *request)
{
	const struct list_streams_input *input = request->exchange->input;
	const struct catalogue *catalogue = request->worker->catalogue;
	struct str after = input->exclusive_start_stream_name;
	struct page page;
	if (str_present(input->next_token)) {
		if (!ops_page_open(request, PAGE_STREAMS, input->next_token, &page))
			return;
		after = str_of(page.name);
	}
	if (!rates_pass(request, 0, (struct str){NULL, 0}))
		return;
	uint32_t first = streams_after(catalogue, after), left = catalogue->n_streams - first;
	uint32_t limit = input->limit.has && input->limit.v < LIST_STREAMS_MAX ? (uint32_t)input->limit.v : LIST_STREAMS_MAX;
	list_answer(request, catalogue->streams + first, left < limit ? left : limit, left > limit);
}
