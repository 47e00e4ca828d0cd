/* h1.c: HTTP/1.1 over a connection: one request at a time, whole answers, and subscriptions as chunked bodies.
 *
 * Invariants: at most one request is there; answers leave in the order of requests because the next one is not parsed before. What a
 * pipelining client sends meanwhile is at most one read's rest, in `held`; then the socket is not read until there is an answer. While a
 * subscription runs the socket is read to see the client leave. Thread: the connection's worker.
 *
 *   - HEAD -> BODY as http1_feed says; the body is collected in the request
 *   - WORK: dispatched; the answer brings HEAD back, or the end when the client asked for it
 *   - STREAM: each pull is one chunk; SUB_END writes the last chunk and brings HEAD back
 *
 * Failures: what does not name HTTP is closed; what else the parser refuses is answered once (400, 413, 417, 431, 501, 503, 505) and the
 * connection lingers, so that the answer is read before a reset comes; a head that takes 10 s or a body 30 s behind 1 KiB/s is answered
 * 408. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/http1.h"
#include "server/conn.h"
#include "server/peers.h"
#include "server/request.h"
#include "server/share.h"

#define HELD_MAX (64u << 10) /* sent behind a running subscription; more is no client of ours */
#define CHUNK_MAX (64u << 10)

enum h1_state { H1_HEAD, H1_BODY, H1_WORK, H1_STREAM, H1_REFUSED };

struct h1 {
	struct conn *conn;
	struct http1 parser;
	enum h1_state state;
	struct request *request;
	bool last;        /* close after this answer */
	bool no_body;     /* HEAD: the answer's body is not sent */
	bool chunked;     /* a stream to an HTTP/1.0 client is ended by the close */
	uint64_t head_ns; /* first byte of the present head, else 0 */
	uint64_t body_ns; /* see conn_paid; STREAM: when the subscription was last seen alive */
};

static void h1_reply(struct request *request, int http_status, const char *content_type, struct buf *body);
static void h1_stream(struct request *request);
static void h1_ready(struct request *request);
static bool h1_probe(struct request *request);
static const char *h1_blocked(struct request *request);
static void h1_reset(struct request *request);
static bool h1_local(struct request *request);

static const struct transport_ops h1_transport = {h1_reply, h1_stream, h1_ready, h1_probe, h1_blocked, h1_reset, h1_local};

/* ---- What the parser tells us ---- */

static int on_request(void *arg, struct str method, struct str target)
{
	struct h1 *h1 = arg;
	h1->request = request_new(h1->conn->worker, &h1_transport, h1);
	h1->request->exchange->peer = h1->conn->peer;
	h1->request->exchange->prompt = h1->conn->prompt;
	request_set_target(h1->request, method, target);
	return request_crowded(h1->conn->worker) ? 503 : 0;
}

static int on_header(void *arg, struct str name, struct str value)
{
	struct h1 *h1 = arg;
	return request_add_header(h1->request, name, value) ? 0 : 431;
}

static int on_head(void *arg)
{
	struct h1 *h1 = arg;
	h1->state = H1_BODY;
	h1->head_ns = 0;
	h1->body_ns = h1->conn->active_ns = worker_now_ns(h1->conn->worker);
	h1->last = !h1->parser.keep_alive || h1->conn->worker->stopping;
	h1->chunked = !h1->parser.one_zero;
	h1->no_body = str_equal(h1->request->exchange->method, STR("HEAD"));
	if (h1->parser.content_length > BODY_MAX)
		return 413;
	bool expected = h1->parser.chunked || h1->parser.content_length;
	if (h1->parser.expect_continue && expected && !h1->parser.one_zero) {
		outq_copy(&h1->conn->outq, "HTTP/1.1 100 Continue\r\n\r\n", 25);
		conn_dirty(h1->conn);
	}
	return 0;
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	struct h1 *h1 = arg;
	h1->body_ns = conn_paid(h1->conn, h1->body_ns, n, worker_now_ns(h1->conn->worker));
	return request_add_body(h1->request, p, n, h1->parser.content_length);
}

