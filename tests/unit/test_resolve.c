/* test_resolve.c: ARNs, streams, consumers, shards and positions, and the texts when they do not resolve. */
#include "fake_server.h"

#include "server/resolve.h"

TestSuite(resolve, .init = fake_setup, .fini = fake_teardown);

static struct request *request_json(void)
{
	struct request *request = fake_request("POST", "/");
	request->encoding = ENCODING_JSON;
	return request;
}

Test(resolve, arn_of_a_stream)
{
	struct arn arn;
	cr_assert(resolve_arn(STR("arn:aws:kinesis:us-east-1:123456789012:stream/a.b-c_d"), &arn));
	cr_expect(str_equal(arn.region, STR("us-east-1")));
	cr_expect(str_equal(arn.account, STR("123456789012")));
	cr_expect(str_equal(arn.stream, STR("a.b-c_d")));
	cr_expect(!str_present(arn.consumer));
}

Test(resolve, arn_of_a_consumer)
{
	struct arn arn;
	cr_assert(resolve_arn(STR("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/s/consumer/c:1600000005"), &arn));
	cr_expect(str_equal(arn.stream, STR("s")));
	cr_expect(str_equal(arn.consumer, STR("c")));
	cr_expect_eq(arn.consumer_s, 1600000005);
}

Test(resolve, what_is_no_arn)
{
	const char *bad[] = {"",
			     "arn",
			     "arn:aws:kinesis:us-east-1:123456789012:stream/",
			     "arn:aws:kinesis:us-east-1:123456789012:table/x",
			     "arn:aws:s3:us-east-1:123456789012:stream/x",
			     "x:aws:kinesis:us-east-1:123456789012:stream/x",
			     "arn:aws:kinesis:us-east-1:123456789012:stream/x/consumer/c",
			     "arn:aws:kinesis:us-east-1:123456789012:stream/x/consumer/c:",
			     "arn:aws:kinesis:us-east-1:123456789012:stream/x/consumer/c:12a",
			     "arn:aws:kinesis:us-east-1:123456789012:stream/x/consumer/c:9999999999999999999999"};
	struct arn arn;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect(!resolve_arn(str_of(bad[i]), &arn), "%s", bad[i]);
	cr_expect(!resolve_arn((struct str){NULL, 0}, &arn));
}

Test(resolve, arns_written_by_partition)
{
	struct arena arena = {0};
	struct server server = {.region = "cn-north-1", .account = "123456789012"};
	cr_expect(str_equal(resolve_stream_arn(&server, &arena, STR("s")), STR("arn:aws-cn:kinesis:cn-north-1:123456789012:stream/s")));
	strcpy(server.region, "us-gov-west-1");
	cr_expect(str_equal(resolve_stream_arn(&server, &arena, STR("s")),
			    STR("arn:aws-us-gov:kinesis:us-gov-west-1:123456789012:stream/s")));
	cr_expect(str_equal(resolve_consumer_arn(&fake_server, &arena, STR("orders"), &orders_consumers[0]),
			    STR("arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/app:1600000005")));
	arena_free(&arena);
}

static void stream_fails(const char *name, const char *arn, const char *type, const char *message)
{
	cr_assert_null(resolve_stream(request_json(), str_of(name), str_of(arn)));
	EXPECT_ERROR(type, message);
}

Test(resolve, stream_by_name_by_arn_and_by_both)
{
	struct request *request = request_json();
	struct str arn = STR("arn:aws:kinesis:us-east-1:000000000000:stream/orders"), none = {NULL, 0};
	cr_expect_eq(resolve_stream(request, STR("orders"), none), &streams[2]);
	cr_expect_eq(resolve_stream(request, none, arn), &streams[2]);
	cr_expect_eq(resolve_stream(request, STR("orders"), arn), &streams[2]);
	request_free(request);
}

