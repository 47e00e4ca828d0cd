/* test_dispatch.c: the order of checks (kinesis-behaviour 1.2, 1.6), and the operations above a store that is not there: what they ask of
 * it, and what they make of its answers. */
#include <openssl/evp.h>

#include "fake_server.h"

#include "penstock/metrics.h"
#include "server/token.h"

TestSuite(dispatch, .init = fake_setup, .fini = fake_teardown);
TestSuite(ops, .init = fake_setup, .fini = fake_teardown);
TestSuite(tags, .init = fake_setup, .fini = fake_teardown);

/* One request with any head. NULL: header absent. */
static void raw(const char *method, const char *target, const char *type, const char *operation, const char *auth, const char *body)
{
	struct request *request = fake_request(method, target);
	if (type)
		fake_header(request, "Content-Type", type);
	if (operation)
		fake_header(request, "X-Amz-Target", operation);
	if (auth)
		fake_header(request, "Authorization", auth);
	if (auth)
		fake_header(request, "Date", "today");
	fake_send(request, body, strlen(body));
}

#define JSON_TYPE "application/x-amz-json-1.1"
#define CBOR_TYPE "application/x-amz-cbor-1.1"
#define LIST "Kinesis_20131202.ListStreams"

static void expect_raw(int line, int status, const char *type, const char *body)
{
	cr_expect_eq(answer.status, status, "line %d: %d", line, answer.status);
	cr_expect_str_eq(answer.type, type, "line %d: %s", line, answer.type);
	cr_expect_str_eq(text(), body, "line %d: %s", line, text());
}
#define EXPECT_RAW(status, type, body) expect_raw(__LINE__, status, type, body)

#define DENIED                                                                                  \
	"<AccessDeniedException>\n  <Message>Unable to determine service/operation name to be " \
	"authorized</Message>\n</AccessDeniedException>\n"
#define UNKNOWN "{\"__type\":\"UnknownOperationException\"}"
#define SERIALIZATION "{\"__type\":\"SerializationException\"}"
/* The same two as CBOR: an indefinite map with one pair. */
#define CBOR_UNKNOWN "\xbf\x66__type\x78\x19UnknownOperationException\xff"
#define CBOR_SERIALIZATION "\xbf\x66__type\x76SerializationException\xff"

/* ---- Admin pages ---- */

Test(dispatch, healthz_for_get_and_post_before_everything_else)
{
	raw("GET", "/healthz", NULL, NULL, NULL, "");
	EXPECT_RAW(200, "application/json", "{\"status\":\"ok\"}");
	cr_expect(answer.plain);
	raw("POST", "/healthz?x=1", NULL, NULL, NULL, "x");
	EXPECT_RAW(200, "application/json", "{\"status\":\"ok\"}");
	raw("POST", "/healthz", JSON_TYPE, LIST, AUTH, "{}");
	cr_expect_str_eq(answer.type, JSON_TYPE, "the path of a Kinesis call is not looked at");
}

Test(dispatch, metrics_and_state_for_get_alone)
{
	raw("GET", "/metrics", NULL, NULL, NULL, "");
	cr_expect_eq(answer.status, 200);
	cr_expect_not_null(strstr(text(), "penstock_requests_total"));
	raw("POST", "/metrics", JSON_TYPE, LIST, AUTH, "{}");
	cr_expect_str_eq(answer.type, JSON_TYPE);
	raw("DELETE", "/state", NULL, NULL, NULL, "");
	EXPECT_RAW(403, "none", DENIED);
}

Test(dispatch, state_names_streams_and_subscriptions)
{
	struct subscription sub = {.state = SUB_JOINING, .id = 5, .shard = orders_shards[2].key, .consumer = 11, .next = 77};
	sent_sub = &sub;
	raw("GET", "/state", NULL, NULL, NULL, "");
	sent_sub = NULL;
	cr_assert_eq(answer.status, 200);
	cr_expect_str_eq(string("streams.2.name"), "orders");
	cr_expect_str_eq(string("streams.2.shards.1.status"), "CLOSED");
	cr_expect_str_eq(string("streams.2.consumers.1.status"), "CREATING");
	cr_expect_str_eq(string("subscriptions.0.consumer"), "app");
	cr_expect_str_eq(string("subscriptions.0.shard"), "shardId-000000000002");
	cr_expect_str_eq(string("subscriptions.0.state"), "JOINING");
	cr_expect_eq(json_integer_value(member("subscriptions.0.cursor")), 77);
	cr_expect_eq(json_integer_value(member("subscriptions.0.lag_records")), 7);
}

Test(dispatch, state_says_what_the_transport_waits_for)
{
	struct request *request = fake_request("POST", "/");
	request->sub = (struct subscription){.state = SUB_READY, .id = 5, .shard = orders_shards[2].key, .consumer = 11};
	sent_sub = &request->sub;
	fake_blocked = "WINDOW";
	raw("GET", "/state", NULL, NULL, NULL, "");
	cr_expect_str_eq(string("subscriptions.0.state"), "WINDOW");
	cr_expect_not_null(strstr(string("subscriptions.0.reason"), "window is shut"));
	fake_blocked = NULL;
	raw("GET", "/state", NULL, NULL, NULL, "");
	cr_expect_str_eq(string("subscriptions.0.state"), "READY");
	sent_sub = NULL;
	request_free(request);
}

/* ---- The order of checks ---- */

Test(dispatch, preflight)
{
	fake_options.allow_origin = (struct option_list){{"http://x"}, 1};
	struct request *request = fake_request("OPTIONS", "/");
	fake_header(request, "Origin", "http://x");
	fake_header(request, "Access-Control-Request-Headers", "a,b");
	fake_header(request, "Access-Control-Request-Method", "POST");
	fake_send(request, "", 0);
	EXPECT_RAW(200, "none", "");
	cr_expect(answer.bare);
	cr_expect_str_eq(extra("Access-Control-Allow-Origin"), "*");
	cr_expect_str_eq(extra("Access-Control-Max-Age"), "172800");
	cr_expect_str_eq(extra("Access-Control-Allow-Headers"), "a,b");
	cr_expect_str_eq(extra("Access-Control-Allow-Methods"), "POST");
}

Test(dispatch, origin_without_preflight)
{
	fake_options.allow_origin = (struct option_list){{"http://x"}, 1};
	struct request *request = fake_request("POST", "/");
	fake_header(request, "Origin", "http://x");
	fake_header(request, "Content-Type", JSON_TYPE);
	fake_header(request, "X-Amz-Target", "Kinesis_20131202.Nope");
	fake_send(request, "{}", 2);
	EXPECT_RAW(400, JSON_TYPE, UNKNOWN);
	cr_expect_str_eq(extra("Access-Control-Allow-Origin"), "*");
	cr_expect_str_eq(extra("Access-Control-Expose-Headers"),
			 "x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date");
	cr_expect_null(extra("Access-Control-Max-Age"));
}

Test(dispatch, other_methods_are_denied)
{
	const char *methods[] = {"GET", "PUT", "DELETE", "HEAD", "OPTIONS"};
	for (size_t i = 0; i < 5; i++) {
		raw(methods[i], "/", JSON_TYPE, LIST, AUTH, "{}");
		EXPECT_RAW(403, "none", DENIED);
	}
}

Test(dispatch, empty_body)
{
	raw("POST", "/", JSON_TYPE, LIST, AUTH, "");
	EXPECT_RAW(400, JSON_TYPE, SERIALIZATION);
	raw("POST", "/", JSON_TYPE, NULL, AUTH, "");
	EXPECT_RAW(400, JSON_TYPE, UNKNOWN);
	raw("POST", "/", JSON_TYPE, "Kinesis_20131202.Nope", AUTH, "");
	EXPECT_RAW(400, JSON_TYPE, UNKNOWN);
	raw("POST", "/", NULL, LIST, AUTH, "");
	EXPECT_RAW(400, CBOR_TYPE, CBOR_SERIALIZATION);
	raw("POST", "/", "application/json", LIST, AUTH, "");
	EXPECT_RAW(400, CBOR_TYPE, CBOR_SERIALIZATION);
	raw("POST", "/", "application/x-amz-json-1.0", "Other.ListStreams", AUTH, "");
	EXPECT_RAW(400, CBOR_TYPE, CBOR_UNKNOWN);
}

Test(dispatch, content_type_that_is_none)
{
	raw("POST", "/", "text/plain", LIST, AUTH, "{}");
	EXPECT_RAW(404, "none", "<UnknownOperationException/>\n");
	raw("POST", "/", NULL, "Whatever.Nope", AUTH, "{}");
	EXPECT_RAW(404, "none", "<UnknownOperationException/>\n");
	raw("POST", "/", NULL, "Kinesis_20131202", AUTH, "{}");
	EXPECT_RAW(403, "none", DENIED);
	raw("POST", "/", "APPLICATION/x-amz-json-1.1", ".ListStreams", AUTH, "{}");
	EXPECT_RAW(403, "none", DENIED);
}

Test(dispatch, content_type_is_cut_at_the_semicolon)
{
	raw("POST", "/", " application/x-amz-json-1.1 ; charset=utf-8", LIST, AUTH, "{}");
	cr_expect_eq(answer.status, 200, "%s", text());
}

Test(dispatch, body_that_does_not_decode)
{
	const char *bad[] = {"{", "\"x\"", "23", "true", "null", "[]", "{}{}"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		raw("POST", "/", JSON_TYPE, "Kinesis_20131202.Nope", NULL, bad[i]);
		EXPECT_RAW(400, JSON_TYPE, SERIALIZATION);
	}
	raw("POST", "/", CBOR_TYPE, LIST, AUTH, "{}");
	EXPECT_RAW(400, CBOR_TYPE, CBOR_SERIALIZATION);
}

Test(dispatch, the_legacy_content_type_never_gets_far)
{
	raw("POST", "/", "application/json", LIST, AUTH, "{");
	EXPECT_RAW(400, "application/json",
		   "{\"Output\":{\"__type\":\"com.amazon.coral.service#SerializationException\"},\"Version\":\"1.0\"}");
	raw("POST", "/", "application/json", LIST, AUTH, "{}");
	EXPECT_RAW(404, "application/json",
		   "{\"Output\":{\"__type\":\"com.amazon.coral.service#UnknownOperationException\"},\"Version\":\"1.0\"}");
}

Test(dispatch, unknown_operation_comes_before_the_signature)
{
	const char *bad[] = {"Kinesis_20131202.Nope", "Kinesis_20131201.ListStreams", "ListStreams", "Kinesis_20131202.",
			     "kinesis_20131202.ListStreams"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		raw("POST", "/", JSON_TYPE, bad[i], NULL, "{}");
		EXPECT_RAW(400, JSON_TYPE, UNKNOWN);
	}
	raw("POST", "/", CBOR_TYPE, "Kinesis_20131202.Nope", NULL, "\xbf\xff");
	EXPECT_RAW(400, CBOR_TYPE, CBOR_UNKNOWN);
	cr_expect_str_eq(extra("x-amzn-ErrorType"), "UnknownOperationException");
}

