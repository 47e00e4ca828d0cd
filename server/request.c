/* request.c: the life of a request between transport and operations, and the answers that both share.
 *
 * Invariants: a request is freed exactly once: by its answer, by request_detach when no operation has it, or, when it was detached in
 * work, by the answer that falls away. Every body byte in memory is in METRIC_body_bytes. Thread: the request's worker.
 *
 *   - request_new when the head begins; headers and body are added as they come
 *   - request_dispatch when it is whole; an operation has it from here
 *   - request_ok / request_fail / request_answer: the transport writes the answer and frees the request
 *   - a subscription: transport->stream, and request_free after SUB_END
 *
 * When the client leaves: a subscription is stopped at once (its leave is posted before this turn's bytes are written) and, since the
 * hub calls no one back after sub_stop, the request ends; any other operation keeps it until its own mail is back.
 * Memory that held a subscription is freed at the end of the turn, because the hub may be in the middle of a call about it. */
#include "server/request.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "penstock/writer.h"
#include "server/fault.h"
#include "server/worker.h"

/* Bodies that are in their windows when BODIES_MAX is passed still arrive, and those that must go on; beyond this they are refused. */
#define BODIES_HARD (BODIES_MAX + BODIES_MAX / 2)
#define HEADERS_FIRST 16u
#define BODY_FIRST 4096u /* first allocation when the client does not say how long the body is */
#define BODY_AT_ONCE (16 * BODY_FIRST)

/* ---- Random identifiers: xoshiro256**, seeded by the kernel. They name requests in logs and are no secrets ---- */

static _Thread_local uint64_t random_state[4];

static uint64_t rotate(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

static uint64_t random_u64(void)
{
	uint64_t *s = random_state;
	while ((s[0] | s[1] | s[2] | s[3]) == 0)
		if (getrandom(s, sizeof(random_state), 0) != (ssize_t)sizeof(random_state))
			memset(s, 0, sizeof(random_state));
	uint64_t result = rotate(s[1] * 5, 7) * 9, t = s[1] << 17;
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate(s[3], 45);
	return result;
}

static void uuid4(char out[REQUEST_ID])
{
	uint64_t high = (random_u64() & ~UINT64_C(0xf000)) | 0x4000;
	uint64_t low = (random_u64() & ~(UINT64_C(3) << 62)) | UINT64_C(1) << 63;
	snprintf(out, REQUEST_ID, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(high >> 32), (unsigned)(high >> 16 & 0xffff),
		 (unsigned)(high & 0xffff), (unsigned)(low >> 48), (unsigned long long)(low & 0xffffffffffff));
}

/* ---- Life ---- */

_Static_assert(sizeof(struct request) <= 384, "what a waiting subscription costs; the allocator's classes here are 320, 384 and 448 bytes");

struct request *request_new(struct worker *worker, const struct transport_ops *transport, void *stream)
{
	struct request *request = xcalloc(1, sizeof(*request));
	request->worker = worker;
	request->transport = transport;
	request->stream = stream;
	request->exchange = arena_zalloc(&request->arena, sizeof(*request->exchange));
	request->exchange->started_ns = worker_now_ns(worker);
	uuid4(request->exchange->id);
	worker->requests++;
	return request;
}

struct ghosts *ghosts_new(void) { return xcalloc(1, sizeof(struct ghosts)); }

void ghosts_add(struct ghosts *ghosts, struct request *request)
{
	request->exchange->ghosts = ghosts;
	ghosts->n++;
}

static void drop_ghosts(struct ghosts *ghosts)
{
	if (ghosts->left && ghosts->n == 0)
		free(ghosts);
}

void ghosts_leave(struct ghosts *ghosts)
{
	ghosts->left = true;
	drop_ghosts(ghosts);
}

/* Before the client's connection goes, and its peer with it. */
static void give_back(struct request *request)
{
	struct exchange *exchange = request->exchange;
	if (!exchange)
		return;
	if (exchange->reserved)
		answers_give(request->worker, exchange->peer, exchange->reserved);
	exchange->reserved = 0;
	exchange->peer = NULL;
}

static void drop_exchange(struct request *request)
{
	const struct exchange *exchange = request->exchange;
	if (!exchange)
		return;
	give_back(request);
	metric_add(METRIC_body_bytes, -(int64_t)exchange->body_cap);
	request->worker->body_bytes -= exchange->body_cap;
	free(exchange->body);
	if (exchange->ghosts) {
		exchange->ghosts->n--;
		drop_ghosts(exchange->ghosts);
	}
	request->exchange = NULL;
	arena_free(&request->arena);
}

static void release(struct request *request)
{
	if (request->fault)
		fault_drop(request);
	drop_exchange(request);
	request->worker->requests--;
	if (request->streams)
		request->worker->streaming--;
	free(request);
}

void request_streams(struct request *request)
{
	request->streams = true;
	give_back(request); /* from here its memory is the cursor's and the output queue's */
	request->worker->streaming++;
}

void request_shrink(struct request *request) { drop_exchange(request); }

bool request_crowded(const struct worker *worker) { return worker->requests - worker->streaming > REQUESTS_MAX; }

void request_free(struct request *request)
{
	request->transport = NULL;
	give_back(request);
	if (!request->sub.ops) { /* never given to a hub */
		release(request);
		return;
	}
	if (request->subscribed)
		sub_stop(&request->sub);
	request->subscribed = false;
	request->next_ended = request->worker->ended;
	request->worker->ended = request;
}

/* End of turn: the requests whose subscriptions were stopped in it. */
void request_bury(struct worker *worker)
{
	struct request *request;
	while ((request = worker->ended)) {
		worker->ended = request->next_ended;
		release(request);
	}
}

void request_detach(struct request *request)
{
	request->transport = NULL;
	request->stream = NULL;
	give_back(request);
	if (!request->in_work || request->subscribed)
		request_free(request);
}

void request_dispatch(struct request *request)
{
	request->in_work = true;
	dispatch_request(request);
}

/* ---- Head and body ---- */

bool request_add_header(struct request *request, struct str name, struct str value)
{
	request->exchange->head_bytes += (uint32_t)(name.n + value.n + 32);
	if (request->exchange->n_headers == REQUEST_HEADERS_MAX || request->exchange->head_bytes > REQUEST_HEAD_BYTES_MAX)
		return false;
	char *lower = arena_alloc(&request->arena, name.n + 1);
	for (size_t i = 0; i < name.n; i++)
		lower[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] | 0x20 : name.p[i]);
	lower[name.n] = 0;
	/* An SDK sends about ten. */
	if (request->exchange->n_headers == 0 || request->exchange->n_headers == HEADERS_FIRST) {
		size_t room = request->exchange->n_headers ? REQUEST_HEADERS_MAX : HEADERS_FIRST;
		struct header *headers = arena_alloc(&request->arena, room * sizeof(*headers));
		if (request->exchange->n_headers)
			memcpy(headers, request->exchange->headers, request->exchange->n_headers * sizeof(*headers));
		request->exchange->headers = headers;
	}
	struct header header = {{lower, name.n}, arena_str(&request->arena, value)};
	request->exchange->headers[request->exchange->n_headers++] = header;
	if (!str_present(request->exchange->host) && str_equal(header.name, STR("host")))
		request->exchange->host = header.value;
	return true;
}

