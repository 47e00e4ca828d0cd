/* disk_inode.h: what the simulated disk holds: files and directories in their two states. Private to tests/sim/disk*.c.
 *
 *   directory inode                         file inode
 *     entries   name -> inode  (volatile)     seen[]  bytes (volatile)   seen_size
 *     durable   name -> inode                 kept[]  bytes (durable)    kept_size
 *     changes   what differs, in order        dirty[] one flag per sector of seen[], size_dirty
 *
 * Inodes are counted by whoever points at them: entries of both states, changes, open handles, and the root.
 *
 * Invariant: kept[] beyond kept_size and seen[] beyond seen_size are zero, so that growing a file shows zeros. */
#ifndef PENSTOCK_TESTS_DISK_INODE_H
#define PENSTOCK_TESTS_DISK_INODE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "tests/sim/disk.h"

struct inode {
	unsigned refs, opens;
	bool dir;
	/* file */
	uint8_t *seen, *kept, *dirty;
	uint64_t cap; /* bytes of seen[] and kept[]; a multiple of SIM_SECTOR */
	uint64_t seen_size, kept_size;
	bool size_dirty;
	unsigned names;                          /* entries, not durable, that point here */
	struct inode *next_file, *previous_file; /* all files, for the capacity */
	/* directory */
	struct entry *entries, *durable;
	struct change *changes, **changes_tail;
};

struct entry {
	struct entry *next;
	char *name;
	struct inode *inode;
};

/* One unsynced change of a directory: `gone` (if any) leaves and `name` (if any) comes, both or neither. */
struct change {
	struct change *next;
	char *gone, *name;
	struct inode *inode;
};

struct handle {
	struct inode *inode; /* NULL: closed or void */
	bool writable, direct;
};

struct fault {
	uint64_t at, times; /* calls of that kind still to go; 0: none */
	int err;
};

struct sim_disk {
	struct io io;
	pthread_mutex_t lock;
	struct rng rng;
	struct inode *root, *files;
	struct handle *handles;
	size_t n_handles, cap_handles;
	uint64_t calls[SIM_ANY + 1];
	struct fault faults[SIM_ANY + 1];
	uint64_t armed; /* calls still to go; 0: not armed */
	bool dead;
	unsigned writeback;
	enum sim_direct direct;
	uint64_t capacity;
	int64_t wall_ms;
	uint64_t wall_rest_ns, mono_ns;
	bool vouched;
};

struct inode *inode_new(struct sim_disk *disk, bool dir);
struct inode *inode_ref(struct inode *inode);
void inode_unref(struct sim_disk *disk, struct inode *inode);

void file_mark(struct inode *file, uint64_t from, uint64_t to); /* these bytes are dirty */
void file_resize(struct inode *file, uint64_t size);            /* the visible size; what is cut off becomes zero */
void file_settle(struct inode *file);                           /* everything visible becomes durable */
void file_crash(struct inode *file, struct rng *rng);           /* the visible state becomes what a power cut leaves */

struct entry **entry_find(struct entry **entries, const char *name);
/* Changes what is seen now, and notes it for the next sync or crash. gone, or name and inode, may be NULL. */
void dir_change(struct sim_disk *disk, struct inode *dir, const char *gone, const char *name, struct inode *inode);
void dir_settle(struct sim_disk *disk, struct inode *dir);
void dir_crash(struct sim_disk *disk, struct inode *dir, struct rng *rng); /* all the way down */

/* Finds the directory that holds the last component of a path, and that component (in name). 0, -ENOENT, -ENOTDIR, -ENAMETOOLONG. An empty
 * path is the root itself: name is "". */
int path_walk(struct sim_disk *disk, const char *path, struct inode **dir, char name[256]);
int path_find(struct sim_disk *disk, const char *path, struct inode **inode); /* 0, or as path_walk */
int path_find_dir(struct sim_disk *disk, const char *path, struct inode **dir);

/* ---- disk.c, disk_control.c ---- */
uint64_t disk_used(struct sim_disk *disk); /* bytes of all files that a name or a handle reaches */
void disk_reboot(struct sim_disk *disk);       /* handles are void, faults forgotten, it lives */
void handle_drop(struct sim_disk *disk, struct handle *handle);

#endif
