/* fanout.h: who is listening. A subscription is a cursor, never a queue: it pulls from its worker's tail of recent batches, else from
 * the log. One hub per worker; everything here runs on that worker's thread. The hub knows no socket: it tells a subscription's owner
 * that there is something to pull, and hands out references to shared bytes.
 *
 *   JOINING   the lane has the join                    leaves by its reply
 *   IDLE      at the tail, on the tail's idle list     leaves by a notice, heartbeat, deadline
 *   READY     bytes can be pulled; on_ready was called leaves when it is pulled
 *   BUDGET    its 2 MiB/s are spent                    leaves by the hub's timer
 *   READING   behind the ring: a read is in flight or waits for credit   leaves when the bytes arrive
 *   CLOSING   last bytes can be pulled, then SUB_END   leaves by sub_stop
 *   CLOSED    over; the owner may free it
 *
 * Flow-control states (a shut HTTP/2 window, a backed-up socket) are the owner's: it does not pull, the cursor does not move, and the
 * ring moves on. Nothing grows with subscribers x lag.
 *
 * Cadence (kinesis-behaviour 5.6; clients R4-R7): initial-response at once, then the records that wait, or an empty event when there
 * are none or the budget is spent; an empty one every 5 s of idleness; end after 5 minutes. The continuation of an empty event is a
 * position (seq.h) that rises with each. */
#ifndef PENSTOCK_FANOUT_H
#define PENSTOCK_FANOUT_H

#include <stdint.h>

#include "penstock/batch.h"
#include "penstock/bucket.h"
#include "penstock/catalogue.h"
#include "penstock/io.h"
#include "penstock/limits.h"
#include "penstock/list.h"
#include "penstock/mail.h"
#include "penstock/profile.h"
#include "penstock/store.h"

struct hub;
struct tail;
struct read;

enum sub_state { SUB_JOINING, SUB_IDLE, SUB_READY, SUB_BUDGET, SUB_READING, SUB_CLOSING, SUB_CLOSED };

struct hub_config {
	struct io *io;
	struct store *store;
	struct mailbox *box;         /* the worker's */
	struct outbox *outbox;       /* the worker's; flushed before its sockets are */
	struct limits limits;
	const struct profile *profile; /* NULL: a record can be pulled as soon as it is durable */
	unsigned worker;             /* number, for subscription names unique in the process */
	uint64_t heartbeat_ns;       /* 0: 5 s */
	uint64_t life_ns;            /* 0: 300 s */
	size_t ring_bytes;           /* per shard; 0: 1 MiB */
	size_t rings_bytes;          /* all rings of the hub; 0: 64 MiB */
	unsigned reads;              /* catch-up reads in flight; 0: 32 */
	size_t read_bytes;           /* of each; 0: 256 KiB */
	size_t kept_bytes;           /* of what was read and encoded, kept for those who follow; 0: 32 MiB */
};

struct subscription;

/* The owner of subscriptions (server's streams; the simulation's fake clients). All on the hub's thread; none may call sub_stop on
 * the subscription it is told about, except from on_ready. */
struct sub_ops {
	/* The lane has answered. OK: answer 200 and begin to pull. Else: answer the error; the subscription is CLOSED. */
	void (*on_joined)(struct subscription *sub, enum status status);
	/* There are bytes to pull (or SUB_END): pull this turn. Called once per change into READY or CLOSING. */
	void (*on_ready)(struct subscription *sub);
	/* The lane asks whether the client is still there: look at the socket now. May call sub_stop. True: gone. */
	bool (*on_probe)(struct subscription *sub);
};

/* Embedded in the owner's stream. 328 bytes, and no queue. What waking, pulling and resting touch comes first: with a thousand to be
 * woken by one record each cache line of it is fetched a thousand times. */
struct subscription {
	/* the owner may read */
	enum sub_state state;
	bool greeted : 1, private_trailer : 1, final_queued : 1; /* hub only */
	bool finishing : 1;          /* hub only: sub_finish came while JOINING */
	bool arrived : 1;            /* hub only: what `read` brought can be pulled */
	bool positioned : 1;         /* hub only: second_s is that of a position, not of a record */
	const struct sub_ops *ops;
	uint64_t next;               /* cursor: first index not yet pulled whole */
	uint64_t delivered_records, delivered_bytes, events;

