/* words.c: an outcome in sentences: the headline on top of the table and the page, and what the reader must be warned of.
 *
 * - A side's line compares its regimes with the fewest and the most receivers, each side alone; if it never was alone, together.
 * - "Whether" is said only of p50s within a quarter (or 0.2 ms) of each other: the claim follows from the data, or is not made.
 * - A warning names the regime. The same reason for no push is said once.
 *
 * One thread. Nothing fails. */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loadtest/figures.h"
#include "penstock/bytes.h"

#define CLIENT_BUSY 0.8 /* of a core */

json_t *words_text(const char *text)
{
	json_t *string = json_string(text);
	if (string)
		return string;
	char *plain = xstrdup(text);
	for (char *c = plain; *c; c++)
		if (*c & 0x80)
			*c = '?';
	string = json_string(plain);
	free(plain);
	return string;
}

static void __attribute__((format(printf, 2, 3))) say(json_t *sentences, const char *format, ...)
{
	char text[512];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	json_array_append_new(sentences, words_text(text));
}

static const struct side *side_of(const struct regime *regime, bool pushed) { return pushed ? &regime->pushed : &regime->polled; }

/* The regimes with the fewest and the most receivers of one kind that received anything; false: none. */
static bool ends_find(const struct outcome *outcome, bool pushed, bool alone, const struct side **few, const struct side **many)
{
	*few = *many = NULL;
	for (uint32_t i = 0; i < outcome->n_regimes; i++) {
		const struct regime *regime = outcome->regimes[i];
		const struct side *side = side_of(regime, pushed);
		if (!side->receivers || !side->latency.count || (alone && side_of(regime, !pushed)->receivers))
			continue;
		if (!*few || side->receivers < (*few)->receivers)
			*few = side;
		if (!*many || side->receivers > (*many)->receivers)
			*many = side;
	}
	return *few != NULL;
}

static void pushed_say(json_t *sentences, const struct side *few, const struct side *many)
{
	char a[FIGURES_TEXT], b[FIGURES_TEXT];
	double p50 = figures_quantile_ms(&few->latency, 0.5), p50_many = figures_quantile_ms(&many->latency, 0.5);
	bool flat = fabs(p50 - p50_many) <= fmax(0.2, fmin(p50, p50_many) / 4);
	figures_text_ms(a, flat ? fmin(p50, p50_many) : p50);
	figures_text_ms(b, flat ? fmax(p50, p50_many) : p50_many);
	if (few == many)
		say(sentences, "Pushed: p50 %s ms, p99 %s ms with %u consumer%s.", a,
		    figures_text_ms(b, figures_quantile_ms(&few->latency, 0.99)), few->receivers, few->receivers == 1 ? "" : "s");
	else if (flat && !strcmp(a, b))
		say(sentences, "Pushed: p50 %s ms, whether %u or %u consumers.", a, few->receivers, many->receivers);
	else if (flat)
		say(sentences, "Pushed: p50 %s to %s ms, whether %u or %u consumers.", a, b, few->receivers, many->receivers);
	else
		say(sentences, "Pushed: p50 %s ms with %u consumer%s, %s ms with %u.", a, few->receivers, few->receivers == 1 ? "" : "s", b,
		    many->receivers);
}

static void polled_say(json_t *sentences, const struct side *few, const struct side *many)
{
	char a[FIGURES_TEXT], b[FIGURES_TEXT];
	const char *plural = few->receivers == 1 ? "" : "s";
	figures_text_ms(a, figures_mean_ms(&few->latency));
	if (few == many)
		say(sentences, "Polled: mean %s ms, p99 %s ms with %u poller%s.", a,
		    figures_text_ms(b, figures_quantile_ms(&few->latency, 0.99)), few->receivers, plural);
	else
		say(sentences, "Polled: mean %s ms with %u poller%s, %s ms with %u: they share 5 calls a second and shard.", a,
		    few->receivers, plural, figures_text_ms(b, figures_mean_ms(&many->latency)), many->receivers);
}

json_t *words_headline(const struct outcome *outcome)
{
	json_t *sentences = json_array();
	const struct side *few, *many;
	if (ends_find(outcome, true, true, &few, &many) || ends_find(outcome, true, false, &few, &many))
		pushed_say(sentences, few, many);
	if (ends_find(outcome, false, true, &few, &many) || ends_find(outcome, false, false, &few, &many))
		polled_say(sentences, few, many);
	if (outcome_right(outcome))
		say(sentences, "Every record reached every receiver exactly once and in order.");
	return sentences;
}

static bool side_wrong(json_t *sentences, const struct regime *regime, const struct side *side, const char *name)
{
	if (!side->missing && !side->doubled && !side->disordered && !side->damaged)
		return false;
	say(sentences, "%s: WRONG: %s: %" PRIu64 " missing, %" PRIu64 " doubled, %" PRIu64 " out of order, %" PRIu64 " damaged.",
	    regime->name, name, side->missing, side->doubled, side->disordered, side->damaged);
	return true;
}

static void regime_warn(json_t *sentences, const struct outcome *outcome, const struct regime *regime)
{
	bool wrong = side_wrong(sentences, regime, &regime->pushed, "pushed");
	wrong |= side_wrong(sentences, regime, &regime->polled, "polled");
	if (regime->unreadable[0])
		say(sentences, "%s: %s.", regime->name, regime->unreadable);
	else if (!regime->right && !wrong)
		say(sentences, "%s: %s", regime->name,
		    outcome->interrupted ? "cut short, so that nothing is proven of it."
					 : "WRONG: it could not be shown that every record arrived.");
	if (regime->put_failed)
		say(sentences, "%s: %" PRIu64 " records could not be put.", regime->name, regime->put_failed);
	char lag[FIGURES_TEXT], late[64] = "";
	if (regime->client_lag_ms > 0)
		snprintf(late, sizeof late, ", puts %s ms late at p99", figures_text_ms(lag, regime->client_lag_ms));
	/* A client that is late without having used its core was not let run. */
	if (regime->saturated && regime->client_lag_ms > 0 && regime->client_cpu < CLIENT_BUSY)
		say(sentences, "%s: the machine was busy (the client used %.0f %% of a core%s): latencies may be too high.", regime->name,
		    regime->client_cpu * 100, late);
	else if (regime->saturated)
		say(sentences, "%s: the client was saturated (%.0f %% of a core%s): these are the client's figures, not the server's.",
		    regime->name, regime->client_cpu * 100, late);
}

json_t *words_warnings(const struct outcome *outcome)
{
	json_t *sentences = json_array();
	const char *said = NULL;
	if (outcome->interrupted)
		say(sentences, "Interrupted: this is what was measured until then.");
	if (!outcome->n_regimes)
		say(sentences, "Nothing was measured.");
	for (uint32_t i = 0; i < outcome->n_regimes; i++) {
		const struct regime *regime = outcome->regimes[i];
		if (regime->no_push && (!said || strcmp(said, regime->why_no_push) != 0)) {
			said = regime->why_no_push;
			say(sentences, "No push at this endpoint (%s): the pushed side was left out.", said);
		}
		regime_warn(sentences, outcome, regime);
	}
	return sentences;
}
