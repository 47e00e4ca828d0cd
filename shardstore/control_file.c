/* control_file.c: the data directory's lock, and catalogue.db opened, checked, or made.
 *
 * Thread: the one that starts the server, or control at its end. docs/on-disk.md tells what else lies in the directory.
 *
 * Happy path:
 * - the directory is made if it is missing; `lock` in it is taken by flock, and names our process
 * - catalogue.db (mode 0600: it holds secrets) is opened and checked: by SQLite's own quick_check, application_id (ours?) and schema
 * version
 * - what lies in the WAL is written again and synced, before SQLite takes it for durable
 * - an empty file gets the schema, in one transaction; a file of an older version what it lacks,
 *   step by step, in another
 * - no temporary files: a deletion needs neither a descriptor nor room for one
 * - WAL mode, synchronous=FULL: a commit is durable when it returns; every statement is prepared once
 *
 * Failure modes: each ends the start with one line that names the file, what is wrong and what to do; nothing is overwritten.
 * - another server holds the lock
 * - not SQLite, damaged, of another program, of a newer penstock; not to be read, which is another thing: a backup would not mend it
 * - no catalogue.db beside streams that hold records: a new one would give out their numbers again */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "shardstore/control_db.h"

#define APPLICATION_ID 1347310420 /* "PNST": tells our files from other programs' */

/* intents: what a reshard that has begun will make: its children in the order of their numbers, intermediate ones among them.
 * shard_updates: when UpdateShardCount was called, of the last 24 hours. */
#define RESHARD_TABLES                                                        \
	"CREATE TABLE intents ("                                              \
	" stream INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE," \
	" shard INTEGER NOT NULL,"                                            \
	" hash_first BLOB NOT NULL CHECK (length(hash_first) = 16),"          \
	" hash_last BLOB NOT NULL CHECK (length(hash_last) = 16),"            \
	" parent INTEGER NOT NULL,"                                           \
	" adjacent INTEGER NOT NULL,"                                         \
	" PRIMARY KEY (stream, shard)) STRICT, WITHOUT ROWID;"                \
	"CREATE TABLE shard_updates ("                                        \
	" stream INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE," \
	" at_ms INTEGER NOT NULL) STRICT;"

/* clock, clock_marks: the time that retention believes (belief.h): one row, a row for each mark. */
#define CLOCK_TABLES                                \
	"CREATE TABLE clock ("                      \
	" one INTEGER PRIMARY KEY CHECK (one = 1)," \
	" running_ms INTEGER NOT NULL,"             \
	" highest_ms INTEGER NOT NULL) STRICT;"     \
	"CREATE TABLE clock_marks ("                \
	" at_ms INTEGER NOT NULL,"                  \
	" ahead_ms INTEGER NOT NULL,"               \
	" vouched INTEGER NOT NULL) STRICT;"

/* upgrades[0] takes a file of version 1 to version 2, and so on. They run in one transaction. */
static const char *const upgrades[CONTROL_SCHEMA_VERSION - 1] = {
	"ALTER TABLE streams ADD COLUMN next_shard INTEGER NOT NULL DEFAULT 0;"
	"UPDATE streams SET next_shard ="
	" coalesce((SELECT max(shard) + 1 FROM shards WHERE stream = streams.id), 0);" RESHARD_TABLES,
	/* When it was last served is not known, only that it was not before its latest date. */
	CLOCK_TABLES "INSERT INTO clock SELECT 1, last, last FROM (SELECT max(at) AS last FROM"
		     " (SELECT max(created_ms) AS at FROM streams UNION ALL SELECT max(created_ms) FROM consumers"
		     " UNION ALL SELECT max(opened_ms) FROM shards UNION ALL SELECT max(closed_ms) FROM shards)) WHERE last > 0;"
		     "INSERT INTO clock_marks SELECT running_ms, 0, 0 FROM clock;",
};

#define LATER_TABLES RESHARD_TABLES CLOCK_TABLES

