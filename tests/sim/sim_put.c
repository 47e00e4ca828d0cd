/* sim_put.c: producers, GetRecords pollers, retention, consumers that go: what comes from outside but is no subscription. */
#include <stdlib.h>

#include "tests/sim/sim.h"

struct sim_shard *sim_any_shard(struct sim *sim, bool open)
{
	struct sim_stream *stream = &sim->streams[rng_below(&sim->rng, SIM_STREAMS)];
	for (;;) {
		struct sim_shard *shard = &stream->shards[rng_below(&sim->rng, stream->info->n_shards)];
		if (!open || !stream->info->shards[shard->number].closed)
			return shard;
	}
}

/* ---- Put ---- */

struct put {
	struct store_put put;
	struct sim *sim;
	struct sim_stream *stream;
	struct put_record records[SIM_PUT_RECORDS];
	uint64_t ids[SIM_PUT_RECORDS];
	char keys[SIM_PUT_RECORDS][24];
};

static uint32_t any_size(struct sim *sim)
{
	uint64_t dice = rng_below(&sim->rng, 100);
	if (dice < 60)
		return (uint32_t)rng_below(&sim->rng, 200);
	if (dice < 92)
		return (uint32_t)rng_below(&sim->rng, 4000);
	if (dice < 99)
		return (uint32_t)rng_below(&sim->rng, 40000);
	return (uint32_t)rng_below(&sim->rng, SIM_RECORD_MAX);
}

static void acknowledged(struct put *put, uint32_t i, uint64_t *last)
{
	struct sim *sim = put->sim;
	const struct put_record *record = &put->records[i];
	const struct shard_info *info = stream_shard_for(put->stream->info, record->hash);
	if (!info || info->key.shard != record->shard.shard || info->key.created_s != record->shard.created_s) {
		sim_fail(sim, "put: id %llu went to shard %u", (unsigned long long)put->ids[i], record->shard.shard);
		return;
	}
	if (record->index <= last[record->shard.shard])
		sim_fail(sim, "put: index %llu after %llu in one call", (unsigned long long)record->index,
			 (unsigned long long)last[record->shard.shard]);
	last[record->shard.shard] = record->index;
	struct record seen = {.index = record->index, .arrival_ms = record->arrival_ms, .key = record->key, .data = record->data};
	sim_observe(sim, &put->stream->shards[record->shard.shard], &seen, "put");
	sim->count.acked++;
}

static void on_put(struct store_put *done)
{
	struct put *put = container_of(done, struct put, put);
	struct sim *sim = put->sim;
	uint64_t last[SIM_SHARDS] = {0};
	sim->puts_out--;
	if (done->status && done->status != STATUS_CLOSING)
		sim_fail(sim, "put: %s", status_name(done->status));
	for (uint32_t i = 0; i < done->n && !sim->failed; i++) {
		enum status status = put->records[i].status;
		bool broken = sim->faults || sim->poisoned || sim_disk_dead(sim->disk);
		if (status == STATUS_OK)
			acknowledged(put, i, last);
		else if (status == STATUS_THROTTLED)
			sim->puts[put->ids[i]].refused = true;
		else if (status == STATUS_CLOSING ? !sim->stopping : !broken || (status != STATUS_IO && status != STATUS_DISK_FULL))
			sim_fail(sim, "put: record: %s", status_name(status));
		sim->count.throttled += status == STATUS_THROTTLED;
		sim->count.failed_puts += status && status != STATUS_THROTTLED;
	}
	free(put);
}

