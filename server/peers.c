/* peers.c: connections per address, so that one address cannot take all that --max-connections allows.
 *
 * Invariant: a peer is in the table exactly while it has connections. An IPv6 client owns at least a /64, so that is what counts as an
 * address. Under one lock, taken when a connection opens and when it closes. Any thread.
 *
 *   - peers_enter: getpeername, found or made, counted
 *   - peers_leave: counted down, the last one removes the peer
 *
 * Failures: a socket that has no internet address (a test's socketpair), or whose peer has left already, is not counted. */
#include "server/peers.h"

#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "penstock/bytes.h"

#define SLOTS 4096u /* chains stay short up to the connections that a process can have */

struct peer {
	struct peer *next;
	uint64_t address;
	unsigned connections;
};

struct peers {
	pthread_mutex_t lock;
	struct peer *slots[SLOTS];
	uint64_t seed; /* nobody can choose addresses that share a slot */
	unsigned limit;
	bool loopback_too;
};

struct peers *peers_new(unsigned limit)
{
	struct peers *peers = xcalloc(1, sizeof(*peers));
	pthread_mutex_init(&peers->lock, NULL);
	if (getrandom(&peers->seed, sizeof(peers->seed), 0) != (ssize_t)sizeof(peers->seed))
		peers->seed = (uint64_t)(uintptr_t)peers;
	peers->limit = limit ? limit : PEERS_LIMIT;
	peers->loopback_too = limit != 0;
	return peers;
}

void peers_free(struct peers *peers)
{
	if (!peers)
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		assert(!peers->slots[i]);
	pthread_mutex_destroy(&peers->lock);
	free(peers);
}

/* An IPv4 address as it is, with a bit that no IPv6 prefix of the internet has set without the ones above it. */
static uint64_t of_v4(uint32_t address) { return UINT64_C(1) << 32 | address; }

static bool is_loopback(const struct sockaddr_storage *name)
{
	const struct in6_addr *v6 = &((const struct sockaddr_in6 *)name)->sin6_addr;

	if (name->ss_family == AF_INET)
		return ntohl(((const struct sockaddr_in *)name)->sin_addr.s_addr) >> 24 == 127;
	if (name->ss_family != AF_INET6)
		return false;
	return IN6_IS_ADDR_V4MAPPED(v6) ? v6->s6_addr[12] == 127 : IN6_IS_ADDR_LOOPBACK(v6);
}

bool peers_local(int fd)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);

	return getpeername(fd, (struct sockaddr *)&name, &len) == 0 && is_loopback(&name);
}

static bool address_of(const struct peers *peers, int fd, uint64_t *out)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	const struct sockaddr_in *v4 = (struct sockaddr_in *)&name;
	const struct in6_addr *v6 = &((struct sockaddr_in6 *)&name)->sin6_addr;

	if (getpeername(fd, (struct sockaddr *)&name, &len) != 0)
		return false;
	if (name.ss_family == AF_INET) {
		*out = of_v4(v4->sin_addr.s_addr);
	} else if (name.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(v6)) {
		*out = of_v4(v6->s6_addr32[3]);
	} else if (name.ss_family == AF_INET6) {
		memcpy(out, v6->s6_addr, sizeof(*out));
	} else {
		return false;
	}
	return peers->loopback_too || !is_loopback(&name);
}

/* Where the peer's pointer stands, or would. */
static struct peer **find(struct peers *peers, uint64_t address)
{
	uint64_t hash = (address ^ peers->seed) * UINT64_C(0x9e3779b97f4a7c15);
	struct peer **at = &peers->slots[hash >> 52];
	while (*at && (*at)->address != address)
		at = &(*at)->next;
	return at;
}

bool peers_enter(struct peers *peers, int fd, struct peer **out)
{
	uint64_t address;
	*out = NULL;
	if (!peers || !address_of(peers, fd, &address))
		return true;
	pthread_mutex_lock(&peers->lock);
	struct peer **at = find(peers, address);
	if (!*at) {
		*at = xcalloc(1, sizeof(**at));
		(*at)->address = address;
	}
	bool room = (*at)->connections < peers->limit;
	if (room) {
		(*at)->connections++;
		*out = *at;
	}
	pthread_mutex_unlock(&peers->lock);
	return room;
}

void peers_leave(struct peers *peers, struct peer *peer)
{
	if (!peer)
		return;
	pthread_mutex_lock(&peers->lock);
	if (--peer->connections == 0) {
		struct peer **at = find(peers, peer->address);
		*at = peer->next;
		free(peer);
	}
	pthread_mutex_unlock(&peers->lock);
}
