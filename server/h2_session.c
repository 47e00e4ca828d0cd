/* h2_session.c: one HTTP/2 connection: nghttp2's session, its limits, its deadlines, its end.
 *
 * Invariants: nghttp2 is fed and asked on the worker's thread alone, never from inside its own callbacks; all its output goes to the outq.
 * PING and SETTINGS acknowledgements pass stream data: nghttp2 orders them first, and what is in front of them in the outq is bounded.
 *
 *   - begin: SETTINGS leave at once (Java waits for them before its first request), the connection's window is opened
 *   - input -> callbacks -> streams (h2.c)
 *   - fill: nghttp2_session_mem_send until nothing comes; DATA through h2_on_send_data
 *   - GOAWAY from the client: nothing to do, open streams go on (the JavaScript SDK sends it right after each response's head)
 *   - stop: our GOAWAY, subscriptions finish; when no stream is left, nghttp2 wants neither to read nor to write, and we close
 *
 * Abuse: nghttp2's own guards (outbound acknowledgements, settings, continuations), ours (h2_guard.c), and two caps here: frames that wait
 * to be sent, and requests in work whose streams are gone. Over: GOAWAY(ENHANCE_YOUR_CALM) and close. SETTINGS_NO_RFC7540_PRIORITIES is not
 * sent: nghttp2 1.52 would then let the oldest stream starve the others of its connection. */
#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "server/h2.h"
#include "server/share.h"

#define STREAM_WINDOW (1 << 20)
#define CONNECTION_WINDOW (16 << 20)
#define MAX_STREAMS 1000                    /* a KCL worker holds a stream per shard on one connection */
#define OUTQ_HARD (OUTQ_HIGH + (64u << 10)) /* acknowledgements that nobody reads stop here; then nghttp2's own cap ends the session */
#define QUEUE_MAX (2 * MAX_STREAMS)         /* frames that wait to be sent: an answer's head and a window for each stream */
#define GHOSTS_MAX MAX_STREAMS              /* a client may leave as many requests in work behind as it may have */

static pthread_once_t callbacks_once = PTHREAD_ONCE_INIT;
static nghttp2_session_callbacks *callbacks; /* read-only once made */

static struct h2_stream *stream_of(nghttp2_session *session, int32_t id) { return nghttp2_session_get_stream_user_data(session, id); }

/* ---- Frames from the client ---- */

/* HEADERS or DATA on a stream that is over. nghttp2 would pass over them, since it keeps no closed streams for us; after a reset of ours
 * they may rightly be on their way, before the first one they are an error of the client. */
static bool check_closed(struct h2 *h2, const nghttp2_frame_hd *hd)
{
	if (hd->stream_id % 2 == 0 || hd->stream_id > nghttp2_session_get_last_proc_stream_id(h2->session) ||
	    nghttp2_session_find_stream(h2->session, hd->stream_id))
		return true;
	if (h2->reset)
		return h2_guard_nothing(&h2->guard);
	nghttp2_session_terminate_session(h2->session, NGHTTP2_STREAM_CLOSED);
	return false;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;
	if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
		return 0;
	if (h2->ghosts->n > GHOSTS_MAX) {
		h2->guard.why = "requests left behind";
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, h2_stream_new(h2, frame->hd.stream_id));
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value,
		     size_t value_n, uint8_t flags, void *arg)
{
	struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
	struct h2 *h2 = arg;
	(void)flags;
	if (!h2_guard_header(&h2->guard, name_n, value_n))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (stream && stream->request && frame->headers.cat == NGHTTP2_HCAT_REQUEST) /* trailers are dropped */
		h2_stream_header(stream, (struct str){(const char *)name, name_n}, (struct str){(const char *)value, value_n});
	return 0;
}

