/* auth_verify.c: is a request's signature good?
 *
 * Thread: the request's worker; a struct auth is one worker's own.
 *
 * - the claim is read strictly; what must be signed is: host (or :authority), the date, every x-amz-* header, content-type if there is one.
 * An unsigned x-amz-target would let whoever sits between change the operation
 * - the body's hash is computed, never believed; x-amz-content-sha256 may only repeat it
 * - the signature is computed and compared in constant time
 * - then, of a request whose signature is good: its time, its scope, its account
 *
 * An unknown key costs the same work as a known one, under a secret that nobody knows. Signing keys are kept per principal for the two days
 * that can be valid at once, and only for this region and service: nothing that a client says makes the cache grow.
 *
 * Fails with AWS's texts where they are known. Secrets, signatures and tokens are in no text and no log. A request may be repeated while
 * its time is good: that is how SigV4 is; TLS keeps it from those who would. */
#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>

#include "penstock/api.h"
#include "penstock/sigv4.h"
#include "server/auth.h"
#include "server/worker.h"

#define WINDOW_S 300 /* a clock may be so far off, either way */
#define DAY_S 86400
#define MISMATCH                                                                                                               \
	"The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and " \
	"signing method. Consult the service documentation for details."

struct derived {
	char date[SIGV4_DATE_LEN]; /* zeros: none */
	uint8_t key[SIGV4_HASH];
};

struct auth {
	struct sigv4 sigv4;
	struct keys *keys;
	struct derived (*derived)[2]; /* by principal's number, nobody's too; by the day's parity */
};

/* One request under examination. */
struct examination {
	struct request *request;
	struct auth *auth;
	struct sigv4_claim claim;
	int64_t seconds, now_s;                             /* the request's time; ours */
	struct sigv4_field fields[REQUEST_HEADERS_MAX + 2]; /* host is there twice */
	size_t n_fields;
	uint8_t payload[SIGV4_HASH];
	const struct principal *principal;
	struct auth_call *call;
};

/* ---- Keys ---- */

static void drop_keys(struct auth *auth)
{
	if (auth->derived)
		OPENSSL_cleanse(auth->derived, (auth->keys->n + 1) * sizeof(*auth->derived));
	free(auth->derived);
	keys_unref(auth->keys);
}

void auth_set_keys(struct auth *auth, struct keys *keys)
{
	drop_keys(auth);
	auth->keys = keys;
	auth->derived = xcalloc(keys->n + 1, sizeof(*auth->derived));
}

struct auth *auth_new(struct keys *keys)
{
	struct auth *auth = xcalloc(1, sizeof(*auth));
	sigv4_init(&auth->sigv4);
	auth_set_keys(auth, keys);
	return auth;
}

void auth_free(struct auth *auth)
{
	if (!auth)
		return;
	drop_keys(auth);
	sigv4_fini(&auth->sigv4);
	free(auth);
}

/* ---- Refusals ---- */

#define REFUSE(examination, status, ...) ((examination)->call->text = arena_printf(&(examination)->request->arena, __VA_ARGS__), (status))

#define TOLD_MAX 256 /* bytes of a client's value that a text repeats */

static struct str told(struct examination *examination, struct str what)
{
	return arena_printable(&examination->request->arena, what, TOLD_MAX);
}

static enum status refuse_flaw(struct examination *examination, enum sigv4_flaw flaw, struct str what)
{
	static const struct {
		enum status status;
		const char *before, *behind; /* of what it is about; behind NULL: it is not told */
	} answers[SIGV4_FLAWS] = {
		[SIGV4_BAD_ALGORITHM] = {STATUS_INCOMPLETE_SIGNATURE, "Unsupported AWS 'algorithm': '", "'."},
		[SIGV4_BAD_PAIR] = {STATUS_INCOMPLETE_SIGNATURE,
				    "Each part of the signature must be there once, as key=value, and nothing else: '", "'."},
		[SIGV4_BAD_CREDENTIAL] =
			{STATUS_INCOMPLETE_SIGNATURE,
			 "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '", "'"},
		[SIGV4_BAD_TIME] = {STATUS_INCOMPLETE_SIGNATURE, "Date must be in ISO-8601 'basic format'. Got '",
				    "'. See http://en.wikipedia.org/wiki/ISO_8601"},
		[SIGV4_BAD_EXPIRES] = {STATUS_INCOMPLETE_SIGNATURE, "X-Amz-Expires must be 1 to 604800 seconds, not '", "'."},
		[SIGV4_BAD_QUERY] = {STATUS_INCOMPLETE_SIGNATURE, "The query-string cannot be decoded at '", "'."},
		[SIGV4_BAD_SIGNED_HEADERS] = {STATUS_INVALID_SIGNATURE, "SignedHeaders must be in lower case, sorted, and each once, not '",
					      "'."},
		[SIGV4_BAD_SIGNATURE] = {STATUS_INVALID_SIGNATURE, MISMATCH, NULL},
		[SIGV4_ABSENT_HEADER] = {STATUS_INVALID_SIGNATURE, "A 'SignedHeader' is not in the request: '", "'."},
	};
	struct str shown = answers[flaw].behind ? told(examination, what) : STR("");
	return REFUSE(examination, answers[flaw].status, "%s" STR_FMT "%s", answers[flaw].before, STR_ARG(shown),
		      answers[flaw].behind ? answers[flaw].behind : "");
}