static const char schema[] = "BEGIN IMMEDIATE;"
			     "CREATE TABLE schema_version (version INTEGER NOT NULL) STRICT;" /* one row */
			     "INSERT INTO schema_version VALUES (3);"
			     /* AUTOINCREMENT: an id is never used again, not even the highest one after its stream is gone. */
			     "CREATE TABLE streams ("
			     " id INTEGER PRIMARY KEY AUTOINCREMENT,"
			     " name TEXT NOT NULL UNIQUE CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 128),"
			     " status INTEGER NOT NULL CHECK (status BETWEEN 0 AND 3),"
			     " mode INTEGER NOT NULL CHECK (mode BETWEEN 0 AND 1),"
			     " shard_target INTEGER NOT NULL,"
			     " created_ms INTEGER NOT NULL,"
			     " retention_hours INTEGER NOT NULL,"
			     " max_record_kib INTEGER NOT NULL,"
			     " next_shard INTEGER NOT NULL DEFAULT 0) STRICT;" /* the next shard's number: none is used again */
			     "CREATE TABLE shards ("
			     " stream INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,"
			     " shard INTEGER NOT NULL,"
			     " created_s INTEGER NOT NULL,"
			     " hash_first BLOB NOT NULL CHECK (length(hash_first) = 16)," /* big-endian */
			     " hash_last BLOB NOT NULL CHECK (length(hash_last) = 16),"
			     " parent INTEGER NOT NULL," /* 4294967295: none */
			     " adjacent INTEGER NOT NULL,"
			     " closed INTEGER NOT NULL,"
			     " end_index INTEGER NOT NULL,"
			     " closed_s INTEGER NOT NULL,"
			     " opened_ms INTEGER NOT NULL,"
			     " closed_ms INTEGER NOT NULL,"
			     " PRIMARY KEY (stream, shard)) STRICT, WITHOUT ROWID;"
			     "CREATE TABLE consumers ("
			     " id INTEGER PRIMARY KEY AUTOINCREMENT,"
			     " stream INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,"
			     " name TEXT NOT NULL CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 128),"
			     " status INTEGER NOT NULL CHECK (status BETWEEN 0 AND 2),"
			     " created_s INTEGER NOT NULL,"
			     " created_ms INTEGER NOT NULL,"
			     " UNIQUE (stream, name)) STRICT;"
			     /* The last creation second of each name ever used: it strictly rises, also over deletion. */
			     "CREATE TABLE stream_seconds (name TEXT PRIMARY KEY, last_s INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
			     "CREATE TABLE consumer_seconds ("
			     " stream INTEGER NOT NULL REFERENCES streams (id) ON DELETE CASCADE,"
			     " name TEXT NOT NULL,"
			     " last_s INTEGER NOT NULL,"
			     " PRIMARY KEY (stream, name)) STRICT, WITHOUT ROWID;"
			     "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;" LATER_TABLES
			     "PRAGMA application_id = 1347310420;"
			     "COMMIT;";

#define TEXT_OF(number) #number
#define LIMIT_TO(number) " LIMIT " TEXT_OF(number)
#define SLICE LIMIT_TO(CONTROL_PRUNE_SLICE)

