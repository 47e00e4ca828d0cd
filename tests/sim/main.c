/* main.c of penstock-sim: runs seeds, and sweeps.
 *
 * A failing seed prints what was violated, the last lines of its trace and how to see it again; the last line says how many passed. After a
 * violation the world of that seed is left as it is (its invariants are gone), so each run has a process of its own: an assertion ends that
 * run, not all.
 *
 * A sweep runs a short life of a seed once to count its calls to the disk, then once per call (or for so many of them) with a blow at that
 * call: a crash, EIO, ENOSPC or EMFILE. After a crash the recovery is cut too, at a call by dice; and for one call per seed, at each of its
 * own. */
#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "penstock/slog.h"
#include "tests/sim/sim.h"

#define JOBS_MAX 64

static const char help[] =
	"usage: penstock-sim [OPTION...]\n"
	"  --seeds N          run N seeds (500)\n"
	"  --from S           the first one (1)\n"
	"  --steps K          steps of each (1500)\n"
	"  --jobs J           so many processes at once (1)\n"
	"  --seed S           run this one seed; with -v its trace: crashes, changes, faults, each with the count of disk calls so far\n"
	"  -v, --verbose      print traces, the server's own log, and what each seed covered\n"
	"  --sweep            a short life of each seed once per disk call, with a crash, EIO, ENOSPC\n"
	"                     or EMFILE at that call\n"
	"  --points P         of --sweep: so many calls per seed and kind of blow instead of all of them\n"
	"  --strike KIND      one run of --seed with one blow: crash, eio, enospc or emfile\n"
	"  --at K             of --strike: at the K-th call\n"
	"  --again J          of --strike: the recovery after it is cut at its J-th call\n"
	"  --help             this text\n"
	"A seed gives the same run wherever it is run. Exit code 0: no violation.\n";

struct arguments {
	uint64_t seeds, from, steps, jobs, points;
	bool verbose, sweep, strike;
	struct sim_plan plan;
};

static const char *const blows[] = {[SIM_NO_BLOW] = "none",
				    [SIM_BLOW_CRASH] = "crash",
				    [SIM_BLOW_EIO] = "eio",
				    [SIM_BLOW_ENOSPC] = "enospc",
				    [SIM_BLOW_EMFILE] = "emfile"};

/* ---- Arguments ---- */

static bool number(const char *text, uint64_t *out)
{
	char *end;
	errno = 0;
	*out = text ? strtoull(text, &end, 10) : 0;
	return text && *text && !*end && !errno;
}

static bool blow(const char *text, struct arguments *arguments)
{
	for (unsigned kind = SIM_BLOW_CRASH; text && kind <= SIM_BLOW_EMFILE; kind++) {
		if (strcmp(text, blows[kind]) != 0)
			continue;
		arguments->plan.blow = kind;
		arguments->strike = true;
	}
	return arguments->strike;
}

static bool valued(const char *name, const char *text, struct arguments *arguments)
{
	const struct {
		const char *name;
		uint64_t *value, most;
	} options[] = {
		{"--seeds", &arguments->seeds, UINT64_MAX},      {"--from", &arguments->from, UINT64_MAX},
		{"--steps", &arguments->steps, 1000000},         {"--jobs", &arguments->jobs, JOBS_MAX},
		{"--points", &arguments->points, 1000000},       {"--at", &arguments->plan.at, UINT64_MAX},
		{"--again", &arguments->plan.again, UINT64_MAX},
	};
	if (strcmp(name, "--strike") == 0)
		return blow(text, arguments);
	if (strcmp(name, "--seed") == 0) {
		arguments->seeds = 1;
		return number(text, &arguments->from);
	}
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(name, options[i].name) == 0)
			return number(text, options[i].value) && *options[i].value <= options[i].most;
	return false;
}

static bool parse(int argc, char **argv, struct arguments *arguments)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--verbose") == 0 || strcmp(argv[i], "-v") == 0)
			arguments->verbose = true;
		else if (strcmp(argv[i], "--sweep") == 0)
			arguments->sweep = true;
		else if (!valued(argv[i], argv[i + 1], arguments)) /* argv ends in NULL */
			return false;
		else
			i++;
	}
	return arguments->jobs >= 1 && (!arguments->strike || arguments->seeds == 1);
}

/* ---- One run, in a process of its own ---- */

static struct sim sim;

