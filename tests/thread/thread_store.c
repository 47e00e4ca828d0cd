/* thread_store.c: the whole store with its threads, on the real disk: producers put, two listeners follow every shard with leaves and joins
 * meanwhile, an intruder asks for their leases, others read, retention trims; run under TSan and ASan. Half of the producers run lanes
 * that they find idle, as workers do.
 *
 * What must hold: indexes are dense; every acknowledged record is what a listener saw, what a read brings, and what a restart finds; a
 * listener that drops what it is told while it joins still reaches the end; at the stop every put has its answer. */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "penstock/slog.h"
#include "penstock/store.h"

#define STREAMS 3 /* on two lanes */
#define SHARDS 2
#define PLACES (STREAMS * SHARDS)
#define PRODUCERS 8
#define PUTS 120
#define PUT_RECORDS 12
#define LISTENERS 2
#define RECORDS_MAX (PRODUCERS * PUTS * PUT_RECORDS + 1)
#define TRIMMED_STREAM 9
#define STOP_PUTS 60
#define PATIENCE_MS 60000 /* a lost wake-up fails instead of hanging */

static struct io *io;
static struct store *store;
static struct store_config config;
static char dir[64];

/* By place and index; 0: nothing. Each slot is written by one thread and compared when all are joined. */
static uint64_t *acked[PLACES], *seen[LISTENERS][PLACES];
static _Atomic uint64_t ends[PLACES]; /* highest acknowledged index */
static _Atomic bool produced;
static _Atomic unsigned failed, passed, told_batches, told_reads, rejoins, refused, takeovers, trims;

static void check(bool good, const char *what)
{
	if (good) {
		passed++;
		return;
	}
	failed++;
	fprintf(stderr, "failed: %s\n", what);
}

static unsigned place_of(uint64_t stream, uint32_t shard) { return (unsigned)(stream - 1) * SHARDS + shard; }

static unsigned dice(unsigned *state) { return (*state = *state * 1103515245u + 12345u) >> 8; }

/* Runs what mail comes; false: none came. A wake-up without mail is none (mail.c: the poster writes the eventfd after the list). */
static bool wait_for(struct mailbox *box)
{
	uint64_t deadline_ns = io_mono_ns(io) + PATIENCE_MS * UINT64_C(1000000);
	while (!mailbox_run(box)) {
		if (io_mono_ns(io) >= deadline_ns)
			return false;
		mailbox_wait(box, PATIENCE_MS);
	}
	return true;
}

/* What a record says of itself: who put it and which of his it is; never 0. */
static uint64_t value_of(struct str data)
{
	uint64_t value = 0;
	if (data.n >= sizeof(value))
		memcpy(&value, data.p, sizeof(value));
	return value;
}

/* Notes the records from *next on in `values`; false when they are not dense. */
static bool note(const struct batch *batch, uint64_t *next, uint64_t *values)
{
	struct record record;
	size_t cursor = 0;
	uint32_t nth = 0;
	while (batch_next(batch, &cursor, &nth, &record)) {
		if (record.index < *next)
			continue;
		if (record.index != *next || record.index >= RECORDS_MAX)
			return false;
		values[(*next)++] = value_of(record.data);
	}
	return true;
}

/* ---- Producers ---- */

struct producer {
	pthread_t thread;
	struct mailbox box;
	struct outbox out;
	struct store_put put;
	struct put_record records[PUT_RECORDS];
	struct {
		uint64_t value;
		char rest[4096];
	} data[PUT_RECORDS];
	uint64_t number, count;
	bool answered;
};

static void on_put(struct store_put *put) { container_of(put, struct producer, put)->answered = true; }

