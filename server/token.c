/* token.c: seals and opens shard iterators and page tokens.
 *
 * Pure but for the random nonce. Any thread: GetRecords seals on a worker, tests wherever they like.
 *
 * - seal: plain bytes of a fixed layout, padded to the length that AWS's iterators have, AES-256-GCM under the key, base64;
 * - open: base64, length, tag, kind, age.
 *
 * Fails: whatever does not authenticate is INVALID_ARGUMENT, without a hint why; what does is ours, so its layout is trusted.
 *
 * Nonces are random: after 2^40 tokens under one key the chance of one repeated nonce is below 2^-16, and what it would give away is a
 * position in a stream that its holder can read anyway. */
#include "server/token.h"

#include <assert.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

#include "penstock/writer.h"

#define HEAD 8
#define NONCE 12
#define TAG 16
#define SEALED_MAX (TOKEN_TEXT_MAX / 4 * 3)
#define PLAIN_MAX (SEALED_MAX - HEAD - NONCE - TAG)

static const uint8_t head[HEAD] = {0, 0, 0, 0, 0, 0, 0, 1};

/* Fetched once: a fetch by name takes longer than the encryption. Read-only afterwards, so every thread may use it. */
static EVP_CIPHER *cipher;
static pthread_once_t cipher_once = PTHREAD_ONCE_INIT;

static void cipher_fetch(void)
{
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	assert(cipher != NULL);
}

/* The context is asked for per call: tokens are made on workers and readers alike, and there is no place that both own. */
static EVP_CIPHER_CTX *cipher_begin(void)
{
	pthread_once(&cipher_once, cipher_fetch);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	assert(ctx != NULL);
	return ctx;
}

/* Writes HEAD + NONCE + n + TAG bytes as base64 and a NUL. */
static void seal(const uint8_t key[32], const uint8_t *plain, size_t n, char out[TOKEN_TEXT_MAX])
{
	uint8_t sealed[SEALED_MAX];
	assert(n <= PLAIN_MAX && base64_len(HEAD + NONCE + n + TAG) < TOKEN_TEXT_MAX);
	memcpy(sealed, head, HEAD);
	int random = RAND_bytes(sealed + HEAD, NONCE);
	EVP_CIPHER_CTX *ctx = cipher_begin();
	uint8_t *body = sealed + HEAD + NONCE;
	int written = 0, last = 0, good = random;
	good &= EVP_EncryptInit_ex2(ctx, cipher, key, sealed + HEAD, NULL);
	good &= EVP_EncryptUpdate(ctx, NULL, &last, head, HEAD);
	good &= EVP_EncryptUpdate(ctx, body, &written, plain, (int)n);
	good &= EVP_EncryptFinal_ex(ctx, body + written, &last);
	good &= EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG, body + n);
	EVP_CIPHER_CTX_free(ctx);
	/* None of these can fail but for a broken library or no entropy; a token that is not sealed must never leave. */
	assert(good == 1 && (size_t)written == n);
	size_t length = base64_encode(out, sealed, HEAD + NONCE + n + TAG);
	out[length] = '\0';
}

/* plain has room for PLAIN_MAX. False: not ours. */
static bool unseal(const uint8_t key[32], struct str text, uint8_t *plain, size_t *n)
{
	uint8_t sealed[SEALED_MAX];
	size_t length;
	if (text.n >= TOKEN_TEXT_MAX || !base64_decode(text, sealed, &length))
		return false;
	if (length < HEAD + NONCE + TAG || memcmp(sealed, head, HEAD) != 0)
		return false;
	size_t body = length - HEAD - NONCE - TAG;
	EVP_CIPHER_CTX *ctx = cipher_begin();
	int written = 0, last = 0, good;
	good = EVP_DecryptInit_ex2(ctx, cipher, key, sealed + HEAD, NULL) == 1 && EVP_DecryptUpdate(ctx, NULL, &last, sealed, HEAD) == 1 &&
	       EVP_DecryptUpdate(ctx, plain, &written, sealed + HEAD + NONCE, (int)body) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG, sealed + HEAD + NONCE + body) == 1 &&
	       EVP_DecryptFinal_ex(ctx, plain + written, &last) == 1;
	EVP_CIPHER_CTX_free(ctx);
	*n = body;
	return good;
}

/* ---- The layout inside: big-endian, fixed part first, then a counted name, then zeroes ---- */

