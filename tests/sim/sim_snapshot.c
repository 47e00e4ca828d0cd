/* sim_snapshot.c: what snapshots of the catalogue may say, one after another, over all epochs.
 *
 * A snapshot is made of what is committed, so whatever one has shown must be in every later one, also after a crash: a stream until it is
 * deleted, a shard until retention has taken it, an end once a shard is closed. What no snapshot has shown may be lost with the process;
 * a commit that nobody heard of may show itself after a start.
 *
 * - Open shards cover 0 to 2^128 - 1 exactly once, in each stream that has shards at all.
 * - A child's parents are closed; its sequence numbers begin behind theirs. Ids and numbers are never used again.
 * - Streams and consumers go through their states in order. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/sim/sim.h"

struct sim_stream *sim_stream_of(struct sim *sim, uint64_t id)
{
	for (unsigned i = 0; i < sim->n_streams; i++)
		if (sim->streams[i].id == id)
			return &sim->streams[i];
	return NULL;
}

bool sim_stream_ends(const struct sim_stream *stream) { return stream->gone || stream->status == STREAM_DELETING; }
bool sim_shard_ends(const struct sim_shard *shard) { return shard->expired || sim_stream_ends(shard->stream); }

bool sim_shard_may_be_gone(const struct sim *sim, const struct sim_shard *shard)
{
	return sim_shard_ends(shard) || (shard->info.closed && sim_has_aged(sim, shard->open_ns));
}

struct sim_shard *sim_any_shard(struct sim *sim, const struct catalogue *snapshot)
{
	if (!snapshot || !snapshot->n_streams)
		return NULL;
	const struct stream_info *info = &snapshot->streams[rng_below(&sim->rng, snapshot->n_streams)];
	if (info->n_shards == 0 || info->status == STREAM_DELETING)
		return NULL;
	return &sim_stream_of(sim, info->id)->shards[info->shards[rng_below(&sim->rng, info->n_shards)].key.shard];
}

/* ---- Shards ---- */

static void check_same(struct sim *sim, const struct sim_shard *shard, const struct shard_info *now)
{
	const struct shard_info *was = &shard->info;
	bool same = was->key.created_s == now->key.created_s && was->hash_first == now->hash_first && was->hash_last == now->hash_last &&
		    was->parent == now->parent && was->adjacent == now->adjacent;
	if (same && was->closed)
		same = now->closed && was->end_index == now->end_index && was->closed_s == now->closed_s;
	if (!same)
		sim_fail(sim, "catalogue: shard %u of stream %llu is another than it was", shard->number,
			 (unsigned long long)now->key.stream);
}

/* Closed by a commit that nobody heard of before the process ended, and long enough ago for whoever started next: its children show it. */
static bool passed_unseen(const struct sim *sim, const struct sim_shard *shard, const struct stream_info *info)
{
	if (shard->info.closed || stream_shard(info, shard->number) || !sim_has_aged(sim, shard->open_ns))
		return false;
	for (uint32_t i = 0; i < info->n_shards; i++)
		if (info->shards[i].parent == shard->number || info->shards[i].adjacent == shard->number)
			return true;
	return false;
}

static void check_parent(struct sim *sim, const struct sim_stream *stream, const struct stream_info *info, const struct shard_info *child,
			 uint32_t number)
{
	if (number == NO_PARENT)
		return;
	const struct sim_shard *parent = &stream->shards[number];
	if (number >= child->key.shard || !parent->known)
		sim_fail(sim, "catalogue: shard %u has parent %u, which was never there", child->key.shard, number);
	else if (parent->expired || passed_unseen(sim, parent, info))
		return;
	else if (!parent->info.closed)
		sim_fail(sim, "catalogue: shard %u is there, and its parent %u is open", child->key.shard, number);
	else if (child->key.created_s <= parent->info.closed_s)
		sim_fail(sim, "catalogue: shard %u begins in second %lld, its parent %u ends in %lld", child->key.shard,
			 (long long)child->key.created_s, number, (long long)parent->info.closed_s);
}

