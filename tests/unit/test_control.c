/* test_control.c: the control thread with a real SQLite file and a store that does as it is told. */
#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "penstock/catalogue.h"
#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "penstock/store.h"

/* ---- The store: notes what it is asked; answers at once, or when the test lets go ---- */

static struct {
	pthread_mutex_t lock;
	pthread_cond_t asked;
	bool hold; /* keep what comes, until store_release */
	enum status answer;
	unsigned count[4]; /* by kind */
	struct store_admin *held[64];
	unsigned n_held;
	/* the last OPEN */
	struct stream_info opened;
	struct shard_info shards[64];
	/* the last RETAIN */
	int64_t horizon_ms;
	uint64_t last_id, last_stream;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .asked = PTHREAD_COND_INITIALIZER};

static void on_admin_mail(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);

	admin->on_done(admin);
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
	fake.count[admin->kind]++;
	fake.last_stream = admin->stream_id;
	fake.last_id = admin->id;
	if (admin->kind == ADMIN_OPEN_STREAM) {
		fake.opened = *admin->stream;
		memcpy(fake.shards, admin->stream->shards, admin->stream->n_shards * sizeof(fake.shards[0]));
	}
	if (admin->kind == ADMIN_RETAIN)
		fake.horizon_ms = admin->horizon_ms;
	admin->status = admin->kind == ADMIN_RETAIN ? STATUS_OK : fake.answer;
	admin->mail.run = on_admin_mail;
	if (fake.hold && admin->kind != ADMIN_RETAIN)
		fake.held[fake.n_held++] = admin;
	else
		outbox_add(from, admin->reply_to, &admin->mail);
	pthread_cond_broadcast(&fake.asked);
	pthread_mutex_unlock(&fake.lock);
}

static void store_wait(int kind, unsigned count)
{
	pthread_mutex_lock(&fake.lock);
	while (fake.count[kind] < count)
		pthread_cond_wait(&fake.asked, &fake.lock);
	pthread_mutex_unlock(&fake.lock);
}

static unsigned store_asked(int kind)
{
	unsigned n;

	pthread_mutex_lock(&fake.lock);
	n = fake.count[kind];
	pthread_mutex_unlock(&fake.lock);
	return n;
}

static void store_hold(bool hold)
{
	pthread_mutex_lock(&fake.lock);
	fake.hold = hold;
	for (unsigned i = 0; !hold && i < fake.n_held; i++)
		mailbox_post(fake.held[i]->reply_to, &fake.held[i]->mail);
	if (!hold)
		fake.n_held = 0;
	pthread_mutex_unlock(&fake.lock);
}

static void store_answer(enum status answer)
{
	pthread_mutex_lock(&fake.lock);
	fake.answer = answer;
	pthread_mutex_unlock(&fake.lock);
}

/* ---- A clock that can be moved ---- */

#define HOUR_MS INT64_C(3600000)

static _Atomic int64_t clock_offset_ms;
static struct io moved;

static int64_t moved_wall_ms(struct io *io)
{
	(void)io;
	return io_wall_ms(io_posix()) + clock_offset_ms;
}

static _Atomic bool clock_vouched;

static int64_t moved_vouched_ms(struct io *io) { return clock_vouched ? moved_wall_ms(io) : -1; }

/* ---- One worker and one client: this thread ---- */

static struct fixture {
	char dir[64];
	struct limits limits;
	uint64_t transition_ms;
	int64_t retention_check_ms;
	bool believe_clock;
	struct control *control;
	struct mailbox box;
	struct outbox outbox;
	struct catalogue *catalogue; /* the worker's present snapshot */
	unsigned published;
	bool answered;
	unsigned published_at_answer;
} f;

static void on_snapshot(void *arg, struct catalogue *snapshot)
{
	(void)arg;
	if (f.catalogue)
		cr_assert_gt(snapshot->version, f.catalogue->version);
	catalogue_unref(f.catalogue);
	f.catalogue = snapshot;
	f.published++;
}

static struct control_config config(void)
{
	moved = *io_posix();
	moved.wall_ms = moved_wall_ms;
	moved.vouched_ms = moved_vouched_ms;
	return (struct control_config){.io = &moved,
				       .data_dir = f.dir,
				       .limits = f.limits,
				       .transition_ms = f.transition_ms,
				       .retention_check_ms = f.retention_check_ms,
				       .clock_grace_ms = 24 * HOUR_MS,
				       .believe_clock = f.believe_clock};
}

