/* connection.c: HTTP/2 by nghttp2 over a libevent bufferevent (cleartext) or an OpenSSL one (TLS).
 *
 *   connection_call submits a request; nghttp2 frames it; what it wants to send goes to the bufferevent at once
 *   bytes that arrive are fed to nghttp2, whose callbacks gather a call's answer or hand a stream's bytes on
 *
 * A broken connection ends every call in work with complete == false. */
#include "loadtest/connection.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loadtest/signer.h"

struct connection {
	struct event_base *base;
	struct bufferevent *socket;
	nghttp2_session *session;
	struct endpoint endpoint;
	char authority[80];
	struct signer *signer;
	uint64_t bytes_in;
	struct list calls; /* in work */
	bool broken, flushing;
};

bool endpoint_parse(const char *url, struct endpoint *out)
{
	const char *rest;
	char *end;
	*out = (struct endpoint){.region = "us-east-1"};
	if (strncmp(url, "http://", 7) == 0)
		rest = url + 7;
	else if (strncmp(url, "https://", 8) == 0)
		rest = url + 8, out->tls = true;
	else
		return false;
	const char *colon = strchr(rest, ':');
	if (!colon || (size_t)(colon - rest) >= sizeof out->host)
		return false;
	memcpy(out->host, rest, (size_t)(colon - rest));
	if (strcmp(out->host, "localhost") == 0)
		strcpy(out->host, "127.0.0.1");
	if (strncmp(out->host, "127.", 4) != 0)
		return false;
	out->port = (int)strtol(colon + 1, &end, 10);
	return out->port > 0 && out->port < 65536 && (*end == 0 || *end == '/');
}

void call_free(struct call *call)
{
	buf_free(&call->body);
	buf_free(&call->answer);
}

/* ---- nghttp2's callbacks -------------------------------------------------------------------------------------------- */

static ssize_t on_body_wanted(nghttp2_session *session, int32_t stream, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source,
			      void *arg)
{
	struct call *call = source->ptr;
	size_t left = call->body.n - call->sent, take = left < n ? left : n;
	(void)session, (void)stream, (void)arg;
	memcpy(p, call->body.p + call->sent, take);
	call->sent += take;
	if (call->sent == call->body.n)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)take;
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *p, size_t n, int flags, void *arg)
{
	struct connection *connection = arg;
	(void)session, (void)flags;
	bufferevent_write(connection->socket, p, n);
	return (ssize_t)n;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len, const uint8_t *value,
		     size_t value_len, uint8_t flags, void *arg)
{
	struct call *call = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
	(void)flags, (void)arg;
	if (call && name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3)
		call->status = (value[0] - '0') * 100 + (value[1] - '0') * 10 + (value[2] - '0');
	return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *p, size_t n, void *arg)
{
	struct call *call = nghttp2_session_get_stream_user_data(session, stream);
	(void)flags, (void)arg;
	if (!call)
		return 0;
	if (call->on_data && call->status == 200)
		call->on_data(call, p, n);
	else
		buf_put(&call->answer, p, n);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error, void *arg)
{
	struct call *call = nghttp2_session_get_stream_user_data(session, stream);
	(void)arg;
	if (call) {
		list_remove(&call->link);
		call->on_end(call, error == NGHTTP2_NO_ERROR);
	}
	return 0;
}

/* ---- The socket ------------------------------------------------------------------------------------------------------ */

static void flush(struct connection *connection)
{
	if (connection->broken || connection->flushing)
		return;
	connection->flushing = true;
	if (nghttp2_session_send(connection->session) != 0)
		connection->broken = true;
	connection->flushing = false;
}

static void on_readable(struct bufferevent *socket, void *arg)
{
	struct connection *connection = arg;
	struct evbuffer *in = bufferevent_get_input(socket);
	struct evbuffer_iovec part;
	while (!connection->broken && evbuffer_peek(in, -1, NULL, &part, 1) > 0) {
		size_t n = part.iov_len;
		connection->bytes_in += n;
		if (nghttp2_session_mem_recv(connection->session, part.iov_base, n) != (ssize_t)n) {
			fprintf(stderr, "penstock-load: the server broke the HTTP/2 protocol\n");
			connection->broken = true;
		}
		evbuffer_drain(in, n);
	}
	flush(connection);
}