/* ---- The claim and what it must cover ---- */

/* X-Amz-Date, else Date; *name is the one that counts. */
static enum status read_time(struct examination *examination, struct str *name)
{
	const struct request *request = examination->request;
	struct str iso = request_header(request, "x-amz-date"), date = request_header(request, "date");
	bool has_iso = iso.n > 0;
	*name = has_iso ? STR("x-amz-date") : STR("date");
	if (!sigv4_time_parse(has_iso ? iso : date, &examination->seconds) || (has_iso && iso.n != SIGV4_TIME_LEN))
		return refuse_flaw(examination, SIGV4_BAD_TIME, has_iso ? iso : date);
	return STATUS_OK;
}

static enum status read_claim(struct examination *examination, bool presigned, struct str *date)
{
	struct request *request = examination->request;
	struct sigv4_claim *claim = &examination->claim;
	struct str what = STR("");
	enum sigv4_flaw flaw = presigned ? sigv4_parse_query(request->exchange->query, &request->arena, claim, &what)
					 : sigv4_parse_header(request_header(request, "authorization"), claim, &what);
	*date = (struct str){NULL, 0};
	if (flaw)
		return refuse_flaw(examination, flaw, what);
	if (!str_present(claim->token))
		claim->token = request_header(request, "x-amz-security-token");
	examination->seconds = claim->seconds;
	return presigned ? STATUS_OK : read_time(examination, date);
}

static bool must_be_signed(struct str name, struct str date)
{
	return (name.n >= 6 && memcmp(name.p, "x-amz-", 6) == 0) || str_equal(name, STR("content-type")) || str_equal(name, date);
}

static void add_field(struct examination *examination, struct str name, struct str value)
{
	examination->fields[examination->n_fields++] = (struct sigv4_field){name, value};
}

/* Gathers the headers as they are signed; host, by either name, is what the request was sent to, in whatever form that was said. */
static enum status read_fields(struct examination *examination, struct str date)
{
	const struct request *request = examination->request;
	struct str signed_headers = examination->claim.signed_headers;
	if (!sigv4_signs(signed_headers, STR("host")) && !sigv4_signs(signed_headers, STR(":authority")))
		return REFUSE(examination, STATUS_INVALID_SIGNATURE,
			      "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.");
	if (str_present(request->exchange->host)) {
		add_field(examination, STR("host"), request->exchange->host);
		add_field(examination, STR(":authority"), request->exchange->host);
	}
	for (uint32_t i = 0; i < request->exchange->n_headers; i++) {
		struct str name = request->exchange->headers[i].name;
		if (str_equal(name, STR("host")))
			continue;
		if (must_be_signed(name, date) && !sigv4_signs(signed_headers, name))
			return REFUSE(examination, STATUS_INVALID_SIGNATURE,
				      "'" STR_FMT "' must be a 'SignedHeader' in the AWS Authorization.", STR_ARG(told(examination, name)));
		add_field(examination, name, request->exchange->headers[i].value);
	}
	return STATUS_OK;
}

