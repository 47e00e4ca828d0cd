/* Validation: each constraint's text, paths, orders, counts; and the patterns by themselves. */
#include "codec/shape_table.h"
#include "codec_fixture.h"
#include "penstock/api.h"
#include "penstock/echo.h"

static struct arena arena;
static uint64_t out[64];

static enum status bind(const char *operation, const char *json, struct str *text)
{
	const struct operation *op = operation_find(str_of(operation));
	struct value *document;
	cr_assert(op && op->size <= sizeof(out));
	cr_assert_eq(value_decode(ENCODING_JSON, (const uint8_t *)json, strlen(json), &arena, &document), STATUS_OK, "%s", json);
	return shape_bind(op, ENCODING_JSON, document, &arena, out, text);
}

static void invalid(const char *operation, const char *json, const char *expected)
{
	struct str text;
	enum status status = bind(operation, json, &text);
	cr_expect_eq(status, STATUS_VALIDATION, "%s %.200s: %d", operation, json, status);
	cr_expect(text.p && str_equal(text, str_of(expected)), "%.200s\n  got  %.*s\n  not  %s", json, (int)text.n, text.p ? text.p : "",
		  expected);
}

static void valid(const char *operation, const char *json)
{
	struct str text;
	enum status status = bind(operation, json, &text);
	cr_expect_eq(status, STATUS_OK, "%s %.200s: %.*s", operation, json, (int)text.n, text.p ? text.p : "");
}

/* One item of one error. */
static void one(const char *operation, const char *json, const char *value, const char *path, const char *constraint)
{
	struct str text = arena_printf(&arena, "1 validation error detected: Value %s at '%s' failed to satisfy constraint: %s", value,
				       path, constraint);
	invalid(operation, json, text.p);
}

static const char *repeat(const char *piece, size_t n)
{
	size_t len = strlen(piece);
	char *s = arena_alloc(&arena, n * len + 1);
	for (size_t i = 0; i < n; i++)
		memcpy(s + i * len, piece, len);
	s[n * len] = '\0';
	return s;
}

#define NOT_NULL "Member must not be null"
#define NAME_PATTERN "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+"
#define STREAM_ARN "arn:aws:kinesis:us-east-1:123456789012:stream/orders"
#define CONSUMER_ARN STREAM_ARN "/consumer/app:1548118964"
#define ITERATOR_TYPES "Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_TIMESTAMP, AT_SEQUENCE_NUMBER, TRIM_HORIZON]"

/* ---- Required members ---- */

Test(required, of_each_operation)
{
	one("CreateStream", "{}", "null", "streamName", NOT_NULL);
	one("CreateStream", "{\"StreamName\":\"s\",\"StreamModeDetails\":{}}", "null", "streamModeDetails.streamMode", NOT_NULL);
	one("GetRecords", "{}", "null", "shardIterator", NOT_NULL);
	one("ListStreamConsumers", "{}", "null", "streamARN", NOT_NULL);
	one("PutRecords", "{}", "null", "records", NOT_NULL);
	one("PutRecords", "{\"Records\":null}", "null", "records", NOT_NULL);
	one("ListShards", "{\"ShardFilter\":{}}", "null", "shardFilter.type", NOT_NULL);
	one("SubscribeToShard", "{\"ConsumerARN\":\"" CONSUMER_ARN "\",\"ShardId\":\"x\"}", "null", "startingPosition", NOT_NULL);
	one("SubscribeToShard", "{\"ConsumerARN\":\"" CONSUMER_ARN "\",\"ShardId\":\"x\",\"StartingPosition\":{}}", "null",
	    "startingPosition.type", NOT_NULL);
	invalid("GetShardIterator", "{}",
		"2 validation errors detected: Value null at 'shardId' failed to satisfy constraint: " NOT_NULL
		"; Value null at 'shardIteratorType' failed to satisfy constraint: " NOT_NULL);
	invalid("RegisterStreamConsumer", "{}",
		"2 validation errors detected: Value null at 'streamARN' failed to satisfy constraint: " NOT_NULL
		"; Value null at 'consumerName' failed to satisfy constraint: " NOT_NULL);
	invalid("PutRecord", "{}",
		"2 validation errors detected: Value null at 'partitionKey' failed to satisfy constraint: " NOT_NULL
		"; Value null at 'data' failed to satisfy constraint: " NOT_NULL);
	invalid("SubscribeToShard", "{}",
		"3 validation errors detected: Value null at 'consumerARN' failed to satisfy constraint: " NOT_NULL
		"; Value null at 'shardId' failed to satisfy constraint: " NOT_NULL
		"; Value null at 'startingPosition' failed to satisfy constraint: " NOT_NULL);
	invalid("PutRecords", "{\"Records\":[{}]}",
		"2 validation errors detected: Value null at 'records.1.member.partitionKey' failed to satisfy constraint: " NOT_NULL
		"; Value null at 'records.1.member.data' failed to satisfy constraint: " NOT_NULL);
}

