/* run.c: one regime, from its first connection to its proof.
 *
 * Happy path:
 * - receivers begin at LATEST and are waited for, so that nothing that is put can be missed
 * - producers put for the warm-up and the time that is measured
 * - the drain: until each receiver has each acknowledged record, and the doubles of retried puts
 * - the proof, the figures, and everything of this run is closed
 *
 * With `horizon` the puts come first, and the receivers read what is there.
 *
 * Failure modes: receivers that cannot begin end the run; what is not delivered within DRAIN_S is missing; Ctrl-C ends the wait, and what
 * was measured until then is told, without what had no time to arrive. */
#include "loadtest/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define READY_S 60
#define ANSWERS_S 60           /* for the last puts to be answered, retries and all */
#define DRAIN_S 120            /* for the last records to arrive, and */
#define SILENT_NS 15000000000u /* after so long without any, no more will */
#define QUIET_NS 3000000000u   /* a stream that was there already is read when nothing came for so long */
#define RECORDS_MAX 20000000u  /* of a closed loop, whose number nobody knows before */
#define LAG_MOST_MS 5          /* of the schedule at p99, and */
#define CPU_MOST 0.9           /* seconds a second: beyond either the figures are the client's own */

static double cpu_s(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* Waits for what `ready` says, looking every 5 ms; false after `seconds`, on Ctrl-C, or when the run fails. */
static bool until(struct run *run, bool (*ready)(const struct run *run), double seconds)
{
	uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
	while (!ready(run)) {
		if (run->failed || run->load->interrupted || now_ns() > end)
			return false;
		load_sleep(run->load, 0.005);
	}
	return true;
}

static bool receivers_ready(const struct run *run) { return consumers_ready(run) && pollers_ready(run); }

static bool all_complete(const struct run *run)
{
	for (unsigned i = 0; i < run->n_intakes; i++)
		if (!intake_complete(&run->intakes[i]))
			return false;
	return true;
}

static bool drained(const struct run *run)
{
	bool existing = run->load->options->existing;
	uint64_t last_ns = run->drain_begin_ns;
	if (run->window_end_ns)
		return now_ns() >= run->window_end_ns;
	for (unsigned i = 0; i < run->n_intakes; i++)
		last_ns = run->intakes[i].last_ns > last_ns ? run->intakes[i].last_ns : last_ns;
	return (!existing && all_complete(run)) || now_ns() > last_ns + (existing ? QUIET_NS : SILENT_NS);
}

static void window_set(struct run *run)
{
	const struct options *options = run->load->options;
	if (options->drain_seconds <= 0)
		return;
	run->window_begin_ns = now_ns() + (uint64_t)(options->drain_skip * 1e9);
	run->window_end_ns = run->window_begin_ns + (uint64_t)(options->drain_seconds * 1e9);
}

static bool put_all(struct run *run)
{
	const struct options *options = run->load->options;
	double cpu = cpu_s();
	ticker_start(run->ticker);
	producers_start(run);
	if (!until(run, producers_idle, options->seconds + options->warmup + ANSWERS_S) && !run->load->interrupted && !run->failed)
		fprintf(stderr, "penstock-load: the last puts were not answered within %d s\n", ANSWERS_S);
	run->regime->client_cpu = (cpu_s() - cpu) / ((double)(now_ns() - run->put_begin_ns) / 1e9);
	run->putting = false;
	return !run->failed;
}

static bool receivers_start(struct run *run)
{
	consumers_start(run);
	pollers_start(run);
	bool ready = until(run, receivers_ready, READY_S);
	if (!ready && !run->load->interrupted && !run->failed)
		fprintf(stderr, "penstock-load: the receivers could not begin within %d s\n", READY_S);
	if (ready)
		consumers_pause(run);
	return ready;
}

static bool receive_and_put(struct run *run)
{
	const struct options *options = run->load->options;
	if (options->horizon) {
		if (!options->existing && !put_all(run))
			return false;
		if (!run->put_begin_ns)
			run->put_begin_ns = now_ns();
		window_set(run);
		ticker_start(run->ticker);
		if (!receivers_start(run))
			return false;
	} else if (!receivers_start(run) || !put_all(run)) {
		return false;
	}
	consumers_resume(run);
	run->drain_begin_ns = now_ns();
	until(run, drained, options->drain_seconds > 0 ? options->drain_seconds + options->drain_skip + 30 : DRAIN_S);
	return !run->failed;
}

/* ---- Figures and proof ---------------------------------------------------------------------------------------------- */

static void fill_receivers(struct run *run)
{
	for (unsigned i = 0; i < run->n_intakes; i++) {
		struct intake *intake = &run->intakes[i];
		double span_s = (double)(intake->last_ns - intake->first_ns) / 1e9, bytes = (double)intake->receiver->bytes;
		if (run->window_end_ns) {
			span_s = (double)(run->window_end_ns - run->window_begin_ns) / 1e9;
			bytes = (double)intake->window_bytes;
		}
		intake->receiver->mean_mib_s = span_s > 0 ? bytes / 1048576 / span_s : 0;
	}
}

static bool side_right(const struct side *side) { return side->missing + side->doubled + side->disordered + side->damaged == 0; }

static void judge(struct run *run)
{
	struct regime *regime = run->regime;
	uint64_t most = 0;
	for (unsigned i = 0; i < run->n_intakes; i++)
		most = run->intakes[i].unique > most ? run->intakes[i].unique : most;
	/* Reading that stopped early proves nothing about the rest. */
	for (unsigned i = 0; i < run->n_intakes && !run->load->interrupted && !run->window_end_ns && !regime->unreadable[0]; i++)
		intake_judge(&run->intakes[i], most);
	regime->right = !run->failed && !run->load->interrupted && regime->put_failed == 0 && side_right(&regime->pushed) &&
			side_right(&regime->polled) && (regime->acknowledged > 0 || most > 0);
	regime->client_lag_ms = (double)histogram_quantile(&run->lag, 0.99) / 1e6;
	regime->saturated = regime->client_cpu > CPU_MOST || regime->client_lag_ms > LAG_MOST_MS;
}

static uint64_t records_max(const struct options *options)
{
	if (options->records)
		return options->records;
	if (options->rate <= 0 || options->existing)
		return RECORDS_MAX;
	return (uint64_t)((options->seconds + options->warmup) * options->rate * options->batch) + 1000;
}

static void run_init(struct run *run, struct load *load, const struct plan *plan, struct regime *regime)
{
	*run = (struct run){.load = load, .plan = plan, .regime = regime, .epoch = ++load->epoch};
	histogram_init(&run->lag);
	run->book.max = records_max(load->options);
	run->book.answered_ns = xcalloc((size_t)run->book.max, sizeof *run->book.answered_ns);
	run->book.sends = xcalloc((size_t)run->book.max, 1);
	run->book.retried = xcalloc(LOAD_SHARDS_MAX, sizeof *run->book.retried);
	run->ticker = ticker_new(run);
	regime->shards = load->n_shards_first;
	regime->rate = load->options->existing ? 0 : load->options->rate;
	regime->batch = load->options->batch;
	regime->pushed.each = xcalloc(plan->consumers + 1, sizeof *regime->pushed.each);
	regime->polled.each = xcalloc(plan->pollers + 1, sizeof *regime->polled.each);
	run->intakes = xcalloc(plan->consumers + plan->pollers + 1, sizeof *run->intakes);
	while (run->n_intakes < plan->consumers)
		intake_init(&run->intakes[run->n_intakes++], run, &regime->pushed, ticker_pushed(run->ticker));
	while (run->n_intakes < plan->consumers + plan->pollers)
		intake_init(&run->intakes[run->n_intakes++], run, &regime->polled, ticker_polled(run->ticker));
}

static void run_fini(struct run *run)
{
	pollers_free(run);
	consumers_free(run);
	producers_free(run);
	for (unsigned i = 0; i < run->n_intakes; i++)
		intake_fini(&run->intakes[i]);
	free(run->intakes);
	ticker_free(run->ticker);
	free(run->book.answered_ns);
	free(run->book.sends);
	free(run->book.retried);
}

/* As outcome_add made it. */
static void sides_clear(struct regime *regime)
{
	struct side *sides[] = {&regime->pushed, &regime->polled};
	for (unsigned i = 0; i < 2; i++) {
		free(sides[i]->each);
		*sides[i] = (struct side){0};
		histogram_init(&sides[i]->latency);
		histogram_init(&sides[i]->after_answer);
	}
}

bool run_regime(struct load *load, const struct plan *asked, struct regime *regime)
{
	static struct run run; /* its histogram is large for a stack */
	struct plan plan = *asked;
	if (!consumers_register(load, load->no_push ? 0 : plan.consumers))
		return false;
	if (load->no_push && plan.consumers) {
		plan.consumers = 0;
		regime->no_push = true;
		regime->shards = 0; /* of a run that could not subscribe */
		snprintf(regime->why_no_push, sizeof regime->why_no_push, "%s", load->why_no_push);
		regime->right = true;
		if (plan.pollers == 0)
			return true;
	}
	if (load->options->progress)
		fprintf(stderr, "\n%s\n", regime->name);
	run_init(&run, load, &plan, regime);
	bool good = receive_and_put(&run);
	fill_receivers(&run);
	judge(&run);
	if (good && !load->interrupted)
		hops_ask(load, regime);
	run_fini(&run);
	/* Consumers can be registered, but not subscribed: the rest is measured from the beginning. */
	if (load->no_push && plan.consumers) {
		sides_clear(regime);
		return run_regime(load, asked, regime);
	}
	return good && !load->interrupted;
}
