/* h2.c: the streams of an HTTP/2 connection: requests in, whole answers and subscriptions out.
 *
 * Invariants: a stream lives from its header block's beginning to on_stream_close, and nobody else frees it; its request lives until it is
 * answered, or until the subscription's last byte was handed over, or the stream closes. The connection's window is given back for each
 * body byte, the stream's only while its body has room or there is memory. Thread: the connection's worker.
 *
 *   - head: pseudo fields and headers into the request, counted (nghttp2 does not enforce MAX_HEADER_LIST_SIZE)
 *   - body: kept, window given back; END_STREAM dispatches
 *   - answer: HEADERS, then DATA from the answer's buffer; an answer of one frame is not copied
 *   - while 256 KiB of a client's answers wait for it, its next requests are parked, whole, in their order
 *   - subscription: nghttp2 asks for n bytes, sub_avail says how many there are, several events fill one DATA frame; send_data puts the
 *     frame's 9 bytes and references to the shared events into the outq. All taken: no frame until on_ready. Outq full: PAUSE
 *
 * Failures: a head too large is 431, a body 413, one too slow 408; after such an early answer the stream is reset with NO_ERROR. A stream
 * that closes early detaches its request: a subscription's leave is posted in the same turn. */
#include "server/h2.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "server/peers.h"
#include "server/share.h"

static void h2_reply(struct request *request, int http_status, const char *content_type, struct buf *body);
static void h2_stream_begin(struct request *request);
static void h2_ready(struct request *request);
static bool h2_probe(struct request *request);
static const char *h2_blocked(struct request *request);
static void h2_reset(struct request *request);
static bool h2_local(struct request *request);

#define ANSWERS_AHEAD (256u << 10) /* one client's answers that may wait before its next request is taken */

static const struct transport_ops h2_transport = {h2_reply, h2_stream_begin, h2_ready, h2_probe, h2_blocked, h2_reset, h2_local};

/* ---- Life ---- */

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id)
{
	struct h2_stream *stream = xcalloc(1, sizeof(*stream));
	stream->h2 = h2;
	stream->id = id;
	stream->receiving = true;
	stream->request = request_new(h2->conn->worker, &h2_transport, stream);
	stream->request->exchange->peer = h2->conn->peer;
	stream->request->exchange->prompt = h2->conn->prompt;
	stream->request->exchange->method = stream->request->exchange->path = STR("");
	stream->since_ns = h2->conn->active_ns = stream->request->exchange->started_ns;
	if (request_crowded(h2->conn->worker))
		stream->refused = 503;
	list_append(&h2->streams, &stream->link);
	h2->n_streams++;
	h2->work += H2_WORK_HEAD;
	return stream;
}

static void drop_answer(struct h2_stream *stream)
{
	stream->h2->conn->answers -= stream->answer.n;
	if (stream->shared)
		outq_shared_put(stream->shared);
	else
		buf_free(&stream->answer);
	stream->shared = NULL;
	stream->answer = (struct buf){0};
}

void h2_stream_head_sent(struct h2_stream *stream)
{
	if (stream->headed)
		stream->h2->conn->answers -= ANSWER_HEAD;
	stream->headed = false;
}

/* Its subscription ends, or is over: it is no longer for h2_stop to finish, and may have a deadline. */
static void leave_live(struct h2_stream *stream)
{
	list_remove(&stream->link);
	list_append(&stream->h2->streams, &stream->link);
}

/* The subscription is over, or its client is. */
static void end_request(struct h2_stream *stream, void (*how)(struct request *request))
{
	struct request *request = stream->request;
	stream->request = NULL;
	if (stream->streaming) {
		stream->h2->n_streaming--;
		leave_live(stream);
	}
	stream->streaming = false;
	how(request);
}

void h2_stream_free(struct h2_stream *stream)
{
	struct h2 *h2 = stream->h2;
	if (stream->request && stream->request->in_work)
		ghosts_add(h2->ghosts, stream->request);
	if (stream->request)
		end_request(stream, request_detach);
	drop_answer(stream);
	h2_stream_head_sent(stream);
	if (h2->conn->charged)
		conn_settle(h2->conn);
	h2->n_parked -= stream->parked;
	h2->conn->active_ns = worker_now_ns(h2->conn->worker);
	h2->n_streams--;
	list_remove(&stream->link);
	free(stream);
}

/* ---- Requests ---- */

