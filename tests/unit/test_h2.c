/* HTTP/2 over real sockets with a client of nghttp2: answers, subscriptions, windows, fairness, abuse, and the ways to end. */
#include "transport_fixture.h"

#include "h2_client.h"
#include "server/h2.h"

TestSuite(h2, .init = setup, .fini = teardown, .timeout = 60);

static struct client c;

#define BODY(i) c.streams[i].body
#define SAYS(i, text) (BODY(i).n == strlen(text) && memcmp(BODY(i).p, text, BODY(i).n) == 0)

static void expect_stream(unsigned slot, unsigned sub, size_t n)
{
	cr_assert_eq(BODY(slot).n, n);
	for (size_t i = 0; i < n; i++)
		if (BODY(slot).p[i] != fake_byte(sub, i))
			cr_assert_fail("byte %zu", i);
}

static struct conn *the_conn(void)
{
	cr_assert_not(list_empty(&worker.conns));
	return container_of(worker.conns.next, struct conn, link);
}

/* As many as subscriptions: see the same test of requests. */
Test(h2, stream_fits_its_size_class) { cr_assert_leq(sizeof(struct h2_stream), 96u); }

Test(h2, settings_leave_at_once)
{
	client_open(&c, false);
	client_pump(&c);
	cr_assert_eq(c.settings, 1u);
	cr_assert_eq(c.max_streams, 1000u);
	cr_assert_eq(c.window, 1u << 20);
	cr_assert_eq(c.header_list, 16384u);
	cr_assert_eq(nghttp2_session_get_remote_window_size(c.session), 16 << 20);
	client_close(&c);
}

Test(h2, preface_byte_by_byte)
{
	client_open(&c, false);
	const uint8_t *p;
	ssize_t n = nghttp2_session_mem_send(c.session, &p);
	cr_assert_eq(n, 24);
	for (ssize_t i = 0; i < n; i++) {
		send_all(c.fd, p + i, 1);
		turns(1);
		cr_assert_eq(the_conn()->phase, i < 23 ? CONN_DETECT : CONN_OPEN);
	}
	unsigned s = client_ask(&c, "/x", NULL, 0);
	client_pump(&c);
	cr_assert_eq(c.streams[s].status, 200);
	client_close(&c);
}

Test(h2, half_a_preface_ends_after_5_s)
{
	int fd = connect_client();
	struct buf out = {0};
	send_all(fd, "PRI * HT", 8);
	turns(2);
	pass(6 * SECOND_NS);
	cr_assert(receive_all(fd, &out));
	cr_assert_eq(out.n, 0u);
	close(fd);
	buf_free(&out);
}

Test(h2, answers)
{
	client_open(&c, false);
	unsigned a = client_ask(&c, "/a?b=c", "hello", 5), b = client_ask(&c, "/b", NULL, 0), d = client_ask(&c, "/big?700000", "", 0);
	client_pump(&c);
	cr_assert(SAYS(a, "POST /a|b=c|h|hello"));
	cr_assert(SAYS(b, "POST /b||h|"));
	cr_assert_eq(c.streams[a].status, 200);
	cr_assert_str_eq(c.streams[a].type, "text/plain");
	cr_assert(c.streams[a].has_id2 && c.streams[a].ended && c.streams[a].closed);
	expect_stream(d, 0, 700000);
	cr_assert_eq(worker.requests, 0u);
	cr_assert_eq(metric_get(METRIC_answer_bytes), 0);
	client_close(&c);
}

Test(h2, large_bodies_get_their_windows_back)
{
	static char body[15 << 20];
	memset(body, 'x', sizeof(body));
	client_open(&c, false);
	unsigned a = client_ask(&c, "/a", body, sizeof(body)), b = client_ask(&c, "/b", body, sizeof(body));
	client_pump(&c);
	cr_assert_eq(BODY(a).n, sizeof(body) + strlen("POST /a||h|"));
	cr_assert_eq(BODY(b).n, sizeof(body) + strlen("POST /b||h|"));
	cr_assert_eq(metric_get(METRIC_body_bytes), 0);
	client_close(&c);
}

Test(h2, body_beyond_the_cap_is_413)
{
	static char body[18 << 20];
	client_open(&c, false);
	unsigned a = client_ask(&c, "/a", body, sizeof(body)), b = client_ask(&c, "/b", "x", 1);
	client_pump(&c);
	cr_assert_eq(c.streams[a].status, 413);
	cr_assert_eq(BODY(a).n, 0u);
	cr_assert(c.streams[a].closed && !c.streams[a].has_id2);
	cr_assert_eq(c.streams[a].error, NGHTTP2_NO_ERROR);
	cr_assert_eq(c.streams[b].status, 200);
	unsigned d = client_ask(&c, "/d", "x", 1);
	client_pump(&c);
	cr_assert_eq(c.streams[d].status, 200, "the connection goes on, with its window");
	client_close(&c);
}

