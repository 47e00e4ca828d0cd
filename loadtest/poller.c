/* poller.c: shared consumers, each polling every shard by GetRecords.
 *
 * A shard allows 5 calls a second between them all, so each of P pollers asks once every P/5 seconds, its phase spread evenly: the best
 * that polling can do.
 *
 * Failure modes, as the KCL meets them:
 * - throttled, a 5xx, no answer: counted; the same iterator is used again at the next turn, which loses nothing and doubles nothing
 * - an expired iterator: a new one, AFTER_SEQUENCE_NUMBER the last record
 * - the shard ends: its children are read from their start, once every parent is over
 * - anything else: the run fails */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/run.h"
#include "penstock/writer.h"

#define CALLS_PER_SECOND 5 /* AWS's limit per shard; a hair less is asked for, so that jitter does not throttle */
#define CAUTION 1.02

struct shard_poll {
	struct deferred deferred;
	struct poller *poller;
	struct call call;
	struct event *timer;
	char *iterator;
	uint64_t due_ns, answered_ns;
	unsigned shard;
	bool child, ready, over, complete;
};

struct poller {
	struct run *run;
	struct intake *intake;
	struct connection *connection;
	struct shard_poll **shards; /* by shard; NULL: not begun */
	unsigned number;
};

static void poll_begin(struct poller *poller, unsigned shard, bool child);

static uint64_t interval_ns(const struct run *run) { return (uint64_t)(1e9 * CAUTION * run->plan->pollers / CALLS_PER_SECOND); }

static void poll_again(struct shard_poll *poll)
{
	struct timeval in = timeval_until(poll->due_ns);
	evtimer_add(poll->timer, &in);
}

/* ---- Answers -------------------------------------------------------------------------------------------------------- */

static bool parents_over(const struct poller *poller, unsigned shard)
{
	struct load *load = poller->run->load;
	for (unsigned i = 0; i < 2; i++) {
		unsigned parent = shard_find(load, str_of(load->shards[shard].parents[i]));
		if (parent < LOAD_SHARDS_MAX && poller->shards[parent] && !poller->shards[parent]->over)
			return false;
	}
	return true;
}

static void on_shard_end(struct shard_poll *poll, const struct value *children)
{
	struct poller *poller = poll->poller;
	unsigned found[2], n = shards_learn_children(poller->run->load, children, found);
	poll->over = true;
	for (unsigned i = 0; i < n; i++)
		if (!poller->shards[found[i]] && parents_over(poller, found[i]))
			poll_begin(poller, found[i], true);
}

/* Not as the API has it. */
static void on_bad_answer(struct shard_poll *poll, const char *how)
{
	struct intake *intake = poll->poller->intake;
	if (poll->call.answer_encoding == ENCODING_CBOR)
		intake_unreadable(intake, poll->call.operation, how);
	else
		intake->side->damaged++;
}

static void on_iterator(struct shard_poll *poll, const struct value *answer)
{
	struct str iterator = text_member(answer, "ShardIterator");
	if (iterator.n == 0) {
		on_bad_answer(poll, "it has no ShardIterator");
		return;
	}
	poll->iterator = xstrndup(iterator.p, iterator.n);
	poll->ready = true;
}

static void on_records(struct shard_poll *poll, const struct value *answer)
{
	struct side *side = poll->poller->intake->side;
	const struct value *records = answer ? value_member(answer, STR("Records")) : NULL;
	struct str next = text_member(answer, "NextShardIterator");
	if (!records || records->kind != VALUE_LIST) {
		on_bad_answer(poll, "it has no list of Records");
		return;
	}
	side->calls++;
	side->events++;
	side->empty_events += records->n == 0;
	free(poll->iterator);
	poll->iterator = next.n ? xstrndup(next.p, next.n) : NULL;
	const struct value *children = value_member(answer, STR("ChildShards"));
	intake_records(poll->poller->intake, poll->shard, records, poll->call.answer_encoding, poll->answered_ns, true);
	if (!poll->iterator)
		on_shard_end(poll, children);
}

static void fail(struct shard_poll *poll)
{
	char why[300];
	answer_describe(&poll->call, poll->complete, why, sizeof why);
	fprintf(stderr, "penstock-load: %s: %s\n", poll->call.operation, why);
	poll->poller->run->failed = true;
}

/* After every socket that had bytes was read: see subscription.c. */
static void run_answer(struct deferred *deferred)
{
	struct shard_poll *poll = container_of(deferred, struct shard_poll, deferred);
	struct side *side = poll->poller->intake->side;
	struct arena arena = {0};
	switch (answer_verdict(&poll->call, poll->complete)) {
	case VERDICT_GOOD:
		if (poll->iterator)
			on_records(poll, answer_tree(&poll->call, &arena));
		else
			on_iterator(poll, answer_tree(&poll->call, &arena));
		break;
	case VERDICT_THROTTLED:
		side->throttled++;
		side->retried++;
		break;
	case VERDICT_EXPIRED:
		free(poll->iterator);
		poll->iterator = NULL;
		side->retried++;
		break;
	case VERDICT_UNSURE:
	case VERDICT_IN_USE:
		side->retried++;
		break;
	default:
		fail(poll);
	}
	arena_free(&arena);
	if (!poll->over)
		poll_again(poll);
}

