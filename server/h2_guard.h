/* h2_guard.h: what one HTTP/2 client may cost us. It walks over the bytes before nghttp2 gets them, because nghttp2 passes over some frames
 * in silence (DATA on a closed stream), and counts what brings nothing. Private to the transport; one per connection, on its worker's
 * thread. */
#ifndef PENSTOCK_H2_GUARD_H
#define PENSTOCK_H2_GUARD_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "penstock/bucket.h"

#define H2_HEAD 9 /* bytes of a frame's head */

struct h2_guard {
	uint8_t head[H2_HEAD];
	unsigned head_n;   /* of them here; 0 inside a frame */
	uint32_t left;     /* bytes of the present frame, or of the preface, that are to come */
	uint64_t now_ns;   /* when this input came */
	uint64_t block_ns; /* when the present header block began */
	bool in_block;     /* the last frame is a part of a header block */
	bool block_ends;   /* ... and carries END_HEADERS */
	size_t decoded;    /* header bytes of the present block, as nghttp2 decoded them */
	struct bucket client_resets, our_resets, idle, pings, settings, updates;
	const char *why; /* the bound that was passed, for the log; NULL: none */
};

void h2_guard_init(struct h2_guard *guard, uint64_t now_ns);
/* Goes on in p, from *at, to the end of the present frame. True: there is more, and a frame's head begins or goes on here. */
bool h2_guard_skip(struct h2_guard *guard, size_t n, size_t *at);
/* Then: goes on until the head is whole: true, *hd says what it is, *at is behind it. False: p is at its end. */
bool h2_guard_next(struct h2_guard *guard, const uint8_t *p, size_t n, size_t *at, nghttp2_frame_hd *hd);
/* Each of these: false when it is one too many; `why` says of what. */
bool h2_guard_frame(struct h2_guard *guard, const nghttp2_frame_hd *hd);
/* A header block has begun and its last byte has not come. By the frames alone: what nghttp2 thinks of the block's content changes nothing.
 */
static inline bool h2_guard_in_head(const struct h2_guard *guard) { return guard->in_block && (!guard->block_ends || guard->left > 0); }
bool h2_guard_nothing(struct h2_guard *guard); /* DATA without data, or for nobody */
bool h2_guard_header(struct h2_guard *guard, size_t name_n, size_t value_n);
bool h2_guard_reset(struct h2_guard *guard, uint64_t now_ns); /* RST_STREAM that the client made us send */
/* So many bytes of DATA were sent: they earn the windows that come back for them. */
static inline void h2_guard_sent(struct h2_guard *guard, size_t n)
{
	int64_t level = guard->updates.level + (int64_t)n;
	guard->updates.level = level < guard->updates.capacity ? level : guard->updates.capacity;
}

#endif
