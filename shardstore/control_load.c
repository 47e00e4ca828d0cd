/* control_load.c: builds a snapshot of the whole catalogue from its file.
 *
 * Thread: control; before control_start, the one that starts the server. It is read anew after each change: the file is the truth, and
 * a second copy in memory could differ from it. 20,000 shards take some ten milliseconds, once per change of the control plane.
 *
 * Happy path:
 * - streams by name (SQLite's BINARY collation is byte order), each with its shards by number and its consumers by name
 *
 * Failure modes:
 * - a read fails: NULL; the change that asked for it stays in the file, and the next one publishes both. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "shardstore/control_db.h"

/* Room for one more element; capacities are powers of two, so that only a full array is moved. */
static void *grow(void *base, uint32_t n, size_t size)
{
	if (n & (n - 1))
		return base;
	return xrealloc(base, (n ? (size_t)n * 2 : 1) * size);
}

static void copy_name(char out[STREAM_NAME_MAX + 1], sqlite3_stmt *row, int column)
{
	const unsigned char *text = sqlite3_column_text(row, column);
	size_t n = (size_t)sqlite3_column_bytes(row, column);

	assert(text && n <= STREAM_NAME_MAX); /* the table's CHECK says so */
	memcpy(out, text, n);
	out[n] = '\0';
}

uint128 control_db_hash(sqlite3_stmt *row, int column)
{
	const uint8_t *p = sqlite3_column_blob(row, column);
	uint128 hash = 0;

	assert(p && sqlite3_column_bytes(row, column) == 16); /* the table's CHECK says so */
	for (int i = 0; i < 16; i++)
		hash = hash << 8 | p[i];
	return hash;
}

static void read_stream(struct stream_info *stream, sqlite3_stmt *row)
{
	*stream = (struct stream_info){
		.id = (uint64_t)sqlite3_column_int64(row, 0),
		.status = (enum stream_status)sqlite3_column_int(row, 2),
		.mode = (enum stream_mode)sqlite3_column_int(row, 3),
		.shard_target = (uint32_t)sqlite3_column_int64(row, 4),
		.created_ms = sqlite3_column_int64(row, 5),
		.retention_hours = sqlite3_column_int(row, 6),
		.max_record_kib = sqlite3_column_int(row, 7),
	};
	copy_name(stream->name, row, 1);
}

static void read_shard(struct shard_info *shard, uint64_t stream, sqlite3_stmt *row)
{
	*shard = (struct shard_info){
		.key = {.stream = stream, .shard = (uint32_t)sqlite3_column_int64(row, 0), .created_s = sqlite3_column_int64(row, 1)},
		.hash_first = control_db_hash(row, 2),
		.hash_last = control_db_hash(row, 3),
		.parent = (uint32_t)sqlite3_column_int64(row, 4),
		.adjacent = (uint32_t)sqlite3_column_int64(row, 5),
		.closed = sqlite3_column_int(row, 6) != 0,
		.end_index = (uint64_t)sqlite3_column_int64(row, 7),
		.closed_s = sqlite3_column_int64(row, 8),
		.opened_ms = sqlite3_column_int64(row, 9),
		.closed_ms = sqlite3_column_int64(row, 10),
	};
}

static void read_consumer(struct consumer_info *consumer, sqlite3_stmt *row)
{
	*consumer = (struct consumer_info){
		.id = (uint64_t)sqlite3_column_int64(row, 0),
		.status = (enum consumer_status)sqlite3_column_int(row, 2),
		.created_s = sqlite3_column_int64(row, 3),
		.created_ms = sqlite3_column_int64(row, 4),
	};
	copy_name(consumer->name, row, 1);
}

static enum status load_shards(struct control_db *db, struct stream_info *stream, int64_t now_ms)
{
	int64_t expired_ms = now_ms - (int64_t)stream->retention_hours * 3600 * 1000;
	sqlite3_stmt *row = control_db_query(db, DB_LOAD_SHARDS, (struct db_value[]){DB_INT(stream->id), DB_INT(expired_ms)}, 2);
	enum status status = STATUS_INTERNAL;

	while (row && (status = control_db_next(db, row)) == STATUS_OK) {
		stream->shards = grow(stream->shards, stream->n_shards, sizeof(*stream->shards));
		read_shard(&stream->shards[stream->n_shards++], stream->id, row);
	}
	return status == STATUS_NOT_FOUND ? STATUS_OK : STATUS_INTERNAL;
}

static enum status load_consumers(struct control_db *db, struct stream_info *stream)
{
	sqlite3_stmt *row = control_db_query(db, DB_LOAD_CONSUMERS, (struct db_value[]){DB_INT(stream->id)}, 1);
	enum status status = STATUS_INTERNAL;

	while (row && (status = control_db_next(db, row)) == STATUS_OK) {
		stream->consumers = grow(stream->consumers, stream->n_consumers, sizeof(*stream->consumers));
		read_consumer(&stream->consumers[stream->n_consumers++], row);
	}
	return status == STATUS_NOT_FOUND ? STATUS_OK : STATUS_INTERNAL;
}

static enum status load_streams(struct control_db *db, struct catalogue *snapshot)
{
	sqlite3_stmt *row = control_db_query(db, DB_LOAD_STREAMS, NULL, 0);
	enum status status = STATUS_INTERNAL;

	while (row && (status = control_db_next(db, row)) == STATUS_OK) {
		snapshot->streams = grow(snapshot->streams, snapshot->n_streams, sizeof(*snapshot->streams));
		read_stream(&snapshot->streams[snapshot->n_streams++], row);
	}
	return status == STATUS_NOT_FOUND ? STATUS_OK : STATUS_INTERNAL;
}

struct catalogue *control_load(struct control_db *db, uint64_t version, int64_t now_ms)
{
	struct catalogue *snapshot = xcalloc(1, sizeof(*snapshot));
	enum status status;

	atomic_init(&snapshot->refs, 1);
	snapshot->version = version;
	status = load_streams(db, snapshot);
	for (uint32_t i = 0; i < snapshot->n_streams && !status; i++) {
		status = load_shards(db, &snapshot->streams[i], now_ms);
		if (!status)
			status = load_consumers(db, &snapshot->streams[i]);
	}
	if (!status)
		return snapshot;
	catalogue_unref(snapshot);
	return NULL;
}
