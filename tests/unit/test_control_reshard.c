/* test_control_reshard.c: resharding at the control thread, with a real SQLite file and a store that does as it is told: rules and causes,
 * the order of catalogue, lane and snapshot, and what the next start makes of a file that was left between any two steps. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "penstock/slog.h"
#include "shardstore/control.h"

#define DAY_MS INT64_C(86400000)

/* ---- The store ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t asked;
	int hold; /* this kind is kept until store_release; -1: none */
	struct store_admin *held;
	enum status seal_answer;
	char log[256];                            /* one letter per resharding request: S, R (SEAL with refuse), A, W */
	uint32_t shards[64], n_shards;            /* of the last SEAL or ADD */
	bool children_at_add, children_at_switch; /* did the snapshot have them? */
	uint64_t end_index;
	int64_t last_ms; /* SEAL: closed_ms */
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .asked = PTHREAD_COND_INITIALIZER, .hold = -1, .end_index = 7};

static struct fixture {
	char dir[64];
	struct limits limits;
	uint64_t transition_ms;
	struct control *control;
	struct mailbox box;
	struct outbox outbox;
	struct catalogue *catalogue;
	bool answered;
} f;

static void on_admin_mail(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	admin->on_done(admin);
}

/* The control thread's. */
static bool snapshot_has_children(const struct store_admin *admin)
{
	const struct stream_info *stream = catalogue_stream_by_id(f.control->catalogue, admin->stream_id);
	return stream && stream->n_shards && stream->shards[stream->n_shards - 1].parent != NO_PARENT;
}

static void note(const struct store_admin *admin)
{
	size_t n = strlen(fake.log);
	char letter = admin->kind == ADMIN_SEAL ? (admin->refuse ? 'R' : 'S') : admin->kind == ADMIN_ADD_SHARDS ? 'A' : 'W';
	if (n + 1 < sizeof(fake.log))
		fake.log[n] = letter;
	if (admin->kind == ADMIN_SWITCH_SHARDS) {
		fake.children_at_switch = snapshot_has_children(admin);
		return;
	}
	if (admin->kind == ADMIN_ADD_SHARDS)
		fake.children_at_add = snapshot_has_children(admin);
	fake.n_shards = admin->n_shards;
	for (uint32_t i = 0; i < admin->n_shards; i++) {
		fake.shards[i] = admin->shards[i].key.shard;
		if (admin->kind == ADMIN_SEAL)
			admin->shards[i].end_index = fake.end_index, admin->shards[i].closed_ms = fake.last_ms;
	}
}

static _Atomic bool no_room;

bool store_has_room(struct store *store) { return (void)store, !no_room; }

void store_set_clock(struct store *store, int64_t wall_ms, int64_t believed_ms, int64_t highest_ms)
{
	(void)store, (void)wall_ms, (void)believed_ms, (void)highest_ms;
}

void store_admin(struct store *store, struct outbox *from, struct store_admin *admin)
{
	(void)store;
	pthread_mutex_lock(&fake.lock);
	admin->status = admin->kind == ADMIN_SEAL ? fake.seal_answer : STATUS_OK;
	admin->mail.run = on_admin_mail;
	if (admin->kind == ADMIN_SEAL || admin->kind == ADMIN_ADD_SHARDS || admin->kind == ADMIN_SWITCH_SHARDS)
		note(admin);
	if ((int)admin->kind == fake.hold)
		fake.held = admin;
	else
		outbox_add(from, admin->reply_to, &admin->mail);
	pthread_cond_broadcast(&fake.asked);
	pthread_mutex_unlock(&fake.lock);
}

static void store_hold(int kind)
{
	pthread_mutex_lock(&fake.lock);
	fake.hold = kind;
	pthread_mutex_unlock(&fake.lock);
}

static void store_wait_held(void)
{
	pthread_mutex_lock(&fake.lock);
	while (!fake.held)
		pthread_cond_wait(&fake.asked, &fake.lock);
	pthread_mutex_unlock(&fake.lock);
}

