/* control_change.c: CreateStream, DeleteStream, RegisterStreamConsumer, DeregisterStreamConsumer.
 *
 * Thread: control. Checks look at the present snapshot, which is the file's content: only this thread changes either. The order of the
 * checks is the order that clients see errors in.
 *
 * Happy path of each:
 * - the rules, in order; the first that refuses gives status and cause
 * - one transaction
 * - the new snapshot to every worker, then the answer
 * - what is to happen later becomes a task (control_life.c): asked of the store only once the workers have been told
 *
 * Failure modes:
 * - the disk has reached the free-space floor: what needs room is refused, DISK_FULL with CAUSE_NO_ROOM; deletions go on
 * - the transaction fails: rolled back, INTERNAL with CAUSE_FAULT; nothing is changed. A deletion that a full disk refused is tried once
 *   more, in the room of the reserve (control_reserve.c)
 * - it is durable, but the snapshot cannot be read back: the same answer; the change shows with the next snapshot, and its task goes on */
#include <assert.h>
#include <string.h>

#include "penstock/slog.h"
#include "shardstore/control.h"

#define ON_DEMAND_SHARDS 4 /* what AWS gives a stream that names no count */
#define RETENTION_HOURS 24 /* the default, and what a CREATING stream shows */
#define MAX_RECORD_KIB 1024

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

enum status control_check_room(struct control *control, struct change *change)
{
	return store_has_room(control->store) ? STATUS_OK : refuse(change, STATUS_DISK_FULL, CAUSE_NO_ROOM);
}

/* The creation time of something of that name: now, or the beginning of the second behind the last one of that name. The name's row may
 * have gone (control_prune.c): then that one lies more than CONTROL_KEEP_MS behind the latest time that the clock ever showed. */
static int64_t creation_ms(struct control *control, int64_t last_s)
{
	int64_t now_ms = control_wall_ms(control), gone_s = (control->belief.highest_ms - CONTROL_KEEP_MS) / 1000;

	if (last_s < gone_s)
		last_s = gone_s;
	return now_ms / 1000 > last_s ? now_ms : (last_s + 1) * 1000;
}

/* ---- CreateStream ---- */

static enum status check_create(struct control *control, struct change *change)
{
	const struct catalogue *catalogue = control->catalogue;
	const struct limits *limits = &control->limits;
	int64_t shards = control_count_shards(catalogue), changing = 0;

	if (catalogue_stream(catalogue, change->stream))
		return refuse(change, STATUS_IN_USE, CAUSE_EXISTS);
	for (uint32_t i = 0; i < catalogue->n_streams; i++) {
		const struct stream_info *stream = &catalogue->streams[i];

		changing += stream->status == STREAM_CREATING || stream->status == STREAM_DELETING;
	}
	if (limits->shards && shards + change->shards > limits->shards)
		return refuse_limit(change, CAUSE_SHARD_LIMIT, shards, limits->shards, change->shards);
	if (limits->changing_streams && changing >= limits->changing_streams)
		return refuse_limit(change, CAUSE_CHANGING_LIMIT, changing, limits->changing_streams, changing + 1);
	return control_check_room(control, change);
}

static enum status insert_stream(struct control *control, const struct change *change, uint64_t *id)
{
	struct control_db *db = &control->db;
	struct db_value name = DB_STR(change->stream);
	int64_t last_s = -1, created_ms;
	enum status status = control_db_begin(db);

	if (status)
		return status;
	status = control_db_run(db, DB_STREAM_SECOND, &name, 1, &last_s);
	created_ms = creation_ms(control, last_s);
	if (status == STATUS_OK || status == STATUS_NOT_FOUND)
		status = control_db_run(db, DB_SET_STREAM_SECOND, (struct db_value[]){name, DB_INT(created_ms / 1000)}, 2, NULL);
	if (!status)
		status = control_db_run(db, DB_INSERT_STREAM,
					(struct db_value[]){name, DB_INT(STREAM_CREATING), DB_INT(change->mode), DB_INT(change->shards),
							    DB_INT(created_ms), DB_INT(RETENTION_HOURS), DB_INT(change->max_record_kib)},
					7, NULL);
	*id = control_db_last_id(db);
	if (!status)
		return control_db_commit(db);
	control_db_rollback(db);
	return status;
}

static enum status create_stream(struct control *control, struct change *change)
{
	enum status status;
	uint64_t id;

