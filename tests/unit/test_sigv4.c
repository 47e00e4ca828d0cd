/* test_sigv4.c: canonical requests, signatures and claims of SigV4 against another implementation's (data/sigv4_vectors.h), and what the
 * parsers refuse. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "penstock/sigv4.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

static const struct vector {
	const char *name, *method, *path, *query, *headers, *body;
	size_t body_len;
	const char *time, *region, *service, *authorization, *signature, *canonical;
} vectors[] = {
#include "data/sigv4_vectors.h"
};
#define VECTORS (sizeof(vectors) / sizeof(vectors[0]))

static struct sigv4 sigv4;
static struct arena arena;

static void setup(void) { sigv4_init(&sigv4); }

static void teardown(void)
{
	arena_free(&arena);
	sigv4_fini(&sigv4);
}

TestSuite(sigv4, .init = setup, .fini = teardown);

static struct str text_of(const struct buf *buf) { return (struct str){(const char *)buf->p, buf->n}; }

/* "name:value" lines. */
static size_t read_fields(const char *lines, struct sigv4_field *fields)
{
	size_t n = 0;
	while (*lines) {
		const char *colon = strchr(lines, ':'), *end = strchr(lines, '\n');
		fields[n++] = (struct sigv4_field){{lines, (size_t)(colon - lines)}, {colon + 1, (size_t)(end - colon - 1)}};
		lines = end + 1;
	}
	return n;
}

static void read_vector(const struct vector *vector, struct sigv4_field fields[16], struct sigv4_request *request)
{
	*request = (struct sigv4_request){.method = str_of(vector->method),
					  .path = str_of(vector->path),
					  .query = str_of(vector->query),
					  .fields = fields,
					  .n_fields = read_fields(vector->headers, fields)};
	sigv4_sha256(&sigv4, vector->body, vector->body_len, request->payload);
}

static enum sigv4_flaw read_claim(const struct vector *vector, struct sigv4_claim *claim)
{
	struct str what;
	if (*vector->authorization)
		return sigv4_parse_header(str_of(vector->authorization), claim, &what);
	return sigv4_parse_query(str_of(vector->query), &arena, claim, &what);
}

static void check_vector(const struct vector *vector)
{
	struct sigv4_field fields[16];
	struct sigv4_request request;
	struct sigv4_claim claim;
	struct str what;
	struct buf canonical = {0};
	uint8_t key[SIGV4_HASH], signature[SIGV4_HASH];
	int64_t seconds;
	read_vector(vector, fields, &request);
	cr_assert_eq(read_claim(vector, &claim), SIGV4_OK, "%s", vector->name);
	cr_expect(str_equal(claim.key, STR("AKIDEXAMPLE")) && str_equal(claim.scope.region, str_of(vector->region)), "%s", vector->name);
	cr_assert_eq(sigv4_canonical(&request, claim.signed_headers, claim.presigned, &canonical, &what), SIGV4_OK, "%s", vector->name);
	cr_expect(str_equal(text_of(&canonical), str_of(vector->canonical)), "%s:\n" STR_FMT "\nnot\n%s", vector->name,
		  STR_ARG(text_of(&canonical)), vector->canonical);
	cr_assert(sigv4_time_parse(str_of(vector->time), &seconds));
	cr_expect(!claim.presigned || claim.seconds == seconds);
	sigv4_derive(&sigv4, STR(SECRET), &claim.scope, key);
	sigv4_signature(&sigv4, key, seconds, &claim.scope, canonical.p, canonical.n, signature);
	cr_expect(sigv4_equal(signature, claim.signature), "%s", vector->name);
	buf_free(&canonical);
}

Test(sigv4, vectors)
{
	for (size_t i = 0; i < VECTORS; i++)
		check_vector(&vectors[i]);
	cr_expect_geq(VECTORS, 34, "AWS's own suite has so many");
	printf("test_sigv4: %zu vectors: canonical requests and signatures as the other implementation has them\n", VECTORS);
}

Test(sigv4, signing_gives_the_header_that_the_vector_has)
{
	size_t signed_as_sorted = 0;
	for (size_t i = 0; i < VECTORS; i++) {
		struct sigv4_field fields[16];
		struct sigv4_request request;
		struct buf header = {0};
		int64_t seconds;
		read_vector(&vectors[i], fields, &request);
		bool sorted = *vectors[i].authorization != '\0';
		for (size_t k = 1; k < request.n_fields; k++)
			sorted = sorted && str_compare(fields[k - 1].name, fields[k].name) < 0;
		if (!sorted)
			continue;
		struct sigv4_signer signer = {.key = STR("AKIDEXAMPLE"),
					      .secret = STR(SECRET),
					      .region = str_of(vectors[i].region),
					      .service = str_of(vectors[i].service)};
		cr_assert(sigv4_time_parse(str_of(vectors[i].time), &seconds));
		sigv4_sign(&sigv4, &signer, seconds, &request, &header);
		cr_expect(str_equal(text_of(&header), str_of(vectors[i].authorization)), "%s", vectors[i].name);
		buf_free(&header);
		signed_as_sorted++;
	}
	cr_expect_gt(signed_as_sorted, 20);
}

