/* The packed index against a plain array: whatever is appended, dropped and adopted, what is found is the same. And what it costs. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "shardstore/lane.h"
#include "shardstore/segment_format.h"
#include "tests/sim/rng.h"

static struct lane_stream stream;
static struct lane_shard shard;
static struct segment segments[64]; /* only their number is looked at */

static struct {
	struct extent_ref *extents;
	size_t n, cap;
} model;

static void set_up(void)
{
	stream = (struct lane_stream){.horizon_ms = INT64_MIN};
	shard = (struct lane_shard){.stream = &stream, .key = {.shard = 5, .created_s = 77}, .next = 1};
	memset(&model, 0, sizeof(model));
	for (uint32_t i = 0; i < 64; i++)
		segments[i].number = i + 1;
}

static void tear_down(void)
{
	index_fini(&shard);
	free(model.extents);
}

TestSuite(lane_index, .init = set_up, .fini = tear_down);

/* ---- The model ---- */

static void append(const struct extent_ref *extent)
{
	if (model.n == model.cap) {
		model.cap = model.cap ? model.cap * 2 : 64;
		model.extents = xrealloc(model.extents, model.cap * sizeof(*model.extents));
	}
	model.extents[model.n++] = *extent;
	index_append(&shard, extent);
	shard.next = extent->first + extent->count;
	shard.last_arrival_ms = extent->arrival_ms;
}

static void drop_below(uint64_t number)
{
	size_t n = 0;
	while (n < model.n && model.extents[n].segment->number < number)
		n++;
	memmove(model.extents, model.extents + n, (model.n - n) * sizeof(*model.extents));
	model.n -= n;
	index_drop_below(&shard, number);
}

static bool same(const struct extent_ref *a, const struct extent_ref *b)
{
	return a->segment == b->segment && a->offset == b->offset && a->length == b->length && a->crc == b->crc && a->first == b->first &&
	       a->count == b->count && a->payload == b->payload && a->arrival_ms == b->arrival_ms && a->shard == b->shard;
}

static size_t model_find(uint64_t index)
{
	size_t i = 0;
	while (i < model.n && model.extents[i].first + model.extents[i].count - 1 < index)
		i++;
	return i;
}

static size_t model_find_time(int64_t arrival_ms)
{
	size_t i = 0;
	while (i < model.n && model.extents[i].arrival_ms < arrival_ms)
		i++;
	return i;
}

static void check_at(bool found, struct index_cursor cursor, size_t i, unsigned steps)
{
	cr_assert_eq(found, i < model.n);
	if (!found)
		return;
	for (; steps; steps--, i++) {
		cr_assert(same(index_extent(&cursor), &model.extents[i]), "extent %zu of %zu", i, model.n);
		if (i + 1 == model.n)
			cr_assert(!index_next(&cursor) && !index_next(&cursor) && same(index_extent(&cursor), &model.extents[i]));
		if (i + 1 == model.n)
			return;
		cr_assert(index_next(&cursor));
	}
}

static void check_find(uint64_t index)
{
	struct index_cursor cursor;
	bool found = index_find(&shard, index, &cursor);
	check_at(found, cursor, model_find(index), 3);
}

static void check_find_time(int64_t arrival_ms)
{
	struct index_cursor cursor;
	bool found = index_find_time(&shard, arrival_ms, &cursor);
	check_at(found, cursor, model_find_time(arrival_ms), 3);
}

static void check_position(enum position_kind kind, uint64_t index, int64_t time_ms)
{
	struct position position = {.kind = kind, .index = index, .time_ms = time_ms};
	size_t oldest_at = model_find_time(stream.horizon_ms), time_at = model_find_time(time_ms);
	uint64_t oldest = oldest_at < model.n ? model.extents[oldest_at].first : shard.next;
	uint64_t want = kind == POSITION_AT             ? index
			: kind == POSITION_AFTER        ? index + 1
			: kind == POSITION_AT_TIME      ? (time_at < model.n ? model.extents[time_at].first : shard.next)
			: kind == POSITION_TRIM_HORIZON ? oldest
							: shard.next;
	want = want < oldest ? oldest : want > shard.next ? shard.next : want;
	cr_assert_eq(index_resolve(&shard, &position), want);
	cr_assert_eq(index_oldest(&shard), oldest);
}

static void check_second(uint64_t next)
{
	size_t i = model_find(next - 1);
	int64_t want = shard.key.created_s;
	if (next > 1 && i < model.n && model.extents[i].first <= next - 1)
		want = model.extents[i].arrival_ms / 1000;
	else if (next > 1 && next == shard.next && shard.last_arrival_ms)
		want = shard.last_arrival_ms / 1000;
	cr_assert_eq(index_second_before(&shard, next), want);
}