static bool pseudo_header(struct h2_stream *stream, struct str name, struct str value)
{
	struct request *request = stream->request;
	struct str copy = arena_str(&request->arena, value);
	request->exchange->head_bytes += (uint32_t)(name.n + value.n + 32);
	if (str_equal(name, STR(":method")))
		request->exchange->method = copy;
	else if (str_equal(name, STR(":path")))
		request->exchange->path = copy;
	else if (str_equal(name, STR(":authority")))
		request->exchange->host = copy;
	return request->exchange->head_bytes <= REQUEST_HEAD_BYTES_MAX;
}

bool h2_stream_header(struct h2_stream *stream, struct str name, struct str value)
{
	struct request *request = stream->request;
	if (stream->refused)
		return false;
	bool pseudo = name.n && name.p[0] == ':';
	if (pseudo ? !pseudo_header(stream, name, value) : !request_add_header(request, name, value))
		stream->refused = 431;
	else if (str_equal(name, STR("host")) && !str_equal(value, request->exchange->host))
		stream->refused = 400; /* two names for one server: somebody is being fooled */
	return stream->refused == 0;
}

void h2_stream_refuse(struct h2_stream *stream, int http_status)
{
	struct buf body = {0};
	if (!request_reserve(stream->request, ANSWER_HEAD, BUDGET_REFUSAL)) {
		h2_reset(stream->request);
		return;
	}
	stream->request->plain = true;
	h2_reply(stream->request, http_status, NULL, &body);
}

static uint32_t capped(unsigned long long n) { return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX; }

void h2_stream_head(struct h2_stream *stream)
{
	struct request *request = stream->request;
	if (stream->refused) {
		h2_stream_refuse(stream, stream->refused);
		return;
	}
	stream->since_ns = request->exchange->started_ns = worker_now_ns(request->worker);
	request_set_target(request, request->exchange->method, request->exchange->path);
	struct str length = request_header(request, "content-length"), expect = request_header(request, "expect");
	if (length.n)
		stream->content_length = capped(strtoull(length.p, NULL, 10)); /* nghttp2 has checked that it is a number */
	if (stream->content_length > BODY_MAX) {
		h2_stream_refuse(stream, 413);
	} else if (stream->receiving && str_equal(expect, STR("100-continue"))) {
		nghttp2_nv nv = {(uint8_t *)":status", (uint8_t *)"100", 7, 3, NGHTTP2_NV_FLAG_NONE};
		nghttp2_submit_headers(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, NULL, &nv, 1, NULL);
	}
}

void h2_stream_give_back(struct h2_stream *stream)
{
	nghttp2_session_consume_stream(stream->h2->session, stream->id, stream->withheld);
	stream->withheld = 0;
}

/* The connection's window goes on whatever happens: a stream that waits for memory holds up no other. */
void h2_stream_body(struct h2_stream *stream, const uint8_t *p, size_t n, bool last)
{
	int refused = stream->request ? request_add_body(stream->request, p, n, stream->content_length) : 0;
	nghttp2_session_consume_connection(stream->h2->session, n);
	stream->since_ns = conn_paid(stream->h2->conn, stream->since_ns, n, stream->h2->guard.now_ns);
	if (refused)
		h2_stream_refuse(stream, refused);
	if (!stream->request || last) {
		stream->withheld = 0;
		return;
	}
	stream->withheld += (uint32_t)n;
	if (request_takes_more(stream->request, stream->content_length))
		h2_stream_give_back(stream);
}

void h2_stream_whole(struct h2_stream *stream)
{
	struct h2 *h2 = stream->h2;
	stream->receiving = false;
	h2->work += H2_WORK_PIECE;
	if (!stream->request)
		return;
	if (h2->n_parked || h2->conn->answers > ANSWERS_AHEAD) {
		stream->parked = true;
		h2->n_parked++;
		stream->since_ns = h2->guard.now_ns;
	} else {
		request_dispatch(stream->request); /* may answer before it returns */
	}
}

/* One: the next is next turn's, so that others get theirs. */
void h2_unpark(struct h2 *h2)
{
	struct h2_stream *first = NULL;
	if (h2->n_parked == 0 || h2->conn->answers > ANSWERS_AHEAD)
		return;
	for (struct list *node = h2->streams.next; node != &h2->streams && !first; node = node->next) {
		struct h2_stream *stream = container_of(node, struct h2_stream, link);
		first = stream->parked ? stream : NULL;
	}
	assert(first);
	first->parked = false;
	h2->n_parked--;
	request_dispatch(first->request);
	conn_dirty(h2->conn);
}

