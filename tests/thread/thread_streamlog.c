/* thread_streamlog.c: commits, preparation, rests, sweeps and reads of one log at the same time, on the real disk, as the lane's pools make
 * them, with fewer files open than the log has; then what a start finds. Every record's bytes follow from its index. */
#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "shardstore/extent_run.h"
#include "shardstore/streamlog.h"

#define GROUPS 1500
#define READERS 2
#define FILES 2 /* open at a time, beside those in use */

static struct streamlog *streamlog;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct extent_ref extents[GROUPS]; /* under lock: [oldest, newest) are readable */
static unsigned oldest, newest, prepares, sweeps, reads, passed, failed;
static bool done, sweep_due, prepare_due;
static char path[64];

static void check(bool good, const char *what)
{
	if (good) {
		passed++;
		return;
	}
	failed++;
	fprintf(stderr, "failed: %s\n", what);
}

static struct batch *make_batch(uint64_t first)
{
	struct shard_key key = {.stream = 1, .shard = 0};
	struct batch *batch = batch_new(&key);
	uint8_t data[4096];
	batch->first = first;
	batch->arrival_ms = (int64_t)first;
	memset(data, (int)(first % 251), sizeof(data));
	assert(batch_append(batch, STR("key"), (struct str){(char *)data, first % 7 * 500 + 1}) == STATUS_OK);
	return batch;
}

static bool right(const struct extent_ref *extent)
{
	struct shard_key key = {.stream = 1, .shard = 0};
	struct batch *batch = NULL, *want = make_batch(extent->first);
	bool same = extent_read(extent, &key, &batch) == STATUS_OK && batch->frames_len == want->frames_len &&
		    memcmp(batch->frames, want->frames, want->frames_len) == 0;
	batch_unref(batch);
	batch_unref(want);
	return same;
}

static void *run_preparer(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	while (!done) {
		if (!prepare_due) {
			pthread_cond_wait(&changed, &lock);
			continue;
		}
		prepare_due = false;
		pthread_mutex_unlock(&lock);
		assert(streamlog_prepare(streamlog) == STATUS_OK);
		/* Beside a commit that takes the zeros which it cuts. */
		if (prepares % 4 == 3)
			assert(streamlog_rest(streamlog) == STATUS_OK);
		pthread_mutex_lock(&lock);
		prepares++;
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *run_sweeper(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&lock);
	while (!done) {
		if (!sweep_due) {
			pthread_cond_wait(&changed, &lock);
			continue;
		}
		sweep_due = false;
		pthread_mutex_unlock(&lock);
		assert(streamlog_sweep(streamlog) == STATUS_OK);
		pthread_mutex_lock(&lock);
		sweeps++;
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

static void *run_reader(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;
	pthread_mutex_lock(&lock);
	for (unsigned seen = 0; !done;) {
		if (seen == newest) {
			pthread_cond_wait(&changed, &lock);
			continue;
		}
		seen = newest;
		seed = seed * 1664525 + 1013904223;
		struct extent_ref extent = extents[oldest + seed % (newest - oldest)];
		segment_ref(extent.segment);
		pthread_mutex_unlock(&lock);
		bool good = right(&extent);
		segment_unref(extent.segment);
		pthread_mutex_lock(&lock);
		reads++;
		if (!good)
			check(false, "a read in flight");
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

/* The lane's part between two commits. */
static void publish(const struct extent_ref *extent)
{
	pthread_mutex_lock(&lock);
	extents[newest++] = *extent;
	prepare_due = streamlog_wants_prepare(streamlog);
	if (newest % 100 == 0) {
		int64_t horizon_ms = (int64_t)newest - 400;
		uint64_t keep = streamlog_trim_point(streamlog, horizon_ms, UINT32_MAX);
		while (extents[oldest].segment->number < keep)
			oldest++;
		sweep_due = streamlog_trim(streamlog, horizon_ms, UINT32_MAX) > 0;
	}
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
}

static void run_lane(void)
{
	for (uint64_t i = 1; i <= GROUPS; i++) {
		struct batch *batch = make_batch(i);
		struct extent_ref extent;
		struct group group = {.n_batches = 1, .n_extents = 1, .batches = &batch, .extents = &extent};
		struct shard_mark mark = {.shard = 0, .next_index = i + 1, .last_arrival_ms = (int64_t)i};
		assert(streamlog_commit(streamlog, &group, &mark, 1) == STATUS_OK);
		batch_unref(batch);
		publish(&extent);
	}
}

static uint64_t last, first;

static void on_run(void *arg, const struct extent_run *run)
{
	struct extent_cursor cursor = extent_run_begin(run);
	(void)arg;
	while (extent_run_next(&cursor)) {
		if (!first)
			first = cursor.extent.first;
		if ((last && cursor.extent.first != last + 1) || !right(&cursor.extent))
			check(false, "a recovered extent");
		last = cursor.extent.first;
	}
}

static void on_shard(void *arg, uint32_t shard, uint64_t next_index, int64_t last_arrival_ms)
{
	(void)arg, (void)shard, (void)next_index, (void)last_arrival_ms;
}

static void on_damage(void *arg, const char *file, uint64_t offset, uint64_t length, const char *what)
{
	(void)arg, (void)offset, (void)length;
	fprintf(stderr, "%s: %s\n", file, what);
	check(false, "no damage");
}

static void on_torn_tail(void *arg, const char *file, uint64_t offset, uint64_t length)
{
	(void)arg, (void)file, (void)offset, (void)length;
	check(false, "no torn tail");
}

static void run_threads(void)
{
	pthread_t thread[2 + READERS];
	pthread_create(&thread[0], NULL, run_preparer, NULL);
	pthread_create(&thread[1], NULL, run_sweeper, NULL);
	for (uintptr_t i = 0; i < READERS; i++)
		pthread_create(&thread[2 + i], NULL, run_reader, (void *)(i + 1));
	run_lane();
	pthread_mutex_lock(&lock);
	done = true;
	pthread_cond_broadcast(&changed);
	pthread_mutex_unlock(&lock);
	for (int i = 0; i < 2 + READERS; i++)
		pthread_join(thread[i], NULL);
}

int main(void)
{
	char parent[] = "thread_streamlog.XXXXXX";
	assert(mkdtemp(parent));
	snprintf(path, sizeof(path), "%s/log", parent);
	struct streamlog_config config = {.io = io_bounded(io_posix(), FILES), .path = path, .segment_min = 65536, .segment_max = 262144};
	struct streamlog_recovery recovery = {on_run, on_shard, on_damage, on_torn_tail, NULL};
	assert(streamlog_create(&config, &streamlog) == STATUS_OK);
	run_threads();
	check(prepares > 0 && sweeps > 0 && reads > 0, "all took part");
	check(oldest > 0, "something was trimmed");
	for (int seal = 0; seal < 2; seal++) {
		streamlog_close(streamlog, seal);
		first = last = 0;
		check(streamlog_open(&config, &recovery, &streamlog) == STATUS_OK, "opens");
		check(last == GROUPS && first <= oldest + 1, "recovers all that was kept");
	}
	check(streamlog_destroy(streamlog) == STATUS_OK, "destroyed");
	io_bounded_free(config.io);
	check(rmdir(parent) == 0, "nothing is left");
	printf("thread_streamlog: %u passed, %u failed\n", passed, failed);
	return failed != 0;
}