static const char *const statement_text[DB_STATEMENTS] = {
	[DB_BEGIN] = "BEGIN IMMEDIATE",
	[DB_COMMIT] = "COMMIT",
	[DB_ROLLBACK] = "ROLLBACK",
	[DB_LOAD_STREAMS] =
		"SELECT id, name, status, mode, shard_target, created_ms, retention_hours, max_record_kib FROM streams ORDER BY name",
	[DB_LOAD_SHARDS] =
		"SELECT shard, created_s, hash_first, hash_last, parent, adjacent, closed, end_index, closed_s, opened_ms, closed_ms"
		" FROM shards WHERE stream = ? AND (closed = 0 OR closed_ms >= ?) ORDER BY shard",
	[DB_LOAD_CONSUMERS] = "SELECT id, name, status, created_s, created_ms FROM consumers WHERE stream = ? ORDER BY name",
	[DB_STREAM_SECOND] = "SELECT last_s FROM stream_seconds WHERE name = ?",
	[DB_SET_STREAM_SECOND] = "INSERT INTO stream_seconds VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET last_s = excluded.last_s",
	[DB_INSERT_STREAM] = "INSERT INTO streams (name, status, mode, shard_target, created_ms, retention_hours, max_record_kib)"
			     " VALUES (?, ?, ?, ?, ?, ?, ?)",
	[DB_SET_STREAM_STATUS] = "UPDATE streams SET status = ? WHERE id = ?",
	[DB_DELETE_STREAM] = "DELETE FROM streams WHERE id = ?",
	[DB_INSERT_SHARD] = "INSERT INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	[DB_CLOSE_SHARD] = "UPDATE shards SET closed = 1, end_index = ?, closed_s = ?, closed_ms = ? WHERE stream = ? AND shard = ?",
	[DB_EXPIRE_SHARDS] = "DELETE FROM shards WHERE closed = 1 AND"
			     " closed_ms < (SELECT ? - 3600000 * retention_hours FROM streams WHERE id = stream)",
	[DB_NEXT_SHARD] = "SELECT next_shard FROM streams WHERE id = ?",
	[DB_SET_NEXT_SHARD] = "UPDATE streams SET next_shard = ? WHERE id = ?",
	[DB_BEGIN_RESHARD] = "UPDATE streams SET status = ?, shard_target = ?, next_shard = ? WHERE id = ?",
	[DB_INSERT_INTENT] = "INSERT INTO intents VALUES (?, ?, ?, ?, ?, ?)",
	[DB_LOAD_INTENT] = "SELECT shard, hash_first, hash_last, parent, adjacent FROM intents WHERE stream = ? ORDER BY shard",
	[DB_DROP_INTENT] = "DELETE FROM intents WHERE stream = ?",
	[DB_COUNT_INTENTS] = "SELECT count(*) FROM intents",
	[DB_COUNT_UPDATES] = "SELECT count(*) FROM shard_updates WHERE stream = ? AND at_ms > ? AND at_ms <= ?",
	[DB_DROP_UPDATES] = "DELETE FROM shard_updates WHERE stream = ? AND at_ms <= ?",
	[DB_INSERT_UPDATE] = "INSERT INTO shard_updates VALUES (?, ?)",
	[DB_CONSUMER_SECOND] = "SELECT last_s FROM consumer_seconds WHERE stream = ? AND name = ?",
	[DB_SET_CONSUMER_SECOND] = "INSERT INTO consumer_seconds VALUES (?, ?, ?)"
				   " ON CONFLICT (stream, name) DO UPDATE SET last_s = excluded.last_s",
	[DB_INSERT_CONSUMER] = "INSERT INTO consumers (stream, name, status, created_s, created_ms) VALUES (?, ?, ?, ?, ?)",
	[DB_SET_CONSUMER_STATUS] = "UPDATE consumers SET status = ? WHERE id = ? AND status = ?",
	[DB_SET_CONSUMERS_STATUS] = "UPDATE consumers SET status = ? WHERE stream = ?",
	[DB_DELETE_CONSUMER] = "DELETE FROM consumers WHERE id = ?",
	/* control_prune.c. SLICE: the last key of a slice that begins behind (?1, ?2). PRUNE: in the slice from there
	 * to (?3, ?4), what has passed at ?5 ms. */
	[DB_SLICE_STREAM_SECONDS] =
		"SELECT 0, name FROM (SELECT name FROM stream_seconds WHERE name > ?2 ORDER BY name" SLICE ") ORDER BY name DESC LIMIT 1",
	[DB_PRUNE_STREAM_SECONDS] = "DELETE FROM stream_seconds WHERE name > ?2 AND name <= ?4 AND last_s < ?5 / 1000"
				    " AND NOT EXISTS (SELECT 1 FROM streams WHERE streams.name = stream_seconds.name)",
	[DB_SLICE_CONSUMER_SECONDS] = "SELECT stream, name FROM (SELECT stream, name FROM consumer_seconds WHERE (stream, name) > (?1, ?2)"
				      " ORDER BY stream, name" SLICE ") ORDER BY stream DESC, name DESC LIMIT 1",
	[DB_PRUNE_CONSUMER_SECONDS] =
		"DELETE FROM consumer_seconds WHERE (stream, name) > (?1, ?2) AND (stream, name) <= (?3, ?4) AND last_s < ?5 / 1000"
		" AND NOT EXISTS (SELECT 1 FROM consumers AS c WHERE c.stream = consumer_seconds.stream AND c.name = "
		"consumer_seconds.name)",
	[DB_SLICE_UPDATES] = "SELECT id, ?2 FROM (SELECT rowid AS id FROM shard_updates WHERE rowid > ?1 ORDER BY rowid" SLICE
			     ") ORDER BY id DESC LIMIT 1",
	[DB_PRUNE_UPDATES] = "DELETE FROM shard_updates WHERE rowid > ?1 AND rowid <= ?3 AND at_ms <= ?5",
	[DB_SECRET] = "SELECT value FROM secrets WHERE name = ?",
	[DB_INSERT_SECRET] = "INSERT INTO secrets VALUES (?, ?)",
	[DB_LOAD_CLOCK] = "SELECT running_ms, highest_ms FROM clock",
	[DB_SET_CLOCK] = "INSERT INTO clock VALUES (1, ?, ?) ON CONFLICT (one) DO UPDATE"
			 " SET running_ms = excluded.running_ms, highest_ms = excluded.highest_ms",
	[DB_LOAD_CLOCK_MARKS] = "SELECT at_ms, ahead_ms, vouched FROM clock_marks ORDER BY rowid",
	[DB_DROP_CLOCK_MARKS] = "DELETE FROM clock_marks",
	[DB_INSERT_CLOCK_MARK] = "INSERT INTO clock_marks VALUES (?, ?, ?)",
};