Test(required, not_of_these)
{
	static const char *const operations[] = {"DeleteStream", "DescribeStream",         "DescribeStreamSummary",   "ListStreams",
						 "ListShards",   "DescribeStreamConsumer", "DeregisterStreamConsumer"};
	for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
		valid(operations[i], "{}");
}

/* A null element must not reach the store as a record without a key. */
Test(required, a_null_element_has_no_members)
{
	invalid("PutRecords", "{\"Records\":[{\"PartitionKey\":\"k\",\"Data\":\"\"},null]}",
		"2 validation errors detected: Value null at 'records.2.member.partitionKey' failed to satisfy constraint: " NOT_NULL
		"; Value null at 'records.2.member.data' failed to satisfy constraint: " NOT_NULL);
}

/* ---- Examples recorded from AWS ---- */

Test(recorded, get_records)
{
	invalid("GetRecords", "{\"Limit\":0,\"ShardIterator\":\"\"}",
		"2 validation errors detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or "
		"equal to 1; "
		"Value '' at 'shardIterator' failed to satisfy constraint: Member must have length greater than or equal to 1");
}

Test(recorded, empty_stream_name)
{
	invalid("DescribeStream", "{\"StreamName\":\"\"}",
		"2 validation errors detected: Value '' at 'streamName' failed to satisfy constraint: " NAME_PATTERN
		"; Value '' at 'streamName' failed to satisfy constraint: Member must have length greater than or equal to 1");
}

Test(recorded, capped_integers)
{
	valid("CreateStream", "{\"StreamName\":\"s\",\"ShardCount\":100000}");
	one("CreateStream", "{\"StreamName\":\"s\",\"ShardCount\":100001}", "'100001'", "shardCount",
	    "Member must have value less than or equal to 100000");
	one("CreateStream", "{\"StreamName\":\"s\",\"ShardCount\":100000000000}", "'2147483647'", "shardCount",
	    "Member must have value less than or equal to 100000");
	one("UpdateShardCount", "{\"ScalingType\":\"UNIFORM_SCALING\",\"TargetShardCount\":100001}", "'100001'", "targetShardCount",
	    "Member must have value less than or equal to 100000");
	one("ListStreams", "{\"Limit\":100000000000}", "'2147483647'", "limit", "Member must have value less than or equal to 10000");
}

Test(recorded, too_many_empty_entries)
{
	struct str text;
	struct buf json = {0};
	buf_put_str(&json, STR("{\"Records\":["));
	buf_put_str(&json, str_of(repeat("{\"PartitionKey\":\"\",\"Data\":\"\"},", 500)));
	buf_put_str(&json, STR("{\"PartitionKey\":\"\",\"Data\":\"\"}]}"));
	buf_put_char(&json, '\0');
	cr_assert_eq(bind("PutRecords", (char *)json.p, &text), STATUS_VALIDATION);
	struct buf expected = {0};
	buf_put_str(&expected, STR("10 validation errors detected: Value at 'records' failed to satisfy constraint: Member must have "
				   "length less than or equal to 500"));
	for (int i = 1; i <= 9; i++)
		buf_printf(&expected,
			   "; Value '' at 'records.%d.member.partitionKey' failed to satisfy constraint: Member must have length greater "
			   "than or equal to 1",
			   i);
	cr_expect(str_equal(text, (struct str){(char *)expected.p, expected.n}));
	buf_free(&expected);
	buf_free(&json);
}

/* Lists, maps and blobs are named by their place alone, whatever is in them. */
static void unvalued(const char *operation, const char *json, const char *path, const char *constraint)
{
	struct str text =
		arena_printf(&arena, "1 validation error detected: Value at '%s' failed to satisfy constraint: %s", path, constraint);
	invalid(operation, json, text.p);
}

