/* lane_index.c: where a shard's records lie: runs of packed extents, one run per segment, oldest first.
 *
 * Invariants: first indexes and arrival times never fall; indexes are dense but for what damage took away; all records of an extent share
 * one arrival time, so that retention, too, cuts between extents only. What horizon_ms has passed stays until its segment goes, but is not
 * read any more. No run is empty. The newest may have room ahead; the others take what they hold.
 *
 * - append when a group is durable, into the segment's run; find by index or by time by halving over the runs, then inside one; drop whole
 *   runs from the front when their segments are trimmed.
 * - a start adopts the runs that the footers hold.
 *
 * Thread: the lane's (recovery: whoever recovers, before the lane has the stream). */
#include <stdlib.h>

#include "shardstore/lane.h"

static struct extent_run *run_at(const struct lane_shard *shard, size_t place) { return &shard->index[shard->index_at + place]; }

/* ---- Grow and drop ---- */

static void push_run(struct lane_shard *shard, struct extent_run run)
{
	if (shard->n_index)
		extent_run_fit(run_at(shard, shard->n_index - 1));
	if (shard->index_at + shard->n_index == shard->index_cap) {
		/* Dropped places are used again when they are the larger half: then each run is moved at most once per drop. */
		if (shard->index_at > shard->index_cap / 2) {
			memmove(shard->index, shard->index + shard->index_at, shard->n_index * sizeof(*shard->index));
			shard->index_at = 0;
		} else {
			shard->index_cap = shard->index_cap ? shard->index_cap * 2 : 2;
			shard->index = xrealloc(shard->index, shard->index_cap * sizeof(*shard->index));
		}
	}
	*run_at(shard, shard->n_index++) = run;
}

void index_append(struct lane_shard *shard, const struct extent_ref *extent)
{
	if (shard->n_index == 0 || run_at(shard, shard->n_index - 1)->segment != extent->segment)
		push_run(shard, (struct extent_run){.segment = extent->segment, .shard = extent->shard});
	extent_run_append(run_at(shard, shard->n_index - 1), extent);
}

void index_adopt(struct lane_shard *shard, const struct extent_run *run) { push_run(shard, extent_run_copy(run)); }

void index_drop_below(struct lane_shard *shard, uint64_t segment)
{
	while (shard->n_index && run_at(shard, 0)->segment->number < segment) {
		extent_run_free(run_at(shard, 0));
		shard->index_at++;
		shard->n_index--;
	}
	if (shard->n_index == 0)
		shard->index_at = 0;
}

void index_fini(struct lane_shard *shard)
{
	for (size_t i = 0; i < shard->n_index; i++)
		extent_run_free(run_at(shard, i));
	free(shard->index);
}

/* ---- Find ---- */

static bool ends_before(const struct extent_run *run, uint64_t index) { return run->next <= index; }
static bool arrived_before(const struct extent_run *run, uint64_t arrival_ms) { return run->arrival_ms < (int64_t)arrival_ms; }

/* The first run that is not wholly before; n_index: all are. */
static size_t place_of(const struct lane_shard *shard, bool (*before)(const struct extent_run *run, uint64_t value), uint64_t value)
{
	size_t low = 0, high = shard->n_index;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (before(run_at(shard, middle), value))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool index_find(const struct lane_shard *shard, uint64_t index, struct index_cursor *cursor)
{
	*cursor = (struct index_cursor){.shard = shard, .place = place_of(shard, ends_before, index)};
	return cursor->place < shard->n_index && extent_run_find(run_at(shard, cursor->place), index, &cursor->in);
}

bool index_find_time(const struct lane_shard *shard, int64_t arrival_ms, struct index_cursor *cursor)
{
	*cursor = (struct index_cursor){.shard = shard, .place = place_of(shard, arrived_before, (uint64_t)arrival_ms)};
	return cursor->place < shard->n_index && extent_run_find_time(run_at(shard, cursor->place), arrival_ms, &cursor->in);
}

bool index_next(struct index_cursor *cursor)
{
	if (extent_run_next(&cursor->in))
		return true;
	if (cursor->place + 1 >= cursor->shard->n_index)
		return false;
	cursor->in = extent_run_begin(run_at(cursor->shard, ++cursor->place));
	return extent_run_next(&cursor->in);
}

/* ---- Positions ---- */

/* The first index that arrived then or later. */
static uint64_t first_since(const struct lane_shard *shard, int64_t arrival_ms)
{
	struct index_cursor cursor;
	return index_find_time(shard, arrival_ms, &cursor) ? index_extent(&cursor)->first : shard->next;
}

uint64_t index_oldest(const struct lane_shard *shard) { return first_since(shard, shard->stream->horizon_ms); }

uint64_t index_resolve(const struct lane_shard *shard, const struct position *position)
{
	uint64_t next = shard->next, oldest = index_oldest(shard);
	switch (position->kind) {
	case POSITION_AT:
		next = position->index;
		break;
	case POSITION_AFTER:
		next = position->index < UINT64_MAX ? position->index + 1 : position->index;
		break;
	case POSITION_TRIM_HORIZON:
		next = oldest;
		break;
	case POSITION_LATEST:
		break;
	case POSITION_AT_TIME:
		next = first_since(shard, position->time_ms);
		break;
	}
	if (next < oldest)
		next = oldest;
	/* What lies beyond the durable end must not leave: a crash would give those indexes to other records. */
	return next < shard->next ? next : shard->next;
}

bool index_arrival(const struct lane_shard *shard, uint64_t index, int64_t *ms)
{
	struct index_cursor cursor;
	if (!index || !index_find(shard, index, &cursor) || index_extent(&cursor)->first > index)
		return false;
	*ms = index_extent(&cursor)->arrival_ms;
	return true;
}

int64_t index_second_before(const struct lane_shard *shard, uint64_t next)
{
	uint64_t before = next - 1;
	int64_t arrival_ms;
	if (index_arrival(shard, before, &arrival_ms))
		return arrival_ms / 1000;
	if (before && before == shard_durable_end(shard) && shard->last_arrival_ms)
		return shard->last_arrival_ms / 1000;
	return shard->key.created_s;
}
