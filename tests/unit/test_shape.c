/* Binding: every operation's fields, every conversion of the type table and its texts, both encodings to the same struct. */
#include <ctype.h>
#include <stdio.h>

#include "codec_fixture.h"
#include "penstock/api.h"

static struct arena arena;
static struct str text;

static enum status bind(const char *operation, enum encoding encoding, const void *body, size_t n, void *out)
{
	const struct operation *op = operation_find(str_of(operation));
	struct value *document;
	cr_assert(op, "%s", operation);
	cr_assert_eq(value_decode(encoding, body, n, &arena, &document), STATUS_OK, "%.*s", (int)n, (const char *)body);
	return shape_bind(op, encoding, document, &arena, out, &text);
}

static enum status bind_json(const char *operation, const char *json, void *out)
{
	return bind(operation, ENCODING_JSON, json, strlen(json), out);
}

static enum status bind_hex(const char *operation, const char *hex, void *out)
{
	size_t n;
	uint8_t *body = unhex(hex, &n);
	uint8_t *kept = memcpy(arena_alloc(&arena, n), body, n);
	free(body);
	return bind(operation, ENCODING_CBOR, kept, n, out);
}

static void refuse(const char *operation, const char *json, const char *expected)
{
	uint64_t out[64];
	enum status status = bind_json(operation, json, out);
	cr_expect_eq(status, STATUS_SERIALIZATION, "%s %s: %d", operation, json, status);
	cr_expect(str_equal(text, str_of(expected)), "%s\n  got  %.*s\n  not  %s", json, (int)text.n, text.p ? text.p : "", expected);
}

static void accept(const char *operation, const char *json, void *out)
{
	enum status status = bind_json(operation, json, out);
	cr_assert_eq(status, STATUS_OK, "%s %s: %d %.*s", operation, json, status, (int)text.n, text.p ? text.p : "");
	cr_expect_null(text.p);
}

static void is(struct str s, const char *expected)
{
	cr_expect(expected ? s.p && str_equal(s, str_of(expected)) : !s.p, "%.*s is not %s", (int)s.n, s.p ? s.p : "",
		  expected ? expected : "absent");
}

#define STREAM_ARN "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
#define CONSUMER_ARN STREAM_ARN "/consumer/app:1548118964"

/* ---- The table of operations ---- */

Test(operations, all_57)
{
	size_t n = 0, here = 0;
	bool seen[OP_COUNT] = {false};
	for (const struct operation *op; (op = operation_at(n)); n++) {
		cr_expect_eq(operation_find(str_of(op->name)), op);
		cr_expect(op->input);
		if (op->number == OP_NOT_THERE_YET) {
			cr_expect_eq(op->size, 0);
			continue;
		}
		cr_assert_lt(op->number, OP_COUNT);
		cr_expect_not(seen[op->number], "%s", op->name);
		seen[op->number] = true;
		cr_expect_gt(op->size, 0);
		here++;
	}
	cr_expect_eq(n, 57);
	cr_expect_eq(here, OP_COUNT);
	cr_expect_null(operation_at(57));
	cr_expect_null(operation_find(STR("Putrecords")));
	cr_expect_null(operation_find(STR("PutRecord ")));
	cr_expect_null(operation_find(STR("")));
	cr_expect_null(operation_find((struct str){NULL, 0}));
}

/* The text of README.md's section "Not there yet". */
static struct str readme_section(struct buf *file)
{
	const char *slash = strstr(__FILE__, "tests/unit/");
	cr_assert_not_null(slash);
	struct str path = arena_printf(&arena, "%.*sREADME.md", (int)(slash - __FILE__), __FILE__);
	FILE *in = fopen(path.p, "r");
	cr_assert_not_null(in, "%s", path.p);
	size_t n;
	while ((n = fread(buf_reserve(file, 4096), 1, 4096, in)) > 0)
		file->n += n;
	fclose(in);
	buf_put_char(file, '\0');
	const char *begin = strstr((char *)file->p, "\n## Not there yet\n");
	cr_assert_not_null(begin);
	const char *end = strstr(begin + 4, "\n## ");
	cr_assert_not_null(end);
	return (struct str){begin, (size_t)(end - begin)};
}

