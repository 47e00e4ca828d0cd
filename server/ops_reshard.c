/* ops_reshard.c: SplitShard, MergeShards, UpdateShardCount.
 *
 * Thread: the request's worker. The control thread decides by the catalogue itself; its snapshot (UPDATING) arrives before its answer.
 *
 * - the shard's name is resolved before the stream is even looked up, as on AWS;
 * - the rate of calls, the change, the answer: an empty 200, or for UpdateShardCount the two counts. The shards change afterwards.
 *
 * Fails: each cause of the control thread has AWS's text below (kinesis-behaviour 3.10, 3.11). */
#include <inttypes.h>

#include "penstock/seq.h"
#include "server/ops.h"
#include "server/rates.h"
#include "server/resolve.h"
#include "server/worker.h"

struct reshard_change {
	struct request *request;
	struct str hash; /* SplitShard: NewStartingHashKey as it was given */
	struct change change;
};

static struct change *change_new(struct request *request, enum change_kind kind, struct str stream, void (*on_done)(struct change *))
{
	struct reshard_change *call = arena_zalloc(&request->arena, sizeof(*call));
	call->request = request;
	call->change.reply_to = &request->worker->box;
	call->change.on_done = on_done;
	call->change.kind = kind;
	call->change.stream = arena_str(&request->arena, stream);
	return &call->change;
}

static void change_send(struct request *request, struct change *change)
{
	const struct stream_info *stream = catalogue_stream(request->worker->catalogue, change->stream);
	/* What is not there costs nothing; the control thread says so. */
	if (stream == NULL || rates_pass(request, stream->id, change->stream))
		catalogue_change(request->worker->server->control, &request->worker->outbox, change);
}

/* ---- Texts ---- */

static const char *account(const struct request *request) { return request->worker->server->account; }

static void fail_hash_key(struct request *request, const struct change *change)
{
	const struct shard_info *parent = &change->parent;
	struct str hash = container_of(change, struct reshard_change, change)->hash;
	char name[SHARD_NAME_LEN + 1], first[HASH_DIGITS], last[HASH_DIGITS];
	struct str start = {first, hash_format(first, parent->hash_first)}, end = {last, hash_format(last, parent->hash_last)};
	shard_name(name, parent->key.shard);
	request_fail(request, STATUS_INVALID_ARGUMENT,
		     "NewStartingHashKey " STR_FMT " used in SplitShard() on shard %s in stream " STR_FMT
		     " under account %s is not both greater than one plus the shard's StartingHashKey " STR_FMT
		     " and less than the shard's EndingHashKey " STR_FMT ".",
		     STR_ARG(hash), name, STR_ARG(change->stream), account(request), STR_ARG(start), STR_ARG(end));
}

static void fail_target(struct request *request, const struct change *change)
{
	request_fail(request, STATUS_LIMIT_EXCEEDED,
		     "Target shard count or number of open shards cannot be greater than %" PRId64 ". Current open shard count: %" PRId64
		     ", Target shard count: %" PRId64,
		     change->limit, change->have, change->would);
}

/* AWS's words for its factor of 2; ours for another one. */
static void fail_scale(struct request *request, const struct change *change, bool up)
{
	const char *what = up ? "UpdateShardCount cannot scale up over double your current open shard count."
			      : "UpdateShardCount cannot scale down below half your current open shard count.";
	if (change->limit != 2)
		what = up ? "UpdateShardCount cannot scale up so far at once." : "UpdateShardCount cannot scale down so far at once.";
	request_fail(request, STATUS_LIMIT_EXCEEDED, "%s Current open shard count: %" PRId64 ", Target shard count: %" PRId64, what,
		     change->have, change->would);
}

static void fail_shard(struct request *request, const struct change *change)
{
	char name[SHARD_NAME_LEN + 1], adjacent[SHARD_NAME_LEN + 1];
	shard_name(name, change->shard);
	shard_name(adjacent, change->adjacent);
	if (change->cause == CAUSE_NO_SHARD)
		request_fail(request, STATUS_NOT_FOUND, "Could not find shard %s in stream " STR_FMT " under account %s.", name,
			     STR_ARG(change->stream), account(request));
	else if (change->cause == CAUSE_SHARD_CLOSED)
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "Shard %s in stream " STR_FMT
			     " under account %s has already been merged or split, and thus is not eligible for merging or splitting.",
			     name, STR_ARG(change->stream), account(request));
	else
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "Shards %s and %s in stream " STR_FMT
			     " under account %s are not an adjacent pair of shards eligible for merging",
			     name, adjacent, STR_ARG(change->stream), account(request));
}