/* ---- The directory and its lock ---- */

static enum status make_directory(struct io *io, const char *data_dir, char **why)
{
	int code = io->mkdir(io, data_dir);
	bool made = code == 0;

	if (made || code == -EEXIST) {
		char *path = xstrdup(data_dir);

		/* Its entry in the directory above: what is in it would be lost with it. Also when it is there: the process that made it
		 * may have been killed before this. Whose directory above cannot be opened did not get it from us. */
		code = io->sync_dir(io, dirname(path));
		free(path);
		if (code == 0 || (!made && code == -EACCES))
			return STATUS_OK;
	}
	*why = xasprintf("%s: cannot make the data directory: %s; %s", data_dir, strerror(-code),
			 code == -ENOENT ? "make the directory above it first" : "give another one with --data-dir");
	return STATUS_IO;
}

static enum status lock_directory(struct control_db *db, const char *data_dir, char **why)
{
	char *path = xasprintf("%s/lock", data_dir), owner[24] = "";
	enum status status = STATUS_IO;

	db->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (db->lock_fd < 0) {
		*why = xasprintf("%s: cannot be opened: %s; check who owns the data directory, or give another one with --data-dir", path,
				 strerror(errno));
		goto out;
	}
	if (flock(db->lock_fd, LOCK_EX | LOCK_NB) != 0) {
		ssize_t n = pread(db->lock_fd, owner, sizeof(owner) - 1, 0);

		owner[n > 0 ? n : 0] = '\0';
		owner[strcspn(owner, "\n")] = '\0';
		*why = xasprintf(
			"%s: another server (process %s) is using this data directory; stop it, or give this one another --data-dir",
			data_dir, owner[0] ? owner : "unknown");
		status = STATUS_IN_USE;
		goto out;
	}
	/* The number is for the message above only; the lock itself is the kernel's, and ends with the process. */
	if (ftruncate(db->lock_fd, 0) != 0 || dprintf(db->lock_fd, "%ld\n", (long)getpid()) < 0) {
		*why = xasprintf("%s: cannot be written: %s", path, strerror(errno));
		goto out;
	}
	status = STATUS_OK;
out:
	free(path);
	return status;
}

static void on_stream_directory(void *arg, const char *name)
{
	(void)name;
	++*(unsigned *)arg;
}

/* A directory with streams but no catalogue has lost it: a new one would number its streams from 1 again, over the old ones' records. */
static enum status check_lost(struct control_db *db, struct io *io, const char *data_dir, const char *how, char **why)
{
	char *streams = xasprintf("%s/streams", data_dir);
	unsigned n = 0;