static void store_release(void)
{
	pthread_mutex_lock(&fake.lock);
	fake.hold = -1;
	if (fake.held)
		mailbox_post(fake.held->reply_to, &fake.held->mail);
	fake.held = NULL;
	pthread_mutex_unlock(&fake.lock);
}

static void store_answer(enum status status)
{
	pthread_mutex_lock(&fake.lock);
	fake.seal_answer = status;
	pthread_mutex_unlock(&fake.lock);
}

static void store_wait_letter(char letter)
{
	pthread_mutex_lock(&fake.lock);
	while (!strchr(fake.log, letter))
		pthread_cond_wait(&fake.asked, &fake.lock);
	pthread_mutex_unlock(&fake.lock);
}

/* ---- Control, one worker and one client ---- */

static _Atomic int64_t clock_offset_ms;
static struct io moved;

static int64_t moved_wall_ms(struct io *io)
{
	(void)io;
	return io_wall_ms(io_posix()) + clock_offset_ms;
}

static _Atomic bool clock_vouched;

static int64_t moved_vouched_ms(struct io *io) { return clock_vouched ? moved_wall_ms(io) : -1; }

static void on_snapshot(void *arg, struct catalogue *snapshot)
{
	(void)arg;
	catalogue_unref(f.catalogue);
	f.catalogue = snapshot;
}

static void start(void)
{
	moved = *io_posix();
	moved.wall_ms = moved_wall_ms;
	moved.vouched_ms = moved_vouched_ms;
	struct control_config config = {.io = &moved,
					.data_dir = f.dir,
					.limits = f.limits,
					.transition_ms = f.transition_ms,
					.retention_check_ms = 3600000,
					.clock_grace_ms = DAY_MS};
	struct catalogue_reader reader = {.box = &f.box, .on_snapshot = on_snapshot};
	char *why = NULL;
	cr_assert_eq(mailbox_init(&f.box, true), 0);
	outbox_init(&f.outbox);
	cr_assert_eq(control_open(&config, &f.control, &why), STATUS_OK, "%s", why);
	cr_assert_eq(control_start(f.control, NULL, &reader, 1), STATUS_OK);
}

static void stop(void)
{
	control_stop(f.control);
	while (mailbox_run(&f.box))
		;
	control_free(f.control);
	catalogue_unref(f.catalogue);
	f.catalogue = NULL;
	mailbox_fini(&f.box);
}

static void setup(void)
{
	snprintf(f.dir, sizeof(f.dir), "/tmp/penstock-reshard-XXXXXX");
	cr_assert_not_null(mkdtemp(f.dir));
	f.limits = (struct limits)LIMITS_AWS;
	f.transition_ms = 50; /* so that what is on its way is seen, also on a slow machine */
	slog_set_level(SLOG_ERROR + 1);
}

static void teardown(void)
{
	char command[128];
	snprintf(command, sizeof(command), "rm -rf %s", f.dir);
	cr_assert_eq(system(command), 0);
}

static void turn(void)
{
	outbox_flush(&f.outbox);
	mailbox_wait(&f.box, -1);
	mailbox_run(&f.box);
}

static void on_change_done(struct change *change)
{
	(void)change;
	f.answered = true;
}

static struct change ask(struct change change)
{
	change.reply_to = &f.box;
	change.on_done = on_change_done;
	change.stream = STR("orders");
	f.answered = false;
	catalogue_change(f.control, &f.outbox, &change);
	while (!f.answered)
		turn();
	return change;
}

static struct change split(uint32_t shard, uint128 hash)
{
	return ask((struct change){.kind = CHANGE_SPLIT_SHARD, .shard = shard, .hash = hash});
}

static struct change merge(uint32_t lower, uint32_t upper)
{
	return ask((struct change){.kind = CHANGE_MERGE_SHARDS, .shard = lower, .adjacent = upper});
}