/* ---- Each constraint ---- */

Test(numbers, ranges)
{
	one("CreateStream", "{\"StreamName\":\"s\",\"ShardCount\":0}", "'0'", "shardCount",
	    "Member must have value greater than or equal to 1");
	one("CreateStream", "{\"StreamName\":\"s\",\"ShardCount\":0.9}", "'0'", "shardCount",
	    "Member must have value greater than or equal to 1");
	one("CreateStream", "{\"StreamName\":\"s\",\"WarmThroughputMiBps\":-1}", "'-1'", "warmThroughputMiBps",
	    "Member must have value greater than or equal to 0");
	one("CreateStream", "{\"StreamName\":\"s\",\"MaxRecordSizeInKiB\":1023}", "'1023'", "maxRecordSizeInKiB",
	    "Member must have value greater than or equal to 1024");
	one("CreateStream", "{\"StreamName\":\"s\",\"MaxRecordSizeInKiB\":10241}", "'10241'", "maxRecordSizeInKiB",
	    "Member must have value less than or equal to 10240");
	one("GetRecords", "{\"ShardIterator\":\"x\",\"Limit\":10001}", "'10001'", "limit",
	    "Member must have value less than or equal to 10000");
	one("DescribeStream", "{\"Limit\":0}", "'0'", "limit", "Member must have value greater than or equal to 1");
	one("ListShards", "{\"MaxResults\":0}", "'0'", "maxResults", "Member must have value greater than or equal to 1");
	one("ListStreamConsumers", "{\"StreamARN\":\"" STREAM_ARN "\",\"MaxResults\":-7}", "'-7'", "maxResults",
	    "Member must have value greater than or equal to 1");
	valid("CreateStream", "{\"StreamName\":\"s\",\"ShardCount\":1,\"MaxRecordSizeInKiB\":1024,\"WarmThroughputMiBps\":0}");
	valid("GetRecords", "{\"ShardIterator\":\"x\",\"Limit\":10000}");
}

/* As an error repeats it (echo.h). */
static const char *echoed(const char *value)
{
	return strlen(value) > ECHO_MAX ? arena_printf(&arena, "%.*s...", (int)ECHO_MAX, value).p : value;
}

static void too_long(const char *operation, const char *format, const char *piece, size_t max, const char *path)
{
	const char *fits = repeat(piece, max), *over = repeat(piece, max + 1);
	valid(operation, arena_printf(&arena, "%s%s\"}", format, fits).p);
	one(operation, arena_printf(&arena, "%s%s\"}", format, over).p, arena_printf(&arena, "'%s'", echoed(over)).p, path,
	    arena_printf(&arena, "Member must have length less than or equal to %zu", max).p);
}

Test(echo, is_cut_behind_a_whole_character)
{
	struct buf text = {0};
	const char *fits = repeat("x", ECHO_MAX), *over = repeat("\xe2\x82\xac", ECHO_MAX);
	echo_put(&text, str_of(fits));
	cr_expect(str_equal((struct str){(char *)text.p, text.n}, str_of(fits)));
	text.n = 0;
	echo_put(&text, str_of(over));
	size_t n = ECHO_MAX / 3 * 3;
	cr_expect_eq(text.n, n + 3);
	cr_expect_eq(memcmp(text.p, over, n), 0);
	cr_expect_eq(memcmp(text.p + n, "...", 3), 0);
	buf_free(&text);
	arena_free(&arena);
}

/* What is refused may be 16 MiB; what is answered is small, whichever text repeats the value. */
Test(echo, bounds_every_text)
{
	const char *long_text = repeat("aB!", 1 << 20);
	static const char *const forms[][2] = {
		{"ListStreams", "{\"NextToken\":\"%s\"}"},
		{"DescribeStream", "{\"StreamName\":\"%s\"}"},
		{"GetShardIterator", "{\"ShardId\":\"x\",\"ShardIteratorType\":\"%s\"}"},
		{"PutRecord", "{\"PartitionKey\":\"k\",\"Data\":\"%s\"}"},
		{"DeleteStream", "{\"EnforceConsumerDeletion\":\"%s\"}"},
		{"CreateStream", "{\"StreamName\":\"s\",\"Tags\":{\"k\":\"%s\"}}"},
		{"CreateStream", "{\"StreamName\":\"s\",\"Tags\":{\"%s\":\"v\"}}"},
	};
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		struct buf json = {0};
		struct str text;
		const char *at = strstr(forms[i][1], "%s");
		buf_put(&json, forms[i][1], (size_t)(at - forms[i][1]));
		buf_put_str(&json, str_of(long_text));
		buf_put(&json, at + 2, strlen(at + 2) + 1);
		cr_expect(bind(forms[i][0], (char *)json.p, &text) != STATUS_OK, "%s", forms[i][0]);
		cr_expect(text.n > 0 && text.n < 3 * ECHO_MAX, "%s %s: %zu", forms[i][0], forms[i][1], text.n);
		buf_free(&json);
	}
	arena_free(&arena);
}