/* UNSIGNED-PAYLOAD and STREAMING-... are S3's: here they are hashes that do not match. */
static enum status read_payload(struct examination *examination)
{
	const struct request *request = examination->request;
	char hex[2 * SIGV4_HASH];
	sigv4_sha256(&examination->auth->sigv4, request->exchange->body, request->exchange->body_len, examination->payload);
	sigv4_hex(examination->payload, hex);
	for (uint32_t i = 0; i < request->exchange->n_headers; i++)
		if (str_equal(request->exchange->headers[i].name, STR("x-amz-content-sha256")) &&
		    !str_equal(request->exchange->headers[i].value, (struct str){hex, sizeof(hex)}))
			return REFUSE(examination, STATUS_INVALID_SIGNATURE,
				      "The provided 'x-amz-content-sha256' header does not match what was computed.");
	return STATUS_OK;
}

/* ---- The signature ---- */

static bool is_date_of(const struct examination *examination)
{
	char time[SIGV4_TIME_LEN + 1];
	sigv4_time_text(examination->seconds, time);
	return str_equal(examination->claim.scope.date, (struct str){time, SIGV4_DATE_LEN});
}

static bool is_in_window(const struct examination *examination)
{
	int64_t age_s = examination->now_s - examination->seconds;
	return age_s <= WINDOW_S && age_s >= -WINDOW_S;
}

/* Services beside Kinesis have global endpoints, for which SDKs sign us-east-1. */
static bool is_region(const struct examination *examination)
{
	struct str region = examination->claim.scope.region;
	bool global = !str_equal(examination->call->service, STR("kinesis"));
	return str_equal(region, str_of(examination->request->worker->server->region)) || (global && str_equal(region, STR("us-east-1")));
}

/* What an honest client of ours says about today. */
static bool is_usual(const struct examination *examination)
{
	const struct sigv4_scope *scope = &examination->claim.scope;
	return str_equal(scope->region, str_of(examination->request->worker->server->region)) &&
	       str_equal(scope->service, STR("kinesis")) && str_equal(scope->terminator, STR(SIGV4_TERMINATOR)) &&
	       is_in_window(examination) && is_date_of(examination);
}

static void find_key(struct examination *examination, const struct principal *principal, uint8_t key[SIGV4_HASH])
{
	struct auth *auth = examination->auth;
	const struct sigv4_scope *scope = &examination->claim.scope;
	struct derived *derived = &auth->derived[principal->number][examination->seconds / DAY_S & 1];
	bool usual = is_usual(examination);
	if (usual && memcmp(derived->date, scope->date.p, SIGV4_DATE_LEN) == 0) {
		memcpy(key, derived->key, SIGV4_HASH);
		return;
	}
	sigv4_derive(&auth->sigv4, str_of(principal->secret), scope, key);
	if (usual) {
		memcpy(derived->date, scope->date.p, SIGV4_DATE_LEN);
		memcpy(derived->key, key, SIGV4_HASH);
	}
}

static bool is_token(const struct principal *principal, struct str token)
{
	if (!principal->token)
		return !str_present(token);
	return token.n == strlen(principal->token) && CRYPTO_memcmp(token.p, principal->token, token.n) == 0;
}

static enum status compute(struct examination *examination, const struct principal *principal, bool *good)
{
	const struct request *request = examination->request;
	struct sigv4 *sigv4 = &examination->auth->sigv4;
	const struct sigv4_claim *claim = &examination->claim;
	struct sigv4_request signed_request = {.method = request->exchange->method,
					       .path = request->exchange->path,
					       .query = request->exchange->query,
					       .fields = examination->fields,
					       .n_fields = examination->n_fields};
	uint8_t key[SIGV4_HASH], signature[SIGV4_HASH];
	struct str what = STR("");
	memcpy(signed_request.payload, examination->payload, SIGV4_HASH);
	sigv4->canonical.n = 0;
	enum sigv4_flaw flaw = sigv4_canonical(&signed_request, claim->signed_headers, claim->presigned, &sigv4->canonical, &what);
	if (flaw)
		return refuse_flaw(examination, flaw, what);
	find_key(examination, principal, key);
	sigv4_signature(sigv4, key, examination->seconds, &claim->scope, sigv4->canonical.p, sigv4->canonical.n, signature);
	*good = sigv4_equal(signature, claim->signature);
	OPENSSL_cleanse(key, sizeof(key));
	return STATUS_OK;
}

