/* h2_client.h: a small HTTP/2 client of nghttp2 for tests, cleartext or TLS, on a non-blocking socket. Included after transport_fixture.h. */
#ifndef H2_CLIENT_H
#define H2_CLIENT_H

#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>

#define CLIENT_STREAMS 64

struct client {
	int fd;
	SSL *tls;
	nghttp2_session *session;
	bool closed;            /* the server closed the connection */
	bool mute;              /* what comes is not read */
	unsigned pings, goaways, settings;
	uint32_t goaway_code;
	uint32_t max_streams, window, header_list; /* as the server's SETTINGS said */
	struct {
		int32_t id;
		int status;
		char type[64];
		bool has_id2;
		struct buf body;
		const char *send; /* request body */
		size_t send_left;
		bool ended, closed;
		uint32_t error;
	} streams[CLIENT_STREAMS];
};

static unsigned slot_of(struct client *client, int32_t id)
{
	(void)client;
	cr_assert_lt((unsigned)(id - 1) / 2, CLIENT_STREAMS);
	return (unsigned)(id - 1) / 2;
}

static int client_on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n, const uint8_t *value,
			    size_t value_n, uint8_t flags, void *arg)
{
	struct client *client = arg;
	unsigned i = slot_of(client, frame->hd.stream_id);
	struct str key = {(const char *)name, name_n};
	(void)session, (void)flags;
	if (str_equal(key, STR(":status")))
		client->streams[i].status = atoi((const char *)value);
	if (str_equal(key, STR("content-type")))
		snprintf(client->streams[i].type, 64, "%.*s", (int)value_n, (const char *)value);
	if (str_equal(key, STR("x-amz-id-2")))
		client->streams[i].has_id2 = true;
	return 0;
}

static int client_on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n, void *arg)
{
	struct client *client = arg;
	(void)session, (void)flags;
	buf_put(&client->streams[slot_of(client, id)].body, p, n);
	return 0;
}

static int client_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct client *client = arg;
	(void)session;
	if (frame->hd.type == NGHTTP2_PING && frame->hd.flags & NGHTTP2_FLAG_ACK)
		client->pings++;
	if (frame->hd.type == NGHTTP2_GOAWAY) {
		client->goaways++;
		client->goaway_code = frame->goaway.error_code;
	}
	if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK)) {
		client->settings++;
		for (size_t i = 0; i < frame->settings.niv; i++) {
			if (frame->settings.iv[i].settings_id == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS)
				client->max_streams = frame->settings.iv[i].value;
			if (frame->settings.iv[i].settings_id == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE)
				client->window = frame->settings.iv[i].value;
			if (frame->settings.iv[i].settings_id == NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE)
				client->header_list = frame->settings.iv[i].value;
			cr_assert_neq(frame->settings.iv[i].settings_id, NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES);
		}
	}
	if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) && frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		client->streams[slot_of(client, frame->hd.stream_id)].ended = true;
	return 0;
}

static int client_on_close(nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct client *client = arg;
	(void)session;
	client->streams[slot_of(client, id)].closed = true;
	client->streams[slot_of(client, id)].error = error_code;
	return 0;
}

static ssize_t client_on_read(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct client *client = arg;
	unsigned i = slot_of(client, id);
	size_t part = client->streams[i].send_left < n ? client->streams[i].send_left : n;
	(void)session, (void)source;
	memcpy(p, client->streams[i].send, part);
	client->streams[i].send += part;
	client->streams[i].send_left -= part;
	if (client->streams[i].send_left == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)part;
}

static void client_new_session(struct client *client, bool manual_windows)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_header_callback(callbacks, client_on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, client_on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, client_on_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, client_on_close);
	nghttp2_option_new(&option);
	nghttp2_option_set_no_auto_window_update(option, manual_windows);
	nghttp2_session_client_new2(&client->session, callbacks, client, option);
	nghttp2_option_del(option);
	nghttp2_session_callbacks_del(callbacks);
}

MAYBE_UNUSED static void client_open(struct client *client, bool manual_windows)
{
	*client = (struct client){.fd = connect_client()};
	client_new_session(client, manual_windows);
	nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, NULL, 0);
}

static void client_send(struct client *client)
{
	const uint8_t *p;
	ssize_t n;
	while (!client->closed && (n = nghttp2_session_mem_send(client->session, &p)) > 0) {
		if (client->tls)
			cr_assert_eq(SSL_write(client->tls, p, (int)n), n);
		else
			send_all(client->fd, p, (size_t)n);
	}
}

static ssize_t client_recv(struct client *client, uint8_t *p, size_t n)
{
	if (!client->tls)
		return recv(client->fd, p, n, 0);
	int rc = SSL_read(client->tls, p, (int)n);
	if (rc > 0)
		return rc;
	errno = EAGAIN;
	return SSL_get_error(client->tls, rc) == SSL_ERROR_WANT_READ ? -1 : 0;
}

/* Both sides go on until nothing moves. */
static void client_pump(struct client *client)
{
	static uint8_t bytes[65536];
	for (unsigned idle = 0; idle < 4;) {
		client_send(client);
		turns(1);
		ssize_t n = client->mute || client->closed ? -1 : client_recv(client, bytes, sizeof(bytes));
		if (n == 0 || (n < 0 && errno == ECONNRESET && !client->mute && !client->closed))
			client->closed = true;
		if (n > 0)
			cr_assert_eq(nghttp2_session_mem_recv(client->session, bytes, (size_t)n), n);
		idle = n > 0 ? 0 : idle + 1;
	}
}

static nghttp2_nv nv(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

/* Returns the stream's slot. body NULL: none. */
static unsigned client_ask(struct client *client, const char *path, const char *body, size_t n)
{
	nghttp2_nv nva[] = {nv(":method", "POST"), nv(":scheme", "http"), nv(":authority", "h"), nv(":path", path)};
	nghttp2_data_provider provider = {.read_callback = client_on_read};
	int32_t id = nghttp2_submit_request(client->session, NULL, nva, 4, body ? &provider : NULL, NULL);
	unsigned i = slot_of(client, id);
	client->streams[i].id = id;
	client->streams[i].send = body;
	client->streams[i].send_left = n;
	return i;
}

static void client_close(struct client *client)
{
	close(client->fd);
	turns(3);
	SSL_free(client->tls);
	nghttp2_session_del(client->session);
	for (unsigned i = 0; i < CLIENT_STREAMS; i++)
		buf_free(&client->streams[i].body);
}

#endif
