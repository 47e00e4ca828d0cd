/* test_encode.c: the bytes of events. */
#include <zlib.h>

#include "fake_store.h"

static struct batch *new_batch(uint64_t first)
{
	struct batch *batch = batch_new(&the_shard);
	batch->first = first;
	batch->arrival_ms = INT64_C(1600000123007);
	return batch;
}

static void add(struct batch *batch, const char *key, const void *data, size_t n)
{
	cr_assert(batch_append(batch, str_of(key), (struct str){data, n}) == STATUS_OK);
}

static struct buf bytes_of(const struct message *message, const uint8_t *trailer)
{
	struct buf out = {0};
	buf_put(&out, message->head, message->head_len);
	if (message->trailer_len)
		buf_put(&out, trailer ? trailer : message->trailer0, MESSAGE_TRAILER);
	cr_assert(out.n == message_len(message));
	return out;
}

/* The payload as text; checks the frame, both CRCs with it. */
static char *payload_of(const struct message *message, const uint8_t *trailer)
{
	struct buf out = bytes_of(message, trailer);
	struct eventstream_view view;
	cr_assert(eventstream_decode(out.p, out.n, &view) == 1);
	cr_assert(view.total == out.n);
	char *payload = strndup(view.payload.p, view.payload.n);
	buf_free(&out);
	return payload;
}

Test(encode, byte_exact)
{
	struct batch *batch = new_batch(5);
	char expect[1024], one[SEQ_DIGITS + 1] = "", two[SEQ_DIGITS + 1] = "";
	add(batch, "a", "hello", 5);
	add(batch, "b", "", 0);
	cr_assert(message_encode(batch) == STATUS_OK);
	cr_assert(batch->n_messages == 1);
	struct message *message = batch->messages[0];
	cr_assert(message->count == 2 && message->first == 5 && message->last == 6 && message->payload == 7);
	seq_format(one, &the_shard, 5, 1600000123);
	seq_format(two, &the_shard, 6, 1600000123);
	snprintf(expect, sizeof(expect),
		 "{\"Records\":[{\"SequenceNumber\":\"%s\",\"ApproximateArrivalTimestamp\":1600000123.007,\"Data\":\"aGVsbG8=\","
		 "\"PartitionKey\":\"a\"},"
		 "{\"SequenceNumber\":\"%s\",\"ApproximateArrivalTimestamp\":1600000123.007,\"Data\":\"\",\"PartitionKey\":\"b\"}],"
		 "\"ContinuationSequenceNumber\":\"%s\",\"MillisBehindLatest\":0                   }",
		 one, two, two);
	char *payload = payload_of(message, NULL);
	cr_assert_str_eq(payload, expect);
	free(payload);
	batch_unref(batch);
	cr_assert(metric_get(METRIC_batches_encoded) == 1 && metric_get(METRIC_events_encoded) == 1);
	cr_assert(metric_get(METRIC_events_live) == 0);
}

Test(encode, both_checksums_are_true)
{
	struct batch *batch = new_batch(1);
	add(batch, "k", "data", 4);
	cr_assert(message_encode(batch) == STATUS_OK);
	struct buf out = bytes_of(batch->messages[0], NULL);
	uint32_t prelude = (uint32_t)crc32(0, out.p, 8), all = (uint32_t)crc32(0, out.p, (uInt)out.n - 4);
	cr_assert(out.p[8] == prelude >> 24 && out.p[11] == (prelude & 255));
	cr_assert(out.p[out.n - 4] == all >> 24 && out.p[out.n - 1] == (all & 255));
	out.p[20] ^= 1;
	struct eventstream_view view;
	cr_assert(eventstream_decode(out.p, out.n, &view) == -1);
	buf_free(&out);
	batch_unref(batch);
}

/* R15: MillisBehindLatest is there whatever its width, and the frame stays as long. */
Test(encode, R15_trailers_of_every_width)
{
	struct batch *batch = new_batch(1);
	uint8_t trailer[MESSAGE_TRAILER];
	add(batch, "k", "data", 4);
	cr_assert(message_encode(batch) == STATUS_OK);
	const int64_t values[] = {0, 1, 9, 10, 123456, INT64_MAX};
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		message_trailer(batch->messages[0], values[i], trailer);
		char *payload = payload_of(batch->messages[0], trailer);
		json_t *root = json_loads(payload, 0, NULL);
		cr_assert(root && json_integer_value(json_object_get(root, "MillisBehindLatest")) == values[i]);
		json_decref(root);
		free(payload);
	}
	message_trailer(batch->messages[0], 0, trailer);
	cr_assert(memcmp(trailer, batch->messages[0]->trailer0, MESSAGE_TRAILER) == 0);
	batch_unref(batch);
}