/* Bodies that fill the memory together, none of them whole, must not hold each other up; and who waits for memory is not slow. */
Test(h2, memory_short_lets_one_body_on)
{
	static char body[3 << 20];
	client_open(&c, false);
	client_pump(&c);
	metric_add(METRIC_body_bytes, BODIES_MAX);
	unsigned a = client_ask(&c, "/a", body, sizeof(body)), b = client_ask(&c, "/b", body, sizeof(body));
	client_pump(&c);
	cr_assert_eq(n_dispatched, 0u);
	for (unsigned i = 0; i < 20 && n_dispatched == 0; i++) {
		pass(SECOND_NS);
		client_pump(&c);
	}
	cr_assert_eq(c.streams[a].status, 200);
	cr_assert_eq(c.streams[b].status, 0);
	for (unsigned i = 0; i < 20 && n_dispatched == 1; i++) {
		pass(SECOND_NS);
		client_pump(&c);
	}
	cr_assert_eq(c.streams[b].status, 200);
	metric_add(METRIC_body_bytes, -BODIES_MAX);
	client_close(&c);
}

Test(h2, memory_short_shuts_windows)
{
	static char body[3 << 20];
	client_open(&c, false);
	client_pump(&c);
	metric_add(METRIC_body_bytes, BODIES_MAX);
	unsigned a = client_ask(&c, "/a", body, sizeof(body));
	client_pump(&c);
	cr_assert_eq(n_dispatched, 0u);
	cr_assert_leq(worker.body_bytes, 2u << 20);
	metric_add(METRIC_body_bytes, -BODIES_MAX);
	pass(SECOND_NS);
	client_pump(&c);
	cr_assert_eq(c.streams[a].status, 200);
	client_close(&c);
}

/* A client that takes no answers has a big one waiting (slot a), and has asked for two more, so much later. */
static void open_and_park_windows(unsigned *a, unsigned *b, unsigned *d, uint64_t later_ns, bool manual_windows)
{
	nghttp2_settings_entry shut = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0};
	client_open(&c, manual_windows);
	nghttp2_submit_settings(c.session, NGHTTP2_FLAG_NONE, &shut, 1);
	*a = client_ask(&c, "/big?300000", NULL, 0);
	client_pump(&c);
	pass(later_ns);
	*b = client_ask(&c, "/big?300000", NULL, 0);
	*d = client_ask(&c, "/d", "x", 1);
	client_pump(&c);
	cr_assert_eq(c.streams[*a].status, 200);
	cr_assert_eq(n_dispatched, 1u);
}

static void open_and_park(unsigned *a, unsigned *b, unsigned *d, uint64_t later_ns) { open_and_park_windows(a, b, d, later_ns, false); }

Test(h2, requests_wait_until_earlier_answers_are_taken)
{
	unsigned a, b, d;
	open_and_park(&a, &b, &d, 0);
	nghttp2_submit_window_update(c.session, NGHTTP2_FLAG_NONE, c.streams[a].id, 300100);
	client_pump(&c);
	cr_assert_eq(BODY(a).n, 300000u);
	cr_assert_eq(n_dispatched, 2u, "and the next big answer is in front of the third request again");
	cr_assert_eq(c.streams[b].status, 200);
	cr_assert_eq(c.streams[d].status, 0);
	nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, c.streams[b].id, NGHTTP2_CANCEL);
	client_pump(&c);
	cr_assert_eq(c.streams[d].status, 200);
	cr_assert_eq(n_dispatched, 3u);
	client_close(&c);
}

Test(h2, a_parked_request_may_be_reset)
{
	unsigned a, b, d;
	open_and_park(&a, &b, &d, 0);
	nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, c.streams[b].id, NGHTTP2_CANCEL);
	nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, c.streams[a].id, NGHTTP2_CANCEL);
	client_pump(&c);
	cr_assert_eq(c.streams[d].status, 200);
	cr_assert_eq(n_dispatched, 2u);
	client_close(&c);
}

Test(h2, parked_requests_end_with_the_answers_that_they_wait_for)
{
	unsigned a, b, d;
	open_and_park(&a, &b, &d, 0);
	pass(20 * SECOND_NS);
	nghttp2_submit_window_update(c.session, NGHTTP2_FLAG_NONE, c.streams[a].id, 300100);
	client_pump(&c);
	cr_assert_eq(n_dispatched, 2u);
	pass(20 * SECOND_NS);
	client_pump(&c);
	cr_assert(!c.streams[d].closed, "it has waited for 40 s, but the first answer went on after 20");
	pass(12 * SECOND_NS);
	client_pump(&c);
	cr_assert(c.streams[b].closed && c.streams[d].closed);
	cr_assert_eq(c.streams[d].error, NGHTTP2_CANCEL);
	cr_assert_eq(n_dispatched, 2u);
	client_close(&c);
}

Test(h2, parked_requests_get_no_time_of_their_own)
{
	unsigned a, b, d;
	open_and_park(&a, &b, &d, 20 * SECOND_NS);
	pass(11 * SECOND_NS);
	client_pump(&c);
	cr_assert(c.streams[a].closed && c.streams[b].closed && c.streams[d].closed);
	cr_assert_eq(c.streams[d].error, NGHTTP2_CANCEL);
	cr_assert_eq(n_dispatched, 1u);
	client_close(&c);
}

