/* keys.c: reads a credentials file into an immutable table of principals.
 *
 * Any thread; main, in fact: at start, and for each SIGHUP. Invariants: a table never changes; every principal has a key id of its own and
 * a secret; bytes that were secret are wiped before they are freed.
 *
 * - the file must be an ordinary one that only its owner can read or write (secret_file.h)
 * - lines (ini.h): [profile], setting = value, # or ; comment, blank
 * - the principals are sorted by key id, and looked up by halving
 *
 * Failure modes: whatever cannot be understood ends the reading with file, line and reason: half a table would lock somebody out, or in.
 * Values are never told, since the flaw may be a secret on the wrong line. */
#include "server/keys.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/ini.h"
#include "penstock/sigv4.h"
#include "penstock/slog.h"
#include "server/secret_file.h"

#define KEY_MAX 128    /* AWS: 16 to 128 */
#define TOKEN_MAX 8192 /* has to fit into a request's head */
#define ALNUM "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

struct reader {
	const char *path;
	struct keys *keys;
	struct principal *at; /* the profile that settings belong to; NULL: none yet */
	uint32_t cap;
	unsigned line;
	char **why;
};

/* ---- Life ---- */

static void wipe(char *secret)
{
	if (secret)
		OPENSSL_cleanse(secret, strlen(secret));
	free(secret);
}

static void principal_fini(struct principal *principal)
{
	free(principal->profile);
	free(principal->key);
	wipe(principal->secret);
	wipe(principal->token);
	free(principal->account);
}

struct keys *keys_ref(struct keys *keys)
{
	atomic_fetch_add_explicit(&keys->refs, 1, memory_order_relaxed);
	return keys;
}

void keys_unref(struct keys *keys)
{
	if (!keys || atomic_fetch_sub_explicit(&keys->refs, 1, memory_order_acq_rel) != 1)
		return;
	for (uint32_t i = 0; i < keys->n; i++)
		principal_fini(&keys->principals[i]);
	principal_fini(&keys->nobody);
	free(keys->principals);
	free(keys);
}

static int compare_keys(const void *a, const void *b)
{
	const struct principal *x = a, *y = b;
	return strcmp(x->key, y->key);
}

const struct principal *keys_find(const struct keys *keys, struct str key)
{
	uint32_t low = 0, high = keys->n;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		int order = str_compare(str_of(keys->principals[middle].key), key);
		if (order == 0)
			return &keys->principals[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

/* ---- Lines ---- */

static enum status bad_line(const struct reader *reader, unsigned line, const char *flaw)
{
	*reader->why = xasprintf("%s:%u: %s", reader->path, line, flaw);
	return STATUS_INVALID_ARGUMENT;
}

static bool is_made_of(struct str s, const char *set, size_t most)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\0' || !strchr(set, s.p[i]))
			return false;
	return s.n > 0 && s.n <= most;
}

static bool is_graphic(struct str s, size_t most)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0 && s.n <= most;
}

static enum status end_profile(struct reader *reader)
{
	const struct principal *at = reader->at;
	if (at && !at->key)
		return bad_line(reader, at->line, "this profile has no aws_access_key_id");
	if (at && !at->secret)
		return bad_line(reader, at->line, "this profile has no aws_secret_access_key");
	return STATUS_OK;
}

static enum status begin_profile(struct reader *reader, const struct ini_line *line)
{
	struct keys *keys = reader->keys;
	struct str name = line->name;
	enum status status = end_profile(reader);
	if (status)
		return status;
	if (line->value.n || name.n == 0 || memchr(name.p, '\0', name.n))
		return bad_line(reader, reader->line, "a profile's line is its name in square brackets, and no more");
	for (uint32_t i = 0; i < keys->n; i++)
		if (str_equal(str_of(keys->principals[i].profile), name))
			return bad_line(reader, reader->line, "this profile is there twice");
	if (keys->n == reader->cap) {
		reader->cap = reader->cap ? 2 * reader->cap : 8;
		keys->principals = xrealloc(keys->principals, reader->cap * sizeof(*keys->principals));
	}
	reader->at = &keys->principals[keys->n++];
	*reader->at = (struct principal){.profile = xstrndup(name.p, name.n), .line = reader->line};
	return STATUS_OK;
}

