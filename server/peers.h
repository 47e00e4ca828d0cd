/* peers.h: how many connections each address has, over all workers. Any thread. */
#ifndef PENSTOCK_PEERS_H
#define PENSTOCK_PEERS_H

#include <stdbool.h>

struct peers;
struct peer;

#define PEERS_LIMIT 2000 /* connections of one address, unless --max-connections-per-address says otherwise */

/* limit 0: PEERS_LIMIT, and loopback is not counted: there every client has the same address, and whoever is on the machine needs no
 * connections to do harm. */
struct peers *peers_new(unsigned limit);
void peers_free(struct peers *peers); /* asserts that nobody is counted */

/* The peer of fd has one more connection. *out is for peers_leave; NULL: it is not counted. False: it has as many as it may. */
bool peers_enter(struct peers *peers, int fd, struct peer **out);
void peers_leave(struct peers *peers, struct peer *peer);

/* The peer of fd is on this machine: its address is a loopback one. */
bool peers_local(int fd);

#endif