static void fill(struct producer *producer, unsigned *state)
{
	struct store_put *put = &producer->put;
	*put = (struct store_put){.reply_to = &producer->box,
				  .on_done = on_put,
				  .stream = 1 + dice(state) % STREAMS,
				  .records = producer->records,
				  .n = 1 + dice(state) % PUT_RECORDS};
	for (uint32_t i = 0; i < put->n; i++) {
		producer->data[i].value = (producer->number + 1) << 32 | ++producer->count;
		producer->records[i] = (struct put_record){
			.hash = hash_uniform_start(dice(state) % SHARDS, SHARDS),
			.key = STR("key"),
			.data = {(char *)&producer->data[i], sizeof(uint64_t) + dice(state) % sizeof(producer->data[i].rest)}};
	}
}

static void note_acknowledged(struct producer *producer)
{
	uint64_t last[SHARDS] = {0};
	for (uint32_t i = 0; i < producer->put.n; i++) {
		const struct put_record *record = &producer->records[i];
		uint32_t shard = record->shard.shard;
		unsigned place = place_of(producer->put.stream, shard);
		if (record->status != STATUS_OK || record->index >= RECORDS_MAX || record->index <= last[shard] ||
		    acked[place][record->index]) {
			check(false, "a record is stored, behind those before it, under an index of its own");
			continue;
		}
		last[shard] = record->index;
		acked[place][record->index] = value_of(record->data);
		uint64_t end = atomic_load(&ends[place]);
		while (end < record->index && !atomic_compare_exchange_weak(&ends[place], &end, record->index))
			;
	}
}

static void *run_producer(void *arg)
{
	struct producer *producer = arg;
	unsigned state = (unsigned)producer->number;
	for (int i = 0; i < PUTS; i++) {
		fill(producer, &state);
		producer->answered = false;
		store_put(store, &producer->out, &producer->put);
		if (producer->number % 2)
			outbox_flush_here(&producer->out);
		else
			outbox_flush(&producer->out);
		while (!producer->answered)
			if (!wait_for(&producer->box)) {
				check(false, "a put is answered");
				return NULL;
			}
		note_acknowledged(producer);
	}
	return NULL;
}

/* ---- Listeners ---- */

enum follow { JOINING, FOLLOWING, READING, LEFT };

/* One listener's subscription to one shard. */
struct follower {
	struct ear *ear;
	struct shard_key shard;
	enum follow state;
	bool lost; /* the lease, while a read was under way: joined again when that is back */
	uint64_t next, durable_end, subscription;
	struct store_join join;
	struct store_read read;
	uint64_t *values;
};

struct ear {
	pthread_t thread;
	unsigned number, state;
	struct mailbox box;
	struct outbox out;
	struct listener listener;
	struct lease_holder holder;
	struct follower followers[PLACES];
	struct store_join intruder;
	bool intruding;
	struct mail finish;
	bool finishing;
};

static _Atomic uint64_t subscriptions;

static void on_joined(struct store_join *join);

static void join(struct follower *follower)
{
	struct ear *ear = follower->ear;
	follower->state = JOINING;
	follower->lost = false;
	follower->subscription = ++subscriptions;
	follower->join = (struct store_join){.reply_to = &ear->box,
					     .on_done = on_joined,
					     .stream = follower->shard.stream,
					     .shard = follower->shard.shard,
					     .consumer = 1 + ear->number,
					     .position = {.kind = POSITION_AT, .index = follower->next},
					     .listener = &ear->listener,
					     .holder = &ear->holder,
					     .subscription = follower->subscription};
	store_join(store, &ear->out, &follower->join);
}

static void leave(struct follower *follower)
{
	struct ear *ear = follower->ear;
	store_leave(store, &ear->out, follower->shard.stream, follower->shard.shard, 1 + ear->number, follower->subscription,
		    &ear->listener);
	follower->state = LEFT;
}

static void on_read(struct store_read *read);

