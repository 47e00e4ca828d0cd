/* test_load_endpoint.c: which URL and region are meant, what is refused before anything is sent, and penstock itself as the endpoint: each
 * protocol, TLS with and without trust, JSON and CBOR, a subscription, a refused connection, SIGTERM. */
#include "load_call.h"
#include "load_home.h"

#include <signal.h>
#include <sys/wait.h>

#include "penstock/eventstream.h"
#include "penstock/writer.h"

static struct endpoint endpoint;
static struct endpoint_options options = {.protocol = -1};
static char why[256];

/* ---- penstock ---- */

static pid_t server;
static char data_dir[80], address[64];

static void server_start(void)
{
	char path[512], line[128] = "";
	int out[2];
	ssize_t n = readlink("/proc/self/exe", path, sizeof path - 16);
	cr_assert_gt(n, 0);
	path[n] = 0;
	strcpy(strrchr(path, '/'), "/penstock");
	snprintf(data_dir, sizeof data_dir, "%s/data", home);
	cr_assert_eq(pipe(out), 0);
	server = fork();
	if (server == 0) {
		const char *listen = address[0] ? address : "127.0.0.1:0";
		dup2(out[1], 1);
		execl(path, path, "--data-dir", data_dir, "--listen", listen, "--print-ready", "--log-level", "error", "--limits", "off",
		      NULL);
		_exit(127);
	}
	close(out[1]);
	FILE *ready = fdopen(out[0], "r");
	cr_assert(fgets(line, sizeof line, ready) && sscanf(line, "listening %63s", address) == 1, "%s did not start", path);
	fclose(ready);
}

static void server_signal(void) { kill(server, SIGTERM); }

static void server_wait(void)
{
	int status = 0;
	cr_expect(waitpid(server, &status, 0) == server && status == 0, "status %d", status);
	server = 0;
}

static void setup(void)
{
	home_make();
	signal(SIGPIPE, SIG_IGN);
	base = event_base_new();
}

static void teardown(void)
{
	if (server) {
		server_signal();
		server_wait();
	}
	endpoint_close(&endpoint);
	event_base_free(base);
	char *command = xasprintf("rm -rf %s/data", home);
	cr_expect_eq(system(command), 0);
	free(command);
	home_remove();
}

TestSuite(load_endpoint, .init = setup, .fini = teardown, .timeout = 60);

static struct connection *open_at(const char *scheme, const char *host)
{
	static char url[128];
	snprintf(url, sizeof url, "%s://%s%s", scheme, host ? host : address, host ? strchr(address, ':') : "");
	options.url = url;
	cr_assert(endpoint_open(&endpoint, &options, why), "%s", why);
	return connection_open(base, &endpoint, 0);
}

/* The answer's text, until the next one. */
static const char *ask(struct connection *connection, enum encoding encoding, const char *operation, struct buf *body, int status)
{
	static struct asked asked;
	asked_free(&asked);
	asked_init(&asked, operation, "");
	buf_free(&asked.call.body);
	asked.call.body = *body;
	asked.call.encoding = encoding;
	*body = (struct buf){0};
	connection_call(connection, &asked.call);
	UNTIL(asked.done);
	cr_assert_eq(asked.call.reason, CALL_OK, "%s: %s", operation, connection_why(connection));
	buf_put_char(&asked.call.answer, 0);
	cr_assert_eq(asked.call.status, status, "%s: %d %s", operation, asked.call.status, asked.call.answer.p);
	cr_expect_eq(asked.call.answer_encoding, encoding);
	asked.call.answer.n--;
	return (const char *)asked.call.answer.p;
}

static const char *ask_json(struct connection *connection, const char *operation, const char *text, int status)
{
	struct buf body = {0};
	buf_put(&body, text, strlen(text));
	return ask(connection, ENCODING_JSON, operation, &body, status);
}

static void make_stream(struct connection *connection)
{
	ask_json(connection, "CreateStream", "{\"StreamName\":\"s\",\"ShardCount\":1}", 200);
	while (!strstr(ask_json(connection, "DescribeStreamSummary", "{\"StreamName\":\"s\"}", 200), "ACTIVE"))
		;
}

