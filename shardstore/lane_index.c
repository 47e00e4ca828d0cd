/* lane_index.c: where a shard's records lie: an array of extents, oldest first, dense but for what damage took away.
 *
 * Invariants: first indexes and arrival times never fall; all records of an extent share one arrival time, so that retention, too, cuts
 * between extents only. What horizon_ms has passed stays in the array until its segment goes, but is not read any more.
 *
 * - append when a group is durable; find by index or by time by halving; drop from the front when segments are trimmed.
 *
 * Thread: the lane's (recovery: whoever recovers, before the lane has the stream). */
#include "shardstore/lane.h"

void index_append(struct lane_shard *shard, const struct extent_ref *extent)
{
	if (shard->index_at + shard->n_index == shard->index_cap) {
		/* Dropped places are used again when they are the larger half: then each entry is moved at most once per drop. */
		if (shard->index_at > shard->index_cap / 2) {
			memmove(shard->index, shard->index + shard->index_at, shard->n_index * sizeof(*shard->index));
			shard->index_at = 0;
		} else {
			shard->index_cap = shard->index_cap ? shard->index_cap * 2 : 16;
			shard->index = xrealloc(shard->index, shard->index_cap * sizeof(*shard->index));
		}
	}
	shard->index[shard->index_at + shard->n_index++] = *extent;
}

size_t index_find(const struct lane_shard *shard, uint64_t index)
{
	size_t low = 0, high = shard->n_index;
	while (low < high) {
		size_t middle = (low + high) / 2;
		const struct extent_ref *extent = index_get(shard, middle);
		if (extent->first + extent->count - 1 < index)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

size_t index_find_time(const struct lane_shard *shard, int64_t arrival_ms)
{
	size_t low = 0, high = shard->n_index;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (index_get(shard, middle)->arrival_ms < arrival_ms)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

void index_drop_below(struct lane_shard *shard, uint64_t segment)
{
	while (shard->n_index && index_get(shard, 0)->segment->number < segment) {
		shard->index_at++;
		shard->n_index--;
	}
	if (shard->n_index == 0)
		shard->index_at = 0;
}

/* The first index at or behind place i. */
static uint64_t first_from(const struct lane_shard *shard, size_t i)
{
	return i < shard->n_index ? index_get(shard, i)->first : shard->next;
}

uint64_t index_oldest(const struct lane_shard *shard) { return first_from(shard, index_find_time(shard, shard->stream->horizon_ms)); }

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
		next = first_from(shard, index_find_time(shard, position->time_ms));
		break;
	}
	if (next < oldest)
		next = oldest;
	/* What lies beyond the durable end must not leave: a crash would give those indexes to other records. */
	return next < shard->next ? next : shard->next;
}

int64_t index_second_before(const struct lane_shard *shard, uint64_t next)
{
	uint64_t before = next - 1;
	size_t i = index_find(shard, before);
	if (before && i < shard->n_index && index_get(shard, i)->first <= before)
		return index_get(shard, i)->arrival_ms / 1000;
	if (before && before == shard_durable_end(shard) && shard->last_arrival_ms)
		return shard->last_arrival_ms / 1000;
	return shard->key.created_s;
}