static void tell(void)
{
	printf("seed %" PRIu64 ": acked %" PRIu64 ", throttled %" PRIu64 ", failed %" PRIu64 ", events %" PRIu64 ", records %" PRIu64
	       ", empty %" PRIu64 ", joins %" PRIu64 ", resumed %" PRIu64 ", ends of shards %" PRIu64 ", to children %" PRIu64
	       ", polls %" PRIu64 ", followed %" PRIu64 ", crashes %" PRIu64 "\n",
	       sim.seed, sim.count.acked, sim.count.throttled, sim.count.failed_puts, sim.count.events, sim.count.records,
	       sim.count.heartbeats, sim.count.joins, sim.count.resumed, sim.count.finals, sim.count.heirs, sim.count.polls,
	       sim.count.followed, sim.count.crashes);
	printf("  streams made %" PRIu64 ", deleted %" PRIu64 "; split %" PRIu64 ", merged %" PRIu64 ", counted anew %" PRIu64
	       ", shards closed %" PRIu64 ", expired %" PRIu64 "; changes refused %" PRIu64 ", failed %" PRIu64 "; disk calls %" PRIu64
	       "\n",
	       sim.count.created, sim.count.deleted, sim.count.splits, sim.count.merges, sim.count.updates, sim.count.closed,
	       sim.count.expired, sim.count.refused_changes, sim.count.failed_changes, sim.count.calls);
}

/* An assertion: what led to it is still there. */
static void on_abort(int signal)
{
	(void)signal;
	sim_show_trace(&sim);
	fflush(stdout);
}

static int run(const struct arguments *arguments, uint64_t seed, struct sim_plan *plan)
{
	sim.verbose = arguments->verbose;
	/* The server's own lines about damage and failed disks are what is provoked here by the thousand. */
	slog_set_level(arguments->verbose ? SLOG_DEBUG : (enum slog_level) - 1);
	signal(SIGABRT, on_abort);
	signal(SIGALRM, on_abort);
	alarm(120); /* a loop without end is a failure too; a seed takes some 40 ms */
	bool passed = plan ? sim_run_plan(&sim, seed, plan) : sim_run(&sim, seed, (unsigned)arguments->steps);
	if (!passed) {
		printf("seed %" PRIu64 ": %s\n", seed, sim.violation);
		if (!arguments->verbose)
			sim_show_trace(&sim);
	}
	if (arguments->verbose)
		tell();
	fflush(stdout);
	return passed ? 0 : 1;
}

/* ---- Many of them ---- */

struct work {
	uint64_t seed;
	struct sim_plan plan; /* at 0 and no blow: the whole seed */
	bool planned;
	pid_t child;
};

struct fleet {
	const struct arguments *arguments;
	struct work running[JOBS_MAX];
	unsigned n;
	uint64_t passed, failed;
};

static void replay(const struct arguments *arguments, const struct work *work)
{
	printf("replay: penstock-sim --seed %" PRIu64, work->seed);
	if (work->planned) {
		printf(" --strike %s --at %" PRIu64, blows[work->plan.blow], work->plan.at);
		if (work->plan.again)
			printf(" --again %" PRIu64, work->plan.again);
	} else if (arguments->steps != SIM_STEPS) {
		printf(" --steps %" PRIu64, arguments->steps);
	}
	printf(" -v\n");
	fflush(stdout);
}

static void reap(struct fleet *fleet)
{
	int how = 0;
	pid_t child;
	while ((child = waitpid(-1, &how, 0)) < 0 && errno == EINTR)
		;
	for (unsigned i = 0; i < fleet->n; i++) {
		struct work work = fleet->running[i];
		if (work.child != child)
			continue;
		fleet->running[i] = fleet->running[--fleet->n];
		if (WIFEXITED(how) && WEXITSTATUS(how) == 0) {
			fleet->passed++;
			return;
		}
		fleet->failed++;
		if (WIFSIGNALED(how))
			printf("seed %" PRIu64 ": ended by signal %d (%s)\n", work.seed, WTERMSIG(how), strsignal(WTERMSIG(how)));
		replay(fleet->arguments, &work);
	}
}