/* "Moved a byte" is no progress: the stream ends 30 s behind 1 KiB/s, and those that wait behind it. */
Test(h2, an_answer_that_is_taken_byte_by_byte_is_reset)
{
	unsigned a, b, d, seconds = 0;
	open_and_park_windows(&a, &b, &d, 0, true);
	for (; seconds < 60 && !c.streams[a].closed; seconds += 3) {
		nghttp2_submit_window_update(c.session, NGHTTP2_FLAG_NONE, c.streams[a].id, 1);
		client_pump(&c);
		pass(3 * SECOND_NS);
		client_pump(&c);
	}
	cr_assert(seconds > 27 && seconds < 36, "%u s", seconds);
	cr_assert(c.streams[b].closed && c.streams[d].closed);
	cr_assert_eq(c.streams[a].error, NGHTTP2_CANCEL);
	cr_assert_eq(n_dispatched, 1u);
	client_close(&c);
}

Test(h2, an_answer_that_is_taken_slowly_goes_on)
{
	client_open(&c, true);
	unsigned a = client_ask(&c, "/big?300000", NULL, 0);
	client_pump(&c);
	for (unsigned i = 0; i < 40; i++) { /* 4 KiB in 3 s */
		nghttp2_session_consume(c.session, c.streams[a].id, 4096);
		nghttp2_submit_window_update(c.session, NGHTTP2_FLAG_NONE, c.streams[a].id, 4096);
		client_pump(&c);
		pass(3 * SECOND_NS);
		client_pump(&c);
	}
	cr_assert_not(c.streams[a].closed);
	client_close(&c);
}

/* What has gone to the output queue in parts is not there twice, and is counted as long as a byte of it is to go. */
Test(h2, an_answer_in_parts_is_counted_once)
{
	client_open(&c, true);
	unsigned a = client_ask(&c, "/big?300000", NULL, 0);
	client_pump(&c);
	cr_assert_eq(BODY(a).n, 65535u);
	cr_assert_geq(the_conn()->charged, 300000u);
	cr_assert_leq(the_conn()->charged, 300000u + 300000u / 8 + 4096 + ANSWER_HEAD);
	cr_assert_eq(worker.answer_bytes, the_conn()->charged);
	nghttp2_submit_window_update(c.session, NGHTTP2_FLAG_NONE, 0, 300000);
	nghttp2_submit_window_update(c.session, NGHTTP2_FLAG_NONE, c.streams[a].id, 300000);
	client_pump(&c);
	cr_assert_eq(BODY(a).n, 300000u);
	cr_assert_eq(the_conn()->charged, 0u);
	client_close(&c);
}

/* It is told by the next request: a client that takes large answers at once may have them where others are refused. */
Test(h2, a_connection_that_takes_a_large_answer_at_once_is_prompt)
{
	client_open(&c, false);
	client_ask(&c, "/big?300000", NULL, 0);
	client_pump(&c);
	cr_assert(the_conn()->prompt);
	client_ask(&c, "/hold", NULL, 0);
	client_pump(&c);
	cr_assert(held[0]->exchange->prompt);
	client_close(&c);
}

/* Half of the budget is taken: a second behind the least rate is the end, not thirty. */
Test(h2, an_answer_has_a_second_when_memory_is_crowded)
{
	unsigned a, b, d;
	open_and_park(&a, &b, &d, 0);
	size_t half = ANSWERS_MAX / 2;
	pass(2 * SECOND_NS);
	client_pump(&c);
	cr_assert_not(c.streams[a].closed);
	budget_force(&server.answers, half);
	pass(SECOND_NS / 10);
	client_pump(&c);
	budget_give(&server.answers, half);
	cr_assert(c.streams[a].closed && c.streams[d].closed);
	cr_assert_not(the_conn()->prompt);
	client_close(&c);
}

/* A transport's own refusals are answers too: when there is no room for them the streams are reset. */
Test(h2, a_refusal_without_memory_is_a_reset)
{
	client_open(&c, false);
	client_pump(&c);
	cr_assert(budget_take(&server.answers, ANSWERS_MAX, BUDGET_REFUSAL));
	nghttp2_nv nva[] = {nv(":method", "POST"), nv(":scheme", "http"), nv(":authority", "h"), nv(":path", "/"), nv("host", "other")};
	nghttp2_submit_request(c.session, NULL, nva, 5, NULL, NULL);
	client_pump(&c);
	cr_assert(c.streams[0].closed);
	cr_assert_eq(c.streams[0].status, 0);
	budget_give(&server.answers, ANSWERS_MAX);
	client_close(&c);
}

Test(h2, large_heads_are_431)
{
	static char value[9000];
	nghttp2_nv nva[70] = {nv(":method", "POST"), nv(":scheme", "http"), nv(":authority", "h"), nv(":path", "/")};
	client_open(&c, false);
	for (unsigned i = 4; i < 70; i++)
		nva[i] = nv("x", "y");
	nghttp2_submit_request(c.session, NULL, nva, 70, NULL, NULL);
	memset(value, 'v', sizeof(value) - 1);
	nva[4] = nva[5] = nv("x", value);
	nghttp2_submit_request(c.session, NULL, nva, 6, NULL, NULL);
	nva[4] = nv("host", "other");
	nghttp2_submit_request(c.session, NULL, nva, 5, NULL, NULL);
	client_pump(&c);
	cr_assert_eq(c.streams[0].status, 431);
	cr_assert_eq(c.streams[1].status, 431);
	cr_assert_eq(c.streams[2].status, 400);
	cr_assert_eq(n_dispatched, 0u);
	client_close(&c);
}

