/* Connections counted per address, with real sockets of loopback. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/peers.h"

#define MEMORY (64 << 20)

static int listener = -1;
static struct sockaddr_in where;

static void setup(void)
{
	socklen_t len = sizeof(where);
	where = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	listener = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&where, sizeof(where)), 0);
	cr_assert_eq(listen(listener, 16), 0);
	cr_assert_eq(getsockname(listener, (struct sockaddr *)&where, &len), 0);
}

static void teardown(void) { close(listener); }

TestSuite(peers, .init = setup, .fini = teardown, .timeout = 60);

/* The server's end of a connection from 127.0.0.`host`. */
static int connection_from(uint8_t host)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + host)};
	int client = socket(AF_INET, SOCK_STREAM, 0);
	cr_assert_eq(bind(client, (struct sockaddr *)&from, sizeof(from)), 0);
	cr_assert_eq(connect(client, (struct sockaddr *)&where, sizeof(where)), 0);
	int fd = accept(listener, NULL, NULL);
	cr_assert_geq(fd, 0);
	cr_assert_lt(dup2(fd, client), 1000); /* one descriptor to close */
	close(fd);
	return client;
}

Test(peers, each_address_has_its_own_count)
{
	struct peers *peers = peers_new(2, MEMORY, 2);
	struct peer *a, *b, *c, *d;
	int one = connection_from(1), two = connection_from(2);
	cr_assert(peers_enter(peers, one, &a) && a);
	cr_assert(peers_enter(peers, one, &b) && b == a);
	cr_assert_not(peers_enter(peers, one, &c));
	cr_assert_null(c);
	cr_assert(peers_enter(peers, two, &d) && d != a);
	peers_leave(peers, b);
	cr_assert(peers_enter(peers, one, &c) && c == a);
	peers_leave(peers, c);
	peers_leave(peers, a);
	peers_leave(peers, d);
	peers_free(peers); /* asserts that it is empty */
	close(one);
	close(two);
}

Test(peers, loopback_is_not_bounded_unless_asked_for)
{
	struct peers *peers = peers_new(0, MEMORY, 2);
	struct peer *peer;
	int fd = connection_from(1);
	for (unsigned i = 0; i < 2 * PEERS_LIMIT; i++)
		cr_assert(peers_enter(peers, fd, &peer) && peer);
	for (unsigned i = 0; i < 2 * PEERS_LIMIT; i++)
		peers_leave(peers, peer);
	peers_leave(peers, NULL);
	peers_free(peers);
	close(fd);
}

Test(peers, what_has_no_address_is_not_counted)
{
	struct peers *peers = peers_new(1, MEMORY, 2);
	struct peer *peer;
	int fds[2];
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	cr_assert(peers_enter(peers, fds[0], &peer) && !peer);
	cr_assert(peers_enter(peers, fds[0], &peer) && !peer);
	cr_assert(peers_enter(NULL, fds[0], &peer) && !peer);
	peers_free(peers);
	close(fds[0]);
	close(fds[1]);
}

Test(peers, many_addresses)
{
	struct peers *peers = peers_new(1, MEMORY, 2);
	struct peer *peer[200];
	int fds[200];
	for (uint8_t i = 0; i < 200; i++) {
		fds[i] = connection_from((uint8_t)(i + 1));
		cr_assert(peers_enter(peers, fds[i], &peer[i]) && peer[i]);
	}
	for (unsigned i = 0; i < 200; i++) {
		struct peer *again;
		cr_assert_not(peers_enter(peers, fds[i], &again));
		peers_leave(peers, peer[i]);
		close(fds[i]);
	}
	peers_free(peers);
}

/* ---- IPv6 groups, which need no sockets ---- */

static bool enter(struct peers *peers, const char *text, struct peer **out)
{
	struct sockaddr_storage name = {.ss_family = AF_INET6};
	cr_assert_eq(inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&name)->sin6_addr), 1);
	return peers_enter_address(peers, &name, out);
}

