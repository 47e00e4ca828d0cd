/* control_prune.c: deletes rows of the catalogue whose purpose has passed.
 *
 * Thread: control. Three tables have a row for each name or call that a client ever used, and no
 * other bound:
 *
 *   stream_seconds    the last creation second of a stream's name: the next stream of that name
 *                     must begin in a later second
 *   consumer_seconds  the same for a consumer's name in a stream, whose ARN ends with that second
 *   shard_updates     calls of UpdateShardCount, counted over 24 hours
 *
 * A second's row has no further effect once the clock is past it, since a creation takes the later
 * of the clock and that second. If the clock is set back afterwards, a creation takes at least the
 * latest time that it ever showed less CONTROL_KEEP_MS, and every row that went lies before that. A row
 * whose stream or consumer exists stays, and so does a row whose second is ahead of the clock. "The
 * clock" is the earlier of the wall clock and the time that retention believes.
 *
 * Happy path:
 * - every retention_check_ms one slice of each table, CONTROL_PRUNE_SLICE rows in the order of its
 *   key: a query for the slice's last key, then one statement that deletes what has passed; a
 *   statement that finds nothing writes nothing
 * - a slice that deleted a quarter of its rows is followed by the next within BUSY_NS; mail is run
 *   in between
 * - behind the last row a table's sweep begins again
 *
 * So a pass looks at so many rows however many there are, and a table holds the names of
 * CONTROL_KEEP_MS and at most about a third more.
 *
 * Failure modes:
 * - a statement fails: logged by control_db.c; the same slice is tried again with the next pass */
#include <string.h>

#include "shardstore/control.h"

#define SAVED_MS INT64_C(900000)   /* the catalogue's record of the latest time is no older (control_clock.c) */
#define BUSY_NS UINT64_C(50000000) /* 5,120 rows a second; a name costs a transaction, and is slower */

static const struct {
	enum control_statement last, drop;
} tables[CONTROL_PRUNED_TABLES] = {
	{DB_SLICE_STREAM_SECONDS, DB_PRUNE_STREAM_SECONDS},
	{DB_SLICE_CONSUMER_SECONDS, DB_PRUNE_CONSUMER_SECONDS},
	{DB_SLICE_UPDATES, DB_PRUNE_UPDATES},
};

static struct str name_of(const struct prune_key *key) { return str_of(key->name); }

/* The last key of the slice behind `from`. NOT_FOUND: no row is left. */
static enum status slice_end(struct control_db *db, enum control_statement which, const struct prune_key *from, struct prune_key *to)
{
	sqlite3_stmt *row = control_db_query(db, which, (struct db_value[]){DB_INT(from->number), DB_STR(name_of(from))}, 2);
	enum status status = row ? control_db_next(db, row) : STATUS_INTERNAL;
	size_t n;

	if (status)
		return status;
	*to = (struct prune_key){.number = sqlite3_column_int64(row, 0)};
	n = (size_t)sqlite3_column_bytes(row, 1);
	/* At most STREAM_NAME_MAX bytes and no NUL among them: the request's validation. */
	memcpy(to->name, sqlite3_column_text(row, 1), n < sizeof(to->name) ? n : sizeof(to->name) - 1);
	sqlite3_reset(row);
	return STATUS_OK;
}

/* One slice of one table; returns how many rows it deleted. */
static int prune_table(struct control *control, unsigned table, int64_t passed_ms)
{
	struct control_db *db = &control->db;
	struct prune_key *from = &control->pruned[table], to;
	enum status status = slice_end(db, tables[table].last, from, &to);

	if (status == STATUS_NOT_FOUND)
		*from = (struct prune_key){0};
	if (status)
		return 0;
	status = control_db_run(db, tables[table].drop,
				(struct db_value[]){DB_INT(from->number), DB_STR(name_of(from)), DB_INT(to.number), DB_STR(name_of(&to)),
						    DB_INT(passed_ms)},
				5, NULL);
	if (status)
		return 0;
	*from = to;
	return sqlite3_changes(db->sqlite);
}

uint64_t control_run_prune(struct control *control, uint64_t now_ns)
{
	int64_t believed_ms, wall_ms, passed_ms;
	bool busy = false;

	if (now_ns < control->prune_at_ns)
		return control->prune_at_ns;
	believed_ms = control_believed_ms(control);
	wall_ms = control_wall_ms(control);
	control_clock_save(control, false); /* a leap, before what it takes away */
	passed_ms = (believed_ms < wall_ms ? believed_ms : wall_ms) - CONTROL_KEEP_MS - SAVED_MS;
	for (unsigned table = 0; table < CONTROL_PRUNED_TABLES; table++)
		busy |= prune_table(control, table, passed_ms) >= CONTROL_PRUNE_SLICE / 4;
	control->prune_at_ns = now_ns + (busy && control->retention_check_ns > BUSY_NS ? BUSY_NS : control->retention_check_ns);
	return control->prune_at_ns;
}