Test(h2, late_answers_and_a_client_that_reset)
{
	client_open(&c, false);
	unsigned a = client_ask(&c, "/hold", "1", 1), b = client_ask(&c, "/hold", "2", 1);
	client_pump(&c);
	cr_assert_eq(n_held, 2u);
	nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, c.streams[a].id, NGHTTP2_CANCEL);
	client_pump(&c);
	cr_assert_eq(worker.requests, 2u, "the operation still has the first");
	echo(held[0]);
	echo(held[1]);
	held[0] = held[1] = NULL;
	client_pump(&c);
	cr_assert_eq(BODY(a).n, 0u);
	cr_assert(SAYS(b, "POST /hold||h|2"));
	cr_assert_eq(worker.requests, 0u);
	client_close(&c);
}

/* ---- Subscriptions ---- */

Test(h2, subscription)
{
	client_open(&c, false);
	unsigned s = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	cr_assert_eq(c.streams[s].status, 200);
	cr_assert_str_eq(c.streams[s].type, "application/vnd.amazon.eventstream");
	fake_push(0, 104);
	client_pump(&c);
	expect_stream(s, 0, 104);
	int64_t writes = metric_get(METRIC_socket_writes);
	fake_push(0, 50);
	fake_push(0, 50);
	turns(1);
	cr_assert_eq(metric_get(METRIC_socket_writes), writes + 1, "one write per connection and turn");
	fake_push(0, 1000000);
	client_pump(&c);
	expect_stream(s, 0, 1000204);
	fake_end(0);
	client_pump(&c);
	cr_assert(c.streams[s].ended && c.streams[s].closed);
	cr_assert_null(fake_subs[0].sub);
	cr_assert_eq(worker.requests, 0u);
	client_close(&c);
}

Test(h2, goaway_and_second_settings_by_the_client_while_the_stream_runs)
{
	client_open(&c, false);
	unsigned s = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	nghttp2_settings_entry one = {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1};
	nghttp2_submit_settings(c.session, NGHTTP2_FLAG_NONE, &one, 1);
	nghttp2_submit_goaway(c.session, NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL, 0);
	client_pump(&c);
	fake_push(0, 300000);
	client_pump(&c);
	expect_stream(s, 0, 300000);
	fake_end(0);
	client_pump(&c);
	cr_assert(c.streams[s].ended);
	cr_assert(c.closed, "nothing is left on it");
	client_close(&c);
}

Test(h2, shut_window_holds_the_cursor_and_ping_passes)
{
	client_open(&c, true);
	unsigned s = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	fake_push(0, 1 << 20);
	client_pump(&c);
	expect_stream(s, 0, 65535);
	cr_assert_eq(fake_subs[0].at, 65535u, "no byte was pulled that may not be sent");
	nghttp2_submit_ping(c.session, NGHTTP2_FLAG_NONE, NULL);
	client_pump(&c);
	cr_assert_eq(c.pings, 1u);
	pass(100 * SECOND_NS);
	cr_assert_not(the_conn()->dead, "a shut window is no stall");
	nghttp2_session_consume(c.session, c.streams[s].id, 65535);
	client_pump(&c);
	expect_stream(s, 0, 2 * 65535);
	client_close(&c);
	cr_assert_null(fake_subs[0].sub);
}

/* Two heads that are whole and malformed: a field in upper case, and pseudo fields that are missing. */
Test(h2, a_malformed_head_leaves_no_deadline_on_its_connection)
{
	static const uint8_t upper[] = {0, 0, 5, NGHTTP2_HEADERS, 5, 0, 0, 0, 3, 0, 1, 'A', 1, 'b'};
	static const uint8_t missing[] = {0, 0, 1, NGHTTP2_HEADERS, 5, 0, 0, 0, 5, 0x83};
	client_open(&c, false);
	client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	c.mute = true;
	send_all(c.fd, upper, sizeof(upper));
	send_all(c.fd, missing, sizeof(missing));
	turns(3);
	pass(11 * SECOND_NS);
	cr_assert_not(list_empty(&worker.conns));
	cr_assert_not(the_conn()->dead || the_conn()->closing, "its subscription lives");
	cr_assert_not_null(fake_subs[0].sub);
	client_close(&c);
}

/* Its stream is refused by nghttp2 long before the block ends: the deadline stays all the same. */
Test(h2, a_malformed_head_that_does_not_end_has_10_s)
{
	static const uint8_t upper[] = {0, 0, 5, NGHTTP2_HEADERS, 1, 0, 0, 0, 3, 0, 1, 'A', 1, 'b'};
	client_open(&c, false);
	client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	c.mute = true;
	send_all(c.fd, upper, sizeof(upper));
	turns(3);
	pass(9 * SECOND_NS);
	cr_assert_not(the_conn()->closing);
	pass(2 * SECOND_NS);
	cr_assert(list_empty(&worker.conns) || the_conn()->closing);
	client_close(&c);
}