/* ---- What is meant ---- */

static void expect_refused(int line, const char *sentence)
{
	cr_expect_not(endpoint_open(&endpoint, &options, why), "line %d", line);
	cr_expect(strstr(why, sentence), "line %d: %s", line, why);
}
#define REFUSED(sentence) expect_refused(__LINE__, sentence)

static void set_keys(void)
{
	setenv("AWS_ACCESS_KEY_ID", "AKID", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "hush", 1);
}

Test(load_endpoint, aws_gets_no_placeholders)
{
	options.url = "https://kinesis.eu-west-1.amazonaws.com";
	REFUSED("no credentials for kinesis.eu-west-1.amazonaws.com: profile \"default\" has no keys");
	setenv("AWS_PROFILE", "mine", 1);
	REFUSED("profile \"mine\" has no keys");
	options = (struct endpoint_options){.aws = true, .protocol = -1, .region = "eu-west-2"};
	unsetenv("AWS_ENDPOINT_URL");
	REFUSED("127.0.0.1:4567"); /* without credentials AWS is not assumed; nobody listens there, or it is no matter */
}

Test(load_endpoint, what_is_wrong_is_said)
{
	options.url = "localhost:4567";
	REFUSED("\"localhost:4567\" is no endpoint's URL");
	options.url = "http://127.0.0.1:1";
	options.region = "EU west";
	REFUSED("\"EU west\" is no region");
	options.region = NULL;
	REFUSED("127.0.0.1:1: Connection refused");
	options.url = "https://127.0.0.1:1";
	options.ca = "absent.pem";
	REFUSED("absent.pem: is no PEM file of certificates");
	options.ca = NULL;
	setenv("AWS_CA_BUNDLE", "absent-too.pem", 1);
	REFUSED("absent-too.pem: is no PEM file of certificates");
	set_keys();
	setenv("AWS_SECRET_ACCESS_KEY", "hush hush", 1);
	REFUSED("the secret access key of the environment has a blank");
	cr_expect_null(strstr(why, "hush"));
}

static void expect_endpoint(int line, const char *host, const char *region)
{
	(void)endpoint_open(&endpoint, &options, why); /* nobody listens */
	cr_expect_str_eq(endpoint.host, host, "line %d: %s", line, endpoint.host);
	cr_expect_str_eq(endpoint.region, region, "line %d: %s", line, endpoint.region);
}
#define MEANT(...) expect_endpoint(__LINE__, __VA_ARGS__)

Test(load_endpoint, url_and_region_in_their_order)
{
	setenv("AWS_ENDPOINT_URL", "http://127.0.0.3:1", 1);
	MEANT("127.0.0.3", "us-east-1");
	setenv("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.2:1", 1);
	home_write(".aws/config", "[default]\nregion = eu-north-1\n");
	MEANT("127.0.0.2", "eu-north-1");
	setenv("AWS_DEFAULT_REGION", "eu-west-3", 1);
	MEANT("127.0.0.2", "eu-west-3");
	setenv("AWS_REGION", "eu-west-2", 1);
	options.url = "http://127.0.0.4:1";
	MEANT("127.0.0.4", "eu-west-2");
	options.region = "eu-west-1";
	MEANT("127.0.0.4", "eu-west-1");
}

Test(load_endpoint, region_of_a_host_of_awss)
{
	options.url = "https://kinesis.eu-west-1.amazonaws.com"; /* refused before it is looked up */
	MEANT("kinesis.eu-west-1.amazonaws.com", "eu-west-1");
	setenv("AWS_REGION", "eu-west-2", 1);
	MEANT("kinesis.eu-west-1.amazonaws.com", "eu-west-2");
}

/* ---- The server itself ---- */

