/* put.c: one put, from a little before its due time until each of its records is acknowledged or given up.
 *
 * Happy path: a body is written and signed, when it is due it is sent, answered 200 without an ErrorCode; its records are acknowledged, its
 * latency runs from its due time.
 *
 * Failure modes:
 * - throttled (the whole call, or some of its records): only what was throttled is put again, after an exponential wait with jitter
 * - no answer or a 5xx: put again in the same way; the records may then be in the stream as often as they were sent, which the book keeps
 * - refused: given up, and the run is not right */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/run.h"
#include "penstock/writer.h"

#define TRIES_MAX 12
#define BACKOFF_NS 50000000u /* the SDKs' base for throttles, and their cap: */
#define BACKOFF_MOST_NS 2000000000u

struct put {
	struct call call;
	struct producer *producer;
	struct event *timer; /* until it is sent again; NULL: never was */
	struct list link;    /* producer->puts, once it was sent */
	uint64_t due_ns;
	bool counted, refused;
	unsigned n, tries;
	uint64_t numbers[]; /* still to be acknowledged */
};

/* ---- Bodies --------------------------------------------------------------------------------------------------------- */

static void write_record(struct put *put, struct writer *w, uint64_t number)
{
	static uint8_t data[1 << 20]; /* zeros behind the stamp; one thread */
	const struct run *run = put->producer->run;
	const struct record_stamp stamp = {.epoch = run->epoch, .number = number, .sent_ns = put->due_ns, .counted = put->counted};
	char key[24];
	snprintf(key, sizeof key, "k%" PRIu64, number);
	record_stamp_write(data, &stamp);
	write_key(w, "Data");
	write_blob(w, (struct str){(char *)data, size_of(run->load->options, number)});
	write_kv_str(w, "PartitionKey", str_of(key));
}

static void write_body(struct put *put)
{
	const struct load *load = put->producer->run->load;
	bool batch = load->options->batch > 1;
	struct writer w;
	put->call.body.n = 0;
	writer_init(&w, load->options->format, &put->call.body);
	write_map(&w);
	write_kv_str(&w, "StreamName", str_of(load->stream));
	if (batch) {
		write_key(&w, "Records");
		write_list(&w);
	}
	for (unsigned i = 0; i < put->n; i++) {
		if (batch)
			write_map(&w);
		write_record(put, &w, put->numbers[i]);
		if (batch)
			write_map_end(&w);
	}
	if (batch)
		write_list_end(&w);
	write_map_end(&w);
}

/* ---- Sending and answers -------------------------------------------------------------------------------------------- */

void put_free(struct put *put)
{
	list_remove(&put->link);
	if (put->timer)
		event_free(put->timer);
	call_free(&put->call);
	free(put);
}

static void send_put(struct put *put)
{
	struct run *run = put->producer->run;
	for (unsigned i = 0; i < put->n; i++)
		if (run->book.sends[put->numbers[i]] < UINT8_MAX)
			run->book.sends[put->numbers[i]]++;
	run->regime->put_calls++;
	connection_call(put->producer->connection, &put->call);
}

static void on_again(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	write_body(arg); /* of what is left */
	send_put(arg);
}

static void put_over(struct put *put)
{
	struct producer *producer = put->producer;
	struct run *run = producer->run;
	run->regime->put_failed += put->n;
	if (put->n == 0 && !put->refused && put->counted)
		histogram_add(&run->regime->put_latency, now_ns() - put->due_ns);
	put_free(put);
	producer_put_over(producer);
}

static void send_again(struct put *put)
{
	struct run *run = put->producer->run;
	struct load *load = run->load;
	if (++put->tries > TRIES_MAX || load->interrupted) {
		put_over(put);
		return;
	}
	run->regime->put_retried++;
	if (!put->timer)
		put->timer = evtimer_new(load->base, on_again, put);
	struct timeval in = timeval_until(now_ns() + backoff_ns(load, put->tries, BACKOFF_NS, BACKOFF_MOST_NS));
	evtimer_add(put->timer, &in);
}

static void acknowledge(struct put *put, uint64_t number, uint64_t at_ns)
{
	struct run *run = put->producer->run;
	run->book.answered_ns[number] = at_ns;
	run->regime->acknowledged++;
	run->regime->put_bytes += size_of(run->load->options, number);
	run->regime->seconds = (double)(at_ns - run->put_begin_ns) / 1e9;
}

static void take_back(struct put *put, unsigned i)
{
	uint8_t *sends = &put->producer->run->book.sends[put->numbers[i]];
	if (*sends)
		--*sends;
}

static void say_refused(struct put *put, const char *why)
{
	if (put->producer->run->regime->put_failed == 0)
		fprintf(stderr, "penstock-load: %s: %s\n", put->call.operation, why);
	put->refused = true;
}