	/* hub only */
	struct hub *hub;
	struct tail *tail;
	struct list link;            /* on the one list that its state names */
	struct list idle_link;       /* heartbeat order; on no list unless IDLE */
	uint64_t quiet_ns;
	struct message *message;     /* partly sent, or the next to send; one reference */
	uint32_t offset;             /* into message */
	uint32_t held;               /* bytes that this one pins outside the ring: beyond the hub's cap they are read again */
	int64_t second_s;            /* of the last continuation, given here or resumed from; else of the record before the cursor */
	uint64_t ring_at;            /* where in the tail's ring the cursor was: a hint */
	uint32_t read_at, read_message; /* the same, among what `read` brought */
	struct bucket budget;
	int64_t unread_ms;           /* arrival of the record at the cursor; 0: not known */

	struct list hold_link;       /* the hub's holders, least recently fed first; on it while held > 0 */
	struct read *read;           /* in flight, or what it brought is not yet pulled; shared with whoever stands at the same place */
	struct list read_link;       /* the read's users; on it while there is one */
	union {
		struct store_join *join;    /* JOINING: in flight; heap, outlives us if we are stopped */
		struct message *last_words; /* CLOSING: exception or end-of-shard event to send before the end; else NULL */
	};
	struct list life_link;       /* deadline order, which is that of their beginning */
	struct subscription *next_in_bucket; /* look-up by id */
	uint64_t started_ns, wake_ns; /* the call, then the answer to it; BUDGET: when to look again */
	char *names;                 /* "STREAM" NUL "CONSUMER" NUL as they were at the start, for last words */
	int64_t behind_ms;           /* what the private trailer says */

	/* the owner may read */
	uint64_t id;
	struct shard_key shard;
	uint64_t consumer;           /* catalogue id */
};

struct hub *hub_new(const struct hub_config *config);
void hub_free(struct hub *hub); /* after the store has stopped; every subscription is CLOSED */
/* A new catalogue snapshot (child shards for the end-of-shard event, names for texts). Takes no reference; valid until the next. */
void hub_set_catalogue(struct hub *hub, const struct catalogue *snapshot, const char *region, const char *account);

/* When hub_tick must next be called, ns of the monotonic clock; UINT64_MAX: no need. Changes with every call into the hub: ask at
 * the end of the turn. */
uint64_t hub_deadline(struct hub *hub);
void hub_tick(struct hub *hub, uint64_t now_ns);
/* Records were pulled in this turn, and news of some were taken in it (or their delay ended): when the first of these was, ns of the
 * monotonic clock; else 0. To be asked once per turn, before hub_deadline. */
uint64_t hub_taken_ns(struct hub *hub);

/* Begins: JOINING. `consumer` and `shard` exist in the snapshot; `position` as the request said. */
void sub_start(struct hub *hub, struct subscription *sub, const struct sub_ops *ops, struct shard_key shard, uint64_t consumer,
	       struct position position);

/* The client is gone, or the owner has sent all to SUB_END: leaves the lane, drops every reference; CLOSED on return. Any state. */
void sub_stop(struct subscription *sub);

/* Ends it cleanly after the event that is partly sent: END_STREAM without an exception (shutdown, five minutes). */
void sub_finish(struct subscription *sub);

/* How many bytes can be taken now, at most max: > 0; 0: nothing now, on_ready will come; SUB_END: all is sent, end the body.
 * Several waiting events count together. Charges the budget at each event's first byte. */
#define SUB_END (-1)
int64_t sub_avail(struct subscription *sub, size_t max);

/* Where pulled bytes go. `owner` holds the bytes: the callee takes its own reference; NULL: copy them, at most MESSAGE_TRAILER. */
typedef void (*sub_emit)(void *arg, struct message *owner, const uint8_t *p, size_t n);
/* Takes exactly n bytes, n <= what sub_avail has just said in this same turn. */
void sub_take(struct subscription *sub, size_t n, sub_emit emit, void *arg);

const char *sub_state_name(enum sub_state state);
/* For /state: calls fn for at most `most` subscriptions of the hub, those behind *after in an order of
 * the hub's own, and sets *after to the last one's id. *after: such an id, whether that subscription
 * still lives or not; worker << 48: from the first. Subscriptions that begin meanwhile may be left
 * out. True: there are more. */
bool hub_each(struct hub *hub, uint64_t *after, unsigned most, void (*fn)(void *arg, struct subscription *sub), void *arg);
/* The names of stream and consumer when the subscription began, which live as long as it does; "" if
 * it is over. */
void sub_names(const struct subscription *sub, const char **stream, const char **consumer);
/* How far the subscription is behind: records and ms (0, 0 at the tail). */
void sub_lag(const struct subscription *sub, uint64_t *records, int64_t *ms);

/* The encoder that the store is given (batch.h). */
enum status message_encode(struct batch *batch);

#endif