static void submit(struct fleet *fleet, struct work work)
{
	if (fleet->n == fleet->arguments->jobs)
		reap(fleet);
	fflush(stdout);
	work.child = fork();
	if (work.child < 0) {
		perror("fork");
		exit(2);
	}
	if (work.child == 0)
		exit(run(fleet->arguments, work.seed, work.planned ? &work.plan : NULL)); /* exit, not _exit: a leak check runs there */
	fleet->running[fleet->n++] = work;
}

static void finish(struct fleet *fleet)
{
	while (fleet->n)
		reap(fleet);
}

/* ---- Sweep ---- */

/* Runs the plan in a process of its own to learn its counts. False: it failed, or there is no room for them. */
static bool measure(struct fleet *fleet, uint64_t seed, struct sim_plan *plan)
{
	struct sim_plan *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return false;
	uint64_t failed = fleet->failed;
	finish(fleet);
	*shared = *plan;
	pid_t child = fork();
	if (child == 0)
		exit(run(fleet->arguments, seed, shared));
	fleet->running[fleet->n++] = (struct work){.seed = seed, .plan = *plan, .planned = true, .child = child};
	finish(fleet);
	*plan = *shared;
	munmap(shared, sizeof(*shared));
	return fleet->failed == failed;
}

/* Each call, or `points` of them, evenly, from a place by dice. */
static void sweep_kind(struct fleet *fleet, uint64_t seed, unsigned kind, uint64_t calls, uint64_t recovery, struct rng *rng)
{
	uint64_t points = fleet->arguments->points ? fleet->arguments->points : calls;
	uint64_t stride = calls > points ? calls / points : 1;
	for (uint64_t at = rng_range(rng, 1, stride); at <= calls; at += stride) {
		struct work work = {.seed = seed, .planned = true, .plan = {.blow = kind, .at = at}};
		if (kind == SIM_BLOW_CRASH && rng_chance(rng, 50))
			work.plan.again = rng_range(rng, 1, recovery);
		submit(fleet, work);
	}
}

static void sweep_recovery(struct fleet *fleet, uint64_t seed, uint64_t at, struct rng *rng)
{
	struct sim_plan plan = {.blow = SIM_BLOW_CRASH, .at = at};
	if (!measure(fleet, seed, &plan))
		return;
	uint64_t points = fleet->arguments->points ? fleet->arguments->points : plan.recovery_calls;
	uint64_t stride = plan.recovery_calls > points ? plan.recovery_calls / points : 1;
	for (uint64_t again = rng_range(rng, 1, stride); again <= plan.recovery_calls; again += stride)
		submit(fleet, (struct work){.seed = seed, .planned = true, .plan = {.blow = SIM_BLOW_CRASH, .at = at, .again = again}});
}

static void sweep(struct fleet *fleet, uint64_t seed)
{
	struct rng rng;
	struct sim_plan plan = {.blow = SIM_NO_BLOW};
	rng_init(&rng, seed);
	if (!measure(fleet, seed, &plan))
		return;
	for (unsigned kind = SIM_BLOW_CRASH; kind <= SIM_BLOW_EMFILE; kind++)
		sweep_kind(fleet, seed, kind, plan.calls, plan.recovery_calls, &rng);
	sweep_recovery(fleet, seed, rng_range(&rng, plan.calls / 4, plan.calls), &rng);
}

int main(int argc, char **argv)
{
	static struct fleet fleet;
	struct arguments arguments = {.seeds = 500, .from = 1, .steps = SIM_STEPS, .jobs = 1};
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		fputs(help, stdout);
		return 0;
	}
	if (!parse(argc, argv, &arguments)) {
		fputs(help, stderr);
		return 2;
	}
	/* Each run is a short life that takes and gives back megabytes: glibc would fault them in anew each time. */
	mallopt(M_TRIM_THRESHOLD, 256 << 20);
	mallopt(M_MMAP_THRESHOLD, 64 << 20);
	fleet.arguments = &arguments;
	for (uint64_t i = 0; i < arguments.seeds; i++) {
		uint64_t seed = arguments.from + i;
		if (arguments.sweep)
			sweep(&fleet, seed);
		else
			submit(&fleet, (struct work){.seed = seed, .planned = arguments.strike, .plan = arguments.plan});
	}
	finish(&fleet);
	printf("%s: %" PRIu64 " %s, %" PRIu64 " violations\n", arguments.sweep ? "sweep" : "sim", fleet.passed + fleet.failed,
	       arguments.sweep ? "blows" : "seeds", fleet.failed);
	return fleet.failed ? 1 : 0;
}
