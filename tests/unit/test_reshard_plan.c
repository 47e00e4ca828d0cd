/* test_reshard_plan.c: which shards a reshard ends and makes, and how they are dated. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "shardstore/reshard_plan.h"

#define NOW_MS INT64_C(1700000000500)
#define NOW_S (NOW_MS / 1000)
#define STREAM 3
#define MAX 4096

/* A stream that plans are carried out on. */
static struct shard_info shards[MAX];
static struct stream_info stream = {.id = STREAM, .shards = shards};
static struct reshard_plan plan;

static void begin(uint32_t n)
{
	stream.n_shards = n;
	for (uint32_t i = 0; i < n; i++)
		shards[i] = (struct shard_info){.key = {.stream = STREAM, .shard = i, .created_s = NOW_S - 100},
						.hash_first = hash_uniform_start(i, n),
						.hash_last = i + 1 < n ? hash_uniform_start(i + 1, n) - 1 : ~(uint128)0,
						.parent = NO_PARENT,
						.adjacent = NO_PARENT,
						.opened_ms = NOW_MS - 100000};
}

static int by_hash(const void *a, const void *b)
{
	const struct shard_info *left = a, *right = b;
	return left->hash_first < right->hash_first ? -1 : left->hash_first > right->hash_first;
}

/* Open shards, by hash; they must cover every key once. Returns how many. */
static uint32_t open_shards(struct shard_info out[MAX])
{
	uint32_t n = 0;
	uint128 expect = 0;
	for (uint32_t i = 0; i < stream.n_shards; i++)
		if (!shards[i].closed)
			out[n++] = shards[i];
	qsort(out, n, sizeof(*out), by_hash);
	for (uint32_t i = 0; i < n; i++) {
		cr_assert(out[i].hash_first == expect && out[i].hash_last > out[i].hash_first);
		expect = out[i].hash_last + 1;
	}
	cr_assert(expect == 0, "beyond the last key");
	return n;
}

static void check_dates(const struct shard_info *child, const struct shard_info *parent)
{
	cr_assert(parent->closed);
	cr_assert_geq(child->key.created_s, parent->closed_s + 1);
	cr_assert_geq(parent->closed_s, parent->key.created_s);
	cr_assert_geq(parent->closed_ms, parent->opened_ms);
	cr_assert_geq(child->opened_ms, parent->closed_ms);
}

/* Carries the plan out. */
static void apply(int64_t now_ms)
{
	uint32_t n;
	struct shard_info *parents = reshard_plan_parents(&plan, &stream, &n);
	cr_assert_not_null(parents);
	reshard_plan_date(&plan, parents, n, now_ms);
	for (uint32_t i = 0; i < n; i++)
		shards[parents[i].key.shard] = parents[i];
	cr_assert_leq(stream.n_shards + plan.n, MAX);
	for (uint32_t i = 0; i < plan.n; i++) {
		cr_assert_eq(plan.children[i].key.shard, stream.n_shards);
		shards[stream.n_shards++] = plan.children[i];
	}
	for (uint32_t i = 0; i < plan.n; i++) {
		const struct shard_info *child = &plan.children[i];
		check_dates(child, &shards[child->parent]);
		if (child->adjacent != NO_PARENT)
			check_dates(child, &shards[child->adjacent]);
	}
	free(parents);
	reshard_plan_fini(&plan);
}

static void uniform(uint32_t target, int64_t now_ms)
{
	static struct shard_info open[MAX];
	reshard_plan_init(&plan, STREAM, stream.n_shards);
	reshard_plan_uniform(&plan, &stream, target);
	apply(now_ms);
	cr_assert_eq(open_shards(open), target);
	for (uint32_t i = 0; i < target; i++)
		cr_assert(open[i].hash_first == hash_uniform_start(i, target));
}

Test(reshard_plan, split)
{
	begin(2);
	reshard_plan_init(&plan, STREAM, 2);
	reshard_plan_split(&plan, &shards[1], shards[1].hash_first + 5);
	cr_assert_eq(plan.n, 2);
	cr_expect(plan.children[0].hash_first == shards[1].hash_first && plan.children[0].hash_last == shards[1].hash_first + 4);
	cr_expect(plan.children[1].hash_first == shards[1].hash_first + 5 && plan.children[1].hash_last == ~(uint128)0);
	apply(NOW_MS);
	cr_expect(!shards[0].closed && shards[1].closed);
	cr_expect_eq(shards[1].closed_s, NOW_S);
	cr_expect_eq(shards[1].closed_ms, NOW_MS);
	for (int i = 2; i < 4; i++) {
		cr_expect_eq(shards[i].parent, 1);
		cr_expect_eq(shards[i].adjacent, NO_PARENT);
		cr_expect_eq(shards[i].key.created_s, NOW_S + 1);
		cr_expect_eq(shards[i].opened_ms, NOW_MS, "the wall clock does not run ahead");
	}
}