	io->list(io, streams, on_stream_directory, &n);
	if (n > 0)
		*why = xasprintf("%s: is %s, but %s holds the records of %u streams; put the catalogue back from a backup, or move %s away "
				 "to begin anew",
				 db->path, how, streams, n, streams);
	free(streams);
	return n > 0 ? STATUS_CORRUPT : STATUS_OK;
}

/* Makes an empty catalogue.db for SQLite to fill, unless there is one: SQLite itself would make it readable for everybody. */
static enum status make_file(struct control_db *db, struct io *io, const char *data_dir, char **why)
{
	enum status status;
	int fd;

	if (access(db->path, F_OK) == 0)
		return STATUS_OK;
	status = check_lost(db, io, data_dir, "missing", why);
	if (status)
		return status;
	fd = open(db->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && close(fd) == 0)
		return STATUS_OK;
	*why = xasprintf("%s: cannot be made: %s", db->path, strerror(errno));
	return STATUS_IO;
}

/* ---- The WAL ---- */

static int rewrite(struct io *io, int file)
{
	int64_t size = io->size(io, file), error = size;

	if (size > 0) {
		struct iovec iov = {xmalloc((size_t)size), (size_t)size};

		error = io->pread(io, file, iov.iov_base, iov.iov_len, 0);
		if (error == size)
			error = io->pwritev(io, file, &iov, 1, 0);
		free(iov.iov_base);
	}
	if (error > 0)
		error = io->fdatasync(io, file);
	return (int)error;
}

/* A process that died after a failed sync has left pages in memory that the kernel calls clean. SQLite would take their commits for
 * durable, and lay others behind them: the next power cut would take both. Only another write carries them to the disk (docs/on-disk.md
 * says the same of the log). The pages of catalogue.db itself need none: all that a checkpoint did not finish stays in the WAL and is
 * written by the next. */
static enum status settle_wal(struct control_db *db, struct io *io, char **why)
{
	char *path = xasprintf("%s-wal", db->path);
	int file = io->open(io, path, IO_WRITE), error = file;

	if (file >= 0) {
		error = rewrite(io, file);
		io->close(io, file);
	}
	if (error < 0 && error != -ENOENT)
		*why = xasprintf("%s: cannot be written again: %s; check the disk, and who owns the file", path, strerror(-error));
	free(path);
	return *why ? STATUS_IO : STATUS_OK;
}

/* ---- The file ---- */

/* What SQLite could not do, in words for whoever starts the server. */
static enum status refuse(struct control_db *db, char **why)
{
	int code = sqlite3_errcode(db->sqlite) & 0xff;

	switch (code) {
	case SQLITE_NOTADB:
		*why = xasprintf("%s: is damaged, or no SQLite file; put it back from a backup, or give another --data-dir", db->path);
		return STATUS_CORRUPT;
	case SQLITE_CORRUPT:
		*why = xasprintf("%s: is damaged (%s); put it back from a backup, or let `sqlite3 %s .recover` save what is whole",
				 db->path, sqlite3_errmsg(db->sqlite), db->path);
		return STATUS_CORRUPT;
	default:
		*why = xasprintf("%s: %s; check that the disk has room, that the file and its directory can be written, and that no other "
				 "program holds it open",
				 db->path, sqlite3_errmsg(db->sqlite));
		return STATUS_IO;
	}
}

/* One value of one row; text into *text when it is wanted. False: *why says what went wrong. */
static bool ask(struct control_db *db, const char *sql, int64_t *integer, char **text, enum status *status, char **why)
{
	sqlite3_stmt *statement = NULL;
	bool ok = sqlite3_prepare_v2(db->sqlite, sql, -1, &statement, NULL) == SQLITE_OK && sqlite3_step(statement) == SQLITE_ROW;

	if (!ok && sqlite3_errcode(db->sqlite) == SQLITE_DONE) {
		*why = xasprintf("%s: is damaged (no row for \"%s\"); put it back from a backup", db->path, sql);
		*status = STATUS_CORRUPT;
	} else if (!ok) {
		*status = refuse(db, why);
	} else {
		const unsigned char *bytes = sqlite3_column_text(statement, 0);
		char *copy = xstrdup(bytes ? (const char *)bytes : "");

		*integer = sqlite3_column_int64(statement, 0);
		/* What it writes, it writes behind its row: a change to WAL that failed has said "wal" by then. */
		ok = sqlite3_step(statement) == SQLITE_DONE;
		if (!ok)
			*status = refuse(db, why);
		if (ok && text)
			*text = copy;
		else
			free(copy);
	}
	sqlite3_finalize(statement);
	return ok;
}

