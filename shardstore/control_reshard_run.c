/* control_reshard_run.c: a reshard after its answer: UPDATING becomes ACTIVE with other shards.
 *
 * Thread: control. The file alone says what is true: an UPDATING stream with its intent, or an ACTIVE one with the children. So a reshard
 * that is lost with the process is made again from the file at the next start, and doing it twice does no harm.
 *
 * Happy path, when the time of the transition is up:
 * - SEAL: the lane says where the parents end; from here on puts to them wait
 * - COMMIT: one transaction closes the parents at that end, adds the children, drops the intent, and makes the stream ACTIVE. Its second
 *   is the closing second, and the children's numbers begin in the next
 * - DONE: ADD_SHARDS to the lane; the snapshot to every worker; SWITCH_SHARDS to the lane. In this order, since whoever sees a child in
 *   a snapshot must find it at the lane, and whoever is told that a shard has ended, or that a record lies in a child, must find the
 *   children in the snapshot
 *
 * Intermediate shards of UpdateShardCount (reshard_plan.c) are closed by the same transaction, so there is one seal and one switch however
 * many generations there are, and no moment in which only half of it is done.
 *
 * Failure modes:
 * - the store or the file fails: said in the log, and tried again. While the file cannot be written, puts to the parents fail instead of
 *   waiting; they may not go on to the parents, since nobody knows whether the failed transaction is on the disk after all
 * - the stream's log was found damaged and takes no records: its true end is not known, so the intent is given up, and it is ACTIVE as it
 * was
 * - the stream is deleted meanwhile: the reshard ends with the store's answer, and nothing is written
 * - killed before COMMIT: the parents are open, and the next start begins anew; killed behind it: recovery opens the children */
#include <assert.h>
#include <stdlib.h>

#include "penstock/slog.h"
#include "shardstore/control.h"
#include "shardstore/reshard_plan.h"

#define RETRY_NS UINT64_C(500000000) /* puts fail meanwhile: they shall go on within a second of room on the disk */

struct reshard {
	struct list link; /* of control->reshards */
	struct control *control;
	uint64_t stream;
	enum { STEP_SEAL, STEP_COMMIT, STEP_DONE } step;
	uint64_t at_ns; /* when the step may be taken */
	unsigned asked; /* requests that the store has */
	bool refuse;    /* the file could not be written: puts must not wait */
	bool dropped;   /* the stream is being deleted: it ends with the store's answer */
	bool given_up;  /* the log cannot be resharded */
	struct store_admin seal, add, change_over;
	struct reshard_plan plan;
	struct shard_info *parents; /* lent to SEAL and SWITCH_SHARDS, like the plan's children to ADD_SHARDS */
	uint32_t n_parents;
};

static struct reshard *reshard_of(struct list *node) { return container_of(node, struct reshard, link); }

/* ---- Life ---- */

void control_add_reshard(struct control *control, uint64_t stream)
{
	struct reshard *reshard = xcalloc(1, sizeof(*reshard));

	reshard->control = control;
	reshard->stream = stream;
	reshard->at_ns = io_mono_ns(control->io) + control->transition_ns;
	list_append(&control->reshards, &reshard->link);
}

static void free_reshard(struct reshard *reshard)
{
	assert(reshard->asked == 0);
	list_remove(&reshard->link);
	reshard_plan_fini(&reshard->plan);
	free(reshard->parents);
	free(reshard);
}

void control_drop_reshard(struct control *control, uint64_t stream)
{
	LIST_EACH (node, &control->reshards) {
		struct reshard *reshard = reshard_of(node);

		if (reshard->stream != stream)
			continue;
		reshard->dropped = true;
		if (!reshard->asked)
			free_reshard(reshard);
	}
}

void control_free_reshards(struct control *control)
{
	LIST_EACH (node, &control->reshards)
		free_reshard(reshard_of(node));
}

static void say_failed(struct reshard *reshard, const char *doing, enum status status)
{
	slog(SLOG_ERROR, "reshard_failed", "stream=%llu doing=%s status=%s advice=\"tried again\"", (unsigned long long)reshard->stream,
	     doing, status_name(status));
	reshard->at_ns = io_mono_ns(reshard->control->io) + RETRY_NS;
}

