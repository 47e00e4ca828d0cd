/* test_sub_random.c: seeded chance. Clients of every kind on one hub, while notices are lost, late and doubled, reads are slow and fail,
 * retention passes cursors, windows shut in the middle of events and leases end. After each step the bounds hold; what each client sees is
 * dense, and at the end everybody has everything. A failing seed is printed and can be run alone: PENSTOCK_SEED=n; PENSTOCK_SEEDS=n runs so
 * many. */
#include "fake_store.h"

enum { CLIENTS = 12, STEPS = 1500, SEEDS = 10 };

static struct client clients[CLIENTS];
static uint64_t state;
static uint64_t spent_from[CLIENTS]; /* mono_ns of the join */
static size_t largest;               /* payload of an event */
static bool retains;
static uint64_t running; /* seed; 0: none */

static uint32_t below(uint32_t n)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)((state >> 33) % n);
}
static uint64_t pick(const uint64_t *from, uint32_t n) { return from[below(n)]; }
#define PICK(...) pick((const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static void look(struct client *client)
{
	struct seen seen;
	while (see(client, &seen))
		;
}

static void end_client(struct client *client)
{
	look(client);
	if (client->sub.state != SUB_CLOSED)
		sub_stop(&client->sub);
	buf_free(&client->bytes);
}

/* A new one: at the tip, where the last one stopped, or anywhere. */
static void begin_client(uint32_t i)
{
	struct client *client = &clients[i];
	uint64_t next = client->expect;
	end_client(client);
	switch (below(3)) {
	case 0:
		next = fake.durable_end + 1;
		break;
	case 1:
		next = oldest_index() + below((uint32_t)(fake.durable_end + 2 - oldest_index()));
		break;
	}
	if (next < oldest_index())
		next = oldest_index();
	*client = (struct client){.expect = next, .pull_on_ready = below(2)};
	client_start(client);
	spent_from[i] = fake.mono_ns;
	/* Joins are answered at once or after a stop; the lane would not let them overtake each other. */
	if (below(20) == 0) {
		sub_stop(&client->sub);
		answer_join(below(2) ? STATUS_OK : STATUS_IN_USE, next);
	} else {
		answer_join(below(30) ? STATUS_OK : STATUS_NOT_FOUND, next);
	}
}

static void some_pull(struct client *client)
{
	for (uint32_t n = below(4); n > 0 && client->sub.state != SUB_CLOSED; n--)
		if (pull_once(client, 1 + below(below(2) ? 200 : 20000)) <= 0)
			break;
	if (client->ended)
		end_client(client);
}

static void retell(void)
{
	if (fake.n_told < 3)
		return;
	fake.n_told -= 1 + below(3);
	notify();
}

static void trim(void)
{
	if (retains && fake.n_log - fake.oldest > 30)
		fake.oldest += below(20);
}

static void answer_some(void)
{
	if (fake.n_reads)
		answer_read_nth(below(fake.n_reads), below(100) ? STATUS_OK : STATUS_IO);
}

static void grow_log(void)
{
	size_t n = below(50) ? below(2000) : below(300000);
	const struct batch *batch = commit(1 + below(n > 2000 ? 3 : 20), n);
	for (uint32_t i = 0; i < batch->n_messages; i++)
		if (batch->messages[i]->payload > largest)
			largest = batch->messages[i]->payload;
}

static void step(void)
{
	struct client *client = &clients[below(CLIENTS)];
	switch (below(16)) {
	case 0:
	case 1:
	case 2:
		grow_log();
		break;
	case 3:
	case 4:
		notify_how(below(5) > 0);
		break;
	case 5:
		retell();
		break;
	case 6:
	case 7:
	case 8:
	case 9:
		if (client->sub.state != SUB_CLOSED)
			some_pull(client);
		break;
	case 10:
	case 11:
		answer_some();
		break;
	case 12:
		pass(below(3000) * MS / (1 + below(10)));
		break;
	case 13:
		begin_client((uint32_t)(client - clients));
		break;
	case 14:
		client->pull_on_ready = below(2);
		trim();
		break;
	case 15:
		if (client->sub.state != SUB_CLOSED && below(2))
			sub_finish(&client->sub);
		else if (client->sub.state != SUB_CLOSED)
			fake.hub->holder.on_lease_end(&fake.hub->holder, client->sub.id, below(3) ? LEASE_TAKEN : LEASE_CONSUMER_GONE);
		break;
	}
}

