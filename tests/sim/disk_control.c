/* disk_control.c: what the scheduler and tests do to the simulated disk: its clocks, its death and crash, faults, and a look inside.
 *
 * Thread: any, under the disk's lock, but for what is set before a run begins. */
#include "tests/sim/disk.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "tests/sim/disk_inode.h"

/* ---- Clocks ---- */

void sim_disk_advance(struct sim_disk *disk, uint64_t ns)
{
	pthread_mutex_lock(&disk->lock);
	disk->mono_ns += ns;
	disk->wall_rest_ns += ns;
	disk->wall_ms += (int64_t)(disk->wall_rest_ns / 1000000);
	disk->wall_rest_ns %= 1000000;
	pthread_mutex_unlock(&disk->lock);
}

void sim_disk_step_wall(struct sim_disk *disk, int64_t delta_ms)
{
	pthread_mutex_lock(&disk->lock);
	disk->wall_ms += delta_ms;
	disk->vouched = false; /* as the kernel does */
	pthread_mutex_unlock(&disk->lock);
}

void sim_disk_vouch(struct sim_disk *disk, bool vouched)
{
	pthread_mutex_lock(&disk->lock);
	disk->vouched = vouched;
	pthread_mutex_unlock(&disk->lock);
}

/* ---- Crash ---- */

void disk_reboot(struct sim_disk *disk)
{
	for (size_t i = 0; i < disk->n_handles; i++)
		if (disk->handles[i].inode)
			handle_drop(disk, &disk->handles[i]);
	memset(disk->faults, 0, sizeof(disk->faults));
	disk->armed = 0;
	disk->dead = false;
}

void sim_disk_crash(struct sim_disk *disk, struct rng *rng)
{
	pthread_mutex_lock(&disk->lock);
	disk_reboot(disk);
	/* Files first: one that no name reaches any more is freed below. */
	for (struct inode *file = disk->files; file; file = file->next_file)
		file_crash(file, rng);
	dir_crash(disk, disk->root, rng);
	pthread_mutex_unlock(&disk->lock);
}

void sim_disk_kill(struct sim_disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	disk_reboot(disk);
	pthread_mutex_unlock(&disk->lock);
}

/* ---- Faults ---- */

uint64_t sim_disk_calls(struct sim_disk *disk, enum sim_call kind)
{
	pthread_mutex_lock(&disk->lock);
	uint64_t n = disk->calls[kind];
	pthread_mutex_unlock(&disk->lock);
	return n;
}

void sim_disk_arm(struct sim_disk *disk, uint64_t nth)
{
	pthread_mutex_lock(&disk->lock);
	disk->armed = nth;
	pthread_mutex_unlock(&disk->lock);
}

bool sim_disk_dead(struct sim_disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	bool dead = disk->dead;
	pthread_mutex_unlock(&disk->lock);
	return dead;
}

void sim_disk_set_writeback(struct sim_disk *disk, unsigned percent) { disk->writeback = percent; }

void sim_disk_set_direct(struct sim_disk *disk, enum sim_direct direct) { disk->direct = direct; }

void sim_disk_fail(struct sim_disk *disk, enum sim_call kind, uint64_t nth, uint64_t times, int err)
{
	assert(nth >= 1 && err > 0);
	pthread_mutex_lock(&disk->lock);
	disk->faults[kind] = (struct fault){.at = nth, .times = times, .err = err};
	pthread_mutex_unlock(&disk->lock);
}

void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes)
{
	pthread_mutex_lock(&disk->lock);
	disk->capacity = bytes;
	pthread_mutex_unlock(&disk->lock);
}

bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset, uint8_t mask)
{
	pthread_mutex_lock(&disk->lock);
	struct inode *inode;
	bool done = path_find(disk, path, &inode) == 0 && !inode->dir && offset < inode->seen_size;
	if (done) {
		inode->seen[offset] ^= mask;
		if (offset < inode->kept_size)
			inode->kept[offset] ^= mask;
	}
	pthread_mutex_unlock(&disk->lock);
	return done;
}

int64_t sim_disk_file_size(struct sim_disk *disk, const char *path)
{
	pthread_mutex_lock(&disk->lock);
	struct inode *inode;
	int64_t result = path_find(disk, path, &inode);
	if (result == 0)
		result = inode->dir ? -EISDIR : (int64_t)inode->seen_size;
	pthread_mutex_unlock(&disk->lock);
	return result;
}

size_t sim_disk_open_files(struct sim_disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	size_t n = 0;
	for (size_t i = 0; i < disk->n_handles; i++)
		n += disk->handles[i].inode != NULL;
	pthread_mutex_unlock(&disk->lock);
	return n;
}

uint64_t sim_disk_used(struct sim_disk *disk)
{
	pthread_mutex_lock(&disk->lock);
	uint64_t sum = disk_used(disk);
	pthread_mutex_unlock(&disk->lock);
	return sum;
}
