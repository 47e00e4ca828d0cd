/* test_batch.c: frames there and back, damage, references and what is counted. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "penstock/batch.h"
#include "penstock/crc32c.h"
#include "penstock/metrics.h"

static const struct shard_key shard = {.stream = 7, .shard = 3, .created_s = 1600000000};

Test(batch, frames)
{
	struct batch *batch = batch_new(&shard);
	batch->first = 100;
	batch->arrival_ms = 5;
	cr_assert_eq(batch_reserve(batch, 100), STATUS_OK);
	cr_assert_geq(batch->frames_cap, 100);
	char data[300];
	memset(data, 'd', sizeof(data));
	for (size_t i = 0; i < 200; i++)
		cr_assert_eq(batch_append(batch, (struct str){"kkkkkkkkkk", 1 + i % 10}, (struct str){data, i}), STATUS_OK);
	cr_assert_eq(batch->count, 200);
	cr_assert_eq(batch_last(batch), 299);
	cr_assert_eq(batch->payload, batch->frames_len - 200 * RECORD_FRAME_HEAD);
	size_t cursor = 0;
	uint32_t nth;
	struct record record;
	for (size_t i = 0; i < 200; i++) {
		cr_assert(batch_next(batch, &cursor, &nth, &record));
		cr_assert_eq(record.index, 100 + i);
		cr_assert_eq(record.arrival_ms, 5);
		cr_assert_eq(record.key.n, 1 + i % 10);
		cr_assert_eq(record.data.n, i);
		cr_assert(i == 0 || record.data.p[i - 1] == 'd');
	}
	cr_assert(!batch_next(batch, &cursor, &nth, &record));
	cr_assert_eq(cursor, batch->frames_len);
	batch_unref(batch);
}

Test(batch, frame_bytes_are_as_the_log_has_them)
{
	struct batch *batch = batch_new(&shard);
	cr_assert_eq(batch_append(batch, STR("ab"), STR("xyz")), STATUS_OK);
	static const uint8_t want[] = {3, 0, 0, 0, 2, 0, 0, 0, 'a', 'b', 'x', 'y', 'z'};
	cr_assert_eq(batch->frames_len, sizeof(want));
	cr_assert_eq(memcmp(batch->frames, want, sizeof(want)), 0);
	batch_unref(batch);
}

/* Parts follow each other without a gap, obey the bound, and each has the checksum of its own frames. */
static void check_parts(const struct batch *batch)
{
	size_t at = 0;
	uint32_t nth = 0;
	for (uint32_t i = 0; i < batch_parts(batch); i++) {
		struct batch_part part = batch_part(batch, i);
		cr_assert(part.at == at && part.nth == nth && (part.count || !batch->count), "part %u", i);
		cr_assert(part.len <= BATCH_PART_BYTES || part.count == 1, "part %u", i);
		cr_assert_eq(part.crc, crc32c(0, batch->frames + at, part.len), "part %u", i);
		at += part.len;
		nth += part.count;
	}
	cr_assert(at == batch->frames_len && nth == batch->count);
}

/* It is kept up while the batch grows, whatever the records' sizes. */
Test(batch, each_part_has_the_checksum_of_its_frames)
{
	static char data[40000];
	struct batch *batch = batch_new(&shard);
	check_parts(batch);
	for (size_t i = 0; i < 200; i++) {
		memset(data, (int)i, sizeof(data));
		cr_assert_eq(batch_append(batch, STR("key"), (struct str){data, i * i * 7 % sizeof(data)}), STATUS_OK);
		check_parts(batch);
	}
	cr_assert_gt(batch_parts(batch), 4);
	cr_assert(batch->summed > batch->part.at, "most of it was done on the way");
	batch_unref(batch);
}

Test(batch, a_part_ends_before_the_record_that_would_cross_the_bound)
{
	static char data[BATCH_PART_BYTES + 1];
	struct batch *batch = batch_new(&shard);
	size_t half = BATCH_PART_BYTES / 2 - RECORD_FRAME_HEAD;
	for (int i = 0; i < 2; i++)
		cr_assert_eq(batch_append(batch, STR(""), (struct str){data, half}), STATUS_OK);
	cr_assert_eq(batch_parts(batch), 1, "it fits to the byte");
	const size_t sizes[] = {0, sizeof(data), 1};
	for (size_t i = 0; i < 3; i++) {
		cr_assert_eq(batch_append(batch, STR(""), (struct str){data, sizes[i]}), STATUS_OK);
		check_parts(batch);
		cr_assert_eq(batch_parts(batch), 2 + i, "the large one stands alone");
	}
	batch_unref(batch);
}