static void check_all(void)
{
	struct index_cursor cursor;
	bool found = index_find(&shard, 0, &cursor);
	check_at(found, cursor, 0, UINT32_MAX);
	cr_assert(!index_find(&shard, shard.next, &cursor) && !index_find(&shard, UINT64_MAX, &cursor));
	cr_assert(!index_find_time(&shard, shard.last_arrival_ms + 1, &cursor) && !index_find_time(&shard, INT64_MAX, &cursor));
	check_find_time(INT64_MIN);
}

/* Every edge of every extent. */
static void check_edges(void)
{
	for (size_t i = 0; i < model.n; i++) {
		const struct extent_ref *extent = &model.extents[i];
		check_find(extent->first - 1);
		check_find(extent->first);
		check_find(extent->first + extent->count - 1);
		check_find(extent->first + extent->count);
		check_find_time(extent->arrival_ms - 1);
		check_find_time(extent->arrival_ms);
		check_find_time(extent->arrival_ms + 1);
		check_second(extent->first);
		check_second(extent->first + 1);
	}
}

/* ---- Random worlds ---- */

struct world {
	struct rng rng;
	uint32_t segment;
	uint64_t end; /* of the last extent */
	int64_t now_ms;
	bool damaged; /* there are holes */
};

/* Small numbers mostly, now and then as large as a field takes. */
static uint64_t some(struct world *world, uint64_t large)
{
	switch (rng_below(&world->rng, 8)) {
	case 0:
		return rng_below(&world->rng, large);
	case 1:
		return rng_below(&world->rng, 300);
	default:
		return rng_below(&world->rng, 3);
	}
}

static void append_some(struct world *world)
{
	uint32_t count = (uint32_t)some(world, 100000) + 1;
	uint64_t first = shard.next;
	if (world->damaged && rng_chance(&world->rng, 5))
		first += 1 + some(world, UINT64_C(1) << 40);
	if (rng_chance(&world->rng, 2) && world->segment < 62) {
		world->segment += 1 + rng_chance(&world->rng, 10);
		world->end = 4096;
	}
	world->now_ms += (int64_t)some(world, UINT64_C(1) << 40);
	uint64_t offset = group_length(1, world->end) + some(world, UINT64_C(1) << 30);
	uint32_t length = count * RECORD_FRAME_HEAD + (uint32_t)some(world, 1 << 20);
	append(&(struct extent_ref){.segment = &segments[world->segment],
				    .offset = offset,
				    .length = length,
				    .crc = (uint32_t)rng_next(&world->rng),
				    .first = first,
				    .count = count,
				    .payload = length - count * RECORD_FRAME_HEAD,
				    .arrival_ms = world->now_ms,
				    .shard = 5});
	world->end = offset + length;
}

/* What a restart does: each segment's extents into runs, those through a footer into a new index. */
static void restart(void)
{
	index_fini(&shard);
	shard.index = NULL;
	shard.n_index = shard.index_at = shard.index_cap = 0;
	for (size_t i = 0; i < model.n;) {
		struct extent_runs runs = {0}, again;
		struct segment *segment = model.extents[i].segment;
		for (; i < model.n && model.extents[i].segment == segment; i++)
			extent_runs_append(&runs, &model.extents[i]);
		struct segment_footer footer = {.length = footer_length(&runs)}, back;
		uint8_t *p = xmalloc(footer.length);
		footer_encode(p, &footer, &runs);
		cr_assert(footer_decode(p, footer.length, &back) &&
			  footer_runs_decode(p, &back, model.extents[i - 1].offset + (4u << 20), &again));
		cr_assert(again.n == 1 && again.runs[0].shard == 5);
		again.runs[0].segment = segment;
		index_adopt(&shard, &again.runs[0]);
		free(p);
		extent_runs_free(&runs);
		extent_runs_free(&again);
	}
}

static void step(struct world *world)
{
	switch (rng_below(&world->rng, 200)) {
	case 0:
		drop_below(rng_below(&world->rng, world->segment + 2));
		break;
	case 1:
		restart();
		break;
	case 2:
		check_all();
		break;
	case 3:
		check_find(rng_below(&world->rng, shard.next + 2));
		check_find_time((int64_t)rng_below(&world->rng, (uint64_t)world->now_ms + 2));
		break;
	case 4:
		if (model.n)
			stream.horizon_ms = model.extents[rng_below(&world->rng, model.n)].arrival_ms + (int64_t)rng_below(&world->rng, 2);
		for (enum position_kind kind = POSITION_AT; kind <= POSITION_AT_TIME; kind++)
			check_position(kind, rng_below(&world->rng, shard.next + 2),
				       (int64_t)rng_below(&world->rng, (uint64_t)world->now_ms + 2));
		break;
	default:
		append_some(world);
		break;
	}
}

