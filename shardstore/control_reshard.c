/* control_reshard.c: SplitShard, MergeShards, UpdateShardCount: the rules, and the intent.
 *
 * Thread: control. The order of the checks is the order that clients see errors in (kinesis-behaviour 3.10, 3.11).
 *
 * Happy path of each:
 * - the rules, in order; the first that refuses gives status and cause
 * - the plan: which shards end, which are made, under which numbers
 * - one transaction: the plan as intent, the numbers used up, the stream UPDATING
 * - the new snapshot to every worker, the answer; control_reshard_run.c does the rest
 *
 * Failure modes: those of control_change.c. */
#include <assert.h>

#include "penstock/slog.h"
#include "shardstore/control.h"
#include "shardstore/reshard_plan.h"

#define DAY_MS INT64_C(86400000)
#define UPDATE_SHARDS_MAX 10000   /* AWS: of one stream by UpdateShardCount */
#define UPDATE_SHARDS_LAST 100000 /* also without limits: the last bound that AWS's own validation had */

static enum status refuse(struct change *change, enum status status, enum change_cause cause)
{
	change->cause = cause;
	return status;
}

static enum status refuse_limit(struct change *change, enum change_cause cause, int64_t have, int64_t limit, int64_t would)
{
	change->have = have;
	change->limit = limit;
	change->would = would;
	return refuse(change, STATUS_LIMIT_EXCEEDED, cause);
}

/* ---- What is there ---- */

int64_t control_count_shards(const struct catalogue *catalogue)
{
	int64_t shards = 0;

	for (uint32_t i = 0; i < catalogue->n_streams; i++) {
		const struct stream_info *stream = &catalogue->streams[i];
		uint32_t open = stream_open_shards(stream);
		bool changing = stream->status == STREAM_CREATING || stream->status == STREAM_UPDATING;

		shards += changing && stream->shard_target > open ? stream->shard_target : open;
	}
	return shards;
}

static enum status find_stream(struct control *control, struct change *change, const struct stream_info **out)
{
	const struct stream_info *stream = catalogue_stream(control->catalogue, change->stream);

	*out = stream;
	if (!stream)
		return refuse(change, STATUS_NOT_FOUND, CAUSE_NO_STREAM);
	if (stream->status == STREAM_ACTIVE)
		return STATUS_OK;
	change->state = stream->status;
	return refuse(change, STATUS_IN_USE, CAUSE_NOT_ACTIVE);
}

static enum status find_shard(struct change *change, const struct stream_info *stream, uint32_t number, const struct shard_info **out)
{
	*out = stream_shard(stream, number);
	if (*out)
		return STATUS_OK;
	change->shard = number;
	return refuse(change, STATUS_NOT_FOUND, CAUSE_NO_SHARD);
}

static enum status check_mode(struct change *change, const struct stream_info *stream)
{
	return stream->mode == MODE_ON_DEMAND ? refuse(change, STATUS_VALIDATION, CAUSE_ON_DEMAND) : STATUS_OK;
}

static enum status check_open(struct change *change, const struct shard_info *shard)
{
	if (!shard->closed)
		return STATUS_OK;
	change->shard = shard->key.shard;
	return refuse(change, STATUS_INVALID_ARGUMENT, CAUSE_SHARD_CLOSED);
}

/* ---- The intent ---- */

static enum status insert_intent(struct control_db *db, const struct shard_info *child)
{
	uint8_t first[16], last[16];

	control_db_hash_bytes(first, child->hash_first);
	control_db_hash_bytes(last, child->hash_last);
	return control_db_run(db, DB_INSERT_INTENT,
			      (struct db_value[]){DB_INT(child->key.stream), DB_INT(child->key.shard), DB_BYTES(first, 16),
						  DB_BYTES(last, 16), DB_INT(child->parent), DB_INT(child->adjacent)},
			      6, NULL);
}

/* UpdateShardCount is remembered for a day, and without a limit not at all: nothing else would bound
 * the rows. */
static enum status insert_update(struct control *control, uint64_t stream, int64_t now_ms)
{
	struct control_db *db = &control->db;
	enum status status;

