/* segment_format.h: the bytes of a segment file. Pure: bytes in, values out; no I/O. docs/on-disk.md has the tables and the reasons.
 *
 *   0          header.length                                                                   end of file
 *   | header   | group | group | group | ...                      | zeros written ahead        |   open
 *   | header   | group | group | group | ... | footer |                                            sealed
 *
 *   header:  80 bytes, marks (24 each), zeros up to a multiple of 4096
 *   group:   64 bytes, extent headers (40 each), the frames of each extent in the same order, zeros up to a multiple of 512
 *   footer:  80 bytes, a directory (8 each: shard, bytes of its run), the runs (extent_run.h), zeros, and in the last 16 bytes of the
 *            file its length
 *
 * All integers are little-endian. A *position* counts the bytes of groups over the whole log: the group at offset o of a segment has
 * position base + o - header.length. Groups begin on sectors (512), so that a write torn by a power failure can only hurt the
 * group that was being written, never its neighbour that was acknowledged. */
#ifndef PENSTOCK_SEGMENT_FORMAT_H
#define PENSTOCK_SEGMENT_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shardstore/extent_run.h"
#include "shardstore/streamlog.h"

#define SEGMENT_VERSION 1
#define FOOTER_VERSION 2 /* 1 had 48 bytes for each extent */
#define SEGMENT_LOG_ID 16
#define SEGMENT_SECTOR 512
#define SEGMENT_HEADER_ALIGN 4096
#define SEGMENT_HEADER_MAX (4u << 20) /* 174,000 marks; bounds what recovery allocates on the word of a damaged header */

#define SEGMENT_HEADER_HEAD 80
#define SEGMENT_MARK 24
#define GROUP_HEAD 64
#define EXTENT_HEAD 40
#define FOOTER_HEAD 80
#define FOOTER_RUN 8
#define FOOTER_TRAILER 16

struct segment_header {
	uint8_t log_id[SEGMENT_LOG_ID];
	uint64_t number;
	uint64_t base;       /* position of the first group */
	int64_t created_ms;
	uint64_t epoch;      /* of the start that made this segment; all its groups have the same */
	uint64_t capacity;   /* bytes of file to fill before the next segment */
	uint32_t length;     /* bytes of the header with its padding */
	uint32_t n_marks;
};

struct group_head {
	uint8_t log_id[SEGMENT_LOG_ID];
	uint64_t epoch;
	uint64_t position;
	uint64_t durable_upto; /* position below which all was durable when this group was written */
	uint64_t length;       /* with extent headers, frames and padding */
	uint32_t n_extents;
};

struct segment_footer {
	uint8_t log_id[SEGMENT_LOG_ID];
	uint64_t epoch;
	uint64_t number;
	uint64_t position;     /* where the segment ends: the next one's base */
	uint64_t length;       /* with runs, padding and trailer */
	uint32_t n_runs;       /* of FOOTER_VERSION; of another only the fields above are known */
	uint16_t version;
};

/* ---- Segment header ---- */

uint32_t segment_header_length(uint32_t n_marks);
/* Fills header->length bytes. header->length must be segment_header_length(header->n_marks). */
void segment_header_encode(uint8_t *out, const struct segment_header *header, const struct shard_mark *marks);
/* Of the first SEGMENT_HEADER_HEAD bytes: how long the header says it is; 0 when it is none. Nothing is verified yet. */
uint32_t segment_header_peek(const uint8_t *p);
/* p has segment_header_peek(p) bytes. False: not whole. */
bool segment_header_decode(const uint8_t *p, struct segment_header *out);
void segment_mark_decode(const uint8_t *header, uint32_t nth, struct shard_mark *out);

/* ---- Group ---- */

uint64_t group_length(uint32_t n_extents, uint64_t frames); /* of `frames` bytes of frames in all, padded */
/* An extent header says everything of an extent_ref but segment and offset. */
void extent_encode(uint8_t out[EXTENT_HEAD], const struct extent_ref *extent);
void extent_decode(const uint8_t p[EXTENT_HEAD], struct extent_ref *out);
/* The extent headers must already lie behind out[GROUP_HEAD]: they are under the same CRC. */
void group_encode(uint8_t *out, const struct group_head *head);
/* Of GROUP_HEAD bytes: is it a head that could lie where at most `room` bytes follow it (itself included)? Nothing is verified yet. */
bool group_peek(const uint8_t p[GROUP_HEAD], uint64_t room, struct group_head *out);
/* p has the head and its extent headers: CRC, and lengths that add up. */
bool group_verify(const uint8_t *p, const struct group_head *head);

/* ---- Footer ---- */

uint64_t footer_length(const struct extent_runs *runs);
/* Fills footer->length bytes, which must be footer_length(runs). */
void footer_encode(uint8_t *out, const struct segment_footer *footer, const struct extent_runs *runs);
/* Of the last FOOTER_TRAILER bytes of a file of `size` bytes: the footer's length; 0 when there is none. */
uint64_t footer_trailer_decode(const uint8_t p[FOOTER_TRAILER], uint64_t size);
/* Of FOOTER_HEAD bytes, with `room` bytes of file from here on: its length; 0 when it is none. Nothing is verified yet. */
uint64_t footer_peek(const uint8_t p[FOOTER_HEAD], uint64_t room);
/* p has `length` bytes. False: not whole. Of any version: head, trailer and CRC are the same in all. */
bool footer_decode(const uint8_t *p, uint64_t length, struct segment_footer *out);
/* p is what footer_decode took for whole. False, and `out` is empty: another version, or not runs of extents that end at or before
 * offset `limit` of the file. */
bool footer_runs_decode(const uint8_t *p, const struct segment_footer *footer, uint64_t limit, struct extent_runs *out);

#endif
