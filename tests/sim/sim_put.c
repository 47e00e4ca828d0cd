/* sim_put.c: producers, GetRecords at any place, retention: what comes from outside but is no subscription.
 *
 * A hash belongs to its key, and puts of one sender arrive in their order; so a key's ids must rise wherever its records lie. */
#include <stdlib.h>

#include "tests/sim/sim.h"

/* ---- Put ---- */

struct put {
	struct store_put put;
	struct sim *sim;
	struct sim_stream *stream;
	struct put_record records[SIM_PUT_RECORDS];
	uint64_t ids[SIM_PUT_RECORDS];
	char keys[SIM_PUT_RECORDS][32];
	unsigned updates; /* of the stream, when it was sent */
	bool updating;    /* it was then */
	bool probe;       /* there is room: it may not find the disk full */
};

static uint32_t any_size(struct sim *sim)
{
	uint64_t dice = rng_below(&sim->rng, 1000);
	if (dice < 650)
		return (uint32_t)rng_below(&sim->rng, 200);
	if (dice < 960)
		return (uint32_t)rng_below(&sim->rng, 3000);
	if (dice < 998 || sim->plan)
		return (uint32_t)rng_below(&sim->rng, 30000);
	return (uint32_t)rng_below(&sim->rng, SIM_RECORD_MAX);
}

static void acknowledged(struct put *put, uint32_t i, uint64_t *last)
{
	struct sim *sim = put->sim;
	const struct put_record *record = &put->records[i];
	uint32_t number = record->shard.shard;
	struct sim_shard *shard = number < SIM_SHARDS ? &put->stream->shards[number] : NULL;
	/* Whoever is told that a record lies in a shard finds that shard in its snapshot. */
	if (!shard || !shard->known || shard->info.key.created_s != record->shard.created_s || record->hash < shard->info.hash_first ||
	    record->hash > shard->info.hash_last) {
		sim_fail(sim, "put: id %llu went to shard %u, which is not there or not its", (unsigned long long)put->ids[i], number);
		return;
	}
	if (shard->info.closed && record->index > shard->info.end_index)
		sim_fail(sim, "put: id %llu is index %llu of shard %u, which ends at %llu", (unsigned long long)put->ids[i],
			 (unsigned long long)record->index, number, (unsigned long long)shard->info.end_index);
	if (record->index <= last[number])
		sim_fail(sim, "put: index %llu after %llu in one call", (unsigned long long)record->index,
			 (unsigned long long)last[number]);
	last[number] = record->index;
	struct record seen = {.index = record->index, .arrival_ms = record->arrival_ms, .key = record->key, .data = record->data};
	sim_observe(sim, shard, &seen, "put");
	sim->count.acked++;
}

/* Of a record that was not stored: may it be so? */
static bool may_fail(const struct put *put, enum status status)
{
	const struct sim *sim = put->sim;
	switch (status) {
	case STATUS_THROTTLED:
		return sim->limits.write_records || sim->limits.write_bytes;
	case STATUS_CLOSING:
		return sim->stopping;
	case STATUS_NOT_FOUND:
		return sim_stream_ends(put->stream);
	case STATUS_DISK_FULL:
		return sim_broken(sim) || (sim->fills && !put->probe);
	case STATUS_NO_FILES:
		return sim->shortages;
	case STATUS_IO:
		/* The process has been told, and is about to end. Or a shard is being closed, and the catalogue cannot be written. */
		return sim->poisoned || sim_disk_dead(sim->disk) ||
		       ((sim->faults || (sim->fills && !put->probe)) && (put->updating || put->updates != put->stream->updates));
	default:
		return false;
	}
}