static void see_shard(struct sim *sim, struct sim_stream *stream, const struct shard_info *info)
{
	uint32_t number = info->key.shard;
	if (number >= SIM_SHARDS) {
		sim_fail(sim, "catalogue: shard %u: so many were never made", number);
		return;
	}
	struct sim_shard *shard = &stream->shards[number];
	if (shard->expired)
		return; /* a clock that was set back shows it again until the file has let it go */
	if (shard->known)
		check_same(sim, shard, info);
	else if (number < stream->n_shards)
		sim_fail(sim, "catalogue: shard %u is new, but %u was there", number, stream->n_shards - 1);
	if (info->closed && !(shard->known && shard->info.closed))
		sim->count.closed++;
	if (info->closed && info->end_index < shard->durable)
		sim_fail(sim, "catalogue: shard %u is closed at %llu, %llu was durable", number, (unsigned long long)info->end_index,
			 (unsigned long long)shard->durable);
	shard->known = true;
	shard->stream = stream;
	shard->number = number;
	shard->info = *info;
	if (!info->closed)
		shard->open_ns = io_mono_ns(sim->io);
}

static int by_hash(const void *a, const void *b)
{
	const struct shard_info *left = *(const struct shard_info *const *)a, *right = *(const struct shard_info *const *)b;
	return left->hash_first < right->hash_first ? -1 : left->hash_first > right->hash_first;
}

static void check_cover(struct sim *sim, const struct stream_info *info)
{
	const struct shard_info *open[SIM_SHARDS];
	uint32_t n = 0;
	uint128 next = 0;
	for (uint32_t i = 0; i < info->n_shards; i++)
		if (!info->shards[i].closed)
			open[n++] = &info->shards[i];
	if (n)
		qsort(open, n, sizeof(*open), by_hash);
	for (uint32_t i = 0; i < n; i++) {
		if (open[i]->hash_first != next || open[i]->hash_last < open[i]->hash_first || (next == 0 && i > 0))
			sim_fail(sim, "catalogue: stream %llu: hash keys at shard %u are covered twice or not at all",
				 (unsigned long long)info->id, open[i]->key.shard);
		next = open[i]->hash_last + 1; /* 0 behind the last key */
	}
	if (n == 0 || next != 0)
		sim_fail(sim, "catalogue: stream %llu: the last hash keys are not covered", (unsigned long long)info->id);
}

/* Known shards that the snapshot has not: only retention takes one. */
static void miss_shards(struct sim *sim, struct sim_stream *stream, const struct stream_info *info)
{
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		struct sim_shard *shard = &stream->shards[i];
		if (!shard->known || shard->expired || stream_shard(info, i))
			continue;
		bool passed = passed_unseen(sim, shard, info);
		if (!passed && (!shard->info.closed || !sim_has_aged(sim, shard->open_ns))) {
			sim_fail(sim, "catalogue: shard %u of stream %llu is lost", i, (unsigned long long)stream->id);
			return;
		}
		shard->expired = true;
		sim->count.expired++;
	}
}

static void see_shards(struct sim *sim, struct sim_stream *stream, const struct stream_info *info)
{
	for (uint32_t i = 0; i < info->n_shards && !sim->failed; i++)
		see_shard(sim, stream, &info->shards[i]);
	for (uint32_t i = 0; i < info->n_shards && !sim->failed; i++) {
		check_parent(sim, stream, info, &info->shards[i], info->shards[i].parent);
		check_parent(sim, stream, info, &info->shards[i], info->shards[i].adjacent);
	}
	if (sim->failed)
		return;
	if (info->n_shards && info->shards[info->n_shards - 1].key.shard >= stream->n_shards)
		stream->n_shards = info->shards[info->n_shards - 1].key.shard + 1;
	miss_shards(sim, stream, info);
	if (info->status == STREAM_CREATING ? info->n_shards != 0 : info->n_shards == 0 && info->status != STREAM_DELETING)
		sim_fail(sim, "catalogue: stream %llu is %s with %u shards", (unsigned long long)info->id, stream_status_name(info->status),
			 info->n_shards);
	if (info->n_shards)
		check_cover(sim, info);
}

/* ---- Consumers ---- */

static struct sim_consumer *consumer_of(struct sim_stream *stream, uint64_t id)
{
	for (uint32_t i = 0; i < stream->n_consumers; i++)
		if (stream->consumers[i].id == id)
			return &stream->consumers[i];
	return NULL;
}

