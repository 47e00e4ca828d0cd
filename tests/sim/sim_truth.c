/* sim_truth.c: what is known of each record, and the check of every sight of one.
 *
 * A record is known from the first time that anybody outside saw it: an acknowledgement, a push, GetRecords, the check after a start. From
 * then on every other sight must agree, in all later epochs. One that nobody has seen may be lost by a crash, and its index given again.
 *
 * A record's key is its id, its data a piece of fixed noise that the id picks: so each sight can be checked byte by byte without a copy. */
#include <stdio.h>
#include <stdlib.h>

#include "shardstore/lane.h" /* the lane's durable end: the only private thing that is looked at */
#include "tests/sim/sim.h"

uint64_t sim_origin_new(struct sim *sim, uint32_t size)
{
	if (sim->n_puts + 1 >= sim->cap_puts) {
		sim->cap_puts = sim->cap_puts ? sim->cap_puts * 2 : 1024;
		sim->puts = xrealloc(sim->puts, sim->cap_puts * sizeof(*sim->puts));
	}
	uint64_t id = ++sim->n_puts;
	sim->puts[id] = (struct sim_origin){.size = size};
	return id;
}

struct str sim_data(struct sim *sim, uint64_t id) { return (struct str){(const char *)sim->noise + id * 97 % 8192, sim->puts[id].size}; }

size_t sim_key(char out[24], uint64_t id) { return (size_t)snprintf(out, 24, "k%llu", (unsigned long long)id); }

static uint64_t id_of(const struct sim *sim, struct str key)
{
	char text[24] = "";
	if (key.n < 2 || key.n >= sizeof(text) || key.p[0] != 'k')
		return 0;
	memcpy(text, key.p + 1, key.n - 1);
	uint64_t id = strtoull(text, NULL, 10);
	return id <= sim->n_puts ? id : 0;
}

uint64_t sim_durable_end(const struct sim *sim, const struct sim_shard *shard)
{
	for (unsigned i = 0; i < store_lanes(sim->store); i++) {
		const struct lane_stream *stream = lane_find(&sim->store->lanes[i], shard->stream->info->id);
		if (stream)
			return shard_durable_end(lane_stream_shard(stream, shard->number));
	}
	return 0;
}

static struct sim_record *known(struct sim_shard *shard, uint64_t index)
{
	if (index >= shard->cap) {
		uint64_t cap = shard->cap * 2 > index ? shard->cap * 2 : index + 64;
		shard->records = xrealloc(shard->records, cap * sizeof(*shard->records));
		memset(shard->records + shard->cap, 0, (cap - shard->cap) * sizeof(*shard->records));
		shard->cap = cap;
	}
	if (index >= shard->n)
		shard->n = index + 1;
	return &shard->records[index];
}

void sim_observe(struct sim *sim, struct sim_shard *shard, const struct record *record, const char *who)
{
	unsigned long long index = record->index;
	uint64_t id = id_of(sim, record->key);
	if (!id) {
		sim_fail(sim, "%s: shard %u index %llu: key " STR_FMT " was never put", who, shard->number, index, STR_ARG(record->key));
		return;
	}
	struct sim_origin *origin = &sim->puts[id];
	if (!str_equal(record->data, sim_data(sim, id)))
		sim_fail(sim, "%s: shard %u index %llu: other bytes than were put (id %llu)", who, shard->number, index,
			 (unsigned long long)id);
	if (record->index == 0 || record->index > sim_durable_end(sim, shard)) {
		sim_fail(sim, "%s: shard %u index %llu is not durable", who, shard->number, index);
		return;
	}
	if (origin->refused)
		sim_fail(sim, "%s: shard %u index %llu: id %llu was refused", who, shard->number, index, (unsigned long long)id);
	if (record->arrival_ms > sim->wall_max)
		sim_fail(sim, "%s: shard %u index %llu arrived in the future", who, shard->number, index);
	struct sim_record *was = known(shard, record->index);
	if (was->id && (was->id != id || was->arrival_ms != record->arrival_ms))
		sim_fail(sim, "%s: shard %u index %llu is id %llu at %lld, was id %llu at %lld", who, shard->number, index,
			 (unsigned long long)id, (long long)record->arrival_ms, (unsigned long long)was->id, (long long)was->arrival_ms);
	if (origin->shard && (origin->shard != shard || origin->index != record->index))
		sim_fail(sim, "%s: id %llu is at shard %u index %llu and at shard %u index %llu", who, (unsigned long long)id,
			 shard->number, index, origin->shard->number, (unsigned long long)origin->index);
	*was = (struct sim_record){.id = id, .arrival_ms = record->arrival_ms};
	origin->shard = shard;
	origin->index = record->index;
	const struct sim_record *before = record->index > 1 ? &shard->records[record->index - 1] : NULL;
	if (before && before->id && before->arrival_ms > record->arrival_ms)
		sim_fail(sim, "%s: shard %u index %llu arrived before its predecessor", who, shard->number, index);
}

