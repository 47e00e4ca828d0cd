/* disk.c: the simulated disk's calls, faults, clocks and death.
 *
 * - Each call takes the lock and a verdict (begin): go on, fail by an injected fault, or die; with the verdict it leaves (end).
 * - What the calls change lies in disk_inode.c.
 * - A failed fdatasync clears the dirty marks without copying: that data can be read until the crash and is gone after it.
 *
 * Handles are never used twice, so that one kept over a crash is -EBADF and not another file. */
#include "tests/sim/disk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "penstock/bytes.h"
#include "tests/sim/disk_inode.h"

static struct sim_disk *disk_of(struct io *io) { return container_of(io, struct sim_disk, io); }

/* ---- Each call begins here ---- */

/* A shortage is met by calls that open something. */
static bool opens(enum sim_call kind) { return kind == SIM_OPEN || kind == SIM_SYNC_DIR || kind == SIM_LIST; }

static int fault_due(struct fault *fault, enum sim_call kind)
{
	if (fault->times == 0 || (io_is_shortage(-fault->err) && !opens(kind)))
		return 0;
	if (fault->at > 1) {
		fault->at--;
		return 0;
	}
	fault->times--;
	return -fault->err;
}

/* What is to become of a call: go on as usual, fail with `error`, or die: with or without its effect. */
struct verdict {
	int error;   /* what the caller is told; 0: what the call says */
	bool effect; /* it happens all the same */
	bool fault;  /* an injected fault, which has its own effects */
};

static struct verdict begin(struct sim_disk *disk, enum sim_call kind)
{
	pthread_mutex_lock(&disk->lock);
	disk->calls[kind]++;
	disk->calls[SIM_ANY]++;
	if (disk->dead)
		return (struct verdict){.error = -EIO};
	if (disk->armed && --disk->armed == 0) {
		disk->dead = true;
		return (struct verdict){.error = -EIO, .effect = rng_chance(&disk->rng, 50)};
	}
	int error = fault_due(&disk->faults[kind], kind);
	if (!error)
		error = fault_due(&disk->faults[SIM_ANY], kind);
	return (struct verdict){.error = error, .effect = error == 0, .fault = error != 0};
}

static int end(struct sim_disk *disk, struct verdict verdict, int result)
{
	pthread_mutex_unlock(&disk->lock);
	return verdict.error ? verdict.error : result;
}

static int64_t end64(struct sim_disk *disk, struct verdict verdict, int64_t result)
{
	pthread_mutex_unlock(&disk->lock);
	return verdict.error ? verdict.error : result;
}

/* ---- Files ---- */

static int handle_new(struct sim_disk *disk, struct inode *inode, enum io_open how)
{
	if (disk->n_handles == disk->cap_handles) {
		disk->cap_handles = disk->cap_handles ? disk->cap_handles * 2 : 32;
		disk->handles = xrealloc(disk->handles, disk->cap_handles * sizeof(*disk->handles));
	}
	disk->handles[disk->n_handles] = (struct handle){.inode = inode_ref(inode), .writable = how != IO_READ, .direct = how == IO_DIRECT};
	inode->opens++;
	return (int)disk->n_handles++;
}

static struct handle *handle_get(struct sim_disk *disk, int file)
{
	if (file < 0 || (size_t)file >= disk->n_handles || !disk->handles[file].inode)
		return NULL;
	return &disk->handles[file];
}

void handle_drop(struct sim_disk *disk, struct handle *handle)
{
	handle->inode->opens--;
	inode_unref(disk, handle->inode);
	handle->inode = NULL;
}

static int open_now(struct sim_disk *disk, const char *path, enum io_open how)
{
	struct inode *dir;
	char name[256];
	int error = path_walk(disk, path, &dir, name);
	if (error)
		return error;
	struct entry *entry = name[0] ? *entry_find(&dir->entries, name) : NULL;
	if (!name[0] || (entry && entry->inode->dir))
		return -EISDIR;
	if (how == IO_DIRECT && disk->direct == SIM_DIRECT_REFUSED)
		return -EINVAL;
	if (how != IO_CREATE)
		return entry ? handle_new(disk, entry->inode, how) : -ENOENT;
	if (entry)
		return -EEXIST;
	struct inode *inode = inode_new(disk, false);
	dir_change(disk, dir, NULL, name, inode);
	int file = handle_new(disk, inode, how);
	inode_unref(disk, inode);
	return file;
}

static int sim_open(struct io *io, const char *path, enum io_open how)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_OPEN);
	int file = verdict.effect ? open_now(disk, path, how) : 0;
	if (verdict.error && verdict.effect && file >= 0)
		handle_drop(disk, &disk->handles[file]);
	return end(disk, verdict, file);
}

