/* Event stream messages: vectors, round trips, every cut and every flipped bit. */
#include "codec_fixture.h"
#include "penstock/eventstream.h"

#define NONE ((struct str){NULL, 0})

static void expect_hex(const struct buf *out, const char *hex)
{
	size_t n;
	uint8_t *bytes = unhex(hex, &n);
	cr_expect(out->n == n && memcmp(out->p, bytes, n) == 0);
	free(bytes);
}

Test(eventstream, initial_response_vector)
{
	struct buf out = {0};
	eventstream_message(&out, EVENTSTREAM_INITIAL, NONE, STR("{}"));
	expect_hex(&out, "00000068 00000056 4e681724"
			 "0b 3a6576656e742d74797065 07 0010 696e697469616c2d726573706f6e7365"
			 "0d 3a636f6e74656e742d74797065 07 0010 6170706c69636174696f6e2f6a736f6e"
			 "0d 3a6d6573736167652d74797065 07 0005 6576656e74 7b7d d591c62b");
	buf_free(&out);
}

/* A recorded event of AWS of 2018 has 450 bytes, 91 of headers, and content type application/json; since 2022 that is 10 characters
 * longer. */
Test(eventstream, event_prelude_vector)
{
	uint8_t out[256];
	cr_expect_eq(eventstream_headers_len(EVENTSTREAM_EVENT, NONE), 101);
	size_t n = eventstream_begin(out, EVENTSTREAM_EVENT, NONE, 460 - 101 - EVENTSTREAM_OVERHEAD);
	cr_expect_eq(n, EVENTSTREAM_PRELUDE + 101);
	struct buf prelude = {.p = out, .n = 12};
	expect_hex(&prelude, "000001cc 00000065 bf439cc1");
}

Test(eventstream, empty_message_vector)
{
	size_t n;
	uint8_t *bytes = unhex("00000010 00000000 05c248eb 7d98c8ff", &n);
	struct eventstream_view view;
	cr_assert_eq(eventstream_decode(bytes, n, &view), 1);
	cr_expect_eq(view.total, 16);
	cr_expect_eq(view.payload.n, 0);
	cr_expect_null(view.message_type.p);
	free(bytes);
}

static struct buf message(enum eventstream_kind kind, struct str type, struct str payload)
{
	struct buf out = {0};
	eventstream_message(&out, kind, type, payload);
	return out;
}

Test(eventstream, event_reads_back)
{
	struct buf out = message(EVENTSTREAM_EVENT, NONE, STR("{\"Records\":[]}"));
	struct eventstream_view view;
	cr_assert_eq(eventstream_decode(out.p, out.n, &view), 1);
	cr_expect_eq(view.total, out.n);
	cr_expect(str_equal(view.message_type, STR("event")));
	cr_expect(str_equal(view.event_type, STR("SubscribeToShardEvent")));
	cr_expect(str_equal(view.content_type, STR("application/x-amz-json-1.1")));
	cr_expect(str_equal(view.payload, STR("{\"Records\":[]}")));
	cr_expect_null(view.exception_type.p);
	buf_free(&out);
}

Test(eventstream, exception_reads_back)
{
	struct buf out = message(EVENTSTREAM_EXCEPTION, STR("ResourceInUseException"), STR("{\"message\":\"x\"}"));
	struct eventstream_view view;
	cr_assert_eq(eventstream_decode(out.p, out.n, &view), 1);
	cr_expect(str_equal(view.message_type, STR("exception")));
	cr_expect(str_equal(view.exception_type, STR("ResourceInUseException")));
	cr_expect(str_equal(view.content_type, STR("application/json")));
	cr_expect_null(view.event_type.p);
	/* Order on the wire: type, content type, message type. */
	cr_expect_eq(memcmp(out.p + 12, "\x0f:exception-type\x07", 17), 0);
	buf_free(&out);
}

Test(eventstream, begin_is_the_start_of_the_message)
{
	uint8_t begun[256];
	struct buf out = message(EVENTSTREAM_EXCEPTION, STR("T"), STR("payload"));
	size_t n = eventstream_begin(begun, EVENTSTREAM_EXCEPTION, STR("T"), 7);
	cr_expect_eq(n, EVENTSTREAM_PRELUDE + eventstream_headers_len(EVENTSTREAM_EXCEPTION, STR("T")));
	cr_expect_eq(out.n, n + 7 + 4);
	cr_expect_eq(memcmp(begun, out.p, n), 0);
	buf_free(&out);
}

