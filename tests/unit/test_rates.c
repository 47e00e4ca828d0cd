/* test_rates.c: calls per second, of the account and of streams. */
#include <criterion/criterion.h>

#include "penstock/api.h"
#include "server/rates.h"

#define S UINT64_C(1000000000)

static struct rates *rates;
static const struct limits aws = LIMITS_AWS, off = LIMITS_OFF;

static void init(void) { rates = rates_new(&aws); }
static void fini(void) { rates_free(rates); }

TestSuite(rates, .init = init, .fini = fini);

static unsigned taken(int operation, uint64_t stream, uint64_t now_ns)
{
	unsigned n = 0;
	while (n < 5000 && rates_take(rates, operation, stream, now_ns))
		n++;
	return n;
}

Test(rates, each_operation_has_its_own)
{
	static const struct {
		int operation;
		unsigned calls;
	} expect[] = {{OP_CREATE_STREAM, 5},
		      {OP_DELETE_STREAM, 5},
		      {OP_DESCRIBE_STREAM, 10},
		      {OP_DESCRIBE_STREAM_SUMMARY, 20},
		      {OP_LIST_STREAMS, 5},
		      {OP_LIST_SHARDS, 1000},
		      {OP_REGISTER_STREAM_CONSUMER, 5},
		      {OP_DEREGISTER_STREAM_CONSUMER, 5},
		      {OP_DESCRIBE_STREAM_CONSUMER, 20},
		      {OP_LIST_STREAM_CONSUMERS, 5}};
	for (size_t i = 0; i < sizeof(expect) / sizeof(expect[0]); i++)
		cr_expect_eq(taken(expect[i].operation, 1, S), expect[i].calls, "operation %d", expect[i].operation);
	cr_expect_eq(taken(OP_PUT_RECORD, 1, S), 5000, "the data plane has no limit here");
	cr_expect_eq(taken(OP_SUBSCRIBE_TO_SHARD, 1, S), 5000);
}

Test(rates, come_back_with_time)
{
	cr_expect_eq(taken(OP_LIST_STREAMS, 0, S), 5);
	cr_expect_eq(taken(OP_LIST_STREAMS, 0, S + S / 5 - 1), 0, "what was refused cost nothing");
	cr_expect_eq(taken(OP_LIST_STREAMS, 0, S + S / 5), 1);
	cr_expect_eq(taken(OP_LIST_STREAMS, 0, 9 * S), 5, "not more than a second's worth is saved");
}

Test(rates, of_the_account_whatever_the_stream)
{
	cr_expect_eq(taken(OP_DESCRIBE_STREAM, 1, S), 10);
	cr_expect_eq(taken(OP_DESCRIBE_STREAM, 2, S), 0);
}

Test(rates, of_each_stream)
{
	for (uint64_t stream = 1; stream <= 3; stream++)
		cr_expect_eq(taken(OP_LIST_STREAM_CONSUMERS, stream, S), 5);
	cr_expect_eq(taken(OP_DESCRIBE_STREAM_CONSUMER, 2, S), 20);
	cr_expect_eq(taken(OP_LIST_STREAM_CONSUMERS, 2, S + S), 5);
}

Test(rates, more_streams_than_places_get_more_never_less)
{
	for (uint64_t stream = 1; stream <= 5000; stream++)
		cr_assert_eq(taken(OP_LIST_STREAM_CONSUMERS, stream, S + stream), 5);
	cr_expect_eq(taken(OP_LIST_STREAM_CONSUMERS, 5000, S + 5001), 0, "the last one still has its place");
}

Test(rates, lifted)
{
	rates_free(rates);
	rates = rates_new(&off);
	for (int operation = 0; operation < OP_COUNT; operation++)
		cr_expect_eq(taken(operation, 1, S), 5000);
}
