/* control.c: the control thread: one mailbox, one SQLite connection, and a list of what is due.
 *
 * Invariants: only this thread writes the catalogue. Every change is one transaction; the snapshot with it is posted to every reader
 * before the answer is posted to whoever asked, so that a client that has its answer finds the change on whatever worker it asks next.
 *
 * Happy path:
 * - control_open: lock, file, first snapshot (main reads it to open the store's streams)
 * - control_start: the snapshot to every reader, CREATING, UPDATING and DELETING taken up again, the thread
 * - each turn: mail (changes, answers of the store), what is due, mail to the lanes; then sleep until mail or the next due time
 * - control_stop: the stop mail lies behind every change posted before it; the thread ends once the store has answered all it was asked
 *
 * Failure modes:
 * - the file cannot be opened: control_open says why, in words
 * - a change cannot be written: control_change.c answers CAUSE_FAULT; a transition is tried again a second later (control_life.c) */
#include "shardstore/control.h"

#include <assert.h>
#include <limits.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"

#define RETENTION_CHECK_MS 10000 /* a segment is minutes to hours of records: ten seconds more are nothing */

void control_assert_thread(const struct control *control) { assert(!control->started || pthread_equal(control->self, pthread_self())); }

/* ---- Snapshots ---- */

/* One reader's copy of the news; carries one reference. The reader itself too: it may be run after control_free. */
struct snapshot_mail {
	struct mail mail;
	struct catalogue_reader reader;
	struct catalogue *snapshot;
};

static void on_snapshot_mail(struct mail *mail)
{
	struct snapshot_mail *news = container_of(mail, struct snapshot_mail, mail);

	news->reader.on_snapshot(news->reader.arg, news->snapshot);
	free(news);
}

static void post_snapshot(struct control *control)
{
	for (size_t i = 0; i < control->n_readers; i++) {
		struct snapshot_mail *news = xmalloc(sizeof(*news));

		news->mail.run = on_snapshot_mail;
		news->reader = control->readers[i];
		news->snapshot = catalogue_ref(control->catalogue);
		mailbox_post(news->reader.box, &news->mail);
	}
}

enum status control_publish(struct control *control)
{
	struct catalogue *snapshot;

	control_assert_thread(control);
	/* As of the last reading: a new one might have to be written down, and fail, between the
	 * change and its snapshot. */
	snapshot = control_load(&control->db, control->catalogue->version + 1, belief_ms(&control->belief));
	if (!snapshot)
		return STATUS_INTERNAL;
	catalogue_unref(control->catalogue);
	control->catalogue = snapshot;
	post_snapshot(control);
	return STATUS_OK;
}

struct catalogue *control_snapshot(struct control *control)
{
	control_assert_thread(control);
	return catalogue_ref(control->catalogue);
}

/* ---- Open ---- */

enum status control_open(const struct control_config *config, struct control **out, char **why)
{
	struct control *control = xcalloc(1, sizeof(*control));
	int64_t check_ms = config->retention_check_ms ? config->retention_check_ms : RETENTION_CHECK_MS;
	enum status status;

	control->io = config->io;
	control->limits = config->limits;
	control->stepped = config->stepped;
	control->transition_ns = config->transition_ms * 1000000;
	control->retention_check_ns = (uint64_t)check_ms * 1000000;
	list_init(&control->tasks);
	list_init(&control->reshards);
	outbox_init(&control->outbox);
	status = control_db_open(&control->db, config->io, config->data_dir, config->vfs, config->reserve_bytes, why);
	if (status)
		goto out;
	status = control_clock_open(control, config) ? STATUS_CORRUPT : STATUS_OK;
	if (!status)
		control->catalogue = control_load(&control->db, 1, belief_ms(&control->belief));
	if (!control->catalogue)
		status = STATUS_CORRUPT;
	if (!status && mailbox_init(&control->box, !config->stepped) != 0)
		status = STATUS_IO;
	if (!status) {
		*out = control;
		return STATUS_OK;
	}
	*why = xstrdup(status == STATUS_CORRUPT ? "the catalogue cannot be read; the log says why"
						: "no event descriptor to be had; raise the limit on open files (ulimit -n)");
	catalogue_unref(control->catalogue);
	control_db_close(&control->db);
out:
	free(control);
	return status;
}

/* The value under that name into `out`. NOT_FOUND: none yet. */
static enum status read_secret(struct control *control, struct str name, uint8_t out[32])
{
	sqlite3_stmt *row = control_db_query(&control->db, DB_SECRET, (struct db_value[]){DB_STR(name)}, 1);
	enum status status = row ? control_db_next(&control->db, row) : STATUS_INTERNAL;