static void expect_calls(struct connection *connection)
{
	struct buf body = {0};
	struct writer w;
	struct arena arena = {0};
	struct value *answer;
	make_stream(connection);
	writer_init(&w, ENCODING_CBOR, &body);
	write_map(&w);
	write_kv_str(&w, "StreamName", STR("s"));
	write_key(&w, "Data");
	write_blob(&w, STR("by cbor"));
	write_kv_str(&w, "PartitionKey", STR("k"));
	write_map_end(&w);
	const char *text = ask(connection, ENCODING_CBOR, "PutRecord", &body, 200);
	cr_assert_eq(value_decode(ENCODING_CBOR, (const uint8_t *)text, strlen(text), &arena, &answer), STATUS_OK);
	cr_expect_not_null(value_member(answer, STR("SequenceNumber")));
	arena_free(&arena);
	ask_json(connection, "PutRecord", "{\"StreamName\":\"absent\",\"Data\":\"eA==\",\"PartitionKey\":\"k\"}", 400);
}

static void expect_metrics(struct connection *connection)
{
	struct asked asked = {.call = {.path = "/metrics", .on_end = on_asked_end}};
	asked.call.arg = &asked;
	connection_call(connection, &asked.call);
	UNTIL(asked.done);
	cr_expect_eq(asked.call.status, 200);
	cr_expect_not_null(memmem(asked.call.answer.p, asked.call.answer.n, "connections", 11));
	asked_free(&asked);
}

static void with_server(const char *scheme, const char *host, enum protocol protocol)
{
	server_start();
	struct connection *connection = open_at(scheme, host);
	cr_expect_eq(endpoint.protocol, protocol);
	expect_calls(connection);
	expect_metrics(connection);
	connection_close(connection);
}

Test(load_endpoint, h2c) { with_server("http", NULL, PROTOCOL_H2); }
Test(load_endpoint, h2c_by_name) { with_server("http", "localhost", PROTOCOL_H2); }

Test(load_endpoint, http1)
{
	options.protocol = PROTOCOL_HTTP1;
	with_server("http", NULL, PROTOCOL_HTTP1);
}

Test(load_endpoint, tls)
{
	char ca[128];
	snprintf(ca, sizeof ca, "%s/data/tls/ca.pem", home);
	setenv("AWS_CA_BUNDLE", ca, 1);
	with_server("https", NULL, PROTOCOL_H2);
}

Test(load_endpoint, tls_http1_by_name)
{
	char ca[128];
	snprintf(ca, sizeof ca, "%s/data/tls/ca.pem", home);
	options.ca = ca;
	options.protocol = PROTOCOL_HTTP1;
	with_server("https", "localhost", PROTOCOL_HTTP1);
}

Test(load_endpoint, tls_without_trust)
{
	options.insecure = true;
	with_server("https", NULL, PROTOCOL_H2);
	options.insecure = false;
	endpoint_close(&endpoint);
	REFUSED("the server's certificate is not trusted");
}

Test(load_endpoint, tls_of_another_host)
{
	char ca[128];
	struct asked asked;
	server_start();
	snprintf(ca, sizeof ca, "%s/data/tls/ca.pem", home);
	options.ca = ca;
	connection_close(open_at("https", NULL));
	strcpy(endpoint.host, "another.example"); /* as if it had that address */
	struct connection *connection = connection_open(base, &endpoint, 0);
	asked_init(&asked, "ListStreams", "{}");
	connection_call(connection, &asked.call);
	UNTIL(asked.done);
	cr_expect_eq(asked.call.reason, CALL_REFUSED);
	cr_expect(strstr(connection_why(connection), "not trusted: hostname mismatch"), "%s", connection_why(connection));
	asked_free(&asked);
	connection_close(connection);
}

/* ---- Subscriptions, and a server that stops ---- */

struct subscription {
	struct asked asked;
	unsigned events;
	bool has_record;
};

static void on_chunk(struct asked *asked)
{
	struct subscription *subscription = container_of(asked, struct subscription, asked);
	struct eventstream_view view;
	size_t at = 0;
	while (eventstream_decode(asked->data.p + at, asked->data.n - at, &view) == 1) {
		subscription->events += str_equal(view.event_type, STR("SubscribeToShardEvent"));
		subscription->has_record = subscription->has_record || memmem(view.payload.p, view.payload.n, "cHVzaGVk", 8);
		at += view.total;
	}
	memmove(asked->data.p, asked->data.p + at, asked->data.n - at);
	asked->data.n -= at;
}

