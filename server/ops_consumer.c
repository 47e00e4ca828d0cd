/* ops_consumer.c: RegisterStreamConsumer, DescribeStreamConsumer, ListStreamConsumers, DeregisterStreamConsumer.
 *
 * Thread: the request's worker. Readings come from its snapshot, changes go to the control thread (see ops_stream.c).
 *
 * - register: answers with the consumer as it was made, CREATING; KCL polls DescribeStreamConsumer until it is ACTIVE;
 * - deregister: the consumer is found here (its ARN must name the present incarnation), then removed by name; its live subscriptions are
 *   ended by the lanes.
 *
 * Fails: texts of kinesis-behaviour 3.18; those marked there as unknown are ours. */
#include <assert.h>
#include <inttypes.h>

#include "server/ops.h"
#include "server/rates.h"
#include "server/resolve.h"
#include "server/tags.h"
#include "server/token.h"
#include "server/worker.h"

#define LIST_CONSUMERS_MAX 100 /* default and effective maximum of MaxResults */

struct consumer_change {
	struct request *request;
	struct change change;
};

static struct change *change_new(struct request *request, enum change_kind kind, struct str stream, struct str consumer,
				 void (*on_done)(struct change *))
{
	struct consumer_change *call = arena_zalloc(&request->arena, sizeof(*call));
	call->request = request;
	call->change.reply_to = &request->worker->box;
	call->change.on_done = on_done;
	call->change.kind = kind;
	call->change.stream = arena_str(&request->arena, stream);
	call->change.consumer = arena_str(&request->arena, consumer);
	return &call->change;
}

static void change_send(struct request *request, struct change *change)
{
	catalogue_change(request->worker->server->control, &request->worker->outbox, change);
}

/* IN_USE because of the stream's state, or because of the consumer's. */
static void fail_not_active(struct request *request, const struct change *change)
{
	const struct stream_info *stream = catalogue_stream(request->worker->catalogue, change->stream);
	const struct consumer_info *consumer = stream ? stream_consumer(stream, change->consumer) : NULL;
	if (stream == NULL)
		resolve_fail_stream(request, change->stream);
	else if (consumer && consumer->status != CONSUMER_ACTIVE)
		request_fail(request, STATUS_IN_USE,
			     "Consumer %s with creation timestamp %" PRId64 " under stream: %s , account %s is not in ACTIVE status.",
			     consumer->name, consumer->created_s, stream->name, request->worker->server->account);
	else
		resolve_fail_state(request, change->stream, stream_status_name(stream->status));
}

static void fail_change(struct request *request, const struct change *change)
{
	const struct server *server = request->worker->server;
	switch (change->cause) {
	case CAUSE_EXISTS: /* our text */
		request_fail(request, STATUS_IN_USE, "Consumer " STR_FMT " under stream " STR_FMT " already exists for account %s.",
			     STR_ARG(change->consumer), STR_ARG(change->stream), server->account);
		break;
	case CAUSE_NO_STREAM:
		resolve_fail_stream(request, change->stream);
		break;
	case CAUSE_NO_CONSUMER:
		request_fail(request, STATUS_NOT_FOUND, "Consumer " STR_FMT ", account %s not found.", STR_ARG(change->consumer),
			     server->account);
		break;
	case CAUSE_CONSUMER_LIMIT: /* our text */
		request_fail(request, STATUS_LIMIT_EXCEEDED,
			     "This request would exceed the limit of registered consumers of stream " STR_FMT
			     " under account %s. Limit: %" PRId64 ".",
			     STR_ARG(change->stream), server->account, change->limit);
		break;
	case CAUSE_CREATING_LIMIT: /* our text, after that of streams */
		request_fail(request, STATUS_LIMIT_EXCEEDED,
			     "This request would exceed the limit on the number of consumers that can simultaneously be in CREATING for "
			     "the account %s. Limit: %" PRId64 ".",
			     server->account, change->limit);
		break;
	case CAUSE_NOT_ACTIVE:
		fail_not_active(request, change);
		break;
	case CAUSE_NO_ROOM:
		resolve_fail_room(request);
		break;
	default:
		request_fail_bare(request, STATUS_INTERNAL);
	}
}

static void write_consumer(struct request *request, struct writer *w, struct str stream, const struct consumer_info *consumer)
{
	write_kv_str(w, "ConsumerName", str_of(consumer->name));
	write_kv_str(w, "ConsumerARN", resolve_consumer_arn(request->worker->server, &request->arena, stream, consumer));
	write_kv_str(w, "ConsumerStatus", str_of(consumer_status_name(consumer->status)));
	write_kv_time(w, "ConsumerCreationTimestamp", consumer->created_ms);
}

/* ---- Register, deregister ---- */

