/* compare.c: polling against push, at the same shards and the same rate of puts: pollers alone, consumers alone, and both together, from
 * one to as many as were asked for. */
#include <stdio.h>

#include "loadtest/load.h"

#define TOGETHER 5 /* of each, at most, when both are there: where polling is as slow as its limit makes it */

static void plan_name(struct plan *plan)
{
	char pollers[21] = "", consumers[21] = ""; /* of any unsigned */
	if (plan->pollers)
		snprintf(pollers, sizeof pollers, "%u poller%s", plan->pollers, plan->pollers == 1 ? "" : "s");
	if (plan->consumers)
		snprintf(consumers, sizeof consumers, "%u consumer%s", plan->consumers, plan->consumers == 1 ? "" : "s");
	snprintf(plan->name, sizeof plan->name, "%s%s%s", pollers, plan->pollers && plan->consumers ? " and " : "", consumers);
}

static bool measure(struct load *load, struct outcome *outcome, unsigned consumers, unsigned pollers)
{
	struct plan plan = {.consumers = consumers, .pollers = pollers};
	plan_name(&plan);
	return run_regime(load, &plan, outcome_add(outcome, plan.name));
}

/* The steps that lie below `most`, and `most` itself. */
static unsigned counts(const unsigned *steps, unsigned n_steps, unsigned most, unsigned *out)
{
	unsigned n = 0;
	while (n < n_steps && steps[n] < most) {
		out[n] = steps[n];
		n++;
	}
	if (most)
		out[n++] = most;
	return n;
}

bool compare(struct load *load, struct outcome *outcome)
{
	static const unsigned poller_steps[] = {1, 2, 5, 10, 20}, consumer_steps[] = {1, 5, 20, 100, 500};
	const struct options *options = load->options;
	unsigned many[6], n = counts(poller_steps, 5, options->pollers_max, many), consumers, pollers;
	for (unsigned i = 0; i < n; i++)
		if (!measure(load, outcome, 0, many[i]))
			return false;
	n = counts(consumer_steps, 5, options->consumers_max, many);
	for (unsigned i = 0; i < n; i++)
		if (!measure(load, outcome, many[i], 0))
			return false;
	consumers = options->consumers_max < TOGETHER ? options->consumers_max : TOGETHER;
	pollers = options->pollers_max < TOGETHER ? options->pollers_max : TOGETHER;
	return !consumers || !pollers || load->no_push || measure(load, outcome, consumers, pollers);
}
