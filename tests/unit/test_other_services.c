/* test_other_services.c: which requests are for other services, and the form of their answers. */
#include "fake_server.h"

#include "penstock/slog.h"
#include "server/auth.h"

#define SAYS "penstock serves Kinesis only; set AWS_ENDPOINT_URL_KINESIS instead of AWS_ENDPOINT_URL"
#define SCOPE(service) "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/" service "/aws4_request, SignedHeaders=host, Signature=abc"
#define FORM "application/x-www-form-urlencoded; charset=utf-8"
#define JSON_TYPE "application/x-amz-json-1.1"

static void setup(void)
{
	fake_setup();
	slog_set_level(SLOG_ERROR);
}
TestSuite(other_services, .init = setup, .fini = fake_teardown);

struct ask {
	const char *method, *target, *type, *operation, *auth, *smithy, *body;
};

static void ask(struct ask a)
{
	struct request *request = fake_request(a.method ? a.method : "POST", a.target ? a.target : "/");
	if (a.type)
		fake_header(request, "Content-Type", a.type);
	if (a.operation)
		fake_header(request, "X-Amz-Target", a.operation);
	if (a.auth)
		fake_header(request, "Authorization", a.auth);
	if (a.smithy)
		fake_header(request, "smithy-protocol", a.smithy);
	fake_header(request, "X-Amz-Date", "20200101T000000Z");
	fake_send(request, a.body ? a.body : "", a.body ? strlen(a.body) : 0);
}
#define ASK(...) ask((struct ask){__VA_ARGS__})

static void expect_said(int line, const char *type, const char *form, const char *service)
{
	cr_expect_eq(answer.status, 400, "line %d: %d", line, answer.status);
	cr_expect_str_eq(answer.type, type, "line %d", line);
	cr_expect_not_null(strstr(text(), SAYS), "line %d: %s", line, text());
	cr_expect_not_null(strstr(text(), form), "line %d: %s", line, text());
	cr_expect_not_null(strstr(text(), service), "line %d: %s", line, text());
}
#define EXPECT_SAID(type, form, service) expect_said(__LINE__, type, form, "(this request is for " service ")")

Test(other_services, the_scope_tells_the_service_and_the_content_type_the_form)
{
	ASK(.type = "application/x-amz-json-1.0", .operation = "DynamoDB_20120810.ListTables", .auth = SCOPE("dynamodb"), .body = "{}");
	EXPECT_SAID("application/x-amz-json-1.0", "{\"__type\":\"UnknownOperationException\"", "dynamodb");
	ASK(.type = JSON_TYPE, .operation = "Something.New", .auth = SCOPE("new-service"), .body = "{}");
	EXPECT_SAID(JSON_TYPE, "{\"__type\":", "new-service");
	cr_expect_str_eq(extra("x-amzn-ErrorType"), "UnknownOperationException");
	ASK(.method = "GET", .target = "/2015-03-31/functions", .auth = SCOPE("lambda"));
	EXPECT_SAID("application/json", "\"message\":", "lambda");
	ASK(.method = "GET", .auth = SCOPE("s3"));
	EXPECT_SAID("text/xml", "\n<Error><Code>UnknownOperationException</Code><Message>", "s3");
	ASK(.method = "PUT", .target = "/bucket/key", .auth = SCOPE("s3"), .body = "x");
	EXPECT_SAID("text/xml", "\n<Error><Code>", "s3");
	ASK(.type = FORM, .auth = SCOPE("sns"), .body = "Action=ListTopics&Version=2010-03-31");
	EXPECT_SAID("text/xml", "\n<ErrorResponse><Error><Type>Sender</Type><Code>", "sns");
	ASK(.type = FORM, .auth = SCOPE("ec2"), .body = "Action=DescribeInstances&Version=2016-11-15");
	EXPECT_SAID("text/xml", "\n<Response><Errors><Error><Code>", "ec2");
	ASK(.method = "GET", .target = "/2013-04-01/hostedzone", .auth = SCOPE("route53"));
	EXPECT_SAID("text/xml", "<ErrorResponse>", "route53");
	ASK(.target = "/service/GraniteServiceVersion20100801/operation/PutMetricData", .type = "application/cbor",
	    .auth = SCOPE("monitoring"), .smithy = "rpc-v2-cbor", .body = "\xa0");
	EXPECT_SAID("application/cbor", "\xbf\x66__type\x78\x19UnknownOperationException\x67message", "monitoring");
	cr_expect_str_eq(extra("smithy-protocol"), "rpc-v2-cbor");
	ASK(.method = "GET", .target = "/b/k?X-Amz-Algorithm=x&X-Amz-Credential=a%2F20200101%2fus-east-1%2Fs3%2Faws4_request");
	EXPECT_SAID("text/xml", "<Error>", "s3");
}

