/* consumer.c: enhanced fan-out consumers: one connection each, one subscription per shard.
 *
 * Bytes are stamped as they are read and decoded after every socket that had some was read (an event of lower priority): otherwise the
 * decoding for one consumer would count as the next one's latency. Each message is decoded (both CRCs), each record booked once. A
 * subscription that the server ends (five minutes, or an exception) begins again after its last ContinuationSequenceNumber, as the KCL
 * does. */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/load.h"
#include "penstock/eventstream.h"
#include "penstock/writer.h"

struct shard_reader {
	struct consumer *consumer;
	struct connection *connection; /* the consumer's, or its own when stalled */
	struct call call;
	struct buf in;        /* not yet decoded */
	struct list link;     /* load->undecoded */
	uint64_t received_ns; /* when its last bytes were read */
	unsigned shard;
	char continuation[60];
	bool ready, stalled;
};

struct consumer {
	struct load *load;
	struct connection *connection;
	char arn[300];
	struct ledger ledger;
	struct shard_reader *shards;
};

static void subscribe(struct shard_reader *reader);

static struct str member(const struct value *map, const char *key)
{
	const struct value *v = value_member(map, str_of(key));
	return v && v->kind == VALUE_STRING ? v->str : (struct str){NULL, 0};
}

static void on_records(struct shard_reader *reader, const struct value *records, uint64_t at_ns)
{
	struct load *load = reader->consumer->load;
	for (const struct value *record = records->first; record; record = record->next) {
		struct str data = member(record, "Data");
		size_t n;
		uint8_t *bytes = xmalloc(data.n + 1);
		if (data.p && base64_decode(data, bytes, &n))
			ledger_book(load, &reader->consumer->ledger, &load->pushed, reader->shard, member(record, "SequenceNumber"),
				    member(record, "PartitionKey").n, bytes, n, at_ns, reader->stalled ? NULL : &load->pushed_others);
		else
			load->pushed.errors++;
		free(bytes);
	}
}

static void on_message(struct shard_reader *reader, const struct eventstream_view *view, uint64_t at_ns)
{
	struct load *load = reader->consumer->load;
	struct arena arena = {0};
	struct value *event;
	if (str_equal(view->event_type, STR("initial-response")))
		return;
	if (!str_equal(view->event_type, STR("SubscribeToShardEvent"))) {
		fprintf(stderr, "penstock-load: exception " STR_FMT ": " STR_FMT "\n", STR_ARG(view->exception_type),
			STR_ARG(view->payload));
		load->pushed.errors++;
		return;
	}
	const struct value *records = NULL;
	if (value_decode(ENCODING_JSON, (const uint8_t *)view->payload.p, view->payload.n, &arena, &event) == STATUS_OK)
		records = value_member(event, STR("Records"));
	if (records && records->kind == VALUE_LIST) {
		struct str continuation = member(event, "ContinuationSequenceNumber");
		on_records(reader, records, at_ns);
		load->pushed.events++;
		load->pushed.empty_events += records->n == 0;
		reader->ready = true;
		snprintf(reader->continuation, sizeof reader->continuation, STR_FMT, STR_ARG(continuation));
	} else {
		load->pushed.errors++;
	}
	arena_free(&arena);
}

static void decode(struct shard_reader *reader)
{
	struct eventstream_view view;
	size_t at = 0;
	int got = 0;
	while (at < reader->in.n && (got = eventstream_decode(reader->in.p + at, reader->in.n - at, &view)) == 1) {
		on_message(reader, &view, reader->received_ns);
		at += view.total;
	}
	if (got < 0) {
		fprintf(stderr, "penstock-load: a message's length, header or CRC is wrong\n");
		reader->consumer->load->pushed.errors++;
		at = reader->in.n;
	}
	memmove(reader->in.p, reader->in.p + at, reader->in.n - at);
	reader->in.n -= at;
}

static void on_decode(evutil_socket_t fd, short what, void *arg)
{
	struct load *load = arg;
	(void)fd, (void)what;
	for (struct list *node; (node = list_pop(&load->undecoded));)
		decode(container_of(node, struct shard_reader, link));
}

static void on_bytes(struct call *call, const uint8_t *p, size_t n)
{
	struct shard_reader *reader = call->arg;
	struct load *load = reader->consumer->load;
	reader->received_ns = now_ns();
	buf_put(&reader->in, p, n);
	if (list_empty(&reader->link))
		list_append(&load->undecoded, &reader->link);
	event_active(load->decode_event, 0, 0);
}

static void on_subscription_end(struct call *call, bool complete)
{
	struct shard_reader *reader = call->arg;
	list_remove(&reader->link);
	decode(reader);
	if (complete && call->status == 200) {
		subscribe(reader);
		return;
	}
	fprintf(stderr, "penstock-load: subscription ended: %d " STR_FMT "\n", call->status, (int)call->answer.n, (char *)call->answer.p);
	reader->consumer->load->failed = true;
}