static void run_world(uint64_t seed, int steps)
{
	struct world world = {.segment = 0, .end = 4096, .now_ms = 1000, .damaged = seed & 1};
	rng_init(&world.rng, seed);
	for (int i = 0; i < steps; i++)
		step(&world);
	check_all();
	check_edges();
	drop_below(UINT64_MAX);
	check_all();
	cr_assert(shard.n_index == 0 && index_oldest(&shard) == shard.next);
}

Test(lane_index, is_the_same_as_an_array, .timeout = 120)
{
	for (uint64_t seed = 1; seed <= 40; seed++) {
		run_world(seed, seed % 4 == 0 ? 3000 : 300);
		tear_down();
		set_up();
	}
}

/* ---- Edges ---- */

Test(lane_index, an_empty_index_finds_nothing)
{
	struct index_cursor cursor;
	cr_assert(!index_find(&shard, 0, &cursor) && !index_find_time(&shard, INT64_MIN, &cursor));
	cr_assert(index_oldest(&shard) == 1 && index_second_before(&shard, 1) == 77);
	index_drop_below(&shard, UINT64_MAX);
	shard.next = 9; /* retention took all, a mark says where it ended */
	check_position(POSITION_TRIM_HORIZON, 0, 0);
	check_second(9);
}

/* Entries of every size, so that a block ends with 0 to all bytes of padding. */
Test(lane_index, blocks_end_anywhere)
{
	for (uint32_t large = 0; large < 80; large++) {
		uint64_t end = 4096;
		for (uint32_t i = 0; i < 200; i++) {
			uint32_t length = i < large ? 1u << 21 : 108;
			uint64_t offset = group_length(1, end) + 104;
			append(&(struct extent_ref){.segment = &segments[0],
						    .offset = offset,
						    .length = length,
						    .crc = i,
						    .first = shard.next,
						    .count = 1,
						    .payload = length - RECORD_FRAME_HEAD,
						    .arrival_ms = i,
						    .shard = 5});
			end = offset + length;
		}
		check_all();
		check_edges();
		tear_down();
		set_up();
	}
}

/* All that arrived in one millisecond, over several blocks and segments: the first of them is found. */
Test(lane_index, one_arrival_time_over_many_blocks)
{
	for (uint32_t i = 0; i < 400; i++)
		append(&(struct extent_ref){.segment = &segments[i / 150],
					    .offset = 4200 + i % 150 * 512,
					    .length = 9,
					    .first = i + 1,
					    .count = 1,
					    .payload = 1,
					    .arrival_ms = i < 10 ? 7 : 8,
					    .shard = 5});
	check_all();
	check_edges();
}

/* ---- Cost ---- */

#define PUTS 1000000

/* Lone puts of 1 KB, 200 a second, in segments of 64 MiB. */
static void append_lone_puts(void)
{
	const uint32_t length = RECORD_FRAME_HEAD + 16 + 1024;
	uint64_t offset = 4096 + GROUP_HEAD + EXTENT_HEAD;
	struct rng rng;
	rng_init(&rng, 1);
	for (uint32_t i = 0, nth = 0; i < PUTS; i++) {
		if (offset > 64u << 20) {
			nth++;
			offset = 4096 + GROUP_HEAD + EXTENT_HEAD;
		}
		struct extent_ref extent = {.segment = &segments[nth],
					    .offset = offset,
					    .length = length,
					    .crc = (uint32_t)rng_next(&rng),
					    .first = i + 1,
					    .count = 1,
					    .payload = length - RECORD_FRAME_HEAD,
					    .arrival_ms = 1700000000000 + i * INT64_C(5),
					    .shard = 5};
		index_append(&shard, &extent);
		offset += group_length(1, length);
	}
	shard.next = PUTS + 1;
}

static size_t index_bytes(void)
{
	size_t n = shard.index_cap * sizeof(*shard.index);
	for (size_t i = 0; i < shard.n_index; i++)
		n += shard.index[shard.index_at + i].cap_bytes;
	return n;
}

static double now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

Test(lane_index, a_lone_put_takes_few_bytes, .timeout = 60)
{
	double start = now_ns();
	append_lone_puts();
	double appended = now_ns();
	double per = (double)index_bytes() / PUTS;
	struct rng rng;
	rng_init(&rng, 2);
	double found = now_ns();
	for (int i = 0; i < 100000; i++) {
		struct index_cursor cursor;
		uint64_t index = 1 + rng_below(&rng, PUTS);
		cr_assert(index_find(&shard, index, &cursor) && index_extent(&cursor)->first == index);
	}
	double end = now_ns();
	fprintf(stderr, "index: %.2f bytes per extent, append %.0f ns, find %.0f ns\n", per, (appended - start) / PUTS,
		(end - found) / 100000);
	cr_assert(per <= 16, "%.2f bytes", per);
}