Test(dispatch, signature_in_both_places_or_none)
{
	raw("POST", "/?X-Amz-Algorithm=x", JSON_TYPE, LIST, AUTH, "{}");
	EXPECT_ERROR("InvalidSignatureException",
		     "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.");
	raw("POST", "/", JSON_TYPE, LIST, NULL, "{}");
	EXPECT_ERROR("MissingAuthenticationTokenException", "Missing Authentication Token");
	raw("POST", "/?X-Amz-Credential=x&X-Amz-Date=y", JSON_TYPE, LIST, NULL, "{}");
	EXPECT_ERROR("MissingAuthenticationTokenException", "Missing Authentication Token");
}

#define NEEDS(p) "Authorization header requires '" p "' parameter. "
#define NEEDS_DATE "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. "

Test(dispatch, signature_in_the_header)
{
	raw("POST", "/", JSON_TYPE, LIST, "X", "{}");
	EXPECT_ERROR("IncompleteSignatureException", NEEDS("Credential") NEEDS("Signature") NEEDS("SignedHeaders") "Authorization=X");
	raw("POST", "/", JSON_TYPE, LIST, "A Credential=a,Signature=,SignedHeaders=h", "{}");
	EXPECT_ERROR("IncompleteSignatureException", NEEDS("Signature") "Authorization=A Credential=a,Signature=,SignedHeaders=h");
	raw("POST", "/", JSON_TYPE, LIST, "Credential=a SignedHeaders=h,Signature=b", "{}");
	EXPECT_ERROR("IncompleteSignatureException", NEEDS("Credential") "Authorization=Credential=a SignedHeaders=h,Signature=b");
	struct request *request = fake_request("POST", "/");
	fake_header(request, "Content-Type", JSON_TYPE);
	fake_header(request, "X-Amz-Target", LIST);
	fake_header(request, "Authorization", AUTH);
	fake_send(request, "{}", 2);
	EXPECT_ERROR("IncompleteSignatureException", NEEDS_DATE "Authorization=" AUTH);
	raw("POST", "/", JSON_TYPE, LIST, "A Credential=a,Signature=b,SignedHeaders=h", "{}");
	cr_expect_eq(answer.status, 200);
}

#define QUERY(p) "AWS query-string parameters must include '" p "'. "

Test(dispatch, signature_in_the_query)
{
	raw("POST", "/?X-Amz-Algorithm", JSON_TYPE, LIST, NULL, "{}");
	EXPECT_ERROR("IncompleteSignatureException",
		     QUERY("X-Amz-Algorithm") QUERY("X-Amz-Credential") QUERY("X-Amz-Signature") QUERY("X-Amz-SignedHeaders")
			     QUERY("X-Amz-Date") "Re-examine the query-string parameters.");
	raw("POST", "/?X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c&X-Amz-SignedHeaders=d", JSON_TYPE, LIST, NULL, "{}");
	EXPECT_ERROR("IncompleteSignatureException", QUERY("X-Amz-Date") "Re-examine the query-string parameters.");
	raw("POST", "/?X-Amz-Algorithm=a&X-Amz-Credential=b&X-Amz-Signature=c&X-Amz-SignedHeaders=d&X-Amz-Date=e", JSON_TYPE, LIST, NULL,
	    "{}");
	cr_expect_eq(answer.status, 200);
}

Test(dispatch, signature_comes_before_types_and_types_before_validation)
{
	raw("POST", "/", JSON_TYPE, "Kinesis_20131202.DescribeStream", NULL, "{\"StreamName\":1,\"Limit\":0}");
	EXPECT_ERROR("MissingAuthenticationTokenException", "Missing Authentication Token");
	call("DescribeStream", "{\"StreamName\":1,\"Limit\":0}");
	cr_expect_str_eq(string("__type"), "SerializationException");
	cr_expect_str_eq(string("Message"),
			 "class com.amazon.coral.value.json.numbers.TruncatingBigNumber can not be converted to an String");
	cr_expect_str_eq(string("message"), "(absent)");
	call("DescribeStream", "{\"StreamName\":\"nope\",\"Limit\":0}");
	EXPECT_ERROR("ValidationException",
		     "1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have "
		     "value greater than or equal to 1");
	call("DescribeStream", "{\"StreamName\":\"nope\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Stream nope under account 000000000000 not found.");
}

Test(dispatch, operations_that_are_not_there_yet_say_so)
{
	call("AddTagsToStream", "{}");
	EXPECT_ERROR("InvalidArgumentException", "AddTagsToStream is not there yet in penstock.");
	raw("POST", "/", JSON_TYPE, "Kinesis_20131202.SplitShard", NULL, "{}");
	EXPECT_ERROR("MissingAuthenticationTokenException", "Missing Authentication Token");
}

/* ---- CreateStream, DeleteStream ---- */

static void change_done(enum status status, enum change_cause cause)
{
	struct change *change = sent_change;
	cr_assert_not_null(change);
	sent_change = NULL;
	change->status = status;
	change->cause = cause;
	answer.status = 0;
	change->on_done(change);
}

Test(ops, create_asks_for_a_provisioned_stream)
{
	call("CreateStream", "{\"StreamName\":\"fresh\",\"ShardCount\":3}");
	cr_assert_not_null(sent_change);
	cr_expect_eq(answer.status, 0, "not answered before it is done");
	cr_expect_eq(sent_change->kind, CHANGE_CREATE_STREAM);
	cr_expect_eq(sent_change->mode, MODE_PROVISIONED);
	cr_expect_eq(sent_change->shards, 3);
	cr_expect_eq(sent_change->max_record_kib, 1024);
	change_done(STATUS_OK, CAUSE_NONE);
	EXPECT_RAW(200, JSON_TYPE, "");
}

Test(ops, create_on_demand_by_name_or_by_default)
{
	call("CreateStream", "{\"StreamName\":\"fresh\",\"StreamModeDetails\":{\"StreamMode\":\"ON_DEMAND\"}}");
	cr_expect_eq(sent_change->mode, MODE_ON_DEMAND);
	cr_expect_eq(sent_change->shards, 4);
	change_done(STATUS_OK, CAUSE_NONE);
	call("CreateStream", "{\"StreamName\":\"fresh\",\"MaxRecordSizeInKiB\":2048}");
	cr_expect_eq(sent_change->mode, MODE_ON_DEMAND);
	cr_expect_eq(sent_change->max_record_kib, 2048);
	change_done(STATUS_OK, CAUSE_NONE);
}

Test(ops, create_refused_by_what_it_says)
{
	call("CreateStream", "{\"StreamName\":\"fresh\",\"ShardCount\":1,\"StreamModeDetails\":{\"StreamMode\":\"ON_DEMAND\"}}");
	EXPECT_ERROR("ValidationException", "ShardCount is not expected when StreamMode=ON_DEMAND");
	call("CreateStream", "{\"StreamName\":\"fresh\",\"StreamModeDetails\":{\"StreamMode\":\"PROVISIONED\"}}");
	EXPECT_ERROR("ValidationException", "ShardCount is required when StreamMode=PROVISIONED");
	call("CreateStream", "{\"StreamName\":\"leaving\",\"ShardCount\":1}");
	EXPECT_ERROR("ResourceInUseException", "Stream leaving under account 000000000000 already exists.");
	cr_expect_null(sent_change);
}

Test(ops, create_takes_the_distribution_that_there_is)
{
	call("CreateStream", "{\"StreamName\":\"fresh\",\"RecordDistributionStrategy\":\"AUTO\"}");
	EXPECT_ERROR("InvalidArgumentException", "RecordDistributionStrategy AUTO is not there yet in penstock; use USER_PARTITION_KEY.");
	call("CreateStream", "{\"StreamName\":\"fresh\",\"ShardCount\":1,\"RecordDistributionStrategy\":\"AUTO\"}");
	EXPECT_ERROR("InvalidArgumentException",
		     "RecordDistributionStrategy AUTO is only supported for streams that use the on-demand capacity mode.");
	cr_expect_null(sent_change);
	call("CreateStream", "{\"StreamName\":\"fresh\",\"RecordDistributionStrategy\":\"USER_PARTITION_KEY\"}");
	change_done(STATUS_OK, CAUSE_NONE);
	EXPECT_RAW(200, JSON_TYPE, "");
}

/* "more than the account's limit" is the catalogue's to say, which knows how many there are. */
Test(ops, create_leaves_the_shard_limit_to_the_catalogue)
{
	call("CreateStream", "{\"StreamName\":\"fresh\",\"ShardCount\":100000}");
	cr_assert_not_null(sent_change);
	cr_expect_eq(sent_change->shards, 100000);
	change_done(STATUS_OK, CAUSE_NONE);
}

/* ---- Tags at a creation ---- */

/* Both operations that take tags, with these. The text of the consumer's differs in the names. */
static void tagged(const char *tags)
{
	char body[4096];
	snprintf(body, sizeof(body), "{\"StreamName\":\"fresh\",\"ShardCount\":1,\"Tags\":{%s}}", tags);
	call("CreateStream", body);
}
static void tagged_consumer(const char *tags)
{
	char body[4096];
	snprintf(body, sizeof(body),
		 "{\"StreamARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/orders\",\"ConsumerName\":\"c\",\"Tags\":{%s}}", tags);
	call("RegisterStreamConsumer", body);
}

#define ADD_STREAM "Failed to add tags to stream fresh under account 000000000000 because "
#define ADD_CONSUMER "Failed to add tags to consumer c under account 000000000000 because "

Test(tags, characters)
{
	static const char *const bad[] = {
		"\"a;\":\"\"",      "\"a\":\"b,c\"",       "\"a\\t\":\"\"",          "\"a\":\"\\n\"",
		"\"\\u0000\":\"\"", "\"a\":\"\xc2\xa0\"",  "\"a\":\"\xe2\x82\xac\"", "\"\xf0\x9f\x98\x80\":\"\"",
		"\"a*\":\"\"",      "\"a\":\"\xc3\xa4(\"",
	};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		tagged(bad[i]);
		EXPECT_ERROR("InvalidArgumentException", "Some tags contain invalid characters. Valid characters: Unicode letters, digits, "
							 "white space, _ . / = + - % @.");
		tagged_consumer(bad[i]);
		cr_expect_str_eq(string("__type"), "InvalidArgumentException", "%s", bad[i]);
	}
	tagged("\"a\":\"50%\"");
	EXPECT_ERROR("InvalidArgumentException", ADD_STREAM "some tags contained illegal characters. The allowed characters are Unicode "
							    "letters, white-spaces, '_',',','/','=','+','-','@'.");
	cr_expect_null(sent_change);
	tagged("\"Ab9_./-=+@: \xc3\xa4\xed\x95\x9c\":\"\",\"b\":\"x:y z\"");
	change_done(STATUS_OK, CAUSE_NONE);
}

