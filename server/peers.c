/* peers.c: connections and memory per address, so that one address cannot take all that --max-connections and the answers' budget allow.
 *
 * Invariant: a peer is in the table exactly while it has connections or references; a peer of an IPv6 /64 has a connection counted in its
 * /56 and /48 for each of its own. The table and all counts but memory are under one lock, taken when a connection opens and closes and
 * when a GetRecords begins and ends; memory is atomic, with a share for each worker. Any thread.
 *
 *   - peers_enter: getpeername; the groups are found or made, widest first, and counted
 *   - peers_leave: counted down, the last one removes the peer
 *   - peers_take: from the narrowest group up; what was taken goes back when a wider one has no room
 *
 * Failures: a socket that has no internet address (a test's socketpair), or whose peer has left already, is not counted. */
#include "server/peers.h"

#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "penstock/bytes.h"

#define SLOTS 4096u /* chains stay short up to the connections that a process can have */
#define CACHE_LINE 64

struct padded_share {
	struct budget_share share;
	uint8_t pad[CACHE_LINE - sizeof(struct budget_share)];
};

struct peer {
	struct peer *next, *up; /* up: the wider group; NULL: none */
	uint64_t address;
	unsigned width; /* bits of an IPv6 address; 0: IPv4 */
	unsigned connections, refs;
	struct budget memory;
	struct padded_share shares[]; /* of each worker */
};

struct peers {
	pthread_mutex_t lock;
	struct peer *slots[SLOTS];
	uint64_t seed; /* nobody can choose addresses that share a slot */
	unsigned limit, workers;
	int64_t memory;
	bool loopback_too;
};

