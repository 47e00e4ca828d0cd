/* reshard_plan.c: the arithmetic of resharding.
 *
 * Invariants: the plan's children, intermediate ones left out, cover exactly what its parents covered. Numbers rise from parent to child.
 * Each child's creation second lies above the closing second of its parents, so that its sequence numbers lie above theirs; for
 * intermediate shards that second runs ahead of the clock, one per generation. No arrival time ever does.
 *
 * - split, merge: one step
 * - uniform: walks the new boundaries from low to high over the open shards: a shard in which one lies is split there, pieces that belong
 *   together are merged from left to right. That is what AWS was seen to do (4 -> 3: split 1, merge, split 2, merge, merge). Where many
 *   lie in one shard it is split in the middle first: 1 -> 8 takes three generations, not seven.
 *
 * Intermediate shards are opened and closed in the same moment and never hold a record: all that the walk needs is their lineage.
 *
 * Nothing here fails; a plan that does not fit its stream (it was damaged) has no parents. */
#include "shardstore/reshard_plan.h"

#include <assert.h>
#include <stdlib.h>

void reshard_plan_init(struct reshard_plan *plan, uint64_t stream, uint32_t next_shard)
{
	*plan = (struct reshard_plan){.stream = stream, .next = next_shard};
}

void reshard_plan_fini(struct reshard_plan *plan)
{
	free(plan->children);
	*plan = (struct reshard_plan){0};
}

void reshard_plan_add(struct reshard_plan *plan, uint32_t parent, uint32_t adjacent, uint128 hash_first, uint128 hash_last)
{
	if (plan->n == plan->cap) {
		plan->cap = plan->cap ? plan->cap * 2 : 4;
		plan->children = xrealloc(plan->children, plan->cap * sizeof(*plan->children));
	}
	plan->children[plan->n++] = (struct shard_info){
		.key = {.stream = plan->stream, .shard = plan->next++},
		.hash_first = hash_first,
		.hash_last = hash_last,
		.parent = parent,
		.adjacent = adjacent,
	};
}

void reshard_plan_split(struct reshard_plan *plan, const struct shard_info *parent, uint128 hash)
{
	/* Not through the pointer behind the first: it may lie in the array that grows. */
	uint128 first = parent->hash_first, last = parent->hash_last;
	uint32_t number = parent->key.shard;

	assert(first < hash && hash <= last);
	reshard_plan_add(plan, number, NO_PARENT, first, hash - 1);
	reshard_plan_add(plan, number, NO_PARENT, hash, last);
}

void reshard_plan_merge(struct reshard_plan *plan, const struct shard_info *lower, const struct shard_info *upper)
{
	assert(lower->hash_last + 1 == upper->hash_first);
	reshard_plan_add(plan, lower->key.shard, upper->key.shard, lower->hash_first, upper->hash_last);
}

/* ---- The walk ---- */

struct walk {
	struct reshard_plan *plan;
	struct shard_info *open; /* by hash */
	uint32_t at;
	struct shard_info rest[32]; /* right pieces of splits, the leftmost last; each is at most half of what the one before it was */
	uint32_t n_rest;
	uint32_t target;
};

static int by_hash(const void *a, const void *b)
{
	const struct shard_info *left = a, *right = b;

	return left->hash_first < right->hash_first ? -1 : left->hash_first > right->hash_first;
}

static struct shard_info *open_shards(const struct stream_info *stream)
{
	struct shard_info *open = xcalloc(stream->n_shards + 1, sizeof(*open));
	uint32_t n = 0;

	for (uint32_t i = 0; i < stream->n_shards; i++)
		if (!stream->shards[i].closed)
			open[n++] = stream->shards[i];
	qsort(open, n, sizeof(*open), by_hash);
	return open;
}

/* Where new shard k begins that cuts the piece best in two: the middle one of those behind k - 1, the first of two. */
static uint128 middle_boundary(const struct walk *walk, const struct shard_info *piece, uint32_t k)
{
	uint128 last = piece->hash_last / hash_uniform_start(1, walk->target);
	uint32_t most = last < walk->target ? (uint32_t)last : walk->target - 1;

	return hash_uniform_start(k + (most - k) / 2, walk->target);
}

/* The next piece from the left, cut off where new shard k begins: all that lies below `last` is of shard k - 1. */
static struct shard_info next_piece(struct walk *walk, uint128 last, uint32_t k)
{
	struct shard_info piece = walk->n_rest ? walk->rest[--walk->n_rest] : walk->open[walk->at++];

	while (piece.hash_last > last) {
		reshard_plan_split(walk->plan, &piece, middle_boundary(walk, &piece, k));
		assert(walk->n_rest < sizeof(walk->rest) / sizeof(walk->rest[0]));
		walk->rest[walk->n_rest++] = walk->plan->children[walk->plan->n - 1];
		piece = walk->plan->children[walk->plan->n - 2];
	}
	return piece;
}

