/* http1.c: an HTTP/1.1 request parser: http-parser behind a strict guard.
 *
 * Invariants: the guard alone decides where a message ends, and http-parser is given exactly those bytes; when the two disagree the
 * request is refused. http-parser is started anew for each request, so nothing leaks from one into the next. Any thread, one at a time.
 *
 *   - head: the guard walks byte by byte and gathers until the empty line; a head that lies whole in the input is not copied
 *   - then http-parser reads the head in one call, and the fields are checked and handed on
 *   - body by Content-Length: handed through, counted
 *   - chunked body: the guard checks size lines and line ends, http-parser finds the data
 *
 * Refused with 400: bare LF or CR, obs-fold, a blank before the colon, a name that is no token, control characters, more or less than
 * two blanks in the request line, Transfer-Encoding together with Content-Length or in HTTP/1.0 or other than exactly `chunked`,
 * Content-Length twice or not a number, no Host or two of them, chunk framing that is not by the letter. Each of these is read in
 * different ways by different servers, and so is a way to smuggle a request past one of them. */
#include "codec/http1.h"

#include <assert.h>
#include <strings.h>

enum guard {
	GUARD_START, /* before a request; one empty line is let pass (RFC 9112 2.2) */
	GUARD_START_LF,
	GUARD_AFTER_BLANK,
	GUARD_REQUEST, /* in the request line */
	GUARD_LINE_LF, /* CR seen at the end of the request line or of a header line */
	GUARD_BEGIN,   /* first byte of a header line */
	GUARD_NAME,
	GUARD_VALUE,
	GUARD_HEAD_LF,    /* CR seen at the empty line */
	GUARD_BODY,       /* `left` bytes to come */
	GUARD_SIZE_BEGIN, /* chunk size: first digit */
	GUARD_SIZE,
	GUARD_EXTENSION,
	GUARD_SIZE_LF,
	GUARD_DATA, /* `left` bytes of the chunk to come */
	GUARD_DATA_CR,
	GUARD_DATA_LF,
	GUARD_TRAILER, /* first byte of a trailer line, or the empty line */
	GUARD_TRAILER_NAME,
	GUARD_TRAILER_VALUE,
	GUARD_TRAILER_LF,
	GUARD_LAST_LF,
};

enum { STEP_ON = 0, STEP_END = 1 /* head or message ends with this byte */ };

