/* streamlog.h: one stream's log: a directory of segments, appended by commit groups. Private to shardstore.
 *
 * Owner: the stream's lane; but calls marked [pool] block and run on a pool thread. At most one streamlog_commit per log is in flight;
 * streamlog_prepare may run beside it (at most one), and so may any number of extents_read. docs/on-disk.md gives the bytes.
 *
 * What is written is never trusted without its checksum: a group's CRC32C covers its header and extent headers; each extent header has
 * the CRC32C of its frames, so that one extent can be verified alone. */
#ifndef PENSTOCK_STREAMLOG_H
#define PENSTOCK_STREAMLOG_H

#include <stdatomic.h>
#include <stdint.h>

#include "penstock/batch.h"
#include "penstock/io.h"
#include "penstock/seq.h"
#include "penstock/status.h"

struct streamlog;

/* A segment file: shared by the log and by reads in flight; the handle is closed with the last reference. (How many files are really open
 * is the I/O table's, io_bounded.) When it was trimmed, streamlog_sweep takes its name, oldest first and whether it is still read or not: a gap between the files of a log would look like damage. */
struct segment {
	atomic_uint refs;
	struct io *io;
	int file;
	uint64_t number;         /* rises by one; the file is <number, 20 digits>.seg */
	uint64_t size;           /* bytes of groups and header that are durable */
	int64_t last_arrival_ms; /* of any record inside; for retention */
	bool doomed;             /* trimmed: the name goes with the next sweep */
	char *path;
};
struct segment *segment_ref(struct segment *segment);
void segment_unref(struct segment *segment); /* may close: [pool], or a reader, or after the last read */

/* Where a batch lies. The index keeps these packed (extent_run.h). */
struct extent_ref {
	struct segment *segment; /* lent by the log; a read takes its own reference */
	uint64_t offset;         /* of the frames */
	uint32_t length;         /* of the frames */
	uint32_t crc;            /* CRC32C of the frames */
	uint64_t first;
	uint32_t count;
	uint64_t payload;        /* data + key bytes */
	int64_t arrival_ms;
	uint32_t shard;
};

struct streamlog_config {
	struct io *io;
	const char *path;        /* the stream's directory */
	uint64_t segment_min, segment_max; /* the first is segment_min, each next twice as large, up to segment_max */
	bool parent_synced;      /* the directory's own name is known to be durable: open need not sync it */
};

struct extent_run;

/* What recovery tells, segment by segment in log order. `damage` names file, offset and length of bytes that were durable and are not whole. */
struct streamlog_recovery {
	/* All whole extents of one shard in one segment. The run is lent, its segment is the log's. */
	void (*on_run)(void *arg, const struct extent_run *run);
	/* From a segment header: the shard's next index and last arrival when the segment was born (so that retention may empty a shard
	 * and its indexes are still never used twice). */
	void (*on_shard)(void *arg, uint32_t shard, uint64_t next_index, int64_t last_arrival_ms);
	void (*on_damage)(void *arg, const char *file, uint64_t offset, uint64_t length, const char *what);
	void (*on_torn_tail)(void *arg, const char *file, uint64_t offset, uint64_t length);
	void *arg;
};

/* [pool or start-up] Makes the directory and syncs its parent; the first commit makes the first segment. A directory that an earlier
 * call left, without records, is taken up. -> STATUS_OK, DISK_FULL, NO_FILES, IO; IN_USE: there are records in it. */
enum status streamlog_create(const struct streamlog_config *config, struct streamlog **out);
/* [pool or start-up] Recovers what lies there. A torn tail (nothing later proves it was durable) is cut, durably, before anything is appended;
 * the kept part of the unsealed segment is rewritten and synced before it is served. Damage is never cut: what is whole stays readable, and
 * the log takes no more groups (streamlog_readonly). Idempotent: killed at any step and run again, the same result. STATUS_OK (also when damaged), DISK_FULL, NO_FILES, IO; NOT_FOUND: there
 * is no directory. After an error what was told is void. */
enum status streamlog_open(const struct streamlog_config *config, const struct streamlog_recovery *recovery, struct streamlog **out);
bool streamlog_readonly(const struct streamlog *log);
/* A log whose files could not be read: it has no segments, takes no groups and changes no file; it can be closed and destroyed. */
struct streamlog *streamlog_unreadable(const struct streamlog_config *config);