static bool has_word(struct str within, const char *word)
{
	size_t n = strlen(word);
	for (const char *at = within.p; (at = memmem(at, (size_t)(within.p + within.n - at), word, n)); at++)
		if (!isalpha((unsigned char)at[-1]) && !isalpha((unsigned char)at[n]))
			return true;
	return false;
}

/* A user learns from README.md, not from an error, what there is not. */
Test(operations, each_that_is_not_there_yet_is_named_in_the_readme)
{
	struct buf file = {0};
	struct str section = readme_section(&file);
	size_t n = 0, missing = 0;
	for (const struct operation *op; (op = operation_at(n)); n++) {
		if (op->number != OP_NOT_THERE_YET)
			continue;
		cr_expect(has_word(section, op->name), "%s", op->name);
		missing++;
	}
	cr_expect(has_word(section, arena_printf(&arena, "%zu of the %zu operations", missing, n).p));
	buf_free(&file);
	arena_free(&arena);
}

Test(operations, not_there_yet_takes_any_map)
{
	char nothing[1];
	cr_expect_eq(bind_json("AddTagsToStream", "{\"Tags\":1}", nothing), STATUS_OK);
	cr_expect_eq(bind_json("AddTagsToStream", "[]", nothing), STATUS_SERIALIZATION);
}

/* ---- Every field ---- */

Test(fields, create_stream)
{
	struct create_stream_input in;
	accept("CreateStream",
	       "{\"StreamName\":\"orders\",\"ShardCount\":3,\"StreamModeDetails\":{\"StreamMode\":\"PROVISIONED\"},"
	       "\"Tags\":{\"a\":\"1\",\"b\":\"\"},\"WarmThroughputMiBps\":0,\"MaxRecordSizeInKiB\":2048,\"StreamId\":7}",
	       &in);
	is(in.stream_name, "orders");
	is(in.stream_mode, "PROVISIONED");
	cr_expect(in.has_stream_mode_details);
	cr_expect(in.shard_count.has && in.shard_count.v == 3);
	cr_expect(in.warm_throughput_mibps.has && in.warm_throughput_mibps.v == 0);
	cr_expect(in.max_record_size_kib.has && in.max_record_size_kib.v == 2048);
	cr_assert_eq(in.n_tags, 2);
	is(in.tags[0].key, "a");
	is(in.tags[0].value, "1");
	is(in.tags[1].key, "b");
	is(in.tags[1].value, "");
}

Test(fields, absent_and_null_are_the_same)
{
	struct create_stream_input in;
	accept("CreateStream",
	       "{\"StreamName\":\"orders\",\"ShardCount\":null,\"StreamModeDetails\":null,\"Tags\":null,\"MaxRecordSizeInKiB\":null}", &in);
	cr_expect_not(in.shard_count.has);
	cr_expect_not(in.has_stream_mode_details);
	cr_expect_null(in.stream_mode.p);
	cr_expect_null(in.tags);
	cr_expect_not(in.max_record_size_kib.has);
	cr_expect_not(in.warm_throughput_mibps.has);
}

Test(fields, streams)
{
	struct delete_stream_input del;
	accept("DeleteStream", "{\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN "\",\"EnforceConsumerDeletion\":true}", &del);
	is(del.stream_name, "s");
	is(del.stream_arn, STREAM_ARN);
	cr_expect(del.enforce_consumer_deletion.has && del.enforce_consumer_deletion.v);

	struct describe_stream_input describe;
	accept("DescribeStream",
	       "{\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN "\",\"Limit\":10000,\"ExclusiveStartShardId\":\"shardId-1\"}",
	       &describe);
	is(describe.stream_name, "s");
	is(describe.stream_arn, STREAM_ARN);
	is(describe.exclusive_start_shard_id, "shardId-1");
	cr_expect(describe.limit.has && describe.limit.v == 10000);

	struct describe_stream_summary_input summary;
	accept("DescribeStreamSummary", "{\"StreamARN\":\"" STREAM_ARN "\"}", &summary);
	is(summary.stream_arn, STREAM_ARN);
	is(summary.stream_name, NULL);

	struct list_streams_input list;
	accept("ListStreams", "{\"Limit\":1,\"ExclusiveStartStreamName\":\"a\",\"NextToken\":\"t\"}", &list);
	is(list.exclusive_start_stream_name, "a");
	is(list.next_token, "t");
	cr_expect(list.limit.has && list.limit.v == 1);
	accept("ListStreams", "{}", &list);
	cr_expect_not(list.limit.has);
}

