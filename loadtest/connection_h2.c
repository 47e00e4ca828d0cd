/* connection_h2.c: HTTP/2 on a line, by nghttp2; see line.h.
 *
 *   - the line is ready when the server's SETTINGS have come: its limit of streams is known, and that it speaks HTTP/2 at all
 *   - a call is a stream; its answer is complete when END_STREAM was seen, whatever becomes of the stream after that
 *   - GOAWAY: the line drains; nghttp2 closes the streams that the server will not look at as REFUSED_STREAM
 *   - PING and SETTINGS are answered, and windows opened, by nghttp2 as it reads */
#include <nghttp2/nghttp2.h>
#include <stdio.h>

#include "loadtest/line.h"

/* ---- What nghttp2 tells ---- */

/* NULL: it was cancelled, or nobody is there any more to be told. */
static struct call *call_of(nghttp2_session *session, int32_t stream, const struct line *line)
{
	return line->connection->closing ? NULL : nghttp2_session_get_stream_user_data(session, stream);
}

static ssize_t on_body_wanted(nghttp2_session *session, int32_t stream, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source,
			      void *arg)
{
	struct call *call = call_of(session, stream, arg);
	(void)source;
	if (!call)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	size_t left = call->body.n - call->sent, take = left < n ? left : n;
	memcpy(p, call->body.p + call->sent, take);
	call->sent += take;
	if (call->sent == call->body.n)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)take;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value,
		     size_t value_n, uint8_t flags, void *arg)
{
	struct call *call = call_of(session, frame->hd.stream_id, arg);
	(void)flags;
	if (!call)
		return 0;
	if (name_n == 7 && memcmp(name, ":status", 7) == 0 && value_n == 3)
		call->status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
	else
		call_header(call, (struct str){(const char *)name, name_n}, (struct str){(const char *)value, value_n});
	return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *p, size_t n, void *arg)
{
	struct call *call = call_of(session, stream, arg);
	(void)flags;
	if (call)
		call_bytes(call, p, n);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct line *line = arg;
	struct call *call;
	switch (frame->hd.type) {
	case NGHTTP2_SETTINGS:
		if (!line->ready && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
			line_ready(line);
		break;
	case NGHTTP2_GOAWAY:
		line->draining = true;
		break;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		call = call_of(session, frame->hd.stream_id, line);
		if (call && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
			call->whole = true;
		break;
	default:
		break;
	}
	return 0;
}

/* A request that nghttp2 held back until the server had said GOAWAY. */
static int on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	struct call *call = frame->hd.type == NGHTTP2_HEADERS ? call_of(session, frame->hd.stream_id, arg) : NULL;
	(void)error;
	if (call)
		call_end(call, CALL_GOAWAY);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
	struct call *call = call_of(session, stream, arg);
	if (call && !call->ended)
		call_end(call, call->whole ? CALL_OK : error == NGHTTP2_REFUSED_STREAM ? CALL_GOAWAY : CALL_RESET);
	return 0;
}

/* ---- The line ---- */

static void h2_open(struct line *line)
{
	uint32_t window = line->connection->window;
	const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
	nghttp2_session_callbacks *callbacks;
	nghttp2_session *session;
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(callbacks, on_frame_not_sent);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_client_new(&session, callbacks, line);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2);
	nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, window < INT32_MAX / 16 ? (int32_t)(window * 16) : INT32_MAX);
	line->session = session;
	line_touch(line);
}

static bool h2_bytes(struct line *line, const uint8_t *p, size_t n) { return nghttp2_session_mem_recv(line->session, p, n) == (ssize_t)n; }

static void h2_eof(struct line *line) { (void)line; }

/* At least one stream, whatever the server says: it will say so again when it resets it. */
static bool h2_room(const struct line *line)
{
	uint32_t most = nghttp2_session_get_remote_settings(line->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	return nghttp2_session_check_request_allowed(line->session) && (line->n_calls < most || line->n_calls == 0);
}

static nghttp2_nv field(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

/* The head goes into the wire's buffer at once, whatever else waits there: nghttp2 knows a stream, and lets go of a call that is cancelled,
 * only from then on. */
static void begin_stream(struct line *line, int32_t stream)
{
	const uint8_t *p;
	ssize_t n;
	while (!nghttp2_session_find_stream(line->session, stream) && (n = nghttp2_session_mem_send(line->session, &p)) > 0)
		wire_put(&line->wire, p, (size_t)n);
}

static void h2_send(struct line *line, struct call *call)
{
	const struct endpoint *endpoint = line->connection->endpoint;
	const nghttp2_data_provider body = {.source.ptr = call, .read_callback = on_body_wanted};
	nghttp2_nv fields[11];
	size_t n = 0;
	char length[24];
	struct request_head head;
	call_head(call, line->connection->signer, &head);
	snprintf(length, sizeof length, "%zu", call->body.n);
	fields[n++] = field(":method", head.method);
	fields[n++] = field(":scheme", endpoint->tls ? "https" : "http");
	fields[n++] = field(":authority", endpoint->authority);
	fields[n++] = field(":path", head.path);
	fields[n++] = field("user-agent", CALL_USER_AGENT);
	if (head.content_type || call->body.n)
		fields[n++] = field("content-length", length);
	if (head.content_type) {
		fields[n++] = field("content-type", head.content_type);
		fields[n++] = field("x-amz-target", head.target);
		fields[n++] = field("x-amz-date", head.date);
		fields[n] = field("authorization", head.authorization);
		fields[n++].flags = NGHTTP2_NV_FLAG_NO_INDEX; /* another one each time */
		if (head.token)
			fields[n++] = field("x-amz-security-token", head.token);
	}
	call->stream = nghttp2_submit_request(line->session, NULL, fields, n, call->body.n ? &body : NULL, call);
	if (call->stream < 0)
		call_end(call, CALL_GOAWAY);
	else
		begin_stream(line, call->stream);
}

static void h2_cancel(struct line *line, struct call *call)
{
	if (nghttp2_session_set_stream_user_data(line->session, call->stream, NULL) == 0)
		nghttp2_submit_rst_stream(line->session, NGHTTP2_FLAG_NONE, call->stream, NGHTTP2_CANCEL);
	else /* nghttp2 has held the head back, and the call with it */
		line_lose(line, "a call was cancelled");
}

static bool h2_fill(struct line *line)
{
	bool put = false;
	const uint8_t *p;
	ssize_t n = 0;
	while (wire_room(&line->wire) && (n = nghttp2_session_mem_send(line->session, &p)) > 0) {
		wire_put(&line->wire, p, (size_t)n);
		put = true;
	}
	if (n < 0 || (!nghttp2_session_want_read(line->session) && !nghttp2_session_want_write(line->session)))
		line_lose(line, "the HTTP/2 session is over");
	return put && !line->dead;
}

static void h2_free(struct line *line) { nghttp2_session_del(line->session); }

const struct line_ops line_h2_ops = {{"\x02h2", 3}, h2_open, h2_bytes, h2_eof, h2_room, h2_send, h2_cancel, h2_fill, h2_free};