Test(eventstream, two_in_a_row)
{
	struct buf out = message(EVENTSTREAM_INITIAL, NONE, STR("{}"));
	size_t first = out.n;
	eventstream_message(&out, EVENTSTREAM_EVENT, NONE, STR("second"));
	struct eventstream_view view;
	cr_assert_eq(eventstream_decode(out.p, out.n, &view), 1);
	cr_assert_eq(view.total, first);
	cr_assert_eq(eventstream_decode(out.p + first, out.n - first, &view), 1);
	cr_expect(str_equal(view.payload, STR("second")));
	buf_free(&out);
}

Test(eventstream, every_cut_waits)
{
	struct buf out = message(EVENTSTREAM_EVENT, NONE, STR("{\"Records\":[]}"));
	struct eventstream_view view;
	for (size_t n = 0; n < out.n; n++) {
		uint8_t *copy = exact_copy(out.p, n);
		cr_expect_eq(eventstream_decode(copy, n, &view), 0, "cut at %zu", n);
		free(copy);
	}
	buf_free(&out);
}

Test(eventstream, every_flipped_bit_is_seen)
{
	struct buf out = message(EVENTSTREAM_EVENT, NONE, STR("{\"Records\":[]}"));
	struct eventstream_view view;
	for (size_t i = 0; i < out.n * 8; i++) {
		out.p[i / 8] ^= (uint8_t)(1 << i % 8);
		cr_expect_eq(eventstream_decode(out.p, out.n, &view), -1, "bit %zu", i);
		out.p[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	buf_free(&out);
}

static uint32_t crc(const uint8_t *p, size_t n)
{
	uint32_t v = 0xffffffff;
	for (size_t i = 0; i < n; i++) {
		v ^= p[i];
		for (int k = 0; k < 8; k++)
			v = v >> 1 ^ (v & 1 ? 0xedb88320 : 0);
	}
	return ~v;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

/* A message with right CRCs around the given headers. */
static int decode_headers(const char *hex, struct eventstream_view *view, uint8_t **bytes)
{
	size_t n;
	uint8_t *headers = unhex(hex, &n);
	uint8_t *p = *bytes = malloc(n + 16);
	put_u32(p, (uint32_t)n + 16);
	put_u32(p + 4, (uint32_t)n);
	put_u32(p + 8, crc(p, 8));
	memcpy(p + 12, headers, n);
	put_u32(p + 12 + n, crc(p, 12 + n));
	free(headers);
	return eventstream_decode(p, n + 16, view);
}

Test(eventstream, headers_of_every_type)
{
	struct eventstream_view view;
	uint8_t *bytes;
	int whole =
		decode_headers("0161 00 0162 01 0163 02 7f 0164 03 0001 0165 04 00000001 0166 05 0000000000000001 0167 06 0002 aabb 0168 08"
			       "0000000000000001 0169 09 00000000000000000000000000000000 0d3a6d6573736167652d74797065 07 0005 6572726f72"
			       "016a 07 0000",
			       &view, &bytes);
	cr_expect_eq(whole, 1);
	cr_expect(str_equal(view.message_type, STR("error")));
	free(bytes);
}

Test(eventstream, bad_headers)
{
	static const char *const bad[] = {
		"01",           "0161",         "0161 0a", "0161 02",          "0161 05 00", "0161 07",          "0161 07 00",
		"0161 07 0001", "0161 06 ffff", "00 00",   "0161 09 00112233", "ff 61",      "0161 07 000161 01"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct eventstream_view view;
		uint8_t *bytes;
		cr_expect_eq(decode_headers(bad[i], &view, &bytes), -1, "taken: %s", bad[i]);
		free(bytes);
	}
}

static int decode_prelude(uint32_t total, uint32_t headers)
{
	uint8_t p[12];
	struct eventstream_view view;
	put_u32(p, total);
	put_u32(p + 4, headers);
	put_u32(p + 8, crc(p, 8));
	return eventstream_decode(p, sizeof(p), &view);
}

Test(eventstream, bad_lengths)
{
	cr_expect_eq(decode_prelude(15, 0), -1);
	cr_expect_eq(decode_prelude(0, 0), -1);
	cr_expect_eq(decode_prelude(16, 1), -1);
	cr_expect_eq(decode_prelude(100, 85), -1);
	cr_expect_eq(decode_prelude(100, 84), 0);
	cr_expect_eq(decode_prelude(EVENTSTREAM_MAX, 0), 0);
	cr_expect_eq(decode_prelude(EVENTSTREAM_MAX + 1, 0), -1);
	cr_expect_eq(decode_prelude(0xffffffff, 0xffffffff), -1);
}
