/* tail.h: what a hub knows of one shard: how far it is durable, and a ring of recent batches. Private to fanout.
 *
 *   ring, numbered for ever:  ring_begin ........ ring_end-1     entry n lies at ring[n & (ring_cap - 1)]
 *   batches, by index:        | 40-47 | 48 |  (gap)  | 60-61 |   rising; a gap is where a notice came without its batch
 *   durable_end:                                         61      never below the newest batch's last
 *   shown_end:                                           61      what can be pulled: durable_end, but under a delivery profile
 *
 * A cursor that the ring does not hold reads the log: a lost, late or doubled notice can only cost time. */
#ifndef FANOUT_TAIL_H
#define FANOUT_TAIL_H

#include "penstock/batch.h"
#include "penstock/list.h"
#include "penstock/store.h"

struct hub;

struct ring_entry {
	struct batch *batch;  /* one reference */
	uint64_t first, last; /* its indexes: a search touches no batch but the one it finds */
	size_t bytes;
};

struct tail {
	struct tail *next_in_bucket;
	struct shard_key shard;
	uint32_t users;         /* subscriptions, and loops that are inside */
	struct list idle;       /* struct subscription.link */
	struct list rings_link; /* hub's rings, least recently fed first; on it while the ring holds something */
	struct list ended_link; /* hub's ended: closed, and the snapshot names no children yet */

	uint64_t durable_end;
	int64_t durable_end_ms;
	uint64_t shown_end; /* <= durable_end */
	bool closed;

	uint64_t snapshots;               /* hub->snapshots when these were looked up */
	int64_t stream_ms, retention_ms; /* the stream's start; 0: not known */

	struct delay *delays; /* tail_delay.c; NULL until a profile delays something */

	struct ring_entry *ring;
	uint32_t ring_cap; /* 0 or a power of two */
	uint64_t ring_begin, ring_end;
	size_t ring_bytes;

	struct list reads; /* struct read.tail_link: in flight or kept */

	struct message *empty; /* the heartbeat of those at the tip, shared while the tip stays and the second lasts */
	int64_t empty_s;       /* the second of its continuation */
	struct message *final; /* the end-of-shard event */
};

struct tail *tail_find(struct hub *hub, uint64_t stream, uint32_t shard); /* NULL: nobody listens */
struct tail *tail_get(struct hub *hub, const struct shard_key *shard);    /* made if need be; one use, the caller's */
void tail_put(struct hub *hub, struct tail *tail);                        /* the last one frees it */

size_t batch_bytes(const struct batch *batch); /* memory of its frames and events */

/* What a lane, a join or a read said. True: there is news for those who are idle, and tail_wake must follow. */
bool tail_raise(struct hub *hub, struct tail *tail, uint64_t durable_end, int64_t durable_end_ms, bool closed);
/* ---- tail_delay.c: only under a profile ---- */

/* The shard is durable up to `end`, whose record arrived at arrival_ms: when can it be pulled? True: now. */
bool tail_delay(struct hub *hub, struct tail *tail, uint64_t end, int64_t arrival_ms);
void tail_delay_tick(struct hub *hub, uint64_t now_ns); /* shows what is due, and wakes */
void tail_delay_free(struct tail *tail);

/* The idle become READY. Their owners may do anything to any subscription meanwhile: hold a use of the tail. */
void tail_wake(struct tail *tail);
void tail_notice(struct hub *hub, const struct notice *notice);

/* The batch of the ring that holds index `next`, or NULL. *at: a hint, where it was the last time. */
struct batch *tail_batch(const struct tail *tail, uint64_t next, uint64_t *at);

/* Shared events of those who stand at the tip; lent. tail_final: NULL while the snapshot names no children. */
struct message *tail_empty(struct tail *tail, int64_t time_s);
struct message *tail_final(struct hub *hub, struct tail *tail);
/* After tail_final: closed, and it will never have children in a snapshot: retention has passed them. */
bool tail_childless(const struct hub *hub, const struct tail *tail);

#endif
