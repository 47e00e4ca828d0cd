/* conn_tls.c: TLS on a raw socket, with several records in one send.
 *
 * Invariants: OpenSSL reads from the socket itself (read-ahead, so that a record is not two system calls) and writes into the
 * connection's `sealed` buffer, which never refuses; so SSL_write always ends, and partial sends are a matter of `sealed` alone.
 * Plaintext in the outq is dropped when it is sealed. At most SEALED_MAX and one record lie sealed. Thread: the connection's worker.
 *
 *   - the front of the outq is gathered, 16 KiB at a time, in the worker's staging buffer: one SSL_write, one record
 *   - up to 80 KiB of records leave in one send, close_notify with the last of them
 *   - a session ticket leaves at once: it carries the ACK that a client with Nagle's algorithm waits for before it asks
 *   - when all has left, the buffer goes back to the worker, whose next connection to write takes it: an idle connection holds none
 *
 * Failures: every TLS error but "more to read" closes the connection; a peer that leaves without close_notify is a plain end
 * (SSL_OP_IGNORE_UNEXPECTED_EOF). */
#include <assert.h>
#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <pthread.h>

#include "server/conn.h"

#define RECORD_PLAIN 16384                        /* the most that one TLS record holds */
#define RECORD_OVERHEAD 256                       /* header, tag and what a cipher may add, for each record of SEALED_MAX too */
#define SEALED_MAX (OUTQ_HIGH / 2 + RECORD_PLAIN) /* a full outq, and the frame that passed it, leave in two sends, not three */
#define SEALED_HARD (128u << 10)                  /* TLS's own answers, such as key updates, to one who asks for them and reads nothing */

/* ---- The BIO that seals into a buffer ---- */

static BIO_METHOD *sealing;
static pthread_once_t sealing_once = PTHREAD_ONCE_INIT;

static int on_seal(BIO *bio, const char *p, int n)
{
	struct conn *conn = BIO_get_data(bio);
	buf_put(&conn->sealed, p, (size_t)n);
	return n;
}

static long on_control(BIO *bio, int command, long number, void *p)
{
	(void)bio;
	(void)number;
	(void)p;
	return command == BIO_CTRL_FLUSH || command == BIO_CTRL_PUSH || command == BIO_CTRL_POP;
}

static int on_create(BIO *bio)
{
	BIO_set_init(bio, 1);
	return 1;
}

static void make_sealing(void)
{
	sealing = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "penstock sealing");
	assert(sealing);
	BIO_meth_set_write(sealing, on_seal);
	BIO_meth_set_ctrl(sealing, on_control);
	BIO_meth_set_create(sealing, on_create);
}

/* ---- One connection ---- */

bool conn_tls_start(struct conn *conn)
{
	if (!conn->worker->server->tls)
		return false;
	pthread_once(&sealing_once, make_sealing);
	SSL *ssl = SSL_new(conn->worker->server->tls);
	BIO *in = BIO_new_socket(conn->fd, BIO_NOCLOSE), *out = BIO_new(sealing);
	if (!ssl || !in || !out) {
		SSL_free(ssl);
		BIO_free(in);
		BIO_free(out);
		return false;
	}
	BIO_set_data(out, conn);
	SSL_set_bio(ssl, in, out);
	SSL_set_read_ahead(ssl, 1);
	SSL_set_accept_state(ssl);
	conn->tls = ssl;
	return true;
}

void conn_tls_free(struct conn *conn)
{
	SSL_free(conn->tls);
	conn->tls = NULL;
}

static ssize_t outcome(struct conn *conn, int rc)
{
	int error = SSL_get_error(conn->tls, rc);
	ERR_clear_error();
	if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
		return -EAGAIN;
	return error == SSL_ERROR_ZERO_RETURN ? 0 : -EPROTO;
}

ssize_t conn_tls_handshake(struct conn *conn)
{
	ERR_clear_error();
	int rc = SSL_do_handshake(conn->tls);
	if (rc == 1)
		return 1;
	ssize_t result = outcome(conn, rc);
	return result == 0 ? -EPROTO : result;
}

