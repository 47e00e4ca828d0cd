/* test_browser.c: which web pages are obeyed, and under which Host pages are shown. */
#include "fake_server.h"

#include "penstock/slog.h"
#include "server/auth.h"

#define JSON_TYPE "application/x-amz-json-1.1"

static struct auth *const some_auth = (struct auth *)(void *)&answer; /* never looked into here */

static void setup(void)
{
	fake_setup();
	slog_set_level(SLOG_ERROR);
}
static void teardown(void)
{
	fake_worker.auth = NULL;
	fake_teardown();
}
TestSuite(browser, .init = setup, .fini = teardown);

static void allow_origin(const char *origin) { fake_options.allow_origin.items[fake_options.allow_origin.n++] = origin; }
static void allow_host(const char *host) { fake_options.allow_host.items[fake_options.allow_host.n++] = host; }

static void from_origin(const char *method, const char *origin)
{
	struct request *request = fake_request(method, "/");
	fake_header(request, "Host", "127.0.0.1:4567");
	fake_header(request, "Origin", origin);
	fake_header(request, "Content-Type", JSON_TYPE);
	fake_header(request, "X-Amz-Target", "Kinesis_20131202.ListStreams");
	fake_header(request, "Authorization", AUTH);
	fake_header(request, "Date", "today");
	fake_send(request, "{}", 2);
}

static void under_host(const char *method, const char *target, const char *host)
{
	struct request *request = fake_request(method, target);
	if (host)
		fake_header(request, "Host", host);
	fake_send(request, "", 0);
}

Test(browser, an_unlisted_origin_is_refused_and_told_the_option)
{
	from_origin("POST", "http://evil.example");
	cr_expect_eq(answer.status, 403);
	cr_expect_str_eq(string("__type"), "AccessDeniedException");
	cr_expect_not_null(strstr(string("message"), "--allow-origin http://evil.example"));
	cr_expect_null(extra("Access-Control-Allow-Origin"));
	from_origin("OPTIONS", "http://evil.example");
	cr_expect_eq(answer.status, 403);
	cr_expect_null(extra("Access-Control-Allow-Methods"));
	from_origin("POST", "null");
	cr_expect_eq(answer.status, 403, "null is an origin: that of files and sandboxes");
	from_origin("POST", "");
	cr_expect_eq(answer.status, 403);
}

Test(browser, what_is_refused_does_nothing)
{
	struct request *request = fake_request("POST", "/");
	fake_header(request, "Origin", "http://evil.example");
	fake_header(request, "Content-Type", JSON_TYPE);
	fake_header(request, "X-Amz-Target", "Kinesis_20131202.DeleteStream");
	fake_header(request, "Authorization", AUTH);
	fake_header(request, "Date", "today");
	sent_change = NULL;
	const char *body = "{\"StreamName\":\"orders\"}";
	fake_send(request, body, strlen(body));
	cr_expect_eq(answer.status, 403);
	cr_expect_null(sent_change);
}

Test(browser, listed_origins_are_obeyed)
{
	allow_origin("http://localhost:3000");
	allow_origin("null");
	from_origin("POST", "http://localhost:3000");
	cr_expect_eq(answer.status, 200);
	cr_expect_str_eq(extra("Access-Control-Allow-Origin"), "*");
	from_origin("POST", "HTTP://LocalHost:3000");
	cr_expect_eq(answer.status, 200);
	from_origin("POST", "null");
	cr_expect_eq(answer.status, 200);
	from_origin("POST", "http://localhost:3001");
	cr_expect_eq(answer.status, 403);
	from_origin("POST", "http://localhost:30000");
	cr_expect_eq(answer.status, 403);
	from_origin("POST", "https://localhost:3000");
	cr_expect_eq(answer.status, 403);
	allow_origin("*");
	from_origin("POST", "https://anything.example");
	cr_expect_eq(answer.status, 200);
}

Test(browser, each_of_two_origins_counts)
{
	allow_origin("http://good");
	struct request *request = fake_request("POST", "/");
	fake_header(request, "Origin", "http://good");
	fake_header(request, "Origin", "http://evil");
	fake_send(request, "", 0);
	cr_expect_eq(answer.status, 403);
}

Test(browser, without_an_origin_any_host_calls_operations)
{
	const char *hosts[] = {"kinesis:4567", "evil.example", "kinesis.us-east-1.amazonaws.com", "10.0.0.1:4567"};
	for (size_t i = 0; i < 4; i++) {
		struct request *request = fake_request("POST", "/");
		fake_header(request, "Host", hosts[i]);
		fake_header(request, "Content-Type", JSON_TYPE);
		fake_header(request, "X-Amz-Target", "Kinesis_20131202.ListStreams");
		fake_header(request, "Authorization", AUTH);
		fake_header(request, "Date", "today");
		fake_send(request, "{}", 2);
		cr_expect_eq(answer.status, 200, "%s", hosts[i]);
	}
}

