/* streamlog_recover.c: opens a log after whatever ended it. docs/on-disk.md has the correctness requirement and the numbered crash cases.
 *
 * Invariants: nothing is changed before all segments were looked at; only the newest is ever changed, and only behind its last whole group,
 * but for bytes that are written again as they are; damage is never cut and never gets a footer, which would hide it from the next start.
 * Every step leaves files from which the same call gives the same result.
 *
 * - names, sorted; headers; a headerless newest file goes: it is a spare, or a birth that was cut short.
 * - each segment: extents by its footer, else by a scan; numbers and positions must run on from one to the next.
 * - the newest, if no footer ends it: cut the torn tail; write again what no later group proves to have been synced; sync; footer; sync.
 * - appending goes on in a new segment under a higher epoch, made by the first commit, which knows the shards' marks.
 *
 * Failure modes: an error of a read or of a repair fails the open (nobody can tell an unreadable acknowledged group from a torn one). A
 * full disk may refuse the footer: then the next start scans again. Thread: the one that opens; the log is nobody else's yet. */
#include "penstock/slog.h"
#include "shardstore/streamlog_internal.h"
#include "shardstore/streamlog_scan.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

struct recover {
	struct streamlog *log;
	const struct streamlog_recovery *tell;
	struct segment_scan *scans;
	struct segment **segments; /* our references until the log has them */
	uint32_t n, cap;
	bool has_id;
	bool damaged;       /* anywhere */
	bool parent_synced; /* the caller's word */
	uint64_t expected;  /* position where the next segment must begin, or POSITION_UNKNOWN */
};

/* ---- Names and headers ---- */

static void on_name(void *arg, const char *name)
{
	struct recover *recover = arg;
	uint64_t number;
	if (!segment_name_parse(name, &number))
		return;
	if (recover->n == recover->cap) {
		recover->cap = recover->cap ? recover->cap * 2 : 16;
		recover->segments = xrealloc(recover->segments, recover->cap * sizeof(recover->segments[0]));
	}
	recover->segments[recover->n++] = segment_new(recover->log->io, recover->log->path, number);
}

static int by_number(const void *a, const void *b)
{
	uint64_t left = (*(struct segment *const *)a)->number, right = (*(struct segment *const *)b)->number;
	return left < right ? -1 : left > right;
}

static enum status read_failed(const char *path, int64_t err)
{
	slog(SLOG_ERROR, "segment_unreadable", "file=%s why=\"%s\"", path, strerror((int)-err));
	return io_is_shortage(err) ? STATUS_NO_FILES : STATUS_IO;
}

static enum status list_segments(struct recover *recover)
{
	struct io *io = recover->log->io;
	int err = io->list(io, recover->log->path, on_name, recover);
	if (err == -ENOENT)
		return STATUS_NOT_FOUND;
	if (err)
		return read_failed(recover->log->path, err);
	if (recover->n)
		qsort(recover->segments, recover->n, sizeof(recover->segments[0]), by_number);
	recover->scans = xcalloc(recover->n + 1, sizeof(recover->scans[0]));
	return STATUS_OK;
}

/* The first whole header names the log; one that names another is as good as none. */
static enum status read_headers(struct recover *recover)
{
	for (uint32_t i = 0; i < recover->n; i++) {
		struct segment *segment = recover->segments[i];
		struct segment_scan *scan = &recover->scans[i];
		int64_t err = segment_open(segment, IO_READ);
		if (err)
			return read_failed(segment->path, err);
		scan->io = segment->io;
		scan->file = segment->file;
		scan->number = segment->number;
		err = segment_scan_header(scan);
		if (err)
			return read_failed(segment->path, err);
		if (scan->has_header && !recover->has_id) {
			memcpy(recover->log->log_id, scan->header.log_id, SEGMENT_LOG_ID);
			recover->has_id = true;
		} else if (scan->has_header && memcmp(recover->log->log_id, scan->header.log_id, SEGMENT_LOG_ID) != 0) {
			scan->has_header = false;
			scan->foreign = true;
		}
	}
	return STATUS_OK;
}

/* A newest file without a header and without a group was never used. Not so when it is the only one and not the first: those before it were
 * trimmed, so its header was durable once. */
static enum status drop_unborn(struct recover *recover)
{
	while (recover->n && !recover->scans[recover->n - 1].has_header) {
		struct segment *segment = recover->segments[recover->n - 1];
		struct segment_scan *scan = &recover->scans[recover->n - 1];
		scan->any_log = !recover->has_id;
		scan->next_base = POSITION_UNKNOWN;
		memcpy(scan->log_id, recover->log->log_id, SEGMENT_LOG_ID);
		int64_t err = segment_scan_body(scan);
		if (err)
			return read_failed(segment->path, err);
		bool used = scan->placed || scan->foreign || (recover->n == 1 && segment->number > 1);
		segment_scan_reset(scan);
		if (used)
			return STATUS_OK;
		err = segment->io->unlink(segment->io, segment->path);
		if (!err)
			err = segment->io->sync_dir(segment->io, recover->log->path);
		if (err)
			return streamlog_refused(recover->log, "unlink", segment->path, err);
		segment_scan_fini(scan);
		segment_unref(segment);
		recover->n--;
	}
	return STATUS_OK;
}