static void subscribe(struct connection *connection, struct subscription *subscription)
{
	char arn[256], body[512];
	make_stream(connection);
	ask_json(connection, "RegisterStreamConsumer",
		 "{\"StreamARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/s\",\"ConsumerName\":\"c\"}", 200);
	const char *told, *begin;
	do
		told = ask_json(connection, "DescribeStreamConsumer",
				"{\"StreamARN\":\"arn:aws:kinesis:us-east-1:000000000000:stream/s\",\"ConsumerName\":\"c\"}", 200);
	while (!strstr(told, "ACTIVE"));
	begin = strstr(told, "\"ConsumerARN\":\"") + 15;
	snprintf(arn, sizeof arn, "%.*s", (int)strcspn(begin, "\""), begin);
	snprintf(body, sizeof body,
		 "{\"ConsumerARN\":\"%s\",\"ShardId\":\"shardId-000000000000\",\"StartingPosition\":{\"Type\":\"LATEST\"}}", arn);
	*subscription = (struct subscription){.events = 0};
	asked_init(&subscription->asked, "SubscribeToShard", body);
	subscription->asked.call.on_data = on_asked_data;
	subscription->asked.on_chunk = on_chunk;
	connection_call(connection, &subscription->asked.call);
	UNTIL(subscription->events);
	ask_json(connection, "PutRecord", "{\"StreamName\":\"s\",\"Data\":\"cHVzaGVk\",\"PartitionKey\":\"k\"}", 200);
	UNTIL(subscription->has_record);
}

static void stop_and_start(enum protocol protocol)
{
	struct subscription subscription;
	struct asked refused;
	server_start();
	options.protocol = (int)protocol;
	struct connection *connection = open_at("http", NULL);
	subscribe(connection, &subscription);
	server_signal();
	UNTIL(subscription.asked.done);
	cr_expect(subscription.asked.complete, "the server ends subscriptions in order: %d", subscription.asked.call.reason);
	server_wait();
	event_base_loop(base, EVLOOP_NONBLOCK); /* sees that idle sockets are closed */
	asked_init(&refused, "ListStreams", "{}");
	connection_call(connection, &refused.call);
	UNTIL(refused.done);
	cr_expect_eq(refused.call.reason, CALL_REFUSED);
	server_start(); /* at the same address */
	cr_expect(strstr(ask_json(connection, "ListStreams", "{}", 200), "\"s\""));
	connection_close(connection);
	asked_free(&refused);
	asked_free(&subscription.asked);
}

Test(load_endpoint, goaway_of_a_server_that_stops) { stop_and_start(PROTOCOL_H2); }
Test(load_endpoint, http1_of_a_server_that_stops) { stop_and_start(PROTOCOL_HTTP1); }

Test(load_endpoint, a_server_that_is_killed)
{
	struct subscription subscription;
	int status;
	server_start();
	struct connection *connection = open_at("http", NULL);
	subscribe(connection, &subscription);
	kill(server, SIGKILL);
	waitpid(server, &status, 0);
	server = 0;
	UNTIL(subscription.asked.done);
	cr_expect_eq(subscription.asked.call.reason, CALL_BROKEN);
	asked_free(&subscription.asked);
	connection_close(connection);
}

Test(load_endpoint, a_stalled_connection_reads_nothing_until_it_goes_on)
{
	struct subscription subscription;
	server_start();
	struct connection *connection = open_at("http", NULL), *other = connection_open(base, &endpoint, 0);
	subscribe(connection, &subscription);
	connection_stall(connection, true);
	subscription.has_record = false;
	uint64_t before = connection_bytes_in(connection);
	ask_json(other, "PutRecord", "{\"StreamName\":\"s\",\"Data\":\"cHVzaGVk\",\"PartitionKey\":\"k\"}", 200);
	ask_json(other, "ListStreams", "{}", 200);
	cr_expect_eq(connection_bytes_in(connection), before);
	connection_stall(connection, false);
	UNTIL(subscription.has_record);
	asked_free(&subscription.asked);
	connection_close(connection);
	connection_close(other);
}
