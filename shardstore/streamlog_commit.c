/* streamlog_commit.c: a commit group onto the disk, and the change from a full segment to the next.
 *
 * Invariants: a group is written only when all before it is durable, so its durable_upto is its own position, and any later group that is
 * whole proves all earlier ones; a footer is written only behind durable groups; a header is durable, with its name, before the first
 * group. At most one commit is in flight; it runs on a pool thread.
 *
 * - group fits? else roll: footer on the old, sync; header into the spare (or a new file), sync, directory synced.
 * - encode head and extent headers, checksum the frames where they lie, one pwritev, one fdatasync.
 * - tell the lane where each extent lies; pack it for the footer.
 *
 * Failure modes: a full disk in any call, or a lack of descriptors -> what was written of the group is cut, durably, before anything else
 * is written, and the log goes on (also when fdatasync said it: the bytes it may have lost are those that are cut). Any other failed call
 * -> poisoned: nothing is retried, since the kernel marks pages clean that never reached the disk. */
#include "penstock/slog.h"
#include "shardstore/streamlog_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/* A stream with little traffic rolls once a day: retention is at least a day, so that a segment's oldest record outlives its time by no
 * more than the retention again, and a year of it is 365 files. */
#define SEGMENT_AGE_MS (INT64_C(24) * 3600 * 1000)

/* ---- Sealing ---- */

int64_t streamlog_write_footer(struct io *io, int file, uint64_t offset, struct segment_footer *footer, const struct extent_runs *runs)
{
	footer->length = footer_length(runs);
	uint8_t *p = xmalloc((size_t)footer->length);
	footer_encode(p, footer, runs);
	/* First the end: the footer is found from the end of the file. */
	int64_t err = io->truncate(io, file, offset);
	if (!err)
		err = segment_write(io, file, p, (size_t)footer->length, offset);
	if (!err)
		err = io->fdatasync(io, file);
	free(p);
	return err;
}

/* What a refused write left behind `offset` must be gone before other bytes come there. Prepare is held off: it writes there too. */
static enum status undo(struct streamlog *log)
{
	log->zeroed = log->offset;
	atomic_store(&log->undo_due, true);
	int64_t err = log->io->truncate(log->io, log->open->file, log->offset);
	if (!err)
		err = log->io->fdatasync(log->io, log->open->file);
	if (err)
		return streamlog_refused(log, "undo", log->open->path, err);
	atomic_store(&log->undo_due, false);
	return STATUS_OK;
}

/* A call on the open segment failed: DISK_FULL or NO_FILES with the partial bytes gone (or due to go), or IO. Prepare is held off. */
static enum status failed(struct streamlog *log, const char *what, int64_t err)
{
	enum status status = streamlog_refused(log, what, log->open->path, err);
	if (streamlog_kept_nothing(status) && undo(log) == STATUS_IO)
		return STATUS_IO;
	return status;
}

static uint64_t position_at(const struct streamlog *log, uint64_t offset) { return log->header.base + offset - log->header.length; }

static enum status seal_open(struct streamlog *log)
{
	if (atomic_load(&log->undo_due)) {
		enum status status = undo(log);
		if (status)
			return status;
	}
	struct segment_footer footer = {
		.epoch = log->epoch,
		.number = log->header.number,
		.position = position_at(log, log->offset),
	};
	memcpy(footer.log_id, log->log_id, SEGMENT_LOG_ID);
	int64_t err = streamlog_write_footer(log->io, log->open->file, log->offset, &footer, &log->runs);
	if (err)
		return failed(log, "seal", err);

	pthread_mutex_lock(&log->lock);
	log->next_capacity = streamlog_capacity_after(log);
	log->next_base = footer.position;
	log->open = NULL;
	pthread_mutex_unlock(&log->lock);
	return STATUS_OK;
}

/* A segment that was cut short by a restart or by age says nothing against its size. */
uint64_t streamlog_capacity_after(const struct streamlog *log)
{
	if (log->offset <= log->header.capacity / 2)
		return log->next_capacity;
	return log->header.capacity < log->segment_max / 2 ? log->header.capacity * 2 : log->segment_max;
}

