/* sim_client.c: fake subscribers. Each pulls what its window lets it, decodes and checks it, and behaves badly by dice: shuts its window,
 * opens it by crumbs, vanishes without a word, leaves, comes back after some number it was told (not always the last), or somewhere
 * else, on this worker or the other, sometimes while another has the lease.
 *
 * The window stands for HTTP/2 flow control and the socket: while it is shut the client does not pull, and nobody may wait for it. */
#include <stdlib.h>

#include "tests/sim/sim.h"

/* ---- Bytes ---- */

static void on_bytes(void *arg, struct message *owner, const uint8_t *p, size_t n)
{
	struct sim_client *client = arg;
	if (!owner && n > MESSAGE_TRAILER)
		sim_fail(client->sim, "pull: %zu bytes to copy", n);
	buf_put(&client->rx, p, n);
}

static void decode(struct sim_client *client)
{
	size_t done = 0;
	while (!client->sim->failed) {
		struct eventstream_view view;
		int whole = eventstream_decode(client->rx.p + done, client->rx.n - done, &view);
		if (whole < 0)
			sim_fail(client->sim, "pull: not an event-stream message");
		if (whole <= 0)
			break;
		sim_check_message(client, client->rx.p + done, &view);
		done += view.total;
	}
	if (done)
		memmove(client->rx.p, client->rx.p + done, client->rx.n - done);
	client->rx.n -= done;
}

static void check_budget(struct sim_client *client)
{
	int64_t rate = client->sim->limits.push_bytes;
	uint64_t passed = io_mono_ns(client->sim->io) - client->joined_ns;
	double most = (double)rate * (1 + (double)passed / 1e9) + (double)client->payload_max;
	if (rate && (double)client->payload > most)
		sim_fail(client->sim, "pull: %llu bytes in %llu ms, budget %lld a second", (unsigned long long)client->payload,
			 (unsigned long long)passed / 1000000, (long long)rate);
}

static void ended(struct sim_client *client)
{
	struct sim *sim = client->sim;
	/* Only retention may take the rest of an event that is half sent: without it no gap is allowed. */
	if (client->rx.n && !sim_broken(sim) && sim_at_lane(sim, client->shard))
		sim_observe_gap(sim, client->shard, client->expected, client->expected + 1, "pull: the end inside a message");
	sim_client_stop(client);
}

void sim_client_pull(struct sim_client *client)
{
	struct rng *rng = &client->sim->rng;
	while (client->live && client->joined && client->ready && client->window && !client->vanished && !client->sim->failed) {
		size_t max = rng_chance(rng, 70) ? 16384 : rng_range(rng, 1, 70000);
		int64_t avail = sub_avail(&client->sub, max < client->window ? max : client->window);
		if (avail == SUB_END) {
			ended(client);
			return;
		}
		if (avail == 0) {
			client->ready = false;
			return;
		}
		if ((uint64_t)avail > max || (uint64_t)avail > client->window)
			sim_fail(client->sim, "pull: more than was asked for");
		size_t n = rng_chance(rng, 80) ? (size_t)avail : rng_range(rng, 1, (uint64_t)avail);
		sub_take(&client->sub, n, on_bytes, client);
		client->window -= n;
		decode(client);
		check_budget(client);
		if (rng_chance(rng, 10))
			return; /* the turn is over for this one */
	}
}

/* ---- What the hub tells ---- */

/* Notes with each of two that want the same lease at the same time that it may be refused. */
static void meet_rivals(struct sim_client *client)
{
	struct sim *sim = client->sim;
	client->rival = false;
	for (unsigned w = 0; w < sim->n_workers; w++) {
		for (unsigned i = 0; i < SIM_CLIENTS; i++) {
			struct sim_client *other = &sim->workers[w].clients[i];
			if (other != client && other->live && other->shard == client->shard && other->consumer_id == client->consumer_id)
				other->rival = client->rival = true;
		}
	}
}

/* Where the cursor begins, against what was asked for. */
static void check_start(struct sim_client *client)
{
	struct sim *sim = client->sim;
	struct sim_shard *shard = client->shard;
	uint64_t next = client->sub.next,
		 end = sim_durable_end(sim, shard); /* what lies above `low` came after it asked, maybe after the lane looked */
	if (!sim_at_lane(sim, shard))
		return;
	bool right = next >= 1 && next <= end + 1;
	switch (client->position.kind) {
	case POSITION_TRIM_HORIZON:
		sim_observe_gap(sim, shard, 1, next, "join at TRIM_HORIZON");
		break;
	case POSITION_LATEST:
		right = right && next > client->low;
		break;
	case POSITION_AT:
	case POSITION_AFTER: {
		uint64_t want = client->position.index + (client->position.kind == POSITION_AFTER);
		if (next > want)
			sim_observe_gap(sim, shard, want, next, "join");
		else if (client->resumes || want <= client->low)
			right = right && next == want;
		break;
	}
	case POSITION_AT_TIME:
		for (uint64_t i = 1; i < shard->n; i++) {
			const struct sim_record *record = &shard->records[i];
			if (!record->id || sim_may_be_gone(sim, shard, i))
				continue;
			bool before = record->arrival_ms < client->position.time_ms;
			if (i < next ? !before : before && i <= client->low)
				right = false;
		}
		break;
	}
	if (!right)
		sim_fail(sim, "join: shard %u: kind %d index %llu begins at %llu, durable end %llu (%llu when asked)", shard->number,
			 (int)client->position.kind, (unsigned long long)client->position.index, (unsigned long long)next,
			 (unsigned long long)end, (unsigned long long)client->low);
}

