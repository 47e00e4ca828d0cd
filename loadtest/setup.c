/* setup.c: the stream and the consumers of a load: made before anything is measured, removed after it.
 *
 *   CreateStream, then DescribeStreamSummary until it is ACTIVE (DescribeStream where an emulator has no such operation), then ListShards
 *   RegisterStreamConsumer, then DescribeStreamConsumer until it is ACTIVE
 *   at the end DeleteStream, which ends its consumers too; a stream that stays loses those that were registered here
 *
 * Control calls are asked again while the endpoint throttles, answers 5xx or nothing: a call that was done although its answer was lost
 * then meets its own work, which is taken for done. What cannot be removed is named. */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/load.h"
#include "penstock/writer.h"

#define ANSWER_S 30
#define ACTIVE_S 120     /* how long CREATING may last */
#define THROTTLES_MAX 40 /* half a second each: control operations have limits of some calls a second, which others may have used up */
#define UNSURE_MAX 6

/* ---- Asking --------------------------------------------------------------------------------------------------------- */

struct asked {
	struct call call;
	bool done, complete;
};

static void on_answered(struct call *call, bool complete)
{
	struct asked *asked = call->arg;
	asked->complete = complete;
	asked->done = true;
}

static enum verdict ask_once(struct load *load, const char *operation, const struct buf *body, struct arena *arena, struct value **answer,
			     const char **why)
{
	struct asked asked = {.call = {.operation = operation, .on_end = on_answered, .encoding = load->options->format}};
	char text[300];
	asked.call.arg = &asked;
	buf_put(&asked.call.body, body->p, body->n);
	connection_call(load->control, &asked.call);
	if (!load_wait(load, &asked.done, ANSWER_S) && !asked.done)
		connection_cancel(load->control, &asked.call);
	enum verdict verdict = answer_verdict(&asked.call, asked.complete);
	answer_describe(&asked.call, asked.complete, text, sizeof text);
	if (why)
		*why = arena_printf(arena, "%s: %s", operation, text).p;
	/* The tree's strings are lent from the bytes, so it is made of a copy that lives as long. */
	struct buf bytes = asked.call.answer;
	asked.call.answer.p = (uint8_t *)(uintptr_t)arena_str(arena, (struct str){bytes.n ? (char *)bytes.p : "", bytes.n}).p;
	*answer = answer_tree(&asked.call, arena);
	if (verdict == VERDICT_GOOD && bytes.n && !*answer && asked.call.answer_encoding == ENCODING_CBOR) {
		verdict = VERDICT_REFUSED;
		if (why)
			*why = arena_printf(arena, "%s: the endpoint's CBOR answer could not be read; try --format json", operation).p;
	}
	asked.call.answer = bytes;
	call_free(&asked.call);
	return verdict;
}

enum verdict load_ask(struct load *load, const char *operation, const struct buf *body, struct arena *arena, struct value **answer,
		      const char **why)
{
	enum verdict verdict = ask_once(load, operation, body, arena, answer, why);
	for (unsigned throttles = 0, unsure = 0; !load->interrupted || load->removing;) {
		if (verdict == VERDICT_THROTTLED && throttles++ < THROTTLES_MAX)
			load_sleep(load, 0.5);
		else if (verdict == VERDICT_UNSURE && unsure++ < UNSURE_MAX)
			load_sleep(load, (double)backoff_ns(load, unsure, 100000000, 2000000000) / 1e9);
		else
			break;
		verdict = ask_once(load, operation, body, arena, answer, why);
	}
	return verdict;
}

/* A body with up to two members that are strings; the second may be NULL. */
static struct buf body_of(struct load *load, const char *key, const char *value, const char *key2, const char *value2)
{
	struct buf body = {0};
	struct writer w;
	writer_init(&w, load->options->format, &body);
	write_map(&w);
	write_kv_str(&w, key, str_of(value));
	if (key2)
		write_kv_str(&w, key2, str_of(value2));
	write_map_end(&w);
	return body;
}

/* ---- The stream ----------------------------------------------------------------------------------------------------- */

