/* The HTTP/1.1 parser: what it understands, what it refuses, and that no cut of the input changes either. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "codec/http1.h"

/* ---- What came out, as one text ---- */

struct seen {
	struct buf text;
	int at_head; /* what on_head answers */
	bool in_body;
};

static int on_request(void *arg, struct str method, struct str target)
{
	struct seen *seen = arg;
	seen->in_body = false;
	buf_printf(&seen->text, "[" STR_FMT " " STR_FMT, STR_ARG(method), STR_ARG(target));
	return 0;
}

static int on_header(void *arg, struct str name, struct str value)
{
	struct seen *seen = arg;
	buf_printf(&seen->text, "|" STR_FMT "=" STR_FMT, STR_ARG(name), STR_ARG(value));
	return 0;
}

static int on_head(void *arg)
{
	struct seen *seen = arg;
	buf_put_str(&seen->text, STR("]"));
	return seen->at_head;
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	struct seen *seen = arg;
	cr_assert(n > 0);
	buf_put(&seen->text, p, n);
	return 0;
}

static const struct http1_ops ops = {on_request, on_header, on_head, on_body};

/* Feeds the input in two pieces (and each piece on, after a request is complete); `;` after each whole request, the status at the end. */
static struct buf parse(const char *p, size_t n, size_t step, size_t first, int at_head)
{
	struct seen seen = {.at_head = at_head};
	struct http1 parser;
	size_t at = 0, end = first < n ? first : n;
	int rc = HTTP1_MORE;
	http1_init(&parser, &ops, &seen);
	while (at < n) {
		size_t used;
		uint8_t *piece = malloc(end - at ? end - at : 1); /* exactly its size: the sanitizer sees a byte too far */
		memcpy(piece, p + at, end - at);
		rc = http1_feed(&parser, piece, end - at, &used);
		free(piece);
		at += used;
		if (rc == HTTP1_DONE)
			buf_put_str(&seen.text, parser.keep_alive ? STR(";") : STR("."));
		else if (rc != HTTP1_MORE)
			break;
		if (at == end)
			end = end + step < n ? end + step : n;
	}
	if (rc > HTTP1_DONE)
		buf_printf(&seen.text, "!%d", rc);
	else if (http1_inside(&parser))
		buf_put_str(&seen.text, STR("..."));
	http1_fini(&parser);
	buf_put_char(&seen.text, 0);
	return seen.text;
}

static void expect_n(const char *input, size_t n, const char *expected)
{
	for (size_t first = 1; first <= n; first++) { /* every cut in two, and byte by byte from there */
		struct buf two = parse(input, n, n, first, 0);
		cr_assert_str_eq((char *)two.p, expected, "cut at %zu of: %s", first, input);
		buf_free(&two);
	}
	struct buf bytes = parse(input, n, 1, 1, 0);
	cr_assert_str_eq((char *)bytes.p, expected, "byte by byte: %s", input);
	buf_free(&bytes);
}

static void expect(const char *input, const char *expected) { expect_n(input, strlen(input), expected); }

#define HOST "Host: h\r\n"