static uint8_t *put(uint8_t *at, uint64_t v, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		at[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
	return at + bytes;
}

static uint64_t get(const uint8_t **at, unsigned bytes)
{
	uint64_t v = 0;
	for (unsigned i = 0; i < bytes; i++)
		v = v << 8 | *(*at)++;
	return v;
}

static uint8_t *put_name(uint8_t *at, const char *name)
{
	size_t n = strlen(name);
	assert(n <= STREAM_NAME_MAX);
	at = put(at, n, 1);
	memcpy(at, name, n);
	return at + n;
}

static void get_name(const uint8_t **at, char name[STREAM_NAME_MAX + 1])
{
	size_t n = get(at, 1);
	assert(n <= STREAM_NAME_MAX);
	memcpy(name, *at, n);
	name[n] = '\0';
}

/* A token from the future was made before the clock was set back. It counts as new. */
static enum status age_check(int64_t created_ms, int64_t now_ms, enum status expired)
{
	return now_ms - created_ms > TOKEN_LIFE_MS ? expired : STATUS_OK;
}

/* ---- Iterators ---- */

#define KIND_ITERATOR 0

/* Decoded length 152 + 16 * floor((name + 2) / 16), as on AWS. The content is always shorter: 30 + name. */
static size_t iterator_plain_len(size_t name) { return 152 + 16 * ((name + 2) / 16) - HEAD - NONCE - TAG; }

void token_iterator_seal(const uint8_t key[32], const struct iterator *iterator, char out[TOKEN_TEXT_MAX])
{
	uint8_t plain[PLAIN_MAX] = {0}, *at = plain;
	at = put(at, KIND_ITERATOR, 1);
	at = put(at, (uint64_t)iterator->created_ms, 8);
	at = put(at, iterator->stream, 8);
	at = put(at, iterator->shard, 4);
	at = put(at, iterator->next, 8);
	at = put_name(at, iterator->name);
	size_t n = iterator_plain_len(strlen(iterator->name));
	assert((size_t)(at - plain) <= n);
	seal(key, plain, n, out);
}

enum status token_iterator_open(const uint8_t key[32], struct str text, int64_t now_ms, struct iterator *out)
{
	uint8_t plain[PLAIN_MAX];
	size_t n;
	/* People copy it with its quotes out of a command line's JSON; AWS takes that. */
	if (text.n >= 2 && text.p[0] == '"' && text.p[text.n - 1] == '"')
		text = (struct str){text.p + 1, text.n - 2};
	if (!unseal(key, text, plain, &n) || plain[0] != KIND_ITERATOR)
		return STATUS_INVALID_ARGUMENT;
	const uint8_t *at = plain + 1;
	out->created_ms = (int64_t)get(&at, 8);
	out->stream = get(&at, 8);
	out->shard = (uint32_t)get(&at, 4);
	out->next = get(&at, 8);
	get_name(&at, out->name);
	return age_check(out->created_ms, now_ms, STATUS_EXPIRED_ITERATOR);
}

/* ---- Pages ---- */

void token_page_seal(const uint8_t key[32], const struct page *page, char out[TOKEN_TEXT_MAX])
{
	uint8_t plain[PLAIN_MAX] = {0}, *at = plain;
	at = put(at, page->kind, 1);
	at = put(at, (uint64_t)page->created_ms, 8);
	at = put(at, page->stream, 8);
	at = put(at, page->shard, 4);
	at = put(at, page->filter, 4);
	at = put(at, (uint64_t)page->filter_ms, 8);
	at = put_name(at, page->name);
	seal(key, plain, (size_t)(at - plain), out);
}

enum status token_page_open(const uint8_t key[32], enum page_kind kind, struct str text, int64_t now_ms, struct page *out)
{
	uint8_t plain[PLAIN_MAX];
	size_t n;
	if (!unseal(key, text, plain, &n) || plain[0] != kind)
		return STATUS_INVALID_ARGUMENT;
	const uint8_t *at = plain + 1;
	out->kind = kind;
	out->created_ms = (int64_t)get(&at, 8);
	out->stream = get(&at, 8);
	out->shard = (uint32_t)get(&at, 4);
	out->filter = (uint32_t)get(&at, 4);
	out->filter_ms = (int64_t)get(&at, 8);
	get_name(&at, out->name);
	return age_check(out->created_ms, now_ms, STATUS_EXPIRED_TOKEN);
}

void token_time(char out[TOKEN_TIME_MAX], int64_t ms)
{
	/* Not strftime: its names follow the locale. */
	static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
	static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
	time_t seconds = (time_t)(ms / 1000);
	struct tm tm;
	gmtime_r(&seconds, &tm);
	snprintf(out, TOKEN_TIME_MAX, "%s %s %02d %02d:%02d:%02d UTC %d", days[tm.tm_wday], months[tm.tm_mon], tm.tm_mday, tm.tm_hour,
		 tm.tm_min, tm.tm_sec, tm.tm_year + 1900);
}