	if (!control->limits.updates_per_day)
		return STATUS_OK;
	status = control_db_run(db, DB_DROP_UPDATES, (struct db_value[]){DB_INT(stream), DB_INT(now_ms - DAY_MS)}, 2, NULL);
	if (status)
		return status;
	return control_db_run(db, DB_INSERT_UPDATE, (struct db_value[]){DB_INT(stream), DB_INT(now_ms)}, 2, NULL);
}

static enum status write_intent(struct control *control, const struct change *change, const struct reshard_plan *plan, uint32_t target)
{
	struct control_db *db = &control->db;
	enum status status = control_db_begin(db);

	if (status)
		return status;
	status = control_db_run(db, DB_BEGIN_RESHARD,
				(struct db_value[]){DB_INT(STREAM_UPDATING), DB_INT(target), DB_INT(plan->next), DB_INT(plan->stream)}, 4,
				NULL);
	for (uint32_t i = 0; i < plan->n && !status; i++)
		status = insert_intent(db, &plan->children[i]);
	if (!status && change->kind == CHANGE_UPDATE_SHARD_COUNT)
		status = insert_update(control, plan->stream, control_wall_ms(control));
	if (!status)
		return control_db_commit(db);
	control_db_rollback(db);
	return status;
}

static enum status begin_plan(struct control *control, struct change *change, struct reshard_plan *plan, const struct stream_info *stream)
{
	int64_t next = 0;
	enum status status = control_check_room(control, change);

	if (!status)
		status = control_db_run(&control->db, DB_NEXT_SHARD, (struct db_value[]){DB_INT(stream->id)}, 1, &next);
	reshard_plan_init(plan, stream->id, (uint32_t)next);
	return status;
}

/* Closed shards are listed until their records have passed retention, and each change of the catalogue
 * reads all of them again (0.4 us for each). Shards of intents are on their way. */
static enum status check_all_shards(struct control *control, struct change *change, uint32_t added)
{
	int64_t limit = control->limits.all_shards, have = 0;
	enum status status;

	if (!limit || !added)
		return STATUS_OK;
	status = control_db_run(&control->db, DB_COUNT_INTENTS, NULL, 0, &have);
	if (status)
		return status;
	for (uint32_t i = 0; i < control->catalogue->n_streams; i++)
		have += control->catalogue->streams[i].n_shards;
	return have + added > limit ? refuse_limit(change, CAUSE_ALL_SHARDS_LIMIT, have, limit, added) : STATUS_OK;
}

/* Takes the plan. */
static enum status begin(struct control *control, struct change *change, struct reshard_plan *plan, uint32_t target)
{
	/* Shard numbers are 31 bits for every client. */
	enum status status = plan->next <= INT32_MAX ? check_all_shards(control, change, plan->n) : STATUS_INTERNAL;
	uint64_t id = plan->stream;

	if (!status)
		status = write_intent(control, change, plan, target);
	if (!status)
		slog(SLOG_INFO, "stream_updating", "stream=" STR_FMT " id=%llu shards=%u made=%u", STR_ARG(change->stream),
		     (unsigned long long)id, target, plan->n);
	reshard_plan_fini(plan);
	if (status)
		return status;
	control_add_reshard(control, id);
	return control_publish(control);
}

/* ---- SplitShard ---- */

static enum status check_split(struct control *control, struct change *change, const struct stream_info *stream,
			       const struct shard_info *shard)
{
	int64_t limit = control->limits.shards, have = limit ? control_count_shards(control->catalogue) : 0;
	uint128 hash = change->hash;
	enum status status = check_mode(change, stream);

	if (!status)
		status = check_open(change, shard);
	if (status)
		return status;
	if (limit && have + 1 > limit)
		return refuse_limit(change, CAUSE_SHARD_LIMIT, have, limit, 1);
	if (hash > shard->hash_first && hash - shard->hash_first > 1 && hash < shard->hash_last)
		return STATUS_OK;
	change->parent = *shard;
	return refuse(change, STATUS_INVALID_ARGUMENT, CAUSE_HASH_KEY);
}

enum status control_split_shard(struct control *control, struct change *change)
{
	const struct stream_info *stream;
	const struct shard_info *shard;
	struct reshard_plan plan;
	enum status status = find_stream(control, change, &stream);

