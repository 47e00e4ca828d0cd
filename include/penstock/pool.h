/* pool.h: threads that may block (pwritev, fdatasync, unlink, preads), so that workers and lanes never do.
 *
 * A job runs on any thread of the pool; its result travels as mail that the job posts itself. Jobs are taken in order. With zero
 * threads (the simulation) pool_step() runs one job on the caller. */
#ifndef PENSTOCK_POOL_H
#define PENSTOCK_POOL_H

#include <pthread.h>
#include <stdbool.h>

struct job {
	struct job *next;
	void (*run)(struct job *job); /* on a pool thread; may free the job's object once its reply is posted */
};

struct pool {
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct job *head, **tail; /* under lock */
	bool stopping;            /* under lock */
	unsigned threads;
	int nice;                 /* read-only once started */
	pthread_t thread[8];
};

/* name: for the threads, at most 15 characters. threads: 0 to 8. nice: -20 to 19, added to the process's; below 0 it is a wish, granted
 * with CAP_SYS_NICE or RLIMIT_NICE (setpriority(2)). Returns 0 or -errno. */
int pool_start(struct pool *pool, const char *name, unsigned threads, int nice);
void pool_add(struct pool *pool, struct job *job); /* any thread; takes the job until it has run. Returns before pool_stop is called */
bool pool_step(struct pool *pool); /* simulation only: runs the oldest job; false when there is none */
bool pool_pending(struct pool *pool);
void pool_stop(struct pool *pool); /* runs what is queued, then joins the threads */

#endif
