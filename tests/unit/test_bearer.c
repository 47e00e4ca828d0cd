/* test_bearer.c: the token of /metrics: the file, the comparison, the page. */
#include "fake_server.h"

#include <sys/stat.h>
#include <unistd.h>

#include "server/bearer.h"

static char path[] = "/tmp/penstock-token-XXXXXX";
static struct bearer bearer;
static char *why;

static void setup(void)
{
	int fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	close(fd);
	fake_setup();
}
static void teardown(void)
{
	unlink(path);
	free(why);
	fake_teardown();
}
TestSuite(bearer, .init = setup, .fini = teardown);

static enum status load(const char *text, size_t n)
{
	FILE *file = fopen(path, "w");
	cr_assert_not_null(file);
	cr_assert_eq(fwrite(text, 1, n, file), n);
	fclose(file);
	free(why);
	why = NULL;
	return bearer_load(&bearer, path, &why);
}
#define LOAD(text) load(text, sizeof(text) - 1)

Test(bearer, the_token_alone_is_good)
{
	cr_expect_not(bearer_is_good(&bearer, STR("Bearer ")), "nothing is loaded");
	cr_expect_not(bearer_is_good(&bearer, STR("Bearer x")));
	cr_assert_eq(LOAD("s3cret\n"), STATUS_OK);
	cr_expect(bearer_is_good(&bearer, STR("Bearer s3cret")));
	cr_expect(bearer_is_good(&bearer, STR("bearer s3cret")));
	const char *bad[] = {
		"", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3crets", "Bearer s3creT", "Bearer  s3cret", "Basic s3cret", "s3cret"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_not(bearer_is_good(&bearer, str_of(bad[i])), "%s", bad[i]);
	cr_expect_not(bearer_is_good(&bearer, (struct str){0}));
}

Test(bearer, a_bad_file_is_named_and_the_token_of_before_stays)
{
	static char large[2000];
	memset(large, 'x', sizeof(large));
	cr_assert_eq(LOAD("old\r\n"), STATUS_OK);
	cr_expect_eq(LOAD(""), STATUS_INVALID_ARGUMENT);
	cr_expect_eq(LOAD("\n"), STATUS_INVALID_ARGUMENT);
	cr_expect_eq(LOAD("two words"), STATUS_INVALID_ARGUMENT);
	cr_expect_eq(LOAD("two\nlines\n"), STATUS_INVALID_ARGUMENT);
	cr_expect_eq(LOAD("a\0b"), STATUS_INVALID_ARGUMENT);
	cr_expect_eq(load(large, sizeof(large)), STATUS_INVALID_ARGUMENT);
	cr_expect_null(strstr(why, "xx"), "no token is told");
	chmod(path, 0644);
	cr_expect_eq(LOAD("new"), STATUS_IO);
	cr_expect_not_null(strstr(why, "--metrics-token-file"));
	cr_expect_not_null(strstr(why, "its mode is 0644"));
	cr_expect(bearer_is_good(&bearer, STR("Bearer old")));
	chmod(path, 0600);
	cr_expect_eq(LOAD("new"), STATUS_OK);
	cr_expect_not(bearer_is_good(&bearer, STR("Bearer old")));
	cr_expect(bearer_is_good(&bearer, STR("Bearer new")));
}

static void scrape(const char *host, const char *authorization)
{
	struct request *request = fake_request("GET", "/metrics");
	fake_header(request, "Host", host);
	if (authorization)
		fake_header(request, "Authorization", authorization);
	fake_send(request, "", 0);
}

Test(bearer, metrics_want_it)
{
	cr_assert_eq(LOAD("s3cret"), STATUS_OK);
	fake_server.metrics_token = bearer;
	fake_options.metrics_token_file = path;
	scrape("localhost", NULL);
	cr_expect_eq(answer.status, 401);
	cr_expect_str_eq(extra("WWW-Authenticate"), "Bearer realm=\"penstock\"");
	cr_expect_null(strstr(text(), "penstock_requests_total"));
	scrape("localhost", "Bearer s3cre");
	cr_expect_eq(answer.status, 401);
	scrape("penstock.monitoring.svc:4567", "Bearer s3cret");
	cr_expect_eq(answer.status, 200);
	cr_expect_not_null(strstr(text(), "penstock_requests_total"));
}
