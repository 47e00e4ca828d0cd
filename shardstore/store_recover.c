/* store_recover.c: a stream's log is opened and told to its shards: the index, the next index, the last arrival time.
 *
 * - each run of extents that the log names goes to its shard's index, as it is; a segment's marks raise next index and last arrival also
 *   where retention has left no extent, so that an index is never given twice.
 * - extents of shards that the catalogue no longer has are passed over, and those behind the end of a closed one: a group that the full
 *   disk refused may be whole on it all the same, and nobody was told that it is there.
 * - many at once: threads for the time of the start each take the next stream, and hold its log lines back; then the caller takes all in
 *   order: says their lines, tells damage, gives them to their lanes.
 *
 * Failure: damage is named and the stream is served read-only as far as it is whole (CORRUPT). At start a log that cannot be opened (an
 * error of a read, no permission, no descriptor) is served as unreadable: all of it answers IO until the next start, its files stay as they
 * are, and it can be deleted. It stops no other stream. A stream that is being made is not opened, and tried again.
 *
 * Threads: the caller's and its own at start; a syncer's when a stream is made (then nobody else has it yet). */
#include <sched.h>
#include <stdlib.h>

#include "penstock/metrics.h"
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

/* store_open made all names in streams/ durable, so that a start need not do it for each stream. Later a creation may find a
 * directory that an earlier try made, and whose sync found no descriptor or no room. */
static struct streamlog_config config_of(const struct lane_stream *stream)
{
	const struct store_config *config = &stream->lane->store->config;
	return (struct streamlog_config){.io = config->io,
					 .path = stream->path,
					 .segment_min = config->segment_min,
					 .segment_max = config->segment_max,
					 .parent_synced = !stream->lane->store->started};
}

static enum status open_log(struct recovering *recovering)
{
	struct lane_stream *stream = recovering->stream;
	struct streamlog_config log = config_of(stream);
	struct streamlog_recovery tell = {on_run, on_shard, on_damage, on_torn_tail, recovering};
	enum status status = streamlog_open(&log, &tell, &stream->log);
	return status == STATUS_NOT_FOUND ? streamlog_create(&log, &stream->log) : status;
}

enum status stream_attach(struct lane_stream *stream, char **why)
{
	struct recovering recovering = {.stream = stream};
	enum status status = open_log(&recovering);
	if (status)
		buf_printf(&recovering.why, "%s%s: the log cannot be opened (%s); the line before names the file",
			   recovering.why.n ? "; " : "", stream->path, status_name(status));
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

/* ---- At start ---- */

/* One stream's recovery, on whatever thread. */
struct recovery {
	struct job job;
	struct store *store;
	const struct stream_info *info;
	struct lane_stream *stream;
	enum status status;
	char *why;
	struct buf lines;
};

static struct lane_stream *new_stream(const struct recovery *recovery)
{
	struct store *store = recovery->store;
	return lane_stream_new(&store->lanes[recovery->info->id % store->config.lanes], recovery->info, store->streams_dir);
}

/* What its log told so far is void: the stream begins anew, without records. */
static struct lane_stream *unreadable(const struct recovery *recovery)
{
	lane_stream_free(recovery->stream);
	struct lane_stream *stream = new_stream(recovery);
	struct streamlog_config config = config_of(stream);
	stream->log = streamlog_unreadable(&config);
	stream->refuses = stream->unreadable = true;
	return stream;
}

static void recover(struct recovery *recovery)
{
	recovery->stream = new_stream(recovery);
	recovery->status = stream_attach(recovery->stream, &recovery->why);
	if (recovery->stream->log)
		return;
	recovery->stream = unreadable(recovery);
	recovery->status = STATUS_CORRUPT;
}

static void run_recovery(struct job *job)
{
	struct recovery *recovery = container_of(job, struct recovery, job);
	slog_hold(&recovery->lines);
	recover(recovery);
	slog_hold(NULL);
}

/* To its lane. */
static enum status settle(struct recovery *recovery)
{
	lane_insert(recovery->stream->lane, recovery->stream);
	if (recovery->status == STATUS_CORRUPT)
		metric_add(METRIC_streams_damaged, 1);
	return recovery->status;
}

/* Two for each CPU: half of its time a recovery waits for the disk, also when all that it reads is in memory, since it syncs. */
static unsigned plan_threads(const struct store *store, uint32_t n)
{
	struct pool *pool = NULL;
	unsigned most = sizeof(pool->thread) / sizeof(pool->thread[0]);
	cpu_set_t set;
	if (!store->config.threads || n < 2)
		return 0;
	unsigned threads = sched_getaffinity(0, sizeof(set), &set) == 0 ? 2 * (unsigned)CPU_COUNT(&set) : 2;
	if (threads > most)
		threads = most;
	return threads < n ? threads : n;
}

/* Without threads the caller takes them, in order. */
static void run_all(struct recovery *recoveries, uint32_t n, unsigned threads)
{
	struct pool pool;
	if (pool_start(&pool, "recover", threads, 0))
		pool_start(&pool, "recover", 0, 0); /* threads that cannot be had cost time only */
	for (uint32_t i = 0; i < n; i++)
		pool_add(&pool, &recoveries[i].job);
	pool_stop(&pool);
}

void store_recover_all(struct store *store, const struct stream_info *const *streams, uint32_t n,
		       void (*on_damaged)(void *arg, const struct stream_info *stream, const char *why), void *arg)
{
	struct recovery *recoveries = xcalloc(n + 1, sizeof(*recoveries));
	for (uint32_t i = 0; i < n; i++)
		recoveries[i] = (struct recovery){.job.run = run_recovery, .store = store, .info = streams[i]};
	run_all(recoveries, n, plan_threads(store, n));
	for (uint32_t i = 0; i < n; i++) {
		struct recovery *recovery = &recoveries[i];
		enum status status = settle(recovery);
		slog_say(&recovery->lines);
		if (status == STATUS_CORRUPT)
			on_damaged(arg, streams[i], recovery->why);
		free(recovery->why);
		buf_free(&recovery->lines);
	}
	free(recoveries);
}

enum status store_recover(struct store *store, const struct stream_info *info, char **why)
{
	struct recovery recovery = {.store = store, .info = info};
	recover(&recovery);
	if (recovery.why)
		*why = recovery.why;
	return settle(&recovery);
}
