/* thread_recover.c: a start recovers streams beside each other, and nobody can tell from what it says: log lines and damage come in the
 * order of the streams; a log that cannot be opened is named, and stops no other stream.
 *
 * Each log has three groups and no footer; of some the second is damaged. The disk lets nobody read the first stream before somebody reads
 * the third: with one thread that would be never. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "shardstore/lane.h"

#define STREAMS 12
#define RECORDS 3
#define FILES 1024
#define PATIENCE_S 20
#define ROUNDS 30

static const bool damaged[STREAMS + 1] = {[1] = true, [2] = true, [7] = true};
static char dir[64];
static struct io io;
static struct shard_info shards[STREAMS + 1];
static struct stream_info infos[STREAMS + 1];
static atomic_int stream_of[FILES]; /* by file; 0: none that matters */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool third_read, waited_in_vain; /* under lock */
static int unreadable;
static unsigned passed, failed;

static void check(bool good, const char *what)
{
	passed += good;
	failed += !good;
	if (!good)
		fprintf(stderr, "failed: %s\n", what);
}

/* ---- A disk on which order is known ---- */

static int on_open(struct io *table, const char *path, enum io_open how)
{
	unsigned stream = 0;
	const char *at = strstr(path, "/streams/");
	if (at)
		sscanf(at, "/streams/%u/", &stream);
	if (stream && (int)stream == unreadable)
		return -EIO;
	int file = io_posix()->open(table, path, how);
	if (file >= 0 && file < FILES)
		stream_of[file] = (int)stream;
	return file;
}

static int64_t on_pread(struct io *table, int file, void *p, size_t n, uint64_t offset)
{
	int stream = file < FILES ? stream_of[file] : 0;
	struct timespec until;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&lock);
	if (stream == 3) {
		third_read = true;
		pthread_cond_broadcast(&changed);
	}
	while (stream == 1 && !third_read && !waited_in_vain)
		waited_in_vain = pthread_cond_timedwait(&changed, &lock, &until) == ETIMEDOUT;
	pthread_mutex_unlock(&lock);
	return io_posix()->pread(table, file, p, n, offset);
}

/* ---- What lies on it ---- */

static void commit(struct streamlog *log, uint32_t stream, uint64_t first, struct extent_ref *extent)
{
	struct shard_key key = {.stream = stream, .shard = 0};
	struct batch *batch = batch_new(&key);
	struct shard_mark mark = {.shard = 0, .next_index = first + 1, .last_arrival_ms = 1};
	batch->first = first;
	batch->arrival_ms = 1;
	assert(batch_append(batch, STR("key"), STR("some data")) == STATUS_OK);
	struct group group = {.n_batches = 1, .n_extents = 1, .batches = &batch, .extents = extent};
	assert(streamlog_commit(log, &group, &mark, 1) == STATUS_OK);
	batch_unref(batch);
}

static void spoil(const struct extent_ref *extent)
{
	uint8_t byte = 0;
	int file = open(extent->segment->path, O_RDWR);
	assert(file >= 0 && pread(file, &byte, 1, (off_t)extent->offset + 8) == 1);
	byte ^= 0xff;
	assert(pwrite(file, &byte, 1, (off_t)extent->offset + 8) == 1);
	close(file);
}

static void make_stream(uint32_t id)
{
	char path[128];
	struct streamlog *log;
	struct extent_ref extents[RECORDS];
	snprintf(path, sizeof(path), "%s/streams/%u", dir, id);
	struct streamlog_config config = {.io = io_posix(), .path = path, .segment_min = 64 << 10, .segment_max = 64 << 10};
	assert(streamlog_create(&config, &log) == STATUS_OK);
	for (uint32_t i = 0; i < RECORDS; i++)
		commit(log, id, i + 1, &extents[i]);
	if (damaged[id])
		spoil(&extents[1]);
	streamlog_close(log, false);
	shards[id] = (struct shard_info){
		.key = {.stream = id, .created_s = 1600000000}, .hash_last = ~(uint128)0, .parent = NO_PARENT, .adjacent = NO_PARENT};
	infos[id] = (struct stream_info){.id = id, .status = STREAM_ACTIVE, .n_shards = 1, .shards = &shards[id]};
}

/* ---- A start ---- */

static void on_poisoned(void *arg, const char *why)
{
	(void)arg;
	check(false, why);
}

