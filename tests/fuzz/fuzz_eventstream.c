/* fuzz_eventstream.c: any bytes as a message, as the headers of a message with right CRCs, and as the payload of one of ours.
 *
 * Oracles: no read outside the bytes (ASan), every view lies inside the message; a cut message waits; what was encoded decodes to the
 * same; one flipped bit is always seen. */
#include <assert.h>
#include <stdlib.h>
#include <zlib.h>

#include "penstock/eventstream.h"

static void put_u32(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static void inside(const uint8_t *p, size_t n, struct str s)
{
	if (s.p)
		assert(s.p >= (const char *)p && s.n <= n && s.p + s.n <= (const char *)p + n);
}

static int decode(const uint8_t *p, size_t n)
{
	struct eventstream_view view;
	int whole = eventstream_decode(p, n, &view);
	assert(whole >= -1 && whole <= 1);
	if (whole != 1)
		return whole;
	assert(view.total >= EVENTSTREAM_OVERHEAD && view.total <= n);
	inside(p, view.total, view.message_type);
	inside(p, view.total, view.event_type);
	inside(p, view.total, view.exception_type);
	inside(p, view.total, view.content_type);
	inside(p, view.total, view.payload);
	assert(eventstream_decode(p, view.total - 1, &view) == 0);
	return whole;
}

/* The CRCs keep random headers from the parser: so they are made right. */
static void as_headers(const uint8_t *data, size_t n)
{
	uint8_t *p = malloc(n + EVENTSTREAM_OVERHEAD);
	put_u32(p, n + EVENTSTREAM_OVERHEAD);
	put_u32(p + 4, n);
	put_u32(p + 8, crc32_z(0, p, 8));
	memcpy(p + EVENTSTREAM_PRELUDE, data, n);
	put_u32(p + EVENTSTREAM_PRELUDE + n, crc32_z(0, p, EVENTSTREAM_PRELUDE + n));
	decode(p, n + EVENTSTREAM_OVERHEAD);
	free(p);
}

static void as_payload(const uint8_t *data, size_t n)
{
	enum eventstream_kind kind = n ? data[0] % 3 : EVENTSTREAM_EVENT;
	size_t type_len = n > 1 ? data[1] % n : 0;
	struct str type = {(const char *)data, type_len}, payload = {(const char *)data + type_len, n - type_len};
	struct buf out = {0};
	struct eventstream_view view;
	eventstream_message(&out, kind, type, payload);
	assert(decode(out.p, out.n) == 1);
	eventstream_decode(out.p, out.n, &view);
	assert(view.total == out.n && str_equal(view.payload, payload));
	assert(str_equal(view.message_type, kind == EVENTSTREAM_EXCEPTION ? STR("exception") : STR("event")));
	assert(kind != EVENTSTREAM_EXCEPTION || str_equal(view.exception_type, type));
	size_t bit = (n > 3 ? data[2] * 256u + data[3] : 0) % (out.n * 8);
	out.p[bit / 8] ^= (uint8_t)(1 << bit % 8);
	assert(decode(out.p, out.n) == -1);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	decode(data, n);
	as_headers(data, n);
	as_payload(data, n);
	return 0;
}
