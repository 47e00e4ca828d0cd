/* test_fault.c: faults where they are met: what the client is answered, what was done, and what is counted; GET and PUT /faults. */
#include "fake_server.h"

#include <event2/event.h>

#include "penstock/metrics.h"
#include "server/fault.h"

static void setup(void)
{
	fake_setup();
	fake_worker.base = event_base_new();
	cr_assert(mailbox_init(&fake_worker.box, false) == 0);
	fault_begin(&fake_worker);
	n_reset = n_finished = 0;
	fake_remote = false;
}

static void teardown(void)
{
	fault_stop(&fake_worker);
	mailbox_run(&fake_worker.box);
	fault_fini(&fake_worker);
	fake_worker.faults = NULL;
	mailbox_fini(&fake_worker.box);
	event_base_free(fake_worker.base);
	fake_teardown();
}

TestSuite(fault, .init = setup, .fini = teardown);

/* name, value, name, value, ..., NULL */
static void faults(const char *name, ...)
{
	struct fault_rules rules = {.seed = 1};
	va_list args;
	va_start(args, name);
	for (; name; name = va_arg(args, const char *)) {
		const char *value = va_arg(args, const char *);
		cr_assert_null(fault_rules_take(&rules, name, strlen(name), value), "%s=%s", name, value);
	}
	va_end(args);
	fault_set(&fake_server, &rules);
	mailbox_run(&fake_worker.box);
}

#define PUT "{\"StreamName\":\"orders\",\"PartitionKey\":\"k\",\"Data\":\"YQ==\"}"

static void put_done(enum status status)
{
	cr_assert_not_null(sent_put);
	struct store_put *put = sent_put;
	sent_put = NULL;
	put->status = STATUS_OK;
	put->records[0].status = status;
	put->records[0].index = 5;
	put->records[0].arrival_ms = NOW_MS;
	put->on_done(put);
}

Test(fault, throttle_by_the_kind_of_operation_and_nothing_is_done)
{
	faults("throttle", "1", NULL);
	call("PutRecord", PUT);
	cr_expect_null(sent_put);
	EXPECT_ERROR("ProvisionedThroughputExceededException", "Rate exceeded, on purpose: --fault throttle is on.");
	call("ListStreams", "{}");
	EXPECT_ERROR("LimitExceededException", "Rate exceeded, on purpose: --fault throttle is on.");
	cr_expect_eq(metric_get(METRIC_faults_throttle), 2);
}

Test(fault, a_bad_call_is_told_what_is_wrong_with_it)
{
	faults("throttle", "1", "error", "1", NULL);
	call("PutRecord", "{}");
	cr_expect_str_eq(string("__type"), "ValidationException");
	cr_expect_eq(metric_get(METRIC_faults_error), 0);
}

Test(fault, error_is_500_and_nothing_is_done)
{
	faults("error.PutRecord", "1", NULL);
	call("PutRecord", PUT);
	cr_expect_null(sent_put);
	expect_error(__LINE__, 500, "InternalFailure", "Internal Service Failure, on purpose: --fault error is on.");
	call("ListStreams", "{}");
	cr_expect_eq(answer.status, 200, "the others are not meant");
	cr_expect_eq(metric_get(METRIC_faults_error), 1);
}

Test(fault, a_lost_answer_is_500_although_it_was_done)
{
	faults("lost-answer", "1", NULL);
	call("PutRecord", PUT);
	cr_expect_eq(answer.status, 0);
	put_done(STATUS_OK);
	expect_error(__LINE__, 500, "InternalFailure", "Internal Service Failure, on purpose: --fault lost-answer is on.");
	cr_expect_eq(metric_get(METRIC_faults_lost_answer), 1);
	call("PutRecord", PUT);
	put_done(STATUS_DISK_FULL);
	cr_expect_eq(metric_get(METRIC_faults_lost_answer), 1, "what was not done has its own answer");
	cr_expect_str_eq(string("message"), "The disk of the log has reached its free-space floor; nothing was stored.");
}

Test(fault, reset_and_nothing_is_done)
{
	faults("reset", "1", NULL);
	call("PutRecord", PUT);
	cr_expect_null(sent_put);
	cr_expect(n_reset == 1 && answer.status == 0);
	cr_expect_eq(metric_get(METRIC_faults_reset), 1);
}

