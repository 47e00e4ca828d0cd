/* signer.h: signs calls as an SDK does, with an endpoint's credentials, for its region. One thread. */
#ifndef PENSTOCK_LOADTEST_SIGNER_H
#define PENSTOCK_LOADTEST_SIGNER_H

#include <stddef.h>

struct endpoint;
struct signer;

struct signer *signer_new(const struct endpoint *endpoint); /* lent for as long as the signer lives */
void signer_free(struct signer *signer);

/* The headers that a call needs beside those that were signed; they live until the next call. */
struct signature {
	const char *date, *authorization;
	const char *token; /* NULL: none */
};

/* POST / with this Content-Type, X-Amz-Target and body, now. */
void signer_sign(struct signer *signer, const char *content_type, const char *target, const void *body, size_t n, struct signature *out);

#endif
