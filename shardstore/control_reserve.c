/* control_reserve.c: DATA_DIR/reserve, a file whose only use is the room that it takes: on a full disk it
 * is given up, so that the catalogue can still be written, and streams can be deleted.
 *
 * Thread: control; before control_start, the one that starts the server.
 *
 * Happy path:
 * - at the start, once the catalogue is open, the file gets its full size, allocated, not written: a directory
 *   whose catalogue is refused is left as it is
 * - SQLite reports a full disk (control_db.c): the file is cut to nothing; the change is tried again
 * - every RESERVE_CHECK_NS: if it is not full-sized and the disk has room again, it is
 *
 * Failure modes: a file that cannot be made, opened or allocated is reported once, and tried again: the
 * server works without it. What is left of an allocation that failed is cut, so that it takes no room
 * from what needs it now. A file system that ignores allocation (copy-on-write) keeps no reserve. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/slog.h"
#include "shardstore/control.h"

#define RESERVE_CHECK_NS UINT64_C(10000000000)
#define SPARE_PARTS 4 /* the disk is not filled up by it: so many times its size must be free */

/* A handle, or -errno. */
static int open_reserve(const struct control_reserve *reserve)
{
	struct io *io = reserve->io;
	int file = io->open(io, reserve->path, IO_WRITE);

	return file == -ENOENT ? io->open(io, reserve->path, IO_CREATE) : file;
}

static int64_t set_size(struct control_reserve *reserve, uint64_t bytes)
{
	struct io *io = reserve->io;
	int file = open_reserve(reserve);
	int64_t err = file;

	if (file < 0)
		return err;
	err = bytes ? io->allocate(io, file, bytes) : io->truncate(io, file, 0);
	if (err && bytes)
		io->truncate(io, file, 0);
	io->close(io, file);
	return err;
}

static int64_t size_of(const struct control_reserve *reserve)
{
	struct io *io = reserve->io;
	int file = io->open(io, reserve->path, IO_READ);
	int64_t size = file;

	if (file < 0)
		return 0;
	size = io->size(io, file);
	io->close(io, file);
	return size;
}

static void fill(struct control_reserve *reserve)
{
	int64_t err = set_size(reserve, reserve->bytes);

	if (err && !reserve->failed)
		slog(SLOG_WARN, "no_reserve", "file=%s why=\"%s\"", reserve->path, strerror((int)-err));
	if (!err && reserve->given)
		slog(SLOG_INFO, "reserve_filled", "file=%s bytes=%llu", reserve->path, (unsigned long long)reserve->bytes);
	reserve->failed = err != 0;
	reserve->full = !err;
	reserve->given = reserve->given && err;
}

void control_reserve_open(struct control_reserve *reserve, struct io *io, const char *data_dir, uint64_t bytes)
{
	int64_t free_bytes = io->free_bytes(io, data_dir);

	*reserve = (struct control_reserve){.io = io, .bytes = bytes, .path = xasprintf("%s/reserve", data_dir)};
	if (!bytes)
		return;
	reserve->full = size_of(reserve) >= (int64_t)bytes;
	if (reserve->full && free_bytes >= 0 && (uint64_t)free_bytes < bytes / SPARE_PARTS)
		control_reserve_give(reserve); /* SQLite needs some to begin with */
}

void control_reserve_opened(struct control_reserve *reserve, const char *data_dir)
{
	int64_t free_bytes = reserve->io->free_bytes(reserve->io, data_dir);

	if (reserve->bytes && !reserve->full && !reserve->given && free_bytes >= 0 && (uint64_t)free_bytes >= SPARE_PARTS * reserve->bytes)
		fill(reserve);
}

void control_reserve_close(struct control_reserve *reserve)
{
	free(reserve->path);
	*reserve = (struct control_reserve){0};
}

bool control_reserve_give(struct control_reserve *reserve)
{
	int64_t err;

	if (!reserve->full)
		return false;
	err = set_size(reserve, 0);
	slog(SLOG_WARN, "reserve_given", "file=%s bytes=%llu why=\"%s\" advice=\"delete streams, or make room on the disk\"", reserve->path,
	     (unsigned long long)reserve->bytes, err ? strerror((int)-err) : "the disk is full");
	reserve->full = false;
	reserve->given = true;
	return !err;
}

uint64_t control_run_reserve(struct control *control, uint64_t now_ns)
{
	struct control_reserve *reserve = &control->db.reserve;

	if (reserve->full || !reserve->bytes)
		return UINT64_MAX;
	if (!reserve->check_at_ns)
		reserve->check_at_ns = now_ns + RESERVE_CHECK_NS;
	if (now_ns < reserve->check_at_ns)
		return reserve->check_at_ns;
	reserve->check_at_ns = now_ns + RESERVE_CHECK_NS;
	if (store_has_room(control->store))
		fill(reserve);
	return reserve->check_at_ns;
}
