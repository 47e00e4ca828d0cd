/* limits.h: what AWS enforces, as numbers that can be set each by itself; 0 lifts a limit. Read-only once the server runs.
 * all_shards is penstock's own: AWS bounds the rates of resharding only, but here a change of the
 * catalogue reads all shards, closed ones too (control_load.c).
 * One table gives the fields, AWS's values (Kinesis Data Streams quotas and the API reference), --limit, --help and /state.
 *
 * Where each is kept: per-shard rates are the lane's, counts the control thread's, the push rate the hub's, and the rates of calls per
 * account or stream are server/rates.c's. A limit on calls per second is a bucket that holds one second's worth. */
#ifndef PENSTOCK_LIMITS_H
#define PENSTOCK_LIMITS_H

#include <stddef.h>
#include <stdint.h>

/*        name                       AWS        what it bounds */
#define LIMITS_LIST(X)                                                                           \
	X(write_records,             1000,      "records put, per shard and second")             \
	X(write_bytes,               1 << 20,   "data and keys put, per shard and second")       \
	X(read_calls,                5,         "GetRecords, per shard and second")              \
	X(read_bytes,                2 << 20,   "bytes of GetRecords, per shard and second")     \
	X(iterator_calls,            5,         "GetShardIterator, per shard and second")        \
	X(push_bytes,                2 << 20,   "per consumer, shard and second")                \
	X(subscribe_calls,           1,         "SubscribeToShard, per consumer and shard")      \
	X(shards,                    20000,     "open shards of all streams")                    \
	X(all_shards,                50000,     "open and closed, of all streams; ours")  \
	X(changing_streams,          5,         "in CREATING or DELETING at once")               \
	X(consumers,                 20,        "per stream")                                    \
	X(creating_consumers,        5,         "in CREATING at once, of all streams")           \
	X(create_stream_calls,       5,         "per second")                                    \
	X(delete_stream_calls,       5,         "per second")                                    \
	X(describe_stream_calls,     10,        "per second")                                    \
	X(describe_summary_calls,    20,        "DescribeStreamSummary, per second")             \
	X(list_streams_calls,        5,         "per second")                                    \
	X(list_shards_calls,         1000,      "per stream and second")                         \
	X(split_shard_calls,         5,         "per second")                                    \
	X(merge_shards_calls,        5,         "per second")                                    \
	X(update_shard_count_calls,  10,        "per second")                                    \
	X(updates_per_day,           10,        "UpdateShardCount, per stream and 24 hours")     \
	X(update_factor,             2,         "UpdateShardCount: times up or down")            \
	X(register_consumer_calls,   5,         "per second")                                    \
	X(deregister_consumer_calls, 5,         "per stream and second")                         \
	X(describe_consumer_calls,   20,        "per stream and second")                         \
	X(list_consumers_calls,      5,         "per stream and second")

struct limits {
#define X(name, aws, what) int64_t name;
	LIMITS_LIST(X)
#undef X
};

enum limit { /* their numbers, in the table's order */
#define X(name, aws, what) LIMIT_##name,
	LIMITS_LIST(X)
#undef X
	LIMIT_COUNT
};

/* Each is total over 0 to LIMIT_COUNT - 1; any thread. */
const char *limit_name(enum limit limit);
const char *limit_what(enum limit limit); /* a few words for --help */
int64_t limit_get(const struct limits *limits, enum limit limit);
void limit_set(struct limits *limits, enum limit limit, int64_t value);
/* By name, of n bytes; '-' is as good as '_'. LIMIT_COUNT: there is none of that name. */
enum limit limit_find(const char *name, size_t n);

#define LIMITS_AWS_FIELD(name, aws, what) .name = (aws),
#define LIMITS_AWS {LIMITS_LIST(LIMITS_AWS_FIELD)}
#define LIMITS_OFF {0}

#endif