/* A read that fails is a line of the verdict, as damage is: "... error code=266", where the rest of SQLite returns that code. What could
 * not be read may be whole; a backup in its place would lose what was made since. */
static bool says_unreadable(const char *verdict)
{
	const char *at = strstr(verdict, "error code");
	return at && (strtol(at + strcspn(at, "0123456789"), NULL, 10) & 0xff) == SQLITE_IOERR;
}

static bool is_whole(struct control_db *db, enum status *status, char **why)
{
	char *verdict = NULL;
	const char *what;
	int64_t ignored;
	bool whole;

	if (!ask(db, "PRAGMA quick_check(1)", &ignored, &verdict, status, why))
		return false;
	whole = strcmp(verdict, "ok") == 0;
	what = strrchr(verdict, '\n'); /* before it: "*** in database main ***" */
	what = what ? what + 1 : verdict;
	if (says_unreadable(what)) {
		*why = xasprintf("%s: cannot be read (%s); see to the disk (the kernel's log says more), then start again", db->path, what);
		*status = STATUS_IO;
	} else if (!whole) {
		*why = xasprintf("%s: is damaged (%s); put it back from a backup, or let `sqlite3 %s .recover` save what is whole",
				 db->path, what, db->path);
		*status = STATUS_CORRUPT;
	}
	free(verdict);
	return whole;
}

/* Ours, whole, and of a version that we know? *fresh: it is empty; else *version is set. Only reads. */
static enum status inspect(struct control_db *db, bool *fresh, int64_t *version, char **why)
{
	int64_t tables, application;
	enum status status = STATUS_OK;

	if (!is_whole(db, &status, why) || !ask(db, "SELECT count(*) FROM sqlite_master", &tables, NULL, &status, why) ||
	    !ask(db, "PRAGMA application_id", &application, NULL, &status, why))
		return status;
	*fresh = tables == 0 && application == 0;
	if (*fresh)
		return STATUS_OK;
	if (application != APPLICATION_ID) {
		*why = xasprintf("%s: belongs to another program (application_id %" PRId64 "); move it away, or give another --data-dir",
				 db->path, application);
		return STATUS_CORRUPT;
	}
	if (!ask(db, "SELECT version FROM schema_version", version, NULL, &status, why))
		return status;
	if (*version < 1 || *version > CONTROL_SCHEMA_VERSION) {
		*why = xasprintf("%s: is of version %" PRId64
				 ", this server knows version %d; start the server that wrote it, or give another --data-dir",
				 db->path, *version, CONTROL_SCHEMA_VERSION);
		return STATUS_CORRUPT;
	}
	return STATUS_OK;
}

static bool run(struct control_db *db, const char *sql) { return sqlite3_exec(db->sqlite, sql, NULL, NULL, NULL) == SQLITE_OK; }

/* To the present version, step by step; all of them or none. */
static bool upgrade(struct control_db *db, int64_t version)
{
	char *set = xasprintf("UPDATE schema_version SET version = %d", CONTROL_SCHEMA_VERSION);
	bool good = run(db, "BEGIN IMMEDIATE");

	for (int64_t at = version; good && at < CONTROL_SCHEMA_VERSION; at++)
		good = run(db, upgrades[at - 1]);
	good = good && run(db, set) && run(db, "COMMIT");
	free(set);
	return good; /* what failed is rolled back as the file is closed */
}

static enum status prepare(struct control_db *db, char **why)
{
	for (int i = 0; i < DB_STATEMENTS; i++)
		if (sqlite3_prepare_v3(db->sqlite, statement_text[i], -1, SQLITE_PREPARE_PERSISTENT, &db->statements[i], NULL) !=
		    SQLITE_OK) {
			*why = xasprintf("%s: is damaged (%s); put it back from a backup", db->path, sqlite3_errmsg(db->sqlite));
			return STATUS_CORRUPT;
		}
	return STATUS_OK;
}

