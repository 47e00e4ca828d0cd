/* limits.h: what AWS enforces, as numbers that can be set. 0 lifts a limit. Read-only once the server runs.
 * Source of the defaults: the Kinesis Data Streams quota page. */
#ifndef PENSTOCK_LIMITS_H
#define PENSTOCK_LIMITS_H

#include <stdint.h>

struct limits {
	int64_t write_records;    /* per shard and second; 1000 */
	int64_t write_bytes;      /* data + partition keys, per shard and second; 1 MiB */
	int64_t read_calls;       /* GetRecords per shard and second; 5 */
	int64_t read_bytes;       /* GetRecords bytes per shard and second; 2 MiB */
	int64_t push_bytes;       /* per (consumer, shard) and second; 2 MiB, capacity 2 MiB */
	int64_t shards;           /* open shards of all streams; 20000 */
	int64_t consumers;        /* per stream; 20 */
	int64_t changing_streams; /* in CREATING or DELETING at once; 5 */
};

#define LIMITS_AWS \
	{.write_records = 1000, .write_bytes = 1 << 20, .read_calls = 5, .read_bytes = 2 << 20, .push_bytes = 2 << 20, \
	 .shards = 20000, .consumers = 20, .changing_streams = 5}
#define LIMITS_OFF {0}

#endif
