/* producer.c: puts on a fixed schedule (open loop).
 *
 * - each connection puts every connections/rate seconds, whatever became of the last one, phases spread evenly
 * - the timer is set a little early: the put is made and signed, and the rest is waited out awake, so that neither the making nor the
 *   waking of a sleeper counts as the server's latency; how early follows from how long both took lately
 * - a timer that comes late sends all that is due, each record stamped with the time at which it was due; how late it came is booked, since
 *   lateness of the client would otherwise look like the server's
 * - rate 0: each connection keeps `in_flight` puts in work (closed loop), for throughput */
#include <math.h>
#include <stdlib.h>

#include "loadtest/run.h"

/* A core that sleeps in a virtual machine wakes 40 us late, and makes a put in 20 to 60 us more, its caches being cold. */
#define LEAD_FIRST_NS 100000u
#define LEAD_MOST_NS 200000u
#define LEAD_SPARE_NS 30000u /* what is waited out awake, in the mean */
#define LEAD_SHARE 0.1       /* of a core, for all leads at most: above 500 puts a second they are shorter */
#define LEAD_OF_LATE 8       /* an exponential mean over about so many puts */

static bool over(const struct run *run, uint64_t due_ns) { return due_ns >= run->put_end_ns || run->load->interrupted; }

/* Sends what is due, which is made by now unless the timer came late. */
static void put_due(struct producer *producer)
{
	struct run *run = producer->run;
	struct put *put = producer->next ? producer->next : put_new(producer, producer->due_ns);
	producer->next = NULL;
	run->putting = put && !over(run, producer->due_ns);
	if (run->putting)
		put_begin(put);
	else if (put)
		put_free(put);
	producer->due_ns += producer->gap_ns;
}

static uint64_t lead_most_ns(const struct options *options) { return (uint64_t)fmin(LEAD_MOST_NS, 1e9 * LEAD_SHARE / options->rate); }

/* `took_ns`: from the time at which the timer was to come until the put was made. */
static void lead_learn(struct producer *producer, uint64_t took_ns)
{
	uint64_t most = lead_most_ns(producer->run->load->options), wanted = took_ns + LEAD_SPARE_NS;
	producer->lead_ns = (producer->lead_ns * (LEAD_OF_LATE - 1) + (wanted < most ? wanted : most)) / LEAD_OF_LATE;
}

/* Sleeps until the lead begins. In it, the loop turns without sleeping: what arrives meanwhile is read at once. */
static void wait_for_due(struct producer *producer)
{
	uint64_t wake_ns = producer->due_ns - producer->lead_ns;
	if (!producer->next && now_ns() >= wake_ns) {
		producer->next = put_new(producer, producer->due_ns);
		lead_learn(producer, now_ns() - wake_ns);
	}
	event_base_update_cache_time(producer->run->load->base); /* what the timer counts from */
	struct timeval in = timeval_until(producer->next ? 0 : wake_ns);
	evtimer_add(producer->timer, &in);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	struct producer *producer = arg;
	struct run *run = producer->run;
	uint64_t now = now_ns();
	(void)fd, (void)what;
	if (now > producer->due_ns)
		histogram_add(&run->lag, now - producer->due_ns);
	while (run->putting && producer->due_ns <= now_ns())
		put_due(producer);
	if (run->putting)
		wait_for_due(producer);
}

static void put_now(struct producer *producer)
{
	struct put *put = put_new(producer, now_ns());
	if (put)
		put_begin(put);
	else
		producer->run->putting = false;
}

void producer_put_over(struct producer *producer)
{
	struct run *run = producer->run;
	uint64_t now = now_ns();
	run->puts_in_work--;
	if (!run->putting || run->load->options->rate > 0)
		return;
	if (over(run, now))
		run->putting = false;
	else
		put_now(producer);
}

static void begin(struct producer *producer, unsigned i)
{
	struct run *run = producer->run;
	const struct options *options = run->load->options;
	if (options->rate > 0) {
		producer->gap_ns = (uint64_t)(1e9 * options->connections / options->rate);
		producer->due_ns = run->put_begin_ns + (uint64_t)(1e9 * i / options->rate);
		producer->lead_ns = (uint64_t)fmin(LEAD_FIRST_NS, (double)lead_most_ns(options));
		producer->timer = evtimer_new(run->load->base, on_time, producer);
		wait_for_due(producer);
		return;
	}
	for (unsigned k = 0; k < options->in_flight && run->putting; k++)
		put_now(producer);
}

void producers_start(struct run *run)
{
	struct load *load = run->load;
	const struct options *options = load->options;
	run->producers = xcalloc(options->connections, sizeof *run->producers);
	for (unsigned i = 0; i < options->connections; i++) {
		run->producers[i].run = run;
		list_init(&run->producers[i].puts);
		run->producers[i].connection = connection_open(load->base, &load->endpoint, 0);
	}
	run->putting = true;
	run->put_begin_ns = now_ns();
	run->warm_ns = run->put_begin_ns + (uint64_t)(options->warmup * 1e9);
	run->put_end_ns = run->warm_ns + (uint64_t)(options->seconds * 1e9);
	for (unsigned i = 0; i < options->connections; i++)
		begin(&run->producers[i], i);
}

bool producers_idle(const struct run *run) { return !run->putting && run->puts_in_work == 0; }

void producers_free(struct run *run)
{
	for (unsigned i = 0; run->producers && i < run->load->options->connections; i++) {
		struct producer *producer = &run->producers[i];
		connection_close(producer->connection);
		if (producer->next)
			put_free(producer->next);
		puts_free(producer);
		if (producer->timer)
			event_free(producer->timer);
	}
	free(run->producers);
	run->producers = NULL;
}