/* Keeps the records whose result has an ErrorCode; true: at least one of them was throttled. */
static bool keep_refused(struct put *put, const struct value *results, uint64_t at_ns)
{
	const struct value *result = results->first;
	unsigned kept = 0;
	bool throttled = false;
	for (unsigned i = 0; i < put->n; i++, result = result ? result->next : NULL) {
		struct str code = text_member(result, "ErrorCode");
		if (result && code.n == 0) {
			acknowledge(put, put->numbers[i], at_ns);
			continue;
		}
		if (code.n && memmem(code.p, code.n, "Exceeded", 8)) {
			throttled = true;
			take_back(put, i);
		}
		put->numbers[kept++] = put->numbers[i];
	}
	put->n = kept;
	return throttled;
}

/* One result of a put that was sent again. A shard that no receiver has heard of yet, just made by a
 * reshard, is left out: its parents are read to their ends anyway. */
static void note_retried(struct run *run, const struct value *result)
{
	unsigned shard = shard_find(run->load, text_member(result, "ShardId"));
	if (shard < LOAD_SHARDS_MAX)
		book_retried(&run->book, shard, text_member(result, "SequenceNumber"));
}

/* Only puts that were sent again need their answers decoded: theirs may leave doubles. */
static void note_answer(struct put *put)
{
	struct arena arena = {0};
	const struct value *tree = put->tries ? answer_tree(&put->call, &arena) : NULL;
	const struct value *results = tree && tree->kind == VALUE_MAP ? value_member(tree, STR("Records")) : NULL;
	if (results && results->kind == VALUE_LIST)
		for (const struct value *result = results->first; result; result = result->next)
			note_retried(put->producer->run, result);
	else if (tree)
		note_retried(put->producer->run, tree);
	arena_free(&arena);
}

static void on_good_answer(struct put *put, uint64_t now)
{
	struct run *run = put->producer->run;
	note_answer(put);
	/* Only a refused record's result has the word, so an answer without it needs no decoding. */
	if (put->call.answer.n && memmem(put->call.answer.p, put->call.answer.n, "ErrorCode", 9)) {
		struct arena arena = {0};
		const struct value *tree = answer_tree(&put->call, &arena);
		const struct value *results = tree ? value_member(tree, STR("Records")) : NULL;
		if (results && results->kind == VALUE_LIST && keep_refused(put, results, now))
			run->regime->put_throttled++;
		arena_free(&arena);
	} else {
		for (unsigned i = 0; i < put->n; i++)
			acknowledge(put, put->numbers[i], now);
		put->n = 0;
	}
	if (put->n)
		send_again(put);
	else
		put_over(put);
}

static void on_answered(struct call *call, bool complete)
{
	struct put *put = call->arg;
	struct run *run = put->producer->run;
	enum verdict verdict = answer_verdict(call, complete);
	char why[300];
	switch (verdict) {
	case VERDICT_GOOD:
		on_good_answer(put, now_ns());
		break;
	case VERDICT_THROTTLED:
		run->regime->put_throttled++;
		for (unsigned i = 0; i < put->n; i++)
			take_back(put, i);
		send_again(put);
		break;
	case VERDICT_UNSURE:
	case VERDICT_IN_USE: /* of the stream: it is UPDATING at an emulator that puts off puts */
		send_again(put);
		break;
	default:
		answer_describe(call, complete, why, sizeof why);
		say_refused(put, why);
		put_over(put);
	}
}

struct put *put_new(struct producer *producer, uint64_t due_ns)
{
	struct run *run = producer->run;
	const struct options *options = run->load->options;
	if (run->numbers + options->batch > run->book.max)
		return NULL;
	struct put *put = xcalloc(1, sizeof *put + options->batch * sizeof *put->numbers);
	put->producer = producer;
	put->n = options->batch;
	put->due_ns = due_ns;
	put->counted = due_ns >= run->warm_ns;
	for (unsigned i = 0; i < put->n; i++)
		put->numbers[i] = run->numbers++;
	put->call = (struct call){.operation = options->batch > 1 ? "PutRecords" : "PutRecord",
				  .encoding = options->format,
				  .on_end = on_answered,
				  .arg = put};
	list_init(&put->link);
	write_body(put);
	connection_sign(producer->connection, &put->call);
	return put;
}

void put_begin(struct put *put)
{
	struct producer *producer = put->producer;
	struct run *run = producer->run;
	list_append(&producer->puts, &put->link);
	run->regime->put += put->n;
	run->puts_in_work++;
	send_put(put);
}

/* After the connection is closed. */
void puts_free(struct producer *producer)
{
	for (struct list *node; (node = list_pop(&producer->puts));)
		put_free(container_of(node, struct put, link));
}
