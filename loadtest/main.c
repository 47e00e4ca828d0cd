/* main.c: penstock-load: makes a stream at an endpoint, measures and checks what the mode says, removes the stream, and reports. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#include "loadtest/load.h"
#include "loadtest/report.h"

static void on_deferred(evutil_socket_t fd, short what, void *arg)
{
	struct load *load = arg;
	(void)fd, (void)what;
	for (struct list *node; (node = list_pop(&load->deferred));) {
		struct deferred *deferred = container_of(node, struct deferred, link);
		deferred->run(deferred);
	}
}

static void load_init(struct load *load, const struct options *options)
{
	struct event_config *config = event_config_new();
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER); /* else timers are rounded to a ms */
	load->options = options;
	load->base = event_base_new_with_config(config);
	event_config_free(config);
	event_base_priority_init(load->base, 3); /* 1, the default: sockets and timers; 2: deferred work */
	list_init(&load->deferred);
	load->deferred_event = event_new(load->base, -1, 0, on_deferred, load);
	event_priority_set(load->deferred_event, 2);
	load->chance = options->seed;
	if (getrandom(&load->tag, sizeof load->tag, 0) != (ssize_t)sizeof load->tag)
		load->tag = (uint32_t)now_ns();
	load->epoch = load->tag;
	load->control = connection_open(load->base, &load->endpoint, 0);
}

static void load_fini(struct load *load)
{
	connection_close(load->control);
	for (unsigned i = 0; i < 2; i++)
		event_free(load->signals[i]);
	event_free(load->deferred_event);
	event_base_free(load->base);
	endpoint_close(&load->endpoint);
}

static bool measure(struct load *load, struct outcome *outcome)
{
	const struct options *options = load->options;
	struct plan plan = {.consumers = options->consumers, .pollers = options->pollers};
	if (options->mode == MODE_COMPARE)
		return compare(load, outcome);
	snprintf(plan.name, sizeof plan.name, "%s", options->mode_name);
	return run_regime(load, &plan, outcome_add(outcome, plan.name)) && (!load->no_push || options->pollers > 0);
}

static void outcome_describe(struct outcome *outcome, const struct load *load)
{
	const struct options *options = load->options;
	const char *server = options->label ? options->label : connection_server(load->control);
	uint64_t bytes = 0, records = 0;
	for (uint32_t i = 0; i < outcome->n_regimes; i++) {
		bytes += outcome->regimes[i]->put_bytes;
		records += outcome->regimes[i]->acknowledged;
	}
	snprintf(outcome->command, sizeof outcome->command, "%s", options->mode_name);
	snprintf(outcome->arguments, sizeof outcome->arguments, "%s", options->arguments);
	snprintf(outcome->endpoint, sizeof outcome->endpoint, "%.255s", load->endpoint.url);
	snprintf(outcome->server, sizeof outcome->server, "%s", server);
	outcome->record_size = (uint32_t)(records ? bytes / records : options->size.mean);
	outcome->prices = options->prices;
	outcome->interrupted = load->interrupted;
}

static bool report(const struct outcome *outcome, const struct options *options)
{
	bool good = true;
	report_table(stdout, outcome);
	good &= !options->json || report_json(outcome, options->json);
	good &= !options->csv || report_csv(outcome, options->csv);
	good &= !options->hdr || report_hdr(outcome, options->hdr);
	good &= !options->report || report_html(outcome, options->report);
	return good;
}

int main(int argc, char **argv)
{
	static struct load load; /* large for a stack */
	struct options options;
	struct outcome outcome = {.began_s = (int64_t)time(NULL)};
	char why[256];
	int code = load_options_parse(argc, argv, &options);
	if (code)
		return code == 1 ? 0 : code;
	signal(SIGPIPE, SIG_IGN);
	if (!endpoint_open(&load.endpoint, &options.endpoint, why)) {
		fprintf(stderr, "penstock-load: %s\n", why);
		return 1;
	}
	load_init(&load, &options);
	load_watch_signals(&load);
	bool good = stream_make(&load) && measure(&load, &outcome);
	stream_remove(&load);
	outcome_describe(&outcome, &load);
	if (outcome.n_regimes)
		good &= report(&outcome, &options) && outcome_right(&outcome);
	code = load.interrupted ? 130 : good ? 0 : 1;
	load_fini(&load);
	outcome_fini(&outcome);
	return code;
}
