/* io_bounded.c: an I/O table over another one that keeps few files open for many handles.
 *
 * A handle is a slot: path, way of opening, and the inner table's file while that is open.
 *
 *   state  CLOSED ──open──> OPEN | users ──no user, not dirty, not kept──> CLOSED
 *
 * Invariants: `state` holds OPEN and the number of calls that use the file right now. OPEN is set and
 * cleared under the lock only, and cleared only from OPEN with 0 users: so a call that counted itself
 * in by compare-and-swap has the file for its time. A file with unsynced writes (dirty) or without a
 * name (kept) is not closed before its handle is.
 *
 * - use: count in; if the file is closed: the lock, make room, open, count in.
 * - make room: the open files stand in a ring; the hand skips those in use, and gives each that was used
 *   since it last came by another round (the clock algorithm: no list is moved on a read).
 * - unlink: handles of that name are found by a hash of the path; their files are opened and kept.
 *
 * Failure modes: see io.h. Files are opened and closed outside the lock.
 *
 * Thread: any. A handle is closed by its only user. */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/bytes.h"
#include "penstock/io.h"
#include "penstock/list.h"
#include "penstock/metrics.h"

#define OPEN (1u << 30)
#define SLOTS_PER_CHUNK 256
#define CHUNKS 4096       /* a million handles */
#define SHORTAGE_TRIES 64 /* of one call: other threads may take what it freed, and a shortage may be the system's */

struct slot {
	/* --- any thread --- */
	atomic_uint state;  /* OPEN | users; 0: closed */
	atomic_bool recent; /* used since the hand last came by */
	atomic_bool dirty;  /* written since the last sync */
	int file;           /* the inner table's; valid for users */

	/* --- written at open --- */
	char *path;
	enum io_open how; /* to open it again */

	/* --- under lock --- */
	struct list ring; /* of open files */
	struct list name; /* bucket of `names`, while the path leads to the file */
	bool opening;     /* a thread opens it outside the lock */
	bool kept;        /* unlinked: the path is no way back to it */
	int next_free;
};

struct bounded {
	struct io io, *inner;
	unsigned most;

	_Atomic(struct slot *) chunks[CHUNKS];

	/* --- under lock --- */
	pthread_mutex_t lock;
	pthread_cond_t opened;
	struct list ring;
	unsigned n_open;   /* in the ring, or being opened */
	int n_slots, free; /* -1: none */
	struct list *names;
	size_t n_names; /* buckets: a power of two */
	size_t n_handles;
};

static struct bounded *bounded_of(struct io *io) { return container_of(io, struct bounded, io); }

bool io_is_shortage(int64_t err) { return err == -EMFILE || err == -ENFILE; }

/* ---- Slots ---- */

static struct slot *slot_at(struct bounded *bounded, int handle)
{
	struct slot *chunk = atomic_load_explicit(&bounded->chunks[handle / SLOTS_PER_CHUNK], memory_order_acquire);
	return &chunk[handle % SLOTS_PER_CHUNK];
}

static struct slot *slot_of(struct bounded *bounded, int handle)
{
	assert(handle >= 0 && handle < SLOTS_PER_CHUNK * CHUNKS);
	return slot_at(bounded, handle);
}

/* -1: there are a million. Under lock. */
static int slot_take(struct bounded *bounded)
{
	int handle = bounded->free;
	if (handle >= 0) {
		bounded->free = slot_at(bounded, handle)->next_free;
		return handle;
	}
	handle = bounded->n_slots;
	if (handle == SLOTS_PER_CHUNK * CHUNKS)
		return -1;
	if (handle % SLOTS_PER_CHUNK == 0) {
		struct slot *chunk = xcalloc(SLOTS_PER_CHUNK, sizeof(*chunk));
		atomic_store_explicit(&bounded->chunks[handle / SLOTS_PER_CHUNK], chunk, memory_order_release);
	}
	bounded->n_slots++;
	return handle;
}

static void slot_release(struct bounded *bounded, int handle)
{
	struct slot *slot = slot_at(bounded, handle);
	free(slot->path);
	slot->path = NULL;
	slot->next_free = bounded->free;
	bounded->free = handle;
}

/* ---- Names; under lock ---- */

static uint64_t hash_of(const char *path)
{
	uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
	for (; *path; path++)
		hash = (hash ^ (uint8_t)*path) * UINT64_C(1099511628211);
	return hash;
}

static struct list *bucket_of(const struct bounded *bounded, const char *path)
{
	return &bounded->names[hash_of(path) & (bounded->n_names - 1)];
}