/* ---- The plan, as the file has it ---- */

static enum status load_plan(struct reshard *reshard)
{
	struct control_db *db = &reshard->control->db;
	sqlite3_stmt *row = control_db_query(db, DB_LOAD_INTENT, (struct db_value[]){DB_INT(reshard->stream)}, 1);
	enum status status = STATUS_INTERNAL;

	reshard_plan_fini(&reshard->plan);
	while (row && (status = control_db_next(db, row)) == STATUS_OK) {
		uint32_t number = (uint32_t)sqlite3_column_int64(row, 0);

		if (reshard->plan.n == 0)
			reshard_plan_init(&reshard->plan, reshard->stream, number);
		assert(number == reshard->plan.next); /* one transaction wrote them all, dense */
		reshard_plan_add(&reshard->plan, (uint32_t)sqlite3_column_int64(row, 3), (uint32_t)sqlite3_column_int64(row, 4),
				 control_db_hash(row, 1), control_db_hash(row, 2));
	}
	return status == STATUS_NOT_FOUND ? STATUS_OK : STATUS_INTERNAL;
}

static enum status load(struct reshard *reshard)
{
	const struct stream_info *stream = catalogue_stream_by_id(reshard->control->catalogue, reshard->stream);
	enum status status = stream ? load_plan(reshard) : control_publish(reshard->control);

	free(reshard->parents);
	reshard->parents = NULL;
	if (status || !stream)
		return STATUS_INTERNAL;
	reshard->parents = reshard_plan_parents(&reshard->plan, stream, &reshard->n_parents);
	return reshard->parents ? STATUS_OK : STATUS_CORRUPT;
}

/* ---- The store's part ---- */

static void on_answer(struct reshard *reshard)
{
	control_assert_thread(reshard->control);
	reshard->control->in_flight--;
	reshard->asked--;
	if (!reshard->asked && (reshard->dropped || reshard->step == STEP_DONE))
		free_reshard(reshard);
}

static void on_sealed(struct store_admin *admin)
{
	struct reshard *reshard = container_of(admin, struct reshard, seal);

	if (admin->status == STATUS_OK) {
		reshard->step = STEP_COMMIT;
		reshard->at_ns = reshard->refuse ? io_mono_ns(reshard->control->io) + RETRY_NS : 0;
	} else if (admin->status == STATUS_CORRUPT) {
		reshard->given_up = true;
		reshard->at_ns = 0;
	} else if (!reshard->dropped) {
		say_failed(reshard, "seal", admin->status);
	}
	on_answer(reshard);
}

static void on_added(struct store_admin *admin) { on_answer(container_of(admin, struct reshard, add)); }
static void on_changed_over(struct store_admin *admin) { on_answer(container_of(admin, struct reshard, change_over)); }

static void ask(struct reshard *reshard, struct store_admin *admin)
{
	struct control *control = reshard->control;

	admin->reply_to = &control->box;
	admin->stream_id = reshard->stream;
	reshard->asked++;
	control->in_flight++;
	store_admin(control->store, &control->outbox, admin);
}

/* ---- The steps ---- */

static void do_seal(struct reshard *reshard)
{
	/* A file that just failed would fail here too; the lane must hear of it, and the plan is at hand. */
	enum status status = reshard->refuse ? STATUS_OK : load(reshard);

	if (status) {
		say_failed(reshard, "plan", status);
		return;
	}
	if (reshard->n_parents == 0) { /* the shards are what they shall be */
		reshard->step = STEP_COMMIT;
		reshard->at_ns = 0;
		return;
	}
	reshard->seal = (struct store_admin){.kind = ADMIN_SEAL,
					     .on_done = on_sealed,
					     .shards = reshard->parents,
					     .n_shards = reshard->n_parents,
					     .refuse = reshard->refuse};
	ask(reshard, &reshard->seal);
}

static enum status close_parent(struct control_db *db, const struct shard_info *parent)
{
	return control_db_run(db, DB_CLOSE_SHARD,
			      (struct db_value[]){DB_INT(parent->end_index), DB_INT(parent->closed_s), DB_INT(parent->closed_ms),
						  DB_INT(parent->key.stream), DB_INT(parent->key.shard)},
			      5, NULL);
}