bool sim_client_dropped(const struct sim_client *client)
{
	const struct sim_stream *stream = client->shard->stream;
	for (uint32_t i = 0; i < stream->n_consumers; i++)
		if (stream->consumers[i].id == client->consumer_id)
			return sim_stream_ends(stream) || stream->consumers[i].gone || stream->consumers[i].status == CONSUMER_DELETING;
	return true;
}

static bool may_refuse(const struct sim_client *client, enum status status)
{
	const struct sim *sim = client->sim;
	switch (status) {
	case STATUS_LIMIT_EXCEEDED:
		return sim->limits.subscribe_calls != 0;
	case STATUS_IN_USE:
		return client->rival;
	case STATUS_NOT_FOUND:
		return sim_client_dropped(client) || sim_shard_may_be_gone(sim, client->shard);
	default:
		return status == STATUS_CLOSING && sim->stopping;
	}
}

static void on_joined(struct subscription *sub, enum status status)
{
	struct sim_client *client = container_of(sub, struct sim_client, sub);
	struct sim *sim = client->sim;
	if (status == STATUS_OK) {
		client->joined = client->ready = true;
		client->joined_ns = client->heard_ns = io_mono_ns(sim->io);
		client->expected = sub->next;
		check_start(client);
		sim->count.joins++;
		return;
	}
	client->live = false;
	if (!may_refuse(client, status))
		sim_fail(sim, "join: shard %u: %s", client->shard->number, status_name(status));
}

static void on_ready(struct subscription *sub) { container_of(sub, struct sim_client, sub)->ready = true; }

static bool on_probe(struct subscription *sub)
{
	struct sim_client *client = container_of(sub, struct sim_client, sub);
	if (!client->vanished)
		return false;
	sim_client_stop(client);
	return true;
}

static const struct sub_ops ops = {.on_joined = on_joined, .on_ready = on_ready, .on_probe = on_probe};

/* ---- Coming and going ---- */

static struct position any_position(struct sim *sim, struct sim_shard *shard)
{
	uint64_t end = sim_durable_end(sim, shard);
	struct position position = {.kind = (enum position_kind)rng_below(&sim->rng, 5)};
	position.index = rng_range(&sim->rng, 1, end + 3);
	if (position.kind == POSITION_AT_TIME) {
		uint64_t index = rng_below(&sim->rng, shard->n + 1);
		bool known = index < shard->n && shard->records[index].id;
		position.time_ms = (known ? shard->records[index].arrival_ms : io_wall_ms(sim->io)) + (int64_t)rng_below(&sim->rng, 3) - 1;
	}
	return position;
}

/* What the server looks up before it subscribes, in its worker's snapshot. */
static const struct stream_info *stream_at_worker(const struct sim_client *client, const struct sim_shard *shard)
{
	const struct catalogue *catalogue = client->worker->catalogue;
	const struct stream_info *info = catalogue && shard ? catalogue_stream_by_id(catalogue, shard->stream->id) : NULL;
	return info && info->status != STREAM_DELETING && stream_shard(info, shard->number) ? info : NULL;
}

static bool consumer_is_active(const struct stream_info *info, uint64_t id)
{
	for (uint32_t i = 0; info && i < info->n_consumers; i++)
		if (info->consumers[i].id == id)
			return info->consumers[i].status == CONSUMER_ACTIVE;
	return false;
}

/* False: there is nobody to be. */
static bool choose_fresh(struct sim_client *client)
{
	struct sim *sim = client->sim;
	client->n_told = 0;
	client->floored = false;
	client->heir = NULL;
	client->shard = sim_any_shard(sim, client->worker->catalogue);
	const struct stream_info *info = stream_at_worker(client, client->shard);
	if (!info || info->n_consumers == 0)
		return false;
	const struct consumer_info *consumer = &info->consumers[rng_below(&sim->rng, info->n_consumers)];
	client->consumer_id = consumer->id;
	client->position = any_position(sim, client->shard);
	client->resumes = false;
	return consumer->status == CONSUMER_ACTIVE;
}

/* Its shard has ended: on with a child, from its beginning. */
static bool choose_heir(struct sim_client *client)
{
	client->shard = client->heir;
	client->heir = NULL;
	client->n_told = 0;
	client->floored = false;
	client->position = (struct position){.kind = POSITION_TRIM_HORIZON};
	client->resumes = false;
	client->sim->count.heirs++;
	return consumer_is_active(stream_at_worker(client, client->shard), client->consumer_id);
}