static struct buf sign_at(struct sigv4_signer *signer, int64_t seconds)
{
	struct sigv4_field host = {STR("host"), STR("here")};
	struct sigv4_request request = {.method = STR("POST"), .path = STR("/"), .query = STR(""), .fields = &host, .n_fields = 1};
	struct buf header = {0};
	sigv4_sha256(&sigv4, "", 0, request.payload);
	sigv4_sign(&sigv4, signer, seconds, &request, &header);
	return header;
}

#define SIGNER \
	(struct sigv4_signer) { .key = STR("AKIDEXAMPLE"), .secret = STR(SECRET), .region = STR("us-east-1"), .service = STR("kinesis") }

Test(sigv4, a_signer_derives_a_key_a_day)
{
	static const int64_t noon = 1440936000, day = 86400;
	struct sigv4_signer signer = SIGNER;
	for (int64_t at = noon; at <= noon + 2 * day; at += day / 2) {
		struct sigv4_signer fresh = SIGNER;
		struct buf kept = sign_at(&signer, at), anew = sign_at(&fresh, at);
		cr_expect(str_equal(text_of(&kept), text_of(&anew)), "half days since noon: %d", (int)((at - noon) / (day / 2)));
		buf_free(&kept);
		buf_free(&anew);
	}
	struct buf before = sign_at(&signer, noon);
	signer.derived[0] ^= 1;
	struct buf same_day = sign_at(&signer, noon), next_day = sign_at(&signer, noon + day), again = sign_at(&signer, noon);
	cr_expect(!str_equal(text_of(&before), text_of(&same_day)), "the key was kept");
	cr_expect(str_equal(text_of(&before), text_of(&again)), "and made anew");
	buf_free(&before);
	buf_free(&same_day);
	buf_free(&next_day);
	buf_free(&again);
}

/* ---- Claims ---- */

#define SIG "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
#define CRED "Credential=AK/20150830/r/s/aws4_request"
#define HEADER(signed_headers, signature) "AWS4-HMAC-SHA256 " CRED ", SignedHeaders=" signed_headers ", Signature=" signature

static void expect_header(int line, const char *header, enum sigv4_flaw flaw, const char *what)
{
	struct sigv4_claim claim;
	struct str got = STR("");
	cr_expect_eq(sigv4_parse_header(str_of(header), &claim, &got), flaw, "line %d", line);
	if (what)
		cr_expect(str_equal(got, str_of(what)), "line %d: " STR_FMT, line, STR_ARG(got));
	cr_expect(memmem(got.p, got.n, SIG, 64) == NULL, "line %d: a signature is told", line);
}
#define EXPECT_HEADER(header, flaw, what) expect_header(__LINE__, header, flaw, what)

Test(sigv4, header_claims)
{
	EXPECT_HEADER(HEADER("host;x-amz-date", SIG), SIGV4_OK, NULL);
	EXPECT_HEADER("AWS4-HMAC-SHA256 Signature=" SIG ",SignedHeaders=host," CRED, SIGV4_OK, NULL); /* in any order, without blanks */
	EXPECT_HEADER("AWS4-HMAC-SHA1 " CRED ",SignedHeaders=a,Signature=" SIG, SIGV4_BAD_ALGORITHM, "AWS4-HMAC-SHA1");
	EXPECT_HEADER("", SIGV4_BAD_ALGORITHM, "");
	EXPECT_HEADER("AWS4-HMAC-SHA256", SIGV4_BAD_ALGORITHM, "");
	EXPECT_HEADER("AWS4-HMAC-SHA256 ", SIGV4_BAD_PAIR, "");
	EXPECT_HEADER("AWS4-HMAC-SHA256 " CRED ",SignedHeaders=a", SIGV4_BAD_PAIR, "Signature");
	EXPECT_HEADER("AWS4-HMAC-SHA256 " CRED "," CRED ",SignedHeaders=a,Signature=" SIG, SIGV4_BAD_PAIR, "Credential");
	EXPECT_HEADER(HEADER("a", SIG) ", Other=1", SIGV4_BAD_PAIR, "Other");
	EXPECT_HEADER(HEADER("a", SIG) ",", SIGV4_BAD_PAIR, "");
	EXPECT_HEADER("AWS4-HMAC-SHA256 " CRED " SignedHeaders=a Signature=" SIG, SIGV4_BAD_PAIR, "SignedHeaders");
}