/* ---- Answers ---- */

static nghttp2_nv make_nv(struct str name, struct str value, uint8_t flags)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name.p, (uint8_t *)(uintptr_t)value.p, name.n, value.n, flags};
}

/* What is new in each answer would only push what repeats out of the peer's HPACK table. */
static uint8_t nv_flags(struct str name)
{
	bool changes =
		str_equal(name, STR("x-amzn-RequestId")) || str_equal(name, STR("x-amz-id-2")) || str_equal(name, STR("Content-Length"));
	return changes ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE;
}

/* With a body: `provider` gives it. An open one: the caller will, by nghttp2_submit_data. */
static void submit(struct h2_stream *stream, int http_status, const char *content_type, int64_t content_length,
		   nghttp2_data_provider *provider, bool open)
{
	struct answer_head answer;
	nghttp2_nv nv[1 + ANSWER_HEADERS_MAX];
	char status[8];
	size_t n = 0;
	request_answer_head(stream->request, http_status, content_type, content_length, &answer);
	snprintf(status, sizeof(status), "%d", http_status);
	nv[n++] = make_nv(STR(":status"), str_of(status), NGHTTP2_NV_FLAG_NONE);
	for (uint32_t i = 0; i < answer.n; i++) /* nghttp2 copies them, and lowers the names */
		nv[n++] = make_nv(answer.fields[i].name, answer.fields[i].value, nv_flags(answer.fields[i].name));
	int rc = open ? nghttp2_submit_headers(stream->h2->session, NGHTTP2_FLAG_NONE, stream->id, NULL, nv, n, NULL)
		      : nghttp2_submit_response(stream->h2->session, stream->id, nv, n, provider);
	if (rc != 0)
		conn_close(stream->h2->conn);
	conn_dirty(stream->h2->conn);
}

static ssize_t on_read_answer(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source,
			      void *arg)
{
	struct h2_stream *stream = source->ptr;
	(void)session, (void)id, (void)p, (void)arg;
	if (conn_full(stream->h2->conn))
		return NGHTTP2_ERR_PAUSE;
	size_t left = stream->answer.n - stream->answer_at;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (left <= n)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)(left < n ? left : n);
}

static void h2_reply(struct request *request, int http_status, const char *content_type, struct buf *body)
{
	struct h2_stream *stream = request->stream;
	nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = on_read_answer};
	struct conn *conn = stream->h2->conn;
	bool with_body = body->n && !str_equal(request->exchange->method, STR("HEAD"));
	if (conn->answers == 0)
		stream->h2->paid_ns = worker_now_ns(request->worker);
	conn_charge(conn, request_hand_over(request, body->n));
	stream->headed = true;
	conn->answers += ANSWER_HEAD;
	/* 413 and the like are answered without a length, as AWS does */
	submit(stream, http_status, content_type, request->plain && !body->n ? -1 : (int64_t)body->n, with_body ? &provider : NULL, false);
	if (with_body) {
		stream->answer = *body;
		*body = (struct buf){0};
		stream->since_ns = worker_now_ns(request->worker);
		conn->answers += stream->answer.n;
	}
	buf_free(body);
	end_request(stream, request_free);
}

/* ---- Subscriptions ----
 *
 * nghttp2 holds a DATA frame to come only while there are bytes for it: a hundred thousand that wait for records have none. So each ends
 * with EOF as soon as it takes all that there is, but without END_STREAM, and the next is submitted when there is more. */

