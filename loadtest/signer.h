/* signer.h: signs calls as an SDK does, with an endpoint's credentials, for its region. One thread. */
#ifndef PENSTOCK_LOADTEST_SIGNER_H
#define PENSTOCK_LOADTEST_SIGNER_H

#include <stddef.h>

#include "penstock/sigv4.h"

struct endpoint;
struct signer;

struct signer *signer_new(const struct endpoint *endpoint); /* lent for as long as the signer lives */
void signer_free(struct signer *signer);

/* The headers that a call needs beside those that were signed. */
struct signature {
	char date[SIGV4_TIME_LEN + 1];
	struct buf authorization; /* with a NUL; the owner's to free */
	const char *token;        /* the endpoint's; NULL: none */
};

/* POST / with this Content-Type, X-Amz-Target and body, now. *out: zeroed, or the one before it, whose memory is used again. */
void signer_sign(struct signer *signer, const char *content_type, const char *target, const void *body, size_t n, struct signature *out);

#endif
