/* sigv4.c: digests, times, derived keys and signatures of SigV4.
 *
 * Pure; a struct sigv4 is one thread's. Fetching a digest by name costs more than a short digest itself, hence the context.
 *
 *   - derive: HMAC over date, region, service, terminator, each under the one before; the first under "AWS4" + secret
 *   - signature: HMAC under that key over the string to sign
 *
 * Failures: none of OpenSSL's calls here can fail but for a broken library or no memory (see bytes.h): asserted. Copies of a secret are
 * wiped. */
#include "penstock/sigv4.h"

#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <time.h>

#define TIME_TEXT_MAX 40

void sigv4_init(struct sigv4 *sigv4)
{
	char name[] = "SHA256";
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name, 0), OSSL_PARAM_construct_end()};
	*sigv4 = (struct sigv4){.mac = EVP_MAC_fetch(NULL, "HMAC", NULL), .sha256 = EVP_MD_fetch(NULL, name, NULL)};
	assert(sigv4->mac && sigv4->sha256);
	sigv4->hmac = EVP_MAC_CTX_new(sigv4->mac);
	sigv4->digest = EVP_MD_CTX_new();
	assert(sigv4->hmac && sigv4->digest);
	int set = EVP_MAC_CTX_set_params(sigv4->hmac, params);
	assert(set == 1);
}

void sigv4_fini(struct sigv4 *sigv4)
{
	EVP_MAC_CTX_free(sigv4->hmac);
	EVP_MAC_free(sigv4->mac);
	EVP_MD_CTX_free(sigv4->digest);
	EVP_MD_free(sigv4->sha256);
	buf_free(&sigv4->canonical);
}

/* ---- Digests ---- */

void sigv4_sha256(struct sigv4 *sigv4, const void *p, size_t n, uint8_t out[SIGV4_HASH])
{
	int good = EVP_DigestInit_ex2(sigv4->digest, sigv4->sha256, NULL);
	good &= EVP_DigestUpdate(sigv4->digest, p, n);
	good &= EVP_DigestFinal_ex(sigv4->digest, out, NULL);
	assert(good == 1);
}

static void hmac(struct sigv4 *sigv4, const void *key, size_t key_len, const void *p, size_t n, uint8_t out[SIGV4_HASH])
{
	size_t length = 0;
	int good = EVP_MAC_init(sigv4->hmac, key, key_len, NULL);
	good &= EVP_MAC_update(sigv4->hmac, p, n);
	good &= EVP_MAC_final(sigv4->hmac, out, &length, SIGV4_HASH);
	assert(good == 1 && length == SIGV4_HASH);
}

bool sigv4_equal(const uint8_t a[SIGV4_HASH], const uint8_t b[SIGV4_HASH]) { return CRYPTO_memcmp(a, b, SIGV4_HASH) == 0; }