Test(fields, list_shards)
{
	struct list_shards_input in;
	accept("ListShards",
	       "{\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN
	       "\",\"NextToken\":\"t\",\"ExclusiveStartShardId\":\"x\",\"MaxResults\":5,"
	       "\"StreamCreationTimestamp\":1548118964,\"ShardFilter\":{\"Type\":\"AT_TIMESTAMP\",\"ShardId\":\"y\",\"Timestamp\":"
	       "1548118964.5}}",
	       &in);
	is(in.stream_name, "s");
	is(in.stream_arn, STREAM_ARN);
	is(in.next_token, "t");
	is(in.exclusive_start_shard_id, "x");
	cr_expect(in.max_results.has && in.max_results.v == 5);
	cr_expect(in.stream_creation_timestamp.has && in.stream_creation_timestamp.ms == 1548118964000);
	cr_expect(in.filter.present);
	is(in.filter.type, "AT_TIMESTAMP");
	is(in.filter.shard_id, "y");
	cr_expect(in.filter.timestamp.has && in.filter.timestamp.ms == 1548118964500);
	accept("ListShards", "{}", &in);
	cr_expect_not(in.filter.present);
}

Test(fields, put_record)
{
	struct put_record_input in;
	accept("PutRecord",
	       "{\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN
	       "\",\"Data\":\"Zm9vYg==\",\"PartitionKey\":\"k\",\"ExplicitHashKey\":\"12\","
	       "\"SequenceNumberForOrdering\":\"49\"}",
	       &in);
	is(in.data, "foob");
	is(in.partition_key, "k");
	is(in.explicit_hash_key, "12");
	is(in.sequence_number_for_ordering, "49");
	is(in.stream_name, "s");
	is(in.stream_arn, STREAM_ARN);
	accept("PutRecord", "{\"StreamName\":\"s\",\"Data\":\"\",\"PartitionKey\":\"k\"}", &in);
	is(in.data, "");
}

Test(fields, put_records)
{
	struct put_records_input in;
	accept("PutRecords",
	       "{\"Records\":[{\"Data\":\"Zm9v\",\"PartitionKey\":\"a\"},{\"PartitionKey\":\"b\",\"ExplicitHashKey\":\"0\",\"Data\":\"\"}],"
	       "\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN "\"}",
	       &in);
	cr_assert_eq(in.n_records, 2);
	is(in.records[0].data, "foo");
	is(in.records[0].partition_key, "a");
	is(in.records[0].explicit_hash_key, NULL);
	is(in.records[1].data, "");
	is(in.records[1].partition_key, "b");
	is(in.records[1].explicit_hash_key, "0");
	is(in.stream_name, "s");
	is(in.stream_arn, STREAM_ARN);
}

Test(fields, reading)
{
	struct get_shard_iterator_input iterator;
	accept("GetShardIterator",
	       "{\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN "\",\"ShardId\":\"x\",\"ShardIteratorType\":\"AT_TIMESTAMP\","
	       "\"StartingSequenceNumber\":\"0\",\"Timestamp\":0.001}",
	       &iterator);
	is(iterator.stream_name, "s");
	is(iterator.stream_arn, STREAM_ARN);
	is(iterator.shard_id, "x");
	is(iterator.shard_iterator_type, "AT_TIMESTAMP");
	is(iterator.starting_sequence_number, "0");
	cr_expect(iterator.timestamp.has && iterator.timestamp.ms == 1);

	struct get_records_input records;
	accept("GetRecords", "{\"ShardIterator\":\"AAA\",\"Limit\":3,\"StreamARN\":\"" STREAM_ARN "\"}", &records);
	is(records.shard_iterator, "AAA");
	is(records.stream_arn, STREAM_ARN);
	cr_expect(records.limit.has && records.limit.v == 3);
}