static enum verdict describe(struct load *load, struct arena *arena, const struct value **description, const char **why)
{
	struct buf body = body_of(load, "StreamName", load->stream, NULL, NULL);
	struct value *answer;
	enum verdict verdict = load_ask(load, "DescribeStreamSummary", &body, arena, &answer, why);
	const char *member = "StreamDescriptionSummary";
	if (verdict == VERDICT_NO_OPERATION) {
		verdict = load_ask(load, "DescribeStream", &body, arena, &answer, why);
		member = "StreamDescription";
	}
	*description = answer ? value_member(answer, str_of(member)) : NULL;
	buf_free(&body);
	return verdict;
}

static bool wait_active(struct load *load)
{
	uint64_t end = now_ns() + (uint64_t)(ACTIVE_S * 1e9);
	const char *why = "";
	while (!load->interrupted && now_ns() < end) {
		struct arena arena = {0};
		const struct value *description;
		enum verdict verdict = describe(load, &arena, &description, &why);
		bool active = verdict == VERDICT_GOOD && str_equal(text_member(description, "StreamStatus"), STR("ACTIVE"));
		snprintf(load->arn, sizeof load->arn, STR_FMT, STR_ARG(text_member(description, "StreamARN")));
		if (verdict != VERDICT_GOOD)
			fprintf(stderr, "penstock-load: %s\n", why);
		arena_free(&arena);
		if (active || verdict != VERDICT_GOOD)
			return active;
		load_sleep(load, 0.125); /* AWS allows 20 a second */
	}
	if (!load->interrupted)
		fprintf(stderr, "penstock-load: the stream \"%s\" was not ACTIVE after %d s\n", load->stream, ACTIVE_S);
	return false;
}

unsigned shard_find(struct load *load, struct str id)
{
	for (unsigned i = 0; i < load->n_shards; i++)
		if (str_equal(str_of(load->shards[i].id), id))
			return i;
	return LOAD_SHARDS_MAX;
}

static unsigned shard_learn(struct load *load, struct str id)
{
	unsigned known = shard_find(load, id);
	if (known < LOAD_SHARDS_MAX || load->n_shards == LOAD_SHARDS_MAX || id.n == 0 || id.n > SHARD_ID_MAX)
		return known;
	struct shard *shard = &load->shards[load->n_shards];
	*shard = (struct shard){0};
	memcpy(shard->id, id.p, id.n);
	return load->n_shards++;
}

unsigned shards_learn_children(struct load *load, const struct value *children, unsigned out[2])
{
	unsigned n = 0;
	if (!children || children->kind != VALUE_LIST)
		return 0;
	for (const struct value *child = children->first; child && n < 2; child = child->next) {
		unsigned at = shard_learn(load, text_member(child, "ShardId")), i = 0;
		const struct value *parents = value_member(child, STR("ParentShards"));
		if (at == LOAD_SHARDS_MAX)
			continue;
		for (const struct value *parent = parents && parents->kind == VALUE_LIST ? parents->first : NULL; parent && i < 2;
		     parent = parent->next, i++)
			snprintf(load->shards[at].parents[i], sizeof load->shards[at].parents[i], STR_FMT, STR_ARG(parent->str));
		out[n++] = at;
	}
	return n;
}

/* One page of ListShards; `next` is NextToken, in and out. */
static bool learn_page(struct load *load, char *next, size_t next_size)
{
	struct arena arena = {0};
	struct buf body = next[0] ? body_of(load, "NextToken", next, NULL, NULL) : body_of(load, "StreamName", load->stream, NULL, NULL);
	struct value *answer;
	const char *why;
	enum verdict verdict = load_ask(load, "ListShards", &body, &arena, &answer, &why);
	const struct value *shards = NULL;
	if (verdict == VERDICT_NO_OPERATION) {
		verdict = load_ask(load, "DescribeStream", &body, &arena, &answer, &why);
		answer = (struct value *)(uintptr_t)(answer ? value_member(answer, STR("StreamDescription")) : NULL);
	}
	if (verdict == VERDICT_GOOD && answer)
		shards = value_member(answer, STR("Shards"));
	for (const struct value *shard = shards && shards->kind == VALUE_LIST ? shards->first : NULL; shard; shard = shard->next)
		shard_learn(load, text_member(shard, "ShardId"));
	snprintf(next, next_size, STR_FMT, STR_ARG(text_member(answer, "NextToken")));
	if (!shards)
		fprintf(stderr, "penstock-load: the shards of \"%s\": %s\n", load->stream, why);
	buf_free(&body);
	arena_free(&arena);
	return shards != NULL;
}

