/* lane_reshard.c: parents end and children take over, in three requests of the control thread (store.h).
 *
 *      SEAL             ADD_SHARDS           SWITCH_SHARDS
 *   ────┬──────────────────┬───────────────────┬─────────>  the lane
 *       │ puts to the parents wait ............│ they go to the children
 *       └> durable end     └ children are there└ parents closed, listeners told
 *           └─ catalogue: parents closed at that end, children added ─ snapshot to every worker
 *
 * Invariants: a parent's end is final when the catalogue says so, and nothing is taken by parent or child between the seal and that moment:
 * so a crash finds either the parents open with all that was acknowledged, or closed with all of it in front of their end. Nobody is told
 * that a shard has ended before every worker's snapshot names its children. The order of a stream's puts is kept across the change.
 *
 * - seal: the parents take nothing more. Is something of theirs in the open group or in flight, the answer waits for it; no group is
 *   hurried, since the open one closes as soon as the last is done.
 * - add: lane_shards for the children.
 * - switch: in one step of this thread, also while a group of other shards is in flight: its syncer keeps the marks that it has.
 * - expire (with retention): closed shards that the catalogue no longer has are forgotten.
 *
 * Failure: a log that takes no more records is not resharded: CORRUPT when it was found damaged (its true end is not known), IO when it was
 * poisoned meanwhile (what is on the disk of the last group is not known). Killed at any point: the catalogue has the plan, and begins
 * again with the seal, or has the children, and recovery opens them. A catalogue that cannot be written: SEAL comes again with `refuse`,
 * and puts to the parents fail rather than wait for nobody knows how long.
 *
 * Thread: the lane's. */
#include <assert.h>
#include <stdlib.h>

#include "shardstore/lane.h"

/* ---- Seal ---- */

static void unseal(struct lane_stream *stream)
{
	for (uint32_t i = 0; i < stream->n_shards; i++)
		stream->shards[i]->sealing = false;
	stream->n_sealing = 0;
	stream->seal_refuses = false;
}

/* Is all that the parents took durable, or failed? */
static bool is_quiet(const struct lane_stream *stream, const struct store_admin *seal)
{
	for (uint32_t i = 0; i < seal->n_shards; i++) {
		const struct lane_shard *shard = lane_stream_shard(stream, seal->shards[i].key.shard);
		if (shard->open || shard->flying)
			return false;
	}
	return true;
}

void lane_seal_settle(struct lane_stream *stream)
{
	struct store_admin *seal = stream->seal;
	if (!seal || (!stream->refuses && !is_quiet(stream, seal)))
		return;
	stream->seal = NULL;
	if (stream->refuses) {
		unseal(stream);
		lane_admin_answer(stream->lane, seal, STATUS_IO);
		return;
	}
	for (uint32_t i = 0; i < seal->n_shards; i++) {
		const struct lane_shard *shard = lane_stream_shard(stream, seal->shards[i].key.shard);
		seal->shards[i].end_index = shard_durable_end(shard);
		seal->shards[i].closed_ms = shard->last_arrival_ms + 1;
	}
	lane_admin_answer(stream->lane, seal, STATUS_OK);
}

void lane_seal_cancel(struct lane_stream *stream)
{
	if (stream->seal)
		lane_admin_answer(stream->lane, stream->seal, STATUS_NOT_FOUND);
	stream->seal = NULL;
	unseal(stream);
}

static enum status check_seal(const struct lane_stream *stream, const struct store_admin *seal)
{
	if (!stream)
		return STATUS_NOT_FOUND;
	if (streamlog_readonly(stream->log))
		return STATUS_CORRUPT;
	if (stream->refuses)
		return STATUS_IO;
	for (uint32_t i = 0; i < seal->n_shards; i++) {
		const struct lane_shard *shard = lane_stream_shard(stream, seal->shards[i].key.shard);
		if (!shard || shard->closed)
			return STATUS_NOT_FOUND;
	}
	return STATUS_OK;
}

void lane_seal(struct lane *lane, struct store_admin *admin)
{
	struct lane_stream *stream = lane_find(lane, admin->stream_id);
	enum status status = check_seal(stream, admin);
	if (status) {
		lane_admin_answer(lane, admin, status);
		return;
	}
	assert(!stream->seal); /* the control thread asks one thing at a time */
	for (uint32_t i = 0; i < admin->n_shards; i++) {
		struct lane_shard *shard = lane_stream_shard(stream, admin->shards[i].key.shard);
		stream->n_sealing += !shard->sealing;
		shard->sealing = true;
	}
	stream->seal_refuses = admin->refuse;
	stream->seal = admin;
	lane_seal_settle(stream);
}

/* ---- Children ---- */

void lane_add_shards(struct lane *lane, struct store_admin *admin)
{
	struct lane_stream *stream = lane_find(lane, admin->stream_id);
	if (!stream) {
		lane_admin_answer(lane, admin, STATUS_NOT_FOUND);
		return;
	}
	uint32_t from = stream->n_shards;
	stream->shards = xrealloc(stream->shards, (from + admin->n_shards) * sizeof(struct lane_shard *));
	for (uint32_t i = 0; i < admin->n_shards; i++) {
		uint32_t n = stream->n_shards;
		assert(n == 0 || stream->shards[n - 1]->key.shard < admin->shards[i].key.shard); /* numbers are never used again */
		stream->shards[n] = lane_shard_new(stream, &admin->shards[i]);
		stream->n_shards++;
	}
	lane_raise_arrivals(stream, from);
	lane_admin_answer(lane, admin, STATUS_OK);
}

/* ---- Switch ---- */

static void close_shard(struct lane_shard *shard, const struct shard_info *info)
{
	assert(shard->sealing && !shard->open && !shard->flying && info->end_index == shard_durable_end(shard));
	shard->closed = true;
	shard->end_index = info->end_index;
	shard->closed_ms = info->closed_ms;
	LIST_EACH (node, &shard->interests)
		interest_tell(container_of(node, struct interest, link), shard, NULL, 0, &shard->stream->lane->outbox);
}

void lane_switch_shards(struct lane *lane, struct store_admin *admin)
{
	struct lane_stream *stream = lane_find(lane, admin->stream_id);
	if (!stream) {
		lane_admin_answer(lane, admin, STATUS_NOT_FOUND);
		return;
	}
	for (uint32_t i = 0; i < admin->n_shards; i++)
		close_shard(lane_stream_shard(stream, admin->shards[i].key.shard), &admin->shards[i]);
	unseal(stream);
	lane_route_shards(stream);
	lane_admin_answer(lane, admin, STATUS_OK);
	/* What waited is taken at the end of this turn. */
}

/* ---- Expire ---- */

/* One that somebody still listens to stays until a later round. */
void lane_expire_shards(struct lane_stream *stream, int64_t expired_ms)
{
	uint32_t n = 0;
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		struct lane_shard *shard = stream->shards[i];
		if (shard->closed && shard->closed_ms < expired_ms && list_empty(&shard->leases))
			lane_shard_free(shard);
		else
			stream->shards[n++] = shard;
	}
	stream->n_shards = n;
}
