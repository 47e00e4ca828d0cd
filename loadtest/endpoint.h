/* endpoint.h: which server, and who asks: URL, region, TLS trust, credentials. Made once before the run; read by every connection. */
#ifndef PENSTOCK_LOADTEST_ENDPOINT_H
#define PENSTOCK_LOADTEST_ENDPOINT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

#include <openssl/types.h>

enum protocol { PROTOCOL_H2, PROTOCOL_HTTP1 };

struct endpoint {
	char url[512];           /* as given, or as made up */
	char host[256], authority[272]; /* name, and name:port as the Host header has it (no port when it is the scheme's) */
	int port;
	bool tls;
	struct sockaddr_storage address; /* the first that accepted a connection */
	socklen_t address_len;
	char region[33];
	enum protocol protocol;  /* over TLS what ALPN chose; over cleartext as asked for, else HTTP/2 by prior knowledge if the server speaks it */
	SSL_CTX *tls_context;    /* NULL: cleartext */
	/* Credentials: see credentials.h. Placeholders do for a server that verifies nothing, and are never sent to a host of AWS's. */
	char key[129], secret[129], token[4097]; /* token: "" if there is none */
	bool placeholder;
	char credentials_from[512]; /* for people, nothing secret; of placeholders: why */
};

struct endpoint_options {
	const char *url;         /* NULL: AWS_ENDPOINT_URL_KINESIS, AWS_ENDPOINT_URL, else https://kinesis.REGION.amazonaws.com if credentials and a
				  * region are there and `aws` is set, else http://127.0.0.1:4567 */
	bool aws;                /* without any URL AWS itself is meant: it costs money, so it is never assumed */
	const char *region;      /* NULL: AWS_REGION, AWS_DEFAULT_REGION, the profile's region, the one in the host's name, us-east-1 */
	const char *ca;          /* PEM file to trust beside the system's; NULL: AWS_CA_BUNDLE */
	bool insecure;           /* any certificate */
	int protocol;            /* an enum protocol, or -1: find out */
};

/* Resolves, connects once (at most 10 s), finds out the protocol. False: *why has a sentence for people. Tells nothing secret. */
bool endpoint_open(struct endpoint *endpoint, const struct endpoint_options *options, char why[256]);
void endpoint_close(struct endpoint *endpoint); /* the connections are closed */

/* endpoint_probe.c: the first address that accepts a connection, and the protocol there. asked: an enum protocol, or -1. */
bool endpoint_probe(struct endpoint *endpoint, int asked, char why[256]);

#endif