Test(lengths, maxima)
{
	too_long("DescribeStream", "{\"StreamName\":\"", "a", 128, "streamName");
	too_long("ListStreams", "{\"ExclusiveStartStreamName\":\"", "a", 128, "exclusiveStartStreamName");
	too_long("DescribeStream", "{\"ExclusiveStartShardId\":\"", "a", 128, "exclusiveStartShardId");
	too_long("GetRecords", "{\"ShardIterator\":\"", "a", 512, "shardIterator");
	too_long("ListStreams", "{\"NextToken\":\"", "a", 1048576, "nextToken");
	too_long("DescribeStreamConsumer", "{\"ConsumerName\":\"", "a", 128, "consumerName");
	too_long("PutRecord", "{\"Data\":\"\",\"PartitionKey\":\"", "a", 256, "partitionKey");
	arena_free(&arena);
}

Test(lengths, are_utf16_units)
{
	too_long("PutRecord", "{\"Data\":\"\",\"PartitionKey\":\"", "\xc3\xa4", 256, "partitionKey");
	too_long("PutRecord", "{\"Data\":\"\",\"PartitionKey\":\"", "\xe2\x82\xac", 256, "partitionKey");
	/* A pair of units each. */
	valid("PutRecord", arena_printf(&arena, "{\"Data\":\"\",\"PartitionKey\":\"%s\"}", repeat("\xf0\x9f\x98\x80", 128)).p);
	struct str text;
	cr_expect_eq(bind("PutRecord", arena_printf(&arena, "{\"Data\":\"\",\"PartitionKey\":\"a%s\"}", repeat("\xf0\x9f\x98\x80", 128)).p,
			  &text),
		     STATUS_VALIDATION);
}

Test(lengths, arns)
{
	const char *tail = repeat("x", 2048 - (sizeof(STREAM_ARN) - 1));
	struct str fits = arena_printf(&arena, STREAM_ARN "%s", tail), over = arena_printf(&arena, "%sx", fits.p);
	valid("DescribeStream", arena_printf(&arena, "{\"StreamARN\":\"%s\"}", fits.p).p);
	one("DescribeStream", arena_printf(&arena, "{\"StreamARN\":\"%s\"}", over.p).p, arena_printf(&arena, "'%s'", echoed(over.p)).p,
	    "streamARN", "Member must have length less than or equal to 2048");
}

Test(lengths, minima)
{
	one("ListStreams", "{\"NextToken\":\"\"}", "''", "nextToken", "Member must have length greater than or equal to 1");
	one("PutRecord", "{\"Data\":\"\",\"PartitionKey\":\"\"}", "''", "partitionKey",
	    "Member must have length greater than or equal to 1");
	invalid("PutRecords", "{\"Records\":[]}",
		"1 validation error detected: Value at 'records' failed to satisfy constraint: Member must have length greater than "
		"or equal to 1");
	valid("PutRecord", "{\"Data\":\"\",\"PartitionKey\":\"\\u0000\"}");
}

Test(lengths, data)
{
	struct buf json = {0};
	buf_put_str(&json, STR("{\"PartitionKey\":\"k\",\"Data\":\""));
	size_t n = 10485760 / 3 * 4; /* 10,485,759 bytes */
	memset(buf_reserve(&json, n), 'A', n);
	json.n += n;
	size_t at = json.n;
	buf_put(&json, "AA==\"}", 7);
	valid("PutRecord", (char *)json.p);
	json.n = at;
	buf_put(&json, "AAA=\"}", 7);
	unvalued("PutRecord", (char *)json.p, "data", "Member must have length less than or equal to 10485760");
	buf_free(&json);
	arena_free(&arena);
}

