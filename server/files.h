/* files.h: how the descriptors of the process are shared out: the log's files, connections, all else.
 *
 * Connections are refused first: their share is what the limit leaves beside the others', and the
 * acceptor closes what comes beyond it. So the store never competes with strangers for a descriptor. */
#ifndef PENSTOCK_FILES_H
#define PENSTOCK_FILES_H

#include <stdint.h>

#include "penstock/status.h"
#include "server/options.h"

#define FILES_CONNECTIONS 20000 /* --max-connections, unless it is given */
#define FILES_LOG 2048          /* files of the log that are kept open at most */

struct files {
	uint64_t limit;       /* RLIMIT_NOFILE in force */
	unsigned others;      /* what is neither the log's nor a connection's; those inherited at the start among them */
	unsigned log;         /* files of the log that are kept open (io_bounded) */
	unsigned connections; /* at most */
};

/* Shares out `limit`; `inherited` are open already. IO: it is too low to serve at all; out->limit is then
 * the least that would do. Pure. */
enum status files_share(const struct options *options, uint64_t limit, unsigned inherited, struct files *out);

/* Main, before any thread: raises the limit as far as it is useful and allowed, shares it out, and warns
 * if that restricts what was asked for. On failure *why, for the caller to free. */
enum status files_plan(const struct options *options, struct files *out, char **why);

#endif
