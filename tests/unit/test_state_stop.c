/* test_state_stop.c: a page of /state that is with another worker while the server stops is answered,
 * and no mail goes to a mailbox that is gone. */
#include <criterion/criterion.h>

#include "tests/unit/fake_hub.h"

#include "penstock/catalogue.h"
#include "server/state_page.h"

static struct worker workers[2];
static struct catalogue *snapshot;
static unsigned n_replies;

static void on_reply(struct request *request, int http_status, const char *content_type, struct buf *body)
{
	(void)content_type;
	cr_expect_eq(http_status, 200);
	n_replies++;
	buf_free(body);
	request_free(request);
}
static const struct transport_ops transport = {.reply = on_reply};

static void setup(void)
{
	fake_server();
	server.workers = workers;
	server.n_workers = 2;
	snapshot = xcalloc(1, sizeof(*snapshot));
	atomic_init(&snapshot->refs, 3); /* the test's, and each worker's */
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(worker_init(&workers[i], &server, i), 0);
		workers[i].catalogue = snapshot;
	}
}

/* Expectations in a .fini would not count. */
static void finish(void)
{
	workers_fini(workers, 2);
	for (unsigned i = 0; i < 2; i++)
		cr_expect_eq(workers[i].requests, 0, "worker %u", i);
	cr_expect_eq(atomic_load(&server.busy), 0);
	cr_expect_eq(atomic_load(&snapshot->refs), 1);
	free(snapshot);
}
TestSuite(state_stop, .init = setup);

/* A page of worker `home` whose walk is in the other one's box. */
static struct request *begin(unsigned home)
{
	struct request *request = request_new(&workers[home], &transport, NULL);
	request_set_target(request, STR("GET"), STR("/state"));
	request->in_work = true;
	state_page(request);
	for (int turns = 0; !mailbox_pending(&workers[!home].box) && turns < 10; turns++)
		worker_turn(&workers[home], false);
	cr_assert(mailbox_pending(&workers[!home].box));
	return request;
}

Test(state_stop, the_loops_turn_until_it_is_answered)
{
	begin(0);
	worker_stop(&workers[0]);
	worker_stop(&workers[1]);
	cr_expect(worker_turn(&workers[0], false), "its request is not answered");
	bool turns[2] = {true, true};
	for (int i = 0; i < 100 && (turns[0] || turns[1]); i++)
		for (unsigned k = 0; k < 2; k++)
			turns[k] = turns[k] && worker_turn(&workers[k], false);
	cr_expect(!turns[0] && !turns[1]);
	cr_expect_eq(n_replies, 1);
	finish();
}

Test(state_stop, an_idle_worker_waits_for_the_others)
{
	begin(0);
	worker_stop(&workers[1]);
	cr_expect(worker_turn(&workers[1], false));
	cr_expect(worker_turn(&workers[1], false), "worker 0 may still ask it something");
	worker_stop(&workers[0]);
	while (worker_turn(&workers[0], false))
		;
	cr_expect_eq(n_replies, 1);
	cr_expect_not(worker_turn(&workers[1], true), "woken by the last one");
	finish();
}

/* Both loops have ended, as after the grace: the mail in the boxes is run before workers are freed. */
static void leave_behind(unsigned home)
{
	request_detach(begin(home));
	finish();
	cr_expect_eq(n_replies, 0, "its client had left");
}

Test(state_stop, a_walk_that_was_left_behind_by_the_first_is_finished) { leave_behind(0); }
Test(state_stop, a_walk_that_was_left_behind_by_the_last_is_finished) { leave_behind(1); }
