/* sub_hold.c: the bound on what slow readers pin.
 *
 * Thread: the hub's. A subscription holds memory of its own in two ways: a read that is kept for nobody else any more, and the event that
 * is partly sent (which its ring may have let go since). A client may stop reading at any point and stay for five minutes; a thousand of
 * them must not hold a thousand events. So the holders stand in a list, least recently fed first, and beyond the hub's cap the first ones
 * give up: what they had is found again by cursor and offset, in the ring for nothing, or in the log for one read.
 *
 * Bytes that are shared are counted once per holder: the count is too high rather than too low, and giving up what the ring still has
 * costs a look-up.
 *
 * Failure mode: retention takes a record whose event is half sent; then that body ends inside the event (sub_read.c). */
#include "fanout/hub.h"

/* A read in memory is its frames, their base64, and the last batch that crossed the line: four times what was asked for. */
static size_t cap_of(const struct hub *hub) { return hub->config.reads * hub->config.read_bytes * 4; }

static size_t pinned(const struct subscription *sub)
{
	size_t bytes = sub->message && sub->message->count ? message_len(sub->message) : 0;
	/* Who still waits for a read has nothing to give up: it would never be told. */
	return sub->arrived ? bytes + read_pinned(sub->read) : bytes;
}

static void set(struct subscription *sub, size_t held)
{
	struct hub *hub = sub->hub;
	hub->held += held - sub->held;
	sub->held = (uint32_t)held; /* an event and a read: some 40 MiB at most */
	list_remove(&sub->hold_link);
	if (held)
		list_append(&hub->holders, &sub->hold_link);
}

static void give_up(struct subscription *sub)
{
	read_drop(sub);
	if (sub->message && sub->message->count) {
		message_unref(sub->message);
		sub->message = NULL;
	}
	set(sub, 0);
}

void hold_count(struct subscription *sub)
{
	/* What is being closed is wanted once more and soon: its owner sends it or resets the stream within seconds. */
	size_t held = sub->state == SUB_CLOSING || sub->state == SUB_CLOSED ? 0 : pinned(sub);
	if (held || sub->held)
		set(sub, held);
}

void hold_settle(struct hub *hub)
{
	while (hub->held > cap_of(hub)) {
		struct subscription *first = container_of(hub->holders.next, struct subscription, hold_link);
		if (hub->holders.next == hub->holders.prev)
			break; /* alone above the cap: one large event must still go through */
		give_up(first);
	}
}

void hold_update(struct subscription *sub)
{
	hold_count(sub);
	hold_settle(sub->hub);
}
