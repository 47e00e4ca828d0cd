/* subscription.c: one consumer's subscription to one shard, begun again whenever it ends, as the KCL does.
 *
 * Happy path:
 * - SubscribeToShard at LATEST (TRIM_HORIZON for a drain and for a shard that came by a split or a merge)
 * - bytes are stamped as they are read, and decoded after every socket that had some was read: otherwise the decoding for one consumer
 * would count as the next one's latency
 * - each message's lengths and both CRCs are checked; each record is booked once
 * - the server ends it after five minutes: it begins again AFTER the last event's ContinuationSequenceNumber
 *
 * Failure modes:
 * - a reset stream, a broken connection, an exception in the stream, no answer, a 5xx: the same, after an exponential wait with jitter
 * - ResourceInUse (the old one is not over yet at the server), LimitExceeded: the same; the latter counts as a throttle
 * - the shard ends: the consumer goes on with its children
 * - anything else: the run fails; an endpoint that has no such operation is said to have none */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/run.h"
#include "penstock/eventstream.h"
#include "penstock/writer.h"

#define BACKOFF_NS 100000000u
#define BACKOFF_MOST_NS 5000000000u /* AWS takes a new subscription over an old one after five seconds */
#define SILENT_NS 6000000000u       /* AWS sends an event every five: a server that was silent for longer sends none without records */
#define UNDECODED_MAX (4u << 20)    /* decoded at once beyond it: when the loop never rests, deferred work would pile up */

struct subscription {
	struct deferred deferred;
	struct consumer *consumer;
	struct connection *connection; /* the consumer's; of a stalled one its own */
	bool stalled, child;
	bool in_work, again, ready, over;
	unsigned shard, tries;
	struct call call;
	struct event *timer;            /* until it begins again */
	struct buf in;                  /* not yet decoded */
	uint64_t asked_ns, received_ns; /* received: when its last bytes were read */
	char continuation[SEQUENCE_MAX + 1];
};

/* ---- Events --------------------------------------------------------------------------------------------------------- */

static void on_event(struct subscription *subscription, const struct value *event)
{
	struct side *side = subscription->consumer->intake->side;
	const struct value *records = value_member(event, STR("Records")), *children = value_member(event, STR("ChildShards"));
	struct str continuation = text_member(event, "ContinuationSequenceNumber");
	if (!records || records->kind != VALUE_LIST || continuation.n > SEQUENCE_MAX) {
		side->damaged++;
		return;
	}
	intake_records(subscription->consumer->intake, subscription->shard, records, ENCODING_JSON, subscription->received_ns,
		       !subscription->stalled);
	side->events++;
	side->empty_events += records->n == 0;
	subscription->ready = true;
	subscription->tries = 0;
	if (continuation.n) {
		memcpy(subscription->continuation, continuation.p, continuation.n);
		subscription->continuation[continuation.n] = '\0';
	}
	if (children && children->kind == VALUE_LIST && children->n && !subscription->over) {
		subscription->over = true;
		consumer_shard_ended(subscription->consumer, children);
	}
}

static void on_message(struct subscription *subscription, const struct eventstream_view *view)
{
	struct side *side = subscription->consumer->intake->side;
	struct arena arena = {0};
	struct value *event;
	if (str_equal(view->event_type, STR("initial-response")))
		return;
	if (view->exception_type.p) /* it ends the stream; whatever it is, the next try shows whether it lasts */
		return;
	if (value_decode(ENCODING_JSON, (const uint8_t *)view->payload.p, view->payload.n, &arena, &event) == STATUS_OK)
		on_event(subscription, event);
	else
		side->damaged++;
	arena_free(&arena);
}

static void decode(struct subscription *subscription)
{
	struct eventstream_view view;
	struct buf *in = &subscription->in;
	size_t at = 0;
	int got = 0;
	while (at < in->n && (got = eventstream_decode(in->p + at, in->n - at, &view)) == 1) {
		on_message(subscription, &view);
		at += view.total;
	}
	if (got < 0) {
		fprintf(stderr, "penstock-load: a message's length, header or CRC is wrong\n");
		subscription->consumer->intake->side->damaged++;
		at = in->n;
	}
	if (at) {
		memmove(in->p, in->p + at, in->n - at);
		in->n -= at;
	}
}

static void run_decode(struct deferred *deferred) { decode(container_of(deferred, struct subscription, deferred)); }

/* ---- Its life ------------------------------------------------------------------------------------------------------- */

static void on_bytes(struct call *call, const uint8_t *p, size_t n)
{
	struct subscription *subscription = call->arg;
	subscription->received_ns = connection_read_ns(subscription->connection);
	buf_put(&subscription->in, p, n);
	if (subscription->in.n > UNDECODED_MAX)
		decode(subscription);
	else
		load_defer(subscription->consumer->run->load, &subscription->deferred);
}

