/* known.c: load-known, a Kinesis that penstock-load is measured by: one stream, in memory, with the few operations that it asks for. A
 * record can be had DELAY after its put was read, and what it truly took is known.
 *
 *   load-known --delay MS|LOW-HIGH [--seed N]         evenly between the two; prints its port, and at SIGTERM its figures as JSON
 *   load-known --echo                                 no delay: pushed in the turn in which the put was read
 *   load-known --loopback OUT:BACK:RATE               what the machine itself takes, for 6 s: see known_loopback.c
 *
 * The figures, of the records that penstock-load counts (its warm-up is left out):
 * - pushed, polled: from the time at which the put was to be sent, which the record says, to the call that gives the kernel the event, or
 * the answer of GetRecords: what a client would measure that needs no time, behind a loopback that needs none
 * - delay: as drawn; lead: from that time to the put's read; turn: from the put's read to the event's hand-over; late: turn less delay
 * - step: from one record's time to the next number's, the warm-up with it: even steps say that those times are the schedule's
 *
 * Record n goes to shard n modulo the number of shards, so that a shard's records lie far apart: they keep their order, and one that would
 * overtake another waits for it, which its figures say. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/run.h" /* record_stamp */
#include "penstock/eventstream.h"
#include "penstock/writer.h" /* base64 */
#include "tests/load/known.h"

#define SHARDS_MAX 64
#define SHARD_ID "shardId-%012u"

struct record {
	char *data, *key; /* as JSON has them */
	uint64_t sent_ns, read_ns, delay_ns;
	bool counted;
};

static struct shard_log {
	struct record **records;
	size_t n, n_out;           /* those below n_out can be had */
	struct event *timer;       /* of the next one */
	struct list subscriptions; /* exchanges */
} shards[SHARDS_MAX];
static unsigned n_shards = 1;
static uint64_t low_ns, high_ns, chance = 1;
static struct record_stamp last; /* as it arrived; sent_ns 0: none */
static struct buf pushed, polled, delays, leads, turns, lates, steps;

/* ---- Delivering ----------------------------------------------------------------------------------------------------- */

/* The records from `from` on that can be had; returns where they end. */
static size_t write_records(struct exchange *exchange, struct buf *out, const struct shard_log *shard, size_t from, bool push)
{
	buf_put_str(out, STR("{\"MillisBehindLatest\":0,\"Records\":["));
	for (size_t i = from; i < shard->n_out; i++) {
		const struct carried carried = {shard->records[i], push};
		buf_put(&exchange->carried, &carried, sizeof carried);
		buf_printf(out, "%s{\"SequenceNumber\":\"%zu\",\"ApproximateArrivalTimestamp\":1,\"Data\":\"%s\",\"PartitionKey\":\"%s\"}",
			   i > from ? "," : "", i + 1, shard->records[i]->data, shard->records[i]->key);
	}
	buf_put_char(out, ']');
	return shard->n_out;
}

/* An event with what the subscription has not yet had: none, when it begins. */
static void push(struct exchange *subscription, const struct shard_log *shard)
{
	struct buf payload = {0};
	subscription->at = write_records(subscription, &payload, shard, subscription->at, true);
	buf_printf(&payload, ",\"ContinuationSequenceNumber\":\"%zu\"}", subscription->at);
	eventstream_message(&subscription->out, EVENTSTREAM_EVENT, STR(""), (struct str){(char *)payload.p, payload.n});
	buf_free(&payload);
}

static uint64_t due_ns(const struct record *record) { return record->read_ns + record->delay_ns; }

/* Lets out what is due and waits for the next one. A timer may come a little early: libevent counts from when its turn began. */
static void release(struct shard_log *shard)
{
	size_t before = shard->n_out;
	while (shard->n_out < shard->n && due_ns(shard->records[shard->n_out]) <= now_ns())
		shard->n_out++;
	if (shard->n_out > before) {
		LIST_EACH (node, &shard->subscriptions) {
			push(container_of(node, struct exchange, link), shard);
			h2_more(container_of(node, struct exchange, link));
		}
	}
	if (shard->n_out < shard->n) {
		struct timeval in = timeval_until(due_ns(shard->records[shard->n_out]));
		evtimer_add(shard->timer, &in);
	}
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	release(arg);
}

static void on_handed(const struct carried *carried, size_t n, uint64_t at_ns)
{
	for (size_t i = 0; i < n; i++) {
		const struct record *record = carried[i].record;
		if (!record->counted)
			continue;
		samples_add(carried[i].pushed ? &pushed : &polled, at_ns - record->sent_ns);
		if (!carried[i].pushed)
			continue;
		samples_add(&turns, at_ns - record->read_ns);
		samples_add(&lates, at_ns - due_ns(record));
	}
}

