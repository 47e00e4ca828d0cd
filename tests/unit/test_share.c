/* How a turn is shared: floods of requests, connections and deadlines are worked off bit by bit, and others are served in between. The
 * clock moves with each look at it, so that a quantum is a number of looks and not of nanoseconds. */
#include "transport_fixture.h"

#include "h2_client.h"
#include "server/h2.h"

static uint64_t looked_ns, look_ns;
static nghttp2_session *watched; /* how far its peer's window rises from one look to the next */
static int32_t watched_window, watched_rise;

static uint64_t on_look(struct io *io)
{
	(void)io;
	if (watched) {
		int32_t window = nghttp2_session_get_remote_window_size(watched), rise = window - watched_window;
		watched_rise = rise > watched_rise ? rise : watched_rise;
		watched_window = window;
	}
	looked_ns += look_ns;
	return looked_ns + fake_ahead_ns;
}

static void start(void)
{
	setup();
	look_ns = 50000;
	looked_ns = io_mono_ns(io_posix());
	fake_io.mono_ns = on_look;
}

TestSuite(share, .init = start, .fini = teardown, .timeout = 60);

#define ONE "GET /echo HTTP/1.1\r\nHost: h\r\n\r\n"
#define FLOOD 300
#define STRANGERS 20 /* libevent takes 32 sockets at a time at first */

static void send_pipelined(int fd)
{
	for (unsigned i = 0; i < FLOOD; i++)
		send_all(fd, ONE, strlen(ONE));
}

static unsigned count(const struct buf *in, const char *text)
{
	unsigned n = 0;
	const char *at = (const char *)in->p, *end = at + in->n;
	while (at && (at = memmem(at, (size_t)(end - at), text, strlen(text))))
		n++, at++;
	return n;
}

Test(share, pipelined_requests_leave_room_for_others)
{
	int flood = connect_client(), good = connect_client();
	struct buf in = {0}, all = {0};
	send_pipelined(flood);
	exact_turns(1);
	cr_assert_geq(n_dispatched, 1u);
	cr_assert_leq(n_dispatched, 20u);
	unsigned before = n_dispatched;
	send_all(good, ONE, strlen(ONE));
	exact_turns(2);
	cr_assert_gt(recv(good, buf_reserve(&in, 4096), 4096, 0), 0, "it is answered in between");
	cr_assert_leq(n_dispatched, before + 40);
	receive_all(flood, &all);
	while (n_dispatched < FLOOD + 1)
		receive_all(flood, &all);
	receive_all(flood, &all);
	cr_assert_eq(count(&all, "HTTP/1.1 200 OK"), FLOOD);
	close(flood);
	close(good);
	exact_turns(3);
	buf_free(&in);
	buf_free(&all);
}

Test(share, streams_leave_room_for_others)
{
	static uint8_t bytes[FLOOD][15];
	int flood = connect_client(), good = connect_client();
	struct buf in = {0};
	send_all(flood, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 33);
	exact_turns(2);
	for (unsigned i = 0; i < FLOOD; i++) {
		uint8_t head[] = {0,
				  0,
				  6,
				  NGHTTP2_HEADERS,
				  NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM,
				  0,
				  0,
				  (uint8_t)((2 * i + 1) >> 8),
				  (uint8_t)(2 * i + 1),
				  0x83,
				  0x86,
				  0x84,
				  0x01,
				  0x01,
				  'h'};
		memcpy(bytes[i], head, sizeof(head));
	}
	send_all(flood, bytes, sizeof(bytes) - 7); /* the last one is not whole */
	exact_turns(1);
	cr_assert_geq(n_dispatched, 1u);
	cr_assert_leq(n_dispatched, 20u);
	send_all(good, ONE, strlen(ONE));
	exact_turns(2);
	cr_assert_gt(recv(good, buf_reserve(&in, 4096), 4096, 0), 0, "it is answered in between");
	cr_assert_lt(n_dispatched, 100u);
	send_all(flood, (uint8_t *)bytes + sizeof(bytes) - 7, 7);
	for (unsigned i = 0; i < FLOOD && n_dispatched < FLOOD + 1; i++)
		exact_turns(1);
	cr_assert_eq(n_dispatched, FLOOD + 1u);
	close(flood);
	close(good);
	exact_turns(3);
	buf_free(&in);
}

/* What nghttp2 does with a frame takes time as well. */
Test(share, the_clock_is_looked_at_after_every_few_frames)
{
	static const uint8_t update[13] = {0, 0, 4, NGHTTP2_WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 0, 0, 1};
	struct buf flood = {0};
	int fd = connect_client();
	send_all(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 33);
	exact_turns(2);
	for (unsigned i = 0; i < FLOOD; i++)
		buf_put(&flood, update, sizeof(update));
	send_all(fd, flood.p, flood.n);
	const struct h2 *h2 = container_of(worker.conns.next, struct conn, link)->session;
	look_ns = 1000;
	watched = h2->session;
	watched_window = nghttp2_session_get_remote_window_size(watched);
	int32_t all = watched_window + FLOOD;
	turns(1);
	cr_assert_eq(nghttp2_session_get_remote_window_size(watched), all);
	cr_assert_geq(watched_rise, 1);
	cr_assert_leq(watched_rise, 16);
	watched = NULL;
	close(fd);
	exact_turns(3);
	buf_free(&flood);
}