Test(fields, resharding)
{
	struct split_shard_input split;
	accept("SplitShard",
	       "{\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN "\",\"ShardToSplit\":\"a-1\",\"NewStartingHashKey\":\"12\"}", &split);
	is(split.stream_name, "s");
	is(split.stream_arn, STREAM_ARN);
	is(split.shard_to_split, "a-1");
	is(split.new_starting_hash_key, "12");

	struct merge_shards_input merge;
	accept("MergeShards",
	       "{\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN "\",\"ShardToMerge\":\"a-1\",\"AdjacentShardToMerge\":\"a-2\"}", &merge);
	is(merge.stream_name, "s");
	is(merge.stream_arn, STREAM_ARN);
	is(merge.shard_to_merge, "a-1");
	is(merge.adjacent_shard_to_merge, "a-2");

	struct update_shard_count_input update;
	accept("UpdateShardCount",
	       "{\"StreamName\":\"s\",\"StreamARN\":\"" STREAM_ARN "\",\"TargetShardCount\":9,\"ScalingType\":\"UNIFORM_SCALING\"}",
	       &update);
	is(update.stream_name, "s");
	is(update.stream_arn, STREAM_ARN);
	is(update.scaling_type, "UNIFORM_SCALING");
	cr_expect(update.target_shard_count.has && update.target_shard_count.v == 9);
}

Test(fields, consumers)
{
	struct register_stream_consumer_input reg;
	accept("RegisterStreamConsumer", "{\"StreamARN\":\"" STREAM_ARN "\",\"ConsumerName\":\"app\",\"Tags\":{\"k\":\"v\"}}", &reg);
	is(reg.stream_arn, STREAM_ARN);
	is(reg.consumer_name, "app");
	cr_assert_eq(reg.n_tags, 1);

	static const char *const both[] = {"DescribeStreamConsumer", "DeregisterStreamConsumer"};
	for (size_t i = 0; i < 2; i++) {
		struct stream_consumer_input in;
		accept(both[i], "{\"StreamARN\":\"" STREAM_ARN "\",\"ConsumerName\":\"app\",\"ConsumerARN\":\"" CONSUMER_ARN "\"}", &in);
		is(in.stream_arn, STREAM_ARN);
		is(in.consumer_name, "app");
		is(in.consumer_arn, CONSUMER_ARN);
		accept(both[i], "{}", &in);
	}

	struct list_stream_consumers_input list;
	accept("ListStreamConsumers",
	       "{\"StreamARN\":\"" STREAM_ARN "\",\"NextToken\":\"t\",\"MaxResults\":9,\"StreamCreationTimestamp\":2}", &list);
	is(list.stream_arn, STREAM_ARN);
	is(list.next_token, "t");
	cr_expect(list.max_results.has && list.max_results.v == 9);
	cr_expect(list.stream_creation_timestamp.has && list.stream_creation_timestamp.ms == 2000);

	struct subscribe_to_shard_input subscribe;
	accept("SubscribeToShard",
	       "{\"ConsumerARN\":\"" CONSUMER_ARN "\",\"ShardId\":\"x\",\"StartingPosition\":{\"Type\":\"AT_SEQUENCE_NUMBER\","
	       "\"SequenceNumber\":\"5\",\"Timestamp\":1}}",
	       &subscribe);
	is(subscribe.consumer_arn, CONSUMER_ARN);
	is(subscribe.shard_id, "x");
	cr_expect(subscribe.position.present);
	is(subscribe.position.type, "AT_SEQUENCE_NUMBER");
	is(subscribe.position.sequence_number, "5");
	cr_expect(subscribe.position.timestamp.has && subscribe.position.timestamp.ms == 1000);
}

/* ---- The conversion table ---- */

#define LIST_TEXT "Start of list found where not expected"
#define OBJECT_TEXT "Start of structure or map found where not expected."
#define NUMBER "class com.amazon.coral.value.json.numbers.TruncatingBigNumber"