	assert(change->stream.n >= 1 && change->stream.n <= STREAM_NAME_MAX);
	if (change->shards == 0)
		change->shards = change->mode == MODE_ON_DEMAND ? ON_DEMAND_SHARDS : 1;
	if (change->max_record_kib == 0)
		change->max_record_kib = MAX_RECORD_KIB;
	status = check_create(control, change);
	if (status)
		return status;
	status = insert_stream(control, change, &id);
	if (status)
		return status;
	slog(SLOG_INFO, "stream_creating", "stream=" STR_FMT " id=%llu shards=%u", STR_ARG(change->stream), (unsigned long long)id,
	     change->shards);
	control_add_task(control, TASK_CREATE_STREAM, id, 0);
	return control_publish(control);
}

/* ---- DeleteStream ---- */

static bool has_consumers(const struct stream_info *stream)
{
	/* One that is DELETING is on its way out already: whoever deregisters and then deletes need not wait in between. */
	for (uint32_t i = 0; i < stream->n_consumers; i++)
		if (stream->consumers[i].status != CONSUMER_DELETING)
			return true;
	return false;
}

static enum status mark_deleting(struct control *control, uint64_t id)
{
	struct control_db *db = &control->db;
	enum status status = control_db_begin(db);

	if (status)
		return status;
	status = control_db_run(db, DB_SET_STREAM_STATUS, (struct db_value[]){DB_INT(STREAM_DELETING), DB_INT(id)}, 2, NULL);
	if (!status)
		status = control_db_run(db, DB_SET_CONSUMERS_STATUS, (struct db_value[]){DB_INT(CONSUMER_DELETING), DB_INT(id)}, 2, NULL);
	if (!status)
		return control_db_commit(db);
	control_db_rollback(db);
	return status;
}

static enum status delete_stream(struct control *control, struct change *change)
{
	const struct stream_info *stream = catalogue_stream(control->catalogue, change->stream);
	enum status status;
	uint64_t id;

	if (!stream)
		return refuse(change, STATUS_NOT_FOUND, CAUSE_NO_STREAM);
	if (stream->status == STREAM_DELETING)
		return STATUS_OK;
	if (!change->enforce_consumer_deletion && has_consumers(stream))
		return refuse(change, STATUS_IN_USE, CAUSE_HAS_CONSUMERS);
	id = stream->id;
	status = mark_deleting(control, id);
	if (status)
		return status;
	slog(SLOG_INFO, "stream_deleting", "stream=" STR_FMT " id=%llu", STR_ARG(change->stream), (unsigned long long)id);
	control_drop_creations(control, id, 0);
	control_drop_reshard(control, id);
	control_add_task(control, TASK_DELETE_STREAM, id, 0);
	return control_publish(control);
}

/* ---- RegisterStreamConsumer ---- */

static int64_t consumers_creating(const struct catalogue *catalogue)
{
	int64_t n = 0;

	for (uint32_t i = 0; i < catalogue->n_streams; i++)
		for (uint32_t k = 0; k < catalogue->streams[i].n_consumers; k++)
			n += catalogue->streams[i].consumers[k].status == CONSUMER_CREATING;
	return n;
}

static enum status check_register(struct control *control, struct change *change, const struct stream_info *stream)
{
	int64_t limit = control->limits.consumers, creating_limit = control->limits.creating_consumers, creating;

	if (!stream)
		return refuse(change, STATUS_NOT_FOUND, CAUSE_NO_STREAM);
	if (stream->status != STREAM_ACTIVE && stream->status != STREAM_UPDATING)
		return refuse(change, STATUS_IN_USE, CAUSE_NOT_ACTIVE);
	if (stream_consumer(stream, change->consumer))
		return refuse(change, STATUS_IN_USE, CAUSE_EXISTS);
	if (limit && stream->n_consumers >= limit)
		return refuse_limit(change, CAUSE_CONSUMER_LIMIT, stream->n_consumers, limit, stream->n_consumers + 1);
	creating = consumers_creating(control->catalogue);
	if (creating_limit && creating >= creating_limit)
		return refuse_limit(change, CAUSE_CREATING_LIMIT, creating, creating_limit, creating + 1);
	return control_check_room(control, change);
}

/* Fills *out as the consumer was made. */
static enum status insert_consumer(struct control *control, const struct change *change, uint64_t stream, struct consumer_info *out)
{
	struct control_db *db = &control->db;
	struct db_value id = DB_INT(stream), name = DB_STR(change->consumer);
	enum status status = control_db_begin(db);
	int64_t last_s = -1;

