/* A request's life and answers, with a transport that only writes down what it is told. */
#include "transport_fixture.h"

#include <ctype.h>

static struct {
	unsigned replies, streams;
	int status;
	char type[64];
	struct buf body;
	struct answer_head head;
	struct buf text; /* of the head: its strings die with the request */
} seen;

static void on_reply(struct request *request, int http_status, const char *content_type, struct buf *body)
{
	seen.replies++;
	seen.status = http_status;
	snprintf(seen.type, sizeof(seen.type), "%s", content_type ? content_type : "");
	buf_free(&seen.body);
	seen.body = *body;
	*body = (struct buf){0};
	buf_free(&seen.text);
	request_answer_head(request, http_status, content_type, (int64_t)seen.body.n, &seen.head);
	for (uint32_t i = 0; i < seen.head.n; i++)
		buf_printf(&seen.text, STR_FMT ": " STR_FMT "\n", STR_ARG(seen.head.fields[i].name), STR_ARG(seen.head.fields[i].value));
	buf_put_char(&seen.text, 0);
	request_free(request);
}

static void on_stream(struct request *request)
{
	(void)request;
	seen.streams++;
}

static const struct transport_ops transport = {.reply = on_reply, .stream = on_stream};

static void done(void)
{
	buf_free(&seen.body);
	buf_free(&seen.text);
	turns(1);
	teardown();
}

TestSuite(request, .init = setup, .fini = done);

static struct request *make(const char *target)
{
	struct request *request = request_new(&worker, &transport, NULL);
	request_set_target(request, STR("POST"), str_of(target));
	return request;
}

static void expect_body(const char *expected)
{
	cr_assert_eq(strncmp((char *)seen.body.p, expected, seen.body.n), 0, "%.*s", (int)seen.body.n, (char *)seen.body.p);
}

Test(request, headers_are_lowered_found_and_bounded)
{
	struct request *request = make("/");
	cr_assert(request_add_header(request, STR("X-Amz-TARGET"), STR("A.b")));
	cr_assert(request_add_header(request, STR("Host"), STR("h:1")));
	cr_assert(request_add_header(request, STR("x-amz-target"), STR("second")));
	struct str value = request_header(request, "x-amz-target");
	cr_assert(str_equal(value, STR("A.b")) && value.p[value.n] == 0);
	cr_assert(str_equal(request->exchange->host, STR("h:1")));
	cr_assert_not(str_present(request_header(request, "x")));
	for (unsigned i = 3; i < REQUEST_HEADERS_MAX; i++)
		cr_assert(request_add_header(request, STR("a"), STR("")));
	cr_assert_not(request_add_header(request, STR("a"), STR("")), "a 65th header");
	request_free(request);

	request = make("/");
	static char large[8192];
	memset(large, 'a', sizeof(large));
	cr_assert(request_add_header(request, STR("a"), (struct str){large, sizeof(large)}));
	cr_assert_not(request_add_header(request, STR("a"), (struct str){large, sizeof(large)}), "more than 16 KiB");
	request_free(request);
}

Test(request, targets)
{
	static const char *const rows[][4] = {
		{"/", "/", "", ""},
		{"/a/b?c=d?e", "/a/b", "c=d?e", ""},
		{"/?", "/", "", ""},
		{"*", "*", "", ""},
		{"http://h:80/x?y", "/x", "y", "h:80"},
		{"http://h", "/", "", "h"},
		{"http://h?y", "/", "y", "h"},
		{"/r?u=http://x/y", "/r", "u=http://x/y", ""},
		{"", "", "", ""},
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct request *request = make(rows[i][0]);
		cr_assert(str_equal(request->exchange->path, str_of(rows[i][1])), "path of %s", rows[i][0]);
		cr_assert(str_equal(request->exchange->query, str_of(rows[i][2])), "query of %s", rows[i][0]);
		cr_assert(str_equal(request->exchange->host, str_of(rows[i][3])), "host of %s", rows[i][0]);
		request_free(request);
	}
}

