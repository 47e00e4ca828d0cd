/* test_bucket.c: token buckets against the clock. */
#include <criterion/criterion.h>

#include "penstock/bucket.h"

#define S UINT64_C(1000000000)

Test(bucket, burst_then_rate)
{
	struct bucket b;
	bucket_init(&b, 1000, 1000, 5 * S);
	for (int i = 0; i < 1000; i++)
		cr_assert(bucket_take(&b, 1, 5 * S));
	cr_assert(!bucket_take(&b, 1, 5 * S));
	cr_assert(!bucket_take(&b, 1, 5 * S + 999999));
	cr_assert(bucket_take(&b, 1, 5 * S + 1000000));
	cr_assert(!bucket_take(&b, 1, 5 * S + 1000001));
	cr_assert(bucket_take(&b, 1000, 7 * S));
	cr_assert(!bucket_take(&b, 1, 7 * S), "capacity bounds what is saved up");
}

Test(bucket, often_asked_refills_as_fast)
{
	struct bucket b;
	bucket_init(&b, 2 << 20, 2 << 20, 0);
	bucket_charge(&b, 2 << 20, 0);
	int64_t taken = 0;
	for (uint64_t now = 0; now <= S; now += 777)
		while (bucket_take(&b, 1, now))
			taken++;
	cr_assert_geq(taken, (2 << 20) - (2 << 20) / 300);
	cr_assert_leq(taken, 2 << 20);
}

Test(bucket, debt)
{
	struct bucket b;
	bucket_init(&b, 100, 100, 0);
	cr_assert(bucket_take(&b, 250, 0), "more than capacity is taken from a full bucket");
	cr_assert_eq(b.level, -150);
	cr_assert(!bucket_open(&b, S));
	uint64_t at = bucket_open_at(&b, S);
	cr_assert_eq(at, S * 151 / 100);
	cr_assert(!bucket_open(&b, at - 1));
	cr_assert(bucket_open(&b, at));
	cr_assert_eq(bucket_open_at(&b, at), at);
	cr_assert(!bucket_take(&b, 250, at), "and only from a full one");
	bucket_charge(&b, -1000, at);
	cr_assert_eq(b.level, 100, "given back, never above capacity");
}

Test(bucket, no_limit_and_clock_that_stands)
{
	struct bucket b;
	bucket_init(&b, 0, 0, 0);
	cr_assert(bucket_take(&b, INT64_MAX, 0));
	bucket_charge(&b, INT64_MAX, 0);
	cr_assert(bucket_open(&b, 0));
	cr_assert_eq(bucket_open_at(&b, 77), 77);
	bucket_init(&b, 10, 10, 100 * S);
	bucket_charge(&b, 10, 100 * S);
	cr_assert(!bucket_open(&b, 50 * S), "going back refills nothing");
	cr_assert_gt(bucket_open_at(&b, 50 * S), 50 * S);
	cr_assert(bucket_open(&b, 1000000 * S), "a long sleep does not overflow");
	cr_assert_eq(b.level, 10);
}