void reshard_plan_uniform(struct reshard_plan *plan, const struct stream_info *stream, uint32_t target)
{
	struct walk walk = {.plan = plan, .open = open_shards(stream), .target = target};

	for (uint32_t i = 0; i < target; i++) {
		uint128 last = i + 1 < target ? hash_uniform_start(i + 1, target) - 1 : ~(uint128)0;
		struct shard_info shard = next_piece(&walk, last, i + 1);

		while (shard.hash_last < last) {
			struct shard_info right = next_piece(&walk, last, i + 1);

			reshard_plan_merge(plan, &shard, &right);
			shard = plan->children[plan->n - 1];
		}
	}
	free(walk.open);
}

/* ---- Parents ---- */

static uint32_t first_child(const struct reshard_plan *plan) { return plan->n ? plan->children[0].key.shard : UINT32_MAX; }

static int compare_number(const void *a, const void *b)
{
	uint32_t left = ((const struct shard_info *)a)->key.shard, right = ((const struct shard_info *)b)->key.shard;

	return (left > right) - (left < right);
}

struct shard_info *reshard_plan_parents(const struct reshard_plan *plan, const struct stream_info *stream, uint32_t *n)
{
	struct shard_info *parents = xcalloc(2 * (size_t)plan->n + 1, sizeof(*parents));
	uint32_t found = 0, distinct = 0;

	for (uint32_t i = 0; i < plan->n; i++) {
		const uint32_t numbers[2] = {plan->children[i].parent, plan->children[i].adjacent};

		for (int k = 0; k < 2; k++) {
			if (numbers[k] == NO_PARENT || numbers[k] >= first_child(plan))
				continue;
			const struct shard_info *parent = stream_shard(stream, numbers[k]);

			if (!parent || parent->closed) {
				free(parents);
				return NULL;
			}
			parents[found++] = *parent;
		}
	}
	qsort(parents, found, sizeof(*parents), compare_number);
	for (uint32_t i = 0; i < found; i++)
		if (distinct == 0 || parents[distinct - 1].key.shard != parents[i].key.shard)
			parents[distinct++] = parents[i];
	*n = distinct;
	return parents;
}

/* ---- Dates ---- */

static void close_shard(struct shard_info *shard, int64_t now_ms)
{
	/* Never before it began, on whichever clock: its second may have run ahead, the wall clock may have been set back. */
	shard->closed = true;
	shard->closed_s = now_ms / 1000 > shard->key.created_s ? now_ms / 1000 : shard->key.created_s;
	/* Nor before its last record (closed_ms, from the lane): that would expire first. */
	if (shard->closed_ms < shard->opened_ms)
		shard->closed_ms = shard->opened_ms;
	if (shard->closed_ms < now_ms)
		shard->closed_ms = now_ms;
}

static struct shard_info *find(struct reshard_plan *plan, struct shard_info *parents, uint32_t n, uint32_t number)
{
	struct shard_info wanted = {.key.shard = number};

	if (number >= first_child(plan))
		return &plan->children[number - first_child(plan)];
	return bsearch(&wanted, parents, n, sizeof(*parents), compare_number);
}

static void date_child(struct shard_info *child, const struct shard_info *parent)
{
	if (child->key.created_s <= parent->closed_s)
		child->key.created_s = parent->closed_s + 1;
	if (child->opened_ms < parent->closed_ms)
		child->opened_ms = parent->closed_ms;
}

void reshard_plan_date(struct reshard_plan *plan, struct shard_info *parents, uint32_t n, int64_t now_ms)
{
	for (uint32_t i = 0; i < n; i++)
		close_shard(&parents[i], now_ms);
	for (uint32_t i = 0; i < plan->n; i++) {
		struct shard_info *child = &plan->children[i];

		child->closed = false;
		child->key.created_s = child->opened_ms = child->closed_ms = 0;
	}
	/* Whoever is named as a parent is closed; that must be known before any child of it is dated. */
	for (uint32_t i = 0; i < plan->n; i++) {
		const uint32_t numbers[2] = {plan->children[i].parent, plan->children[i].adjacent};

		for (int k = 0; k < 2; k++)
			if (numbers[k] != NO_PARENT)
				find(plan, parents, n, numbers[k])->closed = true;
	}
	for (uint32_t i = 0; i < plan->n; i++) {
		struct shard_info *child = &plan->children[i];

		date_child(child, find(plan, parents, n, child->parent));
		if (child->adjacent != NO_PARENT)
			date_child(child, find(plan, parents, n, child->adjacent));
		if (child->closed)
			close_shard(child, now_ms);
	}
}
