/* test_catalogue.c: look-ups in a snapshot, and its reference count. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/catalogue.h"

/* Streams "a", "ab", "b" with n shards that split the hash range evenly; "ab" has the consumers "x" and "xy". */
static struct catalogue *snapshot_new(uint32_t n)
{
	static const char *const names[] = {"a", "ab", "b"};
	struct catalogue *snapshot = xcalloc(1, sizeof(*snapshot));

	atomic_init(&snapshot->refs, 1);
	snapshot->n_streams = 3;
	snapshot->streams = xcalloc(3, sizeof(*snapshot->streams));
	for (uint32_t i = 0; i < 3; i++) {
		struct stream_info *stream = &snapshot->streams[i];

		stream->id = 10 + i;
		snprintf(stream->name, sizeof(stream->name), "%s", names[i]);
		stream->n_shards = n;
		stream->shards = n ? xcalloc(n, sizeof(*stream->shards)) : NULL;
		for (uint32_t k = 0; k < n; k++) {
			uint128 width = ~(uint128)0 / n;

			stream->shards[k].key.shard = k;
			stream->shards[k].hash_first = width * k;
			stream->shards[k].hash_last = k + 1 < n ? width * (k + 1) - 1 : ~(uint128)0;
		}
	}
	snapshot->streams[1].n_consumers = 2;
	snapshot->streams[1].consumers = xcalloc(2, sizeof(struct consumer_info));
	snprintf(snapshot->streams[1].consumers[0].name, 2, "x");
	snprintf(snapshot->streams[1].consumers[1].name, 3, "xy");
	return snapshot;
}

Test(catalogue, finds_streams_by_name)
{
	struct catalogue *snapshot = snapshot_new(1);

	cr_assert_eq(catalogue_stream(snapshot, STR("a")), &snapshot->streams[0]);
	cr_assert_eq(catalogue_stream(snapshot, STR("ab")), &snapshot->streams[1]);
	cr_assert_eq(catalogue_stream(snapshot, STR("b")), &snapshot->streams[2]);
	cr_assert_null(catalogue_stream(snapshot, STR("")));
	cr_assert_null(catalogue_stream(snapshot, STR("abc")));
	cr_assert_null(catalogue_stream(snapshot, STR("A")));
	cr_assert_null(catalogue_stream(snapshot, (struct str){NULL, 0}));
	cr_assert_eq(catalogue_stream(snapshot, (struct str){"abc", 2}), &snapshot->streams[1], "a name ends at its length, not at a NUL");
	catalogue_unref(snapshot);
}

Test(catalogue, finds_streams_by_id)
{
	struct catalogue *snapshot = snapshot_new(1);

	cr_assert_eq(catalogue_stream_by_id(snapshot, 12), &snapshot->streams[2]);
	cr_assert_null(catalogue_stream_by_id(snapshot, 13));
	catalogue_unref(snapshot);
}

Test(catalogue, finds_shards_by_number_with_gaps)
{
	struct catalogue *snapshot = snapshot_new(4);
	struct stream_info *stream = &snapshot->streams[0];

	stream->shards[2].key.shard = 7;
	stream->shards[3].key.shard = UINT32_MAX - 1;
	cr_assert_eq(stream_shard(stream, 1), &stream->shards[1]);
	cr_assert_eq(stream_shard(stream, 7), &stream->shards[2]);
	cr_assert_eq(stream_shard(stream, UINT32_MAX - 1), &stream->shards[3]);
	cr_assert_null(stream_shard(stream, 2));
	cr_assert_null(stream_shard(stream, UINT32_MAX));
	catalogue_unref(snapshot);
}

Test(catalogue, finds_the_open_shard_that_covers_a_hash)
{
	struct catalogue *snapshot = snapshot_new(4);
	struct stream_info *stream = &snapshot->streams[0];

	cr_assert_eq(stream_shard_for(stream, 0), &stream->shards[0]);
	cr_assert_eq(stream_shard_for(stream, ~(uint128)0), &stream->shards[3]);
	cr_assert_eq(stream_shard_for(stream, stream->shards[1].hash_last), &stream->shards[1]);
	cr_assert_eq(stream_shard_for(stream, stream->shards[1].hash_last + 1), &stream->shards[2]);
	cr_assert_eq(stream_open_shards(stream), 4);
	stream->shards[2].closed = true;
	cr_assert_null(stream_shard_for(stream, stream->shards[2].hash_first));
	cr_assert_eq(stream_open_shards(stream), 3);
	catalogue_unref(snapshot);
}

Test(catalogue, of_nothing_there_is_nothing)
{
	struct catalogue *snapshot = snapshot_new(0);
	struct stream_info *stream = &snapshot->streams[0];

	cr_assert_null(stream_shard(stream, 0));
	cr_assert_null(stream_shard_for(stream, 0));
	cr_assert_null(stream_consumer(stream, STR("x")));
	cr_assert_eq(stream_open_shards(stream), 0);
	catalogue_unref(snapshot);
}

Test(catalogue, finds_consumers)
{
	struct catalogue *snapshot = snapshot_new(1);
	struct stream_info *stream = &snapshot->streams[1];

	cr_assert_eq(stream_consumer(stream, STR("x")), &stream->consumers[0]);
	cr_assert_eq(stream_consumer(stream, STR("xy")), &stream->consumers[1]);
	cr_assert_null(stream_consumer(stream, STR("y")));
	cr_assert_null(stream_consumer(stream, (struct str){NULL, 0}));
	catalogue_unref(snapshot);
}

Test(catalogue, lives_until_the_last_reference)
{
	struct catalogue *snapshot = snapshot_new(1);

	cr_assert_eq(catalogue_ref(snapshot), snapshot);
	catalogue_unref(snapshot);
	cr_assert_not_null(catalogue_stream(snapshot, STR("a")));
	catalogue_unref(snapshot);
	catalogue_unref(NULL);
}

Test(catalogue, names_states_as_answers_do)
{
	cr_assert_str_eq(stream_status_name(STREAM_CREATING), "CREATING");
	cr_assert_str_eq(stream_status_name(STREAM_ACTIVE), "ACTIVE");
	cr_assert_str_eq(stream_status_name(STREAM_UPDATING), "UPDATING");
	cr_assert_str_eq(stream_status_name(STREAM_DELETING), "DELETING");
	cr_assert_str_eq(consumer_status_name(CONSUMER_CREATING), "CREATING");
	cr_assert_str_eq(consumer_status_name(CONSUMER_ACTIVE), "ACTIVE");
	cr_assert_str_eq(consumer_status_name(CONSUMER_DELETING), "DELETING");
	cr_assert_str_eq(stream_mode_name(MODE_PROVISIONED), "PROVISIONED");
	cr_assert_str_eq(stream_mode_name(MODE_ON_DEMAND), "ON_DEMAND");
}
