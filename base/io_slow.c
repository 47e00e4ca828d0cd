/* io_slow.c: another table with each fdatasync slowed down, to see what a slower disk does to a server. Everything else is handed
 * through.
 *
 * Thread: any; the struct does not change after it is made. The delay comes before the sync: data is durable when the call returns, not
 * much earlier. */
#include "penstock/io.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "penstock/bytes.h"

struct slow {
	struct io io;
	struct io *inner;
	uint64_t delay_us;
};

static struct io *inner_of(struct io *io) { return container_of(io, struct slow, io)->inner; }

static int slow_open(struct io *io, const char *path, enum io_open how) { return inner_of(io)->open(inner_of(io), path, how); }

static int slow_close(struct io *io, int file) { return inner_of(io)->close(inner_of(io), file); }

static int64_t slow_size(struct io *io, int file) { return inner_of(io)->size(inner_of(io), file); }

static int64_t slow_pread(struct io *io, int file, void *p, size_t n, uint64_t offset)
{
	return inner_of(io)->pread(inner_of(io), file, p, n, offset);
}

static int64_t slow_pwritev(struct io *io, int file, const struct iovec *iov, int count, uint64_t offset)
{
	return inner_of(io)->pwritev(inner_of(io), file, iov, count, offset);
}

static int slow_fdatasync(struct io *io, int file)
{
	uint64_t us = container_of(io, struct slow, io)->delay_us;
	struct timespec left = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
	return inner_of(io)->fdatasync(inner_of(io), file);
}

static int slow_truncate(struct io *io, int file, uint64_t size) { return inner_of(io)->truncate(inner_of(io), file, size); }

static int slow_allocate(struct io *io, int file, uint64_t size) { return inner_of(io)->allocate(inner_of(io), file, size); }

static int slow_sync_dir(struct io *io, const char *path) { return inner_of(io)->sync_dir(inner_of(io), path); }

static int slow_mkdir(struct io *io, const char *path) { return inner_of(io)->mkdir(inner_of(io), path); }

static int slow_rmdir(struct io *io, const char *path) { return inner_of(io)->rmdir(inner_of(io), path); }

static int slow_unlink(struct io *io, const char *path) { return inner_of(io)->unlink(inner_of(io), path); }

static int slow_rename(struct io *io, const char *from, const char *to) { return inner_of(io)->rename(inner_of(io), from, to); }

static int slow_list(struct io *io, const char *path, void (*on_name)(void *arg, const char *name), void *arg)
{
	return inner_of(io)->list(inner_of(io), path, on_name, arg);
}

static int64_t slow_free_bytes(struct io *io, const char *path) { return inner_of(io)->free_bytes(inner_of(io), path); }

static int64_t slow_wall_ms(struct io *io) { return io_wall_ms(inner_of(io)); }

static uint64_t slow_mono_ns(struct io *io) { return io_mono_ns(inner_of(io)); }

static uint64_t slow_boot_ns(struct io *io) { return io_boot_ns(inner_of(io)); }

static int64_t slow_vouched_ms(struct io *io) { return io_vouched_ms(inner_of(io)); }

struct io *io_slow(struct io *inner, uint64_t delay_us)
{
	struct slow *slow = xmalloc(sizeof(*slow));
	slow->inner = inner;
	slow->delay_us = delay_us;
	slow->io = (struct io){
		.open = slow_open,
		.close = slow_close,
		.size = slow_size,
		.pread = slow_pread,
		.pwritev = slow_pwritev,
		.fdatasync = slow_fdatasync,
		.truncate = slow_truncate,
		.allocate = slow_allocate,
		.sync_dir = slow_sync_dir,
		.mkdir = slow_mkdir,
		.rmdir = slow_rmdir,
		.unlink = slow_unlink,
		.rename = slow_rename,
		.list = slow_list,
		.free_bytes = slow_free_bytes,
		.wall_ms = slow_wall_ms,
		.mono_ns = slow_mono_ns,
		.boot_ns = slow_boot_ns,
		.vouched_ms = slow_vouched_ms,
	};
	return &slow->io;
}

void io_slow_free(struct io *io) { free(container_of(io, struct slow, io)); }
