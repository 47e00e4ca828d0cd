/* eventstream.c: application/vnd.amazon.eventstream, one message at a time. Pure: any thread.
 *
 * - a message of ours has three string headers: what it is (:event-type or :exception-type), :content-type, :message-type, in the
 *   order in which AWS sends them;
 * - encoding: prelude (two lengths and their CRC), headers, payload, CRC of all before it; the payload may be written by the caller behind
 *   eventstream_begin, who then owes the last CRC;
 * - decoding: lengths first (a prelude is trusted only once its CRC fits, so that a broken length is not waited for), then the whole
 *   message's CRC, then the headers, of any type; the strings among them that have a meaning here are lent.
 *
 * Failure: -1 for what can never become a message, 0 while it still can. */
#include "penstock/eventstream.h"

#include <libdeflate.h>

#define TYPE_STRING 7
#define HEADER_OVERHEAD 4 /* name length, type, value length */

#define NAME_EVENT STR(":event-type")
#define NAME_EXCEPTION STR(":exception-type")
#define NAME_CONTENT STR(":content-type")
#define NAME_MESSAGE STR(":message-type")
#define CONTENT_JSON STR("application/json")
#define CONTENT_EVENT STR("application/x-amz-json-1.1") /* as AWS sends since 2022: kinesis-behaviour 5.3 */

static void put_u32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get_u32(const uint8_t *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof(v));
	return __builtin_bswap32(v);
}

static size_t get_u16(const uint8_t *p) { return (size_t)p[0] << 8 | p[1]; }

static uint32_t crc_of(const uint8_t *p, size_t n) { return libdeflate_crc32(0, p, n); }

/* ---- Encoding ---- */

struct headers {
	struct str name[3], value[3];
};

static struct headers headers_of(enum eventstream_kind kind, struct str type)
{
	struct headers headers = {
		.name = {NAME_EVENT, NAME_CONTENT, NAME_MESSAGE},
		.value = {STR("SubscribeToShardEvent"), CONTENT_EVENT, STR("event")},
	};
	if (kind == EVENTSTREAM_INITIAL)
		headers.value[0] = STR("initial-response");
	if (kind != EVENTSTREAM_EVENT)
		headers.value[1] = CONTENT_JSON;
	if (kind == EVENTSTREAM_EXCEPTION) {
		headers.name[0] = NAME_EXCEPTION;
		headers.value[0] = type;
		headers.value[2] = STR("exception");
	}
	return headers;
}

size_t eventstream_headers_len(enum eventstream_kind kind, struct str type)
{
	struct headers headers = headers_of(kind, type);
	size_t n = 0;
	for (size_t i = 0; i < 3; i++)
		n += HEADER_OVERHEAD + headers.name[i].n + headers.value[i].n;
	return n;
}

static uint8_t *put_header(uint8_t *p, struct str name, struct str value)
{
	*p++ = (uint8_t)name.n;
	memcpy(p, name.p, name.n);
	p += name.n;
	*p++ = TYPE_STRING;
	*p++ = (uint8_t)(value.n >> 8);
	*p++ = (uint8_t)value.n;
	memcpy(p, value.p, value.n);
	return p + value.n;
}

size_t eventstream_begin(uint8_t *out, enum eventstream_kind kind, struct str type, size_t payload_len)
{
	struct headers headers = headers_of(kind, type);
	size_t n = eventstream_headers_len(kind, type);
	put_u32(out, (uint32_t)(EVENTSTREAM_OVERHEAD + n + payload_len));
	put_u32(out + 4, (uint32_t)n);
	put_u32(out + 8, crc_of(out, 8));
	uint8_t *p = out + EVENTSTREAM_PRELUDE;
	for (size_t i = 0; i < 3; i++)
		p = put_header(p, headers.name[i], headers.value[i]);
	return EVENTSTREAM_PRELUDE + n;
}

void eventstream_message(struct buf *out, enum eventstream_kind kind, struct str type, struct str payload)
{
	uint8_t *p = buf_reserve(out, EVENTSTREAM_OVERHEAD + eventstream_headers_len(kind, type) + payload.n);
	size_t n = eventstream_begin(p, kind, type, payload.n);
	if (payload.n)
		memcpy(p + n, payload.p, payload.n);
	n += payload.n;
	put_u32(p + n, crc_of(p, n));
	out->n += n + 4;
}

/* ---- Decoding ---- */

/* Bytes of a header's value at p, with its length field for bytes and strings; 0: it does not fit, or there is no such type.
 * *none: the type has no bytes at all. */
static size_t value_len(uint8_t type, const uint8_t *p, size_t n, bool *none)
{
	static const size_t fixed[] = {0, 0, 1, 2, 4, 8, 0, 0, 8, 16}; /* true, false, i8 to i64, bytes, string, time, uuid */
	*none = type <= 1;
	if (*none || type >= sizeof(fixed) / sizeof(fixed[0]))
		return 0;
	if (type != 6 && type != TYPE_STRING)
		return fixed[type] <= n ? fixed[type] : 0;
	return n >= 2 && get_u16(p) <= n - 2 ? 2 + get_u16(p) : 0;
}

static void note_header(struct eventstream_view *out, struct str name, struct str value)
{
	if (str_equal(name, NAME_MESSAGE))
		out->message_type = value;
	else if (str_equal(name, NAME_EVENT))
		out->event_type = value;
	else if (str_equal(name, NAME_EXCEPTION))
		out->exception_type = value;
	else if (str_equal(name, NAME_CONTENT))
		out->content_type = value;
}

static bool decode_headers(const uint8_t *p, size_t n, struct eventstream_view *out)
{
	while (n > 0) {
		size_t name_len = p[0];
		if (name_len == 0 || n < 2 + name_len)
			return false;
		struct str name = {(const char *)p + 1, name_len};
		uint8_t type = p[1 + name_len];
		p += 2 + name_len;
		n -= 2 + name_len;
		bool none;
		size_t len = value_len(type, p, n, &none);
		if (len == 0 && !none)
			return false;
		if (type == TYPE_STRING)
			note_header(out, name, (struct str){(const char *)p + 2, len - 2});
		p += len;
		n -= len;
	}
	return true;
}

int eventstream_decode(const uint8_t *p, size_t n, struct eventstream_view *out)
{
	if (n < EVENTSTREAM_PRELUDE)
		return 0;
	size_t total = get_u32(p), headers_len = get_u32(p + 4);
	if (crc_of(p, 8) != get_u32(p + 8) || total < EVENTSTREAM_OVERHEAD || total > EVENTSTREAM_MAX ||
	    headers_len > total - EVENTSTREAM_OVERHEAD)
		return -1;
	if (n < total)
		return 0;
	if (crc_of(p, total - 4) != get_u32(p + total - 4))
		return -1;
	*out = (struct eventstream_view){.total = total};
	if (!decode_headers(p + EVENTSTREAM_PRELUDE, headers_len, out))
		return -1;
	const uint8_t *payload = p + EVENTSTREAM_PRELUDE + headers_len;
	out->payload = (struct str){(const char *)payload, total - EVENTSTREAM_OVERHEAD - headers_len};
	return 1;
}