static struct change update(uint32_t target) { return ask((struct change){.kind = CHANGE_UPDATE_SHARD_COUNT, .shards = target}); }

static const struct stream_info *orders(void) { return f.catalogue ? catalogue_stream(f.catalogue, STR("orders")) : NULL; }

static const struct stream_info *await(enum stream_status status)
{
	while (!orders() || orders()->status != status)
		turn();
	return orders();
}

static void make(uint32_t shards)
{
	cr_assert_eq(ask((struct change){.kind = CHANGE_CREATE_STREAM, .shards = shards}).status, STATUS_OK);
	await(STREAM_ACTIVE);
	memset(fake.log, 0, sizeof(fake.log));
}

static void sql(const char *text)
{
	char path[128], *error = NULL;
	sqlite3 *db;
	snprintf(path, sizeof(path), "%s/catalogue.db", f.dir);
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	sqlite3_busy_timeout(db, 2000);
	cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, &error), SQLITE_OK, "%s", error);
	sqlite3_close(db);
}

static int64_t sql_int(const char *text)
{
	char path[128];
	sqlite3 *db;
	sqlite3_stmt *row;
	snprintf(path, sizeof(path), "%s/catalogue.db", f.dir);
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_prepare_v2(db, text, -1, &row, NULL), SQLITE_OK);
	cr_assert_eq(sqlite3_step(row), SQLITE_ROW);
	int64_t value = sqlite3_column_int64(row, 0);
	sqlite3_finalize(row);
	sqlite3_close(db);
	return value;
}

/* Every key is covered once by the open shards. */
static void check_cover(const struct stream_info *stream)
{
	uint128 sum = 0, key = 0;
	for (uint32_t i = 0; i < stream->n_shards; i++)
		if (!stream->shards[i].closed)
			sum += stream->shards[i].hash_last - stream->shards[i].hash_first + 1;
	cr_assert(sum == 0, "2^128 keys");
	do { /* from one shard to the next; with the sum that is all of them */
		const struct shard_info *shard = stream_shard_for(stream, key);
		cr_assert_not_null(shard);
		cr_assert(shard->hash_first == key);
		key = shard->hash_last + 1;
	} while (key);
}

