/* streamlog_scan.h: what lies in one segment file. Private to streamlog_scan.c, streamlog_recover.c. Reads only, changes nothing. */
#ifndef PENSTOCK_STREAMLOG_SCAN_H
#define PENSTOCK_STREAMLOG_SCAN_H

#include "shardstore/streamlog_internal.h"

#define POSITION_UNKNOWN UINT64_MAX

/* A range of bytes that is not what a commit wrote there. */
struct bad_range {
	uint64_t offset, length; /* what is named */
	uint64_t start, end;     /* offsets of the group, or groups, it is in: proof and cut go by these */
	const char *what;
};

struct segment_scan {
	/* in */
	struct io *io;
	int file;
	bool any_log;             /* log_id is not known yet: the first whole structure decides */
	uint8_t log_id[SEGMENT_LOG_ID];
	uint64_t number;
	uint64_t next_base;       /* the next segment's base, POSITION_UNKNOWN when there is none: what lies below it was durable */
	bool later;               /* there is a later segment: nothing in this one can be a torn tail */

	/* out */
	uint64_t size;            /* of the file */
	bool has_header;
	bool foreign;             /* the header is whole, but another log's; set by who knows */
	struct segment_header header;
	uint8_t *header_bytes;    /* for the marks */
	bool sealed;              /* by a whole footer */
	bool placed;              /* bias and epoch are known: from the header, or the first whole group or footer */
	uint64_t bias;            /* position of a group - its offset, modulo 2^64 */
	uint64_t epoch;
	struct extent_runs runs;  /* the whole extents; segments are not set */
	uint64_t start;           /* offset of the first group, or where it would be; 0: not known */
	struct bad_range *bad;    /* proven to have been durable: damage */
	size_t n_bad, cap_bad;
	uint64_t end;             /* offset behind the last group that is kept, or is named as damage */
	uint64_t synced;          /* below this offset all is known to have been synced; 0 when nothing says so */
	uint64_t torn;            /* bytes behind end that are to be cut, up to the last that is not zero */

	/* what a scan finds, until it is judged and packed */
	struct extent_ref *extents; /* in order; segment is not set */
	size_t n_extents, cap_extents;

	/* the window of the file that is in memory */
	uint8_t *window;
	uint64_t window_at;
	size_t window_n, window_cap;
	size_t ahead;             /* how much a read takes at least */
	int64_t err;              /* first -errno of a read */
};

/* Opens nothing: scan->file is lent. Each returns 0 or the -errno of a read. */
int64_t segment_scan_header(struct segment_scan *scan); /* size, has_header, header, header_bytes */
int64_t segment_scan_body(struct segment_scan *scan);   /* all else: by the footer if there is one, else group by group */
void segment_scan_release(struct segment_scan *scan);   /* the arrays and the window; what was found out stays */
void segment_scan_reset(struct segment_scan *scan);     /* forgets what the body told */
void segment_scan_fini(struct segment_scan *scan);

#endif
