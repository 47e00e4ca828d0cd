/* other_services.c: which service a request is for, and an answer in that service's form.
 *
 * - the service: that of the signature's scope, which every SDK sends; else what X-Amz-Target
 *   begins with; else the path of Smithy RPC; else the Version of a query-protocol call.
 *   A target of Kinesis is never another service's, whatever the scope: that is a bad signature.
 *   What names no known service stays Kinesis', with the errors that AWS' Kinesis gives.
 * - the form: CBOR or JSON by the content type; XML for form bodies and for the services that
 *   speak REST/XML; else JSON, which REST/JSON services read. HEAD has no body in any form.
 *
 * The status is 400: SDKs repeat a 5xx. A signature is only checked for GetCallerIdentity: no
 * other answer depends on the caller.
 *
 * Failure modes: an unsigned call of S3 cannot be distinguished from any other GET: 403 as before. */
#include "server/other_services.h"

#include <openssl/sha.h>
#include <stdio.h>

#include "penstock/slog.h"
#include "penstock/writer.h"
#include "server/auth.h"
#include "server/pairs.h"
#include "server/worker.h"

#define ERROR_TYPE "UnknownOperationException"
#define STS_NAMESPACE "https://sts.amazonaws.com/doc/2011-06-15/"
#define FORM_TYPE "application/x-www-form-urlencoded"

struct name_of {
	const char *sign, *service;
};

/* What X-Amz-Target has before its dot. */
static const struct name_of targets[] = {
	{"DynamoDB_20120810", "dynamodb"},
	{"DynamoDBStreams_20120810", "dynamodb"},
	{"GraniteServiceVersion20100801", "monitoring"}, /* CloudWatch */
	{"Logs_20140328", "logs"},
	{"AmazonSQS", "sqs"},
	{"Firehose_20150804", "firehose"},
	{"KinesisAnalytics_20180523", "kinesisanalytics"},
	{"KinesisAnalytics_20150814", "kinesisanalytics"},
	{"TrentService", "kms"},
	{"secretsmanager", "secretsmanager"},
	{"AmazonSSM", "ssm"},
	{"AWSEvents", "events"},
	{"AWSStepFunctions", "states"},
	{"AWSGlue", "glue"},
	{"AWSCognitoIdentityProviderService", "cognito-idp"},
	{"AmazonEC2ContainerServiceV20141113", "ecs"},
	{"AmazonEC2ContainerRegistry_V20150921", "ecr"},
};

/* The Version of query-protocol calls. */
static const struct name_of versions[] = {
	{"2011-06-15", "sts"},        {"2010-05-08", "iam"}, {"2010-03-31", "sns"}, {"2012-11-05", "sqs"},
	{"2010-08-01", "monitoring"}, {"2016-11-15", "ec2"}, {"2010-12-01", "ses"}, {"2010-05-15", "cloudformation"},
};

#define FIND(table, name) find(table, sizeof(table) / sizeof((table)[0]), name)

static struct str find(const struct name_of *table, size_t n, struct str name)
{
	for (size_t i = 0; i < n; i++)
		if (str_equal(str_of(table[i].sign), name))
			return str_of(table[i].service);
	return (struct str){0};
}

static bool begins(struct str s, struct str with) { return s.n >= with.n && memcmp(s.p, with.p, with.n) == 0; }

static struct str before(struct str s, char c)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
	return at ? (struct str){s.p, (size_t)(at - s.p)} : s;
}

/* ---- Which service ---- */

/* The parameters of a query-protocol call: the body of a form, or the query of a GET. */
static struct str parameters(const struct request *request)
{
	const struct exchange *exchange = request->exchange;
	if (begins(request_header(request, "content-type"), STR(FORM_TYPE)) && exchange->body_len)
		return (struct str){(const char *)exchange->body, exchange->body_len};
	return exchange->query;
}

static struct str parameter(const struct request *request, const char *key)
{
	struct str value = {0};
	pairs_find(parameters(request), "&", key, &value);
	return value;
}

static bool is_query_call(const struct request *request)
{
	return str_present(parameter(request, "Action")) && str_present(parameter(request, "Version"));
}

/* POST /service/NAME/operation/NAME */
static struct str rpc_service(const struct request *request)
{
	struct str path = request->exchange->path;
	if (!begins(path, STR("/service/")) || !str_present(request_header(request, "smithy-protocol")))
		return (struct str){0};
	return before((struct str){path.p + 9, path.n - 9}, '/');
}

