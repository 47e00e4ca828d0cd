/* fuzz_recovery.c: any bytes as the one or two segment files of a log.
 *
 * Input: a byte of flags, a byte that says how many sectors the first file has (FLAG_TWO), then the files' bytes. With FLAG_MEND the
 * checksums of what looks like a structure are made right first, so that the fuzzer gets past them.
 *
 * Oracles: no crash; an extent that a scan has told reads back whole (one that a footer told may be damaged, and then says so); a second
 * recovery tells the same, cuts nothing and leaves every byte as it is; an undamaged log takes a group and gives it back. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "penstock/crc32c.h"
#include "penstock/slog.h"
#include "shardstore/segment_format.h"

#define FLAG_TWO 1
#define FLAG_MEND 2
#define FLAG_SPARE 4 /* an empty third file */

/* ---- A directory in memory ---- */

#define MEMORY_FILES 16

struct memory_file {
	char name[32]; /* empty: no such file */
	uint8_t *p;
	size_t n;
};

static struct memory_file files[MEMORY_FILES];

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static int find(const char *name)
{
	for (int i = 0; i < MEMORY_FILES; i++)
		if (strcmp(files[i].name, name) == 0)
			return i;
	return -ENOENT;
}

static void resize(struct memory_file *file, size_t n)
{
	if (n > file->n) {
		file->p = xrealloc(file->p, n);
		memset(file->p + file->n, 0, n - file->n);
	}
	file->n = n;
}

static struct memory_file *put_file(const char *name, const uint8_t *p, size_t n)
{
	struct memory_file *file = &files[find("")];
	strncpy(file->name, name, sizeof(file->name) - 1);
	resize(file, n);
	if (n)
		memcpy(file->p, p, n);
	return file;
}

static void drop_files(void)
{
	for (int i = 0; i < MEMORY_FILES; i++)
		free(files[i].p);
	memset(files, 0, sizeof(files));
}

static int memory_open(struct io *io, const char *path, enum io_open how)
{
	(void)io;
	int i = find(base_name(path));
	if (how != IO_CREATE || i >= 0)
		return how == IO_CREATE ? -EEXIST : i;
	put_file(base_name(path), NULL, 0);
	return find(base_name(path));
}

static int memory_close(struct io *io, int file)
{
	(void)io, (void)file;
	return 0;
}

static int64_t memory_size(struct io *io, int file)
{
	(void)io;
	return (int64_t)files[file].n;
}

static int64_t memory_pread(struct io *io, int file, void *p, size_t n, uint64_t offset)
{
	(void)io;
	if (offset >= files[file].n)
		return 0;
	size_t got = files[file].n - (size_t)offset < n ? files[file].n - (size_t)offset : n;
	memcpy(p, files[file].p + offset, got);
	return (int64_t)got;
}

static int64_t memory_pwritev(struct io *io, int file, const struct iovec *iov, int count, uint64_t offset)
{
	(void)io;
	size_t at = (size_t)offset;
	for (int i = 0; i < count; i++) {
		if (at + iov[i].iov_len > files[file].n)
			resize(&files[file], at + iov[i].iov_len);
		memcpy(files[file].p + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	return (int64_t)(at - offset);
}

static int memory_truncate(struct io *io, int file, uint64_t size)
{
	(void)io;
	resize(&files[file], (size_t)size);
	return 0;
}

static int memory_sync(struct io *io, int file)
{
	(void)io, (void)file;
	return 0;
}

static int memory_path(struct io *io, const char *path)
{
	(void)io, (void)path;
	return 0;
}

static int memory_unlink(struct io *io, const char *path)
{
	(void)io;
	int i = find(base_name(path));
	if (i < 0)
		return i;
	free(files[i].p);
	memset(&files[i], 0, sizeof(files[i]));
	return 0;
}

static int memory_list(struct io *io, const char *path, void (*on_name)(void *arg, const char *name), void *arg)
{
	(void)io, (void)path;
	for (int i = 0; i < MEMORY_FILES; i++)
		if (files[i].name[0])
			on_name(arg, files[i].name);
	return 0;
}

static int64_t memory_wall_ms(struct io *io)
{
	(void)io;
	return 1700000000000;
}

static uint64_t memory_mono_ns(struct io *io)
{
	(void)io;
	return 1;
}

static struct io memory = {
	.open = memory_open,
	.close = memory_close,
	.size = memory_size,
	.pread = memory_pread,
	.pwritev = memory_pwritev,
	.fdatasync = memory_sync,
	.truncate = memory_truncate,
	.sync_dir = memory_path,
	.mkdir = memory_path,
	.rmdir = memory_path,
	.unlink = memory_unlink,
	.list = memory_list,
	.wall_ms = memory_wall_ms,
	.mono_ns = memory_mono_ns,
	.boot_ns = memory_mono_ns,
};

/* ---- Right checksums ---- */

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v)); /* the tests run on little-endian machines */
	return v;
}

static void put32(uint8_t *p, uint32_t v) { memcpy(p, &v, sizeof(v)); }

static void mend_group(uint8_t *p, size_t room)
{
	uint64_t n = get32(p + 56);
	size_t at = GROUP_HEAD + (size_t)n * EXTENT_HEAD;
	if (n > room / EXTENT_HEAD || at > room)
		return;
	for (size_t i = 0; i < n; i++) {
		uint8_t *extent = p + GROUP_HEAD + i * EXTENT_HEAD;
		uint32_t length = get32(extent + 32);
		if (length <= room - at) {
			put32(extent + 36, crc32c(0, p + at, length));
			at += length;
		}
	}
	put32(p + 60, crc32c(crc32c(0, p, 60), p + GROUP_HEAD, (size_t)n * EXTENT_HEAD));
}

