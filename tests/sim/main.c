/* main.c of penstock-sim: runs seeds.
 *
 *   penstock-sim --seeds N [--from S] [--steps K] [--verbose]
 *
 * A failing seed prints what was violated and how to see it again; the last line says how many passed. After a violation the world of that
 * seed is left as it is (its invariants are gone), so each seed runs in a process of its own: an assertion ends that seed, not the run. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "penstock/slog.h"
#include "tests/sim/sim.h"

struct arguments {
	uint64_t seeds, from;
	unsigned steps;
	bool verbose;
};

static bool number(const char *text, uint64_t *out)
{
	char *end;
	errno = 0;
	*out = text ? strtoull(text, &end, 10) : 0;
	return text && *text && !*end && !errno;
}

static bool parse(int argc, char **argv, struct arguments *arguments)
{
	for (int i = 1; i < argc; i++) {
		uint64_t value = 0;
		bool valued = i + 1 < argc && number(argv[i + 1], &value);
		if (strcmp(argv[i], "--verbose") == 0) {
			arguments->verbose = true;
			continue;
		}
		if (strcmp(argv[i], "--seeds") == 0 && valued)
			arguments->seeds = value;
		else if (strcmp(argv[i], "--from") == 0 && valued)
			arguments->from = value;
		else if (strcmp(argv[i], "--steps") == 0 && valued && value <= 1000000)
			arguments->steps = (unsigned)value;
		else
			return false;
		i++;
	}
	return true;
}

static void tell(const struct sim *sim)
{
	printf("seed %" PRIu64 ": acked %" PRIu64 ", throttled %" PRIu64 ", failed %" PRIu64 ", events %" PRIu64 ", records %" PRIu64
	       ", empty %" PRIu64 ", joins %" PRIu64 ", resumed %" PRIu64 ", ends of shards %" PRIu64 ", polls %" PRIu64
	       ", crashes %" PRIu64 "\n",
	       sim->seed, sim->count.acked, sim->count.throttled, sim->count.failed_puts, sim->count.events, sim->count.records,
	       sim->count.heartbeats, sim->count.joins, sim->count.resumed, sim->count.finals, sim->count.polls, sim->count.crashes);
}

/* In a process of its own. */
static int run_seed(const struct arguments *arguments, uint64_t seed)
{
	static struct sim sim;
	sim.verbose = arguments->verbose;
	/* The server's own lines about damage and failed disks are what is provoked here by the thousand. */
	slog_set_level(arguments->verbose ? SLOG_DEBUG : (enum slog_level) - 1);
	alarm(120); /* a loop without end is a failure too; a seed takes some 20 ms */
	bool passed = sim_run(&sim, seed, arguments->steps);
	if (!passed)
		printf("seed %" PRIu64 ": %s\n", seed, sim.violation);
	if (arguments->verbose)
		tell(&sim);
	fflush(stdout);
	return passed ? 0 : 1;
}

static bool seed_passes(const struct arguments *arguments, uint64_t seed)
{
	fflush(stdout);
	pid_t child = fork();
	if (child < 0) {
		perror("fork");
		exit(2);
	}
	if (child == 0)
		exit(run_seed(arguments, seed)); /* exit, not _exit: a leak check runs there */
	int how = 0;
	while (waitpid(child, &how, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(how))
		printf("seed %" PRIu64 ": ended by signal %d (%s)\n", seed, WTERMSIG(how), strsignal(WTERMSIG(how)));
	return WIFEXITED(how) && WEXITSTATUS(how) == 0;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {.seeds = 500, .from = 1, .steps = 1500};
	if (!parse(argc, argv, &arguments)) {
		fprintf(stderr, "usage: penstock-sim --seeds N [--from S] [--steps K] [--verbose]\n");
		return 2;
	}
	uint64_t passed = 0;
	for (uint64_t i = 0; i < arguments.seeds; i++) {
		uint64_t seed = arguments.from + i;
		if (seed_passes(&arguments, seed)) {
			passed++;
			continue;
		}
		printf("replay: penstock-sim --seeds 1 --from %" PRIu64, seed);
		if (arguments.steps != 1500)
			printf(" --steps %u", arguments.steps);
		printf("\n");
	}
	printf("simulation: %" PRIu64 " passed, %" PRIu64 " failed\n", passed, arguments.seeds - passed);
	return passed == arguments.seeds ? 0 : 1;
}
