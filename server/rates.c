/* rates.c: the limits on calls per second of control-plane operations.
 *
 * Every worker answers such calls, most of them from its own snapshot without asking anybody, and the limit is the account's or the
 * stream's, whatever connections the calls come by. A share of the limit per worker would refuse a client that has one connection far too
 * early; a mail to the control thread and back would cost a describe more than it costs now altogether. So this is one of the few things
 * that workers share: one table behind one mutex. It is a leaf: nothing is called and no other lock is taken while it is held, for some
 * ten nanoseconds; and no put, read or push comes here.
 *
 * - rules: which limit an operation has, and whether it is the account's or the stream's
 * - account: a bucket per operation
 * - stream: a bucket per (operation, stream), in sets of WAYS places that a hash chooses; a pair that has no place takes an unused one,
 * else that of the pair that has been silent longest
 *
 * A bucket holds one second's worth. A limit that is lifted is not looked up at all.
 *
 * Failure: none. With very many busy streams pairs lose their places to others and come back with a full bucket: then somebody gets more
 * calls than the limit says. That is the price of a bound on memory (56 KiB); a call is never refused that is within its limit. */
#include "server/rates.h"

#include <pthread.h>
#include <stdlib.h>

#include "penstock/api.h"
#include "penstock/bucket.h"
#include "server/worker.h"

#define SETS 128
#define WAYS 8

enum scope { UNLIMITED, PER_ACCOUNT, PER_STREAM };

struct rule {
	enum scope scope;
	enum limit limit;
};

static const struct rule rules[OP_COUNT] = {
	[OP_CREATE_STREAM] = {PER_ACCOUNT, LIMIT_create_stream_calls},
	[OP_DELETE_STREAM] = {PER_ACCOUNT, LIMIT_delete_stream_calls},
	[OP_DESCRIBE_STREAM] = {PER_ACCOUNT, LIMIT_describe_stream_calls},
	[OP_DESCRIBE_STREAM_SUMMARY] = {PER_ACCOUNT, LIMIT_describe_summary_calls},
	[OP_LIST_STREAMS] = {PER_ACCOUNT, LIMIT_list_streams_calls},
	[OP_LIST_SHARDS] = {PER_STREAM, LIMIT_list_shards_calls},
	[OP_SPLIT_SHARD] = {PER_ACCOUNT, LIMIT_split_shard_calls},
	[OP_MERGE_SHARDS] = {PER_ACCOUNT, LIMIT_merge_shards_calls},
	[OP_UPDATE_SHARD_COUNT] = {PER_ACCOUNT, LIMIT_update_shard_count_calls},
	[OP_REGISTER_STREAM_CONSUMER] = {PER_ACCOUNT, LIMIT_register_consumer_calls},
	[OP_DEREGISTER_STREAM_CONSUMER] = {PER_STREAM, LIMIT_deregister_consumer_calls},
	[OP_DESCRIBE_STREAM_CONSUMER] = {PER_STREAM, LIMIT_describe_consumer_calls},
	[OP_LIST_STREAM_CONSUMERS] = {PER_STREAM, LIMIT_list_consumers_calls},
};

struct place {
	uint64_t stream; /* 0: unused; ids begin at 1 */
	int operation;
	struct bucket calls;
	uint64_t used_ns;
};

struct rates {
	struct limits limits; /* read-only */

	pthread_mutex_t lock; /* for all that follows */
	struct bucket account[OP_COUNT];
	struct place streams[SETS][WAYS];
};

static int64_t limit_of(const struct limits *limits, int operation)
{
	return rules[operation].scope == UNLIMITED ? 0 : limit_get(limits, rules[operation].limit);
}

struct rates *rates_new(const struct limits *limits)
{
	struct rates *rates = xcalloc(1, sizeof(*rates));
	rates->limits = *limits;
	pthread_mutex_init(&rates->lock, NULL);
	for (int i = 0; i < OP_COUNT; i++)
		bucket_init(&rates->account[i], limit_of(limits, i), limit_of(limits, i), 0);
	return rates;
}

void rates_free(struct rates *rates)
{
	if (!rates)
		return;
	pthread_mutex_destroy(&rates->lock);
	free(rates);
}

/* Under the lock. */
static struct bucket *stream_bucket(struct rates *rates, int operation, uint64_t stream, int64_t limit, uint64_t now_ns)
{
	/* Times 2^64 / golden ratio: spreads neighbours over the sets. */
	uint64_t hash = (stream * OP_COUNT + (uint64_t)operation) * UINT64_C(0x9e3779b97f4a7c15);
	struct place *set = rates->streams[hash >> 32 & (SETS - 1)], *choice = &set[0];
	for (unsigned i = 0; i < WAYS; i++) {
		struct place *place = &set[i];
		if (place->stream == stream && place->operation == operation) {
			place->used_ns = now_ns;
			return &place->calls;
		}
		if (place->used_ns < choice->used_ns) /* an unused one is the oldest of all */
			choice = place;
	}
	*choice = (struct place){.stream = stream, .operation = operation, .used_ns = now_ns};
	bucket_init(&choice->calls, limit, limit, now_ns);
	return &choice->calls;
}

bool rates_take(struct rates *rates, int operation, uint64_t stream, uint64_t now_ns)
{
	int64_t limit = limit_of(&rates->limits, operation);
	if (limit == 0)
		return true;
	pthread_mutex_lock(&rates->lock);
	struct bucket *calls =
		rules[operation].scope == PER_STREAM ? stream_bucket(rates, operation, stream, limit, now_ns) : &rates->account[operation];
	bool within = bucket_take(calls, 1, now_ns);
	pthread_mutex_unlock(&rates->lock);
	return within;
}

bool rates_pass(struct request *request, uint64_t stream, struct str name)
{
	const struct server *server = request->worker->server;
	if (rates_take(server->rates, request->exchange->operation->number, stream, worker_now_ns(request->worker)))
		return true;
	if (str_present(name))
		request_fail(request, STATUS_LIMIT_EXCEEDED, "Rate exceeded for stream " STR_FMT " under account %s.", STR_ARG(name),
			     server->account);
	else
		request_fail(request, STATUS_LIMIT_EXCEEDED, "Rate exceeded for account %s.", server->account);
	return false;
}