static void mend(uint8_t *p, size_t n)
{
	uint32_t length = n >= SEGMENT_HEADER_HEAD ? segment_header_peek(p) : 0;
	if (length && length <= n)
		put32(p + 76, crc32c(crc32c(0, p, 76), p + 80, length - 80));
	for (size_t at = 0; at + FOOTER_HEAD <= n; at += SEGMENT_SECTOR) {
		uint64_t footer = footer_peek(p + at, n - at);
		if (memcmp(p + at, "PGRP", 4) == 0)
			mend_group(p + at, n - at);
		if (footer) {
			put32(p + at + footer - 4, crc32c(0, p + at + footer - FOOTER_TRAILER, 12));
			put32(p + at + 76, crc32c(crc32c(0, p + at, 76), p + at + 80, (size_t)footer - 80));
		}
	}
}

/* ---- The target ---- */

struct told {
	size_t n, damages, torn, shards;
	uint64_t hash;
};

/* Only a footer's word is taken without a look at the frames. */
static bool ends_in_footer(const struct segment *segment)
{
	const struct memory_file *file = &files[segment->file];
	return file->n >= FOOTER_TRAILER && footer_trailer_decode(file->p + file->n - FOOTER_TRAILER, file->n);
}

static void check_extent(struct told *told, const struct extent_ref *extent)
{
	struct shard_key key = {.shard = extent->shard};
	struct batch *batch = NULL;
	enum status status = extent_read(extent, &key, &batch);
	assert(status == STATUS_OK || (status == STATUS_CORRUPT && !batch && ends_in_footer(extent->segment)));
	if (!status)
		assert(crc32c(0, batch->frames, batch->frames_len) == extent->crc && batch->frames_len == extent->length);
	batch_unref(batch);
	told->n++;
	told->hash = told->hash * 31 + extent->offset + extent->first * 7 + extent->crc;
}

static void on_run(void *arg, const struct extent_run *run)
{
	struct extent_cursor cursor = extent_run_begin(run);
	while (extent_run_next(&cursor))
		check_extent(arg, &cursor.extent);
	assert(cursor.at == run->n_bytes);
}

static void on_shard(void *arg, uint32_t shard, uint64_t next_index, int64_t last_arrival_ms)
{
	struct told *told = arg;
	(void)last_arrival_ms;
	told->shards++;
	told->hash = told->hash * 31 + shard + next_index;
}

static void on_damage(void *arg, const char *file, uint64_t offset, uint64_t length, const char *what)
{
	struct told *told = arg;
	assert(file && what);
	told->damages++;
	told->hash = told->hash * 31 + offset + length;
}

static void on_torn_tail(void *arg, const char *file, uint64_t offset, uint64_t length)
{
	struct told *told = arg;
	assert(file && offset && length);
	told->torn++;
}

static struct streamlog *recover(struct told *told)
{
	struct streamlog_config config = {.io = &memory, .path = "log", .segment_min = 8192, .segment_max = 16384};
	struct streamlog_recovery recovery = {on_run, on_shard, on_damage, on_torn_tail, told};
	struct streamlog *log;
	*told = (struct told){0};
	assert(streamlog_open(&config, &recovery, &log) == STATUS_OK);
	assert(streamlog_readonly(log) == (told->damages > 0));
	return log;
}

static uint64_t files_hash(void)
{
	uint64_t hash = 0;
	for (int i = 0; i < MEMORY_FILES; i++)
		if (files[i].name[0])
			hash += ((uint64_t)crc32c(0, files[i].name, 24) << 32) ^ crc32c(0, files[i].p, files[i].n) ^ files[i].n << 8;
	return hash;
}

static void append_one(struct streamlog *log)
{
	struct shard_key key = {.shard = 1};
	struct batch *batch = batch_new(&key);
	struct extent_ref extent;
	struct group group = {.n_batches = 1, .n_extents = 1, .batches = &batch, .extents = &extent};
	struct shard_mark mark = {.shard = 1, .next_index = 2};
	batch->first = 1;
	batch_append(batch, STR("key"), STR("data"));
	assert(streamlog_commit(log, &group, &mark, 1) == STATUS_OK);
	batch_unref(batch);
}

static void lay_out(const uint8_t *data, size_t n, uint8_t flags, size_t first)
{
	if (!(flags & FLAG_TWO) || first > n)
		first = n;
	struct memory_file *file = put_file("00000000000000000001.seg", data, first);
	if (flags & FLAG_MEND)
		mend(file->p, file->n);
	if (flags & FLAG_TWO) {
		file = put_file("00000000000000000002.seg", data + first, n - first);
		if (flags & FLAG_MEND)
			mend(file->p, file->n);
	}
	if (flags & FLAG_SPARE)
		put_file("00000000000000000003.seg", NULL, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	struct told told, again;
	if (n < 2)
		return 0;
	slog_set_level(SLOG_ERROR);
	lay_out(data + 2, n - 2, data[0], (size_t)data[1] * SEGMENT_SECTOR);
	streamlog_close(recover(&told), false);
	uint64_t hash = files_hash();
	struct streamlog *log = recover(&again);
	assert(files_hash() == hash);
	assert(again.n == told.n && again.damages == told.damages && again.shards == told.shards && again.hash == told.hash && !again.torn);
	bool whole = !streamlog_readonly(log);
	if (whole)
		append_one(log);
	streamlog_close(log, true);
	if (whole) {
		streamlog_close(recover(&again), false);
		assert(again.n == told.n + 1 && !again.damages && !again.torn);
	}
	drop_files();
	return 0;
}
