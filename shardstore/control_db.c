/* control_db.c: statements and transactions on catalogue.db. Opening and checking it is control_file.c's.
 *
 * Thread: control; before control_start, the one that starts the server.
 *
 * Happy path:
 * - control_db_begin, a few control_db_run, control_db_commit: durable (WAL, synchronous=FULL)
 *
 * Failure modes:
 * - a statement fails, the disk is full, or an operator's shell holds the write lock for more than 2 s: logged, rolled back, INTERNAL;
 *   the next change may succeed
 * - a read or write of the file fails, or it is found damaged: the same, and the file is poisoned. Whether a commit whose sync failed is
 *   on the disk is known only to the next start, so until then no change is taken, rather than one on top of a guess. */
#include "shardstore/control_db.h"

#include <assert.h>

#include "penstock/slog.h"

/* Says why a call failed, and poisons the file if what it holds is now in doubt. */
static enum status fail(struct control_db *db, const char *what)
{
	int code = sqlite3_errcode(db->sqlite) & 0xff;

	slog(SLOG_ERROR, "catalogue_failed", "file=%s doing=\"%s\" error=\"%s\" code=%d", db->path, what, sqlite3_errmsg(db->sqlite),
	     sqlite3_extended_errcode(db->sqlite));
	if (code == SQLITE_FULL)
		control_reserve_give(&db->reserve); /* for what is tried next: deletions, and transitions that have begun */
	if ((code == SQLITE_IOERR || code == SQLITE_CORRUPT || code == SQLITE_NOTADB) && !db->poisoned) {
		db->poisoned = true;
		slog(SLOG_ERROR, "catalogue_poisoned", "file=%s advice=\"no further change is taken; mend the disk, then restart\"",
		     db->path);
	}
	return STATUS_INTERNAL;
}

static int bind(sqlite3_stmt *statement, int at, const struct db_value *value)
{
	/* Values outlive the statement's run (control_db_run resets before it returns): no copies. */
	switch (value->kind) {
	case DB_INTEGER:
		return sqlite3_bind_int64(statement, at, value->integer);
	case DB_TEXT:
		return sqlite3_bind_text64(statement, at, value->bytes.p, value->bytes.n, SQLITE_STATIC, SQLITE_UTF8);
	case DB_BLOB:
		return sqlite3_bind_blob64(statement, at, value->bytes.p, value->bytes.n, SQLITE_STATIC);
	}
	return SQLITE_MISUSE;
}

sqlite3_stmt *control_db_query(struct control_db *db, enum control_statement which, const struct db_value *values, int n)
{
	sqlite3_stmt *statement = db->statements[which];

	if (db->poisoned)
		return NULL;
	assert(n == sqlite3_bind_parameter_count(statement));
	for (int i = 0; i < n; i++) {
		if (bind(statement, i + 1, &values[i]) != SQLITE_OK) {
			fail(db, sqlite3_sql(statement));
			sqlite3_reset(statement);
			return NULL;
		}
	}
	return statement;
}

enum status control_db_next(struct control_db *db, sqlite3_stmt *statement)
{
	int code = sqlite3_step(statement);
	enum status status = STATUS_NOT_FOUND;

	if (code == SQLITE_ROW)
		return STATUS_OK;
	if (code != SQLITE_DONE)
		status = fail(db, sqlite3_sql(statement));
	sqlite3_reset(statement);
	return status;
}

enum status control_db_run(struct control_db *db, enum control_statement which, const struct db_value *values, int n, int64_t *integer)
{
	sqlite3_stmt *statement = control_db_query(db, which, values, n);
	bool is_query;
	enum status status;

	if (!statement)
		return STATUS_INTERNAL;
	is_query = sqlite3_column_count(statement) > 0;
	status = control_db_next(db, statement);
	if (status == STATUS_OK) {
		if (integer)
			*integer = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
		return STATUS_OK;
	}
	return status == STATUS_NOT_FOUND && !is_query ? STATUS_OK : status;
}

/* ---- Shards ---- */

void control_db_hash_bytes(uint8_t out[16], uint128 hash)
{
	for (int i = 15; i >= 0; i--, hash >>= 8)
		out[i] = (uint8_t)hash;
}

enum status control_db_insert_shard(struct control_db *db, const struct shard_info *shard)
{
	uint8_t first[16], last[16];

	control_db_hash_bytes(first, shard->hash_first);
	control_db_hash_bytes(last, shard->hash_last);
	return control_db_run(db, DB_INSERT_SHARD,
			      (struct db_value[]){DB_INT(shard->key.stream), DB_INT(shard->key.shard), DB_INT(shard->key.created_s),
						  DB_BYTES(first, 16), DB_BYTES(last, 16), DB_INT(shard->parent), DB_INT(shard->adjacent),
						  DB_INT(shard->closed), DB_INT(shard->end_index), DB_INT(shard->closed_s),
						  DB_INT(shard->opened_ms), DB_INT(shard->closed_ms)},
			      12, NULL);
}

/* ---- Transactions ---- */

enum status control_db_begin(struct control_db *db) { return control_db_run(db, DB_BEGIN, NULL, 0, NULL); }

enum status control_db_commit(struct control_db *db)
{
	enum status status = control_db_run(db, DB_COMMIT, NULL, 0, NULL);

	if (status)
		control_db_rollback(db);
	return status;
}

void control_db_rollback(struct control_db *db)
{
	/* Some failures have rolled back already: then there is nothing to do. Not through control_db_run: a poisoned file must
	 * end its transaction too. */
	if (sqlite3_get_autocommit(db->sqlite))
		return;
	if (sqlite3_step(db->statements[DB_ROLLBACK]) != SQLITE_DONE)
		fail(db, "ROLLBACK");
	sqlite3_reset(db->statements[DB_ROLLBACK]);
}
