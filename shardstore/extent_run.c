/* extent_run.c: packs the extents of one shard in one segment, walks them and finds one among them.
 *
 * Invariants: a block begins with its first entry's index, arrival and offset in full, so that each can be read without those before it;
 * an entry never crosses from one block into the next; a count is never 0, so that a zero where an entry would begin means: the rest of
 * the block is empty. Differences are modulo 2^64: whatever is appended comes back, only small ones are short.
 *
 * - append: the entry's bytes; where they do not fit, or the index does not run on, zeros and a new head first.
 * - find: halves over the heads, then walks. The last head below what is wanted begins the block it is in, or the next one does.
 * - load (recovery): a copy of a footer's bytes, once each entry was looked at. From then on a run is whole, whoever reads it.
 *
 * Failure modes: none but no memory. Bytes that are no run end a walk early and are never read beyond. Thread: the owner's. */
#include "shardstore/extent_run.h"

#include <assert.h>
#include <stdlib.h>

#include "shardstore/segment_format.h"

#define BLOCK_HEAD 24
#define ENTRY_MAX (5 + 10 + 10 + 5 + 4) /* four varints of 32, 64, 64 and 32 bits, and the CRC */

static_assert(BLOCK_HEAD + ENTRY_MAX <= RUN_BLOCK, "any entry fits a fresh block");

/* ---- Bytes ---- */

static uint8_t *put_fixed(uint8_t *p, uint64_t value, int bytes)
{
	for (int i = 0; i < bytes; i++)
		*p++ = (uint8_t)(value >> (8 * i));
	return p;
}

/* In this form the compiler sees one load. */
static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

static uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32; }

static uint8_t *put_varint(uint8_t *p, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*p++ = (uint8_t)(value | 0x80);
	*p++ = (uint8_t)value;
	return p;
}

static const uint8_t *get_long_varint(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
	*value = 0;
	for (unsigned shift = 0; p < end && shift < 64; shift += 7) {
		uint8_t byte = *p++;
		*value |= (uint64_t)(byte & 0x7f) << shift;
		if (byte < 0x80)
			return p;
	}
	return NULL;
}

/* NULL: it does not end before `end`, or is longer than 64 bits. Passes NULL on. */
static const uint8_t *get_varint(const uint8_t *p, const uint8_t *end, uint64_t *value)
{
	if (p && p < end && *p < 0x80) { /* nearly all of them */
		*value = *p;
		return p + 1;
	}
	return p ? get_long_varint(p, end, value) : NULL;
}

/* ---- Append ---- */

/* Where the frames lie if the next group has them alone. */
static uint64_t expected_offset(uint64_t end)
{
	return (end + SEGMENT_SECTOR - 1) / SEGMENT_SECTOR * SEGMENT_SECTOR + GROUP_HEAD + EXTENT_HEAD;
}

static size_t encode(uint8_t out[ENTRY_MAX], const struct extent_ref *extent, uint64_t waited, uint64_t skipped)
{
	uint8_t *p = put_varint(out, extent->count);
	p = put_varint(p, waited);
	p = put_varint(p, skipped);
	p = put_varint(p, extent->length);
	p = put_fixed(p, extent->crc, 4);
	return (size_t)(p - out);
}

/* By a quarter: the open run of a shard is all that has room ahead, but there may be many shards. */
static void reserve(struct extent_run *run, size_t more)
{
	if (more <= run->cap_bytes - run->n_bytes)
		return;
	size_t cap = run->n_bytes + more + run->n_bytes / 4 + ENTRY_MAX;
	assert(cap <= UINT32_MAX); /* a tenth of a segment at most */
	run->bytes = xrealloc(run->bytes, cap);
	run->cap_bytes = (uint32_t)cap;
}

static void begin_block(struct extent_run *run, const struct extent_ref *extent)
{
	uint32_t padding = (RUN_BLOCK - run->n_bytes % RUN_BLOCK) % RUN_BLOCK;
	reserve(run, padding + BLOCK_HEAD);
	memset(run->bytes + run->n_bytes, 0, padding);
	uint8_t *p = run->bytes + run->n_bytes + padding;
	p = put_fixed(p, extent->first, 8);
	p = put_fixed(p, (uint64_t)extent->arrival_ms, 8);
	put_fixed(p, extent->offset, 8);
	run->n_bytes += padding + BLOCK_HEAD;
}