/* Behind what is durable and nothing under way: the log has it. */
static void pump(struct follower *follower)
{
	if (follower->state != FOLLOWING || follower->next > follower->durable_end)
		return;
	follower->state = READING;
	follower->read = (struct store_read){.reply_to = &follower->ear->box,
					     .on_done = on_read,
					     .stream = follower->shard.stream,
					     .shard = follower->shard.shard,
					     .next = follower->next,
					     .max_records = 1000,
					     .max_bytes = 256 << 10,
					     .encode = true};
	store_read(store, &follower->ear->out, &follower->read);
}

static void on_joined(struct store_join *joined)
{
	struct follower *follower = container_of(joined, struct follower, join);
	if (joined->status == STATUS_IN_USE) { /* an intruder took over and has not left yet */
		join(follower);
		return;
	}
	check(joined->status == STATUS_OK && joined->next == follower->next, "a join begins where the cursor stands");
	follower->state = FOLLOWING;
	follower->durable_end = joined->durable_end;
	pump(follower);
}

static void on_read(struct store_read *read)
{
	struct follower *follower = container_of(read, struct follower, read);
	uint64_t before = follower->next;
	bool good = read->status == STATUS_OK;
	for (uint32_t i = 0; good && i < read->n_batches; i++)
		good = note(read->batches[i], &follower->next, follower->values) && read->batches[i]->messages;
	check(good && follower->next > before, "a read of what is durable brings it, dense and encoded");
	store_read_release(read);
	told_reads++;
	if (follower->lost) {
		join(follower);
	} else if (follower->state == READING) {
		follower->state = FOLLOWING;
		pump(follower);
	}
}

static void hear(struct follower *follower, const struct notice *notice)
{
	/* What is told while the join is on its way must be in the reply: so it is dropped here. */
	if (follower->state == JOINING || follower->state == LEFT)
		return;
	if (follower->durable_end < notice->durable_end)
		follower->durable_end = notice->durable_end;
	for (uint32_t i = 0; follower->state == FOLLOWING && i < notice->n_batches; i++) {
		const struct batch *batch = notice->batches[i];
		if (batch->first > follower->next)
			break;
		check(batch->messages && note(batch, &follower->next, follower->values), "a notice's batches are encoded and dense");
		told_batches++;
	}
	if (follower->state == FOLLOWING && dice(&follower->ear->state) % 16 == 0) {
		leave(follower);
		join(follower);
		rejoins++;
	}
	pump(follower);
}

static void on_notice(struct listener *listener)
{
	struct ear *ear = container_of(listener, struct ear, listener);
	struct notice notice;
	while (listener_take(listener, &notice)) {
		hear(&ear->followers[place_of(notice.shard.stream, notice.shard.shard)], &notice);
		notice_fini(&notice);
	}
}

static struct follower *find(struct ear *ear, uint64_t subscription)
{
	for (unsigned i = 0; i < PLACES; i++)
		if (ear->followers[i].subscription == subscription)
			return &ear->followers[i];
	return NULL;
}

static void on_lease_end(struct lease_holder *holder, uint64_t subscription, enum lease_end why)
{
	struct ear *ear = container_of(holder, struct ear, holder);
	struct follower *follower = find(ear, subscription);
	check(why == LEASE_TAKEN, "leases end by takeover only");
	takeovers++;
	if (!follower || follower->state == LEFT)
		return;
	if (follower->state == READING)
		follower->lost = true;
	else
		join(follower);
}

static bool on_lease_probe(struct lease_holder *holder, uint64_t subscription)
{
	struct ear *ear = container_of(holder, struct ear, holder);
	struct follower *follower = find(ear, subscription);
	return !follower || follower->state == LEFT;
}

/* ---- The intruder: asks for the other listener's lease; leaves at once if it gets it ---- */

static void on_intruded(struct store_join *join_)
{
	struct ear *ear = container_of(join_, struct ear, intruder);
	ear->intruding = false;
	if (join_->status == STATUS_IN_USE)
		refused++;
	else
		check(join_->status == STATUS_OK, "an intruder is refused or served");
	if (join_->status == STATUS_OK)
		store_leave(store, &ear->out, join_->stream, join_->shard, join_->consumer, join_->subscription, &ear->listener);
}

