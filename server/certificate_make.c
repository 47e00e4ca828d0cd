/* certificate_make.c: a certificate of our own, so that TLS works at the first start and clients can verify it
 * (AWS_CA_BUNDLE=.../tls/ca.pem).
 *
 *   ca.pem, ca-key.pem    a CA that signs nothing but the leaf; 10 years; what clients are told to trust, so it stays
 *   cert.pem, key.pem     the leaf: localhost, 127.0.0.1, ::1 and the name of this machine; 2 years
 *
 * Thread: main, at start.
 *
 * Happy path:
 * - all is there, belongs together and lasts 30 days more: nothing is done
 * - else what is missing or ends soon is made: ECDSA P-256, written beside, synced, renamed; keys have mode 0600 from the first byte
 *
 * Failure modes:
 * - killed in between: a leaf without its key, or signed by another CA, is made again at the next start
 * - a file that is there but cannot be read as PEM is not overwritten: it may be somebody's; *why names it */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/slog.h"
#include "server/certificate.h"

#define DAY_S 86400L
#define CA_DAYS 3650
#define LEAF_DAYS 730 /* some clients refuse leaves that last longer than 825 days */
#define RENEW_DAYS 30
#define BACKDATE_S 3600L /* a client's clock may be behind ours */

/* A certificate with its key, both or neither. */
struct pair {
	X509 *cert;
	EVP_PKEY *key;
};

static void pair_fini(struct pair *pair)
{
	X509_free(pair->cert);
	EVP_PKEY_free(pair->key);
	*pair = (struct pair){NULL, NULL};
}

/* ---- Files ---- */

/* NULL with STATUS_NOT_FOUND, or with STATUS_INVALID_ARGUMENT and *why. */
static FILE *open_file(const char *path, enum status *status, char **why)
{
	FILE *file = fopen(path, "re");

	*status = STATUS_OK;
	if (file)
		return file;
	*status = STATUS_NOT_FOUND;
	if (errno != ENOENT) {
		*why = xasprintf("%s: cannot be read: %s", path, strerror(errno));
		*status = STATUS_IO;
	}
	return NULL;
}

/* Reads both. NOT_FOUND: one or both are missing. */
static enum status read_pair(const char *cert_path, const char *key_path, struct pair *out, char **why)
{
	enum status status;
	FILE *file = open_file(cert_path, &status, why);

	if (!file)
		return status;
	out->cert = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	file = open_file(key_path, &status, why);
	if (file) {
		out->key = PEM_read_PrivateKey(file, NULL, NULL, "");
		fclose(file);
	}
	if (!status && (!out->cert || !out->key)) {
		*why = xasprintf("%s: is no PEM file; move it away to have it made anew", out->cert ? key_path : cert_path);
		status = STATUS_INVALID_ARGUMENT;
	}
	ERR_clear_error();
	if (status)
		pair_fini(out);
	return status;
}

static bool write_all(const char *path, int mode, BIO *pem)
{
	char *text;
	long n = BIO_get_mem_data(pem, &text);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	bool ok = fd >= 0 && n > 0 && write(fd, text, (size_t)n) == n && fsync(fd) == 0;

	if (fd >= 0 && close(fd) != 0)
		ok = false;
	return ok;
}

/* Written beside and renamed: a reader finds the old file or the new one. */
static bool replace(const char *path, int mode, BIO *pem, char **why)
{
	char *beside = xasprintf("%s.new", path);
	bool ok;

	unlink(beside); /* one left by a killed start may have another mode */
	ok = write_all(beside, mode, pem) && rename(beside, path) == 0;
	if (!ok)
		*why = xasprintf("%s: cannot be written: %s", path, strerror(errno));
	free(beside);
	return ok;
}

/* The key first: a certificate that is there has one. */
static enum status write_pair(const char *cert_path, const char *key_path, const struct pair *pair, char **why)
{
	BIO *key = BIO_new(BIO_s_mem()), *cert = BIO_new(BIO_s_mem());
	bool ok =
		key && cert && PEM_write_bio_PrivateKey(key, pair->key, NULL, NULL, 0, NULL, NULL) && PEM_write_bio_X509(cert, pair->cert);

	if (!ok)
		*why = xasprintf("%s: OpenSSL cannot write it as PEM", cert_path);
	ok = ok && replace(key_path, 0600, key, why) && replace(cert_path, 0644, cert, why);
	BIO_free(key);
	BIO_free(cert);
	return ok ? STATUS_OK : STATUS_IO;
}

/* ---- Certificates ---- */

static bool extend(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool ok;

	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	ok = extension && X509_add_ext(cert, extension, -1);
	X509_EXTENSION_free(extension);
	return ok;
}

static bool set_serial(X509 *cert)
{
	uint8_t bytes[16];
	BIGNUM *number;
	bool ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (bytes[0] & 0x7f) | 0x40; /* positive, and never short */
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	return ok;
}

static bool set_name(X509_NAME *name, const char *common)
{
	return X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"penstock", -1, -1, 0) &&
	       X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)common, -1, -1, 0);
}

