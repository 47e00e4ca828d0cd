/* control_life.c: what goes on after a change was answered: CREATING becomes ACTIVE, DELETING goes.
 *
 * Thread: control. A task stands for one stream or consumer on its way; the file alone says what is true, so that a task lost with the
 * process is made again from it at the next start (control_resume), and doing a step twice does no harm.
 *
 *   CREATE_STREAM    time passes -> the store opens it -> shards and ACTIVE in one transaction
 *   DELETE_STREAM    the store closes it (leases end, files go) and time passes -> its rows go
 *   CREATE_CONSUMER  time passes -> ACTIVE
 *   DELETE_CONSUMER  the store ends its leases and time passes -> its row goes
 *
 * Happy path, each turn of the thread:
 * - a task whose step with the store is due is asked, once; the store's answer is mail
 * - a task whose time is up and that needs no more of the store is finished: a transaction, a snapshot
 *
 * Failure modes:
 * - the store or the file fails: said in the log, and tried again a second later
 * - a stream is deleted while the store opens it: closing waits for the opening, else the lane would get them in the wrong order
 * - killed between the store's opening and the transaction: the stream is CREATING still, and is opened again */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/slog.h"
#include "shardstore/control.h"

#define RETRY_NS UINT64_C(1000000000) /* long enough not to fill the log, short enough for a disk that has room again */
#define START_BEFORE_S 2              /* AWS's shards begin 2 to 7 s before the CreateStream call */

struct task {
	struct list link; /* of control->tasks */
	struct control *control;
	enum task_kind kind;
	uint64_t stream, consumer; /* ids */
	uint64_t due_ns;           /* when the object may change */
	uint64_t ask_ns;           /* when the store may be asked */
	bool asked;                /* admin is in flight */
	bool stored;               /* the store has done its part */
	bool dropped;              /* its object is being deleted: it ends with the store's answer */
	struct store_admin admin;
	struct stream_info opening; /* CREATE_STREAM: what the store was lent; its shards are the task's */
};

static struct task *task_of(struct list *node) { return container_of(node, struct task, link); }

void control_add_task(struct control *control, enum task_kind kind, uint64_t stream, uint64_t consumer)
{
	struct task *task = xcalloc(1, sizeof(*task));
	uint64_t now_ns = io_mono_ns(control->io);

	task->control = control;
	task->kind = kind;
	task->stream = stream;
	task->consumer = consumer;
	task->due_ns = now_ns + control->transition_ns;
	task->ask_ns = kind == TASK_CREATE_STREAM ? task->due_ns : now_ns;
	task->stored = kind == TASK_CREATE_CONSUMER; /* leases are made when somebody subscribes */
	list_append(&control->tasks, &task->link);
}

static void free_task(struct task *task)
{
	assert(!task->asked);
	list_remove(&task->link);
	free(task->opening.shards);
	free(task);
}

void control_free_tasks(struct control *control)
{
	LIST_EACH (node, &control->tasks)
		free_task(task_of(node));
}

/* Does it make that consumer, or, with consumer 0, that stream or any consumer of it? */
static bool is_creation(const struct task *task, uint64_t stream, uint64_t consumer)
{
	if (task->stream != stream || (task->kind != TASK_CREATE_STREAM && task->kind != TASK_CREATE_CONSUMER))
		return false;
	return !consumer || task->consumer == consumer;
}

void control_drop_creations(struct control *control, uint64_t stream, uint64_t consumer)
{
	LIST_EACH (node, &control->tasks) {
		struct task *task = task_of(node);

		if (!is_creation(task, stream, consumer))
			continue;
		task->dropped = true;
		if (!task->asked)
			free_task(task);
	}
}