/* ---- Operations: what follows the brace of the answer ---------------------------------------------------------------- */

/* Evenly from low_ns to high_ns, by splitmix64. */
static uint64_t draw_delay(void)
{
	uint64_t z = chance += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return low_ns + (uint64_t)((double)(high_ns - low_ns) * ((double)((z ^ (z >> 31)) >> 11) * 0x1p-53));
}

static struct record *record_new(struct str data, struct str key, uint64_t read_ns, struct record_stamp *stamp)
{
	struct record *record = xcalloc(1, sizeof *record);
	uint8_t *bytes = xmalloc(data.n + 1);
	size_t n;
	if (!base64_decode(data, bytes, &n) || !record_stamp_read(bytes, n, stamp)) {
		fprintf(stderr, "load-known: a record that penstock-load has not put\n");
		exit(1);
	}
	free(bytes);
	*record = (struct record){xstrndup(data.p, data.n), xstrndup(key.p, key.n), stamp->sent_ns, read_ns, draw_delay(), stamp->counted};
	return record;
}

static void put_record(struct exchange *exchange, const struct value *body)
{
	struct record_stamp stamp;
	struct record *record = record_new(text_member(body, "Data"), text_member(body, "PartitionKey"), exchange->read_ns, &stamp);
	struct shard_log *shard = &shards[stamp.number % n_shards];
	if (last.sent_ns) /* puts that a window has held back may arrive in another order */
		samples_add(&steps, (uint64_t)((int64_t)(stamp.sent_ns - last.sent_ns) / (int64_t)(stamp.number - last.number)));
	last = stamp;
	if (record->counted) {
		samples_add(&delays, record->delay_ns);
		samples_add(&leads, record->read_ns - record->sent_ns);
	}
	shard->records = xrealloc(shard->records, (shard->n + 1) * sizeof *shard->records);
	shard->records[shard->n++] = record;
	release(shard);
	buf_printf(&exchange->out, "\"SequenceNumber\":\"%zu\",\"ShardId\":\"" SHARD_ID "\"}", shard->n, (unsigned)(shard - shards));
}

static struct shard_log *shard_of(struct str text, const char *format, size_t *at)
{
	unsigned shard = 0;
	char copy[64];
	snprintf(copy, sizeof copy, STR_FMT, STR_ARG(text));
	sscanf(copy, format, &shard, at);
	return &shards[shard % n_shards];
}

/* The index of the first record of a position. */
static size_t position(const struct shard_log *shard, struct str type, struct str sequence)
{
	char copy[32];
	snprintf(copy, sizeof copy, STR_FMT, STR_ARG(sequence));
	return str_equal(type, STR("LATEST")) ? shard->n : strtoul(copy, NULL, 10);
}

static void subscribe_to_shard(struct exchange *exchange, const struct value *body)
{
	struct shard_log *shard = shard_of(text_member(body, "ShardId"), "shardId-%12u", NULL);
	const struct value *start = value_member(body, STR("StartingPosition"));
	exchange->at = position(shard, text_member(start, "Type"), text_member(start, "SequenceNumber"));
	exchange->out.n = 0; /* no brace before a message */
	eventstream_message(&exchange->out, EVENTSTREAM_INITIAL, STR(""), STR("{}"));
	push(exchange, shard);
	list_append(&shard->subscriptions, &exchange->link);
	exchange->whole = false;
}

static void get_shard_iterator(struct exchange *exchange, const struct value *body)
{
	const struct shard_log *shard = shard_of(text_member(body, "ShardId"), "shardId-%12u", NULL);
	size_t at = position(shard, text_member(body, "ShardIteratorType"), text_member(body, "StartingSequenceNumber"));
	buf_printf(&exchange->out, "\"ShardIterator\":\"%u:%zu\"}", (unsigned)(shard - shards), at);
}

static void get_records(struct exchange *exchange, const struct value *body)
{
	size_t at = 0;
	const struct shard_log *shard = shard_of(text_member(body, "ShardIterator"), "%u:%zu", &at);
	exchange->out.n = 0; /* write_records has its own brace */
	at = write_records(exchange, &exchange->out, shard, at, false);
	buf_printf(&exchange->out, ",\"NextShardIterator\":\"%u:%zu\"}", (unsigned)(shard - shards), at);
}

static void create_stream(struct exchange *exchange, const struct value *body)
{
	const struct value *count = value_member(body, STR("ShardCount"));
	if (count && count->integer >= 1 && count->integer <= SHARDS_MAX)
		n_shards = (unsigned)count->integer;
	buf_put_char(&exchange->out, '}');
}