/* Head and body are one piece of work, however little time there is: the body does not wait behind others. */
Test(share, a_request_is_not_left_half_taken)
{
	static struct client c;
	static const char body[40000]; /* three frames */
	client_open(&c, false);
	client_pump(&c);
	const struct conn *conn = container_of(worker.conns.next, struct conn, link);
	int flood = connect_client();
	send_pipelined(flood);
	exact_turns(1);
	look_ns = SECOND_NS / 100;
	client_ask(&c, "/echo", body, sizeof(body));
	client_send(&c);
	exact_turns(1);
	cr_assert_eq(conn_held(conn), 0);
	cr_assert_not(list_empty(&worker.waiting));
	close(flood);
	look_ns = 1000;
	client_pump(&c);
	cr_assert_eq(c.streams[0].status, 200);
	client_close(&c);
}

/* Strangers wait in the queue, whose share is a time; a connection that took no more than its share lately is served beside it. */
Test(share, strangers_queue_and_others_pass_them)
{
	int strangers[STRANGERS], good = connect_client();
	struct buf in = {0};
	send_all(good, ONE, strlen(ONE));
	receive_all(good, &in);
	cr_assert_gt(in.n, 0u);
	for (unsigned i = 0; i < STRANGERS; i++)
		strangers[i] = connect_client();
	for (unsigned i = 0; i < STRANGERS; i++)
		send_all(strangers[i], ONE, strlen(ONE));
	send_all(good, ONE, strlen(ONE));
	unsigned before = n_dispatched;
	exact_turns(1);
	cr_assert_gt(recv(good, buf_reserve(&in, 4096), 4096, 0), 0, "it is answered in the same turn");
	cr_assert_leq(n_dispatched, before + 10);
	turns(1);
	cr_assert_eq(n_dispatched, before + STRANGERS + 1);
	for (unsigned i = 0; i < STRANGERS; i++)
		close(strangers[i]);
	close(good);
	turns(3);
	buf_free(&in);
}

/* Who reads on after his share queues, until he needs no more than it. */
Test(share, a_flood_queues_until_it_is_over)
{
	int fd = connect_client();
	struct buf all = {0};
	send_pipelined(fd);
	exact_turns(2);
	const struct conn *conn = container_of(worker.conns.next, struct conn, link);
	cr_assert(conn->queues);
	while (n_dispatched < FLOOD)
		receive_all(fd, &all);
	receive_all(fd, &all);
	cr_assert_not(conn->queues);
	cr_assert(conn->reading);
	close(fd);
	exact_turns(3);
	buf_free(&all);
}

/* The client's reset is read, but lies behind requests that wait: who asks whether it is gone must be told so. */
Test(share, a_probe_looks_behind_what_waits)
{
	static struct client c;
	client_open(&c, false);
	client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	for (unsigned i = 0; i < 50; i++)
		client_ask(&c, "/a", "x", 1);
	client_send(&c);
	static const uint8_t reset[13] = {0, 0, 4, NGHTTP2_RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, NGHTTP2_CANCEL};
	send_all(c.fd, reset, sizeof(reset));
	exact_turns(1);
	struct conn *conn = container_of(worker.conns.next, struct conn, link);
	cr_assert_gt(conn_held(conn), 0u);
	cr_assert_not_null(fake_subs[0].sub);
	struct request *request = request_of(fake_subs[0].sub);
	cr_assert(request->transport->probe(request));
	cr_assert_null(fake_subs[0].sub);
	client_close(&c);
}

static size_t open_connections(void)
{
	size_t n = 0;
	LIST_EACH (node, &worker.conns)
		n++;
	return n;
}

Test(share, a_storm_of_connections_is_opened_and_closed_bit_by_bit)
{
	int fds[100];
	for (unsigned i = 0; i < 100; i++) {
		int pair[2];
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		worker_adopt(&worker, pair[0]);
		fds[i] = pair[1];
	}
	exact_turns(1);
	cr_assert_geq(open_connections(), 1u);
	cr_assert_leq(open_connections(), 8u);
	exact_turns(40);
	cr_assert_eq(open_connections(), 100u);
	fake_ahead_ns += 11 * SECOND_NS;
	event_active(worker.sweep_timer, EV_TIMEOUT, 0);
	exact_turns(1);
	cr_assert_lt(open_connections(), 100u);
	cr_assert_geq(open_connections(), 80u, "nobody else has to wait for all of them");
	for (unsigned i = 0; i < 100 && open_connections(); i++) {
		event_active(worker.sweep_timer, EV_TIMEOUT, 0);
		exact_turns(1);
	}
	cr_assert_eq(open_connections(), 0u);
	for (unsigned i = 0; i < 100; i++)
		close(fds[i]);
}

/* A connection that is opened has deadlines; behind a long queue it would miss them. */
Test(share, few_connections_are_opened_while_many_wait)
{
	int strangers[STRANGERS], pair[2], late[4];
	for (unsigned i = 0; i < STRANGERS; i++)
		strangers[i] = connect_client();
	for (unsigned i = 0; i < STRANGERS; i++)
		send_all(strangers[i], ONE, strlen(ONE));
	look_ns = SECOND_NS / 1000; /* one of them a turn */
	exact_turns(1);
	cr_assert_gt(worker.n_waiting, 16u);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		worker_adopt(&worker, pair[0]);
		late[i] = pair[1];
	}
	exact_turns(1);
	cr_assert_eq(open_connections(), STRANGERS + 1);
	turns(1);
	exact_turns(2);
	cr_assert_eq(open_connections(), STRANGERS + 4);
	for (unsigned i = 0; i < STRANGERS; i++)
		close(strangers[i]);
	for (unsigned i = 0; i < 4; i++)
		close(late[i]);
	turns(3);
}

Test(share, connections_that_came_with_the_stop_are_closed)
{
	int pair[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	worker_adopt(&worker, pair[0]);
	worker_stop(&worker);
	exact_turns(2);
	cr_assert_eq(atomic_load(&worker.connections), 0);
	uint8_t byte;
	cr_assert_eq(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0);
	close(pair[1]);
}