Test(tags, reserved_keys)
{
	tagged("\"ok\":\"\",\"aws:x\":\"\"");
	EXPECT_ERROR("InvalidArgumentException", ADD_STREAM "keys that begin with aws: are reserved.");
	tagged_consumer("\"AwS:\":\"\"");
	EXPECT_ERROR("InvalidArgumentException", ADD_CONSUMER "keys that begin with aws: are reserved.");
	cr_expect_null(sent_change);
	tagged("\"aws\":\"\",\"x-aws:\":\"aws:value\"");
	change_done(STATUS_OK, CAUSE_NONE);
}

Test(tags, at_most_50)
{
	struct buf tags = {0};
	for (int i = 0; i < 50; i++)
		buf_printf(&tags, "%s\"k%d\":\"v\"", i ? "," : "", i);
	size_t n = tags.n;
	buf_put_char(&tags, '\0');
	tagged((char *)tags.p);
	change_done(STATUS_OK, CAUSE_NONE);
	tagged_consumer((char *)tags.p);
	sent_change->registered = (struct consumer_info){20, "c", CONSUMER_CREATING, 1600000009, INT64_C(1600000009123)};
	change_done(STATUS_OK, CAUSE_NONE);
	tags.n = n;
	buf_put(&tags, ",\"k50\":\"\"", 10);
	buf_put_char(&tags, '\0');
	tagged((char *)tags.p);
	EXPECT_ERROR("InvalidArgumentException", ADD_STREAM "a given stream cannot have more than 50 tags associated with it.");
	tagged_consumer((char *)tags.p);
	EXPECT_ERROR("InvalidArgumentException", ADD_CONSUMER "a given consumer cannot have more than 50 tags associated with it.");
	buf_free(&tags);
	cr_expect_null(sent_change);
}

Test(ops, create_refused_by_the_catalogue)
{
	const char *body = "{\"StreamName\":\"fresh\",\"ShardCount\":3}";
	call("CreateStream", body);
	change_done(STATUS_IN_USE, CAUSE_EXISTS);
	EXPECT_ERROR("ResourceInUseException", "Stream fresh under account 000000000000 already exists.");
	call("CreateStream", body);
	sent_change->have = 19999;
	sent_change->limit = 20000;
	sent_change->would = 3;
	change_done(STATUS_LIMIT_EXCEEDED, CAUSE_SHARD_LIMIT);
	EXPECT_ERROR(
		"LimitExceededException",
		"This request would exceed the shard limit for the account 000000000000 in us-east-1. Current shard count for the account: "
		"19999. Limit: 20000. Number of additional shards that would have resulted from this request: 3. Refer to the AWS Service "
		"Limits page (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and how to request "
		"higher limits.");
	call("CreateStream", body);
	sent_change->limit = 5;
	change_done(STATUS_LIMIT_EXCEEDED, CAUSE_CHANGING_LIMIT);
	EXPECT_ERROR("LimitExceededException",
		     "This request would have exceed the limit on the number  of streams that can simultaneously be in "
		     "CREATING or DELETING for the account 000000000000. Limit: 5.");
	call("CreateStream", body);
	change_done(STATUS_INTERNAL, CAUSE_FAULT);
	EXPECT_RAW(500, JSON_TYPE, "{\"__type\":\"InternalFailure\"}");
}

Test(ops, delete_and_its_refusals)
{
	call("DeleteStream", "{\"StreamARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/orders\",\"EnforceConsumerDeletion\":true}");
	cr_expect(str_equal(sent_change->stream, STR("orders")));
	cr_expect(sent_change->enforce_consumer_deletion);
	change_done(STATUS_OK, CAUSE_NONE);
	EXPECT_RAW(200, JSON_TYPE, "");
	call("DeleteStream", "{\"StreamName\":\"orders\"}");
	cr_expect(!sent_change->enforce_consumer_deletion);
	change_done(STATUS_IN_USE, CAUSE_HAS_CONSUMERS);
	EXPECT_ERROR(
		"ResourceInUseException",
		"DeleteStream can't delete arn:aws:kinesis:us-east-1:000000000000:stream/orders because there are consumers associated "
		"with "
		"this data stream. To delete orders anyway, set the EnforceConsumerDeletion parameter to true to force the deletion of all "
		"the consumers that are associated with it.");
	call("DeleteStream", "{\"StreamName\":\"nope\"}");
	change_done(STATUS_NOT_FOUND, CAUSE_NO_STREAM);
	EXPECT_ERROR("ResourceNotFoundException", "Stream nope under account 000000000000 not found.");
}

Test(ops, a_client_that_left_changes_nothing)
{
	struct request *request = fake_request("POST", "/");
	fake_header(request, "X-Amz-Target", "Kinesis_20131202.CreateStream");
	fake_header(request, "Content-Type", JSON_TYPE);
	fake_header(request, "Authorization", AUTH);
	fake_header(request, "Date", "today");
	fake_send(request, "{\"StreamName\":\"fresh\"}", 22);
	int before = answer.count;
	request_detach(request);
	change_done(STATUS_OK, CAUSE_NONE);
	cr_expect_eq(answer.count, before);
	cr_expect_eq(fake_worker.requests, 0, "freed by the answer that fell away");
}

/* ---- Descriptions and lists ---- */

Test(ops, describe_a_stream_with_lineage)
{
	call("DescribeStream", "{\"StreamName\":\"orders\"}");
	cr_assert_eq(answer.status, 200);
	cr_expect_str_eq(string("StreamDescription.StreamARN"), "arn:aws:kinesis:us-east-1:000000000000:stream/orders");
	cr_expect_str_eq(string("StreamDescription.StreamStatus"), "ACTIVE");
	cr_expect_str_eq(string("StreamDescription.StreamModeDetails.StreamMode"), "PROVISIONED");
	cr_expect_str_eq(string("StreamDescription.EncryptionType"), "NONE");
	cr_expect_eq(json_array_size(member("StreamDescription.EnhancedMonitoring")), 1);
	cr_expect_eq(json_array_size(member("StreamDescription.EnhancedMonitoring.0.ShardLevelMetrics")), 0);
	cr_expect_eq(json_integer_value(member("StreamDescription.RetentionPeriodHours")), 24);
	cr_expect_not_null(strstr(text(), "\"StreamCreationTimestamp\":1600000000.001"));
	cr_expect_eq(json_array_size(member("StreamDescription.Shards")), 6);
	cr_expect_str_eq(string("StreamDescription.Shards.0.SequenceNumberRange.StartingSequenceNumber"),
			 "49610756384790827419890419256589692040303913337075269634");
	cr_expect_str_eq(string("StreamDescription.Shards.2.SequenceNumberRange.EndingSequenceNumber"), "(absent)");
	cr_expect_str_eq(string("StreamDescription.Shards.2.ParentShardId"), "shardId-000000000000");
	cr_expect_str_eq(string("StreamDescription.Shards.2.AdjacentParentShardId"), "(absent)");
	cr_expect_str_eq(string("StreamDescription.Shards.5.AdjacentParentShardId"), "shardId-000000000004");
	cr_expect_str_eq(string("StreamDescription.Shards.0.ParentShardId"), "(absent)");
	cr_expect_not_null(member("StreamDescription.Shards.0.SequenceNumberRange.EndingSequenceNumber"));
	cr_expect_str_eq(string("StreamDescription.Shards.3.HashKeyRange.EndingHashKey"), "12");
	cr_expect(json_is_false(member("StreamDescription.HasMoreShards")));
}

Test(ops, describe_pages_by_shard_names)
{
	call("DescribeStream", "{\"StreamName\":\"orders\",\"Limit\":2,\"ExclusiveStartShardId\":\"shardId-000000000001\"}");
	cr_expect_eq(json_array_size(member("StreamDescription.Shards")), 2);
	cr_expect_str_eq(string("StreamDescription.Shards.0.ShardId"), "shardId-000000000002");
	cr_expect(json_is_true(member("StreamDescription.HasMoreShards")));
	call("DescribeStream", "{\"StreamName\":\"orders\",\"Limit\":2,\"ExclusiveStartShardId\":\"shardId-000000000003\"}");
	cr_expect(json_is_false(member("StreamDescription.HasMoreShards")));
}

Test(ops, describe_a_creating_stream)
{
	call("DescribeStream", "{\"StreamName\":\"coming\"}");
	cr_expect_str_eq(string("StreamDescription.StreamStatus"), "CREATING");
	cr_expect_eq(json_array_size(member("StreamDescription.Shards")), 0);
	cr_expect(json_is_array(member("StreamDescription.Shards")));
	call("DescribeStreamSummary", "{\"StreamName\":\"coming\"}");
	cr_expect_eq(json_integer_value(member("StreamDescriptionSummary.OpenShardCount")), 0);
}

Test(ops, R13_summary_has_no_stream_id)
{
	call("DescribeStreamSummary", "{\"StreamName\":\"orders\"}");
	cr_assert_eq(answer.status, 200);
	cr_expect_eq(json_integer_value(member("StreamDescriptionSummary.OpenShardCount")), 3);
	cr_expect_eq(json_integer_value(member("StreamDescriptionSummary.ConsumerCount")), 3);
	cr_expect_eq(json_integer_value(member("StreamDescriptionSummary.MaxRecordSizeInKiB")), 1024);
	cr_expect_str_eq(string("StreamDescriptionSummary.RecordDistributionStrategy"), "USER_PARTITION_KEY", "the KPL warns without it");
	cr_expect_null(strstr(text(), "StreamId"));
	cr_expect_null(member("StreamDescriptionSummary.Shards"));
}

static char *next_token(void) { return xstrdup(string("NextToken")); }

Test(ops, list_streams_pages_both_ways)
{
	call("ListStreams", "{\"Limit\":3}");
	cr_expect_eq(json_array_size(member("StreamNames")), 3);
	cr_expect_str_eq(string("StreamNames.0"), "coming");
	cr_expect_str_eq(string("StreamSummaries.1.StreamStatus"), "DELETING");
	cr_expect(json_is_true(member("HasMoreStreams")));
	char body[TOKEN_TEXT_MAX + 64], *token = next_token();
	snprintf(body, sizeof(body), "{\"NextToken\":\"%s\",\"ExclusiveStartStreamName\":\"zzz\"}", token);
	call("ListStreams", body);
	cr_expect_eq(json_array_size(member("StreamNames")), 1);
	cr_expect_str_eq(string("StreamNames.0"), "solo");
	cr_expect(json_is_false(member("HasMoreStreams")));
	cr_expect_null(member("NextToken"));
	fake_now_ms += 300001;
	call("ListStreams", body);
	EXPECT_ERROR("ExpiredNextTokenException", "NextToken expired. The token was created at time Sun Sep 13 12:28:20 UTC 2020 while "
						  "right now it is Sun Sep 13 12:33:20 UTC "
						  "2020 which is further in the future than the tolerated delay of 300000 milliseconds.");
	call("ListStreams", "{\"NextToken\":\"x\"}");
	EXPECT_ERROR("InvalidArgumentException", "Invalid NextToken.");
	call("ListStreams", "{\"ExclusiveStartStreamName\":\"m\"}");
	cr_expect_str_eq(string("StreamNames.0"), "orders", "need not exist");
	free(token);
}