static void subscribe(struct shard_reader *reader)
{
	struct load *load = reader->consumer->load;
	buf_free(&reader->call.body);
	reader->call = (struct call){.operation = "SubscribeToShard", .on_data = on_bytes, .on_end = on_subscription_end, .arg = reader};
	buf_printf(&reader->call.body, "{\"ConsumerARN\":\"%s\",\"ShardId\":\"%s\",\"StartingPosition\":", reader->consumer->arn,
		   load->shard_ids[reader->shard]);
	if (reader->continuation[0])
		buf_printf(&reader->call.body, "{\"Type\":\"AFTER_SEQUENCE_NUMBER\",\"SequenceNumber\":\"%s\"}}", reader->continuation);
	else
		buf_printf(&reader->call.body, "{\"Type\":\"%s\"}}", load->options->horizon ? "TRIM_HORIZON" : "LATEST");
	connection_call(reader->connection, &reader->call);
}

/* The last `stalled` subscriptions, counted consumer by consumer. Half of them with a small HTTP/2 window that is never opened
 * and half whose socket is not read, so that both ways of not reading are met. */
static bool is_stalled(const struct load *load, unsigned consumer, unsigned shard)
{
	unsigned all = load->options->consumers * load->n_shards;
	return consumer * load->n_shards + shard >= all - load->options->stalled;
}

static bool consumer_start(struct load *load, struct consumer *consumer, unsigned number)
{
	char name[32];
	snprintf(name, sizeof name, "consumer-%u", number);
	consumer->load = load;
	ledger_init(&consumer->ledger, load->numbers_max);
	consumer->shards = xcalloc(load->n_shards, sizeof *consumer->shards);
	consumer->connection = connection_open(load->base, &load->options->endpoint, 0);
	if (!consumer->connection || !consumer_register(load, name, consumer->arn))
		return false;
	for (unsigned shard = 0; shard < load->n_shards; shard++) {
		struct shard_reader *reader = &consumer->shards[shard];
		reader->consumer = consumer;
		list_init(&reader->link);
		reader->shard = shard;
		reader->stalled = is_stalled(load, number, shard);
		reader->connection = reader->stalled ? connection_open(load->base, &load->options->endpoint, 65535) : consumer->connection;
		if (!reader->connection)
			return false;
		subscribe(reader);
	}
	return true;
}

bool consumers_start(struct load *load)
{
	list_init(&load->undecoded);
	load->decode_event = event_new(load->base, -1, 0, on_decode, load);
	event_priority_set(load->decode_event, 2);
	load->consumers = xcalloc(load->options->consumers ? load->options->consumers : 1, sizeof *load->consumers);
	for (unsigned i = 0; i < load->options->consumers; i++)
		if (!consumer_start(load, &load->consumers[i], i))
			return false;
	return true;
}

bool consumers_ready(const struct load *load)
{
	for (unsigned i = 0; i < load->options->consumers; i++)
		for (unsigned shard = 0; shard < load->n_shards; shard++)
			if (!load->consumers[i].shards[shard].ready)
				return false;
	for (unsigned i = 0; i < load->options->consumers; i++)
		for (unsigned shard = 0; shard < load->n_shards; shard++)
			if (load->consumers[i].shards[shard].stalled)
				connection_stall(load->consumers[i].shards[shard].connection, true);
	return true;
}

void consumers_resume(struct load *load)
{
	for (unsigned i = 0; i < load->options->consumers; i++)
		for (unsigned shard = 0; shard < load->n_shards; shard++)
			if (load->consumers[i].shards[shard].stalled)
				connection_stall(load->consumers[i].shards[shard].connection, false);
}

bool consumers_have(const struct load *load, uint64_t records)
{
	for (unsigned i = 0; i < load->options->consumers; i++)
		if (load->consumers[i].ledger.count < records)
			return false;
	return true;
}

uint64_t consumer_window_bytes(const struct load *load, unsigned i) { return load->consumers[i].ledger.window_bytes; }

void consumers_free(struct load *load)
{
	for (unsigned i = 0; load->consumers && i < load->options->consumers; i++) {
		struct consumer *consumer = &load->consumers[i];
		for (unsigned shard = 0; consumer->shards && shard < load->n_shards; shard++) {
			struct shard_reader *reader = &consumer->shards[shard];
			if (reader->stalled)
				connection_close(reader->connection);
			call_free(&reader->call);
			buf_free(&reader->in);
		}
		connection_close(consumer->connection);
		ledger_fini(&consumer->ledger);
		free(consumer->shards);
	}
	free(load->consumers);
	load->consumers = NULL;
	if (load->decode_event)
		event_free(load->decode_event);
}