Test(encode, keys_are_escaped)
{
	const char *keys[] = {"quote\"back\\slash", "line\nfeed\ttab", "h\xc3\xa9llo \xe2\x82\xac \xf0\x9f\x98\x80", "\x01\x1f"};
	struct batch *batch = new_batch(1);
	for (size_t i = 0; i < 4; i++)
		add(batch, keys[i], "x", 1);
	cr_assert(message_encode(batch) == STATUS_OK);
	char *payload = payload_of(batch->messages[0], NULL);
	json_t *root = json_loads(payload, 0, NULL);
	cr_assert(root);
	for (size_t i = 0; i < 4; i++)
		cr_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(root, "Records"), i), "PartitionKey")),
				 keys[i]);
	json_decref(root);
	free(payload);
	batch_unref(batch);
}

Test(encode, ten_mebibyte_record_is_one_event)
{
	size_t n = 10u << 20;
	char *data = malloc(n);
	for (size_t i = 0; i < n; i++)
		data[i] = (char)(i * 31);
	struct batch *batch = new_batch(1);
	add(batch, "small", "x", 1);
	add(batch, "large", data, n);
	add(batch, "small", "y", 1);
	cr_assert(message_encode(batch) == STATUS_OK);
	cr_assert(batch->n_messages == 3, "%u", batch->n_messages);
	cr_assert(batch->messages[1]->count == 1 && message_len(batch->messages[1]) < 16u << 20);
	char *payload = payload_of(batch->messages[1], NULL);
	json_t *root = json_loads(payload, 0, NULL);
	json_t *value = json_object_get(json_array_get(json_object_get(root, "Records"), 0), "Data");
	uint8_t *back = malloc(json_string_length(value));
	size_t len;
	cr_assert(base64_decode((struct str){json_string_value(value), json_string_length(value)}, back, &len));
	cr_assert(len == n && memcmp(back, data, n) == 0);
	json_decref(root);
	free(payload);
	free(back);
	free(data);
	batch_unref(batch);
}

static bool ends_a_part(const struct batch *batch, uint64_t last)
{
	for (uint32_t k = 0; k < batch_parts(batch); k++)
		if (batch->first + batch_part(batch, k).nth + batch_part(batch, k).count == last + 1)
			return true;
	return false;
}

Test(encode, cuts_depend_on_the_batch_alone)
{
	char data[1000] = {0};
	struct batch *batch = new_batch(100), *again = new_batch(100);
	for (int i = 0; i < 1000; i++) {
		add(batch, "key", data, sizeof(data));
		add(again, "key", data, sizeof(data));
	}
	cr_assert(message_encode(batch) == STATUS_OK && message_encode(again) == STATUS_OK);
	cr_assert(batch->n_messages >= 5 && batch->n_messages == again->n_messages);
	uint64_t next = 100, payload = 0;
	for (uint32_t i = 0; i < batch->n_messages; i++) {
		const struct message *message = batch->messages[i], *other = again->messages[i];
		cr_assert(message->first == next && message->last == next + message->count - 1);
		cr_assert(message->head_len <= MESSAGE_CUT + 512);
		cr_assert(ends_a_part(batch, message->last) || message->head_len > MESSAGE_CUT - 2000, "cut too early");
		cr_assert(message->head_len == other->head_len && memcmp(message->head, other->head, message->head_len) == 0);
		next = message->last + 1;
		payload += message->payload;
	}
	cr_assert(next == 1100 && payload == batch->payload);
	batch_unref(batch);
	batch_unref(again);
}

/* What is read back in parts gives the events that everybody else got: a half-sent one goes on with the other's bytes. */
Test(encode, parts_give_the_events_of_the_whole)
{
	static char data[BATCH_PART_BYTES + 10];
	struct batch *batch = new_batch(100);
	for (size_t i = 0; i < 600; i++)
		add(batch, "key", data, i == 150 ? sizeof(data) : i * i * 11 % 20000);
	cr_assert(message_encode(batch) == STATUS_OK);
	uint32_t n = 0;
	for (uint32_t k = 0; k < batch_parts(batch); k++) {
		struct batch *part = part_of(batch, k);
		part->arrival_ms = batch->arrival_ms;
		cr_assert(batch_parts(part) == 1 && message_encode(part) == STATUS_OK);
		for (uint32_t i = 0; i < part->n_messages; i++, n++) {
			const struct message *message = part->messages[i], *whole = batch->messages[n];
			cr_assert(n < batch->n_messages && message->first == whole->first && message->last == whole->last, "event %u", n);
			cr_assert(message->head_len == whole->head_len && message->payload == whole->payload);
			cr_assert(memcmp(message->head, whole->head, whole->head_len) == 0);
		}
		batch_unref(part);
	}
	cr_assert(n == batch->n_messages && batch_parts(batch) > 8);
	/* A cursor that begins inside an event gets all of the rest of it. */
	for (uint32_t i = 0; i < batch->n_messages; i++) {
		const struct message *whole = batch->messages[i];
		struct message *range = message_range(batch, whole->last, whole->last);
		cr_assert(range->count == 1 && range->first == whole->last);
		message_unref(range);
		range = message_range(batch, whole->first, whole->last);
		cr_assert(range->head_len == whole->head_len && memcmp(range->head, whole->head, whole->head_len) == 0);
		message_unref(range);
	}
	batch_unref(batch);
}