/* ---- ListShards ---- */

/* The numbers of the shards that the last answer lists, as text "023". */
static const char *listed(void)
{
	static char out[16];
	size_t n = json_array_size(member("Shards"));
	for (size_t i = 0; i < n && i < 15; i++) {
		char path[32];
		snprintf(path, sizeof(path), "Shards.%zu.ShardId", i);
		out[i] = string(path)[19];
	}
	out[n] = '\0';
	return out;
}

static const char *filtered(const char *filter)
{
	char body[256];
	snprintf(body, sizeof(body), "{\"StreamName\":\"orders\",\"ShardFilter\":{%s}}", filter);
	call("ListShards", body);
	cr_assert_eq(answer.status, 200, "%s", text());
	return listed();
}

/* A stream that is created again within the second has its creation ahead of the clock. */
Test(ops, a_creation_ahead_of_the_clock_hides_no_parent)
{
	streams[2].created_ms = (CREATED_S + 500) * 1000;
	cr_expect_str_eq(filtered("\"Type\":\"AT_TRIM_HORIZON\""), "014");
	cr_expect_str_eq(filtered("\"Type\":\"FROM_TRIM_HORIZON\""), "012345");
	call("GetShardIterator", "{\"StreamName\":\"orders\",\"ShardId\":\"shardId-000000000000\",\"ShardIteratorType\":\"TRIM_HORIZON\"}");
	cr_expect_not_null(sent_locate);
}

/* By the time that retention goes by, not by a clock that is ahead. */
Test(ops, what_is_listed_as_expired)
{
	int64_t now_ms = fake_now_ms;
	fake_now_ms = (CREATED_S + 100) * 1000 + INT64_C(50) * 3600000;
	cr_expect_str_eq(filtered("\"Type\":\"FROM_TRIM_HORIZON\""), "235");
	fake_doubt_ms = INT64_C(50) * 3600000;
	cr_expect_str_eq(filtered("\"Type\":\"FROM_TRIM_HORIZON\""), "012345");
	cr_expect_str_eq(filtered("\"Type\":\"AT_TRIM_HORIZON\""), "014");
	fake_doubt_ms = 0;
	fake_now_ms = now_ms;
}

Test(ops, R12_list_shards_filters)
{
	cr_expect_str_eq(filtered("\"Type\":\"FROM_TRIM_HORIZON\""), "012345");
	cr_expect_str_eq(filtered("\"Type\":\"AT_LATEST\""), "235");
	cr_expect_str_eq(filtered("\"Type\":\"AT_TRIM_HORIZON\""), "014", "the first generation");
	cr_expect_str_eq(filtered("\"Type\":\"AT_TIMESTAMP\",\"Timestamp\":1500000000"), "014", "before the creation: its time");
	cr_expect_str_eq(filtered("\"Type\":\"AT_TIMESTAMP\",\"Timestamp\":1600000020.5"), "014",
			 "between close and the children's opening");
	cr_expect_str_eq(filtered("\"Type\":\"AT_TIMESTAMP\",\"Timestamp\":1600000021"), "1234");
	cr_expect_str_eq(filtered("\"Type\":\"AT_TIMESTAMP\",\"Timestamp\":1600000041"), "235");
	cr_expect_str_eq(filtered("\"Type\":\"AT_TIMESTAMP\",\"Timestamp\":1700000000"), "235");
	cr_expect_str_eq(filtered("\"Type\":\"FROM_TIMESTAMP\",\"Timestamp\":1600000030"), "12345");
	cr_expect_str_eq(filtered("\"Type\":\"FROM_TIMESTAMP\",\"Timestamp\":1700000000"), "235");
	cr_expect_str_eq(filtered("\"Type\":\"AFTER_SHARD_ID\",\"ShardId\":\"shardId-000000000003\""), "45");
}

Test(ops, list_shards_filter_members_must_fit)
{
	call("ListShards", "{\"StreamName\":\"orders\",\"ShardFilter\":{\"Type\":\"AT_TIMESTAMP\"}}");
	EXPECT_ERROR("InvalidArgumentException", "ShardFilter of type AT_TIMESTAMP must have a Timestamp.");
	call("ListShards", "{\"StreamName\":\"orders\",\"ShardFilter\":{\"Type\":\"AFTER_SHARD_ID\"}}");
	EXPECT_ERROR("InvalidArgumentException", "ShardFilter of type AFTER_SHARD_ID must have a ShardId.");
	call("ListShards", "{\"StreamName\":\"orders\",\"ShardFilter\":{\"Type\":\"AT_LATEST\",\"Timestamp\":1}}");
	EXPECT_ERROR("InvalidArgumentException", "ShardFilter of type AT_LATEST must not have a Timestamp.");
}

Test(ops, list_shards_pages_and_keeps_the_filter)
{
	call("ListShards", "{\"StreamName\":\"orders\",\"MaxResults\":2,\"ShardFilter\":{\"Type\":\"AT_LATEST\"}}");
	cr_expect_str_eq(listed(), "23");
	char body[TOKEN_TEXT_MAX + 128], *token = next_token();
	snprintf(body, sizeof(body), "{\"NextToken\":\"%s\",\"MaxResults\":2,\"ShardFilter\":{\"Type\":\"AT_TRIM_HORIZON\"}}", token);
	call("ListShards", body);
	cr_expect_str_eq(listed(), "5", "R12: the token's filter counts, one beside it is borne");
	cr_expect_null(member("NextToken"));
	free(token);
}

Test(ops, list_shards_expired_shards_are_left_out)
{
	fake_now_ms = (CREATED_S + 30) * 1000 + 24 * INT64_C(3600000);
	call("ListShards", "{\"StreamName\":\"orders\"}");
	cr_expect_str_eq(listed(), "12345");
	cr_expect_str_eq(filtered("\"Type\":\"AT_TRIM_HORIZON\""), "1234", "no hole, and nothing twice");
}

Test(ops, list_shards_parameters_that_do_not_go_together)
{
	call("ListShards", "{}");
	EXPECT_ERROR("InvalidArgumentException", "Either NextToken or StreamName should be provided.");
	call("ListShards", "{\"NextToken\":\"x\",\"StreamName\":\"orders\"}");
	EXPECT_ERROR("InvalidArgumentException", "NextToken and StreamName cannot be provided together.");
	call("ListShards", "{\"NextToken\":\"x\",\"StreamARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/orders\"}");
	EXPECT_ERROR("InvalidArgumentException", "NextToken and StreamARN cannot be provided together.");
	call("ListShards", "{\"NextToken\":\"x\",\"ExclusiveStartShardId\":\"shardId-000000000001\"}");
	EXPECT_ERROR("InvalidArgumentException", "NextToken and ExclusiveStartShardId cannot be provided together.");
	call("ListShards", "{\"NextToken\":\"x\",\"StreamCreationTimestamp\":1}");
	EXPECT_ERROR("InvalidArgumentException", "NextToken and StreamCreationTimestamp cannot be provided together.");
	call("ListShards", "{\"NextToken\":\"x\"}");
	EXPECT_ERROR("InvalidArgumentException", "Invalid NextToken.");
	call("ListShards", "{\"StreamName\":\"orders\",\"StreamCreationTimestamp\":1600000001}");
	EXPECT_ERROR("ResourceNotFoundException", "Stream orders under account 000000000000 not found.");
	call("ListShards", "{\"StreamName\":\"orders\",\"StreamCreationTimestamp\":1600000000}");
	cr_expect_eq(answer.status, 200, "by the second");
}

Test(ops, R17_list_shards_of_a_stream_in_transition)
{
	call("ListShards", "{\"StreamName\":\"coming\"}");
	EXPECT_ERROR("ResourceInUseException", "Stream coming under account 000000000000 not ACTIVE, instead in state CREATING");
	call("ListShards", "{\"StreamName\":\"leaving\"}");
	EXPECT_ERROR("ResourceInUseException", "Stream leaving under account 000000000000 not ACTIVE, instead in state DELETING");
}

/* ---- Puts ---- */

static void put_done(void)
{
	struct store_put *put = sent_put;
	sent_put = NULL;
	answer.status = 0;
	put->on_done(put);
}

static void stored(uint32_t i, uint64_t index)
{
	sent_put->records[i].status = STATUS_OK;
	sent_put->records[i].shard = orders_shards[2].key;
	sent_put->records[i].index = index;
	sent_put->records[i].arrival_ms = (CREATED_S + 30) * 1000;
}

Test(ops, put_record_hashes_the_key_with_md5)
{
	call("PutRecord", "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"aGk=\"}");
	cr_assert_not_null(sent_put);
	cr_expect_eq(sent_put->n, 1);
	cr_expect_eq(sent_put->stream, 1);
	cr_expect((uint64_t)(sent_put->records[0].hash >> 64) == UINT64_C(0x0cc175b9c0f1b6a8));
	cr_expect(str_equal(sent_put->records[0].data, STR("hi")));
	stored(0, 1);
	put_done();
	cr_assert_eq(answer.status, 200);
	char expected[SEQ_DIGITS + 1] = {0};
	seq_format(expected, &orders_shards[2].key, 1, CREATED_S + 30);
	cr_expect_str_eq(string("SequenceNumber"), expected);
	cr_expect_str_eq(string("ShardId"), "shardId-000000000002");
	cr_expect_null(member("EncryptionType"));
}

Test(ops, put_record_explicit_hash_key)
{
	call("PutRecord", "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\",\"ExplicitHashKey\":"
			  "\"340282366920938463463374607431768211455\"}");
	cr_expect(sent_put->records[0].hash == ~(uint128)0);
	stored(0, 1);
	put_done();
	call("PutRecord", "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\",\"ExplicitHashKey\":"
			  "\"340282366920938463463374607431768211456\"}");
	EXPECT_ERROR("InvalidArgumentException",
		     "Invalid ExplicitHashKey. ExplicitHashKey must be in the range: [0, 2^128-1]. Specified value was "
		     "340282366920938463463374607431768211456");
}

