/* sim_change.c: what is asked of the control thread while all else goes on: streams and consumers come and go, shards are split, merged,
 * counted anew.
 *
 * The same few names are used again and again. An answer is checked against the newest snapshot, which must have reached us before it. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

struct asked {
	struct change change;
	struct sim *sim;
	char stream[24], consumer[24];
};

static const char *const kinds[] = {
	[CHANGE_CREATE_STREAM] = "create stream",
	[CHANGE_DELETE_STREAM] = "delete stream",
	[CHANGE_REGISTER_CONSUMER] = "register consumer",
	[CHANGE_DEREGISTER_CONSUMER] = "deregister consumer",
	[CHANGE_SPLIT_SHARD] = "split shard",
	[CHANGE_MERGE_SHARDS] = "merge shards",
	[CHANGE_UPDATE_SHARD_COUNT] = "update shard count",
};

/* ---- The answer ---- */

/* What comes after it is cut short more often than all else. A deletion most of all, since there are few, and by a kill: what it took away
 * may then be gone in memory only, and is back after the next power cut. */
static void cut_short(struct sim *sim, enum change_kind kind)
{
	bool deletion = kind == CHANGE_DELETE_STREAM;
	if (sim->plan || kind == CHANGE_REGISTER_CONSUMER || !rng_chance(&sim->rng, deletion ? 60 : 12))
		return;
	sim_disk_arm(sim->disk, rng_range(&sim->rng, 1, deletion ? 16 : 30));
	sim->rather_killed = deletion;
}

/* Of a stream that was changed: does the snapshot show it? */
static bool shows(const struct sim *sim, const struct change *change)
{
	const struct stream_info *stream = catalogue_stream(sim->catalogue, change->stream);
	const struct consumer_info *consumer = stream ? stream_consumer(stream, change->consumer) : NULL;
	switch (change->kind) {
	case CHANGE_DELETE_STREAM:
		return !stream || stream->status == STREAM_DELETING;
	case CHANGE_DEREGISTER_CONSUMER:
		return !consumer || consumer->status == CONSUMER_DELETING;
	case CHANGE_REGISTER_CONSUMER:
		return consumer && consumer->id == change->registered.id;
	default:
		return stream;
	}
}

static void count(struct sim *sim, enum change_kind kind)
{
	sim->count.splits += kind == CHANGE_SPLIT_SHARD;
	sim->count.merges += kind == CHANGE_MERGE_SHARDS;
	sim->count.updates += kind == CHANGE_UPDATE_SHARD_COUNT;
}

static void on_changed(struct change *change)
{
	struct asked *asked = container_of(change, struct asked, change);
	struct sim *sim = asked->sim;
	sim->changes_out--;
	sim_say(sim, "%s %s: %s", kinds[change->kind], asked->stream, status_name(change->status));
	if (change->status == STATUS_OK) {
		count(sim, change->kind);
		cut_short(sim, change->kind);
		/* Another change may lie between: then only a deletion of the stream can hide this one. */
		if (!shows(sim, change) && sim->changes_out == 0)
			sim_fail(sim, "%s %s: done, and the snapshot does not show it", kinds[change->kind], asked->stream);
	} else if (change->cause == CAUSE_FAULT) {
		sim->count.failed_changes++;
		if (!sim_broken(sim) && !sim->fills)
			sim_fail(sim, "%s %s: the catalogue could not be written", kinds[change->kind], asked->stream);
	} else {
		sim->count.refused_changes++;
	}
	free(asked);
}

/* ---- Asking ---- */

static void send(struct sim *sim, const char *stream, const char *consumer, struct change with)
{
	struct asked *asked = xcalloc(1, sizeof(*asked));
	asked->sim = sim;
	snprintf(asked->stream, sizeof(asked->stream), "%s", stream);
	snprintf(asked->consumer, sizeof(asked->consumer), "%s", consumer);
	asked->change = with;
	asked->change.reply_to = &sim->box;
	asked->change.on_done = on_changed;
	asked->change.stream = str_of(asked->stream);
	asked->change.consumer = str_of(asked->consumer);
	sim->changes_out++;
	catalogue_change(sim->control, &sim->outbox, &asked->change);
	outbox_flush(&sim->outbox);
}

static void create_stream(struct sim *sim)
{
	char name[24];
	/* Those that are asked for may all be granted. */
	if (sim->n_streams + sim->changes_out >= SIM_STREAMS)
		return;
	snprintf(name, sizeof(name), "stream-%u", (unsigned)rng_below(&sim->rng, SIM_NAMES));
	send(sim, name, "", (struct change){.kind = CHANGE_CREATE_STREAM, .shards = (uint32_t)rng_range(&sim->rng, 1, 3)});
}

static void delete_stream(struct sim *sim, const struct stream_info *stream)
{
	/* Not the last that can be: what is left of the run would be empty. */
	if (sim->n_streams + 2 < SIM_STREAMS)
		send(sim, stream->name, "",
		     (struct change){.kind = CHANGE_DELETE_STREAM, .enforce_consumer_deletion = rng_chance(&sim->rng, 80)});
}