/* ---- What each segment tells ---- */

static void damage(struct recover *recover, const char *file, uint64_t offset, uint64_t length, const char *what)
{
	recover->damaged = true;
	recover->tell->on_damage(recover->tell->arg, file, offset, length, what);
}

static void check_number(struct recover *recover, uint32_t i)
{
	if (i == 0 || recover->segments[i]->number == recover->segments[i - 1]->number + 1)
		return;
	struct segment *missing = segment_new(recover->log->io, recover->log->path, recover->segments[i - 1]->number + 1);
	damage(recover, missing->path, 0, 0, "segment missing");
	segment_unref(missing);
	recover->expected = POSITION_UNKNOWN;
}

/* Where this one begins, and whether the one before reached so far. */
static void check_place(struct recover *recover, uint32_t i)
{
	const struct segment_scan *scan = &recover->scans[i];
	const char *path = recover->segments[i]->path;
	if (!scan->has_header)
		damage(recover, path, 0, scan->start ? scan->start : scan->sealed ? SEGMENT_HEADER_ALIGN : scan->size, "segment header");
	if (!scan->placed || !scan->start || recover->expected == POSITION_UNKNOWN)
		return;
	uint64_t base = scan->bias + scan->start;
	if (base > recover->expected)
		damage(recover, recover->segments[i - 1]->path, recover->scans[i - 1].end, base - recover->expected, "groups missing");
	else if (base < recover->expected)
		damage(recover, path, 0, scan->start, "segment begins before the end of the last");
}

static void tell_segment(struct recover *recover, uint32_t i)
{
	struct segment_scan *scan = &recover->scans[i];
	struct segment *segment = recover->segments[i];
	const struct streamlog_recovery *tell = recover->tell;
	for (uint32_t k = 0; scan->has_header && k < scan->header.n_marks; k++) {
		struct shard_mark mark;
		segment_mark_decode(scan->header_bytes, k, &mark);
		tell->on_shard(tell->arg, mark.shard, mark.next_index, mark.last_arrival_ms);
	}
	for (uint32_t k = 0; k < scan->runs.n; k++) {
		struct extent_run *run = &scan->runs.runs[k];
		run->segment = segment;
		if (run->arrival_ms > segment->last_arrival_ms)
			segment->last_arrival_ms = run->arrival_ms;
		tell->on_run(tell->arg, run);
	}
	for (size_t k = 0; k < scan->n_bad; k++)
		damage(recover, segment->path, scan->bad[k].offset, scan->bad[k].length, scan->bad[k].what);
	/* When the lost records arrived nobody knows: retention counts from now, so that the evidence stays as long as a record would. */
	if ((!scan->has_header || scan->n_bad) && segment->last_arrival_ms < io_wall_ms(recover->log->io))
		segment->last_arrival_ms = io_wall_ms(recover->log->io);
	segment->size = scan->end;
}

static enum status take_segment(struct recover *recover, uint32_t i)
{
	struct segment_scan *scan = &recover->scans[i];
	struct streamlog *log = recover->log;
	scan->later = i + 1 < recover->n;
	scan->next_base = scan->later && scan[1].has_header ? scan[1].header.base : POSITION_UNKNOWN;
	scan->any_log = !recover->has_id;
	memcpy(scan->log_id, log->log_id, SEGMENT_LOG_ID);
	check_number(recover, i);
	if (i + 1 < recover->n && recover->segments[i + 1]->number != scan->number + 1)
		scan->next_base = POSITION_UNKNOWN;
	int64_t err = segment_scan_body(scan);
	if (err)
		return read_failed(recover->segments[i]->path, err);
	if (!scan->any_log) {
		memcpy(log->log_id, scan->log_id, SEGMENT_LOG_ID);
		recover->has_id = true;
	}
	if (scan->later && !scan->sealed)
		slog(SLOG_WARN, "segment_without_footer", "file=%s", recover->segments[i]->path);
	check_place(recover, i);
	tell_segment(recover, i);
	recover->expected = scan->placed ? scan->bias + scan->end : POSITION_UNKNOWN;
	if (scan->placed && scan->epoch >= log->epoch)
		log->epoch = scan->epoch + 1;
	streamlog_add_segment(log, segment_ref(recover->segments[i]));
	if (scan->later)
		segment_scan_release(scan);
	return STATUS_OK;
}

/* ---- The newest segment ---- */

#define REWRITE_PIECE (1u << 20)

/* After a failed sync the page cache may hold, marked clean, what the disk does not: only a write makes the kernel carry it there. */
static int64_t rewrite(struct io *io, int file, uint64_t from, uint64_t to)
{
	uint8_t *p = xmalloc(REWRITE_PIECE);
	int64_t err = 0;
	while (!err && from < to) {
		size_t n = to - from < REWRITE_PIECE ? (size_t)(to - from) : REWRITE_PIECE;
		err = segment_read(io, file, p, n, from);
		if (!err)
			err = segment_write(io, file, p, n, from);
		from += n;
	}
	free(p);
	return err ? err : io->fdatasync(io, file);
}