struct peers *peers_new(unsigned limit, int64_t memory, unsigned workers)
{
	struct peers *peers = xcalloc(1, sizeof(*peers));
	pthread_mutex_init(&peers->lock, NULL);
	if (getrandom(&peers->seed, sizeof(peers->seed), 0) != (ssize_t)sizeof(peers->seed))
		peers->seed = (uint64_t)(uintptr_t)peers;
	peers->limit = limit ? limit : PEERS_LIMIT;
	peers->loopback_too = limit != 0;
	peers->memory = memory;
	peers->workers = workers;
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

/* ---- The table; under the lock ---- */

/* Where the peer's pointer stands, or would. */
static struct peer **find(struct peers *peers, uint64_t address, unsigned width)
{
	uint64_t hash = (address ^ peers->seed ^ width) * UINT64_C(0x9e3779b97f4a7c15);
	struct peer **at = &peers->slots[hash >> 52];
	while (*at && ((*at)->address != address || (*at)->width != width))
		at = &(*at)->next;
	return at;
}

static void drop_if_unused(struct peers *peers, struct peer *peer)
{
	while (peer && peer->connections == 0 && peer->refs == 0) {
		struct peer **at = find(peers, peer->address, peer->width), *up = peer->up;
		*at = peer->next;
		free(peer);
		if (up)
			up->refs--;
		peer = up;
	}
}

/* Found, or made; a group holds a reference of the wider one. */
static struct peer *get(struct peers *peers, uint64_t address, unsigned width, struct peer *up)
{
	struct peer **at = find(peers, address, width);
	if (*at)
		return *at;
	struct peer *peer = xcalloc(1, sizeof(*peer) + peers->workers * sizeof(peer->shares[0]));
	peer->address = address;
	peer->width = width;
	peer->up = up;
	budget_init(&peer->memory, peers->memory);
	if (up)
		up->refs++;
	*at = peer;
	return peer;
}

static struct peer *get_v6(struct peers *peers, const struct in6_addr *v6)
{
	uint64_t prefix = 0;
	for (unsigned i = 0; i < 8; i++)
		prefix = prefix << 8 | v6->s6_addr[i];
	struct peer *wide = get(peers, prefix & ~UINT64_C(0xffff), 48, NULL), *middle = get(peers, prefix & ~UINT64_C(0xff), 56, wide);
	return get(peers, prefix, 64, middle);
}

static struct peer *get_group(struct peers *peers, const struct sockaddr_storage *name)
{
	const struct in6_addr *v6 = &((const struct sockaddr_in6 *)name)->sin6_addr;
	if (name->ss_family == AF_INET)
		return get(peers, ((const struct sockaddr_in *)name)->sin_addr.s_addr, 0, NULL);
	if (name->ss_family != AF_INET6)
		return NULL;
	return IN6_IS_ADDR_V4MAPPED(v6) ? get(peers, v6->s6_addr32[3], 0, NULL) : get_v6(peers, v6);
}

static bool has_room(const struct peers *peers, const struct peer *peer)
{
	unsigned times = peer->width == 48 ? PEERS_LIMIT_48 : peer->width == 56 ? PEERS_LIMIT_56 : 1;
	return peer->connections < (uint64_t)peers->limit * times;
}

static bool count(struct peers *peers, struct peer *peer, bool bounded)
{
	for (const struct peer *at = peer; at && bounded; at = at->up)
		if (!has_room(peers, at))
			return false;
	for (struct peer *at = peer; at; at = at->up)
		at->connections++;
	return true;
}

/* ---- Connections ---- */

bool peers_enter_address(struct peers *peers, const struct sockaddr_storage *address, struct peer **out)
{
	pthread_mutex_lock(&peers->lock);
	struct peer *peer = get_group(peers, address);
	bool room = count(peers, peer, peers->loopback_too || !is_loopback(address));
	if (!room)
		drop_if_unused(peers, peer);
	pthread_mutex_unlock(&peers->lock);
	*out = room ? peer : NULL;
	return room;
}

bool peers_enter(struct peers *peers, int fd, struct peer **out)
{
	struct sockaddr_storage name;
	socklen_t len = sizeof(name);
	*out = NULL;
	if (!peers || getpeername(fd, (struct sockaddr *)&name, &len) != 0)
		return true;
	return peers_enter_address(peers, &name, out);
}

void peers_leave(struct peers *peers, struct peer *peer)
{
	if (!peer)
		return;
	pthread_mutex_lock(&peers->lock);
	for (struct peer *at = peer; at; at = at->up)
		at->connections--;
	drop_if_unused(peers, peer);
	pthread_mutex_unlock(&peers->lock);
}

struct peer *peers_ref(struct peers *peers, struct peer *peer)
{
	if (!peer)
		return NULL;
	pthread_mutex_lock(&peers->lock);
	peer->refs++;
	pthread_mutex_unlock(&peers->lock);
	return peer;
}

void peers_unref(struct peers *peers, struct peer *peer)
{
	if (!peer)
		return;
	pthread_mutex_lock(&peers->lock);
	peer->refs--;
	drop_if_unused(peers, peer);
	pthread_mutex_unlock(&peers->lock);
}

/* ---- Memory ---- */

static bool take(struct peer *peer, uint32_t worker, size_t n, enum budget_class class)
{
	if (worker == PEERS_ANYWHERE)
		return budget_take(&peer->memory, n, class);
	return budget_share_take(&peer->memory, &peer->shares[worker].share, n, class);
}

static void give(struct peer *peer, uint32_t worker, size_t n)
{
	if (worker == PEERS_ANYWHERE)
		budget_give(&peer->memory, n);
	else
		budget_share_give(&peer->memory, &peer->shares[worker].share, n);
}

bool peers_take(struct peer *peer, uint32_t worker, size_t n, enum budget_class class)
{
	struct peer *at = peer;
	while (at && take(at, worker, n, class))
		at = at->up;
	if (!at)
		return true;
	for (struct peer *taken = peer; taken != at; taken = taken->up)
		give(taken, worker, n);
	return false;
}

void peers_force(struct peer *peer, size_t n)
{
	for (; peer; peer = peer->up)
		budget_force(&peer->memory, n);
}

void peers_give(struct peer *peer, uint32_t worker, size_t n)
{
	for (; peer; peer = peer->up)
		give(peer, worker, n);
}

bool peers_crowded(const struct peer *peer)
{
	for (; peer; peer = peer->up)
		if (budget_is_crowded(&peer->memory))
			return true;
	return false;
}