static enum status keep(struct reader *reader, char **field, struct str value, bool good, const char *wants)
{
	if (!good)
		return bad_line(reader, reader->line, wants);
	if (*field)
		return bad_line(reader, reader->line, "this setting is there twice");
	*field = xstrndup(value.p, value.n);
	return STATUS_OK;
}

static enum status take_setting(struct reader *reader, struct str name, struct str value)
{
	struct principal *at = reader->at;
	if (!at)
		return bad_line(reader, reader->line, "a setting before the first [profile]");
	if (str_equal(name, STR("aws_access_key_id")))
		return keep(reader, &at->key, value, is_made_of(value, ALNUM "_-.", KEY_MAX),
			    "aws_access_key_id is 1 to 128 letters, digits, _, - and .");
	if (str_equal(name, STR("aws_secret_access_key")))
		return keep(reader, &at->secret, value, is_graphic(value, SIGV4_SECRET_MAX),
			    "aws_secret_access_key is 1 to 256 characters of ASCII without blanks");
	if (str_equal(name, STR("aws_session_token")))
		return keep(reader, &at->token, value, is_graphic(value, TOKEN_MAX),
			    "aws_session_token is 1 to 8192 characters of ASCII without blanks");
	if (str_equal(name, STR("account_id")))
		return keep(reader, &at->account, value, value.n == 12 && is_made_of(value, "0123456789", 12), "account_id is 12 digits");
	slog(SLOG_WARN, "credentials_setting_ignored", "file=\"%s\" line=%u profile=\"%s\"", reader->path, reader->line, at->profile);
	return STATUS_OK;
}

static enum status take_line(struct reader *reader, const struct ini_line *line)
{
	reader->line = line->number;
	if (line->kind == INI_SECTION)
		return begin_profile(reader, line);
	if (line->kind == INI_SETTING)
		return take_setting(reader, line->name, line->value);
	return bad_line(reader, line->number, "neither [profile] nor setting = value nor # comment");
}

static enum status take_lines(struct reader *reader, struct str text)
{
	struct ini_line line = {0};
	enum status status = STATUS_OK;
	while (!status && ini_next(&text, &line))
		status = take_line(reader, &line);
	reader->line = line.number;
	return status ? status : end_profile(reader);
}

/* ---- The table ---- */

static void make_nobody(struct keys *keys)
{
	uint8_t random[SIGV4_HASH];
	char secret[2 * SIGV4_HASH];
	if (RAND_bytes(random, sizeof(random)) != 1)
		abort(); /* no entropy: nothing here can be kept safe */
	sigv4_hex(random, secret);
	keys->nobody = (struct principal){.secret = xstrndup(secret, 40), .number = keys->n}; /* as long as AWS's are */
	OPENSSL_cleanse(secret, sizeof(secret));
}

static enum status finish(struct reader *reader)
{
	struct keys *keys = reader->keys;
	if (keys->n == 0)
		return bad_line(reader, reader->line, "the file ends without a profile");
	qsort(keys->principals, keys->n, sizeof(*keys->principals), compare_keys);
	for (uint32_t i = 0; i < keys->n; i++) {
		struct principal *principal = &keys->principals[i];
		principal->number = i;
		if (i && strcmp(principal->key, principal[-1].key) == 0)
			return bad_line(reader, principal->line > principal[-1].line ? principal->line : principal[-1].line,
					"this profile's aws_access_key_id is another one's too");
	}
	make_nobody(keys);
	return STATUS_OK;
}

enum status keys_load(const char *path, struct keys **out, char **why)
{
	struct buf text = {0};
	struct reader reader = {.path = path, .keys = xcalloc(1, sizeof(*reader.keys)), .why = why};
	reader.keys->refs = 1;
	enum status status = secret_file_read("--credentials", path, &text, why);
	if (!status)
		status = take_lines(&reader, (struct str){(const char *)text.p, text.n});
	if (!status)
		status = finish(&reader);
	secret_file_wipe(&text);
	if (status)
		keys_unref(reader.keys);
	else
		*out = reader.keys;
	return status;
}
