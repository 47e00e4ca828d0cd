/* HTTP/1.1 over real sockets: answers, pipelining, chunked subscriptions, deadlines, and what is refused. */
#include "transport_fixture.h"

TestSuite(h1, .init = setup, .fini = teardown, .timeout = 60);

#define HOST "Host: h\r\n"
#define SUBSCRIBE "POST /sub HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n{}"

static int fd;
static struct buf in;

static void say(const char *text) { send_all(fd, text, strlen(text)); }

static bool hear(void)
{
	bool closed = receive_all(fd, &in);
	buf_reserve(&in, 1)[0] = 0;
	return closed;
}

static unsigned count(const char *needle)
{
	unsigned n = 0;
	for (const char *at = (const char *)in.p; (at = strstr(at, needle)); at++)
		n++;
	return n;
}

static void bye(void)
{
	close(fd);
	turns(3);
	buf_free(&in);
}

static void open_and_say(const char *text)
{
	fd = connect_client();
	say(text);
}

Test(h1, answers_and_keeps_alive)
{
	open_and_say("POST /a?b HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nxyz");
	cr_assert_not(hear());
	cr_assert_eq(strncmp((char *)in.p, "HTTP/1.1 200 OK\r\nx-amzn-RequestId: ", 35), 0, "%s", (char *)in.p);
	cr_assert_eq(count("\r\n\r\nPOST /a|b|h|xyz"), 1u);
	cr_assert_eq(count("Connection:"), 0u);
	say("GET /2 HTTP/1.1\r\n" HOST "\r\n");
	cr_assert_not(hear());
	cr_assert_eq(count("GET /2||h|"), 1u);
	bye();
	cr_assert(list_empty(&worker.conns));
}

Test(h1, byte_by_byte)
{
	static const char text[] = "POST /a HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n";
	fd = connect_client();
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		send_all(fd, text + i, 1);
		turns(1);
	}
	cr_assert_not(hear());
	cr_assert_eq(count("POST /a||h|abcde"), 1u);
	bye();
}

Test(h1, pipelined_answers_keep_their_order)
{
	open_and_say("GET /1 HTTP/1.1\r\n" HOST "\r\nPOST /hold HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nxGET /3 HTTP/1.1\r\n" HOST
		     "\r\n");
	cr_assert_not(hear());
	cr_assert_eq(count("GET /1||h|"), 1u);
	cr_assert_eq(n_held, 1u);
	cr_assert_eq(n_dispatched, 2u, "the third waits for the second's answer");
	echo(held[0]);
	held[0] = NULL;
	cr_assert_not(hear());
	cr_assert(strstr((char *)in.p, "POST /hold||h|x") < strstr((char *)in.p, "GET /3||h|"));
	cr_assert_eq(count("HTTP/1.1 200 OK"), 3u);
	say("GET /4 HTTP/1.1\r\n" HOST "\r\n");
	cr_assert_not(hear());
	cr_assert_eq(count("GET /4||h|"), 1u, "it is read again");
	bye();
}

Test(h1, many_pipelined_large_answers)
{
	fd = connect_client();
	for (unsigned i = 0; i < 20; i++)
		say("GET /big?300000 HTTP/1.1\r\n" HOST "\r\n");
	turns(3);
	cr_assert_lt(n_dispatched, 20u, "answers that nobody reads stop the requests");
	size_t total = 0;
	for (unsigned i = 0; total < 20 * 300000 && i < 1000; i++) {
		struct buf more = {0};
		receive_all(fd, &more);
		total += more.n;
		buf_free(&more);
	}
	cr_assert_eq(n_dispatched, 20u);
	cr_assert_gt(total, 20u * 300000);
	cr_assert_eq(metric_get(METRIC_answer_bytes), 0);
	bye();
}

Test(h1, next_request_waits_for_a_blocked_socket)
{
	fd = connect_client();
	struct conn *conn = container_of(worker.conns.next, struct conn, link);
	while (!conn->blocked) {
		say("GET /big?20000 HTTP/1.1\r\n" HOST "\r\n");
		turns(2);
	}
	unsigned before = n_dispatched;
	cr_assert_lt(conn->outq.bytes, OUTQ_LOW, "it is not for what waits in it");
	say("GET /next HTTP/1.1\r\n" HOST "\r\n");
	turns(5);
	cr_assert_eq(n_dispatched, before);
	cr_assert_not(hear());
	cr_assert_eq(n_dispatched, before + 1);
	cr_assert_not_null(memmem(in.p, in.n, "GET /next||h|", 13), "it is answered");
	bye();
}