static void on_registered(struct change *change)
{
	struct request *request = container_of(change, struct consumer_change, change)->request;
	if (change->status != STATUS_OK) {
		fail_change(request, change);
		return;
	}
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_key(&w, "Consumer");
	write_map(&w);
	write_consumer(request, &w, change->stream, &change->registered);
	write_map_end(&w);
	write_map_end(&w);
	request_ok(request, &body);
}

void ops_consumer_register(struct request *request)
{
	const struct register_stream_consumer_input *input = request->exchange->input;
	const struct stream_info *stream = resolve_stream(request, (struct str){NULL, 0}, input->stream_arn);
	if (stream == NULL || !rates_pass(request, stream->id, str_of(stream->name)) ||
	    !tags_pass(request, "consumer", input->consumer_name, input->tags, input->n_tags))
		return;
	change_send(request, change_new(request, CHANGE_REGISTER_CONSUMER, str_of(stream->name), input->consumer_name, on_registered));
}

static void on_deregistered(struct change *change)
{
	struct request *request = container_of(change, struct consumer_change, change)->request;
	struct buf empty = {0};
	if (change->status == STATUS_OK)
		request_ok(request, &empty);
	else
		fail_change(request, change);
}

void ops_consumer_deregister(struct request *request)
{
	const struct stream_info *stream;
	const struct consumer_info *consumer = resolve_consumer(request, request->exchange->input, &stream);
	if (consumer == NULL || !rates_pass(request, stream->id, str_of(stream->name)))
		return;
	change_send(request,
		    change_new(request, CHANGE_DEREGISTER_CONSUMER, str_of(stream->name), str_of(consumer->name), on_deregistered));
}

/* ---- Describe, list ---- */

void ops_consumer_describe(struct request *request)
{
	const struct stream_info *stream;
	const struct consumer_info *consumer = resolve_consumer(request, request->exchange->input, &stream);
	if (consumer == NULL || !rates_pass(request, stream->id, str_of(stream->name)))
		return;
	struct str name = str_of(stream->name);
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_key(&w, "ConsumerDescription");
	write_map(&w);
	write_consumer(request, &w, name, consumer);
	write_kv_str(&w, "StreamARN", resolve_stream_arn(request->worker->server, &request->arena, name));
	write_map_end(&w);
	write_map_end(&w);
	request_ok(request, &body);
}

/* Writes those whose names are above `after`. */
static void list_answer(struct request *request, const struct stream_info *stream, struct str after, uint32_t limit)
{
	const struct consumer_info *last = NULL;
	uint32_t written = 0;
	bool more = false;
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_key(&w, "Consumers");
	write_list(&w);
	for (uint32_t i = 0; i < stream->n_consumers && !more; i++) {
		if (str_present(after) && str_compare(str_of(stream->consumers[i].name), after) <= 0)
			continue;
		more = written++ == limit;
		if (more)
			continue;
		last = &stream->consumers[i];
		write_map(&w);
		write_consumer(request, &w, str_of(stream->name), last);
		write_map_end(&w);
	}
	write_list_end(&w);
	if (more) {
		assert(last); /* the limit is at least 1 */
		struct page page = {.kind = PAGE_CONSUMERS, .stream = stream->id};
		memcpy(page.name, last->name, sizeof(page.name));
		ops_page_write(request, &w, &page);
	}
	write_map_end(&w);
	request_ok(request, &body);
}

/* Opens the token and checks that it is of this stream. False: answered. */
static bool list_token(struct request *request, const struct list_stream_consumers_input *input, const struct stream_info *stream,
		       struct page *page)
{
	if (input->stream_creation_timestamp.has)
		request_fail(request, STATUS_INVALID_ARGUMENT, "NextToken and StreamCreationTimestamp cannot be provided together.");
	else if (!ops_page_open(request, PAGE_CONSUMERS, input->next_token, page))
		return false;
	else if (page->stream != stream->id)
		request_fail(request, STATUS_INVALID_ARGUMENT, "Invalid NextToken."); /* our text */
	else
		return true;
	return false;
}

void ops_consumer_list(struct request *request)
{
	const struct list_stream_consumers_input *input = request->exchange->input;
	const struct stream_info *stream = resolve_stream(request, (struct str){NULL, 0}, input->stream_arn);
	if (stream == NULL || !rates_pass(request, stream->id, str_of(stream->name)))
		return;
	struct page page;
	struct str after = {NULL, 0};
	if (str_present(input->next_token)) {
		if (!list_token(request, input, stream, &page))
			return;
		after = str_of(page.name);
	} else if (!ops_created_at(stream, input->stream_creation_timestamp)) {
		resolve_fail_stream(request, str_of(stream->name));
		return;
	}
	uint32_t limit =
		input->max_results.has && input->max_results.v < LIST_CONSUMERS_MAX ? (uint32_t)input->max_results.v : LIST_CONSUMERS_MAX;
	list_answer(request, stream, after, limit);
}
