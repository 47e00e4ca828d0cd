/* test_control_prune.c: rows whose purpose has passed leave the catalogue. The control thread's
 * code is stepped on the test's thread, with a real SQLite file, a store that answers at once, and
 * clocks that stand still until a test moves them. */
#include <criterion/criterion.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "penstock/slog.h"
#include "shardstore/control.h"

#define ROUND_MS 10000
#define HOUR_MS INT64_C(3600000)

static struct fixture {
	char dir[64];
	struct control *control;
	struct mailbox box;
	struct outbox outbox;
	bool answered;
	int64_t clock_grace_ms;
	int64_t wall_ms;
	uint64_t mono_ns;
} f;

/* ---- The store and the clocks ---- */

static void on_admin_mail(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	admin->on_done(admin);
}

bool store_has_room(struct store *store) { return (void)store, true; }

void store_admin(struct store *store, struct outbox *from, struct store_admin *admin)
{
	(void)store;
	admin->status = STATUS_OK;
	admin->mail.run = on_admin_mail;
	outbox_add(from, admin->reply_to, &admin->mail);
}

static int64_t wall_ms(struct io *io)
{
	(void)io;
	return f.wall_ms;
}

static uint64_t mono_ns(struct io *io)
{
	(void)io;
	return f.mono_ns;
}

static int64_t not_vouched_ms(struct io *io)
{
	(void)io;
	return -1;
}

static void on_snapshot(void *arg, struct catalogue *snapshot)
{
	(void)arg;
	catalogue_unref(snapshot);
}

/* ---- Control, stepped ---- */

static void start(void)
{
	static struct io io;
	struct control_config config = {.io = &io,
					.data_dir = f.dir,
					.limits = LIMITS_OFF,
					.retention_check_ms = ROUND_MS,
					.stepped = true,
					.clock_grace_ms = f.clock_grace_ms};
	struct catalogue_reader reader = {.box = &f.box, .on_snapshot = on_snapshot};
	char *why = NULL;
	io = *io_posix();
	io.wall_ms = wall_ms;
	io.mono_ns = io.boot_ns = mono_ns;
	io.vouched_ms = not_vouched_ms;
	cr_assert_eq(mailbox_init(&f.box, false), 0);
	outbox_init(&f.outbox);
	cr_assert_eq(control_open(&config, &f.control, &why), STATUS_OK, "%s", why);
	cr_assert_eq(control_start(f.control, NULL, &reader, 1), STATUS_OK);
}

/* Everything that is due now. */
static void settle(void)
{
	uint64_t due_ns;
	outbox_flush(&f.outbox);
	do {
		control_turn(f.control, &due_ns);
		mailbox_run(&f.box);
	} while (control_pending(f.control) || due_ns <= f.mono_ns);
}

static void stop(void)
{
	uint64_t due_ns;
	control_stop(f.control);
	while (control_turn(f.control, &due_ns))
		mailbox_run(&f.box);
	mailbox_run(&f.box);
	control_free(f.control);
	mailbox_fini(&f.box);
}

static void pass(int64_t ms)
{
	f.wall_ms += ms;
	f.mono_ns += (uint64_t)ms * 1000000;
}

/* As many rounds, one after the other. */
static void rounds(int n)
{
	for (int i = 0; i < n; i++) {
		settle();
		pass(ROUND_MS);
	}
	settle();
}

static void on_change_done(struct change *change)
{
	(void)change;
	f.answered = true;
}

static struct change ask(enum change_kind kind, const char *stream, const char *consumer)
{
	struct change change = {.kind = kind, .stream = str_of(stream), .consumer = str_of(consumer), .shards = 1};
	change.reply_to = &f.box;
	change.on_done = on_change_done;
	f.answered = false;
	catalogue_change(f.control, &f.outbox, &change);
	settle();
	cr_assert(f.answered);
	return change;
}

static void create(const char *stream) { cr_assert_eq(ask(CHANGE_CREATE_STREAM, stream, "").status, STATUS_OK); }

static void drop(const char *stream) { cr_assert_eq(ask(CHANGE_DELETE_STREAM, stream, "").status, STATUS_OK); }

static struct consumer_info enlist(const char *stream, const char *consumer)
{
	struct change change = ask(CHANGE_REGISTER_CONSUMER, stream, consumer);
	cr_assert_eq(change.status, STATUS_OK);
	return change.registered;
}

static void dismiss(const char *stream, const char *consumer)
{
	cr_assert_eq(ask(CHANGE_DEREGISTER_CONSUMER, stream, consumer).status, STATUS_OK);
}

static void sql(const char *text)
{
	char *error = NULL;
	cr_assert_eq(sqlite3_exec(f.control->db.sqlite, text, NULL, NULL, &error), SQLITE_OK, "%s", error);
}

static int64_t sql_int(const char *text)
{
	sqlite3_stmt *row;
	cr_assert_eq(sqlite3_prepare_v2(f.control->db.sqlite, text, -1, &row, NULL), SQLITE_OK);
	cr_assert_eq(sqlite3_step(row), SQLITE_ROW);
	int64_t value = sqlite3_column_int64(row, 0);
	sqlite3_finalize(row);
	return value;
}

#define STREAMS "SELECT count(*) FROM stream_seconds"
#define CONSUMERS "SELECT count(*) FROM consumer_seconds"
#define UPDATES "SELECT count(*) FROM shard_updates"

static void setup(void)
{
	snprintf(f.dir, sizeof(f.dir), "/tmp/penstock-prune-XXXXXX");
	cr_assert_not_null(mkdtemp(f.dir));
	f.wall_ms = INT64_C(1800000000000);
	f.mono_ns = UINT64_C(1000000000);
	slog_set_level(SLOG_ERROR);
	start();
}