static ssize_t on_read_stream(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source,
			      void *arg)
{
	struct h2_stream *stream = source->ptr;
	(void)session, (void)id, (void)p, (void)arg;
	if (!stream->request) { /* the client was found gone by a probe */
		stream->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (conn_full(stream->h2->conn))
		return NGHTTP2_ERR_PAUSE;
	int64_t ready = sub_avail(&stream->request->sub, n);
	if (ready == 0) { /* it was spent, or read ahead, since it was said */
		stream->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (ready == SUB_END) { /* the leave is posted here, before END_STREAM is written */
		end_request(stream, request_free);
		*flags |= NGHTTP2_DATA_FLAG_EOF;
		return 0;
	}
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	stream->drained = (size_t)ready < n;
	if (stream->drained)
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
	return (ssize_t)ready;
}

static void submit_data(struct h2_stream *stream)
{
	nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = on_read_stream};
	stream->pulled = nghttp2_submit_data(stream->h2->session, NGHTTP2_FLAG_END_STREAM, stream->id, &provider) == 0;
	if (!stream->pulled)
		conn_close(stream->h2->conn);
}

void h2_stream_sent(struct h2_stream *stream)
{
	if (!stream->drained)
		return;
	stream->pulled = stream->drained = false;
	if (stream->request && sub_avail(&stream->request->sub, 1) != 0)
		submit_data(stream);
}

/* From now on its last words have a deadline. */
static void note_closing(struct h2_stream *stream)
{
	if (stream->request->sub.state != SUB_CLOSING)
		return;
	stream->since_ns = worker_now_ns(stream->h2->conn->worker);
	leave_live(stream);
}

static void h2_stream_begin(struct request *request)
{
	struct h2_stream *stream = request->stream;
	request->in_work = false;
	request_streams(request);
	stream->streaming = true;
	stream->h2->n_streaming++;
	list_remove(&stream->link);
	list_append(&stream->h2->live, &stream->link);
	submit(stream, 200, "application/vnd.amazon.eventstream", -1, NULL, true);
	submit_data(stream);
	if (request->worker->stopping)
		sub_finish(&request->sub);
}

static void h2_ready(struct request *request)
{
	struct h2_stream *stream = request->stream;
	if (!stream->streaming)
		return;
	note_closing(stream);
	if (!stream->pulled)
		submit_data(stream);
	else if (stream->deferred)
		nghttp2_session_resume_data(stream->h2->session, stream->id);
	stream->deferred = false;
	conn_dirty(stream->h2->conn);
}

static const char *h2_blocked(struct request *request)
{
	const struct h2_stream *stream = request->stream;
	const struct conn *conn = stream->h2->conn;
	nghttp2_session *session = stream->h2->session;
	if (conn->above || conn->blocked)
		return "ROOM";
	bool shut = nghttp2_session_get_remote_window_size(session) <= 0 ||
		    nghttp2_session_get_stream_remote_window_size(session, stream->id) <= 0;
	return shut ? "WINDOW" : NULL;
}

static bool h2_probe(struct request *request)
{
	struct h2_stream *stream = request->stream;
	struct conn *conn = stream->h2->conn;
	bool held;
	do { /* what was read and has to wait, and then one read */
		held = conn_held(conn) > 0;
		share_leave(conn);
		conn_serve(conn);
	} while (held && !conn->dead);
	/* RST_STREAM closes the stream, which detaches the request; its memory stays until the turn ends. */
	if (request->transport && conn->dead)
		end_request(stream, request_detach);
	return request->transport == NULL;
}

static void h2_reset(struct request *request)
{
	struct h2_stream *stream = request->stream;
	struct h2 *h2 = stream->h2;
	request->in_work = false;
	h2->reset = true;
	nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_INTERNAL_ERROR);
	end_request(stream, request_free);
	conn_dirty(h2->conn);
}

static bool h2_local(struct request *request) { return peers_local(((const struct h2_stream *)request->stream)->h2->conn->fd); }

/* An answer of one frame is the outq's; one of several is held by both until the last of it has left: no byte is there twice. */
static void send_answer(struct h2_stream *stream, size_t n)
{
	struct conn *conn = stream->h2->conn;
	if (stream->answer_at == 0 && n == stream->answer.n) {
		conn->answers -= n;
		outq_take(&conn->outq, &stream->answer);
		return;
	}
	if (!stream->shared)
		stream->shared = outq_shared_new(&conn->outq, &stream->answer);
	outq_refer(&conn->outq, stream->shared, stream->answer.p + stream->answer_at, n);
	stream->answer_at += n;
	if (stream->answer_at == stream->answer.n)
		drop_answer(stream);
}

/* The frame's head and its bytes, both to the outq. */
int h2_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n, nghttp2_data_source *source, void *arg)
{
	struct h2_stream *stream = source->ptr;
	struct conn *conn = stream->h2->conn;
	(void)session, (void)arg;
	assert(frame->data.padlen == 0);
	outq_copy(&conn->outq, head, 9);
	h2_guard_sent(&stream->h2->guard, n);
	if (stream->streaming) {
		note_closing(stream);
		sub_take(&stream->request->sub, n, outq_emit, &conn->outq);
		return 0;
	}
	uint64_t now_ns = worker_now_ns(conn->worker);
	stream->since_ns = conn_paid(conn, stream->since_ns, n, now_ns);
	stream->h2->paid_ns = conn_paid(conn, stream->h2->paid_ns, n, now_ns);
	send_answer(stream, n);
	return 0;
}
