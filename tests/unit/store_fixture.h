/* store_fixture.h: a whole store on a simulated disk, in one thread, for tests of the lanes: the test decides who has the next turn.
 *
 * One stream of `shards` equal shards; `worker` stands for whoever asks. The encoder makes one message per batch that says which batch it is. */
#ifndef PENSTOCK_TESTS_STORE_FIXTURE_H
#define PENSTOCK_TESTS_STORE_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "shardstore/lane.h"
#include "tests/sim/disk.h"

#define STREAM 1
#define CREATED_S INT64_C(1600000000)
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define MIB (1u << 20)

static struct {
	struct sim_disk *disk;
	struct io *io;
	struct store *store;
	struct mailbox box;
	struct outbox out;
	struct shard_info shards[16];
	struct stream_info info;
	struct store_config config;
	unsigned poisoned;
	unsigned encoded;
} fix;

static enum status test_encode(struct batch *batch)
{
	fix.encoded++;
	batch->messages = xmalloc(sizeof(*batch->messages));
	batch->messages[0] = message_new(0);
	batch->messages[0]->first = batch->first;
	batch->messages[0]->count = batch->count;
	batch->n_messages = 1;
	return STATUS_OK;
}

static void on_poisoned(void *arg, const char *why)
{
	(void)arg;
	cr_assert(why && *why);
	fix.poisoned++;
}

/* ---- Turns ---- */

static inline bool lane_step(void)
{
	outbox_flush(&fix.out);
	if (!store_lane_pending(fix.store, 0))
		return false;
	store_lane_turn(fix.store, 0);
	return true;
}

static inline bool syncer_step(void) { return pool_step(store_syncers(fix.store)); }
static inline bool reader_step(void) { return pool_step(store_readers(fix.store)); }
static inline bool box_step(void) { return mailbox_run(&fix.box) > 0; }

/* Until nobody has anything to do. */
static inline void settle(void)
{
	while (lane_step() || syncer_step() || reader_step() || box_step())
		;
}

/* Everything but our own mail: what was told waits in the box. */
static inline void settle_store(void)
{
	while (lane_step() || syncer_step() || reader_step())
		;
}

/* ---- Begin and end ---- */

static inline void store_up(void)
{
	char *why = NULL;
	cr_assert_eq(store_open(&fix.config, &fix.store, &why), STATUS_OK, "%s", why);
	cr_assert_eq(store_recover(fix.store, &fix.info, &why), STATUS_OK, "%s", why);
	cr_assert_eq(store_start(fix.store), STATUS_OK);
	settle();
}

static inline void store_down(void)
{
	store_stop(fix.store);
	while (box_step() || lane_step())
		;
	store_free(fix.store);
	fix.store = NULL;
}

static inline void fixture(struct limits limits, uint32_t shards)
{
	slog_set_level(SLOG_ERROR);
	memset(&fix, 0, sizeof(fix));
	fix.disk = sim_disk_new(1);
	fix.io = sim_disk_io(fix.disk);
	cr_assert_eq(fix.io->mkdir(fix.io, "data"), 0);
	cr_assert_eq(fix.io->sync_dir(fix.io, "."), 0);
	cr_assert_eq(mailbox_init(&fix.box, false), 0);
	outbox_init(&fix.out);
	for (uint32_t i = 0; i < shards; i++)
		fix.shards[i] = (struct shard_info){.key = {.stream = STREAM, .shard = i, .created_s = CREATED_S},
						    .hash_first = hash_uniform_start(i, shards),
						    .hash_last = i + 1 < shards ? hash_uniform_start(i + 1, shards) - 1 : ~(uint128)0,
						    .parent = NO_PARENT,
						    .adjacent = NO_PARENT};
	fix.info = (struct stream_info){.id = STREAM, .name = "orders", .status = STREAM_ACTIVE, .n_shards = shards, .shards = fix.shards};
	fix.config = (struct store_config){.io = fix.io,
					   .data_dir = "data",
					   .limits = limits,
					   .encode = test_encode,
					   .lanes = 1,
					   .free_floor = 1,
					   .on_poisoned = on_poisoned};
	store_up();
}

/* Also proves that nothing is left: no handle, no batch, no event. */
static inline void fixture_fini(void)
{
	if (fix.store)
		store_down();
	cr_expect_eq(sim_disk_open_files(fix.disk), 0);
	cr_expect_eq(metric_get(METRIC_batches_live), 0);
	cr_expect_eq(metric_get(METRIC_batch_bytes_live), 0);
	cr_expect_eq(metric_get(METRIC_events_live), 0);
	mailbox_fini(&fix.box);
	sim_disk_free(fix.disk);
}

/* ---- Puts ---- */

struct test_put {
	struct store_put put;
	struct put_record records[500];
	bool done;
};