/* S3's signature version 2, in the header or in the query; other services sign their parameters. */
static bool is_old_s3(const struct request *request)
{
	struct str query = request->exchange->query, value;
	return begins(request_header(request, "authorization"), STR("AWS ")) ||
	       (pairs_find(query, "&", "AWSAccessKeyId", &value) && pairs_find(query, "&", "Signature", &value));
}

/* Of an unsigned request, or one that is signed in the older way. */
static struct str service_by_form(const struct request *request)
{
	struct str service = FIND(targets, before(request_header(request, "x-amz-target"), '.'));
	if (!str_present(service))
		service = FIND(targets, rpc_service(request));
	if (!str_present(service) && is_query_call(request)) {
		service = FIND(versions, parameter(request, "Version"));
		return str_present(service) ? service : STR("unknown");
	}
	if (!str_present(service) && is_old_s3(request))
		service = STR("s3");
	return service;
}

/* p NULL: Kinesis, or nothing that is known. */
static struct str service_of(struct request *request)
{
	struct str kinesis = STR("Kinesis_20131202");
	if (begins(request_header(request, "x-amz-target"), kinesis) || str_equal(rpc_service(request), kinesis))
		return (struct str){0};
	struct str service = auth_service(request);
	if (!str_present(service))
		service = service_by_form(request);
	return str_equal(service, STR("kinesis")) ? (struct str){0} : service;
}

/* ---- Forms ---- */

static void put_xml(struct buf *out, struct str text)
{
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c == '<' || c == '>' || c == '&' || c == '"' || c == '\'')
			buf_printf(out, "&#%u;", c);
		else
			buf_put_char(out, c < ' ' ? '?' : (char)c);
	}
}

static void put_element(struct buf *out, const char *name, struct str text)
{
	buf_printf(out, "<%s>", name);
	put_xml(out, text);
	buf_printf(out, "</%s>", name);
}

static struct str id_of(const struct request *request) { return str_of(request->exchange->id); }

/* ErrorResponse of the query protocol; EC2 and S3 have forms of their own. */
static void answer_xml(struct request *request, struct str service, int http_status, const char *code, struct str text)
{
	bool s3 = begins(service, STR("s3")), ec2 = str_equal(service, STR("ec2"));
	struct buf body = {0};
	buf_put_str(&body, STR("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"));
	if (!s3)
		buf_put_str(&body, ec2 ? STR("<Response><Errors>") : STR("<ErrorResponse>"));
	buf_put_str(&body, STR("<Error>"));
	if (!s3 && !ec2)
		buf_put_str(&body, STR("<Type>Sender</Type>"));
	put_element(&body, "Code", str_of(code));
	put_element(&body, "Message", text);
	if (!s3)
		buf_put_str(&body, STR("</Error>"));
	if (ec2)
		buf_put_str(&body, STR("</Errors>"));
	put_element(&body, ec2 ? "RequestID" : "RequestId", id_of(request));
	buf_put_str(&body, s3 ? STR("</Error>") : ec2 ? STR("</Response>") : STR("</ErrorResponse>"));
	request_answer(request, http_status, "text/xml", &body);
}

static void add_extra(struct request *request, struct str name, struct str value)
{
	if (request->exchange->n_extra < REQUEST_EXTRA_MAX)
		request->exchange->extra[request->exchange->n_extra++] = (struct header){name, value};
}

static void answer_document(struct request *request, enum encoding encoding, const char *content_type, struct str text)
{
	struct buf body = {0};
	struct writer w;
	writer_init(&w, encoding, &body);
	write_map(&w);
	write_kv_str(&w, "__type", STR(ERROR_TYPE));
	write_kv_str(&w, "message", text);
	write_map_end(&w);
	add_extra(request, STR("x-amzn-ErrorType"), STR(ERROR_TYPE));
	request_answer(request, 400, content_type, &body);
}

static bool speaks_xml(const struct request *request, struct str service)
{
	return is_query_call(request) || begins(service, STR("s3")) || str_equal(service, STR("route53")) ||
	       str_equal(service, STR("cloudfront"));
}