enum status streamlog_seal(struct streamlog *log)
{
	streamlog_hold_prepare(log);
	enum status status = seal_open(log);
	streamlog_release_prepare(log);
	return status;
}

/* ---- Birth ---- */

static int64_t write_header(struct streamlog *log, const struct shard_mark *marks)
{
	uint8_t *p = xmalloc(log->header.length);
	segment_header_encode(p, &log->header, marks);
	/* Of a spare that was refused something before, neither bytes nor size are known to be what they seem. */
	int64_t err = log->spare_zeroed ? 0 : log->io->truncate(log->io, log->spare->file, 0);
	if (!err)
		err = segment_write(log->io, log->spare->file, p, log->header.length, 0);
	free(p);
	if (!err)
		err = log->io->fdatasync(log->io, log->spare->file);
	if (!err && !log->spare_named) {
		err = log->io->sync_dir(log->io, log->path);
		log->spare_named = !err;
	}
	return err;
}

/* The spare, or a file made now, stays the spare until its header is durable: if the disk is full, the next birth goes on with it. */
static enum status need_spare(struct streamlog *log)
{
	if (log->spare)
		return STATUS_OK;
	struct segment *spare = segment_new(log->io, log->path, log->next_number);
	int err = segment_open(spare, IO_CREATE);
	if (err) {
		enum status status = streamlog_refused(log, "create", spare->path, err);
		segment_unref(spare);
		return status;
	}
	log->spare = spare;
	log->spare_named = false;
	log->spare_zeroed = 0;
	return STATUS_OK;
}

static void open_spare(struct streamlog *log)
{
	pthread_mutex_lock(&log->lock);
	log->open = log->spare;
	log->spare = NULL;
	log->offset = log->header.length;
	log->zeroed = log->spare_zeroed > log->offset ? log->spare_zeroed : log->offset;
	log->open->size = log->offset;
	log->next_number++;
	log->next_capacity = log->header.capacity;
	streamlog_add_segment(log, log->open);
	pthread_mutex_unlock(&log->lock);
	extent_runs_free(&log->runs);
}

/* Never before what the log holds: under a clock that was set back, arrivals would lie a day behind
 * each new segment's birth, and each commit would begin another segment. */
static int64_t birth_ms(const struct streamlog *log, const struct shard_mark *marks, uint32_t n_marks)
{
	int64_t ms = io_wall_ms(log->io);
	for (uint32_t i = 0; i < n_marks; i++)
		if (marks[i].last_arrival_ms > ms)
			ms = marks[i].last_arrival_ms;
	return ms;
}

/* room: for the group that waits; a group larger than a segment gets a segment as large as it needs. */
static enum status birth(struct streamlog *log, const struct shard_mark *marks, uint32_t n_marks, uint64_t room)
{
	enum status status = need_spare(log);
	if (status)
		return status;
	log->header = (struct segment_header){
		.number = log->next_number,
		.base = log->next_base,
		.created_ms = birth_ms(log, marks, n_marks),
		.epoch = log->epoch,
		.capacity = log->next_capacity,
		.length = segment_header_length(n_marks),
		.n_marks = n_marks,
	};
	if (log->header.capacity < log->header.length + room)
		log->header.capacity = log->header.length + room;
	memcpy(log->header.log_id, log->log_id, SEGMENT_LOG_ID);
	int64_t err = write_header(log, marks);
	if (err) {
		log->spare_zeroed = 0;
		return streamlog_refused(log, "birth", log->spare->path, err);
	}
	open_spare(log);
	return STATUS_OK;
}

/* ---- Roll ---- */

static int64_t group_arrival(const struct group *group)
{
	int64_t arrival_ms = INT64_MIN;
	for (uint32_t i = 0; i < group->n_batches; i++)
		if (group->batches[i]->arrival_ms > arrival_ms)
			arrival_ms = group->batches[i]->arrival_ms;
	return arrival_ms;
}

static bool must_roll(const struct streamlog *log, const struct group *group, uint64_t length)
{
	if (!log->open)
		return true;
	if (log->offset == log->header.length && log->offset + length <= log->header.capacity)
		return false;
	return log->offset + length > log->header.capacity || group_arrival(group) - log->header.created_ms > SEGMENT_AGE_MS;
}

