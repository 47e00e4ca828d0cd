/* dispatch.c: from a whole request to its operation, in AWS's order of checks (kinesis-behaviour 1.2).
 *
 * Thread: the request's worker. Each request is answered exactly once: by a check here, or by the operation.
 *
 * - /healthz; the browser's rules (browser.h); other admin pages; requests for other services;
 * - method; content type and target; empty body; decoding; unknown operation; signature; binding and
 * validation;
 * - then, if any are asked for, the faults that are met on purpose (fault.h); and the operation, by its number.
 *
 * Three forms of error, by how much of the protocol is known when it fails: XML-ish text without a content type (nothing is), `Output`
 * JSON (the legacy content type application/json), and the ordinary one in the request's own encoding. */
#include "penstock/api.h"
#include "penstock/shape.h"
#include "penstock/value.h"
#include "server/admin.h"
#include "server/answer_bound.h"
#include "server/auth.h"
#include "server/browser.h"
#include "server/fault.h"
#include "server/ops.h"
#include "server/other_services.h"
#include "server/request.h"
#include "server/worker.h"

enum content { CONTENT_JSON, CONTENT_CBOR, CONTENT_LEGACY, CONTENT_UNKNOWN };

/* What the head says the request is. */
struct call {
	enum content content;
	bool named;                        /* X-Amz-Target has a service and an operation */
	const struct operation *operation; /* NULL: not one of Kinesis */
	const struct value *document;
};

static void (*const operations[OP_COUNT])(struct request *) = {
	[OP_CREATE_STREAM] = ops_stream_create,
	[OP_DELETE_STREAM] = ops_stream_delete,
	[OP_DESCRIBE_STREAM] = ops_stream_describe,
	[OP_DESCRIBE_STREAM_SUMMARY] = ops_stream_summary,
	[OP_LIST_STREAMS] = ops_stream_list,
	[OP_LIST_SHARDS] = ops_shards_list,
	[OP_PUT_RECORD] = ops_put_record,
	[OP_PUT_RECORDS] = ops_put_records,
	[OP_GET_SHARD_ITERATOR] = ops_read_iterator,
	[OP_GET_RECORDS] = ops_read_records,
	[OP_REGISTER_STREAM_CONSUMER] = ops_consumer_register,
	[OP_DESCRIBE_STREAM_CONSUMER] = ops_consumer_describe,
	[OP_LIST_STREAM_CONSUMERS] = ops_consumer_list,
	[OP_DEREGISTER_STREAM_CONSUMER] = ops_consumer_deregister,
	[OP_SUBSCRIBE_TO_SHARD] = ops_subscribe_to_shard,
	[OP_SPLIT_SHARD] = ops_reshard_split,
	[OP_MERGE_SHARDS] = ops_reshard_merge,
	[OP_UPDATE_SHARD_COUNT] = ops_reshard_update_count,
};

/* ---- Errors before the protocol is known ---- */

static void fail_xml_denied(struct request *request)
{
	struct buf body = {0};
	buf_put_str(&body, STR("<AccessDeniedException>\n"
			       "  <Message>Unable to determine service/operation name to be authorized</Message>\n"
			       "</AccessDeniedException>\n"));
	request_answer(request, 403, NULL, &body);
}

static void fail_xml_unknown(struct request *request)
{
	struct buf body = {0};
	buf_put_str(&body, STR("<UnknownOperationException/>\n"));
	request_answer(request, 404, NULL, &body);
}

static void fail_legacy(struct request *request, enum status status, int http_status)
{
	struct buf body = {0};
	buf_printf(&body, "{\"Output\":{\"__type\":\"com.amazon.coral.service#%s\"},\"Version\":\"1.0\"}", status_type(status));
	request_answer(request, http_status, "application/json", &body);
}

/* ---- The head ---- */