	if (status)
		return status;
	status = control_db_run(db, DB_CONSUMER_SECOND, (struct db_value[]){id, name}, 2, &last_s);
	*out = (struct consumer_info){.created_ms = creation_ms(control, last_s),
				      .status = control->transition_ns ? CONSUMER_CREATING : CONSUMER_ACTIVE};
	out->created_s = out->created_ms / 1000;
	memcpy(out->name, change->consumer.p, change->consumer.n);
	if (status == STATUS_OK || status == STATUS_NOT_FOUND)
		status = control_db_run(db, DB_SET_CONSUMER_SECOND, (struct db_value[]){id, name, DB_INT(out->created_s)}, 3, NULL);
	if (!status)
		status = control_db_run(db, DB_INSERT_CONSUMER,
					(struct db_value[]){id, name, DB_INT(out->status), DB_INT(out->created_s), DB_INT(out->created_ms)},
					5, NULL);
	out->id = control_db_last_id(db);
	if (!status)
		return control_db_commit(db);
	control_db_rollback(db);
	return status;
}

static enum status register_consumer(struct control *control, struct change *change)
{
	const struct stream_info *stream = catalogue_stream(control->catalogue, change->stream);
	enum status status;

	assert(change->consumer.n >= 1 && change->consumer.n <= STREAM_NAME_MAX);
	status = check_register(control, change, stream);
	if (status)
		return status;
	status = insert_consumer(control, change, stream->id, &change->registered);
	if (status)
		return status;
	if (change->registered.status == CONSUMER_CREATING)
		control_add_task(control, TASK_CREATE_CONSUMER, stream->id, change->registered.id);
	return control_publish(control);
}

/* ---- DeregisterStreamConsumer ---- */

static enum status deregister_consumer(struct control *control, struct change *change)
{
	const struct stream_info *stream = catalogue_stream(control->catalogue, change->stream);
	const struct consumer_info *consumer = stream ? stream_consumer(stream, change->consumer) : NULL;
	uint64_t stream_id, id;
	enum status status;

	if (!stream)
		return refuse(change, STATUS_NOT_FOUND, CAUSE_NO_STREAM);
	if (!consumer)
		return refuse(change, STATUS_NOT_FOUND, CAUSE_NO_CONSUMER);
	if (consumer->status == CONSUMER_DELETING)
		return STATUS_OK;
	stream_id = stream->id;
	id = consumer->id;
	/* A single statement is a transaction of its own. */
	status = control_db_run(&control->db, DB_SET_CONSUMER_STATUS,
				(struct db_value[]){DB_INT(CONSUMER_DELETING), DB_INT(id), DB_INT(consumer->status)}, 3, NULL);
	if (status)
		return status;
	control_drop_creations(control, stream_id, id);
	control_add_task(control, TASK_DELETE_CONSUMER, stream_id, id);
	return control_publish(control);
}

/* ---- The mail ---- */

static void on_answer(struct mail *mail)
{
	struct change *change = container_of(mail, struct change, mail);

	change->on_done(change);
}

void control_on_change(struct mail *mail)
{
	static enum status (*const carry_out[])(struct control *, struct change *) = {
		[CHANGE_CREATE_STREAM] = create_stream,
		[CHANGE_DELETE_STREAM] = delete_stream,
		[CHANGE_REGISTER_CONSUMER] = register_consumer,
		[CHANGE_DEREGISTER_CONSUMER] = deregister_consumer,
		[CHANGE_SPLIT_SHARD] = control_split_shard,
		[CHANGE_MERGE_SHARDS] = control_merge_shards,
		[CHANGE_UPDATE_SHARD_COUNT] = control_update_shard_count,
	};
	struct change *change = container_of(mail, struct change, mail);
	struct control *control = change->control;

	bool had_reserve = control->db.reserve.full;
	bool frees = change->kind == CHANGE_DELETE_STREAM || change->kind == CHANGE_DEREGISTER_CONSUMER;

	control_assert_thread(control);
	assert(change->kind <= CHANGE_UPDATE_SHARD_COUNT);
	change->cause = CAUSE_NONE;
	change->status = carry_out[change->kind](control, change);
	if (change->status && frees && had_reserve && !control->db.reserve.full) {
		change->cause = CAUSE_NONE;
		change->status = carry_out[change->kind](control, change);
	}
	if (change->status && change->cause == CAUSE_NONE) {
		change->status = STATUS_INTERNAL;
		change->cause = CAUSE_FAULT;
	}
	change->mail.run = on_answer;
	mailbox_post(change->reply_to, &change->mail);
}

void catalogue_change(struct control *control, struct outbox *from, struct change *change)
{
	change->control = control;
	change->mail.run = control_on_change;
	outbox_add(from, &control->box, &change->mail);
}
