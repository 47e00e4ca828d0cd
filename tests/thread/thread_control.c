/* thread_control.c: several clients change the catalogue at once, several workers read its snapshots; run under TSan and ASan.
 *
 * Each client is a worker too: it creates streams, registers consumers and deletes them again, and after each answer its own snapshot must
 * show what it asked for. */
#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/catalogue.h"
#include "penstock/slog.h"
#include "penstock/store.h"

#define CLIENTS 4
#define ROUNDS 6

/* ---- The store: a thread of its own that answers each request ---- */

static struct mailbox lane;
static _Atomic bool lane_stops;

static void on_answer(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);

	admin->on_done(admin);
}

static void on_admin(struct mail *mail)
{
	struct store_admin *admin = container_of(mail, struct store_admin, mail);

	admin->status = STATUS_OK;
	admin->mail.run = on_answer;
	mailbox_post(admin->reply_to, &admin->mail);
}

bool store_has_room(struct store *store)
{
	(void)store;
	return true;
}

void store_admin(struct store *store, struct outbox *from, struct store_admin *admin)
{
	(void)store;
	admin->mail.run = on_admin;
	outbox_add(from, &lane, &admin->mail);
}

static void *run_lane(void *arg)
{
	(void)arg;
	while (!lane_stops) {
		mailbox_wait(&lane, 10);
		mailbox_run(&lane);
	}
	mailbox_run(&lane);
	return NULL;
}

/* ---- Clients ---- */

struct client {
	pthread_t thread;
	struct control *control;
	struct mailbox box;
	struct outbox outbox;
	struct catalogue *catalogue;
	bool answered;
	char name[16];
	unsigned checks;
};

static void on_snapshot(void *arg, struct catalogue *snapshot)
{
	struct client *client = arg;

	assert(!client->catalogue || snapshot->version > client->catalogue->version);
	catalogue_unref(client->catalogue);
	client->catalogue = snapshot;
}

struct question {
	struct change change;
	struct client *client;
};

static void on_done(struct change *change) { container_of(change, struct question, change)->client->answered = true; }

static void turn(struct client *client)
{
	outbox_flush(&client->outbox);
	mailbox_wait(&client->box, -1);
	mailbox_run(&client->box);
}

static enum status ask(struct client *client, enum change_kind kind, const char *consumer)
{
	struct question question = {.client = client};

	question.change.kind = kind;
	question.change.stream = str_of(client->name);
	question.change.consumer = str_of(consumer);
	question.change.shards = 3;
	question.change.enforce_consumer_deletion = true;
	question.change.reply_to = &client->box;
	question.change.on_done = on_done;
	client->answered = false;
	catalogue_change(client->control, &client->outbox, &question.change);
	while (!client->answered)
		turn(client);
	client->checks++;
	return question.change.status;
}

static const struct stream_info *find(struct client *client) { return catalogue_stream(client->catalogue, str_of(client->name)); }

static void live(struct client *client)
{
	while (!client->catalogue)
		turn(client);
	assert(ask(client, CHANGE_CREATE_STREAM, NULL) == STATUS_OK);
	assert(find(client)); /* the snapshot came before the answer */
	while (find(client)->status != STREAM_ACTIVE)
		turn(client);
	assert(find(client)->n_shards == 3);
	assert(ask(client, CHANGE_REGISTER_CONSUMER, "app") == STATUS_OK);
	assert(stream_consumer(find(client), STR("app")));
	assert(ask(client, CHANGE_DEREGISTER_CONSUMER, "app") == STATUS_OK);
	assert(ask(client, CHANGE_DELETE_STREAM, NULL) == STATUS_OK);
	while (find(client))
		turn(client);
}

static void *run_client(void *arg)
{
	struct client *client = arg;

	for (int i = 0; i < ROUNDS; i++)
		live(client);
	return NULL;
}

int main(void)
{
	static struct client clients[CLIENTS];
	struct catalogue_reader readers[CLIENTS];
	char dir[] = "/tmp/penstock-thread-control-XXXXXX", command[64];
	struct control_config config = {.io = io_posix(), .data_dir = mkdtemp(dir), .transition_ms = 1, .retention_check_ms = 1};
	struct control *control;
	pthread_t lane_thread;
	unsigned checks = 0;
	char *why = NULL;

	slog_set_level(SLOG_ERROR);
	mailbox_init(&lane, true);
	pthread_create(&lane_thread, NULL, run_lane, NULL);
	assert(control_open(&config, &control, &why) == STATUS_OK);
	for (int i = 0; i < CLIENTS; i++) {
		mailbox_init(&clients[i].box, true);
		outbox_init(&clients[i].outbox);
		clients[i].control = control;
		snprintf(clients[i].name, sizeof(clients[i].name), "stream-%d", i);
		readers[i] = (struct catalogue_reader){.box = &clients[i].box, .on_snapshot = on_snapshot, .arg = &clients[i]};
	}
	assert(control_start(control, NULL, readers, CLIENTS) == STATUS_OK);
	for (int i = 0; i < CLIENTS; i++)
		pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
	for (int i = 0; i < CLIENTS; i++)
		pthread_join(clients[i].thread, NULL);
	control_stop(control);
	control_free(control);
	lane_stops = true;
	pthread_join(lane_thread, NULL);
	mailbox_fini(&lane);
	for (int i = 0; i < CLIENTS; i++) {
		mailbox_run(&clients[i].box);
		mailbox_fini(&clients[i].box);
		catalogue_unref(clients[i].catalogue);
		checks += clients[i].checks;
	}
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	assert(system(command) == 0);
	printf("thread_control: %u passed, 0 failed\n", checks);
	return 0;
}
