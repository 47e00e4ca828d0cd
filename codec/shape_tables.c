/* shape_tables.c: the 57 operations and the inputs of those that are here. Constant: any thread.
 *
 * Constraints are those of the public service model; the order of members is the order in which AWS converts and validates them
 * (recorded by kinesalite where it knows the operation, else the model's with the stream's names last). StreamId is not in the tables: it
 * is reserved, and an unknown member is accepted and ignored. */
#include <stddef.h>

#include "codec/shape_table.h"
#include "penstock/api.h"

#define MEMBER(in, field, name_, shape_)                                                  \
	{                                                                                 \
		.name = (name_), .shape = &(shape_), .offset = offsetof(struct in, field) \
	}
#define REQUIRED(in, field, name_, shape_)                                                                  \
	{                                                                                                   \
		.name = (name_), .shape = &(shape_), .offset = offsetof(struct in, field), .required = true \
	}
#define RANGE(min_, max_)                                                      \
	{                                                                      \
		.has_min = true, .has_max = true, .min = (min_), .max = (max_) \
	}
#define AT_LEAST(min_)                         \
	{                                      \
		.has_min = true, .min = (min_) \
	}
#define END                  \
	{                    \
		.name = NULL \
	}

/* ---- Shapes ---- */

static const char *const iterator_types[] = {"AFTER_SEQUENCE_NUMBER", "LATEST", "AT_TIMESTAMP", "AT_SEQUENCE_NUMBER", "TRIM_HORIZON", NULL};
static const char *const filter_types[] = {
	"AFTER_SHARD_ID", "AT_TRIM_HORIZON", "FROM_TRIM_HORIZON", "AT_LATEST", "AT_TIMESTAMP", "FROM_TIMESTAMP", NULL};
static const char *const stream_modes[] = {"PROVISIONED", "ON_DEMAND", NULL};
static const char *const distribution_strategies[] = {"AUTO", "USER_PARTITION_KEY", NULL};
static const char *const scaling_types[] = {"UNIFORM_SCALING", NULL};

static const struct shape name = {.type = SHAPE_STRING, .range = RANGE(1, 128), .pattern = &pattern_name};
static const struct shape stream_arn = {.type = SHAPE_STRING, .range = RANGE(1, 2048), .pattern = &pattern_stream_arn};
static const struct shape consumer_arn = {.type = SHAPE_STRING, .range = RANGE(1, 2048), .pattern = &pattern_consumer_arn};
static const struct shape hash_key = {.type = SHAPE_STRING, .pattern = &pattern_hash_key};
static const struct shape sequence_number = {.type = SHAPE_STRING, .pattern = &pattern_sequence_number};
static const struct shape partition_key = {.type = SHAPE_STRING, .range = RANGE(1, 256)};
static const struct shape shard_iterator = {.type = SHAPE_STRING, .range = RANGE(1, 512)};
static const struct shape next_token = {.type = SHAPE_STRING, .range = RANGE(1, 1048576)};
static const struct shape iterator_type = {.type = SHAPE_STRING, .values = iterator_types};
static const struct shape filter_type = {.type = SHAPE_STRING, .values = filter_types};
static const struct shape stream_mode = {.type = SHAPE_STRING, .values = stream_modes};
static const struct shape scaling_type = {.type = SHAPE_STRING, .values = scaling_types};
static const struct shape distribution_strategy = {.type = SHAPE_STRING, .values = distribution_strategies};
static const struct shape limit = {.type = SHAPE_INTEGER, .range = RANGE(1, 10000)};
/* PositiveIntegerObject. The model has no upper bound any more; AWS's validation still has. */
static const struct shape positive = {.type = SHAPE_INTEGER, .range = RANGE(1, 100000)};
static const struct shape natural = {.type = SHAPE_INTEGER, .range = AT_LEAST(0)};
static const struct shape record_size = {.type = SHAPE_INTEGER, .range = RANGE(1024, 10240)};
static const struct shape boolean = {.type = SHAPE_BOOLEAN};
static const struct shape timestamp = {.type = SHAPE_TIMESTAMP};
static const struct shape data = {.type = SHAPE_BLOB, .range = RANGE(0, 10485760)};
static const struct shape tags = {.type = SHAPE_TAGS, .range = RANGE(1, 200), .key = RANGE(1, 128), .value = RANGE(0, 256)};