Test(h1, http10_closes)
{
	open_and_say("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	cr_assert(hear());
	cr_assert_eq(count("Connection: close\r\n"), 1u);
	bye();
	open_and_say("GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n");
	cr_assert(hear());
	bye();
}

Test(h1, half_closed_client_gets_its_answer)
{
	open_and_say("GET /hold HTTP/1.1\r\n" HOST "\r\n");
	shutdown(fd, SHUT_WR);
	turns(3);
	cr_assert_eq(n_held, 1u);
	echo(held[0]);
	held[0] = NULL;
	cr_assert(hear());
	cr_assert_eq(count("GET /hold"), 1u);
	bye();
}

Test(h1, head_has_no_body)
{
	open_and_say("HEAD /x HTTP/1.1\r\n" HOST "\r\nGET /y HTTP/1.1\r\n" HOST "\r\n");
	cr_assert_not(hear());
	cr_assert_eq(count("HEAD /x"), 0u);
	cr_assert_eq(count("Content-Length: 10\r\n"), 1u);
	cr_assert_eq(count("GET /y||h|"), 1u);
	bye();
}

Test(h1, expect_100_continue)
{
	open_and_say("POST /a HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n");
	cr_assert_not(hear());
	cr_assert_str_eq((char *)in.p, "HTTP/1.1 100 Continue\r\n\r\n");
	say("ok");
	cr_assert_not(hear());
	cr_assert_eq(count("POST /a||h|ok"), 1u);
	bye();
}

Test(h1, smuggling_gets_400_and_the_end)
{
	open_and_say("POST / HTTP/1.1\r\n" HOST "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\n" HOST
		     "\r\n");
	cr_assert(hear());
	cr_assert_eq(strncmp((char *)in.p, "HTTP/1.1 400 Bad Request\r\n", 26), 0);
	cr_assert_eq(count("HTTP/1.1"), 1u);
	cr_assert_eq(n_dispatched, 0u);
	bye();
}

Test(h1, large_head_is_431_and_large_body_413)
{
	fd = connect_client();
	say("GET / HTTP/1.1\r\n" HOST);
	for (unsigned i = 0; i < 70; i++)
		say("X: y\r\n");
	cr_assert(hear());
	cr_assert_eq(strncmp((char *)in.p, "HTTP/1.1 431 ", 13), 0);
	bye();
	open_and_say("POST / HTTP/1.1\r\n" HOST "Content-Length: 17000000\r\n\r\n");
	cr_assert(hear());
	cr_assert_eq(strncmp((char *)in.p, "HTTP/1.1 413 ", 13), 0);
	cr_assert_eq(count("Transfer-Encoding: chunked\r\n"), 1u);
	cr_assert_eq(count("x-amz"), 0u);
	bye();
	cr_assert_eq(n_dispatched, 0u);
}

Test(h1, chunked_body_beyond_the_cap_is_413)
{
	static char chunk[1 << 20];
	memset(chunk, 'x', sizeof(chunk));
	open_and_say("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	for (unsigned i = 0; i < 17; i++) {
		say("100000\r\n");
		send_all(fd, chunk, sizeof(chunk));
		say("\r\n");
	}
	cr_assert(hear());
	cr_assert_eq(strncmp((char *)in.p, "HTTP/1.1 413 ", 13), 0);
	bye();
}

/* ---- Subscriptions ---- */

/* Decodes what was heard behind the head as chunks; returns the bytes, sets *ended when the last chunk came. */
static struct buf unchunk(bool *ended)
{
	struct buf out = {0};
	char *at = strstr((char *)in.p, "\r\n\r\n") + 4;
	*ended = false;
	while (at < (char *)in.p + in.n) {
		char *line_end;
		size_t n = strtoul(at, &line_end, 16);
		cr_assert(line_end > at && memcmp(line_end, "\r\n", 2) == 0);
		at = line_end + 2;
		if (n == 0) {
			*ended = true;
			cr_assert_eq(memcmp(at, "\r\n", 2), 0);
			break;
		}
		buf_put(&out, at, n);
		cr_assert_eq(memcmp(at + n, "\r\n", 2), 0);
		at += n + 2;
	}
	return out;
}

static void expect_stream(size_t n, bool end)
{
	bool ended;
	struct buf out = unchunk(&ended);
	cr_assert_eq(out.n, n);
	for (size_t i = 0; i < n; i++)
		if (out.p[i] != fake_byte(0, i))
			cr_assert_fail("byte %zu", i);
	cr_assert_eq(ended, end);
	buf_free(&out);
}

Test(h1, subscription_streams_in_chunks_and_keeps_the_connection)
{
	open_and_say(SUBSCRIBE);
	cr_assert_not(hear());
	cr_assert_eq(count("Content-Type: application/vnd.amazon.eventstream\r\n"), 1u);
	cr_assert_eq(count("Transfer-Encoding: chunked\r\n"), 1u);
	cr_assert_eq(count("Content-Length"), 0u);
	fake_push(0, 104);
	cr_assert_not(hear());
	expect_stream(104, false);
	fake_push(0, 1);
	fake_push(0, 200000);
	cr_assert_not(hear());
	expect_stream(200105, false);
	fake_end(0);
	cr_assert_not(hear());
	expect_stream(200105, true);
	cr_assert_null(fake_subs[0].sub, "the leave is posted when SUB_END is pulled");
	buf_free(&in);
	say("GET /after HTTP/1.1\r\n" HOST "\r\n");
	cr_assert_not(hear());
	cr_assert_eq(count("GET /after||h|"), 1u);
	bye();
}

Test(h1, slow_reader_stops_the_pull_and_loses_nothing)
{
	open_and_say(SUBSCRIBE);
	turns(3);
	fake_push(0, 6u << 20);
	turns(20);
	struct conn *conn = container_of(worker.conns.next, struct conn, link);
	cr_assert_leq(conn->outq.bytes, OUTQ_HIGH + (65u << 10));
	size_t pulled = fake_subs[0].at;
	cr_assert_lt(pulled, 2u << 20, "the rest stays where it is only a cursor");
	turns(5);
	cr_assert_eq(fake_subs[0].at, pulled);
	pass(40 * SECOND_NS);
	cr_assert_not(conn->dead, "a subscription that is not read is no stall");
	for (unsigned i = 0; i < 1000 && fake_subs[0].at < 6u << 20; i++)
		hear();
	hear();
	expect_stream(6u << 20, false);
	bye();
}

Test(h1, last_words_that_nobody_takes_end_the_connection)
{
	open_and_say(SUBSCRIBE);
	turns(3);
	fake_push(0, 6u << 20);
	turns(20);
	pass(100 * SECOND_NS);
	fake_subs[0].sub->state = SUB_CLOSING;
	pass(4 * SECOND_NS);
	cr_assert_not_null(fake_subs[0].sub);
	pass(2 * SECOND_NS);
	cr_assert_null(fake_subs[0].sub);
	cr_assert(list_empty(&worker.conns));
	bye();
}

Test(h1, client_that_leaves_ends_its_subscription)
{
	open_and_say(SUBSCRIBE);
	turns(3);
	cr_assert_not_null(fake_subs[0].sub);
	bye();
	cr_assert_null(fake_subs[0].sub);
	cr_assert_eq(worker.requests, 0u);
}

Test(h1, probe_sees_a_client_that_left)
{
	open_and_say(SUBSCRIBE);
	turns(3);
	struct request *request = request_of(fake_subs[0].sub);
	cr_assert_not(request->transport->probe(request));
	close(fd);
	cr_assert(request->transport->probe(request), "without a turn in between");
	cr_assert_null(fake_subs[0].sub);
	turns(2);
	cr_assert(list_empty(&worker.conns));
}

Test(h1, request_behind_a_subscription_waits)
{
	open_and_say(SUBSCRIBE "GET /next HTTP/1.1\r\n" HOST "\r\n");
	turns(3);
	cr_assert_eq(n_dispatched, 1u);
	fake_end(0);
	cr_assert_not(hear());
	cr_assert_eq(count("GET /next||h|"), 1u);
	bye();
}

Test(h1, http10_subscription_ends_with_the_connection)
{
	open_and_say("POST /sub HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}");
	turns(3);
	fake_push(0, 100);
	fake_end(0);
	cr_assert(hear());
	cr_assert_eq(count("chunked"), 0u);
	char *body = strstr((char *)in.p, "\r\n\r\n") + 4;
	cr_assert_eq((size_t)((char *)in.p + in.n - body), 100u);
	bye();
}

/* ---- Deadlines, detaching, stop ---- */

Test(h1, client_that_leaves_while_its_request_is_in_work)
{
	open_and_say("POST /hold HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\nx");
	turns(3);
	close(fd);
	turns(3);
	cr_assert_eq(worker.requests, 1u);
	echo(held[0]);
	held[0] = NULL;
	turns(3);
	cr_assert_eq(worker.requests, 0u);
	cr_assert(list_empty(&worker.conns));
}

Test(h1, slow_heads_bodies_and_idle_connections_end)
{
	open_and_say("GET / HTTP/1.1\r\nHos");
	turns(2);
	pass(11 * SECOND_NS);
	cr_assert(hear());
	cr_assert_eq(strncmp((char *)in.p, "HTTP/1.1 408 ", 13), 0);
	bye();
	open_and_say("POST / HTTP/1.1\r\n" HOST "Content-Length: 100000\r\n\r\nabc");
	turns(2);
	pass(29 * SECOND_NS);
	cr_assert_not(hear());
	pass(2 * SECOND_NS);
	cr_assert(hear());
	cr_assert_eq(strncmp((char *)in.p, "HTTP/1.1 408 ", 13), 0);
	bye();
	open_and_say("GET / HTTP/1.1\r\n" HOST "\r\n");
	cr_assert_not(hear());
	pass(299 * SECOND_NS);
	cr_assert_not(hear());
	pass(2 * SECOND_NS);
	cr_assert(hear());
	bye();
	fd = connect_client(); /* says nothing */
	pass(11 * SECOND_NS);
	cr_assert(hear());
	bye();
}

/* One silent connection has its 10 s; when forty were silent at once, it has not, even if it came later and is alone now. */
Test(h1, many_silent_connections_are_hurried_and_so_is_the_last)
{
	int fds[41];
	struct buf out = {0};
	for (unsigned i = 0; i < 40; i++)
		fds[i] = connect_client();
	pass(3 * SECOND_NS / 2);
	fds[40] = connect_client();
	pass(SECOND_NS);
	for (unsigned i = 0; i < 5; i++)
		pass(SECOND_NS / 10);
	for (unsigned i = 0; i < 40; i++)
		cr_assert(receive_all(fds[i], &out), "connection %u", i);
	cr_assert_not(receive_all(fds[40], &out));
	pass(SECOND_NS);
	pass(SECOND_NS);
	cr_assert(receive_all(fds[40], &out));
	close(fds[40]);
	pass(6 * SECOND_NS);
	fds[40] = connect_client();
	for (unsigned i = 0; i < 9; i++)
		pass(SECOND_NS);
	cr_assert_not(receive_all(fds[40], &out), "that is over now");
	for (unsigned i = 0; i < 41; i++)
		close(fds[i]);
	buf_free(&out);
}

Test(h1, a_body_that_comes_slowly_but_comes)
{
	char piece[4096];
	memset(piece, 'x', sizeof(piece));
	open_and_say("POST / HTTP/1.1\r\n" HOST "Content-Length: 81920\r\n\r\n");
	for (unsigned i = 0; i < 20; i++) { /* 4 KiB in 3 s each: faster than 1 KiB/s */
		pass(3 * SECOND_NS);
		send_all(fd, piece, sizeof(piece));
		turns(1);
	}
	cr_assert_not(hear());
	cr_assert_eq(strncmp((char *)in.p, "HTTP/1.1 200 ", 13), 0);
	bye();
}

Test(h1, unread_answer_is_a_stall)
{
	open_and_say("GET /big?3000000 HTTP/1.1\r\n" HOST "\r\n");
	turns(5);
	pass(31 * SECOND_NS);
	cr_assert(list_empty(&worker.conns));
	bye();
}

/* The socket takes 2 to 4 KiB at a time. Returns how many seconds passed until the connection was cut, at most 90. */
static unsigned take_slowly(unsigned period_s, size_t each)
{
	static char bytes[8192];
	int fds[2], small = 2048;
	unsigned seconds = 0;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert_eq(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
	fcntl(fds[1], F_SETFL, O_NONBLOCK);
	worker_adopt(&worker, fds[0]);
	turns(1);
	fd = fds[1];
	say("GET /big?3000000 HTTP/1.1\r\n" HOST "\r\n");
	turns(5);
	for (; seconds < 90 && !list_empty(&worker.conns); seconds += period_s) {
		for (size_t n = 0; n < each;) {
			ssize_t got = recv(fd, bytes, each - n, 0);
			n += got > 0 ? (size_t)got : each;
			turns(2);
		}
		pass(period_s * SECOND_NS);
	}
	return seconds;
}

Test(h1, an_answer_that_is_taken_little_by_little_is_cut)
{
	unsigned seconds = take_slowly(5, 1000);
	cr_assert(seconds > 30 && seconds < 60, "%u s", seconds);
	bye();
}

Test(h1, an_answer_that_is_taken_slowly_goes_on)
{
	cr_assert_geq(take_slowly(5, 8192), 90u);
	bye();
}

Test(h1, memory_short_stops_reading)
{
	static char half[200000];
	memset(half, 'x', sizeof(half));
	metric_add(METRIC_body_bytes, BODIES_MAX);
	open_and_say("POST /x HTTP/1.1\r\n" HOST "Content-Length: 400000\r\n\r\n");
	send_all(fd, half, sizeof(half));
	turns(5);
	struct conn *conn = container_of(worker.conns.next, struct conn, link);
	cr_assert_not(conn->reading);
	metric_add(METRIC_body_bytes, -BODIES_MAX);
	pass(SECOND_NS);
	cr_assert(conn->reading);
	send_all(fd, half, sizeof(half));
	cr_assert_not(hear());
	cr_assert_eq(count("HTTP/1.1 200 OK"), 1u);
	bye();
}

/* Else all bodies could be held up together, each with its room, and none would end. */
Test(h1, a_body_that_has_its_room_is_read_when_memory_is_short)
{
	static char half[200000];
	memset(half, 'x', sizeof(half));
	open_and_say("POST /x HTTP/1.1\r\n" HOST "Content-Length: 400000\r\n\r\n");
	send_all(fd, half, sizeof(half));
	turns(5);
	metric_add(METRIC_body_bytes, BODIES_MAX);
	send_all(fd, half, sizeof(half));
	cr_assert_not(hear());
	cr_assert_eq(count("HTTP/1.1 200 OK"), 1u);
	metric_add(METRIC_body_bytes, -BODIES_MAX);
	bye();
}

Test(h1, stop_lets_everybody_finish)
{
	int idle = connect_client();
	send_all(idle, "GET / HTTP/1.1\r\n" HOST "\r\n", 27);
	turns(2);
	struct buf out = {0};
	receive_all(idle, &out);
	open_and_say("GET /hold HTTP/1.1\r\n" HOST "\r\n");
	turns(2);
	int streaming = connect_client();
	send_all(streaming, SUBSCRIBE, strlen(SUBSCRIBE));
	turns(2);
	worker_stop(&worker);
	cr_assert(receive_all(idle, &out));
	cr_assert(receive_all(streaming, &out));
	cr_assert(fake_subs[0].finished);
	cr_assert_not_null(memmem(out.p, out.n, "0\r\n\r\n", 5));
	cr_assert_not(hear());
	cr_assert_not(list_empty(&worker.conns), "a request is in work");
	echo(held[0]);
	held[0] = NULL;
	cr_assert(hear());
	cr_assert_eq(count("GET /hold"), 1u);
	buf_free(&out);
	close(idle);
	close(streaming);
	bye();
	cr_assert_not(worker_turn(&worker, false), "nothing is left");
}

Test(h1, stop_cuts_the_rest_after_5_s)
{
	open_and_say("GET /hold HTTP/1.1\r\n" HOST "\r\n");
	turns(3);
	worker_stop(&worker);
	turns(3);
	pass(4 * SECOND_NS);
	cr_assert_not(list_empty(&worker.conns));
	pass(3 * SECOND_NS / 2);
	cr_assert(list_empty(&worker.conns));
	cr_assert(worker_turn(&worker, false), "the operation has not answered yet");
	echo(held[0]);
	held[0] = NULL;
	cr_assert_not(worker_turn(&worker, false));
	bye();
}