Test(h2, backed_up_socket_pauses_and_goes_on)
{
	client_open(&c, false);
	nghttp2_session_set_local_window_size(c.session, NGHTTP2_FLAG_NONE, 0, 32 << 20);
	nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 32 << 20};
	nghttp2_submit_settings(c.session, NGHTTP2_FLAG_NONE, &window, 1);
	unsigned s = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	c.mute = true;
	fake_push(0, FAKE_BYTES);
	turns(20);
	cr_assert(the_conn()->blocked);
	cr_assert_leq(the_conn()->outq.bytes, OUTQ_HIGH + 17000);
	cr_assert_lt(fake_subs[0].at, 2u << 20);
	for (unsigned i = 0; i < 50; i++)
		nghttp2_submit_ping(c.session, NGHTTP2_FLAG_NONE, NULL);
	client_pump(&c);
	cr_assert_lt(fake_subs[0].at, 2u << 20);
	pass(60 * SECOND_NS);
	cr_assert_not(the_conn()->dead);
	c.mute = false;
	client_pump(&c);
	expect_stream(s, 0, FAKE_BYTES);
	cr_assert_eq(c.pings, 50u);
	client_close(&c);
}

Test(h2, streams_share_their_connection)
{
	client_open(&c, false);
	nghttp2_session_set_local_window_size(c.session, NGHTTP2_FLAG_NONE, 0, 32 << 20);
	nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 32 << 20};
	nghttp2_submit_settings(c.session, NGHTTP2_FLAG_NONE, &window, 1);
	unsigned a = client_ask(&c, "/sub", "{}", 2), b = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	c.mute = true;
	fake_push(0, FAKE_BYTES);
	fake_push(1, FAKE_BYTES);
	turns(20);
	size_t first = fake_subs[0].at, second = fake_subs[1].at;
	cr_assert(first && second && first < 2 * second && second < 2 * first, "%zu and %zu", first, second);
	c.mute = false;
	client_pump(&c);
	expect_stream(a, 0, FAKE_BYTES);
	expect_stream(b, 1, FAKE_BYTES);
	client_close(&c);
}

Test(h2, reset_frees_the_subscription_and_a_probe_sees_it_at_once)
{
	client_open(&c, false);
	unsigned a = client_ask(&c, "/sub", "{}", 2), b = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, c.streams[a].id, NGHTTP2_CANCEL);
	client_pump(&c);
	cr_assert_null(fake_subs[0].sub);
	cr_assert_not_null(fake_subs[1].sub);
	cr_assert_eq(worker.requests, 1u);
	struct request *request = request_of(fake_subs[1].sub);
	cr_assert_not(request->transport->probe(request));
	nghttp2_submit_rst_stream(c.session, NGHTTP2_FLAG_NONE, c.streams[b].id, NGHTTP2_CANCEL);
	client_send(&c);
	cr_assert(request->transport->probe(request), "without a turn in between");
	cr_assert_null(fake_subs[1].sub);
	unsigned d = client_ask(&c, "/d", NULL, 0);
	client_pump(&c);
	cr_assert_eq(c.streams[d].status, 200);
	client_close(&c);
}

Test(h2, probe_sees_a_closed_connection)
{
	client_open(&c, false);
	client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	struct request *request = request_of(fake_subs[0].sub);
	shutdown(c.fd, SHUT_RDWR);
	cr_assert(request->transport->probe(request));
	cr_assert_null(fake_subs[0].sub);
	worker_stop(&worker); /* which finishes live subscriptions: it is none any more */
	worker_turn(&worker, false);
	client_close(&c);
}

Test(h2, hub_timer_fires)
{
	fake_deadline_ns = io_mono_ns(&fake_io) + 2000000;
	worker_turn(&worker, false);
	worker_turn(&worker, true);
	cr_assert_eq(n_ticks, 1u);
}

Test(h2, a_subscription_that_waits_has_no_frame_to_come)
{
	client_open(&c, true);
	unsigned s = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	const struct h2_stream *stream = request_of(fake_subs[0].sub)->stream;
	for (size_t total = 0, n = 100; n < 10000; n *= 10) {
		fake_push(0, n);
		cr_assert(stream->pulled);
		client_pump(&c);
		total += n;
		cr_assert_eq(c.streams[s].body.n, total);
		cr_assert_not(stream->pulled);
	}
	fake_end(0);
	client_pump(&c);
	cr_assert(c.streams[s].closed);
	client_close(&c);
}

Test(h2, last_words_that_nobody_takes_are_reset_after_5_s)
{
	client_open(&c, true);
	unsigned s = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	fake_push(0, 100000);
	client_pump(&c);
	pass(100 * SECOND_NS);
	fake_subs[0].sub->state = SUB_CLOSING;
	on_ready(fake_subs[0].sub);
	pass(4 * SECOND_NS);
	client_pump(&c);
	cr_assert_not(c.streams[s].closed);
	nghttp2_session_consume(c.session, c.streams[s].id, 33000); /* it moves: five more seconds */
	client_pump(&c);
	pass(4 * SECOND_NS);
	client_pump(&c);
	cr_assert_not(c.streams[s].closed);
	pass(2 * SECOND_NS);
	client_pump(&c);
	cr_assert_eq(c.streams[s].error, NGHTTP2_CANCEL);
	cr_assert(c.streams[s].closed);
	cr_assert_null(fake_subs[0].sub);
	cr_assert_not(c.closed);
	client_close(&c);
}

/* ---- Abuse ---- */

#define OPEN_BLOCK 0x83, 0x86, 0x84, 0x01, 0x01, 'h' /* HPACK: POST http / h */

static void expect_calm(void)
{
	client_pump(&c);
	cr_assert_eq(c.goaways, 1u);
	cr_assert_eq(c.goaway_code, NGHTTP2_ENHANCE_YOUR_CALM);
	cr_assert(c.closed);
	client_close(&c);
}