static enum status check_signature(struct examination *examination)
{
	const struct keys *keys = examination->auth->keys;
	bool good = false;
	examination->principal = keys_find(keys, examination->claim.key);
	enum status status = compute(examination, examination->principal ? examination->principal : &keys->nobody, &good);
	if (status)
		return status;
	if (!examination->principal || !is_token(examination->principal, examination->claim.token))
		return REFUSE(examination, STATUS_UNRECOGNIZED_CLIENT, "The security token included in the request is invalid.");
	return good ? STATUS_OK : REFUSE(examination, STATUS_INVALID_SIGNATURE, MISMATCH);
}

/* ---- What a good signature says ---- */

static enum status check_time(struct examination *examination)
{
	const struct sigv4_claim *claim = &examination->claim;
	int64_t seconds = examination->seconds, now_s = examination->now_s;
	int64_t life_s = claim->expires_s ? claim->expires_s : WINDOW_S;
	char time[SIGV4_TIME_LEN + 1], now[SIGV4_TIME_LEN + 1], bound[SIGV4_TIME_LEN + 1];
	sigv4_time_text(seconds, time);
	sigv4_time_text(now_s, now);
	if (now_s - seconds > life_s) {
		bool minutes = life_s % 60 == 0;
		sigv4_time_text(now_s - life_s, bound);
		return REFUSE(examination, STATUS_INVALID_SIGNATURE, "Signature expired: %s is now earlier than %s (%s - %lld %s.)", time,
			      bound, now, (long long)(minutes ? life_s / 60 : life_s), minutes ? "min" : "sec");
	}
	if (seconds - now_s > WINDOW_S) {
		sigv4_time_text(now_s + WINDOW_S, bound);
		return REFUSE(examination, STATUS_INVALID_SIGNATURE, "Signature not yet current: %s is still later than %s (%s + 5 min.)",
			      time, bound, now);
	}
	return STATUS_OK;
}

static enum status check_scope(struct examination *examination)
{
	const struct sigv4_scope *scope = &examination->claim.scope;
	struct buf wrong = {0};
	char time[SIGV4_TIME_LEN + 1];
	sigv4_time_text(examination->seconds, time);
	if (!is_date_of(examination))
		buf_printf(&wrong,
			   "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '" STR_FMT
			   "' != '%.8s', from '%s'. ",
			   STR_ARG(scope->date), time, time);
	if (!is_region(examination))
		buf_printf(&wrong, "Credential should be scoped to a valid region, not '" STR_FMT "'. ", STR_ARG(scope->region));
	if (!str_equal(scope->service, examination->call->service))
		buf_printf(&wrong, "Credential should be scoped to correct service: '" STR_FMT "'. ", STR_ARG(examination->call->service));
	if (!str_equal(scope->terminator, STR(SIGV4_TERMINATOR)))
		buf_printf(&wrong, "Credential should be scoped with a valid terminator: 'aws4_request', not '" STR_FMT "'. ",
			   STR_ARG(scope->terminator));
	if (wrong.n == 0)
		return STATUS_OK;
	examination->call->text = arena_str(&examination->request->arena, (struct str){(const char *)wrong.p, wrong.n});
	buf_free(&wrong);
	return STATUS_INVALID_SIGNATURE;
}

/* Nothing here belongs to any account but the server's, and there are no policies that would let others in. */
static enum status check_account(struct examination *examination)
{
	const struct principal *principal = examination->principal;
	const struct auth_call *call = examination->call;
	if (!call->action || !principal->account || strcmp(principal->account, examination->request->worker->server->account) == 0)
		return STATUS_OK;
	return REFUSE(examination, STATUS_ACCESS_DENIED,
		      "User: arn:aws:iam::%s:user/%s is not authorized to perform: " STR_FMT
		      ":%s because no resource-based policy allows the " STR_FMT ":%s action",
		      principal->account, principal->profile, STR_ARG(call->service), call->action, STR_ARG(call->service), call->action);
}

enum status auth_verify(struct request *request, bool presigned, struct auth_call *call)
{
	struct examination examination = {.request = request, .auth = request->worker->auth, .call = call};
	struct str date;
	examination.now_s = io_wall_ms(request->worker->server->io) / 1000;
	enum status status = read_claim(&examination, presigned, &date);
	if (!status)
		status = read_fields(&examination, date);
	if (!status)
		status = read_payload(&examination);
	if (!status)
		status = check_signature(&examination);
	if (!status)
		status = check_time(&examination);
	if (!status)
		status = check_scope(&examination);
	if (!status)
		call->caller = examination.principal;
	return status ? status : check_account(&examination);
}