Test(browser, a_preflight_grants_names_alone_and_not_many)
{
	static char many[4096];
	memset(many, 'a', sizeof(many) - 1);
	const char *bad[] = {many, "a\r\nb", "a;b", "\"a\"", ""};
	allow_origin("*");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct request *request = fake_request("OPTIONS", "/");
		fake_header(request, "Origin", "http://x");
		fake_header(request, "Access-Control-Request-Headers", bad[i]);
		fake_header(request, "Access-Control-Request-Method", bad[i]);
		fake_send(request, "", 0);
		cr_expect_eq(answer.status, 200);
		cr_expect_null(extra("Access-Control-Allow-Headers"), "%zu", i);
		cr_expect_null(extra("Access-Control-Allow-Methods"), "%zu", i);
	}
}

Test(browser, with_credentials_any_origin_may_try)
{
	fake_worker.auth = some_auth;
	from_origin("OPTIONS", "http://anything.example");
	cr_expect_eq(answer.status, 200);
	cr_expect_str_eq(extra("Access-Control-Allow-Origin"), "*");
	allow_origin("http://good");
	from_origin("OPTIONS", "http://anything.example");
	cr_expect_eq(answer.status, 403);
	from_origin("OPTIONS", "http://good");
	cr_expect_eq(answer.status, 200);
}

static const char *const pages[] = {"/state", "/metrics", "/faults"};

Test(browser, pages_are_shown_under_loopback_names)
{
	const char *good[] = {NULL,        "localhost",    "localhost:4567", "LOCALHOST:1", "localhost.", "a.localhost:4567",
			      "127.0.0.1", "127.8.9.1:80", "[::1]",          "[::1]:4567"};
	const char *bad[] = {"evil.example",
			     "evil.example:4567",
			     "127.0.0.1.evil.example",
			     "localhost.evil.example",
			     "notlocalhost",
			     "10.0.0.1:4567",
			     "[2001:db8::1]",
			     "0.0.0.0",
			     "128.0.0.1",
			     "localhost:x",
			     "[::1",
			     "[::1]evil",
			     "localhost@evil",
			     ":4567",
			     "127.1"};
	for (size_t page = 0; page < 3; page++) {
		for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
			under_host("GET", pages[page], good[i]);
			cr_expect_eq(answer.status, 200, "%s under %s", pages[page], good[i] ? good[i] : "none");
		}
		for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
			under_host("GET", pages[page], bad[i]);
			cr_expect_eq(answer.status, 403, "%s under %s", pages[page], bad[i]);
			cr_expect_not_null(strstr(text(), "--allow-host"));
			cr_expect_null(strstr(text(), "orders"));
		}
	}
	under_host("PUT", "/faults", "evil.example");
	cr_expect_eq(answer.status, 403);
	under_host("GET", "/healthz", "evil.example");
	cr_expect_eq(answer.status, 200, "health is open");
}

Test(browser, pages_are_shown_under_listed_names)
{
	allow_host("kinesis");
	allow_host("[2001:db8::1]");
	under_host("GET", "/state", "kinesis:4567");
	cr_expect_eq(answer.status, 200);
	under_host("GET", "/state", "KINESIS");
	cr_expect_eq(answer.status, 200);
	under_host("GET", "/state", "[2001:db8::1]:4567");
	cr_expect_eq(answer.status, 200);
	under_host("GET", "/state", "kinesis.evil.example");
	cr_expect_eq(answer.status, 403);
	allow_host("*");
	under_host("GET", "/state", "kinesis.evil.example");
	cr_expect_eq(answer.status, 200);
}

Test(browser, pages_obey_origins_too)
{
	struct request *request = fake_request("GET", "/metrics");
	fake_header(request, "Origin", "http://evil.example");
	fake_send(request, "", 0);
	cr_expect_eq(answer.status, 403);
	allow_origin("http://localhost:3000");
	request = fake_request("GET", "/metrics");
	fake_header(request, "Origin", "http://localhost:3000");
	fake_send(request, "", 0);
	cr_expect_eq(answer.status, 200);
	cr_expect_str_eq(extra("Access-Control-Allow-Origin"), "*");
}

Test(browser, a_refusal_is_logged_once_a_minute_and_subject)
{
	static struct log_pace pace;
	const uint64_t now = UINT64_C(5000000000);
	char subject[16];
	cr_expect(log_pace_take(&pace, "e", STR("a"), now));
	cr_expect_not(log_pace_take(&pace, "e", STR("a"), now + LOG_PACE_NS - 1));
	cr_expect(log_pace_take(&pace, "f", STR("a"), now), "another event");
	cr_expect(log_pace_take(&pace, "e", STR("b"), now));
	cr_expect(log_pace_take(&pace, "e", STR("a"), now + LOG_PACE_NS));
	unsigned logged = 0;
	for (int i = 0; i < 1000; i++) {
		snprintf(subject, sizeof(subject), "s%d", i);
		logged += log_pace_take(&pace, "e", str_of(subject), now + 3 * LOG_PACE_NS);
	}
	cr_expect_eq(logged, LOG_PACE_PLACES);
}