Test(conversion, to_boolean)
{
	struct delete_stream_input in;
	refuse("DeleteStream", "{\"EnforceConsumerDeletion\":23}", NUMBER " can not be converted to an Boolean");
	refuse("DeleteStream", "{\"EnforceConsumerDeletion\":2.5}", NUMBER " can not be converted to an Boolean");
	refuse("DeleteStream", "{\"EnforceConsumerDeletion\":\"x\"}", "'X' can not be converted to an Boolean");
	refuse("DeleteStream", "{\"EnforceConsumerDeletion\":\"\"}", "'' can not be converted to an Boolean");
	refuse("DeleteStream", "{\"EnforceConsumerDeletion\":[]}", LIST_TEXT);
	refuse("DeleteStream", "{\"EnforceConsumerDeletion\":{}}", OBJECT_TEXT);
	static const char *const yes[] = {"true", "\"true\"", "\"TRUE\"", "\"1\"", "\"Yes\""};
	static const char *const no[] = {"false", "\"false\"", "\"0\"", "\"nO\""};
	char json[64];
	for (size_t i = 0; i < 5; i++) {
		snprintf(json, sizeof(json), "{\"EnforceConsumerDeletion\":%s}", yes[i]);
		accept("DeleteStream", json, &in);
		cr_expect(in.enforce_consumer_deletion.has && in.enforce_consumer_deletion.v, "%s", yes[i]);
	}
	for (size_t i = 0; i < 4; i++) {
		snprintf(json, sizeof(json), "{\"EnforceConsumerDeletion\":%s}", no[i]);
		accept("DeleteStream", json, &in);
		cr_expect(in.enforce_consumer_deletion.has && !in.enforce_consumer_deletion.v, "%s", no[i]);
	}
}

Test(conversion, to_integer)
{
	refuse("GetRecords", "{\"Limit\":true}", "class java.lang.Boolean can not be converted to an Integer");
	refuse("GetRecords", "{\"Limit\":\"5\"}", "class java.lang.String can not be converted to an Integer");
	refuse("GetRecords", "{\"Limit\":[]}", LIST_TEXT);
	refuse("GetRecords", "{\"Limit\":{}}", OBJECT_TEXT);
}

static int64_t shard_count(const char *number)
{
	struct create_stream_input in;
	char json[128];
	snprintf(json, sizeof(json), "{\"StreamName\":\"s\",\"ShardCount\":%s}", number);
	bind_json("CreateStream", json, &in);
	cr_assert(in.shard_count.has);
	return in.shard_count.v;
}

Test(conversion, integers_are_floored_and_capped)
{
	cr_expect_eq(shard_count("2.999"), 2);
	cr_expect_eq(shard_count("-0.5"), -1);
	cr_expect_eq(shard_count("3e2"), 300);
	cr_expect_eq(shard_count("2147483647"), 2147483647);
	cr_expect_eq(shard_count("2147483648"), 2147483647);
	cr_expect_eq(shard_count("100000000000"), 2147483647);
	cr_expect_eq(shard_count("1e300"), 2147483647);
	cr_expect_eq(shard_count("1e999"), 2147483647);
	cr_expect_eq(shard_count("-5000000000"), -5000000000);
	cr_expect_eq(shard_count("-1e300"), INT64_MIN);
}

Test(conversion, to_string)
{
	refuse("GetRecords", "{\"ShardIterator\":true}", "class java.lang.Boolean can not be converted to an String");
	refuse("GetRecords", "{\"ShardIterator\":false}", "class java.lang.Boolean can not be converted to an String");
	refuse("GetRecords", "{\"ShardIterator\":23}", NUMBER " can not be converted to an String");
	refuse("GetRecords", "{\"ShardIterator\":[]}", LIST_TEXT);
	refuse("GetRecords", "{\"ShardIterator\":{}}", OBJECT_TEXT);
}

Test(conversion, to_blob)
{
	refuse("PutRecord", "{\"Data\":true}", "class java.lang.Boolean can not be converted to a Blob");
	refuse("PutRecord", "{\"Data\":23}", NUMBER " can not be converted to a Blob");
	refuse("PutRecord", "{\"Data\":[]}", LIST_TEXT);
	refuse("PutRecord", "{\"Data\":{}}", OBJECT_TEXT);
}