static const struct http1_ops parser_ops = {on_request, on_header, on_head, on_body};

/* ---- Answers ---- */

static void write_head(struct h1 *h1, struct request *request, int http_status, const char *content_type, int64_t content_length,
		       bool chunked)
{
	struct answer_head answer;
	struct buf head = {0};
	request_answer_head(request, http_status, content_type, content_length, &answer);
	buf_printf(&head, "HTTP/1.1 %d %s\r\n", http_status, http_status_str((enum http_status)http_status));
	for (uint32_t i = 0; i < answer.n; i++) {
		buf_put_str(&head, answer.fields[i].name);
		buf_put(&head, ": ", 2);
		buf_put_str(&head, answer.fields[i].value);
		buf_put(&head, "\r\n", 2);
	}
	if (chunked)
		buf_put_str(&head, STR("Transfer-Encoding: chunked\r\n"));
	if (h1->last)
		buf_put_str(&head, STR("Connection: close\r\n"));
	buf_put(&head, "\r\n", 2);
	outq_take(&h1->conn->outq, &head);
	conn_dirty(h1->conn);
}

/* The exchange is over: the next request, or the end. */
static void end_exchange(struct h1 *h1)
{
	struct conn *conn = h1->conn;
	h1->request = NULL;
	h1->state = H1_HEAD;
	conn->active_ns = worker_now_ns(conn->worker);
	conn_dirty(conn);
	if (h1->last)
		conn_finish(conn, false);
}

static void h1_reply(struct request *request, int http_status, const char *content_type, struct buf *body)
{
	struct h1 *h1 = request->stream;
	h1->last = h1->last || h1->conn->worker->stopping;
	bool refused_large = http_status == 413; /* AWS: no body, Transfer-Encoding: chunked */
	conn_charge(h1->conn, request_hand_over(request, body->n));
	write_head(h1, request, http_status, content_type, refused_large ? -1 : (int64_t)body->n, refused_large);
	if (refused_large)
		outq_copy(&h1->conn->outq, "0\r\n\r\n", 5);
	else if (!h1->no_body)
		outq_take(&h1->conn->outq, body);
	buf_free(body);
	request_free(request);
	end_exchange(h1);
}

/* The transport's own answer to what it will not hand on; the connection ends with it. */
static void refuse(struct h1 *h1, int http_status)
{
	struct buf body = {0};
	struct conn *conn = h1->conn;
	struct request *request = h1->request ? h1->request : request_new(conn->worker, &h1_transport, h1);
	request->exchange->peer = conn->peer;
	if (!request_reserve(request, ANSWER_HEAD, BUDGET_REFUSAL)) {
		h1->request = request;
		conn_close(conn);
		return;
	}
	request->plain = true;
	h1->last = true;
	h1->no_body = false;
	h1_reply(request, http_status, NULL, &body);
	h1->state = H1_REFUSED;
	conn_finish(conn, true);
}

/* What does not name HTTP is no request, and an answer in HTTP would mean nothing to its sender (RFC 9113 3.4 wants a mere close where it
 * was meant to be HTTP/2's preface). */
static void refuse_input(struct h1 *h1, int http_status)
{
	if (!h1->parser.alien) {
		refuse(h1, http_status);
		return;
	}
	h1->state = H1_REFUSED;
	conn_finish(h1->conn, false);
}

/* ---- Subscriptions ---- */

static void h1_stream(struct request *request)
{
	struct h1 *h1 = request->stream;
	if (!h1->chunked)
		h1->last = true;
	h1->last = h1->last || h1->conn->worker->stopping;
	request->in_work = false;
	request_streams(request);
	h1->state = H1_STREAM;
	write_head(h1, request, 200, "application/vnd.amazon.eventstream", -1, h1->chunked);
	if (h1->conn->worker->stopping)
		sub_finish(&request->sub);
	conn_set_reading(h1->conn, true);
}

