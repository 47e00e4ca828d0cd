/* signer.c: SigV4 for a client's calls; see sigv4.h.
 *
 * One thread. Signing costs an HMAC and two hashes, one of them of the body: 2 us for a small one, ten for a core that has slept. The wall
 * clock is read for each call, since a long run would leave the five minutes in which a signature is good. */
#include "loadtest/signer.h"

#include <openssl/crypto.h>
#include <stdlib.h>
#include <time.h>

#include "loadtest/endpoint.h"

struct signer {
	struct sigv4 sigv4;
	struct sigv4_signer who;
	const char *token, *authority;
};

struct signer *signer_new(const struct endpoint *endpoint)
{
	struct signer *signer = xcalloc(1, sizeof *signer);
	sigv4_init(&signer->sigv4);
	signer->who = (struct sigv4_signer){.key = str_of(endpoint->key),
					    .secret = str_of(endpoint->secret),
					    .region = str_of(endpoint->region),
					    .service = STR("kinesis")};
	signer->token = endpoint->token[0] ? endpoint->token : NULL;
	signer->authority = endpoint->authority;
	return signer;
}

void signer_free(struct signer *signer)
{
	if (!signer)
		return;
	sigv4_fini(&signer->sigv4);
	OPENSSL_cleanse(signer->who.derived, sizeof signer->who.derived);
	free(signer);
}

void signer_sign(struct signer *signer, const char *content_type, const char *target, const void *body, size_t n, struct signature *out)
{
	struct timespec now;
	struct sigv4_field fields[5]; /* by name */
	struct sigv4_request request = {.method = STR("POST"), .path = STR("/"), .query = STR(""), .fields = fields};
	clock_gettime(CLOCK_REALTIME, &now);
	sigv4_time_text((int64_t)now.tv_sec, out->date);
	fields[request.n_fields++] = (struct sigv4_field){STR("content-type"), str_of(content_type)};
	fields[request.n_fields++] = (struct sigv4_field){STR("host"), str_of(signer->authority)};
	fields[request.n_fields++] = (struct sigv4_field){STR("x-amz-date"), str_of(out->date)};
	if (signer->token)
		fields[request.n_fields++] = (struct sigv4_field){STR("x-amz-security-token"), str_of(signer->token)};
	fields[request.n_fields++] = (struct sigv4_field){STR("x-amz-target"), str_of(target)};
	sigv4_sha256(&signer->sigv4, body, n, request.payload);
	out->authorization.n = 0;
	sigv4_sign(&signer->sigv4, &signer->who, (int64_t)now.tv_sec, &request, &out->authorization);
	buf_put_char(&out->authorization, '\0');
	out->token = signer->token;
}