static void register_consumer(struct sim *sim, const struct stream_info *stream)
{
	char name[24];
	const struct sim_stream *known = sim_stream_of(sim, stream->id);
	if (known->n_consumers + sim->changes_out >= SIM_CONSUMERS)
		return;
	snprintf(name, sizeof(name), "consumer-%u", (unsigned)rng_below(&sim->rng, 3));
	send(sim, stream->name, name, (struct change){.kind = CHANGE_REGISTER_CONSUMER});
}

static void deregister_consumer(struct sim *sim, const struct stream_info *stream)
{
	if (stream->n_consumers && sim_stream_of(sim, stream->id)->n_consumers + 4 < SIM_CONSUMERS)
		send(sim, stream->name, stream->consumers[rng_below(&sim->rng, stream->n_consumers)].name,
		     (struct change){.kind = CHANGE_DEREGISTER_CONSUMER});
}

/* The middle, where some key lies, or anywhere: also where it cannot be. */
static uint128 any_cut(struct sim *sim, const struct shard_info *shard)
{
	uint128 width = shard->hash_last - shard->hash_first, any = (uint128)rng_next(&sim->rng) << 64 | rng_next(&sim->rng);
	uint64_t dice = rng_below(&sim->rng, 10);
	if (dice < 3)
		return shard->hash_first + width / 2 + 1;
	if (dice < 6)
		return sim->hashes[rng_below(&sim->rng, SIM_KEYS)];
	return shard->hash_first + any % (width + (width != ~(uint128)0));
}

static const struct shard_info *neighbour(const struct stream_info *stream, const struct shard_info *shard)
{
	for (uint32_t i = 0; i < stream->n_shards; i++)
		if (!stream->shards[i].closed && stream->shards[i].hash_first == shard->hash_last + 1)
			return &stream->shards[i];
	return shard;
}

static void reshard(struct sim *sim, const struct stream_info *stream)
{
	if (stream->n_shards == 0 || sim_stream_of(sim, stream->id)->n_shards + 20 > SIM_SHARDS)
		return;
	const struct shard_info *shard = &stream->shards[rng_below(&sim->rng, stream->n_shards)];
	for (unsigned i = 0; i < 3 && shard->closed; i++)
		shard = &stream->shards[rng_below(&sim->rng, stream->n_shards)];
	uint64_t dice = rng_below(&sim->rng, 10);
	if (dice < 4)
		send(sim, stream->name, "",
		     (struct change){.kind = CHANGE_SPLIT_SHARD, .shard = shard->key.shard, .hash = any_cut(sim, shard)});
	else if (dice < 7)
		send(sim, stream->name, "",
		     (struct change){
			     .kind = CHANGE_MERGE_SHARDS, .shard = shard->key.shard, .adjacent = neighbour(stream, shard)->key.shard});
	else
		send(sim, stream->name, "",
		     (struct change){.kind = CHANGE_UPDATE_SHARD_COUNT, .shards = (uint32_t)rng_range(&sim->rng, 1, 4)});
}

void sim_change(struct sim *sim)
{
	const struct catalogue *catalogue = sim->catalogue;
	/* At most so many shards and streams can come of what is under way; so the truth has room for them. */
	if (!catalogue || sim->changes_out >= 2)
		return;
	if (catalogue->n_streams == 0 || (catalogue->n_streams < 2 && rng_chance(&sim->rng, 40))) {
		create_stream(sim);
		return;
	}
	const struct stream_info *stream = &catalogue->streams[rng_below(&sim->rng, catalogue->n_streams)];
	uint64_t dice = rng_below(&sim->rng, 100);
	if (sim->reshards && dice < 70)
		reshard(sim, stream);
	else if (stream->n_consumers == 0 || dice < 82)
		register_consumer(sim, stream);
	else if (dice < 90)
		deregister_consumer(sim, stream);
	else if (dice < 94)
		create_stream(sim);
	else
		delete_stream(sim, stream);
}

/* ---- A world to live in ---- */

static void wait_for_control(struct sim *sim)
{
	sim_drain(sim);
	sim_advance(sim, (sim->transition_ms + 1) * 1000000);
	sim_drain(sim);
}

bool sim_found(struct sim *sim)
{
	for (unsigned i = 0; i < 6 && !sim_over(sim); i++) {
		wait_for_control(sim);
		const struct catalogue *catalogue = sim->catalogue;
		if (catalogue->n_streams == 0) {
			create_stream(sim);
			create_stream(sim);
			continue;
		}
		bool lacks = false;
		for (uint32_t k = 0; k < catalogue->n_streams; k++) {
			const struct stream_info *stream = &catalogue->streams[k];
			if (stream->status == STREAM_DELETING || stream->n_consumers)
				continue;
			lacks = true;
			if (stream->status == STREAM_ACTIVE)
				register_consumer(sim, stream);
		}
		if (!lacks)
			break;
	}
	return !sim_over(sim);
}
