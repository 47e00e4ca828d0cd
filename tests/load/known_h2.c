/* known_h2.c: HTTP/2 in cleartext, by prior knowledge, on nghttp2 and raw libevent events.
 *
 *   - a turn: one read, stamped as recv returns; its requests; then one send for all that the turn has made
 *   - what an exchange carries is handed over at the send that empties the socket's buffer, stamped before that call: over loopback the
 * kernel does the other side's receiving within it, so that the reader may have read before it returns
 *   - more for an exchange of another peer goes out at once, in the same turn
 *
 * Failures: a peer that breaks the protocol or closes is dropped, with its exchanges. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loadtest/load.h" /* now_ns */
#include "tests/load/known.h"

static const struct h2_ops *ops;

struct peer {
	int fd;
	bool inside; /* nghttp2 is reading */
	uint64_t read_ns;
	nghttp2_session *session;
	struct event *readable, *writable;
	struct list exchanges;
	struct buf out, leaving; /* leaving: what the bytes in out carry */
};

/* ---- Exchanges ------------------------------------------------------------------------------------------------------ */

static void exchange_free(struct exchange *exchange)
{
	list_remove(&exchange->all);
	list_remove(&exchange->link);
	buf_free(&exchange->in);
	buf_free(&exchange->out);
	buf_free(&exchange->carried);
	free(exchange);
}

static int on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct peer *peer = arg;
	struct exchange *exchange = xcalloc(1, sizeof *exchange);
	exchange->peer = peer;
	exchange->stream = frame->hd.stream_id;
	list_init(&exchange->link);
	list_append(&peer->exchanges, &exchange->all);
	return nghttp2_session_set_stream_user_data(session, exchange->stream, exchange);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value,
		     size_t value_n, uint8_t flags, void *arg)
{
	struct exchange *exchange = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	const uint8_t *dot = memchr(value, '.', value_n);
	(void)flags, (void)arg;
	if (str_equal((struct str){(const char *)name, name_n}, STR("x-amz-target")) && dot)
		snprintf(exchange->operation, sizeof exchange->operation, "%.*s", (int)(value + value_n - dot - 1), dot + 1);
	return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *p, size_t n, void *arg)
{
	struct exchange *exchange = nghttp2_session_get_stream_user_data(session, stream);
	(void)flags, (void)arg;
	buf_put(&exchange->in, p, n);
	return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct peer *peer = arg;
	struct exchange *exchange = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	bool of_request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
	if (exchange && of_request && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
		exchange->read_ns = peer->read_ns;
		ops->on_request(exchange);
	}
	return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
	struct exchange *exchange = nghttp2_session_get_stream_user_data(session, stream);
	(void)error, (void)arg;
	if (exchange)
		exchange_free(exchange);
	return 0;
}

static ssize_t on_body_wanted(nghttp2_session *session, int32_t stream, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source,
			      void *arg)
{
	struct exchange *exchange = source->ptr;
	size_t left = exchange->out.n - exchange->out_at, take = left < n ? left : n;
	(void)session, (void)stream, (void)arg;
	if (left == 0 && !exchange->whole)
		return NGHTTP2_ERR_DEFERRED;
	if (take)
		memcpy(p, exchange->out.p + exchange->out_at, take);
	exchange->out_at += take;
	if (take < left)
		return (ssize_t)take;
	buf_put(&exchange->peer->leaving, exchange->carried.p, exchange->carried.n);
	exchange->carried.n = exchange->out.n = exchange->out_at = 0;
	*flags |= exchange->whole ? NGHTTP2_DATA_FLAG_EOF : 0;
	return (ssize_t)take;
}

/* ---- The socket ----------------------------------------------------------------------------------------------------- */

static void flush(struct peer *peer)
{
	const uint8_t *p;
	ssize_t n;
	if (peer->inside)
		return;
	while ((n = nghttp2_session_mem_send(peer->session, &p)) > 0)
		buf_put(&peer->out, p, (size_t)n);
	uint64_t at = now_ns();
	ssize_t sent = peer->out.n ? send(peer->fd, peer->out.p, peer->out.n, MSG_NOSIGNAL) : 0;
	if (sent > 0) {
		memmove(peer->out.p, peer->out.p + sent, peer->out.n - (size_t)sent);
		peer->out.n -= (size_t)sent;
	}
	if (peer->out.n) {
		event_add(peer->writable, NULL); /* a broken one is seen there, and dropped by the read */
		return;
	}
	if (peer->leaving.n)
		ops->on_handed((const struct carried *)(const void *)peer->leaving.p, peer->leaving.n / sizeof(struct carried), at);
	peer->leaving.n = 0;
}

static void peer_free(struct peer *peer)
{
	nghttp2_session_del(peer->session);
	LIST_EACH (node, &peer->exchanges)
		exchange_free(container_of(node, struct exchange, all));
	event_free(peer->readable);
	event_free(peer->writable);
	close(peer->fd);
	buf_free(&peer->out);
	buf_free(&peer->leaving);
	free(peer);
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
	static uint8_t in[64 << 10];
	struct peer *peer = arg;
	ssize_t n = recv(fd, in, sizeof in, 0), taken = 0;
	(void)what;
	peer->read_ns = now_ns();
	if (n > 0) {
		peer->inside = true;
		taken = nghttp2_session_mem_recv(peer->session, in, (size_t)n);
		peer->inside = false;
	}
	if (n == 0 || (n < 0 && errno != EAGAIN) || taken < 0)
		peer_free(peer);
	else
		flush(peer);
}

static nghttp2_session *session_make(struct peer *peer)
{
	const nghttp2_settings_entry streams = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000};
	nghttp2_session_callbacks *callbacks;
	nghttp2_session *session;
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
	nghttp2_session_server_new(&session, callbacks, peer);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, &streams, 1);
	return session;
}

static void on_accepted(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int n, void *arg)
{
	struct event_base *base = evconnlistener_get_base(listener);
	struct peer *peer = xcalloc(1, sizeof *peer);
	int one = 1;
	(void)address, (void)n, (void)arg;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	peer->fd = fd;
	peer->session = session_make(peer);
	list_init(&peer->exchanges);
	peer->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_ready, peer);
	peer->writable = event_new(base, fd, EV_WRITE, on_ready, peer);
	event_add(peer->readable, NULL);
	flush(peer);
}

/* ---- For known.c ---------------------------------------------------------------------------------------------------- */

unsigned h2_listen(struct event_base *base, const struct h2_ops *with)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof address;
	ops = with;
	struct evconnlistener *listener = evconnlistener_new_bind(base, on_accepted, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
								  -1, (struct sockaddr *)&address, sizeof address);
	if (!listener || getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &n) != 0)
		return 0;
	return ntohs(address.sin_port);
}

static nghttp2_nv field(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

void h2_answer(struct exchange *exchange, const char *status, const char *content_type)
{
	const nghttp2_nv fields[] = {field(":status", status), field("content-type", content_type)};
	const nghttp2_data_provider body = {.source.ptr = exchange, .read_callback = on_body_wanted};
	nghttp2_submit_response(exchange->peer->session, exchange->stream, fields, 2, &body);
}

void h2_more(struct exchange *exchange)
{
	nghttp2_session_resume_data(exchange->peer->session, exchange->stream);
	flush(exchange->peer);
}