static void fail_change(struct request *request, const struct change *change)
{
	switch (change->cause) {
	case CAUSE_NO_STREAM:
		resolve_fail_stream(request, change->stream);
		break;
	case CAUSE_NOT_ACTIVE:
		resolve_fail_state(request, change->stream, stream_status_name(change->state));
		break;
	case CAUSE_NO_SHARD:
	case CAUSE_SHARD_CLOSED:
	case CAUSE_NOT_ADJACENT:
		fail_shard(request, change);
		break;
	case CAUSE_ON_DEMAND:
		request_fail(request, STATUS_VALIDATION, "Request is invalid. Stream " STR_FMT " under account %s is in On-Demand mode.",
			     STR_ARG(change->stream), account(request));
		break;
	case CAUSE_HASH_KEY:
		fail_hash_key(request, change);
		break;
	case CAUSE_SHARD_LIMIT:
		ops_stream_fail_shard_limit(request, change->have, change->limit, change->would);
		break;
	case CAUSE_TARGET_LIMIT:
		fail_target(request, change);
		break;
	case CAUSE_SCALE_UP:
	case CAUSE_SCALE_DOWN:
		fail_scale(request, change, change->cause == CAUSE_SCALE_UP);
		break;
	case CAUSE_UPDATES_LIMIT: /* our text */
		request_fail(request, STATUS_LIMIT_EXCEEDED,
			     "Stream " STR_FMT " under account %s exceeds the limit on UpdateShardCount calls in a rolling 24 hour period. "
			     "Limit: %" PRId64 ".",
			     STR_ARG(change->stream), account(request), change->limit);
		break;
	case CAUSE_ALL_SHARDS_LIMIT: /* our text and our limit */
		request_fail(request, STATUS_LIMIT_EXCEEDED,
			     "This request would exceed the limit on open and closed shards of all streams under account %s. "
			     "Current count: %" PRId64 ". Limit: %" PRId64 ". Number of shards that this request would add: %" PRId64
			     ". A closed shard leaves when its records have passed retention.",
			     account(request), change->have, change->limit, change->would);
		break;
	case CAUSE_NO_ROOM:
		resolve_fail_room(request);
		break;
	default:
		request_fail_bare(request, STATUS_INTERNAL);
	}
}

/* ---- SplitShard, MergeShards ---- */

static void on_changed(struct change *change)
{
	struct request *request = container_of(change, struct reshard_change, change)->request;
	struct buf empty = {0};
	if (change->status == STATUS_OK)
		request_ok(request, &empty);
	else
		fail_change(request, change);
}

void ops_reshard_split(struct request *request)
{
	const struct split_shard_input *input = request->exchange->input;
	struct str name;
	uint32_t shard;
	if (!resolve_name(request, input->stream_name, input->stream_arn, &name) ||
	    !resolve_shard_number(request, input->shard_to_split, name, &shard))
		return;
	struct change *change = change_new(request, CHANGE_SPLIT_SHARD, name, on_changed);
	container_of(change, struct reshard_change, change)->hash = input->new_starting_hash_key;
	change->shard = shard;
	/* 39 digits may be more than 2^128 - 1, which is in no shard; nor is 0 ever where a second child begins. */
	if (!hash_parse(input->new_starting_hash_key, &change->hash))
		change->hash = 0;
	change_send(request, change);
}

void ops_reshard_merge(struct request *request)
{
	const struct merge_shards_input *input = request->exchange->input;
	struct str name;
	uint32_t shard, adjacent;
	if (!resolve_name(request, input->stream_name, input->stream_arn, &name) ||
	    !resolve_shard_number(request, input->shard_to_merge, name, &shard) ||
	    !resolve_shard_number(request, input->adjacent_shard_to_merge, name, &adjacent))
		return;
	struct change *change = change_new(request, CHANGE_MERGE_SHARDS, name, on_changed);
	change->shard = shard;
	change->adjacent = adjacent;
	change_send(request, change);
}

/* ---- UpdateShardCount ---- */

static void on_updated(struct change *change)
{
	struct request *request = container_of(change, struct reshard_change, change)->request;
	if (change->status != STATUS_OK) {
		fail_change(request, change);
		return;
	}
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_kv_str(&w, "StreamName", change->stream);
	write_kv_int(&w, "CurrentShardCount", change->have);
	write_kv_int(&w, "TargetShardCount", change->shards);
	write_kv_str(&w, "StreamARN", resolve_stream_arn(request->worker->server, &request->arena, change->stream));
	write_map_end(&w);
	request_ok(request, &body);
}

void ops_reshard_update_count(struct request *request)
{
	const struct update_shard_count_input *input = request->exchange->input;
	struct str name;
	if (!resolve_name(request, input->stream_name, input->stream_arn, &name))
		return;
	struct change *change = change_new(request, CHANGE_UPDATE_SHARD_COUNT, name, on_updated);
	change->shards = (uint32_t)input->target_shard_count.v; /* validated: 1 to 2^31 - 1 */
	change_send(request, change);
}