struct str request_header(const struct request *request, const char *name)
{
	struct str wanted = str_of(name);
	for (uint32_t i = 0; i < request->exchange->n_headers; i++)
		if (str_equal(request->exchange->headers[i].name, wanted))
			return request->exchange->headers[i].value;
	return (struct str){0};
}

/* Absolute form (RFC 9112 3.2.2): its host wins over the Host header. What is left is origin form. */
static struct str strip_origin(struct request *request, struct str target)
{
	const char *mark = memmem(target.p, target.n, "://", 3);
	if (target.n == 0 || target.p[0] == '/' || !mark)
		return target;
	const char *end = target.p + target.n, *host = mark + 3, *path = host;
	while (path < end && *path != '/' && *path != '?')
		path++;
	request->exchange->host = arena_str(&request->arena, (struct str){host, (size_t)(path - host)});
	if (path == end)
		return STR("/");
	if (*path == '/')
		return (struct str){path, (size_t)(end - path)};
	return arena_printf(&request->arena, "/%.*s", (int)(end - path), path);
}

void request_set_target(struct request *request, struct str method, struct str target)
{
	request->exchange->method = arena_str(&request->arena, method);
	request->exchange->head_bytes += (uint32_t)(method.n + target.n);
	target = strip_origin(request, target);
	const char *mark = target.n ? memchr(target.p, '?', target.n) : NULL;
	size_t n = mark ? (size_t)(mark - target.p) : target.n;
	request->exchange->path = arena_str(&request->arena, (struct str){target.p, n});
	request->exchange->query = mark ? arena_str(&request->arena, (struct str){mark + 1, target.n - n - 1}) : STR("");
}

