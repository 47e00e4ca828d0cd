/* lane_rate.c: how often one consumer may subscribe to one shard: AWS allows a call a second.
 *
 * What counts: each call that reaches the lane and is within the limit, whatever it is then answered; one that is refused for the rate
 * costs nothing, so a client that asks all the time still gets its call a second.
 *
 * The bucket holds one call more than the rate. AWS does not say how it bounds bursts; with one alone a client that subscribes, cancels
 * and subscribes again at once (a reader that pauses does, and one that reconnects) would be refused in normal life, where AWS says that
 * the rate is what it enforces. With two, the second call passes and the third has to wait, and over time it is a call a second.
 *
 * - a consumer's first call: its bucket is made, full, and put on the shard's list;
 * - later calls: found there; whatever has filled up again on the way says nothing and goes.
 *
 * The list holds those consumers that called within the last second or two, so it is as short as AWS allows consumers per stream.
 *
 * Thread: the lane's. Nothing here fails. */
#include <stdlib.h>

#include "shardstore/lane.h"

struct subscribe_rate {
	struct list link; /* shard->subscribers */
	uint64_t consumer;
	struct bucket calls;
};

static void forget(struct subscribe_rate *rate)
{
	list_remove(&rate->link);
	free(rate);
}

static bool is_full(struct bucket *bucket, uint64_t now_ns)
{
	bucket_open(bucket, now_ns); /* brings the level up to now */
	return bucket->level >= bucket->capacity;
}

/* Its bucket, if it is not full; drops all that are. */
static struct subscribe_rate *find(struct lane_shard *shard, uint64_t consumer, uint64_t now_ns)
{
	struct subscribe_rate *found = NULL;
	LIST_EACH (node, &shard->subscribers) {
		struct subscribe_rate *rate = container_of(node, struct subscribe_rate, link);
		if (is_full(&rate->calls, now_ns))
			forget(rate);
		else if (rate->consumer == consumer)
			found = rate;
	}
	return found;
}

bool lane_rate_subscribe(struct lane_shard *shard, uint64_t consumer)
{
	const struct lane *lane = shard->stream->lane;
	int64_t limit = lane->store->config.limits.subscribe_calls;
	if (limit == 0)
		return true;
	struct subscribe_rate *rate = find(shard, consumer, lane->now_ns);
	if (!rate) {
		rate = xcalloc(1, sizeof(*rate));
		rate->consumer = consumer;
		bucket_init(&rate->calls, limit, limit + 1, lane->now_ns);
		list_append(&shard->subscribers, &rate->link);
	}
	return bucket_take(&rate->calls, 1, lane->now_ns);
}

void lane_rate_free(struct lane_shard *shard)
{
	LIST_EACH (node, &shard->subscribers)
		forget(container_of(node, struct subscribe_rate, link));
}