Test(lengths, records)
{
	struct buf json = {0};
	buf_put_str(&json, STR("{\"Records\":[{\"PartitionKey\":\"k\",\"Data\":\"\"}"));
	buf_put_str(&json, str_of(repeat(",{\"PartitionKey\":\"k\",\"Data\":\"\"}", 499)));
	size_t at = json.n;
	buf_put(&json, "]}", 3);
	valid("PutRecords", (char *)json.p);
	json.n = at;
	buf_put_str(&json, STR(",{\"PartitionKey\":\"k\",\"Data\":\"\"}"));
	buf_put(&json, "]}", 3);
	unvalued("PutRecords", (char *)json.p, "records", "Member must have length less than or equal to 500");
	buf_free(&json);
}

Test(patterns, texts)
{
	one("DescribeStream", "{\"StreamName\":\"a b\"}", "'a b'", "streamName", NAME_PATTERN);
	one("DescribeStream", "{\"ExclusiveStartShardId\":\"\xc3\xa4\"}", "'\xc3\xa4'", "exclusiveStartShardId", NAME_PATTERN);
	one("RegisterStreamConsumer", "{\"StreamARN\":\"" STREAM_ARN "\",\"ConsumerName\":\"a/b\"}", "'a/b'", "consumerName", NAME_PATTERN);
	one("DescribeStream", "{\"StreamARN\":\"x\"}", "'x'", "streamARN",
	    "Member must satisfy regular expression pattern: arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+");
	one("DescribeStreamConsumer", "{\"ConsumerARN\":\"x\"}", "'x'", "consumerARN",
	    "Member must satisfy regular expression pattern: "
	    "^(arn):aws.*:kinesis:.*:\\d{12}:.*stream\\/[a-zA-Z0-9_.-]+\\/consumer\\/[a-zA-Z0-9_.-]+:[0-9]+");
	one("PutRecord", "{\"PartitionKey\":\"k\",\"Data\":\"\",\"ExplicitHashKey\":\"01\"}", "'01'", "explicitHashKey",
	    "Member must satisfy regular expression pattern: ^(0|([1-9]\\d{0,38}))$");
	one("PutRecord", "{\"PartitionKey\":\"k\",\"Data\":\"\",\"SequenceNumberForOrdering\":\"\"}", "''", "sequenceNumberForOrdering",
	    "Member must satisfy regular expression pattern: ^(0|([1-9]\\d{0,128}))$");
	one("GetShardIterator", "{\"ShardId\":\"x\",\"ShardIteratorType\":\"LATEST\",\"StartingSequenceNumber\":\"a\"}", "'a'",
	    "startingSequenceNumber", "Member must satisfy regular expression pattern: ^(0|([1-9]\\d{0,128}))$");
	one("SubscribeToShard",
	    "{\"ConsumerARN\":\"" CONSUMER_ARN "\",\"ShardId\":\"x\",\"StartingPosition\":{\"Type\":\"LATEST\",\"SequenceNumber\":\"-1\"}}",
	    "'-1'", "startingPosition.sequenceNumber", "Member must satisfy regular expression pattern: ^(0|([1-9]\\d{0,128}))$");
	one("ListShards", "{\"ShardFilter\":{\"Type\":\"AT_LATEST\",\"ShardId\":\"?\"}}", "'?'", "shardFilter.shardId", NAME_PATTERN);
}