static void start(void)
{
	struct control_config c = config();
	struct catalogue_reader reader = {.box = &f.box, .on_snapshot = on_snapshot};
	char *why = NULL;

	cr_assert_eq(mailbox_init(&f.box, true), 0);
	outbox_init(&f.outbox);
	cr_assert_eq(control_open(&c, &f.control, &why), STATUS_OK, "%s", why);
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
	snprintf(f.dir, sizeof(f.dir), "/tmp/penstock-control-XXXXXX");
	cr_assert_not_null(mkdtemp(f.dir));
	f.limits = (struct limits)LIMITS_AWS;
	f.transition_ms = 1;
	f.retention_check_ms = 3600000;
	slog_set_level(SLOG_ERROR);
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", f.dir);
	cr_assert_eq(system(command), 0);
}

static void on_change_done(struct change *change)
{
	(void)change;
	f.answered = true;
	f.published_at_answer = f.published;
}

static void turn(void)
{
	outbox_flush(&f.outbox);
	mailbox_wait(&f.box, -1);
	mailbox_run(&f.box);
}

static struct change ask(struct change change)
{
	change.reply_to = &f.box;
	change.on_done = on_change_done;
	f.answered = false;
	catalogue_change(f.control, &f.outbox, &change);
	while (!f.answered)
		turn();
	return change;
}

static struct change create(const char *name, uint32_t shards)
{
	return ask((struct change){.kind = CHANGE_CREATE_STREAM, .stream = str_of(name), .shards = shards});
}

static struct change delete (const char *name, bool enforce)
{
	return ask((struct change){.kind = CHANGE_DELETE_STREAM, .stream = str_of(name), .enforce_consumer_deletion = enforce});
}

static struct change register_consumer(const char *stream, const char *name)
{
	return ask((struct change){.kind = CHANGE_REGISTER_CONSUMER, .stream = str_of(stream), .consumer = str_of(name)});
}

static struct change deregister(const char *stream, const char *name)
{
	return ask((struct change){.kind = CHANGE_DEREGISTER_CONSUMER, .stream = str_of(stream), .consumer = str_of(name)});
}

static const struct stream_info *stream(const char *name) { return catalogue_stream(f.catalogue, str_of(name)); }

static const struct consumer_info *consumer(const char *of, const char *name)
{
	return stream(of) ? stream_consumer(stream(of), str_of(name)) : NULL;
}

/* Turns until the snapshot says so. */
static const struct stream_info *await(const char *name, enum stream_status status)
{
	while (!f.catalogue || !stream(name) || stream(name)->status != status)
		turn();
	return stream(name);
}

static void await_gone(const char *name)
{
	while (stream(name))
		turn();
}

static const struct consumer_info *await_consumer(const char *of, const char *name, enum consumer_status status)
{
	while (!consumer(of, name) || consumer(of, name)->status != status)
		turn();
	return consumer(of, name);
}

static void make(const char *name, uint32_t shards)
{
	cr_assert_eq(create(name, shards).status, STATUS_OK);
	await(name, STREAM_ACTIVE);
}

#define TEST(name) Test(control, name, .init = setup, .fini = teardown, .timeout = 20)

/* ---- Streams ---- */