/* One commit group: what the lane gathered during the last flush. Batches in any order, one per shard. */
struct group {
	uint32_t n_batches;
	struct batch **batches;     /* lent; first, count, arrival_ms, frames are set */
	uint32_t n_extents;         /* group_extents: one for each part of each batch */
	struct extent_ref *extents; /* out, room for so many: where each lies, in the order of the batches; segment is lent by the log */
	uint64_t sync_ns;           /* out: what fdatasync took */
	uint64_t bytes;             /* out: written */
};

static inline uint32_t group_extents(const struct group *group)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < group->n_batches; i++)
		n += batch_parts(group->batches[i]);
	return n;
}

/* State of a shard for the header of the next segment, should this commit roll: given by the lane with each commit. */
struct shard_mark {
	uint32_t shard;
	uint64_t next_index;        /* after this group */
	int64_t last_arrival_ms;
};

/* [pool] Appends, syncs. A new segment first when this one is full: seals the old with a footer, makes the new durable. STATUS_OK: durable.
 * DISK_FULL, NO_FILES: nothing is kept of it (the log goes on working). IO: the log is poisoned, every later call says IO. */
enum status streamlog_commit(struct streamlog *log, struct group *group, const struct shard_mark *marks, uint32_t n_marks);

/* Zero-written space ahead, so that fdatasync need not commit metadata (measured: 0.28 against 0.53 ms for a 700 KB group on ext4). */
bool streamlog_wants_prepare(const struct streamlog *log); /* lane; cheap */
enum status streamlog_prepare(struct streamlog *log);      /* [pool] writes ahead, bounded (at most 4 MiB a call) */

/* Zeros ahead cost disk: a log that has not been written to for REST_NS gives them back, and gets none again before its commits come
 * closer together. */
#define STREAMLOG_REST_NS UINT64_C(60000000000)
bool streamlog_wants_rest(const struct streamlog *log);   /* lane, no commit in flight */
enum status streamlog_rest(struct streamlog *log);        /* [pool] not beside a prepare; commits may come meanwhile, and wait for it */

/* Lane, no commit in flight: forgets sealed segments whose every record arrived before horizon_ms; the lane must first have dropped their extents.
 * At most `most`; returns how many. The files go at streamlog_sweep. The newest segment always
 * stays: it carries the shards' marks. */
uint32_t streamlog_trim(struct streamlog *log, int64_t horizon_ms, uint32_t most);
/* Lane: the first segment that the same call of streamlog_trim keeps. Extents in segments with lower
 * numbers are to be dropped before it. */
uint64_t streamlog_trim_point(const struct streamlog *log, int64_t horizon_ms, uint32_t most);
bool streamlog_wants_sweep(const struct streamlog *log);   /* lane: a trimmed file is there still */
enum status streamlog_sweep(struct streamlog *log);        /* [pool] unlinks what was trimmed, syncs the directory; one at a time.
                                                              DISK_FULL, NO_FILES: the rest is for the next sweep */

/* [reader pool] Reads one extent into a fresh batch and verifies it. STATUS_OK, CORRUPT (slog says where), IO, NO_MEMORY, NO_FILES. */
enum status extent_read(const struct extent_ref *extent, const struct shard_key *shard, struct batch **out);

/* [pool or shutdown] Frees the log. Clean close: writes the footer of the open segment when `seal`. No commit, prepare or sweep in flight. */
void streamlog_close(struct streamlog *log, bool seal);
/* [pool] Deletes the directory and all in it, syncs the parent, frees the log (also on an error). Reads in flight keep their segments. */
enum status streamlog_destroy(struct streamlog *log);
/* [pool] The same of a directory that no log is open on. NOT_FOUND: there is none. */
enum status streamlog_remove(struct io *io, const char *path);

/* A commit, prepare or sweep ended with this, and nothing is broken: DISK_FULL, NO_FILES. */
static inline bool streamlog_kept_nothing(enum status status) { return status == STATUS_DISK_FULL || status == STATUS_NO_FILES; }

#endif