static struct str trimmed(struct str s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s = (struct str){s.p + 1, s.n - 1};
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* Up to the first c, and what is behind it (p NULL: there is no c). */
static struct str cut(struct str s, char c, struct str *rest)
{
	const char *at = s.n ? memchr(s.p, c, s.n) : NULL;
	*rest = at ? (struct str){at + 1, (size_t)(s.p + s.n - at - 1)} : (struct str){NULL, 0};
	return at ? (struct str){s.p, (size_t)(at - s.p)} : s;
}

static enum content content_of(const struct request *request)
{
	struct str rest, type = trimmed(cut(request_header(request, "content-type"), ';', &rest));
	if (str_equal(type, STR("application/x-amz-json-1.1")))
		return CONTENT_JSON;
	if (str_equal(type, STR("application/x-amz-cbor-1.1")))
		return CONTENT_CBOR;
	return str_equal(type, STR("application/json")) ? CONTENT_LEGACY : CONTENT_UNKNOWN;
}

static void read_head(struct request *request, struct call *call)
{
	struct str rest, behind;
	struct str service = cut(request_header(request, "x-amz-target"), '.', &rest), operation = cut(rest, '.', &behind);
	call->content = content_of(request);
	call->named = service.n > 0 && operation.n > 0;
	call->operation = str_equal(service, STR("Kinesis_20131202")) ? operation_find(operation) : NULL;
	/* An answer is JSON only to those who clearly speak it; AWS takes everything else for CBOR. The legacy form has its own answers. */
	request->encoding = call->content == CONTENT_JSON ? ENCODING_JSON : ENCODING_CBOR;
}

/* ---- The steps; each false: answered ---- */

static bool check_body(struct request *request, const struct call *call)
{
	if (request->exchange->body_len == 0)
		request_fail_bare(request, call->operation ? STATUS_SERIALIZATION : STATUS_UNKNOWN_OPERATION);
	else if (call->content != CONTENT_UNKNOWN)
		return true;
	else if (call->named)
		fail_xml_unknown(request);
	else
		fail_xml_denied(request);
	return false;
}

static bool decode(struct request *request, struct call *call)
{
	enum encoding encoding = call->content == CONTENT_CBOR ? ENCODING_CBOR : ENCODING_JSON;
	struct value *document = NULL;
	enum status status = value_decode(encoding, request->exchange->body, request->exchange->body_len, &request->arena, &document);
	if (status == STATUS_OK && document->kind != VALUE_MAP)
		status = STATUS_SERIALIZATION;
	call->document = document;
	if (call->content == CONTENT_LEGACY && status != STATUS_OK)
		fail_legacy(request, STATUS_SERIALIZATION, 400);
	else if (call->content == CONTENT_LEGACY)
		fail_legacy(request, STATUS_UNKNOWN_OPERATION, 404); /* it never gets further */
	else if (status != STATUS_OK)
		request_fail_bare(request, STATUS_SERIALIZATION);
	else
		return true;
	return false;
}

static bool authorize(struct request *request, const struct operation *operation)
{
	struct auth_call call = {.service = STR("kinesis"), .action = operation->name};
	enum status status = auth_check(request, &call);
	if (status != STATUS_OK)
		request_fail(request, status, STR_FMT, STR_ARG(call.text));
	return status == STATUS_OK;
}

static bool bind_input(struct request *request, const struct call *call)
{
	struct str text = {NULL, 0};
	request->exchange->operation = call->operation;
	request->exchange->input = arena_alloc(&request->arena, call->operation->size);
	enum status status =
		shape_bind(call->operation, request->encoding, call->document, &request->arena, request->exchange->input, &text);
	if (status == STATUS_OK)
		return true;
	if (str_present(text))
		request_fail(request, status, STR_FMT, STR_ARG(text));
	else
		request_fail_bare(request, status);
	return false;
}

static void perform(struct request *request) { operations[request->exchange->operation->number](request); }

static void dispatch_call(struct request *request, struct call *call)
{
	if (!decode(request, call))
		return;
	if (call->operation == NULL) {
		request_fail_bare(request, STATUS_UNKNOWN_OPERATION);
		return;
	}
	if (!authorize(request, call->operation))
		return;
	if (call->operation->number >= OP_COUNT)
		request_fail(request, STATUS_INVALID_ARGUMENT, "%s is not there yet in penstock.", call->operation->name);
	else if (bind_input(request, call) && answer_bound_reserve(request) && !(request->worker->faults && fault_call(request, perform)))
		perform(request);
}

/* With credentials pages check their callers themselves, and no other origin reads their answers. */
void dispatch_request(struct request *request)
{
	struct call call = {0};
	bool proves = request->worker->auth != NULL;
	if (!request_reserve(request, ANSWER_FIRST, BUDGET_CALL)) {
		request_refuse(request);
		return;
	}
	if (admin_healthz(request) || (!proves && browser_origin(request)) || admin_page(request) || (proves && browser_origin(request)))
		return;
	if (other_service(request))
		return;
	if (!str_equal(request->exchange->method, STR("POST"))) {
		fail_xml_denied(request);
		return;
	}
	read_head(request, &call);
	if (check_body(request, &call))
		dispatch_call(request, &call);
}
