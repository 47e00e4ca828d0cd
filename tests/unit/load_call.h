/* load_call.h: a test's event loop, and its calls. */
#ifndef LOAD_CALL_H
#define LOAD_CALL_H

#include <criterion/criterion.h>
#include <event2/event.h>

#include "loadtest/connection.h"

static struct event_base *base;

struct asked {
	struct call call;
	bool done, complete;
	unsigned chunks;
	struct buf data;
	void (*on_done)(struct asked *asked);
	void (*on_chunk)(struct asked *asked);
};

static void on_asked_end(struct call *call, bool complete)
{
	struct asked *asked = call->arg;
	cr_assert_not(asked->done, "told twice");
	asked->done = true;
	asked->complete = complete;
	if (asked->on_done)
		asked->on_done(asked);
}

static void on_asked_data(struct call *call, const uint8_t *p, size_t n)
{
	struct asked *asked = call->arg;
	asked->chunks++;
	buf_put(&asked->data, p, n);
	if (asked->on_chunk)
		asked->on_chunk(asked);
}

static void asked_init(struct asked *asked, const char *operation, const char *body)
{
	*asked = (struct asked){.call = {.operation = operation, .on_end = on_asked_end}};
	asked->call.arg = asked;
	buf_put(&asked->call.body, body, strlen(body));
}

static void asked_free(struct asked *asked)
{
	call_free(&asked->call);
	buf_free(&asked->data);
}

static void on_late(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	*(bool *)arg = true;
}

/* Takes turns of the loop until `condition` holds; fails after 10 s. */
#define UNTIL(condition)                                                                   \
	do {                                                                               \
		bool late = false;                                                         \
		struct event *limit = evtimer_new(base, on_late, &late);                   \
		evtimer_add(limit, &(struct timeval){.tv_sec = 10});                       \
		while (!late && !(condition))                                              \
			event_base_loop(base, EVLOOP_ONCE);                                \
		event_free(limit);                                                         \
		cr_assert_not(late, "line %d: %s did not come about", __LINE__, #condition); \
	} while (0)

#endif