static void names_grow(struct bounded *bounded)
{
	struct list *old = bounded->names;
	size_t n = bounded->n_names;
	bounded->n_names = n ? 2 * n : 64;
	bounded->names = xmalloc(bounded->n_names * sizeof(*bounded->names));
	for (size_t i = 0; i < bounded->n_names; i++)
		list_init(&bounded->names[i]);
	for (size_t i = 0; i < n; i++) {
		struct list *node;
		while ((node = list_pop(&old[i])))
			list_append(bucket_of(bounded, container_of(node, struct slot, name)->path), node);
	}
	free(old);
}

static void name_add(struct bounded *bounded, struct slot *slot)
{
	if (bounded->n_handles >= bounded->n_names)
		names_grow(bounded);
	bounded->n_handles++;
	list_append(bucket_of(bounded, slot->path), &slot->name);
}

/* ---- Opening and closing files ---- */

/* Takes the file out of the ring if nothing needs it open. Under lock. */
static bool try_shut(struct bounded *bounded, struct slot *slot)
{
	unsigned idle = OPEN;
	if (slot->kept || !atomic_compare_exchange_strong(&slot->state, &idle, 0))
		return false;
	/* No user is left, and none comes in without the lock: what the last one wrote of `dirty` is seen. */
	if (atomic_load(&slot->dirty)) {
		atomic_store(&slot->state, OPEN);
		return false;
	}
	list_remove(&slot->ring);
	bounded->n_open--;
	return true;
}

enum room { ROOM_MADE, ROOM_LATER, ROOM_NONE };

/* Closes one idle file. LATER: other threads use them all just now. NONE: there is none that may be closed. Under lock, which it gives up
 * meanwhile. */
static enum room make_room(struct bounded *bounded)
{
	size_t round = bounded->n_open;
	bool later = false;
	for (size_t left = 2 * round; left && !list_empty(&bounded->ring); left--) {
		struct slot *slot = container_of(list_pop(&bounded->ring), struct slot, ring);
		list_append(&bounded->ring, &slot->ring);
		if (atomic_exchange(&slot->recent, false)) {
			later |= left <= round; /* used since the round before */
			continue;
		}
		if (!try_shut(bounded, slot)) {
			later |= !slot->kept && (atomic_load(&slot->state) & ~OPEN);
			continue;
		}
		int file = slot->file;
		pthread_mutex_unlock(&bounded->lock);
		bounded->inner->close(bounded->inner, file); /* all that was written is synced */
		metric_add(METRIC_log_files, -1);
		pthread_mutex_lock(&bounded->lock);
		return ROOM_MADE;
	}
	return later ? ROOM_LATER : ROOM_NONE;
}

/* After a shortage: is it worth another try? */
static bool make_room_for(struct bounded *bounded, int64_t err, unsigned *tries)
{
	if (!io_is_shortage(err) || (*tries)++ == SHORTAGE_TRIES)
		return false;
	pthread_mutex_lock(&bounded->lock);
	enum room room = make_room(bounded);
	pthread_mutex_unlock(&bounded->lock);
	if (room == ROOM_LATER)
		sched_yield();
	return room != ROOM_NONE;
}

/* Counts the caller in, or -errno. Under lock, which it gives up meanwhile; no other thread opens this
 * slot's file then. */
static int open_file(struct bounded *bounded, struct slot *slot, enum io_open how)
{
	slot->opening = true;
	while (bounded->n_open >= bounded->most && make_room(bounded) == ROOM_MADE)
		;
	bounded->n_open++;
	pthread_mutex_unlock(&bounded->lock);
	unsigned tries = 0;
	int file;
	do
		file = bounded->inner->open(bounded->inner, slot->path, how);
	while (file < 0 && make_room_for(bounded, file, &tries));
	pthread_mutex_lock(&bounded->lock);
	slot->opening = false;
	pthread_cond_broadcast(&bounded->opened);
	if (file < 0) {
		bounded->n_open--;
		return file;
	}
	metric_add(METRIC_log_files, 1);
	slot->file = file;
	atomic_store(&slot->dirty, false);
	list_append(&bounded->ring, &slot->ring);
	atomic_store(&slot->state, OPEN + 1);
	return 0;
}

static bool count_in(struct slot *slot)
{
	unsigned state = atomic_load_explicit(&slot->state, memory_order_relaxed);
	while (state & OPEN)
		if (atomic_compare_exchange_weak_explicit(&slot->state, &state, state + 1, memory_order_acquire, memory_order_relaxed))
			return true;
	return false;
}

/* Counts the caller in; opens the file if it is closed. Under lock. */
static int use_locked(struct bounded *bounded, struct slot *slot)
{
	while (slot->opening)
		pthread_cond_wait(&bounded->opened, &bounded->lock);
	return count_in(slot) ? 0 : open_file(bounded, slot, slot->how);
}