Test(other_services, without_a_scope_the_target_or_the_version_tells)
{
	ASK(.type = "application/x-amz-json-1.1", .operation = "Logs_20140328.PutLogEvents", .body = "{}");
	EXPECT_SAID(JSON_TYPE, "__type", "logs");
	ASK(.type = FORM, .body = "Version=2011-06-15&Action=AssumeRoleWithWebIdentity");
	EXPECT_SAID("text/xml", "<ErrorResponse>", "sts");
	ASK(.method = "GET", .target = "/?Action=ListUsers&Version=2010-05-08");
	EXPECT_SAID("text/xml", "<ErrorResponse>", "iam");
	ASK(.type = FORM, .body = "Version=1999-01-01&Action=A");
	EXPECT_SAID("text/xml", "<ErrorResponse>", "unknown");
	ASK(.target = "/service/GraniteServiceVersion20100801/operation/PutMetricData", .type = "application/cbor", .smithy = "rpc-v2-cbor",
	    .body = "\xa0");
	EXPECT_SAID("application/cbor", "\xbf", "monitoring");
	ASK(.method = "GET", .target = "/b", .auth = "AWS AKID:c2ln");
	EXPECT_SAID("text/xml", "<Error>", "s3");
	ASK(.method = "GET", .target = "/b/k?AWSAccessKeyId=a&Signature=b&Expires=1");
	EXPECT_SAID("text/xml", "<Error>", "s3");
}

Test(other_services, what_may_be_for_kinesis_stays_as_it_is)
{
	ASK(.type = JSON_TYPE, .operation = "Kinesis_20131202.ListStreams", .auth = SCOPE("dynamodb"), .body = "{}");
	cr_expect_eq(answer.status, 200, "its target is Kinesis', and signatures are not verified");
	ASK(.type = JSON_TYPE, .operation = "DynamoDB_20120810.ListTables", .auth = SCOPE("kinesis"), .body = "{}");
	cr_expect_str_eq(text(), "{\"__type\":\"UnknownOperationException\"}");
	ASK(.type = JSON_TYPE, .operation = "Whatever.Nope", .body = "{}");
	cr_expect_str_eq(text(), "{\"__type\":\"UnknownOperationException\"}");
	ASK(.type = FORM, .body = "a=b");
	cr_expect_eq(answer.status, 403);
	ASK(.type = FORM, .body = "Action=A");
	cr_expect_eq(answer.status, 403);
	ASK(.method = "GET", .target = "/bucket?list-type=2");
	cr_expect_eq(answer.status, 403);
	const char *scopes[] = {SCOPE("S3"),
				SCOPE(""),
				SCOPE("a b"),
				SCOPE("<x>"),
				"AWS4-HMAC-SHA256 Credential=aws4_request, SignedHeaders=host, Signature=abc",
				"AWS4-HMAC-SHA256 Credential=/aws4_request",
				"AWS4-HMAC-SHA256 Credential=s3/"};
	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		ASK(.method = "GET", .auth = scopes[i]);
		cr_expect_eq(answer.status, 403, "%s: %s", scopes[i], text());
	}
}

Test(other_services, caller_identity)
{
	ASK(.type = FORM, .auth = SCOPE("sts"), .body = "Action=GetCallerIdentity&Version=2011-06-15");
	cr_expect_eq(answer.status, 200);
	cr_expect_str_eq(answer.type, "text/xml");
	cr_expect_not_null(strstr(text(), "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">"
					  "<GetCallerIdentityResult><Arn>arn:aws:iam::000000000000:root</Arn><UserId>000000000000</UserId>"
					  "<Account>000000000000</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>"));
	ASK(.method = "GET", .target = "/?Version=2011-06-15&Action=GetCallerIdentity", .auth = SCOPE("sts"));
	cr_expect_eq(answer.status, 200);
	ASK(.type = FORM, .body = "Action=GetCallerIdentity&Version=2011-06-15");
	cr_expect_eq(answer.status, 403);
	cr_expect_not_null(strstr(text(), "<Code>MissingAuthenticationToken</Code>"));
	ASK(.type = FORM, .auth = SCOPE("iam"), .body = "Action=GetCallerIdentity&Version=2011-06-15");
	cr_expect_eq(answer.status, 400);
}
