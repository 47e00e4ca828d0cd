/* disk_inode.c: files and directories of the simulated disk, and what a crash makes of them.
 *
 * - Writing changes seen[] and marks sectors; settling copies marked sectors and the size to kept[].
 * - A directory change is applied to the entries at once and noted; settling applies the notes to the durable entries, in order.
 * - crash: per dirty sector and per noted change a throw of the dice; then the volatile state is made anew from the durable one.
 *
 * Thread: under the disk's lock. */
#include "tests/sim/disk_inode.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "penstock/bytes.h"

/* ---- Inodes ---- */

struct inode *inode_new(struct sim_disk *disk, bool dir)
{
	struct inode *inode = xcalloc(1, sizeof(*inode));
	inode->refs = 1;
	inode->dir = dir;
	inode->changes_tail = &inode->changes;
	if (!dir) {
		inode->next_file = disk->files;
		if (disk->files)
			disk->files->previous_file = inode;
		disk->files = inode;
	}
	return inode;
}

struct inode *inode_ref(struct inode *inode)
{
	inode->refs++;
	return inode;
}

static void entries_free(struct sim_disk *disk, struct entry **entries, bool seen)
{
	struct entry *entry;
	while ((entry = *entries)) {
		*entries = entry->next;
		if (seen)
			entry->inode->names--;
		inode_unref(disk, entry->inode);
		free(entry->name);
		free(entry);
	}
}

static void changes_free(struct sim_disk *disk, struct inode *dir)
{
	struct change *change;
	while ((change = dir->changes)) {
		dir->changes = change->next;
		if (change->inode)
			inode_unref(disk, change->inode);
		free(change->gone);
		free(change->name);
		free(change);
	}
	dir->changes_tail = &dir->changes;
}

void inode_unref(struct sim_disk *disk, struct inode *inode)
{
	assert(inode->refs > 0);
	if (--inode->refs)
		return;
	if (inode->dir) {
		changes_free(disk, inode);
		entries_free(disk, &inode->entries, true);
		entries_free(disk, &inode->durable, false);
	} else {
		if (inode->previous_file)
			inode->previous_file->next_file = inode->next_file;
		else
			disk->files = inode->next_file;
		if (inode->next_file)
			inode->next_file->previous_file = inode->previous_file;
	}
	free(inode->seen);
	free(inode->kept);
	free(inode->dirty);
	free(inode);
}

/* Room for `size` bytes in both states; new bytes are zero. */
static void file_room(struct inode *file, uint64_t size)
{
	if (size <= file->cap)
		return;
	uint64_t cap = file->cap * 2 > size ? file->cap * 2 : size;
	cap = (cap + SIM_SECTOR - 1) / SIM_SECTOR * SIM_SECTOR;
	file->seen = xrealloc(file->seen, cap);
	file->kept = xrealloc(file->kept, cap);
	file->dirty = xrealloc(file->dirty, cap / SIM_SECTOR);
	memset(file->seen + file->cap, 0, cap - file->cap);
	memset(file->kept + file->cap, 0, cap - file->cap);
	memset(file->dirty + file->cap / SIM_SECTOR, 0, (cap - file->cap) / SIM_SECTOR);
	file->cap = cap;
}

void file_mark(struct inode *file, uint64_t from, uint64_t to)
{
	if (from < to)
		memset(file->dirty + from / SIM_SECTOR, 1, (to - 1) / SIM_SECTOR - from / SIM_SECTOR + 1);
}

/* Sets the visible size; what is cut off becomes zero. */
void file_resize(struct inode *file, uint64_t size)
{
	file_room(file, size);
	if (size < file->seen_size) {
		memset(file->seen + size, 0, file->seen_size - size);
		file_mark(file, size, file->seen_size);
	}
	file->size_dirty = file->size_dirty || size != file->seen_size;
	file->seen_size = size;
}

/* Everything visible becomes durable. */
void file_settle(struct inode *file)
{
	for (uint64_t i = 0; i < file->cap / SIM_SECTOR; i++)
		if (file->dirty[i])
			memcpy(file->kept + i * SIM_SECTOR, file->seen + i * SIM_SECTOR, SIM_SECTOR);
	if (file->cap)
		memset(file->dirty, 0, file->cap / SIM_SECTOR);
	if (file->size_dirty)
		file->kept_size = file->seen_size;
	/* A size that a failed sync has lost may lie behind sectors written since. */
	if (file->kept_size < file->cap)
		memset(file->kept + file->kept_size, 0, file->cap - file->kept_size);
	file->size_dirty = false;
}

/* ---- Directories ---- */

struct entry **entry_find(struct entry **entries, const char *name)
{
	while (*entries && strcmp((*entries)->name, name) != 0)
		entries = &(*entries)->next;
	return entries;
}

static void entry_remove(struct sim_disk *disk, struct entry **entries, const char *name, bool seen)
{
	struct entry **at = entry_find(entries, name), *entry = *at;
	if (!entry)
		return;
	*at = entry->next;
	if (seen)
		entry->inode->names--;
	inode_unref(disk, entry->inode);
	free(entry->name);
	free(entry);
}

/* Replaces what had the name. */
static void entry_put(struct sim_disk *disk, struct entry **entries, const char *name, struct inode *inode, bool seen)
{
	inode_ref(inode);
	entry_remove(disk, entries, name, seen);
	struct entry *entry = xmalloc(sizeof(*entry));
	*entry = (struct entry){.next = *entries, .name = xstrdup(name), .inode = inode};
	*entries = entry;
	if (seen)
		inode->names++;
}

