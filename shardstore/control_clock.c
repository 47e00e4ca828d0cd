/* control_clock.c: the time that retention goes by: read, kept in the catalogue, reported to the
 * store and to people.
 *
 * belief.h has the rule; this file has its readings and its consequences. The thread takes a
 * reading in every round of retention, at every change that writes a time, and at the start.
 *
 * Happy path:
 * - open: what the last process believed is read from the catalogue; then the first reading
 * - a reading: what changed is written down; then the store learns how the clocks stand to the
 *   monotonic clock (store_set_clock), the gauge moves, and a line tells when the wall clock
 *   and retention's time part by more than an hour, or meet again
 * - written down when it changed by more than the passing of time, at once; else every ten
 *   minutes, and at the end
 *
 * Failure modes:
 * - the catalogue cannot be written: control_db.c logs it; it is tried again a minute later,
 *   and until then stamps run on as if the clock had not been set. Running time that was not
 *   written counts as a pause at the next start: it keeps data longer, and deletes nothing.
 *
 * Thread: control; before control_start and after control_stop, the main thread. */
#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "shardstore/control.h"

#define APART_MS INT64_C(3600000)           /* from there on people are told */
#define SAVE_NS UINT64_C(600000000000)      /* a kill loses so much running time at most */
#define SAVE_AGAIN_NS UINT64_C(60000000000) /* after a failure */

/* ---- The catalogue ---- */

static enum status load_marks(struct control *control)
{
	sqlite3_stmt *row = control_db_query(&control->db, DB_LOAD_CLOCK_MARKS, NULL, 0);
	enum status status = STATUS_INTERNAL;

	while (row && (status = control_db_next(&control->db, row)) == STATUS_OK)
		belief_restore_mark(&control->belief, (struct belief_mark){.at_ms = sqlite3_column_int64(row, 0),
									   .ahead_ms = sqlite3_column_int64(row, 1),
									   .vouched = sqlite3_column_int(row, 2) != 0});
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static enum status load_clock(struct control *control)
{
	sqlite3_stmt *row = control_db_query(&control->db, DB_LOAD_CLOCK, NULL, 0);
	enum status status = row ? control_db_next(&control->db, row) : STATUS_INTERNAL;

	if (status == STATUS_NOT_FOUND) /* a new data directory */
		return STATUS_OK;
	if (status)
		return status;
	belief_restore(&control->belief, sqlite3_column_int64(row, 0), sqlite3_column_int64(row, 1));
	sqlite3_reset(row);
	return load_marks(control);
}

static enum status insert_mark(struct control_db *db, const struct belief_mark *mark)
{
	return control_db_run(db, DB_INSERT_CLOCK_MARK,
			      (struct db_value[]){DB_INT(mark->at_ms), DB_INT(mark->ahead_ms), DB_INT(mark->vouched)}, 3, NULL);
}

static enum status write_clock(struct control *control)
{
	struct control_db *db = &control->db;
	const struct belief *belief = &control->belief;
	enum status status = control_db_begin(db);