static int use(struct bounded *bounded, struct slot *slot)
{
	int err = 0;
	if (!count_in(slot)) {
		pthread_mutex_lock(&bounded->lock);
		err = use_locked(bounded, slot);
		pthread_mutex_unlock(&bounded->lock);
	}
	/* Written only if it changes: readers of one file share the line. */
	if (!err && !atomic_load_explicit(&slot->recent, memory_order_relaxed))
		atomic_store_explicit(&slot->recent, true, memory_order_relaxed);
	return err;
}

static void done(struct slot *slot) { atomic_fetch_sub_explicit(&slot->state, 1, memory_order_release); }

/* ---- The calls on files ---- */

static int bounded_open(struct io *io, const char *path, enum io_open how)
{
	struct bounded *bounded = bounded_of(io);
	pthread_mutex_lock(&bounded->lock);
	int handle = slot_take(bounded), err = handle < 0 ? -ENFILE : 0;
	if (!err) {
		struct slot *slot = slot_at(bounded, handle);
		slot->path = xstrdup(path);
		slot->how = how == IO_CREATE ? IO_WRITE : how;
		slot->kept = slot->opening = false;
		list_init(&slot->ring);
		list_init(&slot->name);
		atomic_store(&slot->recent, false);
		err = open_file(bounded, slot, how);
		if (err) {
			slot_release(bounded, handle);
		} else {
			name_add(bounded, slot);
			done(slot);
		}
	}
	pthread_mutex_unlock(&bounded->lock);
	return err ? err : handle;
}

static int bounded_close(struct io *io, int handle)
{
	struct bounded *bounded = bounded_of(io);
	struct slot *slot = slot_of(bounded, handle);
	pthread_mutex_lock(&bounded->lock);
	while (slot->opening) /* unlink by another thread */
		pthread_cond_wait(&bounded->opened, &bounded->lock);
	bool is_open = atomic_exchange(&slot->state, 0) != 0;
	int file = slot->file;
	if (is_open)
		bounded->n_open--;
	list_remove(&slot->ring);
	list_remove(&slot->name);
	bounded->n_handles--;
	slot_release(bounded, handle);
	pthread_mutex_unlock(&bounded->lock);
	if (!is_open)
		return 0;
	metric_add(METRIC_log_files, -1);
	return bounded->inner->close(bounded->inner, file);
}

static int64_t bounded_size(struct io *io, int handle)
{
	struct bounded *bounded = bounded_of(io);
	struct slot *slot = slot_of(bounded, handle);
	int64_t result = use(bounded, slot);
	if (result)
		return result;
	result = bounded->inner->size(bounded->inner, slot->file);
	done(slot);
	return result;
}

static int64_t bounded_pread(struct io *io, int handle, void *p, size_t n, uint64_t offset)
{
	struct bounded *bounded = bounded_of(io);
	struct slot *slot = slot_of(bounded, handle);
	int64_t result = use(bounded, slot);
	if (result)
		return result;
	result = bounded->inner->pread(bounded->inner, slot->file, p, n, offset);
	done(slot);
	return result;
}

static int64_t bounded_pwritev(struct io *io, int handle, const struct iovec *iov, int count, uint64_t offset)
{
	struct bounded *bounded = bounded_of(io);
	struct slot *slot = slot_of(bounded, handle);
	int64_t result = use(bounded, slot);
	if (result)
		return result;
	atomic_store_explicit(&slot->dirty, true, memory_order_relaxed);
	result = bounded->inner->pwritev(bounded->inner, slot->file, iov, count, offset);
	done(slot);
	return result;
}

/* After an error it stays dirty: the file is not opened anew as if nothing had been lost. */
static int bounded_fdatasync(struct io *io, int handle)
{
	struct bounded *bounded = bounded_of(io);
	struct slot *slot = slot_of(bounded, handle);
	int result = use(bounded, slot);
	if (result)
		return result;
	result = bounded->inner->fdatasync(bounded->inner, slot->file);
	if (!result)
		atomic_store_explicit(&slot->dirty, false, memory_order_relaxed);
	done(slot);
	return result;
}

static int bounded_truncate(struct io *io, int handle, uint64_t size)
{
	struct bounded *bounded = bounded_of(io);
	struct slot *slot = slot_of(bounded, handle);
	int result = use(bounded, slot);
	if (result)
		return result;
	result = bounded->inner->truncate(bounded->inner, slot->file, size);
	done(slot);
	return result;
}

