/* pool.c: threads that may block.
 *
 * - add: lock, append, unlock, wake one thread.
 * - a thread: waits for a job, takes the oldest, runs it without the lock.
 * - stop: says so, wakes all; threads leave when the list is empty, so that what was queued has run when stop returns. With no threads
 *   stop runs what is left on the caller.
 *
 * Failure: when a thread cannot be started, those that were are stopped again and the error is returned. Signals are blocked in pool
 * threads: they belong to the main thread. */
#include "penstock/pool.h"

#include <assert.h>
#include <signal.h>
#include <stddef.h>
#include <sys/resource.h>

/* With the lock. NULL: none. */
static struct job *take(struct pool *pool)
{
	struct job *job = pool->head;
	if (job) {
		pool->head = job->next;
		if (!pool->head)
			pool->tail = &pool->head;
	}
	return job;
}

static void *work(void *arg)
{
	struct pool *pool = arg;
	if (pool->nice)
		setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0) + pool->nice); /* Linux: of this thread */
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		struct job *job = take(pool);
		if (job) {
			pthread_mutex_unlock(&pool->lock);
			job->run(job);
			pthread_mutex_lock(&pool->lock);
		} else if (pool->stopping) {
			break;
		} else {
			pthread_cond_wait(&pool->wake, &pool->lock);
		}
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

/* Starts one thread with every signal blocked. */
static int start_thread(struct pool *pool, pthread_t *thread, const char *name)
{
	sigset_t all, old;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	int error = pthread_create(thread, NULL, work, pool);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (error == 0)
		pthread_setname_np(*thread, name);
	return -error;
}

int pool_start(struct pool *pool, const char *name, unsigned threads, int nice)
{
	assert(threads <= sizeof(pool->thread) / sizeof(pool->thread[0]));
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wake, NULL);
	pool->head = NULL;
	pool->tail = &pool->head;
	pool->stopping = false;
	pool->nice = nice;
	pool->threads = 0;
	while (pool->threads < threads) {
		int error = start_thread(pool, &pool->thread[pool->threads], name);
		if (error) {
			pool_stop(pool);
			return error;
		}
		pool->threads++;
	}
	return 0;
}

void pool_add(struct pool *pool, struct job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&pool->lock);
	*pool->tail = job;
	pool->tail = &job->next;
	pthread_mutex_unlock(&pool->lock);
	/* Without the lock: one that is woken on this very core would run into it, sleep again, and be woken a second time. */
	pthread_cond_signal(&pool->wake);
}

bool pool_step(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	struct job *job = take(pool);
	pthread_mutex_unlock(&pool->lock);
	if (job)
		job->run(job);
	return job != NULL;
}

bool pool_pending(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	bool pending = pool->head != NULL;
	pthread_mutex_unlock(&pool->lock);
	return pending;
}

void pool_stop(struct pool *pool)
{
	pthread_mutex_lock(&pool->lock);
	pool->stopping = true;
	pthread_cond_broadcast(&pool->wake);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned i = 0; i < pool->threads; i++)
		pthread_join(pool->thread[i], NULL);
	while (pool_step(pool)) /* with threads there is nothing left, unless a last job added one */
		;
	pool->threads = 0;
	pthread_cond_destroy(&pool->wake);
	pthread_mutex_destroy(&pool->lock);
}