TEST(creates_a_stream_with_even_shards)
{
	const struct stream_info *s;
	struct change change;

	store_hold(true);
	start();
	change = create("orders", 3);
	cr_assert_eq(change.status, STATUS_OK);
	cr_assert_eq(change.cause, CAUSE_NONE);
	s = stream("orders");
	cr_assert_eq(s->status, STREAM_CREATING);
	cr_assert_eq(s->n_shards, 0);
	cr_assert_eq(s->shard_target, 3);
	cr_assert_eq(s->retention_hours, 24);
	cr_assert_eq(s->max_record_kib, 1024);
	store_wait(ADMIN_OPEN_STREAM, 1);
	cr_assert_eq(stream("orders")->status, STREAM_CREATING, "not before the store has opened it");
	store_hold(false);
	s = await("orders", STREAM_ACTIVE);
	cr_assert_eq(s->n_shards, 3);
	for (uint32_t i = 0; i < 3; i++) {
		const struct shard_info *shard = stream_shard(s, i);

		cr_assert_eq(shard->key.stream, s->id);
		cr_assert_eq(shard->key.created_s, s->created_ms / 1000 - 2);
		cr_assert(shard->hash_first == hash_uniform_start(i, 3));
		cr_assert(shard->hash_last == (i < 2 ? hash_uniform_start(i + 1, 3) - 1 : ~(uint128)0));
		cr_assert_eq(shard->parent, NO_PARENT);
		cr_assert_eq(shard->adjacent, NO_PARENT);
		cr_assert(!shard->closed);
		cr_assert_eq(fake.shards[i].key.shard, i);
		cr_assert_eq(fake.shards[i].key.created_s, shard->key.created_s);
		cr_assert(fake.shards[i].hash_last == shard->hash_last);
	}
	cr_assert_eq(fake.opened.id, s->id);
	stop();
}

TEST(posts_the_snapshot_before_the_answer)
{
	unsigned before;

	start();
	while (f.published == 0)
		turn();
	before = f.published;
	store_hold(true);
	create("orders", 1);
	cr_assert_geq(f.published_at_answer, before + 1);
	store_hold(false);
	await("orders", STREAM_ACTIVE);
	before = f.published;
	f.limits.consumers = 0;
	register_consumer("orders", "app");
	cr_assert_geq(f.published_at_answer, before + 1);
	stop();
}

TEST(waits_for_the_transition)
{
	uint64_t begun = io_mono_ns(io_posix());

	f.transition_ms = 60;
	start();
	make("orders", 1);
	cr_assert_geq(io_mono_ns(io_posix()) - begun, UINT64_C(60000000));
	begun = io_mono_ns(io_posix());
	delete ("orders", false);
	cr_assert_eq(stream("orders")->status, STREAM_DELETING);
	await_gone("orders");
	cr_assert_geq(io_mono_ns(io_posix()) - begun, UINT64_C(60000000));
	stop();
}

TEST(on_demand_has_four_shards)
{
	start();
	ask((struct change){.kind = CHANGE_CREATE_STREAM, .stream = STR("orders"), .mode = MODE_ON_DEMAND, .max_record_kib = 10240});
	cr_assert_eq(await("orders", STREAM_ACTIVE)->n_shards, 4);
	cr_assert_eq(stream("orders")->mode, MODE_ON_DEMAND);
	cr_assert_eq(stream("orders")->max_record_kib, 10240);
	stop();
}

TEST(a_name_is_taken_until_it_is_gone)
{
	struct change change;

	start();
	make("orders", 1);
	change = create("orders", 1);
	cr_assert_eq(change.status, STATUS_IN_USE);
	cr_assert_eq(change.cause, CAUSE_EXISTS);
	store_hold(true);
	cr_assert_eq(delete ("orders", false).status, STATUS_OK);
	cr_assert_eq(create("orders", 1).cause, CAUSE_EXISTS);
	cr_assert_eq(delete ("orders", false).status, STATUS_OK, "deleting twice does no harm");
	cr_assert_eq(store_asked(ADMIN_CLOSE_STREAM), 1);
	store_hold(false);
	await_gone("orders");
	change = delete ("orders", false);
	cr_assert_eq(change.status, STATUS_NOT_FOUND);
	cr_assert_eq(change.cause, CAUSE_NO_STREAM);
	stop();
}

TEST(a_recreated_stream_is_another_one_in_a_later_second)
{
	int64_t second = 0;
	uint64_t id = 0;

	start();
	for (int i = 0; i < 4; i++) {
		make("orders", 1);
		cr_assert_gt(stream("orders")->id, id);
		cr_assert_gt(stream("orders")->created_ms / 1000, second);
		cr_assert_eq(stream_shard(stream("orders"), 0)->key.created_s, stream("orders")->created_ms / 1000 - 2);
		cr_assert_leq(stream_shard(stream("orders"), 0)->opened_ms, io_wall_ms(io_posix()));
		id = stream("orders")->id;
		second = stream("orders")->created_ms / 1000;
		delete ("orders", false);
		await_gone("orders");
		if (i == 1) {
			stop();
			start();
			while (!f.catalogue)
				turn();
		}
	}
	clock_offset_ms = -100000;
	make("orders", 1);
	cr_assert_eq(stream("orders")->created_ms / 1000, second + 1, "a clock that was set back does not matter");
	clock_offset_ms = 0;
	stop();
}

