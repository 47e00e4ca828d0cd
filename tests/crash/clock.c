/* clock.c: a wall clock that is set while the real server runs, laid under it by LD_PRELOAD.
 *
 *   PENSTOCK_CLOCK_FILE   16 bytes, which the test writes at any time: by how many ms the wall clock
 *                         is wrong, and whether the kernel reports it synchronised (0 or 1): two
 *                         64-bit numbers of the machine's order; without it nothing is touched
 *
 * Thread: any of the server's; the file is mapped, and each number is read by itself. Failure: a
 * file that cannot be mapped ends the process. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t *settings;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
	const char *path = getenv("PENSTOCK_CLOCK_FILE");
	*(void **)(&real_clock_gettime) = dlsym(RTLD_NEXT, "clock_gettime");
	if (!path)
		return;
	int file = open(path, O_RDONLY | O_CLOEXEC);
	void *p = file < 0 ? MAP_FAILED : mmap(NULL, 16, PROT_READ, MAP_SHARED, file, 0);
	if (p == MAP_FAILED)
		abort();
	close(file);
	settings = p;
}

static void move(struct timespec *ts)
{
	int64_t ns = (settings ? settings[0] % 1000 : 0) * 1000000 + ts->tv_nsec;
	ts->tv_sec += (time_t)((settings ? settings[0] / 1000 : 0) + (ns >= 1000000000) - (ns < 0));
	ts->tv_nsec = (long)(ns < 0 ? ns + 1000000000 : ns % 1000000000);
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (!real_clock_gettime) /* before our constructor */
		*(void **)(&real_clock_gettime) = dlsym(RTLD_NEXT, "clock_gettime");
	int result = real_clock_gettime(clock, ts);
	if (result == 0 && clock == CLOCK_REALTIME)
		move(ts);
	return result;
}

int adjtimex(struct timex *timex)
{
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	timex->time = (struct timeval){ts.tv_sec, ts.tv_nsec / 1000};
	timex->status = settings && settings[1] ? 0 : STA_UNSYNC;
	return settings && settings[1] ? TIME_OK : TIME_ERROR;
}