Test(fault, the_same_sequence_by_the_same_seed)
{
	char first[101] = "", second[101] = "";
	for (int run = 0; run < 2; run++) {
		faults("throttle", "0.3", NULL); /* counting begins anew */
		for (int i = 0; i < 100; i++) {
			call("ListStreams", "{}");
			if (i % 7 == 0)
				call("ListShards", "{\"StreamName\":\"orders\"}"); /* shifts nothing */
			strcat(run ? second : first, answer.status == 200 ? "." : "x");
			if (run == 0)
				continue;
		}
	}
	cr_expect_str_eq(first, second);
	cr_expect(strchr(first, 'x') && strchr(first, '.'));
}

/* ---- Delay ---- */

Test(fault, a_delayed_answer_is_done_at_once_and_told_later)
{
	int64_t before = metric_get(METRIC_answer_bytes);
	faults("delay", "1:20ms", NULL);
	call("PutRecord", PUT);
	put_done(STATUS_OK);
	cr_expect_eq(answer.status, 0, "not yet");
	cr_expect_gt(metric_get(METRIC_answer_bytes), before, "what is held is counted");
	event_base_loop(fake_worker.base, EVLOOP_ONCE);
	cr_expect_eq(answer.status, 200);
	cr_expect_str_eq(string("ShardId"), "shardId-000000000000");
	cr_expect_eq(metric_get(METRIC_answer_bytes), before);
	cr_expect_eq(metric_get(METRIC_faults_delay), 1);
}

Test(fault, a_client_that_leaves_while_its_answer_is_held)
{
	faults("delay", "1:10ms", NULL);
	struct request *request = fake_request("POST", "/");
	fake_header(request, "X-Amz-Target", "Kinesis_20131202.ListStreams");
	fake_header(request, "Content-Type", "application/x-amz-json-1.1");
	fake_header(request, "Authorization", AUTH);
	fake_header(request, "X-Amz-Date", "20200101T000000Z");
	fake_send(request, "{}", 2);
	size_t live = fake_worker.requests;
	request_detach(request);
	cr_expect_eq(fake_worker.requests, live);
	event_base_loop(fake_worker.base, EVLOOP_ONCE);
	cr_expect_eq(fake_worker.requests, live - 1);
	cr_expect_eq(answer.status, 0);
}

Test(fault, a_server_that_stops_answers_what_it_holds)
{
	faults("delay", "1:3600s", NULL);
	call("ListStreams", "{}");
	cr_expect_eq(answer.status, 0);
	fake_worker.stopping = true;
	fault_stop(&fake_worker);
	cr_expect_eq(answer.status, 200);
	call("ListStreams", "{}");
	cr_expect_eq(answer.status, 200, "and holds nothing any more");
	fake_worker.stopping = false;
}

/* ---- Subscriptions ---- */

#define SUBSCRIBE                                                                                                              \
	"{\"ConsumerARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/orders/consumer/app:1600000005\",\"ShardId\":\"0\"," \
	"\"StartingPosition\":{\"Type\":\"LATEST\"}}"

static struct subscription *subscribe(void)
{
	call("SubscribeToShard", SUBSCRIBE);
	if (!sent_sub)
		return NULL;
	sent_sub->ops->on_joined(sent_sub, STATUS_OK);
	cr_assert(answer.streamed);
	return sent_sub;
}

static void leave(struct subscription *sub)
{
	request_free(container_of(sub, struct request, sub));
	request_bury(&fake_worker);
	sent_sub = NULL;
}

Test(fault, a_subscription_ends_early)
{
	faults("end", "5ms-10ms", NULL);
	struct subscription *sub = subscribe();
	cr_assert(sub, "%s", text());
	cr_expect_eq(n_finished, 0);
	event_base_loop(fake_worker.base, EVLOOP_ONCE);
	cr_expect(n_finished == 1 && n_reset == 0);
	cr_expect_eq(metric_get(METRIC_faults_end), 1);
	leave(sub);
}

Test(fault, a_subscription_is_reset_while_it_lives)
{
	faults("reset", "1:5ms-10ms", "end", "1:1s-2s", NULL);
	cr_assert(subscribe());
	cr_expect_eq(n_reset, 0, "it begins");
	event_base_loop(fake_worker.base, EVLOOP_ONCE);
	cr_expect(n_reset == 1 && n_finished == 0);
	request_bury(&fake_worker);
	sent_sub = NULL;
}