static void intrude(struct ear *ear)
{
	if (ear->intruding || ear->finishing)
		return;
	ear->intruding = true;
	ear->intruder = (struct store_join){.reply_to = &ear->box,
					    .on_done = on_intruded,
					    .stream = 1 + dice(&ear->state) % STREAMS,
					    .shard = dice(&ear->state) % SHARDS,
					    .consumer = 1 + (ear->number + 1) % LISTENERS,
					    .position = {.kind = POSITION_LATEST},
					    .listener = &ear->listener,
					    .holder = &ear->holder,
					    .subscription = ++subscriptions};
	store_join(store, &ear->out, &ear->intruder);
}

static void on_finish(struct mail *mail) { container_of(mail, struct ear, finish)->finishing = true; }

static bool caught_up(const struct ear *ear)
{
	for (unsigned i = 0; i < PLACES; i++)
		if (ear->followers[i].state != FOLLOWING || ear->followers[i].next <= atomic_load(&ends[i]))
			return false;
	return ear->finishing && !ear->intruding;
}

static void *run_ear(void *arg)
{
	struct ear *ear = arg;
	for (unsigned i = 0; i < PLACES; i++)
		join(&ear->followers[i]);
	outbox_flush(&ear->out);
	while (!caught_up(ear)) {
		if (!wait_for(&ear->box)) {
			check(false, "a listener reaches the end");
			break;
		}
		if (dice(&ear->state) % 8 == 0)
			intrude(ear);
		outbox_flush(&ear->out);
	}
	for (unsigned i = 0; i < PLACES; i++)
		leave(&ear->followers[i]);
	outbox_flush(&ear->out);
	return NULL;
}

static void ear_init(struct ear *ear, unsigned number)
{
	ear->number = ear->state = number;
	assert(mailbox_init(&ear->box, true) == 0);
	outbox_init(&ear->out);
	listener_init(&ear->listener, &ear->box, on_notice);
	ear->holder = (struct lease_holder){.box = &ear->box, .on_lease_end = on_lease_end, .on_lease_probe = on_lease_probe};
	ear->finish.run = on_finish;
	for (unsigned i = 0; i < PLACES; i++)
		ear->followers[i] = (struct follower){
			.ear = ear, .shard = {.stream = 1 + i / SHARDS, .shard = i % SHARDS}, .next = 1, .values = seen[number][i]};
}

/* ---- One caller that waits for each answer: reads beside, retention ---- */

struct caller {
	pthread_t thread;
	struct mailbox box;
	struct outbox out;
	bool answered;
	struct store_read read;
	struct store_put put;
	struct store_admin admin;
};

static void on_caller_read(struct store_read *read) { container_of(read, struct caller, read)->answered = true; }
static void on_caller_put(struct store_put *put) { container_of(put, struct caller, put)->answered = true; }
static void on_caller_admin(struct store_admin *admin) { container_of(admin, struct caller, admin)->answered = true; }

static void await(struct caller *caller)
{
	outbox_flush(&caller->out);
	while (!caller->answered && wait_for(&caller->box))
		;
	check(caller->answered, "a call is answered");
	caller->answered = false;
}

static void call_read(struct caller *caller, uint64_t stream, uint32_t shard, uint64_t next)
{
	caller->read = (struct store_read){.reply_to = &caller->box,
					   .on_done = on_caller_read,
					   .stream = stream,
					   .shard = shard,
					   .next = next,
					   .max_records = 2000,
					   .max_bytes = 1 << 20};
	store_read(store, &caller->out, &caller->read);
	await(caller);
}

static void caller_init(struct caller *caller)
{
	*caller = (struct caller){.answered = false};
	assert(mailbox_init(&caller->box, true) == 0);
	outbox_init(&caller->out);
}

