/* clock.c: a wall clock of a test's own, laid under the real server by LD_PRELOAD: CLOCK_REALTIME
 * is off by PENSTOCK_CLOCK_OFFSET_S seconds and goes on from there. A data directory that is kept
 * in the tree must be opened at its own time, or retention has passed.
 *
 * Thread: any of the server's. Failure modes: without the variable, or for another clock, the
 * kernel's answer as it is. */
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static time_t offset_s;

__attribute__((constructor)) static void begin(void)
{
	const char *text = getenv("PENSTOCK_CLOCK_OFFSET_S");
	offset_s = text ? (time_t)strtoll(text, NULL, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
	int code = (int)syscall(SYS_clock_gettime, clock, out);
	if (code == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
		out->tv_sec += offset_s;
	return code;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec now;
	(void)zone;
	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return -1;
	*out = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
	return 0;
}

time_t time(time_t *out)
{
	struct timespec now;
	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return (time_t)-1;
	if (out)
		*out = now.tv_sec;
	return now.tv_sec;
}