/* ---- Inputs ---- */

static const struct member nothing_members[] = {END};
static const struct shape nothing = {.type = SHAPE_STRUCTURE, .members = nothing_members};

static const struct member mode_details_members[] = {
	REQUIRED(create_stream_input, stream_mode, "StreamMode", stream_mode),
	END,
};
static const struct shape mode_details = {.type = SHAPE_STRUCTURE, .members = mode_details_members};

static const struct member create_stream_members[] = {
	MEMBER(create_stream_input, shard_count, "ShardCount", positive),
	REQUIRED(create_stream_input, stream_name, "StreamName", name),
	{.name = "StreamModeDetails", .shape = &mode_details, .extra = offsetof(struct create_stream_input, has_stream_mode_details)},
	{.name = "Tags",
	 .shape = &tags,
	 .offset = offsetof(struct create_stream_input, tags),
	 .extra = offsetof(struct create_stream_input, n_tags)},
	MEMBER(create_stream_input, warm_throughput_mibps, "WarmThroughputMiBps", natural),
	MEMBER(create_stream_input, max_record_size_kib, "MaxRecordSizeInKiB", record_size),
	MEMBER(create_stream_input, record_distribution_strategy, "RecordDistributionStrategy", distribution_strategy),
	END,
};
static const struct shape create_stream = {.type = SHAPE_STRUCTURE, .members = create_stream_members};

static const struct member delete_stream_members[] = {
	MEMBER(delete_stream_input, stream_name, "StreamName", name),
	MEMBER(delete_stream_input, stream_arn, "StreamARN", stream_arn),
	MEMBER(delete_stream_input, enforce_consumer_deletion, "EnforceConsumerDeletion", boolean),
	END,
};
static const struct shape delete_stream = {.type = SHAPE_STRUCTURE, .members = delete_stream_members};

static const struct member describe_stream_members[] = {
	MEMBER(describe_stream_input, limit, "Limit", limit),
	MEMBER(describe_stream_input, exclusive_start_shard_id, "ExclusiveStartShardId", name),
	MEMBER(describe_stream_input, stream_name, "StreamName", name),
	MEMBER(describe_stream_input, stream_arn, "StreamARN", stream_arn),
	END,
};
static const struct shape describe_stream = {.type = SHAPE_STRUCTURE, .members = describe_stream_members};

static const struct member describe_stream_summary_members[] = {
	MEMBER(describe_stream_summary_input, stream_name, "StreamName", name),
	MEMBER(describe_stream_summary_input, stream_arn, "StreamARN", stream_arn),
	END,
};
static const struct shape describe_stream_summary = {.type = SHAPE_STRUCTURE, .members = describe_stream_summary_members};

static const struct member list_streams_members[] = {
	MEMBER(list_streams_input, limit, "Limit", limit),
	MEMBER(list_streams_input, exclusive_start_stream_name, "ExclusiveStartStreamName", name),
	MEMBER(list_streams_input, next_token, "NextToken", next_token),
	END,
};
static const struct shape list_streams = {.type = SHAPE_STRUCTURE, .members = list_streams_members};

static const struct member shard_filter_members[] = {
	REQUIRED(shard_filter, type, "Type", filter_type),
	MEMBER(shard_filter, shard_id, "ShardId", name),
	MEMBER(shard_filter, timestamp, "Timestamp", timestamp),
	END,
};
static const struct shape shard_filter = {.type = SHAPE_STRUCTURE, .members = shard_filter_members};

static const struct member list_shards_members[] = {
	MEMBER(list_shards_input, exclusive_start_shard_id, "ExclusiveStartShardId", name),
	MEMBER(list_shards_input, max_results, "MaxResults", limit),
	MEMBER(list_shards_input, next_token, "NextToken", next_token),
	MEMBER(list_shards_input, stream_creation_timestamp, "StreamCreationTimestamp", timestamp),
	MEMBER(list_shards_input, stream_name, "StreamName", name),
	MEMBER(list_shards_input, stream_arn, "StreamARN", stream_arn),
	{.name = "ShardFilter",
	 .shape = &shard_filter,
	 .offset = offsetof(struct list_shards_input, filter),
	 .extra = offsetof(struct list_shards_input, filter.present)},
	END,
};
static const struct shape list_shards = {.type = SHAPE_STRUCTURE, .members = list_shards_members};

