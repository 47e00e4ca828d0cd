/* io_posix.c: the real disk and the real clocks.
 *
 * Handles are file descriptors. Every call is complete: EINTR and short transfers are taken up again, so that callers see all, end of
 * file, or -errno. Close is not repeated after EINTR (Linux has closed the descriptor by then).
 *
 * Thread: any; there is no state. Failure: -errno as the kernel says. A pwritev that fails half-way has written a prefix: callers
 * overwrite or cut it. */
#include "penstock/io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static int posix_result(int result) { return result < 0 ? -errno : result; }

/* From an opening: without memory for a descriptor nothing was done, as without a descriptor. */
static int opening_result(void) { return errno == ENOMEM ? -ENFILE : -errno; }

static int posix_open(struct io *io, const char *path, enum io_open how)
{
	(void)io;
	static const int flags[] = {
		[IO_READ] = O_RDONLY,
		[IO_WRITE] = O_RDWR,
		[IO_CREATE] = O_RDWR | O_CREAT | O_EXCL,
		[IO_DIRECT] = O_WRONLY | O_DIRECT,
	};
	int file;
	do
		file = open(path, flags[how] | O_CLOEXEC, 0600);
	while (file < 0 && errno == EINTR);
	return file < 0 ? opening_result() : file;
}

static int posix_close(struct io *io, int file)
{
	(void)io;
	return close(file) < 0 && errno != EINTR ? -errno : 0;
}

static int64_t posix_size(struct io *io, int file)
{
	(void)io;
	struct stat st;
	return fstat(file, &st) < 0 ? -errno : (int64_t)st.st_size;
}

static int64_t posix_pread(struct io *io, int file, void *p, size_t n, uint64_t offset)
{
	(void)io;
	size_t done = 0;
	while (done < n) {
		ssize_t got = pread(file, (char *)p + done, n - done, (off_t)(offset + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		done += (size_t)got;
	}
	return (int64_t)done;
}

/* Drops the first n bytes of a vector that the caller owns; returns how many whole pieces went. */
static int iov_skip(struct iovec *iov, int count, size_t n)
{
	int gone = 0;
	while (gone < count && n >= iov[gone].iov_len)
		n -= iov[gone++].iov_len;
	if (gone < count) {
		iov[gone].iov_base = (char *)iov[gone].iov_base + n;
		iov[gone].iov_len -= n;
	}
	return gone;
}

/* Writes all of a vector that may be changed. */
static int64_t write_all(int file, struct iovec *iov, int count, uint64_t offset)
{
	uint64_t done = 0;
	int at = iov_skip(iov, count, 0); /* empty pieces ahead would look like a write of nothing */
	while (at < count) {
		ssize_t put = pwritev(file, iov + at, count - at, (off_t)(offset + done));
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		if (put == 0)
			return -EIO;
		done += (uint64_t)put;
		at += iov_skip(iov + at, count - at, (size_t)put);
	}
	return (int64_t)done;
}

#define WRITE_PIECES 64 /* copied to the stack: 1 KiB a round */

static int64_t posix_pwritev(struct io *io, int file, const struct iovec *iov, int count, uint64_t offset)
{
	(void)io;
	struct iovec piece[WRITE_PIECES];
	uint64_t done = 0;
	for (int at = 0; at < count;) {
		int n = count - at < WRITE_PIECES ? count - at : WRITE_PIECES;
		memcpy(piece, iov + at, (size_t)n * sizeof(piece[0]));
		int64_t put = write_all(file, piece, n, offset + done);
		if (put < 0)
			return put;
		done += (uint64_t)put;
		at += n;
	}
	return (int64_t)done;
}

static int posix_fdatasync(struct io *io, int file)
{
	(void)io;
	return posix_result(fdatasync(file)); /* never repeated: after an error the kernel has marked the pages clean */
}

static int posix_truncate(struct io *io, int file, uint64_t size)
{
	(void)io;
	int result;
	do
		result = ftruncate(file, (off_t)size);
	while (result < 0 && errno == EINTR);
	return posix_result(result);
}

static int posix_allocate(struct io *io, int file, uint64_t size)
{
	(void)io;
	int error;
	do
		error = posix_fallocate(file, 0, (off_t)size);
	while (error == EINTR);
	return -error;
}

static int posix_sync_dir(struct io *io, const char *path)
{
	(void)io;
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return opening_result();
	int result = posix_result(fsync(dir));
	close(dir);
	return result;
}

static int posix_mkdir(struct io *io, const char *path)
{
	(void)io;
	return posix_result(mkdir(path, 0700));
}

static int posix_rmdir(struct io *io, const char *path)
{
	(void)io;
	return posix_result(rmdir(path));
}

static int posix_unlink(struct io *io, const char *path)
{
	(void)io;
	return posix_result(unlink(path));
}

static int posix_rename(struct io *io, const char *from, const char *to)
{
	(void)io;
	return posix_result(rename(from, to));
}

static int posix_list(struct io *io, const char *path, void (*on_name)(void *arg, const char *name), void *arg)
{
	(void)io;
	DIR *dir = opendir(path);
	if (!dir)
		return opening_result();
	struct dirent *entry;
	errno = 0;
	while ((entry = readdir(dir))) {
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			on_name(arg, entry->d_name);
		errno = 0;
	}
	int result = -errno;
	closedir(dir);
	return result;
}

static int64_t posix_free_bytes(struct io *io, const char *path)
{
	(void)io;
	struct statvfs vfs;
	if (statvfs(path, &vfs) < 0)
		return -errno;
	return (int64_t)(vfs.f_bavail * vfs.f_frsize); /* what an ordinary user may still write, not the reserve of root */
}

static int64_t posix_wall_ms(struct io *io)
{
	(void)io;
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static uint64_t posix_mono_ns(struct io *io)
{
	(void)io;
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static uint64_t posix_boot_ns(struct io *io)
{
	(void)io;
	struct timespec ts;
	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

/* adjtimex gives state and time in one call, so that no step of the clock falls between the two.
 * Setting the clock by hand (settimeofday, clock_settime, ADJ_SETOFFSET) clears the kernel's
 * synchronised state (STA_UNSYNC; kernel/time/ntp.c, ntp_clear) until a time daemon sets it again.
 * Without a daemon the state ends when the estimated error passes 16 s. A sandbox that refuses
 * adjtimex leaves the clock unsynchronised. */
static int64_t posix_vouched_ms(struct io *io)
{
	(void)io;
	struct timex timex = {.modes = 0};
	int state = adjtimex(&timex);
	if (state < 0 || state == TIME_ERROR || timex.status & STA_UNSYNC)
		return -1;
	return (int64_t)timex.time.tv_sec * 1000 + timex.time.tv_usec / (timex.status & STA_NANO ? 1000000 : 1000);
}

struct io *io_posix(void)
{
	static struct io io = {
		.open = posix_open,
		.close = posix_close,
		.size = posix_size,
		.pread = posix_pread,
		.pwritev = posix_pwritev,
		.fdatasync = posix_fdatasync,
		.truncate = posix_truncate,
		.allocate = posix_allocate,
		.sync_dir = posix_sync_dir,
		.mkdir = posix_mkdir,
		.rmdir = posix_rmdir,
		.unlink = posix_unlink,
		.rename = posix_rename,
		.list = posix_list,
		.free_bytes = posix_free_bytes,
		.wall_ms = posix_wall_ms,
		.mono_ns = posix_mono_ns,
		.boot_ns = posix_boot_ns,
		.vouched_ms = posix_vouched_ms,
	};
	return &io;
}
