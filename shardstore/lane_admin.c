/* lane_admin.c: what the control thread asks of a lane: open and close a stream, drop a consumer, let go what retention has passed; and the
 * chores that a log needs beside its commits (space ahead, sweeping).
 *
 * - open: a syncer makes directory and log; back at the lane the stream is in the table, and only then it is answered.
 * - close: the stream leaves the table at once, its leases end, what gathers fails; when nothing of it is at a syncer any more, a syncer
 * deletes the directory; then it is answered.
 * - retain: reads keep to the horizon from now on; when no group is in flight the index forgets the segments before it, and a syncer
 * unlinks them.
 * - space ahead: wanted after a group or a chore, at most one at a time; one that failed is wanted again after the next group.
 *
 * - a stream that was not written to for a minute gives its space ahead back, with a RETAIN.
 *
 * Failure: a close whose directory cannot be deleted answers IO, DISK_FULL or NO_FILES and says so in the log; the stream is gone from the
 * table; asked again, a syncer deletes what is left. A sweep that is refused goes on with the next RETAIN.
 *
 * Threads: the lane's; run_open, run_destroy, run_remove, run_sweep, run_rest and run_prepare a syncer's. */
#include <assert.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "shardstore/lane.h"

static void admin_replied(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	admin->on_done(admin);
}

void lane_admin_answer(struct lane *lane, struct store_admin *admin, enum status status)
{
	admin->status = status;
	admin->mail.run = admin_replied;
	outbox_add(&lane->outbox, admin->reply_to, &admin->mail);
}

/* From a syncer back to the lane. */
static void send_back(struct store_admin *admin, void (*run)(struct mail *mail))
{
	admin->mail.run = run;
	mailbox_post(&admin->lane->box, &admin->mail);
}

static void ask_syncer(struct store_admin *admin, void (*run)(struct job *job))
{
	admin->job.run = run;
	lane_job(admin->lane, &admin->lane->store->syncers, &admin->job);
}

/* ---- Open ---- */

static void open_done(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	struct lane *lane = admin->lane;
	struct lane_stream *stream = admin->state;
	lane->jobs--;
	if (stream->log) {
		lane_insert(lane, stream);
		lane_stream_idle(stream);
	} else {
		lane_stream_free(stream);
	}
	lane_admin_answer(lane, admin, admin->status);
}

static void run_open(struct job *job)
{
	struct store_admin *admin = container_of(job, struct store_admin, job);
	struct lane_stream *stream = admin->state;
	char *why = NULL;
	admin->status = stream_attach(stream, &why);
	if (admin->status)
		slog(SLOG_ERROR, "stream_not_opened", "path=%s why=\"%s\"", stream->path, why ? why : "");
	free(why);
	send_back(admin, open_done);
}

static void open_stream(struct lane *lane, struct store_admin *admin)
{
	if (lane_find(lane, admin->stream->id)) {
		lane_admin_answer(lane, admin, STATUS_OK);
	} else {
		admin->state = lane_stream_new(lane, admin->stream, lane->store->streams_dir);
		ask_syncer(admin, run_open);
	}
}

/* ---- Close ---- */

static void destroy_done(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	struct lane_stream *stream = admin->state;
	admin->lane->jobs--;
	if (admin->status)
		slog(SLOG_ERROR, "directory_left_over", "path=%s status=%s", stream->path, status_name(admin->status));
	stream->log = NULL;
	lane_stream_free(stream);
	lane_admin_answer(admin->lane, admin, admin->status);
}

static void run_destroy(struct job *job)
{
	struct store_admin *admin = container_of(job, struct store_admin, job);
	struct lane_stream *stream = admin->state;
	admin->status = streamlog_destroy(stream->log);
	send_back(admin, destroy_done);
}

/* A directory without a stream: an earlier close could not delete all of it. */
struct left_over {
	struct io *io;
	char *path;
};

static void remove_done(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	struct left_over *left = admin->state;
	admin->lane->jobs--;
	free(left->path);
	free(left);
	lane_admin_answer(admin->lane, admin, admin->status);
}

static void run_remove(struct job *job)
{
	struct store_admin *admin = container_of(job, struct store_admin, job);
	struct left_over *left = admin->state;
	admin->status = streamlog_remove(left->io, left->path);
	send_back(admin, remove_done);
}

static void remove_left_over(struct lane *lane, struct store_admin *admin)
{
	struct left_over *left = xmalloc(sizeof(*left));
	left->io = lane->io;
	left->path = lane_stream_path(lane->store->streams_dir, admin->stream_id);
	admin->state = left;
	ask_syncer(admin, run_remove);
}

static void close_stream(struct lane *lane, struct store_admin *admin)
{
	struct lane_stream *stream = lane_find(lane, admin->stream_id);
	if (!stream) {
		remove_left_over(lane, admin);
		return;
	}
	if (streamlog_readonly(stream->log))
		metric_add(METRIC_streams_damaged, -1);
	stream->closing = true;
	lane_remove(lane, stream);
	for (uint32_t i = 0; i < stream->n_shards; i++)
		lane_leases_end(stream->shards[i], LEASE_STREAM_GONE);
	lane_refuse_waiting(stream, STATUS_NOT_FOUND);
	list_remove(&stream->dirty);
	group_fail(stream->open, STATUS_NOT_FOUND);
	lane_seal_cancel(stream);
	fifo_push(&stream->admins, &admin->mail);
	lane_stream_idle(stream);
}

/* ---- Retention ---- */

static void sweep_done(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	struct lane_stream *stream = admin->state;
	admin->lane->jobs--;
	stream->sweeping = false;
	if (admin->status == STATUS_IO)
		lane_poison(stream, "the files of the log could not be trimmed");
	lane_admin_answer(admin->lane, admin, admin->status);
	lane_stream_idle(stream);
}