void extent_run_append(struct extent_run *run, const struct extent_ref *extent)
{
	uint8_t entry[ENTRY_MAX];
	size_t n =
		encode(entry, extent, (uint64_t)extent->arrival_ms - (uint64_t)run->arrival_ms, extent->offset - expected_offset(run->end));
	uint32_t used = run->n_bytes % RUN_BLOCK;
	if (used == 0 || used + n > RUN_BLOCK || extent->first != run->next) {
		begin_block(run, extent);
		n = encode(entry, extent, 0, 0);
	}
	reserve(run, n);
	memcpy(run->bytes + run->n_bytes, entry, n);
	run->n_bytes += (uint32_t)n;
	run->arrival_ms = extent->arrival_ms;
	run->next = extent->first + extent->count;
	run->end = extent->offset + extent->length;
}

void extent_run_fit(struct extent_run *run)
{
	if (run->n_bytes == run->cap_bytes)
		return;
	run->bytes = xrealloc(run->bytes, run->n_bytes);
	run->cap_bytes = run->n_bytes;
}

void extent_run_free(struct extent_run *run)
{
	free(run->bytes);
	*run = (struct extent_run){.segment = run->segment, .shard = run->shard};
}

struct extent_run extent_run_copy(const struct extent_run *run)
{
	struct extent_run copy = *run;
	copy.cap_bytes = run->n_bytes;
	copy.bytes = xmalloc(run->n_bytes);
	if (run->n_bytes)
		memcpy(copy.bytes, run->bytes, run->n_bytes);
	return copy;
}

/* ---- Walk ---- */

static struct extent_cursor cursor_at(const struct extent_run *run, uint32_t at)
{
	return (struct extent_cursor){.run = run, .at = at, .extent = {.segment = run->segment, .shard = run->shard}};
}

struct extent_cursor extent_run_begin(const struct extent_run *run) { return cursor_at(run, 0); }

bool extent_run_next(struct extent_cursor *cursor)
{
	const struct extent_run *run = cursor->run;
	struct extent_ref *extent = &cursor->extent;
	uint32_t at = cursor->at;
	if (at % RUN_BLOCK && at < run->n_bytes && !run->bytes[at])
		at += RUN_BLOCK - at % RUN_BLOCK;
	if (at >= run->n_bytes)
		return false;
	const uint8_t *p = run->bytes + at, *end = run->bytes + run->n_bytes;
	uint32_t left = RUN_BLOCK - at % RUN_BLOCK;
	if ((size_t)(end - p) > left)
		end = p + left;
	uint64_t first = extent->first + extent->count, offset = expected_offset(extent->offset + extent->length);
	uint64_t arrival = (uint64_t)extent->arrival_ms, count, waited, skipped, length;
	if (at % RUN_BLOCK == 0) {
		if (end - p < BLOCK_HEAD)
			return false;
		first = get64(p);
		arrival = get64(p + 8);
		offset = get64(p + 16);
		p += BLOCK_HEAD;
	}
	p = get_varint(p, end, &count);
	p = get_varint(p, end, &waited);
	p = get_varint(p, end, &skipped);
	p = get_varint(p, end, &length);
	if (!p || end - p < 4 || count == 0 || count > UINT32_MAX || length > UINT32_MAX)
		return false;
	extent->first = first;
	extent->count = (uint32_t)count;
	extent->arrival_ms = (int64_t)(arrival + waited);
	extent->offset = offset + skipped;
	extent->length = (uint32_t)length;
	extent->payload = length - count * RECORD_FRAME_HEAD;
	extent->crc = get32(p);
	cursor->at = (uint32_t)(p + 4 - run->bytes);
	return true;
}