/* Random reads while all else goes on: dense, and never beyond the durable end. */
static void *run_reader(void *arg)
{
	struct caller *caller = arg;
	uint64_t *values = xcalloc(RECORDS_MAX, sizeof(*values));
	unsigned state = 77;
	while (!atomic_load(&produced)) {
		uint64_t stream = 1 + dice(&state) % STREAMS;
		uint32_t shard = dice(&state) % SHARDS;
		uint64_t next = 1 + dice(&state) % (atomic_load(&ends[place_of(stream, shard)]) + 2);
		call_read(caller, stream, shard, next);
		struct store_read *read = &caller->read;
		bool good = read->status == STATUS_OK && (read->n_batches > 0) == (next <= read->durable_end);
		for (uint32_t i = 0; good && i < read->n_batches; i++)
			good = note(read->batches[i], &next, values) && next <= read->durable_end + 1;
		check(good, "a read is dense and durable");
		store_read_release(read);
	}
	free(values);
	return NULL;
}

/* A stream of its own whose past is dropped as it grows: what is read begins at the oldest kept, and is dense. */
static void *run_trimmer(void *arg)
{
	struct caller *caller = arg;
	static char data[40000];
	uint64_t *values = xcalloc(RECORDS_MAX, sizeof(*values));
	while (!atomic_load(&produced)) {
		struct put_record record = {.key = STR("key"), .data = {data, sizeof(data)}};
		caller->put = (struct store_put){
			.reply_to = &caller->box, .on_done = on_caller_put, .stream = TRIMMED_STREAM, .records = &record, .n = 1};
		store_put(store, &caller->out, &caller->put);
		await(caller);
		check(record.status == STATUS_OK, "the trimmed stream takes records");
		caller->admin = (struct store_admin){.reply_to = &caller->box,
						     .on_done = on_caller_admin,
						     .kind = ADMIN_RETAIN,
						     .id = TRIMMED_STREAM,
						     .stream_id = TRIMMED_STREAM,
						     .horizon_ms = io_wall_ms(io) - 20};
		store_admin(store, &caller->out, &caller->admin);
		await(caller);
		check(caller->admin.status == STATUS_OK, "retention is applied");
		call_read(caller, TRIMMED_STREAM, 0, 1);
		uint64_t next = caller->read.from;
		bool good = caller->read.status == STATUS_OK;
		for (uint32_t i = 0; good && i < caller->read.n_batches; i++)
			good = note(caller->read.batches[i], &next, values);
		check(good, "what is kept is dense");
		store_read_release(&caller->read);
		trims++;
	}
	free(values);
	return NULL;
}

/* ---- The store ---- */

static void on_poisoned(void *arg, const char *why)
{
	(void)arg;
	check(false, why);
}

static enum status encode(struct batch *batch)
{
	batch->messages = xmalloc(sizeof(*batch->messages));
	batch->messages[0] = message_new(0);
	batch->n_messages = 1;
	return STATUS_OK;
}

static void recover(uint64_t id, uint32_t n_shards)
{
	struct shard_info shards[SHARDS];
	char *why = NULL;
	for (uint32_t i = 0; i < n_shards; i++)
		shards[i] = (struct shard_info){.key = {.stream = id, .shard = i, .created_s = 1600000000},
						.hash_first = hash_uniform_start(i, n_shards),
						.hash_last = i + 1 < n_shards ? hash_uniform_start(i + 1, n_shards) - 1 : ~(uint128)0,
						.parent = NO_PARENT,
						.adjacent = NO_PARENT};
	struct stream_info info = {.id = id, .status = STREAM_ACTIVE, .n_shards = n_shards, .shards = shards};
	check(store_recover(store, &info, &why) == STATUS_OK, why ? why : "a stream is recovered");
	free(why);
}