static int64_t write_footer(struct recover *recover, const struct segment_scan *scan, int file)
{
	struct segment_footer footer = {
		.epoch = scan->epoch,
		.number = scan->number,
		.position = scan->bias + scan->end,
	};
	memcpy(footer.log_id, recover->log->log_id, SEGMENT_LOG_ID);
	int64_t err = streamlog_write_footer(scan->io, file, scan->end, &footer, &scan->runs);
	if (!streamlog_full(err))
		return err;
	slog(SLOG_WARN, "disk_full", "file=%s call=seal why=\"%s\"", recover->segments[recover->n - 1]->path, strerror((int)-err));
	/* Half a footer would be told as a torn tail next time. */
	err = scan->io->truncate(scan->io, file, scan->end);
	return err ? err : scan->io->fdatasync(scan->io, file);
}

/* The footer ends the file where it lies, so that it cuts the torn tail as well. Before, the file's end moves by a sector: its size, too,
 * may be in memory only and look clean. */
static int64_t repair(struct recover *recover, const struct segment_scan *scan, int file)
{
	struct io *io = scan->io;
	int64_t err = io->truncate(io, file, scan->size + SEGMENT_SECTOR);
	if (!err)
		err = rewrite(io, file, scan->synced, scan->end);
	if (!err)
		err = scan->n_bad ? io->truncate(io, file, scan->size) : write_footer(recover, scan, file);
	return err;
}

static enum status settle_newest(struct recover *recover)
{
	const struct segment_scan *scan = &recover->scans[recover->n - 1];
	if (scan->sealed || !scan->has_header)
		return STATUS_OK;
	const char *path = recover->segments[recover->n - 1]->path;
	int file = scan->io->open(scan->io, path, IO_WRITE);
	if (file < 0)
		return read_failed(path, file);
	int64_t err = repair(recover, scan, file);
	int closed = scan->io->close(scan->io, file);
	if (!err)
		err = closed;
	if (err)
		return streamlog_refused(recover->log, "recover", path, err);
	if (scan->torn)
		recover->tell->on_torn_tail(recover->tell->arg, path, scan->end, scan->torn);
	return STATUS_OK;
}

/* A process that died of a failed sync may have left names that only memory knows: of the directory when it is empty, else of files. Were a
 * later file's name durable and an earlier one's not, a power cut would look like damage. */
static enum status settle_names(struct recover *recover)
{
	struct streamlog *log = recover->log;
	const char *directory = recover->n ? log->path : log->parent;
	if (!recover->n && recover->parent_synced)
		return STATUS_OK;
	int err = log->io->sync_dir(log->io, directory);
	return err ? streamlog_refused(log, "sync_dir", directory, err) : STATUS_OK;
}

/* ---- Open ---- */

static void go_on(struct recover *recover)
{
	struct streamlog *log = recover->log;
	const struct segment_scan *scan = recover->n ? &recover->scans[recover->n - 1] : NULL;
	log->readonly = recover->damaged;
	if (!scan)
		return;
	log->next_number = scan->number + 1;
	log->next_base = recover->expected;
	if (!scan->has_header)
		return;
	uint64_t capacity = scan->header.capacity;
	if (scan->end > capacity / 2)
		capacity = capacity < log->segment_max / 2 ? capacity * 2 : log->segment_max;
	if (capacity > log->segment_max)
		capacity = log->segment_max;
	log->next_capacity = capacity < log->segment_min ? log->segment_min : capacity;
}

static enum status recover_all(struct recover *recover)
{
	enum status status = list_segments(recover);
	if (!status)
		status = read_headers(recover);
	if (!status)
		status = drop_unborn(recover);
	for (uint32_t i = 0; !status && i < recover->n; i++)
		status = take_segment(recover, i);
	if (!status)
		status = settle_names(recover);
	if (!status && recover->n)
		status = settle_newest(recover);
	if (!status && !recover->has_id && getrandom(recover->log->log_id, SEGMENT_LOG_ID, 0) != SEGMENT_LOG_ID)
		status = STATUS_IO;
	if (!status)
		go_on(recover);
	return status;
}

enum status streamlog_open(const struct streamlog_config *config, const struct streamlog_recovery *recovery, struct streamlog **out)
{
	struct recover recover = {
		.log = streamlog_alloc(config), .tell = recovery, .expected = POSITION_UNKNOWN, .parent_synced = config->parent_synced};
	enum status status = recover_all(&recover);
	for (uint32_t i = 0; i < recover.n; i++) {
		if (recover.scans)
			segment_scan_fini(&recover.scans[i]);
		segment_unref(recover.segments[i]);
	}
	free(recover.scans);
	free(recover.segments);
	*out = NULL;
	if (status) {
		streamlog_free(recover.log);
		return status;
	}
	streamlog_plan_prepare(recover.log);
	*out = recover.log;
	return STATUS_OK;
}

struct streamlog *streamlog_unreadable(const struct streamlog_config *config)
{
	struct streamlog *log = streamlog_alloc(config);
	log->readonly = true;
	return log;
}