Test(http1, understands)
{
	expect("GET / HTTP/1.1\r\n" HOST "\r\n", "[GET /|Host=h];");
	expect("POST /a?b=c HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", "[POST /a?b=c|Host=h|Content-Length=5]hello;");
	expect("POST / HTTP/1.1\r\n" HOST "Content-Length:0\r\n\r\n", "[POST /|Host=h|Content-Length=0];");
	expect("POST / HTTP/1.1\r\n" HOST "X: \t a b \t\r\nY:\r\nContent-Length: 1\r\n\r\nz",
	       "[POST /|Host=h|X=a b|Y=|Content-Length=1]z;");
	expect("GET /1 HTTP/1.1\r\n" HOST "\r\nGET /2 HTTP/1.1\r\n" HOST "\r\n", "[GET /1|Host=h];[GET /2|Host=h];");
	expect("\r\nGET / HTTP/1.1\r\n" HOST "\r\n", "[GET /|Host=h];");
	expect("GET / HTTP/1.0\r\n\r\n", "[GET /].");
	expect("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "[GET /|Connection=keep-alive].");
	expect("GET / HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n", "[GET /|Host=h|Connection=close].");
	expect("OPTIONS * HTTP/1.1\r\n" HOST "\r\n", "[OPTIONS *|Host=h];");
	expect("HEAD http://h/x HTTP/1.1\r\n" HOST "\r\n", "[HEAD http://h/x|Host=h];");
	expect("DELETE / HTTP/1.1\r\n" HOST "\r\nPO", "[DELETE /|Host=h];...");
}

Test(http1, understands_chunks)
{
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
#define CHUNKED_SEEN "[POST /|Host=h|Transfer-Encoding=chunked]"
	expect(CHUNKED "5\r\nhello\r\n0\r\n\r\n", CHUNKED_SEEN "hello;");
	expect(CHUNKED "1\r\na\r\n00a;x=y\r\n0123456789\r\n0\r\n\r\n", CHUNKED_SEEN "a0123456789;");
	expect(CHUNKED "A\r\n0123456789\r\n0\r\nTrailer: x\r\nContent-Length: 7\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n",
	       CHUNKED_SEEN "0123456789;[GET /|Host=h];");
	expect(CHUNKED "0\r\n\r\n", CHUNKED_SEEN ";");
	expect("POST / HTTP/1.1\r\n" HOST "transfer-encoding: Chunked\r\n\r\n0\r\n\r\n", "[POST /|Host=h|transfer-encoding=Chunked];");
}

Test(http1, ignores_an_offered_upgrade)
{
	expect("GET / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /2 HTTP/1.1\r\n" HOST "\r\n",
	       "[GET /|Host=h|Connection=Upgrade|Upgrade=h2c];[GET /2|Host=h];");
	expect("POST / HTTP/1.1\r\n" HOST "Connection: Upgrade\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nabGET / HTTP/1.1\r\n" HOST "\r\n",
	       "[POST /|Host=h|Connection=Upgrade|Upgrade=x|Content-Length=2]ab;[GET /|Host=h];");
}

/* Each row is read in two ways by some pair of servers. */
Test(http1, refuses_what_smuggles)
{
	static const char *const rows[] = {
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 5, 5\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: +5\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: -1\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 0x5\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 5 6\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999999\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\x0b"
		"chunked\r\n\r\n",
		"POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n",
		"POST / HTTP/1.1\r\n" HOST " Content-Length: 5\r\n\r\n",
		"GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n",
		"GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n",
		"GET / HTTP/1.1\r\n Host: h\r\n\r\n",
		"GET / HTTP/1.1\r\n" HOST "X y: a\r\n\r\n",
		"GET / HTTP/1.1\r\n" HOST "X(y): a\r\n\r\n",
		"GET / HTTP/1.1\r\n" HOST "X\x80: a\r\n\r\n",
		"GET / HTTP/1.1\r\n" HOST ": a\r\n\r\n",
		"GET / HTTP/1.1\r\n" HOST "X\r\n\r\n",
		"GET / HTTP/1.1\n" HOST "\r\n",
		"GET / HTTP/1.1\r\nHost: h\n\r\n",
		"GET / HTTP/1.1\r\n" HOST "\n",
		"GET / HTTP/1.1\r\n" HOST "X: a\rb\r\n\r\n",
		"GET / HTTP/1.1\r\r\n" HOST "\r\n",
		"GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n",
		"GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n",
		"GET  / HTTP/1.1\r\n" HOST "\r\n",
		"GET / HTTP/1.1 \r\n" HOST "\r\n",
		"GET\t/ HTTP/1.1\r\n" HOST "\r\n",
		"GET /\ta HTTP/1.1\r\n" HOST "\r\n",
		"GET /a b HTTP/1.1\r\n" HOST "\r\n",
		"GET /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n",
		"GET /\r\n" HOST "\r\n",
		"GET / HTTQ/1.1\r\n" HOST "\r\n",
		" GET / HTTP/1.1\r\n" HOST "\r\n",
		"\nGET / HTTP/1.1\r\n" HOST "\r\n",
		"\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		CHUNKED "5\nhello\r\n0\r\n\r\n",
		CHUNKED "5\rXhello\r\n0\r\n\r\n",
		CHUNKED "5\r\nhelloXX0\r\n\r\n",
		CHUNKED "5\r\nhello\n0\r\n\r\n",
		CHUNKED "5\r\nhello!\r\n0\r\n\r\n",
		CHUNKED "\r\nhello",
		CHUNKED "-1\r\nhello",
		CHUNKED "0x5\r\nhello\r\n0\r\n\r\n",
		CHUNKED "5 \r\nhello\r\n0\r\n\r\n",
		CHUNKED " 5\r\nhello\r\n0\r\n\r\n",
		CHUNKED "5;a\nb\r\nhello\r\n0\r\n\r\n",
		CHUNKED "0\r\nX: a\n\r\n",
		CHUNKED "0\r\n X: a\r\n\r\n",
		CHUNKED "0\r\n\n",
		CHUNKED "0\n\r\n",
	};
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		size_t n = strlen(rows[i]);
		struct buf whole = parse(rows[i], n, n, n, 0);
		cr_assert(whole.n > 4 && strcmp((char *)whole.p + whole.n - 5, "!400") == 0, "row %zu: %s\n%s", i, (char *)whole.p,
			  rows[i]);
		expect(rows[i], (char *)whole.p);
		buf_free(&whole);
	}
	expect_n("GET /\0 HTTP/1.1\r\n" HOST "\r\n", 26, "!400");
	expect_n("GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n", 35, "!400");
}