Test(encode, a_range_is_a_private_event)
{
	char data[100] = {0};
	struct batch *batch = new_batch(10);
	for (int i = 0; i < 10; i++)
		add(batch, "key", data, sizeof(data));
	cr_assert(message_encode(batch) == STATUS_OK);
	struct message *message = message_range(batch, 14, 17);
	cr_assert(message->count == 4 && message->first == 14 && message->last == 17 && message->payload == 4 * 103);
	char *payload = payload_of(message, NULL);
	json_t *root = json_loads(payload, 0, NULL);
	cr_assert(json_array_size(json_object_get(root, "Records")) == 4);
	cr_assert(index_of(json_string_value(json_object_get(root, "ContinuationSequenceNumber"))) == 17);
	json_decref(root);
	free(payload);
	message_unref(message);
	/* Whole, it is the same as the shared one. */
	message = message_range(batch, 10, 19);
	cr_assert(message->head_len == batch->messages[0]->head_len);
	cr_assert(memcmp(message->head, batch->messages[0]->head, message->head_len) == 0);
	message_unref(message);
	batch_unref(batch);
}

/* A child's numbers lie above its parents', so its second may run ahead of the clock; the arrival time never does. */
Test(encode, number_never_below_the_shards_second)
{
	struct shard_key ahead = {.stream = 1, .shard = 9, .created_s = 1600000500};
	struct batch *batch = batch_new(&ahead);
	batch->first = 1;
	batch->arrival_ms = INT64_C(1600000123007);
	add(batch, "k", "x", 1);
	cr_assert(message_encode(batch) == STATUS_OK);
	char *payload = payload_of(batch->messages[0], NULL), expect[SEQ_DIGITS + 1] = "";
	seq_format(expect, &ahead, 1, ahead.created_s);
	cr_assert(strstr(payload, expect) && strstr(payload, "1600000123.007"));
	free(payload);
	batch_unref(batch);
}

Test(encode, initial_response_is_the_known_vector)
{
	static const uint8_t front[] = {0, 0, 0, 0x68, 0, 0, 0, 0x56, 0x4e, 0x68, 0x17, 0x24};
	static const uint8_t back[] = {'{', '}', 0xd5, 0x91, 0xc6, 0x2b};
	struct message *message = message_initial();
	cr_assert(message->trailer_len == 0 && message->head_len == 104);
	cr_assert(memcmp(message->head, front, sizeof(front)) == 0 && memcmp(message->head + 98, back, sizeof(back)) == 0);
	message_unref(message);
}

Test(encode, empty_event)
{
	struct message *message = message_empty(&the_shard, 0, CREATED_S);
	char *payload = payload_of(message, NULL), expect[256], number[SEQ_DIGITS + 1] = "";
	seq_format_position(number, &the_shard, 0, CREATED_S);
	snprintf(expect, sizeof(expect),
		 "{\"Records\":[],\"ContinuationSequenceNumber\":\"%s\",\"MillisBehindLatest\":0                   }", number);
	cr_assert_str_eq(payload, expect);
	cr_assert(message->count == 0 && message->first == 1 && message->last == 0 && message->payload == 0);
	free(payload);
	message_unref(message);
}

Test(encode, exception)
{
	struct message *message = message_exception(STR("ResourceInUseException"), STR("in \"use\""));
	struct eventstream_view view;
	cr_assert(eventstream_decode(message->head, message->head_len, &view) == 1 && message->trailer_len == 0);
	cr_assert(str_equal(view.exception_type, STR("ResourceInUseException")));
	cr_assert(str_equal(view.payload, STR("{\"message\":\"in \\\"use\\\"\"}")));
	message_unref(message);
}

/* R8: no continuation, and children with their parents and ranges; a merge names the same child for both parents. */
Test(encode, R8_shard_end)
{
	struct shard_info shards[] = {
		{.key = {1, 0, 1}, .parent = NO_PARENT, .adjacent = NO_PARENT},
		{.key = {1, 1, 1}, .parent = NO_PARENT, .adjacent = NO_PARENT},
		{.key = {1, 2, 9}, .parent = 0, .adjacent = 1, .hash_first = 0, .hash_last = ~(uint128)0},
	};
	struct stream_info stream = {.id = 1, .n_shards = 2, .shards = shards};
	cr_assert(!message_shard_end(&stream, 0), "no children yet");
	stream.n_shards = 3;
	struct message *message = message_shard_end(&stream, 0), *other = message_shard_end(&stream, 1);
	char *payload = payload_of(message, NULL);
	cr_assert_str_eq(
		payload,
		"{\"Records\":[],\"ChildShards\":[{\"ShardId\":\"shardId-000000000002\",\"ParentShards\":[\"shardId-000000000000\","
		"\"shardId-000000000001\"],\"HashKeyRange\":{\"StartingHashKey\":\"0\",\"EndingHashKey\":"
		"\"340282366920938463463374607431768211455\"}}],\"MillisBehindLatest\":0                   }");
	cr_assert(other->head_len == message->head_len && memcmp(message->head, other->head, message->head_len) == 0);
	free(payload);
	message_unref(message);
	message_unref(other);
}