Test(resolve, stream_that_does_not_resolve)
{
	stream_fails("nope", NULL, "ResourceNotFoundException", "Stream nope under account 000000000000 not found.");
	stream_fails(NULL, "arn:aws:kinesis:us-east-1:000000000000:stream/nope", "ResourceNotFoundException",
		     "Stream nope under account 000000000000 not found.");
	stream_fails(NULL, "arn:aws:kinesis:us-east-1:111111111111:stream/orders", "ResourceNotFoundException",
		     "Stream orders under account 111111111111 not found.");
	stream_fails(NULL, "arn:aws:kinesis:eu-west-1:000000000000:stream/orders", "ResourceNotFoundException",
		     "Stream orders under account 000000000000 not found.");
	stream_fails("solo", "arn:aws:kinesis:us-east-1:000000000000:stream/orders", "InvalidArgumentException",
		     "StreamARN and StreamName do not match.");
	stream_fails(NULL, NULL, "InvalidArgumentException", "Either StreamName or StreamARN must be provided.");
}

static void shard_resolves(const char *given, uint32_t number)
{
	struct request *request = request_json();
	uint32_t out = 0;
	cr_expect(resolve_shard_number(request, str_of(given), STR("s"), &out), "%s", given);
	cr_expect_eq(out, number, "%s", given);
	request_free(request);
}

Test(resolve, shard_numbers)
{
	shard_resolves("shardId-000000000017", 17);
	shard_resolves("shardId-0", 0);
	shard_resolves("abc-0", 0);
	shard_resolves("2147483647", 2147483647);
	shard_resolves("-00002147483647", 2147483647);
	const char *bad[] = {"2147483648", "ABKLFD8", "2.14E4", "shardId-"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint32_t out;
		char message[128];
		cr_expect(!resolve_shard_number(request_json(), str_of(bad[i]), STR("s"), &out), "%s", bad[i]);
		snprintf(message, sizeof(message), "Could not find shard %s in stream s under account 000000000000.", bad[i]);
		EXPECT_ERROR("ResourceNotFoundException", message);
	}
}

/* ---- Positions ---- */

static bool position(const char *type, const char *number, struct opt_time time, struct position *out)
{
	struct request *request = request_json();
	int before = answer.count;
	bool good =
		resolve_position(request, "GetShardIterator", STR("orders"), &orders_shards[2], str_of(type), str_of(number), time, out);
	cr_assert_eq(answer.count, before + !good);
	if (good)
		request_free(request);
	return good;
}

static const char *number_of(const struct shard_key *shard, uint64_t index, int64_t time_s)
{
	static char digits[SEQ_DIGITS + 1];
	seq_format(digits, shard, index, time_s);
	return digits;
}

Test(resolve, positions_that_are_good)
{
	struct position out;
	struct opt_time never = {0};
	const struct shard_key *shard = &orders_shards[2].key;
	cr_assert(position("TRIM_HORIZON", NULL, never, &out));
	cr_expect_eq(out.kind, POSITION_TRIM_HORIZON);
	cr_assert(position("LATEST", NULL, (struct opt_time){true, INT64_MAX}, &out), "a Timestamp with other types is ignored");
	cr_expect_eq(out.kind, POSITION_LATEST);
	cr_assert(position("AT_SEQUENCE_NUMBER", number_of(shard, 5, shard->created_s), never, &out));
	cr_expect_eq(out.kind, POSITION_AT);
	cr_expect_eq(out.index, 5);
	cr_assert(position("AFTER_SEQUENCE_NUMBER", number_of(shard, 0, shard->created_s), never, &out), "the shard's start");
	cr_expect_eq(out.kind, POSITION_AFTER);
	cr_expect_eq(out.index, 0);
	cr_assert(position("AFTER_SEQUENCE_NUMBER", number_of(shard, SEQ_INDEX_MAX, shard->created_s + 9), never, &out), "the shard's end");
	cr_assert(position("AT_TIMESTAMP", NULL, (struct opt_time){true, NOW_MS - 50}, &out));
	cr_expect_eq(out.kind, POSITION_AT_TIME);
	cr_expect_eq(out.time_ms, NOW_MS - 50);
	cr_assert(position("AT_TIMESTAMP", NULL, (struct opt_time){true, NOW_MS + 999}, &out),
		  "clocks differ: under a second is not the future");
	cr_assert(position("AT_TIMESTAMP", NULL, (struct opt_time){true, INT64_MIN}, &out), "long before anything");
	fake_latest_ms = NOW_MS + 100000;
	cr_assert(position("AT_TIMESTAMP", NULL, (struct opt_time){true, NOW_MS + 100000}, &out),
		  "given out before the clock was set back");
	fake_latest_ms = 0;
}