static const struct member put_record_members[] = {
	MEMBER(put_record_input, sequence_number_for_ordering, "SequenceNumberForOrdering", sequence_number),
	REQUIRED(put_record_input, partition_key, "PartitionKey", partition_key),
	MEMBER(put_record_input, explicit_hash_key, "ExplicitHashKey", hash_key),
	REQUIRED(put_record_input, data, "Data", data),
	MEMBER(put_record_input, stream_name, "StreamName", name),
	MEMBER(put_record_input, stream_arn, "StreamARN", stream_arn),
	MEMBER(put_record_input, dry_run, "DryRun", boolean),
	END,
};
static const struct shape put_record = {.type = SHAPE_STRUCTURE, .members = put_record_members};

static const struct member put_records_entry_members[] = {
	REQUIRED(put_records_entry, partition_key, "PartitionKey", partition_key),
	MEMBER(put_records_entry, explicit_hash_key, "ExplicitHashKey", hash_key),
	REQUIRED(put_records_entry, data, "Data", data),
	END,
};
static const struct shape put_records_entry = {.type = SHAPE_STRUCTURE, .members = put_records_entry_members};
static const struct shape put_records_list = {
	.type = SHAPE_LIST,
	.range = RANGE(1, 500),
	.element = &put_records_entry,
	.element_size = sizeof(struct put_records_entry),
};

static const struct member put_records_members[] = {
	{.name = "Records",
	 .shape = &put_records_list,
	 .required = true,
	 .offset = offsetof(struct put_records_input, records),
	 .extra = offsetof(struct put_records_input, n_records)},
	MEMBER(put_records_input, stream_name, "StreamName", name),
	MEMBER(put_records_input, stream_arn, "StreamARN", stream_arn),
	MEMBER(put_records_input, dry_run, "DryRun", boolean),
	END,
};
static const struct shape put_records = {.type = SHAPE_STRUCTURE, .members = put_records_members};

static const struct member get_shard_iterator_members[] = {
	REQUIRED(get_shard_iterator_input, shard_id, "ShardId", name),
	REQUIRED(get_shard_iterator_input, shard_iterator_type, "ShardIteratorType", iterator_type),
	MEMBER(get_shard_iterator_input, starting_sequence_number, "StartingSequenceNumber", sequence_number),
	MEMBER(get_shard_iterator_input, stream_name, "StreamName", name),
	MEMBER(get_shard_iterator_input, stream_arn, "StreamARN", stream_arn),
	MEMBER(get_shard_iterator_input, timestamp, "Timestamp", timestamp),
	MEMBER(get_shard_iterator_input, dry_run, "DryRun", boolean),
	END,
};
static const struct shape get_shard_iterator = {.type = SHAPE_STRUCTURE, .members = get_shard_iterator_members};

static const struct member get_records_members[] = {
	MEMBER(get_records_input, limit, "Limit", limit),
	REQUIRED(get_records_input, shard_iterator, "ShardIterator", shard_iterator),
	MEMBER(get_records_input, stream_arn, "StreamARN", stream_arn),
	MEMBER(get_records_input, dry_run, "DryRun", boolean),
	END,
};
static const struct shape get_records = {.type = SHAPE_STRUCTURE, .members = get_records_members};

static const struct member register_stream_consumer_members[] = {
	REQUIRED(register_stream_consumer_input, stream_arn, "StreamARN", stream_arn),
	REQUIRED(register_stream_consumer_input, consumer_name, "ConsumerName", name),
	{.name = "Tags",
	 .shape = &tags,
	 .offset = offsetof(struct register_stream_consumer_input, tags),
	 .extra = offsetof(struct register_stream_consumer_input, n_tags)},
	END,
};
static const struct shape register_stream_consumer = {.type = SHAPE_STRUCTURE, .members = register_stream_consumer_members};

/* Describe and Deregister */
static const struct member stream_consumer_members[] = {
	MEMBER(stream_consumer_input, stream_arn, "StreamARN", stream_arn),
	MEMBER(stream_consumer_input, consumer_name, "ConsumerName", name),
	MEMBER(stream_consumer_input, consumer_arn, "ConsumerARN", consumer_arn),
	END,
};
static const struct shape stream_consumer = {.type = SHAPE_STRUCTURE, .members = stream_consumer_members};

