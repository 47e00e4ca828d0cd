/* streamlog_fixture.h: a log on a simulated disk, groups whose bytes follow from (shard, index) alone, and a check of all that is recovered
 * against that: so that the truth needs no memory but "acknowledged up to". */
#ifndef PENSTOCK_TESTS_STREAMLOG_FIXTURE_H
#define PENSTOCK_TESTS_STREAMLOG_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "shardstore/extent_run.h"
#include "shardstore/streamlog.h"
#include "tests/sim/disk.h"

#define SHARDS 3
#define LOG_PATH "data/streams/1"
#define LOG_MIN 8192
#define LOG_MAX 32768

/* ---- What recovery told ---- */

struct told {
	struct extent_ref *extents;
	size_t n;
	uint64_t mark[SHARDS]; /* highest next index of a header */
	unsigned damages, torn;
	char file[256];        /* of the last damage or torn tail */
	uint64_t offset, length;
};

static inline void on_run(void *arg, const struct extent_run *run)
{
	struct told *told = arg;
	struct extent_cursor cursor = extent_run_begin(run);
	while (extent_run_next(&cursor)) {
		told->extents = xrealloc(told->extents, (told->n + 1) * sizeof(told->extents[0]));
		told->extents[told->n++] = cursor.extent;
	}
}

static inline void on_shard(void *arg, uint32_t shard, uint64_t next_index, int64_t last_arrival_ms)
{
	struct told *told = arg;
	(void)last_arrival_ms;
	cr_assert(shard < SHARDS);
	if (next_index > told->mark[shard])
		told->mark[shard] = next_index;
}

static inline void named(struct told *told, const char *file, uint64_t offset, uint64_t length)
{
	snprintf(told->file, sizeof(told->file), "%s", file);
	told->offset = offset;
	told->length = length;
}

static inline void on_damage(void *arg, const char *file, uint64_t offset, uint64_t length, const char *what)
{
	struct told *told = arg;
	cr_assert(what);
	told->damages++;
	named(told, file, offset, length);
}

static inline void on_torn_tail(void *arg, const char *file, uint64_t offset, uint64_t length)
{
	struct told *told = arg;
	told->torn++;
	named(told, file, offset, length);
}

static inline void told_fini(struct told *told)
{
	free(told->extents);
	*told = (struct told){0};
}

static inline enum status open_log(struct io *io, struct told *told, struct streamlog **log)
{
	struct streamlog_config config = {.io = io, .path = LOG_PATH, .segment_min = LOG_MIN, .segment_max = LOG_MAX};
	struct streamlog_recovery recovery = {on_run, on_shard, on_damage, on_torn_tail, told};
	*told = (struct told){0};
	return streamlog_open(&config, &recovery, log);
}

static inline enum status create_log(struct io *io, struct streamlog **log)
{
	struct streamlog_config config = {.io = io, .path = LOG_PATH, .segment_min = LOG_MIN, .segment_max = LOG_MAX};
	return streamlog_create(&config, log);
}

static inline void make_parents(struct io *io)
{
	io->mkdir(io, "data");
	io->sync_dir(io, "/");
	io->mkdir(io, "data/streams");
	io->sync_dir(io, "data");
}

/* ---- Records that follow from their place ---- */

static inline uint64_t mix(uint32_t shard, uint64_t index)
{
	struct rng rng;
	rng_init(&rng, index * 31 + shard);
	return rng_next(&rng);
}

#define RECORD_MAX 3000

static inline size_t record_of(uint32_t shard, uint64_t index, char key[32], uint8_t data[RECORD_MAX])
{
	struct rng rng;
	rng_init(&rng, mix(shard, index));
	size_t n = rng_chance(&rng, 20) ? rng_below(&rng, RECORD_MAX) : rng_below(&rng, 200);
	for (size_t i = 0; i < n; i++)
		data[i] = (uint8_t)rng_next(&rng);
	snprintf(key, 32, "%" PRIu32 "/%" PRIu64, shard, index);
	return n;
}

static inline struct batch *make_batch(uint32_t shard, uint64_t first, uint32_t count, int64_t arrival_ms)
{
	struct shard_key key = {.stream = 1, .shard = shard, .created_s = 1700000000};
	struct batch *batch = batch_new(&key);
	batch->first = first;
	batch->arrival_ms = arrival_ms;
	for (uint32_t i = 0; i < count; i++) {
		char name[32];
		uint8_t data[RECORD_MAX];
		size_t n = record_of(shard, first + i, name, data);
		cr_assert(batch_append(batch, str_of(name), (struct str){(char *)data, n}) == STATUS_OK);
	}
	return batch;
}

