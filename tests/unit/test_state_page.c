/* test_state_page.c: /state page by page: each row once, whatever the size of a page; slices; tokens;
 * its pace. */
#include "fake_server.h"

#include "server/auth.h"

static struct subscription sub = {.state = SUB_JOINING, .id = 5, .consumer = 11};

static void setup(void)
{
	fake_setup();
	sub.shard = orders_shards[2].key;
	sent_sub = &sub;
}
static void teardown(void)
{
	sent_sub = NULL;
	fake_teardown();
}
TestSuite(state_page, .init = setup, .fini = teardown);

static void get(const char *target)
{
	fake_send(fake_request("GET", target), "", 0);
	cr_expect_eq(atomic_load(&fake_catalogue.refs), 1, "the snapshot was let go");
}

/* Appends all of one list to another; returns how many they were. */
static unsigned join(json_t *to, const json_t *from)
{
	json_t *item;
	size_t i;
	json_array_foreach(from, i, item) json_array_append(to, item);
	return (unsigned)json_array_size(from);
}

/* Streams of one name are one. Returns the rows. */
static unsigned take_page(json_t *all, const json_t *page)
{
	json_t *known_streams = json_object_get(all, "streams"), *entry;
	unsigned rows = 0;
	size_t i;
	json_array_foreach(json_object_get(page, "streams"), i, entry)
	{
		const char *name = json_string_value(json_object_get(entry, "name"));
		json_t *known = json_object_get(known_streams, name);
		if (!known) {
			known = json_pack("{s:[], s:[]}", "shards", "consumers");
			json_object_set_new(known_streams, name, known);
			rows++;
		}
		rows += join(json_object_get(known, "shards"), json_object_get(entry, "shards"));
		rows += join(json_object_get(known, "consumers"), json_object_get(entry, "consumers"));
	}
	return rows + join(json_object_get(all, "subscriptions"), json_object_get(page, "subscriptions"));
}

/* All rows of the pages, followed to the end. *n_pages: how many had a next one. */
static json_t *walk(unsigned limit, unsigned *n_pages)
{
	json_t *all = json_pack("{s:{}, s:[]}", "streams", "subscriptions");
	char target[400], after[300] = "";
	for (*n_pages = 0; *n_pages < 100; ++*n_pages) {
		snprintf(target, sizeof(target), "/state?limit=%u%s%s", limit, *after ? "&after=" : "", after);
		get(target);
		cr_assert_eq(answer.status, 200, "%s: %s", target, text());
		cr_assert_not_null(member("limits.consumers"), "each page has them");
		unsigned rows = take_page(all, member(""));
		cr_assert_leq(rows, limit);
		if (!member("next"))
			break;
		cr_assert_eq(rows, limit, "a page that has a next one is full");
		snprintf(after, sizeof(after), "%s", string("next"));
	}
	return all;
}

Test(state_page, pages_of_every_size_have_the_same_rows)
{
	unsigned n_pages;
	json_t *whole = walk(1000, &n_pages);
	cr_expect_eq(n_pages, 0);
	cr_expect_eq(json_object_size(json_object_get(whole, "streams")), 4);
	cr_expect_eq(json_array_size(json_object_get(json_object_get(json_object_get(whole, "streams"), "orders"), "shards")), 6);
	cr_expect_eq(json_array_size(json_object_get(json_object_get(json_object_get(whole, "streams"), "orders"), "consumers")), 3);
	cr_expect_eq(json_array_size(json_object_get(whole, "subscriptions")), 1);
	for (unsigned limit = 1; limit <= 20; limit++) {
		json_t *paged = walk(limit, &n_pages);
		cr_expect(json_equal(whole, paged), "limit %u", limit);
		cr_expect_geq(n_pages, 14 / limit, "limit %u: %u", limit, n_pages);
		json_decref(paged);
	}
	json_decref(whole);
}

Test(state_page, a_token_outlives_its_stream)
{
	get("/state?after=shard~gone~3");
	cr_assert_eq(answer.status, 200);
	cr_expect_str_eq(string("streams.0.name"), "leaving", "the first one behind it");
	get("/state?after=stream~orders");
	cr_expect_str_eq(string("streams.0.name"), "solo");
	get("/state?after=stream~ordera");
	cr_expect_str_eq(string("streams.0.name"), "orders");
	get("/state?after=stream~zzz");
	cr_expect_eq(json_array_size(member("streams")), 0);
	cr_expect_eq(json_array_size(member("subscriptions")), 1);
	get("/state?after=subscription~4");
	cr_expect_eq(json_array_size(member("streams")), 0);
	cr_expect_eq(json_array_size(member("subscriptions")), 1);
	get("/state?after=subscription~5");
	cr_expect_eq(json_array_size(member("subscriptions")), 0);
	get("/state?after=subscription~9999999999999999999");
	cr_expect_eq(answer.status, 200);
	cr_expect_eq(json_array_size(member("subscriptions")), 0);
}