TEST(a_stream_can_be_deleted_while_it_is_created)
{
	store_hold(true);
	start();
	create("orders", 1);
	store_wait(ADMIN_OPEN_STREAM, 1);
	cr_assert_eq(delete ("orders", false).status, STATUS_OK);
	cr_assert_eq(stream("orders")->status, STREAM_DELETING);
	cr_assert_eq(stream("orders")->n_shards, 0);
	cr_assert_eq(store_asked(ADMIN_CLOSE_STREAM), 0, "closing waits for the opening");
	store_hold(false);
	await_gone("orders");
	cr_assert_eq(store_asked(ADMIN_CLOSE_STREAM), 1);
	make("orders", 2);
	stop();
}

TEST(a_stream_can_be_deleted_before_it_is_opened)
{
	f.transition_ms = 30;
	start();
	create("orders", 1);
	cr_assert_eq(delete ("orders", false).status, STATUS_OK);
	store_answer(STATUS_NOT_FOUND);
	await_gone("orders");
	cr_assert_eq(store_asked(ADMIN_OPEN_STREAM), 0);
	stop();
}

TEST(counts_the_shards_of_all_streams)
{
	struct change change;

	f.limits.shards = 5;
	start();
	make("a", 2);
	store_hold(true);
	create("b", 2);
	change = create("c", 2);
	cr_assert_eq(change.status, STATUS_LIMIT_EXCEEDED);
	cr_assert_eq(change.cause, CAUSE_SHARD_LIMIT);
	cr_assert_eq(change.have, 4);
	cr_assert_eq(change.limit, 5);
	cr_assert_eq(change.would, 2);
	cr_assert_eq(create("a", 9).cause, CAUSE_EXISTS, "the name comes first");
	cr_assert_eq(create("c", 1).status, STATUS_OK);
	store_hold(false);
	await("c", STREAM_ACTIVE);
	stop();
}

TEST(bounds_the_streams_that_change_at_once)
{
	struct change change;

	f.limits.changing_streams = 2;
	start();
	make("a", 1);
	store_hold(true);
	delete ("a", false);
	create("b", 1);
	change = create("c", 1);
	cr_assert_eq(change.status, STATUS_LIMIT_EXCEEDED);
	cr_assert_eq(change.cause, CAUSE_CHANGING_LIMIT);
	cr_assert_eq(change.limit, 2);
	store_hold(false);
	await_gone("a");
	await("b", STREAM_ACTIVE);
	cr_assert_eq(create("c", 1).status, STATUS_OK);
	stop();
}

TEST(without_limits_nothing_is_bounded)
{
	char name[16];

	f.limits = (struct limits)LIMITS_OFF;
	store_hold(true);
	start();
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		cr_assert_eq(create(name, 40).status, STATUS_OK);
	}
	store_hold(false);
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "s%d", i);
		cr_assert_eq(await(name, STREAM_ACTIVE)->n_shards, 40);
	}
	for (uint32_t i = 1; i < f.catalogue->n_streams; i++)
		cr_assert_lt(strcmp(f.catalogue->streams[i - 1].name, f.catalogue->streams[i].name), 0, "by name");
	stop();
}

TEST(tries_again_when_the_store_cannot)
{
	store_answer(STATUS_DISK_FULL);
	start();
	create("orders", 1);
	store_wait(ADMIN_OPEN_STREAM, 1);
	store_answer(STATUS_OK);
	await("orders", STREAM_ACTIVE);
	cr_assert_eq(store_asked(ADMIN_OPEN_STREAM), 2);
	stop();
}

/* ---- Consumers ---- */

