/* profile.h: delivery profiles: how long a durable record stays unseen, so that an application can be tried under the delays it will meet.
 *
 * A delay is a pure function of seed, path, shard and arrival time: nothing is stored, a restart changes nothing, and every worker and
 * reader comes to the same answer. It rises with the arrival time (a later record is never seen before an earlier one), and it never says
 * anything about what is durable: LATEST, MillisBehindLatest and the end of a shard speak of the durable end as ever.
 *
 * Any thread; a struct profile is read-only once the server runs. No profile (NULL): there is no delay. */
#ifndef PENSTOCK_PROFILE_H
#define PENSTOCK_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/seq.h"

enum profile_path { PROFILE_PUSH, PROFILE_GET, PROFILE_PATHS };

struct profile {
	const char *name;
	uint64_t seed;
	double mean_ms[PROFILE_PATHS];   /* from arrival until a record can be pushed, or read with GetRecords */
	double median_ms[PROFILE_PATHS]; /* of the draws that make this mean */
};

/* "aws": *out is filled, true. "none": true, and out->name is NULL. Else false. */
bool profile_find(const char *name, uint64_t seed, struct profile *out);

/* How long from now until what arrived at arrival_ms can be seen; 0: it can. At most profile_longest_ms. What arrived after now (a clock
 * that was set back) can be seen: order never comes from the clock, and nothing may wait for it. */
int64_t profile_wait_ms(const struct profile *profile, enum profile_path path, const struct shard_key *shard, int64_t arrival_ms,
			int64_t now_ms);
int64_t profile_longest_ms(const struct profile *profile, enum profile_path path);

#endif
