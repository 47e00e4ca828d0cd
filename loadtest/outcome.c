/* outcome.c: the life of an outcome. One thread.
 *
 * - outcome_add makes a regime and keeps it: the pointer stays good until outcome_fini (the list moves, the regimes do not);
 * - the engine fills it; what it hangs in (receivers, ticks) was allocated with x*alloc and goes with the outcome;
 * - outcome_right is the exit status: a run that proved nothing is not right.
 *
 * No memory ends the process (xmalloc). */
#include "loadtest/outcome.h"

#include <stdio.h>
#include <stdlib.h>

#include "penstock/bytes.h"

static void side_init(struct side *side)
{
	histogram_init(&side->latency);
	histogram_init(&side->after_answer);
}

struct regime *outcome_add(struct outcome *outcome, const char *name)
{
	struct regime *regime = xcalloc(1, sizeof *regime);
	snprintf(regime->name, sizeof regime->name, "%s", name);
	histogram_init(&regime->put_latency);
	side_init(&regime->pushed);
	side_init(&regime->polled);
	outcome->regimes = xrealloc(outcome->regimes, (outcome->n_regimes + 1) * sizeof(*outcome->regimes));
	outcome->regimes[outcome->n_regimes++] = regime;
	return regime;
}

void outcome_fini(struct outcome *outcome)
{
	for (uint32_t i = 0; i < outcome->n_regimes; i++) {
		struct regime *regime = outcome->regimes[i];
		free(regime->pushed.each);
		free(regime->polled.each);
		free(regime->ticks);
		free(regime);
	}
	free(outcome->regimes);
	outcome->regimes = NULL;
	outcome->n_regimes = 0;
}

bool outcome_right(const struct outcome *outcome)
{
	for (uint32_t i = 0; i < outcome->n_regimes; i++)
		if (!outcome->regimes[i]->right)
			return false;
	return outcome->n_regimes > 0;
}