TEST(registers_and_deregisters_a_consumer)
{
	struct change change;

	start();
	make("orders", 1);
	change = register_consumer("orders", "app");
	cr_assert_eq(change.status, STATUS_OK);
	cr_assert_eq(change.registered.status, CONSUMER_CREATING);
	cr_assert_str_eq(change.registered.name, "app");
	cr_assert_eq(change.registered.created_s, change.registered.created_ms / 1000);
	cr_assert_eq(await_consumer("orders", "app", CONSUMER_ACTIVE)->id, change.registered.id);
	cr_assert_eq(consumer("orders", "app")->created_s, change.registered.created_s);
	store_hold(true);
	cr_assert_eq(deregister("orders", "app").status, STATUS_OK);
	cr_assert_eq(consumer("orders", "app")->status, CONSUMER_DELETING);
	store_wait(ADMIN_DROP_CONSUMER, 1);
	cr_assert_eq(fake.last_id, change.registered.id);
	cr_assert_eq(fake.last_stream, stream("orders")->id);
	cr_assert_eq(deregister("orders", "app").status, STATUS_OK);
	cr_assert_eq(register_consumer("orders", "app").cause, CAUSE_EXISTS);
	store_hold(false);
	while (consumer("orders", "app"))
		turn();
	cr_assert_eq(deregister("orders", "app").cause, CAUSE_NO_CONSUMER);
	cr_assert_eq(deregister("nothing", "app").cause, CAUSE_NO_STREAM);
	stop();
}

TEST(a_consumer_of_the_same_name_gets_another_arn)
{
	struct change first, second;

	start();
	make("orders", 1);
	first = register_consumer("orders", "app");
	await_consumer("orders", "app", CONSUMER_ACTIVE);
	deregister("orders", "app");
	while (consumer("orders", "app"))
		turn();
	second = register_consumer("orders", "app");
	cr_assert_gt(second.registered.created_s, first.registered.created_s);
	cr_assert_gt(second.registered.id, first.registered.id);
	stop();
}

TEST(without_transition_a_consumer_is_active_at_once)
{
	f.transition_ms = 0;
	start();
	make("orders", 1);
	cr_assert_eq(register_consumer("orders", "app").registered.status, CONSUMER_ACTIVE);
	cr_assert_eq(consumer("orders", "app")->status, CONSUMER_ACTIVE);
	stop();
}

TEST(refuses_consumers_by_the_rules_in_order)
{
	struct change change;

	f.limits.consumers = 2;
	start();
	cr_assert_eq(register_consumer("orders", "app").cause, CAUSE_NO_STREAM);
	store_hold(true);
	create("orders", 1);
	change = register_consumer("orders", "app");
	cr_assert_eq(change.status, STATUS_IN_USE);
	cr_assert_eq(change.cause, CAUSE_NOT_ACTIVE);
	store_hold(false);
	await("orders", STREAM_ACTIVE);
	register_consumer("orders", "a");
	register_consumer("orders", "b");
	change = register_consumer("orders", "a");
	cr_assert_eq(change.status, STATUS_IN_USE);
	cr_assert_eq(change.cause, CAUSE_EXISTS);
	change = register_consumer("orders", "c");
	cr_assert_eq(change.status, STATUS_LIMIT_EXCEEDED);
	cr_assert_eq(change.cause, CAUSE_CONSUMER_LIMIT);
	cr_assert_eq(change.limit, 2);
	stop();
}

TEST(at_most_five_consumers_are_creating)
{
	char name[2] = "a";
	struct change change;

	start();
	make("orders", 1);
	stop();
	f.transition_ms = 3600000;
	start();
	await("orders", STREAM_ACTIVE);
	for (; name[0] < 'f'; name[0]++)
		cr_assert_eq(register_consumer("orders", name).status, STATUS_OK);
	change = register_consumer("orders", name);
	cr_assert_eq(change.cause, CAUSE_CREATING_LIMIT);
	cr_assert_eq(change.limit, 5);
	cr_assert_eq(deregister("orders", "a").status, STATUS_OK, "one that is CREATING can go");
	cr_assert_eq(register_consumer("orders", name).status, STATUS_OK);
	stop();
}

TEST(consumers_keep_a_stream_unless_enforced)
{
	struct change change;

	start();
	make("orders", 1);
	register_consumer("orders", "app");
	change = delete ("orders", false);
	cr_assert_eq(change.status, STATUS_IN_USE);
	cr_assert_eq(change.cause, CAUSE_HAS_CONSUMERS);
	cr_assert_eq(stream("orders")->status, STREAM_ACTIVE);
	store_hold(true);
	cr_assert_eq(delete ("orders", true).status, STATUS_OK);
	cr_assert_eq(consumer("orders", "app")->status, CONSUMER_DELETING);
	cr_assert_eq(register_consumer("orders", "new").cause, CAUSE_NOT_ACTIVE);
	store_hold(false);
	await_gone("orders");
	make("orders", 1);
	cr_assert_eq(stream("orders")->n_consumers, 0);
	stop();
}

