/* test_acceptor.c: who gets a connection, when none is taken, and what ends it. The workers here only count. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "server/acceptor.h"
#include "server/worker.h"

static struct worker workers[3];
static struct options options = {.max_connections = 100};
static struct server server = {.options = &options, .workers = workers, .n_workers = 3};
static struct acceptor acceptor;
static pthread_t thread;
static enum acceptor_end ended;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t adopted = PTHREAD_COND_INITIALIZER;
static int fds[64], n_fds;

void worker_adopt(struct worker *worker, int fd)
{
	pthread_mutex_lock(&lock);
	worker->connections++;
	fds[n_fds++] = fd;
	pthread_cond_broadcast(&adopted);
	pthread_mutex_unlock(&lock);
}

static void await_adopted(int n)
{
	pthread_mutex_lock(&lock);
	while (n_fds < n)
		pthread_cond_wait(&adopted, &lock);
	pthread_mutex_unlock(&lock);
}

static void *run(void *arg)
{
	(void)arg;
	ended = acceptor_run(&acceptor, &server);
	return NULL;
}

static void start(void)
{
	sigset_t signals;
	char *why = NULL;

	slog_set_level(SLOG_ERROR);
	server.io = io_posix();
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	cr_assert_eq(acceptor_open(&acceptor, &(struct option_list){{"127.0.0.1:0"}, 1}, &why), STATUS_OK, "%s", why);
	cr_assert_eq(acceptor_listen(&acceptor, &why), STATUS_OK, "%s", why);
	cr_assert_eq(pthread_create(&thread, NULL, run, NULL), 0);
}

static void stop(void)
{
	acceptor_alarm(&acceptor);
	pthread_join(thread, NULL);
	acceptor_close(&acceptor);
	for (int i = 0; i < n_fds; i++)
		close(fds[i]);
}

static int dial(void)
{
	struct sockaddr_storage address;
	socklen_t len;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	cr_assert(options_address(acceptor.sockets[0].address, &address, &len), "%s", acceptor.sockets[0].address);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, len), 0);
	return fd;
}

#define TEST(name) Test(acceptor, name, .timeout = 20)

TEST(spreads_a_burst_over_the_workers)
{
	int clients[9], on = 0;
	socklen_t len = sizeof(on);

	start();
	workers[1].connections = 3;
	for (int i = 0; i < 9; i++)
		clients[i] = dial();
	await_adopted(9);
	cr_assert_eq(workers[0].connections, 4);
	cr_assert_eq(workers[1].connections, 4);
	cr_assert_eq(workers[2].connections, 4);
	cr_assert_eq(getsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &on, &len), 0);
	cr_assert_neq(on, 0);
	cr_assert(fcntl(fds[0], F_GETFL) & O_NONBLOCK);
	cr_assert(fcntl(fds[0], F_GETFD) & FD_CLOEXEC);
	cr_assert_eq(metric_get(METRIC_connections_accepted), 9);
	for (int i = 0; i < 9; i++)
		close(clients[i]);
	stop();
	cr_assert_eq(ended, ACCEPTOR_ALARMED);
}

TEST(closes_what_is_beyond_the_bound)
{
	int first, second, third;
	char byte;

	options.max_connections = 1;
	start();
	first = dial();
	await_adopted(1);
	second = dial();
	cr_assert_leq(read(second, &byte, 1), 0, "closed at once");
	cr_assert_eq(metric_get(METRIC_connections_refused), 1);
	workers[0].connections--;
	third = dial();
	await_adopted(2);
	close(first);
	close(second);
	close(third);
	stop();
}

TEST(waits_while_no_descriptor_is_left)
{
	struct rlimit limit, none;
	int client, full = dup(0), fillers[256], n = 0;

	cr_assert_geq(full, 0);
	start();
	client = socket(AF_INET, SOCK_STREAM, 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	none = limit;
	none.rlim_cur = 128;
	setrlimit(RLIMIT_NOFILE, &none);
	while (n < 256 && (fillers[n] = dup(0)) >= 0)
		n++;
	{
		struct sockaddr_storage address;
		socklen_t len;

		cr_assert(options_address(acceptor.sockets[0].address, &address, &len));
		cr_assert_eq(connect(client, (struct sockaddr *)&address, len), 0, "the backlog takes it");
	}
	while (metric_get(METRIC_connections_refused) == 0)
		usleep(1000);
	cr_assert_eq(n_fds, 0);
	while (n > 0)
		close(fillers[--n]);
	await_adopted(1);
	cr_assert_leq(metric_get(METRIC_connections_refused), 3, "it paused, and did not spin");
	setrlimit(RLIMIT_NOFILE, &limit);
	close(client);
	stop();
}

TEST(ends_by_a_signal)
{
	start();
	cr_assert_eq(kill(getpid(), SIGTERM), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(ended, ACCEPTOR_SIGNALLED);
	acceptor_close(&acceptor);
}

static _Atomic int hangups;

static void on_hangup(void *arg)
{
	cr_assert_eq(arg, &hangups);
	hangups++;
}

TEST(hangups_are_passed_on_and_end_nothing)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	start();
	acceptor_on_hangup(&acceptor, on_hangup, &hangups);
	for (int i = 1; i <= 3; i++) {
		cr_assert_eq(kill(getpid(), SIGHUP), 0);
		while (hangups < i)
			usleep(1000);
	}
	cr_assert_eq(kill(getpid(), SIGTERM), 0);
	pthread_join(thread, NULL);
	cr_assert_eq(ended, ACCEPTOR_SIGNALLED);
	cr_assert_eq(hangups, 3);
	acceptor_close(&acceptor);
}

TEST(says_that_a_port_is_taken)
{
	struct acceptor second;
	char *why = NULL;
	enum status status;

	start();
	status = acceptor_open(&second, &(struct option_list){{acceptor.sockets[0].address}, 1}, &why);
	cr_assert_eq(status, STATUS_IO);
	cr_assert_not_null(strstr(why, "Address already in use; stop who has it"), "%s", why);
	cr_assert_not_null(strstr(why, acceptor.sockets[0].address), "%s", why);
	free(why);
	acceptor_close(&second);
	stop();
}

TEST(listens_on_each_address)
{
	struct option_list listen = {{"127.0.0.1:0", "127.0.0.2:0", "[::1]:0"}, 3};
	char *why = NULL;

	slog_set_level(SLOG_ERROR);
	server.io = io_posix();
	if (acceptor_open(&acceptor, &listen, &why) != STATUS_OK)
		listen.n = 2; /* no IPv6 here */
	if (listen.n == 2) {
		acceptor_close(&acceptor);
		cr_assert_eq(acceptor_open(&acceptor, &listen, &why), STATUS_OK, "%s", why);
	}
	cr_assert_eq(acceptor_listen(&acceptor, &why), STATUS_OK, "%s", why);
	cr_assert_eq(pthread_create(&thread, NULL, run, NULL), 0);
	for (unsigned i = 0; i < listen.n; i++) {
		struct sockaddr_storage address;
		socklen_t len;
		cr_assert(options_address(acceptor.sockets[i].address, &address, &len), "%s", acceptor.sockets[i].address);
		int fd = socket(address.ss_family, SOCK_STREAM, 0);
		cr_assert_eq(connect(fd, (struct sockaddr *)&address, len), 0, "%s", acceptor.sockets[i].address);
		await_adopted((int)i + 1);
		close(fd);
	}
	stop();
}

