/* h2_guard.c: the bounds on what an HTTP/2 client may cost, each a token bucket of its connection.
 *
 * Invariant: the walk over frames and nghttp2's own are at the same place, since nghttp2 gets exactly these bytes; a frame is judged before
 * nghttp2 has seen it. Thread: the connection's worker.
 *
 *   - the preface's 24 bytes, then head after head; what lies between them is only counted down
 *   - each kind of frame that an attack is made of takes from a bucket, whose burst is far above what any client sends at once
 *
 * Failures: a bound that is passed is final; the session says GOAWAY(ENHANCE_YOUR_CALM) and closes. reliability: rapid reset takes from
 * client_resets, MadeYouReset from our_resets, HPACK bombs are cut by DECODED_MAX, CONTINUATION floods by nghttp2's own option. */
#include "server/h2_guard.h"

#define PREFACE_LEN 24
#define CLIENT_RESETS_BURST 1000 /* a KCL worker may cancel as many subscriptions at once as it may have streams */
#define CLIENT_RESETS_RATE 50
#define OUR_RESETS_BURST 50 /* an honest client earns next to none */
#define OUR_RESETS_RATE 5
#define IDLE_BURST 1000 /* frames that bring nothing: PRIORITY, empty DATA, unknown ones */
#define IDLE_RATE 100
#define PINGS_BURST 200 /* Java sends one in 5 s */
#define PINGS_RATE 20
#define SETTINGS_BURST 50 /* a client sends one, perhaps a second */
#define SETTINGS_RATE 5
/* WINDOW_UPDATE is paid in bytes of DATA: the smallest event has about 270, and a client gives back two windows for it at most. Beside
 * that 1,000 a second are free. One that opens its window byte by byte has nothing to pay with. */
#define UPDATE_PRICE 128
#define UPDATES_BURST (10000 * UPDATE_PRICE)
#define UPDATES_RATE (1000 * UPDATE_PRICE)
#define DECODED_MAX (64u << 10) /* four times what 431 is answered to */

void h2_guard_init(struct h2_guard *guard, uint64_t now_ns)
{
	*guard = (struct h2_guard){.left = PREFACE_LEN, .now_ns = now_ns};
	bucket_init(&guard->client_resets, CLIENT_RESETS_RATE, CLIENT_RESETS_BURST, now_ns);
	bucket_init(&guard->our_resets, OUR_RESETS_RATE, OUR_RESETS_BURST, now_ns);
	bucket_init(&guard->idle, IDLE_RATE, IDLE_BURST, now_ns);
	bucket_init(&guard->pings, PINGS_RATE, PINGS_BURST, now_ns);
	bucket_init(&guard->settings, SETTINGS_RATE, SETTINGS_BURST, now_ns);
	bucket_init(&guard->updates, UPDATES_RATE, UPDATES_BURST, now_ns);
}

static uint32_t be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

bool h2_guard_skip(struct h2_guard *guard, size_t n, size_t *at)
{
	size_t part = guard->left < n - *at ? guard->left : n - *at;
	guard->left -= (uint32_t)part;
	*at += part;
	return *at < n;
}

bool h2_guard_next(struct h2_guard *guard, const uint8_t *p, size_t n, size_t *at, nghttp2_frame_hd *hd)
{
	while (*at < n) {
		guard->head[guard->head_n++] = p[(*at)++];
		if (guard->head_n < H2_HEAD)
			continue;
		const uint8_t *head = guard->head;
		*hd = (nghttp2_frame_hd){.length = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2],
					 .stream_id = (int32_t)(be32(head + 5) & INT32_MAX),
					 .type = head[3],
					 .flags = head[4]};
		guard->left = (uint32_t)hd->length;
		guard->head_n = 0;
		return true;
	}
	return false;
}

static bool spend(struct h2_guard *guard, struct bucket *bucket, int64_t price, const char *what)
{
	if (bucket_take(bucket, price, guard->now_ns))
		return true;
	guard->why = what;
	return false;
}

bool h2_guard_nothing(struct h2_guard *guard) { return spend(guard, &guard->idle, 1, "frames that bring nothing"); }

static void note_block(struct h2_guard *guard, const nghttp2_frame_hd *hd)
{
	guard->in_block = hd->type == NGHTTP2_HEADERS || hd->type == NGHTTP2_CONTINUATION;
	guard->block_ends = guard->in_block && hd->flags & NGHTTP2_FLAG_END_HEADERS;
	if (hd->type == NGHTTP2_HEADERS)
		guard->block_ns = guard->now_ns;
}

bool h2_guard_frame(struct h2_guard *guard, const nghttp2_frame_hd *hd)
{
	note_block(guard, hd);
	switch (hd->type) {
	case NGHTTP2_DATA: /* without data: said by h2_guard_nothing when its padding is known */
	case NGHTTP2_CONTINUATION:
		return true;
	case NGHTTP2_HEADERS:
		guard->decoded = 0;
		return true;
	case NGHTTP2_RST_STREAM:
		return spend(guard, &guard->client_resets, 1, "resets");
	case NGHTTP2_WINDOW_UPDATE:
		return spend(guard, &guard->updates, UPDATE_PRICE, "windows opened without need");
	case NGHTTP2_PING:
		return hd->flags & NGHTTP2_FLAG_ACK ? h2_guard_nothing(guard) : spend(guard, &guard->pings, 1, "pings");
	case NGHTTP2_SETTINGS:
		return spend(guard, &guard->settings, 1, "settings");
	default:
		return h2_guard_nothing(guard);
	}
}

bool h2_guard_header(struct h2_guard *guard, size_t name_n, size_t value_n)
{
	guard->decoded += name_n + value_n + 32;
	if (guard->decoded <= DECODED_MAX)
		return true;
	guard->why = "a header block that unpacks too large";
	return false;
}

bool h2_guard_reset(struct h2_guard *guard, uint64_t now_ns)
{
	guard->now_ns = now_ns;
	return spend(guard, &guard->our_resets, 1, "streams that had to be reset");
}
