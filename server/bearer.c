/* bearer.c: see bearer.h. */
#include "server/bearer.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <strings.h>

#include "server/secret_file.h"

#define OPTION "--metrics-token-file"
#define TOKEN_MAX 1024u

_Static_assert(sizeof(((struct bearer *)0)->hash) == SHA256_DIGEST_LENGTH, "SHA-256");

static bool is_token(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n >= 1 && s.n <= TOKEN_MAX;
}

static enum status take(struct bearer *bearer, const char *path, struct str token, char **why)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	if (token.n && token.p[token.n - 1] == '\n')
		token.n--;
	if (token.n && token.p[token.n - 1] == '\r')
		token.n--;
	if (!is_token(token)) {
		*why = xasprintf(OPTION " %s: wants one token of 1 to %u characters of ASCII without blanks", path, TOKEN_MAX);
		return STATUS_INVALID_ARGUMENT;
	}
	SHA256((const uint8_t *)token.p, token.n, hash);
	pthread_mutex_lock(&bearer->lock);
	memcpy(bearer->hash, hash, sizeof(hash));
	bearer->set = true;
	pthread_mutex_unlock(&bearer->lock);
	return STATUS_OK;
}

enum status bearer_load(struct bearer *bearer, const char *path, char **why)
{
	struct buf text = {0};
	enum status status = secret_file_read(OPTION, path, &text, why);
	if (!status)
		status = take(bearer, path, (struct str){(const char *)text.p, text.n}, why);
	secret_file_wipe(&text);
	return status;
}

bool bearer_is_good(struct bearer *bearer, struct str authorization)
{
	const struct str scheme = STR("Bearer ");
	uint8_t hash[SHA256_DIGEST_LENGTH];
	if (authorization.n <= scheme.n || strncasecmp(authorization.p, scheme.p, scheme.n) != 0)
		return false;
	SHA256((const uint8_t *)authorization.p + scheme.n, authorization.n - scheme.n, hash);
	pthread_mutex_lock(&bearer->lock);
	bool good = bearer->set && CRYPTO_memcmp(hash, bearer->hash, sizeof(hash)) == 0;
	pthread_mutex_unlock(&bearer->lock);
	return good;
}