static bool is_token(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c != 0 && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_value(uint8_t c) { return (c >= 0x20 && c != 0x7f) || c == '\t'; }

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- The guard: one byte of a head. STEP_ON, STEP_END, or a status ---- */

static int guard_request_byte(struct http1 *parser, uint8_t c)
{
	if (c == '\r') {
		bool two_blanks = parser->fields == 2;
		parser->state = GUARD_LINE_LF;
		parser->fields = 0;
		return two_blanks ? STEP_ON : 400;
	}
	if (c == ' ')
		return ++parser->fields <= 2 ? STEP_ON : 400;
	return c > ' ' && c < 0x7f ? STEP_ON : 400;
}

static int guard_begin_byte(struct http1 *parser, uint8_t c)
{
	if (c == '\r') {
		parser->state = GUARD_HEAD_LF;
		return STEP_ON;
	}
	if (!is_token(c)) /* a blank here is obs-fold */
		return 400;
	parser->state = GUARD_NAME;
	return ++parser->fields <= HTTP1_FIELDS_MAX ? STEP_ON : 431;
}

static int guard_start_byte(struct http1 *parser, uint8_t c)
{
	if (c == '\r' && parser->state == GUARD_START) {
		parser->state = GUARD_START_LF;
		return STEP_ON;
	}
	if (!is_token(c))
		return 400;
	parser->state = GUARD_REQUEST;
	parser->fields = 0;
	return STEP_ON;
}

static int guard_head_byte(struct http1 *parser, uint8_t c)
{
	if (++parser->line > HTTP1_HEAD_MAX)
		return 431;
	switch (parser->state) {
	case GUARD_START:
	case GUARD_AFTER_BLANK:
		return guard_start_byte(parser, c);
	case GUARD_START_LF:
		parser->state = GUARD_AFTER_BLANK;
		return c == '\n' ? STEP_ON : 400;
	case GUARD_REQUEST:
		return guard_request_byte(parser, c);
	case GUARD_LINE_LF:
		parser->state = GUARD_BEGIN;
		return c == '\n' ? STEP_ON : 400;
	case GUARD_BEGIN:
		return guard_begin_byte(parser, c);
	case GUARD_NAME:
		if (c == ':')
			parser->state = GUARD_VALUE;
		return c == ':' || is_token(c) ? STEP_ON : 400;
	case GUARD_VALUE:
		if (c == '\r')
			parser->state = GUARD_LINE_LF;
		return c == '\r' || is_value(c) ? STEP_ON : 400;
	default:
		assert(parser->state == GUARD_HEAD_LF);
		return c == '\n' ? STEP_END : 400;
	}
}

/* ---- The guard: one framing byte of a chunked body ---- */

static int guard_size_byte(struct http1 *parser, uint8_t c)
{
	int digit = hex_digit(c);
	if (++parser->line > HTTP1_CHUNK_LINE_MAX)
		return 400;
	if (digit >= 0) {
		parser->state = GUARD_SIZE;
		if (parser->left > UINT32_MAX)
			return 413; /* no body is that long; and so the sum cannot overflow */
		parser->left = parser->left * 16 + (uint64_t)digit;
		return STEP_ON;
	}
	if (parser->state == GUARD_SIZE_BEGIN)
		return 400;
	if (c == '\r')
		parser->state = GUARD_SIZE_LF;
	else if (c == ';')
		parser->state = GUARD_EXTENSION;
	else
		return 400;
	return STEP_ON;
}

static int guard_trailer_byte(struct http1 *parser, uint8_t c)
{
	if (++parser->line > HTTP1_TRAILERS_MAX)
		return 431;
	switch (parser->state) {
	case GUARD_TRAILER:
		parser->state = c == '\r' ? GUARD_LAST_LF : GUARD_TRAILER_NAME;
		return c == '\r' || is_token(c) ? STEP_ON : 400;
	case GUARD_TRAILER_NAME:
		if (c == ':')
			parser->state = GUARD_TRAILER_VALUE;
		return c == ':' || is_token(c) ? STEP_ON : 400;
	case GUARD_TRAILER_VALUE:
		if (c == '\r')
			parser->state = GUARD_TRAILER_LF;
		return c == '\r' || is_value(c) ? STEP_ON : 400;
	case GUARD_TRAILER_LF:
		parser->state = GUARD_TRAILER;
		return c == '\n' ? STEP_ON : 400;
	default:
		assert(parser->state == GUARD_LAST_LF);
		return c == '\n' ? STEP_END : 400;
	}
}

static int guard_chunk_byte(struct http1 *parser, uint8_t c)
{
	switch (parser->state) {
	case GUARD_SIZE_BEGIN:
	case GUARD_SIZE:
		return guard_size_byte(parser, c);
	case GUARD_EXTENSION:
		if (c == '\r')
			parser->state = GUARD_SIZE_LF;
		return ++parser->line <= HTTP1_CHUNK_LINE_MAX && (c == '\r' || is_value(c)) ? STEP_ON : 400;
	case GUARD_SIZE_LF:
		parser->state = parser->left ? GUARD_DATA : GUARD_TRAILER;
		parser->line = 0;
		return c == '\n' ? STEP_ON : 400;
	case GUARD_DATA_CR:
		parser->state = GUARD_DATA_LF;
		return c == '\r' ? STEP_ON : 400;
	case GUARD_DATA_LF:
		parser->state = GUARD_SIZE_BEGIN;
		return c == '\n' ? STEP_ON : 400;
	default:
		return guard_trailer_byte(parser, c);
	}
}

/* ---- What http-parser tells us. A callback's refusal is kept in `refused` ---- */

static int refuse(struct http1 *parser, int status)
{
	if (status && !parser->refused)
		parser->refused = status;
	return parser->refused;
}

static int on_url(http_parser *hp, const char *at, size_t n)
{
	struct http1 *parser = hp->data;
	parser->expect_continue = false;
	struct str method = str_of(http_method_str((enum http_method)hp->method));
	return refuse(parser, parser->ops->on_request(parser->arg, method, (struct str){at, n}));
}

static int on_header_field(http_parser *hp, const char *at, size_t n)
{
	struct http1 *parser = hp->data;
	parser->name = (struct str){at, n};
	return 0;
}

static bool name_is(struct str name, const char *z) { return name.n == strlen(z) && strncasecmp(name.p, z, name.n) == 0; }

static bool all_digits(struct str value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < '0' || value.p[i] > '9')
			return false;
	return value.n > 0;
}

