/* disk_vfs.c: a VFS of SQLite's on the simulated disk: what SQLite's own does with a real one, call for call.
 *
 * - A file is read, written, synced by the disk's calls. The first sync of a journal or WAL that was just made syncs the directory too;
 * only then is its name durable.
 * - Locks are never refused: one process, one connection. The WAL's index is memory that goes with the connection, as it goes with the last
 *   process on a real machine.
 *
 * Thread: one. */
#include "tests/sim/disk_vfs.h"

#include <assert.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/bytes.h"

struct vfs_file {
	sqlite3_file base;
	struct io *io;
	int file;
	char *path;
	bool name_due;  /* its name is not durable yet */
	void **regions; /* of the WAL's index */
	int n_regions;
};

static struct vfs_file *file_of(sqlite3_file *base) { return container_of(base, struct vfs_file, base); }

static void (*call_hook)(void *arg);
static void *call_arg;

static void called(void)
{
	if (call_hook)
		call_hook(call_arg);
}

/* The directory above a path. */
static int sync_above(struct io *io, const char *path)
{
	const char *slash = strrchr(path, '/');
	char *above = xstrndup(path, slash && slash != path ? (size_t)(slash - path) : 1);
	int error = io->sync_dir(io, above);
	free(above);
	return error;
}

/* ---- A file ---- */

static int vfs_shm_unmap(sqlite3_file *base, int delete)
{
	struct vfs_file *file = file_of(base);
	(void)delete;
	for (int i = 0; i < file->n_regions; i++)
		free(file->regions[i]);
	free(file->regions);
	file->regions = NULL;
	file->n_regions = 0;
	return SQLITE_OK;
}

static int vfs_close(sqlite3_file *base)
{
	struct vfs_file *file = file_of(base);
	vfs_shm_unmap(base, 0);
	file->io->close(file->io, file->file);
	free(file->path);
	return SQLITE_OK;
}

static int vfs_read(sqlite3_file *base, void *p, int n, sqlite3_int64 offset)
{
	called();
	struct vfs_file *file = file_of(base);
	int64_t got = file->io->pread(file->io, file->file, p, (size_t)n, (uint64_t)offset);
	if (got < 0)
		return SQLITE_IOERR_READ;
	if (got == n)
		return SQLITE_OK;
	memset((char *)p + got, 0, (size_t)(n - got));
	return SQLITE_IOERR_SHORT_READ;
}

static int vfs_write(sqlite3_file *base, const void *p, int n, sqlite3_int64 offset)
{
	called();
	struct vfs_file *file = file_of(base);
	struct iovec iov = {(void *)(uintptr_t)p, (size_t)n};
	int64_t put = file->io->pwritev(file->io, file->file, &iov, 1, (uint64_t)offset);
	return put == n ? SQLITE_OK : put == -ENOSPC ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int vfs_truncate(sqlite3_file *base, sqlite3_int64 size)
{
	struct vfs_file *file = file_of(base);
	return file->io->truncate(file->io, file->file, (uint64_t)size) ? SQLITE_IOERR_TRUNCATE : SQLITE_OK;
}

static int vfs_sync(sqlite3_file *base, int flags)
{
	called();
	struct vfs_file *file = file_of(base);
	(void)flags;
	if (file->io->fdatasync(file->io, file->file))
		return SQLITE_IOERR_FSYNC;
	if (file->name_due && sync_above(file->io, file->path))
		return SQLITE_IOERR_DIR_FSYNC;
	file->name_due = false;
	return SQLITE_OK;
}

static int vfs_size(sqlite3_file *base, sqlite3_int64 *size)
{
	struct vfs_file *file = file_of(base);
	*size = file->io->size(file->io, file->file);
	return *size < 0 ? SQLITE_IOERR_FSTAT : SQLITE_OK;
}

static int vfs_lock(sqlite3_file *base, int level)
{
	(void)base, (void)level;
	return SQLITE_OK;
}

static int vfs_is_reserved(sqlite3_file *base, int *reserved)
{
	(void)base;
	*reserved = 0;
	return SQLITE_OK;
}

static int vfs_control(sqlite3_file *base, int op, void *arg)
{
	(void)base, (void)op, (void)arg;
	return SQLITE_NOTFOUND;
}

/* As SQLite's own has it on Linux: sectors of 4096, and a write hurts no bytes beside it. */
static int vfs_sector(sqlite3_file *base)
{
	(void)base;
	return 4096;
}

static int vfs_traits(sqlite3_file *base)
{
	(void)base;
	return SQLITE_IOCAP_POWERSAFE_OVERWRITE;
}

static int vfs_shm_map(sqlite3_file *base, int at, int n, int extend, void volatile **out)
{
	struct vfs_file *file = file_of(base);
	*out = NULL;
	if (at >= file->n_regions && !extend)
		return SQLITE_OK;
	if (at >= file->n_regions) {
		file->regions = xrealloc(file->regions, (size_t)(at + 1) * sizeof(*file->regions));
		while (file->n_regions <= at)
			file->regions[file->n_regions++] = xcalloc(1, (size_t)n);
	}
	*out = file->regions[at];
	return SQLITE_OK;
}

static int vfs_shm_lock(sqlite3_file *base, int at, int n, int flags)
{
	called();
	(void)base, (void)at, (void)n, (void)flags;
	return SQLITE_OK;
}

static void vfs_shm_barrier(sqlite3_file *base) { (void)base; }

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = vfs_close,
	.xRead = vfs_read,
	.xWrite = vfs_write,
	.xTruncate = vfs_truncate,
	.xSync = vfs_sync,
	.xFileSize = vfs_size,
	.xLock = vfs_lock,
	.xUnlock = vfs_lock,
	.xCheckReservedLock = vfs_is_reserved,
	.xFileControl = vfs_control,
	.xSectorSize = vfs_sector,
	.xDeviceCharacteristics = vfs_traits,
	.xShmMap = vfs_shm_map,
	.xShmLock = vfs_shm_lock,
	.xShmBarrier = vfs_shm_barrier,
	.xShmUnmap = vfs_shm_unmap,
};