Test(reshard_plan, merge)
{
	begin(3);
	reshard_plan_init(&plan, STREAM, 3);
	reshard_plan_merge(&plan, &shards[0], &shards[1]);
	apply(NOW_MS);
	cr_expect(shards[0].closed && shards[1].closed && !shards[2].closed);
	cr_expect_eq(shards[3].parent, 0);
	cr_expect_eq(shards[3].adjacent, 1);
	cr_expect(shards[3].hash_first == 0 && shards[3].hash_last == shards[1].hash_last);
}

/* As AWS was seen to do it (moto's authors, and a user for 4 -> 3): totals, and for 4 -> 3 every number. */
Test(reshard_plan, known_walks)
{
	static const uint32_t known[][3] = {{2, 4, 6}, {4, 5, 15}, {4, 2, 6}, {4, 3, 11}, {3, 3, 3}, {1, 1, 1}};
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		begin(known[i][0]);
		uniform(known[i][1], NOW_MS);
		cr_expect_eq(stream.n_shards, known[i][2], "%u -> %u: %u", known[i][0], known[i][1], stream.n_shards);
	}
	begin(4);
	uniform(3, NOW_MS);
	static const uint32_t parents[][2] = {{1, NO_PARENT}, {1, NO_PARENT}, {0, 4}, {2, NO_PARENT}, {2, NO_PARENT}, {5, 7}, {8, 3}};
	for (int i = 0; i < 7; i++) {
		cr_expect_eq(shards[4 + i].parent, parents[i][0], "shard %d", 4 + i);
		cr_expect_eq(shards[4 + i].adjacent, parents[i][1], "shard %d", 4 + i);
	}
	cr_expect(!shards[6].closed && !shards[9].closed && !shards[10].closed);
}

Test(reshard_plan, each_generation_has_a_second_of_its_own)
{
	begin(1);
	uniform(8, NOW_MS);
	int64_t last = 0;
	for (uint32_t i = 0; i < stream.n_shards; i++)
		last = shards[i].key.created_s > last ? shards[i].key.created_s : last;
	cr_expect_eq(last, NOW_S + 3, "1, 2, 4, 8: three generations");
	/* At once again, and with a clock that was set back: seconds only rise. */
	uniform(1, NOW_MS - 3600000);
	uniform(2, NOW_MS - 3600000);
}

Test(reshard_plan, any_number_of_times)
{
	unsigned seed = 1;
	for (int run = 0; run < 40; run++) {
		begin(1 + (unsigned)rand_r(&seed) % 9);
		while (stream.n_shards < 300) {
			static struct shard_info open[MAX];
			uint32_t n = open_shards(open), at = (unsigned)rand_r(&seed) % n;
			switch (rand_r(&seed) % 3) {
			case 0:
				uniform(1 + (unsigned)rand_r(&seed) % 40, NOW_MS);
				continue;
			case 1:
				if (open[at].hash_last - open[at].hash_first < 10)
					continue;
				reshard_plan_init(&plan, STREAM, stream.n_shards);
				reshard_plan_split(&plan, &open[at], open[at].hash_first + 2 + (unsigned)rand_r(&seed) % 7);
				break;
			default:
				if (at + 1 == n)
					continue;
				reshard_plan_init(&plan, STREAM, stream.n_shards);
				reshard_plan_merge(&plan, &open[at], &open[at + 1]);
			}
			apply(NOW_MS);
			open_shards(open);
		}
	}
}

Test(reshard_plan, many_shards)
{
	begin(1);
	uniform(1000, NOW_MS);
	cr_expect_eq(stream.n_shards, 1999);
	for (uint32_t i = 0; i < stream.n_shards; i++)
		cr_assert_leq(shards[i].key.created_s, NOW_S + 10, "1,000 shards in ten generations");
}

Test(reshard_plan, a_parent_that_is_not_open_is_no_plan)
{
	uint32_t n;
	begin(2);
	reshard_plan_init(&plan, STREAM, 2);
	reshard_plan_split(&plan, &shards[0], 7);
	shards[0].closed = true;
	cr_expect_null(reshard_plan_parents(&plan, &stream, &n));
	stream.n_shards = 0;
	cr_expect_null(reshard_plan_parents(&plan, &stream, &n));
	reshard_plan_fini(&plan);
}