Test(enums, texts)
{
	one("GetShardIterator", "{\"ShardId\":\"x\",\"ShardIteratorType\":\"latest\"}", "'latest'", "shardIteratorType", ITERATOR_TYPES);
	one("GetShardIterator", "{\"ShardId\":\"x\",\"ShardIteratorType\":\"\"}", "''", "shardIteratorType", ITERATOR_TYPES);
	one("SubscribeToShard", "{\"ConsumerARN\":\"" CONSUMER_ARN "\",\"ShardId\":\"x\",\"StartingPosition\":{\"Type\":\"X\"}}", "'X'",
	    "startingPosition.type", ITERATOR_TYPES);
	one("ListShards", "{\"ShardFilter\":{\"Type\":\"LATEST\"}}", "'LATEST'", "shardFilter.type",
	    "Member must satisfy enum value set: [AFTER_SHARD_ID, AT_TRIM_HORIZON, FROM_TRIM_HORIZON, AT_LATEST, AT_TIMESTAMP, "
	    "FROM_TIMESTAMP]");
	one("CreateStream", "{\"StreamName\":\"s\",\"StreamModeDetails\":{\"StreamMode\":\"x\"}}", "'x'", "streamModeDetails.streamMode",
	    "Member must satisfy enum value set: [PROVISIONED, ON_DEMAND]");
	one("CreateStream", "{\"StreamName\":\"s\",\"RecordDistributionStrategy\":\"x\"}", "'x'", "recordDistributionStrategy",
	    "Member must satisfy enum value set: [AUTO, USER_PARTITION_KEY]");
	static const char *const types[] = {"AT_SEQUENCE_NUMBER", "AFTER_SEQUENCE_NUMBER", "TRIM_HORIZON", "LATEST", "AT_TIMESTAMP"};
	for (size_t i = 0; i < 5; i++)
		valid("GetShardIterator", arena_printf(&arena, "{\"ShardId\":\"x\",\"ShardIteratorType\":\"%s\"}", types[i]).p);
}

#define KEYS                                                                                                                             \
	"Map keys must satisfy constraint: [Member must have length less than or equal to 128, Member must have length greater than or " \
	"equal to 1]"
#define VALUES                                                                                                                            \
	"Map value must satisfy constraint: [Member must have length less than or equal to 256, Member must have length greater than or " \
	"equal to 0]"

Test(tags, texts)
{
	unvalued("CreateStream", "{\"StreamName\":\"s\",\"Tags\":{}}", "tags", "Member must have length greater than or equal to 1");
	unvalued("CreateStream", "{\"StreamName\":\"s\",\"Tags\":{\"\":\"v\",\"k\":\"w\"}}", "tags", KEYS);
	const char *key = repeat("k", 129), *value = repeat("v", 257);
	unvalued("CreateStream", arena_printf(&arena, "{\"StreamName\":\"s\",\"Tags\":{\"%s\":\"\"}}", key).p, "tags", KEYS);
	unvalued("CreateStream", arena_printf(&arena, "{\"StreamName\":\"s\",\"Tags\":{\"k\":\"%s\"}}", value).p, "tags", VALUES);
	invalid("CreateStream", arena_printf(&arena, "{\"StreamName\":\"s\",\"Tags\":{\"\":\"%s\"}}", value).p,
		"2 validation errors detected: Value at 'tags' failed to satisfy constraint: " KEYS
		"; Value at 'tags' failed to satisfy constraint: " VALUES);
	unvalued("RegisterStreamConsumer", "{\"StreamARN\":\"" STREAM_ARN "\",\"ConsumerName\":\"c\",\"Tags\":{}}", "tags",
		 "Member must have length greater than or equal to 1");
}

Test(tags, at_most_200_distinct_keys)
{
	struct buf json = {0};
	buf_put_str(&json, STR("{\"StreamName\":\"s\",\"Tags\":{\"k\":\"0\""));
	for (int i = 0; i < 30000; i++)
		buf_printf(&json, ",\"%d\":\"%d\"", i % 199, i);
	size_t at = json.n;
	buf_put(&json, "}}", 3);
	valid("CreateStream", (char *)json.p);
	const struct create_stream_input *in = (const void *)out;
	cr_expect_eq(in->n_tags, 200);
	json.n = at;
	buf_put(&json, ",\"x\":\"\"}}", 10);
	unvalued("CreateStream", (char *)json.p, "tags", "Member must have length less than or equal to 200");
	buf_free(&json);
	arena_free(&arena);
}

Test(order, pattern_then_minimum_then_maximum_by_field)
{
	const char *name = repeat("?", 129);
	invalid("DescribeStream", arena_printf(&arena, "{\"StreamName\":\"%s\",\"Limit\":0}", name).p,
		arena_printf(&arena,
			     "3 validation errors detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value "
			     "greater than or "
			     "equal to 1; Value '%s' at 'streamName' failed to satisfy constraint: " NAME_PATTERN
			     "; Value '%s' at 'streamName' failed to satisfy constraint: Member must have length less than or equal to 128",
			     name, name)
			.p);
}

