/* test_control_full.c: the catalogue on a full disk: nothing that needs room begins, and every stream can be deleted. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/catalogue.h"
#include "penstock/slog.h"
#include "penstock/store.h"
#include "tests/sim/disk.h"
#include "tests/sim/disk_vfs.h"

#define STREAMS 40
#define RESERVE (UINT64_C(1) << 20)

static struct sim_disk *disk;
static struct control *control;
static struct mailbox box;
static struct outbox outbox;
static bool has_room;

/* ---- A store that does at once what it is asked ---- */

bool store_has_room(struct store *store)
{
	(void)store;
	return has_room;
}

static void on_admin_mail(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);
	admin->on_done(admin);
}

void store_admin(struct store *store, struct outbox *from, struct store_admin *admin)
{
	(void)store;
	admin->status = STATUS_OK;
	admin->mail.run = on_admin_mail;
	outbox_add(from, admin->reply_to, &admin->mail);
}

/* ---- One client ---- */

static void on_done(struct change *change) { (void)change; }

static void turn(void)
{
	uint64_t due_ns;
	for (int i = 0; i < 10; i++) {
		control_turn(control, &due_ns);
		mailbox_run(&box);
		sim_disk_advance(disk, UINT64_C(2000000000));
	}
}

static struct change ask(int kind, unsigned n)
{
	char name[16];
	snprintf(name, sizeof(name), "s%u", n);
	struct change change = {
		.kind = kind, .stream = str_of(name), .shards = 1, .consumer = STR("c"), .reply_to = &box, .on_done = on_done};
	catalogue_change(control, &outbox, &change);
	outbox_flush(&outbox);
	turn();
	return change;
}

static void start(uint64_t reserve)
{
	struct control_config config = {.io = sim_disk_io(disk),
					.data_dir = "data",
					.limits = LIMITS_OFF,
					.transition_ms = 1,
					.reserve_bytes = reserve,
					.stepped = true,
					.vfs = SIM_VFS};
	struct catalogue_reader none;
	char *why = NULL;
	cr_assert_eq(control_open(&config, &control, &why), STATUS_OK, "%s", why);
	cr_assert_eq(control_start(control, NULL, &none, 0), STATUS_OK);
}

static void end(void)
{
	uint64_t due_ns;
	control_stop(control);
	while (control_turn(control, &due_ns))
		;
	control_free(control);
	mailbox_run(&box);
}

static void up(void)
{
	slog_set_level(SLOG_ERROR);
	disk = sim_disk_new(1);
	sim_vfs_register(disk, 1, NULL, NULL);
	struct io *io = sim_disk_io(disk);
	cr_assert_eq(io->mkdir(io, "data"), 0);
	mailbox_init(&box, false);
	outbox_init(&outbox);
	has_room = true;
}

static void down(void)
{
	mailbox_fini(&box);
	sim_vfs_unregister();
	sim_disk_free(disk);
}

static int64_t reserve_size(void) { return sim_disk_file_size(disk, "data/reserve"); }

static void make_streams(void)
{
	for (unsigned i = 0; i < STREAMS; i++)
		cr_assert_eq(ask(CHANGE_CREATE_STREAM, i).status, STATUS_OK);
}

/* How many of all streams can be deleted. */
static unsigned delete_streams(void)
{
	unsigned n = 0;
	for (unsigned i = 0; i < STREAMS; i++)
		n += ask(CHANGE_DELETE_STREAM, i).status == STATUS_OK;
	return n;
}

TestSuite(control_full, .init = up, .fini = down, .timeout = 60);

Test(control_full, every_stream_can_be_deleted)
{
	start(RESERVE);
	cr_assert_eq(reserve_size(), (int64_t)RESERVE);
	make_streams();
	sim_disk_set_capacity(disk, sim_disk_used(disk));
	has_room = false;
	cr_assert_eq(delete_streams(), STREAMS);
	cr_assert_eq(reserve_size(), 0);
	struct catalogue *snapshot = control_snapshot(control);
	cr_assert_eq(snapshot->n_streams, 0, "the transitions end, too");
	catalogue_unref(snapshot);
	/* The next time is served as well. */
	sim_disk_set_capacity(disk, 0);
	has_room = true;
	turn();
	cr_assert_eq(reserve_size(), (int64_t)RESERVE);
	end();
}

Test(control_full, without_a_reserve_some_cannot)
{
	start(0);
	make_streams();
	sim_disk_set_capacity(disk, sim_disk_used(disk));
	cr_assert_lt(delete_streams(), STREAMS, "else the test above tests nothing");
	sim_disk_set_capacity(disk, 0);
	end();
}

Test(control_full, a_start_on_a_full_disk_uses_the_reserve)
{
	start(RESERVE);
	make_streams();
	end();
	sim_disk_set_capacity(disk, sim_disk_used(disk));
	has_room = false;
	start(RESERVE);
	cr_assert_eq(delete_streams(), STREAMS);
	end();
}

Test(control_full, below_the_floor_nothing_begins_that_needs_room)
{
	start(RESERVE);
	cr_assert_eq(ask(CHANGE_CREATE_STREAM, 1).status, STATUS_OK);
	has_room = false;
	struct change change = ask(CHANGE_CREATE_STREAM, 1);
	cr_assert(change.status == STATUS_IN_USE && change.cause == CAUSE_EXISTS, "its own error comes first");
	static const int kinds[] = {CHANGE_CREATE_STREAM, CHANGE_REGISTER_CONSUMER, CHANGE_SPLIT_SHARD};
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		change = ask(kinds[i], i == 0 ? 2 : 1);
		cr_expect_eq(change.cause, kinds[i] == CHANGE_SPLIT_SHARD ? CAUSE_HASH_KEY : CAUSE_NO_ROOM, "%d: %d", kinds[i],
			     change.cause);
	}
	struct change update = {.kind = CHANGE_UPDATE_SHARD_COUNT, .stream = STR("s1"), .shards = 2, .reply_to = &box, .on_done = on_done};
	catalogue_change(control, &outbox, &update);
	outbox_flush(&outbox);
	turn();
	cr_expect(update.status == STATUS_DISK_FULL && update.cause == CAUSE_NO_ROOM);
	cr_assert_eq(ask(CHANGE_DELETE_STREAM, 1).status, STATUS_OK);
	end();
}
