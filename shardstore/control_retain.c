/* control_retain.c: tells the lanes what has passed retention.
 *
 * Thread: control. Retention goes by the wall clock, but a clock that leaps must not delete: a wrong NTP step of a day would take a day of
 * records with it. So the clock is believed only as far as CLOCK_MONOTONIC has moved too, and an hour more; beyond that the horizon goes on
 * at the monotonic clock's pace, from where it was.
 *
 * Happy path:
 * - every retention_check_ms: closed shards that have passed retention leave the catalogue; their children go on naming them, as on AWS
 * - then one ADMIN_RETAIN to each stream that has shards, with horizon = now - its retention; the lane forgets those shards too
 *
 * Failure modes:
 * - the clock leaps: the old time goes on, and one warning says so; a restart takes the new time for true
 * - a round is not answered yet: the next one waits for it
 * - a lane says that it cannot: it has said so in the log, and is asked again in the next round */
#include <stdlib.h>

#include "penstock/slog.h"
#include "shardstore/control.h"

#define LEAP_MS INT64_C(3600000)
#define HOUR_MS INT64_C(3600000)

struct retain {
	struct store_admin admin;
	struct control *control;
};

static void on_retained(struct store_admin *admin)
{
	struct retain *retain = container_of(admin, struct retain, admin);

	control_assert_thread(retain->control);
	retain->control->in_flight--;
	retain->control->retains_in_flight--;
	free(retain);
}

static void retain_stream(struct control *control, const struct stream_info *stream, int64_t now_ms)
{
	struct retain *retain = xcalloc(1, sizeof(*retain));

	retain->control = control;
	retain->admin = (struct store_admin){
		.kind = ADMIN_RETAIN,
		.reply_to = &control->box,
		.on_done = on_retained,
		.id = stream->id,
		.stream_id = stream->id,
		.expired_ms = now_ms - stream->retention_hours * HOUR_MS,
		.horizon_ms = now_ms - stream->retention_hours * HOUR_MS,
	};
	control->in_flight++;
	control->retains_in_flight++;
	store_admin(control->store, &control->outbox, &retain->admin);
}

/* The wall clock, or what it would say had it not leapt. Backwards it may go: that deletes nothing. */
int64_t control_believed_ms(struct control *control)
{
	uint64_t now_ns = io_mono_ns(control->io);
	int64_t wall_ms = io_wall_ms(control->io);
	int64_t expected_ms = control->anchor_wall_ms + (int64_t)((now_ns - control->anchor_mono_ns) / 1000000);

	if (wall_ms > expected_ms + LEAP_MS) {
		if (!control->clock_leapt)
			slog(SLOG_WARN, "clock_leapt",
			     "ahead_s=%lld advice=\"retention keeps to the time before; if the new time is right, restart\"",
			     (long long)(wall_ms - expected_ms) / 1000);
		control->clock_leapt = true;
		return expected_ms;
	}
	control->clock_leapt = false;
	/* A clock that was set back stays anchored where it was: set forward again, it has not leapt. */
	if (wall_ms >= expected_ms) {
		control->anchor_wall_ms = wall_ms;
		control->anchor_mono_ns = now_ns;
	}
	return wall_ms;
}

static void expire_shards(struct control *control, int64_t now_ms)
{
	struct control_db *db = &control->db;

	/* Of the file, not of the snapshot: that leaves out what has expired already. A statement that changes nothing writes nothing. */
	if (control_db_run(db, DB_EXPIRE_SHARDS, (struct db_value[]){DB_INT(now_ms)}, 1, NULL) == STATUS_OK &&
	    sqlite3_changes(db->sqlite) > 0)
		control_publish(control);
}

uint64_t control_run_retention(struct control *control, uint64_t now_ns)
{
	int64_t now_ms;

	if (now_ns < control->retain_at_ns)
		return control->retain_at_ns;
	control->retain_at_ns = now_ns + control->retention_check_ns;
	if (control->retains_in_flight > 0)
		return control->retain_at_ns;
	now_ms = control_believed_ms(control);
	expire_shards(control, now_ms);
	for (uint32_t i = 0; i < control->catalogue->n_streams; i++) {
		const struct stream_info *stream = &control->catalogue->streams[i];

		if (stream->n_shards > 0 && stream->status != STREAM_DELETING)
			retain_stream(control, stream, now_ms);
	}
	return control->retain_at_ns;
}