static void open_store(void)
{
	char *why = NULL;
	config = (struct store_config){.io = io,
				       .data_dir = dir,
				       .encode = encode,
				       .lanes = 2,
				       .syncers = 2,
				       .readers = 2,
				       .threads = true,
				       .segment_min = 128 << 10,
				       .segment_max = 1 << 20,
				       .free_floor = 1,
				       .on_poisoned = on_poisoned};
	enum status status = store_open(&config, &store, &why);
	check(status == STATUS_OK, why ? why : "the store opens");
	for (uint64_t id = 1; id <= STREAMS; id++)
		recover(id, SHARDS);
	recover(TRIMMED_STREAM, 1);
	check(store_start(store) == STATUS_OK, "the store starts");
}

/* ---- The test ---- */

static void run_all(struct producer *producers, struct ear *heard, struct caller *callers)
{
	for (unsigned i = 0; i < LISTENERS; i++)
		pthread_create(&heard[i].thread, NULL, run_ear, &heard[i]);
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_create(&producers[i].thread, NULL, run_producer, &producers[i]);
	pthread_create(&callers[0].thread, NULL, run_reader, &callers[0]);
	pthread_create(&callers[1].thread, NULL, run_trimmer, &callers[1]);
	for (unsigned i = 0; i < PRODUCERS; i++)
		pthread_join(producers[i].thread, NULL);
	atomic_store(&produced, true);
	for (unsigned i = 0; i < LISTENERS; i++)
		mailbox_post(&heard[i].box, &heard[i].finish);
	for (unsigned i = 0; i < LISTENERS; i++)
		pthread_join(heard[i].thread, NULL);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(callers[i].thread, NULL);
}

static void compare(uint64_t *const values[PLACES], const char *what)
{
	bool same = true;
	for (unsigned place = 0; place < PLACES; place++)
		for (uint64_t index = 1; index <= ends[place]; index++)
			same &= acked[place][index] && acked[place][index] == values[place][index];
	check(same, what);
}

/* Nobody else is there: the lane's thread sleeps, and a lone put is with a syncer when the flush returns. A heavy one wakes the lane. */
static void put_alone(struct producer *producer)
{
	unsigned state = 3;
	fill(producer, &state);
	producer->answered = false;
	store_put(store, &producer->out, &producer->put);
	outbox_flush_here(&producer->out);
	check(producer->put.queued_ns != 0, "a lone put is taken by its sender's own thread");
	while (!producer->answered && wait_for(&producer->box))
		;
	note_acknowledged(producer);

	static char data[MAIL_LIGHT_BYTES];
	fill(producer, &state);
	producer->put.n = 1;
	producer->records[0].data = (struct str){data, sizeof(data)};
	memcpy(data, &producer->data[0], sizeof(uint64_t));
	producer->answered = false;
	store_put(store, &producer->out, &producer->put);
	check(producer->out.bytes > MAIL_LIGHT_BYTES, "what a flush would have others copy is known");
	outbox_flush_here(&producer->out);
	check(producer->out.bytes == 0, "and forgotten when it is flushed");
	while (!producer->answered && wait_for(&producer->box))
		;
	check(producer->answered, "a heavy put is taken by the lane's thread");
	note_acknowledged(producer);
}

/* Puts that nobody waits for, and the stop behind them: each is stored or refused. */
static void stop_under_load(struct producer *waves, struct mailbox *box)
{
	struct outbox out;
	unsigned state = 5;
	outbox_init(&out);
	for (unsigned i = 0; i < STOP_PUTS; i++) {
		waves[i].number = PRODUCERS + i;
		fill(&waves[i], &state);
		waves[i].put.reply_to = box;
		waves[i].answered = false;
		store_put(store, &out, &waves[i].put);
		outbox_flush_here(&out);
	}
	store_stop(store);
	mailbox_run(box);
	for (unsigned i = 0; i < STOP_PUTS; i++) {
		check(waves[i].answered, "a put is answered before the stop returns");
		if (waves[i].put.status == STATUS_OK)
			note_acknowledged(&waves[i]);
		else
			check(waves[i].put.status == STATUS_CLOSING, "a put that came too late says so");
	}
}

