/* sim_truth.c: what is known of each record, and the check of every sight of one.
 *
 * A record is known from the first time that anybody outside saw it: an acknowledgement, a push, GetRecords, the check after a start. From
 * then on every other sight must agree, in all later epochs. One that nobody has seen may be lost by a crash, and its index given again.
 *
 * A record's key names its partition key and its id, its data is a piece of fixed noise that the id picks: so each sight can be checked
 * byte by byte without a copy. Ids rise as records are put; so within a key they must rise through a shard, and from parent to child.
 *
 * What retention may take: what was put a day ago, by a clock that nothing sets; and what arrived
 * before the horizon that lanes were given beside the control thread. Where a wrong clock lasts, it
 * may take all. */
#include <stdio.h>
#include <stdlib.h>

#include "shardstore/lane.h" /* the lane's durable end: the only private thing that is looked at */
#include "tests/sim/sim.h"

#define DAY_NS UINT64_C(86400000000000)
#define SLACK_NS UINT64_C(10000000)         /* clocks are read to the ms */
#define SEEN_LATE_NS UINT64_C(900000000000) /* snapshots are seen later than they are made */

/* ---- Time ---- */

static bool is_old(const struct sim *sim, uint64_t since_ns, uint64_t slack_ns)
{
	return sim->lasting || io_mono_ns(sim->io) - since_ns + slack_ns >= DAY_NS;
}

bool sim_has_aged(const struct sim *sim, uint64_t since_ns) { return is_old(sim, since_ns, SEEN_LATE_NS); }

/* ---- Records ---- */

uint64_t sim_origin_new(struct sim *sim, uint32_t size, uint32_t key)
{
	if (sim->n_puts + 1 >= sim->cap_puts) {
		sim->cap_puts = sim->cap_puts ? sim->cap_puts * 2 : 1024;
		sim->puts = xrealloc(sim->puts, sim->cap_puts * sizeof(*sim->puts));
	}
	uint64_t id = ++sim->n_puts;
	sim->puts[id] = (struct sim_origin){.size = size, .key = key, .put_ns = io_mono_ns(sim->io)};
	return id;
}

struct str sim_data(struct sim *sim, uint64_t id) { return (struct str){(const char *)sim->noise + id * 97 % 8192, sim->puts[id].size}; }

size_t sim_key(const struct sim *sim, char out[32], uint64_t id)
{
	return (size_t)snprintf(out, 32, "k%u.%llu", sim->puts[id].key, (unsigned long long)id);
}

uint64_t sim_id_of(const struct sim *sim, struct str key)
{
	char text[32] = "", again[32];
	if (key.n < 4 || key.n >= sizeof(text))
		return 0;
	memcpy(text, key.p, key.n);
	const char *dot = strchr(text, '.');
	uint64_t id = dot ? strtoull(dot + 1, NULL, 10) : 0;
	if (id == 0 || id > sim->n_puts)
		return 0;
	sim_key(sim, again, id);
	return strcmp(text, again) == 0 ? id : 0;
}

static const struct lane_shard *at_lane(const struct sim *sim, const struct sim_shard *shard)
{
	for (unsigned i = 0; i < store_lanes(sim->store); i++) {
		const struct lane_stream *stream = lane_find(&sim->store->lanes[i], shard->stream->id);
		if (stream)
			return lane_stream_shard(stream, shard->number);
	}
	return NULL;
}

bool sim_at_lane(const struct sim *sim, const struct sim_shard *shard) { return at_lane(sim, shard); }

