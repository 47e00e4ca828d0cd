/* streamlog_scan.c: finds what is whole in one segment file, and tells a torn tail from damage.
 *
 * Correctness requirement: every extent that was acknowledged and whose bytes are whole is found; none whose bytes are not; and no range
 * that was durable is ever taken for a torn tail if anything on the disk proves that it was durable.
 *
 * - a whole footer at the end of the file: its runs are the extents. Nothing else is read.
 * - else group by group: head and extent headers by their CRC, place by log id, epoch and position, frames by theirs.
 * - where there is no whole group, search the sectors behind for one; the hole between is a bad range.
 * - at the end judge: bad ranges below the highest durable_upto (or any, if a later segment or a footer follows) are damage; the first
 *   that is not is where the log ends, and all behind it goes.
 *
 * Failure modes: an error of a read is not damage: it ends the scan, and the log is not opened. Memory is bounded by the file's size:
 * no length is believed before its CRC, beyond what the file has room for. Thread: the one that opens. */
#include "shardstore/streamlog_scan.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "penstock/crc32c.h"

#define SCAN_WINDOW (1u << 20)
#define SCAN_PIECE (256u << 10) /* of frames, checksummed at a time */

/* ---- The window ---- */

/* n bytes at an offset; NULL behind the end of the file, or after an error (then scan->err). Valid until the next call. */
static const uint8_t *bytes_at(struct segment_scan *scan, uint64_t offset, uint64_t n)
{
	if (scan->err || offset > scan->size || n > scan->size - offset)
		return NULL;
	if (offset >= scan->window_at && offset - scan->window_at <= scan->window_n && n <= scan->window_n - (offset - scan->window_at))
		return scan->window + (offset - scan->window_at);
	uint64_t want = n > scan->ahead ? n : scan->ahead;
	if (want > scan->size - offset)
		want = scan->size - offset;
	if (want > scan->window_cap) {
		free(scan->window);
		scan->window_cap = (size_t)want;
		scan->window = xmalloc(scan->window_cap);
	}
	scan->window_n = 0;
	scan->err = segment_read(scan->io, scan->file, scan->window, (size_t)want, offset);
	if (scan->err)
		return NULL;
	scan->window_at = offset;
	scan->window_n = (size_t)want;
	return scan->window;
}

static bool all_zero(const uint8_t *p, size_t n)
{
	for (; n && (uintptr_t)p % sizeof(uint64_t); p++, n--)
		if (*p)
			return false;
	for (; n >= sizeof(uint64_t); p += sizeof(uint64_t), n -= sizeof(uint64_t)) {
		uint64_t word;
		memcpy(&word, p, sizeof(word));
		if (word)
			return false;
	}
	for (; n; p++, n--)
		if (*p)
			return false;
	return true;
}

/* ---- What was found ---- */

static struct extent_ref *add_extent(struct segment_scan *scan)
{
	if (scan->n_extents == scan->cap_extents) {
		scan->cap_extents = scan->cap_extents ? scan->cap_extents * 2 : 64;
		scan->extents = xrealloc(scan->extents, scan->cap_extents * sizeof(scan->extents[0]));
	}
	return &scan->extents[scan->n_extents++];
}

static void add_bad(struct segment_scan *scan, struct bad_range bad)
{
	if (bad.start == bad.end)
		return;
	if (scan->n_bad == scan->cap_bad) {
		scan->cap_bad = scan->cap_bad ? scan->cap_bad * 2 : 8;
		scan->bad = xrealloc(scan->bad, scan->cap_bad * sizeof(scan->bad[0]));
	}
	scan->bad[scan->n_bad++] = bad;
}

/* ---- Header ---- */

int64_t segment_scan_header(struct segment_scan *scan)
{
	int64_t size = scan->io->size(scan->io, scan->file);
	if (size < 0)
		return size;
	scan->size = (uint64_t)size;
	const uint8_t *p = bytes_at(scan, 0, SEGMENT_HEADER_ALIGN);
	uint32_t length = p ? segment_header_peek(p) : 0;
	p = length ? bytes_at(scan, 0, length) : NULL;
	if (!p || !segment_header_decode(p, &scan->header) || scan->header.number != scan->number)
		return scan->err;
	scan->has_header = true;
	scan->header_bytes = xmalloc(length);
	memcpy(scan->header_bytes, p, length);
	return 0;
}

/* ---- Groups ---- */

