/* ticket_keys.h: the keys that session tickets are sealed with, and their rotation. */
#ifndef PENSTOCK_TICKET_KEYS_H
#define PENSTOCK_TICKET_KEYS_H

#include <openssl/ssl.h>

#include "penstock/io.h"
#include "penstock/status.h"

#define TICKET_LIFE_S 7200 /* how long a ticket may be used, and how long a key seals new ones */

/* Start-up, before threads: tickets of the context are sealed and opened with keys that are its own, live in memory alone, and are freed
 * with it. A key seals for TICKET_LIFE_S and opens for as long again, so that each ticket can be used for its whole life. Their age is
 * by io's monotonic clock; io outlives the context. STATUS_INTERNAL: OpenSSL has no random bytes, or no memory. */
enum status ticket_keys_install(SSL_CTX *tls, struct io *io);

#endif