TEST(a_consumer_on_its_way_out_does_not_keep_a_stream)
{
	start();
	make("orders", 1);
	register_consumer("orders", "app");
	store_hold(true);
	deregister("orders", "app");
	cr_assert_eq(delete ("orders", false).status, STATUS_OK);
	store_hold(false);
	await_gone("orders");
	stop();
}

/* ---- Over a restart ---- */

TEST(everything_is_there_after_a_restart)
{
	struct stream_info before;
	struct consumer_info app;

	start();
	make("orders", 4);
	register_consumer("orders", "app");
	app = *await_consumer("orders", "app", CONSUMER_ACTIVE);
	before = *stream("orders");
	stop();
	start();
	await("orders", STREAM_ACTIVE);
	cr_assert_eq(stream("orders")->id, before.id);
	cr_assert_eq(stream("orders")->created_ms, before.created_ms);
	cr_assert_eq(stream("orders")->n_shards, 4);
	cr_assert(stream("orders")->shards[3].hash_last == ~(uint128)0);
	cr_assert_eq(consumer("orders", "app")->id, app.id);
	cr_assert_eq(consumer("orders", "app")->created_s, app.created_s);
	cr_assert_eq(store_asked(ADMIN_OPEN_STREAM), 1, "an ACTIVE stream is recovered by the store, not opened");
	stop();
}

TEST(creating_and_deleting_go_on_after_a_restart)
{
	start();
	make("going", 1);
	make("orders", 1);
	stop();
	f.transition_ms = 3600000;
	start();
	await("orders", STREAM_ACTIVE);
	create("coming", 2);
	delete ("going", false);
	register_consumer("orders", "app");
	stop();
	f.transition_ms = 1;
	start();
	cr_assert_eq(await("coming", STREAM_ACTIVE)->n_shards, 2);
	await_gone("going");
	await_consumer("orders", "app", CONSUMER_ACTIVE);
	f.transition_ms = 3600000;
	stop();
	start();
	await("orders", STREAM_ACTIVE);
	deregister("orders", "app");
	stop();
	f.transition_ms = 1;
	start();
	await("orders", STREAM_ACTIVE);
	while (consumer("orders", "app"))
		turn();
	stop();
}

static void *let_go(void *arg)
{
	(void)arg;
	usleep(50000);
	store_hold(false);
	return NULL;
}

TEST(stopping_waits_for_the_store)
{
	pthread_t thread;

	store_hold(true);
	start();
	create("orders", 1);
	store_wait(ADMIN_OPEN_STREAM, 1);
	cr_assert_eq(pthread_create(&thread, NULL, let_go, NULL), 0);
	stop();
	cr_assert_eq(fake.n_held, 0);
	pthread_join(thread, NULL);
	start();
	await("orders", STREAM_ACTIVE);
	stop();
}

TEST(secrets_are_made_once)
{
	struct control_config c = config();
	uint8_t first[32], again[32], other[32];
	struct control *control;
	char *why;

	cr_assert_eq(control_open(&c, &control, &why), STATUS_OK);
	cr_assert_eq(control_secret(control, "iterators", first), STATUS_OK);
	cr_assert_eq(control_secret(control, "pages", other), STATUS_OK);
	control_free(control);
	cr_assert_eq(control_open(&c, &control, &why), STATUS_OK);
	cr_assert_eq(control_secret(control, "iterators", again), STATUS_OK);
	cr_assert_eq(memcmp(first, again, 32), 0);
	cr_assert_neq(memcmp(first, other, 32), 0);
	control_free(control);
}

/* ---- Retention ---- */

TEST(tells_the_lanes_what_has_passed_retention)
{
	int64_t now_ms = io_wall_ms(io_posix());

	f.retention_check_ms = 5;
	start();
	make("orders", 1);
	store_wait(ADMIN_RETAIN, 2);
	cr_assert_eq(fake.last_id, stream("orders")->id);
	stop();
	cr_assert_geq(fake.horizon_ms, now_ms - 24 * 3600000);
	cr_assert_leq(fake.horizon_ms, io_wall_ms(io_posix()) - 24 * 3600000);
}

