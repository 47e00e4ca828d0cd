/* test_auth.c: with credentials: what is let in, and with which error everything else is not. A request is kept in pieces, signed, changed
 * in one piece, and sent through dispatch as a client would. */
#include "fake_server.h"

#include <stdio.h>
#include <unistd.h>

#include "penstock/sigv4.h"
#include "server/auth.h"

#define NOW_S (NOW_MS / 1000) /* 2020-09-13T12:28:20Z */
#define KEYS                                                                                                          \
	"[default]\naws_access_key_id = AKPLAIN\naws_secret_access_key = plain/secret\n"                              \
	"[token]\naws_access_key_id = ASTOKEN\naws_secret_access_key = token+secret\naws_session_token = To/ken+==\n" \
	"[home]\naws_access_key_id = AKHOME\naws_secret_access_key = s\naccount_id = 000000000000\n"                  \
	"[abroad]\naws_access_key_id = AKABROAD\naws_secret_access_key = s\naccount_id = 222222222222\n"

#define MISMATCH                                                                                                               \
	"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and " \
	"signing method. Consult the service documentation for details."

static struct sigv4 sigv4;

static struct keys *load_keys(const char *text)
{
	char path[] = "penstock-auth-XXXXXX";
	int fd = mkstemp(path);
	struct keys *keys = NULL;
	char *why = NULL;
	cr_assert(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	close(fd);
	cr_assert_eq(keys_load(path, &keys, &why), STATUS_OK, "%s", why ? why : "");
	unlink(path);
	return keys;
}

static void setup(void)
{
	fake_setup();
	fake_worker.auth = auth_new(load_keys(KEYS));
	sigv4_init(&sigv4);
}

static void teardown(void)
{
	auth_free(fake_worker.auth);
	fake_worker.auth = NULL;
	sigv4_fini(&sigv4);
	fake_teardown();
}

TestSuite(auth, .init = setup, .fini = teardown);

/* ---- A request in pieces ---- */

enum piece { ALGORITHM, KEY, DATE, REGION, SERVICE, TERMINATOR, NAMES, SIGNATURE, PIECES };
enum form { PLAIN, WITH_TOKEN, WITH_HASH, WITH_QUERY, PRESIGNED, PRESIGNED_TOKEN, FORMS };

struct sent {
	bool presigned;
	int64_t seconds;
	char path[32], query[64], body[32];
	struct {
		char name[32], value[128];
	} headers[12];
	int n_headers;
	char pieces[PIECES][192];
	char time[32], expires[16], token[32]; /* of the query; "": not there */
	bool without[PIECES];                  /* its pair is left out; KEY stands for the whole credential */
};

static char *header_of(struct sent *sent, const char *name)
{
	for (int i = 0; i < sent->n_headers; i++)
		if (strcmp(sent->headers[i].name, name) == 0)
			return sent->headers[i].value;
	return NULL;
}

static void add_header(struct sent *sent, const char *name, const char *value)
{
	cr_assert_lt(sent->n_headers, 12);
	snprintf(sent->headers[sent->n_headers].name, 32, "%s", name);
	snprintf(sent->headers[sent->n_headers++].value, 128, "%s", value);
}

static void drop_header(struct sent *sent, const char *name)
{
	for (int i = 0; i < sent->n_headers; i++) {
		if (strcmp(sent->headers[i].name, name) != 0)
			continue;
		memmove(&sent->headers[i], &sent->headers[i + 1], (size_t)(sent->n_headers - i - 1) * sizeof(sent->headers[0]));
		sent->n_headers--;
		return;
	}
}

static void put_parameter(struct buf *out, const char *name, const char *value)
{
	buf_printf(out, "%s%s=", out->n ? "&" : "", name);
	for (; *value; value++)
		if (strchr("/;+=", *value))
			buf_printf(out, "%%%02X", *value);
		else
			buf_put_char(out, *value);
}

static void put_credential(const struct sent *sent, char out[512])
{
	snprintf(out, 512, "%.100s/%.90s/%.90s/%.90s/%.90s", sent->pieces[KEY], sent->pieces[DATE], sent->pieces[REGION],
		 sent->pieces[SERVICE], sent->pieces[TERMINATOR]);
	if (sent->pieces[TERMINATOR][0] == '\0') /* a part that is not there */
		out[strlen(out) - 1] = '\0';
}

/* The whole query, with the signature's parameters if it is presigned. */
static void put_query(const struct sent *sent, bool with_signature, struct buf *out)
{
	char credential[512];
	buf_printf(out, "%s", sent->query);
	if (sent->presigned) {
		put_credential(sent, credential);
		if (!sent->without[ALGORITHM])
			put_parameter(out, "X-Amz-Algorithm", sent->pieces[ALGORITHM]);
		if (!sent->without[KEY])
			put_parameter(out, "X-Amz-Credential", credential);
		if (sent->time[0])
			put_parameter(out, "X-Amz-Date", sent->time);
		if (sent->expires[0])
			put_parameter(out, "X-Amz-Expires", sent->expires);
		if (!sent->without[NAMES])
			put_parameter(out, "X-Amz-SignedHeaders", sent->pieces[NAMES]);
		if (sent->token[0])
			put_parameter(out, "X-Amz-Security-Token", sent->token);
		if (with_signature && !sent->without[SIGNATURE])
			put_parameter(out, "X-Amz-Signature", sent->pieces[SIGNATURE]);
	}
	buf_put_char(out, '\0');
	out->n--;
}

static int compare_fields(const void *a, const void *b)
{
	const struct sigv4_field *x = a, *y = b;
	return str_compare(x->name, y->name);
}

static void sign(struct sent *sent, const char *secret)
{
	struct sigv4_field fields[12];
	struct buf query = {0}, names = {0}, canonical = {0};
	struct sigv4_request request = {.method = STR("POST"), .path = str_of(sent->path), .fields = fields};
	struct sigv4_scope scope = {str_of(sent->pieces[DATE]), str_of(sent->pieces[REGION]), str_of(sent->pieces[SERVICE]),
				    str_of(sent->pieces[TERMINATOR])};
	uint8_t key[SIGV4_HASH], signature[SIGV4_HASH];
	struct str what;
	for (; request.n_fields < (size_t)sent->n_headers; request.n_fields++)
		fields[request.n_fields] =
			(struct sigv4_field){str_of(sent->headers[request.n_fields].name), str_of(sent->headers[request.n_fields].value)};
	qsort(fields, request.n_fields, sizeof(fields[0]), compare_fields);
	for (size_t i = 0; i < request.n_fields; i++)
		buf_printf(&names, "%s" STR_FMT, i ? ";" : "", STR_ARG(fields[i].name));
	snprintf(sent->pieces[NAMES], sizeof(sent->pieces[NAMES]), "%.*s", (int)names.n, (const char *)names.p);
	put_query(sent, false, &query);
	request.query = (struct str){(const char *)query.p, query.n};
	sigv4_sha256(&sigv4, sent->body, strlen(sent->body), request.payload);
	cr_assert_eq(sigv4_canonical(&request, str_of(sent->pieces[NAMES]), sent->presigned, &canonical, &what), SIGV4_OK);
	sigv4_derive(&sigv4, str_of(secret), &scope, key);
	sigv4_signature(&sigv4, key, sent->seconds, &scope, canonical.p, canonical.n, signature);
	sigv4_hex(signature, sent->pieces[SIGNATURE]);
	sent->pieces[SIGNATURE][64] = '\0';
	buf_free(&query);
	buf_free(&names);
	buf_free(&canonical);
}

static void set_pieces(struct sent *sent, const char *key, const char *time)
{
	snprintf(sent->pieces[ALGORITHM], 192, SIGV4_ALGORITHM);
	snprintf(sent->pieces[KEY], 192, "%s", key);
	snprintf(sent->pieces[DATE], 192, "%.8s", time);
	snprintf(sent->pieces[REGION], 192, "us-east-1");
	snprintf(sent->pieces[SERVICE], 192, "kinesis");
	snprintf(sent->pieces[TERMINATOR], 192, SIGV4_TERMINATOR);
}

static void prepare(struct sent *sent, enum form form, const char *key, int64_t seconds)
{
	static const char body[] = "{\"Limit\":1234}";
	char time[SIGV4_TIME_LEN + 1];
	*sent = (struct sent){.presigned = form >= PRESIGNED, .seconds = seconds};
	sigv4_time_text(seconds, time);
	set_pieces(sent, key, time);
	snprintf(sent->path, sizeof(sent->path), "/");
	snprintf(sent->body, sizeof(sent->body), "%s", body);
	add_header(sent, "host", "127.0.0.1:4567");
	add_header(sent, "content-type", "application/x-amz-json-1.1");
	add_header(sent, "x-amz-target", "Kinesis_20131202.ListStreams");
	if (form == WITH_QUERY)
		snprintf(sent->query, sizeof(sent->query), "b=2&a=1");
	if (form == WITH_TOKEN)
		add_header(sent, "x-amz-security-token", "To/ken+==");
	if (form == PRESIGNED_TOKEN)
		snprintf(sent->token, sizeof(sent->token), "To/ken+==");
	if (form >= PRESIGNED)
		snprintf(sent->time, sizeof(sent->time), "%s", time);
	else
		add_header(sent, "x-amz-date", time);
	if (form == WITH_HASH) {
		uint8_t hash[SIGV4_HASH];
		char hex[2 * SIGV4_HASH + 1] = "";
		sigv4_sha256(&sigv4, body, sizeof(body) - 1, hash);
		sigv4_hex(hash, hex);
		add_header(sent, "x-amz-content-sha256", hex);
		add_header(sent, "amz-sdk-request", "attempt=1;  max=3");
	}
}

static void make(struct sent *sent, enum form form, int64_t seconds)
{
	bool token = form == WITH_TOKEN || form == PRESIGNED_TOKEN;
	prepare(sent, form, token ? "ASTOKEN" : "AKPLAIN", seconds);
	sign(sent, token ? "token+secret" : "plain/secret");
}

static void put_authorization(const struct sent *sent, char out[1024])
{
	char credential[512];
	int n = snprintf(out, 1024, "%s ", sent->pieces[ALGORITHM]);
	put_credential(sent, credential);
	if (!sent->without[KEY])
		n += snprintf(out + n, (size_t)(1024 - n), "Credential=%s, ", credential);
	if (!sent->without[NAMES])
		n += snprintf(out + n, (size_t)(1024 - n), "SignedHeaders=%s, ", sent->pieces[NAMES]);
	if (!sent->without[SIGNATURE])
		n += snprintf(out + n, (size_t)(1024 - n), "Signature=%s, ", sent->pieces[SIGNATURE]);
	out[n - 2] = '\0';
}

static void send_with(const struct sent *sent, const char *authorization)
{
	struct buf query = {0};
	char target[1024];
	put_query(sent, true, &query);
	snprintf(target, sizeof(target), "%s%s%s", sent->path, query.n ? "?" : "", (const char *)query.p);
	struct request *request = fake_request("POST", target);
	for (int i = 0; i < sent->n_headers; i++)
		fake_header(request, sent->headers[i].name, sent->headers[i].value);
	if (authorization)
		fake_header(request, "Authorization", authorization);
	fake_send(request, sent->body, strlen(sent->body));
	buf_free(&query);
}

static void send_sent(const struct sent *sent)
{
	char authorization[1024];
	put_authorization(sent, authorization);
	send_with(sent, sent->presigned ? NULL : authorization);
}

/* ---- Good ones ---- */

Test(auth, every_form_is_let_in)
{
	struct sent sent;
	for (enum form form = 0; form < FORMS; form++) {
		make(&sent, form, NOW_S);
		for (int again = 0; again < 2; again++) { /* the second time with the key that was kept */
			send_sent(&sent);
			cr_expect_eq(answer.status, 200, "form %d: %s", form, text());
		}
	}
}

Test(auth, a_date_header_will_do)
{
	static const char *const dates[] = {"20200913T122820Z", "Sun, 13 Sep 2020 12:28:20 GMT", "Sun, 13 Sep 2020 12:28:20 -0000"};
	struct sent sent;
	for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
		prepare(&sent, PLAIN, "AKPLAIN", NOW_S);
		drop_header(&sent, "x-amz-date");
		add_header(&sent, "date", dates[i]);
		sign(&sent, "plain/secret");
		send_sent(&sent);
		cr_expect_eq(answer.status, 200, "%s: %s", dates[i], text());
	}
	drop_header(&sent, "date");
	add_header(&sent, "date", "Sun, 13 Sep 2020 12:28:21 GMT");
	send_sent(&sent);
	EXPECT_ERROR("InvalidSignatureException", MISMATCH);
}