Test(fault, one_that_is_over_before_is_left_alone)
{
	faults("end", "5ms-10ms", NULL);
	leave(subscribe());
	event_base_loop(fake_worker.base, EVLOOP_NONBLOCK);
	cr_expect_eq(event_base_get_num_events(fake_worker.base, EVENT_BASE_COUNT_ADDED), 0, "its timer is gone");
	cr_expect_eq(n_finished, 0);
}

Test(fault, a_delayed_subscription_begins_later_or_never)
{
	faults("delay", "1:5ms", NULL);
	call("SubscribeToShard", SUBSCRIBE);
	cr_expect_null(sent_sub);
	event_base_loop(fake_worker.base, EVLOOP_ONCE);
	cr_assert_not_null(sent_sub);
	leave(sent_sub);

	size_t live = fake_worker.requests;
	struct request *request = fake_request("POST", "/");
	fake_header(request, "X-Amz-Target", "Kinesis_20131202.SubscribeToShard");
	fake_header(request, "Content-Type", "application/x-amz-json-1.1");
	fake_header(request, "Authorization", AUTH);
	fake_header(request, "X-Amz-Date", "20200101T000000Z");
	fake_send(request, SUBSCRIBE, strlen(SUBSCRIBE));
	request_detach(request);
	event_base_loop(fake_worker.base, EVLOOP_ONCE);
	cr_expect_null(sent_sub, "nobody would end it");
	cr_expect_eq(fake_worker.requests, live);
}

/* ---- /faults ---- */

static void page(const char *method, const char *body)
{
	fake_send(fake_request(method, "/faults"), body, strlen(body));
	mailbox_run(&fake_worker.box);
}

Test(fault, page_shows_and_changes)
{
	page("GET", "");
	cr_expect_eq(answer.status, 200);
	cr_expect_eq(json_object_size(member("")), 0);
	page("PUT", "{\"throttle\": 0.5, \"delay.PutRecord\": \"0.25:20ms-30ms\", \"seed\": 9}");
	cr_expect_eq(answer.status, 200, "%s", text());
	page("GET", "");
	cr_expect_eq(json_object_size(member("")), 3);
	cr_expect_str_eq(string("throttle"), "0.5");
	cr_expect_eq(json_integer_value(member("seed")), 9);
	cr_expect_str_eq(json_string_value(json_object_get(member(""), "delay.PutRecord")), "0.25:20ms-30ms");
	char *same = xstrdup(text());
	page("PUT", same);
	cr_expect_str_eq(text(), same, "what is shown can be put");
	free(same);
	fake_send(fake_request("GET", "/state"), "", 0);
	cr_expect_str_eq(string("faults.throttle"), "0.5");
	cr_expect_str_eq(string("profile"), "none");
	page("PUT", "{}");
	cr_expect_eq(answer.status, 200);
	cr_expect_null(fake_worker.faults);
	call("ListStreams", "{}");
	cr_expect_eq(answer.status, 200);
}

Test(fault, page_refuses_what_it_does_not_understand)
{
	static const char *const bad[] = {"",
					  "[]",
					  "{\"throttle\": 2}",
					  "{\"throttle\": \"x\"}",
					  "{\"none\": 0.1}",
					  "{\"seed\": -1}",
					  "{\"throttle\": null}",
					  "{\"delay\": 0.1}",
					  "{\"throttle\": -0.5}"};
	page("PUT", "{\"error\": 1}");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		page("PUT", bad[i]);
		cr_expect_eq(answer.status, 400, "%s", bad[i]);
		cr_expect_not_null(member("message"));
		cr_expect_not_null(fake_worker.faults, "nothing has changed");
	}
	page("PUT", "{\"throttle\": 0.00001}");
	cr_expect_str_eq(string("throttle"), "0.00001", "a small share is one");
}

Test(fault, page_is_changed_from_this_machine_alone_and_by_no_browser)
{
	fake_remote = true;
	page("PUT", "{\"error\": 1}");
	cr_expect_eq(answer.status, 403);
	page("GET", "");
	cr_expect_eq(answer.status, 200);
	fake_remote = false;
	struct request *request = fake_request("PUT", "/faults");
	fake_header(request, "Origin", "http://example.org");
	fake_send(request, "{\"error\": 1}", 12);
	cr_expect_eq(answer.status, 403);
	mailbox_run(&fake_worker.box);
	cr_expect_null(fake_worker.faults);
}