/* All but the extensions that CA and leaf differ in, and the signature. issuer NULL: itself. */
static bool begin(struct pair *out, const struct pair *issuer, const char *common, long days)
{
	X509_NAME *subject;

	out->key = EVP_EC_gen("P-256");
	out->cert = X509_new();
	if (!out->key || !out->cert)
		return false;
	subject = X509_get_subject_name(out->cert);
	return X509_set_version(out->cert, X509_VERSION_3) && set_serial(out->cert) && set_name(subject, common) &&
	       X509_set_issuer_name(out->cert, issuer ? X509_get_subject_name(issuer->cert) : subject) &&
	       X509_gmtime_adj(X509_getm_notBefore(out->cert), -BACKDATE_S) &&
	       X509_gmtime_adj(X509_getm_notAfter(out->cert), days * DAY_S) && X509_set_pubkey(out->cert, out->key) &&
	       /* Both key identifiers: strict verifiers (Python 3.13 on) want them. */
	       extend(out->cert, issuer ? issuer->cert : out->cert, NID_subject_key_identifier, "hash") &&
	       extend(out->cert, issuer ? issuer->cert : out->cert, NID_authority_key_identifier, "keyid:always");
}

static bool make_ca(struct pair *out)
{
	char host[256] = "localhost", common[65];

	(void)gethostname(host, sizeof(host) - 1);
	snprintf(common, sizeof(common), "penstock CA of %.48s", host); /* a CN has at most 64 characters */
	return begin(out, NULL, common, CA_DAYS) && extend(out->cert, out->cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
	       extend(out->cert, out->cert, NID_key_usage, "critical,keyCertSign,cRLSign") && X509_sign(out->cert, out->key, EVP_sha256());
}

/* A host name that may stand in a certificate: anything else (spaces, commas) would be read as more of the extension's syntax. */
static bool is_host_name(const char *host)
{
	return host[0] && strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-") == strlen(host);
}

static bool make_leaf(struct pair *out, const struct pair *ca)
{
	char host[256] = "", names[400] = "DNS:localhost,IP:127.0.0.1,IP:::1";

	(void)gethostname(host, sizeof(host) - 1);
	if (is_host_name(host) && strcmp(host, "localhost") != 0)
		snprintf(names + strlen(names), sizeof(names) - strlen(names), ",DNS:%s", host);
	return begin(out, ca, "localhost", LEAF_DAYS) && extend(out->cert, ca->cert, NID_basic_constraints, "critical,CA:FALSE") &&
	       extend(out->cert, ca->cert, NID_key_usage, "critical,digitalSignature") &&
	       extend(out->cert, ca->cert, NID_ext_key_usage, "serverAuth") && extend(out->cert, ca->cert, NID_subject_alt_name, names) &&
	       X509_sign(out->cert, ca->key, EVP_sha256());
}

static bool lasts(X509 *cert)
{
	time_t until = time(NULL) + RENEW_DAYS * DAY_S;

	return X509_cmp_time(X509_get0_notAfter(cert), &until) > 0;
}

static bool belongs(const struct pair *leaf, const struct pair *ca)
{
	return X509_check_private_key(leaf->cert, leaf->key) == 1 && X509_verify(leaf->cert, ca->key) == 1;
}

/* ---- The two of them ---- */

/* Finds the CA, or makes it. A CA at its end is made anew too: clients must be told of it, but a dead one serves nobody. */
static enum status need_ca(const char *cert_path, const char *key_path, struct pair *ca, char **why)
{
	enum status status = read_pair(cert_path, key_path, ca, why);

	if (status == STATUS_OK && X509_check_private_key(ca->cert, ca->key) == 1 && lasts(ca->cert))
		return STATUS_OK;
	if (status != STATUS_OK && status != STATUS_NOT_FOUND)
		return status;
	pair_fini(ca);
	if (!make_ca(ca)) {
		*why = xasprintf("%s: OpenSSL cannot make it (%s)", cert_path, ERR_reason_error_string(ERR_peek_last_error()));
		return STATUS_INTERNAL;
	}
	slog(SLOG_INFO, "ca_made", "file=%s advice=\"clients that verify must trust it\"", cert_path);
	return write_pair(cert_path, key_path, ca, why);
}

static enum status need_leaf(const char *cert_path, const char *key_path, const struct pair *ca, char **why)
{
	struct pair leaf = {NULL, NULL};
	enum status status = read_pair(cert_path, key_path, &leaf, why);

	if (status != STATUS_OK && status != STATUS_NOT_FOUND)
		return status;
	if (status == STATUS_OK && belongs(&leaf, ca) && lasts(leaf.cert))
		goto out;
	pair_fini(&leaf);
	if (make_leaf(&leaf, ca)) {
		slog(SLOG_INFO, "certificate_made", "file=%s days=%d", cert_path, LEAF_DAYS);
		status = write_pair(cert_path, key_path, &leaf, why);
	} else {
		*why = xasprintf("%s: OpenSSL cannot make it (%s)", cert_path, ERR_reason_error_string(ERR_peek_last_error()));
		status = STATUS_INTERNAL;
	}
out:
	pair_fini(&leaf);
	ERR_clear_error();
	return status;
}

enum status certificate_make(const char *dir, char **why)
{
	char *ca_path = xasprintf("%s/ca.pem", dir), *ca_key_path = xasprintf("%s/ca-key.pem", dir);
	char *cert_path = xasprintf("%s/cert.pem", dir), *key_path = xasprintf("%s/key.pem", dir);
	struct pair ca = {NULL, NULL};
	enum status status = STATUS_OK;

	if (mkdir(dir, 0755) != 0 && errno != EEXIST) {
		*why = xasprintf("%s: cannot be made: %s", dir, strerror(errno));
		status = STATUS_IO;
	}
	if (!status)
		status = need_ca(ca_path, ca_key_path, &ca, why);
	if (!status)
		status = need_leaf(cert_path, key_path, &ca, why);
	pair_fini(&ca);
	free(key_path);
	free(cert_path);
	free(ca_key_path);
	free(ca_path);
	return status;
}