static void on_put(struct store_put *done)
{
	struct put *put = container_of(done, struct put, put);
	struct sim *sim = put->sim;
	uint64_t last[SIM_SHARDS] = {0};
	sim->puts_out--;
	if (done->status && !may_fail(put, done->status))
		sim_fail(sim, "put: %s", status_name(done->status));
	for (uint32_t i = 0; i < done->n && !sim->failed; i++) {
		enum status status = put->records[i].status;
		if (status == STATUS_OK)
			acknowledged(put, i, last);
		else if (!may_fail(put, status))
			sim_fail(sim, "put: record: %s%s", status_name(status), put->probe ? ", though there is room again" : "");
		if (status == STATUS_THROTTLED)
			sim->puts[put->ids[i]].refused = true;
		sim->count.throttled += status == STATUS_THROTTLED;
		sim->count.failed_puts += status && status != STATUS_THROTTLED;
	}
	free(put);
}

static void send(struct sim *sim, struct sim_stream *stream, uint32_t n, bool probe)
{
	struct put *put = xcalloc(1, sizeof(*put));
	put->sim = sim;
	put->stream = stream;
	put->probe = probe;
	put->updates = stream->updates;
	put->updating = stream->status == STREAM_UPDATING;
	bool hot = sim->skewed && !rng_chance(&sim->rng, 3); /* other shards stand still for long, and retention may empty them */
	for (uint32_t i = 0; i < n; i++) {
		uint32_t key = hot ? sim->hot : (uint32_t)rng_below(&sim->rng, SIM_KEYS);
		put->ids[i] = sim_origin_new(sim, probe ? 10 : any_size(sim), key);
		put->records[i] = (struct put_record){
			.hash = sim->hashes[key],
			.key = {put->keys[i], sim_key(sim, put->keys[i], put->ids[i])},
			.data = sim_data(sim, put->ids[i]),
		};
	}
	put->put = (struct store_put){.reply_to = &sim->box, .on_done = on_put, .stream = stream->id, .records = put->records, .n = n};
	sim->puts_out++;
	store_put(sim->store, &sim->outbox, &put->put);
}

void sim_put(struct sim *sim)
{
	if (!sim->catalogue || !sim->catalogue->n_streams)
		return;
	const struct stream_info *info = &sim->catalogue->streams[rng_below(&sim->rng, sim->catalogue->n_streams)];
	if (info->status != STREAM_ACTIVE && info->status != STREAM_UPDATING)
		return;
	uint32_t n = (uint32_t)(rng_chance(&sim->rng, 60) ? 1 : rng_range(&sim->rng, 2, SIM_PUT_RECORDS));
	send(sim, sim_stream_of(sim, info->id), n, false);
	if (rng_chance(&sim->rng, 70))
		outbox_flush(&sim->outbox);
}

void sim_put_probe(struct sim *sim, uint64_t stream, bool strict)
{
	send(sim, sim_stream_of(sim, stream), 1, strict);
	outbox_flush(&sim->outbox);
}

/* ---- GetRecords ---- */

struct poll {
	struct store_read read;
	struct sim *sim;
	struct sim_shard *shard;
};

static void check_poll(struct poll *poll)
{
	struct sim *sim = poll->sim;
	struct store_read *read = &poll->read;
	uint64_t next = read->from;
	if (read->from < read->next)
		sim_fail(sim, "poll: reads from %llu, asked for %llu", (unsigned long long)read->from, (unsigned long long)read->next);
	sim_observe_gap(sim, poll->shard, read->next, read->from, "poll");
	if (read->n_batches == 0 && read->from <= read->durable_end)
		sim_fail(sim, "poll: nothing at %llu, durable end %llu", (unsigned long long)read->from,
			 (unsigned long long)read->durable_end);
	for (uint32_t i = 0; i < read->n_batches && !sim->failed; i++) {
		size_t cursor = 0;
		uint32_t nth = 0;
		struct record record;
		while (batch_next(read->batches[i], &cursor, &nth, &record)) {
			if (record.index < next && i == 0)
				continue;
			if (record.index != next)
				sim_fail(sim, "poll: %llu where %llu was due", (unsigned long long)record.index, (unsigned long long)next);
			sim_observe(sim, poll->shard, &record, "poll");
			next = record.index + 1;
		}
	}
	if (next - 1 > read->durable_end && read->n_batches)
		sim_fail(sim, "poll: %llu lies behind the durable end %llu", (unsigned long long)next - 1,
			 (unsigned long long)read->durable_end);
}

