/* setup.c: the stream and the consumers of a measurement: made before it, removed after it. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "loadtest/load.h"

uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void on_time_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	*(bool *)arg = true;
}

bool load_wait(struct load *load, const bool *done, double seconds)
{
	bool over = false;
	struct timeval limit = {.tv_sec = (time_t)seconds, .tv_usec = (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
	struct event *timer = evtimer_new(load->base, on_time_over, &over);
	evtimer_add(timer, &limit);
	while (!over && !*done)
		event_base_loop(load->base, EVLOOP_ONCE);
	event_free(timer);
	return *done;
}

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

/* One call; 0: there was no answer. Texts of the answer are the arena's. */
static int ask_once(struct load *load, const char *operation, const char *body, struct arena *arena, struct str *text)
{
	struct asked asked = {.call = {.operation = operation, .on_end = on_answered}};
	asked.call.arg = &asked;
	buf_put(&asked.call.body, body, strlen(body));
	connection_call(load->control, &asked.call);
	bool answered = load_wait(load, &asked.done, 30) && asked.complete;
	if (!answered)
		fprintf(stderr, "penstock-load: no answer to %s\n", operation);
	if (!asked.done)
		exit(1); /* the call is still the connection's */
	*text = arena_str(arena, (struct str){asked.call.answer.p ? (char *)asked.call.answer.p : "", asked.call.answer.n});
	int status = asked.call.status;
	call_free(&asked.call);
	return answered ? status : 0;
}

static bool too_often(int status, struct str text)
{
	return status == 400 && memmem(text.p, text.n, "LimitExceededException", 22) && memmem(text.p, text.n, "Rate exceeded", 13);
}

bool load_ask(struct load *load, const char *operation, const char *body, struct arena *arena, struct value **answer)
{
	struct str text;
	bool never = false;
	int status = ask_once(load, operation, body, arena, &text);
	/* Control operations have a limit of some calls a second; what another client took of it comes back. */
	for (int i = 0; i < 60 && too_often(status, text); i++) {
		load_wait(load, &never, 0.5);
		status = ask_once(load, operation, body, arena, &text);
	}
	if (status != 0 && status != 200)
		fprintf(stderr, "penstock-load: %s: %d " STR_FMT "\n", operation, status, STR_ARG(text));
	return status == 200 && (text.n == 0 || value_decode(ENCODING_JSON, (const uint8_t *)text.p, text.n, arena, answer) == STATUS_OK);
}

static struct str text_member(const struct value *map, const char *key)
{
	const struct value *v = map ? value_member(map, str_of(key)) : NULL;
	return v && v->kind == VALUE_STRING ? v->str : (struct str){"", 0};
}

/* Asks until member `status` of `inside` says ACTIVE; at most 30 s. */
static bool wait_active(struct load *load, const char *operation, const char *body, const char *inside, const char *status)
{
	bool never = false;
	for (int i = 0; i < 240; i++) {
		struct arena arena = {0};
		struct value *answer = NULL;
		bool good = load_ask(load, operation, body, &arena, &answer);
		bool active = good && str_equal(text_member(value_member(answer, str_of(inside)), status), STR("ACTIVE"));
		arena_free(&arena);
		if (active || !good)
			return active;
		load_wait(load, &never, 0.125); /* AWS allows 20 a second */
	}
	return false;
}

static bool learn_shards(struct load *load)
{
	char body[256];
	struct arena arena = {0};
	struct value *answer = NULL;
	snprintf(body, sizeof body, "{\"StreamName\":\"%s\"}", load->options->stream);
	bool good = load_ask(load, "ListShards", body, &arena, &answer);
	const struct value *shards = good ? value_member(answer, STR("Shards")) : NULL;
	for (const struct value *shard = shards ? shards->first : NULL; shard && load->n_shards < LOAD_SHARDS_MAX; shard = shard->next) {
		struct str id = text_member(shard, "ShardId");
		snprintf(load->shard_ids[load->n_shards++], sizeof load->shard_ids[0], STR_FMT, STR_ARG(id));
	}
	arena_free(&arena);
	return good && load->n_shards > 0;
}

bool stream_make(struct load *load)
{
	char body[256];
	struct arena arena = {0};
	struct value *answer = NULL;
	bool good = false;
	snprintf(body, sizeof body, "{\"StreamName\":\"%s\",\"ShardCount\":%u}", load->options->stream, load->options->shards);
	if (!load->options->existing && !load_ask(load, "CreateStream", body, &arena, &answer))
		goto out;
	snprintf(body, sizeof body, "{\"StreamName\":\"%s\"}", load->options->stream);
	if (!wait_active(load, "DescribeStreamSummary", body, "StreamDescriptionSummary", "StreamStatus"))
		goto out;
	if (!load_ask(load, "DescribeStreamSummary", body, &arena, &answer))
		goto out;
	struct str arn = text_member(value_member(answer, STR("StreamDescriptionSummary")), "StreamARN");
	snprintf(load->arn, sizeof load->arn, STR_FMT, STR_ARG(arn));
	good = learn_shards(load);
out:
	arena_free(&arena);
	return good;
}

void stream_remove(struct load *load)
{
	char body[256];
	/* The control connection has been idle for as long as the run took: the server may have closed it. */
	connection_close(load->control);
	load->control = connection_open(load->base, &load->options->endpoint, 0);
	if (!load->control) {
		fprintf(stderr, "penstock-load: the stream \"%s\" could not be deleted: %s\n", load->options->stream, strerror(errno));
		return;
	}
	struct arena arena = {0};
	struct value *answer = NULL;
	snprintf(body, sizeof body, "{\"StreamName\":\"%s\",\"EnforceConsumerDeletion\":true}", load->options->stream);
	load_ask(load, "DeleteStream", body, &arena, &answer);
	arena_free(&arena);
}

bool consumer_register(struct load *load, const char *name, char arn[300])
{
	char body[700];
	struct arena arena = {0};
	struct value *answer = NULL;
	snprintf(body, sizeof body, "{\"StreamARN\":\"%s\",\"ConsumerName\":\"%s\"}", load->arn, name);
	bool good = load_ask(load, "RegisterStreamConsumer", body, &arena, &answer);
	if (good) {
		struct str text = text_member(value_member(answer, STR("Consumer")), "ConsumerARN");
		snprintf(arn, 300, STR_FMT, STR_ARG(text));
		snprintf(body, sizeof body, "{\"ConsumerARN\":\"%s\"}", arn);
		good = wait_active(load, "DescribeStreamConsumer", body, "ConsumerDescription", "ConsumerStatus");
	}
	arena_free(&arena);
	return good;
}