/* The fields that frame the message or name its host. */
static int check_field(struct http1 *parser, struct str name, struct str value)
{
	bool *seen = NULL, good = true;
	if (name_is(name, "host")) {
		seen = &parser->have_host;
	} else if (name_is(name, "content-length")) {
		seen = &parser->have_length;
		good = all_digits(value);
	} else if (name_is(name, "transfer-encoding")) {
		seen = &parser->have_coding;
		good = name_is(value, "chunked");
	} else if (name_is(name, "expect")) {
		parser->expect_continue = name_is(value, "100-continue");
		return parser->expect_continue ? 0 : 417;
	}
	if (!seen)
		return 0;
	if (*seen || !good)
		return 400;
	*seen = true;
	return 0;
}

static int on_header_value(http_parser *hp, const char *at, size_t n)
{
	struct http1 *parser = hp->data;
	struct str value = {at, n};
	if (parser->state >= GUARD_BODY) /* a trailer: dropped, it could contradict the head */
		return 0;
	while (value.n && (value.p[0] == ' ' || value.p[0] == '\t'))
		value.p++, value.n--;
	while (value.n && (value.p[value.n - 1] == ' ' || value.p[value.n - 1] == '\t'))
		value.n--;
	if (refuse(parser, check_field(parser, parser->name, value)))
		return 1;
	return refuse(parser, parser->ops->on_header(parser->arg, parser->name, value));
}

static int check_head(struct http1 *parser)
{
	const http_parser *hp = &parser->parser;
	if (hp->http_major != 1 || hp->http_minor > 1)
		return 505;
	parser->one_zero = hp->http_minor == 0;
	if (hp->method == HTTP_CONNECT)
		return 501; /* we are no proxy */
	if (parser->have_coding && (parser->have_length || parser->one_zero))
		return 400;
	if (!parser->have_host && !parser->one_zero)
		return 400;
	return 0;
}

static int on_headers_complete(http_parser *hp)
{
	struct http1 *parser = hp->data;
	if (refuse(parser, check_head(parser)))
		return -1;
	hp->upgrade = 0; /* an offer that we do not take: the message is an ordinary one */
	parser->chunked = parser->have_coding;
	parser->content_length = parser->have_length ? hp->content_length : 0;
	parser->keep_alive = !parser->one_zero && http_should_keep_alive(hp);
	return refuse(parser, parser->ops->on_head(parser->arg)) ? -1 : 0;
}

static int on_body(http_parser *hp, const char *at, size_t n)
{
	struct http1 *parser = hp->data;
	return refuse(parser, parser->ops->on_body(parser->arg, (const uint8_t *)at, n));
}

static int on_message_complete(http_parser *hp)
{
	struct http1 *parser = hp->data;
	parser->complete = true;
	return 0;
}