/* ---- The VFS ---- */

static struct rng dice;

static struct io *io_of(sqlite3_vfs *vfs) { return sim_disk_io(vfs->pAppData); }

static int vfs_open(sqlite3_vfs *vfs, const char *path, sqlite3_file *base, int flags, int *flags_out)
{
	struct vfs_file *file = file_of(base);
	struct io *io = io_of(vfs);
	bool made = false;
	file->base.pMethods = NULL;
	if (!path) /* a file for scratch: nothing here is that large */
		return SQLITE_CANTOPEN;
	int handle = io->open(io, path, IO_WRITE);
	if (handle == -ENOENT && flags & SQLITE_OPEN_CREATE) {
		handle = io->open(io, path, IO_CREATE);
		made = handle >= 0;
	}
	if (handle < 0)
		return handle == -ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN;
	*file = (struct vfs_file){.base.pMethods = &methods, .io = io, .file = handle, .path = xstrdup(path)};
	file->name_due = made && flags & (SQLITE_OPEN_WAL | SQLITE_OPEN_MAIN_JOURNAL);
	if (flags_out)
		*flags_out = flags;
	return SQLITE_OK;
}

static int vfs_delete(sqlite3_vfs *vfs, const char *path, int durably)
{
	struct io *io = io_of(vfs);
	int error = io->unlink(io, path);
	if (error == -ENOENT)
		return SQLITE_IOERR_DELETE_NOENT;
	if (error)
		return SQLITE_IOERR_DELETE;
	return durably && sync_above(io, path) ? SQLITE_IOERR_DIR_FSYNC : SQLITE_OK;
}

/* There, and not empty: as SQLite's own. */
static int vfs_access(sqlite3_vfs *vfs, const char *path, int flags, int *out)
{
	struct io *io = io_of(vfs);
	int file = io->open(io, path, IO_READ);
	(void)flags;
	*out = 0;
	if (file == -ENOENT)
		return SQLITE_OK;
	if (file < 0)
		return SQLITE_IOERR_ACCESS;
	int64_t size = io->size(io, file);
	io->close(io, file);
	*out = size > 0;
	return size < 0 ? SQLITE_IOERR_ACCESS : SQLITE_OK;
}

static int vfs_full_path(sqlite3_vfs *vfs, const char *path, int n, char *out)
{
	(void)vfs;
	sqlite3_snprintf(n, out, "%s", path);
	return SQLITE_OK;
}

static int vfs_random(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs;
	for (int i = 0; i < n; i++)
		out[i] = (char)rng_next(&dice);
	return n;
}

static int vfs_sleep(sqlite3_vfs *vfs, int microseconds)
{
	(void)vfs;
	return microseconds;
}

static int vfs_time(sqlite3_vfs *vfs, sqlite3_int64 *ms)
{
	*ms = io_wall_ms(io_of(vfs)) + INT64_C(210866760000000); /* since noon in Greenwich on 24 November 4714 BC */
	return SQLITE_OK;
}

static int vfs_last_error(sqlite3_vfs *vfs, int n, char *out)
{
	(void)vfs, (void)n, (void)out;
	return 0;
}

static sqlite3_vfs vfs_of_disk = {
	.iVersion = 2,
	.szOsFile = sizeof(struct vfs_file),
	.mxPathname = 512,
	.zName = SIM_VFS,
	.xOpen = vfs_open,
	.xDelete = vfs_delete,
	.xAccess = vfs_access,
	.xFullPathname = vfs_full_path,
	.xRandomness = vfs_random,
	.xSleep = vfs_sleep,
	.xGetLastError = vfs_last_error,
	.xCurrentTimeInt64 = vfs_time,
};

void sim_vfs_register(struct sim_disk *disk, uint64_t seed, void (*on_call)(void *arg), void *arg)
{
	call_hook = on_call;
	call_arg = arg;
	rng_init(&dice, seed);
	vfs_of_disk.pAppData = disk;
	int code = sqlite3_vfs_register(&vfs_of_disk, 1);
	assert(code == SQLITE_OK);
	sqlite3_randomness(0, NULL); /* begins anew, with our dice */
}

void sim_vfs_unregister(void) { sqlite3_vfs_unregister(&vfs_of_disk); }
