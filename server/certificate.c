/* certificate.c: the TLS context that every connection shares.
 *
 * TLS 1.2 and 1.3; ECDHE with an AEAD only, which is what HTTP/2 asks for. Both halves of a record are OpenSSL's; how bytes reach the
 * socket is conn_tls.c's.
 *
 * Thread: main, at start. Afterwards the context is only read; ticket_keys.c guards its keys.
 *
 * Happy path:
 * - the files given, or our own (certificate_make.c), are loaded and checked against each other
 * - ALPN: the first that the client names of h2 and http/1.1; a client without ALPN is served by its first bytes
 * - resumption by tickets, whose keys rotate and never leave memory (ticket_keys.c): nothing on disk, and no early data, which could replay
 * a PutRecord
 *
 * Failure modes:
 * - a file is missing, unreadable, encrypted, or its key does not belong to it: *why names it
 * - a client that offers only protocols we do not speak gets the alert no_application_protocol */
#include "server/certificate.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "penstock/bytes.h"

/* ---- ALPN ---- */

static bool is_spoken(const unsigned char *name, size_t n)
{
	return (n == 2 && memcmp(name, "h2", 2) == 0) || (n == 8 && memcmp(name, "http/1.1", 8) == 0);
}

/* `in` is a list of length-prefixed names; OpenSSL has checked that it is well-formed. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned int in_len, void *arg)
{
	(void)ssl;
	(void)arg;
	for (unsigned int at = 0; at < in_len; at += 1u + in[at])
		if (is_spoken(&in[at + 1], in[at])) {
			*out = &in[at + 1];
			*out_len = in[at];
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- The context ---- */

static bool configure(SSL_CTX *tls)
{
	static const unsigned char session_context[] = "penstock";

	/* A close without close_notify is how many clients leave: no error, and no line in the log. */
	SSL_CTX_set_options(tls, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* Most SDKs name AES-256 first, though AES-128 would do and is a tenth cheaper; who puts ChaCha20 first has no AES instructions. */
	SSL_CTX_set_options(tls, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	/* An idle connection gives back its 2 x 17 KiB of buffers; the staging buffer that a write is retried from is the worker's, and
	 * may have moved or grown. */
	SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	/* Tickets carry the session to the client: nothing to keep here. One is enough, a client that returns gets a fresh one. */
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_alpn_select_cb(tls, on_alpn, NULL);
	return SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) &&
	       SSL_CTX_set_cipher_list(tls, "ECDHE+AES128+AESGCM:ECDHE+AESGCM:ECDHE+CHACHA20") &&
	       SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") &&
	       SSL_CTX_set1_groups_list(tls, "X25519:P-256:P-384") && SSL_CTX_set_num_tickets(tls, 1) &&
	       SSL_CTX_set_session_id_context(tls, session_context, sizeof(session_context) - 1);
}

/* A key that asks for a passphrase would ask on the terminal: we answer that there is none. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
	(void)out;
	(void)size;
	(void)writing;
	*(bool *)arg = true;
	return 0;
}

static char *reason(const char *path)
{
	const char *text = ERR_reason_error_string(ERR_peek_last_error());

	ERR_clear_error();
	if (access(path, R_OK) != 0)
		return xstrdup(strerror(errno));
	return xasprintf("no PEM that OpenSSL can read (%s)", text ? text : "unknown reason");
}

static enum status load(SSL_CTX *tls, const char *cert, const char *key, const char *advice, char **why)
{
	bool encrypted = false;
	char *text;

	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb(tls, no_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(tls, &encrypted);
	if (SSL_CTX_use_certificate_chain_file(tls, cert) != 1) {
		text = reason(cert);
		*why = xasprintf("%s: %s; %s", cert, text, advice);
		free(text);
	} else if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1 && encrypted) {
		*why = xasprintf("%s: is encrypted, and nobody is there to type its passphrase; give a key without one", key);
	} else if (ERR_peek_error() && ERR_GET_REASON(ERR_peek_last_error()) != X509_R_KEY_VALUES_MISMATCH) {
		text = reason(key);
		*why = xasprintf("%s: %s; %s", key, text, advice);
		free(text);
	} else if (SSL_CTX_check_private_key(tls) != 1) {
		*why = xasprintf("%s: is not the key of %s; %s", key, cert, advice);
	}
	ERR_clear_error();
	SSL_CTX_set_default_passwd_cb_userdata(tls, NULL);
	return *why ? STATUS_INVALID_ARGUMENT : STATUS_OK;
}

/* Our own files in data_dir/tls. */
static enum status load_own(SSL_CTX *tls, const char *data_dir, char **why)
{
	char *dir = xasprintf("%s/tls", data_dir), *cert = xasprintf("%s/cert.pem", dir), *key = xasprintf("%s/key.pem", dir);
	char *advice = xasprintf("remove %s to have it made anew", cert);
	enum status status = certificate_make(dir, why);

	if (!status)
		status = load(tls, cert, key, advice, why);
	free(advice);
	free(key);
	free(cert);
	free(dir);
	return status;
}

enum status certificate_context(const char *cert, const char *key, const char *data_dir, SSL_CTX **out, char **why)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
	enum status status;

	*why = NULL;
	if (!tls || !configure(tls)) {
		*why = xasprintf("OpenSSL cannot be set up (%s); is its configuration sound?",
				 ERR_reason_error_string(ERR_peek_last_error()));
		status = STATUS_INTERNAL;
	} else if (cert) {
		status = load(tls, cert, key, "give a PEM certificate chain and its key with --tls-cert and --tls-key", why);
	} else {
		status = load_own(tls, data_dir, why);
	}
	if (status) {
		SSL_CTX_free(tls);
		return status;
	}
	*out = tls;
	return STATUS_OK;
}