static enum status open_file(struct control_db *db, struct io *io, const char *data_dir, const char *vfs, char **why)
{
	int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (vfs ? SQLITE_OPEN_CREATE : 0);
	bool fresh = false;
	enum status status;
	char *mode = NULL;
	int64_t ignored, version = CONTROL_SCHEMA_VERSION;

	if (sqlite3_open_v2(db->path, &db->sqlite, flags, vfs) != SQLITE_OK)
		return refuse(db, why);
	/* A file that is refused is left as it is: its WAL too, which the last close would take into it. */
	sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	/* An operator may look at the file with a shell while we run: wait for its lock, within what a caller of ours would. */
	sqlite3_busy_timeout(db->sqlite, 2000);
	status = inspect(db, &fresh, &version, why);
	if (!status && fresh)
		status = check_lost(db, io, data_dir, "empty", why);
	if (status)
		return status;
	if (!ask(db, "PRAGMA journal_mode = WAL", &ignored, &mode, &status, why))
		return status;
	if (strcmp(mode, "wal") != 0) {
		*why = xasprintf("%s: cannot be put into WAL mode; does its file system have shared memory? Give another --data-dir",
				 db->path);
		status = STATUS_IO;
	} else if (!run(db, "PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; "
			    "PRAGMA temp_store = MEMORY") ||
		   (fresh && !run(db, schema)) || (version < CONTROL_SCHEMA_VERSION && !upgrade(db, version))) {
		status = refuse(db, why);
	}
	free(mode);
	if (!status)
		status = prepare(db, why);
	if (!status)
		sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
	return status;
}

static void close_file(struct control_db *db)
{
	for (int i = 0; i < DB_STATEMENTS; i++) {
		sqlite3_finalize(db->statements[i]);
		db->statements[i] = NULL;
	}
	/* Of a WAL that could not be synced nothing may go into the file: a power cut in the middle would leave half of it. */
	if (db->poisoned)
		sqlite3_db_config(db->sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	sqlite3_close(db->sqlite);
	db->sqlite = NULL;
}

static enum status settle_and_open(struct control_db *db, struct io *io, const char *data_dir, const char *vfs, char **why)
{
	enum status status = settle_wal(db, io, why);

	return status ? status : open_file(db, io, data_dir, vfs, why);
}

/* A full disk shows in many ways, also as an error of the WAL's index: the reserve may be what is missing. The first try may have
 * left a WAL whose sync failed. */
static enum status open_with_reserve(struct control_db *db, struct io *io, const char *data_dir, const char *vfs, char **why)
{
	enum status status = settle_and_open(db, io, data_dir, vfs, why);

	if (status != STATUS_IO || !control_reserve_give(&db->reserve))
		return status;
	free(*why);
	*why = NULL;
	close_file(db);
	return settle_and_open(db, io, data_dir, vfs, why);
}

enum status control_db_open(struct control_db *db, struct io *io, const char *data_dir, const char *vfs, uint64_t reserve_bytes, char **why)
{
	enum status status;

	*db = (struct control_db){.path = xasprintf("%s/catalogue.db", data_dir), .lock_fd = -1};
	*why = NULL;
	status = make_directory(io, data_dir, why);
	if (!status && !vfs)
		status = lock_directory(db, data_dir, why);
	if (!status)
		control_reserve_open(&db->reserve, io, data_dir, reserve_bytes);
	if (!status && !vfs)
		status = make_file(db, io, data_dir, why);
	if (!status)
		status = open_with_reserve(db, io, data_dir, vfs, why);
	if (!status && io->sync_dir(io, data_dir) != 0) {
		*why = xasprintf("%s: cannot be synced; check the disk", data_dir);
		status = STATUS_IO;
	}
	if (status)
		control_db_close(db);
	else
		control_reserve_opened(&db->reserve, data_dir);
	return status;
}

void control_db_close(struct control_db *db)
{
	close_file(db);
	if (db->lock_fd >= 0)
		close(db->lock_fd);
	free(db->path);
	control_reserve_close(&db->reserve);
	*db = (struct control_db){.lock_fd = -1};
}