Test(conversion, blob_texts_in_order)
{
	refuse("PutRecord", "{\"Data\":\"AAA\"}",
	       "'AAA' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 3");
	refuse("PutRecord", "{\"Data\":\"*\"}",
	       "'*' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 1");
	refuse("PutRecord", "{\"Data\":\"AB*=\"}", "'AB*=' can not be converted to a Blob: Invalid Base64 character: '*'");
	refuse("PutRecord", "{\"Data\":\"=A*=\"}", "'=A*=' can not be converted to a Blob: Invalid Base64 character: '='");
	refuse("PutRecord", "{\"Data\":\"AA=A\"}", "'AA=A' can not be converted to a Blob: Invalid Base64 character: '='");
	refuse("PutRecord", "{\"Data\":\"AA==AAAA\"}", "'AA==AAAA' can not be converted to a Blob: Invalid Base64 character: '='");
	refuse("PutRecord", "{\"Data\":\"A-_A\"}", "'A-_A' can not be converted to a Blob: Invalid Base64 character: '-'");
	refuse("PutRecord", "{\"Data\":\"AAA \"}", "'AAA ' can not be converted to a Blob: Invalid Base64 character: ' '");
	refuse("PutRecord", "{\"Data\":\"QR==\"}",
	       "'QR==' can not be converted to a Blob: Invalid last non-pad Base64 character dectected");
	refuse("PutRecord", "{\"Data\":\"AAB=\"}",
	       "'AAB=' can not be converted to a Blob: Invalid last non-pad Base64 character dectected");
	refuse("PutRecord", "{\"Data\":\"====\"}",
	       "'====' can not be converted to a Blob: Invalid last non-pad Base64 character dectected");
	refuse("PutRecord", "{\"Data\":\"A===\"}",
	       "'A===' can not be converted to a Blob: Invalid last non-pad Base64 character dectected");
	refuse("PutRecord", "{\"Data\":\"AAAA====\"}",
	       "'AAAA====' can not be converted to a Blob: Invalid last non-pad Base64 character dectected");
	/* Length counts UTF-16 units: this one is four. */
	refuse("PutRecord",
	       "{\"Data\":\"A\xc3\xa4"
	       "AA\"}",
	       "'A\xc3\xa4"
	       "AA' can not be converted to a Blob: Invalid Base64 character: '\xc3\xa4'");
	refuse("PutRecord", "{\"Data\":\"\xf0\x9f\x98\x80\"}",
	       "'\xf0\x9f\x98\x80' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 2");
}

Test(conversion, to_timestamp)
{
	refuse("GetShardIterator", "{\"Timestamp\":true}", "class java.lang.Boolean can not be converted to milliseconds since epoch");
	refuse("GetShardIterator", "{\"Timestamp\":\"1\"}", "class java.lang.String can not be converted to milliseconds since epoch");
	refuse("GetShardIterator", "{\"Timestamp\":[]}", LIST_TEXT);
	refuse("GetShardIterator", "{\"Timestamp\":{}}", OBJECT_TEXT);
}

static int64_t json_ms(const char *number)
{
	struct get_shard_iterator_input in;
	char json[128];
	snprintf(json, sizeof(json), "{\"ShardId\":\"x\",\"ShardIteratorType\":\"LATEST\",\"Timestamp\":%s}", number);
	accept("GetShardIterator", json, &in);
	cr_assert(in.timestamp.has);
	return in.timestamp.ms;
}

Test(conversion, json_times_are_seconds)
{
	cr_expect_eq(json_ms("0"), 0);
	cr_expect_eq(json_ms("1548118964"), 1548118964000);
	cr_expect_eq(json_ms("1548118964.772"), 1548118964772);
	cr_expect_eq(json_ms("1.548118964772E9"), 1548118964772);
	cr_expect_eq(json_ms("0.0014"), 1);
	cr_expect_eq(json_ms("0.0016"), 2);
	cr_expect_eq(json_ms("-1.5"), -1500);
	cr_expect_eq(json_ms("9223372036854775807"), INT64_MAX);
	cr_expect_eq(json_ms("-9223372036854775807"), INT64_MIN);
	cr_expect_eq(json_ms("1e300"), INT64_MAX);
	/* All of a millisecond's fractions come back as they were printed. */
	for (int ms = 0; ms < 1000; ms++) {
		char number[32];
		snprintf(number, sizeof(number), "1548118964.%03d", ms);
		cr_assert_eq(json_ms(number), 1548118964000 + ms);
	}
}

static int64_t cbor_ms(const char *hex)
{
	struct list_stream_consumers_input in;
	char body[512];
	snprintf(body, sizeof(body), "bf 77 53747265616d4372656174696f6e54696d657374616d70 %s ff", hex);
	bind_hex("ListStreamConsumers", body, &in); /* StreamARN is missing; the time is converted all the same */
	cr_assert(in.stream_creation_timestamp.has, "%s", hex);
	return in.stream_creation_timestamp.ms;
}

