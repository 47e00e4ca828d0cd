/* disk_vfs.h: SQLite on the simulated disk, so that the catalogue is lost, torn and refused like everything else. */
#ifndef PENSTOCK_TESTS_DISK_VFS_H
#define PENSTOCK_TESTS_DISK_VFS_H

#include "tests/sim/disk.h"

#define SIM_VFS "penstock-sim"

/* One disk at a time has it. It becomes SQLite's default, too, so that SQLite's own dice follow the seed. on_call (may be NULL) runs in front of
 * each call: where a thread may lose its processor to others. */
void sim_vfs_register(struct sim_disk *disk, uint64_t seed, void (*on_call)(void *arg), void *arg);
void sim_vfs_unregister(void); /* every connection is closed */

#endif