/* The lane's marks hold after this group; the header is durable before it. A group that is then torn must not leave a hole in the indexes:
 * so where it has an extent, the mark is that extent's first. */
static void lower_marks(struct shard_mark *marks, uint32_t n_marks, const struct group *group)
{
	for (uint32_t i = 0; i < group->n_batches; i++) {
		const struct batch *batch = group->batches[i];
		for (uint32_t j = 0; j < n_marks; j++)
			if (marks[j].shard == batch->shard.shard && marks[j].next_index > batch->first)
				marks[j].next_index = batch->first;
	}
}

static enum status roll(struct streamlog *log, const struct group *group, uint64_t length, const struct shard_mark *marks, uint32_t n_marks)
{
	struct shard_mark *before = xmalloc((n_marks ? n_marks : 1) * sizeof(*before));
	if (n_marks)
		memcpy(before, marks, n_marks * sizeof(*before));
	lower_marks(before, n_marks, group);
	streamlog_hold_prepare(log);
	enum status status = log->open ? seal_open(log) : STATUS_OK;
	if (!status)
		status = birth(log, before, n_marks, length);
	streamlog_release_prepare(log);
	free(before);
	return status;
}

/* ---- Commit ---- */

static uint64_t measure(const struct group *group)
{
	uint64_t frames = 0;
	for (uint32_t i = 0; i < group->n_batches; i++) {
		assert(group->batches[i]->frames_len <= UINT32_MAX && group->batches[i]->count);
		frames += group->batches[i]->frames_len;
	}
	return group_length(group->n_extents, frames);
}

static struct extent_ref extent_of(const struct streamlog *log, const struct batch *batch, uint32_t k, uint64_t offset)
{
	struct batch_part part = batch_part(batch, k);
	return (struct extent_ref){
		.segment = log->open,
		.offset = offset,
		.length = (uint32_t)part.len,
		.crc = part.crc,
		.first = batch->first + part.nth,
		.count = part.count,
		.payload = part.len - (uint64_t)part.count * RECORD_FRAME_HEAD,
		.arrival_ms = batch->arrival_ms,
		.shard = batch->shard.shard,
	};
}

static void encode(struct streamlog *log, struct group *group, uint64_t length)
{
	size_t head_len = GROUP_HEAD + (size_t)group->n_extents * EXTENT_HEAD;
	uint64_t offset = log->offset + head_len;
	log->head.n = 0;
	uint8_t *begin = buf_reserve(&log->head, head_len), *p = begin + GROUP_HEAD;
	struct extent_ref *extent = group->extents;
	for (uint32_t i = 0; i < group->n_batches; i++)
		for (uint32_t k = 0; k < batch_parts(group->batches[i]); k++, extent++, p += EXTENT_HEAD) {
			*extent = extent_of(log, group->batches[i], k, offset);
			extent_encode(p, extent);
			offset += extent->length;
		}
	assert(extent == group->extents + group->n_extents);
	struct group_head head = {
		.epoch = log->epoch,
		.position = position_at(log, log->offset),
		.durable_upto = position_at(log, log->offset),
		.length = length,
		.n_extents = group->n_extents,
	};
	memcpy(head.log_id, log->log_id, SEGMENT_LOG_ID);
	group_encode(begin, &head);
	log->head.n = head_len;
}

/* Up to the end of the last page, where zeros are by the plan: it may be on the disk only, and a part of it would be read before it is
 * written. */
static int gather(struct streamlog *log, const struct group *group, uint64_t length)
{
	static const uint8_t padding[IO_DIRECT_ALIGN];
	uint32_t n = 0;
	if (log->iov_cap < group->n_batches + 2) {
		log->iov_cap = group->n_batches + 2;
		log->iov = xrealloc(log->iov, log->iov_cap * sizeof(log->iov[0]));
	}
	uint64_t left = page_end(log->offset + length) - log->offset - log->head.n;
	log->iov[n++] = (struct iovec){.iov_base = log->head.p, .iov_len = log->head.n};
	for (uint32_t i = 0; i < group->n_batches; i++) {
		log->iov[n++] = (struct iovec){.iov_base = group->batches[i]->frames, .iov_len = group->batches[i]->frames_len};
		left -= group->batches[i]->frames_len;
	}
	if (left)
		log->iov[n++] = (struct iovec){.iov_base = (void *)(uintptr_t)padding, .iov_len = (size_t)left};
	return (int)n;
}