Test(auth, keys_are_replaced)
{
	struct sent old, new;
	make(&old, PLAIN, NOW_S);
	prepare(&new, PLAIN, "AKNEW", NOW_S);
	sign(&new, "new");
	send_sent(&old);
	cr_expect_eq(answer.status, 200);
	auth_set_keys(fake_worker.auth, load_keys("[a]\naws_access_key_id=AKNEW\naws_secret_access_key=new\n"));
	send_sent(&old);
	EXPECT_ERROR("UnrecognizedClientException", "The security token included in the request is invalid.");
	send_sent(&new);
	cr_expect_eq(answer.status, 200);
	auth_set_keys(fake_worker.auth, load_keys("[a]\naws_access_key_id=AKPLAIN\naws_secret_access_key=other\n"));
	send_sent(&old);
	cr_expect_str_eq(string("__type"), "InvalidSignatureException", "the key derived from the old secret is gone");
}

Test(auth, other_accounts_may_nothing)
{
	struct sent sent;
	prepare(&sent, PLAIN, "AKHOME", NOW_S);
	sign(&sent, "s");
	send_sent(&sent);
	cr_expect_eq(answer.status, 200);
	prepare(&sent, PLAIN, "AKABROAD", NOW_S);
	sign(&sent, "s");
	send_sent(&sent);
	EXPECT_ERROR("AccessDeniedException", "User: arn:aws:iam::222222222222:user/abroad is not authorized to perform: "
					      "kinesis:ListStreams because no resource-based policy allows the kinesis:ListStreams action");
}