static void list_shards(struct exchange *exchange, const struct value *body)
{
	(void)body;
	for (unsigned i = 0; i < n_shards; i++)
		buf_printf(&exchange->out, "%s{\"ShardId\":\"" SHARD_ID "\"}", i ? "," : "\"Shards\":[", i);
	buf_put_str(&exchange->out, STR("]}"));
}

/* ---- Requests ------------------------------------------------------------------------------------------------------- */

static const struct operation {
	const char *name, *text; /* text: the same for everybody */
	void (*answer)(struct exchange *exchange, const struct value *body);
} operations[] = {
	{"PutRecord", "", put_record},
	{"GetRecords", "", get_records},
	{"GetShardIterator", "", get_shard_iterator},
	{"SubscribeToShard", "", subscribe_to_shard},
	{"CreateStream", "", create_stream},
	{"ListShards", "", list_shards},
	{"DescribeStreamSummary", "\"StreamDescriptionSummary\":{\"StreamARN\":\"arn:known\",\"StreamStatus\":\"ACTIVE\"}}", NULL},
	{"RegisterStreamConsumer", "\"Consumer\":{\"ConsumerARN\":\"arn:known:consumer\"}}", NULL},
	{"DescribeStreamConsumer", "\"ConsumerDescription\":{\"ConsumerStatus\":\"ACTIVE\"}}", NULL},
	{"DeleteStream", "}", NULL},
	{"", "}", NULL}}; /* the page with a server's own times: there is none */

static void on_request(struct exchange *exchange)
{
	struct arena arena = {0};
	struct value *body = NULL;
	const struct operation *operation = operations;
	value_decode(ENCODING_JSON, exchange->in.p, exchange->in.n, &arena, &body);
	while (operation->name[0] && (!body || strcmp(operation->name, exchange->operation) != 0))
		operation++;
	exchange->whole = true;
	buf_printf(&exchange->out, "{%s", operation->text);
	if (operation->answer)
		operation->answer(exchange, body);
	h2_answer(exchange, operation->name[0] ? "200" : "404", exchange->whole ? "application/x-amz-json-1.1" : EVENTSTREAM_CONTENT_TYPE);
	arena_free(&arena);
}

/* ---- Main ----------------------------------------------------------------------------------------------------------- */

static void on_stop(evutil_socket_t number, short what, void *arg)
{
	(void)number, (void)what;
	event_base_loopbreak(arg);
}

static void print_figures(void)
{
	json_t *figures = json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "pushed", samples_to_json(&pushed), "polled", samples_to_json(&polled),
				    "delay", samples_to_json(&delays), "lead", samples_to_json(&leads), "turn", samples_to_json(&turns),
				    "late", samples_to_json(&lates), "step", samples_to_json(&steps));
	json_dumpf(figures, stdout, JSON_REAL_PRECISION(6));
	json_decref(figures);
}

static int serve(void)
{
	static const struct h2_ops ops = {on_request, on_handed};
	struct event_config *config = event_config_new();
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER); /* else timers are rounded to a ms */
	struct event_base *base = event_base_new_with_config(config);
	event_config_free(config);
	for (unsigned i = 0; i < SHARDS_MAX; i++) {
		list_init(&shards[i].subscriptions);
		shards[i].timer = evtimer_new(base, on_due, &shards[i]);
	}
	event_add(evsignal_new(base, SIGTERM, on_stop, base), NULL);
	unsigned port = h2_listen(base, &ops);
	if (!port) {
		perror("load-known");
		return 1;
	}
	printf("%u\n", port);
	fflush(stdout);
	event_base_dispatch(base);
	print_figures();
	return 0;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {{"delay", required_argument, NULL, 'd'},
						{"echo", no_argument, NULL, 'e'},
						{"seed", required_argument, NULL, 's'},
						{"loopback", required_argument, NULL, 'l'},
						{NULL, 0, NULL, 0}};
	double low = -1, high = 0, rate = 0;
	size_t out, back;
	for (int which; (which = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (which == 'e')
			low = high = 0;
		else if (which == 's')
			chance = strtoull(optarg, NULL, 10);
		else if (which == 'd' && sscanf(optarg, "%lf-%lf", &low, &high) == 1)
			high = low;
		else if (which == 'l' && (sscanf(optarg, "%zu:%zu:%lf", &out, &back, &rate) != 3 || out > 1 << 20 || back > 1 << 20))
			rate = 0;
	}
	if (rate > 0) {
		loopback(out, back, rate, 6);
		return 0;
	}
	if (low < 0 || high < low) {
		fprintf(stderr, "load-known --delay MS|LOW-HIGH [--seed N], or --echo, or --loopback OUT:BACK:RATE\n");
		return 2;
	}
	low_ns = (uint64_t)(low * 1e6);
	high_ns = (uint64_t)(high * 1e6);
	return serve();
}