static bool learn_shards(struct load *load)
{
	char next[4096] = "";
	bool good;
	do
		good = learn_page(load, next, sizeof next);
	while (good && next[0]);
	load->n_shards_first = load->n_shards;
	return good && load->n_shards > 0;
}

static bool stream_create(struct load *load)
{
	struct buf body = {0};
	struct arena arena = {0};
	struct writer w;
	struct value *answer;
	const char *why;
	writer_init(&w, load->options->format, &body);
	write_map(&w);
	write_kv_str(&w, "StreamName", str_of(load->stream));
	write_kv_int(&w, "ShardCount", load->options->shards);
	write_map_end(&w);
	/* A random name can only be ours, also when the answer is lost or Ctrl-C comes before it. */
	load->stream_ours = !load->options->stream;
	enum verdict verdict = load_ask(load, "CreateStream", &body, &arena, &answer, &why);
	bool good = verdict == VERDICT_GOOD || (verdict == VERDICT_IN_USE && load->stream_ours);
	if (verdict == VERDICT_IN_USE && !good)
		fprintf(stderr, "penstock-load: there is a stream \"%s\" already; --existing reads one\n", load->stream);
	else if (!good && !load->interrupted)
		fprintf(stderr, "penstock-load: %s\n", why);
	load->stream_ours = load->stream_ours || good;
	buf_free(&body);
	arena_free(&arena);
	return good;
}

bool stream_make(struct load *load)
{
	if (load->options->stream)
		snprintf(load->stream, sizeof load->stream, "%s", load->options->stream);
	else
		snprintf(load->stream, sizeof load->stream, "penstock-load-%08x", load->tag);
	return (load->options->existing || load->options->existing_puts || stream_create(load)) && wait_active(load) && learn_shards(load);
}

static void consumers_deregister(struct load *load)
{
	for (unsigned i = 0; i < load->n_consumers; i++) {
		struct arena arena = {0};
		struct buf body = body_of(load, "ConsumerARN", load->consumer_arns[i], NULL, NULL);
		struct value *answer;
		const char *why;
		enum verdict verdict = load_ask(load, "DeregisterStreamConsumer", &body, &arena, &answer, &why);
		if (verdict != VERDICT_GOOD && verdict != VERDICT_MISSING)
			fprintf(stderr, "penstock-load: a consumer stays: %s: %s\n", load->consumer_arns[i], why);
		buf_free(&body);
		arena_free(&arena);
	}
}

/* Also in the middle of CREATING, which lets nobody delete it: asked again until that is over. */
static void stream_delete(struct load *load)
{
	struct buf body = {0};
	struct writer w;
	uint64_t end = now_ns() + (uint64_t)(ACTIVE_S * 1e9);
	writer_init(&w, load->options->format, &body);
	write_map(&w);
	write_kv_str(&w, "StreamName", str_of(load->stream));
	write_kv_bool(&w, "EnforceConsumerDeletion", true);
	write_map_end(&w);
	for (;;) {
		struct arena arena = {0};
		struct value *answer;
		const char *why;
		enum verdict verdict = load_ask(load, "DeleteStream", &body, &arena, &answer, &why);
		bool again = verdict == VERDICT_IN_USE && now_ns() < end;
		if (verdict != VERDICT_GOOD && verdict != VERDICT_MISSING && !again)
			fprintf(stderr, "penstock-load: the stream \"%s\" stays: %s\n", load->stream, why);
		arena_free(&arena);
		if (!again)
			break;
		load_sleep(load, 0.5);
	}
	buf_free(&body);
}