/* A dead disk closes: the program is on its way out and must not count a leak. */
static int sim_close(struct io *io, int file)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_CLOSE);
	struct handle *handle = handle_get(disk, file);
	if (handle)
		handle_drop(disk, handle);
	if (!verdict.fault)
		verdict.error = 0;
	return end(disk, verdict, handle || disk->dead ? 0 : -EBADF);
}

static int64_t sim_size(struct io *io, int file)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_SIZE);
	struct handle *handle = handle_get(disk, file);
	return end64(disk, verdict, handle ? (int64_t)handle->inode->seen_size : -EBADF);
}

static int64_t sim_pread(struct io *io, int file, void *p, size_t n, uint64_t offset)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_PREAD);
	struct handle *handle = handle_get(disk, file);
	int64_t result = handle ? 0 : -EBADF;
	if (handle && !verdict.error && offset < handle->inode->seen_size) {
		uint64_t left = handle->inode->seen_size - offset;
		if (n > left)
			n = left;
		memcpy(p, handle->inode->seen + offset, n);
		result = (int64_t)n;
	}
	return end64(disk, verdict, result);
}

uint64_t disk_used(struct sim_disk *disk)
{
	uint64_t sum = 0;
	for (struct inode *file = disk->files; file; file = file->next_file)
		if (file->names || file->opens)
			sum += file->seen_size;
	return sum;
}

/* How many of n bytes at offset fit on the disk. */
static uint64_t fits(struct sim_disk *disk, struct inode *file, uint64_t offset, uint64_t n)
{
	if (!disk->capacity || offset + n <= file->seen_size)
		return n;
	uint64_t sum = disk_used(disk), room = disk->capacity > sum ? disk->capacity - sum : 0;
	uint64_t end_max = file->seen_size + room;
	return end_max <= offset ? 0 : end_max - offset < n ? end_max - offset : n;
}

/* Writes the first n bytes of a vector. */
static void write_now(struct inode *file, const struct iovec *iov, uint64_t n, uint64_t offset)
{
	if (n == 0)
		return;
	if (offset + n > file->seen_size)
		file_resize(file, offset + n);
	/* Bytes that a failed sync has lost take the size with them when they are written anew, as on ext4. */
	file->size_dirty = file->size_dirty || offset + n > file->kept_size;
	file_mark(file, offset, offset + n);
	for (uint64_t done = 0; done < n; iov++) {
		uint64_t piece = iov->iov_len < n - done ? iov->iov_len : n - done;
		if (piece)
			memcpy(file->seen + offset + done, iov->iov_base, piece);
		done += piece;
	}
}

/* The kernel writes back when it likes: each dirty sector with even odds, and the size it reaches. */
static void write_back(struct sim_disk *disk, struct inode *file)
{
	if (!rng_chance(&disk->rng, disk->writeback))
		return;
	for (uint64_t i = 0; i < file->cap / SIM_SECTOR; i++) {
		if (!file->dirty[i] || rng_chance(&disk->rng, 50))
			continue;
		uint64_t last = (i + 1) * SIM_SECTOR < file->seen_size ? (i + 1) * SIM_SECTOR : file->seen_size;
		memcpy(file->kept + i * SIM_SECTOR, file->seen + i * SIM_SECTOR, SIM_SECTOR);
		file->dirty[i] = 0;
		if (last > file->kept_size)
			file->kept_size = last;
	}
	file->size_dirty = file->kept_size != file->seen_size;
}

static bool aligned(const struct iovec *iov, int count, uint64_t offset)
{
	bool good = offset % IO_DIRECT_ALIGN == 0;
	for (int i = 0; i < count; i++)
		good = good && (uintptr_t)iov[i].iov_base % IO_DIRECT_ALIGN == 0 && iov[i].iov_len % IO_DIRECT_ALIGN == 0;
	return good;
}

static int64_t sim_pwritev(struct io *io, int file, const struct iovec *iov, int count, uint64_t offset)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_PWRITEV);
	struct handle *handle = handle_get(disk, file);
	if (!handle || !handle->writable)
		return end64(disk, verdict, -EBADF);
	uint64_t all = 0;
	for (int i = 0; i < count; i++)
		all += iov[i].iov_len;
	assert(!handle->direct || aligned(iov, count, offset)); /* else a bug that every disk shows as a refusal */
	if (handle->direct && disk->direct == SIM_DIRECT_REFUSED_LATE)
		return end64(disk, verdict, -EINVAL);
	uint64_t n = fits(disk, handle->inode, offset, all);
	int64_t result = n == all ? (int64_t)all : -ENOSPC;
	if (verdict.fault || (verdict.error && verdict.effect))
		n = rng_below(&disk->rng, n + 1);
	if (verdict.fault || verdict.effect)
		write_now(handle->inode, iov, n, offset);
	write_back(disk, handle->inode);
	return end64(disk, verdict, result);
}