/* A position, which is no record's number: what comes next is the record behind its index, for AT and for AFTER. */
Test(resolve, a_position_lies_behind_its_record)
{
	struct position out;
	const struct shard_key *shard = &orders_shards[2].key;
	char digits[SEQ_DIGITS + 1] = "";
	seq_format_position(digits, shard, 5, shard->created_s + 3);
	const char *types[] = {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER"};
	for (size_t i = 0; i < 2; i++) {
		cr_assert(position(types[i], digits, (struct opt_time){0}, &out));
		cr_expect(out.kind == POSITION_AFTER && out.index == 5 && out.second == shard->created_s + 3, "%s", types[i]);
	}
}

#define EITHER                                                                                                                          \
	"Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or LATEST " \
	"and no "                                                                                                                       \
	"StartingSequenceNumber. Request specified "

Test(resolve, number_and_type_must_fit)
{
	struct position out;
	struct opt_time never = {0};
	cr_assert(!position("LATEST", "5", never, &out));
	EXPECT_ERROR("InvalidArgumentException", EITHER "LATEST and also a StartingSequenceNumber.");
	cr_assert(!position("TRIM_HORIZON", "5", never, &out));
	EXPECT_ERROR("InvalidArgumentException", EITHER "TRIM_HORIZON and also a StartingSequenceNumber.");
	cr_assert(!position("AT_SEQUENCE_NUMBER", NULL, never, &out));
	EXPECT_ERROR("InvalidArgumentException", EITHER "AT_SEQUENCE_NUMBER and no StartingSequenceNumber.");
	cr_assert(!position("AFTER_SEQUENCE_NUMBER", NULL, never, &out));
	EXPECT_ERROR("InvalidArgumentException", EITHER "AFTER_SEQUENCE_NUMBER and no StartingSequenceNumber.");
}

#define USED " used in GetShardIterator on shard shardId-000000000002 in stream orders under account 000000000000 is invalid"

Test(resolve, number_that_is_none)
{
	struct position out;
	cr_assert(
		!position("AT_SEQUENCE_NUMBER", "99999999999999999999999999999999999999999999999999999999999", (struct opt_time){0}, &out));
	EXPECT_ERROR("InvalidArgumentException",
		     "StartingSequenceNumber 99999999999999999999999999999999999999999999999999999999999" USED ".");
}

Test(resolve, number_of_another_shard)
{
	struct position out;
	cr_assert(!position("AT_SEQUENCE_NUMBER", number_of(&orders_shards[1].key, 1, CREATED_S), (struct opt_time){0}, &out));
	EXPECT_ERROR("InvalidArgumentException",
		     "Invalid StartingSequenceNumber. It encodes shardId-000000000001, while it was used in a call "
		     "to a shard with shardId-000000000002");
	struct shard_key negative = {1, UINT32_C(0x80000000), CREATED_S};
	cr_assert(!position("AT_SEQUENCE_NUMBER", number_of(&negative, 1, CREATED_S), (struct opt_time){0}, &out));
	EXPECT_ERROR("InvalidArgumentException",
		     "Invalid StartingSequenceNumber. It encodes shardId--02147483648, while it was used in a call "
		     "to a shard with shardId-000000000002");
}

Test(resolve, number_of_another_stream)
{
	struct position out;
	struct shard_key other = {9, 2, CREATED_S + 22};
	char message[400];
	const char *number = number_of(&other, 1, CREATED_S + 22);
	cr_assert(!position("AT_SEQUENCE_NUMBER", number, (struct opt_time){0}, &out));
	snprintf(message, sizeof(message), "StartingSequenceNumber %s" USED " because it did not come from this stream.", number);
	EXPECT_ERROR("InvalidArgumentException", message);
}

Test(resolve, number_of_version_0_is_an_internal_failure)
{
	struct request *request = request_json();
	struct position out;
	cr_assert(!resolve_position(request, "GetShardIterator", STR("orders"), &orders_shards[0], STR("AT_SEQUENCE_NUMBER"), STR("0"),
				    (struct opt_time){0}, &out));
	cr_expect_eq(answer.status, 500);
	cr_expect_str_eq(text(), "{\"__type\":\"InternalFailure\"}");
}

Test(resolve, timestamps)
{
	struct position out;
	cr_assert(!position("AT_TIMESTAMP", NULL, (struct opt_time){0}, &out));
	EXPECT_ERROR(
		"InvalidArgumentException",
		"Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp parameter.");
	cr_assert(!position("AT_TIMESTAMP", NULL, (struct opt_time){true, NOW_MS + 1000}, &out));
	EXPECT_ERROR(
		"InvalidArgumentException",
		"The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: 1600000101000, "
		"currentTimestampInMillis: 1600000100000");
}

/* ---- Consumers ---- */

#define ORDERS "arn:aws:kinesis:us-east-1:000000000000:stream/orders"

static const struct consumer_info *consumer(const char *consumer_arn, const char *stream_arn, const char *name)
{
	struct request *request = request_json();
	struct stream_consumer_input input = {str_of(stream_arn), str_of(name), str_of(consumer_arn)};
	const struct stream_info *stream = NULL;
	const struct consumer_info *found = resolve_consumer(request, &input, &stream);
	if (found) {
		cr_expect_eq(stream, &streams[2]);
		request_free(request);
	}
	return found;
}

Test(resolve, consumer_by_each_form)
{
	cr_expect_eq(consumer(ORDERS "/consumer/app:1600000005", NULL, NULL), &orders_consumers[0]);
	cr_expect_eq(consumer(NULL, ORDERS, "app"), &orders_consumers[0]);
	cr_expect_eq(consumer(ORDERS "/consumer/app:1600000005", ORDERS, "app"), &orders_consumers[0]);
}

Test(resolve, consumer_that_does_not_resolve)
{
	cr_expect_null(consumer(NULL, ORDERS, "nope"));
	EXPECT_ERROR("ResourceNotFoundException", "Consumer nope, account 000000000000 not found.");
	cr_expect_null(consumer(ORDERS "/consumer/app:1600000004", NULL, NULL), "an earlier incarnation");
	EXPECT_ERROR("ResourceNotFoundException", "Consumer " ORDERS "/consumer/app:1600000004, account 000000000000 not found.");
	cr_expect_null(consumer("arn:aws:kinesis:us-east-1:000000000000:stream/nope/consumer/app:1", NULL, NULL));
	EXPECT_ERROR("ResourceNotFoundException", "Stream nope under account 000000000000 not found.");
	cr_expect_null(consumer(NULL, ORDERS, NULL));
	EXPECT_ERROR("InvalidArgumentException", "Either ConsumerARN or both StreamARN and ConsumerName must be provided.");
	cr_expect_null(consumer(NULL, NULL, "app"));
	EXPECT_ERROR("InvalidArgumentException", "Either ConsumerARN or both StreamARN and ConsumerName must be provided.");
	cr_expect_null(consumer(ORDERS "/consumer/app:1600000005", NULL, "other"));
	EXPECT_ERROR("InvalidArgumentException", "ConsumerARN does not match the StreamARN and ConsumerName given.");
	cr_expect_null(consumer(ORDERS "/consumer/app:1600000005", "arn:aws:kinesis:us-east-1:000000000000:stream/solo", NULL));
	EXPECT_ERROR("InvalidArgumentException", "ConsumerARN does not match the StreamARN and ConsumerName given.");
}