/* Beyond what is zeroed a prepare may be writing: its zeros must not come over the group. */
static void claim(struct streamlog *log, uint64_t end)
{
	pthread_mutex_lock(&log->lock);
	while (end > log->zeroed && log->zeroing)
		pthread_cond_wait(&log->prepared, &log->lock);
	if (end > log->zeroed)
		log->zeroed = end;
	log->committing = true;
	pthread_mutex_unlock(&log->lock);
}

static void unclaim(struct streamlog *log)
{
	pthread_mutex_lock(&log->lock);
	log->committing = false;
	pthread_mutex_unlock(&log->lock);
}

/* undo() and failed() outside of a roll. */
static enum status undo_now(struct streamlog *log)
{
	streamlog_hold_prepare(log);
	enum status status = undo(log);
	streamlog_release_prepare(log);
	return status;
}

static enum status group_failed(struct streamlog *log, const char *what, int64_t err)
{
	streamlog_hold_prepare(log);
	enum status status = failed(log, what, err);
	unclaim(log);
	streamlog_release_prepare(log);
	return status;
}

static enum status write_group(struct streamlog *log, struct group *group, uint64_t length, uint64_t *synced_ns)
{
	struct io *io = log->io;
	int count = gather(log, group, length);
	claim(log, page_end(log->offset + length));
	int64_t put = io->pwritev(io, log->open->file, log->iov, count, log->offset);
	if (put < 0)
		return group_failed(log, "write", put);
	uint64_t start_ns = io_mono_ns(io);
	int err = io->fdatasync(io, log->open->file);
	*synced_ns = io_mono_ns(io);
	group->sync_ns = *synced_ns - start_ns;
	group->bytes = length;
	return err ? group_failed(log, "fdatasync", err) : STATUS_OK;
}

/* Zeros ahead serve a stream that is written to again and again. */
static void note_commit(struct streamlog *log, uint64_t now_ns)
{
	if (log->committed_ns && now_ns - log->committed_ns < STREAMLOG_REST_NS)
		log->resting = false;
	log->committed_ns = now_ns;
	log->committing = false;
}

static void remember(struct streamlog *log, const struct group *group, uint64_t length, uint64_t now_ns)
{
	for (uint32_t i = 0; i < group->n_extents; i++)
		extent_runs_append(&log->runs, &group->extents[i]);
	int64_t arrival_ms = group_arrival(group);

	pthread_mutex_lock(&log->lock);
	log->offset += length;
	log->open->size = log->offset;
	if (arrival_ms > log->open->last_arrival_ms)
		log->open->last_arrival_ms = arrival_ms;
	log->refused = false;
	note_commit(log, now_ns);
	streamlog_plan_prepare(log);
	pthread_mutex_unlock(&log->lock);
}

enum status streamlog_commit(struct streamlog *log, struct group *group, const struct shard_mark *marks, uint32_t n_marks)
{
	assert(group->n_batches && group->n_extents == group_extents(group));
	if (atomic_load(&log->poisoned))
		return STATUS_IO;
	if (log->readonly)
		return STATUS_CORRUPT;
	enum status status = atomic_load(&log->undo_due) ? undo_now(log) : STATUS_OK;
	uint64_t length = measure(group);
	if (!status && must_roll(log, group, length))
		status = roll(log, group, length, marks, n_marks);
	if (status)
		return status;
	uint64_t synced_ns = 0;
	encode(log, group, length);
	status = write_group(log, group, length, &synced_ns);
	/* A prepare beside it may have met the error of a disk that is going. */
	if (!status && atomic_load(&log->poisoned))
		status = STATUS_IO;
	if (!status)
		remember(log, group, length, synced_ns);
	return status;
}