/* ---- Texts ---- */

Test(auth, texts_of_keys_and_signatures)
{
	struct sent sent;
	prepare(&sent, PLAIN, "AKPLAIN", NOW_S);
	sign(&sent, "wrong");
	send_sent(&sent);
	EXPECT_ERROR("InvalidSignatureException", MISMATCH);
	prepare(&sent, PLAIN, "AKNOBODY", NOW_S);
	sign(&sent, "plain/secret");
	send_sent(&sent);
	EXPECT_ERROR("UnrecognizedClientException", "The security token included in the request is invalid.");
	prepare(&sent, PLAIN, "ASTOKEN", NOW_S); /* its token is missing */
	sign(&sent, "token+secret");
	send_sent(&sent);
	EXPECT_ERROR("UnrecognizedClientException", "The security token included in the request is invalid.");
	prepare(&sent, WITH_TOKEN, "AKPLAIN", NOW_S); /* it has none */
	sign(&sent, "plain/secret");
	send_sent(&sent);
	EXPECT_ERROR("UnrecognizedClientException", "The security token included in the request is invalid.");
}

static void expect_scope(int line, enum piece piece, const char *value, const char *message)
{
	struct sent sent;
	prepare(&sent, PLAIN, "AKPLAIN", NOW_S);
	snprintf(sent.pieces[piece], sizeof(sent.pieces[piece]), "%s", value);
	sign(&sent, "plain/secret");
	send_sent(&sent);
	expect_error(line, 400, "InvalidSignatureException", message);
}