Test(order, ten_items_at_most)
{
	struct str text;
	cr_expect_eq(bind("PutRecords", "{\"StreamName\":\"\",\"Records\":[{},{},{},{},{},{},{},{}]}", &text), STATUS_VALIDATION);
	cr_expect_eq(memcmp(text.p, "10 validation errors detected: ", 31), 0);
	cr_expect(memmem(text.p, text.n, "records.5.member.data", 21));
	cr_expect_null(memmem(text.p, text.n, "records.6.", 10));
	cr_expect_null(memmem(text.p, text.n, "streamName", 10));
}

Test(order, a_nul_does_not_end_the_text)
{
	struct str text;
	cr_expect_eq(bind("DescribeStream", "{\"StreamName\":\"a\\u0000b\"}", &text), STATUS_VALIDATION);
	cr_expect(memmem(text.p, text.n, "Value 'a\0b' at 'streamName'", 27));
	cr_expect(memmem(text.p, text.n, NAME_PATTERN, sizeof(NAME_PATTERN) - 1));
}

/* ---- Patterns by themselves ---- */

static void yes(const struct pattern *pattern, const char *s)
{
	cr_expect(pattern->matches(str_of(s)), "%s does not match %s", s, pattern->text);
}
static void no(const struct pattern *pattern, const char *s)
{
	cr_expect_not(pattern->matches(str_of(s)), "%s matches %s", s, pattern->text);
}

Test(matchers, names)
{
	yes(&pattern_name, "azAZ09_.-");
	yes(&pattern_name, "a");
	no(&pattern_name, "");
	no(&pattern_name, "a/b");
	no(&pattern_name, "a\n");
	no(&pattern_name, "\xc3\xa4");
	cr_expect_not(pattern_name.matches((struct str){"a\0", 2}));
}

Test(matchers, numbers)
{
	yes(&pattern_hash_key, "0");
	yes(&pattern_hash_key, "1");
	yes(&pattern_hash_key, "340282366920938463463374607431768211455");
	yes(&pattern_hash_key, repeat("9", 39));
	no(&pattern_hash_key, repeat("9", 40));
	no(&pattern_hash_key, "");
	no(&pattern_hash_key, "00");
	no(&pattern_hash_key, "01");
	no(&pattern_hash_key, "-1");
	no(&pattern_hash_key, "1a");
	no(&pattern_hash_key, "1 ");
	yes(&pattern_sequence_number, "0");
	yes(&pattern_sequence_number, repeat("9", 129));
	no(&pattern_sequence_number, repeat("9", 130));
	no(&pattern_sequence_number, "0123");
}

Test(matchers, stream_arns)
{
	yes(&pattern_stream_arn, STREAM_ARN);
	yes(&pattern_stream_arn, "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/x");
	yes(&pattern_stream_arn, "arn:aws:kinesis::123456789012:stream/x");
	yes(&pattern_stream_arn, "arn:aws:kinesis: :123456789012:stream/\xc3\xa4?");
	yes(&pattern_stream_arn, "arn:aws:kinesis:r:1:123456789012:stream/a/b:c");
	yes(&pattern_stream_arn, "arn:aws:x:kinesis:kinesis:r:123456789012:stream/a");
	/* Only the second account has no blank behind it, only the first no line end before it. */
	yes(&pattern_stream_arn, "arn:aws:kinesis:r:123456789012:stream/a b:123456789012:stream/c");
	yes(&pattern_stream_arn, "arn:aws:kinesis:r:123456789012:stream/a\xe2\x80\xa8:123456789012:stream/c");
	no(&pattern_stream_arn, "arn:aws:kinesis:r:123456789012:stream/a\n:123456789012:stream/c");
	no(&pattern_stream_arn, "");
	no(&pattern_stream_arn, "arn:aws");
	no(&pattern_stream_arn, "arn:aws:kinesis:");
	no(&pattern_stream_arn, "arn:aws:kinesis:123456789012:stream/x"); /* one colon for two */
	no(&pattern_stream_arn, "xarn:aws:kinesis:r:123456789012:stream/x");
	no(&pattern_stream_arn, "arn:aws:kinesis:r:12345678901:stream/x");
	no(&pattern_stream_arn, "arn:aws:kinesis:r:1234567890123:stream/x");
	no(&pattern_stream_arn, "arn:aws:kinesis:r:123456789012:stream/");
	no(&pattern_stream_arn, "arn:aws:kinesis:r:123456789012:stream");
	no(&pattern_stream_arn, "arn:aws:kinesis:r:123456789012:xstream/x");
	no(&pattern_stream_arn, "arn:aws:kinesis:r:123456789012:stream/a b");
	no(&pattern_stream_arn, "arn:aws:kinesis:r:123456789012:stream/a\n");
	no(&pattern_stream_arn, "arn:aws\n:kinesis:r:123456789012:stream/a");
	no(&pattern_stream_arn, "arn:aws:kinesis:\xe2\x80\xa9:123456789012:stream/a");
	no(&pattern_stream_arn, "arn:aws:sqs:r:123456789012:stream/a");
}