void sim_put(struct sim *sim)
{
	struct put *put = xcalloc(1, sizeof(*put));
	put->sim = sim;
	put->stream = &sim->streams[rng_below(&sim->rng, SIM_STREAMS)];
	bool hot = sim->skewed && !rng_chance(&sim->rng, 3); /* other shards stand still for long, and retention may empty them */
	uint32_t n = (uint32_t)(rng_chance(&sim->rng, 60) ? 1 : rng_range(&sim->rng, 2, SIM_PUT_RECORDS));
	for (uint32_t i = 0; i < n; i++) {
		put->ids[i] = sim_origin_new(sim, any_size(sim));
		put->records[i] = (struct put_record){
			.hash = hot ? sim->hot : (uint128)rng_next(&sim->rng) << 64 | rng_next(&sim->rng),
			.key = {put->keys[i], sim_key(put->keys[i], put->ids[i])},
			.data = sim_data(sim, put->ids[i]),
		};
	}
	put->put = (struct store_put){
		.reply_to = &sim->box, .on_done = on_put, .stream = put->stream->info->id, .records = put->records, .n = n};
	sim->puts_out++;
	store_put(sim->store, &sim->outbox, &put->put);
	if (rng_chance(&sim->rng, 70))
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

static void on_polled(struct store_read *read)
{
	struct poll *poll = container_of(read, struct poll, read);
	struct sim *sim = poll->sim;
	sim->reads_out--;
	sim->count.polls++;
	if (read->status == STATUS_OK)
		check_poll(poll);
	else if (read->status == STATUS_CLOSING ? !sim->stopping
		 : read->status == STATUS_IO    ? !sim_disk_dead(sim->disk)
						: read->status != STATUS_THROTTLED || !sim->limits.read_calls)
		sim_fail(sim, "poll: %s", status_name(read->status));
	store_read_release(read);
	free(poll);
}

void sim_poll(struct sim *sim, struct sim_shard *shard)
{
	struct poll *poll = xcalloc(1, sizeof(*poll));
	poll->sim = sim;
	poll->shard = shard;
	poll->read = (struct store_read){
		.reply_to = &sim->box,
		.on_done = on_polled,
		.stream = shard->stream->info->id,
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

/* ---- Admin ---- */

struct admin {
	struct store_admin admin;
	struct sim *sim;
};

static void on_admin(struct store_admin *done)
{
	struct admin *admin = container_of(done, struct admin, admin);
	struct sim *sim = admin->sim;
	sim->admins_out--;
	if (done->status && !sim->stopping && !sim->poisoned && !sim_disk_dead(sim->disk) && !sim->faults)
		sim_fail(sim, "admin %d: %s", (int)done->kind, status_name(done->status));
	free(admin);
}

static void send_admin(struct sim *sim, struct store_admin with)
{
	struct admin *admin = xcalloc(1, sizeof(*admin));
	admin->sim = sim;
	admin->admin = with;
	admin->admin.reply_to = &sim->box;
	admin->admin.on_done = on_admin;
	sim->admins_out++;
	store_admin(sim->store, &sim->outbox, &admin->admin);
	outbox_flush(&sim->outbox);
}

/* Forgets what arrived before a moment in the recent past. */
void sim_retain(struct sim *sim)
{
	struct sim_stream *stream = &sim->streams[rng_below(&sim->rng, SIM_STREAMS)];
	int64_t horizon_ms = io_wall_ms(sim->io) - (int64_t)rng_below(&sim->rng, 20000);
	if (horizon_ms > stream->horizon_ms)
		stream->horizon_ms = horizon_ms;
	send_admin(sim, (struct store_admin){
				.kind = ADMIN_RETAIN, .id = stream->info->id, .stream_id = stream->info->id, .horizon_ms = horizon_ms});
}

/* The consumer is deregistered, and one of the same name is registered at once. */
void sim_drop_consumer(struct sim *sim)
{
	struct sim_stream *stream = &sim->streams[rng_below(&sim->rng, SIM_STREAMS)];
	struct consumer_info *consumer = &stream->info->consumers[rng_below(&sim->rng, SIM_CONSUMERS)];
	uint64_t id = consumer->id;
	consumer->id = sim->next_consumer++;
	consumer->created_s++;
	sim_publish(sim);
	send_admin(sim, (struct store_admin){.kind = ADMIN_DROP_CONSUMER, .id = id, .stream_id = stream->info->id});
}
