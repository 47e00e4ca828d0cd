/* load_peer.h: a server on loopback that does what a test says, in the test's own event loop: HTTP/2 by nghttp2, or bytes as they are. */
#ifndef LOAD_PEER_H
#define LOAD_PEER_H

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/listener.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdio.h>

#include "load_call.h"

#define PEER_SOCKETS 64

struct peer_socket {
	struct bufferevent *bev; /* NULL: gone */
	nghttp2_session *session;
	unsigned requests;
};

static struct peer {
	struct evconnlistener *listener;
	struct peer_socket sockets[PEER_SOCKETS];
	unsigned n_sockets, requests;
	uint32_t max_streams;    /* 0: not said */
	/* HTTP/2: a whole request has come. Raw: bytes have come. */
	void (*on_request)(struct peer_socket *socket, int32_t stream);
	void (*on_raw)(struct peer_socket *socket, struct evbuffer *in);
	void (*on_accepted)(struct peer_socket *socket);
	char resets[64][16];     /* of streams, by the client: their codes */
	unsigned n_resets;
} peer;

static void peer_flush(struct peer_socket *socket)
{
	const uint8_t *p;
	ssize_t n;
	while (socket->bev && socket->session && (n = nghttp2_session_mem_send(socket->session, &p)) > 0)
		bufferevent_write(socket->bev, p, (size_t)n);
}

static void peer_hang_up(struct peer_socket *socket)
{
	if (socket->bev)
		bufferevent_free(socket->bev);
	socket->bev = NULL;
}

static int peer_on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct peer_socket *socket = arg;
	(void)session;
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
		socket->requests++;
		peer.requests++;
		if (peer.on_request)
			peer.on_request(socket, frame->hd.stream_id);
	}
	if (frame->hd.type == NGHTTP2_RST_STREAM)
		snprintf(peer.resets[peer.n_resets++ % 64], 16, "%u", frame->rst_stream.error_code);
	return 0;
}

static void peer_on_read(struct bufferevent *bev, void *arg)
{
	struct peer_socket *socket = arg;
	struct evbuffer *in = bufferevent_get_input(bev);
	if (!socket->session) {
		peer.on_raw(socket, in);
		return;
	}
	size_t n = evbuffer_get_length(in);
	nghttp2_session_mem_recv(socket->session, evbuffer_pullup(in, -1), n);
	if (socket->bev) {
		evbuffer_drain(in, n);
		peer_flush(socket);
	}
}

static void peer_on_event(struct bufferevent *bev, short what, void *arg)
{
	(void)bev, (void)what;
	peer_hang_up(arg);
}

static void peer_begin_h2(struct peer_socket *socket)
{
	nghttp2_session_callbacks *callbacks;
	nghttp2_settings_entry settings = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, peer.max_streams};
	nghttp2_session_callbacks_new(&callbacks);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, peer_on_frame);
	nghttp2_session_server_new(&socket->session, callbacks, socket);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_submit_settings(socket->session, NGHTTP2_FLAG_NONE, &settings, peer.max_streams ? 1 : 0);
	peer_flush(socket);
}

static void peer_on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *from, int n, void *arg)
{
	(void)listener, (void)from, (void)n, (void)arg;
	cr_assert_lt(peer.n_sockets, PEER_SOCKETS);
	struct peer_socket *socket = &peer.sockets[peer.n_sockets++];
	socket->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	bufferevent_setcb(socket->bev, peer_on_read, NULL, peer_on_event, socket);
	bufferevent_enable(socket->bev, EV_READ | EV_WRITE);
	if (peer.on_accepted)
		peer.on_accepted(socket);
	else if (!peer.on_raw)
		peer_begin_h2(socket);
}

static void peer_start(struct endpoint *endpoint, enum protocol protocol)
{
	struct sockaddr_in *address = (struct sockaddr_in *)&endpoint->address;
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
	peer = (struct peer){.n_sockets = 0};
	*endpoint = (struct endpoint){.host = "127.0.0.1", .region = "us-east-1", .protocol = protocol, .key = "k", .secret = "s"};
	*address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	endpoint->address_len = sizeof *address;
	peer.listener = evconnlistener_new_bind(base, peer_on_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, 64,
						(struct sockaddr *)address, sizeof *address);
	cr_assert(peer.listener);
	getsockname(evconnlistener_get_fd(peer.listener), (struct sockaddr *)address, &endpoint->address_len);
	endpoint->port = ntohs(address->sin_port);
	snprintf(endpoint->authority, sizeof endpoint->authority, "127.0.0.1:%d", endpoint->port);
	snprintf(endpoint->url, sizeof endpoint->url, "http://%s", endpoint->authority);
}

static void peer_stop(void)
{
	for (unsigned i = 0; i < peer.n_sockets; i++) {
		peer_hang_up(&peer.sockets[i]);
		nghttp2_session_del(peer.sockets[i].session);
	}
	if (peer.listener)
		evconnlistener_free(peer.listener);
	event_base_free(base);
}

#endif
