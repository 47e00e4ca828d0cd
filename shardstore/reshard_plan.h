/* reshard_plan.h: which shards a reshard ends and which it makes. Pure: no I/O, any thread. Private to shardstore. */
#ifndef PENSTOCK_RESHARD_PLAN_H
#define PENSTOCK_RESHARD_PLAN_H

#include "penstock/catalogue.h"

struct reshard_plan {
	uint64_t stream;
	uint32_t next;               /* number of the next child */
	struct shard_info *children; /* n, by number, dense; one that another names as its parent is intermediate */
	uint32_t n, cap;
};

void reshard_plan_init(struct reshard_plan *plan, uint64_t stream, uint32_t next_shard);
void reshard_plan_fini(struct reshard_plan *plan);

/* Two children, the second from `hash` on: first < hash <= last. */
void reshard_plan_split(struct reshard_plan *plan, const struct shard_info *parent, uint128 hash);
/* One child of two neighbours, the lower one first. */
void reshard_plan_merge(struct reshard_plan *plan, const struct shard_info *lower, const struct shard_info *upper);
/* What turns the stream's open shards into `target` equal ones; nothing, where they are that already. */
void reshard_plan_uniform(struct reshard_plan *plan, const struct stream_info *stream, uint32_t target);
/* One more, as the catalogue has it: its number follows that of the last. */
void reshard_plan_add(struct reshard_plan *plan, uint32_t parent, uint32_t adjacent, uint128 hash_first, uint128 hash_last);

/* The stream's shards that the plan ends, copied, by number; the caller's to free. NULL: one of them is not there, or closed. */
struct shard_info *reshard_plan_parents(const struct reshard_plan *plan, const struct stream_info *stream, uint32_t *n);
/* Dates parents and children for a reshard that happens now. The parents' end_index is set already. */
void reshard_plan_date(struct reshard_plan *plan, struct shard_info *parents, uint32_t n, int64_t now_ms);

#endif