static void on_answered(struct call *call, bool complete)
{
	struct shard_poll *poll = call->arg;
	poll->answered_ns = connection_read_ns(poll->poller->connection);
	poll->complete = complete;
	load_defer(poll->poller->run->load, &poll->deferred);
}

/* ---- Calls ---------------------------------------------------------------------------------------------------------- */

/* As for a subscription: once the puts have begun, a start without a last record is the shard's own. */
static void write_position(struct shard_poll *poll, struct writer *w)
{
	const struct run *run = poll->poller->run;
	const char *last = poll->poller->intake->last_sequence[poll->shard], *type = "LATEST";
	if (last[0])
		type = "AFTER_SEQUENCE_NUMBER";
	else if (run->load->options->horizon || poll->child || run->put_begin_ns)
		type = "TRIM_HORIZON";
	write_kv_str(w, "ShardIteratorType", str_of(type));
	if (last[0])
		write_kv_str(w, "StartingSequenceNumber", str_of(last));
}

static void ask(struct shard_poll *poll)
{
	const struct load *load = poll->poller->run->load;
	struct writer w;
	call_free(&poll->call);
	poll->call = (struct call){.operation = poll->iterator ? "GetRecords" : "GetShardIterator",
				   .encoding = load->options->format,
				   .on_end = on_answered,
				   .arg = poll};
	writer_init(&w, load->options->format, &poll->call.body);
	write_map(&w);
	if (poll->iterator) {
		write_kv_str(&w, "ShardIterator", str_of(poll->iterator));
	} else {
		write_kv_str(&w, "StreamName", str_of(load->stream));
		write_kv_str(&w, "ShardId", str_of(load->shards[poll->shard].id));
		write_position(poll, &w);
	}
	write_map_end(&w);
	connection_call(poll->poller->connection, &poll->call);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct shard_poll *poll = arg;
	uint64_t interval = interval_ns(poll->poller->run);
	(void)fd, (void)what;
	/* The phase stays, however late an answer was. */
	for (poll->due_ns += interval; poll->due_ns <= now_ns();)
		poll->due_ns += interval;
	ask(poll);
}

/* ---- Life ----------------------------------------------------------------------------------------------------------- */

static void poll_begin(struct poller *poller, unsigned shard, bool child)
{
	struct load *load = poller->run->load;
	struct shard_poll *poll = poller->shards[shard] = xcalloc(1, sizeof *poll);
	poll->poller = poller;
	poll->shard = shard;
	poll->child = child;
	poll->deferred.run = run_answer;
	list_init(&poll->deferred.link);
	poll->timer = evtimer_new(load->base, on_due, poll);
	poll->due_ns = now_ns() + (uint64_t)(1e9 * CAUTION * poller->number / CALLS_PER_SECOND);
	ask(poll);
}

static void poller_start(struct run *run, struct poller *poller, unsigned number)
{
	struct load *load = run->load;
	poller->run = run;
	poller->number = number;
	poller->intake = &run->intakes[run->plan->consumers + number];
	poller->shards = xcalloc(LOAD_SHARDS_MAX, sizeof(*poller->shards));
	snprintf(poller->intake->receiver->name, sizeof poller->intake->receiver->name, "poller %u", number + 1);
	poller->connection = connection_open(load->base, &load->endpoint, 0);
	for (unsigned shard = 0; shard < load->n_shards_first; shard++)
		poll_begin(poller, shard, false);
}

void pollers_start(struct run *run)
{
	run->regime->polled.interval_ms = (double)interval_ns(run) / 1e6;
	run->pollers = xcalloc(run->plan->pollers ? run->plan->pollers : 1, sizeof *run->pollers);
	for (unsigned i = 0; i < run->plan->pollers; i++)
		poller_start(run, &run->pollers[i], i);
}

bool pollers_ready(const struct run *run)
{
	for (unsigned i = 0; i < run->plan->pollers; i++)
		for (unsigned shard = 0; shard < run->load->n_shards_first; shard++)
			if (!run->pollers[i].shards[shard]->ready)
				return false;
	return true;
}

static void poll_free(struct shard_poll *poll)
{
	list_remove(&poll->deferred.link);
	event_free(poll->timer);
	call_free(&poll->call);
	free(poll->iterator);
	free(poll);
}

void pollers_free(struct run *run)
{
	for (unsigned i = 0; run->pollers && i < run->plan->pollers; i++) {
		struct poller *poller = &run->pollers[i];
		connection_close(poller->connection);
		for (unsigned shard = 0; poller->shards && shard < LOAD_SHARDS_MAX; shard++)
			if (poller->shards[shard])
				poll_free(poller->shards[shard]);
		free(poller->shards);
	}
	free(run->pollers);
	run->pollers = NULL;
}
