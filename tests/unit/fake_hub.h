/* fake_hub.h: a hub and a dispatch that do what a test of the transport says, defined here so that the linker takes none of the real ones.
 * Included by one file per test executable.
 *
 * What the fake dispatch does is in the path: /echo answers the request as it was understood; /hold keeps it for the test;
 * /big?N answers N bytes; /sub begins a subscription whose bytes the test gives (fake_subs, in order of beginning). */
#ifndef FAKE_HUB_H
#define FAKE_HUB_H

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "server/conn.h"
#include "server/request.h"
#include "server/worker.h"

/* Not every test file uses every helper. */
#define MAYBE_UNUSED __attribute__((unused))

/* ---- A clock that tests move ---- */

static struct io fake_io;
static uint64_t fake_ahead_ns;
static uint64_t fake_mono_ns(struct io *io)
{
	(void)io;
	return io_mono_ns(io_posix()) + fake_ahead_ns;
}

/* ---- The fake hub: each subscription is a message and how much of it may be pulled ---- */

#ifndef FAKE_SUBS
#define FAKE_SUBS 16
#endif
static struct fake_sub {
	struct subscription *sub; /* NULL: stopped */
	struct message *message;  /* its bytes, one reference */
	size_t at, upto;          /* pulled; may be pulled */
	bool end;                 /* SUB_END behind upto */
	bool finished, planned;   /* sub_finish was called; sub_avail was the last call */
} fake_subs[FAKE_SUBS];
static unsigned n_fake_subs, n_stopped;
static uint64_t fake_deadline_ns = UINT64_MAX;
static unsigned n_ticks;

struct hub {
	int unused;
};
static struct hub fake_hub;

struct hub *hub_new(const struct hub_config *config)
{
	(void)config;
	return &fake_hub;
}
void hub_free(struct hub *hub) { (void)hub; }
void hub_set_catalogue(struct hub *hub, const struct catalogue *snapshot, const char *region, const char *account)
{
	(void)hub, (void)snapshot, (void)region, (void)account;
}
uint64_t hub_deadline(struct hub *hub)
{
	(void)hub;
	return fake_deadline_ns;
}
void hub_tick(struct hub *hub, uint64_t now_ns)
{
	(void)hub;
	n_ticks++;
	if (fake_deadline_ns <= now_ns)
		fake_deadline_ns = UINT64_MAX;
}

uint64_t hub_taken_ns(struct hub *hub)
{
	(void)hub;
	return 0;
}

/* For /state: there are no subscriptions. */
bool hub_each(struct hub *hub, uint64_t *after, unsigned most, void (*fn)(void *arg, struct subscription *sub), void *arg)
{
	(void)hub, (void)after, (void)most, (void)fn, (void)arg;
	return false;
}
void sub_names(const struct subscription *sub, const char **stream, const char **consumer) { (void)sub, (void)stream, (void)consumer; }
void sub_lag(const struct subscription *sub, uint64_t *records, int64_t *ms) { (void)sub, (void)records, (void)ms; }
const char *sub_state_name(enum sub_state state)
{
	(void)state;
	return "";
}

static struct fake_sub *fake_of(struct subscription *sub) { return &fake_subs[sub->id]; }

int64_t sub_avail(struct subscription *sub, size_t max)
{
	struct fake_sub *fake = fake_of(sub);
	size_t left = fake->upto - fake->at;
	assert(fake->sub == sub); /* not asked after it was stopped */
	if (left == 0)
		return fake->end ? SUB_END : 0;
	fake->planned = true;
	return (int64_t)(left < max ? left : max);
}

void sub_take(struct subscription *sub, size_t n, sub_emit emit, void *arg)
{
	struct fake_sub *fake = fake_of(sub);
	assert(fake->planned && n <= fake->upto - fake->at);
	size_t first = n / 2; /* two slices: a shared one, and a copy of at most a trailer's size */
	if (n - first > MESSAGE_TRAILER)
		first = n - MESSAGE_TRAILER;
	if (first)
		emit(arg, fake->message, fake->message->head + fake->at, first);
	emit(arg, NULL, fake->message->head + fake->at + first, n - first);
	fake->at += n;
	fake->planned = false;
}