bool conn_tls_is_h2(const struct conn *conn, bool *decided)
{
	const unsigned char *name;
	unsigned n;
	SSL_get0_alpn_selected(conn->tls, &name, &n);
	*decided = n > 0; /* SDKs from before 2025 offer nothing and send the preface */
	return n == 2 && memcmp(name, "h2", 2) == 0;
}

ssize_t conn_tls_recv(struct conn *conn, uint8_t *p, size_t n)
{
	ERR_clear_error();
	int rc = SSL_read(conn->tls, p, (int)n);
	if (conn->sealed.n > conn->sealed_at) /* an answer of TLS itself, such as a key update */
		conn_dirty(conn);
	if (conn->sealed.n - conn->sealed_at > SEALED_HARD) {
		conn_cut(conn, "TLS messages that nobody takes");
		return -EPROTO;
	}
	return rc > 0 ? rc : outcome(conn, rc);
}

/* The front of the outq, up to one record: as it lies when one piece fills a record, else gathered. */
static const uint8_t *gather(struct conn *conn, size_t *n)
{
	struct iovec iov[64];
	int count = outq_peek(&conn->outq, iov, 64);
	*n = iov[0].iov_len < RECORD_PLAIN ? iov[0].iov_len : RECORD_PLAIN;
	if (count == 1 || *n == RECORD_PLAIN)
		return iov[0].iov_base;
	*n = 0;
	for (int i = 0; i < count && *n < RECORD_PLAIN; i++) {
		size_t part = iov[i].iov_len < RECORD_PLAIN - *n ? iov[i].iov_len : RECORD_PLAIN - *n;
		memcpy(conn->worker->staging + *n, iov[i].iov_base, part);
		*n += part;
	}
	return conn->worker->staging;
}

static void sealed_take(struct conn *conn)
{
	if (conn->sealed.p)
		return;
	conn->sealed = conn->worker->sealed_spare;
	conn->worker->sealed_spare = (struct buf){0};
	buf_reserve(&conn->sealed, SEALED_MAX + RECORD_PLAIN + RECORD_OVERHEAD);
}

static void sealed_give(struct conn *conn)
{
	if (conn->worker->sealed_spare.p)
		buf_free(&conn->sealed);
	else
		conn->worker->sealed_spare = conn->sealed;
	conn->sealed = (struct buf){0};
}

static void seal_goodbye(struct conn *conn)
{
	ERR_clear_error();
	if (SSL_is_init_finished(conn->tls) && !(SSL_get_shutdown(conn->tls) & SSL_SENT_SHUTDOWN))
		SSL_shutdown(conn->tls);
	ERR_clear_error();
}

/* What is in the outq, and close_notify behind the last of it. */
static int seal(struct conn *conn)
{
	sealed_take(conn);
	while (conn->outq.bytes && conn->sealed.n < SEALED_MAX) {
		size_t n;
		const uint8_t *p = gather(conn, &n);
		ERR_clear_error();
		int rc = SSL_write(conn->tls, p, (int)n);
		if (rc <= 0)
			return (int)outcome(conn, rc);
		outq_drop(&conn->outq, (size_t)rc);
	}
	if (conn->closing && !conn->outq.bytes)
		seal_goodbye(conn);
	return 0;
}

static int send_sealed(struct conn *conn)
{
	while (conn->sealed_at < conn->sealed.n) {
		struct iovec iov = {conn->sealed.p + conn->sealed_at, conn->sealed.n - conn->sealed_at};
		ssize_t n = conn_send(conn, &iov, 1);
		if (n < 0)
			return (int)n;
		conn->sealed_at += (size_t)n;
		if ((size_t)n < iov.iov_len)
			return -EAGAIN;
	}
	conn->sealed.n = conn->sealed_at = 0;
	return 0;
}

int conn_tls_flush(struct conn *conn)
{
	int rc = send_sealed(conn);
	while (rc == 0 && conn->outq.bytes && SSL_is_init_finished(conn->tls)) {
		rc = seal(conn);
		if (rc == 0)
			rc = send_sealed(conn);
	}
	if (rc == 0 && conn->sealed.p)
		sealed_give(conn);
	return rc;
}

/* close_notify, unless it left with the last of the outq; if the socket takes it. */
void conn_tls_goodbye(struct conn *conn)
{
	seal_goodbye(conn);
	send_sealed(conn);
}