/* nghttp2 drops a field that is malformed; it costs all the same. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value,
			     size_t value_n, uint8_t flags, void *arg)
{
	struct h2 *h2 = arg;
	(void)session, (void)frame, (void)name, (void)value, (void)flags;
	return h2_guard_header(&h2->guard, name_n, value_n) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* nghttp2 will reset the stream: what follows it is no error. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	struct h2 *h2 = arg;
	(void)session, (void)frame, (void)error;
	h2->reset = true;
	return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;
	bool headers = frame->hd.type == NGHTTP2_HEADERS;
	h2->greeted = true; /* the first one is SETTINGS, nghttp2 sees to that */
	if (!headers && frame->hd.type != NGHTTP2_DATA)
		return 0;
	struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;
	if (!headers && !end && frame->hd.length == frame->data.padlen && !h2_guard_nothing(&h2->guard))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	if (!stream)
		return 0;
	if (end)
		stream->receiving = false;
	if (headers && frame->headers.cat == NGHTTP2_HCAT_REQUEST)
		h2_stream_head(stream);
	if (end)
		h2_stream_whole(stream);
	return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct h2_stream *stream = stream_of(session, id);
	(void)arg;
	if (stream)
		h2_stream_body(stream, p, n, flags & NGHTTP2_FLAG_END_STREAM);
	else
		nghttp2_session_consume_connection(session, n);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct h2_stream *stream = stream_of(session, id);
	(void)error_code, (void)arg;
	if (stream)
		h2_stream_free(stream);
	return 0;
}

/* ---- Frames that we send ---- */

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2 *h2 = arg;
	if (frame->hd.type == NGHTTP2_RST_STREAM) {
		/* CANCEL is ours alone: deadlines and shutdown, which can concern every stream of a client at once */
		bool provoked = frame->rst_stream.error_code != NGHTTP2_CANCEL;
		h2->reset = true;
		return !provoked || h2_guard_reset(&h2->guard, worker_now_ns(h2->conn->worker)) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	struct h2_stream *stream = stream_of(session, frame->hd.stream_id);
	if (stream && frame->hd.type == NGHTTP2_DATA)
		h2_stream_sent(stream);
	else if (stream)
		h2_stream_head_sent(stream);
	if (stream && stream->receiving && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) /* answered early: the rest is not wanted */
		nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_NO_ERROR);
	return 0;
}

/* ---- The session ---- */

static void make_callbacks(void)
{
	int rc = nghttp2_session_callbacks_new(&callbacks);
	assert(rc == 0);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, h2_on_send_data);
}

static nghttp2_session *new_session(struct h2 *h2)
{
	nghttp2_session *session = NULL;
	nghttp2_option *option = NULL;
	pthread_once(&callbacks_once, make_callbacks);
	if (nghttp2_option_new(&option) != 0)
		return NULL;
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_max_outbound_ack(option, 100);
	nghttp2_option_set_stream_reset_rate_limit(option, 2 * MAX_STREAMS, 100); /* h2_guard.c is stricter, and says why */
	nghttp2_option_set_max_continuations(option, 8);
	nghttp2_option_set_no_closed_streams(option, 1);
	if (nghttp2_session_server_new2(&session, callbacks, h2, option) != 0)
		session = NULL;
	nghttp2_option_del(option);
	return session;
}

static void h2_begin(struct conn *conn)
{
	static const nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, MAX_STREAMS},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, STREAM_WINDOW},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, REQUEST_HEAD_BYTES_MAX},
	};
	struct h2 *h2 = xcalloc(1, sizeof(*h2));
	uint64_t now_ns = worker_now_ns(conn->worker);
	h2->conn = conn;
	list_init(&h2->streams);
	list_init(&h2->live);
	h2_guard_init(&h2->guard, now_ns);
	h2->ghosts = ghosts_new();
	conn->session = h2;
	h2->session = new_session(h2);
	if (!h2->session ||
	    nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, sizeof(settings) / sizeof(settings[0])) != 0 ||
	    nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW) != 0)
		conn_close(conn);
	conn_dirty(conn);
}

static bool pull(struct h2 *h2)
{
	if (!h2->failed && nghttp2_session_get_outbound_queue_size(h2->session) > QUEUE_MAX) {
		h2->guard.why = "frames that nobody takes";
		return false;
	}
	while (h2->conn->outq.bytes < OUTQ_HARD) {
		const uint8_t *p;
		ssize_t n = nghttp2_session_mem_send(h2->session, &p);
		if (n <= 0)
			return n == 0;
		outq_copy(&h2->conn->outq, p, (size_t)n);
	}
	h2->conn->above = true; /* the rest follows below OUTQ_LOW */
	return true;
}

