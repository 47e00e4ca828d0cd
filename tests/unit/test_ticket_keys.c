/* Session tickets across the rotation of their keys: real handshakes over a pair of BIOs, and a clock that is moved. */
#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include "server/ticket_keys.h"

static struct io fake_io;
static uint64_t now_ns;
static SSL_CTX *server, *client;

static uint64_t fake_mono_ns(struct io *io)
{
	(void)io;
	return now_ns;
}

static void setup(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	cr_assert_gt(X509_sign(cert, key, EVP_sha256()), 0);
	server = SSL_CTX_new(TLS_server_method());
	client = SSL_CTX_new(TLS_client_method());
	SSL_CTX_use_certificate(server, cert);
	SSL_CTX_use_PrivateKey(server, key);
	SSL_CTX_set_session_cache_mode(server, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(server, 1);
	X509_free(cert);
	EVP_PKEY_free(key);
	fake_io.mono_ns = fake_mono_ns;
	now_ns = 1000000000;
	cr_assert_eq(ticket_keys_install(server, &fake_io), STATUS_OK);
}

static void teardown(void)
{
	SSL_CTX_free(server);
	SSL_CTX_free(client);
}

TestSuite(ticket_keys, .init = setup, .fini = teardown, .timeout = 60);

static void pass(uint64_t seconds) { now_ns += seconds * 1000000000; }

/* One connection, which brings `session` (NULL: none). Returns the session that it leaves with; *reused: the server took the ticket. */
static SSL_SESSION *meet(SSL_SESSION *session, int version, bool *reused)
{
	BIO *a, *b;
	SSL *s = SSL_new(server), *c = SSL_new(client);
	char byte = 'x';
	cr_assert_eq(BIO_new_bio_pair(&a, 0, &b, 0), 1);
	SSL_set_bio(s, a, a);
	SSL_set_bio(c, b, b);
	SSL_set_accept_state(s);
	SSL_set_connect_state(c);
	SSL_set_max_proto_version(c, version);
	if (session)
		cr_assert_eq(SSL_set_session(c, session), 1);
	for (unsigned i = 0; i < 10 && !(SSL_is_init_finished(s) && SSL_is_init_finished(c)); i++) {
		SSL_do_handshake(c);
		SSL_do_handshake(s);
	}
	cr_assert(SSL_is_init_finished(s) && SSL_is_init_finished(c));
	cr_assert_eq(SSL_write(s, &byte, 1), 1);
	cr_assert_eq(SSL_read(c, &byte, 1), 1); /* the ticket comes before it */
	*reused = SSL_session_reused(s);
	SSL_SESSION *out = SSL_get1_session(c);
	SSL_shutdown(c); /* else the session counts as broken */
	SSL_shutdown(s);
	SSL_free(s);
	SSL_free(c);
	return out;
}

static bool same_key(const SSL_SESSION *a, const SSL_SESSION *b)
{
	const unsigned char *x, *y;
	size_t n, m;
	SSL_SESSION_get0_ticket(a, &x, &n);
	SSL_SESSION_get0_ticket(b, &y, &m);
	cr_assert(n > 16 && m > 16);
	return memcmp(x, y, 16) == 0;
}

static void resume_across_rotations(int version)
{
	bool reused;
	SSL_SESSION *first = meet(NULL, version, &reused), *second, *third, *fourth;
	cr_assert_not(reused);
	pass(TICKET_LIFE_S - 1);
	second = meet(first, version, &reused);
	cr_assert(reused);
	cr_assert(same_key(first, second));
	pass(TICKET_LIFE_S - 1); /* this ticket was sealed in the last second of its key, and is in the last of its own */
	third = meet(second, version, &reused);
	cr_assert(reused, "the previous key still opens");
	cr_assert_not(same_key(second, third), "and the client has a ticket of the new one");
	pass(TICKET_LIFE_S);
	SSL_SESSION_free(meet(first, version, &reused));
	cr_assert_not(reused, "two rotations later nothing opens it");
	fourth = meet(third, version, &reused);
	cr_assert(reused);
	pass(10 * TICKET_LIFE_S);
	SSL_SESSION_free(meet(fourth, version, &reused));
	cr_assert_not(reused, "a key that is found old after an idle time opens nothing either");
	SSL_SESSION_free(first);
	SSL_SESSION_free(second);
	SSL_SESSION_free(third);
	SSL_SESSION_free(fourth);
}

Test(ticket_keys, tls13) { resume_across_rotations(TLS1_3_VERSION); }
Test(ticket_keys, tls12) { resume_across_rotations(TLS1_2_VERSION); }

Test(ticket_keys, a_ticket_of_another_process_is_a_full_handshake)
{
	bool reused;
	SSL_SESSION *session = meet(NULL, TLS1_3_VERSION, &reused);
	teardown();
	setup();
	SSL_SESSION_free(meet(session, TLS1_3_VERSION, &reused));
	cr_assert_not(reused);
	SSL_SESSION_free(session);
}