bool extent_plausible(const struct extent_ref *extent)
{
	return extent->count && extent->first && extent->first <= SEQ_INDEX_MAX && extent->length / RECORD_FRAME_HEAD >= extent->count &&
	       extent->payload == extent->length - (uint64_t)extent->count * RECORD_FRAME_HEAD;
}

bool extent_run_load(struct extent_run *run, const uint8_t *p, uint32_t n, uint64_t limit)
{
	/* The walk changes nothing. */
	struct extent_run lent = {.segment = run->segment, .shard = run->shard, .bytes = (uint8_t *)(uintptr_t)p, .n_bytes = n};
	struct extent_cursor cursor = extent_run_begin(&lent);
	const struct extent_ref *extent = &cursor.extent;
	while (extent_run_next(&cursor))
		if (!extent_plausible(extent) || extent->offset > limit || extent->length > limit - extent->offset)
			return false;
	if (n == 0 || cursor.at != n)
		return false;
	lent.arrival_ms = extent->arrival_ms;
	lent.next = extent->first + extent->count;
	lent.end = extent->offset + extent->length;
	*run = extent_run_copy(&lent);
	return true;
}

/* ---- Find ---- */

static bool index_not_behind(const uint8_t *head, uint64_t index) { return get64(head) <= index; }
static bool arrived_before(const uint8_t *head, uint64_t arrival) { return (int64_t)get64(head + 8) < (int64_t)arrival; }

/* At the last block whose head is below; at the first if none is. */
static struct extent_cursor at_block(const struct extent_run *run, bool (*below)(const uint8_t *head, uint64_t value), uint64_t value)
{
	uint32_t low = 0, high = run->n_bytes / RUN_BLOCK + (run->n_bytes % RUN_BLOCK != 0);
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (below(run->bytes + (size_t)middle * RUN_BLOCK, value))
			low = middle;
		else
			high = middle;
	}
	return cursor_at(run, low * RUN_BLOCK);
}

bool extent_run_find(const struct extent_run *run, uint64_t index, struct extent_cursor *cursor)
{
	*cursor = at_block(run, index_not_behind, index);
	while (extent_run_next(cursor))
		if (cursor->extent.first + cursor->extent.count - 1 >= index)
			return true;
	return false;
}

bool extent_run_find_time(const struct extent_run *run, int64_t arrival_ms, struct extent_cursor *cursor)
{
	*cursor = at_block(run, arrived_before, (uint64_t)arrival_ms);
	while (extent_run_next(cursor))
		if (cursor->extent.arrival_ms >= arrival_ms)
			return true;
	return false;
}

/* ---- Of a segment ---- */

/* The place of the shard's run, or where it would be. */
static uint32_t place_of(const struct extent_runs *runs, uint32_t shard)
{
	uint32_t low = 0, high = runs->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (runs->runs[middle].shard < shard)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static struct extent_run *insert(struct extent_runs *runs, uint32_t place, uint32_t shard)
{
	if (runs->n == runs->cap) {
		runs->cap = runs->cap ? runs->cap * 2 : 4;
		runs->runs = xrealloc(runs->runs, runs->cap * sizeof(*runs->runs));
	}
	struct extent_run *run = &runs->runs[place];
	memmove(run + 1, run, (runs->n - place) * sizeof(*run));
	runs->n++;
	*run = (struct extent_run){.shard = shard};
	return run;
}

void extent_runs_append(struct extent_runs *runs, const struct extent_ref *extent)
{
	uint32_t place = place_of(runs, extent->shard);
	bool there = place < runs->n && runs->runs[place].shard == extent->shard;
	extent_run_append(there ? &runs->runs[place] : insert(runs, place, extent->shard), extent);
}

struct extent_run *extent_runs_add(struct extent_runs *runs, uint32_t shard)
{
	assert(runs->n == 0 || runs->runs[runs->n - 1].shard < shard);
	return insert(runs, runs->n, shard);
}

void extent_runs_free(struct extent_runs *runs)
{
	for (uint32_t i = 0; i < runs->n; i++)
		extent_run_free(&runs->runs[i]);
	free(runs->runs);
	*runs = (struct extent_runs){0};
}
