/* sample.h: a made-up outcome of `compare` as it looks on a good day, the same every time: for tests of the reports without a server.
 *
 * Pushed: log-normal around 0.6 ms, however many consumers. Polled: evenly spread over the interval between two polls. */
#ifndef PENSTOCK_TESTS_LOAD_SAMPLE_H
#define PENSTOCK_TESTS_LOAD_SAMPLE_H

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/outcome.h"
#include "penstock/bytes.h"

#define SAMPLE_RATE 200
#define SAMPLE_SIZE 1024
#define SAMPLE_SHARDS 2

/* xorshift64*: 0 <= x < 1. */
static inline double sample_random(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return (double)((*state * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

/* About normal: the sum of twelve. */
static inline double sample_normal(uint64_t *state)
{
	double sum = -6;
	for (int i = 0; i < 12; i++)
		sum += sample_random(state);
	return sum;
}

static inline uint64_t sample_pushed_ns(uint64_t *state)
{
	double ms = 0.6 * exp(0.22 * sample_normal(state));
	if (sample_random(state) < 0.004)
		ms += 4 * sample_random(state);
	return (uint64_t)(ms * 1e6);
}

static inline uint64_t sample_polled_ns(uint64_t *state, double interval_ms)
{
	return (uint64_t)((interval_ms * sample_random(state) + 1.5 + fabs(sample_normal(state))) * 1e6);
}

static inline void sample_side(struct side *side, unsigned receivers, uint32_t seconds, double interval_ms, uint64_t *state)
{
	side->receivers = receivers;
	side->interval_ms = interval_ms;
	side->each = xcalloc(receivers, sizeof(*side->each));
	uint64_t each_records = (uint64_t)SAMPLE_RATE * seconds;
	for (unsigned i = 0; i < receivers; i++) {
		struct receiver *each = &side->each[i];
		snprintf(each->name, sizeof each->name, "%s-%u", interval_ms > 0 ? "poller" : "consumer", i + 1);
		each->records = each_records;
		each->bytes = each_records * (SAMPLE_SIZE + 8);
		each->mean_mib_s = (double)each->bytes / seconds / 1048576;
		each->peak_mib_s = each->mean_mib_s * (1.02 + (interval_ms > 0 ? 0.4 : 0.1) * sample_random(state));
		side->records += each->records;
		side->bytes += each->bytes;
	}
	for (uint64_t i = 0; i < side->records; i++) {
		uint64_t ns = interval_ms > 0 ? sample_polled_ns(state, interval_ms) : sample_pushed_ns(state);
		histogram_add(&side->latency, ns);
		histogram_add(&side->after_answer, ns > 400000 ? ns - 400000 : 0);
	}
	side->calls = interval_ms > 0 ? (uint64_t)(5 * SAMPLE_SHARDS * seconds) : (uint64_t)receivers * SAMPLE_SHARDS;
	side->events = interval_ms > 0 ? side->calls : side->records;
	side->throttled = interval_ms > 0 && receivers > 1 ? receivers : 0;
	side->retried = side->throttled;
}

static inline void sample_ticks(struct regime *regime, uint32_t seconds, uint64_t *state)
{
	regime->n_ticks = seconds;
	regime->ticks = xcalloc(seconds, sizeof(*regime->ticks));
	for (uint32_t i = 0; i < seconds; i++) {
		struct tick *tick = &regime->ticks[i];
		*tick = (struct tick){.at_s = i + 1, .put = SAMPLE_RATE, .pushed = (uint64_t)SAMPLE_RATE * regime->pushed.receivers,
				      .polled = (uint64_t)SAMPLE_RATE * regime->polled.receivers};
		if (regime->pushed.receivers) {
			tick->push_p50_ms = 0.6 + 0.05 * sample_random(state);
			tick->push_p99_ms = 1.1 + 0.6 * sample_random(state) + (i % 11 == 7 ? 1.5 : 0);
		}
		if (regime->polled.receivers) {
			tick->poll_p50_ms = regime->polled.interval_ms * (0.48 + 0.05 * sample_random(state));
			tick->poll_p99_ms = regime->polled.interval_ms * (0.97 + 0.05 * sample_random(state));
		}
		tick->throttled = regime->polled.receivers > 1 && i % 9 == 4;
	}
}

static inline void sample_hops(struct regime *regime)
{
	static const struct hop hops[] = {{"queue", 0.02, 0.09}, {"commit", 0.31, 0.7}, {"notice", 0.01, 0.05}, {"write", 0.03, 0.12}};
	regime->n_hops = 4;
	for (uint32_t i = 0; i < regime->n_hops; i++)
		regime->hops[i] = hops[i];
}

static inline void sample_regime(struct outcome *outcome, const char *name, unsigned pollers, unsigned consumers, uint32_t seconds,
				 uint64_t *state)
{
	struct regime *regime = outcome_add(outcome, name);
	regime->shards = SAMPLE_SHARDS;
	regime->rate = SAMPLE_RATE;
	regime->batch = 1;
	regime->seconds = seconds;
	regime->put = regime->acknowledged = regime->put_calls = (uint64_t)SAMPLE_RATE * seconds;
	regime->put_bytes = regime->put * SAMPLE_SIZE;
	for (uint64_t i = 0; i < regime->put; i++)
		histogram_add(&regime->put_latency, (uint64_t)((double)sample_pushed_ns(state) * 0.7));
	if (pollers)
		sample_side(&regime->polled, pollers, seconds, 200.0 * pollers, state);
	if (consumers)
		sample_side(&regime->pushed, consumers, seconds, 0, state);
	sample_ticks(regime, seconds, state);
	sample_hops(regime);
	regime->client_cpu = 0.05 + 0.01 * consumers;
	regime->right = true;
}

static inline void sample_head(struct outcome *outcome, const char *command, const char *arguments)
{
	*outcome = (struct outcome){.endpoint = "http://127.0.0.1:4567",
				    .server = "penstock/0.1.0",
				    .began_s = 1770000000,
				    .record_size = SAMPLE_SIZE,
				    .prices = {0.015, 0.014, 0.015, 0.013}};
	snprintf(outcome->command, sizeof outcome->command, "%s", command);
	snprintf(outcome->arguments, sizeof outcome->arguments, "%s", arguments);
}

static inline void sample_outcome(struct outcome *outcome)
{
	uint64_t state = 6;
	sample_head(outcome, "compare", "compare --shards 2 --rate 200 --size 1024 --pollers 1,2,5 --consumers 1,5,20");
	sample_regime(outcome, "1 poller", 1, 0, 15, &state);
	sample_regime(outcome, "2 pollers", 2, 0, 15, &state);
	sample_regime(outcome, "5 pollers", 5, 0, 15, &state);
	sample_regime(outcome, "1 consumer", 0, 1, 15, &state);
	sample_regime(outcome, "5 consumers", 0, 5, 15, &state);
	sample_regime(outcome, "20 consumers", 0, 20, 15, &state);
	sample_regime(outcome, "5 pollers and 5 consumers", 5, 5, 15, &state);
}

/* One regime, pushed alone, of three seconds. */
static inline void sample_single(struct outcome *outcome)
{
	uint64_t state = 7;
	sample_head(outcome, "push", "push --shards 2 --rate 200 --consumers 3");
	sample_regime(outcome, "push", 0, 3, 3, &state);
}

/* An hour's ticks and a thousand consumers in each of two regimes: what the page has to thin. */
static inline void sample_long(struct outcome *outcome)
{
	uint64_t state = 8;
	sample_head(outcome, "push", "push --shards 2 --rate 200 --consumers 2000 --duration 3600");
	for (unsigned i = 0; i < 2; i++) {
		sample_regime(outcome, i ? "2000 consumers" : "1000 consumers", 0, i ? 2000 : 1000, 1, &state);
		struct regime *regime = outcome->regimes[i];
		free(regime->ticks);
		sample_ticks(regime, 3600, &state);
	}
}

/* What must be warned of, and text that would break a careless page. */
static inline void sample_spoil(struct outcome *outcome)
{
	struct regime *regime = outcome->regimes[0];
	snprintf(regime->name, sizeof regime->name, "%s", "1 \"poller\", </script><script>alert(1)</script>");
	regime->polled.missing = 3;
	regime->polled.disordered = 1;
	regime->right = false;
	regime->no_push = true;
	snprintf(regime->why_no_push, sizeof regime->why_no_push, "%s", "400 UnknownOperationException & <b>more</b>");
	outcome->regimes[1]->saturated = true;
	outcome->regimes[1]->client_cpu = 0.99;
	regime = outcome_add(outcome, "a regime left out, for want of push");
	regime->no_push = regime->right = true;
	snprintf(regime->why_no_push, sizeof regime->why_no_push, "%s", outcome->regimes[0]->why_no_push);
	outcome->interrupted = true;
}

#endif
