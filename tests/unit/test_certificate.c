/* test_certificate.c: the TLS context: real handshakes over a pair of BIOs, verified against our own CA; what is made, kept and renewed. */
#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/slog.h"
#include "server/certificate.h"

static char dir[64];

static void setup(void)
{
	snprintf(dir, sizeof(dir), "/tmp/penstock-certificate-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
	slog_set_level(SLOG_ERROR);
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", dir);
	cr_assert_eq(system(command), 0);
}

#define TEST(name) Test(certificate, name, .init = setup, .fini = teardown)

static const char *file(const char *name)
{
	static char path[4][128];
	static unsigned turn;
	char *out = path[turn++ % 4];

	snprintf(out, 128, "%s/tls/%s", dir, name);
	return out;
}

static SSL_CTX *own(void)
{
	SSL_CTX *tls = NULL;
	char *why = NULL;

	cr_assert_eq(certificate_context(NULL, NULL, dir, &tls, &why), STATUS_OK, "%s", why);
	return tls;
}

static void expect_refusal(const char *cert, const char *key, const char *about, const char *words)
{
	SSL_CTX *tls = NULL;
	char *why = NULL;

	cr_assert_neq(certificate_context(cert, key, dir, &tls, &why), STATUS_OK);
	cr_assert_null(tls);
	cr_assert_not_null(strstr(why, about), "%s", why);
	cr_assert_not_null(strstr(why, words), "%s", why);
	free(why);
}

static X509 *read_cert(const char *name)
{
	FILE *in = fopen(file(name), "r");
	X509 *cert = PEM_read_X509(in, NULL, NULL, NULL);

	fclose(in);
	cr_assert_not_null(cert);
	return cert;
}

static EVP_PKEY *read_key(const char *name)
{
	FILE *in = fopen(file(name), "r");
	EVP_PKEY *key = PEM_read_PrivateKey(in, NULL, NULL, NULL);

	fclose(in);
	cr_assert_not_null(key);
	return key;
}

/* ---- A client ---- */

struct handshake {
	SSL_CTX *client_context;
	SSL *client, *server;
};

/* A client that trusts ca.pem and wants that host or address. */
static void begin(struct handshake *h, SSL_CTX *tls, const char *host, const char *alpn)
{
	BIO *ours, *theirs;

	h->client_context = SSL_CTX_new(TLS_client_method());
	cr_assert_eq(SSL_CTX_load_verify_locations(h->client_context, file("ca.pem"), NULL), 1);
	SSL_CTX_set_verify(h->client_context, SSL_VERIFY_PEER, NULL);
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(h->client_context), X509_V_FLAG_X509_STRICT);
	h->client = SSL_new(h->client_context);
	h->server = SSL_new(tls);
	cr_assert_eq(BIO_new_bio_pair(&ours, 0, &theirs, 0), 1);
	SSL_set_bio(h->client, ours, ours);
	SSL_set_bio(h->server, theirs, theirs);
	SSL_set_connect_state(h->client);
	SSL_set_accept_state(h->server);
	if (!X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(h->client), host))
		cr_assert_eq(SSL_set1_host(h->client, host), 1);
	if (alpn)
		cr_assert_eq(SSL_set_alpn_protos(h->client, (const unsigned char *)alpn, (unsigned)strlen(alpn)), 0);
}

/* True: done on both sides. */
static bool shake(struct handshake *h)
{
	for (int i = 0; i < 20; i++) {
		int client = SSL_do_handshake(h->client), server = SSL_do_handshake(h->server);

		if (client == 1 && server == 1)
			return true;
		if (client != 1 && SSL_get_error(h->client, client) != SSL_ERROR_WANT_READ)
			return false;
		if (server != 1 && SSL_get_error(h->server, server) != SSL_ERROR_WANT_READ)
			return false;
	}
	return false;
}

static void end(struct handshake *h)
{
	SSL_free(h->client);
	SSL_free(h->server);
	SSL_CTX_free(h->client_context);
	ERR_clear_error();
}

static void expect_alpn(const char *offered, const char *chosen)
{
	SSL_CTX *tls = own();
	const unsigned char *name;
	struct handshake h;
	unsigned n;

	begin(&h, tls, "localhost", offered);
	cr_assert(shake(&h), "%s", offered);
	SSL_get0_alpn_selected(h.client, &name, &n);
	cr_assert_eq(n, strlen(chosen));
	cr_assert_eq(memcmp(name ? (const char *)name : "", chosen, n), 0);
	end(&h);
	SSL_CTX_free(tls);
}

TEST(is_verified_by_name_and_address)
{
	static const char *const hosts[] = {"localhost", "127.0.0.1", "::1"};
	SSL_CTX *tls = own();
	struct handshake h;

	for (int i = 0; i < 3; i++) {
		begin(&h, tls, hosts[i], NULL);
		cr_assert(shake(&h), "%s: %s", hosts[i], X509_verify_cert_error_string(SSL_get_verify_result(h.client)));
		cr_assert_str_eq(SSL_get_version(h.client), "TLSv1.3");
		end(&h);
	}
	begin(&h, tls, "example.com", NULL);
	cr_assert(!shake(&h));
	end(&h);
	SSL_CTX_free(tls);
}