void sub_stop(struct subscription *sub)
{
	struct fake_sub *fake = fake_of(sub);
	if (fake->sub)
		n_stopped++;
	fake->sub = NULL;
}

void sub_finish(struct subscription *sub)
{
	struct fake_sub *fake = fake_of(sub);
	fake->finished = fake->end = true;
	sub->ops->on_ready(sub);
}

static struct request *request_of(struct subscription *sub) { return container_of(sub, struct request, sub); }
static void on_ready(struct subscription *sub) { request_of(sub)->transport->ready(request_of(sub)); }
static const struct sub_ops fake_sub_ops = {.on_ready = on_ready};

/* More of a subscription's bytes are there. */
MAYBE_UNUSED static void fake_push(unsigned i, size_t n)
{
	fake_subs[i].upto += n;
	assert(fake_subs[i].upto <= fake_subs[i].message->head_len);
	on_ready(fake_subs[i].sub);
}

MAYBE_UNUSED static void fake_end(unsigned i)
{
	fake_subs[i].end = true;
	on_ready(fake_subs[i].sub);
}

MAYBE_UNUSED static uint8_t fake_byte(unsigned i, size_t at) { return (uint8_t)(at * 31 + at / 251 + i); }

#ifndef FAKE_BYTES
#define FAKE_BYTES (8u << 20)
#endif
static void begin_sub(struct request *request)
{
	assert(n_fake_subs < FAKE_SUBS);
	unsigned i = n_fake_subs++;
	struct fake_sub *fake = &fake_subs[i];
	request->sub = (struct subscription){.id = i, .ops = &fake_sub_ops};
	request->subscribed = true;
	fake->sub = &request->sub;
	fake->message = message_new(FAKE_BYTES);
	for (size_t at = 0; at < FAKE_BYTES; at++)
		fake->message->head[at] = fake_byte(i, at);
	request->transport->stream(request);
}

/* ---- The fake dispatch ---- */

#define FAKE_HELD 2000
static struct request *held[FAKE_HELD];
static unsigned n_held, n_dispatched;

static void echo(struct request *request)
{
	const struct exchange *exchange = request->exchange;
	struct buf body = {0};
	buf_printf(&body, STR_FMT " " STR_FMT "|" STR_FMT "|" STR_FMT "|", STR_ARG(exchange->method), STR_ARG(exchange->path),
		   STR_ARG(exchange->query), STR_ARG(exchange->host));
	buf_put(&body, exchange->body, exchange->body_len);
	request_answer(request, 200, "text/plain", &body);
}

void dispatch_request(struct request *request)
{
	n_dispatched++;
	if (str_equal(request->exchange->path, STR("/hold"))) {
		assert(n_held < FAKE_HELD);
		held[n_held++] = request;
	} else if (str_equal(request->exchange->path, STR("/sub"))) {
		begin_sub(request);
	} else if (str_equal(request->exchange->path, STR("/big"))) {
		struct buf body = {0};
		size_t n = strtoul(request->exchange->query.p, NULL, 10) % (10u << 20);
		uint8_t *p = buf_reserve(&body, n);
		for (size_t i = 0; i < n; i++)
			p[i] = fake_byte(0, i);
		body.n = n;
		request_answer(request, 200, "text/plain", &body);
	} else {
		echo(request);
	}
}

/* ---- What a worker needs ---- */

static struct options options = {.limits = LIMITS_OFF, .idle_s = 300, .subscription_s = 300, .heartbeat_ms = 5000};
static struct server server;
MAYBE_UNUSED static struct worker worker;

static void fake_server(void)
{
	fake_io = *io_posix();
	fake_io.mono_ns = fake_mono_ns;
	server = (struct server){.options = &options, .io = &fake_io, .region = "us-east-1", .account = "000000000000"};
	server.started_ns = io_mono_ns(&fake_io);
	budget_init(&server.answers, ANSWERS_MAX);
}

#endif
