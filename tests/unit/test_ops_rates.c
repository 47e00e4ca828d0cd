/* test_ops_rates.c: what an operation says when it is called too often, and that nothing is done then. */
#include "fake_server.h"
#include "penstock/api.h"

#define ORDERS "arn:aws:kinesis:us-east-1:000000000000:stream/orders"
#define SOLO "arn:aws:kinesis:us-east-1:000000000000:stream/solo"
#define OF_ORDERS "Rate exceeded for stream orders under account 000000000000."

static const struct limits aws = LIMITS_AWS;

static void setup(void)
{
	fake_setup();
	rates_free(fake_server.rates);
	fake_server.rates = rates_new(&aws);
}

TestSuite(ops_rates, .init = setup, .fini = fake_teardown);

/* Sends a call that the control thread would have to answer; it is given back unanswered. */
static void finish_change(void)
{
	if (!sent_change)
		return;
	sent_change->status = STATUS_OK;
	sent_change->on_done(sent_change);
	sent_change = NULL;
}

static void too_often(int line, const char *operation, const char *body, int calls, const char *text_of_error)
{
	for (int i = 0; i < calls; i++) {
		call(operation, body);
		finish_change();
		cr_assert_eq(answer.status, 200, "line %d: call %d: %s", line, i, text());
	}
	for (int i = 0; i < 2; i++) {
		call(operation, body);
		cr_expect_null(sent_change, "line %d: nothing is asked for", line);
		expect_error(line, 400, "LimitExceededException", text_of_error);
	}
}
#define TOO_OFTEN(...) too_often(__LINE__, __VA_ARGS__)

Test(ops_rates, of_the_account)
{
	TOO_OFTEN("CreateStream", "{\"StreamName\":\"new\",\"ShardCount\":1}", 5,
		  "Rate exceeded for stream new under account 000000000000.");
	TOO_OFTEN("DeleteStream", "{\"StreamName\":\"orders\"}", 5, OF_ORDERS);
	TOO_OFTEN("DescribeStream", "{\"StreamName\":\"orders\"}", 10, OF_ORDERS);
	TOO_OFTEN("DescribeStreamSummary", "{\"StreamARN\":\"" ORDERS "\"}", 20, OF_ORDERS);
	TOO_OFTEN("ListStreams", "{}", 5, "Rate exceeded for account 000000000000.");
	TOO_OFTEN("RegisterStreamConsumer", "{\"StreamARN\":\"" ORDERS "\",\"ConsumerName\":\"new\"}", 5, OF_ORDERS);
	call("DescribeStream", "{\"StreamName\":\"solo\"}");
	EXPECT_ERROR("LimitExceededException", "Rate exceeded for stream solo under account 000000000000.");
}

Test(ops_rates, of_a_stream)
{
	TOO_OFTEN("ListShards", "{\"StreamName\":\"orders\"}", 1000, OF_ORDERS);
	TOO_OFTEN("DescribeStreamConsumer", "{\"ConsumerARN\":\"" ORDERS "/consumer/app:1600000005\"}", 20, OF_ORDERS);
	TOO_OFTEN("DeregisterStreamConsumer", "{\"StreamARN\":\"" ORDERS "\",\"ConsumerName\":\"app\"}", 5, OF_ORDERS);
	TOO_OFTEN("ListStreamConsumers", "{\"StreamARN\":\"" ORDERS "\"}", 5, OF_ORDERS);
	call("ListShards", "{\"StreamName\":\"solo\"}");
	cr_expect_eq(answer.status, 200, "another stream has its own");
	call("ListStreamConsumers", "{\"StreamARN\":\"" SOLO "\"}");
	cr_expect_eq(answer.status, 200);
}

Test(ops_rates, what_fails_earlier_costs_nothing)
{
	for (int i = 0; i < 30; i++) {
		call("DescribeStreamSummary", "{\"StreamName\":\"nope\"}");
		EXPECT_ERROR("ResourceNotFoundException", "Stream nope under account 000000000000 not found.");
	}
	call("DescribeStreamSummary", "{\"StreamName\":\"orders\"}");
	cr_expect_eq(answer.status, 200);
}

Test(ops_rates, a_page_is_a_call_of_its_stream)
{
	call("ListShards", "{\"StreamName\":\"orders\",\"MaxResults\":1}");
	char body[2048];
	snprintf(body, sizeof(body), "{\"NextToken\":\"%s\"}", string("NextToken"));
	TOO_OFTEN("ListShards", body, 999, OF_ORDERS);
}

Test(ops_rates, iterators)
{
	call("GetShardIterator", "{\"StreamName\":\"orders\",\"ShardId\":\"2\",\"ShardIteratorType\":\"LATEST\"}");
	cr_assert_not_null(sent_locate);
	cr_expect(sent_locate->limited, "the lane counts");
	sent_locate->status = STATUS_THROTTLED;
	sent_locate->on_done(sent_locate);
	EXPECT_ERROR("ProvisionedThroughputExceededException",
		     "Rate exceeded for shard shardId-000000000002 in stream orders under account 000000000000.");
}

Test(ops_rates, consumers_that_are_being_made)
{
	call("RegisterStreamConsumer", "{\"StreamARN\":\"" ORDERS "\",\"ConsumerName\":\"c\"}");
	sent_change->status = STATUS_LIMIT_EXCEEDED;
	sent_change->cause = CAUSE_CREATING_LIMIT;
	sent_change->limit = 5;
	sent_change->on_done(sent_change);
	EXPECT_ERROR("LimitExceededException",
		     "This request would exceed the limit on the number of consumers that can simultaneously be in "
		     "CREATING for the account 000000000000. Limit: 5.");
}

Test(ops_rates, state_has_every_limit)
{
	struct request *request = fake_request("GET", "/state");
	fake_options.limits.consumers = 0;
	fake_send(request, "", 0);
	cr_assert_eq(answer.status, 200);
	cr_expect_eq(json_object_size(member("limits")), LIMIT_COUNT);
	cr_expect_eq(json_integer_value(member("limits.describe_summary_calls")), 20);
	cr_expect_eq(json_integer_value(member("limits.consumers")), 0);
}