Test(ops, put_record_ordering_number)
{
	call("PutRecord", "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\",\"SequenceNumberForOrdering\":\"1\"}");
	cr_expect_not_null(sent_put, "version 0 is a number");
	stored(0, 1);
	put_done();
	char digits[SEQ_DIGITS + 1] = {0}, body[256], message[256];
	seq_format(digits, &orders_shards[2].key, 1, NOW_MS / 1000 + 1);
	snprintf(body, sizeof(body),
		 "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\",\"SequenceNumberForOrdering\":\"%s\"}", digits);
	call("PutRecord", body);
	snprintf(message, sizeof(message),
		 "ExclusiveMinimumSequenceNumber %s used in PutRecord on stream orders under account 000000000000 is invalid.", digits);
	EXPECT_ERROR("InvalidArgumentException", message);
	/* What was given out before the clock was set back. */
	fake_latest_ms = NOW_MS + 1000;
	call("PutRecord", body);
	stored(0, 1);
	put_done();
	fake_latest_ms = 0;
}

/* A position is a number that was given out, and no record's. */
Test(ops, put_record_ordering_number_of_a_position)
{
	char digits[SEQ_DIGITS + 1] = {0}, body[256], message[256];
	seq_format_position(digits, &orders_shards[2].key, 1, CREATED_S);
	snprintf(body, sizeof(body),
		 "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\",\"SequenceNumberForOrdering\":\"%s\"}", digits);
	call("PutRecord", body);
	snprintf(message, sizeof(message),
		 "ExclusiveMinimumSequenceNumber %s used in PutRecord on stream orders under account 000000000000 is invalid.", digits);
	EXPECT_ERROR("InvalidArgumentException", message);
}

/* A child's seconds run ahead of the clock: its first numbers are of its creation's second. */
Test(ops, put_record_ordering_number_of_a_child)
{
	char digits[SEQ_DIGITS + 1] = {0}, body[256];
	orders_shards[2].key.created_s = NOW_MS / 1000 + 30;
	seq_format(digits, &orders_shards[2].key, 1, seq_time_s(&orders_shards[2].key, NOW_MS));
	snprintf(body, sizeof(body),
		 "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\",\"SequenceNumberForOrdering\":\"%s\"}", digits);
	call("PutRecord", body);
	stored(0, 2);
	put_done();
}

Test(ops, R17_put_to_a_stream_in_transition_is_not_found)
{
	call("PutRecord", "{\"StreamName\":\"coming\",\"PartitionKey\":\"a\",\"Data\":\"\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Stream coming under account 000000000000 not found.");
	call("PutRecords", "{\"StreamName\":\"leaving\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\"}]}");
	EXPECT_ERROR("ResourceNotFoundException", "Stream leaving under account 000000000000 not found.");
	call("PutRecord", "{\"StreamName\":\"solo\",\"PartitionKey\":\"a\",\"Data\":\"\"}");
	cr_expect_not_null(sent_put, "UPDATING takes puts");
	stored(0, 1);
	put_done();
}

Test(ops, put_record_refused_by_the_store)
{
	const char *body = "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\"}";
	call("PutRecord", body);
	stored(0, 1);
	sent_put->records[0].status = STATUS_THROTTLED;
	put_done();
	EXPECT_ERROR("ProvisionedThroughputExceededException",
		     "Rate exceeded for shard shardId-000000000002 in stream orders under account 000000000000.");
	call("PutRecord", body);
	sent_put->status = STATUS_NOT_FOUND;
	put_done();
	EXPECT_ERROR("ResourceNotFoundException", "Stream orders under account 000000000000 not found.");
	call("PutRecord", body);
	sent_put->records[0].status = STATUS_IO;
	put_done();
	EXPECT_RAW(500, JSON_TYPE, "{\"__type\":\"InternalFailure\"}");
	call("PutRecord", body);
	sent_put->records[0].status = STATUS_CLOSING;
	put_done();
	expect_error(__LINE__, 503, "ServiceUnavailable", "The server is shutting down.");
}

Test(ops, R16_put_records_answer_is_compact_and_in_order)
{
	call("PutRecords",
	     "{\"StreamName\":\"orders\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\"},{\"PartitionKey\":\"b\",\"Data\":\"\"}]}");
	cr_assert_eq(sent_put->n, 2);
	stored(0, 5);
	stored(1, 6);
	put_done();
	cr_expect_eq(strncmp(text(), "{\"FailedRecordCount\":0,\"Records\":[{", 35), 0, "%s", text());
	cr_expect_eq(json_array_size(member("Records")), 2);
	char *second = xstrdup(string("Records.1.SequenceNumber"));
	cr_expect_lt(strcmp(string("Records.0.SequenceNumber"), second), 0);
	free(second);
}

/* Short keys are hashed many at once, long ones and a few by themselves, explicit hashes are read: each record gets its own. */
Test(ops, put_records_hash_each_key)
{
	for (int n = 1; n < 70; n += 11) {
		struct buf body = {0};
		buf_printf(&body, "{\"StreamName\":\"orders\",\"Records\":[");
		for (int i = 0; i < n; i++) {
			buf_printf(&body, "%s{\"PartitionKey\":\"%0*d\",\"Data\":\"\"", i ? "," : "", 1 + i * 5 % 200, i);
			buf_printf(&body, i % 7 == 3 ? ",\"ExplicitHashKey\":\"%d\"}" : "}", i);
		}
		buf_printf(&body, "]}");
		buf_put_char(&body, '\0');
		call("PutRecords", (const char *)body.p);
		buf_free(&body);
		cr_assert_eq(sent_put->n, (uint32_t)n);
		for (int i = 0; i < n; i++) {
			const struct put_record *record = &sent_put->records[i];
			uint8_t digest[16];
			uint128 hash = 0;
			cr_assert(EVP_Digest(record->key.p, record->key.n, digest, NULL, EVP_md5(), NULL));
			for (int j = 0; j < 16; j++)
				hash = hash << 8 | digest[j];
			cr_expect(record->hash == (i % 7 == 3 ? (uint128)i : hash), "record %d of %d", i, n);
			stored((uint32_t)i, (uint64_t)i);
		}
		put_done();
	}
}

Test(ops, put_records_answer_has_each_ones_shard_and_number)
{
	call("PutRecords",
	     "{\"StreamName\":\"orders\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\"},{\"PartitionKey\":\"b\",\"Data\":\"\"},"
	     "{\"PartitionKey\":\"c\",\"Data\":\"\"}]}");
	for (uint32_t i = 0; i < 3; i++)
		stored(i, 1000 + i);
	sent_put->records[1].shard = orders_shards[1].key;
	put_done();
	for (uint32_t i = 0; i < 3; i++) {
		char expected[SEQ_DIGITS + 1] = {0}, path[64];
		seq_format(expected, &orders_shards[i == 1 ? 1 : 2].key, 1000 + i, CREATED_S + 30);
		snprintf(path, sizeof(path), "Records.%u.SequenceNumber", i);
		cr_expect_str_eq(string(path), expected);
		snprintf(path, sizeof(path), "Records.%u.ShardId", i);
		cr_expect_str_eq(string(path), i == 1 ? "shardId-000000000001" : "shardId-000000000002");
	}
}

Test(ops, put_records_one_failure_each)
{
	call("PutRecords",
	     "{\"StreamName\":\"orders\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\"},{\"PartitionKey\":\"b\",\"Data\":\"\"},"
	     "{\"PartitionKey\":\"c\",\"Data\":\"\"}]}");
	stored(0, 5);
	stored(1, 6);
	stored(2, 6);
	sent_put->records[0].status = STATUS_THROTTLED;
	sent_put->records[1].status = STATUS_DISK_FULL;
	put_done();
	cr_expect_eq(json_integer_value(member("FailedRecordCount")), 2);
	cr_expect_str_eq(string("Records.0.ErrorCode"), "ProvisionedThroughputExceededException");
	cr_expect_str_eq(string("Records.0.ErrorMessage"),
			 "Rate exceeded for shard shardId-000000000002 in stream orders under account 000000000000.");
	cr_expect_str_eq(string("Records.1.ErrorCode"), "InternalFailure");
	cr_expect_str_eq(string("Records.1.ErrorMessage"), "Internal Service Failure");
	cr_expect_str_eq(string("Records.1.ShardId"), "(absent)");
	cr_expect_str_eq(string("Records.2.ShardId"), "shardId-000000000002");
}

/* PutRecords with n records of `size` bytes of data each. */
static void put_sizes(uint32_t n, size_t size)
{
	struct buf body = {0};
	size_t length = (size + 2) / 3 * 4;
	buf_printf(&body, "{\"StreamName\":\"orders\",\"Records\":[");
	for (uint32_t i = 0; i < n; i++) {
		buf_printf(&body, "%s{\"PartitionKey\":\"k\",\"Data\":\"", i ? "," : "");
		memset(buf_reserve(&body, length), 'A', length);
		body.n += length;
		memcpy(body.p + body.n - (3 - size % 3) % 3, "==", (3 - size % 3) % 3);
		buf_printf(&body, "\"}");
	}
	buf_printf(&body, "]}");
	buf_put_char(&body, '\0');
	call("PutRecords", (const char *)body.p);
	buf_free(&body);
}

#define TOO_LONG(path, most) "Value at '" path "' failed to satisfy constraint: Member must have length less than or equal to " most

Test(ops, put_records_sizes)
{
	put_sizes(1, (1 << 20) - 1);
	cr_assert_not_null(sent_put, "data and key are exactly 1 MiB");
	stored(0, 1);
	put_done();
	put_sizes(1, 1 << 20);
	EXPECT_ERROR("ValidationException", "1 validation error detected: " TOO_LONG("records.1.member.data", "1048576"));
	put_sizes(2, 1 << 20);
	EXPECT_ERROR("ValidationException", "2 validation errors detected: " TOO_LONG("records.1.member.data", "1048576") "; " TOO_LONG(
						    "records.2.member.data", "1048576"));
	put_sizes(11, 1000000);
	EXPECT_ERROR("InvalidArgumentException", "Records size exceeds 10 MB limit");
	put_sizes(11, 1048577);
	cr_expect_eq(strncmp(string("message"), "10 validation errors detected: ", 31), 0, "AWS counts no further");
	cr_expect_null(strstr(string("message"), "records.11."));
	cr_expect_null(sent_put);
}

/* PutRecord with a key of one character and n bytes of data, which 3 divides. */
static void put_one(size_t n)
{
	struct buf body = {0};
	buf_printf(&body, "{\"StreamName\":\"orders\",\"PartitionKey\":\"k\",\"Data\":\"");
	memset(buf_reserve(&body, n / 3 * 4), 'A', n / 3 * 4);
	body.n += n / 3 * 4;
	buf_put(&body, "\"}", 3);
	call("PutRecord", (const char *)body.p);
	buf_free(&body);
}

