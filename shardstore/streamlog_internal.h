/* streamlog_internal.h: what the files of a stream's log share. Private to streamlog*.c and segment.c.
 *
 *   segments: | sealed | sealed | sealed | open |      doomed: trimmed, their files not yet unlinked
 *                                          ^ may be missing: after a start, or after a birth that a full disk refused
 *   spare:    a file of zeros under the number of the next segment; gets its header when the open one is full
 */
#ifndef PENSTOCK_STREAMLOG_INTERNAL_H
#define PENSTOCK_STREAMLOG_INTERNAL_H

#include <pthread.h>

#include "shardstore/segment_format.h"
#include "shardstore/streamlog.h"

struct streamlog {
	/* --- written at create and open, then only read --- */
	struct io *io;
	char *path, *parent;
	uint64_t segment_min, segment_max;
	uint8_t log_id[SEGMENT_LOG_ID];
	uint64_t epoch; /* of this start: above every one on disk */
	bool readonly;

	/* --- the commit in flight, or close: one at a time --- */
	struct segment_header header; /* of the open segment */
	struct buf head;              /* encoded group head and extent headers */
	struct extent_runs runs;      /* of the open segment, for its footer */
	struct iovec *iov;
	uint32_t iov_cap;
	uint64_t next_number, next_base; /* of the next segment to be born */
	uint64_t next_capacity;

	/* --- under lock --- */
	pthread_mutex_t lock;
	pthread_cond_t prepared;    /* preparing became false */
	struct segment **segments;  /* by number; the log's references */
	uint32_t n_segments, cap_segments;
	struct segment **doomed;
	uint32_t n_doomed, cap_doomed;
	struct segment *open;       /* the last of segments, or NULL */
	struct segment *spare;
	bool spare_named;           /* its directory entry is durable */
	uint64_t offset;            /* of the next group in the open segment */
	uint64_t zeroed;            /* bytes of the open file that are written; whole pages, but for what undo cuts */
	uint64_t spare_zeroed;
	bool preparing;             /* a prepare is in flight, or held off; who set it may touch spare and zeroed */
	bool zeroing;               /* the prepare in flight writes to the open segment */
	bool refused;               /* prepare met a full disk: not again before a commit went well */
	bool resting;               /* no zeros ahead: commits are rarer than REST_NS, or none came yet */
	bool committing;            /* a group is being written: its bytes may lie behind `offset` */
	uint64_t committed_ns;      /* when the last group was synced, monotonic; 0: none yet */
	bool buffered;              /* zeros go through the page cache: the file system takes no direct writes; with `preparing` */

	/* --- any thread --- */
	atomic_bool wants_prepare;
	atomic_bool poisoned;
	atomic_bool undo_due; /* a refused group, or refused zeros, may still lie behind `offset`: cut there before the next */
};

/* streamlog.c */
struct streamlog *streamlog_alloc(const struct streamlog_config *config);
void streamlog_free(struct streamlog *log); /* drops the references; touches no file */
void streamlog_add_segment(struct streamlog *log, struct segment *segment); /* takes; under lock, or before the log is shared */
/* Says why, once, and lets no later call through. Returns STATUS_IO. */
enum status streamlog_poison(struct streamlog *log, const char *what, const char *file, int64_t err);
/* A full disk is no broken one, nor is a lack of descriptors: DISK_FULL, NO_FILES or STATUS_IO (poisoned). */
enum status streamlog_refused(struct streamlog *log, const char *what, const char *file, int64_t err);
bool streamlog_full(int64_t err); /* -ENOSPC and its like */
/* Reports a failed call on a log that is not in use yet, or not any more: like streamlog_refused, but nothing is poisoned. */
enum status streamlog_failure(const char *what, const char *file, int64_t err);

/* The end of the last page that n bytes touch. */
static inline uint64_t page_end(uint64_t n) { return (n + IO_DIRECT_ALIGN - 1) / IO_DIRECT_ALIGN * IO_DIRECT_ALIGN; }

/* streamlog_commit.c */
enum status streamlog_seal(struct streamlog *log);  /* footer behind the open segment; then there is none open */
uint64_t streamlog_capacity_after(const struct streamlog *log); /* of the segment behind the open one, were that sealed now; under lock */
/* Writes a footer at `offset` and ends the file there. 0 or -errno. */
int64_t streamlog_write_footer(struct io *io, int file, uint64_t offset, struct segment_footer *footer, const struct extent_runs *runs);

/* streamlog_prepare.c */
void streamlog_plan_prepare(struct streamlog *log); /* under lock: sets wants_prepare */
void streamlog_hold_prepare(struct streamlog *log); /* waits for the prepare in flight and lets none begin until: */
void streamlog_release_prepare(struct streamlog *log);

/* segment.c */
#define SEGMENT_NAME_LEN 24 /* 20 digits and ".seg" */
bool segment_name_parse(const char *name, uint64_t *number);
struct segment *segment_new(struct io *io, const char *dir, uint64_t number); /* no file yet: file -1; one reference */
int segment_open(struct segment *segment, enum io_open how);                 /* 0 or -errno */
int64_t segment_read(struct io *io, int file, void *p, size_t n, uint64_t offset); /* 0, -errno, or -ENODATA when the file is shorter */
int64_t segment_write(struct io *io, int file, const void *p, size_t n, uint64_t offset); /* 0 or -errno */

#endif