static inline void check_batch(const struct batch *batch)
{
	size_t cursor = 0;
	uint32_t nth = 0;
	uint64_t payload = 0;
	struct record record;
	while (batch_next(batch, &cursor, &nth, &record)) {
		char name[32];
		uint8_t data[RECORD_MAX];
		size_t n = record_of(batch->shard.shard, record.index, name, data);
		cr_assert(str_equal(record.key, str_of(name)) && str_equal(record.data, (struct str){(char *)data, n}));
		payload += record.key.n + record.data.n;
	}
	cr_assert(cursor == batch->frames_len && nth == batch->count && payload == batch->payload);
}

static inline enum status read_extent(const struct extent_ref *extent, struct batch **batch)
{
	struct shard_key key = {.stream = 1, .shard = extent->shard, .created_s = 1700000000};
	return extent_read(extent, &key, batch);
}

/* ---- A writer ---- */

struct writer {
	struct io *io;
	struct streamlog *log;
	struct rng rng;
	uint64_t next[SHARDS];  /* of the next group */
	uint64_t acked[SHARDS]; /* last index acknowledged */
	struct extent_ref last[SHARDS];
	uint32_t last_n;
};

static inline void writer_init(struct writer *writer, struct io *io, uint64_t seed)
{
	*writer = (struct writer){.io = io};
	rng_init(&writer->rng, seed);
	for (uint32_t i = 0; i < SHARDS; i++)
		writer->next[i] = 1;
}

/* One group over a random set of shards. Acknowledged when it says OK. */
static inline enum status writer_commit(struct writer *writer, uint32_t max_records)
{
	struct batch *batches[SHARDS];
	struct shard_mark marks[SHARDS];
	struct group group = {.batches = batches, .extents = writer->last};
	int64_t now_ms = io_wall_ms(writer->io);
	uint64_t set = rng_range(&writer->rng, 1, (1u << SHARDS) - 1);
	for (uint32_t s = 0; s < SHARDS; s++) {
		uint32_t count = (uint32_t)rng_range(&writer->rng, 1, max_records);
		if (set >> s & 1)
			batches[group.n_batches++] = make_batch(s, writer->next[s], count, now_ms);
		marks[s] = (struct shard_mark){s, writer->next[s] + (set >> s & 1 ? count : 0), now_ms};
	}
	group.n_extents = group_extents(&group);
	cr_assert(group.n_extents == group.n_batches, "each is one part");
	enum status status = streamlog_commit(writer->log, &group, marks, SHARDS);
	for (uint32_t i = 0; i < group.n_batches; i++) {
		uint32_t s = batches[i]->shard.shard;
		if (!status) {
			writer->acked[s] = batch_last(batches[i]);
			writer->next[s] = batch_last(batches[i]) + 1;
		}
		batch_unref(batches[i]);
	}
	writer->last_n = status ? 0 : group.n_extents;
	return status;
}

/* ---- The check ---- */

/* All extents are readable, dense per shard from `first` on, the right bytes, and reach at least to what was acknowledged. Sets next[]. */
static inline void check_recovered(const struct told *told, const uint64_t acked[SHARDS], uint64_t next[SHARDS])
{
	uint64_t at[SHARDS] = {0};
	for (size_t i = 0; i < told->n; i++) {
		const struct extent_ref *extent = &told->extents[i];
		struct batch *batch = NULL;
		cr_assert(extent->shard < SHARDS);
		cr_assert(!at[extent->shard] || at[extent->shard] == extent->first, "shard %u: %" PRIu64 " after %" PRIu64, extent->shard,
			  extent->first, at[extent->shard]);
		cr_assert(read_extent(extent, &batch) == STATUS_OK);
		check_batch(batch);
		at[extent->shard] = batch_last(batch) + 1;
		batch_unref(batch);
	}
	for (uint32_t s = 0; s < SHARDS; s++) {
		uint64_t end = at[s] > told->mark[s] ? at[s] : told->mark[s];
		next[s] = end ? end : 1;
		cr_assert(next[s] > acked[s], "shard %u: acknowledged %" PRIu64 ", recovered to %" PRIu64, s, acked[s], next[s] - 1);
		cr_assert(!at[s] || at[s] >= told->mark[s], "shard %u: a hole up to the mark", s);
	}
}

static inline void check_complete(const struct told *told, const uint64_t acked[SHARDS])
{
	uint64_t seen[SHARDS] = {0};
	for (size_t i = 0; i < told->n; i++)
		seen[told->extents[i].shard] += told->extents[i].count;
	for (uint32_t s = 0; s < SHARDS; s++)
		cr_assert(seen[s] >= acked[s], "shard %u: %" PRIu64 " of %" PRIu64 " records", s, seen[s], acked[s]);
}

#endif