static const struct member list_stream_consumers_members[] = {
	REQUIRED(list_stream_consumers_input, stream_arn, "StreamARN", stream_arn),
	MEMBER(list_stream_consumers_input, next_token, "NextToken", next_token),
	MEMBER(list_stream_consumers_input, max_results, "MaxResults", limit),
	MEMBER(list_stream_consumers_input, stream_creation_timestamp, "StreamCreationTimestamp", timestamp),
	END,
};
static const struct shape list_stream_consumers = {.type = SHAPE_STRUCTURE, .members = list_stream_consumers_members};

static const struct member starting_position_members[] = {
	REQUIRED(starting_position, type, "Type", iterator_type),
	MEMBER(starting_position, sequence_number, "SequenceNumber", sequence_number),
	MEMBER(starting_position, timestamp, "Timestamp", timestamp),
	END,
};
static const struct shape starting_position = {.type = SHAPE_STRUCTURE, .members = starting_position_members};

static const struct member subscribe_to_shard_members[] = {
	REQUIRED(subscribe_to_shard_input, consumer_arn, "ConsumerARN", consumer_arn),
	REQUIRED(subscribe_to_shard_input, shard_id, "ShardId", name),
	{.name = "StartingPosition",
	 .shape = &starting_position,
	 .required = true,
	 .offset = offsetof(struct subscribe_to_shard_input, position),
	 .extra = offsetof(struct subscribe_to_shard_input, position.present)},
	MEMBER(subscribe_to_shard_input, dry_run, "DryRun", boolean),
	END,
};
static const struct shape subscribe_to_shard = {.type = SHAPE_STRUCTURE, .members = subscribe_to_shard_members};

static const struct member split_shard_members[] = {
	REQUIRED(split_shard_input, new_starting_hash_key, "NewStartingHashKey", hash_key),
	MEMBER(split_shard_input, stream_name, "StreamName", name),
	MEMBER(split_shard_input, stream_arn, "StreamARN", stream_arn),
	REQUIRED(split_shard_input, shard_to_split, "ShardToSplit", name),
	END,
};
static const struct shape split_shard = {.type = SHAPE_STRUCTURE, .members = split_shard_members};

static const struct member merge_shards_members[] = {
	REQUIRED(merge_shards_input, shard_to_merge, "ShardToMerge", name),
	REQUIRED(merge_shards_input, adjacent_shard_to_merge, "AdjacentShardToMerge", name),
	MEMBER(merge_shards_input, stream_name, "StreamName", name),
	MEMBER(merge_shards_input, stream_arn, "StreamARN", stream_arn),
	END,
};
static const struct shape merge_shards = {.type = SHAPE_STRUCTURE, .members = merge_shards_members};

static const struct member update_shard_count_members[] = {
	REQUIRED(update_shard_count_input, scaling_type, "ScalingType", scaling_type),
	MEMBER(update_shard_count_input, stream_name, "StreamName", name),
	MEMBER(update_shard_count_input, stream_arn, "StreamARN", stream_arn),
	REQUIRED(update_shard_count_input, target_shard_count, "TargetShardCount", positive),
	END,
};
static const struct shape update_shard_count = {.type = SHAPE_STRUCTURE, .members = update_shard_count_members};

/* ---- Operations ---- */

#define HERE(name_, input_, struct_, number_)                         \
	{                                                             \
		(name_), &(input_), sizeof(struct struct_), (number_) \
	}
#define NOT_THERE_YET(name_)                           \
	{                                              \
		(name_), &nothing, 0, OP_NOT_THERE_YET \
	}