/* Changes what is seen now, and notes it for the next sync or crash. gone, or name and inode, may be NULL. */
void dir_change(struct sim_disk *disk, struct inode *dir, const char *gone, const char *name, struct inode *inode)
{
	struct change *change = xcalloc(1, sizeof(*change));
	change->gone = gone ? xstrdup(gone) : NULL;
	change->name = name ? xstrdup(name) : NULL;
	change->inode = inode ? inode_ref(inode) : NULL;
	*dir->changes_tail = change;
	dir->changes_tail = &change->next;
	if (gone)
		entry_remove(disk, &dir->entries, gone, true);
	if (name)
		entry_put(disk, &dir->entries, name, inode, true);
}

static void dir_apply_durably(struct sim_disk *disk, struct inode *dir, const struct change *change)
{
	if (change->gone)
		entry_remove(disk, &dir->durable, change->gone, false);
	if (change->name)
		entry_put(disk, &dir->durable, change->name, change->inode, false);
}

void dir_settle(struct sim_disk *disk, struct inode *dir)
{
	for (struct change *change = dir->changes; change; change = change->next)
		dir_apply_durably(disk, dir, change);
	changes_free(disk, dir);
}

/* ---- Crash ---- */

/* One sector's lot: it survives, vanishes, or is torn somewhere inside. */
static void sector_crash(struct inode *file, uint64_t sector, struct rng *rng)
{
	uint8_t *kept = file->kept + sector * SIM_SECTOR, *seen = file->seen + sector * SIM_SECTOR;
	switch (rng_below(rng, 5)) {
	case 0:
	case 1:
		memcpy(kept, seen, SIM_SECTOR);
		break;
	case 2: {
		size_t at = rng_range(rng, 1, SIM_SECTOR - 1);
		if (rng_chance(rng, 50))
			memcpy(kept, seen, at);
		else
			memcpy(kept + at, seen + at, SIM_SECTOR - at);
		break;
	}
	default:
		break;
	}
}

static uint64_t size_crash(struct inode *file, struct rng *rng)
{
	uint64_t low = file->kept_size < file->seen_size ? file->kept_size : file->seen_size;
	uint64_t high = file->kept_size + file->seen_size - low;
	switch (rng_below(rng, 3)) {
	case 0:
		return file->kept_size;
	case 1:
		return file->seen_size;
	default:
		return rng_range(rng, low, high);
	}
}

void file_crash(struct inode *file, struct rng *rng)
{
	if (rng) {
		for (uint64_t i = 0; i < file->cap / SIM_SECTOR; i++)
			if (file->dirty[i])
				sector_crash(file, i, rng);
		if (file->size_dirty)
			file->kept_size = size_crash(file, rng);
	}
	if (file->cap) {
		memset(file->kept + file->kept_size, 0, file->cap - file->kept_size);
		memcpy(file->seen, file->kept, file->cap);
		memset(file->dirty, 0, file->cap / SIM_SECTOR);
	}
	file->seen_size = file->kept_size;
	file->size_dirty = false;
}

/* Entries become what is durable, all the way down. */
void dir_crash(struct sim_disk *disk, struct inode *dir, struct rng *rng)
{
	for (struct change *change = dir->changes; change; change = change->next)
		if (rng && rng_chance(rng, 50))
			dir_apply_durably(disk, dir, change);
	changes_free(disk, dir);
	struct entry *old = dir->entries;
	dir->entries = NULL;
	for (struct entry *entry = dir->durable; entry; entry = entry->next)
		entry_put(disk, &dir->entries, entry->name, entry->inode, true);
	entries_free(disk, &old, true);
	for (struct entry *entry = dir->entries; entry; entry = entry->next)
		if (entry->inode->dir)
			dir_crash(disk, entry->inode, rng);
}

/* ---- Paths ---- */

/* Finds the directory that holds the last component of a path, and that component (in name). 0, -ENOENT, -ENOTDIR, -ENAMETOOLONG. An empty
 * path is the root itself: name is "". */
int path_walk(struct sim_disk *disk, const char *path, struct inode **dir, char name[256])
{
	struct inode *at = disk->root;
	name[0] = '\0';
	for (;;) {
		path += strspn(path, "/");
		size_t n = strcspn(path, "/");
		if (n == 0)
			break;
		if (n > 255)
			return -ENAMETOOLONG;
		if (name[0]) {
			struct entry *entry = *entry_find(&at->entries, name);
			if (!entry)
				return -ENOENT;
			if (!entry->inode->dir)
				return -ENOTDIR;
			at = entry->inode;
		}
		memcpy(name, path, n);
		name[n] = '\0';
		if (strcmp(name, ".") == 0)
			name[0] = '\0';
		path += n;
	}
	*dir = at;
	return 0;
}

/* The inode a path names. 0, or as walk. */
int path_find(struct sim_disk *disk, const char *path, struct inode **inode)
{
	struct inode *dir;
	char name[256];
	int error = path_walk(disk, path, &dir, name);
	if (error)
		return error;
	if (!name[0]) {
		*inode = dir;
		return 0;
	}
	struct entry *entry = *entry_find(&dir->entries, name);
	if (!entry)
		return -ENOENT;
	*inode = entry->inode;
	return 0;
}

int path_find_dir(struct sim_disk *disk, const char *path, struct inode **dir)
{
	int error = path_find(disk, path, dir);
	return error ? error : (*dir)->dir ? 0 : -ENOTDIR;
}