Test(h2, ping_flood)
{
	client_open(&c, false);
	client_pump(&c);
	for (unsigned i = 0; i < 300; i++) {
		nghttp2_submit_ping(c.session, NGHTTP2_FLAG_NONE, NULL);
		client_send(&c);
		if (i % 50 == 0)
			turns(2);
	}
	expect_calm();
}

Test(h2, unread_ping_flood)
{
	client_open(&c, false);
	client_pump(&c);
	c.mute = true;
	for (unsigned i = 0; i < 150; i++)
		nghttp2_submit_ping(c.session, NGHTTP2_FLAG_NONE, NULL);
	client_send(&c); /* in one go: more acknowledgements than nghttp2 keeps */
	turns(3);
	c.mute = false;
	expect_calm();
}

Test(h2, empty_data_flood)
{
	client_open(&c, false);
	client_ask(&c, "/a", "xxxxx", 5);
	c.streams[0].send_left = 0;
	nghttp2_nv nva[] = {nv(":method", "POST"), nv(":scheme", "http"), nv(":authority", "h"), nv(":path", "/")};
	nghttp2_submit_headers(c.session, NGHTTP2_FLAG_NONE, -1, NULL, nva, 4, NULL);
	client_pump(&c);
	static const uint8_t empty[9] = {0, 0, 0, NGHTTP2_DATA, 0, 0, 0, 0, 3};
	for (unsigned i = 0; i < 1500; i++)
		send_all(c.fd, empty, 9);
	expect_calm();
}

Test(h2, priority_flood)
{
	client_open(&c, false);
	client_pump(&c);
	static const uint8_t priority[14] = {0, 0, 5, NGHTTP2_PRIORITY, 0, 0, 0, 0, 9, 0, 0, 0, 7, 16};
	for (unsigned i = 0; i < 1500; i++)
		send_all(c.fd, priority, 14);
	expect_calm();
}

Test(h2, client_resets_flood)
{
	client_open(&c, false);
	client_pump(&c);
	uint8_t open[] = {0, 0, 6, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 0, 0, 0, 0, OPEN_BLOCK};
	uint8_t reset[13] = {0, 0, 4, NGHTTP2_RST_STREAM, 0, 0, 0, 0, 0, 0, 0, 0, NGHTTP2_CANCEL};
	for (unsigned i = 0; i < 1200; i++) {
		uint32_t id = 2 * i + 1;
		open[7] = reset[7] = (uint8_t)(id >> 8);
		open[8] = reset[8] = (uint8_t)id;
		send_all(c.fd, open, sizeof(open));
		send_all(c.fd, reset, 13);
		if (i == 998) {
			turns(3);
			cr_assert_not(the_conn()->closing, "a KCL worker may cancel all that it may have");
		}
	}
	expect_calm();
	cr_assert_eq(worker.requests, 0u);
}

/* Each request is in work when its stream dies: it costs on. */
Test(h2, requests_left_behind)
{
	client_open(&c, false);
	client_pump(&c);
	uint8_t open[] = {0,
			  0,
			  12,
			  NGHTTP2_HEADERS,
			  NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM,
			  0,
			  0,
			  0,
			  0,
			  0x83,
			  0x86,
			  0x04,
			  0x05,
			  '/',
			  'h',
			  'o',
			  'l',
			  'd',
			  0x01,
			  0x01,
			  'h'};
	uint8_t reset[13] = {0, 0, 4, NGHTTP2_RST_STREAM, 0, 0, 0, 0, 0, 0, 0, 0, NGHTTP2_CANCEL};
	for (unsigned i = 0; i < 1050; i++) {
		uint32_t id = 2 * i + 1;
		open[7] = reset[7] = (uint8_t)(id >> 8);
		open[8] = reset[8] = (uint8_t)id;
		send_all(c.fd, open, sizeof(open));
		send_all(c.fd, reset, 13);
		if (i % 50 == 0) { /* below the rate of resets */
			turns(2);
			fake_ahead_ns += SECOND_NS;
		}
	}
	expect_calm();
	cr_assert_leq(n_held, 1001u);
	cr_assert_eq(worker.requests, n_held, "they outlive the connection");
	for (unsigned i = 0; i < n_held; i++)
		echo(held[i]);
	n_held = 0;
	cr_assert_eq(worker.requests, 0u);
}

/* MadeYouReset: streams that the client makes us reset, here by a window overflow. */
Test(h2, our_resets_flood)
{
	client_open(&c, false);
	client_pump(&c);
	uint8_t open[] = {0, 0, 6, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 0, 0, 0, 0, OPEN_BLOCK};
	uint8_t update[13] = {0, 0, 4, NGHTTP2_WINDOW_UPDATE, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff};
	for (unsigned i = 0; i < 100; i++) {
		uint32_t id = 2 * i + 1;
		open[8] = update[8] = (uint8_t)id;
		send_all(c.fd, open, sizeof(open));
		send_all(c.fd, update, 13);
		if (i == 40) {
			turns(3);
			cr_assert_not(the_conn()->closing);
		}
	}
	/* stop at stream 127: the client's tables are small */
	turns(5);
	cr_assert(list_empty(&worker.conns) || the_conn()->closing);
	cr_assert_eq(worker.requests, 0u);
	close(c.fd);
	turns(3);
	nghttp2_session_del(c.session);
}