Test(conversion, cbor_times_are_ms)
{
	cr_expect_eq(cbor_ms("c1 1b 000001687313a7d4"), 1548118894548);
	cr_expect_eq(cbor_ms("1b 000001687313a7d4"), 1548118894548);
	cr_expect_eq(cbor_ms("c1 05"), 5);
	cr_expect_eq(cbor_ms("c1 20"), -1);
	cr_expect_eq(cbor_ms("c1 f93e00"), 1500);
	cr_expect_eq(cbor_ms("f93e00"), 1500);
	cr_expect_eq(cbor_ms("f97e00"), 0); /* NaN */
	cr_expect_eq(cbor_ms("f97c00"), INT64_MAX);
	cr_expect_eq(cbor_ms("f9fc00"), INT64_MIN);
}

Test(conversion, to_list)
{
	refuse("PutRecords", "{\"Records\":true}", "Expected list or null");
	refuse("PutRecords", "{\"Records\":23}", "Expected list or null");
	refuse("PutRecords", "{\"Records\":\"x\"}", "Expected list or null");
	refuse("PutRecords", "{\"Records\":{}}", OBJECT_TEXT);
}

Test(conversion, to_map)
{
	refuse("CreateStream", "{\"Tags\":true}", "Expected map or null");
	refuse("CreateStream", "{\"Tags\":23}", "Expected map or null");
	refuse("CreateStream", "{\"Tags\":\"x\"}", "Expected map or null");
	refuse("CreateStream", "{\"Tags\":[]}", LIST_TEXT);
}

Test(conversion, to_structure)
{
	refuse("CreateStream", "{\"StreamModeDetails\":true}", "Expected null");
	refuse("CreateStream", "{\"StreamModeDetails\":23}", "Expected null");
	refuse("CreateStream", "{\"StreamModeDetails\":\"x\"}", "Expected null");
	refuse("CreateStream", "{\"StreamModeDetails\":[]}", LIST_TEXT);
}

Test(conversion, nested_members)
{
	refuse("PutRecords", "{\"Records\":[true]}", "Expected null");
	refuse("PutRecords", "{\"Records\":[[]]}", LIST_TEXT);
	refuse("PutRecords", "{\"Records\":[{\"PartitionKey\":1}]}", NUMBER " can not be converted to an String");
	refuse("PutRecords", "{\"Records\":[{\"Data\":\"A\"}]}",
	       "'A' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but found: 1");
	refuse("PutRecords", "{\"Records\":[{},{\"ExplicitHashKey\":{}}]}", OBJECT_TEXT);
	refuse("CreateStream", "{\"Tags\":{\"a\":1}}", NUMBER " can not be converted to an String");
	refuse("CreateStream", "{\"Tags\":{\"a\":[]}}", LIST_TEXT);
	refuse("CreateStream", "{\"Tags\":{\"a\":{}}}", OBJECT_TEXT);
	refuse("CreateStream", "{\"StreamModeDetails\":{\"StreamMode\":[]}}", LIST_TEXT);
	refuse("ListShards", "{\"ShardFilter\":{\"Timestamp\":\"x\"}}",
	       "class java.lang.String can not be converted to milliseconds since epoch");
	refuse("SubscribeToShard", "{\"StartingPosition\":{\"Type\":true}}", "class java.lang.Boolean can not be converted to an String");
}

Test(conversion, the_first_in_field_order)
{
	/* The document's order does not matter. */
	refuse("CreateStream", "{\"StreamName\":[],\"ShardCount\":\"x\"}", "class java.lang.String can not be converted to an Integer");
	refuse("GetShardIterator", "{\"Timestamp\":true,\"ShardId\":1}", NUMBER " can not be converted to an String");
	refuse("PutRecord", "{\"Data\":true,\"SequenceNumberForOrdering\":[]}", LIST_TEXT);
	refuse("PutRecords", "{\"StreamName\":1,\"Records\":{}}", OBJECT_TEXT);
	/* And it comes before any validation. */
	refuse("GetRecords", "{\"Limit\":0,\"ShardIterator\":1}", NUMBER " can not be converted to an String");
}

Test(conversion, top_value)
{
	static const char *const tops[] = {"[]", "1", "\"x\"", "true", "null", "[{}]"};
	uint64_t out[64];
	for (size_t i = 0; i < 6; i++) {
		cr_expect_eq(bind_json("ListStreams", tops[i], out), STATUS_SERIALIZATION);
		cr_expect_null(text.p);
	}
}