static void free_streams(struct list *list)
{
	LIST_EACH (node, list)
		h2_stream_free(container_of(node, struct h2_stream, link));
}

static void free_all_streams(struct h2 *h2)
{
	free_streams(&h2->streams);
	free_streams(&h2->live);
}

/* GOAWAY, and the end: from here nghttp2 is not asked any more. The client may still be sending: linger, so that it reads why. */
static void fail(struct h2 *h2, int error)
{
	uint32_t code = NGHTTP2_PROTOCOL_ERROR;
	if (h2->failed)
		return;
	h2->failed = true;
	if (error == NGHTTP2_ERR_CALLBACK_FAILURE || error == NGHTTP2_ERR_FLOODED || error == NGHTTP2_ERR_TOO_MANY_SETTINGS ||
	    error == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS)
		code = NGHTTP2_ENHANCE_YOUR_CALM;
	nghttp2_session_terminate_session(h2->session, code);
	pull(h2);
	free_all_streams(h2);
	if (code == NGHTTP2_ENHANCE_YOUR_CALM)
		conn_cut(h2->conn, h2->guard.why ? h2->guard.why : nghttp2_strerror(error));
	conn_finish(h2->conn, true);
}

static bool feed(struct h2 *h2, const uint8_t *p, size_t n, int *error)
{
	ssize_t used = n ? nghttp2_session_mem_recv(h2->session, p, n) : 0;
	if (used < 0)
		*error = (int)used;
	return used >= 0 && nghttp2_session_want_read(h2->session); /* once it is over it must not be fed */
}

/* Between two frames: is a piece of work done, a whole request, or some of the other frames? */
static bool is_piece(struct h2 *h2)
{
	if (h2->guard.head_n || ++h2->work < H2_WORK_PIECE)
		return false;
	h2->work = 0;
	return true;
}

/* nghttp2 gets what lies before a frame's head, then the frame is judged. After each piece of work it may be others' turn. Returns 0, or
 * nghttp2's error; *used says how far it came. */
static int take_frames(struct h2 *h2, const uint8_t *p, size_t n, size_t *used)
{
	size_t at = 0, fed = 0;
	int error = 0;
	nghttp2_frame_hd hd;
	*used = n;
	while (h2_guard_skip(&h2->guard, n, &at)) {
		if (is_piece(h2)) {
			if (!feed(h2, p + fed, at - fed, &error))
				return error;
			fed = at;
			if (!share_more(h2->conn->worker))
				break;
		}
		if (!h2_guard_next(&h2->guard, p, n, &at, &hd))
			break;
		if (!h2_guard_frame(&h2->guard, &hd))
			return NGHTTP2_ERR_FLOODED;
		if (hd.type != NGHTTP2_DATA && hd.type != NGHTTP2_HEADERS)
			continue;
		size_t begin = at > H2_HEAD ? at - H2_HEAD : 0; /* a head's first bytes may have come, and been fed, before */
		if (!feed(h2, p + fed, begin - fed, &error))
			return error;
		fed = begin;
		if (!check_closed(h2, &hd))
			return h2->guard.why ? NGHTTP2_ERR_FLOODED : NGHTTP2_ERR_STREAM_CLOSED;
	}
	*used = at;
	feed(h2, p + fed, at - fed, &error);
	return error;
}

static size_t h2_input(struct conn *conn, const uint8_t *p, size_t n)
{
	struct h2 *h2 = conn->session;
	size_t used;
	if (conn->dead || conn->closing || !nghttp2_session_want_read(h2->session))
		return n;
	h2->guard.now_ns = worker_now_ns(conn->worker);
	h2->work = 0;
	int error = take_frames(h2, p, n, &used);
	if (error)
		fail(h2, error);
	conn_dirty(conn); /* acknowledgements, windows, answers */
	return used;
}

static void h2_kept(struct conn *conn)
{
	conn_set_reading(conn, !conn_held(conn));
	if (conn_held(conn))
		share_wait(conn);
}

static bool h2_eof(struct conn *conn)
{
	(void)conn;
	return false; /* without a way to give windows back the streams could not go on */
}

