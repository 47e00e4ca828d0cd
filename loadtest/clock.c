/* clock.c: time, waiting, chance, and Ctrl-C.
 *
 * The first Ctrl-C (or SIGTERM) ends every wait, so that what was made is removed; the second has
 * the default disposition, which ends the process at once. Both hold if the process was started with
 * SIGINT ignored, as a shell starts a job in the background of a script. */
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

#include "loadtest/load.h"

uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

struct timeval timeval_until(uint64_t at_ns)
{
	uint64_t now = now_ns(), us = at_ns > now ? (at_ns - now) / 1000 : 0;
	return (struct timeval){.tv_sec = (time_t)(us / 1000000), .tv_usec = (suseconds_t)(us % 1000000)};
}

static void on_time_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	*(bool *)arg = true;
}

bool load_wait(struct load *load, const bool *done, double seconds)
{
	bool over = false;
	struct timeval limit = timeval_until(now_ns() + (uint64_t)(seconds * 1e9));
	struct event *timer = evtimer_new(load->base, on_time_over, &over);
	evtimer_add(timer, &limit);
	while (!over && !*done && (!load->interrupted || load->removing))
		event_base_loop(load->base, EVLOOP_ONCE);
	event_free(timer);
	return *done;
}

void load_sleep(struct load *load, double seconds)
{
	const bool never = false;
	load_wait(load, &never, seconds);
}

void load_defer(struct load *load, struct deferred *deferred)
{
	if (list_empty(&deferred->link))
		list_append(&load->deferred, &deferred->link);
	event_active(load->deferred_event, 0, 0);
}

/* splitmix64, which is enough for jitter and sizes. */
uint64_t load_chance(struct load *load)
{
	uint64_t z = load->chance += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

uint64_t backoff_ns(struct load *load, unsigned tries, uint64_t base_ns, uint64_t most_ns)
{
	double most = fmin((double)base_ns * exp2(tries > 30 ? 30 : tries), (double)most_ns);
	return (uint64_t)(most * ((double)(load_chance(load) >> 11) * 0x1p-53));
}

static void on_signal(evutil_socket_t number, short what, void *arg)
{
	struct load *load = arg;
	(void)what;
	load->interrupted = true;
	fprintf(stderr, "penstock-load: %s: removing what was made; once more to leave it\n",
		number == SIGINT ? "interrupted" : "terminated");
	for (unsigned i = 0; i < 2; i++) {
		event_del(load->signals[i]);
		signal(event_get_signal(load->signals[i]),
		       SIG_DFL); /* not what it was: a shell starts a background job with SIGINT ignored */
	}
}

void load_watch_signals(struct load *load)
{
	static const int numbers[2] = {SIGINT, SIGTERM};
	for (unsigned i = 0; i < 2; i++) {
		load->signals[i] = evsignal_new(load->base, numbers[i], on_signal, load);
		event_add(load->signals[i], NULL);
	}
}
