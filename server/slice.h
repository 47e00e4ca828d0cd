/* slice.h: how long the kernel lets one of our threads run when another one is woken on its processor. */
#ifndef PENSTOCK_SLICE_H
#define PENSTOCK_SLICE_H

/* Asks for turns of 0.1 ms instead of the kernel's own (1.4 ms on two processors, and on to its next tick, 4 ms), for the caller and every
 * thread that it starts from here on: call first, from main. A worker that is woken for a put shares its processor with one that serves somebody else, and would wait for the whole turn of
 * that. No priority: nobody gets more of the processor, it changes hands sooner (EEVDF; sched(7), sched_setattr(2)). Linux before 6.12,
 * and a process that is not SCHED_OTHER, go on as they were; there is nothing to report. */
void slice_shorten(void);

#endif
