/* signer.h: signs calls as an SDK does, with AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, if there is one, AWS_SESSION_TOKEN of the
 * environment, for AWS_REGION; without the first two with placeholders, which do for a server that verifies nothing. One thread. */
#ifndef PENSTOCK_LOADTEST_SIGNER_H
#define PENSTOCK_LOADTEST_SIGNER_H

#include <stddef.h>

struct signer;

/* NULL: a secret that is too long. region: if AWS_REGION says none. */
struct signer *signer_new(const char *region, const char *authority);
void signer_free(struct signer *signer);

/* The headers that a call needs beside those that were signed; they live until the next call. */
struct signature {
	const char *date, *authorization;
	const char *token; /* NULL: none */
};

/* POST / with this Content-Type, X-Amz-Target and body, now. */
void signer_sign(struct signer *signer, const char *content_type, const char *target, const void *body, size_t n, struct signature *out);

#endif
