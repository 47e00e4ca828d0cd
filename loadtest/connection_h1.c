/* connection_h1.c: HTTP/1.1 on a line, by http-parser: one call at a time, on a socket that is kept; see line.h.
 *
 *   - head and body are put at once; the answer is handed on as http-parser takes it apart, chunked, by length, or until the server closes
 *   - an answer that ends the connection, or a call that is cancelled, ends the line
 *
 * Failure: bytes that nobody asked for, or are no HTTP, break the line. */
#include <ctype.h>
#include <http_parser.h>
#include <stdlib.h>

#include "loadtest/line.h"

struct h1 {
	http_parser parser;
	struct buf name, value; /* of the header that is being read */
	bool in_value;
};

/* NULL: it was cancelled, or nobody is there any more to be told. */
static struct call *call_of(const struct line *line)
{
	if (line->connection->closing || list_empty(&line->calls))
		return NULL;
	return container_of(line->calls.next, struct call, link);
}

/* ---- What http-parser tells ---- */

static void end_field(struct line *line)
{
	struct h1 *h1 = line->session;
	struct call *call = call_of(line);
	for (size_t i = 0; i < h1->name.n; i++)
		h1->name.p[i] = (uint8_t)tolower(h1->name.p[i]);
	if (call && h1->name.n)
		call_header(call, (struct str){(char *)h1->name.p, h1->name.n}, (struct str){(char *)h1->value.p, h1->value.n});
	h1->name.n = h1->value.n = 0;
	h1->in_value = false;
}

static int on_field(http_parser *parser, const char *p, size_t n)
{
	struct line *line = parser->data;
	struct h1 *h1 = line->session;
	if (h1->in_value)
		end_field(line);
	buf_put(&h1->name, p, n);
	return 0;
}

static int on_value(http_parser *parser, const char *p, size_t n)
{
	struct h1 *h1 = ((struct line *)parser->data)->session;
	h1->in_value = true;
	buf_put(&h1->value, p, n);
	return 0;
}

static int on_head(http_parser *parser)
{
	struct line *line = parser->data;
	struct call *call = call_of(line);
	end_field(line);
	if (call)
		call->status = (int)parser->status_code;
	return 0;
}

static int on_body(http_parser *parser, const char *p, size_t n)
{
	struct call *call = call_of(parser->data);
	if (call)
		call_bytes(call, (const uint8_t *)p, n);
	return 0;
}

static int on_whole(http_parser *parser)
{
	struct line *line = parser->data;
	struct call *call = call_of(line);
	end_field(line); /* of a trailer */
	if (call && parser->status_code >= 200) {
		line->draining = !http_should_keep_alive(parser);
		call_end(call, CALL_OK);
	}
	return 0;
}

static const http_parser_settings settings = {.on_header_field = on_field,
					      .on_header_value = on_value,
					      .on_headers_complete = on_head,
					      .on_body = on_body,
					      .on_message_complete = on_whole};

/* ---- The line ---- */

static void h1_open(struct line *line)
{
	struct h1 *h1 = xcalloc(1, sizeof *h1);
	line->session = h1;
	line_ready(line);
}

static bool h1_bytes(struct line *line, const uint8_t *p, size_t n)
{
	struct h1 *h1 = line->session;
	if (!call_of(line))
		return false;
	return http_parser_execute(&h1->parser, &settings, (const char *)p, n) == n && !h1->parser.upgrade;
}

/* Without a length the answer ends with the connection. */
static void h1_eof(struct line *line)
{
	struct h1 *h1 = line->session;
	if (h1 && call_of(line))
		http_parser_execute(&h1->parser, &settings, NULL, 0);
}

static bool h1_room(const struct line *line) { return line->n_calls == 0; }

static void put_field(struct buf *head, const char *name, const char *value) { buf_printf(head, "%s: %s\r\n", name, value); }

static void h1_send(struct line *line, struct call *call)
{
	struct h1 *h1 = line->session;
	struct buf text = {0};
	struct request_head head;
	call_head(call, line->connection->signer, &head);
	buf_printf(&text, "%s %s HTTP/1.1\r\n", head.method, head.path);
	put_field(&text, "Host", line->connection->endpoint->authority);
	put_field(&text, "User-Agent", CALL_USER_AGENT);
	if (head.content_type) {
		put_field(&text, "Content-Type", head.content_type);
		put_field(&text, "X-Amz-Target", head.target);
		put_field(&text, "X-Amz-Date", head.date);
		put_field(&text, "Authorization", head.authorization);
		if (head.token)
			put_field(&text, "X-Amz-Security-Token", head.token);
	}
	if (head.content_type || call->body.n)
		buf_printf(&text, "Content-Length: %zu\r\n", call->body.n);
	buf_put(&text, "\r\n", 2);
	wire_put(&line->wire, text.p, text.n);
	wire_put(&line->wire, call->body.p, call->body.n);
	buf_free(&text);
	http_parser_init(&h1->parser, HTTP_RESPONSE);
	h1->parser.data = line;
}

static void h1_cancel(struct line *line, struct call *call)
{
	(void)call;
	line_lose(line, "a call was cancelled");
}

static bool h1_fill(struct line *line)
{
	(void)line;
	return false;
}

static void h1_free(struct line *line)
{
	struct h1 *h1 = line->session;
	if (!h1)
		return;
	buf_free(&h1->name);
	buf_free(&h1->value);
	free(h1);
}

const struct line_ops line_h1_ops = {{"\x08http/1.1", 9}, h1_open, h1_bytes, h1_eof, h1_room, h1_send, h1_cancel, h1_fill, h1_free};