TEST(one_address_that_is_taken_opens_none)
{
	struct acceptor second;
	char *why = NULL;

	start();
	cr_assert_eq(acceptor_open(&second, &(struct option_list){{"127.0.0.1:0", acceptor.sockets[0].address}, 2}, &why), STATUS_IO);
	cr_assert_not_null(strstr(why, acceptor.sockets[0].address), "%s", why);
	free(why);
	acceptor_close(&second);
	stop();
}

TEST(nobody_can_connect_before_it_listens_or_after_it_is_shut)
{
	struct sockaddr_storage address;
	socklen_t len;
	char *why = NULL;
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	if (acceptor_open(&acceptor, &(struct option_list){{"[::1]:0"}, 1}, &why) != STATUS_OK)
		cr_skip_test("no IPv6 here");
	cr_assert(options_address(acceptor.sockets[0].address, &address, &len), "%s", acceptor.sockets[0].address);
	cr_assert_neq(connect(fd, (struct sockaddr *)&address, len), 0);
	cr_assert_eq(acceptor_listen(&acceptor, &why), STATUS_OK);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, len), 0);
	close(fd);
	acceptor_shut(&acceptor);
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	cr_assert_neq(connect(fd, (struct sockaddr *)&address, len), 0);
	close(fd);
	acceptor_close(&acceptor);
}
