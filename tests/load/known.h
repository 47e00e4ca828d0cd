/* known.h: the parts of load-known: known.c is the Kinesis, known_h2.c its HTTP/2, known_samples.c its figures, known_loopback.c what the
 * machine itself costs. One thread, one event loop; the process ends when told to, and its memory with it. */
#ifndef PENSTOCK_TESTS_LOAD_KNOWN_H
#define PENSTOCK_TESTS_LOAD_KNOWN_H

#include <event2/event.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/list.h"

/* ---- known_samples.c: times in ns, each of them kept, so that a quantile is a value that was seen ------------------- */

void samples_add(struct buf *samples, uint64_t ns);
json_t *samples_to_json(struct buf *samples);

/* ---- known_h2.c ----------------------------------------------------------------------------------------------------- */

struct peer;
struct record;

/* One request and its answer. known_h2.c's, and freed when its stream closes. */
struct exchange {
	struct peer *peer;
	int32_t stream;
	char operation[40];
	struct buf in;           /* the body */
	uint64_t read_ns;        /* when the last of it was read */
	struct buf out;          /* what of the answer has yet to go, from out_at on */
	size_t out_at;
	bool whole;              /* nothing comes behind what is in out */
	struct buf carried;      /* struct carried of what is in out, for on_handed */
	struct list all;         /* of the peer's */
	struct list link;        /* of a shard's subscriptions, and the first record that is not yet in one */
	size_t at;
};

struct carried {
	const struct record *record;
	bool pushed;
};

struct h2_ops {
	void (*on_request)(struct exchange *exchange);
	/* The kernel is being given the last byte of all that carried them. */
	void (*on_handed)(const struct carried *carried, size_t n, uint64_t at_ns);
};

/* On 127.0.0.1, at a free port, which it returns; 0: errno says why not. */
unsigned h2_listen(struct event_base *base, const struct h2_ops *ops);
/* The head; what is in out follows, then or later. */
void h2_answer(struct exchange *exchange, const char *status, const char *content_type);
/* More is in out: to the kernel now, or, from on_request of the same peer, when that is over. */
void h2_more(struct exchange *exchange);

/* ---- known_loopback.c ----------------------------------------------------------------------------------------------- */

/* Prints, as JSON, the round trips of so many bytes out and so many back, `rate` a second for `seconds`. */
void loopback(size_t out, size_t back, double rate, double seconds);

#endif