static void check(struct client *client, uint32_t i)
{
	const struct subscription *sub = &client->sub;
	const struct hub *hub = fake.hub;
	look(client);
	if (sub->state == SUB_CLOSED)
		return;
	cr_assert((sub->tail != NULL) == (sub->state != SUB_JOINING && sub->state != SUB_CLOSING));
	cr_assert(list_empty(&sub->idle_link) == (sub->state != SUB_IDLE) && list_empty(&sub->life_link) == !sub->tail);
	cr_assert((sub->held > 0) == !list_empty(&sub->hold_link) && !list_empty(&sub->link));
	if (sub->state == SUB_IDLE)
		cr_assert(sub->next == sub->tail->durable_end + 1 && !sub->message && !sub->read);
	if (sub->state == SUB_READING)
		cr_assert(!sub->message && !sub->arrived && sub->next <= fake.durable_end);
	int64_t rate = hub->config.limits.push_bytes;
	if (rate)
		cr_assert((int64_t)sub->delivered_bytes <=
			  rate + rate * (int64_t)((fake.mono_ns - spent_from[i]) / MS + 1) / 1000 + (int64_t)largest);
}

static void check_all(void)
{
	const struct hub *hub = fake.hub;
	size_t held = 0, most = 0;
	for (uint32_t i = 0; i < CLIENTS; i++) {
		check(&clients[i], i);
		held += clients[i].sub.held;
		most = clients[i].sub.held > most ? clients[i].sub.held : most;
	}
	cr_assert(hub->held == held && (held <= hub->config.reads * hub->config.read_bytes * 4 || held == most));
	cr_assert(fake.n_reads <= hub->config.reads + CLIENTS);
	cr_assert(hub->kept_bytes <= hub->config.kept_bytes);
	const struct tail *tail = tail_find(fake.hub, STREAM_ID, the_shard.shard);
	if (tail)
		cr_assert(tail->ring_bytes <= hub->config.ring_bytes || tail->ring_end - tail->ring_begin == 1);
	cr_assert(hub->rings_bytes == (tail ? tail->ring_bytes : 0));
}

/* Everybody who is still there gets everything. */
static void drain(void)
{
	notify();
	for (int round = 0; round < 20000; round++) {
		bool busy = false;
		for (uint32_t i = 0; i < CLIENTS; i++) {
			struct client *client = &clients[i];
			if (client->sub.state == SUB_CLOSED)
				continue;
			pull(client);
			if (client->ended)
				end_client(client);
			busy |= client->sub.state != SUB_CLOSED && client->sub.state != SUB_IDLE;
		}
		while (fake.n_reads)
			answer_read(STATUS_OK);
		if (!busy)
			break;
		pass(500 * MS);
	}
	for (uint32_t i = 0; i < CLIENTS; i++) {
		look(&clients[i]);
		cr_assert(clients[i].sub.state == SUB_CLOSED ||
			  (clients[i].sub.state == SUB_IDLE && clients[i].sub.next == fake.durable_end + 1));
		cr_assert(clients[i].sub.state == SUB_CLOSED || clients[i].expect == fake.durable_end + 1 ||
			  clients[i].expect < oldest_index());
	}
}

static void run(uint64_t seed)
{
	state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
	memset(clients, 0, sizeof(clients));
	largest = 0;
	retains = below(3) == 0;
	fake_start((struct hub_config){
		.ring_bytes = PICK(1, 5000, 50000, 1 << 20),
		.rings_bytes = PICK(0, 40000),
		.reads = (unsigned)PICK(1, 2, 4),
		.read_bytes = PICK(1, 3000, 100000),
		.kept_bytes = PICK(1, 20000, 1 << 20),
		.limits = {.push_bytes = (int64_t)PICK(0, 0, 20000, 200000)},
	});
	for (uint32_t i = 0; i < CLIENTS; i++) {
		clients[i].sub.state = SUB_CLOSED;
		begin_client(i);
	}
	for (int i = 0; i < STEPS; i++) {
		step();
		check_all();
	}
	drain();
	for (uint32_t i = 0; i < CLIENTS; i++)
		end_client(&clients[i]);
	while (fake.n_reads)
		answer_read(STATUS_OK);
	fake_stop();
}

/* Of the run that is under way, for when it fails. */
static void tell_seed(void)
{
	if (running)
		fprintf(stderr, "sub_random: failed with PENSTOCK_SEED=%llu\n", (unsigned long long)running);
}

Test(sub_random, seeds, .fini = tell_seed)
{
	const char *one = getenv("PENSTOCK_SEED"), *many = getenv("PENSTOCK_SEEDS");
	uint64_t first = one ? strtoull(one, NULL, 10) : 1;
	uint64_t last = one ? first : many ? strtoull(many, NULL, 10) : SEEDS;
	for (running = first; running <= last; running++)
		run(running);
	running = 0;
}