static void expect_cipher(int version, const char *tls12, const char *tls13, const char *chosen)
{
	SSL_CTX *tls = own();
	struct handshake h;

	begin(&h, tls, "localhost", NULL);
	SSL_set_max_proto_version(h.client, version);
	cr_assert(SSL_set_cipher_list(h.client, tls12) && SSL_set_ciphersuites(h.client, tls13));
	cr_assert(shake(&h));
	cr_assert_str_eq(SSL_get_cipher_name(h.client), chosen);
	end(&h);
	SSL_CTX_free(tls);
}

TEST(aes_128_is_preferred_and_chacha_is_the_choice_of_clients)
{
	static const char order12[] = "ECDHE+AES256+AESGCM:ECDHE+AES128+AESGCM",
			  order13[] = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";

	expect_cipher(TLS1_3_VERSION, order12, order13, "TLS_AES_128_GCM_SHA256");
	expect_cipher(TLS1_2_VERSION, order12, order13, "ECDHE-ECDSA-AES128-GCM-SHA256");
	expect_cipher(TLS1_3_VERSION, order12, "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256");
	expect_cipher(TLS1_3_VERSION, order12, "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384");
}

TEST(alpn_follows_the_client)
{
	expect_alpn("\x02h2\x08http/1.1", "h2");
	expect_alpn("\x08http/1.1\x02h2", "http/1.1");
	expect_alpn("\x06spdy/1\x08http/1.1", "http/1.1");
	expect_alpn("\x02h2", "h2");
	expect_alpn(NULL, "");
}

TEST(only_unknown_protocols_are_an_alert)
{
	SSL_CTX *tls = own();
	struct handshake h;

	begin(&h, tls, "localhost", "\x06spdy/1\x08http/1.0");
	cr_assert(!shake(&h));
	SSL_do_handshake(h.client);
	cr_assert_eq(ERR_GET_REASON(ERR_peek_last_error()), SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL);
	end(&h);
	SSL_CTX_free(tls);
}

static bool with_versions(SSL_CTX *tls, int least, int most, const char *ciphers)
{
	struct handshake h;
	bool done;

	begin(&h, tls, "localhost", "\x02h2");
	SSL_set_security_level(h.client, 0);
	SSL_set_min_proto_version(h.client, least);
	SSL_set_max_proto_version(h.client, most);
	if (ciphers)
		cr_assert_eq(SSL_set_cipher_list(h.client, ciphers), 1);
	done = shake(&h);
	end(&h);
	return done;
}

