/* segment.c: a segment file as an object that the log and the reads in flight share, and the verified read of one extent.
 *
 * Invariants: the handle stays while there is a reference, and leads to the file whether its name is gone or not (io_bounded); a file is
 * never read beyond what the log said is durable; bytes that fail their CRC32C never leave extent_read. Threads: any; the count is atomic,
 * the last holder closes.
 *
 * - extent_read: one allocation of the exact size, one pread, one checksum.
 *
 * Failure modes: a short read, a missing file or a bad checksum is STATUS_CORRUPT, and the log names file, offset and length; a lack of
 * descriptors is STATUS_NO_FILES, another -errno of the read STATUS_IO. A trimmed segment's name may be gone while it is read: the bytes go
 * with the handle. */
#include "penstock/crc32c.h"
#include "penstock/slog.h"
#include "shardstore/streamlog_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct segment *segment_ref(struct segment *segment)
{
	atomic_fetch_add_explicit(&segment->refs, 1, memory_order_relaxed);
	return segment;
}

void segment_unref(struct segment *segment)
{
	if (!segment)
		return;
	unsigned before = atomic_fetch_sub_explicit(&segment->refs, 1, memory_order_acq_rel);
	assert(before > 0);
	if (before > 1)
		return;
	if (segment->file >= 0)
		segment->io->close(segment->io, segment->file);
	free(segment->path);
	free(segment);
}

bool segment_name_parse(const char *name, uint64_t *number)
{
	*number = 0;
	for (int i = 0; i < 20; i++) {
		if (name[i] < '0' || name[i] > '9')
			return false;
		uint64_t digit = (uint64_t)(name[i] - '0');
		if (*number > (UINT64_MAX - digit) / 10)
			return false;
		*number = *number * 10 + digit;
	}
	return strcmp(name + 20, ".seg") == 0 && *number > 0;
}

struct segment *segment_new(struct io *io, const char *dir, uint64_t number)
{
	struct segment *segment = xcalloc(1, sizeof(*segment));
	size_t n = strlen(dir) + 1 + SEGMENT_NAME_LEN + 1;
	atomic_init(&segment->refs, 1);
	segment->io = io;
	segment->file = -1;
	segment->number = number;
	segment->last_arrival_ms = INT64_MIN;
	segment->path = xmalloc(n);
	snprintf(segment->path, n, "%s/%020" PRIu64 ".seg", dir, number);
	return segment;
}

int segment_open(struct segment *segment, enum io_open how)
{
	int file = segment->io->open(segment->io, segment->path, how);
	if (file < 0)
		return file;
	segment->file = file;
	return 0;
}

int64_t segment_read(struct io *io, int file, void *p, size_t n, uint64_t offset)
{
	int64_t got = io->pread(io, file, p, n, offset);
	if (got < 0)
		return got;
	return (uint64_t)got == n ? 0 : -ENODATA;
}

int64_t segment_write(struct io *io, int file, const void *p, size_t n, uint64_t offset)
{
	struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = n};
	int64_t put = io->pwritev(io, file, &iov, 1, offset);
	return put < 0 ? put : 0;
}

static enum status read_failed(const struct extent_ref *extent, int64_t err)
{
	bool corrupt = err == 0 || err == -ENODATA || err == -ENOENT;
	slog(SLOG_ERROR, corrupt ? "extent_damaged" : "extent_unreadable",
	     "file=%s offset=%" PRIu64 " length=%" PRIu32 " shard=%" PRIu32 " first=%" PRIu64 " count=%" PRIu32 " why=\"%s\"",
	     extent->segment->path, extent->offset, extent->length, extent->shard, extent->first, extent->count,
	     err == 0          ? "checksum"
	     : err == -ENODATA ? "file_too_short"
			       : strerror((int)-err));
	return corrupt ? STATUS_CORRUPT : io_is_shortage(err) ? STATUS_NO_FILES : STATUS_IO;
}

enum status extent_read(const struct extent_ref *extent, const struct shard_key *shard, struct batch **out)
{
	struct segment *segment = extent->segment;
	struct batch *batch = batch_new(shard);
	enum status status = batch_reserve(batch, extent->length);
	if (status)
		goto out;
	int64_t err = segment_read(segment->io, segment->file, batch->frames, extent->length, extent->offset);
	if (err || crc32c(0, batch->frames, extent->length) != extent->crc) {
		status = read_failed(extent, err);
		goto out;
	}
	batch->first = extent->first;
	batch->count = extent->count;
	batch->arrival_ms = extent->arrival_ms;
	batch->payload = extent->payload;
	batch->frames_len = extent->length;
	*out = batch;
	batch = NULL;
out:
	batch_unref(batch);
	return status;
}
