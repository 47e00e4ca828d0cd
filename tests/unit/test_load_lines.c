/* test_load_lines.c: what becomes of calls when a server refuses, resets, says GOAWAY, hangs up, or is no server at all. */
#include "load_peer.h"

static struct endpoint endpoint;
static struct connection *connection;
static struct asked a, b, c;

static void begin(enum protocol protocol)
{
	peer_start(&endpoint, protocol);
	connection = connection_open(base, &endpoint, 0);
	asked_init(&a, "PutRecord", "{\"a\":1}");
	asked_init(&b, "PutRecord", "{\"b\":2}");
	asked_init(&c, "PutRecord", "{\"c\":3}");
}

static void end(void)
{
	connection_close(connection);
	event_base_loop(base, EVLOOP_NONBLOCK);
	peer_stop();
	asked_free(&a);
	asked_free(&b);
	asked_free(&c);
}

static void expect_end(int line, const struct asked *asked, enum call_reason reason, int status)
{
	cr_expect(asked->done && asked->complete == (reason == CALL_OK), "line %d", line);
	cr_expect_eq(asked->call.reason, reason, "line %d: %d", line, asked->call.reason);
	cr_expect_eq(asked->call.status, status, "line %d: %d", line, asked->call.status);
}
#define ENDED(...) expect_end(__LINE__, __VA_ARGS__)

/* ---- HTTP/2 ---- */

static ssize_t on_two_bytes(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source,
			    void *arg)
{
	(void)session, (void)id, (void)n, (void)source, (void)arg;
	memcpy(p, "{}", 2);
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	return 2;
}

static ssize_t on_no_end(nghttp2_session *session, int32_t id, uint8_t *p, size_t n, uint32_t *flags, nghttp2_data_source *source,
			 void *arg)
{
	if (source->ptr)
		return NGHTTP2_ERR_DEFERRED;
	source->ptr = &peer;
	ssize_t rc = on_two_bytes(session, id, p, n, flags, source, arg);
	*flags = 0;
	return rc;
}

static void answer_with(struct peer_socket *socket, int32_t stream, nghttp2_data_source_read_callback read)
{
	nghttp2_nv head[] = {{(uint8_t *)":status", (uint8_t *)"200", 7, 3, 0}, {(uint8_t *)"server", (uint8_t *)"peer/2", 6, 6, 0}};
	nghttp2_data_provider body = {.read_callback = read};
	nghttp2_submit_response(socket->session, stream, head, 2, &body);
}

static void answer(struct peer_socket *socket, int32_t stream) { answer_with(socket, stream, on_two_bytes); }

/* The first is answered, whatever else may come. */
static void reset_second(struct peer_socket *socket, int32_t stream)
{
	if (peer.requests == 2)
		nghttp2_submit_rst_stream(socket->session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_INTERNAL_ERROR);
	else if (peer.requests == 3)
		nghttp2_submit_rst_stream(socket->session, NGHTTP2_FLAG_NONE, stream, NGHTTP2_REFUSED_STREAM);
	else
		answer(socket, stream);
}

Test(load_lines, a_reset_stream_leaves_the_others)
{
	begin(PROTOCOL_H2);
	peer.on_request = reset_second;
	connection_call(connection, &a.call);
	connection_call(connection, &b.call);
	connection_call(connection, &c.call);
	UNTIL(a.done && b.done && c.done);
	ENDED(&a, CALL_OK, 200);
	ENDED(&b, CALL_RESET, 0);
	ENDED(&c, CALL_GOAWAY, 0);
	cr_expect(a.call.answer.n == 2 && memcmp(a.call.answer.p, "{}", 2) == 0);
	cr_expect_str_eq(connection_server(connection), "peer/2");
	cr_expect_eq(peer.n_sockets, 1);
	cr_expect_gt(connection_bytes_in(connection), 0);
	cr_expect_gt(connection_read_ns(connection), 0);
	end();
}

static int32_t held;

