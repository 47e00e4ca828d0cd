/* ticker.c: a tick each second from the first put until the drain is over: what was put and received in it, and the quantiles of that
 * second alone. Each receiver's best second is kept on the way. */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/report.h"
#include "loadtest/run.h"

struct ticker {
	struct run *run;
	struct event *timer;
	struct histogram pushed, polled; /* since the last tick */
	uint64_t begin_ns, last_ns;
	uint64_t put, pushed_records, polled_records, throttled; /* until the last tick */
	uint32_t cap;
};

static double quantile_ms(const struct histogram *h, double q) { return (double)histogram_quantile(h, q) / 1e6; }

static uint64_t since(uint64_t now, uint64_t *last)
{
	uint64_t n = now - *last;
	*last = now;
	return n;
}

static void book_peaks(struct run *run, double seconds)
{
	for (unsigned i = 0; i < run->n_intakes; i++) {
		struct intake *intake = &run->intakes[i];
		double mib_s = (double)intake->second_bytes / 1048576 / seconds;
		if (mib_s > intake->receiver->peak_mib_s)
			intake->receiver->peak_mib_s = mib_s;
		intake->second_bytes = 0;
	}
}

static void on_second(evutil_socket_t fd, short what, void *arg)
{
	struct ticker *ticker = arg;
	struct run *run = ticker->run;
	struct regime *regime = run->regime;
	uint64_t now = now_ns();
	(void)fd, (void)what;
	if (regime->n_ticks == ticker->cap) {
		ticker->cap = ticker->cap ? ticker->cap * 2 : 64;
		regime->ticks = xrealloc(regime->ticks, ticker->cap * sizeof *regime->ticks);
	}
	struct tick *tick = &regime->ticks[regime->n_ticks++];
	*tick = (struct tick){
		.at_s = (double)(now - ticker->begin_ns) / 1e9,
		.put = since(regime->put, &ticker->put),
		.pushed = since(regime->pushed.records, &ticker->pushed_records),
		.polled = since(regime->polled.records, &ticker->polled_records),
		.throttled = since(regime->put_throttled + regime->pushed.throttled + regime->polled.throttled, &ticker->throttled),
		.push_p50_ms = quantile_ms(&ticker->pushed, 0.5),
		.push_p99_ms = quantile_ms(&ticker->pushed, 0.99),
		.poll_p50_ms = quantile_ms(&ticker->polled, 0.5),
		.poll_p99_ms = quantile_ms(&ticker->polled, 0.99)};
	book_peaks(run, (double)(now - ticker->last_ns) / 1e9);
	ticker->last_ns = now;
	histogram_init(&ticker->pushed);
	histogram_init(&ticker->polled);
	if (run->load->options->progress)
		report_progress(stderr, regime, tick);
}

struct ticker *ticker_new(struct run *run)
{
	struct ticker *ticker = xcalloc(1, sizeof *ticker);
	ticker->run = run;
	histogram_init(&ticker->pushed);
	histogram_init(&ticker->polled);
	ticker->timer = event_new(run->load->base, -1, EV_PERSIST, on_second, ticker);
	return ticker;
}

void ticker_start(struct ticker *ticker)
{
	static const struct timeval second = {.tv_sec = 1};
	if (ticker->begin_ns)
		return;
	ticker->begin_ns = ticker->last_ns = now_ns();
	event_add(ticker->timer, &second);
}

struct histogram *ticker_pushed(struct ticker *ticker) { return &ticker->pushed; }
struct histogram *ticker_polled(struct ticker *ticker) { return &ticker->polled; }

void ticker_free(struct ticker *ticker)
{
	event_free(ticker->timer);
	free(ticker);
}
