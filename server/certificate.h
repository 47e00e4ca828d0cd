/* certificate.h: TLS for the port: a context, with the certificate given, or one of our own that clients can be told to trust. */
#ifndef PENSTOCK_CERTIFICATE_H
#define PENSTOCK_CERTIFICATE_H

#include <openssl/ssl.h>

#include "penstock/status.h"

/* Start-up, before threads. `cert` and `key` are PEM files; both NULL: data_dir/tls/{ca.pem,ca-key.pem,cert.pem,key.pem}, made if missing,
 * the leaf renewed when it ends within 30 days. data_dir exists. On failure *why says which file, what is wrong and what to do; the
 * caller frees it. The context is read-only from here and shared by all workers; SSL_CTX_free. */
enum status certificate_context(const char *cert, const char *key, const char *data_dir, SSL_CTX **out, char **why);

/* The part of it that makes the files, or finds them good (certificate_make.c). dir: data_dir/tls. */
enum status certificate_make(const char *dir, char **why);

#endif