static int sim_fdatasync(struct io *io, int file)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_FDATASYNC);
	struct handle *handle = handle_get(disk, file);
	if (!handle)
		return end(disk, verdict, -EBADF);
	struct inode *inode = handle->inode;
	if (verdict.fault) {
		/* What Linux does since 4.13: the error is told once, the pages count as clean. */
		if (inode->cap)
			memset(inode->dirty, 0, inode->cap / SIM_SECTOR);
		inode->size_dirty = false;
	} else if (verdict.effect) {
		file_settle(inode);
	}
	return end(disk, verdict, 0);
}

static int sim_truncate(struct io *io, int file, uint64_t size)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_TRUNCATE);
	struct handle *handle = handle_get(disk, file);
	if (!handle || !handle->writable)
		return end(disk, verdict, -EBADF);
	if (verdict.effect)
		file_resize(handle->inode, size);
	return end(disk, verdict, 0);
}

static int sim_allocate(struct io *io, int file, uint64_t size)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_TRUNCATE);
	struct handle *handle = handle_get(disk, file);
	if (!handle || !handle->writable)
		return end(disk, verdict, -EBADF);
	bool room = size <= handle->inode->seen_size ||
		    fits(disk, handle->inode, handle->inode->seen_size, size - handle->inode->seen_size) == size - handle->inode->seen_size;
	if (verdict.effect && room && size > handle->inode->seen_size)
		file_resize(handle->inode, size);
	return end(disk, verdict, room ? 0 : -ENOSPC);
}

/* ---- Names ---- */

static int sim_sync_dir(struct io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_SYNC_DIR);
	struct inode *dir;
	int error = path_find_dir(disk, path, &dir);
	if (!error && verdict.effect)
		dir_settle(disk, dir);
	return end(disk, verdict, error);
}

static int mkdir_now(struct sim_disk *disk, const char *path)
{
	struct inode *dir;
	char name[256];
	int error = path_walk(disk, path, &dir, name);
	if (error)
		return error;
	if (!name[0] || *entry_find(&dir->entries, name))
		return -EEXIST;
	struct inode *inode = inode_new(disk, true);
	dir_change(disk, dir, NULL, name, inode);
	inode_unref(disk, inode);
	return 0;
}

static int sim_mkdir(struct io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_MKDIR);
	return end(disk, verdict, verdict.effect ? mkdir_now(disk, path) : 0);
}

/* rmdir and unlink. */
static int remove_now(struct sim_disk *disk, const char *path, bool want_dir)
{
	struct inode *dir;
	char name[256];
	int error = path_walk(disk, path, &dir, name);
	if (error)
		return error;
	struct entry *entry = *entry_find(&dir->entries, name);
	if (!entry)
		return name[0] ? -ENOENT : -EBUSY;
	if (entry->inode->dir != want_dir)
		return want_dir ? -ENOTDIR : -EISDIR;
	if (want_dir && entry->inode->entries)
		return -ENOTEMPTY;
	dir_change(disk, dir, name, NULL, NULL);
	return 0;
}

static int sim_rmdir(struct io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_RMDIR);
	return end(disk, verdict, verdict.effect ? remove_now(disk, path, true) : 0);
}

static int sim_unlink(struct io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_UNLINK);
	return end(disk, verdict, verdict.effect ? remove_now(disk, path, false) : 0);
}

/* Within a directory one change, both names or neither; between two directories two, and a crash may keep either. */
static int rename_now(struct sim_disk *disk, const char *from, const char *to)
{
	struct inode *from_dir, *to_dir;
	char from_name[256], to_name[256];
	int error = path_walk(disk, from, &from_dir, from_name);
	if (!error)
		error = path_walk(disk, to, &to_dir, to_name);
	if (error)
		return error;
	struct entry *source = *entry_find(&from_dir->entries, from_name), *target = *entry_find(&to_dir->entries, to_name);
	if (!source || !to_name[0])
		return -ENOENT;
	struct inode *inode = source->inode;
	if (target && target->inode == inode)
		return 0;
	if (target && target->inode->dir != inode->dir)
		return inode->dir ? -ENOTDIR : -EISDIR;
	if (target && target->inode->dir && target->inode->entries)
		return -ENOTEMPTY;
	if (from_dir == to_dir) {
		inode_ref(inode);
		dir_change(disk, from_dir, from_name, to_name, inode);
	} else {
		inode_ref(inode);
		dir_change(disk, to_dir, NULL, to_name, inode);
		dir_change(disk, from_dir, from_name, NULL, NULL);
	}
	inode_unref(disk, inode);
	return 0;
}

