/* fault.c: a disk that fails, laid under the real server by LD_PRELOAD: calls on files below one directory fail when they are told to.
 *
 *   PENSTOCK_FAULT_DIR    the directory, an absolute path without links; without it nothing is touched
 *   PENSTOCK_FAULT_AT     which counted call fails, from 1; 0: none
 *   PENSTOCK_FAULT_ERROR  EIO or ENOSPC
 *   PENSTOCK_FAULT_TRACE  a line for each counted call: ns on the monotonic clock, number, call, path, and FAILED for the one that failed
 *   PENSTOCK_FAULT_FULL   while a file of this name exists, whatever takes space fails with ENOSPC, and statvfs says that nothing is free
 *   PENSTOCK_FAULT_FREE   statvfs says that so many bytes are free
 *
 * Counted are open, pread, pwrite, pwritev, ftruncate, fdatasync, fsync, rename, unlink and mkdir. A write that fails has written half. A
 * sync that fails on a segment loses what was written since the last good one: the old bytes come back and the old size, as they would
 * after a power failure; without that the page cache would hide what a wrong acknowledgement costs. What `losable` keeps for it is freed by
 * the next sync.
 *
 * Thread: any of the server's. Failure modes: an error of a real call goes to the caller as it is. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct losable {
	struct losable *next; /* written before this one */
	off_t offset, size;   /* of the file, before */
	size_t n;             /* old bytes */
	char *path;
	char old[];
};

static const char *dir, *full, *free_bytes;
static size_t dir_len;
static unsigned long fail_at;
static int fail_with, trace = -1;
static atomic_ulong calls;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct losable *losables;

static int (*real_open)(const char *, int, ...);
static ssize_t (*real_pread)(int, void *, size_t, off_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_fdatasync)(int);
static int (*real_fsync)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_statvfs)(const char *, struct statvfs *);

#define FIND(name) (*(void **)(&real_##name) = dlsym(RTLD_NEXT, #name))

