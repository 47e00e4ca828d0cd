/* profile.c: the delays of a delivery profile.
 *
 * Thread: any. Pure.
 *
 * Time is cut into slots of 100 ms. Each slot of each shard draws one delay (lognormal, from a hash), which all that arrives in it has; so
 * what follows within some milliseconds meets about the same delay, as behind a real service, and a slow moment holds up what comes after
 * it: a record is seen when its own delay has passed and everything before it is seen. The latter is looked up rather than remembered:
 * delays are cut off at four times the mean, so only some slots back can matter.
 *
 *   arrival -> slot k;  seen at max(arrival + delay(k), end of slot k-1 + delay(k-1), end of slot k-2 + delay(k-2), ...)
 *
 * That waiting makes the mean longer than the draws': by E[((delay(k-1) - delay(k))+)^2] / (2 x slot), which is their variance / (2 x
 * slot), since a draw is as often larger than its neighbour as smaller. profile_find solves for the draws' mean.
 *
 * The figures are those that AWS publishes: about 70 ms from put to delivery with enhanced fan-out; about 200 ms for one polling consumer
 * at 5 calls a second, half of whose interval is 100 ms, so that records are visible after 100; five polling consumers (1,000 ms; each may
 * call once a second) need no figure of their own. How they scatter is not published: SIGMA gives a p99 of about twice the mean. The time
 * in which a put is answered is not published either, and is left alone. */
#include "penstock/profile.h"

#include <math.h>
#include <string.h>

#define SLOT_MS 100
#define SIGMA 0.4 /* of the logarithm */
#define CUT 4     /* times the mean: one draw in 10,000 */

#define PUSH_MEAN_MS 70.0
#define GET_MEAN_MS 100.0

/* splitmix64's finisher: each bit of the input changes half of the output's. */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

/* In (0, 1]: its logarithm is wanted. */
static double unit(uint64_t hash) { return ((double)(hash >> 11) + 1) * 0x1p-53; }

static double draw(const struct profile *profile, enum profile_path path, const struct shard_key *shard, int64_t slot)
{
	uint64_t hash = mix(profile->seed ^ (uint64_t)path << 56);
	hash = mix(hash ^ shard->stream);
	hash = mix(hash ^ shard->shard);
	hash = mix(hash ^ (uint64_t)slot);
	double normal = sqrt(-2 * log(unit(hash))) * cos(2 * M_PI * unit(mix(hash))); /* Box and Muller */
	double delay = profile->median_ms[path] * exp(SIGMA * normal), most = CUT * profile->mean_ms[path];
	return delay < most ? delay : most;
}

/* mean of the draws + their variance / (2 x slot) = the mean wanted, with variance = mean^2 x (e^(sigma^2) - 1) */
static double median_for(double mean)
{
	double a = (exp(SIGMA * SIGMA) - 1) / (2 * SLOT_MS);
	double drawn = (sqrt(1 + 4 * a * mean) - 1) / (2 * a);
	return drawn * exp(-SIGMA * SIGMA / 2);
}

bool profile_find(const char *name, uint64_t seed, struct profile *out)
{
	*out = (struct profile){0};
	if (strcmp(name, "none") == 0)
		return true;
	if (strcmp(name, "aws") != 0)
		return false;
	*out = (struct profile){.name = "aws", .seed = seed, .mean_ms = {[PROFILE_PUSH] = PUSH_MEAN_MS, [PROFILE_GET] = GET_MEAN_MS}};
	for (int i = 0; i < PROFILE_PATHS; i++)
		out->median_ms[i] = median_for(out->mean_ms[i]);
	return true;
}

int64_t profile_longest_ms(const struct profile *profile, enum profile_path path) { return (int64_t)(CUT * profile->mean_ms[path]); }

int64_t profile_wait_ms(const struct profile *profile, enum profile_path path, const struct shard_key *shard, int64_t arrival_ms,
			int64_t now_ms)
{
	int64_t longest = profile_longest_ms(profile, path);
	if (arrival_ms > now_ms || now_ms - arrival_ms >= longest)
		return 0;
	int64_t slot = arrival_ms / SLOT_MS;
	double seen_ms = (double)arrival_ms + draw(profile, path, shard, slot);
	for (int64_t before = slot - 1; (before + 1) * SLOT_MS + longest > arrival_ms; before--) {
		double last = (double)((before + 1) * SLOT_MS - 1) + draw(profile, path, shard, before);
		seen_ms = last > seen_ms ? last : seen_ms;
	}
	int64_t wait = (int64_t)ceil(seen_ms) - now_ms;
	return wait > 0 ? wait : 0;
}