Test(http1, refuses_with_other_statuses)
{
	expect("GET / HTTP/2.0\r\n" HOST "\r\n", "[GET /|Host=h!505");
	expect("GET / HTTP/1.2\r\n" HOST "\r\n", "[GET /|Host=h!505");
	expect("BREW / HTTP/1.1\r\n" HOST "\r\n", "!501");
	expect("CONNECT h:1 HTTP/1.1\r\n" HOST "\r\n", "[CONNECT h:1|Host=h!501");
	expect("GET / HTTP/1.1\r\n" HOST "Expect: tea\r\n\r\n", "[GET /|Host=h!417");
	expect(CHUNKED "fffffffffffffffff\r\n", CHUNKED_SEEN "!413");
}

Test(http1, refuses_large_heads)
{
	struct buf many = {0}, longer = {0};
	buf_put_str(&many, STR("GET / HTTP/1.1\r\n" HOST));
	for (int i = 1; i < HTTP1_FIELDS_MAX; i++)
		buf_put_str(&many, STR("A: b\r\n"));
	struct buf head = {0};
	buf_put(&head, many.p, many.n);
	buf_put_str(&head, STR("\r\n"));
	struct buf good = parse((char *)head.p, head.n, head.n, head.n, 0);
	cr_assert_eq(good.p[good.n - 2], ';');
	buf_put_str(&many, STR("A: b\r\n\r\n"));
	struct buf bad = parse((char *)many.p, many.n, many.n, many.n, 0);
	cr_assert_str_eq((char *)bad.p, "!431");
	buf_put_str(&longer, STR("GET /"));
	while (longer.n < HTTP1_HEAD_MAX)
		buf_put_char(&longer, 'a');
	struct buf just = parse((char *)longer.p, longer.n, 1000, 7, 0);
	cr_assert_str_eq((char *)just.p, "...");
	buf_put_char(&longer, 'a');
	struct buf over = parse((char *)longer.p, longer.n, 1000, 7, 0);
	cr_assert_str_eq((char *)over.p, "!431");
	struct buf *all[] = {&many, &longer, &head, &good, &bad, &just, &over};
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		buf_free(all[i]);
}

Test(http1, on_head_can_refuse)
{
	const char *input = "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello";
	struct buf out = parse(input, strlen(input), 3, 1, 413);
	cr_assert_str_eq((char *)out.p, "[POST /|Host=h|Content-Length=5]!413");
	buf_free(&out);
}

Test(http1, tells_of_expect)
{
	struct seen seen = {0};
	struct http1 parser;
	size_t used;
	const char *input = "POST / HTTP/1.1\r\n" HOST "Expect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
	http1_init(&parser, &ops, &seen);
	cr_assert_eq(http1_feed(&parser, (const uint8_t *)input, strlen(input), &used), HTTP1_MORE);
	cr_assert(parser.expect_continue && parser.content_length == 3 && !parser.chunked && parser.keep_alive);
	cr_assert_eq(http1_feed(&parser, (const uint8_t *)"abc", 3, &used), HTTP1_DONE);
	cr_assert(!http1_inside(&parser));
	input = "GET / HTTP/1.1\r\n" HOST "\r\n";
	cr_assert_eq(http1_feed(&parser, (const uint8_t *)input, strlen(input), &used), HTTP1_DONE);
	cr_assert_not(parser.expect_continue, "nothing of one request stays for the next");
	http1_fini(&parser);
	buf_free(&seen.text);
}
