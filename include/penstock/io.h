/* io.h: every disk call and every look at a clock goes through this table, so that a simulated disk can lose, tear, reorder, delay
 * and refuse. Real: io_posix(). Simulated: tests/sim/disk.h. Delayed: io_slow() wraps another table.
 *
 * Results: 0 or a count, or -errno. Calls are complete: the real table loops over short writes and EINTR; a short read means end of
 * file. Handles are small integers of the table's own. Calls that touch the disk may block: pool and control threads only (and
 * start-up). The clocks may be read by any thread. */
#ifndef PENSTOCK_IO_H
#define PENSTOCK_IO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum io_open {
	IO_READ = 0,        /* an existing file, to read */
	IO_WRITE = 1,       /* an existing file, to read and write */
	IO_CREATE = 2,      /* a new file, to read and write; -EEXIST when there is one */
	IO_DIRECT = 3,      /* an existing file, to write past the page cache. -EINVAL, from open or from a write: it cannot be done here */
};

/* What the memory, the length and the offset of an IO_DIRECT write are multiples of: no disk in use has larger sectors, and a write of whole
 * pages never meets a page that the cache holds for someone else. Such a write is as little durable before fdatasync as any other. */
#define IO_DIRECT_ALIGN 4096

struct io {
	int (*open)(struct io *io, const char *path, enum io_open how);
	int (*close)(struct io *io, int file);
	int64_t (*size)(struct io *io, int file);
	int64_t (*pread)(struct io *io, int file, void *p, size_t n, uint64_t offset);
	int64_t (*pwritev)(struct io *io, int file, const struct iovec *iov, int count, uint64_t offset); /* all or -errno */
	int (*fdatasync)(struct io *io, int file);
	int (*truncate)(struct io *io, int file, uint64_t size);
	/* Makes the file that large and gives it room on the disk, without a write. A file system that cannot is told by -EOPNOTSUPP, or
	 * the bytes are written one by one. */
	int (*allocate)(struct io *io, int file, uint64_t size);
	int (*sync_dir)(struct io *io, const char *path);
	int (*mkdir)(struct io *io, const char *path);  /* -EEXIST when there is one */
	int (*rmdir)(struct io *io, const char *path);
	int (*unlink)(struct io *io, const char *path);
	int (*rename)(struct io *io, const char *from, const char *to);
	/* Calls on_name for each entry but . and .., in no order. */
	int (*list)(struct io *io, const char *path, void (*on_name)(void *arg, const char *name), void *arg);
	int64_t (*free_bytes)(struct io *io, const char *path); /* free space of the file system, for the floor of store.h */
	int64_t (*wall_ms)(struct io *io);  /* CLOCK_REALTIME, ms since the epoch: arrival times, tokens */
	uint64_t (*mono_ns)(struct io *io); /* CLOCK_MONOTONIC, ns: leases, buckets, deadlines */
	uint64_t (*boot_ns)(struct io *io); /* CLOCK_BOOTTIME, ns: runs on while the machine sleeps */
	int64_t (*vouched_ms)(struct io *io); /* wall_ms if the kernel reports it synchronised, else -1 */
};

/* -EMFILE, -ENFILE: open, sync_dir, list or unlink found no descriptor, or no memory for it (io_posix
 * reports ENOMEM of an opening as -ENFILE). Nothing was done. No other failure has these values. */
bool io_is_shortage(int64_t err);

struct io *io_posix(void); /* the one of this process; never freed */

/* `inner` with `delay_us` added to each fdatasync (tests and ./dev bench). Freed by io_slow_free. */
struct io *io_slow(struct io *inner, uint64_t delay_us);
void io_slow_free(struct io *io);

/* `inner` with at most `most` files open at a time, however many handles there are. A handle keeps its
 * path; a file that was idle is closed for another one and opened again when it is used. A file stays
 * open between a write and the next sync (a sync reports the errors of write-back to its own open file
 * only), while a call uses it, and once its name was unlinked through this table; `most` is exceeded if
 * all are in such a state. A call that meets a shortage closes idle files and is repeated; if none is
 * left, any call on a handle may return the shortage: then it has changed nothing.
 * Any thread; a call on an open file takes no lock. Files that are open are counted in METRIC_log_files.
 * No file may be renamed while it has a handle. Freed by io_bounded_free, when each handle is closed. */
struct io *io_bounded(struct io *inner, unsigned most);
void io_bounded_free(struct io *io);

static inline int64_t io_wall_ms(struct io *io) { return io->wall_ms(io); }
static inline uint64_t io_mono_ns(struct io *io) { return io->mono_ns(io); }
static inline uint64_t io_boot_ns(struct io *io) { return io->boot_ns(io); }
static inline int64_t io_vouched_ms(struct io *io) { return io->vouched_ms(io); }

#endif
