/* Pages of /state that go from worker to worker while the server stops: each is answered at once,
 * and every loop ends. */
#include <unistd.h>

#include "penstock/catalogue.h"
#include "server/state_page.h"
#include "tests/unit/fake_hub.h"

#define WORKERS 3
#define PAGES 4 /* of each worker */
#define ROUNDS 60

static struct worker workers[WORKERS];
static _Atomic unsigned n_answered, n_refused;
static int failed, passed;

static void check(bool good, const char *what)
{
	if (good)
		passed++;
	else
		fprintf(stderr, "failed: %s\n", what);
	failed += !good;
}

static void on_reply(struct request *request, int http_status, const char *content_type, struct buf *body)
{
	(void)content_type;
	atomic_fetch_add(http_status == 200 ? &n_answered : &n_refused, 1);
	buf_free(body);
	request_free(request);
}
static const struct transport_ops transport = {.reply = on_reply};

struct begin {
	struct mail mail;
	struct worker *worker;
};

static void on_begin(struct mail *mail)
{
	struct begin *begin = container_of(mail, struct begin, mail);
	struct request *request = request_new(begin->worker, &transport, NULL);
	request_set_target(request, STR("GET"), STR("/state"));
	request->in_work = true;
	state_page(request);
	free(begin);
}

static void post_begin(struct worker *home)
{
	struct begin *begin = xmalloc(sizeof(*begin));
	*begin = (struct begin){.mail.run = on_begin, .worker = home};
	mailbox_post(&home->box, &begin->mail);
}

/* The stop reaches the workers in another order each time, and while pages begin. */
static void stop_amid_pages(unsigned round, struct catalogue *snapshot)
{
	fake_server();
	server.workers = workers;
	server.n_workers = WORKERS;
	state_pace_init(&server.state_pace, server.started_ns);
	atomic_init(&snapshot->refs, WORKERS + 1);
	for (unsigned i = 0; i < WORKERS; i++) {
		check(worker_init(&workers[i], &server, i) == 0, "init");
		workers[i].catalogue = snapshot;
	}
	for (unsigned i = 0; i < WORKERS; i++)
		check(worker_run(&workers[i]) == 0, "run");
	for (unsigned i = 0; i < WORKERS * PAGES; i++)
		post_begin(&workers[i % WORKERS]);
	for (unsigned i = 0; i < WORKERS; i++)
		worker_stop(&workers[(i + round) % WORKERS]);
	for (unsigned i = 0; i < WORKERS; i++)
		worker_join(&workers[i]);
	workers_fini(workers, WORKERS);
	for (unsigned i = 0; i < WORKERS; i++)
		check(workers[i].requests == 0, "every request is over");
	check(atomic_load(&snapshot->refs) == 1, "each snapshot was let go");
}

int main(void)
{
	struct catalogue *snapshot = xcalloc(1, sizeof(*snapshot));
	alarm(120);
	for (unsigned round = 0; round < ROUNDS; round++)
		stop_amid_pages(round, snapshot);
	check(n_answered + n_refused == ROUNDS * WORKERS * PAGES, "every page is answered");
	check(n_answered > 0, "some went round");
	free(snapshot);
	printf("thread_state: %d passed, %d failed; %u pages answered, %u refused\n", passed, failed, n_answered, n_refused);
	return failed != 0;
}