Test(request, bodies_grow_and_are_counted_and_capped)
{
	struct request *request = make("/");
	static uint8_t piece[100000];
	for (size_t i = 0; i < sizeof(piece); i++)
		piece[i] = (uint8_t)(i % 251);
	cr_assert_eq(request_add_body(request, piece, 10, 10), 0);
	cr_assert_eq(metric_get(METRIC_body_bytes), 10, "a small known length is allocated as it is");
	request_free(request);
	cr_assert_eq(metric_get(METRIC_body_bytes), 0);

	request = make("/");
	cr_assert_eq(request_add_body(request, piece, 16000, BODY_MAX), 0);
	cr_assert_leq(metric_get(METRIC_body_bytes), 2 * 16000 + 4096, "a long one is not, for little");
	request_free(request);
	request = make("/");
	cr_assert_eq(request_add_body(request, piece, 16000, 8 * sizeof(piece)), 0);
	cr_assert_eq(request_add_body(request, piece, sizeof(piece), 8 * sizeof(piece)), 0);
	cr_assert_eq(metric_get(METRIC_body_bytes), 8 * sizeof(piece), "an eighth of it is enough");
	request_free(request);

	request = make("/");
	size_t n = 0;
	while (n + sizeof(piece) <= BODY_MAX) {
		cr_assert_eq(request_add_body(request, piece, sizeof(piece), 0), 0);
		n += sizeof(piece);
	}
	cr_assert_eq(request->exchange->body_len, n);
	for (size_t i = 0; i < n; i++)
		if (request->exchange->body[i] != piece[i % sizeof(piece)])
			cr_assert_fail("byte %zu", i);
	cr_assert_eq(request_add_body(request, piece, sizeof(piece), 0), 413);
	cr_assert_eq(metric_get(METRIC_body_bytes), (int64_t)request->exchange->body_cap);
	cr_assert_eq(worker.body_bytes, request->exchange->body_cap);

	metric_add(METRIC_body_bytes, BODIES_MAX);
	cr_assert_not(request_takes_more(request, 0));
	cr_assert(request_takes_more(request, n), "it has its room");
	metric_add(METRIC_body_bytes, BODIES_MAX);
	struct request *other = make("/");
	cr_assert_eq(request_add_body(other, piece, 1, 1), 503, "far over the cap of all bodies");
	metric_add(METRIC_body_bytes, -2 * BODIES_MAX);
	cr_assert(request_takes_more(request, 0));
	cr_assert_eq(request_add_body(other, piece, 1, BODY_MAX + 1), 413);
	cr_assert_eq(request_add_body(other, piece, 100, 1000000), 0);
	cr_assert(request_make_room(other, 1000000, false));
	cr_assert_leq(other->exchange->body_cap, 4096u, "little has come: no room for all of it");
	metric_add(METRIC_body_bytes, BODIES_MAX);
	cr_assert_not(request_make_room(other, 1000000, false), "short");
	cr_assert(request_make_room(other, 1000000, true), "but not far over the bound");
	cr_assert_eq(other->exchange->body_cap, 4096u);
	metric_add(METRIC_body_bytes, -BODIES_MAX);
	request_free(other);
	other = make("/");
	cr_assert(request_make_room(other, 0, false));
	cr_assert_eq(other->exchange->body_cap, 0u);
	cr_assert_eq(request_add_body(other, piece, 20000, 100000), 0);
	cr_assert_eq(other->exchange->body_cap, 100000u);
	request_free(other);
	request_free(request);
}

Test(request, answers_have_amazons_headers)
{
	struct buf body = {0};
	struct request *request = make("/");
	char id[37];
	memcpy(id, request->exchange->id, sizeof(id));
	cr_assert_eq(strlen(id), 36u);
	for (int i = 0; i < 36; i++)
		cr_assert(i == 8 || i == 13 || i == 18 || i == 23 ? id[i] == '-'
								  : isxdigit((unsigned char)id[i]) && !isupper((unsigned char)id[i]));
	cr_assert(id[14] == '4' && strchr("89ab", id[19]), "a version 4 UUID: %s", id);
	int64_t before = metric_get(METRIC_requests), errors = metric_get(METRIC_request_errors);
	buf_put_str(&body, STR("{}"));
	request_ok(request, &body);
	cr_assert_eq(seen.status, 200);
	cr_assert_str_eq(seen.type, "application/x-amz-json-1.1");
	char *text = (char *)seen.text.p;
	cr_assert_not_null(strstr(text, id));
	cr_assert_not_null(strstr(text, "x-amzn-RequestId: "));
	cr_assert_not_null(strstr(text, "Content-Length: 2\n"));
	cr_assert_not_null(strstr(text, "Content-Type: application/x-amz-json-1.1\n"));
	cr_assert_not_null(strstr(text, " GMT\n"));
	char *id2 = strstr(text, "x-amz-id-2: ");
	cr_assert(id2 && strcspn(id2 + 12, "\n") == 96);
	cr_assert_eq(metric_get(METRIC_requests), before + 1);
	cr_assert_eq(metric_get(METRIC_request_errors), errors);
}

