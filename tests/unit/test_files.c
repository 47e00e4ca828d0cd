/* test_files.c: how a limit on descriptors is shared out. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "server/files.h"

static struct options options = {.listen = {{"127.0.0.1:0"}, 1}, .workers = 2, .lanes = 1, .syncers = 2, .readers = 2};

static struct files share(uint64_t limit)
{
	struct files files;
	cr_assert_eq(files_share(&options, limit, 3, &files), STATUS_OK, "%llu", (unsigned long long)limit);
	cr_assert_leq(files.others + files.log + files.connections, limit);
	cr_assert_geq(files.connections, 16);
	cr_assert_geq(files.log, 24);
	return files;
}

Test(files, any_limit_is_shared_out)
{
	for (uint64_t limit = 100; limit < 3000; limit++)
		share(limit);
	cr_assert_geq(share(200).connections, 64);
	cr_assert_geq(share(1024).connections, 640);
	cr_assert_geq(share(1024).log, 200);
}

Test(files, with_plenty_everybody_gets_what_was_asked_for)
{
	struct files files = share(1 << 20);
	cr_assert(files.connections == FILES_CONNECTIONS && files.log == FILES_LOG);
	options.max_connections = 100000;
	cr_assert_eq(share(1 << 20).connections, 100000);
	options.max_connections = 7;
	struct files few;
	cr_assert_eq(files_share(&options, 200, 3, &few), STATUS_OK);
	cr_assert_eq(few.connections, 7);
}

Test(files, too_few_to_serve)
{
	struct files files;
	cr_assert_eq(files_share(&options, 60, 3, &files), STATUS_IO);
	cr_assert(files.limit > 60);
	cr_assert_eq(files_share(&options, files.limit, 3, &files), STATUS_OK, "the limit that it names will do");
}

Test(files, the_soft_limit_rises)
{
	struct rlimit limit;
	struct files files;
	char *why = NULL;
	slog_set_level(SLOG_ERROR);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < 1024)
		cr_skip_test("the hard limit is low here");
	limit.rlim_cur = 256;
	limit.rlim_max = 1024;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(files_plan(&options, &files, &why), STATUS_OK, "%s", why);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert(files.limit == 1024 && limit.rlim_cur == 1024);
	cr_assert_eq(metric_get(METRIC_files_limit), 1024);
	limit.rlim_cur = limit.rlim_max = 64;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(files_plan(&options, &files, &why), STATUS_IO);
	cr_assert_not_null(strstr(why, "open files is 64"), "%s", why);
	free(why);
}