static int64_t told_horizon(void)
{
	int64_t horizon_ms;

	store_wait(ADMIN_RETAIN, store_asked(ADMIN_RETAIN) + 2);
	pthread_mutex_lock(&fake.lock);
	horizon_ms = fake.horizon_ms;
	pthread_mutex_unlock(&fake.lock);
	return horizon_ms;
}

static int64_t true_horizon(void) { return io_wall_ms(io_posix()) - 24 * HOUR_MS; }

static void begin_retention(void)
{
	f.retention_check_ms = 5;
	start();
	make("orders", 1);
	slog_set_level(SLOG_ERROR);
}

/* Stops and starts with the clock so far off. */
static void start_again(int64_t offset_ms)
{
	stop();
	clock_offset_ms = offset_ms;
	start();
}

static void end_retention(void)
{
	stop();
	clock_offset_ms = 0;
	clock_vouched = f.believe_clock = false;
}

TEST(a_clock_that_leaps_does_not_delete)
{
	begin_retention();
	clock_offset_ms = 48 * HOUR_MS;
	cr_assert_leq(told_horizon(), true_horizon());
	cr_assert_geq(metric_get(METRIC_clock_doubt_ms), 47 * HOUR_MS);
	clock_offset_ms = -2 * HOUR_MS;
	cr_assert_leq(told_horizon(), true_horizon() - HOUR_MS, "set back, it is followed");
	clock_offset_ms = 0;
	cr_assert_leq(told_horizon(), true_horizon() - HOUR_MS, "what was stamped meanwhile is younger than it says");
	end_retention();
	cr_assert_eq(metric_get(METRIC_clock_doubt_ms), 0);
}

TEST(a_clock_ahead_at_a_start_does_not_delete)
{
	begin_retention();
	start_again(48 * HOUR_MS);
	cr_assert_leq(told_horizon(), true_horizon());
	clock_offset_ms = 0;
	cr_assert_leq(told_horizon(), true_horizon());
	cr_assert_geq(told_horizon(), true_horizon() - 10000, "it is as if nothing had been");
	end_retention();
}

TEST(after_a_time_off_the_kernel_or_an_operator_is_believed)
{
	clock_vouched = true;
	begin_retention();
	told_horizon();
	clock_vouched = false;
	start_again(48 * HOUR_MS);
	cr_assert_leq(told_horizon(), true_horizon());
	clock_vouched = true;
	cr_assert_geq(told_horizon(), true_horizon() + 47 * HOUR_MS, "the kernel");
	clock_vouched = false;
	start_again(96 * HOUR_MS);
	cr_assert_leq(told_horizon(), true_horizon() + 48 * HOUR_MS);
	f.believe_clock = true;
	start_again(96 * HOUR_MS);
	cr_assert_geq(told_horizon(), true_horizon() + 95 * HOUR_MS, "the operator");
	end_retention();
}

/* A machine without a clock of its own: it runs behind until the network tells the time. */
TEST(what_was_stamped_by_a_clock_behind_keeps_its_time)
{
	begin_retention();
	told_horizon();
	clock_offset_ms = 50 * HOUR_MS;
	clock_vouched = true;
	cr_assert_leq(told_horizon(), true_horizon());
	clock_vouched = false;
	start_again(50 * HOUR_MS);
	clock_vouched = true;
	cr_assert_leq(told_horizon(), true_horizon(), "also after a restart");
	end_retention();
}

/* ---- What can be wrong with the file ---- */

static void path_of(char out[128], const char *name) { snprintf(out, 128, "%s/%s", f.dir, name); }

static void expect_refusal(enum status status, const char *words)
{
	struct control_config c = config();
	struct control *control = NULL;
	char *why = NULL;

	cr_assert_eq(control_open(&c, &control, &why), status, "%s", why);
	cr_assert_null(control);
	cr_assert_not_null(why);
	cr_assert_not_null(strstr(why, words), "%s", why);
	cr_assert_not_null(strstr(why, f.dir), "%s", why);
	free(why);
}

