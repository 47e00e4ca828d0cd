/* test_load_url.c: endpoints' URLs, and what AWS's host names say. */
#include <criterion/criterion.h>
#include <stdlib.h>

#include "loadtest/url.h"
#include "penstock/bytes.h"

static void expect_url(int at, const char *text, bool tls, const char *host, int port, const char *authority)
{
	struct url url;
	char why[256] = "";
	cr_assert(url_parse(text, &url, why), "line %d: %s", at, why);
	cr_expect_eq(url.tls, tls, "line %d", at);
	cr_expect_str_eq(url.host, host, "line %d", at);
	cr_expect_eq(url.port, port, "line %d: %d", at, url.port);
	cr_expect_str_eq(url.authority, authority, "line %d", at);
}
#define URL(...) expect_url(__LINE__, __VA_ARGS__)

Test(load_url, names_addresses_and_ports)
{
	URL("http://127.0.0.1:4567", false, "127.0.0.1", 4567, "127.0.0.1:4567");
	URL("https://127.0.0.1:4567/", true, "127.0.0.1", 4567, "127.0.0.1:4567");
	URL("http://localhost", false, "localhost", 80, "localhost");
	URL("http://localhost:80/", false, "localhost", 80, "localhost");
	URL("http://localhost:443", false, "localhost", 443, "localhost:443");
	URL("HTTPS://Kinesis.US-East-1.amazonaws.com", true, "kinesis.us-east-1.amazonaws.com", 443, "kinesis.us-east-1.amazonaws.com");
	URL("https://a_b-c.d:443", true, "a_b-c.d", 443, "a_b-c.d");
	URL("http://[::1]:4567", false, "::1", 4567, "[::1]:4567");
	URL("https://[FE80::1]", true, "fe80::1", 443, "[fe80::1]");
	URL("http://h:65535", false, "h", 65535, "h:65535");
}

Test(load_url, what_is_none)
{
	static const char *const bad[] = {"",
					  "localhost",
					  "localhost:4567",
					  "ftp://localhost",
					  "http:/localhost",
					  "http://",
					  "http://:4567",
					  "http://h:0",
					  "http://h:65536",
					  "http://h:99999999999",
					  "http://h:",
					  "http://h:12x",
					  "http://h:-1",
					  "http://user@h",
					  "http://user:secret@h",
					  "http://h/path",
					  "http://h?query",
					  "http://h/?query",
					  "http://h/#fragment",
					  "http://[::1",
					  "http://::1",
					  "http://[127.0.0.1]",
					  "http://[::1%25lo]",
					  "http://h h",
					  "http://h\n",
					  "http://.h",
					  "http://h\xc3\xa4"};
	struct url url;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char why[256] = "";
		cr_expect_not(url_parse(bad[i], &url, why), "%s", bad[i]);
		cr_expect_neq(why[0], 0, "%s: no reason", bad[i]);
	}
	char *longest = xasprintf("http://%0300d", 1), why[256];
	cr_expect_not(url_parse(longest, &url, why));
	free(longest);
}

Test(load_url, aws)
{
	cr_expect(url_is_aws("kinesis.us-east-1.amazonaws.com") && url_is_aws("amazonaws.com") && url_is_aws("kinesis.us-east-1.api.aws"));
	cr_expect(url_is_aws("kinesis.cn-north-1.amazonaws.com.cn") && url_is_aws("kinesis.us-east-1.amazonaws.com."));
	cr_expect(!url_is_aws("127.0.0.1") && !url_is_aws("notamazonaws.com") && !url_is_aws("amazonaws.com.example"));
	cr_expect(!url_is_aws("localhost") && !url_is_aws(""));
}

static void expect_region(const char *host, const char *wanted)
{
	char region[33] = "";
	cr_expect_eq(url_region(host, region), *wanted != 0, "%s: %s", host, region);
	cr_expect_str_eq(region, wanted, "%s: %s", host, region);
}

Test(load_url, region)
{
	expect_region("kinesis.eu-west-1.amazonaws.com", "eu-west-1");
	expect_region("kinesis-fips.us-gov-east-1.amazonaws.com", "us-gov-east-1");
	expect_region("kinesis.cn-northwest-1.amazonaws.com.cn", "cn-northwest-1");
	expect_region("111122223333.data-kinesis.ap-southeast-12.amazonaws.com", "ap-southeast-12");
	expect_region("vpce-0a1b-2c3d.kinesis.eu-central-1.vpce.amazonaws.com", "eu-central-1");
	expect_region("kinesis.us-east-1.api.aws", "us-east-1");
	expect_region("kinesis.amazonaws.com", "");
	expect_region("kinesis.eu-west-1.example.com", "");
	expect_region("127.0.0.1", "");
}
