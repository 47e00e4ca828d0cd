/* control_db.h: the catalogue's file: data_dir/catalogue.db (SQLite), and the lock on the data directory. Private to shardstore.
 *
 * Owner: the control thread; before control_start, the thread that starts the server. Calls block. */
#ifndef PENSTOCK_CONTROL_DB_H
#define PENSTOCK_CONTROL_DB_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/catalogue.h"
#include "penstock/io.h"
#include "penstock/status.h"

#define CONTROL_SCHEMA_VERSION 3
#define CONTROL_PRUNE_SLICE 256 /* rows that one pass of control_prune.c looks at, in each table */

/* Every statement, prepared once. The text stands in control_db.c, in this order. */
enum control_statement {
	DB_BEGIN,
	DB_COMMIT,
	DB_ROLLBACK,
	DB_LOAD_STREAMS,
	DB_LOAD_SHARDS,
	DB_LOAD_CONSUMERS,
	DB_STREAM_SECOND,
	DB_SET_STREAM_SECOND,
	DB_INSERT_STREAM,
	DB_SET_STREAM_STATUS,
	DB_DELETE_STREAM,
	DB_INSERT_SHARD,
	DB_CLOSE_SHARD,
	DB_EXPIRE_SHARDS,
	DB_NEXT_SHARD,
	DB_SET_NEXT_SHARD,
	DB_BEGIN_RESHARD,
	DB_INSERT_INTENT,
	DB_LOAD_INTENT,
	DB_DROP_INTENT,
	DB_COUNT_INTENTS,
	DB_COUNT_UPDATES,
	DB_DROP_UPDATES,
	DB_INSERT_UPDATE,
	DB_CONSUMER_SECOND,
	DB_SET_CONSUMER_SECOND,
	DB_INSERT_CONSUMER,
	DB_SET_CONSUMER_STATUS,
	DB_SET_CONSUMERS_STATUS,
	DB_DELETE_CONSUMER,
	DB_SLICE_STREAM_SECONDS,
	DB_PRUNE_STREAM_SECONDS,
	DB_SLICE_CONSUMER_SECONDS,
	DB_PRUNE_CONSUMER_SECONDS,
	DB_SLICE_UPDATES,
	DB_PRUNE_UPDATES,
	DB_SECRET,
	DB_INSERT_SECRET,
	DB_LOAD_CLOCK,
	DB_SET_CLOCK,
	DB_LOAD_CLOCK_MARKS,
	DB_DROP_CLOCK_MARKS,
	DB_INSERT_CLOCK_MARK,
	DB_STATEMENTS
};

/* control_reserve.c */
struct control_reserve {
	struct io *io;
	char *path;
	uint64_t bytes;       /* 0: none is kept */
	uint64_t check_at_ns; /* when it is looked at next; 0: not yet planned */
	bool full;            /* it has its size */
	bool given;           /* since it was full last */
	bool failed;          /* that it cannot be made was reported */
};

struct control_db {
	struct control_reserve reserve;
	sqlite3 *sqlite;
	sqlite3_stmt *statements[DB_STATEMENTS];
	char *path;    /* of catalogue.db */
	int lock_fd;   /* data_dir/lock, held by flock while we live */
	bool poisoned; /* the file failed under us once: what it holds is in doubt until a restart reads it again */
};

/* Makes the data directory if there is none, locks it, opens or makes the file and checks it. vfs: as in control_config. On failure *why names file, what is
 * wrong and what to do, for the caller to free, and nothing on the disk was changed. IN_USE: another server has the directory; CORRUPT:
 * damaged, foreign, or of a newer version; IO; db is closed. */
enum status control_db_open(struct control_db *db, struct io *io, const char *data_dir, const char *vfs, uint64_t reserve_bytes,
			    char **why);
void control_db_close(struct control_db *db);

/* Takes up a reserve of `bytes` if there is one; gives it up if the disk is nearly full. Makes none. */
void control_reserve_open(struct control_reserve *reserve, struct io *io, const char *data_dir, uint64_t bytes);
/* The catalogue is good: makes the reserve, if there is none and the disk has room for several. */
void control_reserve_opened(struct control_reserve *reserve, const char *data_dir);
void control_reserve_close(struct control_reserve *reserve);
/* The disk is full: frees the reserve's room. False: it has none. */
bool control_reserve_give(struct control_reserve *reserve);

/* A parameter of a statement, in the order of its question marks. */
struct db_value {
	enum { DB_INTEGER, DB_TEXT, DB_BLOB } kind;
	int64_t integer;
	struct str bytes;
};
#define DB_INT(v) ((struct db_value){DB_INTEGER, (int64_t)(v), {NULL, 0}})
#define DB_STR(s) ((struct db_value){DB_TEXT, 0, (s)})
#define DB_BYTES(p, n) ((struct db_value){DB_BLOB, 0, {(const char *)(p), (n)}})

/* Runs a statement to its end; *integer is the first column of its first row, when it is wanted and there is one. A failure is logged.
 * -> STATUS_OK, STATUS_NOT_FOUND (a query without a row), STATUS_INTERNAL. */
enum status control_db_run(struct control_db *db, enum control_statement which, const struct db_value *values, int n, int64_t *integer);
/* For a query with rows: binds, and hands out the statement to step by control_db_next; NULL when the file is poisoned or the binding failed. */
sqlite3_stmt *control_db_query(struct control_db *db, enum control_statement which, const struct db_value *values, int n);
/* -> STATUS_OK: a row; STATUS_NOT_FOUND: the end, the statement is reset; STATUS_INTERNAL: logged, reset. */
enum status control_db_next(struct control_db *db, sqlite3_stmt *statement);

/* One transaction. commit ends it on failure too (rolled back). rollback may be called when none is open. */
enum status control_db_begin(struct control_db *db);
enum status control_db_commit(struct control_db *db);
void control_db_rollback(struct control_db *db);
static inline uint64_t control_db_last_id(struct control_db *db) { return (uint64_t)sqlite3_last_insert_rowid(db->sqlite); }

/* Hash keys are blobs of 16 bytes, big-endian. */
uint128 control_db_hash(sqlite3_stmt *row, int column);
void control_db_hash_bytes(uint8_t out[16], uint128 hash);
enum status control_db_insert_shard(struct control_db *db, const struct shard_info *shard);

/* A snapshot of everything, with one reference and this version; NULL when the file cannot be read (logged). Shards whose retention has
 * passed before now_ms are left out. */
struct catalogue *control_load(struct control_db *db, uint64_t version, int64_t now_ms);

#endif
