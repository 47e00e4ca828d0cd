/* test_histogram.c: quantiles within 1 %, also after a merge. */
#include <criterion/criterion.h>
#include <math.h>

#include "penstock/histogram.h"

static void expect_near(uint64_t got, double want)
{
	cr_assert_leq(fabs((double)got - want), want * 0.01 + 0.5, "got %lu, want %g", (unsigned long)got, want);
}

Test(histogram, one_value_of_each_size)
{
	static struct histogram h;
	for (uint64_t ns = 1; ns < UINT64_C(1) << 40; ns = ns * 21 / 20 + 1) {
		histogram_init(&h);
		histogram_add(&h, ns);
		cr_assert_eq(histogram_quantile(&h, 0.5), ns, "min and max hold a lone value exactly");
		histogram_add(&h, 1);
		histogram_add(&h, UINT64_C(1) << 41);
		expect_near(histogram_quantile(&h, 0.5), (double)ns);
	}
}

Test(histogram, quantiles_and_merge)
{
	static struct histogram a, b;
	histogram_init(&a);
	histogram_init(&b);
	cr_assert_eq(histogram_quantile(&a, 0.99), 0);
	for (uint64_t i = 1; i <= 100000; i++)
		histogram_add(i % 2 ? &a : &b, i * 1000);
	histogram_merge(&a, &b);
	cr_assert_eq(a.count, 100000);
	cr_assert_eq(a.min, 1000);
	cr_assert_eq(a.max, 100000000);
	cr_assert_eq(a.sum, UINT64_C(100000) * 100001 / 2 * 1000);
	expect_near(histogram_quantile(&a, 0), 1000);
	expect_near(histogram_quantile(&a, 0.5), 5e7);
	expect_near(histogram_quantile(&a, 0.99), 9.9e7);
	expect_near(histogram_quantile(&a, 0.999), 9.99e7);
	cr_assert_eq(histogram_quantile(&a, 1), 100000000);
}

Test(histogram, beyond_the_last_bucket)
{
	static struct histogram h;
	histogram_init(&h);
	histogram_add(&h, UINT64_MAX);
	histogram_add(&h, 5);
	cr_assert_eq(histogram_quantile(&h, 1), UINT64_MAX);
	cr_assert_eq(histogram_quantile(&h, 0.9), UINT64_MAX);
	cr_assert_eq(histogram_quantile(&h, 0.1), 5);
}

Test(histogram, buckets_have_values)
{
	static struct histogram h;
	histogram_init(&h);
	histogram_add(&h, 1000);
	histogram_add(&h, 1000000);
	histogram_add(&h, UINT64_C(1) << 43);
	uint64_t values[3], n = 0;
	for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++)
		if (h.buckets[i])
			values[n++] = histogram_value(&h, i);
	cr_assert_eq(n, 3);
	cr_assert_eq(values[0], 1001, "buckets there are 4 wide: 1000 to 1003");
	expect_near(values[1], 1e6);
	cr_assert_eq(values[2], UINT64_C(1) << 43, "the last bucket is what max says");
}