static void h1_ready(struct request *request)
{
	struct h1 *h1 = request->stream;
	if (request->transport && h1->state == H1_STREAM)
		conn_dirty(h1->conn);
}

static const char *h1_blocked(struct request *request)
{
	const struct h1 *h1 = request->stream;
	return h1->conn->above || h1->conn->blocked ? "ROOM" : NULL;
}

static bool h1_probe(struct request *request)
{
	struct h1 *h1 = request->stream;
	if (!request->transport)
		return true;
	struct conn *conn = h1->conn;
	if (conn->reading)
		conn_read(conn);
	if (!conn->dead)
		return false;
	if (h1->request) /* now, not when the connection is reaped: the leave must be on its way when we say so */
		request_detach(h1->request);
	h1->request = NULL;
	return true;
}

/* Reaping the connection frees it. */
static void h1_reset(struct request *request)
{
	struct h1 *h1 = request->stream;
	request->in_work = false;
	conn_close(h1->conn);
}

static bool h1_local(struct request *request) { return peers_local(((const struct h1 *)request->stream)->conn->fd); }

static void end_stream(struct h1 *h1)
{
	if (h1->chunked)
		outq_copy(&h1->conn->outq, "0\r\n\r\n", 5);
	request_free(h1->request); /* posts the leave; this turn's mail goes out before its bytes */
	end_exchange(h1);
}

static void pull_stream(struct h1 *h1)
{
	struct outq *q = &h1->conn->outq;
	struct subscription *sub = &h1->request->sub;
	while (!conn_full(h1->conn)) {
		char line[24];
		int64_t n = sub_avail(sub, CHUNK_MAX);
		if (n == 0)
			return;
		if (n == SUB_END) {
			end_stream(h1);
			return;
		}
		if (h1->chunked)
			outq_copy(q, line, (size_t)snprintf(line, sizeof(line), "%llx\r\n", (unsigned long long)n));
		sub_take(sub, (size_t)n, outq_emit, q);
		if (h1->chunked)
			outq_copy(q, "\r\n", 2);
	}
}

/* ---- Input ---- */

static void dispatch(struct h1 *h1)
{
	h1->state = H1_WORK;
	h1->conn->active_ns = worker_now_ns(h1->conn->worker);
	request_dispatch(h1->request); /* may answer before it returns */
}

static bool wants_input(const struct h1 *h1)
{
	return (h1->state == H1_HEAD || h1->state == H1_BODY) && !h1->conn->dead && !h1->conn->closing;
}

/* Enough answers wait for the client: its next request is not taken. */
static bool is_full(struct h1 *h1)
{
	struct conn *conn = h1->conn;
	return h1->state == H1_HEAD && (conn_full(conn) || (conn->blocked && !conn->writable));
}

/* One request after the other, until one stays in work, enough answers wait for the socket, or it is others' turn. */
static size_t h1_input(struct conn *conn, const uint8_t *p, size_t n)
{
	struct h1 *h1 = conn->session;
	size_t at = 0;
	bool again = false;
	while (at < n && wants_input(h1) && !is_full(h1) && !(again && !share_more(conn->worker))) {
		size_t used;
		int rc = http1_feed(&h1->parser, p + at, n - at, &used);
		at += used;
		again = rc == HTTP1_DONE;
		if (rc == HTTP1_DONE) {
			dispatch(h1);
		} else if (rc != HTTP1_MORE) {
			refuse_input(h1, rc);
		} else if (h1->state == H1_HEAD && http1_inside(&h1->parser) && !h1->head_ns) {
			h1->head_ns = worker_now_ns(h1->conn->worker);
		}
	}
	return at;
}

static void h1_kept(struct conn *conn)
{
	struct h1 *h1 = conn->session;
	if (h1->state == H1_STREAM) {
		if (conn_held(conn) > HELD_MAX)
			conn_close(conn);
		return;
	}
	if (conn_held(conn) || (h1->state == H1_BODY && !request_takes_more(h1->request, h1->parser.content_length)))
		conn_set_reading(conn, false); /* until there is an answer, or (looked at by the sweep) memory */
	if (conn_held(conn) && wants_input(h1) && !is_full(h1))
		share_wait(conn);
	else if (h1->state == H1_HEAD && !conn_held(conn) && wants_input(h1))
		conn_set_reading(conn, true);
}

