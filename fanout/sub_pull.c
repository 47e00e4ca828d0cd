/* sub_pull.c: the way out. What can be pulled, and pulling it: the hot path.
 *
 * Thread: the hub's. No copy of payload and no allocation here, but for a cursor that starts inside an event.
 *
 * - sub_avail plans: the rest of the event that is partly sent, and whole events behind it as long as they fit and the budget stays open
 *   after paying for them; it changes nothing but the state when there is nothing to send.
 * - sub_take does exactly what was planned: begins an event (charges it, picks its trailer), emits slices, moves the cursor when the last
 *   byte is out.
 *
 * What comes next, in this order: the greeting; the ring, else what a read has brought; at the tip an empty first event, or the end of
 * the shard, or IDLE; else a read. While CLOSING: the rest of a half-sent event, then the last words.
 *
 * An event that was given up half-sent (sub_hold.c) has offset > 0 and no message: its bytes are the same wherever they come from, so
 * it is looked up again by the cursor and goes on at the offset.
 *
 * Failure modes: no memory for a private event ends the subscription with an exception. */
#include <assert.h>

#include "fanout/hub.h"

/* ---- Where the cursor's event is ---- */

struct place {
	uint64_t ring_at;
	uint32_t read_at, message; /* hints */
	struct batch *batch;
};

static struct place place_of(const struct subscription *sub)
{
	return (struct place){.ring_at = sub->ring_at, .read_at = sub->read_at, .message = sub->read_message};
}

static bool holds(const struct message *message, uint64_t next) { return message->first <= next && next <= message->last; }

static uint32_t message_at(const struct batch *batch, uint64_t next, uint32_t hint)
{
	for (uint32_t i = hint; i < batch->n_messages && i <= hint + 1; i++)
		if (holds(batch->messages[i], next))
			return i;
	uint32_t low = 0, high = batch->n_messages;
	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;
		if (batch->messages[middle]->first <= next)
			low = middle;
		else
			high = middle;
	}
	return low;
}

/* The shared event that holds index `next`; NULL: it is not to be shown yet, or neither in the ring nor among what was read. */
static struct message *find(const struct subscription *sub, struct place *place, uint64_t next)
{
	const struct tail *tail = sub->tail;
	place->batch = NULL;
	if (tail && next > tail->shown_end)
		return NULL;
	struct batch *batch = tail ? tail_batch(tail, next, &place->ring_at) : NULL;
	if (!batch)
		batch = read_batch(sub, next, &place->read_at);
	place->batch = batch;
	if (!batch)
		return NULL;
	place->message = message_at(batch, next, place->message);
	assert(holds(batch->messages[place->message], next));
	return batch->messages[place->message];
}

int64_t sub_arrival_ms(const struct subscription *sub, uint64_t index)
{
	struct place place = place_of(sub);
	const struct batch *batch = tail_batch(sub->tail, index, &place.ring_at);
	if (!batch)
		batch = read_batch(sub, index, &place.read_at);
	return batch ? batch->arrival_ms : 0;
}

/* ---- What to send next: sub->message ---- */

static bool fail(struct subscription *sub, enum status status);

static bool load_event(struct subscription *sub, const struct place *place, struct message *event)
{
	sub->ring_at = place->ring_at;
	sub->read_at = place->read_at;
	sub->read_message = place->message;
	sub->message = event->first < sub->next ? message_range(place->batch, sub->next, event->last) : message_ref(event);
	if (!sub->message)
		return fail(sub, STATUS_NO_MEMORY);
	assert(sub->offset < message_len(sub->message));
	return true;
}

static bool load_closing(struct subscription *sub)
{
	if (!sub->greeted) {
		sub->message = message_ref(sub->hub->initial);
		return true;
	}
	if (sub->offset > 0) {
		struct place place = place_of(sub);
		struct message *event = find(sub, &place, sub->next);
		if (!event && !sub->read && read_kept(sub)) {
			place = place_of(sub);
			event = find(sub, &place, sub->next);
		}
		if (!event) {
			if (!sub->read)
				read_begin(sub);
			return false;
		}
		bool loaded = load_event(sub, &place, event);
		read_drop(sub);
		return loaded;
	}
	sub->message = sub->last_words;
	sub->last_words = NULL;
	sub->final_queued = sub->message != NULL;
	return sub->message != NULL;
}

static bool fail(struct subscription *sub, enum status status)
{
	if (sub->state == SUB_CLOSING) {
		sub_cut(sub);
		return false;
	}
	sub_fail(sub, status);
	return load_closing(sub);
}

static bool load_empty(struct subscription *sub)
{
	sub->message = sub_empty_event(sub);
	return true;
}

/* Ordered by the last event, so that the first on the list is always due first; nearly always that is now, and the place is the end. */
static bool rest(struct subscription *sub)
{
	struct list *before = sub->hub->quiet.prev;
	read_drop(sub);
	hold_update(sub);
	sub_move(sub, SUB_IDLE, &sub->tail->idle);
	while (before != &sub->hub->quiet && container_of(before, struct subscription, idle_link)->quiet_ns > sub->quiet_ns)
		before = before->prev;
	list_append(before->next, &sub->idle_link);
	return false;
}

static bool load_at_tip(struct subscription *sub)
{
	struct tail *tail = sub->tail;
	bool over = tail->closed && sub->next > tail->durable_end;
	struct message *final = over ? tail_final(sub->hub, tail) : NULL;
	if (final || (over && tail_childless(sub->hub, tail))) {
		sub_close(sub, final ? message_ref(final) : NULL);
		return load_closing(sub);
	}
	return sub->events == 0 ? load_empty(sub) : rest(sub);
}