uint64_t sim_durable_end(struct sim *sim, struct sim_shard *shard)
{
	const struct lane_shard *there = at_lane(sim, shard);
	if (there) {
		uint64_t end = shard_durable_end(there);
		if (end < shard->durable)
			sim_fail(sim, "shard %u of stream %llu ends at %llu, %llu was durable", shard->number,
				 (unsigned long long)shard->stream->id, (unsigned long long)end, (unsigned long long)shard->durable);
		shard->durable = end;
	}
	return shard->durable;
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
	uint64_t id = sim_id_of(sim, record->key);
	if (!id) {
		sim_fail(sim, "%s: shard %u index %llu: key " STR_FMT " was never put", who, shard->number, index, STR_ARG(record->key));
		return;
	}
	struct sim_origin *origin = &sim->puts[id];
	if (!str_equal(record->data, sim_data(sim, id)))
		sim_fail(sim, "%s: shard %u index %llu: other bytes than were put (id %llu)", who, shard->number, index,
			 (unsigned long long)id);
	if (record->index == 0 || (record->index > sim_durable_end(sim, shard) && sim_at_lane(sim, shard))) {
		sim_fail(sim, "%s: shard %u index %llu is not durable", who, shard->number, index);
		return;
	}
	if (origin->refused)
		sim_fail(sim, "%s: shard %u index %llu: id %llu was refused", who, shard->number, index, (unsigned long long)id);
	if (record->arrival_ms > (int64_t)(io_mono_ns(sim->io) / 1000000) + sim->ahead_max_ms + 1)
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

/* One that nobody saw came after those in front of it that somebody did; 0: nobody saw any. */
static uint64_t known_before(const struct sim_shard *shard, uint64_t index)
{
	uint64_t i = index < shard->n ? index : shard->n ? shard->n - 1 : 0;
	while (i > 0 && !shard->records[i].id)
		i--;
	return i;
}

bool sim_may_be_gone(const struct sim *sim, const struct sim_shard *shard, uint64_t index)
{
	uint64_t known_index = known_before(shard, index);
	int64_t arrival_ms = known_index ? shard->records[known_index].arrival_ms : sim->wall_min;
	uint64_t put_ns = known_index ? sim->puts[shard->records[known_index].id].put_ns : 0;
	return arrival_ms < shard->stream->horizon_ms || is_old(sim, put_ns, SLACK_NS);
}

void sim_observe_gap(struct sim *sim, struct sim_shard *shard, uint64_t from, uint64_t to, const char *who)
{
	for (uint64_t index = from; index < to; index++) {
		if (!sim_may_be_gone(sim, shard, index)) {
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
	struct sim_shard *shard;
	uint64_t next;
	uint64_t *last;   /* of the stream, by key: the id seen last */
	int64_t *last_ms; /* and when it arrived */
	bool done;
};

static void on_scanned(struct store_read *read) { container_of(read, struct scan, read)->done = true; }

static void scan_record(struct scan *scan, const struct record *record)
{
	struct sim *sim = scan->sim;
	if (record->index < scan->next)
		return;
	if (record->index != scan->next)
		sim_fail(sim, "scan: shard %u: %llu follows %llu", scan->shard->number, (unsigned long long)record->index,
			 (unsigned long long)scan->next - 1);
	sim_observe(sim, scan->shard, record, "scan");
	scan->next = record->index + 1;
	uint64_t id = sim_id_of(sim, record->key);
	if (sim->failed)
		return;
	uint64_t *last = &scan->last[sim->puts[id].key];
	if (id <= *last)
		sim_fail(sim, "scan: shard %u index %llu: id %llu of key %u comes behind id %llu", scan->shard->number,
			 (unsigned long long)record->index, (unsigned long long)id, sim->puts[id].key, (unsigned long long)*last);
	*last = id;
	if (record->arrival_ms < scan->last_ms[sim->puts[id].key])
		sim_fail(sim, "scan: shard %u index %llu: key %u arrived before what came before it", scan->shard->number,
			 (unsigned long long)record->index, sim->puts[id].key);
	scan->last_ms[sim->puts[id].key] = record->arrival_ms;
}

/* One read; false: the end, or no more to be had. */
static bool scan_some(struct scan *scan)
{
	struct sim *sim = scan->sim;
	scan->done = false;
	scan->read = (struct store_read){.reply_to = &sim->box,
					 .on_done = on_scanned,
					 .stream = scan->shard->stream->id,
					 .shard = scan->shard->number,
					 .next = scan->next,
					 .max_records = UINT32_MAX,
					 .max_bytes = 1 << 20};
	store_read(sim->store, &sim->outbox, &scan->read);
	outbox_flush(&sim->outbox);
	while (!scan->done && sim_step_any(sim))
		;
	if (!scan->done) {
		sim_fail(sim, "scan: shard %u: a read is never answered", scan->shard->number);
		return false;
	}
	if (scan->read.status && !sim_broken(sim))
		sim_fail(sim, "scan: shard %u index %llu: %s", scan->shard->number, (unsigned long long)scan->next,
			 status_name(scan->read.status));
	bool more = scan->read.status == STATUS_OK && scan->read.n_batches > 0;
	if (scan->read.status == STATUS_OK) {
		sim_observe_gap(sim, scan->shard, scan->next, scan->read.from, "scan");
		scan->next = scan->read.from;
	}
	for (uint32_t i = 0; i < scan->read.n_batches; i++) {
		size_t cursor = 0;
		uint32_t nth = 0;
		struct record record;
		while (!sim->failed && batch_next(scan->read.batches[i], &cursor, &nth, &record))
			scan_record(scan, &record);
	}
	store_read_release(&scan->read);
	return more && !sim->failed;
}

/* The shard's end is the last that anybody saw, or behind it. */
static void check_end(struct sim *sim, struct sim_shard *shard, uint64_t next)
{
	uint64_t end = sim_durable_end(sim, shard);
	if (next != end + 1)
		sim_fail(sim, "scan: shard %u ends at %llu, durable end %llu", shard->number, (unsigned long long)next - 1,
			 (unsigned long long)end);
	if (shard->n > end + 1)
		sim_fail(sim, "scan: shard %u: index %llu was seen and is lost; durable end %llu", shard->number,
			 (unsigned long long)shard->n - 1, (unsigned long long)end);
	if (shard->info.closed && shard->info.end_index != end)
		sim_fail(sim, "scan: shard %u is closed at %llu, durable end %llu", shard->number,
			 (unsigned long long)shard->info.end_index, (unsigned long long)end);
	if (shard->behind_max && shard->behind_max >= end)
		sim_fail(sim, "scan: shard %u: %llu was not the tip, durable end %llu", shard->number,
			 (unsigned long long)shard->behind_max, (unsigned long long)end);
}

/* Shards in the order of their numbers: parents before their children. */
static void scan_stream(struct sim *sim, struct sim_stream *stream)
{
	uint64_t last[SIM_KEYS] = {0};
	int64_t last_ms[SIM_KEYS] = {0};
	for (uint32_t i = 0; i < stream->n_shards && !sim->failed; i++) {
		struct sim_shard *shard = &stream->shards[i];
		if (!shard->known || sim_shard_ends(shard))
			continue;
		if (!at_lane(sim, shard))
			sim_drain(sim); /* a child, or the end of the stream, may be on its way there */
		if (sim_over(sim) || sim_shard_ends(shard))
			return;
		if (!at_lane(sim, shard)) {
			sim_fail(sim, "scan: shard %u of stream %llu is not at its lane", i, (unsigned long long)stream->id);
			return;
		}
		struct scan scan = {.sim = sim, .shard = shard, .next = 1, .last = last, .last_ms = last_ms};
		while (scan_some(&scan))
			;
		if (sim_over(sim) || scan.read.status)
			return;
		check_end(sim, shard, scan.next);
	}
}

bool sim_check_all(struct sim *sim)
{
	for (unsigned s = 0; s < sim->n_streams && !sim_over(sim); s++)
		if (!sim_stream_ends(&sim->streams[s]) && sim->streams[s].status != STREAM_CREATING)
			scan_stream(sim, &sim->streams[s]);
	return !sim_over(sim);
}