static enum status end_update(struct reshard *reshard)
{
	struct control_db *db = &reshard->control->db;
	struct db_value stream = DB_INT(reshard->stream);
	enum status status = control_db_run(db, DB_DROP_INTENT, &stream, 1, NULL);

	if (status)
		return status;
	return control_db_run(db, DB_SET_STREAM_STATUS, (struct db_value[]){DB_INT(STREAM_ACTIVE), stream}, 2, NULL);
}

static enum status write_children(struct reshard *reshard)
{
	struct control_db *db = &reshard->control->db;
	enum status status = control_db_begin(db);

	if (status)
		return status;
	for (uint32_t i = 0; i < reshard->n_parents && !status; i++)
		status = close_parent(db, &reshard->parents[i]);
	for (uint32_t i = 0; i < reshard->plan.n && !status; i++)
		status = control_db_insert_shard(db, &reshard->plan.children[i]);
	if (!status)
		status = end_update(reshard);
	if (!status)
		return control_db_commit(db);
	control_db_rollback(db);
	return status;
}

/* The children are in the file: tells the lane and the workers, in the order that the head of this file gives. */
static void change_over(struct reshard *reshard)
{
	struct control *control = reshard->control;

	reshard->add = (struct store_admin){
		.kind = ADMIN_ADD_SHARDS, .on_done = on_added, .shards = reshard->plan.children, .n_shards = reshard->plan.n};
	reshard->change_over = (struct store_admin){
		.kind = ADMIN_SWITCH_SHARDS, .on_done = on_changed_over, .shards = reshard->parents, .n_shards = reshard->n_parents};
	ask(reshard, &reshard->add);
	outbox_flush(&control->outbox);
	/* A snapshot that cannot be read was said in the log; the next change shows the children. */
	control_publish(control);
	ask(reshard, &reshard->change_over);
}

static void do_commit(struct reshard *reshard)
{
	struct control *control = reshard->control;

	reshard_plan_date(&reshard->plan, reshard->parents, reshard->n_parents, control_wall_ms(control));
	if (write_children(reshard)) {
		say_failed(reshard, "commit", STATUS_INTERNAL);
		reshard->refuse = reshard->n_parents > 0;
		reshard->step = STEP_SEAL;
		if (reshard->refuse)
			do_seal(reshard);
		return;
	}
	slog(SLOG_INFO, "stream_active", "stream=%llu closed=%u made=%u", (unsigned long long)reshard->stream, reshard->n_parents,
	     reshard->plan.n);
	reshard->step = STEP_DONE;
	if (reshard->n_parents) {
		change_over(reshard);
	} else {
		control_publish(control);
		free_reshard(reshard);
	}
}

/* The intent is given up. */
static void give_up(struct reshard *reshard)
{
	struct control_db *db = &reshard->control->db;
	enum status status = control_db_begin(db);

	if (!status) {
		status = end_update(reshard);
		if (!status)
			status = control_db_commit(db);
		else
			control_db_rollback(db);
	}
	if (status) {
		say_failed(reshard, "give_up", status);
		return;
	}
	slog(SLOG_ERROR, "reshard_given_up", "stream=%llu reason=\"its log is damaged and takes no records; the shards stay as they are\"",
	     (unsigned long long)reshard->stream);
	control_publish(reshard->control);
	free_reshard(reshard);
}

/* One step; returns when it wants its next. */
static uint64_t step(struct reshard *reshard, uint64_t now_ns)
{
	if (reshard->asked || reshard->step == STEP_DONE)
		return UINT64_MAX;
	if (reshard->at_ns > now_ns)
		return reshard->at_ns;
	if (reshard->given_up)
		give_up(reshard);
	else if (reshard->step == STEP_SEAL)
		do_seal(reshard);
	else
		do_commit(reshard);
	return now_ns; /* look again: it may have failed, or be at its next step already */
}

uint64_t control_run_reshards(struct control *control, uint64_t now_ns)
{
	uint64_t due_ns = UINT64_MAX;

	LIST_EACH (node, &control->reshards) {
		uint64_t next_ns = step(reshard_of(node), now_ns);

		due_ns = next_ns < due_ns ? next_ns : due_ns;
	}
	return due_ns;
}