Test(conversion, unknown_members_are_ignored)
{
	struct list_streams_input in;
	accept("ListStreams", "{\"Foo\":[{}],\"StreamId\":{},\"limit\":\"x\",\"Limit\":2}", &in);
	cr_expect_eq(in.limit.v, 2);
}

Test(conversion, repeated_members_the_last_wins)
{
	struct list_streams_input in;
	accept("ListStreams", "{\"Limit\":\"x\",\"Limit\":2}", &in);
	cr_expect_eq(in.limit.v, 2);
	accept("ListStreams", "{\"Limit\":1,\"Limit\":null}", &in);
	cr_expect_not(in.limit.has);
}

Test(conversion, repeated_tags_the_last_wins)
{
	struct create_stream_input in;
	accept("CreateStream", "{\"StreamName\":\"s\",\"Tags\":{\"b\":1,\"a\":\"x\",\"b\":\"2\",\"c\":null,\"d\":\"\"}}", &in);
	cr_assert_eq(in.n_tags, 3);
	is(in.tags[0].key, "a");
	is(in.tags[1].key, "b");
	is(in.tags[1].value, "2");
	is(in.tags[2].key, "d");
}

/* ---- Both encodings ---- */

Test(encodings, the_same_struct)
{
	struct put_records_input json, cbor;
	accept("PutRecords",
	       "{\"StreamName\":\"s\",\"Records\":[{\"Data\":\"AQL/"
	       "\",\"PartitionKey\":\"k\\u00e4\"},{\"Data\":\"\",\"PartitionKey\":\"x\"}]}",
	       &json);
	cr_assert_eq(
		bind_hex("PutRecords",
			 "bf 6a53747265616d4e616d65 6173 675265636f726473 9f bf 6444617461 430102ff 6c506172746974696f6e4b6579 636bc3a4 ff"
			 "a2 6444617461 40 6c506172746974696f6e4b6579 7f 6178 ff ff ff",
			 &cbor),
		STATUS_OK);
	cr_assert(json.n_records == 2 && cbor.n_records == 2);
	cr_expect(str_equal(json.stream_name, cbor.stream_name));
	for (int i = 0; i < 2; i++) {
		cr_expect(str_equal(json.records[i].data, cbor.records[i].data));
		cr_expect(str_equal(json.records[i].partition_key, cbor.records[i].partition_key));
		cr_expect_null(cbor.records[i].explicit_hash_key.p);
		cr_expect(cbor.records[i].data.p);
	}
}

Test(encodings, base64_text_in_cbor_is_a_blob_too)
{
	struct put_record_input in;
	cr_assert_eq(bind_hex("PutRecord", "a2 6444617461 64 5a6d3976 6c506172746974696f6e4b6579 616b", &in), STATUS_OK);
	is(in.data, "foo");
}

Test(encodings, cbor_null_and_undefined_are_absent)
{
	struct list_streams_input in;
	cr_assert_eq(bind_hex("ListStreams", "a2 654c696d6974 f7 694e657874546f6b656e f6", &in), STATUS_OK);
	cr_expect_not(in.limit.has);
	cr_expect_null(in.next_token.p);
}

Test(encodings, cbor_type_errors_have_the_json_texts)
{
	uint64_t out[64];
	cr_expect_eq(bind_hex("ListStreams", "a1 654c696d6974 6135", out), STATUS_SERIALIZATION);
	is(text, "class java.lang.String can not be converted to an Integer");
	cr_expect_eq(bind_hex("ListStreams", "a1 654c696d6974 4135", out), STATUS_SERIALIZATION);
	is(text, "class java.nio.HeapByteBuffer can not be converted to an Integer");
	cr_expect_eq(bind_hex("ListStreams", "a1 694e657874546f6b656e 80", out), STATUS_SERIALIZATION);
	is(text, LIST_TEXT);
}

Test(encodings, plain_strings_are_not_copied)
{
	static const char json[] = "{\"ShardIterator\":\"AAAA\"}";
	struct get_records_input in;
	accept("GetRecords", json, &in);
	cr_expect_eq(in.shard_iterator.p, strstr(json, "AAAA"));
}