static void answer_error(struct request *request, struct str service, struct str text)
{
	struct str type = before(request_header(request, "content-type"), ';'), protocol = request_header(request, "smithy-protocol");
	if (str_present(protocol))
		add_extra(request, STR("smithy-protocol"), arena_printable(&request->arena, protocol, 64));
	if (str_equal(type, STR("application/cbor")) || begins(type, STR("application/x-amz-cbor-")))
		answer_document(request, ENCODING_CBOR, type.n == 16 ? "application/cbor" : "application/x-amz-cbor-1.1", text);
	else if (begins(type, STR("application/x-amz-json-1.")))
		answer_document(request, ENCODING_JSON,
				type.p[type.n - 1] == '0' ? "application/x-amz-json-1.0" : "application/x-amz-json-1.1", text);
	else if (speaks_xml(request, service))
		answer_xml(request, service, 400, ERROR_TYPE, text);
	else
		answer_document(request, ENCODING_JSON, "application/json", text);
}

/* ---- STS GetCallerIdentity ---- */

/* The names that these errors have in the query protocol. */
static const char *query_code(enum status status)
{
	switch (status) {
	case STATUS_MISSING_AUTH:
		return "MissingAuthenticationToken";
	case STATUS_UNRECOGNIZED_CLIENT:
		return "InvalidClientTokenId";
	case STATUS_INCOMPLETE_SIGNATURE:
		return "IncompleteSignature";
	case STATUS_INVALID_SIGNATURE:
		return "SignatureDoesNotMatch";
	default:
		return "AccessDenied";
	}
}

/* As AWS' unique ids of users look; the same for a profile as long as it has this name and account. */
static void user_id(const char *account, const char *profile, char out[22])
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
	uint8_t hash[SHA256_DIGEST_LENGTH];
	char *text = xasprintf("%s/%s", account, profile);
	SHA256((const uint8_t *)text, strlen(text), hash);
	free(text);
	memcpy(out, "AIDA", 4);
	for (int i = 0; i < 17; i++)
		out[4 + i] = letters[hash[i] & 31];
	out[21] = '\0';
}

/* Without credentials the caller is the account's root: callers are not known apart. */
static void put_identity(struct buf *out, const struct request *request, const struct principal *caller)
{
	const char *account = request->worker->server->account;
	char id[22], *arn;
	if (caller && caller->account)
		account = caller->account;
	if (caller)
		user_id(account, caller->profile, id);
	arn = caller ? xasprintf("arn:aws:iam::%s:user/%s", account, caller->profile) : xasprintf("arn:aws:iam::%s:root", account);
	put_element(out, "Arn", str_of(arn));
	put_element(out, "UserId", str_of(caller ? id : account));
	put_element(out, "Account", str_of(account));
	free(arn);
}

static void answer_identity(struct request *request)
{
	struct auth_call call = {.service = STR("sts")};
	struct buf body = {0};
	enum status status = auth_check(request, &call);
	if (status) {
		answer_xml(request, call.service, status == STATUS_INCOMPLETE_SIGNATURE ? 400 : 403, query_code(status), call.text);
		return;
	}
	buf_put_str(&body, STR("<GetCallerIdentityResponse xmlns=\"" STS_NAMESPACE "\"><GetCallerIdentityResult>"));
	put_identity(&body, request, call.caller);
	buf_put_str(&body, STR("</GetCallerIdentityResult><ResponseMetadata>"));
	put_element(&body, "RequestId", id_of(request));
	buf_put_str(&body, STR("</ResponseMetadata></GetCallerIdentityResponse>"));
	request_answer(request, 200, "text/xml", &body);
}

static bool asks_identity(const struct request *request, struct str service)
{
	struct str method = request->exchange->method;
	return str_equal(service, STR("sts")) && str_equal(parameter(request, "Action"), STR("GetCallerIdentity")) &&
	       (str_equal(method, STR("POST")) || str_equal(method, STR("GET")));
}

bool other_service(struct request *request)
{
	struct str service = service_of(request);
	if (!str_present(service))
		return false;
	if (asks_identity(request, service)) {
		answer_identity(request);
		return true;
	}
	if (log_pace_take(&request->worker->server->log_pace, "other_service", service, worker_now_ns(request->worker)))
		slog(SLOG_INFO, "other_service",
		     "service=" STR_FMT
		     " advice=\"penstock serves Kinesis only; set AWS_ENDPOINT_URL_KINESIS instead of AWS_ENDPOINT_URL\"",
		     STR_ARG(service));
	answer_error(request, service,
		     arena_printf(&request->arena,
				  "penstock serves Kinesis only; set AWS_ENDPOINT_URL_KINESIS instead of AWS_ENDPOINT_URL (this request is "
				  "for " STR_FMT ")",
				  STR_ARG(service)));
	return true;
}