/* Is it of this log, of this segment's start, and in its place? An unplaced segment is placed by the first that is of this log. */
static bool belongs(struct segment_scan *scan, const uint8_t *log_id, uint64_t epoch, uint64_t position, uint64_t offset)
{
	if (scan->any_log)
		memcpy(scan->log_id, log_id, SEGMENT_LOG_ID);
	else if (memcmp(scan->log_id, log_id, SEGMENT_LOG_ID) != 0)
		return false;
	scan->any_log = false;
	if (!scan->placed) {
		scan->placed = true;
		scan->epoch = epoch;
		scan->bias = position - offset;
	}
	return scan->epoch == epoch && position == scan->bias + offset;
}

/* A whole head with its extent headers, in its place; NULL when there is none at this offset. */
static const uint8_t *group_at(struct segment_scan *scan, uint64_t offset, struct group_head *head)
{
	const uint8_t *p = bytes_at(scan, offset, GROUP_HEAD);
	if (!p || !group_peek(p, scan->size - offset, head))
		return NULL;
	p = bytes_at(scan, offset, GROUP_HEAD + (uint64_t)head->n_extents * EXTENT_HEAD);
	if (!p || !group_verify(p, head) || !belongs(scan, head->log_id, head->epoch, head->position, offset))
		return NULL;
	return p;
}

static bool frames_whole(struct segment_scan *scan, const struct extent_ref *extent)
{
	uint32_t crc = 0;
	for (uint32_t done = 0; done < extent->length;) {
		uint32_t n = extent->length - done < SCAN_PIECE ? extent->length - done : SCAN_PIECE;
		const uint8_t *p = bytes_at(scan, extent->offset + done, n);
		if (!p)
			return false;
		crc = crc32c(crc, p, n);
		done += n;
	}
	return crc == extent->crc;
}

/* The head at `offset` is whole: each extent by its own checksum. `p` is copied, since reading the frames moves the window. */
static void take_group(struct segment_scan *scan, const uint8_t *p, const struct group_head *head, uint64_t offset)
{
	size_t n = (size_t)head->n_extents * EXTENT_HEAD;
	uint64_t frames = offset + GROUP_HEAD + n;
	uint8_t *headers = xmalloc(n);
	memcpy(headers, p + GROUP_HEAD, n);
	for (uint32_t i = 0; i < head->n_extents && !scan->err; i++) {
		struct extent_ref extent;
		extent_decode(headers + (size_t)i * EXTENT_HEAD, &extent);
		extent.offset = frames;
		frames += extent.length;
		if (frames_whole(scan, &extent))
			*add_extent(scan) = extent;
		else
			add_bad(scan, (struct bad_range){extent.offset, extent.length, offset, offset + head->length, "frames"});
	}
	free(headers);
	scan->end = offset + head->length;
}

/* A whole footer at this offset, met by the scan: its file's end was lost or zeros follow. */
static bool footer_at(struct segment_scan *scan, uint64_t offset, struct segment_footer *footer)
{
	const uint8_t *p = bytes_at(scan, offset, FOOTER_HEAD);
	uint64_t length = p ? footer_peek(p, scan->size - offset) : 0;
	p = length ? bytes_at(scan, offset, length) : NULL;
	return p && footer_decode(p, length, footer) && footer->number == scan->number &&
	       belongs(scan, footer->log_id, footer->epoch, footer->position, offset);
}

/* The first offset from `from` on, by sectors, where a whole group or footer lies; the file's size when none does. `*last` rises to the
 * end of the last sector that is not zero. */
static uint64_t search(struct segment_scan *scan, uint64_t from, uint64_t *last)
{
	for (uint64_t offset = from; offset < scan->size && !scan->err; offset += SEGMENT_SECTOR) {
		uint64_t n = scan->size - offset < SEGMENT_SECTOR ? scan->size - offset : SEGMENT_SECTOR;
		const uint8_t *p = bytes_at(scan, offset, n);
		struct group_head head;
		struct segment_footer footer;
		if (!p || all_zero(p, (size_t)n))
			continue;
		if (group_at(scan, offset, &head) || footer_at(scan, offset, &footer))
			return offset;
		*last = offset + n;
	}
	return scan->size;
}

/* ---- Judgement ---- */

/* The first bad range that nothing proves ends the log; what lies behind it was never acknowledged. `proven`: below it all was durable. */
static void judge(struct segment_scan *scan, uint64_t proven, uint64_t last)
{
	for (size_t i = 0; i < scan->n_bad; i++) {
		if (scan->bad[i].end > proven) {
			scan->end = scan->bad[i].start;
			scan->n_bad = i;
			break;
		}
		if (scan->bad[i].end > scan->end)
			scan->end = scan->bad[i].end;
	}
	while (scan->n_extents && scan->extents[scan->n_extents - 1].offset >= scan->end)
		scan->n_extents--;
	scan->synced = proven < scan->end ? proven : scan->end;
	/* Behind damage nothing is cut: a torn group's head may be all that proves it. */
	scan->torn = last > scan->end && !scan->n_bad ? last - scan->end : 0;
}