Test(ops, put_record_sizes_go_by_the_streams_own_maximum)
{
	put_one(1048575);
	cr_assert_not_null(sent_put, "data and key are exactly 1 MiB");
	stored(0, 1);
	put_done();
	put_one(1048578);
	EXPECT_ERROR("ValidationException", "1 validation error detected: " TOO_LONG("data", "1048576"));
	streams[2].max_record_kib = 2048;
	put_one(1048578);
	cr_assert_not_null(sent_put);
	stored(0, 1);
	put_done();
	put_one(2097153);
	EXPECT_ERROR("ValidationException", "1 validation error detected: " TOO_LONG("data", "2097152"));
	streams[2].max_record_kib = 1024;
	cr_expect_null(sent_put);
}

/* ---- GetShardIterator, GetRecords ---- */

static char *located(uint64_t next)
{
	cr_assert_not_null(sent_locate);
	struct store_locate *locate = sent_locate;
	sent_locate = NULL;
	locate->status = STATUS_OK;
	locate->next = next;
	locate->on_done(locate);
	cr_assert_eq(answer.status, 200, "%s", text());
	return xstrdup(string("ShardIterator"));
}

Test(ops, iterator_goes_through_the_store)
{
	call("GetShardIterator", "{\"StreamName\":\"orders\",\"ShardId\":\"shardId-2\",\"ShardIteratorType\":\"LATEST\"}");
	cr_assert_not_null(sent_locate);
	cr_expect_eq(sent_locate->shard, 2);
	cr_expect_eq(sent_locate->position.kind, POSITION_LATEST);
	char *first = located(17);
	struct iterator opened;
	cr_expect_eq(token_iterator_open(fake_server.iterator_key, str_of(first), NOW_MS, &opened), STATUS_OK);
	cr_expect_eq(opened.next, 17);
	free(first);
}

Test(ops, iterator_of_what_is_not_there)
{
	call("GetShardIterator", "{\"StreamName\":\"nope\",\"ShardId\":\"2147483648\",\"ShardIteratorType\":\"LATEST\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Could not find shard 2147483648 in stream nope under account 000000000000.");
	call("GetShardIterator", "{\"StreamName\":\"nope\",\"ShardId\":\"abc-5\",\"ShardIteratorType\":\"LATEST\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000005 in stream nope under account 000000000000 does not exist");
	call("GetShardIterator",
	     "{\"StreamName\":\"orders\",\"ShardId\":\"6\",\"ShardIteratorType\":\"LATEST\",\"StartingSequenceNumber\":\"1\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000006 in stream orders under account 000000000000 does not exist");
	call("GetShardIterator", "{\"StreamName\":\"coming\",\"ShardId\":\"0\",\"ShardIteratorType\":\"LATEST\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000000 in stream coming under account 000000000000 does not exist");
	call("GetShardIterator", "{\"StreamName\":\"orders\",\"ShardId\":\"2\",\"ShardIteratorType\":\"LATEST\"}");
	sent_locate->status = STATUS_CLOSING;
	sent_locate->on_done(sent_locate);
	expect_error(__LINE__, 503, "ServiceUnavailable", "The server is shutting down.");
}

static char *iterator_at(uint32_t shard, uint64_t next)
{
	struct iterator iterator = {.created_ms = fake_now_ms, .stream = 1, .shard = shard, .next = next, .name = "orders"};
	char *out = xmalloc(TOKEN_TEXT_MAX);
	token_iterator_seal(fake_server.iterator_key, &iterator, out);
	return out;
}

static void get_records(char *iterator, const char *rest)
{
	char body[TOKEN_TEXT_MAX + 256];
	snprintf(body, sizeof(body), "{\"ShardIterator\":\"%s\"%s}", iterator, rest);
	free(iterator);
	call("GetRecords", body);
}

/* A batch of n records "key i" from index `first` on, of `size` bytes each. */
static struct batch *batch_of(uint32_t shard, uint64_t first, uint32_t n, size_t size)
{
	struct batch *batch = batch_new(&orders_shards[shard].key);
	char *data = xcalloc(1, size + 1);
	batch->first = first;
	batch->arrival_ms = NOW_MS - 500;
	for (uint32_t i = 0; i < n; i++) {
		char key[16];
		snprintf(key, sizeof(key), "key %u", (unsigned)(first + i));
		cr_assert_eq(batch_append(batch, str_of(key), (struct str){data, size}), STATUS_OK);
	}
	free(data);
	return batch;
}

/* What a reader does, then the worker. */
static void read_done(struct batch **batches, uint32_t n, uint64_t durable_end, bool closed)
{
	struct store_read *read = sent_read;
	cr_assert_not_null(read);
	sent_read = NULL;
	read->status = STATUS_OK;
	read->from = read->next;
	read->durable_end = durable_end;
	read->durable_end_ms = NOW_MS - 500;
	read->closed = closed;
	read->n_batches = n;
	read->batches = n ? xcalloc(n, sizeof(*batches)) : NULL;
	for (uint32_t i = 0; i < n; i++)
		read->batches[i] = batches[i];
	if (n)
		read->on_read(read);
	answer.status = 0;
	read->on_done(read);
	cr_assert_eq(metric_get(METRIC_answer_bytes), 0);
}

static struct iterator next_iterator(void)
{
	struct iterator out;
	cr_assert_eq(token_iterator_open(fake_server.iterator_key, str_of(string("NextShardIterator")), fake_now_ms, &out), STATUS_OK);
	return out;
}

Test(ops, get_records_trims_to_the_iterator_and_the_limit)
{
	get_records(iterator_at(2, 12), ",\"Limit\":3");
	cr_expect(sent_read->limited);
	cr_expect_eq(sent_read->next, 12);
	cr_expect_eq(sent_read->max_records, 3);
	read_done((struct batch *[]){batch_of(2, 10, 10, 3)}, 1, 19, false);
	cr_assert_eq(answer.status, 200);
	cr_expect_eq(json_array_size(member("Records")), 3);
	cr_expect_str_eq(string("Records.0.PartitionKey"), "key 12");
	cr_expect_str_eq(string("Records.0.Data"), "AAAA");
	cr_expect_not_null(strstr(text(), "\"ApproximateArrivalTimestamp\":1600000099.500"));
	cr_expect_eq(json_integer_value(member("MillisBehindLatest")), 500, "R15");
	cr_expect_eq(next_iterator().next, 15);
	cr_expect_null(member("ChildShards"));
}

Test(ops, R15_behind_is_0_exactly_at_the_tip)
{
	get_records(iterator_at(2, 10), "");
	read_done((struct batch *[]){batch_of(2, 10, 10, 3)}, 1, 19, false);
	cr_expect_eq(json_integer_value(member("MillisBehindLatest")), 0);
	cr_expect_eq(next_iterator().next, 20);
	get_records(iterator_at(2, 20), "");
	read_done(NULL, 0, 19, false);
	cr_expect_eq(json_array_size(member("Records")), 0);
	cr_expect_eq(json_integer_value(member("MillisBehindLatest")), 0);
	cr_expect(json_is_integer(member("MillisBehindLatest")));
	cr_expect_eq(next_iterator().next, 20);
}

Test(ops, get_records_stops_at_10_MiB_but_never_before_one_record)
{
	get_records(iterator_at(2, 1), "");
	read_done((struct batch *[]){batch_of(2, 1, 3, 4u << 20), batch_of(2, 4, 1, 1)}, 2, 4, false);
	cr_expect_eq(json_array_size(member("Records")), 2);
	cr_expect_eq(next_iterator().next, 3);
	get_records(iterator_at(2, 1), "");
	read_done((struct batch *[]){batch_of(2, 1, 1, 11u << 20)}, 1, 1, false);
	cr_expect_eq(json_array_size(member("Records")), 1);
}

Test(ops, R9_end_of_a_split_shard)
{
	get_records(iterator_at(0, 1), "");
	read_done((struct batch *[]){batch_of(0, 1, 2, 3)}, 1, 2, true);
	cr_expect_eq(json_array_size(member("Records")), 2);
	cr_expect_null(member("NextShardIterator"));
	cr_expect_eq(json_array_size(member("ChildShards")), 2);
	cr_expect_str_eq(string("ChildShards.1.ShardId"), "shardId-000000000003");
	cr_expect_eq(json_array_size(member("ChildShards.0.ParentShards")), 1);
	cr_expect_str_eq(string("ChildShards.0.HashKeyRange.StartingHashKey"), "2");
}

/* The catalogue has the shard closed; the lane is to hear of it. */
Test(ops, R9_end_of_a_shard_that_the_lane_has_not_switched)
{
	get_records(iterator_at(0, 1), "");
	read_done((struct batch *[]){batch_of(0, 1, 2, 3)}, 1, 2, false);
	cr_expect_null(member("NextShardIterator"));
	cr_expect_eq(json_array_size(member("ChildShards")), 2);
}

Test(ops, R9_end_of_each_merged_shard_names_both_parents)
{
	for (uint32_t shard = 1; shard <= 4; shard += 3) {
		get_records(iterator_at(shard, 3), "");
		read_done(NULL, 0, 2, true);
		cr_expect_null(member("NextShardIterator"));
		cr_expect_eq(json_array_size(member("ChildShards")), 1);
		cr_expect_str_eq(string("ChildShards.0.ShardId"), "shardId-000000000005");
		cr_expect_str_eq(string("ChildShards.0.ParentShards.0"), "shardId-000000000001");
		cr_expect_str_eq(string("ChildShards.0.ParentShards.1"), "shardId-000000000004");
	}
}

Test(ops, R9_no_end_form_before_the_last_record_or_without_children)
{
	get_records(iterator_at(0, 1), ",\"Limit\":1");
	read_done((struct batch *[]){batch_of(0, 1, 2, 3)}, 1, 2, true);
	cr_expect_not_null(member("NextShardIterator"));
	cr_expect_null(member("ChildShards"));
	get_records(iterator_at(2, 1), "");
	read_done((struct batch *[]){batch_of(2, 1, 2, 3)}, 1, 2, true); /* sealed, but the children are not published yet */
	cr_expect_not_null(member("NextShardIterator"));
	cr_expect_null(member("ChildShards"));
}

Test(ops, get_records_iterators_that_do_not_serve)
{
	get_records(xstrdup("garbage"), "");
	EXPECT_ERROR("InvalidArgumentException", "Invalid ShardIterator.");
	char *old = iterator_at(2, 1);
	fake_now_ms += 301000;
	get_records(old, "");
	EXPECT_ERROR(
		"ExpiredIteratorException",
		"Iterator expired. The iterator was created at time Sun Sep 13 12:28:20 UTC 2020 while right now it is Sun Sep 13 12:33:21 "
		"UTC 2020 which is further in the future than the tolerated delay of 300000 milliseconds.");
	get_records(iterator_at(6, 1), "");
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000006 in stream orders under account 000000000000 does not exist");
	streams[2].id = 99; /* another incarnation */
	get_records(iterator_at(2, 1), "");
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000002 in stream orders under account 000000000000 does not exist");
	streams[2].id = 1;
	get_records(iterator_at(2, 1), ",\"StreamARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/solo\"");
	EXPECT_ERROR("InvalidArgumentException", "StreamARN does not match the stream of the ShardIterator.");
}

