/* Connections counted per address, with real sockets of loopback. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/peers.h"

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
	struct peers *peers = peers_new(2);
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

Test(peers, loopback_is_not_counted_unless_asked_for)
{
	struct peers *peers = peers_new(0);
	struct peer *peer;
	int fd = connection_from(1);
	for (unsigned i = 0; i < 2 * PEERS_LIMIT; i++)
		cr_assert(peers_enter(peers, fd, &peer) && !peer);
	peers_leave(peers, NULL);
	peers_free(peers);
	close(fd);
}

Test(peers, what_has_no_address_is_not_counted)
{
	struct peers *peers = peers_new(1);
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
	struct peers *peers = peers_new(1);
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