__attribute__((constructor)) static void begin(void)
{
	FIND(open), FIND(pread), FIND(pwrite), FIND(pwritev), FIND(ftruncate), FIND(fdatasync), FIND(fsync);
	FIND(rename), FIND(unlink), FIND(mkdir), FIND(statvfs);
	const char *at = getenv("PENSTOCK_FAULT_AT"), *error = getenv("PENSTOCK_FAULT_ERROR"), *to = getenv("PENSTOCK_FAULT_TRACE");
	dir = getenv("PENSTOCK_FAULT_DIR");
	dir_len = dir ? strlen(dir) : 0;
	full = getenv("PENSTOCK_FAULT_FULL");
	free_bytes = getenv("PENSTOCK_FAULT_FREE");
	fail_at = at ? strtoul(at, NULL, 10) : 0;
	fail_with = error && strcmp(error, "ENOSPC") == 0 ? ENOSPC : EIO;
	if (to)
		trace = real_open(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* ---- Which file ---- */

static bool below(const char *path) { return dir && strncmp(path, dir, dir_len) == 0 && (path[dir_len] == '/' || !path[dir_len]); }

/* Its name as the kernel knows it; empty when it is none of ours. */
static bool name_of(int file, char path[PATH_MAX])
{
	char link[64];
	snprintf(link, sizeof(link), "/proc/self/fd/%d", file);
	ssize_t n = dir ? readlink(link, path, PATH_MAX - 1) : -1;
	path[n > 0 ? n : 0] = 0;
	return below(path);
}

static bool is_segment(const char *path)
{
	size_t n = strlen(path);
	return n > 4 && strcmp(path + n - 4, ".seg") == 0;
}

/* ---- Failing ---- */

static bool is_full(void) { return full && access(full, F_OK) == 0; }

/* True: the call must fail, errno is set. */
static bool fails(const char *call, const char *path, bool takes_space)
{
	unsigned long number = atomic_fetch_add(&calls, 1) + 1;
	bool now = number == fail_at, no_space = !now && takes_space && is_full();
	if (trace >= 0) {
		struct timespec ts;
		char line[PATH_MAX + 128];
		clock_gettime(CLOCK_MONOTONIC, &ts);
		int n = snprintf(line, sizeof(line), "%lld %lu %s %s%s\n", (long long)ts.tv_sec * 1000000000 + ts.tv_nsec, number, call,
				 path, now ? " FAILED" : "");
		if (write(trace, line, (size_t)n) != n)
			abort();
	}
	if (now || no_space)
		errno = no_space ? ENOSPC : fail_with;
	return now || no_space;
}

/* ---- Losing what was not synced ---- */

static void remember(int file, const char *path, size_t n, off_t offset)
{
	struct stat st;
	if (!is_segment(path) || fstat(file, &st) != 0)
		return;
	struct losable *losable = malloc(sizeof(*losable) + n);
	/* By a handle of its own: the program's may be for writing only, and past the page cache. */
	int reader = real_open(path, O_RDONLY | O_CLOEXEC);
	ssize_t had = losable && reader >= 0 ? real_pread(reader, losable->old, n, offset) : -1;
	if (had < 0)
		abort();
	close(reader);
	losable->offset = offset;
	losable->size = st.st_size;
	losable->n = (size_t)had;
	losable->path = strdup(path);
	pthread_mutex_lock(&lock);
	losable->next = losables;
	losables = losable;
	pthread_mutex_unlock(&lock);
}

static void undo(const struct losable *losable)
{
	int file = real_open(losable->path, O_WRONLY | O_CLOEXEC);
	if (file < 0)
		return;
	if (real_pwrite(file, losable->old, losable->n, losable->offset) < 0 || real_ftruncate(file, losable->size) < 0)
		abort();
	close(file);
}

/* After a sync of the file: what was written is safe, or lost, the last write first. */
static void settle(const char *path, bool lose)
{
	pthread_mutex_lock(&lock);
	for (struct losable **at = &losables, *losable; (losable = *at);) {
		if (strcmp(losable->path, path) != 0) {
			at = &losable->next;
			continue;
		}
		if (lose)
			undo(losable);
		*at = losable->next;
		free(losable->path);
		free(losable);
	}
	pthread_mutex_unlock(&lock);
}

/* ---- The calls ---- */

int open(const char *path, int flags, ...)
{
	va_list args;
	va_start(args, flags);
	mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
	va_end(args);
	bool makes = flags & O_CREAT && access(path, F_OK) != 0;
	return below(path) && fails("open", path, makes) ? -1 : real_open(path, flags, mode);
}

ssize_t pread(int file, void *p, size_t n, off_t offset)
{
	char path[PATH_MAX];
	return name_of(file, path) && fails("pread", path, false) ? -1 : real_pread(file, p, n, offset);
}

static bool grows(int file, off_t end)
{
	struct stat st;
	return fstat(file, &st) != 0 || end > st.st_size;
}

ssize_t pwrite(int file, const void *p, size_t n, off_t offset)
{
	char path[PATH_MAX];
	if (!name_of(file, path))
		return real_pwrite(file, p, n, offset);
	remember(file, path, n, offset);
	if (fails("pwrite", path, grows(file, offset + (off_t)n))) {
		int error = errno;
		if (real_pwrite(file, p, n / 2, offset) < 0)
			abort();
		errno = error;
		return -1;
	}
	return real_pwrite(file, p, n, offset);
}

ssize_t pwritev(int file, const struct iovec *iov, int count, off_t offset)
{
	char path[PATH_MAX];
	size_t n = 0;
	if (!name_of(file, path))
		return real_pwritev(file, iov, count, offset);
	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	remember(file, path, n, offset);
	if (fails("pwritev", path, grows(file, offset + (off_t)n))) {
		int error = errno;
		if (real_pwritev(file, iov, count > 1 ? count / 2 : 1, offset) < 0)
			abort();
		errno = error;
		return -1;
	}
	return real_pwritev(file, iov, count, offset);
}

int ftruncate(int file, off_t size)
{
	char path[PATH_MAX];
	return name_of(file, path) && fails("ftruncate", path, false) ? -1 : real_ftruncate(file, size); /* longer, but with a hole */
}

static int sync_file(const char *call, int file, int (*real)(int))
{
	char path[PATH_MAX];
	if (!name_of(file, path))
		return real(file);
	if (fails(call, path, false)) {
		int error = errno;
		settle(path, true);
		errno = error;
		return -1;
	}
	int result = real(file);
	settle(path, false);
	return result;
}

int fdatasync(int file) { return sync_file("fdatasync", file, real_fdatasync); }
int fsync(int file) { return sync_file("fsync", file, real_fsync); }

int rename(const char *from, const char *to) { return below(from) && fails("rename", from, false) ? -1 : real_rename(from, to); }
int unlink(const char *path) { return below(path) && fails("unlink", path, false) ? -1 : real_unlink(path); }
int mkdir(const char *path, mode_t mode) { return below(path) && fails("mkdir", path, true) ? -1 : real_mkdir(path, mode); }

int statvfs(const char *path, struct statvfs *out)
{
	int result = real_statvfs(path, out);
	if (result == 0 && is_full())
		out->f_bavail = 0;
	else if (result == 0 && free_bytes)
		out->f_bavail = strtoull(free_bytes, NULL, 10) / out->f_frsize;
	return result;
}

/* The same by the names that a program built for large files uses. */
int open64(const char *path, int flags, ...) __attribute__((alias("open")));
ssize_t pread64(int file, void *p, size_t n, off_t offset) __attribute__((alias("pread")));
ssize_t pwrite64(int file, const void *p, size_t n, off_t offset) __attribute__((alias("pwrite")));
ssize_t pwritev64(int file, const struct iovec *iov, int count, off_t offset) __attribute__((alias("pwritev")));
int ftruncate64(int file, off_t size) __attribute__((alias("ftruncate")));