static void read_back(struct caller *caller, uint64_t *values[PLACES])
{
	for (unsigned place = 0; place < PLACES; place++) {
		uint64_t next = 1;
		bool good = true;
		while (good && next <= ends[place]) {
			call_read(caller, 1 + place / SHARDS, place % SHARDS, next);
			good = caller->read.status == STATUS_OK && caller->read.n_batches && caller->read.durable_end == ends[place];
			for (uint32_t i = 0; good && i < caller->read.n_batches; i++)
				good = note(caller->read.batches[i], &next, values[place]);
			store_read_release(&caller->read);
		}
		check(good, "all of a shard is read back");
	}
}

static void stop_store(struct ear *heard)
{
	store_stop(store);
	for (unsigned i = 0; i < LISTENERS; i++) {
		mailbox_run(&heard[i].box);
		outbox_flush(&heard[i].out);
		listener_fini(&heard[i].listener);
	}
	store_free(store);
}

int main(void)
{
	static struct producer producers[PRODUCERS], waves[STOP_PUTS];
	static struct ear heard[LISTENERS];
	static struct caller callers[3];
	uint64_t *found[PLACES];
	const char *base = getenv("TMPDIR");
	char command[96];
	struct mailbox box;

	slog_set_level(SLOG_ERROR);
	io = io_posix();
	snprintf(dir, sizeof(dir), "%s/thread_store.XXXXXX", base && strlen(base) < 32 ? base : "/tmp");
	assert(mkdtemp(dir));
	for (unsigned i = 0; i < PLACES; i++) {
		acked[i] = xcalloc(RECORDS_MAX, sizeof(uint64_t));
		found[i] = xcalloc(RECORDS_MAX, sizeof(uint64_t));
		for (unsigned k = 0; k < LISTENERS; k++)
			seen[k][i] = xcalloc(RECORDS_MAX, sizeof(uint64_t));
	}
	for (unsigned i = 0; i < PRODUCERS; i++) {
		producers[i].number = i;
		assert(mailbox_init(&producers[i].box, true) == 0);
		outbox_init(&producers[i].out);
	}
	for (unsigned i = 0; i < LISTENERS; i++)
		ear_init(&heard[i], i);
	for (unsigned i = 0; i < 3; i++)
		caller_init(&callers[i]);
	assert(mailbox_init(&box, true) == 0);

	open_store();
	put_alone(&producers[0]);
	run_all(producers, heard, callers);
	for (unsigned k = 0; k < LISTENERS; k++)
		compare(seen[k], "a listener saw what was acknowledged");
	stop_store(heard);

	open_store();
	stop_under_load(waves, &box);
	store_free(store);

	open_store();
	read_back(&callers[2], found);
	compare(found, "a restart finds what was acknowledged");
	store_stop(store);
	store_free(store);

	/* reads are not asked for: a listener that keeps up never needs one */
	check(told_batches && rejoins && refused && trims, "everything was exercised");
	mailbox_fini(&box);
	for (unsigned i = 0; i < PRODUCERS; i++)
		mailbox_fini(&producers[i].box);
	for (unsigned i = 0; i < LISTENERS; i++)
		mailbox_fini(&heard[i].box);
	for (unsigned i = 0; i < 3; i++)
		mailbox_fini(&callers[i].box);
	for (unsigned i = 0; i < PLACES; i++) {
		free(acked[i]);
		free(found[i]);
		for (unsigned k = 0; k < LISTENERS; k++)
			free(seen[k][i]);
	}
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command) != 0)
		failed++;
	fprintf(stderr, "batches=%u reads=%u rejoins=%u refused=%u takeovers=%u trims=%u\n", told_batches, told_reads, rejoins, refused,
		takeovers, trims);
	printf("thread_store: %u passed, %u failed\n", passed, failed);
	return failed != 0;
}
