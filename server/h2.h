/* h2.h: the structures that h2.c (streams and answers) and h2_session.c (frames, limits, life) share. Private to the transport. */
#ifndef PENSTOCK_H2_H
#define PENSTOCK_H2_H

#include <nghttp2/nghttp2.h>

#include "server/conn.h"
#include "server/h2_guard.h"
#include "server/request.h"

struct h2 {
	struct conn *conn;
	nghttp2_session *session;
	struct list streams;    /* struct h2_stream, those that have a deadline: requests, oldest first, answers, subscriptions that end */
	struct list live;       /* struct h2_stream, those with a subscription that goes on: nobody looks at a hundred thousand each second */
	unsigned n_streams;
	unsigned n_streaming;   /* of them: with a subscription */
	bool reset;             /* we have reset a stream: what is on its way to it is no error */
	unsigned work;          /* done since the last look at the clock (share_more): 1 is a cheap frame */
	bool failed;            /* GOAWAY is queued, the connection ends: nghttp2 is not fed any more */
	bool greeted;           /* preface and SETTINGS have come */
	struct h2_guard guard;
	unsigned n_parked;      /* whole requests that wait until conn->answers are taken */
	uint64_t paid_ns;       /* see conn_paid, of all answers */
	bool stalled;           /* this sweep has reset an answer, and the others together are late as well */
	struct ghosts *ghosts;  /* requests in work whose streams are gone */
};

/* A request is whole before it may be others' turn: its head alone does not end a piece of work. */
#define H2_WORK_PIECE 16
#define H2_WORK_HEAD 4

struct h2_stream {
	struct list link;
	struct h2 *h2;
	int32_t id;
	uint16_t refused;        /* the status that the head has earned; else 0 */
	bool receiving : 1;      /* the client has not ended its side */
	bool streaming : 1;      /* a subscription's body is on its way */
	bool pulled : 1;         /* nghttp2 asks for a subscription's bytes: it has a DATA frame to come */
	bool drained : 1;        /* the one that it sends now takes all that there are, and is the last until there are more */
	bool deferred : 1;       /* nghttp2 waits for resume_data */
	bool headed : 1;         /* an answer's head waits in nghttp2: ANSWER_HEAD of conn->answers */
	bool parked : 1;         /* whole, and waits until earlier answers are taken */
	struct request *request; /* until it is answered; its path is the whole target until the head is complete */
	uint32_t content_length; /* as said by the client, capped; 0: not */
	uint32_t withheld;       /* body bytes whose window is not given back: it waits for memory */
	struct buf answer;       /* a whole answer's body; lent from `shared` if that is there */
	struct outq_shared *shared; /* it leaves in parts: also held by the outq */
	size_t answer_at;
	uint64_t since_ns;       /* body, answer: see conn_paid; then, when the end of a stream last moved */
};

/* h2.c */
struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id);
void h2_stream_free(struct h2_stream *stream);
bool h2_stream_header(struct h2_stream *stream, struct str name, struct str value); /* false: ignored, the stream is refused */
void h2_stream_head(struct h2_stream *stream);  /* the head is complete */
void h2_stream_body(struct h2_stream *stream, const uint8_t *p, size_t n, bool last);
void h2_stream_whole(struct h2_stream *stream); /* the client's side has ended: dispatched, or parked */
void h2_unpark(struct h2 *h2);                  /* dispatches one that was parked, if it is its turn; not from nghttp2's callbacks */
void h2_stream_sent(struct h2_stream *stream);  /* DATA of a subscription has left nghttp2 */
void h2_stream_head_sent(struct h2_stream *stream); /* ... an answer's HEADERS */
void h2_stream_refuse(struct h2_stream *stream, int http_status);
void h2_stream_give_back(struct h2_stream *stream); /* the window of what was kept, now that there is room */
int h2_on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t n, nghttp2_data_source *source, void *h2);

#endif