static int bounded_allocate(struct io *io, int handle, uint64_t size)
{
	struct bounded *bounded = bounded_of(io);
	struct slot *slot = slot_of(bounded, handle);
	int result = use(bounded, slot);
	if (result)
		return result;
	result = bounded->inner->allocate(bounded->inner, slot->file, size);
	done(slot);
	return result;
}

/* ---- The calls on names ---- */

static int bounded_sync_dir(struct io *io, const char *path)
{
	struct bounded *bounded = bounded_of(io);
	unsigned tries = 0;
	int result;
	do
		result = bounded->inner->sync_dir(bounded->inner, path);
	while (make_room_for(bounded, result, &tries));
	return result;
}

static int bounded_list(struct io *io, const char *path, void (*on_name)(void *arg, const char *name), void *arg)
{
	struct bounded *bounded = bounded_of(io);
	unsigned tries = 0;
	int result;
	/* A shortage is the directory's opening: no name was passed on yet. */
	do
		result = bounded->inner->list(bounded->inner, path, on_name, arg);
	while (make_room_for(bounded, result, &tries));
	return result;
}

static int bounded_mkdir(struct io *io, const char *path) { return bounded_of(io)->inner->mkdir(bounded_of(io)->inner, path); }

static int bounded_rmdir(struct io *io, const char *path) { return bounded_of(io)->inner->rmdir(bounded_of(io)->inner, path); }

/* A slot with this name that is not kept yet. Under lock. */
static struct slot *find_named(const struct bounded *bounded, const char *path)
{
	LIST_EACH (node, bucket_of(bounded, path)) {
		struct slot *slot = container_of(node, struct slot, name);
		if (!slot->kept && strcmp(slot->path, path) == 0)
			return slot;
	}
	return NULL;
}

/* The name goes: what still has a handle stays open. Under lock. */
static int keep_named(struct bounded *bounded, const char *path)
{
	struct slot *slot;
	while (bounded->n_names && (slot = find_named(bounded, path))) {
		int err = use_locked(bounded, slot);
		if (err && err != -ENOENT)
			return err;
		/* In use for good: `done` is not called before the handle is closed. */
		slot->kept = true;
		list_remove(&slot->name);
	}
	return 0;
}

static int bounded_unlink(struct io *io, const char *path)
{
	struct bounded *bounded = bounded_of(io);
	pthread_mutex_lock(&bounded->lock);
	int err = keep_named(bounded, path);
	pthread_mutex_unlock(&bounded->lock);
	return err ? err : bounded->inner->unlink(bounded->inner, path);
}

static int bounded_rename(struct io *io, const char *from, const char *to)
{
	return bounded_of(io)->inner->rename(bounded_of(io)->inner, from, to);
}

static int64_t bounded_free_bytes(struct io *io, const char *path)
{
	return bounded_of(io)->inner->free_bytes(bounded_of(io)->inner, path);
}

static int64_t bounded_wall_ms(struct io *io) { return io_wall_ms(bounded_of(io)->inner); }

static uint64_t bounded_mono_ns(struct io *io) { return io_mono_ns(bounded_of(io)->inner); }

/* ---- Life ---- */

struct io *io_bounded(struct io *inner, unsigned most)
{
	struct bounded *bounded = xcalloc(1, sizeof(*bounded));
	bounded->io = (struct io){
		.open = bounded_open,
		.close = bounded_close,
		.size = bounded_size,
		.pread = bounded_pread,
		.pwritev = bounded_pwritev,
		.fdatasync = bounded_fdatasync,
		.truncate = bounded_truncate,
		.allocate = bounded_allocate,
		.sync_dir = bounded_sync_dir,
		.mkdir = bounded_mkdir,
		.rmdir = bounded_rmdir,
		.unlink = bounded_unlink,
		.rename = bounded_rename,
		.list = bounded_list,
		.free_bytes = bounded_free_bytes,
		.wall_ms = bounded_wall_ms,
		.mono_ns = bounded_mono_ns,
	};
	bounded->inner = inner;
	bounded->most = most;
	bounded->free = -1;
	pthread_mutex_init(&bounded->lock, NULL);
	pthread_cond_init(&bounded->opened, NULL);
	list_init(&bounded->ring);
	return &bounded->io;
}

void io_bounded_free(struct io *io)
{
	struct bounded *bounded = bounded_of(io);
	assert(bounded->n_handles == 0);
	for (int i = 0; i < CHUNKS && bounded->chunks[i]; i++)
		free(bounded->chunks[i]);
	free(bounded->names);
	pthread_mutex_destroy(&bounded->lock);
	pthread_cond_destroy(&bounded->opened);
	free(bounded);
}