Test(peers, a_client_with_many_ipv6_networks_is_bounded_by_the_wider_ones)
{
	struct peers *peers = peers_new(10, MEMORY, 2);
	struct peer *in[100], *refused, *other;
	unsigned n = 0;
	char text[64];
	for (; n < 10; n++)
		cr_assert(enter(peers, "2001:db8:1:100::1", &in[n]));
	cr_assert_not(enter(peers, "2001:db8:1:100:ffff::2", &refused), "the same /64");
	for (; n < 20; n++) { /* two of each of the next five networks */
		snprintf(text, sizeof(text), "2001:db8:1:1%02x::1", n / 2);
		cr_assert(enter(peers, text, &in[n]));
	}
	cr_assert_not(enter(peers, "2001:db8:1:1ff::1", &refused), "the /56 has twice as many as an address may");
	cr_assert_null(refused);
	for (; n < 40; n++) {
		snprintf(text, sizeof(text), "2001:db8:1:%x00::1", 2 + n / 4);
		cr_assert(enter(peers, text, &in[n]));
	}
	cr_assert_not(enter(peers, "2001:db8:1:ff00::1", &refused), "the /48 has four times as many");
	cr_assert(enter(peers, "2001:db8:2::1", &other), "another /48");
	peers_leave(peers, other);
	peers_leave(peers, in[0]);
	cr_assert(enter(peers, "2001:db8:1:ff00::1", &in[0]));
	while (n)
		peers_leave(peers, in[--n]);
	peers_free(peers); /* asserts that no group is left */
}

Test(peers, an_ipv4_address_in_ipv6_form_is_the_ipv4_address)
{
	struct peers *peers = peers_new(1, MEMORY, 2);
	struct sockaddr_storage name = {.ss_family = AF_INET};
	struct peer *a, *b;
	((struct sockaddr_in *)&name)->sin_addr.s_addr = inet_addr("192.0.2.1");
	cr_assert(peers_enter_address(peers, &name, &a));
	cr_assert_not(enter(peers, "::ffff:192.0.2.1", &b));
	cr_assert(enter(peers, "::ffff:192.0.2.2", &b));
	peers_leave(peers, a);
	peers_leave(peers, b);
	peers_free(peers);
}

/* ---- Memory ---- */

Test(peers, a_group_holds_no_more_than_its_memory_and_so_do_the_groups_above)
{
	struct peers *peers = peers_new(10, MEMORY, 2);
	struct peer *a, *b, *c;
	cr_assert(enter(peers, "2001:db8:1:100::1", &a));
	cr_assert(enter(peers, "2001:db8:1:101::1", &b)); /* of the same /56 */
	cr_assert(enter(peers, "2001:db8:2:100::1", &c));
	size_t most = MEMORY - MEMORY / 8;
	cr_assert(peers_take(a, 0, most / 2, BUDGET_READ));
	cr_assert(peers_take(b, 1, most / 2, BUDGET_READ));
	cr_assert_not(peers_take(a, 0, BUDGET_CHUNK, BUDGET_READ));
	cr_assert_not(peers_take(b, PEERS_ANYWHERE, BUDGET_CHUNK, BUDGET_READ));
	cr_assert(peers_take(b, 0, BUDGET_CHUNK, BUDGET_CALL), "puts go on");
	cr_assert(peers_take(c, PEERS_ANYWHERE, most, BUDGET_READ), "others do");
	peers_give(c, 1, most);
	peers_give(b, 1, BUDGET_CHUNK);
	peers_give(b, 0, most / 2);
	cr_assert(peers_take(a, 0, most / 2 - 4 * BUDGET_CHUNK, BUDGET_READ), "but for what shares keep");
	peers_leave(peers, a);
	peers_leave(peers, b);
	peers_leave(peers, c);
	peers_free(peers);
}

Test(peers, a_reference_keeps_a_peer_beyond_its_connections)
{
	struct peers *peers = peers_new(10, MEMORY, 2);
	struct peer *a;
	cr_assert(enter(peers, "2001:db8::1", &a));
	cr_assert_eq(peers_ref(peers, a), a);
	peers_leave(peers, a);
	cr_assert(peers_take(a, PEERS_ANYWHERE, 1000, BUDGET_READ));
	peers_give(a, PEERS_ANYWHERE, 1000);
	peers_unref(peers, a);
	peers_free(peers);
}
