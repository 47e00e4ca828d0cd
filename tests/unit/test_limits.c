/* test_limits.c: the table of limits by name. */
#include <criterion/criterion.h>
#include <string.h>

#include "penstock/limits.h"

static enum limit find(const char *name) { return limit_find(name, strlen(name)); }

Test(limits, has_what_aws_has)
{
	static const struct limits aws = LIMITS_AWS, off = LIMITS_OFF;

	cr_expect_eq(aws.write_records, 1000);
	cr_expect_eq(aws.write_bytes, 1048576);
	cr_expect_eq(aws.read_bytes, 2097152);
	cr_expect_eq(aws.iterator_calls, 5);
	cr_expect_eq(aws.subscribe_calls, 1);
	cr_expect_eq(aws.describe_summary_calls, 20);
	cr_expect_eq(aws.list_shards_calls, 1000);
	for (unsigned i = 0; i < LIMIT_COUNT; i++) {
		cr_expect_gt(limit_get(&aws, (enum limit)i), 0, "%s", limit_name((enum limit)i));
		cr_expect_eq(limit_get(&off, (enum limit)i), 0);
	}
}

Test(limits, are_found_by_name)
{
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		cr_expect_eq(find(limit_name((enum limit)i)), i);
	cr_expect_eq(find("read-bytes"), LIMIT_read_bytes);
	cr_expect_eq(find("read_bytes_"), LIMIT_COUNT);
	cr_expect_eq(find("read_byte"), LIMIT_COUNT);
	cr_expect_eq(find("READ_BYTES"), LIMIT_COUNT);
	cr_expect_eq(find(""), LIMIT_COUNT);
	cr_expect_eq(limit_find("shards=5", 6), LIMIT_shards);
}

Test(limits, are_set_one_by_one)
{
	struct limits limits = LIMITS_AWS;

	limit_set(&limits, LIMIT_consumers, 2);
	cr_expect_eq(limits.consumers, 2);
	cr_expect_eq(limits.creating_consumers, 5);
	limit_set(&limits, LIMIT_list_consumers_calls, 0);
	cr_expect_eq(limits.list_consumers_calls, 0, "the last one is in the struct");
	cr_expect_eq(limit_get(&limits, LIMIT_consumers), 2);
}