	if (!status)
		status = find_shard(change, stream, change->shard, &shard);
	if (!status)
		status = check_split(control, change, stream, shard);
	if (!status)
		status = begin_plan(control, change, &plan, stream);
	if (status)
		return status;
	reshard_plan_split(&plan, shard, change->hash);
	return begin(control, change, &plan, stream_open_shards(stream) + 1);
}

/* ---- MergeShards ---- */

static enum status check_merge(struct change *change, const struct stream_info *stream, const struct shard_info *lower,
			       const struct shard_info *upper)
{
	enum status status = check_mode(change, stream);

	if (!status)
		status = check_open(change, lower);
	if (!status)
		status = check_open(change, upper);
	if (status)
		return status;
	/* The last key has none behind it: its sum would begin anew at 0. */
	if (lower->hash_last < ~(uint128)0 && lower->hash_last + 1 == upper->hash_first)
		return STATUS_OK;
	return refuse(change, STATUS_INVALID_ARGUMENT, CAUSE_NOT_ADJACENT);
}

enum status control_merge_shards(struct control *control, struct change *change)
{
	const struct stream_info *stream;
	const struct shard_info *lower, *upper;
	struct reshard_plan plan;
	enum status status = find_stream(control, change, &stream);

	if (!status)
		status = find_shard(change, stream, change->shard, &lower);
	if (!status)
		status = find_shard(change, stream, change->adjacent, &upper);
	if (!status)
		status = check_merge(change, stream, lower, upper);
	if (!status)
		status = begin_plan(control, change, &plan, stream);
	if (status)
		return status;
	reshard_plan_merge(&plan, lower, upper);
	return begin(control, change, &plan, stream_open_shards(stream) - 1);
}

/* ---- UpdateShardCount ---- */

static enum status check_target(struct control *control, struct change *change, int64_t open)
{
	int64_t limit = control->limits.shards, factor = control->limits.update_factor, target = change->shards;
	int64_t most = !limit ? UPDATE_SHARDS_LAST : limit < UPDATE_SHARDS_MAX ? limit : UPDATE_SHARDS_MAX;
	int64_t have = limit ? control_count_shards(control->catalogue) : 0;

	if (target > most)
		return refuse_limit(change, CAUSE_TARGET_LIMIT, open, most, target);
	if (factor && target > factor * open)
		return refuse_limit(change, CAUSE_SCALE_UP, open, factor, target);
	if (factor && factor * target < open)
		return refuse_limit(change, CAUSE_SCALE_DOWN, open, factor, target);
	if (limit && target > open && have - open + target > limit)
		return refuse_limit(change, CAUSE_SHARD_LIMIT, have, limit, target - open);
	return STATUS_OK;
}

/* Of the last day. A call that is dated ahead of the clock was made before the clock was set back. It
 * does not count, or a stream whose clock was wrong by days would be refused for days. */
static enum status check_updates(struct control *control, struct change *change, uint64_t stream)
{
	int64_t limit = control->limits.updates_per_day, have = 0;
	int64_t now_ms = control_wall_ms(control);
	enum status status;

	if (!limit)
		return STATUS_OK;
	/* Not those that lie ahead: they were made by a clock that was set back since. */
	status = control_db_run(&control->db, DB_COUNT_UPDATES,
				(struct db_value[]){DB_INT(stream), DB_INT(now_ms - DAY_MS), DB_INT(now_ms)}, 3, &have);
	if (!status && have >= limit)
		return refuse_limit(change, CAUSE_UPDATES_LIMIT, have, limit, have + 1);
	return status;
}

enum status control_update_shard_count(struct control *control, struct change *change)
{
	const struct stream_info *stream;
	struct reshard_plan plan;
	uint32_t open;
	enum status status = find_stream(control, change, &stream);

	assert(change->shards >= 1);
	if (!status)
		status = check_mode(change, stream);
	if (status)
		return status;
	open = stream_open_shards(stream);
	status = check_target(control, change, open);
	if (!status)
		status = check_updates(control, change, stream->id);
	if (!status)
		status = begin_plan(control, change, &plan, stream);
	if (status)
		return status;
	change->have = open;
	reshard_plan_uniform(&plan, stream, change->shards);
	return begin(control, change, &plan, change->shards);
}