static void goaway_at_second(struct peer_socket *socket, int32_t stream)
{
	if (peer.requests == 1) {
		held = stream;
	} else if (peer.requests == 2) {
		nghttp2_submit_goaway(socket->session, NGHTTP2_FLAG_NONE, held, NGHTTP2_NO_ERROR, NULL, 0);
		answer(socket, held); /* goes on with what it has taken */
	} else {
		answer(socket, stream);
	}
}

Test(load_lines, goaway_ends_what_the_server_will_not_look_at)
{
	begin(PROTOCOL_H2);
	peer.on_request = goaway_at_second;
	connection_call(connection, &a.call);
	connection_call(connection, &b.call);
	UNTIL(a.done && b.done);
	ENDED(&a, CALL_OK, 200);
	ENDED(&b, CALL_GOAWAY, 0);
	connection_call(connection, &c.call);
	UNTIL(c.done);
	ENDED(&c, CALL_OK, 200);
	cr_expect_eq(peer.n_sockets, 2);
	UNTIL(!peer.sockets[0].bev); /* the old one is closed when it has no calls */
	end();
}

static void answer_without_end(struct peer_socket *socket, int32_t stream) { answer_with(socket, stream, on_no_end); }

Test(load_lines, an_answer_that_is_cut_is_not_complete)
{
	begin(PROTOCOL_H2);
	peer.on_request = answer_without_end;
	a.call.on_data = on_asked_data;
	connection_call(connection, &a.call);
	UNTIL(a.chunks);
	nghttp2_submit_rst_stream(peer.sockets[0].session, NGHTTP2_FLAG_NONE, 1, NGHTTP2_NO_ERROR);
	peer_flush(&peer.sockets[0]);
	UNTIL(a.done);
	ENDED(&a, CALL_RESET, 200);
	connection_call(connection, &b.call);
	UNTIL(peer.requests == 2);
	peer_hang_up(&peer.sockets[0]);
	UNTIL(b.done);
	ENDED(&b, CALL_BROKEN, b.call.status);
	cr_expect(strstr(connection_why(connection), "closed the connection"), "%s", connection_why(connection));
	peer.on_request = answer;
	connection_call(connection, &c.call); /* by a new socket */
	UNTIL(c.done);
	ENDED(&c, CALL_OK, 200);
	cr_expect_eq(peer.n_sockets, 2);
	end();
}

Test(load_lines, the_servers_limit_of_streams_makes_another_socket)
{
	begin(PROTOCOL_H2);
	peer.max_streams = 2;
	peer.on_request = answer_without_end;
	a.call.on_data = b.call.on_data = c.call.on_data = on_asked_data;
	connection_call(connection, &a.call);
	connection_call(connection, &b.call);
	connection_call(connection, &c.call);
	UNTIL(a.chunks && b.chunks && c.chunks);
	cr_expect_eq(peer.n_sockets, 2);
	cr_expect(peer.sockets[0].requests == 2 && peer.sockets[1].requests == 1);
	end();
}

Test(load_lines, a_cancelled_call_is_reset_and_not_told)
{
	begin(PROTOCOL_H2);
	peer.on_request = answer_without_end;
	a.call.on_data = b.call.on_data = on_asked_data;
	connection_call(connection, &a.call);
	connection_call(connection, &b.call);
	UNTIL(a.chunks && b.chunks);
	connection_cancel(connection, &a.call);
	UNTIL(peer.n_resets);
	cr_expect_str_eq(peer.resets[0], "8"); /* CANCEL */
	connection_call(connection, &c.call);
	connection_cancel(connection, &c.call); /* before the server has seen it */
	UNTIL(peer.n_resets == 2);
	peer_hang_up(&peer.sockets[0]);
	UNTIL(b.done);
	cr_expect(!a.done && !c.done);
	end();
}

static void cancel_itself(struct asked *asked) { connection_cancel(connection, &asked->call); }
static void cancel_waiting(struct asked *asked)
{
	(void)asked;
	connection_call(connection, &c.call);
	connection_cancel(connection, &c.call);
}
static void close_it(struct asked *asked)
{
	(void)asked;
	connection_close(connection);
	connection = NULL;
}