TEST(serves_1_2_with_aead_and_nothing_older)
{
	SSL_CTX *tls = own();

	cr_assert(with_versions(tls, TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"));
	cr_assert(with_versions(tls, TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"));
	cr_assert(!with_versions(tls, TLS1_2_VERSION, TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256"));
	cr_assert(!with_versions(tls, TLS1_VERSION, TLS1_1_VERSION, "ALL:@SECLEVEL=0"));
	SSL_CTX_free(tls);
}

static SSL_SESSION *session;

static int on_session(SSL *ssl, SSL_SESSION *fresh)
{
	(void)ssl;
	SSL_SESSION_free(session);
	session = fresh;
	return 1;
}

TEST(a_client_that_returns_resumes)
{
	SSL_CTX *tls = own();
	struct handshake h;
	char byte;

	begin(&h, tls, "localhost", NULL);
	SSL_CTX_set_session_cache_mode(h.client_context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(h.client_context, on_session);
	cr_assert(shake(&h));
	cr_assert_eq(SSL_write(h.server, "x", 1), 1);
	cr_assert_eq(SSL_read(h.client, &byte, 1), 1);
	cr_assert_not_null(session, "a ticket");
	SSL_set_shutdown(h.client, SSL_SENT_SHUTDOWN); /* an unclean end would make the session useless */
	end(&h);
	begin(&h, tls, "localhost", NULL);
	cr_assert_eq(SSL_set_session(h.client, session), 1);
	cr_assert(shake(&h));
	cr_assert(SSL_session_reused(h.server));
	end(&h);
	SSL_SESSION_free(session);
	SSL_CTX_free(tls);
}

TEST(keys_are_for_their_owner_only)
{
	struct stat st;

	SSL_CTX_free(own());
	cr_assert_eq(stat(file("key.pem"), &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(stat(file("ca-key.pem"), &st), 0);
	cr_assert_eq(st.st_mode & 0777, 0600);
	cr_assert_eq(access(file("cert.pem.new"), F_OK), -1);
}

TEST(is_made_once)
{
	X509 *leaf, *ca, *leaf_again, *ca_again;

	SSL_CTX_free(own());
	leaf = read_cert("cert.pem");
	ca = read_cert("ca.pem");
	SSL_CTX_free(own());
	leaf_again = read_cert("cert.pem");
	ca_again = read_cert("ca.pem");
	cr_assert_eq(X509_cmp(leaf, leaf_again), 0);
	cr_assert_eq(X509_cmp(ca, ca_again), 0);
	X509_free(leaf);
	X509_free(ca);
	X509_free(leaf_again);
	X509_free(ca_again);
}

/* Gives the leaf on the disk another end. */
static void set_end(long days)
{
	EVP_PKEY *ca_key = read_key("ca-key.pem");
	X509 *leaf = read_cert("cert.pem");
	FILE *out;

	X509_gmtime_adj(X509_getm_notAfter(leaf), days * 86400);
	cr_assert_gt(X509_sign(leaf, ca_key, EVP_sha256()), 0);
	out = fopen(file("cert.pem"), "w");
	cr_assert_eq(PEM_write_X509(out, leaf), 1);
	fclose(out);
	X509_free(leaf);
	EVP_PKEY_free(ca_key);
}

TEST(is_renewed_before_it_ends_by_the_same_ca)
{
	X509 *ca, *before, *after;
	struct handshake h;
	SSL_CTX *tls;

	SSL_CTX_free(own());
	ca = read_cert("ca.pem");
	set_end(31);
	before = read_cert("cert.pem");
	SSL_CTX_free(own());
	after = read_cert("cert.pem");
	cr_assert_eq(X509_cmp(before, after), 0, "31 days are enough");
	X509_free(before);
	X509_free(after);
	set_end(29);
	before = read_cert("cert.pem");
	tls = own();
	after = read_cert("cert.pem");
	cr_assert_neq(X509_cmp(before, after), 0);
	X509_free(before);
	X509_free(after);
	after = read_cert("ca.pem");
	cr_assert_eq(X509_cmp(ca, after), 0);
	X509_free(ca);
	X509_free(after);
	begin(&h, tls, "localhost", NULL);
	cr_assert(shake(&h));
	end(&h);
	SSL_CTX_free(tls);
}

TEST(a_leaf_without_its_key_is_made_anew)
{
	struct handshake h;
	SSL_CTX *tls;

	SSL_CTX_free(own());
	cr_assert_eq(unlink(file("key.pem")), 0);
	SSL_CTX_free(own());
	cr_assert_eq(rename(file("ca-key.pem"), file("key.pem")), 0, "a key of something else, and no CA key");
	tls = own();
	begin(&h, tls, "localhost", NULL);
	cr_assert(shake(&h));
	end(&h);
	SSL_CTX_free(tls);
}

static void spoil(const char *name)
{
	FILE *out = fopen(file(name), "w");

	fputs("no PEM\n", out);
	fclose(out);
}

TEST(what_is_no_pem_is_left_alone)
{
	char text[8] = "";
	FILE *in;

	SSL_CTX_free(own());
	spoil("ca.pem");
	expect_refusal(NULL, NULL, "/tls/ca.pem", "is no PEM file");
	in = fopen(file("ca.pem"), "r");
	cr_assert_eq(fread(text, 1, 6, in), 6);
	fclose(in);
	cr_assert_str_eq(text, "no PEM");
}

TEST(serves_a_certificate_that_is_given)
{
	struct handshake h;
	SSL_CTX *tls;
	char *why = NULL;

	SSL_CTX_free(own());
	cr_assert_eq(certificate_context(file("cert.pem"), file("key.pem"), "/nonexistent", &tls, &why), STATUS_OK, "%s", why);
	begin(&h, tls, "localhost", NULL);
	cr_assert(shake(&h));
	end(&h);
	SSL_CTX_free(tls);
}

static void encrypt_key(void)
{
	EVP_PKEY *key = read_key("key.pem");
	FILE *out = fopen(file("secret.pem"), "w");

	cr_assert_eq(PEM_write_PKCS8PrivateKey(out, key, EVP_aes_128_cbc(), "secret", 6, NULL, NULL), 1);
	fclose(out);
	EVP_PKEY_free(key);
}

TEST(says_what_is_wrong_with_what_is_given)
{
	SSL_CTX_free(own());
	encrypt_key();
	expect_refusal(file("no.pem"), file("key.pem"), "no.pem", "No such file");
	expect_refusal(file("cert.pem"), file("no.pem"), "no.pem", "No such file");
	expect_refusal(file("cert.pem"), file("ca-key.pem"), "ca-key.pem", "is not the key of");
	expect_refusal(file("cert.pem"), file("secret.pem"), "secret.pem", "is encrypted");
	spoil("bad.pem");
	expect_refusal(file("bad.pem"), file("key.pem"), "bad.pem", "no PEM");
	expect_refusal(file("cert.pem"), file("bad.pem"), "bad.pem", "no PEM");
}
