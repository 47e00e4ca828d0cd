/* The HTTP/1.1 parser: any bytes, cut in pieces that the bytes themselves choose, give the same as the whole in one piece. */
#include <assert.h>
#include <stdlib.h>

#include "codec/http1.h"

static int on_request(void *arg, struct str method, struct str target)
{
	buf_printf(arg, "[" STR_FMT " ", STR_ARG(method));
	buf_put_str(arg, target);
	return 0;
}

static int on_header(void *arg, struct str name, struct str value)
{
	buf_put_char(arg, '|');
	buf_put_str(arg, name);
	buf_put_char(arg, '=');
	buf_put_str(arg, value);
	return 0;
}

static int on_head(void *arg)
{
	buf_put_char(arg, ']');
	return 0;
}

static int on_body(void *arg, const uint8_t *p, size_t n)
{
	assert(n > 0);
	buf_put(arg, p, n);
	return 0;
}

static const struct http1_ops ops = {on_request, on_header, on_head, on_body};

static struct buf parse(const uint8_t *p, size_t n, uint32_t cut)
{
	struct buf seen = {0};
	struct http1 parser;
	int rc = HTTP1_MORE;
	http1_init(&parser, &ops, &seen);
	for (size_t at = 0; at < n && rc <= HTTP1_DONE;) {
		size_t used, part = n - at;
		if (cut) {
			cut = cut * 1664525 + 1013904223;
			part = 1 + (cut >> 16) % 37;
			part = part < n - at ? part : n - at;
		}
		uint8_t *piece = malloc(part); /* exactly its size, for the sanitizer */
		assert(piece);
		memcpy(piece, p + at, part);
		rc = http1_feed(&parser, piece, part, &used);
		free(piece);
		assert(used <= part && (rc != HTTP1_MORE || used == part));
		at += used;
		if (rc == HTTP1_DONE)
			buf_printf(&seen, ";%d", parser.keep_alive);
	}
	buf_printf(&seen, "!%d %d", rc > HTTP1_DONE ? rc : 0, http1_inside(&parser));
	http1_fini(&parser);
	return seen;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct buf whole = parse(p, n, 0), cut = parse(p, n, (uint32_t)n * 2654435761u + (n ? p[n - 1] : 0) + 1);
	assert(whole.n == cut.n && memcmp(whole.p, cut.p, whole.n) == 0);
	buf_free(&whole);
	buf_free(&cut);
	return 0;
}
