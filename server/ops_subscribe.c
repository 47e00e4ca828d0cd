/* ops_subscribe.c: SubscribeToShard up to the first byte of its stream, and the seam between a subscription and its transport.
 *
 * Thread: the request's worker, whose hub owns the subscription; it is embedded in the request and dies with it.
 *
 * - the checks of kinesis-behaviour 5.4 in their order, each a plain 400 answer: nothing has been streamed yet (R4);
 * - sub_start: the lane is asked for the lease and the start cursor;
 * - on_joined: 200 and the stream begins; the transport pulls from here on. The events are JSON, whatever the request was (R11);
 * - on_ready, on_probe: passed on to the transport.
 *
 * Fails: more than a call a second (LimitExceeded); another subscription began less than 5 s ago (ResourceInUse); stream or shard went away
 * in between (ResourceNotFound). A client that leaves while joining: the transport stops the subscription and frees the request, and no
 * call comes here any more. */
#include <assert.h>
#include <inttypes.h>

#include "penstock/fanout.h"
#include "server/fault.h"
#include "server/ops.h"
#include "server/resolve.h"
#include "server/worker.h"

static struct request *request_of(struct subscription *sub) { return container_of(sub, struct request, sub); }

static void fail_joined(struct request *request, enum status status)
{
	const struct subscribe_to_shard_input *input = request->exchange->input;
	char shard[SHARD_NAME_LEN + 1];
	struct arn arn;
	bool good = resolve_arn(input->consumer_arn, &arn); /* it was resolved before */
	assert(good);
	shard_name(shard, request->sub.shard.shard);
	if (status == STATUS_IN_USE)
		request_fail(request, status, "Another active subscription exists for this consumer: %s:" STR_FMT ":%s:" STR_FMT,
			     request->worker->server->account, STR_ARG(arn.stream), shard, STR_ARG(arn.consumer));
	else if (status == STATUS_LIMIT_EXCEEDED) /* our text */
		request_fail(request, status, "Rate exceeded for consumer " STR_FMT " on shard %s in stream " STR_FMT " under account %s.",
			     STR_ARG(arn.consumer), shard, STR_ARG(arn.stream), request->worker->server->account);
	else if (status == STATUS_NOT_FOUND)
		resolve_fail_shard(request, request->sub.shard.shard, arn.stream);
	else if (status == STATUS_CLOSING)
		request_fail(request, status, "The server is shutting down.");
	else
		request_fail_bare(request, STATUS_INTERNAL);
}

static void on_joined(struct subscription *sub, enum status status)
{
	struct request *request = request_of(sub);
	if (status == STATUS_OK) {
		if (request->fault)
			fault_joined(request);
		request->transport->stream(request);
		request_shrink(request);
		return;
	}
	request->subscribed = false; /* it is CLOSED: there is nothing to stop */
	fail_joined(request, status);
}

static void on_ready(struct subscription *sub) { request_of(sub)->transport->ready(request_of(sub)); }

static bool on_probe(struct subscription *sub) { return request_of(sub)->transport->probe(request_of(sub)); }

static const struct sub_ops ops = {.on_joined = on_joined, .on_ready = on_ready, .on_probe = on_probe};

/* The consumer must be ACTIVE, and its stream too: passing states are ResourceInUse, which clients retry (R17). */
static bool consumer_check(struct request *request, const struct stream_info *stream, const struct consumer_info *consumer)
{
	if (stream->status == STREAM_DELETING)
		resolve_fail_stream(request, str_of(stream->name));
	else if (stream->status == STREAM_CREATING)
		resolve_fail_state(request, str_of(stream->name), stream_status_name(stream->status));
	else if (consumer->status != CONSUMER_ACTIVE)
		request_fail(request, STATUS_IN_USE, /* the space before the comma is AWS's */
			     "Consumer %s with creation timestamp %" PRId64 " under stream: %s , account %s is not in ACTIVE status.",
			     consumer->name, consumer->created_s, stream->name, request->worker->server->account);
	else
		return true;
	return false;
}

static const struct shard_info *shard_check(struct request *request, const struct stream_info *stream, struct str given)
{
	uint32_t number;
	if (!resolve_shard_number(request, given, str_of(stream->name), &number))
		return NULL;
	const struct shard_info *shard = ops_shards_find(request, stream, number);
	if (shard == NULL)
		resolve_fail_shard(request, number, str_of(stream->name));
	return shard;
}

void ops_subscribe_to_shard(struct request *request)
{
	const struct subscribe_to_shard_input *input = request->exchange->input;
	const struct stream_consumer_input by_arn = {.consumer_arn = input->consumer_arn};
	const struct stream_info *stream;
	struct position position;
	const struct consumer_info *consumer = resolve_consumer(request, &by_arn, &stream);
	if (consumer == NULL || !consumer_check(request, stream, consumer))
		return;
	const struct shard_info *shard = shard_check(request, stream, input->shard_id);
	if (shard == NULL ||
	    !resolve_position(request, "SubscribeToShard", str_of(stream->name), shard, input->position.type,
			      input->position.sequence_number, input->position.timestamp, &position) ||
	    resolve_dry_run(request, input->dry_run))
		return;
	request->subscribed = true;
	sub_start(request->worker->hub, &request->sub, &ops, shard->key, consumer->id, position);
}