/* The budget is spent. A wait longer than the heartbeat (a low limit, a large record) is not silence. */
static bool starve(struct subscription *sub, uint64_t now)
{
	if (sub->events == 0 || now - sub->quiet_ns >= sub->hub->config.heartbeat_ns)
		return load_empty(sub);
	budget_wait(sub, now);
	return false;
}

/* Sets sub->message; false: there is nothing to pull, and the state says why. */
static bool load(struct subscription *sub, uint64_t now)
{
	if (sub->state == SUB_CLOSING)
		return load_closing(sub);
	if (!sub->greeted) {
		sub->message = message_ref(sub->hub->initial);
		return true;
	}
	struct place place = place_of(sub);
	struct message *event = find(sub, &place, sub->next);
	bool resumed = sub->offset > 0;
	if (!event && sub->next <= sub->tail->shown_end && read_kept(sub)) {
		place = place_of(sub);
		event = find(sub, &place, sub->next);
	}
	if (event) {
		if (!resumed && !bucket_open(&sub->budget, now))
			return starve(sub, now);
		return load_event(sub, &place, event);
	}
	if (!resumed && sub->next > sub->tail->shown_end)
		return load_at_tip(sub);
	read_begin(sub);
	return false;
}

/* ---- Plan ---- */

/* Adds whole events behind sub->message to `total` while they begin below max. */
static size_t ahead(struct subscription *sub, size_t total, size_t max, uint64_t now)
{
	struct place place = place_of(sub);
	uint64_t next = sub->message->last + 1;
	bucket_open(&sub->budget, now);
	int64_t level = sub->budget.rate ? sub->budget.level : INT64_MAX;
	if (sub->offset == 0)
		level -= (int64_t)sub->message->payload;
	while (total < max && level > 0) {
		struct message *event = find(sub, &place, next);
		if (!event || event->first != next)
			break;
		total += message_len(event);
		level -= (int64_t)event->payload;
		next = event->last + 1;
	}
	return total;
}

int64_t sub_avail(struct subscription *sub, size_t max)
{
	assert(max > 0 && max <= INT64_MAX);
	if (sub->state != SUB_READY && sub->state != SUB_CLOSING)
		return sub->state == SUB_CLOSED ? SUB_END : 0;
	uint64_t now = sub->hub->pulled_ns = io_mono_ns(sub->hub->config.io);
	if (!sub->message && !load(sub, now))
		return sub->state == SUB_CLOSING && !sub->read ? SUB_END : 0;
	size_t total = message_len(sub->message) - sub->offset;
	if (sub->state == SUB_READY && sub->greeted)
		total = ahead(sub, total, max, now);
	return (int64_t)(total < max ? total : max);
}

/* ---- Take ---- */

/* The first byte is about to go: now it is decided what it says, and who pays. */
static void begin(struct subscription *sub, uint64_t now)
{
	const struct message *message = sub->message;
	bucket_charge(&sub->budget, (int64_t)message->payload, now);
	/* While CLOSING there is no tail: last words come with the trailer that is right for them. */
	sub->private_trailer = message->trailer_len && sub->tail && message->last < sub->tail->durable_end;
	if (sub->private_trailer)
		sub->behind_ms = sub_behind(sub, message->count ? message->arrival_ms : sub_unread_ms(sub));
}

static void finish(struct subscription *sub, uint64_t now)
{
	struct message *message = sub->message;
	struct hub *hub = sub->hub;
	if (message == hub->initial) {
		sub->greeted = true;
	} else if (message->trailer_len) {
		sub->events++;
		hub->pushed.events++;
		if (message->count) {
			sub->next = message->last + 1;
			sub->second_s = message_time_s(&sub->shard, message->arrival_ms);
			sub->positioned = false;
			sub->unread_ms = 0;
			sub->delivered_records += message->count;
			sub->delivered_bytes += message->payload;
			hub->pushed.records += message->count;
			hub->pushed.bytes += (int64_t)message->payload;
		} else if (!sub->final_queued) {
			hub->pushed.heartbeats++;
		}
	}
	sub->quiet_ns = now;
	sub->private_trailer = false;
	sub->offset = 0;
	sub->message = NULL;
	message_unref(message);
}

/* At most n bytes of what is left of sub->message, in one slice. */
static size_t slice(struct subscription *sub, size_t n, sub_emit emit, void *arg)
{
	struct message *message = sub->message;
	bool in_head = sub->offset < message->head_len;
	size_t left = in_head ? message->head_len - sub->offset : message_len(message) - sub->offset;
	if (n > left)
		n = left;
	if (in_head) {
		emit(arg, message, message->head + sub->offset, n);
	} else if (sub->private_trailer) {
		uint8_t trailer[MESSAGE_TRAILER]; /* once more for each slice of it, which are rarely two */
		message_trailer(message, sub->behind_ms, trailer);
		emit(arg, NULL, trailer + (sub->offset - message->head_len), n);
	} else {
		emit(arg, message, message->trailer0 + (sub->offset - message->head_len), n);
	}
	sub->offset += (uint32_t)n;
	return n;
}

void sub_take(struct subscription *sub, size_t n, sub_emit emit, void *arg)
{
	uint64_t now = sub->hub->pulled_ns;
	while (n > 0) {
		if (!sub->message) {
			struct place place = place_of(sub);
			struct message *event = find(sub, &place, sub->next);
			assert(event && event->first == sub->next); /* sub_avail has seen it in this turn */
			load_event(sub, &place, event);
		}
		if (sub->offset == 0)
			begin(sub, now);
		n -= slice(sub, n, emit, arg);
		if (sub->offset == message_len(sub->message))
			finish(sub, now);
	}
	hold_update(sub);
}
