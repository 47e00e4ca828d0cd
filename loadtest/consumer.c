/* consumer.c: enhanced fan-out consumers: one connection each, one subscription per shard.
 *
 * The registered consumers are the load's; a run borrows them. A shard that ends hands over to its children, once every parent that this
 * consumer reads is over. */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/run.h"

/* The last `stalled` subscriptions, counted consumer by consumer. */
static bool is_stalled(const struct run *run, unsigned consumer, unsigned shard)
{
	unsigned shards = run->load->n_shards_first, all = run->plan->consumers * shards;
	return consumer * shards + shard + run->load->options->stalled >= all;
}

static bool parents_over(const struct consumer *consumer, unsigned shard)
{
	struct load *load = consumer->run->load;
	for (unsigned i = 0; i < 2; i++) {
		unsigned parent = shard_find(load, str_of(load->shards[shard].parents[i]));
		if (parent < LOAD_SHARDS_MAX && consumer->subscriptions[parent] && !subscription_over(consumer->subscriptions[parent]))
			return false;
	}
	return true;
}

void consumer_shard_ended(struct consumer *consumer, const struct value *children)
{
	unsigned found[2], n = shards_learn_children(consumer->run->load, children, found);
	for (unsigned i = 0; i < n; i++) {
		struct subscription **child = &consumer->subscriptions[found[i]];
		if (*child || !parents_over(consumer, found[i]))
			continue;
		*child = subscription_new(consumer, found[i], false, true);
	}
}

static void consumer_start(struct run *run, struct consumer *consumer, unsigned number)
{
	struct load *load = run->load;
	consumer->run = run;
	consumer->number = number;
	consumer->intake = &run->intakes[number];
	consumer->arn = load->consumer_arns[number];
	consumer->subscriptions = xcalloc(LOAD_SHARDS_MAX, sizeof *consumer->subscriptions);
	snprintf(consumer->intake->receiver->name, sizeof consumer->intake->receiver->name, "consumer %u", number + 1);
	consumer->connection = connection_open(load->base, &load->endpoint, 0);
	for (unsigned shard = 0; shard < load->n_shards_first; shard++)
		consumer->subscriptions[shard] = subscription_new(consumer, shard, is_stalled(run, number, shard), false);
}

void consumers_start(struct run *run)
{
	run->consumers = xcalloc(run->plan->consumers ? run->plan->consumers : 1, sizeof *run->consumers);
	for (unsigned i = 0; i < run->plan->consumers; i++)
		consumer_start(run, &run->consumers[i], i);
}

static void consumers_stall(struct run *run, bool stalled)
{
	for (unsigned i = 0; i < run->plan->consumers; i++)
		for (unsigned shard = 0; shard < run->load->n_shards_first; shard++)
			subscription_stall(run->consumers[i].subscriptions[shard], stalled);
}

bool consumers_ready(const struct run *run)
{
	for (unsigned i = 0; i < run->plan->consumers; i++)
		for (unsigned shard = 0; shard < run->load->n_shards_first; shard++)
			if (!subscription_ready(run->consumers[i].subscriptions[shard]))
				return false;
	return true;
}

void consumers_pause(struct run *run) { consumers_stall(run, true); }
void consumers_resume(struct run *run) { consumers_stall(run, false); }

void consumers_free(struct run *run)
{
	for (unsigned i = 0; run->consumers && i < run->plan->consumers; i++) {
		struct consumer *consumer = &run->consumers[i];
		connection_close(consumer->connection);
		for (unsigned shard = 0; consumer->subscriptions && shard < LOAD_SHARDS_MAX; shard++)
			if (consumer->subscriptions[shard])
				subscription_free(consumer->subscriptions[shard]);
		free(consumer->subscriptions);
	}
	free(run->consumers);
	run->consumers = NULL;
}