/* No deadline of a subscription's last words is held against its client. */
Test(h2, our_own_resets_are_free)
{
	client_open(&c, false);
	for (unsigned i = 0; i < 60; i++)
		client_ask(&c, "/hold", "x", 1);
	client_pump(&c);
	for (unsigned i = 0; i < 60; i++)
		nghttp2_submit_rst_stream(((struct h2 *)the_conn()->session)->session, NGHTTP2_FLAG_NONE, (int32_t)(2 * i + 1),
					  NGHTTP2_CANCEL);
	conn_dirty(the_conn());
	client_pump(&c);
	cr_assert_eq(c.goaways, 0u);
	cr_assert_not(the_conn()->closing);
	client_close(&c);
}

static void flood(const uint8_t *frame, size_t n, unsigned times)
{
	client_open(&c, false);
	client_pump(&c);
	for (unsigned i = 0; i < times; i++)
		send_all(c.fd, frame, n);
	expect_calm();
}

Test(h2, settings_flood)
{
	static const uint8_t settings[9] = {0, 0, 0, NGHTTP2_SETTINGS, 0, 0, 0, 0, 0};
	flood(settings, 9, 80);
}

Test(h2, unknown_frames_flood)
{
	static const uint8_t unknown[9] = {0, 0, 0, 0xbe, 0, 0, 0, 0, 0};
	flood(unknown, 9, 1500);
}

Test(h2, continuation_flood)
{
	static const uint8_t open[] = {0, 0, 6, NGHTTP2_HEADERS, 0, 0, 0, 0, 1, OPEN_BLOCK};
	static const uint8_t on[] = {0, 0, 3, NGHTTP2_CONTINUATION, 0, 0, 0, 0, 1, 0x00, 0x01, 'a'};
	client_open(&c, false);
	client_pump(&c);
	send_all(c.fd, open, sizeof(open));
	for (unsigned i = 0; i < 20; i++)
		send_all(c.fd, on, sizeof(on));
	expect_calm();
}

/* A value of 4,000 bytes goes to the table once, and is named by one byte again and again. */
Test(h2, hpack_bomb)
{
	static uint8_t frame[9 + 6 + 7 + 4000 + 200];
	uint8_t *p = frame + 9;
	static const uint8_t begin[] = {OPEN_BLOCK, 0x40, 0x01, 'x', 0x7f, 0xa1, 0x1e}; /* literal with indexing, 4000 bytes */
	memcpy(p, begin, sizeof(begin));
	memset(p + sizeof(begin), 'v', 4000);
	memset(p + sizeof(begin) + 4000, 0x80 | 62, 200);
	size_t n = sizeof(begin) + 4000 + 200;
	frame[1] = (uint8_t)(n >> 8), frame[2] = (uint8_t)n;
	frame[3] = NGHTTP2_HEADERS, frame[4] = NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, frame[8] = 1;
	flood(frame, 9 + n, 1);
	cr_assert_eq(n_dispatched, 0u);
}

/* Padding is no data. */
Test(h2, padded_nothing_flood)
{
	static const uint8_t open[] = {0, 0, 6, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 0, 0, 0, 1, OPEN_BLOCK};
	static const uint8_t padded[] = {0, 0, 3, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 0, 0, 0, 1, 2, 0, 0};
	client_open(&c, false);
	client_pump(&c);
	send_all(c.fd, open, sizeof(open));
	for (unsigned i = 0; i < 1200; i++)
		send_all(c.fd, padded, sizeof(padded));
	expect_calm();
}

Test(h2, windows_opened_byte_by_byte)
{
	static const uint8_t update[13] = {0, 0, 4, NGHTTP2_WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 0, 0, 1};
	flood(update, 13, 12000);
}

/* A client that gives two windows back for each small event, as some do, pays with what it was sent. */
Test(h2, windows_given_back_for_small_events_are_free)
{
	static const uint8_t update[13] = {0, 0, 4, NGHTTP2_WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, 0, 0, 1};
	client_open(&c, false);
	client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	for (unsigned i = 0; i < 8000; i++) {
		fake_push(0, 270);
		send_all(c.fd, update, 13);
		send_all(c.fd, update, 13);
		if (i % 20 == 0)
			client_pump(&c);
		turns(1);
	}
	client_pump(&c);
	cr_assert_eq(c.goaways, 0u);
	cr_assert_not(the_conn()->closing);
	client_close(&c);
}

Test(h2, data_on_a_closed_stream)
{
	static const uint8_t data[] = {0, 0, 1, NGHTTP2_DATA, 0, 0, 0, 0, 1, 'x'};
	client_open(&c, false);
	unsigned a = client_ask(&c, "/a", NULL, 0);
	client_pump(&c);
	cr_assert(c.streams[a].closed);
	send_all(c.fd, data, 5); /* its head in two pieces */
	turns(2);
	cr_assert_not(the_conn()->closing);
	send_all(c.fd, data + 5, 5);
	client_pump(&c);
	cr_assert_eq(c.goaway_code, NGHTTP2_STREAM_CLOSED);
	cr_assert(c.closed);
	client_close(&c);
}