void stream_remove(struct load *load)
{
	load->removing = true;
	if (load->stream_ours && !load->options->keep)
		stream_delete(load);
	else
		consumers_deregister(load);
	free(load->consumer_arns);
	load->consumer_arns = NULL;
	load->n_consumers = 0;
}

/* ---- Consumers ------------------------------------------------------------------------------------------------------ */

void consumer_names(struct load *load, unsigned i, char out[64]) { snprintf(out, 64, "penstock-load-%08x-%u", load->tag, i + 1); }

static enum verdict consumer_wait_active(struct load *load, const char *arn, const char **why, struct arena *arena)
{
	struct buf body = body_of(load, "ConsumerARN", arn, NULL, NULL);
	uint64_t end = now_ns() + (uint64_t)(ACTIVE_S * 1e9);
	enum verdict verdict = VERDICT_UNSURE;
	while (!load->interrupted && now_ns() < end) {
		struct value *answer;
		verdict = load_ask(load, "DescribeStreamConsumer", &body, arena, &answer, why);
		const struct value *consumer = answer ? value_member(answer, STR("ConsumerDescription")) : NULL;
		if (verdict != VERDICT_GOOD || str_equal(text_member(consumer, "ConsumerStatus"), STR("ACTIVE")))
			break;
		load_sleep(load, 0.125);
	}
	buf_free(&body);
	return verdict;
}

/* A registration whose answer was lost is there already: its ARN is asked for by name. */
static enum verdict consumer_find(struct load *load, const char *name, struct arena *arena, struct str *arn, const char **why)
{
	struct buf body = body_of(load, "StreamARN", load->arn, "ConsumerName", name);
	struct value *answer;
	enum verdict verdict = load_ask(load, "DescribeStreamConsumer", &body, arena, &answer, why);
	if (verdict == VERDICT_GOOD)
		*arn = text_member(answer ? value_member(answer, STR("ConsumerDescription")) : NULL, "ConsumerARN");
	buf_free(&body);
	return verdict;
}

static enum verdict consumer_register(struct load *load, struct arena *arena, const char **why)
{
	char name[64], *arn = load->consumer_arns[load->n_consumers];
	struct value *answer;
	consumer_names(load, load->n_consumers, name);
	struct buf body = body_of(load, "StreamARN", load->arn, "ConsumerName", name);
	enum verdict verdict = load_ask(load, "RegisterStreamConsumer", &body, arena, &answer, why);
	struct str text = verdict == VERDICT_GOOD && answer ? text_member(value_member(answer, STR("Consumer")), "ConsumerARN") : STR("");
	if (verdict == VERDICT_IN_USE)
		verdict = consumer_find(load, name, arena, &text, why);
	buf_free(&body);
	if (verdict != VERDICT_GOOD)
		return verdict;
	if (text.n == 0 || text.n >= ARN_MAX) {
		*why = "RegisterStreamConsumer answers no ConsumerARN";
		return VERDICT_NO_OPERATION;
	}
	snprintf(arn, ARN_MAX, STR_FMT, STR_ARG(text));
	load->n_consumers++;
	return consumer_wait_active(load, arn, why, arena);
}

bool consumers_register(struct load *load, unsigned n)
{
	if (n > load->n_consumers)
		load->consumer_arns = xrealloc(load->consumer_arns, n * sizeof *load->consumer_arns);
	while (load->n_consumers < n && !load->no_push) {
		struct arena arena = {0};
		const char *why = "";
		unsigned before = load->n_consumers;
		enum verdict verdict = consumer_register(load, &arena, &why);
		/* An emulator may hang up on what it does not know, or answer 500: six times are enough to believe it. */
		load->no_push = verdict == VERDICT_NO_OPERATION || (verdict == VERDICT_UNSURE && before == 0 && !load->interrupted);
		if (load->no_push)
			snprintf(load->why_no_push, sizeof load->why_no_push, "%s", why);
		else if (verdict != VERDICT_GOOD && !load->interrupted)
			fprintf(stderr, "penstock-load: %s\n", why);
		arena_free(&arena);
		if (!load->no_push && (verdict != VERDICT_GOOD || load->interrupted))
			return false;
	}
	return true;
}