Test(sigv4, credentials_have_five_parts)
{
	static const char *const bad[] = {"AK",
					  "AK/20150830/r/s",
					  "AK/20150830/r/s/aws4_request/x",
					  "/20150830/r/s/t",
					  "AK//r/s/t",
					  "AK/d/r/s/",
					  "A K/d/r/s/t",
					  "AK/d/r/s=/t",
					  "AK/d\x7f/r/s/t",
					  ""};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		char header[256];
		snprintf(header, sizeof(header), "AWS4-HMAC-SHA256 Credential=%s,SignedHeaders=a,Signature=" SIG, bad[i]);
		EXPECT_HEADER(header, SIGV4_BAD_CREDENTIAL, bad[i]);
	}
}

Test(sigv4, signed_headers_are_lower_case_sorted_and_each_once)
{
	EXPECT_HEADER(HEADER("a", SIG), SIGV4_OK, NULL);
	EXPECT_HEADER(HEADER("a;a-b;a1;aa;b", SIG), SIGV4_OK, NULL);
	EXPECT_HEADER(HEADER("b;a", SIG), SIGV4_BAD_SIGNED_HEADERS, "b;a");
	EXPECT_HEADER(HEADER("a;a", SIG), SIGV4_BAD_SIGNED_HEADERS, "a;a");
	EXPECT_HEADER(HEADER("a;B", SIG), SIGV4_BAD_SIGNED_HEADERS, "a;B");
	EXPECT_HEADER(HEADER("a;", SIG), SIGV4_BAD_SIGNED_HEADERS, "a;");
	EXPECT_HEADER(HEADER(";a", SIG), SIGV4_BAD_SIGNED_HEADERS, ";a");
	EXPECT_HEADER(HEADER("", SIG), SIGV4_BAD_SIGNED_HEADERS, "");
	EXPECT_HEADER(HEADER(":authority;a", SIG), SIGV4_OK, NULL); /* in the place of host */
	EXPECT_HEADER(HEADER(":path;a", SIG), SIGV4_BAD_SIGNED_HEADERS, ":path;a");
	EXPECT_HEADER(HEADER("a:b", SIG), SIGV4_BAD_SIGNED_HEADERS, "a:b");
	cr_expect(sigv4_signs(STR("a;host;z"), STR("host")) && sigv4_signs(STR("a;host;z"), STR("z")));
	cr_expect_not(sigv4_signs(STR("a;host;z"), STR("hos")) || sigv4_signs(STR("a;host;z"), STR("a;host")));
}

Test(sigv4, signatures_are_64_lower_case_digits)
{
	uint8_t hash[SIGV4_HASH];
	char text[2 * SIGV4_HASH];
	cr_assert(sigv4_unhex(STR(SIG), hash));
	sigv4_hex(hash, text);
	cr_expect_arr_eq(text, SIG, 64);
	EXPECT_HEADER("AWS4-HMAC-SHA256 " CRED ",SignedHeaders=a,Signature=", SIGV4_BAD_SIGNATURE, NULL);
	cr_expect_not(sigv4_unhex(STR(SIG "0"), hash));
	cr_expect_not(sigv4_unhex((struct str){SIG, 63}, hash));
	cr_expect_not(sigv4_unhex(STR("5FA00FA31553B73EBF1942676E86291E8372FF2A2260956D9B8AAE1D763FBF31"), hash));
	cr_expect_not(sigv4_unhex(STR("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf3g"), hash));
}

#define QUERY                                                                                                                \
	"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AK%2F20150830%2Fr%2Fs%2Faws4_request&X-Amz-Date=20150830T123600Z" \
	"&X-Amz-SignedHeaders=a%3bb&X-Amz-Signature=" SIG

static void expect_query(int line, const char *query, enum sigv4_flaw flaw, const char *what)
{
	struct sigv4_claim claim;
	struct str got = STR("");
	cr_expect_eq(sigv4_parse_query(str_of(query), &arena, &claim, &got), flaw, "line %d", line);
	if (what)
		cr_expect(str_equal(got, str_of(what)), "line %d: " STR_FMT, line, STR_ARG(got));
	if (flaw == SIGV4_OK)
		cr_expect(claim.presigned && str_equal(claim.signed_headers, STR("a;b")), "line %d", line);
}
#define EXPECT_QUERY(query, flaw, what) expect_query(__LINE__, query, flaw, what)

