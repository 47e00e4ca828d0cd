/* endpoint_probe.c: connects once before anything is measured: which address answers, and does it speak HTTP/2 there?
 *
 *   - each address of the name in turn, as the resolver orders them, until one accepts
 *   - over TLS: ALPN chooses between h2 and http/1.1; a server that knows no ALPN is taken for HTTP/1.1
 *   - over cleartext: HTTP/2's preface and an empty SETTINGS frame; an HTTP/2 server sends its own SETTINGS first of all, an HTTP/1.1
 * server answers 400 or 505 to the method PRI, closes, or says nothing
 *
 * A loop of its own: it ends before the engine's begins. */
#include <netdb.h>
#include <stdio.h>

#include "loadtest/endpoint.h"
#include "loadtest/wire.h"

#define SILENCE_SECONDS 3 /* a server that has no word for the preface in so long is no HTTP/2 server */

static const char alpn_both[] = "\x02h2\x08http/1.1", alpn_h2[] = "\x02h2", alpn_http1[] = "\x08http/1.1";
static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

struct probe {
	struct wire wire;
	struct event_base *base;
	struct endpoint *endpoint;
	int asked;
	bool accepted, done;
	uint8_t head[9]; /* of the first frame */
	size_t n_head;
};

static void finish(struct probe *probe, enum protocol protocol)
{
	probe->endpoint->protocol = protocol;
	probe->done = true;
}

static void on_open(struct wire *wire)
{
	struct probe *probe = container_of(wire, struct probe, wire);
	const unsigned char *chosen;
	unsigned n = 0;
	probe->accepted = true;
	if (wire->tls)
		SSL_get0_alpn_selected(wire->tls, &chosen, &n);
	if (probe->asked >= 0) {
		finish(probe, (enum protocol)probe->asked);
	} else if (wire->tls) {
		finish(probe, n == 2 && memcmp(chosen, "h2", 2) == 0 ? PROTOCOL_H2 : PROTOCOL_HTTP1);
	} else {
		struct timeval silence = {.tv_sec = SILENCE_SECONDS};
		wire_put(wire, preface, sizeof preface - 1);
		wire_flush(wire);
		event_base_loopexit(probe->base, &silence);
	}
}

static void on_bytes(struct wire *wire, const uint8_t *p, size_t n)
{
	struct probe *probe = container_of(wire, struct probe, wire);
	while (n && probe->n_head < sizeof probe->head) {
		probe->head[probe->n_head++] = *p++;
		n--;
	}
	if (probe->n_head < sizeof probe->head)
		return;
	/* Length of three bytes, type 4, flags 0, stream 0: SETTINGS. */
	finish(probe, memcmp(probe->head + 3, "\4\0\0\0\0\0", 6) == 0 ? PROTOCOL_H2 : PROTOCOL_HTTP1);
}

static void on_closed(struct wire *wire)
{
	struct probe *probe = container_of(wire, struct probe, wire);
	if (!probe->done)
		finish(probe, PROTOCOL_HTTP1); /* if it was accepted at all */
}

static void on_turn(struct wire *wire)
{
	struct probe *probe = container_of(wire, struct probe, wire);
	if (probe->done)
		event_base_loopbreak(probe->base);
}

static struct str offer(int asked)
{
	if (asked < 0)
		return STR(alpn_both);
	return asked == PROTOCOL_H2 ? STR(alpn_h2) : STR(alpn_http1);
}

/* endpoint->address is set. */
static bool try_address(struct endpoint *endpoint, int asked, char why[256])
{
	static const struct wire_ops ops = {on_open, on_bytes, on_closed, on_turn};
	struct probe probe = {.base = event_base_new(), .endpoint = endpoint, .asked = asked};
	endpoint->protocol = PROTOCOL_HTTP1; /* what silence means */
	wire_open(&probe.wire, probe.base, endpoint, offer(asked), &ops);
	event_base_dispatch(probe.base);
	if (!probe.accepted)
		snprintf(why, 256, "%.100s: %.140s", endpoint->authority, probe.wire.why);
	wire_close(&probe.wire);
	event_base_free(probe.base);
	return probe.accepted;
}

bool endpoint_probe(struct endpoint *endpoint, int asked, char why[256])
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *found = NULL;
	char port[8];
	bool good = false;
	snprintf(port, sizeof port, "%d", endpoint->port);
	int rc = getaddrinfo(endpoint->host, port, &hints, &found);
	if (rc != 0)
		snprintf(why, 256, "%.180s: %s", endpoint->host, gai_strerror(rc));
	for (struct addrinfo *at = found; at && !good; at = at->ai_next) {
		memcpy(&endpoint->address, at->ai_addr, at->ai_addrlen);
		endpoint->address_len = at->ai_addrlen;
		good = try_address(endpoint, asked, why);
	}
	if (found)
		freeaddrinfo(found);
	return good;
}