void sim_observe_gap(struct sim *sim, struct sim_shard *shard, uint64_t from, uint64_t to, const char *who)
{
	for (uint64_t index = from; index < to; index++) {
		bool trimmed = index < shard->n && shard->records[index].id ? shard->records[index].arrival_ms < shard->stream->horizon_ms
									    : shard->stream->horizon_ms > 0;
		if (!trimmed) {
			sim_fail(sim, "%s: shard %u: index %llu is skipped (from %llu to %llu)", who, shard->number,
				 (unsigned long long)index, (unsigned long long)from, (unsigned long long)to);
			return;
		}
	}
}

/* ---- Everything that is there ---- */

struct scan {
	struct store_read read;
	struct sim *sim;
	bool done;
};

static void on_scanned(struct store_read *read) { container_of(read, struct scan, read)->done = true; }

/* One read from *next on; false: the end, or no more to be had. */
static bool scan_some(struct sim *sim, struct sim_shard *shard, uint64_t *next)
{
	struct scan scan = {.sim = sim,
			    .read = {.reply_to = &sim->box,
				     .on_done = on_scanned,
				     .stream = shard->stream->info->id,
				     .shard = shard->number,
				     .next = *next,
				     .max_records = UINT32_MAX,
				     .max_bytes = 1 << 20}};
	store_read(sim->store, &sim->outbox, &scan.read);
	outbox_flush(&sim->outbox);
	while (!scan.done && sim_step_any(sim))
		;
	if (!scan.done) {
		sim_fail(sim, "scan: shard %u: a read is never answered", shard->number);
		return false;
	}
	if (scan.read.status && !sim_disk_dead(sim->disk))
		sim_fail(sim, "scan: shard %u index %llu: %s", shard->number, (unsigned long long)*next, status_name(scan.read.status));
	bool more = scan.read.status == STATUS_OK && scan.read.n_batches > 0;
	if (scan.read.status == STATUS_OK) {
		sim_observe_gap(sim, shard, *next, scan.read.from, "scan");
		*next = scan.read.from;
	}
	for (uint32_t i = 0; i < scan.read.n_batches; i++) {
		size_t cursor = 0;
		uint32_t nth = 0;
		struct record record;
		while (batch_next(scan.read.batches[i], &cursor, &nth, &record)) {
			if (record.index < *next)
				continue;
			if (record.index != *next)
				sim_fail(sim, "scan: shard %u: %llu follows %llu", shard->number, (unsigned long long)record.index,
					 (unsigned long long)*next - 1);
			sim_observe(sim, shard, &record, "scan");
			*next = record.index + 1;
		}
	}
	store_read_release(&scan.read);
	return more && !sim->failed;
}

bool sim_check_all(struct sim *sim)
{
	for (unsigned s = 0; s < SIM_STREAMS; s++) {
		struct sim_stream *stream = &sim->streams[s];
		for (uint32_t i = 0; i < stream->info->n_shards && !sim->failed; i++) {
			struct sim_shard *shard = &stream->shards[i];
			uint64_t next = 1;
			while (scan_some(sim, shard, &next))
				;
			if (sim_disk_dead(sim->disk) || sim->failed)
				return false;
			uint64_t end = sim_durable_end(sim, shard);
			if (next != end + 1)
				sim_fail(sim, "scan: shard %u ends at %llu, durable end %llu", shard->number, (unsigned long long)next - 1,
					 (unsigned long long)end);
			if (shard->n > end + 1)
				sim_fail(sim, "scan: shard %u: index %llu was seen and is lost; durable end %llu", shard->number,
					 (unsigned long long)shard->n - 1, (unsigned long long)end);
			if (shard->behind_max && shard->behind_max >= end)
				sim_fail(sim, "scan: shard %u: %llu was not the tip, durable end %llu", shard->number,
					 (unsigned long long)shard->behind_max, (unsigned long long)end);
		}
	}
	return !sim->failed;
}
