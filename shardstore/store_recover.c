/* store_recover.c: a stream's log is opened and told to its shards: the index, the next index, the last arrival time.
 *
 * - each run of extents that the log names goes to its shard's index, as it is; a segment's marks raise next index and last arrival also
 *   where retention has left no extent, so that an index is never given twice.
 * - extents of shards that the catalogue no longer has are passed over, and those behind the end of a closed one: a group that the full
 *   disk refused may be whole on it all the same, and nobody was told that it is there.
 *
 * Failure: damage is named and the stream is served read-only as far as it is whole (CORRUPT); a log that cannot be opened is an
 * error that names the path.
 *
 * Threads: the caller's at start; a syncer's when a stream is made (then nobody else has it yet). */
#include <errno.h>
#include <stdlib.h>

#include "penstock/slog.h"
#include "shardstore/lane.h"

struct recovering {
	struct lane_stream *stream;
	struct buf why; /* damage, a line each */
};

static void raise(struct lane_shard *shard, uint64_t next, int64_t arrival_ms)
{
	if (next > shard->next)
		shard->next = next;
	if (arrival_ms > shard->last_arrival_ms)
		shard->last_arrival_ms = arrival_ms;
}

/* Of a closed shard: what lies within its end. */
static void take_within(struct lane_shard *shard, const struct extent_run *run)
{
	struct extent_cursor cursor = extent_run_begin(run);
	while (extent_run_next(&cursor)) {
		if (cursor.extent.first > shard->end_index)
			continue;
		index_append(shard, &cursor.extent);
		raise(shard, cursor.extent.first + cursor.extent.count, cursor.extent.arrival_ms);
	}
}

static void on_run(void *arg, const struct extent_run *run)
{
	struct recovering *recovering = arg;
	struct lane_shard *shard = lane_stream_shard(recovering->stream, run->shard);
	if (!shard)
		return;
	if (shard->closed && run->next - 1 > shard->end_index) {
		take_within(shard, run);
	} else {
		index_adopt(shard, run);
		raise(shard, run->next, run->arrival_ms);
	}
}

static void on_shard(void *arg, uint32_t number, uint64_t next_index, int64_t last_arrival_ms)
{
	struct recovering *recovering = arg;
	struct lane_shard *shard = lane_stream_shard(recovering->stream, number);
	if (shard)
		raise(shard, next_index, last_arrival_ms);
}

static void on_damage(void *arg, const char *file, uint64_t offset, uint64_t length, const char *what)
{
	struct recovering *recovering = arg;
	slog(SLOG_ERROR, "log_damaged", "file=%s offset=%llu length=%llu what=\"%s\"", file, (unsigned long long)offset,
	     (unsigned long long)length, what);
	buf_printf(&recovering->why, "%s%s: %s at offset %llu, length %llu", recovering->why.n ? "; " : "", file, what,
		   (unsigned long long)offset, (unsigned long long)length);
}

static void on_torn_tail(void *arg, const char *file, uint64_t offset, uint64_t length)
{
	(void)arg;
	slog(SLOG_WARN, "torn_tail_cut", "file=%s offset=%llu length=%llu note=\"never acknowledged\"", file, (unsigned long long)offset,
	     (unsigned long long)length);
}

static void on_name(void *arg, const char *name) { (void)arg, (void)name; }

static enum status open_log(struct recovering *recovering)
{
	struct lane_stream *stream = recovering->stream;
	const struct store_config *config = &stream->lane->store->config;
	struct streamlog_config log = {
		.io = config->io, .path = stream->path, .segment_min = config->segment_min, .segment_max = config->segment_max};
	struct streamlog_recovery tell = {on_run, on_shard, on_damage, on_torn_tail, recovering};
	if (config->io->list(config->io, stream->path, on_name, NULL) == -ENOENT)
		return streamlog_create(&log, &stream->log);
	return streamlog_open(&log, &tell, &stream->log);
}

enum status stream_attach(struct lane_stream *stream, char **why)
{
	struct recovering recovering = {.stream = stream};
	enum status status = open_log(&recovering);
	if (status)
		buf_printf(&recovering.why, "%s%s: the log cannot be opened (%s)", recovering.why.n ? "; " : "", stream->path,
			   status_name(status));
	lane_raise_arrivals(stream, 0);
	for (uint32_t i = 0; i < stream->n_shards; i++)
		if (stream->shards[i]->closed) /* its end is the catalogue's to know, also when retention has taken all of it */
			stream->shards[i]->next = stream->shards[i]->end_index + 1;
	lane_route_shards(stream);
	if (!status && streamlog_readonly(stream->log)) {
		stream->refuses = true;
		status = STATUS_CORRUPT;
	}
	if (recovering.why.n)
		*why = xstrndup((const char *)recovering.why.p, recovering.why.n);
	buf_free(&recovering.why);
	return status;
}

enum status store_recover(struct store *store, const struct stream_info *info, char **why)
{
	struct lane *lane = &store->lanes[info->id % store->config.lanes];
	struct lane_stream *stream = lane_stream_new(lane, info, store->streams_dir);
	enum status status = stream_attach(stream, why);
	if (!stream->log) {
		lane_stream_free(stream);
		return status;
	}
	lane_insert(lane, stream);
	return status;
}