/* Where the scan must end if the next segment says so. */
static uint64_t limit_of(const struct segment_scan *scan)
{
	return scan->placed && scan->next_base != POSITION_UNKNOWN ? scan->next_base - scan->bias : UINT64_MAX;
}

static void hole(struct segment_scan *scan, uint64_t from, uint64_t to)
{
	add_bad(scan, (struct bad_range){from, to - from, from, to, "group"});
}

struct walk {
	uint64_t offset;
	uint64_t proven; /* offset */
	uint64_t last;   /* end of the last bytes that are not zero */
	bool done;
};

/* No whole group lies at the offset: on to the next that is whole, or the end. */
static void step_over(struct segment_scan *scan, struct walk *walk)
{
	uint64_t found = search(scan, walk->offset, &walk->last);
	uint64_t limit = limit_of(scan);
	if (found < scan->size) {
		hole(scan, walk->offset, found);
		walk->offset = found;
		return;
	}
	if (limit != UINT64_MAX)
		hole(scan, walk->offset, limit); /* the next segment says where this one ended: the rest is missing */
	else if (walk->last > walk->offset)
		hole(scan, walk->offset, walk->last);
	walk->done = true;
}

static void step(struct segment_scan *scan, struct walk *walk)
{
	struct group_head head;
	struct segment_footer footer;
	const uint8_t *p = group_at(scan, walk->offset, &head);
	if (p) {
		/* Positions of this segment only: what is before it was durable when it was born. */
		if (head.durable_upto - scan->bias <= walk->offset && head.durable_upto - scan->bias > walk->proven)
			walk->proven = head.durable_upto - scan->bias;
		take_group(scan, p, &head, walk->offset);
		walk->offset = walk->last = scan->end;
	} else if (footer_at(scan, walk->offset, &footer)) {
		walk->proven = UINT64_MAX;
		walk->done = true;
	} else {
		step_over(scan, walk);
	}
}

static void scan_groups(struct segment_scan *scan)
{
	struct walk walk = {.offset = scan->has_header ? scan->header.length : SEGMENT_SECTOR};
	if (!scan->has_header)
		walk.offset = search(scan, walk.offset, &walk.last);
	scan->start = scan->end = walk.offset;
	if (!walk.last)
		walk.last = walk.offset;
	while (!walk.done && !scan->err && walk.offset < limit_of(scan))
		step(scan, &walk);
	if (scan->err)
		return;
	judge(scan, scan->later ? UINT64_MAX : walk.proven, walk.last);
	for (size_t i = 0; i < scan->n_extents; i++)
		extent_runs_append(&scan->runs, &scan->extents[i]);
}

/* ---- Footer ---- */

static bool take_footer(struct segment_scan *scan)
{
	const uint8_t *p = scan->size >= FOOTER_TRAILER ? bytes_at(scan, scan->size - FOOTER_TRAILER, FOOTER_TRAILER) : NULL;
	uint64_t length = p ? footer_trailer_decode(p, scan->size) : 0;
	struct segment_footer footer;
	if (!length || !footer_at(scan, scan->size - length, &footer) || footer.length != length)
		return false;
	p = bytes_at(scan, scan->size - length, length);
	if (!p || !footer_runs_decode(p, &footer, scan->size - length, &scan->runs))
		return false;
	scan->sealed = true;
	scan->start = scan->has_header ? scan->header.length : 0;
	scan->end = scan->synced = scan->size - length;
	return true;
}

int64_t segment_scan_body(struct segment_scan *scan)
{
	if (scan->has_header) {
		scan->placed = true;
		scan->epoch = scan->header.epoch;
		scan->bias = scan->header.base - scan->header.length;
	}
	if (take_footer(scan) || scan->err)
		return scan->err;
	scan->ahead = SCAN_WINDOW;
	scan_groups(scan);
	return scan->err;
}

void segment_scan_release(struct segment_scan *scan)
{
	extent_runs_free(&scan->runs);
	free(scan->extents);
	free(scan->bad);
	free(scan->window);
	scan->extents = NULL;
	scan->bad = NULL;
	scan->window = NULL;
	scan->n_extents = scan->cap_extents = scan->n_bad = scan->cap_bad = 0;
	scan->window_n = scan->window_cap = scan->ahead = 0;
}

void segment_scan_reset(struct segment_scan *scan)
{
	segment_scan_release(scan);
	scan->placed = scan->sealed = false;
	scan->start = scan->end = scan->synced = scan->torn = 0;
}

void segment_scan_fini(struct segment_scan *scan)
{
	segment_scan_reset(scan);
	free(scan->header_bytes);
	scan->header_bytes = NULL;
}