void control_resume(struct control *control)
{
	for (uint32_t i = 0; i < control->catalogue->n_streams; i++) {
		const struct stream_info *stream = &control->catalogue->streams[i];

		if (stream->status == STREAM_CREATING)
			control_add_task(control, TASK_CREATE_STREAM, stream->id, 0);
		if (stream->status == STREAM_UPDATING)
			control_add_reshard(control, stream->id);
		if (stream->status == STREAM_DELETING)
			control_add_task(control, TASK_DELETE_STREAM, stream->id, 0);
		for (uint32_t k = 0; k < stream->n_consumers && stream->status != STREAM_DELETING; k++) {
			const struct consumer_info *consumer = &stream->consumers[k];

			if (consumer->status == CONSUMER_CREATING)
				control_add_task(control, TASK_CREATE_CONSUMER, stream->id, consumer->id);
			if (consumer->status == CONSUMER_DELETING)
				control_add_task(control, TASK_DELETE_CONSUMER, stream->id, consumer->id);
		}
	}
}

/* ---- The store's part ---- */

/* The stream with its shards, as it will be. */
static void plan_stream(struct task *task, const struct stream_info *stream)
{
	uint32_t n = stream->shard_target;
	int64_t now_ms = control_wall_ms(task->control);
	int64_t opened_ms = stream->created_ms < now_ms ? stream->created_ms : now_ms;

	free(task->opening.shards);
	task->opening = *stream;
	task->opening.status = STREAM_ACTIVE;
	task->opening.n_shards = n;
	task->opening.shards = xcalloc(n, sizeof(*task->opening.shards));
	task->opening.n_consumers = 0;
	task->opening.consumers = NULL;
	for (uint32_t i = 0; i < n; i++)
		task->opening.shards[i] = (struct shard_info){
			.key = {.stream = stream->id, .shard = i, .created_s = stream->created_ms / 1000 - START_BEFORE_S},
			.hash_first = hash_uniform_start(i, n),
			.hash_last = i + 1 < n ? hash_uniform_start(i + 1, n) - 1 : ~(uint128)0,
			.parent = NO_PARENT,
			.adjacent = NO_PARENT,
			.opened_ms = opened_ms,
		};
}

static void on_store_done(struct store_admin *admin)
{
	struct task *task = container_of(admin, struct task, admin);
	struct control *control = task->control;
	bool gone = admin->status == STATUS_NOT_FOUND && task->kind != TASK_CREATE_STREAM; /* what is not there needs no closing */

	control_assert_thread(control);
	control->in_flight--;
	task->asked = false;
	if (task->dropped) {
		free_task(task);
		return;
	}
	task->stored = admin->status == STATUS_OK || gone;
	if (task->stored)
		return;
	slog(SLOG_ERROR, "transition_failed", "stream=%llu doing=%s status=%s advice=\"tried again\"", (unsigned long long)task->stream,
	     task->kind == TASK_CREATE_STREAM   ? "open"
	     : task->kind == TASK_DELETE_STREAM ? "close"
						: "drop_consumer",
	     status_name(admin->status));
	task->ask_ns = io_mono_ns(control->io) + RETRY_NS;
}

/* Is that stream with the store just now, being opened? */
static bool is_opening(const struct control *control, uint64_t stream)
{
	LIST_EACH (node, &control->tasks) {
		const struct task *task = task_of(node);

		if (task->kind == TASK_CREATE_STREAM && task->stream == stream && task->asked)
			return true;
	}
	return false;
}

static void ask_store(struct task *task, uint64_t now_ns)
{
	struct control *control = task->control;
	const struct stream_info *stream = catalogue_stream_by_id(control->catalogue, task->stream);
	struct store_admin *admin = &task->admin;

	if (task->kind == TASK_CREATE_STREAM && !stream) {
		/* Its snapshot could not be read when it was inserted. */
		control_publish(control);
		task->ask_ns = now_ns + RETRY_NS;
		return;
	}
	*admin = (struct store_admin){.reply_to = &control->box, .on_done = on_store_done, .stream_id = task->stream};
	switch (task->kind) {
	case TASK_CREATE_STREAM:
		plan_stream(task, stream);
		admin->kind = ADMIN_OPEN_STREAM;
		admin->stream = &task->opening;
		admin->id = task->stream;
		break;
	case TASK_DELETE_STREAM:
		admin->kind = ADMIN_CLOSE_STREAM;
		admin->id = task->stream;
		break;
	case TASK_DELETE_CONSUMER:
		admin->kind = ADMIN_DROP_CONSUMER;
		admin->id = task->consumer;
		break;
	case TASK_CREATE_CONSUMER:
		break; /* has no part of the store's: it begins as `stored` */
	}
	task->asked = true;
	control->in_flight++;
	store_admin(control->store, &control->outbox, admin);
}