static const http_parser_settings settings = {
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

/* ---- Feeding ---- */

static int execute(struct http1 *parser, const uint8_t *p, size_t n)
{
	size_t done = http_parser_execute(&parser->parser, &settings, (const char *)p, n);
	enum http_errno error = HTTP_PARSER_ERRNO(&parser->parser);
	if (parser->refused)
		return parser->refused;
	if (error == HPE_OK && done == n)
		return 0;
	return refuse(parser, error == HPE_INVALID_METHOD ? 501 : 400);
}

static void begin(struct http1 *parser)
{
	http_parser_init(&parser->parser, HTTP_REQUEST);
	parser->parser.data = parser;
	parser->state = GUARD_START;
	parser->line = 0;
	parser->have_host = parser->have_length = parser->have_coding = parser->complete = false;
}

void http1_init(struct http1 *parser, const struct http1_ops *ops, void *arg)
{
	memset(parser, 0, sizeof(*parser));
	parser->ops = ops;
	parser->arg = arg;
	begin(parser);
}

void http1_fini(struct http1 *parser) { buf_free(&parser->head); }

bool http1_inside(const struct http1 *parser) { return parser->state != GUARD_START; }

/* The guard has said that the message ends here: http-parser must have seen the same. */
static int finish(struct http1 *parser)
{
	if (!parser->complete)
		return refuse(parser, 400);
	begin(parser); /* the head's results stay readable */
	return HTTP1_DONE;
}

/* The last eight bytes of the request line; http-parser's build would take HTTQ/1.1 for it. */
static bool names_http(const uint8_t *p, size_t n)
{
	size_t at = p[0] == '\r' ? 2 : 0; /* behind an empty line that was let pass */
	const uint8_t *end = memchr(p + at, '\r', n - at);
	return end - p - (ptrdiff_t)at > 8 && memcmp(end - 9, " HTTP/", 6) == 0 && end[-2] == '.';
}

/* The head is whole at p: http-parser reads it in one go, so each name and value comes in one piece. */
static int parse_head(struct http1 *parser, const uint8_t *p, size_t n)
{
	parser->alien = !names_http(p, n);
	int rc = parser->alien ? refuse(parser, 400) : execute(parser, p, n);
	if (rc)
		return rc;
	parser->line = 0;
	parser->left = parser->content_length;
	if (parser->chunked) {
		parser->left = 0;
		parser->state = GUARD_SIZE_BEGIN;
		return HTTP1_MORE;
	}
	parser->state = GUARD_BODY;
	return parser->left ? HTTP1_MORE : finish(parser);
}

static int feed_head(struct http1 *parser, const uint8_t *p, size_t n, size_t *used)
{
	int step = STEP_ON;
	size_t i = 0;
	while (i < n && step == STEP_ON)
		step = guard_head_byte(parser, p[i++]);
	*used += i;
	if (step > STEP_END)
		return refuse(parser, step);
	if (step == STEP_END && parser->head.n == 0)
		return parse_head(parser, p, i);
	buf_put(&parser->head, p, i);
	if (step == STEP_ON)
		return HTTP1_MORE;
	int rc = parse_head(parser, parser->head.p, parser->head.n);
	buf_free(&parser->head);
	return rc;
}

static int feed_body(struct http1 *parser, const uint8_t *p, size_t n, size_t *used)
{
	size_t part = parser->left < n ? (size_t)parser->left : n;
	int rc = execute(parser, p, part);
	*used += part;
	parser->left -= part;
	if (rc || parser->left)
		return rc;
	return finish(parser);
}

/* What the guard has approved is read before its refusal counts: so the outcome does not depend on how the input was cut. */
static int feed_chunked(struct http1 *parser, const uint8_t *p, size_t n, size_t *used)
{
	size_t i = 0;
	int step = STEP_ON;
	while (i < n && step == STEP_ON) {
		if (parser->state == GUARD_DATA) {
			size_t part = parser->left < n - i ? (size_t)parser->left : n - i;
			i += part;
			parser->left -= part;
			if (parser->left)
				continue;
			parser->state = GUARD_DATA_CR;
			parser->line = 0;
			continue;
		}
		step = guard_chunk_byte(parser, p[i]);
		if (step <= STEP_END)
			i++;
	}
	int rc = i ? execute(parser, p, i) : 0;
	*used += i;
	if (rc)
		return rc;
	if (step > STEP_END)
		return refuse(parser, step);
	return step == STEP_END ? finish(parser) : HTTP1_MORE;
}

int http1_feed(struct http1 *parser, const uint8_t *p, size_t n, size_t *used)
{
	int rc = HTTP1_MORE;
	*used = 0;
	if (parser->refused)
		return parser->refused;
	while (*used < n && rc == HTTP1_MORE) {
		const uint8_t *at = p + *used;
		size_t left = n - *used;
		if (parser->state < GUARD_BODY)
			rc = feed_head(parser, at, left, used);
		else if (parser->state == GUARD_BODY)
			rc = feed_body(parser, at, left, used);
		else
			rc = feed_chunked(parser, at, left, used);
	}
	return rc;
}
