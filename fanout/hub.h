/* hub.h: one worker's fan-out, and what its files share. Private to fanout; all on the worker's thread.
 *
 *   hub.c         life of a hub, turns, timers, look-up        tail.c        shards: ring, idle subscriptions, notices
 *   sub.c         life of a subscription, the checked table    lease.c       what lanes say of leases
 *   sub_pull.c    avail, take                                  sub_read.c    catch-up from the log
 *   sub_budget.c  waiting for the push budget                  sub_hold.c    what slow readers may pin
 *   profile.c, tail_delay.c   delivery profiles */
#ifndef FANOUT_HUB_H
#define FANOUT_HUB_H

#include "fanout/message.h"
#include "fanout/tail.h"
#include "penstock/fanout.h"

#define HUB_BUCKETS 4096u /* chains stay short up to some 20,000 shards and subscriptions per worker */

/* Waiting for the budget is not exact to the nanosecond: 256 slots of 4.2 ms, about a second around. */
#define WHEEL_SHIFT 22
#define WHEEL_SLOTS 256u

struct hub {
	struct hub_config config;
	struct listener listener;
	struct lease_holder holder;
	const struct catalogue *snapshot; /* lent until the next */
	uint64_t snapshots;               /* how many there were */
	char account[16];
	struct message *initial; /* initial-response: the same bytes for everybody */
	uint64_t next_id;

	/* every subscription is in `subs`, and its link on the one list that its state names */
	struct list joining, ready, reading, read_waiting, closing; /* IDLE: its tail's idle; BUDGET: a slot of the wheel */
	struct list wheel[WHEEL_SLOTS];
	uint64_t wheel_at; /* the slot up to which the wheel has run */
	uint32_t n_budget;

	struct list quiet; /* idle_link: IDLE ones by quiet_ns */
	struct list life;  /* life_link: by deadline_ns */

	struct list rings; /* tails with a ring, least recently fed first */
	struct list ended; /* tails at the end of their shard whose children are not published yet */
	size_t rings_bytes;

	struct list delayed; /* struct delay: tails with something that is durable and not shown yet */
	uint64_t delayed_ns; /* no sooner is the first of it due; UINT64_MAX: there is none */

	struct list holders; /* hold_link */
	size_t held;

	unsigned reads, joins; /* in flight, orphans counted */
	struct list kept;      /* struct read.kept_link, least recently wanted first */
	size_t kept_bytes;

	struct list allowances; /* budgets of subscriptions that ended a moment ago */
	unsigned n_allowances;

	uint64_t taken_ns; /* see hub_taken_ns */
	uint64_t pulled_ns; /* when sub_avail last looked at the clock: sub_take follows at once, and looks at this */

	/* counted here and added to the metrics once per turn: an event must not cost shared cache lines */
	struct {
		int64_t events, records, bytes, heartbeats;
	} pushed;

	struct tail *tails[HUB_BUCKETS];
	struct subscription *subs[HUB_BUCKETS];
};

struct subscription *hub_subscription(struct hub *hub, uint64_t id); /* NULL: it has been stopped */

/* ---- sub.c ---- */

/* Changes state and list. The table of legal moves is asserted. */
void sub_move(struct subscription *sub, enum sub_state to, struct list *list);
void sub_ready(struct subscription *sub); /* READY, and tells the owner, who may stop it */
/* Leaves the lane and gives up all that is not begun. What is partly sent is still to be pulled, then `last_words` (takes it; NULL: none).
 * Does not tell the owner. */
void sub_close(struct subscription *sub, struct message *last_words);
/* Ends it for a read that failed: with an exception, or with nothing when the store is closing. Does not tell the owner. */
void sub_fail(struct subscription *sub, enum status status);
/* CLOSING, and the rest of a half-sent event cannot be had again: the body ends inside it, since no client understands what would follow.
 */
void sub_cut(struct subscription *sub);
/* The lag in ms of a record that arrived at `then_ms`: at least 1 (0 is for the tip), at most the stream's age and its retention.
 * The subscription has a tail. */
int64_t sub_behind(const struct subscription *sub, int64_t then_ms);
/* When the record at the cursor arrived, as far as is known without asking the lane. There is one, and the subscription has a tail. */
int64_t sub_unread_ms(const struct subscription *sub);
struct message *sub_empty_event(struct subscription *sub); /* one reference, the caller's */

/* ---- sub_pull.c ---- */
int64_t sub_arrival_ms(const struct subscription *sub, uint64_t index); /* of a record in the ring or a read; 0: it is in neither */

/* ---- sub_budget.c ---- */
void budget_begin(struct subscription *sub, uint64_t now_ns); /* at the join */
void budget_end(struct subscription *sub);                    /* at the leave: what is spent stays spent for the next one */
void budget_wait(struct subscription *sub, uint64_t now_ns);  /* -> BUDGET */
void budget_tick(struct hub *hub, uint64_t now_ns);
uint64_t budget_deadline(const struct hub *hub);
void budget_free(struct hub *hub);

/* ---- sub_read.c ---- */

/* A read of the log, in flight or done, for all who stand in it. */
struct read {
	struct store_read read;
	struct hub *hub;
	struct list users;     /* struct subscription.read_link */
	struct list kept_link; /* hub's kept; on it while it is kept for those who follow */
	struct list tail_link; /* tail's reads; on it while it is in flight or kept, and the tail lives */
	size_t bytes;          /* once done: frames and events */
	bool done, busy;       /* busy: a loop is inside */
};

bool read_kept(struct subscription *sub);  /* the cursor lies in a read that is kept: now it pulls from that */
void read_begin(struct subscription *sub); /* READY -> READING; or stays CLOSING, to finish a half-sent event */
void read_drop(struct subscription *sub);  /* in flight: it goes on without this one; arrived: its batches go with their last user */
void read_forget(struct tail *tail);       /* the tail goes: nothing is kept for it any more */
size_t read_pinned(const struct read *read); /* bytes that only its users keep */
/* The batch that holds index `next`, of those that a read brought; or NULL. *at: where to begin. */
struct batch *read_batch(const struct subscription *sub, uint64_t next, uint32_t *at);

/* ---- sub_hold.c ---- */
void hold_update(struct subscription *sub); /* after anything that it pins has changed */
void hold_count(struct subscription *sub);  /* the same, but nobody gives up yet: from within loops over subscriptions */
void hold_settle(struct hub *hub);          /* after them */

/* ---- lease.c ---- */
void on_lease_end(struct lease_holder *holder, uint64_t id, enum lease_end why);
bool on_lease_probe(struct lease_holder *holder, uint64_t id);
struct message *lease_gone(const struct subscription *sub, enum lease_end why); /* its exception */

#endif