#define TEST(name) Test(control_reshard, name, .init = setup, .fini = teardown, .timeout = 20)
#define REFUSED(change_, status_, cause_)                        \
	do {                                                     \
		struct change refused_ = (change_);              \
		cr_expect_eq(refused_.status, STATUS_##status_); \
		cr_expect_eq(refused_.cause, CAUSE_##cause_);    \
	} while (0)

/* ---- The way ---- */

TEST(a_split_from_intent_to_active)
{
	start();
	make(1);
	store_hold(ADMIN_SEAL);
	int64_t before_s = moved_wall_ms(NULL) / 1000;
	cr_assert_eq(split(0, 1000).status, STATUS_OK);
	const struct stream_info *s = orders();
	cr_expect_eq(s->status, STREAM_UPDATING, "at once");
	cr_expect_eq(s->n_shards, 1, "no child before its parent is closed");
	store_wait_held();
	cr_expect(fake.n_shards == 1 && fake.shards[0] == 0);
	cr_expect(!orders()->shards[0].closed);
	store_release();
	s = await(STREAM_ACTIVE);
	cr_assert_eq(s->n_shards, 3);
	check_cover(s);
	const struct shard_info *parent = &s->shards[0];
	cr_expect(parent->closed && parent->end_index == 7);
	cr_expect_geq(parent->closed_s, before_s);
	cr_expect_leq(parent->closed_ms, moved_wall_ms(NULL));
	for (int i = 1; i < 3; i++) {
		cr_expect(!s->shards[i].closed && s->shards[i].parent == 0 && s->shards[i].adjacent == NO_PARENT);
		cr_expect_eq(s->shards[i].key.created_s, parent->closed_s + 1);
		cr_expect_eq(s->shards[i].opened_ms, parent->closed_ms);
	}
	store_wait_letter('W');
	cr_expect_str_eq(fake.log, "SAW");
	cr_expect(!fake.children_at_add, "the lane knows the children before any worker");
	cr_expect(fake.children_at_switch, "every worker knows them before anybody is told of the end");
	stop();
	cr_expect_eq(sql_int("SELECT count(*) FROM intents"), 0);
	start();
	check_cover(await(STREAM_ACTIVE));
	cr_expect_str_eq(fake.log, "SAW", "nothing is done again");
	stop();
}

TEST(a_merge)
{
	start();
	make(3);
	cr_assert_eq(merge(1, 2).status, STATUS_OK);
	const struct stream_info *s = await(STREAM_ACTIVE);
	cr_assert_eq(s->n_shards, 4);
	check_cover(s);
	cr_expect(s->shards[3].parent == 1 && s->shards[3].adjacent == 2);
	cr_expect(!s->shards[0].closed && s->shards[1].closed && s->shards[2].closed);
	stop();
}

TEST(numbers_go_on_behind_expired_shards)
{
	start();
	make(1);
	split(0, 1000);
	await(STREAM_ACTIVE);
	stop();
	sql("DELETE FROM shards WHERE closed = 1");
	start();
	await(STREAM_ACTIVE);
	cr_assert_eq(split(1, 500).status, STATUS_OK);
	const struct stream_info *s = await(STREAM_ACTIVE);
	cr_expect_eq(s->shards[s->n_shards - 1].key.shard, 4);
	stop();
}

TEST(update_is_one_seal_and_one_switch_however_many_generations)
{
	f.limits = (struct limits)LIMITS_OFF;
	start();
	make(1);
	struct change change = update(8);
	cr_assert_eq(change.status, STATUS_OK);
	cr_expect_eq(change.have, 1);
	const struct stream_info *s = await(STREAM_ACTIVE);
	check_cover(s);
	cr_expect_eq(stream_open_shards(s), 8);
	cr_expect_eq(s->n_shards, 15);
	store_wait_letter('W');
	cr_expect_str_eq(fake.log, "SAW");
	for (uint32_t i = 1; i < s->n_shards; i++) {
		cr_expect_geq(s->shards[i].key.created_s, stream_shard(s, s->shards[i].parent)->closed_s + 1);
		if (s->shards[i].closed)
			cr_expect_eq(s->shards[i].end_index, 0, "an intermediate shard has no record");
	}
	cr_assert_eq(update(2).status, STATUS_OK);
	s = await(STREAM_ACTIVE);
	check_cover(s);
	cr_expect_eq(stream_open_shards(s), 2);
	stop();
}

TEST(an_update_to_what_is_there_is_active_again)
{
	start();
	make(3);
	cr_assert_eq(update(3).status, STATUS_OK);
	cr_expect_eq(orders()->status, STREAM_UPDATING);
	cr_expect_eq(await(STREAM_ACTIVE)->n_shards, 3);
	cr_expect_str_eq(fake.log, "");
	stop();
}

/* ---- The rules, in their order ---- */

TEST(what_split_refuses)
{
	start();
	REFUSED(split(0, 7), NOT_FOUND, NO_STREAM);
	make(2);
	REFUSED(split(9, 7), NOT_FOUND, NO_SHARD);
	uint128 last = orders()->shards[0].hash_last;
	uint128 wrong[] = {0, 1, last, last + 1, ~(uint128)0};
	for (int i = 0; i < 5; i++)
		REFUSED(split(0, wrong[i]), INVALID_ARGUMENT, HASH_KEY);
	REFUSED(split(1, last + 2), INVALID_ARGUMENT, HASH_KEY);
	cr_assert_eq(split(1, last + 3).status, STATUS_OK);
	struct change change = split(0, 7);
	cr_expect_eq(change.status, STATUS_IN_USE);
	cr_expect_eq(change.state, STREAM_UPDATING);
	await(STREAM_ACTIVE);
	change = split(1, last + 3);
	cr_expect_eq(change.cause, CAUSE_SHARD_CLOSED);
	cr_expect_eq(change.shard, 1);
	cr_assert_eq(split(0, 2).status, STATUS_OK, "the smallest first child: keys 0 and 1");
	await(STREAM_ACTIVE);
	cr_assert_eq(split(5, last - 1).status, STATUS_OK, "the smallest second child: two keys");
	await(STREAM_ACTIVE);
	stop();
}

TEST(what_merge_refuses)
{
	start();
	make(3);
	struct change change = merge(0, 9);
	cr_expect_eq(change.cause, CAUSE_NO_SHARD);
	cr_expect_eq(change.shard, 9);
	uint32_t pairs[][2] = {{0, 2}, {1, 0}, {1, 1}, {2, 0}};
	for (int i = 0; i < 4; i++)
		REFUSED(merge(pairs[i][0], pairs[i][1]), INVALID_ARGUMENT, NOT_ADJACENT);
	cr_assert_eq(merge(0, 1).status, STATUS_OK);
	await(STREAM_ACTIVE);
	change = merge(3, 1);
	cr_expect_eq(change.cause, CAUSE_SHARD_CLOSED);
	cr_expect_eq(change.shard, 1);
	stop();
}

TEST(on_demand_has_its_own_ways)
{
	start();
	ask((struct change){.kind = CHANGE_CREATE_STREAM, .mode = MODE_ON_DEMAND});
	await(STREAM_ACTIVE);
	REFUSED(split(9, 7), NOT_FOUND, NO_SHARD);
	REFUSED(split(0, 7), VALIDATION, ON_DEMAND);
	REFUSED(merge(0, 1), VALIDATION, ON_DEMAND);
	REFUSED(update(8), VALIDATION, ON_DEMAND);
	stop();
}

TEST(limits_on_shards)
{
	f.limits.shards = 6;
	start();
	make(4);
	struct change change = update(7);
	cr_expect_eq(change.cause, CAUSE_TARGET_LIMIT);
	cr_expect(change.have == 4 && change.limit == 6 && change.would == 7);
	cr_assert_eq(update(6).status, STATUS_OK);
	await(STREAM_ACTIVE);
	change = split(orders()->shards[orders()->n_shards - 1].key.shard, ~(uint128)0 - 10);
	cr_expect_eq(change.cause, CAUSE_SHARD_LIMIT);
	cr_expect(change.have == 6 && change.limit == 6 && change.would == 1);
	stop();
}

/* Closed shards count, and so do those that a reshard on its way will make. */
TEST(a_limit_on_open_and_closed_shards)
{
	f.limits.all_shards = 7;
	start();
	make(2);
	cr_assert_eq(split(0, 1000).status, STATUS_OK);
	await(STREAM_ACTIVE);
	cr_assert_eq(merge(2, 3).status, STATUS_OK);
	await(STREAM_ACTIVE); /* five: 0, 2 and 3 are closed, 1 and 4 open */
	struct change change = update(3);
	cr_expect_eq(change.status, STATUS_LIMIT_EXCEEDED);
	cr_expect_eq(change.cause, CAUSE_ALL_SHARDS_LIMIT);
	cr_expect(change.have == 5 && change.limit == 7 && change.would > 2, "%d of %d and %d", (int)change.have, (int)change.limit,
		  (int)change.would);
	cr_expect_eq(orders()->status, STREAM_ACTIVE, "what is refused changes nothing");
	cr_expect_eq(sql_int("SELECT count(*) FROM intents"), 0);
	cr_expect_eq(sql_int("SELECT count(*) FROM shard_updates"), 0, "and is no update");
	cr_expect_eq(update(2).status, STATUS_OK, "adds no shard: they are uniform");
	await(STREAM_ACTIVE);
	cr_assert_eq(split(1, ~(uint128)0 - 10).status, STATUS_OK, "the bound itself is allowed");
	await(STREAM_ACTIVE);
	change = split(4, 1000);
	cr_expect_eq(change.cause, CAUSE_ALL_SHARDS_LIMIT);
	cr_expect(change.have == 7 && change.would == 2);
	change = merge(4, 5);
	cr_expect_eq(change.cause, CAUSE_ALL_SHARDS_LIMIT);
	cr_expect_eq(change.would, 1);
	stop();
}

TEST(shards_of_intents_count_against_that_limit)
{
	f.limits.all_shards = 7;
	start();
	make(2);
	sql("INSERT INTO streams (name, status, mode, shard_target, created_ms, retention_hours, max_record_kib, next_shard)"
	    " VALUES ('other', 2, 0, 4, 0, 24, 1024, 4);"
	    "INSERT INTO intents SELECT id, n, zeroblob(16), zeroblob(16), 0, 0 FROM streams,"
	    " (SELECT 0 AS n UNION SELECT 1 UNION SELECT 2 UNION SELECT 3) WHERE name = 'other';");
	struct change change = split(0, 1000);
	cr_expect_eq(change.cause, CAUSE_ALL_SHARDS_LIMIT);
	cr_expect_eq(change.have, 6);
	stop();
}

/* The clock was 50 hours ahead, and was set right. */
TEST(updates_ahead_of_the_clock_do_not_count)
{
	char text[256];
	start();
	make(2);
	snprintf(text, sizeof(text),
		 "INSERT INTO shard_updates SELECT 1, %lld FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10))",
		 (long long)(moved_wall_ms(NULL) + 50 * INT64_C(3600000)));
	sql(text);
	cr_expect_eq(update(3).status, STATUS_OK);
	stop();
}

TEST(updates_are_not_kept_without_a_limit)
{
	f.limits.updates_per_day = 0;
	start();
	make(2);
	cr_assert_eq(update(3).status, STATUS_OK);
	await(STREAM_ACTIVE);
	stop();
	cr_expect_eq(sql_int("SELECT count(*) FROM shard_updates"), 0);
}

TEST(limits_on_updates)
{
	start();
	make(5);
	REFUSED(update(11), LIMIT_EXCEEDED, SCALE_UP);
	REFUSED(update(2), LIMIT_EXCEEDED, SCALE_DOWN);
	for (int i = 0; i < 10; i++) {
		cr_assert_eq(update(i % 2 ? 5 : 3).status, STATUS_OK, "5 -> 3 is allowed");
		await(STREAM_ACTIVE);
	}
	REFUSED(update(6), LIMIT_EXCEEDED, UPDATES_LIMIT);
	stop();
	clock_offset_ms = DAY_MS - 60000;
	start();
	await(STREAM_ACTIVE);
	REFUSED(update(6), LIMIT_EXCEEDED, UPDATES_LIMIT);
	stop();
	clock_offset_ms = DAY_MS + 1000;
	start();
	await(STREAM_ACTIVE);
	cr_expect_eq(update(6).status, STATUS_OK);
	await(STREAM_ACTIVE);
	stop();
	clock_offset_ms = 0;
}

/* ---- Left between any two steps ---- */

/* The file as a process leaves it that is killed now, put in its place for the next start. */
static void leave(void)
{
	char command[512];
	snprintf(command, sizeof(command), "mkdir %s/kept && cp %s/catalogue.db %s/catalogue.db-wal %s/kept", f.dir, f.dir, f.dir, f.dir);
	cr_assert_eq(system(command), 0);
	store_release();
	stop();
	snprintf(command, sizeof(command), "rm %s/catalogue.db*; mv %s/kept/* %s && rmdir %s/kept", f.dir, f.dir, f.dir, f.dir);
	cr_assert_eq(system(command), 0);
	memset(fake.log, 0, sizeof(fake.log));
}

static void left_at(int kind, const char *then)
{
	f.limits = (struct limits)LIMITS_OFF;
	start();
	make(2);
	store_hold(kind);
	cr_assert_eq(update(3).status, STATUS_OK);
	store_wait_held();
	leave();
	fake.end_index = 9;
	start();
	const struct stream_info *s = await(STREAM_ACTIVE);
	check_cover(s);
	cr_expect_eq(stream_open_shards(s), 3);
	cr_expect_eq(s->shards[0].end_index, *then ? 9 : 7, "a seal that the file does not know is made anew, at the end of then");
	cr_assert_eq(split(s->shards[s->n_shards - 1].key.shard, s->shards[s->n_shards - 1].hash_first + 10).status, STATUS_OK);
	await(STREAM_ACTIVE);
	stop();
	cr_expect_eq(strncmp(fake.log, then, strlen(then)), 0, "%s", fake.log);
	fake.end_index = 7;
}

TEST(left_while_the_lane_seals) { left_at(ADMIN_SEAL, "SAW"); }
TEST(left_before_the_lane_has_the_children) { left_at(ADMIN_ADD_SHARDS, ""); }
TEST(left_before_the_switch) { left_at(ADMIN_SWITCH_SHARDS, ""); }

TEST(left_before_the_seal)
{
	start();
	make(1);
	stop();
	f.transition_ms = 3600000;
	start();
	await(STREAM_ACTIVE);
	cr_assert_eq(split(0, 1000).status, STATUS_OK);
	leave();
	f.transition_ms = 1;
	start();
	check_cover(await(STREAM_ACTIVE));
	cr_expect_eq(orders()->n_shards, 3);
	stop();
}

/* ---- Failures ---- */

TEST(the_store_fails_and_is_asked_again)
{
	start();
	make(1);
	store_answer(STATUS_IO);
	cr_assert_eq(split(0, 1000).status, STATUS_OK);
	store_wait_letter('S');
	cr_expect_eq(orders()->status, STREAM_UPDATING);
	store_answer(STATUS_OK);
	check_cover(await(STREAM_ACTIVE));
	cr_expect_eq(orders()->n_shards, 3);
	stop();
}

TEST(the_file_fails_and_puts_are_let_go)
{
	start();
	make(1);
	sql("CREATE TRIGGER full BEFORE INSERT ON shards BEGIN SELECT RAISE(FAIL, 'full'); END");
	cr_assert_eq(split(0, 1000).status, STATUS_OK);
	store_wait_letter('R');
	cr_expect_eq(sql_int("SELECT count(*) FROM shards WHERE closed = 1"), 0, "all of it or nothing");
	cr_expect_eq(sql_int("SELECT count(*) FROM intents"), 2);
	sql("DROP TRIGGER full");
	check_cover(await(STREAM_ACTIVE));
	store_wait_letter('W');
	cr_expect_eq(strncmp(fake.log, "SR", 2), 0);
	stop();
}

TEST(a_damaged_log_keeps_its_shards)
{
	start();
	make(1);
	store_answer(STATUS_CORRUPT);
	cr_assert_eq(split(0, 1000).status, STATUS_OK);
	const struct stream_info *s = await(STREAM_ACTIVE);
	cr_expect(s->n_shards == 1 && !s->shards[0].closed);
	store_answer(STATUS_OK);
	cr_assert_eq(split(0, 1000).status, STATUS_OK);
	s = await(STREAM_ACTIVE);
	cr_expect_eq(s->shards[1].key.shard, 3, "the numbers of what was given up are used up");
	stop();
}

TEST(deleted_while_the_lane_seals)
{
	start();
	make(1);
	store_hold(ADMIN_SEAL);
	cr_assert_eq(split(0, 1000).status, STATUS_OK);
	store_wait_held();
	cr_assert_eq(ask((struct change){.kind = CHANGE_DELETE_STREAM}).status, STATUS_OK);
	/* It may be gone already on a slow machine: what it was to the end is seen below. */
	cr_expect(!orders() || orders()->status == STREAM_DELETING);
	store_release();
	while (orders())
		turn();
	cr_expect_str_eq(fake.log, "S");
	stop();
	cr_expect_eq(sql_int("SELECT (SELECT count(*) FROM intents) + (SELECT count(*) FROM shards)"), 0);
}

/* ---- Expiry, and files of before ---- */

TEST(closed_shards_expire)
{
	clock_vouched = true;
	start();
	make(1);
	split(0, 1000);
	await(STREAM_ACTIVE);
	stop();
	clock_offset_ms = DAY_MS - 60000;
	start();
	cr_expect_eq(await(STREAM_ACTIVE)->n_shards, 3);
	stop();
	clock_offset_ms = DAY_MS + 1000;
	start();
	cr_expect_eq(await(STREAM_ACTIVE)->n_shards, 2);
	cr_expect_eq(orders()->shards[0].parent, 0, "it goes on naming its parent");
	merge(1, 2);
	await(STREAM_ACTIVE);
	stop();
	cr_expect_eq(sql_int("SELECT count(*) FROM shards"), 3);
	clock_offset_ms = 0;
	clock_vouched = false;
}

TEST(a_clock_ahead_for_a_while_expires_no_parent)
{
	start();
	make(1);
	split(0, 1000);
	await(STREAM_ACTIVE);
	stop();
	clock_offset_ms = DAY_MS + 3600000;
	start();
	cr_expect_eq(await(STREAM_ACTIVE)->n_shards, 3);
	stop();
	clock_offset_ms = 0;
	start();
	cr_expect_eq(await(STREAM_ACTIVE)->n_shards, 3, "for good");
	stop();
}

TEST(no_shard_closes_before_what_it_holds)
{
	start();
	make(1);
	fake.last_ms = moved_wall_ms(NULL);
	clock_offset_ms = -2 * DAY_MS;
	split(0, 1000);
	const struct stream_info *s = await(STREAM_ACTIVE);
	cr_expect_eq(s->shards[0].closed_ms, fake.last_ms);
	cr_expect_eq(s->shards[1].opened_ms, fake.last_ms);
	stop();
	clock_offset_ms = 0;
}

TEST(a_file_of_version_2_is_taken_up)
{
	start();
	make(2);
	stop();
	sql("DROP TABLE clock; DROP TABLE clock_marks; UPDATE schema_version SET version = 2");
	clock_offset_ms = 40 * DAY_MS; /* when it was last served is not known */
	start();
	await(STREAM_ACTIVE);
	split(0, 1000);
	cr_expect_eq(await(STREAM_ACTIVE)->n_shards, 4);
	stop();
	clock_offset_ms = 0;
	cr_expect_eq(sql_int("SELECT version FROM schema_version"), CONTROL_SCHEMA_VERSION);
	cr_expect_lt(sql_int("SELECT min(running_ms + ahead_ms) FROM clock, clock_marks"), moved_wall_ms(NULL) + 60000);
}

TEST(a_file_of_version_1_is_taken_up)
{
	start();
	make(3);
	stop();
	sql("ALTER TABLE streams DROP COLUMN next_shard; DROP TABLE intents; DROP TABLE shard_updates; DROP TABLE clock; DROP TABLE "
	    "clock_marks; UPDATE schema_version SET version = "
	    "1");
	start();
	await(STREAM_ACTIVE);
	cr_assert_eq(merge(0, 1).status, STATUS_OK);
	cr_expect_eq(await(STREAM_ACTIVE)->shards[3].key.shard, 3);
	stop();
	cr_expect_eq(sql_int("SELECT version FROM schema_version"), CONTROL_SCHEMA_VERSION);
}
