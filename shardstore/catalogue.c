/* catalogue.c: the immutable snapshot: its life, and look-ups in it.
 *
 * A snapshot is built by the control thread (control_load.c) and never changes afterwards. Whoever needs it holds a reference; the
 * last one to drop its own frees it, on whatever thread that is. Streams lie by name, shards by number, consumers by name: each
 * look-up by these is a binary search. By id there is a scan: it is asked for events of the control plane, not for records.
 *
 * Happy path:
 * - control_load makes it with one reference, the control thread's
 * - each reader's mail carries one reference, which the reader keeps until the next snapshot
 * - a look-up lends a pointer for as long as the caller's reference lives
 *
 * Nothing here fails. */
#include "penstock/catalogue.h"

#include <assert.h>
#include <stdlib.h>

struct catalogue *catalogue_ref(struct catalogue *snapshot)
{
	unsigned before = atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);

	assert(before > 0);
	return snapshot;
}

void catalogue_unref(struct catalogue *snapshot)
{
	if (!snapshot || atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < snapshot->n_streams; i++) {
		free(snapshot->streams[i].shards);
		free(snapshot->streams[i].consumers);
	}
	free(snapshot->streams);
	free(snapshot);
}

/* ---- Look-ups ---- */

static int compare_stream(const void *wanted, const void *stream)
{
	return str_compare(*(const struct str *)wanted, str_of(((const struct stream_info *)stream)->name));
}

static int compare_consumer(const void *wanted, const void *consumer)
{
	return str_compare(*(const struct str *)wanted, str_of(((const struct consumer_info *)consumer)->name));
}

static int compare_shard(const void *wanted, const void *shard)
{
	uint32_t a = *(const uint32_t *)wanted, b = ((const struct shard_info *)shard)->key.shard;

	return (a > b) - (a < b);
}

/* bsearch that may be asked about nothing: an empty array is NULL, which bsearch does not allow. */
static const void *find(const void *wanted, const void *base, uint32_t n, size_t size, int (*compare)(const void *, const void *))
{
	return n ? bsearch(wanted, base, n, size, compare) : NULL;
}

const struct stream_info *catalogue_stream(const struct catalogue *snapshot, struct str name)
{
	if (!name.p)
		return NULL;
	return find(&name, snapshot->streams, snapshot->n_streams, sizeof(*snapshot->streams), compare_stream);
}

const struct stream_info *catalogue_stream_by_id(const struct catalogue *snapshot, uint64_t id)
{
	for (uint32_t i = 0; i < snapshot->n_streams; i++)
		if (snapshot->streams[i].id == id)
			return &snapshot->streams[i];
	return NULL;
}

const struct shard_info *stream_shard(const struct stream_info *stream, uint32_t shard)
{
	return find(&shard, stream->shards, stream->n_shards, sizeof(*stream->shards), compare_shard);
}

const struct shard_info *stream_shard_for(const struct stream_info *stream, uint128 hash)
{
	/* After a reshard the ranges are no longer in the order of the numbers: a scan. */
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		const struct shard_info *shard = &stream->shards[i];

		if (!shard->closed && shard->hash_first <= hash && hash <= shard->hash_last)
			return shard;
	}
	return NULL;
}

const struct consumer_info *stream_consumer(const struct stream_info *stream, struct str name)
{
	if (!name.p)
		return NULL;
	return find(&name, stream->consumers, stream->n_consumers, sizeof(*stream->consumers), compare_consumer);
}

uint32_t stream_open_shards(const struct stream_info *stream)
{
	uint32_t open = 0;

	for (uint32_t i = 0; i < stream->n_shards; i++)
		open += !stream->shards[i].closed;
	return open;
}

/* ---- Names, as they stand in answers ---- */

const char *stream_status_name(enum stream_status status)
{
	static const char *const names[] = {"CREATING", "ACTIVE", "UPDATING", "DELETING"};

	assert(status <= STREAM_DELETING);
	return names[status];
}

const char *consumer_status_name(enum consumer_status status)
{
	static const char *const names[] = {"CREATING", "ACTIVE", "DELETING"};

	assert(status <= CONSUMER_DELETING);
	return names[status];
}

const char *stream_mode_name(enum stream_mode mode) { return mode == MODE_ON_DEMAND ? "ON_DEMAND" : "PROVISIONED"; }