	if (status)
		return status;
	status = control_db_run(db, DB_SET_CLOCK, (struct db_value[]){DB_INT(belief->running_ms), DB_INT(belief->highest_ms)}, 2, NULL);
	if (!status)
		status = control_db_run(db, DB_DROP_CLOCK_MARKS, NULL, 0, NULL);
	for (uint32_t i = 0; i < belief->n && !status; i++)
		status = insert_mark(db, &belief->marks[i]);
	if (!status)
		return control_db_commit(db);
	control_db_rollback(db);
	return status;
}

void control_clock_save(struct control *control, bool now)
{
	uint64_t now_ns = io_mono_ns(control->io);
	bool due = now_ns >= control->clock_save_ns || (control->belief.changed && now_ns >= control->clock_retry_ns);

	if (control->db.poisoned || (!now && !due))
		return;
	if (write_clock(control)) {
		control->clock_save_ns = control->clock_retry_ns = now_ns + SAVE_AGAIN_NS;
		return;
	}
	control->belief.changed = false;
	control->clock_save_ns = now_ns + SAVE_NS;
	control->clock_retry_ns = 0;
}

/* ---- A reading ---- */

static void report(struct control *control, int64_t wall_ms, bool vouched)
{
	int64_t apart_ms = wall_ms - belief_ms(&control->belief);
	bool apart = apart_ms > APART_MS;

	metric_add(METRIC_clock_doubt_ms, apart_ms - control->clock_told_ms);
	control->clock_told_ms = apart_ms;
	if (apart && !control->clock_apart)
		slog(SLOG_WARN, "clock_doubted",
		     "wall_ms=%lld retention_ms=%lld ahead_s=%lld kernel_synchronised=%s grace_s=%lld "
		     "advice=\"off for so long, or a clock that is wrong: nothing expires by the new time before the clock has kept it for "
		     "--clock-grace%s; if it is right, restart with --believe-clock\"",
		     (long long)wall_ms, (long long)(wall_ms - apart_ms), (long long)apart_ms / 1000, vouched ? "yes" : "no",
		     (long long)control->belief.grace_ms / 1000, vouched ? "" : " or the kernel reports it synchronised");
	if (!apart && control->clock_apart)
		slog(SLOG_INFO, "clock_believed", "wall_ms=%lld retention_ms=%lld", (long long)wall_ms, (long long)(wall_ms - apart_ms));
	control->clock_apart = apart;
}

static void report_set_back(int64_t wall_ms, int64_t before_ms)
{
	if (before_ms - wall_ms > APART_MS)
		slog(SLOG_WARN, "clock_set_back", "wall_ms=%lld back_s=%lld note=\"retention follows at once; this keeps records longer\"",
		     (long long)wall_ms, (long long)(before_ms - wall_ms) / 1000);
}

static int64_t boot_ms(const struct control *control) { return (int64_t)(io_boot_ns(control->io) / 1000000); }

/* A time that was set back is stamped with only once it is written down that it was: a crash
 * would forget why records are older than they should be. Inside a transaction nothing is
 * written: it may be rolled back. Until then the last reading that was written runs on. */
static int64_t stamp_ms(struct control *control, int64_t wall_ms)
{
	int64_t kept_ms;

	if (control->belief.changed && sqlite3_get_autocommit(control->db.sqlite))
		control_clock_save(control, false);
	kept_ms = boot_ms(control) + control->clock_ahead_ms;
	if (control->belief.changed)
		return wall_ms > kept_ms ? wall_ms : kept_ms;
	control->clock_ahead_ms = wall_ms - boot_ms(control);
	return wall_ms;
}

int64_t control_wall_ms(struct control *control)
{
	int64_t vouched_ms = io_vouched_ms(control->io), before_ms = belief_ms(&control->belief);
	int64_t wall_ms = vouched_ms >= 0 ? vouched_ms : io_wall_ms(control->io), now_ms;
	bool known = control->belief.known;

	control_assert_thread(control);
	belief_read(&control->belief, io_boot_ns(control->io), wall_ms, vouched_ms >= 0);
	if (known)
		report_set_back(wall_ms, before_ms);
	report(control, wall_ms, vouched_ms >= 0);
	now_ms = stamp_ms(control, wall_ms);
	if (control->store)
		store_set_clock(control->store, now_ms, belief_ms(&control->belief), control->belief.highest_ms);
	return now_ms;
}

int64_t control_believed_ms(struct control *control)
{
	control_wall_ms(control);
	return belief_ms(&control->belief);
}

enum status control_clock_open(struct control *control, const struct control_config *config)
{
	enum status status;

	belief_init(&control->belief, config->clock_grace_ms, io_boot_ns(control->io));
	status = load_clock(control);
	if (status)
		return status;
	control->clock_ahead_ms = belief_last_ms(&control->belief) - boot_ms(control);
	if (config->believe_clock)
		belief_confirm(&control->belief);
	control_wall_ms(control);
	return STATUS_OK;
}