static void run_sweep(struct job *job)
{
	struct store_admin *admin = container_of(job, struct store_admin, job);
	struct lane_stream *stream = admin->state;
	admin->status = streamlog_sweep(stream->log);
	store_check_space(stream->lane->store, true);
	send_back(admin, sweep_done);
}

static void run_rest(struct job *job)
{
	struct store_admin *admin = container_of(job, struct store_admin, job);
	struct lane_stream *stream = admin->state;
	admin->status = streamlog_rest(stream->log);
	send_back(admin, sweep_done);
}

static void retain(struct lane *lane, struct store_admin *admin)
{
	struct lane_stream *stream = lane_find(lane, admin->stream_id);
	if (!stream) {
		lane_admin_answer(lane, admin, STATUS_NOT_FOUND);
		return;
	}
	/* It falls when the clock was set back: what is still there is read again. */
	stream->horizon_ms = admin->horizon_ms;
	fifo_push(&stream->admins, &admin->mail);
	lane_stream_idle(stream);
}

/* Segments in one pass: between two of them the control thread looks at its clocks again. */
#define TRIM_AT_ONCE 1

static void trim(struct lane_stream *stream, struct store_admin *admin)
{
	uint64_t point = streamlog_trim_point(stream->log, stream->horizon_ms, TRIM_AT_ONCE);
	lane_expire_shards(stream, admin->expired_ms);
	for (uint32_t i = 0; i < stream->n_shards; i++)
		index_drop_below(stream->shards[i], point);
	admin->more = streamlog_trim_point(stream->log, stream->horizon_ms, UINT32_MAX) > point;
	streamlog_trim(stream->log, stream->horizon_ms, TRIM_AT_ONCE);
	bool sweep = streamlog_wants_sweep(stream->log);
	if (!sweep && (stream->preparing || !streamlog_wants_rest(stream->log))) {
		lane_admin_answer(stream->lane, admin, STATUS_OK);
		return;
	}
	stream->sweeping = true;
	admin->state = stream;
	ask_syncer(admin, sweep ? run_sweep : run_rest);
}

/* ---- Space ahead ---- */

static void run_admins(struct lane_stream *stream);

static void prepare_done(struct mail *mail)
{
	struct lane_stream *stream = container_of(mail, struct lane_stream, prepare_mail);
	stream->lane->jobs--;
	stream->preparing = false;
	if (stream->prepare_status == STATUS_IO)
		lane_poison(stream, "space ahead could not be written");
	if (stream->prepare_status == STATUS_OK && !stream->closing)
		lane_want_prepare(stream);
	run_admins(stream); /* last: it may hand the stream to a syncer */
}

static void run_prepare(struct job *job)
{
	struct lane_stream *stream = container_of(job, struct lane_stream, prepare_job);
	stream->prepare_status = streamlog_prepare(stream->log);
	stream->prepare_mail.run = prepare_done;
	mailbox_post(&stream->lane->box, &stream->prepare_mail);
}

void lane_want_prepare(struct lane_stream *stream)
{
	if (stream->preparing || stream->closing || stream->refuses || stream->lane->stopping || !streamlog_wants_prepare(stream->log))
		return;
	stream->preparing = true;
	stream->prepare_job.run = run_prepare;
	lane_job(stream->lane, &stream->lane->store->syncers, &stream->prepare_job);
}

/* ---- What waited for quiet ---- */

/* Everything but one CLOSE is answered; that one takes the log with it. */
static void finish_closing(struct lane_stream *stream)
{
	struct store_admin *close = NULL;
	struct mail *mail;
	while ((mail = fifo_pop(&stream->admins))) {
		struct store_admin *admin = container_of(mail, struct store_admin, mail);
		if (admin->kind == ADMIN_CLOSE_STREAM)
			close = admin;
		else
			lane_admin_answer(stream->lane, admin, STATUS_NOT_FOUND);
	}
	assert(close);
	close->state = stream;
	ask_syncer(close, run_destroy);
}

static void run_admins(struct lane_stream *stream)
{
	if (stream->flight || stream->sweeping)
		return;
	if (stream->closing) {
		if (!stream->preparing && stream->admins.head)
			finish_closing(stream);
		return;
	}
	while (stream->admins.head && !stream->sweeping)
		trim(stream, container_of(fifo_pop(&stream->admins), struct store_admin, mail));
}

void lane_stream_idle(struct lane_stream *stream)
{
	lane_seal_settle(stream);
	lane_want_prepare(stream);
	run_admins(stream);
}

void lane_run_admin(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	struct lane *lane = admin->lane;
	struct lane_stream *stream;
	if (lane->stopping) {
		lane_admin_answer(lane, admin, STATUS_CLOSING);
		return;
	}
	switch (admin->kind) {
	case ADMIN_OPEN_STREAM:
		open_stream(lane, admin);
		break;
	case ADMIN_CLOSE_STREAM:
		close_stream(lane, admin);
		break;
	case ADMIN_RETAIN:
		retain(lane, admin);
		break;
	case ADMIN_DROP_CONSUMER:
		stream = lane_find(lane, admin->stream_id);
		if (stream)
			lane_leases_drop_consumer(stream, admin->id);
		lane_admin_answer(lane, admin, stream ? STATUS_OK : STATUS_NOT_FOUND);
		break;
	case ADMIN_SEAL:
		lane_seal(lane, admin);
		break;
	case ADMIN_ADD_SHARDS:
		lane_add_shards(lane, admin);
		break;
	case ADMIN_SWITCH_SHARDS:
		lane_switch_shards(lane, admin);
		break;
	}
}