Test(ops, get_records_refused_by_the_store)
{
	get_records(iterator_at(2, 1), "");
	sent_read->status = STATUS_THROTTLED;
	sent_read->on_done(sent_read);
	EXPECT_ERROR("ProvisionedThroughputExceededException",
		     "Rate exceeded for shard shardId-000000000002 in stream orders under account 000000000000.");
	get_records(iterator_at(2, 1), "");
	sent_read->status = STATUS_CORRUPT;
	sent_read->on_done(sent_read);
	EXPECT_RAW(500, JSON_TYPE, "{\"__type\":\"InternalFailure\"}");
	get_records(iterator_at(2, 1), "");
	sent_read->status = STATUS_NOT_FOUND;
	sent_read->on_done(sent_read);
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000002 in stream orders under account 000000000000 does not exist");
}

Test(ops, get_records_refused_when_answers_fill_the_memory)
{
	size_t n = (size_t)(ANSWERS_MAX - ANSWERS_MAX / 32 - budget_taken(&fake_server.answers) - 8192);
	cr_assert(budget_take(&fake_server.answers, n, BUDGET_CALL));
	get_records(iterator_at(2, 1), "");
	budget_give(&fake_server.answers, n);
	EXPECT_ERROR("ProvisionedThroughputExceededException",
		     "Rate exceeded for shard shardId-000000000002 in stream orders under account 000000000000.");
	cr_expect_null(sent_read);
}

/* Fills the budget up to a class's ceiling but for `left` bytes. Returns what was taken. */
static size_t fill_answers(size_t most, size_t left)
{
	size_t n = most - left - (size_t)budget_taken(&fake_server.answers);
	cr_assert(budget_take(&fake_server.answers, n, BUDGET_REFUSAL));
	return n;
}

Test(ops, a_put_without_room_for_its_answer_is_refused_before_it_is_stored)
{
	size_t n = fill_answers(ANSWERS_MAX - ANSWERS_MAX / 32, 2000);
	fake_worker.answers = (struct budget_share){0};
	call("PutRecords", "{\"StreamName\":\"orders\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\"}]}");
	EXPECT_ERROR("ProvisionedThroughputExceededException",
		     "Too many bytes of answers wait for their clients; nothing was done. Take them, or ask again later.");
	cr_expect_null(sent_put);
	call("CreateStream", "{\"StreamName\":\"more\",\"ShardCount\":1}");
	EXPECT_ERROR("LimitExceededException",
		     "Too many bytes of answers wait for their clients; nothing was done. Take them, or ask again later.");
	cr_expect_null(sent_change);
	budget_give(&fake_server.answers, n);
	call("PutRecords", "{\"StreamName\":\"orders\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\"}]}");
	cr_expect_not_null(sent_put);
}

/* Their texts are longer than what is told of a record that is stored: the bound (looked at in fake_server.h) covers them. */
Test(ops, five_hundred_failures_stay_within_the_bound)
{
	struct buf body = {0};
	buf_put_str(&body, STR("{\"StreamName\":\"orders\",\"Records\":["));
	for (unsigned i = 0; i < 500; i++)
		buf_printf(&body, "%s{\"PartitionKey\":\"a\",\"Data\":\"\"}", i ? "," : "");
	buf_put(&body, "]}", 3);
	call("PutRecords", (char *)body.p);
	for (unsigned i = 0; i < 500; i++)
		sent_put->records[i].status = STATUS_THROTTLED;
	sent_put->on_done(sent_put);
	cr_expect_eq(answer.status, 200);
	cr_expect_gt(answer.body.n, 500 * 100u);
	buf_free(&body);
}

Test(ops, listings_stop_where_records_and_puts_go_on)
{
	size_t n = fill_answers(ANSWERS_MAX / 2, 0);
	call("ListShards", "{\"StreamName\":\"orders\"}");
	EXPECT_ERROR("LimitExceededException",
		     "Too many bytes of answers wait for their clients; nothing was done. Take them, or ask again later.");
	get_records(iterator_at(2, 1), "");
	cr_expect_not_null(sent_read);
	call("PutRecords", "{\"StreamName\":\"orders\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\"}]}");
	cr_expect_not_null(sent_put);
	budget_give(&fake_server.answers, n);
}

Test(ops, without_any_room_a_request_is_503_and_then_a_reset)
{
	size_t n = fill_answers(ANSWERS_MAX, ANSWER_HEAD);
	call("ListStreams", "{}");
	EXPECT_RAW(503, "none", "");
	unsigned before = n_reset;
	call("ListStreams", "{}");
	cr_expect_eq(n_reset, before + 1);
	budget_give(&fake_server.answers, n + ANSWER_HEAD);
}

/* A small one is told as long as calls are; a large one, such as /state with many streams, stops with listings. */
Test(ops, a_page_without_room_is_503)
{
	size_t n = fill_answers(ANSWERS_MAX / 2, 0);
	fake_send(fake_request("GET", "/metrics"), "", 0);
	cr_expect_eq(answer.status, 200);
	budget_give(&fake_server.answers, n);
	n = fill_answers(ANSWERS_MAX - ANSWERS_MAX / 32, 2000);
	fake_worker.answers = (struct budget_share){0};
	fake_send(fake_request("GET", "/metrics"), "", 0);
	EXPECT_RAW(503, "none", "");
	budget_give(&fake_server.answers, n);
}

/* ---- Consumers ---- */

#define ORDERS "arn:aws:kinesis:us-east-1:000000000000:stream/orders"

Test(ops, register_answers_with_the_consumer)
{
	call("RegisterStreamConsumer", "{\"StreamARN\":\"" ORDERS "\",\"ConsumerName\":\"c\"}");
	cr_assert_not_null(sent_change);
	cr_expect(str_equal(sent_change->consumer, STR("c")));
	sent_change->registered = (struct consumer_info){20, "c", CONSUMER_CREATING, 1600000009, INT64_C(1600000009123)};
	change_done(STATUS_OK, CAUSE_NONE);
	cr_assert_eq(answer.status, 200);
	cr_expect_str_eq(string("Consumer.ConsumerARN"), ORDERS "/consumer/c:1600000009");
	cr_expect_str_eq(string("Consumer.ConsumerStatus"), "CREATING");
	cr_expect_null(member("Consumer.StreamARN"));
}

Test(ops, register_refused)
{
	const char *body = "{\"StreamARN\":\"" ORDERS "\",\"ConsumerName\":\"app\"}";
	call("RegisterStreamConsumer", "{\"StreamARN\":\"" ORDERS "x\",\"ConsumerName\":\"c\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Stream ordersx under account 000000000000 not found.");
	call("RegisterStreamConsumer", body);
	change_done(STATUS_IN_USE, CAUSE_EXISTS);
	EXPECT_ERROR("ResourceInUseException", "Consumer app under stream orders already exists for account 000000000000.");
	call("RegisterStreamConsumer", body);
	sent_change->limit = 20;
	change_done(STATUS_LIMIT_EXCEEDED, CAUSE_CONSUMER_LIMIT);
	EXPECT_ERROR("LimitExceededException", "This request would exceed the limit of registered consumers of stream orders under account "
					       "000000000000. Limit: 20.");
}

Test(ops, describe_and_deregister_a_consumer)
{
	call("DescribeStreamConsumer", "{\"ConsumerARN\":\"" ORDERS "/consumer/app:1600000005\"}");
	cr_expect_str_eq(string("ConsumerDescription.ConsumerName"), "app");
	cr_expect_str_eq(string("ConsumerDescription.ConsumerStatus"), "ACTIVE");
	cr_expect_str_eq(string("ConsumerDescription.StreamARN"), ORDERS);
	call("DeregisterStreamConsumer", "{\"StreamARN\":\"" ORDERS "\",\"ConsumerName\":\"app\"}");
	cr_expect_eq(sent_change->kind, CHANGE_DEREGISTER_CONSUMER);
	change_done(STATUS_OK, CAUSE_NONE);
	EXPECT_RAW(200, JSON_TYPE, "");
	call("DeregisterStreamConsumer", "{\"StreamARN\":\"" ORDERS "\",\"ConsumerName\":\"nope\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Consumer nope, account 000000000000 not found.");
}

Test(ops, list_consumers_pages)
{
	call("ListStreamConsumers", "{\"StreamARN\":\"" ORDERS "\",\"MaxResults\":2}");
	cr_expect_eq(json_array_size(member("Consumers")), 2);
	cr_expect_str_eq(string("Consumers.1.ConsumerName"), "fresh");
	char body[TOKEN_TEXT_MAX + 200], *token = next_token();
	snprintf(body, sizeof(body), "{\"StreamARN\":\"" ORDERS "\",\"NextToken\":\"%s\"}", token);
	call("ListStreamConsumers", body);
	cr_expect_eq(json_array_size(member("Consumers")), 1);
	cr_expect_str_eq(string("Consumers.0.ConsumerName"), "gone");
	cr_expect_null(member("NextToken"));
	snprintf(body, sizeof(body), "{\"StreamARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/solo\",\"NextToken\":\"%s\"}", token);
	call("ListStreamConsumers", body);
	EXPECT_ERROR("InvalidArgumentException", "Invalid NextToken.");
	call("ListStreamConsumers", "{\"StreamARN\":\"" ORDERS "\",\"NextToken\":\"x\",\"StreamCreationTimestamp\":1}");
	EXPECT_ERROR("InvalidArgumentException", "NextToken and StreamCreationTimestamp cannot be provided together.");
	free(token);
}

/* ---- SubscribeToShard ---- */

static void subscribe(const char *consumer, const char *shard, const char *position)
{
	char body[512];
	snprintf(body, sizeof(body), "{\"ConsumerARN\":\"" ORDERS "/consumer/%s\",\"ShardId\":\"%s\",\"StartingPosition\":{%s}}", consumer,
		 shard, position);
	answer.streamed = false;
	call("SubscribeToShard", body);
}

Test(ops, R4_subscribe_streams_only_after_the_join)
{
	subscribe("app:1600000005", "shardId-000000000002", "\"Type\":\"LATEST\"");
	cr_assert_not_null(sent_sub);
	cr_expect_eq(sent_sub->consumer, 11);
	cr_expect_eq(sent_sub->shard.shard, 2);
	cr_expect_eq(sent_position.kind, POSITION_LATEST);
	cr_expect(!answer.streamed);
	sent_sub->ops->on_joined(sent_sub, STATUS_OK);
	cr_expect(answer.streamed);
	request_free(container_of(sent_sub, struct request, sub));
	sent_sub = NULL;
}

