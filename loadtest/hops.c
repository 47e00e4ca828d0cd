/* hops.c: where a record's time goes inside the server, if it tells: the quantiles of its /metrics (Prometheus text), from its start until
 * now. */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/load.h"

static const char *const names[] = {"queue", "commit", "notice", "write"};

/* The value of `penstock_NAME_seconds{quantile="Q"}` in ms; negative: the page has none. */
static double sample_ms(struct str page, const char *name, const char *quantile)
{
	char key[80], number[32];
	int n = snprintf(key, sizeof key, "\npenstock_%s_seconds{quantile=\"%s\"} ", name, quantile);
	const char *at = memmem(page.p, page.n, key, (size_t)n);
	if (!at)
		return -1;
	at += n;
	snprintf(number, sizeof number, "%.*s", (int)(page.p + page.n - at < 31 ? page.p + page.n - at : 31), at);
	return strtod(number, NULL) * 1e3;
}

void hops_parse(struct str page, struct regime *regime)
{
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		double p50 = sample_ms(page, names[i], "0.5"), p99 = sample_ms(page, names[i], "0.99");
		if (p50 < 0 || p99 < 0)
			continue;
		struct hop *hop = &regime->hops[regime->n_hops++];
		snprintf(hop->name, sizeof hop->name, "%s", names[i]);
		hop->p50_ms = p50;
		hop->p99_ms = p99;
	}
}

static void on_end(struct call *call, bool complete)
{
	(void)complete;
	*(bool *)call->arg = true;
}

void hops_ask(struct load *load, struct regime *regime)
{
	bool done = false;
	struct call call = {.path = "/metrics", .on_end = on_end, .arg = &done};
	connection_call(load->control, &call);
	if (!load_wait(load, &done, 2))
		connection_cancel(load->control, &call);
	else if (call.reason == CALL_OK && call.status == 200)
		hops_parse((struct str){(char *)call.answer.p, call.answer.n}, regime);
	call_free(&call);
}
