/* TLS over real sockets: which protocol is spoken inside, several records per send, and the ways to leave. */
#include "transport_fixture.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "h2_client.h"

static SSL_CTX *client_context;

/* By the client's order, as the server's own context does it (certificate.c). */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *n, const unsigned char *in, unsigned in_n, void *arg)
{
	(void)ssl, (void)arg;
	for (unsigned at = 0; at < in_n; at += 1u + in[at])
		if ((in[at] == 2 && memcmp(in + at + 1, "h2", 2) == 0) || (in[at] == 8 && memcmp(in + at + 1, "http/1.1", 8) == 0)) {
			*out = in + at + 1;
			*n = in[at];
			return SSL_TLSEXT_ERR_OK;
		}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void start(void)
{
	setup();
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
	X509_gmtime_adj(X509_getm_notBefore(cert), 0);
	X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
	X509_set_pubkey(cert, key);
	cr_assert_gt(X509_sign(cert, key, EVP_sha256()), 0);
	server.tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_mode(server.tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(server.tls, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_alpn_select_cb(server.tls, on_alpn, NULL);
	SSL_CTX_use_certificate(server.tls, cert);
	SSL_CTX_use_PrivateKey(server.tls, key);
	X509_free(cert);
	EVP_PKEY_free(key);
	client_context = SSL_CTX_new(TLS_client_method());
}

static void done(void)
{
	teardown();
	SSL_CTX_free(server.tls);
	SSL_CTX_free(client_context);
}

TestSuite(tls, .init = start, .fini = done, .timeout = 60);

/* alpn: in wire format, or NULL. Returns false when the handshake fails. */
static bool tls_connect(struct client *client, const char *alpn, int version)
{
	*client = (struct client){.fd = connect_client()};
	client->tls = SSL_new(client_context);
	SSL_set_fd(client->tls, client->fd);
	SSL_set_max_proto_version(client->tls, version);
	if (alpn)
		SSL_set_alpn_protos(client->tls, (const uint8_t *)alpn, (unsigned)strlen(alpn));
	for (unsigned i = 0; i < 20; i++) {
		int rc = SSL_connect(client->tls);
		if (rc == 1)
			return true;
		if (SSL_get_error(client->tls, rc) != SSL_ERROR_WANT_READ)
			return false;
		turns(1);
	}
	return false;
}

static void ask_over_h2(struct client *client)
{
	client_new_session(client, false);
	nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, NULL, 0);
	unsigned a = client_ask(client, "/a", "hello", 5), b = client_ask(client, "/big?1000000", NULL, 0);
	client_pump(client);
	cr_assert_eq(client->streams[a].body.n, strlen("POST /a||h|hello"));
	cr_assert_eq(client->streams[b].body.n, 1000000u);
	for (size_t i = 0; i < 1000000; i++)
		if (client->streams[b].body.p[i] != fake_byte(0, i))
			cr_assert_fail("byte %zu", i);
}

static struct client c;

Test(tls, alpn_h2)
{
	cr_assert(tls_connect(&c, "\x02h2\x08http/1.1", TLS1_3_VERSION));
	const unsigned char *name;
	unsigned n;
	SSL_get0_alpn_selected(c.tls, &name, &n);
	cr_assert_eq(n, 2u);
	ask_over_h2(&c);
	client_close(&c);
}

Test(tls, h2_without_alpn_over_tls12)
{
	cr_assert(tls_connect(&c, NULL, TLS1_2_VERSION));
	ask_over_h2(&c);
	client_close(&c);
}

static void ask_over_h1(const char *alpn)
{
	char text[4096] = "";
	static const char request[] = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok";
	cr_assert(tls_connect(&c, alpn, TLS1_3_VERSION));
	for (unsigned times = 1; times <= 2; times++) {
		size_t n = 0;
		cr_assert_gt(SSL_write(c.tls, request, sizeof(request) - 1), 0);
		for (unsigned i = 0; i < 10; i++) {
			turns(1);
			int rc = SSL_read(c.tls, text + n, (int)(sizeof(text) - 1 - n));
			n += rc > 0 ? (size_t)rc : 0;
		}
		text[n] = 0;
		cr_assert_not_null(strstr(text, "\r\n\r\nPOST /a||h|ok"), "%s", text);
	}
	SSL_free(c.tls);
	close(c.fd);
	turns(3);
}

Test(tls, alpn_http11) { ask_over_h1("\x08http/1.1"); }
Test(tls, http11_without_alpn) { ask_over_h1(NULL); }

/* As the SDK for JavaScript puts. The ticket does not wait for the answer: before its ACK a client with Nagle's algorithm asks nothing. */
Test(tls, the_last_answer_and_close_notify_are_one_write)
{
	static const char request[] = "POST /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
	char text[4096] = "";
	int64_t before = metric_get(METRIC_socket_writes);
	cr_assert(tls_connect(&c, NULL, TLS1_3_VERSION));
	turns(3);
	cr_assert_eq(metric_get(METRIC_socket_writes), before + 2);
	cr_assert_gt(SSL_write(c.tls, request, sizeof(request) - 1), 0);
	turns(5);
	cr_assert_eq(metric_get(METRIC_socket_writes), before + 3);
	cr_assert_gt(SSL_read(c.tls, text, sizeof(text) - 1), 0);
	cr_assert_not_null(strstr(text, "\r\n\r\nPOST /a||h|ok"), "%s", text);
	int rc = SSL_read(c.tls, text, sizeof(text));
	cr_assert_eq(SSL_get_error(c.tls, rc), SSL_ERROR_ZERO_RETURN);
	SSL_free(c.tls);
	close(c.fd);
	turns(3);
}

Test(tls, no_protocol_in_common)
{
	cr_assert_not(tls_connect(&c, "\x04spdy", TLS1_3_VERSION));
	SSL_free(c.tls);
	close(c.fd);
	turns(3);
	cr_assert(list_empty(&worker.conns));
}

Test(tls, handshake_has_10_s)
{
	int fd = connect_client();
	struct buf out = {0};
	send_all(fd, "\x16\x03\x01", 3);
	turns(3);
	pass(9 * SECOND_NS);
	cr_assert_not(receive_all(fd, &out));
	pass(2 * SECOND_NS);
	cr_assert(receive_all(fd, &out));
	close(fd);
	buf_free(&out);
}

Test(tls, without_a_certificate_the_connection_ends)
{
	SSL_CTX *tls = server.tls;
	server.tls = NULL;
	cr_assert_not(tls_connect(&c, NULL, TLS1_3_VERSION));
	server.tls = tls;
	SSL_free(c.tls);
	close(c.fd);
}

Test(tls, subscription_over_a_backed_up_socket)
{
	cr_assert(tls_connect(&c, "\x02h2", TLS1_3_VERSION));
	client_new_session(&c, false);
	nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 32 << 20};
	nghttp2_submit_settings(c.session, NGHTTP2_FLAG_NONE, &window, 1);
	nghttp2_session_set_local_window_size(c.session, NGHTTP2_FLAG_NONE, 0, 32 << 20);
	unsigned s = client_ask(&c, "/sub", "{}", 2);
	client_pump(&c);
	cr_assert_eq(c.streams[s].status, 200);
	int64_t writes = metric_get(METRIC_socket_writes), bytes = metric_get(METRIC_socket_bytes);
	fake_push(0, 60000);
	turns(1);
	cr_assert_leq(metric_get(METRIC_socket_writes) - writes, 1, "several records leave in one send");
	cr_assert_geq(metric_get(METRIC_socket_bytes) - bytes, 60000);
	c.mute = true;
	fake_push(0, FAKE_BYTES - 60000);
	turns(20);
	struct conn *conn = container_of(worker.conns.next, struct conn, link);
	cr_assert(conn->blocked);
	cr_assert_leq(conn->sealed.n, 96u << 10);
	cr_assert_lt(fake_subs[0].at, 2u << 20);
	c.mute = false;
	client_pump(&c);
	cr_assert_eq(c.streams[s].body.n, FAKE_BYTES);
	for (size_t i = 0; i < FAKE_BYTES; i++)
		if (c.streams[s].body.p[i] != fake_byte(0, i))
			cr_assert_fail("byte %zu", i);
	cr_assert_null(conn->sealed.p, "an idle connection holds no buffer");
	client_close(&c);
	cr_assert_null(fake_subs[0].sub);
}

Test(tls, large_body)
{
	static char body[3 << 20];
	memset(body, 'x', sizeof(body));
	cr_assert(tls_connect(&c, "\x02h2", TLS1_3_VERSION));
	client_new_session(&c, false);
	nghttp2_submit_settings(c.session, NGHTTP2_FLAG_NONE, NULL, 0);
	/* in pieces that fit the socket: SSL_write of the fixture does not wait */
	for (unsigned i = 0; i < 20; i++) {
		unsigned s = client_ask(&c, "/a", body, 100000);
		client_pump(&c);
		cr_assert_eq(c.streams[s].body.n, 100000 + strlen("POST /a||h|"));
	}
	client_close(&c);
}