static bool choose_resume(struct sim_client *client)
{
	struct rng *rng = &client->sim->rng;
	unsigned kept = client->n_told < SIM_CONTINUATIONS ? client->n_told : SIM_CONTINUATIONS;
	unsigned back = rng_chance(rng, 70) ? 0 : (unsigned)rng_below(rng, kept);
	client->floor = client->told[(client->n_told - 1 - back) % SIM_CONTINUATIONS];
	bool at = rng_chance(rng, 50);
	client->floored = !at || client->floor.position; /* AT a record's number that record comes again */
	client->position = position_of(&client->floor, at);
	client->resumes = true;
	client->sim->count.resumed++;
	return consumer_is_active(stream_at_worker(client, client->shard), client->consumer_id);
}

static bool choose(struct sim_client *client)
{
	struct rng *rng = &client->sim->rng;
	if (client->heir && rng_chance(rng, 85))
		return choose_heir(client);
	if (client->n_told && rng_chance(rng, 75))
		return choose_resume(client);
	return choose_fresh(client);
}

void sim_client_start(struct sim_client *client)
{
	struct sim *sim = client->sim;
	if (!choose(client)) {
		client->n_told = 0;
		return;
	}
	client->live = true;
	meet_rivals(client);
	client->joined = client->ready = client->vanished = client->over = client->greeted = false;
	client->rx.n = 0;
	client->payload = client->payload_max = 0;
	client->stalled = rng_chance(&sim->rng, 15);
	client->slow = rng_chance(&sim->rng, 25);
	client->window = client->stalled ? 0 : 65535;
	client->low = sim_durable_end(sim, client->shard);
	sub_start(client->worker->hub, &client->sub, &ops, client->shard->info.key, client->consumer_id, client->position);
}

void sim_client_stop(struct sim_client *client)
{
	if (!client->live)
		return;
	sub_stop(&client->sub);
	client->live = client->joined = client->ready = client->vanished = false;
}

/* Windows that are not shut open again all the time. */
static void open_window(struct sim_client *client)
{
	client->stalled = false;
	client->window = client->slow ? client->window + rng_range(&client->sim->rng, 1, 3000) : 1 << 20;
}

void sim_client_mood(struct sim_client *client)
{
	struct rng *rng = &client->sim->rng;
	uint64_t dice = rng_below(rng, 100);
	if (!client->live) {
		sim_client_start(client);
	} else if (dice < 8) {
		sim_client_stop(client);
	} else if (dice < 12) {
		client->vanished = true;
	} else if (dice < 15) {
		sub_finish(&client->sub);
	} else if (dice < 25) {
		client->stalled = true;
		client->window = 0;
	} else if (client->vanished && dice < 50) {
		sim_client_stop(client);
	} else if (!client->stalled || dice < 50) {
		open_window(client);
	}
}

/* ---- Quiet ---- */

/* Closed, with a child that can be told. */
static bool has_heirs(const struct sim_shard *shard)
{
	const struct sim_stream *stream = shard->stream;
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		const struct sim_shard *child = &stream->shards[i];
		if (child->known && !child->expired && (child->info.parent == shard->number || child->info.adjacent == shard->number))
			return shard->info.closed;
	}
	return false;
}

static void check_quiet(struct sim_client *client, bool *waiting)
{
	struct sim *sim = client->sim;
	uint64_t end = sim_durable_end(sim, client->shard);
	switch (client->sub.state) {
	case SUB_BUDGET:
		/* The hub looks again as soon as there is something to spend, but for the slots of its wheel. */
		if (hub_deadline(client->worker->hub) > bucket_open_at(&client->sub.budget, io_mono_ns(sim->io)) + 20000000)
			break;
		*waiting = true;
		return;
	case SUB_IDLE:
		if (client->sub.next != end + 1 || client->rx.n)
			break;
		if (has_heirs(client->shard))
			sim_fail(sim, "wake-up lost: shard %u is closed and read to its end, and the end was not told",
				 client->shard->number);
		/* The cursor passes what retention took without a word. */
		sim_observe_gap(sim, client->shard, client->expected, client->sub.next, "at the tail");
		return;
	default:
		break;
	}
	sim_fail(sim, "wake-up lost: shard %u: %s at %llu (cursor %llu), durable end %llu", client->shard->number,
		 sub_state_name(client->sub.state), (unsigned long long)client->expected, (unsigned long long)client->sub.next,
		 (unsigned long long)end);
}

void sim_clients_check_quiet(struct sim *sim, bool *waiting)
{
	*waiting = false;
	for (unsigned w = 0; w < sim->n_workers && !sim->failed; w++)
		for (unsigned i = 0; i < SIM_CLIENTS && !sim->failed; i++)
			if (sim->workers[w].clients[i].live)
				check_quiet(&sim->workers[w].clients[i], waiting);
}