Test(batch, damaged_frames_do_not_lead_out)
{
	struct batch *batch = batch_new(&shard);
	cr_assert_eq(batch_append(batch, STR("key"), STR("data")), STATUS_OK);
	uint8_t whole[64];
	size_t n = batch->frames_len, cursor;
	uint32_t nth;
	struct record record;
	memcpy(whole, batch->frames, n);
	for (size_t i = 0; i < n; i++) { /* cut anywhere */
		batch->frames_len = i;
		cursor = 0;
		cr_assert(!batch_next(batch, &cursor, &nth, &record));
		cr_assert_eq(cursor, 0);
	}
	batch->frames_len = n;
	for (size_t i = 0; i < RECORD_FRAME_HEAD; i++) { /* any length larger */
		batch->frames[i] = 0xff;
		cursor = 0;
		cr_assert(!batch_next(batch, &cursor, &nth, &record), "byte %zu", i);
		memcpy(batch->frames, whole, n);
	}
	batch_unref(batch);
}

Test(batch, no_memory_leaves_it_as_it_was)
{
	struct batch *batch = batch_new(&shard);
	cr_assert_eq(batch_append(batch, STR("k"), STR("v")), STATUS_OK);
	cr_assert_eq(batch_reserve(batch, SIZE_MAX / 2), STATUS_NO_MEMORY);
	cr_assert_eq(batch->count, 1);
	cr_assert_eq(batch->frames_len, RECORD_FRAME_HEAD + 2);
	cr_assert_null(message_new(SIZE_MAX));
	batch_unref(batch);
}

Test(batch, references_and_gauges)
{
	struct batch *batch = batch_new(&shard);
	cr_assert_eq(batch_append(batch, STR("k"), STR("v")), STATUS_OK);
	cr_assert_eq(metric_get(METRIC_batches_live), 1);
	int64_t bytes = metric_get(METRIC_batch_bytes_live);
	cr_assert_eq(bytes, (int64_t)(sizeof(*batch) + batch->frames_cap));
	struct message *message = message_new(1000);
	cr_assert_eq(message->head_len, 1000);
	cr_assert_eq(metric_get(METRIC_events_live), 1);
	cr_assert_geq(metric_get(METRIC_event_bytes_live), 1000);
	batch->messages = malloc(sizeof(message));
	batch->messages[0] = message_ref(message);
	batch->n_messages = 1;
	cr_assert_eq(batch_ref(batch), batch);
	batch_unref(batch);
	cr_assert_eq(metric_get(METRIC_batches_live), 1);
	batch_unref(batch);
	cr_assert_eq(metric_get(METRIC_batches_live), 0);
	cr_assert_eq(metric_get(METRIC_batch_bytes_live), 0);
	cr_assert_eq(metric_get(METRIC_events_live), 1, "our reference keeps the event");
	message_unref(message);
	cr_assert_eq(metric_get(METRIC_events_live), 0);
	cr_assert_eq(metric_get(METRIC_event_bytes_live), 0);
	batch_unref(NULL);
	message_unref(NULL);
}

Test(batch, metrics_text)
{
	struct buf out = {0};
	metric_add(METRIC_requests, 3);
	metrics_text(&out);
	buf_put_char(&out, '\0');
	cr_assert_not_null(strstr((char *)out.p, "# TYPE penstock_requests_total counter\npenstock_requests_total 3\n"));
	cr_assert_not_null(strstr((char *)out.p, "# TYPE penstock_connections gauge\npenstock_connections 0\n"));
	buf_free(&out);
}

/* Room made ahead is given back, unless it is little beside what is used; the bytes stay. */
Test(batch, trimmed)
{
	struct batch *batch = batch_new(&shard);
	int64_t live = metric_get(METRIC_batch_bytes_live);
	batch_trim(batch);
	cr_assert_eq(batch_reserve(batch, 100000), STATUS_OK);
	cr_assert_eq(batch_append(batch, STR("key"), STR("data")), STATUS_OK);
	batch_trim(batch);
	cr_assert(batch->frames_cap == batch->frames_len && batch->frames_len == RECORD_FRAME_HEAD + 7);
	cr_assert_eq(metric_get(METRIC_batch_bytes_live) - live, (int64_t)batch->frames_cap);
	size_t cursor = 0;
	uint32_t nth = 0;
	struct record record;
	cr_assert(batch_next(batch, &cursor, &nth, &record) && str_equal(record.data, STR("data")) && str_equal(record.key, STR("key")));
	cr_assert_eq(batch_reserve(batch, 5), STATUS_OK);
	size_t cap = batch->frames_cap;
	batch_trim(batch);
	cr_assert_eq(batch->frames_cap, cap, "as good as full");
	cr_assert_eq(metric_get(METRIC_batch_bytes_live) - live, (int64_t)cap);
	batch_unref(batch);
}
