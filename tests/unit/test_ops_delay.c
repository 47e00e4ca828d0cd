/* test_ops_delay.c: GetRecords under a delivery profile: what is not to be seen yet is cut off, and the answer says so. */
#include "fake_server.h"
#include "penstock/metrics.h"
#include "server/token.h"

static struct profile aws;

static void setup(void)
{
	fake_setup();
	cr_assert(profile_find("aws", 1, &aws));
	fake_server.profile = &aws;
}

TestSuite(ops_delay, .init = setup, .fini = fake_teardown);

static const struct stream_info *orders(void) { return catalogue_stream(&fake_catalogue, STR("orders")); }

static struct batch *batch_at(uint64_t first, int64_t arrival_ms)
{
	struct batch *batch = batch_new(&orders()->shards[2].key);
	batch->first = first;
	batch->arrival_ms = arrival_ms;
	cr_assert_eq(batch_append(batch, STR("k"), STR("data")), STATUS_OK);
	return batch;
}

/* Records 1, 2 and 3 have arrived so many ms before now. */
static void read_three(int64_t first_ms, int64_t second_ms, int64_t third_ms, bool closed)
{
	char text_of[TOKEN_TEXT_MAX], body[TOKEN_TEXT_MAX + 64];
	struct iterator iterator = {.stream = orders()->id, .shard = 2, .next = 1, .created_ms = NOW_MS, .name = "orders"};
	token_iterator_seal(fake_server.iterator_key, &iterator, text_of);
	snprintf(body, sizeof(body), "{\"ShardIterator\":\"%s\"}", text_of);
	call("GetRecords", body);
	struct store_read *read = sent_read;
	cr_assert_not_null(read, "%s", text());
	sent_read = NULL;
	read->status = STATUS_OK;
	read->from = 1;
	read->durable_end = 3;
	read->durable_end_ms = NOW_MS - third_ms;
	read->closed = closed;
	read->n_batches = 3;
	read->batches = xcalloc(3, sizeof(struct batch *));
	read->batches[0] = batch_at(1, NOW_MS - first_ms);
	read->batches[1] = batch_at(2, NOW_MS - second_ms);
	read->batches[2] = batch_at(3, NOW_MS - third_ms);
	read->on_read(read);
	read->on_done(read);
	cr_assert_eq(answer.status, 200, "%s", text());
	cr_assert_eq(metric_get(METRIC_batches_live), 0);
}

static uint64_t next_index(void)
{
	struct iterator out;
	cr_assert_eq(token_iterator_open(fake_server.iterator_key, str_of(string("NextShardIterator")), fake_now_ms, &out), STATUS_OK);
	return out.next;
}

Test(ops_delay, what_has_waited_long_enough)
{
	read_three(1000, 900, 500, false);
	cr_expect_eq(json_array_size(member("Records")), 3);
	cr_expect_eq(json_integer_value(member("MillisBehindLatest")), 0);
	cr_expect_eq(next_index(), 4);
}

Test(ops_delay, the_last_is_too_new)
{
	read_three(1000, 900, 1, false);
	cr_expect_eq(json_array_size(member("Records")), 2);
	cr_expect_eq(json_integer_value(member("MillisBehindLatest")), 900, "there is more, and it is durable");
	cr_expect_eq(next_index(), 3);
}

Test(ops_delay, all_are_too_new)
{
	read_three(2, 1, 1, false);
	cr_expect_eq(json_array_size(member("Records")), 0);
	cr_expect_eq(json_integer_value(member("MillisBehindLatest")), 2, "the age of the next unread record");
	cr_expect_eq(next_index(), 1, "the reader stays where it is");
}

Test(ops_delay, a_closed_shard_has_not_ended_before)
{
	read_three(1000, 900, 1, true);
	cr_expect_eq(json_array_size(member("Records")), 2);
	cr_expect_eq(next_index(), 3);
	cr_expect_null(member("ChildShards"));
}

Test(ops_delay, without_a_profile_all_is_seen_at_once)
{
	fake_server.profile = NULL;
	read_three(2, 1, 0, false);
	cr_expect_eq(json_array_size(member("Records")), 3);
}
