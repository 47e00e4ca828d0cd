/* files.c: how the descriptors of the process are shared out; see files.h.
 *
 * Thread: main, before any other runs.
 *
 * - the soft limit rises towards the hard one, up to what is useful
 * - beside what the process needs anyway, a quarter is the log's (bounded both ways), the rest connections'
 *
 * Failure modes: a limit that cannot be read or raised is taken as it is; one that leaves room for fewer
 * than FEWEST connections ends the start with a line that names the least that would do. */
#include "server/files.h"

#include <dirent.h>
#include <inttypes.h>
#include <sys/resource.h>

#include "penstock/bytes.h"
#include "penstock/metrics.h"
#include "penstock/slog.h"

#define FEWEST 16 /* connections that a server must be able to take */
#define FEW 1000  /* with fewer by default it says so: a server of some size will meet the bound */
#define SINGLE                                                                                                                    \
	24 /* catalogue with WAL and shm, its lock, reserve and directory; signals, alarm; credentials and certificates read anew \
	    */
#define PER_WORKER 5 /* epoll, mail, libevent's own */
#define PER_SYNCER 2 /* directories that it lists or syncs */
#define LOG_LEAST 16 /* beside one for each thread of the log that uses a file: what is used again soon */

static unsigned least_log(const struct options *options) { return LOG_LEAST + 3 * options->syncers + options->readers; }

static unsigned others(const struct options *options, unsigned inherited)
{
	return inherited + SINGLE + options->listen.n + PER_WORKER * options->workers + options->lanes + PER_SYNCER * options->syncers;
}

static unsigned wanted(const struct options *options) { return options->max_connections ? options->max_connections : FILES_CONNECTIONS; }

enum status files_share(const struct options *options, uint64_t limit, unsigned inherited, struct files *out)
{
	unsigned least = least_log(options);
	uint64_t left, log;

	*out = (struct files){.limit = limit, .others = others(options, inherited)};
	if (limit < out->others + least + FEWEST) {
		out->limit = out->others + least + FEWEST;
		return STATUS_IO;
	}
	left = limit - out->others;
	log = left / 4;
	log = log < least ? least : log > FILES_LOG ? FILES_LOG : log;
	left -= log;
	out->log = (unsigned)log;
	out->connections = left < wanted(options) ? (unsigned)left : wanted(options);
	return STATUS_OK;
}

static unsigned count_open(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	if (!dir)
		return 3;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n > 3 ? n - 3 : 3; /* ".", "..", and the directory itself */
}

/* The limit in force afterwards. */
static uint64_t raise_limit(uint64_t useful)
{
	struct rlimit limit;
	rlim_t before;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return 1024;
	before = limit.rlim_cur;
	if (before >= useful)
		return before;
	limit.rlim_cur = useful < limit.rlim_max ? useful : limit.rlim_max;
	return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : before;
}

static void warn(const struct options *options, const struct files *files)
{
	bool asked = options->max_connections != 0;

	if (files->connections >= (asked ? options->max_connections : FEW))
		return;
	slog(SLOG_WARN, "few_files", "limit=%" PRIu64 " connections=%u log_files=%u advice=\"%s\"", files->limit, files->connections,
	     files->log, asked ? "raise the hard limit (ulimit -Hn), or lower --max-connections" : "raise the hard limit (ulimit -Hn)");
}

enum status files_plan(const struct options *options, struct files *out, char **why)
{
	unsigned inherited = count_open();
	uint64_t limit = raise_limit((uint64_t)others(options, inherited) + FILES_LOG + wanted(options));

	if (files_share(options, limit, inherited, out)) {
		*why = xasprintf("the limit on open files is %" PRIu64 ", and at least %" PRIu64 " are needed; raise it (ulimit -n)", limit,
				 out->limit);
		return STATUS_IO;
	}
	warn(options, out);
	metric_add(METRIC_files_limit, (int64_t)out->limit);
	metric_add(METRIC_log_files_max, out->log);
	metric_add(METRIC_connections_max, out->connections);
	return STATUS_OK;
}
