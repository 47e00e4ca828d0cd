/* api.h: the inputs of the operations as C structs, filled by shape_bind. Absent strings have p NULL; optional numbers and times have
 * a `has_` flag; lists are arrays in the arena. Times are ms since the epoch whatever the encoding. */
#ifndef PENSTOCK_API_H
#define PENSTOCK_API_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"

enum operation_number {
	OP_CREATE_STREAM,
	OP_DELETE_STREAM,
	OP_DESCRIBE_STREAM,
	OP_DESCRIBE_STREAM_SUMMARY,
	OP_LIST_STREAMS,
	OP_LIST_SHARDS,
	OP_PUT_RECORD,
	OP_PUT_RECORDS,
	OP_GET_SHARD_ITERATOR,
	OP_GET_RECORDS,
	OP_REGISTER_STREAM_CONSUMER,
	OP_DESCRIBE_STREAM_CONSUMER,
	OP_LIST_STREAM_CONSUMERS,
	OP_DEREGISTER_STREAM_CONSUMER,
	OP_SUBSCRIBE_TO_SHARD,
	OP_SPLIT_SHARD,
	OP_MERGE_SHARDS,
	OP_UPDATE_SHARD_COUNT,
	OP_COUNT,
	OP_NOT_THERE_YET = OP_COUNT,
};

struct opt_int { bool has; int64_t v; };
struct opt_time { bool has; int64_t ms; };
struct opt_bool { bool has; bool v; };
struct tag { struct str key, value; };

struct create_stream_input {
	struct opt_int shard_count;
	struct str stream_name;
	struct str stream_mode;          /* StreamModeDetails.StreamMode */
	bool has_stream_mode_details;
	struct tag *tags; uint32_t n_tags;
	struct opt_int warm_throughput_mibps, max_record_size_kib;
	struct str record_distribution_strategy;
};
struct delete_stream_input { struct str stream_name, stream_arn; struct opt_bool enforce_consumer_deletion; };
struct describe_stream_input { struct opt_int limit; struct str exclusive_start_shard_id, stream_name, stream_arn; };
struct describe_stream_summary_input { struct str stream_name, stream_arn; };
struct list_streams_input { struct opt_int limit; struct str exclusive_start_stream_name, next_token; };
struct shard_filter { bool present; struct str type, shard_id; struct opt_time timestamp; };
struct list_shards_input {
	struct str exclusive_start_shard_id; struct opt_int max_results; struct str next_token;
	struct opt_time stream_creation_timestamp; struct str stream_name, stream_arn; struct shard_filter filter;
};
struct put_record_input {
	struct str sequence_number_for_ordering, partition_key, explicit_hash_key, data, stream_name, stream_arn;
	struct opt_bool dry_run;
};
struct put_records_entry { struct str partition_key, explicit_hash_key, data; };
struct put_records_input {
	struct put_records_entry *records; uint32_t n_records; struct str stream_name, stream_arn; struct opt_bool dry_run;
};
struct get_shard_iterator_input {
	struct str shard_id, shard_iterator_type, starting_sequence_number, stream_name, stream_arn; struct opt_time timestamp;
	struct opt_bool dry_run;
};
struct get_records_input { struct opt_int limit; struct str shard_iterator, stream_arn; struct opt_bool dry_run; };
struct register_stream_consumer_input { struct str stream_arn, consumer_name; struct tag *tags; uint32_t n_tags; };
struct stream_consumer_input { struct str stream_arn, consumer_name, consumer_arn; }; /* Describe and Deregister */
struct list_stream_consumers_input { struct str stream_arn, next_token; struct opt_int max_results; struct opt_time stream_creation_timestamp; };
struct starting_position { struct str type, sequence_number; struct opt_time timestamp; bool present; };
struct split_shard_input { struct str new_starting_hash_key, stream_name, stream_arn, shard_to_split; };
struct merge_shards_input { struct str shard_to_merge, adjacent_shard_to_merge, stream_name, stream_arn; };
struct update_shard_count_input { struct str scaling_type, stream_name, stream_arn; struct opt_int target_shard_count; };
struct subscribe_to_shard_input {
	struct str consumer_arn, shard_id; struct starting_position position; struct opt_bool dry_run;
};

#endif