Test(auth, texts_of_scopes)
{
	expect_scope(__LINE__, REGION, "eu-west-1", "Credential should be scoped to a valid region, not 'eu-west-1'. ");
	expect_scope(__LINE__, SERVICE, "s3", "Credential should be scoped to correct service: 'kinesis'. ");
	expect_scope(__LINE__, TERMINATOR, "aws5_request",
		     "Credential should be scoped with a valid terminator: 'aws4_request', not 'aws5_request'. ");
	expect_scope(__LINE__, DATE, "20200912",
		     "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '20200912' != "
		     "'20200913', from '20200913T122820Z'. ");
}

Test(auth, texts_of_what_must_be_signed)
{
	struct sent sent;
	make(&sent, PLAIN, NOW_S);
	snprintf(sent.pieces[NAMES], 192, "content-type;x-amz-date;x-amz-target");
	send_sent(&sent);
	EXPECT_ERROR("InvalidSignatureException", "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
	make(&sent, PLAIN, NOW_S);
	add_header(&sent, "x-amz-meta", "1");
	send_sent(&sent);
	EXPECT_ERROR("InvalidSignatureException", "'x-amz-meta' must be a 'SignedHeader' in the AWS Authorization.");
	make(&sent, PRESIGNED, NOW_S);
	snprintf(sent.pieces[NAMES], 192, "host;x-amz-target");
	send_sent(&sent);
	EXPECT_ERROR("InvalidSignatureException", "'content-type' must be a 'SignedHeader' in the AWS Authorization.");
	prepare(&sent, PLAIN, "AKPLAIN", NOW_S);
	add_header(&sent, "x-amz-content-sha256", "UNSIGNED-PAYLOAD");
	sign(&sent, "plain/secret");
	send_sent(&sent);
	EXPECT_ERROR("InvalidSignatureException", "The provided 'x-amz-content-sha256' header does not match what was computed.");
}

/* ---- Time ---- */

static void expect_at(int line, const struct sent *sent, int64_t now_s, const char *message)
{
	fake_now_ms = now_s * 1000;
	send_sent(sent);
	if (message)
		expect_error(line, 400, "InvalidSignatureException", message);
	else
		cr_expect_eq(answer.status, 200, "line %d: %s", line, text());
}

Test(auth, the_window_is_five_minutes_either_way)
{
	struct sent sent;
	make(&sent, PLAIN, NOW_S);
	expect_at(__LINE__, &sent, NOW_S + 300, NULL);
	expect_at(__LINE__, &sent, NOW_S - 300, NULL);
	expect_at(__LINE__, &sent, NOW_S + 301,
		  "Signature expired: 20200913T122820Z is now earlier than 20200913T122821Z (20200913T123321Z - 5 min.)");
	expect_at(__LINE__, &sent, NOW_S - 301,
		  "Signature not yet current: 20200913T122820Z is still later than 20200913T122819Z (20200913T122319Z + 5 min.)");
}

Test(auth, the_window_spans_midnight)
{
	const int64_t midnight = (NOW_S / 86400 + 1) * 86400;
	struct sent before, after;
	make(&before, PLAIN, midnight - 1);
	make(&after, PLAIN, midnight);
	for (int i = 0; i < 3; i++) { /* both days' keys are kept, and not taken for each other */
		expect_at(__LINE__, &before, midnight + 200, NULL);
		expect_at(__LINE__, &after, midnight - 200, NULL);
	}
}

Test(auth, a_presigned_request_lives_as_long_as_it_says)
{
	struct sent sent;
	prepare(&sent, PRESIGNED, "AKPLAIN", NOW_S);
	snprintf(sent.expires, sizeof(sent.expires), "3600");
	sign(&sent, "plain/secret");
	expect_at(__LINE__, &sent, NOW_S + 3600, NULL);
	expect_at(__LINE__, &sent, NOW_S - 300, NULL);
	expect_at(__LINE__, &sent, NOW_S + 3601,
		  "Signature expired: 20200913T122820Z is now earlier than 20200913T122821Z (20200913T132821Z - 60 min.)");
	expect_at(__LINE__, &sent, NOW_S - 301,
		  "Signature not yet current: 20200913T122820Z is still later than 20200913T122819Z (20200913T122319Z + 5 min.)");
	prepare(&sent, PRESIGNED, "AKPLAIN", NOW_S);
	snprintf(sent.expires, sizeof(sent.expires), "10");
	sign(&sent, "plain/secret");
	expect_at(__LINE__, &sent, NOW_S + 10, NULL);
	expect_at(__LINE__, &sent, NOW_S + 11,
		  "Signature expired: 20200913T122820Z is now earlier than 20200913T122821Z (20200913T122831Z - 10 sec.)");
}

static uint64_t random_state = 88172645463325252u;

static uint32_t random_below(uint32_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (uint32_t)(random_state >> 32) % n;
}

Test(auth, replays_outside_the_window)
{
	struct sent sent;
	unsigned late = 0, early = 0;
	for (int i = 0; i < 500; i++) {
		int64_t away_s = 301 + random_below(i % 2 ? 600 : 400000000);
		make(&sent, (enum form)random_below(FORMS), NOW_S);
		fake_now_ms = (NOW_S + away_s) * 1000;
		send_sent(&sent);
		late += strcmp(string("__type"), "InvalidSignatureException") == 0 &&
			strncmp(string("message"), "Signature expired: ", 19) == 0;
		fake_now_ms = (NOW_S - away_s) * 1000;
		send_sent(&sent);
		early += strcmp(string("__type"), "InvalidSignatureException") == 0 &&
			 strncmp(string("message"), "Signature not yet current: ", 27) == 0;
	}
	cr_expect(late == 500 && early == 500);
	printf("test_auth: 1000 replays outside the window: %u too late and %u too early refused\n", late, early);
}

/* ---- Mutations ---- */

static const char incomplete[] = "IncompleteSignatureException", invalid[] = "InvalidSignatureException",
		  unrecognized[] = "UnrecognizedClientException", missing[] = "MissingAuthenticationTokenException";

/* Another letter or digit in the place of one, at random. */
static void change_one(char *value)
{
	static const char set[] = "abcdefghijklmnopqrstuvwxyz0123456789";
	char *at = value + random_below((uint32_t)strlen(value)), c = set[random_below(36)];
	while (c == *at || (*at >= 'A' && *at <= 'Z' && (*at | 32) == c))
		c = set[random_below(36)];
	*at = c;
}

static const char *mutate_body(struct sent *sent)
{
	size_t n = strlen(sent->body);
	if (random_below(2)) { /* a digit of the limit */
		char *digit = sent->body + 9 + random_below(4);
		*digit = (char)('1' + (*digit - '1' + 1 + (int)random_below(8)) % 9);
	} else { /* a blank more: the same document, other bytes */
		sent->body[n] = ' ';
	}
	return invalid;
}

static const char *mutate_target(struct sent *sent)
{
	static const char *const others[] = {"DeleteStream", "PutRecord", "ListShards", "DescribeStream", "SubscribeToShard"};
	snprintf(header_of(sent, "x-amz-target"), 128, "Kinesis_20131202.%s", others[random_below(5)]);
	return invalid;
}

static const char *mutate_content_type(struct sent *sent)
{
	snprintf(header_of(sent, "content-type"), 128, "application/x-amz-json-1.1;v=%u", random_below(1000));
	return invalid;
}

static const char *mutate_host(struct sent *sent)
{
	change_one(header_of(sent, "host"));
	return invalid;
}

static const char *mutate_time(struct sent *sent)
{
	char *value = sent->presigned ? sent->time : header_of(sent, "x-amz-date");
	if (random_below(4) == 0) {
		value[random_below(16)] = 'x';
		return incomplete;
	}
	sigv4_time_text(NOW_S + 1 + random_below(290), value);
	return invalid;
}

static const char *mutate_path(struct sent *sent)
{
	snprintf(sent->path, sizeof(sent->path), "/%x", random_below(1 << 20));
	return invalid;
}

static const char *mutate_query(struct sent *sent)
{
	if (sent->query[0] && random_below(2))
		sent->query[2 + 4 * random_below(2)] = (char)('3' + random_below(7)); /* a value */
	else
		snprintf(sent->query, sizeof(sent->query), "c%u", random_below(1000));
	return invalid;
}

static const char *mutate_headers(struct sent *sent)
{
	switch (random_below(4)) {
	case 0:
		add_header(sent, "x-amz-meta", "unsigned");
		break;
	case 1: /* a second value */
		add_header(sent, "x-amz-target", "Kinesis_20131202.DeleteStream");
		break;
	case 2:
		drop_header(sent, "host");
		break;
	default: /* a blank inside */
		snprintf(header_of(sent, "x-amz-target"), 128, "Kinesis_20131202.ListStreams.%u", random_below(100));
		break;
	}
	return invalid;
}

static const char *mutate_key(struct sent *sent)
{
	change_one(sent->pieces[KEY]);
	return unrecognized;
}

static const char *mutate_signature(struct sent *sent)
{
	char *signature = sent->pieces[SIGNATURE];
	switch (random_below(5)) {
	case 0:
		signature[random_below(63) + 1] = '\0';
		break;
	case 1:
		strcat(signature, "0");
		break;
	case 2:
		signature[random_below(64)] = 'A';
		break;
	case 3:
		signature[0] = '\0';
		return incomplete;
	default:
		change_one(signature);
	}
	return invalid;
}

static const char *mutate_scope(struct sent *sent)
{
	change_one(sent->pieces[DATE + random_below(4)]);
	return invalid;
}

static const char *mutate_form(struct sent *sent)
{
	static const enum piece pairs[] = {KEY, NAMES, SIGNATURE};
	switch (random_below(3)) {
	case 0:
		sent->pieces[TERMINATOR][0] = '\0'; /* four parts */
		break;
	case 1:
		sent->without[pairs[random_below(3)]] = true;
		break;
	default:
		change_one(sent->pieces[ALGORITHM]);
	}
	return incomplete;
}

static const char *mutate_names(struct sent *sent)
{
	char *names = sent->pieces[NAMES], first[192], *at = strchr(names, ';');
	*first = '\0';
	strncat(first, names, (size_t)(at - names));
	switch (random_below(4)) {
	case 0: /* the first is not signed any more */
		memmove(names, at + 1, strlen(at));
		break;
	case 1: /* the last is not */
		*strrchr(names, ';') = '\0';
		break;
	case 2: /* once more, behind the others */
		strcat(strcat(names, ";"), first);
		break;
	default:
		strcat(names, ";zz-absent");
	}
	return invalid;
}

static const char *mutate_token(struct sent *sent)
{
	char *header = header_of(sent, "x-amz-security-token");
	if (header && random_below(2)) {
		drop_header(sent, "x-amz-security-token"); /* and it was signed */
		return invalid;
	}
	if (header || sent->token[0]) {
		change_one(header ? header : sent->token);
		return unrecognized;
	}
	if (sent->presigned) {
		snprintf(sent->token, sizeof(sent->token), "t%u", random_below(1000));
		return unrecognized;
	}
	add_header(sent, "x-amz-security-token", "more");
	return invalid;
}

static const char *mutate_hash(struct sent *sent)
{
	static const char *const values[] = {"UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
					     "STREAMING-UNSIGNED-PAYLOAD-TRAILER"};
	char *header = header_of(sent, "x-amz-content-sha256");
	if (header && random_below(2))
		change_one(header);
	else if (header)
		snprintf(header, 128, "%s", values[random_below(3)]);
	else
		add_header(sent, "x-amz-content-sha256", values[random_below(3)]);
	return invalid;
}

static const char *mutate_presence(struct sent *sent)
{
	if (!sent->presigned) { /* both forms at once */
		snprintf(sent->query, sizeof(sent->query), "X-Amz-Algorithm=AWS4-HMAC-SHA256");
		return invalid;
	}
	sent->presigned = false; /* neither */
	sent->without[ALGORITHM] = true;
	return missing;
}

static const char *mutate_secret(struct sent *sent)
{
	char secret[16];
	snprintf(secret, sizeof(secret), "secret%u", random_below(1000));
	sign(sent, secret);
	return invalid;
}

static const char *(*const mutations[])(struct sent *sent) = {
	mutate_body,  mutate_target,  mutate_content_type, mutate_host,      mutate_time,   mutate_path,
	mutate_query, mutate_headers, mutate_key,          mutate_signature, mutate_scope,  mutate_form,
	mutate_names, mutate_token,   mutate_hash,         mutate_presence,  mutate_secret,
};
#define MUTATIONS (sizeof(mutations) / sizeof(mutations[0]))

Test(auth, a_thousand_mutations_of_good_requests)
{
	static const char *const types[] = {incomplete, invalid, unrecognized, missing};
	unsigned counts[4] = {0}, refused = 0;
	for (unsigned i = 0; i < 1000; i++) {
		struct sent sent;
		make(&sent, (enum form)random_below(FORMS), NOW_S);
		send_sent(&sent);
		cr_assert_eq(answer.status, 200, "mutation %u: the request was not good before: %s", i, text());
		unsigned kind = i % MUTATIONS;
		const char *type = mutations[kind](&sent);
		if (sent.without[ALGORITHM])
			send_with(&sent, NULL);
		else
			send_sent(&sent);
		cr_expect(answer.status == 400 && strcmp(string("__type"), type) == 0, "mutation %u, kind %u: %d, wanted %s: %s", i, kind,
			  answer.status, type, text());
		refused += answer.status == 400;
		for (size_t k = 0; k < 4; k++)
			counts[k] += strcmp(string("__type"), types[k]) == 0;
	}
	cr_expect_eq(refused, 1000);
	printf("test_auth: 1000 mutations of good requests: %u refused: %u invalid, %u incomplete, %u unknown, %u missing\n", refused,
	       counts[1], counts[0], counts[2], counts[3]);
}

Test(auth, no_other_byte_in_the_authorization_is_let_in)
{
	struct sent sent;
	char good[1024], bad[1024];
	unsigned n = 0;
	make(&sent, WITH_TOKEN, NOW_S);
	put_authorization(&sent, good);
	for (size_t at = 0; good[at]; at++)
		for (int k = 0; k < 8; k++) {
			memcpy(bad, good, sizeof(bad));
			bad[at] = (char)(' ' + random_below(95));
			if (bad[at] == good[at])
				continue;
			send_with(&sent, bad);
			cr_expect_eq(answer.status, 400, "%s", bad);
			n++;
		}
	cr_expect_gt(n, 1000);
}