Test(ops, R14_another_subscription_is_active)
{
	subscribe("app:1600000005", "2", "\"Type\":\"TRIM_HORIZON\"");
	sent_sub->ops->on_joined(sent_sub, STATUS_IN_USE);
	EXPECT_ERROR("ResourceInUseException",
		     "Another active subscription exists for this consumer: 000000000000:orders:shardId-000000000002:app");
	cr_expect(!answer.streamed);
}

Test(ops, subscribing_too_often)
{
	subscribe("app:1600000005", "2", "\"Type\":\"TRIM_HORIZON\"");
	sent_sub->ops->on_joined(sent_sub, STATUS_LIMIT_EXCEEDED);
	EXPECT_ERROR("LimitExceededException",
		     "Rate exceeded for consumer app on shard shardId-000000000002 in stream orders under account 000000000000.");
}

Test(ops, subscribe_in_the_order_of_its_checks)
{
	subscribe("nope:1", "x", "\"Type\":\"AT_TIMESTAMP\"");
	EXPECT_ERROR("ResourceNotFoundException", "Consumer " ORDERS "/consumer/nope:1, account 000000000000 not found.");
	subscribe("fresh:1600000006", "x", "\"Type\":\"AT_TIMESTAMP\"");
	EXPECT_ERROR("ResourceInUseException",
		     "Consumer fresh with creation timestamp 1600000006 under stream: orders , account 000000000000 is "
		     "not in ACTIVE status.");
	subscribe("app:1600000005", "x", "\"Type\":\"AT_TIMESTAMP\"");
	EXPECT_ERROR("ResourceNotFoundException", "Could not find shard x in stream orders under account 000000000000.");
	subscribe("app:1600000005", "9", "\"Type\":\"AT_TIMESTAMP\"");
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000009 in stream orders under account 000000000000 does not exist");
	subscribe("app:1600000005", "2", "\"Type\":\"AT_TIMESTAMP\",\"Timestamp\":1700000000");
	EXPECT_ERROR(
		"InvalidArgumentException",
		"The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: 1700000000000, "
		"currentTimestampInMillis: 1600000100000");
	cr_expect_null(sent_sub);
}

/* As for GetShardIterator. */
Test(ops, subscribe_to_an_expired_shard)
{
	fake_now_ms = (CREATED_S + 30) * 1000 + 24 * INT64_C(3600000);
	subscribe("app:1600000005", "0", "\"Type\":\"TRIM_HORIZON\"");
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000000 in stream orders under account 000000000000 does not exist");
	cr_expect_null(sent_sub);
}

Test(ops, R17_subscribe_while_the_stream_is_creating)
{
	streams[2].status = STREAM_CREATING;
	subscribe("app:1600000005", "2", "\"Type\":\"LATEST\"");
	EXPECT_ERROR("ResourceInUseException", "Stream orders under account 000000000000 not ACTIVE, instead in state CREATING");
}

/* ---- SplitShard, MergeShards, UpdateShardCount ---- */

Test(ops, resharding_asks_the_catalogue)
{
	call("SplitShard", "{\"StreamName\":\"orders\",\"ShardToSplit\":\"abc-5\",\"NewStartingHashKey\":\"123\"}");
	cr_assert_not_null(sent_change);
	cr_expect_eq(sent_change->kind, CHANGE_SPLIT_SHARD);
	cr_expect(str_equal(sent_change->stream, STR("orders")));
	cr_expect(sent_change->shard == 5 && sent_change->hash == 123);
	change_done(STATUS_OK, CAUSE_NONE);
	EXPECT_RAW(200, JSON_TYPE, "");
	call("MergeShards", "{\"StreamName\":\"orders\",\"ShardToMerge\":\"1\",\"AdjacentShardToMerge\":\"2\"}");
	cr_expect_eq(sent_change->kind, CHANGE_MERGE_SHARDS);
	cr_expect(sent_change->shard == 1 && sent_change->adjacent == 2);
	change_done(STATUS_OK, CAUSE_NONE);
	EXPECT_RAW(200, JSON_TYPE, "");
	call("UpdateShardCount", "{\"StreamName\":\"orders\",\"TargetShardCount\":4,\"ScalingType\":\"UNIFORM_SCALING\"}");
	cr_expect_eq(sent_change->kind, CHANGE_UPDATE_SHARD_COUNT);
	cr_expect_eq(sent_change->shards, 4);
	sent_change->have = 2;
	change_done(STATUS_OK, CAUSE_NONE);
	EXPECT_RAW(200, JSON_TYPE,
		   "{\"StreamName\":\"orders\",\"CurrentShardCount\":2,\"TargetShardCount\":4,\"StreamARN\":\"arn:aws:kinesis:us-east-1:"
		   "000000000000:stream/orders\"}");
}

Test(ops, resharding_refused)
{
	call("SplitShard", "{\"StreamName\":\"nope\",\"ShardToSplit\":\"2147483648\",\"NewStartingHashKey\":\"1\"}");
	EXPECT_ERROR("ResourceNotFoundException", "Could not find shard 2147483648 in stream nope under account 000000000000.");
	cr_expect_null(sent_change);
	call("SplitShard",
	     "{\"StreamName\":\"orders\",\"ShardToSplit\":\"0\",\"NewStartingHashKey\":\"999999999999999999999999999999999999999\"}");
	cr_expect(sent_change->hash == 0, "a key that is none is in no shard");
	sent_change->parent = (struct shard_info){.key.shard = 0, .hash_first = 3, .hash_last = 77};
	change_done(STATUS_INVALID_ARGUMENT, CAUSE_HASH_KEY);
	EXPECT_ERROR("InvalidArgumentException",
		     "NewStartingHashKey 999999999999999999999999999999999999999 used in SplitShard() on shard shardId-000000000000 in "
		     "stream orders "
		     "under account 000000000000 is not both greater than one plus the shard's StartingHashKey 3 and less than the shard's "
		     "EndingHashKey 77.");
	call("MergeShards", "{\"StreamName\":\"orders\",\"ShardToMerge\":\"0\",\"AdjacentShardToMerge\":\"2\"}");
	sent_change->state = STREAM_DELETING;
	change_done(STATUS_IN_USE, CAUSE_NOT_ACTIVE);
	EXPECT_ERROR("ResourceInUseException", "Stream orders under account 000000000000 not ACTIVE, instead in state DELETING");
	call("UpdateShardCount", "{\"StreamName\":\"orders\",\"TargetShardCount\":40,\"ScalingType\":\"UNIFORM_SCALING\"}");
	sent_change->have = 3;
	sent_change->limit = 5;
	sent_change->would = 40;
	change_done(STATUS_LIMIT_EXCEEDED, CAUSE_SCALE_UP);
	EXPECT_ERROR("LimitExceededException",
		     "UpdateShardCount cannot scale up so far at once. Current open shard count: 3, Target shard count: 40");
	call("UpdateShardCount", "{\"StreamName\":\"orders\",\"TargetShardCount\":4,\"ScalingType\":\"UNIFORM_SCALING\"}");
	change_done(STATUS_INTERNAL, CAUSE_FAULT);
	EXPECT_RAW(500, JSON_TYPE, "{\"__type\":\"InternalFailure\"}");
	call("UpdateShardCount", "{\"StreamName\":\"orders\",\"TargetShardCount\":0,\"ScalingType\":\"x\"}");
	EXPECT_ERROR(
		"ValidationException",
		"2 validation errors detected: Value 'x' at 'scalingType' failed to satisfy constraint: Member must satisfy enum value "
		"set: "
		"[UNIFORM_SCALING]; Value '0' at 'targetShardCount' failed to satisfy constraint: Member must have value greater than or "
		"equal to 1");
}

/* ---- DryRun ---- */

#define WOULD_HAVE "Request would have succeeded, but DryRun flag is set."

Test(ops, a_dry_run_asks_nothing_of_the_store)
{
	char *iterator = iterator_at(2, 12), body[512];
	call("PutRecord", "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\",\"DryRun\":true}");
	EXPECT_ERROR("DryRunOperationException", WOULD_HAVE);
	call("PutRecords", "{\"StreamName\":\"orders\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\"}],\"DryRun\":true}");
	EXPECT_ERROR("DryRunOperationException", WOULD_HAVE);
	call("GetShardIterator", "{\"StreamName\":\"orders\",\"ShardId\":\"2\",\"ShardIteratorType\":\"LATEST\",\"DryRun\":true}");
	EXPECT_ERROR("DryRunOperationException", WOULD_HAVE);
	snprintf(body, sizeof(body), "{\"ShardIterator\":\"%s\",\"DryRun\":true}", iterator);
	call("GetRecords", body);
	EXPECT_ERROR("DryRunOperationException", WOULD_HAVE);
	call("SubscribeToShard", "{\"ConsumerARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/app:1600000005\","
				 "\"ShardId\":\"2\",\"StartingPosition\":{\"Type\":\"LATEST\"},\"DryRun\":true}");
	EXPECT_ERROR("DryRunOperationException", WOULD_HAVE);
	cr_expect(!sent_put && !sent_locate && !sent_read && !sent_sub);
	free(iterator);
}

Test(ops, a_dry_run_checks_what_a_real_call_checks)
{
	call("PutRecord", "{\"StreamName\":\"nope\",\"PartitionKey\":\"a\",\"Data\":\"\",\"DryRun\":true}");
	EXPECT_ERROR("ResourceNotFoundException", "Stream nope under account 000000000000 not found.");
	call("PutRecords", "{\"StreamName\":\"orders\",\"Records\":[{\"PartitionKey\":\"a\",\"Data\":\"\",\"ExplicitHashKey\":"
			   "\"340282366920938463463374607431768211456\"}],\"DryRun\":true}");
	cr_expect_str_eq(string("__type"), "InvalidArgumentException");
	call("GetShardIterator", "{\"StreamName\":\"orders\",\"ShardId\":\"9\",\"ShardIteratorType\":\"LATEST\",\"DryRun\":true}");
	EXPECT_ERROR("ResourceNotFoundException", "Shard shardId-000000000009 in stream orders under account 000000000000 does not exist");
	call("GetRecords", "{\"ShardIterator\":\"x\",\"DryRun\":true}");
	EXPECT_ERROR("InvalidArgumentException", "Invalid ShardIterator.");
	call("PutRecord", "{\"StreamName\":\"orders\",\"PartitionKey\":\"a\",\"Data\":\"\",\"DryRun\":false}");
	cr_assert_not_null(sent_put, "false is as good as absent");
	stored(0, 1);
	put_done();
}