	if (status)
		return status;
	if (sqlite3_column_bytes(row, 0) == 32)
		memcpy(out, sqlite3_column_blob(row, 0), 32);
	else
		status = STATUS_CORRUPT;
	sqlite3_reset(row);
	return status;
}

enum status control_secret(struct control *control, const char *name, uint8_t out[32])
{
	enum status status;

	control_assert_thread(control);
	assert(strlen(name) <= 32);
	status = read_secret(control, str_of(name), out);
	if (status != STATUS_NOT_FOUND)
		return status;
	if (RAND_bytes(out, 32) != 1)
		return STATUS_INTERNAL;
	/* A single statement is a transaction of its own. */
	return control_db_run(&control->db, DB_INSERT_SECRET, (struct db_value[]){DB_STR(str_of(name)), DB_BYTES(out, 32)}, 2, NULL);
}

/* ---- The thread ---- */

/* For mailbox_wait: rounded up, or the thread would spin through the last millisecond. */
static int wait_ms(uint64_t due_ns, uint64_t now_ns)
{
	uint64_t ms = due_ns > now_ns ? (due_ns - now_ns + 999999) / 1000000 : 0;

	if (due_ns == UINT64_MAX)
		return -1;
	return ms < INT_MAX ? (int)ms : INT_MAX;
}

static bool has_ended(const struct control *control) { return control->stopping && control->in_flight == 0; }

/* Does what is due, and sends what came of it and of the mail before; returns when something will next be. */
static uint64_t run_due(struct control *control)
{
	static uint64_t (*const chores[])(struct control * control, uint64_t now_ns) = {
		control_run_tasks, control_run_retention, control_run_reshards, control_run_prune, control_run_reserve};
	uint64_t now_ns = io_mono_ns(control->io), due_ns = UINT64_MAX;

	for (size_t i = 0; !control->stopping && i < sizeof(chores) / sizeof(chores[0]); i++) {
		uint64_t next_ns = chores[i](control, now_ns);

		due_ns = next_ns < due_ns ? next_ns : due_ns;
	}
	outbox_flush(&control->outbox);
	return due_ns;
}

static void *run(void *arg)
{
	struct control *control = arg;

	control->self = pthread_self();
	while (!has_ended(control)) {
		uint64_t due_ns = run_due(control);

		mailbox_wait(&control->box, wait_ms(due_ns, io_mono_ns(control->io)));
		mailbox_run(&control->box);
	}
	outbox_flush(&control->outbox);
	return NULL;
}

bool control_pending(struct control *control) { return mailbox_pending(&control->box); }

bool control_turn(struct control *control, uint64_t *due_ns)
{
	assert(control->stepped && control->started);
	mailbox_run(&control->box);
	*due_ns = run_due(control);
	control->started = !has_ended(control);
	return control->started;
}

enum status control_start(struct control *control, struct store *store, const struct catalogue_reader *readers, size_t n)
{
	int code;

	control->store = store;
	control->readers = xmalloc(n * sizeof(*readers) + 1);
	memcpy(control->readers, readers, n * sizeof(*readers));
	control->n_readers = n;
	control_wall_ms(control); /* the store hears of it before anything is served */
	post_snapshot(control);
	control->retain_at_ns = control->prune_at_ns = io_mono_ns(control->io);
	control_resume(control);
	/* Before the thread can look at them. */
	control->started = true;
	if (control->stepped) {
		control->self = pthread_self();
		return STATUS_OK;
	}
	code = pthread_create(&control->thread, NULL, run, control);
	if (code != 0) {
		control->started = false;
		slog(SLOG_ERROR, "control_failed", "error=\"%s\"", strerror(code));
		return STATUS_INTERNAL;
	}
	pthread_setname_np(control->thread, "control");
	return STATUS_OK;
}

static void on_stop(struct mail *mail) { container_of(mail, struct control, stop_mail)->stopping = true; }

void control_stop(struct control *control)
{
	if (!control->started)
		return;
	control->stop_mail.run = on_stop;
	mailbox_post(&control->box, &control->stop_mail);
	if (control->stepped)
		return;
	pthread_join(control->thread, NULL);
	control->started = false;
}

void control_free(struct control *control)
{
	if (!control)
		return;
	assert(!control->started);
	control_free_tasks(control);
	control_free_reshards(control);
	control_clock_save(control, true);
	metric_add(METRIC_clock_doubt_ms, -control->clock_told_ms);
	mailbox_fini(&control->box);
	catalogue_unref(control->catalogue);
	control_db_close(&control->db);
	free(control->readers);
	free(control);
}
