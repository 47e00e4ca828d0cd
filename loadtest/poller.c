/* poller.c: shared consumers, each polling every shard by GetRecords.
 *
 * A shard allows 5 calls a second between them all, so each of P pollers asks once every P/5 seconds, its phase spread evenly: the
 * best that polling can do. A throttled call is counted and its iterator used again at the next turn. */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/load.h"
#include "penstock/writer.h"

#define CALLS_PER_SECOND 5 /* AWS's limit per shard; a hair less is asked for, so that jitter does not throttle */
#define CAUTION 1.02

struct shard_poll {
	struct poller *poller;
	struct call call;
	struct event *timer;
	unsigned shard;
	char iterator[600];
	uint64_t due_ns;
	bool asking_iterator;
};

struct poller {
	struct load *load;
	struct connection *connection;
	struct ledger ledger;
	struct shard_poll *shards;
	unsigned ready;
};

static void poll_again(struct shard_poll *poll)
{
	uint64_t now = now_ns(), wait = poll->due_ns > now ? (poll->due_ns - now) / 1000 : 0;
	struct timeval in = {.tv_sec = (time_t)(wait / 1000000), .tv_usec = (suseconds_t)(wait % 1000000)};
	evtimer_add(poll->timer, &in);
}

static void on_records(struct shard_poll *poll, const struct value *records, uint64_t at_ns)
{
	struct load *load = poll->poller->load;
	for (const struct value *record = records->first; record; record = record->next) {
		const struct value *data = value_member(record, STR("Data")), *sequence = value_member(record, STR("SequenceNumber"));
		const struct value *key = value_member(record, STR("PartitionKey"));
		size_t n;
		uint8_t *bytes = xmalloc(data ? data->str.n + 1 : 1);
		if (data && sequence && key && base64_decode(data->str, bytes, &n))
			ledger_book(load, &poll->poller->ledger, &load->polled, poll->shard, sequence->str, key->str.n, bytes, n, at_ns,
				    NULL);
		else
			load->polled.errors++;
		free(bytes);
	}
}

static void on_good_answer(struct shard_poll *poll, uint64_t at_ns)
{
	struct call *call = &poll->call;
	struct arena arena = {0};
	struct value *answer;
	const struct value *next = NULL, *records = NULL;
	if (value_decode(ENCODING_JSON, call->answer.p, call->answer.n, &arena, &answer) == STATUS_OK) {
		next = value_member(answer, poll->asking_iterator ? STR("ShardIterator") : STR("NextShardIterator"));
		records = value_member(answer, STR("Records"));
	}
	if (next && next->kind == VALUE_STRING)
		snprintf(poll->iterator, sizeof poll->iterator, STR_FMT, STR_ARG(next->str));
	else
		poll->poller->load->polled.errors++;
	if (records)
		on_records(poll, records, at_ns);
	if (poll->asking_iterator)
		poll->poller->ready++;
	poll->asking_iterator = false;
	poll->poller->load->polled.events++;
	arena_free(&arena);
}

static void on_answered(struct call *call, bool complete)
{
	struct shard_poll *poll = call->arg;
	struct tally *tally = &poll->poller->load->polled;
	uint64_t now = now_ns();
	if (complete && call->status == 200)
		on_good_answer(poll, now);
	else if (complete && call->answer.n && memmem(call->answer.p, call->answer.n, "ProvisionedThroughput", 21))
		tally->throttled++;
	else
		tally->errors++;
	if (poll->poller->load->pollers)
		poll_again(poll);
}

static void ask(struct shard_poll *poll)
{
	struct load *load = poll->poller->load;
	const struct load_options *options = load->options;
	call_free(&poll->call);
	poll->call =
		(struct call){.operation = poll->asking_iterator ? "GetShardIterator" : "GetRecords", .on_end = on_answered, .arg = poll};
	if (poll->asking_iterator)
		buf_printf(&poll->call.body, "{\"StreamName\":\"%s\",\"ShardId\":\"%s\",\"ShardIteratorType\":\"%s\"}", options->stream,
			   load->shard_ids[poll->shard], options->horizon ? "TRIM_HORIZON" : "LATEST");
	else
		buf_printf(&poll->call.body, "{\"ShardIterator\":\"%s\"}", poll->iterator);
	connection_call(poll->poller->connection, &poll->call);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct shard_poll *poll = arg;
	uint64_t gap = (uint64_t)(1e9 * CAUTION * poll->poller->load->options->pollers / CALLS_PER_SECOND);
	(void)fd, (void)what;
	for (poll->due_ns += gap; poll->due_ns <= now_ns();)
		poll->due_ns += gap;
	ask(poll);
}

static bool poller_start(struct load *load, struct poller *poller, unsigned number)
{
	uint64_t begin = now_ns();
	poller->load = load;
	ledger_init(&poller->ledger, load->numbers_max);
	poller->shards = xcalloc(load->n_shards, sizeof *poller->shards);
	poller->connection = connection_open(load->base, &load->options->endpoint, 0);
	if (!poller->connection)
		return false;
	for (unsigned shard = 0; shard < load->n_shards; shard++) {
		struct shard_poll *poll = &poller->shards[shard];
		*poll = (struct shard_poll){.poller = poller, .shard = shard, .asking_iterator = true};
		poll->timer = evtimer_new(load->base, on_due, poll);
		poll->due_ns = begin + (uint64_t)(1e9 * CAUTION * number / CALLS_PER_SECOND);
		ask(poll);
	}
	return true;
}

bool pollers_start(struct load *load)
{
	bool never = false;
	load->pollers = xcalloc(load->options->pollers ? load->options->pollers : 1, sizeof *load->pollers);
	for (unsigned i = 0; i < load->options->pollers; i++)
		if (!poller_start(load, &load->pollers[i], i))
			return false;
	/* Positions are fixed by GetShardIterator: nothing may be put before each poller has its iterators. */
	for (unsigned i = 0; i < load->options->pollers; i++)
		for (int tries = 0; load->pollers[i].ready < load->n_shards; tries++)
			if (load_wait(load, &never, 0.05) || tries > 400)
				return false;
	return true;
}

bool pollers_have(const struct load *load, uint64_t records)
{
	for (unsigned i = 0; i < load->options->pollers; i++)
		if (load->pollers[i].ledger.count < records)
			return false;
	return true;
}

uint64_t pollers_window_bytes(const struct load *load)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < load->options->pollers; i++)
		sum += load->pollers[i].ledger.window_bytes;
	return sum;
}

void pollers_free(struct load *load)
{
	struct poller *pollers = load->pollers;
	load->pollers = NULL;
	for (unsigned i = 0; pollers && i < load->options->pollers; i++) {
		for (unsigned shard = 0; pollers[i].shards && shard < load->n_shards; shard++) {
			if (pollers[i].shards[shard].timer)
				event_free(pollers[i].shards[shard].timer);
			call_free(&pollers[i].shards[shard].call);
		}
		connection_close(pollers[i].connection);
		ledger_fini(&pollers[i].ledger);
		free(pollers[i].shards);
	}
	free(pollers);
}