static void on_socket_event(struct bufferevent *socket, short what, void *arg)
{
	struct connection *connection = arg;
	(void)socket;
	if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) == 0)
		return;
	connection->broken = true;
	for (struct list *node; (node = list_pop(&connection->calls));) {
		struct call *call = container_of(node, struct call, link);
		call->on_end(call, false);
	}
}

static int connect_loopback(const struct endpoint *endpoint)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)endpoint->port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	if (fd < 0)
		return -1;
	inet_pton(AF_INET, endpoint->host, &to.sin_addr);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0) {
		close(fd);
		return -1;
	}
	evutil_make_socket_nonblocking(fd);
	return fd;
}

static SSL *tls_new(void)
{
	static SSL_CTX *context;
	static const unsigned char alpn[] = "\x02h2";
	if (!context) {
		context = SSL_CTX_new(TLS_client_method());
		SSL_CTX_set_alpn_protos(context, alpn, sizeof alpn - 1);
	}
	return SSL_new(context);
}

static void session_new(struct connection *connection, uint32_t window)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_client_new(&connection->session, callbacks, connection);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window}, {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
	nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 2);
	nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0, (int32_t)(window * 16));
}

struct connection *connection_open(struct event_base *base, const struct endpoint *endpoint, uint32_t window)
{
	int fd = connect_loopback(endpoint);
	if (fd < 0)
		return NULL;
	struct connection *connection = xcalloc(1, sizeof *connection);
	connection->base = base;
	connection->endpoint = *endpoint;
	list_init(&connection->calls);
	snprintf(connection->authority, sizeof connection->authority, "%s:%d", endpoint->host, endpoint->port);
	connection->signer = signer_new(endpoint->region, connection->authority);
	if (!connection->signer) {
		close(fd);
		free(connection);
		errno = EKEYREJECTED;
		return NULL;
	}
	connection->socket =
		endpoint->tls ? bufferevent_openssl_socket_new(base, fd, tls_new(), BUFFEREVENT_SSL_CONNECTING, BEV_OPT_CLOSE_ON_FREE)
			      : bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(connection->socket, on_readable, NULL, on_socket_event, connection);
	bufferevent_set_max_single_read(connection->socket, 1 << 20);
	bufferevent_set_max_single_write(connection->socket, 1 << 20);
	bufferevent_enable(connection->socket, EV_READ | EV_WRITE);
	session_new(connection, window ? window : 4u << 20);
	flush(connection);
	return connection;
}

void connection_close(struct connection *connection)
{
	if (!connection)
		return;
	connection->broken = true;
	nghttp2_session_del(connection->session);
	bufferevent_free(connection->socket);
	signer_free(connection->signer);
	free(connection);
}

#define HEADER(n, v)                                                                                             \
	{                                                                                                        \
		(uint8_t *)(uintptr_t)(n), (uint8_t *)(uintptr_t)(v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE \
	}

void connection_call(struct connection *connection, struct call *call)
{
	static const char content_type[] = "application/x-amz-json-1.1";
	char target[96];
	struct signature signature;
	nghttp2_data_provider body = {.source.ptr = call, .read_callback = on_body_wanted};
	snprintf(target, sizeof target, "Kinesis_20131202.%s", call->operation);
	signer_sign(connection->signer, content_type, target, call->body.p, call->body.n, &signature);
	const nghttp2_nv headers[] = {
		HEADER(":method", "POST"),
		HEADER(":scheme", connection->endpoint.tls ? "https" : "http"),
		HEADER(":authority", connection->authority),
		HEADER(":path", "/"),
		HEADER("content-type", content_type),
		HEADER("x-amz-target", target),
		HEADER("x-amz-date", signature.date),
		HEADER("authorization", signature.authorization),
		HEADER("x-amz-security-token", signature.token ? signature.token : ""),
	};
	size_t n_headers = sizeof headers / sizeof *headers - (signature.token ? 0 : 1);
	call->sent = 0;
	call->status = 0;
	call->answer.n = 0;
	call->stream = connection->broken ? -1 : nghttp2_submit_request(connection->session, NULL, headers, n_headers, &body, call);
	if (call->stream < 0) {
		call->on_end(call, false);
		return;
	}
	list_append(&connection->calls, &call->link);
	flush(connection);
}

void connection_stall(struct connection *connection, bool stalled)
{
	if (stalled)
		bufferevent_disable(connection->socket, EV_READ);
	else
		bufferevent_enable(connection->socket, EV_READ);
}

uint64_t connection_bytes_in(const struct connection *connection) { return connection->bytes_in; }
