/* sim_follow.c: one poller per stream that reads everything once: each shard from its oldest record to its end, and a child only when all
 * of its parents are read (what the KCL does with GetRecords).
 *
 * It stands outside: its progress outlives every crash, since what it has read must stay. What it reads is dense in each shard, and of each
 * key in the order in which it was put, from parent to child. */
#include <stdlib.h>

#include "tests/sim/sim.h"

struct follow {
	struct store_read read;
	struct sim *sim;
	struct sim_shard *shard;
};

/* ---- What it reads ---- */

static void follow_record(struct follow *follow, const struct record *record)
{
	struct sim *sim = follow->sim;
	struct sim_shard *shard = follow->shard;
	if (record->index < shard->follow)
		return;
	if (record->index != shard->follow)
		sim_fail(sim, "follow: shard %u: %llu where %llu was due", shard->number, (unsigned long long)record->index,
			 (unsigned long long)shard->follow);
	sim_observe(sim, shard, record, "follow");
	shard->follow = record->index + 1;
	if (sim->failed)
		return;
	uint64_t id = sim_id_of(sim, record->key), *last = &shard->stream->followed[sim->puts[id].key];
	if (id <= *last)
		sim_fail(sim, "follow: shard %u index %llu: id %llu of key %u comes behind id %llu", shard->number,
			 (unsigned long long)record->index, (unsigned long long)id, sim->puts[id].key, (unsigned long long)*last);
	*last = id;
	sim->count.followed++;
}

static void take(struct follow *follow)
{
	struct sim *sim = follow->sim;
	struct sim_shard *shard = follow->shard;
	const struct store_read *read = &follow->read;
	sim_observe_gap(sim, shard, shard->follow, read->from, "follow");
	shard->follow = read->from;
	for (uint32_t i = 0; i < read->n_batches; i++) {
		size_t cursor = 0;
		uint32_t nth = 0;
		struct record record;
		while (!sim->failed && batch_next(read->batches[i], &cursor, &nth, &record))
			follow_record(follow, &record);
	}
	if (read->closed && shard->follow == read->durable_end + 1) {
		if (!shard->info.closed || shard->info.end_index != read->durable_end)
			sim_fail(sim, "follow: shard %u ends at %llu, and the snapshot has it otherwise", shard->number,
				 (unsigned long long)read->durable_end);
		shard->followed = true;
	}
}

static void on_followed(struct store_read *read)
{
	struct follow *follow = container_of(read, struct follow, read);
	struct sim *sim = follow->sim;
	sim->reads_out--;
	follow->shard->following = false;
	if (read->status == STATUS_OK)
		take(follow);
	else if (read->status == STATUS_CLOSING     ? !sim->stopping
		 : read->status == STATUS_NOT_FOUND ? !sim_shard_may_be_gone(sim, follow->shard)
						    : !sim_broken(sim))
		sim_fail(sim, "follow: shard %u: %s", follow->shard->number, status_name(read->status));
	store_read_release(read);
	free(follow);
}

/* ---- Where it goes ---- */

static bool is_read(const struct sim_stream *stream, uint32_t number)
{
	return number == NO_PARENT || stream->shards[number].followed || stream->shards[number].expired;
}

static bool can_follow(const struct sim_shard *shard)
{
	return shard->known && !shard->following && !shard->followed && !sim_shard_ends(shard) &&
	       is_read(shard->stream, shard->info.parent) && is_read(shard->stream, shard->info.adjacent);
}

static void follow_shard(struct sim *sim, struct sim_shard *shard, size_t max_bytes)
{
	struct follow *follow = xcalloc(1, sizeof(*follow));
	if (shard->follow == 0)
		shard->follow = 1;
	follow->sim = sim;
	follow->shard = shard;
	follow->read = (struct store_read){.reply_to = &sim->box,
					   .on_done = on_followed,
					   .stream = shard->stream->id,
					   .shard = shard->number,
					   .next = shard->follow,
					   .max_records = UINT32_MAX,
					   .max_bytes = max_bytes};
	shard->following = true;
	sim->reads_out++;
	store_read(sim->store, &sim->outbox, &follow->read);
	outbox_flush(&sim->outbox);
}

void sim_follow(struct sim *sim)
{
	if (!sim->n_streams)
		return;
	struct sim_stream *stream = &sim->streams[rng_below(&sim->rng, sim->n_streams)];
	for (uint32_t i = 0, from = (uint32_t)rng_below(&sim->rng, stream->n_shards + 1); i < stream->n_shards; i++) {
		struct sim_shard *shard = &stream->shards[(from + i) % stream->n_shards];
		if (!can_follow(shard))
			continue;
		follow_shard(sim, shard, rng_range(&sim->rng, 1, 100000));
		return;
	}
}

/* Of an open shard the end is enough; of a closed one it must be told that it is one. */
static bool has_more(struct sim *sim, struct sim_shard *shard)
{
	return !shard->followed && (shard->info.closed || shard->follow != sim_durable_end(sim, shard) + 1);
}

static void follow_to_end(struct sim *sim, struct sim_shard *shard)
{
	while (can_follow(shard) && has_more(sim, shard) && !sim_over(sim)) {
		uint64_t before = shard->follow;
		follow_shard(sim, shard, 1 << 20);
		sim_drain(sim);
		if (shard->follow == before && !shard->followed)
			break;
	}
	if (!sim_over(sim) && !sim->faults && has_more(sim, shard))
		sim_fail(sim, "follow: shard %u: there is no way past %llu, durable end %llu", shard->number,
			 (unsigned long long)shard->follow, (unsigned long long)sim_durable_end(sim, shard));
}

void sim_follow_all(struct sim *sim)
{
	/* By number: parents come before their children. */
	for (unsigned s = 0; s < sim->n_streams; s++)
		for (uint32_t i = 0; i < sim->streams[s].n_shards && !sim_over(sim); i++)
			if (sim->streams[s].shards[i].known && !sim_shard_ends(&sim->streams[s].shards[i]))
				follow_to_end(sim, &sim->streams[s].shards[i]);
}