Test(h2, data_behind_the_clients_reset)
{
	static const uint8_t bytes[] = {0,
					0,
					6,
					NGHTTP2_HEADERS,
					NGHTTP2_FLAG_END_HEADERS,
					0,
					0,
					0,
					1,
					OPEN_BLOCK,
					0,
					0,
					4,
					NGHTTP2_RST_STREAM,
					0,
					0,
					0,
					0,
					1,
					0,
					0,
					0,
					NGHTTP2_CANCEL,
					0,
					0,
					1,
					NGHTTP2_DATA,
					NGHTTP2_FLAG_END_STREAM,
					0,
					0,
					0,
					1,
					'x'};
	client_open(&c, false);
	client_pump(&c);
	send_all(c.fd, bytes, sizeof(bytes));
	client_pump(&c);
	cr_assert_eq(c.goaway_code, NGHTTP2_STREAM_CLOSED);
	cr_assert_eq(worker.requests, 0u);
	client_close(&c);
}

Test(h2, headers_on_a_closed_stream)
{
	static const uint8_t again[] = {0, 0, 6, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, 0, 0, 0, 1, OPEN_BLOCK};
	client_open(&c, false);
	unsigned a = client_ask(&c, "/a", NULL, 0);
	client_pump(&c);
	cr_assert(c.streams[a].closed);
	send_all(c.fd, again, sizeof(again));
	client_pump(&c);
	cr_assert_eq(c.goaway_code, NGHTTP2_STREAM_CLOSED);
	cr_assert(c.closed);
	cr_assert_eq(n_dispatched, 1u);
	client_close(&c);
}

Test(h2, garbage_behind_the_preface)
{
	int fd = connect_client();
	struct buf out = {0};
	send_all(fd, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nGET / HTTP/1.1\r\n\r\n", 42);
	cr_assert(receive_all(fd, &out));
	cr_assert_not_null(memmem(out.p, out.n, "\x07\x00\x00\x00\x00\x00", 6), "GOAWAY");
	close(fd);
	buf_free(&out);
}

/* ---- Deadlines and stop ---- */

Test(h2, slow_body_and_unwanted_answer_and_idleness)
{
	client_open(&c, true);
	nghttp2_nv nva[] = {nv(":method", "POST"), nv(":scheme", "http"), nv(":authority", "h"), nv(":path", "/")};
	nghttp2_submit_headers(c.session, NGHTTP2_FLAG_NONE, -1, NULL, nva, 4, NULL); /* and no body */
	unsigned b = client_ask(&c, "/big?100000", NULL, 0);
	c.streams[0].id = 1;
	client_pump(&c);
	pass(31 * SECOND_NS);
	client_pump(&c);
	cr_assert_eq(c.streams[0].status, 408);
	cr_assert(c.streams[b].closed);
	cr_assert_eq(c.streams[b].error, NGHTTP2_CANCEL);
	cr_assert_not(c.closed);
	pass(301 * SECOND_NS);
	client_pump(&c);
	cr_assert_eq(c.goaways, 1u);
	cr_assert_eq(c.goaway_code, NGHTTP2_NO_ERROR);
	cr_assert(c.closed);
	client_close(&c);
}

/* One slow body has its 30 s; forty at once have not. */
Test(h2, many_slow_bodies_are_hurried)
{
	client_open(&c, false);
	nghttp2_nv nva[] = {nv(":method", "POST"), nv(":scheme", "http"), nv(":authority", "h"), nv(":path", "/")};
	unsigned quick = client_ask(&c, "/hold", "x", 1);
	for (unsigned i = 0; i < 40; i++)
		nghttp2_submit_headers(c.session, NGHTTP2_FLAG_NONE, -1, NULL, nva, 4, NULL);
	client_pump(&c);
	cr_assert_eq(worker.requests, 41u);
	pass(9 * SECOND_NS / 4);
	cr_assert_eq(worker.requests, 41u);
	pass(SECOND_NS);
	client_pump(&c);
	cr_assert_eq(worker.requests, 1u, "what is in work here is not the client's fault");
	cr_assert_not(c.closed);
	echo(held[0]);
	held[0] = NULL;
	client_pump(&c);
	cr_assert_eq(c.streams[quick].status, 200);
	client_close(&c);
}

Test(h2, stop_finishes_streams_and_requests)
{
	client_open(&c, false);
	unsigned s = client_ask(&c, "/sub", "{}", 2), r = client_ask(&c, "/hold", "x", 1);
	client_pump(&c);
	worker_stop(&worker);
	client_pump(&c);
	cr_assert_eq(c.goaways, 1u);
	cr_assert(fake_subs[0].finished);
	cr_assert(c.streams[s].ended);
	cr_assert_not(c.closed);
	echo(held[0]);
	held[0] = NULL;
	client_pump(&c);
	cr_assert(SAYS(r, "POST /hold||h|x"));
	cr_assert(c.closed);
	client_close(&c);
	cr_assert_not(worker_turn(&worker, false));
}

Test(h2, stop_resets_what_does_not_end)
{
	client_open(&c, true);
	unsigned s = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	fake_push(0, 100000); /* more than the window */
	client_pump(&c);
	worker_stop(&worker);
	client_pump(&c);
	cr_assert_not(c.streams[s].ended);
	pass(11 * SECOND_NS / 2);
	client_pump(&c);
	cr_assert(c.streams[s].closed && c.closed);
	cr_assert_eq(c.streams[s].error, NGHTTP2_CANCEL);
	cr_assert_null(fake_subs[0].sub);
	client_close(&c);
}