static bool has_consumer(const struct stream_info *info, uint64_t id)
{
	for (uint32_t i = 0; i < info->n_consumers; i++)
		if (info->consumers[i].id == id)
			return true;
	return false;
}

static void see_consumers(struct sim *sim, struct sim_stream *stream, const struct stream_info *info)
{
	for (uint32_t i = 0; i < info->n_consumers; i++) {
		const struct consumer_info *now = &info->consumers[i];
		struct sim_consumer *consumer = consumer_of(stream, now->id);
		if (!consumer && stream->n_consumers == SIM_CONSUMERS) {
			sim_fail(sim, "catalogue: so many consumers were never registered");
			return;
		}
		if (!consumer) {
			consumer = &stream->consumers[stream->n_consumers++];
			*consumer = (struct sim_consumer){.id = now->id};
		}
		if (consumer->gone || now->status < consumer->status)
			sim_fail(sim, "catalogue: consumer %llu is %s again", (unsigned long long)now->id,
				 consumer_status_name(now->status));
		consumer->status = now->status;
	}
	for (uint32_t i = 0; i < stream->n_consumers; i++) {
		struct sim_consumer *consumer = &stream->consumers[i];
		if (consumer->gone || has_consumer(info, consumer->id))
			continue;
		if (consumer->status != CONSUMER_DELETING)
			sim_fail(sim, "catalogue: consumer %llu is lost", (unsigned long long)consumer->id);
		consumer->gone = true;
	}
}

/* ---- Streams ---- */

static bool may_become(enum stream_status was, enum stream_status now)
{
	if (was == STREAM_DELETING || now == STREAM_DELETING)
		return now == STREAM_DELETING;
	return was == now || now != STREAM_CREATING;
}

static struct sim_stream *new_stream(struct sim *sim, const struct stream_info *info)
{
	if (sim->n_streams == SIM_STREAMS) {
		sim_fail(sim, "catalogue: so many streams were never made");
		return NULL;
	}
	for (unsigned i = 0; i < sim->n_streams; i++) {
		const struct sim_stream *other = &sim->streams[i];
		if (other->id > info->id)
			sim_fail(sim, "catalogue: stream %llu is new, but %llu was there", (unsigned long long)info->id,
				 (unsigned long long)other->id);
		if (strcmp(other->name, info->name) == 0 && info->created_ms / 1000 <= other->created_ms / 1000)
			sim_fail(sim, "catalogue: %s was made twice in one second", info->name);
	}
	struct sim_stream *stream = &sim->streams[sim->n_streams++];
	stream->id = info->id;
	stream->status = info->status;
	stream->created_ms = info->created_ms;
	snprintf(stream->name, sizeof(stream->name), "%s", info->name);
	sim->count.created++;
	return stream;
}

static void see_stream(struct sim *sim, const struct stream_info *info)
{
	struct sim_stream *stream = sim_stream_of(sim, info->id);
	if (!stream)
		stream = new_stream(sim, info);
	if (!stream)
		return;
	if (stream->gone || !may_become(stream->status, info->status) || strcmp(stream->name, info->name) != 0)
		sim_fail(sim, "catalogue: stream %llu is %s, was %s", (unsigned long long)info->id, stream_status_name(info->status),
			 stream->gone ? "gone" : stream_status_name(stream->status));
	stream->updates += info->status == STREAM_UPDATING && stream->status != STREAM_UPDATING;
	stream->status = info->status;
	see_shards(sim, stream, info);
	see_consumers(sim, stream, info);
}

void sim_snapshot_seen(struct sim *sim, const struct catalogue *snapshot)
{
	if (snapshot->version <= sim->version)
		return;
	sim->version = snapshot->version;
	for (uint32_t i = 0; i < snapshot->n_streams && !sim->failed; i++)
		see_stream(sim, &snapshot->streams[i]);
	for (unsigned i = 0; i < sim->n_streams && !sim->failed; i++) {
		struct sim_stream *stream = &sim->streams[i];
		if (stream->gone || catalogue_stream_by_id(snapshot, stream->id))
			continue;
		if (stream->status != STREAM_DELETING)
			sim_fail(sim, "catalogue: stream %llu is lost", (unsigned long long)stream->id);
		stream->gone = true;
		sim->count.deleted++;
	}
}
