/* producer.c: puts on a fixed schedule (open loop).
 *
 *   each connection puts every connections/rate seconds, whatever became of the last one, phases spread evenly
 *   a timer that comes late sends all that is due, each record stamped with the time at which it was due; how late it came is booked, since
 *   lateness of the client would otherwise look like the server's
 *   rate 0: each connection keeps `in_flight` puts in work (closed loop), for throughput */
#include <stdlib.h>

#include "loadtest/run.h"

static bool over(const struct run *run, uint64_t due_ns) { return due_ns >= run->put_end_ns || run->load->interrupted; }

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct producer *producer = arg;
	struct run *run = producer->run;
	uint64_t now = now_ns();
	(void)fd, (void)what;
	if (now > producer->due_ns)
		histogram_add(&run->lag, now - producer->due_ns);
	while (run->putting && producer->due_ns <= now_ns()) {
		if (over(run, producer->due_ns)) {
			run->putting = false;
			return;
		}
		put_new(producer, producer->due_ns);
		producer->due_ns += producer->gap_ns;
	}
	if (!run->putting)
		return;
	struct timeval in = timeval_until(producer->due_ns);
	evtimer_add(producer->timer, &in);
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
		put_new(producer, now);
}

static void begin(struct producer *producer, unsigned i)
{
	struct run *run = producer->run;
	const struct options *options = run->load->options;
	if (options->rate > 0) {
		producer->gap_ns = (uint64_t)(1e9 * options->connections / options->rate);
		producer->due_ns = run->put_begin_ns + (uint64_t)(1e9 * i / options->rate);
		producer->timer = evtimer_new(run->load->base, on_due, producer);
		struct timeval in = timeval_until(producer->due_ns);
		evtimer_add(producer->timer, &in);
		return;
	}
	for (unsigned k = 0; k < options->in_flight && run->putting; k++)
		put_new(producer, now_ns());
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
		puts_free(producer);
		if (producer->timer)
			event_free(producer->timer);
	}
	free(run->producers);
	run->producers = NULL;
}