Test(sigv4, query_claims)
{
	struct sigv4_claim claim;
	struct str what;
	EXPECT_QUERY(QUERY, SIGV4_OK, NULL);
	EXPECT_QUERY("x=1&" QUERY "&flag", SIGV4_OK, NULL);
	EXPECT_QUERY(QUERY "&X-Amz-Expires=0", SIGV4_BAD_EXPIRES, "0");
	EXPECT_QUERY(QUERY "&X-Amz-Expires=604801", SIGV4_BAD_EXPIRES, "604801");
	EXPECT_QUERY(QUERY "&X-Amz-Expires=60s", SIGV4_BAD_EXPIRES, "60s");
	EXPECT_QUERY(QUERY "&X-Amz-Expires=", SIGV4_BAD_EXPIRES, "");
	EXPECT_QUERY(QUERY "&X-Amz-Date=20150830T123600Z", SIGV4_BAD_PAIR, "X-Amz-Date");
	EXPECT_QUERY(QUERY "&X-Amz-Security-Token=%2", SIGV4_BAD_QUERY, "X-Amz-Security-Token");
	EXPECT_QUERY("X-Amz-Algorithm=AWS4-HMAC-SHA256", SIGV4_BAD_PAIR, "X-Amz-Credential");
	EXPECT_QUERY("", SIGV4_BAD_PAIR, "X-Amz-Algorithm");
	cr_assert_eq(sigv4_parse_query(STR(QUERY "&X-Amz-Expires=604800&X-Amz-Security-Token=a%2Fb"), &arena, &claim, &what), SIGV4_OK);
	cr_expect_eq(claim.expires_s, 604800);
	cr_expect(str_equal(claim.token, STR("a/b")));
}

/* ---- What is not signed ---- */

static enum sigv4_flaw canonical_of(const char *query, const char *signed_headers, struct str *what)
{
	struct sigv4_field field = {STR("host"), STR("h")};
	struct sigv4_request request = {STR("GET"), STR("/"), str_of(query), &field, 1, {0}};
	struct buf canonical = {0};
	enum sigv4_flaw flaw = sigv4_canonical(&request, str_of(signed_headers), false, &canonical, what);
	buf_free(&canonical);
	return flaw;
}

Test(sigv4, requests_without_a_canonical_form)
{
	struct str what;
	cr_expect_eq(canonical_of("a=%2", "host", &what), SIGV4_BAD_QUERY);
	cr_expect_eq(canonical_of("a=%zz&b", "host", &what), SIGV4_BAD_QUERY);
	cr_expect(str_equal(what, STR("a=%zz")));
	cr_expect_eq(canonical_of("%", "host", &what), SIGV4_BAD_QUERY);
	cr_expect_eq(canonical_of("a", "host;x-absent", &what), SIGV4_ABSENT_HEADER);
	cr_expect(str_equal(what, STR("x-absent")));
	cr_expect_eq(canonical_of("&&=&a&", "host", &what), SIGV4_OK);
}

/* ---- Times ---- */

static bool reads_as(const char *text, int64_t wanted)
{
	int64_t seconds = -1;
	return sigv4_time_parse(str_of(text), &seconds) && seconds == wanted;
}

Test(sigv4, times_in_their_two_spellings)
{
	static const char *const bad[] = {"20150230T000000Z",
					  "20150830T240000Z",
					  "20150830T123660Z",
					  "20150830T12360Z ",
					  " 0150830T123600Z",
					  "20150830t123600z",
					  "20150830T123600",
					  "20150830T123600Z ",
					  "2015-08-30T12:36Z",
					  "",
					  "19691231T235959Z",
					  "+0150830T123600Z",
					  "Mon, 30 Aug 2015 12:36:00 GMT",
					  "Sun, 30 Aug 2015 12:36:00 +0100",
					  "Sun, 30 Aug 2015 12:36:00 GMT and more than that",
					  "sun, 30 aug 2015 12:36:00 GMT"};
	char text[SIGV4_TIME_LEN + 1];
	int64_t seconds;
	cr_expect(reads_as("20150830T123600Z", 1440938160));
	cr_expect(reads_as("Sun, 30 Aug 2015 12:36:00 GMT", 1440938160));
	cr_expect(reads_as("Sun, 30 Aug 2015 12:36:00 -0000", 1440938160));
	cr_expect(reads_as("20160229T000000Z", 1456704000));
	cr_expect(reads_as("19700101T000000Z", 0));
	cr_expect_not(sigv4_time_parse((struct str){"20150830T123600Z\0", 17}, &seconds));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_not(sigv4_time_parse(str_of(bad[i]), &seconds), "\"%s\"", bad[i]);
	sigv4_time_text(1440938160, text);
	cr_expect_str_eq(text, "20150830T123600Z");
}