/* ---- The end of a transition ---- */

static enum status activate_stream(struct control_db *db, const struct stream_info *stream)
{
	enum status status = control_db_begin(db);

	if (status)
		return status;
	for (uint32_t i = 0; i < stream->n_shards && !status; i++)
		status = control_db_insert_shard(db, &stream->shards[i]);
	if (!status)
		status = control_db_run(db, DB_SET_NEXT_SHARD, (struct db_value[]){DB_INT(stream->n_shards), DB_INT(stream->id)}, 2, NULL);
	if (!status)
		status = control_db_run(db, DB_SET_STREAM_STATUS, (struct db_value[]){DB_INT(STREAM_ACTIVE), DB_INT(stream->id)}, 2, NULL);
	if (!status)
		return control_db_commit(db);
	control_db_rollback(db);
	return status;
}

/* The transaction that ends it. Rows of what hangs on a deleted stream go with it (ON DELETE CASCADE). */
static enum status write_end(struct task *task)
{
	struct control_db *db = &task->control->db;
	struct db_value stream = DB_INT(task->stream), consumer = DB_INT(task->consumer);

	switch (task->kind) {
	case TASK_CREATE_STREAM:
		return activate_stream(db, &task->opening);
	case TASK_DELETE_STREAM:
		return control_db_run(db, DB_DELETE_STREAM, &stream, 1, NULL);
	case TASK_CREATE_CONSUMER:
		return control_db_run(db, DB_SET_CONSUMER_STATUS,
				      (struct db_value[]){DB_INT(CONSUMER_ACTIVE), consumer, DB_INT(CONSUMER_CREATING)}, 3, NULL);
	case TASK_DELETE_CONSUMER:
		return control_db_run(db, DB_DELETE_CONSUMER, &consumer, 1, NULL);
	}
	return STATUS_INTERNAL;
}

static void finish(struct task *task, uint64_t now_ns)
{
	struct control *control = task->control;
	static const char *const events[] = {
		[TASK_CREATE_STREAM] = "stream_active",
		[TASK_DELETE_STREAM] = "stream_deleted",
		[TASK_CREATE_CONSUMER] = "consumer_active",
		[TASK_DELETE_CONSUMER] = "consumer_deleted",
	};

	if (write_end(task)) {
		task->due_ns = now_ns + RETRY_NS;
		return;
	}
	if (task->consumer)
		slog(SLOG_INFO, events[task->kind], "stream=%llu consumer=%llu", (unsigned long long)task->stream,
		     (unsigned long long)task->consumer);
	else
		slog(SLOG_INFO, events[task->kind], "stream=%llu", (unsigned long long)task->stream);
	/* A snapshot that cannot be read was said in the log; the next change shows this one too. */
	control_publish(control);
	free_task(task);
}

/* One task's turn; returns when it wants its next (UINT64_MAX: when the store has answered, or another task). */
static uint64_t step(struct task *task, uint64_t now_ns)
{
	uint64_t next_ns;

	if (task->asked)
		return UINT64_MAX;
	next_ns = task->stored ? task->due_ns : task->ask_ns;
	if (next_ns > now_ns)
		return next_ns;
	if (task->stored) {
		finish(task, now_ns);
		return now_ns; /* look at all of them again: it may have failed, or let another one go on */
	}
	if (task->kind == TASK_DELETE_STREAM && is_opening(task->control, task->stream))
		return UINT64_MAX;
	ask_store(task, now_ns);
	return task->asked ? UINT64_MAX : task->ask_ns;
}

uint64_t control_run_tasks(struct control *control, uint64_t now_ns)
{
	uint64_t due_ns = UINT64_MAX;

	LIST_EACH (node, &control->tasks) {
		uint64_t next_ns = step(task_of(node), now_ns);

		due_ns = next_ns < due_ns ? next_ns : due_ns;
	}
	return due_ns;
}