Test(matchers, consumer_arns)
{
	yes(&pattern_consumer_arn, CONSUMER_ARN);
	yes(&pattern_consumer_arn, "arn:aws:kinesis:r:123456789012:anystream/a/consumer/b:1");
	yes(&pattern_consumer_arn, "arn:aws:kinesis:r:123456789012:stream/x/stream/a/consumer/b:0123456789");
	yes(&pattern_consumer_arn, "arn:aws:kinesis:r:123456789012:stream/stream/a/consumer/b:1");
	no(&pattern_consumer_arn, STREAM_ARN);
	no(&pattern_consumer_arn, STREAM_ARN "/consumer/app");
	no(&pattern_consumer_arn, STREAM_ARN "/consumer/app:");
	no(&pattern_consumer_arn, STREAM_ARN "/consumer/app:1x");
	no(&pattern_consumer_arn, STREAM_ARN "/consumer/:1");
	no(&pattern_consumer_arn, STREAM_ARN "/consumer/a b:1");
	no(&pattern_consumer_arn, STREAM_ARN "/consumers/app:1");
	no(&pattern_consumer_arn, "arn:aws:kinesis:r:123456789012:stream//consumer/b:1");
	no(&pattern_consumer_arn, "arn:aws:kinesis:r:123456789012:a/consumer/b:1");
	no(&pattern_consumer_arn, "arn:aws:kinesis:r:12345678901:stream/a/consumer/b:1");
	no(&pattern_consumer_arn, "arn:aws:kinesis:r:123456789012stream/a/consumer/b:1");
	no(&pattern_consumer_arn, "arn:aws:kinesis:r\n:123456789012:stream/a/consumer/b:1");
	no(&pattern_consumer_arn, "arn:aws:kinesis:r:123456789012:\nstream/a/consumer/b:1");
	no(&pattern_consumer_arn, CONSUMER_ARN "\n");
}

/* ---- What is repeated of a request is bounded, whatever was sent ---- */

static void refused_in_few_bytes(const char *operation, const char *json, enum status status)
{
	struct str text;
	cr_expect_eq(bind(operation, json, &text), status, "%s %.60s", operation, json);
	cr_expect_lt(text.n, 3 * ECHO_MAX, "%s %.60s: %zu bytes", operation, json, text.n);
	arena_free(&arena);
}

Test(echoes, are_bounded)
{
	const char *large = repeat("a", 1 << 20);
	char *keep = xstrdup(large);
	refused_in_few_bytes("PutRecord", arena_printf(&arena, "{\"PartitionKey\":\"k\",\"Data\":\"%s.\"}", keep).p, STATUS_SERIALIZATION);
	refused_in_few_bytes("PutRecord", arena_printf(&arena, "{\"PartitionKey\":\"%s\",\"Data\":\"\"}", keep).p, STATUS_VALIDATION);
	refused_in_few_bytes("DeleteStream", arena_printf(&arena, "{\"StreamName\":\"s\",\"EnforceConsumerDeletion\":\"%s\"}", keep).p,
			     STATUS_SERIALIZATION);
	refused_in_few_bytes("DescribeStream", arena_printf(&arena, "{\"StreamName\":\"%s\"}", keep).p, STATUS_VALIDATION);
	refused_in_few_bytes("DescribeStream", arena_printf(&arena, "{\"StreamARN\":\"%s\"}", keep).p, STATUS_VALIDATION);
	refused_in_few_bytes("CreateStream", arena_printf(&arena, "{\"StreamName\":\"s\",\"Tags\":{\"%s\":\"%s\"}}", keep, keep).p,
			     STATUS_VALIDATION);
	refused_in_few_bytes("PutRecords", arena_printf(&arena, "{\"Records\":[%s{}]}", repeat("{},", 5000)).p, STATUS_VALIDATION);
	free(keep);
}