static void on_put(struct store_put *put)
{
	struct test_put *test = container_of(put, struct test_put, put);
	cr_assert(!test->done);
	test->done = true;
}

static char filler[10 * MIB];

static inline struct test_put *put_new(void)
{
	struct test_put *test = xcalloc(1, sizeof(*test));
	test->put.stream = STREAM;
	test->put.records = test->records;
	test->put.reply_to = &fix.box;
	test->put.on_done = on_put;
	return test;
}

/* One more record, for that shard, with `bytes` of data behind a key of one byte. */
static inline void put_add(struct test_put *test, uint32_t shard, size_t bytes)
{
	cr_assert(bytes <= sizeof(filler));
	test->records[test->put.n++] = (struct put_record){.hash = fix.shards[shard].hash_first,
							   .key = STR("k"),
							   .data = {filler, bytes},
							   .status = STATUS_INTERNAL};
}

static inline void put_send(struct test_put *test) { store_put(fix.store, &fix.out, &test->put); }

/* One record of `bytes` to the shard, durable on return; its index. */
static inline uint64_t put_one(uint32_t shard, size_t bytes)
{
	struct test_put *test = put_new();
	put_add(test, shard, bytes);
	put_send(test);
	settle();
	cr_assert(test->done);
	cr_assert_eq(test->records[0].status, STATUS_OK);
	uint64_t index = test->records[0].index;
	free(test);
	return index;
}

/* n records in one group. */
static inline void put_group(uint32_t shard, uint32_t n, size_t bytes)
{
	struct test_put *test = put_new();
	for (uint32_t i = 0; i < n; i++)
		put_add(test, shard, bytes);
	put_send(test);
	settle();
	cr_assert(test->done);
	for (uint32_t i = 0; i < n; i++)
		cr_assert_eq(test->records[i].status, STATUS_OK);
	free(test);
}

/* ---- Reads ---- */

struct test_read {
	struct store_read read;
	bool done, read_first; /* on_read ran before on_done */
};

static void on_read(struct store_read *read)
{
	struct test_read *test = container_of(read, struct test_read, read);
	cr_assert(!test->done && read->n_batches);
	test->read_first = true;
}

static void on_read_done(struct store_read *read) { container_of(read, struct test_read, read)->done = true; }

static inline void read_send(struct test_read *test, uint32_t shard, uint64_t next)
{
	*test = (struct test_read){.read = {.reply_to = &fix.box,
					    .on_done = on_read_done,
					    .on_read = on_read,
					    .stream = STREAM,
					    .shard = shard,
					    .next = next,
					    .max_records = 10000,
					    .max_bytes = 10 * MIB}};
	store_read(fix.store, &fix.out, &test->read);
}

/* How many records from `from` on the batches hold; they must be dense. */
static inline uint64_t read_count(const struct test_read *test)
{
	uint64_t n = 0, expect = test->read.n_batches ? test->read.batches[0]->first : 0;
	for (uint32_t i = 0; i < test->read.n_batches; i++) {
		struct record record;
		size_t cursor = 0;
		uint32_t nth = 0;
		while (batch_next(test->read.batches[i], &cursor, &nth, &record)) {
			cr_assert_eq(record.index, expect);
			expect++;
			n += record.index >= test->read.from;
		}
		cr_assert_eq(cursor, test->read.batches[i]->frames_len);
	}
	return n;
}

/* ---- Positions ---- */

static bool located;
static void on_located(struct store_locate *locate) { located = locate->status == STATUS_OK; }

static inline uint64_t locate(uint32_t shard, struct position position)
{
	struct store_locate ask = {.reply_to = &fix.box, .on_done = on_located, .stream = STREAM, .shard = shard, .position = position};
	located = false;
	store_locate(fix.store, &fix.out, &ask);
	settle();
	cr_assert(located);
	return ask.next;
}

/* ---- Admin ---- */

struct test_admin {
	struct store_admin admin;
	bool done;
};
static void on_admin(struct store_admin *admin) { container_of(admin, struct test_admin, admin)->done = true; }

static inline void admin_send(struct test_admin *test)
{
	test->admin.reply_to = &fix.box;
	test->admin.on_done = on_admin;
	test->done = false;
	store_admin(fix.store, &fix.out, &test->admin);
}

static inline int64_t wall(void) { return io_wall_ms(fix.io); }
static inline struct lane_shard *shard_of(uint32_t shard) { return lane_stream_shard(lane_find(&fix.store->lanes[0], STREAM), shard); }

static inline struct extent_ref extent_of(uint32_t shard, unsigned nth)
{
	struct index_cursor cursor;
	cr_assert(index_find(shard_of(shard), 0, &cursor));
	while (nth--)
		cr_assert(index_next(&cursor));
	return *index_extent(&cursor);
}

#endif