Test(request, plain_and_bare_answers)
{
	struct buf body = {0};
	struct request *request = make("/");
	request->plain = true;
	request_answer(request, 200, NULL, &body);
	cr_assert_null(strstr((char *)seen.text.p, "x-am"));
	cr_assert_null(strstr((char *)seen.text.p, "Content-Type"));
	request = make("/");
	request->bare = true;
	request_answer(request, 200, NULL, &body);
	cr_assert_not_null(strstr((char *)seen.text.p, "x-amzn-RequestId"));
	cr_assert_null(strstr((char *)seen.text.p, "x-amz-id-2"));
}

Test(request, errors_in_both_encodings)
{
	int64_t errors = metric_get(METRIC_request_errors);
	request_fail(make("/"), STATUS_NOT_FOUND, "Stream %s under account %d not found.", "a\"b", 7);
	cr_assert_eq(seen.status, 400);
	expect_body("{\"__type\":\"ResourceNotFoundException\",\"message\":\"Stream a\\\"b under account 7 not found.\"}");
	cr_assert_not_null(strstr((char *)seen.text.p, "x-amzn-ErrorType: ResourceNotFoundException\n"));
	request_fail(make("/"), STATUS_SERIALIZATION, "Expected null");
	expect_body("{\"__type\":\"SerializationException\",\"Message\":\"Expected null\"}");
	request_fail_bare(make("/"), STATUS_UNKNOWN_OPERATION);
	expect_body("{\"__type\":\"UnknownOperationException\"}");
	request_fail_bare(make("/"), STATUS_INTERNAL);
	cr_assert_eq(seen.status, 500);
	struct request *request = make("/");
	request->encoding = ENCODING_CBOR;
	request_fail(request, STATUS_THROTTLED, "x");
	cr_assert_str_eq(seen.type, "application/x-amz-cbor-1.1");
	cr_assert_eq(seen.body.p[0] & 0xe0, 0xa0, "a map");
	cr_assert_not_null(memmem(seen.body.p, seen.body.n, "ProvisionedThroughputExceededException", 38));
	cr_assert_eq(metric_get(METRIC_request_errors), errors + 5);
}

Test(request, detached_in_work_falls_away)
{
	struct buf body = {0};
	struct request *request = make("/hold");
	unsigned replies = seen.replies;
	request_dispatch(request);
	request_detach(request);
	cr_assert_eq(worker.requests, 1u, "the operation still has it");
	buf_put_str(&body, STR("late"));
	int64_t before = metric_get(METRIC_requests);
	request_ok(request, &body);
	held[0] = NULL;
	cr_assert_eq(worker.requests, 0u);
	cr_assert_eq(seen.replies, replies);
	cr_assert_eq(metric_get(METRIC_requests), before, "nobody was answered");

	request = make("/hold");
	request_dispatch(request);
	request_detach(request);
	request_fail(request, STATUS_INTERNAL, "late");
	held[1] = NULL;
	cr_assert_eq(worker.requests, 0u);
}

/* There are a hundred thousand of them: a few bytes more, and the allocator takes its next size, 128 bytes above. */
Test(request, fits_its_size_class) { cr_assert_leq(sizeof(struct request), 640u); }

Test(request, detached_before_work_is_freed)
{
	struct request *request = make("/");
	cr_assert_eq(request_add_body(request, "abc", 3, 3), 0);
	request_detach(request);
	cr_assert_eq(worker.requests, 0u);
}

Test(request, detached_subscription_is_stopped_now_and_freed_at_the_end_of_the_turn)
{
	struct request *request = make("/sub");
	request_dispatch(request);
	cr_assert_eq(seen.streams, 1u);
	request_detach(request);
	cr_assert_null(fake_subs[0].sub);
	cr_assert_eq(worker.requests, 1u, "the hub may be in the middle of a call about it");
	turns(1);
	cr_assert_eq(worker.requests, 0u);
}