static void sql(const char *text)
{
	char path[128];
	sqlite3 *db;

	path_of(path, "catalogue.db");
	cr_assert_eq(sqlite3_open(path, &db), SQLITE_OK);
	cr_assert_eq(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

static void make_and_stop(void)
{
	start();
	make("orders", 1);
	stop();
}

TEST(the_directory_is_made)
{
	struct control_config c = config();
	char path[128], deeper[160];
	struct control *control;
	struct stat st;
	char *why = NULL;

	path_of(path, "data");
	c.data_dir = path;
	cr_assert_eq(control_open(&c, &control, &why), STATUS_OK);
	control_free(control);
	path_of(path, "data/catalogue.db");
	cr_assert_eq(stat(path, &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600, "it holds secrets");
	snprintf(deeper, sizeof(deeper), "%s/no/such", f.dir);
	c.data_dir = deeper;
	cr_assert_eq(control_open(&c, &control, &why), STATUS_IO);
	cr_assert_not_null(strstr(why, "make the directory above it first"), "%s", why);
	free(why);
}

TEST(two_servers_do_not_share_a_directory)
{
	start();
	expect_refusal(STATUS_IN_USE, "another server (process ");
	stop();
	start();
	stop();
}

TEST(a_file_that_is_no_catalogue_is_left_alone)
{
	char path[128], text[32] = "";
	FILE *file;

	path_of(path, "catalogue.db");
	file = fopen(path, "w");
	fputs("these are not the bytes of SQLite, and someone may want them back", file);
	fclose(file);
	expect_refusal(STATUS_CORRUPT, "no SQLite file");
	file = fopen(path, "r");
	cr_assert_eq(fread(text, 1, 31, file), 31);
	fclose(file);
	cr_assert_str_eq(text, "these are not the bytes of SQLi");
}

TEST(another_programs_database_is_left_alone)
{
	sql("CREATE TABLE theirs (x); PRAGMA application_id = 42");
	expect_refusal(STATUS_CORRUPT, "another program");
	sql("SELECT * FROM theirs");
}

TEST(a_newer_version_is_left_alone)
{
	make_and_stop();
	sql("UPDATE schema_version SET version = 7");
	expect_refusal(STATUS_CORRUPT, "version 7");
	sql("UPDATE schema_version SET version = 3");
	start();
	await("orders", STREAM_ACTIVE);
	stop();
}

TEST(damage_is_found_at_start)
{
	char path[128], noise[4096];
	struct stat st;
	int fd;

	make_and_stop();
	path_of(path, "catalogue.db");
	fd = open(path, O_RDWR);
	cr_assert_geq(fd, 0);
	cr_assert_eq(fstat(fd, &st), 0);
	memset(noise, 0xa5, sizeof(noise));
	for (off_t at = 4096; at < st.st_size; at += 4096)
		cr_assert_eq(pwrite(fd, noise, sizeof(noise), at), 4096);
	close(fd);
	expect_refusal(STATUS_CORRUPT, "damaged");
}

TEST(a_missing_table_is_damage)
{
	make_and_stop();
	sql("DROP TABLE consumers");
	expect_refusal(STATUS_CORRUPT, "no such table");
}

TEST(a_lost_catalogue_is_not_made_anew_over_records)
{
	char path[128];

	make_and_stop();
	path_of(path, "streams");
	cr_assert_eq(mkdir(path, 0700), 0);
	path_of(path, "streams/1");
	cr_assert_eq(mkdir(path, 0700), 0);
	path_of(path, "catalogue.db");
	cr_assert_eq(unlink(path), 0);
	expect_refusal(STATUS_CORRUPT, "is missing");
	cr_assert_neq(access(path, F_OK), 0);
	cr_assert_eq(close(open(path, O_CREAT | O_WRONLY, 0600)), 0);
	expect_refusal(STATUS_CORRUPT, "is empty");
}

TEST(a_catalogue_that_cannot_be_written_says_fault)
{
	struct change change;

	start();
	make("orders", 1);
	sql("ALTER TABLE stream_seconds RENAME TO hidden");
	change = create("more", 1);
	cr_assert_eq(change.status, STATUS_INTERNAL);
	cr_assert_eq(change.cause, CAUSE_FAULT);
	cr_assert_null(stream("more"));
	sql("ALTER TABLE hidden RENAME TO stream_seconds");
	make("more", 1);
	stop();
}