/* The search is a walk (a length and a memcmp each), so the calls that come all day stand in front. */
static const struct operation operations[] = {
	HERE("PutRecords", put_records, put_records_input, OP_PUT_RECORDS),
	HERE("PutRecord", put_record, put_record_input, OP_PUT_RECORD),
	HERE("GetRecords", get_records, get_records_input, OP_GET_RECORDS),
	HERE("SubscribeToShard", subscribe_to_shard, subscribe_to_shard_input, OP_SUBSCRIBE_TO_SHARD),
	HERE("GetShardIterator", get_shard_iterator, get_shard_iterator_input, OP_GET_SHARD_ITERATOR),
	HERE("ListShards", list_shards, list_shards_input, OP_LIST_SHARDS),
	HERE("DescribeStreamSummary", describe_stream_summary, describe_stream_summary_input, OP_DESCRIBE_STREAM_SUMMARY),
	HERE("DescribeStreamConsumer", stream_consumer, stream_consumer_input, OP_DESCRIBE_STREAM_CONSUMER),
	HERE("CreateStream", create_stream, create_stream_input, OP_CREATE_STREAM),
	HERE("DeleteStream", delete_stream, delete_stream_input, OP_DELETE_STREAM),
	HERE("DescribeStream", describe_stream, describe_stream_input, OP_DESCRIBE_STREAM),
	HERE("ListStreams", list_streams, list_streams_input, OP_LIST_STREAMS),
	HERE("RegisterStreamConsumer", register_stream_consumer, register_stream_consumer_input, OP_REGISTER_STREAM_CONSUMER),
	HERE("ListStreamConsumers", list_stream_consumers, list_stream_consumers_input, OP_LIST_STREAM_CONSUMERS),
	HERE("DeregisterStreamConsumer", stream_consumer, stream_consumer_input, OP_DEREGISTER_STREAM_CONSUMER),
	HERE("SplitShard", split_shard, split_shard_input, OP_SPLIT_SHARD),
	HERE("MergeShards", merge_shards, merge_shards_input, OP_MERGE_SHARDS),
	HERE("UpdateShardCount", update_shard_count, update_shard_count_input, OP_UPDATE_SHARD_COUNT),
	NOT_THERE_YET("AddTagsToStream"),
	NOT_THERE_YET("DecreaseStreamRetentionPeriod"),
	NOT_THERE_YET("DeleteResourcePolicy"),
	NOT_THERE_YET("DescribeAccountSettings"),
	NOT_THERE_YET("DescribeLimits"),
	NOT_THERE_YET("DisableEnhancedMonitoring"),
	NOT_THERE_YET("EnableEnhancedMonitoring"),
	NOT_THERE_YET("GetResourcePolicy"),
	NOT_THERE_YET("IncreaseStreamRetentionPeriod"),
	NOT_THERE_YET("ListTagsForResource"),
	NOT_THERE_YET("ListTagsForStream"),
	NOT_THERE_YET("PutResourcePolicy"),
	NOT_THERE_YET("RemoveTagsFromStream"),
	NOT_THERE_YET("StartStreamEncryption"),
	NOT_THERE_YET("StopStreamEncryption"),
	NOT_THERE_YET("TagResource"),
	NOT_THERE_YET("UntagResource"),
	NOT_THERE_YET("UpdateAccountSettings"),
	NOT_THERE_YET("UpdateMaxRecordSize"),
	NOT_THERE_YET("UpdateStreamMode"),
	NOT_THERE_YET("UpdateStreamWarmThroughput"),
	NOT_THERE_YET("AcknowledgeDeadLetterQueueRecords"),
	NOT_THERE_YET("AcknowledgeQueueRecords"),
	NOT_THERE_YET("CreateChannel"),
	NOT_THERE_YET("CreateQueue"),
	NOT_THERE_YET("DeleteChannel"),
	NOT_THERE_YET("DeleteQueue"),
	NOT_THERE_YET("DescribeChannel"),
	NOT_THERE_YET("DescribeQueue"),
	NOT_THERE_YET("ListChannels"),
	NOT_THERE_YET("ListQueues"),
	NOT_THERE_YET("ReceiveDeadLetterQueueRecords"),
	NOT_THERE_YET("ReceiveQueueRecords"),
	NOT_THERE_YET("RestoreDeadLetterQueueRecords"),
	NOT_THERE_YET("UpdateChannel"),
	NOT_THERE_YET("UpdateDeadLetterQueueRecordsVisibility"),
	NOT_THERE_YET("UpdateQueue"),
	NOT_THERE_YET("UpdateQueueRecordsVisibility"),
	NOT_THERE_YET("UpdateStreamRecordDistributionStrategy"),
};

#define N_OPERATIONS (sizeof(operations) / sizeof(operations[0]))
_Static_assert(N_OPERATIONS == 57, "API version 2013-12-02 has 57 operations, as of November 2026");

const struct operation *operation_at(size_t i) { return i < N_OPERATIONS ? &operations[i] : NULL; }

const struct operation *operation_find(struct str wanted)
{
	for (size_t i = 0; i < N_OPERATIONS; i++)
		if (str_equal(wanted, str_of(operations[i].name)))
			return &operations[i];
	return NULL;
}
