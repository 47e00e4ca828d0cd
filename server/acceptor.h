/* acceptor.h: the listening sockets and the signals, on the main thread. A new connection goes to the worker that has fewest. */
#ifndef PENSTOCK_ACCEPTOR_H
#define PENSTOCK_ACCEPTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/status.h"
#include "server/options.h"

struct server;

struct listening {
	int fd;
	char address[64]; /* ADDR:PORT that is bound */
};

struct acceptor {
	struct listening sockets[LISTEN_MOST];
	unsigned n_sockets;
	int signal_fd;
	int alarm_fd;          /* eventfd: acceptor_alarm was called */
	struct server *server; /* from acceptor_run on */
	unsigned max_connections;
	void (*on_hangup)(void *arg); /* SIGHUP; NULL: it is not ours */
	void *arg;
	uint64_t paused_until_ns; /* no descriptors were left: nobody is accepted before; 0: accepting */
	bool full, starved;       /* said in the log */
};

/* Binds each (options.h says the form of `listen`), and takes SIGTERM and SIGINT, which the caller has blocked before it started any
 * thread. Nobody can connect yet. On failure *why, which the caller frees; acceptor_close may be called. */
enum status acceptor_open(struct acceptor *acceptor, const struct option_list *listen, char **why);
/* Before acceptor_run: on_hangup is called by it, on its thread, for each SIGHUP, which the caller has blocked before it started any
 * thread. */
void acceptor_on_hangup(struct acceptor *acceptor, void (*on_hangup)(void *arg), void *arg);
/* From here on clients can connect. */
enum status acceptor_listen(struct acceptor *acceptor, char **why);

enum acceptor_end { ACCEPTOR_SIGNALLED, ACCEPTOR_ALARMED };

/* Accepts until one of the two happens. server->workers run. */
enum acceptor_end acceptor_run(struct acceptor *acceptor, struct server *server);
/* Any thread: acceptor_run is to end. */
void acceptor_alarm(struct acceptor *acceptor);
/* Nobody can connect any more. */
void acceptor_shut(struct acceptor *acceptor);
void acceptor_close(struct acceptor *acceptor); /* nobody calls acceptor_alarm any more */

#endif