Test(state_page, bad_parameters_are_named)
{
	const char *bad[] = {"limit=0",
			     "limit=1001",
			     "limit=",
			     "limit=-1",
			     "limit=1x",
			     "limit",
			     "after=",
			     "after=stream",
			     "after=stream~",
			     "after=stream~a~b",
			     "after=shard~a",
			     "after=shard~a~x",
			     "after=shard~a~",
			     "after=x~a",
			     "after=consumer~a~b~c",
			     "after=subscription~",
			     "after=subscription~1~2",
			     "after=subscription~x",
			     "limit=99999999999999999999999"};
	char target[100];
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(target, sizeof(target), "/state?%s", bad[i]);
		get(target);
		cr_expect_eq(answer.status, 400, "%s: %d", bad[i], answer.status);
		cr_expect_str_eq(string("__type"), "ValidationException", "%s", bad[i]);
	}
}

Test(state_page, a_large_page_is_made_in_slices)
{
	static struct shard_info many[950];
	for (uint32_t i = 0; i < 950; i++)
		many[i] = fake_shard(1, i, CREATED_S, NO_PARENT, NO_PARENT, 0);
	streams[2].shards = many;
	streams[2].n_shards = 950;
	n_later = 0;
	get("/state");
	cr_expect_eq(json_array_size(member("streams.2.shards")), 950);
	cr_expect_eq(json_array_size(member("subscriptions")), 1);
	cr_expect_null(member("next"));
	cr_expect_eq(n_later, 10, "%u turns of 100 rows, and one for the subscriptions", n_later);
}

Test(state_page, the_largest_row_is_within_its_bound)
{
	static char name[STREAM_NAME_MAX + 1];
	memset(name, 'n', STREAM_NAME_MAX);
	get("/state?after=stream~zzz");
	size_t common = answer.body.n;
	fake_sub_stream = fake_sub_consumer = name;
	sub = (struct subscription){.state = SUB_READY,
				    .id = (UINT64_C(1) << 52) - 1,
				    .shard = {1, UINT32_MAX, CREATED_S},
				    .next = INT64_MAX,
				    .delivered_records = INT64_MAX,
				    .delivered_bytes = INT64_MAX,
				    .events = INT64_MAX};
	struct request *request = fake_request("POST", "/");
	request->sub = sub;
	sent_sub = &request->sub;
	fake_blocked = "WINDOW";
	get("/state?after=stream~zzz");
	cr_expect_gt(answer.body.n, common);
	cr_expect_lt(answer.body.n - common, STATE_ROW_BYTES - 100, "lags may be longer yet: %zu", answer.body.n - common);
	cr_expect_lt(common, STATE_HEAD_BYTES / 2);
	sent_sub = NULL;
	fake_sub_stream = "orders", fake_sub_consumer = "app";
	request_free(request);
}

Test(state_page, its_rows_are_bounded_over_all_clients_and_given_back)
{
	state_pace_init(&fake_server.state_pace, worker_now_ns(&fake_worker));
	for (int i = 0; i < 2000; i++) { /* 15 rows each; the clock stands */
		get("/state");
		cr_assert_eq(answer.status, 200, "%d: what a page did not need was given back", i);
	}
	unsigned answered = 0;
	do
		get("/state");
	while (answer.status == 200 && ++answered < 10000);
	cr_expect_eq(answer.status, 429);
	cr_expect_str_eq(string("__type"), "LimitExceededException");
	get("/state?limit=1");
	cr_expect_eq(answer.status, 200, "a smaller page still fits");
}

Test(state_page, none_while_the_server_stops)
{
	fake_worker.stopping = true;
	get("/state");
	cr_expect_eq(answer.status, 503);
	fake_worker.stopping = false;
}

/* ---- Guards ---- */

Test(state_page, signed_with_credentials)
{
	const char *pages[] = {"/state", "/faults"};
	fake_worker.auth = (struct auth *)(void *)&answer; /* never looked into: there is no signature */
	for (size_t i = 0; i < 2; i++) {
		get(pages[i]);
		cr_expect_eq(answer.status, 403);
		cr_expect_str_eq(string("__type"), "MissingAuthenticationTokenException");
		cr_expect_null(strstr(text(), "orders"));
	}
	get("/metrics");
	cr_expect_eq(answer.status, 200);
	get("/healthz");
	cr_expect_eq(answer.status, 200);
	fake_worker.auth = NULL;
}
