/* control_retain.c: tells the lanes what has passed retention.
 *
 * Thread: control. Retention goes by the time that is believed (control_clock.c, belief.h), not
 * by the wall clock: a clock that is wrong must not delete.
 *
 * Happy path:
 * - every retention_check_ms: closed shards that have passed retention leave the catalogue;
 *   their children go on naming them, as on AWS
 * - then one ADMIN_RETAIN to each stream that has shards, with horizon = that time - its
 *   retention; the lane forgets those shards too
 * - a lane lets one segment go in a pass; if more have passed, the stream is asked again, by
 *   the time of that moment
 *
 * Failure modes:
 * - a round is not answered yet: the next one waits for it
 * - a lane says that it cannot: it has said so in the log, and is asked again in the next round */
#include <stdlib.h>

#include "penstock/metrics.h"
#include "shardstore/control.h"

#define HOUR_MS INT64_C(3600000)

struct retain {
	struct store_admin admin;
	struct control *control;
};

static void retain_stream(struct control *control, const struct stream_info *stream, int64_t now_ms);

static void on_retained(struct store_admin *admin)
{
	struct retain *retain = container_of(admin, struct retain, admin);
	struct control *control = retain->control;
	const struct stream_info *stream = catalogue_stream_by_id(control->catalogue, admin->id);

	control_assert_thread(control);
	control->in_flight--;
	control->retains_in_flight--;
	if (admin->status == STATUS_OK && admin->more && stream && !control->stopping)
		retain_stream(control, stream, control_believed_ms(control));
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

static void expire_shards(struct control *control, int64_t now_ms)
{
	struct control_db *db = &control->db;

	/* Of the file, not of the snapshot: that leaves out what has expired already. A
	 * statement that changes nothing writes nothing. */
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
	now_ms = control_believed_ms(control); /* readings must not stop */
	control_clock_save(control, false);
	if (control->retains_in_flight > 0)
		return control->retain_at_ns;
	metric_add(METRIC_retention_rounds, 1);
	expire_shards(control, now_ms);
	for (uint32_t i = 0; i < control->catalogue->n_streams; i++) {
		const struct stream_info *stream = &control->catalogue->streams[i];

		if (stream->n_shards > 0 && stream->status != STREAM_DELETING)
			retain_stream(control, stream, now_ms);
	}
	return control->retain_at_ns;
}