static void cancel_in_callbacks(enum protocol protocol)
{
	begin(protocol);
	peer.on_request = answer;
	a.call.on_data = on_asked_data;
	a.on_chunk = cancel_itself;
	b.on_done = cancel_waiting;
	connection_call(connection, &a.call);
	UNTIL(a.chunks);
	connection_call(connection, &b.call);
	UNTIL(b.done);
	ENDED(&b, CALL_OK, 200);
	asked_free(&c);
	asked_init(&c, "PutRecord", "{}");
	c.on_done = close_it;
	connection_call(connection, &c.call);
	UNTIL(c.done);
	cr_expect_null(connection);
	cr_expect_not(a.done);
	end();
}

Test(load_lines, cancel_and_close_in_callbacks) { cancel_in_callbacks(PROTOCOL_H2); }

Test(load_lines, close_while_a_stream_is_read)
{
	begin(PROTOCOL_H2);
	peer.on_request = answer_without_end;
	a.call.on_data = on_asked_data;
	a.on_chunk = close_it;
	connection_call(connection, &a.call);
	UNTIL(a.chunks);
	cr_expect(!connection && !a.done);
	end();
}

static unsigned again;
static void call_again(struct asked *asked)
{
	if (again++ < 3) {
		asked->done = false;
		connection_call(connection, &asked->call);
	}
}

Test(load_lines, refused_and_called_again)
{
	begin(PROTOCOL_H2);
	evconnlistener_free(peer.listener);
	peer.listener = NULL;
	a.on_done = call_again;
	connection_call(connection, &a.call);
	connection_call(connection, &b.call);
	cr_expect(!a.done && !b.done, "told from inside connection_call");
	UNTIL(a.done && b.done && again == 4);
	ENDED(&a, CALL_REFUSED, 0);
	ENDED(&b, CALL_REFUSED, 0);
	cr_expect(strstr(connection_why(connection), "Connection refused"), "%s", connection_why(connection));
	end();
}

static void say_nonsense(struct peer_socket *socket) { bufferevent_write(socket->bev, "HTTP/1.1 400 Bad Request\r\n\r\n", 28); }

static void be_silent(struct peer_socket *socket, struct evbuffer *in) { (void)socket, (void)in; }

Test(load_lines, what_speaks_another_protocol_is_refused)
{
	begin(PROTOCOL_H2);
	peer.on_accepted = say_nonsense;
	peer.on_raw = be_silent;
	connection_call(connection, &a.call);
	UNTIL(a.done);
	ENDED(&a, CALL_REFUSED, 0);
	end();
}

