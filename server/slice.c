/* slice.c: sched_setattr(2) for the caller, with all but the slice as it is. glibc has no wrapper before 2.41. */
#include "server/slice.h"

#include <linux/sched.h> /* not sched.h: the two name the same things */
#include <linux/sched/types.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS 100000 /* the shortest that the kernel grants */

void slice_shorten(void)
{
	struct sched_attr attr = {.size = sizeof(attr)};
	if (syscall(SYS_sched_getattr, 0, &attr, sizeof(attr), 0) != 0 || attr.sched_policy != SCHED_NORMAL)
		return;
	attr.sched_runtime = SLICE_NS;
	syscall(SYS_sched_setattr, 0, &attr, 0);
}