static void h2_fill(struct conn *conn)
{
	struct h2 *h2 = conn->session;
	if (!pull(h2))
		fail(h2, NGHTTP2_ERR_CALLBACK_FAILURE);
	else if (!nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session))
		conn_finish(conn, true);
	else
		h2_unpark(h2);
}

static void h2_free(struct conn *conn)
{
	struct h2 *h2 = conn->session;
	free_all_streams(h2);
	ghosts_leave(h2->ghosts);
	nghttp2_session_del(h2->session);
	free(h2);
}

/* ---- Deadlines and shutdown ---- */

static bool h2_busy(const struct conn *conn) { return ((const struct h2 *)conn->session)->n_streams > 0; }

static bool h2_streaming(const struct conn *conn) { return ((const struct h2 *)conn->session)->n_streaming > 0; }

/* The first of a connection is let on even when memory is short: all bodies together could fill it without one of them being whole. */
static void sweep_body(struct h2_stream *stream, uint64_t now_ns, bool first)
{
	bool withheld = stream->withheld > 0;
	if (withheld && request_make_room(stream->request, stream->content_length, first)) {
		h2_stream_give_back(stream);
		stream->since_ns = now_ns;
	} else if (conn_body_late(stream->h2->conn, stream->since_ns, now_ns, withheld)) {
		h2_stream_refuse(stream, 408);
	} else {
		return;
	}
	conn_dirty(stream->h2->conn);
}

/* The window is not opened, or too slowly: for an answer, or for those that a parked request waits for, or for the last words of a
 * subscription. Parked requests wait as long as answers are taken at the least rate; they end with an answer that is reset if not: else
 * they would be answered now, and have all the time once more. */
static void sweep_output(struct h2_stream *stream, uint64_t now_ns)
{
	struct h2 *h2 = stream->h2;
	uint64_t since_ns = stream->parked && stream->since_ns < h2->paid_ns ? h2->paid_ns : stream->since_ns,
		 waited_ns = now_ns - since_ns;
	bool late = stream->streaming ? waited_ns > CLOSING_NS : conn_answer_late(h2->conn, waited_ns, STALL_NS);
	if (late && stream->answer.n && h2->paid_ns <= stream->since_ns)
		h2->stalled = true;
	if (!late && !(stream->parked && h2->stalled))
		return;
	nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, stream->id, NGHTTP2_CANCEL);
	conn_dirty(h2->conn);
}

static void h2_sweep(struct conn *conn, uint64_t now_ns)
{
	struct h2 *h2 = conn->session;
	bool late = !h2->greeted && conn_late(conn, now_ns - conn->since_ns, PREFACE_NS);
	if (late || (h2_guard_in_head(&h2->guard) && conn_late(conn, now_ns - h2->guard.block_ns, HEAD_NS))) {
		h2->guard.why = "a head that does not end";
		fail(h2, NGHTTP2_ERR_FLOODED);
		return;
	}
	bool first = true;
	h2->stalled = false;
	LIST_EACH (node, &h2->streams) {
		struct h2_stream *stream = container_of(node, struct h2_stream, link);
		if (stream->receiving && stream->request) {
			sweep_body(stream, now_ns, first);
			first = false;
		} else if (stream->streaming || stream->parked || stream->answer.n) {
			sweep_output(stream, now_ns);
		}
	}
}

static void h2_stop(struct conn *conn)
{
	struct h2 *h2 = conn->session;
	nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2->session), NGHTTP2_NO_ERROR, NULL,
			      0);
	LIST_EACH (node, &h2->live)
		sub_finish(&container_of(node, struct h2_stream, link)->request->sub);
	conn_dirty(conn);
}

static void cancel(struct h2 *h2, struct list *list)
{
	LIST_EACH (node, list)
		nghttp2_submit_rst_stream(h2->session, NGHTTP2_FLAG_NONE, container_of(node, struct h2_stream, link)->id, NGHTTP2_CANCEL);
}

static void h2_abort(struct conn *conn)
{
	struct h2 *h2 = conn->session;
	cancel(h2, &h2->streams);
	cancel(h2, &h2->live);
	pull(h2);
}

const struct protocol h2_protocol = {h2_begin,     h2_input, h2_kept, h2_eof,   h2_fill, h2_busy,
				     h2_streaming, h2_sweep, h2_stop, h2_abort, h2_free};
