/* extent_run.h: the extents of one shard in one segment, packed: what the index holds in memory is, byte for byte, what a footer holds.
 *
 *   run:    | block | block | ... | block |    blocks of RUN_BLOCK bytes, the last one as long as it is
 *   block:  | head: first, arrival, offset | entry | entry | ... | zeros |
 *   entry:  varints: records, ms since the last, bytes between the expected offset and the real one, length; CRC (4 bytes)
 *
 * What an entry leaves out follows from the one before: the first index (indexes are dense; behind a hole a new block begins), the
 * offset (the next group, if the extent is alone in it), the payload (the length without the record heads). A lone put of 1 KB takes 9
 * bytes. A head says enough to search by it; the rest is a walk through one block. */
#ifndef PENSTOCK_EXTENT_RUN_H
#define PENSTOCK_EXTENT_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shardstore/streamlog.h"

#define RUN_BLOCK 512 /* about 50 entries: the head costs half a byte for each, a walk 0.2 us */

/* Zero but for segment and shard is the empty run. One owner; the bytes are its own. */
struct extent_run {
	struct segment *segment; /* lent by the log */
	uint8_t *bytes;
	uint32_t n_bytes, cap_bytes;
	uint32_t shard;
	/* What the next entry is told against: of the last one. */
	int64_t arrival_ms;
	uint64_t next; /* index behind it */
	uint64_t end;  /* offset behind it */
};

void extent_run_free(struct extent_run *run); /* back to the empty run */
/* extent_plausible, of the run's shard and segment. */
void extent_run_append(struct extent_run *run, const struct extent_ref *extent);
void extent_run_fit(struct extent_run *run); /* nothing more will be appended: gives back the room ahead */
/* A copy of packed bytes. False, and nothing changed: they are no run of plausible extents whose frames end at or before `limit`. */
bool extent_run_load(struct extent_run *run, const uint8_t *p, uint32_t n, uint64_t limit);
/* A run's copy that fits, for who keeps what is only lent. */
struct extent_run extent_run_copy(const struct extent_run *run);

/* A place in a run, and the extent there. Valid until the run is appended to or freed. */
struct extent_cursor {
	const struct extent_run *run;
	uint32_t at; /* of the entry behind it */
	struct extent_ref extent;
};

/* Before the first extent: extent_run_next gives it. */
struct extent_cursor extent_run_begin(const struct extent_run *run);
bool extent_run_next(struct extent_cursor *cursor); /* false: there is none, the cursor stays */
bool extent_run_find(const struct extent_run *run, uint64_t index, struct extent_cursor *cursor); /* the first that ends at or behind it */
bool extent_run_find_time(const struct extent_run *run, int64_t arrival_ms, struct extent_cursor *cursor); /* that arrived then or later */

/* Could a commit have written it? At least a record, and a length with room for all heads and nothing else but the payload. */
bool extent_plausible(const struct extent_ref *extent);

/* The runs of one segment, by shard. Zero is the empty state. */
struct extent_runs {
	struct extent_run *runs;
	uint32_t n, cap;
};

void extent_runs_free(struct extent_runs *runs); /* back to the empty state */
void extent_runs_append(struct extent_runs *runs, const struct extent_ref *extent);
/* An empty run for a shard above all that are there. */
struct extent_run *extent_runs_add(struct extent_runs *runs, uint32_t shard);

#endif
