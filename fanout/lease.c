/* lease.c: what lanes say of leases. Thread: the hub's.
 *
 * One live subscription per (consumer, shard) is the lane's business; here it ends for one of three reasons, each with its exception, or
 * is asked whether its client is still there. The lane's mail is first-in first-out with the answer to the join, so the subscription is
 * known here, or has been stopped: then its leave is on its way, and there is nothing to do. */
#include <inttypes.h>

#include "fanout/hub.h"
#include "penstock/metrics.h"

static const char *stream_name(const struct subscription *sub) { return sub->names; }
static const char *consumer_name(const struct subscription *sub) { return sub->names + strlen(sub->names) + 1; }

static struct message *taken(const struct subscription *sub)
{
	struct buf text = {0};
	char shard[SHARD_NAME_LEN + 1];
	shard_name(shard, sub->shard.shard);
	buf_printf(&text, "Another active subscription exists for this consumer: %s:%s:%s:%s", sub->hub->account, stream_name(sub), shard,
		   consumer_name(sub));
	struct message *message = message_exception(STR("ResourceInUseException"), (struct str){(const char *)text.p, text.n});
	buf_free(&text);
	return message;
}

struct message *lease_gone(const struct subscription *sub, enum lease_end why)
{
	struct buf text = {0};
	if (why == LEASE_CONSUMER_GONE)
		buf_printf(&text, "Consumer %s under stream %s under account %s not found.", consumer_name(sub), stream_name(sub),
			   sub->hub->account);
	else
		buf_printf(&text, "Stream %s under account %s not found.", stream_name(sub), sub->hub->account);
	struct message *message = message_exception(STR("ResourceNotFoundException"), (struct str){(const char *)text.p, text.n});
	buf_free(&text);
	return message;
}

void on_lease_end(struct lease_holder *holder, uint64_t id, enum lease_end why)
{
	struct hub *hub = container_of(holder, struct hub, holder);
	struct subscription *sub = hub_subscription(hub, id);
	if (!sub || sub->state == SUB_CLOSING)
		return;
	if (why == LEASE_TAKEN)
		metric_add(METRIC_subscriptions_taken_over, 1);
	sub_close(sub, why == LEASE_TAKEN ? taken(sub) : lease_gone(sub, why));
	sub->ops->on_ready(sub);
}

bool on_lease_probe(struct lease_holder *holder, uint64_t id)
{
	struct hub *hub = container_of(holder, struct hub, holder);
	struct subscription *sub = hub_subscription(hub, id);
	return !sub || sub->state == SUB_CLOSING || sub->ops->on_probe(sub);
}