static void fail(struct subscription *subscription, enum verdict verdict, const char *why)
{
	struct load *load = subscription->consumer->run->load;
	if (verdict == VERDICT_NO_OPERATION) {
		load->no_push = true;
		snprintf(load->why_no_push, sizeof load->why_no_push, "%.159s", why);
	} else {
		fprintf(stderr, "penstock-load: SubscribeToShard: %s\n", why);
	}
	subscription->consumer->run->failed = true;
}

static void wait_and_subscribe(struct subscription *subscription, uint64_t wait_ns)
{
	struct timeval in = timeval_until(now_ns() + wait_ns);
	evtimer_add(subscription->timer, &in);
}

static void on_end(struct call *call, bool complete)
{
	struct subscription *subscription = call->arg;
	struct run *run = subscription->consumer->run;
	struct side *side = subscription->consumer->intake->side;
	enum verdict verdict = answer_verdict(call, complete);
	char why[300];
	subscription->in_work = false;
	list_remove(&subscription->deferred.link);
	decode(subscription);
	subscription->in.n = 0; /* half a message: it comes again */
	if (subscription->over)
		return;
	if (complete && call->status == 200) {
		wait_and_subscribe(subscription, 0);
		return;
	}
	if (verdict != VERDICT_UNSURE && verdict != VERDICT_THROTTLED && verdict != VERDICT_IN_USE) {
		answer_describe(call, complete, why, sizeof why);
		fail(subscription, verdict, why);
		return;
	}
	side->throttled += verdict == VERDICT_THROTTLED;
	side->retried++;
	wait_and_subscribe(subscription, backoff_ns(run->load, ++subscription->tries, BACKOFF_NS, BACKOFF_MOST_NS));
}

/* Where to begin. Without an event there is no continuation; the shard's start is then safe, since records of other runs are left alone,
 * and the only way that loses nothing once the puts have begun. */
static void write_position(struct subscription *subscription, struct writer *w)
{
	const struct run *run = subscription->consumer->run;
	const char *type = "LATEST";
	if (subscription->continuation[0])
		type = "AFTER_SEQUENCE_NUMBER";
	else if (run->load->options->horizon || subscription->child || (subscription->again && run->put_begin_ns))
		type = "TRIM_HORIZON";
	write_key(w, "StartingPosition");
	write_map(w);
	write_kv_str(w, "Type", str_of(type));
	if (subscription->continuation[0])
		write_kv_str(w, "SequenceNumber", str_of(subscription->continuation));
	write_map_end(w);
}

static void subscribe(struct subscription *subscription)
{
	struct consumer *consumer = subscription->consumer;
	struct load *load = consumer->run->load;
	struct writer w;
	call_free(&subscription->call);
	subscription->call = (struct call){.operation = "SubscribeToShard", .on_data = on_bytes, .on_end = on_end, .arg = subscription};
	writer_init(&w, ENCODING_JSON, &subscription->call.body);
	write_map(&w);
	write_kv_str(&w, "ConsumerARN", str_of(consumer->arn));
	write_kv_str(&w, "ShardId", str_of(load->shards[subscription->shard].id));
	write_position(subscription, &w);
	write_map_end(&w);
	consumer->intake->side->calls++;
	consumer->intake->side->resubscribed += subscription->again;
	subscription->again = true;
	subscription->in_work = true;
	subscription->asked_ns = now_ns();
	connection_call(subscription->connection, &subscription->call);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	subscribe(arg);
}

struct subscription *subscription_new(struct consumer *consumer, unsigned shard, bool stalled, bool child)
{
	struct load *load = consumer->run->load;
	struct subscription *subscription = xcalloc(1, sizeof *subscription);
	subscription->consumer = consumer;
	subscription->shard = shard;
	subscription->stalled = stalled;
	subscription->child = child;
	subscription->deferred.run = run_decode;
	list_init(&subscription->deferred.link);
	subscription->timer = evtimer_new(load->base, on_due, subscription);
	/* A stalled one has HTTP/2's own small window, so that both the window and the socket are full after a while. */
	subscription->connection = stalled ? connection_open(load->base, &load->endpoint, 65535) : consumer->connection;
	wait_and_subscribe(subscription, 0);
	return subscription;
}

bool subscription_ready(const struct subscription *subscription)
{
	return subscription->ready ||
	       (subscription->in_work && subscription->call.status == 200 && now_ns() > subscription->asked_ns + SILENT_NS);
}

bool subscription_over(const struct subscription *subscription) { return subscription->over; }

void subscription_stall(struct subscription *subscription, bool stalled)
{
	if (subscription->stalled)
		connection_stall(subscription->connection, stalled);
}

/* The connection that it used is closed already unless it is its own. */
void subscription_free(struct subscription *subscription)
{
	if (subscription->stalled)
		connection_close(subscription->connection);
	event_free(subscription->timer);
	list_remove(&subscription->deferred.link);
	call_free(&subscription->call);
	buf_free(&subscription->in);
	free(subscription);
}