static void teardown(void)
{
	char command[128];
	stop();
	snprintf(command, sizeof(command), "rm -rf %s", f.dir);
	cr_assert_eq(system(command), 0);
}

#define TEST(name) Test(control_prune, name, .init = setup, .fini = teardown, .timeout = 20)

/* ---- Names ---- */

TEST(a_streams_name_goes_a_day_after_the_stream)
{
	create("kept");
	create("gone");
	drop("gone");
	for (int hour = 0; hour < 23; hour++) {
		pass(HOUR_MS);
		rounds(2);
	}
	cr_expect_eq(sql_int(STREAMS), 2, "its second rises over deletion for a day at least");
	pass(HOUR_MS);
	rounds(3);
	pass(HOUR_MS);
	rounds(3);
	cr_expect_eq(sql_int(STREAMS), 1);
	cr_expect_eq(sql_int("SELECT count(*) FROM stream_seconds WHERE name = 'kept'"), 1);
}

TEST(a_consumers_name_goes_a_day_after_the_consumer)
{
	create("a");
	create("b");
	enlist("a", "kept");
	enlist("b", "kept");
	enlist("a", "gone");
	dismiss("a", "gone");
	enlist("b", "gone");
	dismiss("b", "gone");
	pass(HOUR_MS);
	rounds(3);
	cr_expect_eq(sql_int(CONSUMERS), 4);
	for (int hour = 0; hour < 25; hour++) {
		pass(HOUR_MS);
		rounds(3);
	}
	cr_expect_eq(sql_int(CONSUMERS), 2);
	cr_expect_eq(sql_int("SELECT count(*) FROM consumer_seconds WHERE name = 'kept'"), 2);
}

/* A clock that is wrong: the name's second is far ahead. The row is the only reason why a creation does not repeat it. */
TEST(a_second_ahead_of_the_clock_stays)
{
	create("s");
	enlist("s", "c");
	dismiss("s", "c");
	f.wall_ms += 50 * HOUR_MS;
	create("t");
	struct consumer_info before = enlist("s", "c");
	drop("t");
	dismiss("s", "c");
	f.wall_ms -= 50 * HOUR_MS;
	for (int hour = 0; hour < 30; hour++) {
		pass(HOUR_MS);
		rounds(2);
	}
	cr_expect_eq(sql_int(CONSUMERS), 1);
	cr_expect_eq(sql_int("SELECT count(*) FROM stream_seconds WHERE name = 't'"), 1);
	cr_expect_gt(enlist("s", "c").created_s, before.created_s, "an ARN is never given twice");
}

/* A wall clock that leaps ahead prunes nothing before it is believed. */
TEST(a_leap_of_the_clock_takes_no_name)
{
	stop();
	f.clock_grace_ms = 24 * HOUR_MS;
	start();
	create("gone");
	drop("gone");
	f.wall_ms += 720 * HOUR_MS;
	rounds(4);
	cr_expect_eq(sql_int(STREAMS), 1);
}

/* The row has gone, and then the clock falls behind what the row had. */
TEST(a_second_whose_row_went_is_not_given_again)
{
	create("s");
	struct consumer_info before = enlist("s", "c");
	dismiss("s", "c");
	for (int hour = 0; hour < 26; hour++) {
		pass(HOUR_MS);
		rounds(3);
	}
	cr_assert_eq(sql_int(CONSUMERS), 0);
	f.wall_ms -= 60 * HOUR_MS;
	cr_expect_gt(enlist("s", "c").created_s, before.created_s, "an ARN is never given twice");
}

/* ---- Bounds ---- */

TEST(a_pass_is_bounded_and_a_full_table_hurries)
{
	create("kept");
	sql("INSERT INTO stream_seconds WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 9999)"
	    " SELECT printf('n%05d', i), 1700000000 FROM n");
	rounds(1);
	cr_expect_geq(sql_int(STREAMS), 10001 - 2 * CONTROL_PRUNE_SLICE, "at once no more than a slice each time");
	for (int i = 0; i < 45; i++) {
		pass(50);
		settle();
	}
	cr_expect_eq(sql_int(STREAMS), 1, "10,000 rows are 40 slices, 50 ms apart");
	cr_expect_eq(sql_int("SELECT count(*) FROM stream_seconds WHERE name = 'kept'"), 1);
}

TEST(rows_that_stay_do_not_hide_those_behind_them)
{
	sql("INSERT INTO stream_seconds WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
	    " SELECT printf('n%05d', i), CASE WHEN i = 999 THEN 1700000000 ELSE 1900000000 END FROM n");
	create("s");
	sql("INSERT INTO consumer_seconds WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
	    " SELECT id, printf('n%05d', i), CASE WHEN i = 999 THEN 1700000000 ELSE 1900000000 END FROM n, streams");
	rounds(6);
	cr_expect_eq(sql_int("SELECT count(*) FROM stream_seconds WHERE last_s = 1700000000"), 0);
	cr_expect_eq(sql_int("SELECT count(*) FROM consumer_seconds WHERE last_s = 1700000000"), 0);
	cr_expect_eq(sql_int(CONSUMERS), 999);
}

TEST(updates_of_days_before_go_also_from_streams_that_are_never_updated_again)
{
	create("s");
	sql("INSERT INTO shard_updates WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 999)"
	    " SELECT id, CASE WHEN i % 2 THEN 1800000000000 ELSE 1700000000000 END FROM n, streams");
	rounds(6);
	cr_expect_eq(sql_int(UPDATES), 500);
	for (int hour = 0; hour < 25; hour++) {
		pass(HOUR_MS);
		rounds(3);
	}
	rounds(6);
	cr_expect_eq(sql_int(UPDATES), 0);
}