/* The client sends no more. It may still wait for the answer that is in work; but no client half-closes and then follows a stream. */
static bool h1_eof(struct conn *conn)
{
	struct h1 *h1 = conn->session;
	h1->last = true;
	conn_set_reading(conn, false);
	return h1->state == H1_WORK || (conn->closing && h1->state != H1_REFUSED);
}

static void h1_fill(struct conn *conn)
{
	struct h1 *h1 = conn->session;
	if (h1->state == H1_STREAM)
		pull_stream(h1);
	if (!conn->dead && !conn->closing)
		h1_kept(conn);
}

/* ---- Life, deadlines, shutdown ---- */

static void h1_begin(struct conn *conn)
{
	struct h1 *h1 = xcalloc(1, sizeof(*h1));
	h1->conn = conn;
	h1->head_ns = worker_now_ns(conn->worker); /* the first request's head is due, unlike later ones' */
	http1_init(&h1->parser, &parser_ops, h1);
	conn->session = h1;
}

static void h1_free(struct conn *conn)
{
	struct h1 *h1 = conn->session;
	if (h1->request)
		request_detach(h1->request);
	http1_fini(&h1->parser);
	free(h1);
}

static bool h1_busy(const struct conn *conn)
{
	const struct h1 *h1 = conn->session;
	return h1->state != H1_HEAD;
}

static bool h1_streaming(const struct conn *conn)
{
	const struct h1 *h1 = conn->session;
	return h1->state == H1_STREAM;
}

/* A live subscription may stand as long as its client likes; the last words of one that is over may not. */
static void sweep_stream(struct h1 *h1, uint64_t now_ns)
{
	if (h1->request->sub.state != SUB_CLOSING || !h1->conn->blocked)
		h1->body_ns = now_ns;
	else if (now_ns - h1->body_ns > CLOSING_NS && now_ns - h1->conn->progress_ns > CLOSING_NS)
		conn_close(h1->conn);
}

static void sweep_body(struct h1 *h1, uint64_t now_ns)
{
	struct conn *conn = h1->conn;
	bool withheld = !conn->reading && !conn_held(conn) && list_empty(&conn->wait_link); /* else it is others' turn */
	if (withheld && request_make_room(h1->request, h1->parser.content_length, false)) {
		conn_set_reading(conn, true);
		h1->body_ns = now_ns;
	} else if (conn_body_late(conn, h1->body_ns, now_ns, withheld)) {
		refuse(h1, 408);
	}
}

static void h1_sweep(struct conn *conn, uint64_t now_ns)
{
	struct h1 *h1 = conn->session;
	if (h1->state == H1_HEAD && h1->head_ns && conn_late(conn, now_ns - h1->head_ns, HEAD_NS)) {
		if (http1_inside(&h1->parser))
			refuse(h1, 408);
		else
			conn_close(conn);
	}
	if (h1->state == H1_STREAM)
		sweep_stream(h1, now_ns);
	if (h1->state == H1_BODY)
		sweep_body(h1, now_ns);
}

static void h1_stop(struct conn *conn)
{
	struct h1 *h1 = conn->session;
	h1->last = true;
	if (h1->state == H1_STREAM)
		sub_finish(&h1->request->sub);
	else if (h1->state == H1_HEAD && !http1_inside(&h1->parser))
		conn_finish(conn, false);
	conn_dirty(conn);
}

/* No last words: the cut inside a chunked body says it. */
static void h1_abort(struct conn *conn) { (void)conn; }

const struct protocol h1_protocol = {h1_begin,     h1_input, h1_kept, h1_eof,   h1_fill, h1_busy,
				     h1_streaming, h1_sweep, h1_stop, h1_abort, h1_free};