static int sim_rename(struct io *io, const char *from, const char *to)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_RENAME);
	return end(disk, verdict, verdict.effect ? rename_now(disk, from, to) : 0);
}

/* Names are copied and shuffled first: on_name may call the disk again, and nobody may count on an order. */
static int sim_list(struct io *io, const char *path, void (*on_name)(void *arg, const char *name), void *arg)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_LIST);
	struct inode *dir;
	int error = path_find_dir(disk, path, &dir);
	if (error || verdict.error)
		return end(disk, verdict, error);
	size_t n = 0;
	for (struct entry *entry = dir->entries; entry; entry = entry->next)
		n++;
	char **names = xcalloc(n, sizeof(*names));
	n = 0;
	for (struct entry *entry = dir->entries; entry; entry = entry->next, n++) {
		size_t at = rng_below(&disk->rng, n + 1);
		names[n] = names[at];
		names[at] = xstrdup(entry->name);
	}
	end(disk, verdict, 0);
	for (size_t i = 0; i < n; i++) {
		on_name(arg, names[i]);
		free(names[i]);
	}
	free(names);
	return 0;
}

static int64_t sim_free_bytes(struct io *io, const char *path)
{
	struct sim_disk *disk = disk_of(io);
	struct verdict verdict = begin(disk, SIM_FREE_BYTES);
	struct inode *inode;
	int64_t result = path_find(disk, path, &inode);
	if (result == 0) {
		uint64_t sum = disk_used(disk);
		result = !disk->capacity ? INT64_C(1) << 40 : disk->capacity > sum ? (int64_t)(disk->capacity - sum) : 0;
	}
	return end64(disk, verdict, result);
}

/* ---- Clocks ---- */

static int64_t sim_wall_ms(struct io *io)
{
	struct sim_disk *disk = disk_of(io);
	pthread_mutex_lock(&disk->lock);
	int64_t now = disk->wall_ms;
	pthread_mutex_unlock(&disk->lock);
	return now;
}

static uint64_t sim_mono_ns(struct io *io)
{
	struct sim_disk *disk = disk_of(io);
	pthread_mutex_lock(&disk->lock);
	uint64_t now = disk->mono_ns;
	pthread_mutex_unlock(&disk->lock);
	return now;
}

static int64_t sim_vouched_ms(struct io *io)
{
	struct sim_disk *disk = disk_of(io);
	pthread_mutex_lock(&disk->lock);
	int64_t now = disk->vouched ? disk->wall_ms : -1;
	pthread_mutex_unlock(&disk->lock);
	return now;
}

/* ---- Life ---- */

struct sim_disk *sim_disk_new(uint64_t seed)
{
	struct sim_disk *disk = xcalloc(1, sizeof(*disk));
	disk->io = (struct io){
		.open = sim_open,
		.close = sim_close,
		.size = sim_size,
		.pread = sim_pread,
		.pwritev = sim_pwritev,
		.fdatasync = sim_fdatasync,
		.truncate = sim_truncate,
		.allocate = sim_allocate,
		.sync_dir = sim_sync_dir,
		.mkdir = sim_mkdir,
		.rmdir = sim_rmdir,
		.unlink = sim_unlink,
		.rename = sim_rename,
		.list = sim_list,
		.free_bytes = sim_free_bytes,
		.wall_ms = sim_wall_ms,
		.mono_ns = sim_mono_ns,
		.boot_ns = sim_mono_ns,
		.vouched_ms = sim_vouched_ms,
	};
	pthread_mutex_init(&disk->lock, NULL);
	rng_init(&disk->rng, seed);
	disk->root = inode_new(disk, true);
	disk->wall_ms = SIM_WALL_START_MS;
	disk->mono_ns = SIM_MONO_START_NS;
	return disk;
}

void sim_disk_free(struct sim_disk *disk)
{
	disk_reboot(disk);
	inode_unref(disk, disk->root);
	assert(!disk->files);
	free(disk->handles);
	pthread_mutex_destroy(&disk->lock);
	free(disk);
}

struct io *sim_disk_io(struct sim_disk *disk) { return &disk->io; }