void sigv4_hex(const uint8_t hash[SIGV4_HASH], char out[2 * SIGV4_HASH])
{
	static const char digits[] = "0123456789abcdef";
	for (size_t i = 0; i < SIGV4_HASH; i++) {
		out[2 * i] = digits[hash[i] >> 4];
		out[2 * i + 1] = digits[hash[i] & 15];
	}
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool sigv4_unhex(struct str text, uint8_t out[SIGV4_HASH])
{
	if (text.n != (size_t)2 * SIGV4_HASH)
		return false;
	for (size_t i = 0; i < SIGV4_HASH; i++) {
		int high = digit_of(text.p[2 * i]), low = digit_of(text.p[2 * i + 1]);
		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* ---- Times ---- */

/* strptime is lenient about blanks, widths and days of the week: what it has read must be what is written again. */
static bool parse_as(const char *text, const char *format, int64_t *seconds)
{
	struct tm tm = {0}, again;
	char back[TIME_TEXT_MAX];
	const char *end = strptime(text, format, &tm);
	if (!end || *end)
		return false;
	time_t time = timegm(&tm);
	if (time < 0 || !gmtime_r(&time, &again) || strftime(back, sizeof(back), format, &again) == 0)
		return false;
	*seconds = (int64_t)time;
	return strcmp(back, text) == 0;
}

bool sigv4_time_parse(struct str text, int64_t *seconds)
{
	char z[TIME_TEXT_MAX];
	if (text.n >= sizeof(z))
		return false;
	memcpy(z, text.p, text.n);
	z[text.n] = '\0';
	if (strlen(z) != text.n)
		return false;
	if (text.n == SIGV4_TIME_LEN)
		return parse_as(z, "%Y%m%dT%H%M%SZ", seconds);
	return parse_as(z, "%a, %d %b %Y %H:%M:%S GMT", seconds) || parse_as(z, "%a, %d %b %Y %H:%M:%S -0000", seconds) ||
	       parse_as(z, "%a, %d %b %Y %H:%M:%S +0000", seconds);
}

void sigv4_time_text(int64_t seconds, char out[SIGV4_TIME_LEN + 1])
{
	struct tm tm;
	time_t time = (time_t)seconds;
	bool good = gmtime_r(&time, &tm) && strftime(out, SIGV4_TIME_LEN + 1, "%Y%m%dT%H%M%SZ", &tm) == SIGV4_TIME_LEN;
	assert(good);
}

/* ---- Signatures ---- */

void sigv4_derive(struct sigv4 *sigv4, struct str secret, const struct sigv4_scope *scope, uint8_t key[SIGV4_HASH])
{
	char first[4 + SIGV4_SECRET_MAX];
	assert(secret.n <= SIGV4_SECRET_MAX);
	memcpy(first, "AWS4", 4);
	memcpy(first + 4, secret.p, secret.n);
	hmac(sigv4, first, 4 + secret.n, scope->date.p, scope->date.n, key);
	hmac(sigv4, key, SIGV4_HASH, scope->region.p, scope->region.n, key);
	hmac(sigv4, key, SIGV4_HASH, scope->service.p, scope->service.n, key);
	hmac(sigv4, key, SIGV4_HASH, scope->terminator.p, scope->terminator.n, key);
	OPENSSL_cleanse(first, sizeof(first));
}

static void put_scope(const struct sigv4_scope *scope, struct buf *out)
{
	buf_put_str(out, scope->date);
	buf_put_char(out, '/');
	buf_put_str(out, scope->region);
	buf_put_char(out, '/');
	buf_put_str(out, scope->service);
	buf_put_char(out, '/');
	buf_put_str(out, scope->terminator);
}

static void put_hex(const uint8_t hash[SIGV4_HASH], struct buf *out)
{
	sigv4_hex(hash, (char *)buf_reserve(out, (size_t)2 * SIGV4_HASH));
	out->n += (size_t)2 * SIGV4_HASH;
}

void sigv4_signature(struct sigv4 *sigv4, const uint8_t key[SIGV4_HASH], int64_t seconds, const struct sigv4_scope *scope,
		     const void *canonical, size_t n, uint8_t out[SIGV4_HASH])
{
	struct buf text = {0};
	char time[SIGV4_TIME_LEN + 1];
	uint8_t hash[SIGV4_HASH];
	sigv4_time_text(seconds, time);
	sigv4_sha256(sigv4, canonical, n, hash);
	buf_put_str(&text, STR(SIGV4_ALGORITHM "\n"));
	buf_put(&text, time, SIGV4_TIME_LEN);
	buf_put_char(&text, '\n');
	put_scope(scope, &text);
	buf_put_char(&text, '\n');
	put_hex(hash, &text);
	hmac(sigv4, key, SIGV4_HASH, text.p, text.n, out);
	buf_free(&text);
}

void sigv4_render_header(const struct sigv4_claim *claim, struct buf *out)
{
	buf_put_str(out, STR(SIGV4_ALGORITHM " Credential="));
	buf_put_str(out, claim->key);
	buf_put_char(out, '/');
	put_scope(&claim->scope, out);
	buf_put_str(out, STR(", SignedHeaders="));
	buf_put_str(out, claim->signed_headers);
	buf_put_str(out, STR(", Signature="));
	put_hex(claim->signature, out);
}

static struct str names_of(const struct sigv4_request *request, struct buf *out)
{
	for (size_t i = 0; i < request->n_fields; i++) {
		if (i)
			buf_put_char(out, ';');
		buf_put_str(out, request->fields[i].name);
	}
	return (struct str){(const char *)out->p, out->n};
}

/* A day's key takes four of the five HMACs of a signature. */
static const uint8_t *key_of_day(struct sigv4 *sigv4, struct sigv4_signer *signer, const struct sigv4_scope *scope)
{
	if (memcmp(signer->day, scope->date.p, SIGV4_DATE_LEN) != 0) {
		sigv4_derive(sigv4, signer->secret, scope, signer->derived);
		memcpy(signer->day, scope->date.p, SIGV4_DATE_LEN);
	}
	return signer->derived;
}

void sigv4_sign(struct sigv4 *sigv4, struct sigv4_signer *signer, int64_t seconds, const struct sigv4_request *request, struct buf *out)
{
	struct buf names = {0};
	char time[SIGV4_TIME_LEN + 1];
	struct str what;
	struct sigv4_claim claim = {.key = signer->key, .signed_headers = names_of(request, &names)};
	sigv4_time_text(seconds, time);
	claim.scope = (struct sigv4_scope){{time, SIGV4_DATE_LEN}, signer->region, signer->service, STR(SIGV4_TERMINATOR)};
	sigv4->canonical.n = 0;
	enum sigv4_flaw flaw = sigv4_canonical(request, claim.signed_headers, false, &sigv4->canonical, &what);
	assert(flaw == SIGV4_OK); /* the caller's own request */
	sigv4_signature(sigv4, key_of_day(sigv4, signer, &claim.scope), seconds, &claim.scope, sigv4->canonical.p, sigv4->canonical.n,
			claim.signature);
	sigv4_render_header(&claim, out);
	buf_free(&names);
}