static bool has_memory(void) { return metric_get(METRIC_body_bytes) < BODIES_MAX; }

static bool has_room(const struct request *request, uint64_t expected) { return expected && request->exchange->body_cap >= expected; }

/* Those that have their room go on when memory is short: were all held up, none would end. */
bool request_takes_more(const struct request *request, uint64_t expected) { return has_room(request, expected) || has_memory(); }

/* Is a declared length trusted, after `need` bytes? A small one at once, another when an eighth of it is here. */
static bool is_trusted(size_t need, uint64_t expected)
{
	return expected && expected >= need && (expected <= BODY_AT_ONCE || expected / 8 <= need);
}

static bool set_room(struct request *request, size_t cap)
{
	uint8_t *body = realloc(request->exchange->body, cap);
	if (!body)
		return false;
	metric_add(METRIC_body_bytes, (int64_t)(cap - request->exchange->body_cap));
	request->worker->body_bytes += cap - request->exchange->body_cap;
	request->exchange->body = body;
	request->exchange->body_cap = cap;
	return true;
}

/* Doubles until the declared length is trusted. (With doubling alone a put of 500 KB was copied one and a half times while it arrived.) */
static bool grow_body(struct request *request, size_t need, uint64_t expected)
{
	size_t cap = request->exchange->body_cap ? request->exchange->body_cap * 2 : BODY_FIRST;
	while (cap < need)
		cap *= 2;
	if ((is_trusted(need, expected) && (expected <= BODY_AT_ONCE || has_memory())) || (expected >= need && expected < cap))
		cap = (size_t)expected;
	return set_room(request, cap);
}

bool request_make_room(struct request *request, uint64_t expected, bool urgent)
{
	if (has_room(request, expected))
		return true;
	if (!has_memory() && (!urgent || metric_get(METRIC_body_bytes) > BODIES_HARD))
		return false;
	return !is_trusted(request->exchange->body_len, expected) || set_room(request, (size_t)expected);
}

int request_add_body(struct request *request, const void *p, size_t n, uint64_t expected)
{
	size_t need = request->exchange->body_len + n;
	if (need > BODY_MAX || expected > BODY_MAX)
		return 413;
	if (need > request->exchange->body_cap && (metric_get(METRIC_body_bytes) > BODIES_HARD || !grow_body(request, need, expected)))
		return 503;
	memcpy(request->exchange->body + request->exchange->body_len, p, n);
	request->exchange->body_len = need;
	return 0;
}

/* ---- The answer's memory ---- */

bool request_reserve(struct request *request, size_t n, enum budget_class class)
{
	struct exchange *exchange = request->exchange;
	if (n <= exchange->reserved)
		return true;
	if (!answers_take(request->worker, exchange->peer, n - exchange->reserved, class))
		return false;
	exchange->reserved = n;
	return true;
}

void request_take_over(struct request *request, size_t n) { request->exchange->reserved += n; }

/* What was reserved for more than there is goes back. */
static void settle(struct request *request, size_t n)
{
	struct exchange *exchange = request->exchange;
	if (exchange->reserved > n)
		answers_give(request->worker, exchange->peer, exchange->reserved - n);
	else if (exchange->reserved < n)
		answers_force(request->worker, exchange->peer, n - exchange->reserved);
	exchange->reserved = n;
}

size_t request_hand_over(struct request *request, size_t n)
{
	settle(request, ANSWER_HEAD + n);
	request->exchange->reserved = 0;
	return ANSWER_HEAD + n;
}

/* A buffer that grew by doubling, or by an estimate, keeps no more than an eighth beyond its bytes. */
static void trim(struct buf *body)
{
	if (body->cap <= body->n + body->n / 8 + 4096)
		return;
	uint8_t *p = realloc(body->p, body->n ? body->n : 1);
	if (!p)
		return;
	body->p = p;
	body->cap = body->n ? body->n : 1;
}

/* Room for an answer that is made. Operations have it; what has none is a page, or an error with a long text. */
static bool has_answer_room(struct request *request, int http_status, const struct buf *body)
{
	bool page = request->plain, done = !page && http_status == 200; /* what is done is told, whatever it takes */
	bool large = page && body->n > BUDGET_LARGE;
	return done || request_reserve(request, ANSWER_HEAD + body->n, large ? BUDGET_PAGE : BUDGET_CALL);
}

/* ---- Answers ---- */

static void add_field(struct answer_head *out, struct str name, struct str value)
{
	assert(out->n < ANSWER_HEADERS_MAX);
	out->fields[out->n++] = (struct header){name, value};
}