Test(load_lines, goaway_at_once_is_a_refusal)
{
	begin(PROTOCOL_H2);
	peer.max_streams = 1;
	connection_call(connection, &a.call);
	UNTIL(peer.n_sockets == 1);
	nghttp2_submit_goaway(peer.sockets[0].session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
	peer_flush(&peer.sockets[0]);
	UNTIL(a.done);
	cr_expect(a.call.reason == CALL_REFUSED || a.call.reason == CALL_GOAWAY);
	end();
}

/* ---- HTTP/1.1 ---- */

static const char *script[8]; /* what is said to each request; NULL: hang up */

static void on_h1_request(struct peer_socket *socket, struct evbuffer *in)
{
	struct evbuffer_ptr end_of_body = evbuffer_search(in, "}", 1, NULL), none = evbuffer_search(in, "GET", 3, NULL);
	if (end_of_body.pos < 0 && none.pos < 0)
		return;
	evbuffer_drain(in, evbuffer_get_length(in));
	const char *text = script[peer.requests++ % 8];
	if (text)
		bufferevent_write(socket->bev, text, strlen(text));
	else
		peer_hang_up(socket);
}

static void begin_h1(const char *one, const char *two, const char *three)
{
	begin(PROTOCOL_HTTP1);
	peer.on_raw = on_h1_request;
	script[0] = one;
	script[1] = two;
	script[2] = three;
}

#define LENGTH_2 "HTTP/1.1 200 OK\r\nServer: peer/1\r\nContent-Type: application/x-amz-cbor-1.1\r\nContent-Length: 2\r\n\r\n{}"

Test(load_lines, http1_answers_of_all_kinds_on_one_socket)
{
	begin_h1("HTTP/1.1 100 Continue\r\n\r\n" LENGTH_2,
		 "HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n",
		 "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n");
	connection_call(connection, &a.call);
	UNTIL(a.done);
	ENDED(&a, CALL_OK, 200);
	cr_expect_eq(a.call.answer_encoding, ENCODING_CBOR);
	cr_expect_eq(a.call.answer.n, 2);
	connection_call(connection, &b.call);
	UNTIL(b.done);
	ENDED(&b, CALL_OK, 400);
	cr_expect(b.call.answer.n == 7 && memcmp(b.call.answer.p, "abcdefg", 7) == 0);
	connection_call(connection, &c.call);
	UNTIL(c.done);
	ENDED(&c, CALL_OK, 500);
	cr_expect_str_eq(connection_server(connection), "peer/1");
	cr_expect_eq(peer.n_sockets, 1);
	end();
}

Test(load_lines, http1_close_ends_an_answer_or_cuts_it)
{
	begin_h1("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", LENGTH_2, "HTTP/1.0 200 OK\r\n\r\nall of it");
	connection_call(connection, &a.call);
	UNTIL(a.done);
	ENDED(&a, CALL_OK, 200);
	connection_call(connection, &b.call);
	UNTIL(b.done);
	ENDED(&b, CALL_OK, 200);
	cr_expect_eq(peer.n_sockets, 2);
	c.call.on_data = on_asked_data;
	connection_call(connection, &c.call);
	UNTIL(c.chunks);
	cr_expect_not(c.done);
	peer_hang_up(&peer.sockets[1]);
	UNTIL(c.done);
	ENDED(&c, CALL_OK, 200);
	cr_expect(c.data.n == 9 && memcmp(c.data.p, "all of it", 9) == 0);
	end();
}

Test(load_lines, http1_broken)
{
	begin_h1("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", "HTTP/1.1 20x\r\n\r\n", NULL);
	a.call.on_data = on_asked_data;
	connection_call(connection, &a.call);
	UNTIL(a.chunks);
	peer_hang_up(&peer.sockets[0]);
	UNTIL(a.done);
	ENDED(&a, CALL_BROKEN, 200);
	connection_call(connection, &b.call);
	UNTIL(b.done);
	ENDED(&b, CALL_BROKEN, 0);
	connection_call(connection, &c.call);
	UNTIL(c.done);
	ENDED(&c, CALL_BROKEN, 0);
	end();
}

Test(load_lines, http1_a_stream_keeps_nobody_waiting)
{
	begin_h1("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n", LENGTH_2, LENGTH_2);
	a.call.on_data = on_asked_data;
	connection_call(connection, &a.call);
	UNTIL(a.chunks);
	connection_call(connection, &b.call);
	UNTIL(b.done);
	connection_call(connection, &c.call);
	UNTIL(c.done);
	ENDED(&b, CALL_OK, 200);
	ENDED(&c, CALL_OK, 200);
	cr_expect_not(a.done);
	cr_expect_eq(peer.n_sockets, 2);
	connection_cancel(connection, &a.call);
	UNTIL(!peer.sockets[0].bev);
	cr_expect_not(a.done);
	end();
}

static void on_plain_request(struct peer_socket *socket, struct evbuffer *in)
{
	char *text = (char *)evbuffer_pullup(in, -1);
	cr_assert_eq(strncmp(text, "GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:", 39), 0);
	cr_expect(!memmem(text, evbuffer_get_length(in), "uthorization", 12) && !memmem(text, evbuffer_get_length(in), "Amz", 3));
	on_h1_request(socket, in);
}

Test(load_lines, a_plain_request_is_not_signed)
{
	begin_h1(LENGTH_2, NULL, NULL);
	peer.on_raw = on_plain_request;
	a.call = (struct call){.path = "/metrics", .on_end = on_asked_end, .arg = &a, .body = a.call.body};
	a.call.body.n = 0;
	connection_call(connection, &a.call);
	UNTIL(a.done);
	ENDED(&a, CALL_OK, 200);
	end();
}

static char signed_at[2][40];

static void on_signed_request(struct peer_socket *socket, struct evbuffer *in)
{
	char *text = (char *)evbuffer_pullup(in, -1), *date = memmem(text, evbuffer_get_length(in), "X-Amz-Date: ", 12);
	cr_assert(date && peer.requests < 2);
	snprintf(signed_at[peer.requests], sizeof signed_at[0], "%.16s", date + 12);
	on_h1_request(socket, in);
}

/* The date of a signature made ahead is set back, so that it is known again. */
Test(load_lines, a_call_is_signed_once_and_anew_when_it_is_made_again)
{
	begin_h1(LENGTH_2, LENGTH_2, NULL);
	peer.on_raw = on_signed_request;
	connection_sign(connection, &a.call);
	cr_assert_eq(strlen(a.call.signature.date), 16);
	strcpy(a.call.signature.date, "20200101T000000Z");
	connection_call(connection, &a.call);
	UNTIL(a.done);
	cr_expect_str_eq(signed_at[0], "20200101T000000Z");
	a.done = false;
	connection_call(connection, &a.call);
	UNTIL(a.done);
	cr_expect_str_neq(signed_at[1], "20200101T000000Z");
	end();
}

Test(load_lines, http1_cancel_and_close_in_callbacks)
{
	begin_h1(LENGTH_2, LENGTH_2, LENGTH_2);
	script[3] = LENGTH_2;
	a.call.on_data = on_asked_data;
	a.on_chunk = cancel_itself;
	b.on_done = cancel_waiting;
	c.on_done = close_it;
	connection_call(connection, &a.call);
	UNTIL(a.chunks);
	connection_call(connection, &b.call);
	UNTIL(b.done);
	connection_call(connection, &c.call);
	UNTIL(c.done);
	cr_expect(!connection && !a.done);
	end();
}

/* ---- Probing ---- */

static enum protocol probed(void (*on_accepted)(struct peer_socket *), void (*on_raw)(struct peer_socket *, struct evbuffer *))
{
	struct endpoint_options options = {.url = endpoint.url, .protocol = -1};
	struct endpoint found;
	char why[256];
	peer.on_accepted = on_accepted;
	peer.on_raw = on_raw;
	pid_t child = fork(); /* the peer's loop is the child's */
	cr_assert_geq(child, 0);
	if (child == 0) {
		event_reinit(base);
		event_base_dispatch(base);
		_exit(0);
	}
	cr_assert(endpoint_open(&found, &options, why), "%s", why);
	endpoint_close(&found);
	kill(child, SIGKILL);
	return found.protocol;
}

static void be_http1(struct peer_socket *socket, struct evbuffer *in)
{
	evbuffer_drain(in, evbuffer_get_length(in));
	say_nonsense(socket);
}
static void hang_up(struct peer_socket *socket, struct evbuffer *in)
{
	(void)in;
	peer_hang_up(socket);
}
Test(load_lines, probing_finds_the_protocol)
{
	peer_start(&endpoint, PROTOCOL_H2);
	cr_expect_eq(probed(NULL, NULL), PROTOCOL_H2);
	peer_stop();
	peer_start(&endpoint, PROTOCOL_H2);
	cr_expect_eq(probed(NULL, be_http1), PROTOCOL_HTTP1);
	peer_stop();
	peer_start(&endpoint, PROTOCOL_H2);
	cr_expect_eq(probed(NULL, hang_up), PROTOCOL_HTTP1);
	peer_stop();
	peer_start(&endpoint, PROTOCOL_H2);
	cr_expect_eq(probed(NULL, be_silent), PROTOCOL_HTTP1);
	peer_stop();
}