static bool may_refuse(const struct poll *poll, enum status status)
{
	const struct sim *sim = poll->sim;
	switch (status) {
	case STATUS_CLOSING:
		return sim->stopping;
	case STATUS_IO:
		return sim_broken(sim);
	case STATUS_NO_FILES:
		return sim->shortages;
	case STATUS_NOT_FOUND:
		return sim_shard_may_be_gone(sim, poll->shard);
	case STATUS_THROTTLED:
		return sim->limits.read_calls != 0;
	default:
		return false;
	}
}

static void on_polled(struct store_read *read)
{
	struct poll *poll = container_of(read, struct poll, read);
	struct sim *sim = poll->sim;
	sim->reads_out--;
	sim->count.polls++;
	if (read->status == STATUS_OK)
		check_poll(poll);
	else if (!may_refuse(poll, read->status))
		sim_fail(sim, "poll: %s", status_name(read->status));
	store_read_release(read);
	free(poll);
}

void sim_poll(struct sim *sim)
{
	struct sim_shard *shard = sim_any_shard(sim, sim->catalogue);
	if (!shard)
		return;
	struct poll *poll = xcalloc(1, sizeof(*poll));
	poll->sim = sim;
	poll->shard = shard;
	poll->read = (struct store_read){
		.reply_to = &sim->box,
		.on_done = on_polled,
		.stream = shard->stream->id,
		.shard = shard->number,
		.next = rng_range(&sim->rng, 1, sim_durable_end(sim, shard) + 1),
		.max_records = (uint32_t)(rng_chance(&sim->rng, 50) ? rng_range(&sim->rng, 1, 20) : 10000),
		.max_bytes = rng_chance(&sim->rng, 50) ? rng_range(&sim->rng, 1, 20000) : 10 << 20,
		.limited = rng_chance(&sim->rng, 50),
	};
	sim->reads_out++;
	store_read(sim->store, &sim->outbox, &poll->read);
	outbox_flush(&sim->outbox);
}

/* ---- Retention ---- */

struct retain {
	struct store_admin admin;
	struct sim *sim;
	struct sim_stream *stream;
};

static void on_retained(struct store_admin *admin)
{
	struct retain *retain = container_of(admin, struct retain, admin);
	struct sim *sim = retain->sim;
	sim->admins_out--;
	bool excused = admin->status == STATUS_NOT_FOUND ? sim_stream_ends(retain->stream)
		       : admin->status == STATUS_CLOSING ? sim->stopping
							 : sim_broken(sim) || sim->fills;
	if (admin->status && !excused)
		sim_fail(sim, "retain: %s", status_name(admin->status));
	free(retain);
}

/* Forgets what arrived before a moment in the recent past: what the control thread does too, but a day is long in a seed. */
void sim_retain(struct sim *sim)
{
	const struct sim_shard *shard = sim_any_shard(sim, sim->catalogue);
	if (!shard)
		return;
	struct sim_stream *stream = shard->stream;
	struct retain *retain = xcalloc(1, sizeof(*retain));
	retain->sim = sim;
	retain->stream = stream;
	retain->admin = (struct store_admin){.kind = ADMIN_RETAIN,
					     .reply_to = &sim->box,
					     .on_done = on_retained,
					     .id = stream->id,
					     .expired_ms = INT64_MIN,
					     .horizon_ms = io_wall_ms(sim->io) - (int64_t)rng_below(&sim->rng, 20000)};
	if (retain->admin.horizon_ms > stream->horizon_ms)
		stream->horizon_ms = retain->admin.horizon_ms;
	sim->admins_out++;
	store_admin(sim->store, &sim->outbox, &retain->admin);
	outbox_flush(&sim->outbox);
}
