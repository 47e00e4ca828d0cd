/* peers.h: how many connections each address has, over all workers, and how much memory their answers hold. Any thread.
 *
 * A peer is a group of addresses: an IPv4 address, or an IPv6 /64, which is what a client has at least. Above each /64 stand its /56 and
 * its /48, which a client may have as well, so that 256 or 65,536 groups cannot be had for the price of one. */
#ifndef PENSTOCK_PEERS_H
#define PENSTOCK_PEERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/budget.h"

struct peers;
struct peer;
struct sockaddr_storage;

#define PEERS_LIMIT 2000 /* connections of one address, unless --max-connections-per-address says otherwise */
#define PEERS_LIMIT_56 2 /* times as many for a /56 */
#define PEERS_LIMIT_48 4

/* limit: connections of one address. 0: PEERS_LIMIT, and loopback connections are not bounded: there every client has the same address,
 * and whoever is on the machine needs no connections to do harm. memory: bytes of answers that a group may hold, loopback's too.
 * workers: how many of them take from it. */
struct peers *peers_new(unsigned limit, int64_t memory, unsigned workers);
void peers_free(struct peers *peers); /* asserts that nobody is counted */

/* The peer of fd has one more connection. *out is for peers_leave; NULL: fd has no internet address, and is not counted. False: the
 * address, its /56 or its /48 has as many as it may. */
bool peers_enter(struct peers *peers, int fd, struct peer **out);
/* The same, of an address. */
bool peers_enter_address(struct peers *peers, const struct sockaddr_storage *address, struct peer **out);
void peers_leave(struct peers *peers, struct peer *peer);
/* Keeps a peer beyond its last connection, for who takes and gives memory on another thread. NULL stays NULL. */
struct peer *peers_ref(struct peers *peers, struct peer *peer);
void peers_unref(struct peers *peers, struct peer *peer);

/* Reserves n bytes in the peer's group and those above it; false: one of them has no room, and nothing is reserved. On the thread of worker
 * `worker`; PEERS_ANYWHERE: on any. peer NULL: is always granted. */
#define PEERS_ANYWHERE UINT32_MAX
bool peers_take(struct peer *peer, uint32_t worker, size_t n, enum budget_class class);
void peers_force(struct peer *peer, size_t n);
void peers_give(struct peer *peer, uint32_t worker, size_t n);

/* More than a half of what the peer's group, or one above it, may hold is taken. */
bool peers_crowded(const struct peer *peer);

/* The peer of fd is on this machine: its address is a loopback one. */
bool peers_local(int fd);

#endif
