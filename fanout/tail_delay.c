/* tail_delay.c: under a delivery profile, durable records that are not shown yet.
 *
 * Thread: the hub's. A tail's durable_end and ring are what they always are; shown_end follows durable_end when the profile says so, and
 * nobody pulls beyond it. So a subscription stays a cursor, MillisBehindLatest tells of the durable end, and the end of a shard comes
 * behind its last record.
 *
 *   delays of one tail, oldest first:   end 120 at 5.010 s | end 131 at 5.013 s | ...     both rise
 *
 * - tail_delay: the wait is asked of the profile once; from then on the monotonic clock counts. What is due in the same millisecond is one
 *   entry, so a tail has at most as many as the longest delay has milliseconds, whatever the rate.
 * - tail_delay_tick: shown_end rises to the last entry that is due, and the idle are woken.
 *
 * A tail that is made while much is delayed shows nothing until the delay of its newest record is over: within the longest delay.
 *
 * Failure modes: none; a batch that has left the ring meanwhile is read from the log. */
#include <stdlib.h>

#include "fanout/hub.h"

#define NS_PER_MS UINT64_C(1000000)

struct delayed_end {
	uint64_t end, due_ns;
};

struct delay {
	struct list link; /* hub->delayed, while it holds something */
	struct tail *tail;
	struct delayed_end *ends; /* ends[begin..n) */
	uint32_t begin, n, cap;
};

static struct delay *delay_new(struct tail *tail)
{
	struct delay *delay = xcalloc(1, sizeof(*delay));
	delay->tail = tail;
	list_init(&delay->link);
	return delay;
}

static void add(struct delay *delay, uint64_t end, uint64_t due_ns)
{
	if (delay->begin < delay->n && delay->ends[delay->n - 1].due_ns >= due_ns) {
		delay->ends[delay->n - 1].end = end; /* not before what is in front of it */
		return;
	}
	if (delay->begin > delay->cap / 2) {
		delay->n -= delay->begin;
		memmove(delay->ends, delay->ends + delay->begin, delay->n * sizeof(*delay->ends));
		delay->begin = 0;
	}
	if (delay->n == delay->cap) {
		delay->cap = delay->cap ? delay->cap * 2 : 16;
		delay->ends = xrealloc(delay->ends, delay->cap * sizeof(*delay->ends));
	}
	delay->ends[delay->n++] = (struct delayed_end){end, due_ns};
}

bool tail_delay(struct hub *hub, struct tail *tail, uint64_t end, int64_t arrival_ms)
{
	struct io *io = hub->config.io;
	int64_t wait_ms = profile_wait_ms(hub->config.profile, PROFILE_PUSH, &tail->shard, arrival_ms, io_wall_ms(io));
	if (!tail->delays)
		tail->delays = delay_new(tail);
	struct delay *delay = tail->delays;
	if (wait_ms == 0 && list_empty(&delay->link)) {
		tail->shown_end = end;
		return true;
	}
	add(delay, end, io_mono_ns(io) + (uint64_t)wait_ms * NS_PER_MS);
	if (list_empty(&delay->link))
		list_append(&hub->delayed, &delay->link);
	uint64_t first_ns = delay->ends[delay->begin].due_ns;
	if (first_ns < hub->delayed_ns)
		hub->delayed_ns = first_ns;
	return false;
}

/* Shows what is due. True: there was something. */
static bool show_due(struct delay *delay, uint64_t now_ns)
{
	uint32_t begin = delay->begin;
	while (delay->begin < delay->n && delay->ends[delay->begin].due_ns <= now_ns)
		delay->tail->shown_end = delay->ends[delay->begin++].end;
	return delay->begin != begin;
}

static void tick(struct hub *hub, struct delay *delay, uint64_t now_ns)
{
	struct tail *tail = delay->tail;
	bool news = show_due(delay, now_ns);
	if (delay->begin == delay->n) {
		delay->begin = delay->n = 0;
	} else {
		list_append(&hub->delayed, &delay->link);
		if (delay->ends[delay->begin].due_ns < hub->delayed_ns)
			hub->delayed_ns = delay->ends[delay->begin].due_ns;
	}
	if (!news)
		return;
	if (!hub->taken_ns)
		hub->taken_ns = now_ns;
	tail->users++;
	tail_wake(tail);
	tail_put(hub, tail);
}

void tail_delay_tick(struct hub *hub, uint64_t now_ns)
{
	struct list delayed, *node;
	if (now_ns < hub->delayed_ns)
		return;
	list_init(&delayed);
	list_splice(&delayed, &hub->delayed);
	hub->delayed_ns = UINT64_MAX;
	while ((node = list_pop(&delayed)))
		tick(hub, container_of(node, struct delay, link), now_ns);
}

void tail_delay_free(struct tail *tail)
{
	if (!tail->delays)
		return;
	list_remove(&tail->delays->link);
	free(tail->delays->ends);
	free(tail->delays);
}
