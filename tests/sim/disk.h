/* disk.h: a simulated disk and clock behind io.h.
 *
 * Every file and directory has two states. The *volatile* one is what the program sees (the page cache); the *durable* one is what a
 * power cut leaves. fdatasync makes a file's data and size durable; sync_dir makes a directory's entries durable (create, unlink, rename,
 * mkdir, rmdir); nothing else makes anything durable, not even the fsync of a new file its name.
 *
 * A crash drops what was not synced. With dice, each unsynced 512-byte sector independently survives, vanishes (old bytes, or zeros where the
 * file had not reached) or is torn inside; an unsynced size is the old, the new or one between; each unsynced change of a directory
 * survives or vanishes. Bytes that were durable and have not been written since never change: sectors keep what a write repeats.
 *
 * One lock, so that pools with threads may use it too; runs are the same for the same seed only when one thread calls.
 * Paths: components divided by '/'; the root is there. A leading '/' makes no difference. */
#ifndef PENSTOCK_TESTS_DISK_H
#define PENSTOCK_TESTS_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/io.h"
#include "tests/sim/rng.h"

#define SIM_SECTOR 512
#define SIM_WALL_START_MS INT64_C(1700000000000)
#define SIM_MONO_START_NS UINT64_C(1000000000000)

struct sim_disk;

enum sim_call {
	SIM_OPEN,
	SIM_CLOSE,
	SIM_SIZE,
	SIM_PREAD,
	SIM_PWRITEV,
	SIM_FDATASYNC,
	SIM_TRUNCATE,
	SIM_SYNC_DIR,
	SIM_MKDIR,
	SIM_RMDIR,
	SIM_UNLINK,
	SIM_RENAME,
	SIM_LIST,
	SIM_FREE_BYTES,
	SIM_ANY, /* all of the above; in sim_disk_fail: whichever comes */
};

struct sim_disk *sim_disk_new(uint64_t seed); /* empty, unlimited, at the start of its clocks */
void sim_disk_free(struct sim_disk *disk);
struct io *sim_disk_io(struct sim_disk *disk); /* lives as long as the disk; survives crashes */

/* ---- Clocks: stand still unless told ---- */
void sim_disk_advance(struct sim_disk *disk, uint64_t ns);       /* both */
void sim_disk_step_wall(struct sim_disk *disk, int64_t delta_ms); /* the wall clock is set, and not vouched for */
void sim_disk_vouch(struct sim_disk *disk, bool vouched);         /* the kernel does; at first it does not */

/* ---- Death and crash ---- */

/* How many calls of a kind there were since the disk was made; SIM_ANY: all (clocks are not counted). */
uint64_t sim_disk_calls(struct sim_disk *disk, enum sim_call kind);
/* The n-th call from now (1: the next) kills the disk: its effect happens or not, by seed; it and every later one return -EIO (close: 0),
 * until sim_disk_crash. 0 disarms. For a sweep: count the calls of a clean run, then run again once per n. */
void sim_disk_arm(struct sim_disk *disk, uint64_t nth);
bool sim_disk_dead(struct sim_disk *disk);
/* Power cut and reboot: durable state becomes all there is, handles are void (-EBADF), the disk is alive, nothing is armed, no fault waits.
 * rng NULL: all that is unsynced is lost, nothing is torn. */
void sim_disk_crash(struct sim_disk *disk, struct rng *rng);
/* kill -9: handles are void, but the page cache stays. */
void sim_disk_kill(struct sim_disk *disk);
/* Percent of pwritev calls after which some dirty sectors reach the disk by themselves (write-back in any order); 0 at first. */
void sim_disk_set_writeback(struct sim_disk *disk, unsigned percent);

/* IO_DIRECT is refused (-EINVAL), as by a file system that has no such thing: at the open or, `late`, at the first write. */
enum sim_direct { SIM_DIRECT_DONE, SIM_DIRECT_REFUSED, SIM_DIRECT_REFUSED_LATE };
void sim_disk_set_direct(struct sim_disk *disk, enum sim_direct direct);

/* ---- Faults ---- */

/* The nth call of that kind from now on fails with -err, and the `times` - 1 after it. pwritev: a prefix, by seed, is written all the same.
 * fdatasync: dirty pages are marked clean as Linux does: the data stays visible, never becomes durable unless written again, and the next
 * fdatasync says 0. Other calls: no effect. EMFILE and ENFILE: calls that open a file or a directory are counted and fail, no others. One fault per kind; a new one replaces it; times 0 removes it. */
void sim_disk_fail(struct sim_disk *disk, enum sim_call kind, uint64_t nth, uint64_t times, int err);
/* Bytes of all files together, 0: no limit. A write beyond it writes what fits and returns -ENOSPC. free_bytes without a limit: 2^40. */
void sim_disk_set_capacity(struct sim_disk *disk, uint64_t bytes);
/* Damages a byte for good, in both states: xor with mask. false: no such file or byte. */
bool sim_disk_flip(struct sim_disk *disk, const char *path, uint64_t offset, uint8_t mask);

/* ---- Looking on ---- */
int64_t sim_disk_file_size(struct sim_disk *disk, const char *path); /* volatile; -ENOENT */
size_t sim_disk_open_files(struct sim_disk *disk);                   /* handles not closed: leaks */
uint64_t sim_disk_used(struct sim_disk *disk);

#endif