/* Once per second and thread: strftime costs more than the rest of a head. */
static struct str http_date(struct worker *worker, char out[40])
{
	static _Thread_local int64_t cached_s = -1;
	static _Thread_local char cached[40];
	int64_t now_s = io_wall_ms(worker->server->io) / 1000;
	if (now_s != cached_s) {
		struct tm tm;
		time_t seconds = (time_t)now_s;
		gmtime_r(&seconds, &tm);
		strftime(cached, sizeof(cached), "%a, %d %b %Y %H:%M:%S GMT", &tm);
		cached_s = now_s;
	}
	memcpy(out, cached, sizeof(cached));
	return str_of(out);
}

static struct str random_id2(char out[97])
{
	uint64_t bytes[9]; /* 72 bytes, as AWS sends */
	for (size_t i = 0; i < 9; i++)
		bytes[i] = random_u64();
	return (struct str){out, base64_encode(out, bytes, sizeof(bytes))};
}

void request_answer_head(struct request *request, int http_status, const char *content_type, int64_t content_length,
			 struct answer_head *out)
{
	out->n = 0;
	metric_add(METRIC_requests, 1);
	if (http_status >= 400)
		metric_add(METRIC_request_errors, 1);
	if (!request->plain)
		add_field(out, STR("x-amzn-RequestId"), (struct str){request->exchange->id, strlen(request->exchange->id)});
	if (!request->plain && !request->bare)
		add_field(out, STR("x-amz-id-2"), random_id2(out->id2));
	if (content_type)
		add_field(out, STR("Content-Type"), str_of(content_type));
	if (content_length >= 0) {
		snprintf(out->length, sizeof(out->length), "%lld", (long long)content_length);
		add_field(out, STR("Content-Length"), str_of(out->length));
	}
	add_field(out, STR("Date"), http_date(request->worker, out->date));
	for (uint32_t i = 0; i < request->exchange->n_extra; i++)
		add_field(out, request->exchange->extra[i].name, request->exchange->extra[i].value);
}

void request_answer(struct request *request, int http_status, const char *content_type, struct buf *body)
{
	if (request->fault && fault_hold_answer(request, http_status, content_type, body))
		return;
	if (request->transport && !has_answer_room(request, http_status, body)) {
		buf_free(body);
		request_refuse(request);
		return;
	}
	request->in_work = false;
	if (request->transport) {
		trim(body);
		request->transport->reply(request, http_status, content_type, body);
		return;
	}
	buf_free(body);
	request_free(request);
}

static const char *content_type_of(const struct request *request)
{
	return request->encoding == ENCODING_CBOR ? "application/x-amz-cbor-1.1" : "application/x-amz-json-1.1";
}

void request_ok(struct request *request, struct buf *body)
{
	if (request->fault && fault_lost(request))
		buf_free(body);
	else
		request_answer(request, 200, content_type_of(request), body);
}

static void add_error_type(struct request *request, enum status status)
{
	if (request->exchange->n_extra < REQUEST_EXTRA_MAX)
		request->exchange->extra[request->exchange->n_extra++] =
			(struct header){STR("x-amzn-ErrorType"), str_of(status_type(status))};
}

/* text p NULL: no message. AWS writes `Message` for errors of type conversion, `message` for all others. */
static void fail(struct request *request, enum status status, struct str text)
{
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_kv_str(&w, "__type", str_of(status_type(status)));
	if (str_present(text))
		write_kv_str(&w, status == STATUS_SERIALIZATION ? "Message" : "message", text);
	write_map_end(&w);
	add_error_type(request, status);
	request_answer(request, status_http(status), content_type_of(request), &body);
}

void request_fail(struct request *request, enum status status, const char *format, ...)
{
	struct buf text = {0};
	va_list args;
	va_start(args, format);
	buf_vprintf(&text, format, args);
	va_end(args);
	fail(request, status, text.n ? (struct str){(const char *)text.p, text.n} : STR(""));
	buf_free(&text);
}

void request_fail_bare(struct request *request, enum status status) { fail(request, status, (struct str){0}); }

void request_refuse(struct request *request)
{
	struct buf nothing = {0};
	if (request->transport && !request_reserve(request, ANSWER_HEAD, BUDGET_REFUSAL)) {
		request->transport->reset(request);
		return;
	}
	request->plain = true;
	request->exchange->n_extra = 0;
	request->in_work = false;
	if (request->transport) {
		request->transport->reply(request, 503, NULL, &nothing);
		return;
	}
	request_free(request);
}