static void on_damaged(void *arg, const struct stream_info *stream, const char *why)
{
	(void)arg;
	if ((int)stream->id == unreadable)
		check(why && strstr(why, "/streams/5: the log cannot be opened"), "it is named");
	else
		check(why && strstr(why, "frames at offset"), "damage says where it is");
	slog(SLOG_ERROR, "stream_damaged", "of=/streams/%llu/", (unsigned long long)stream->id);
}

static void start(struct store **store)
{
	char *why = NULL;
	const struct stream_info *streams[STREAMS];
	struct store_config config = {.io = &io,
				      .data_dir = dir,
				      .lanes = 2,
				      .syncers = 1,
				      .readers = 1,
				      .threads = true,
				      .free_floor = 1,
				      .on_poisoned = on_poisoned};
	for (uint32_t i = 0; i < STREAMS; i++)
		streams[i] = &infos[i + 1];
	assert(store_open(&config, store, &why) == STATUS_OK);
	store_recover_all(*store, streams, STREAMS, on_damaged, NULL);
}

/* The same, with its log lines in `said`. */
static void start_said(struct store **store, FILE *said)
{
	int saved = dup(STDERR_FILENO);
	dup2(fileno(said), STDERR_FILENO);
	start(store);
	dup2(saved, STDERR_FILENO);
	close(saved);
	rewind(said);
}

/* The lines are those of damage alone: for each damaged stream its log's, then its own. */
static void check_lines(FILE *said)
{
	char line[512], log[64], stream[64];
	for (unsigned id = 1; id <= STREAMS; id++) {
		if (!damaged[id])
			continue;
		snprintf(log, sizeof(log), "log_damaged file=%.32s/streams/%u/", dir, id);
		snprintf(stream, sizeof(stream), "stream_damaged of=/streams/%u/", id);
		check(fgets(line, sizeof(line), said) && strstr(line, log), "the log's damage, in the order of streams");
		check(fgets(line, sizeof(line), said) && strstr(line, stream), "the stream's behind its log's");
	}
	check(!fgets(line, sizeof(line), said), "nothing else is said");
}

static const struct lane_stream *stream_with(struct store *store, uint32_t id) { return lane_find(&store->lanes[id % 2], id); }

static uint64_t next_of(struct store *store, uint32_t id)
{
	const struct lane_stream *stream = stream_with(store, id);
	return stream ? stream->shards[0]->next : 0;
}

static void test_all(void)
{
	struct store *store;
	FILE *said = tmpfile();
	start_said(&store, said);
	check(!waited_in_vain, "streams are recovered beside each other");
	check_lines(said);
	for (uint32_t id = 1; id <= STREAMS; id++)
		check(next_of(store, id) == RECORDS + 1, "each stream is in its lane, with its records");
	fclose(said);
	store_free(store);
}

static void test_unreadable(void)
{
	struct store *store;
	char line[512];
	bool named = false;
	FILE *said = tmpfile();
	int64_t before = metric_get(METRIC_streams_damaged);
	start_said(&store, said);
	while (fgets(line, sizeof(line), said))
		named |= strstr(line, "segment_unreadable") && strstr(line, "/streams/5/") && strstr(line, "Input/output error");
	check(named, "the log names the file and the error");
	for (uint32_t id = 1; id <= STREAMS; id++)
		check(next_of(store, id) == (id == 5 ? 1 : RECORDS + 1), "the others are there with their records");
	check(stream_with(store, 5)->unreadable && stream_with(store, 5)->refuses, "it answers errors");
	check(metric_get(METRIC_streams_damaged) - before == 4, "damaged and unreadable streams are counted");
	fclose(said);
	store_free(store);
}

static void remove_all(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -r %s", dir);
	check(system(command) == 0, "the directory goes");
}

int main(void)
{
	snprintf(dir, sizeof(dir), "/tmp/penstock-recover-XXXXXX");
	char streams[80];
	assert(mkdtemp(dir));
	snprintf(streams, sizeof(streams), "%s/streams", dir);
	assert(io_posix()->mkdir(io_posix(), streams) == 0);
	io = *io_posix();
	io.open = on_open;
	io.pread = on_pread;
	for (uint32_t id = 1; id <= STREAMS; id++)
		make_stream(id);
	test_all();
	unreadable = 5;
	for (unsigned i = 0; i < ROUNDS; i++)
		test_unreadable();
	remove_all();
	printf("thread_recover: %u passed, %u failed\n", passed, failed);
	return failed != 0;
}
