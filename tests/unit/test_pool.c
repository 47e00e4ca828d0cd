/* test_pool.c: jobs in order, with and without threads; stop runs what is queued. */
#include <criterion/criterion.h>
#include <stdatomic.h>

#include "penstock/bytes.h"
#include "penstock/pool.h"

struct task {
	struct job job;
	int n;
};

static atomic_int done;
static int order[64];

static void on_task(struct job *job) { order[atomic_fetch_add(&done, 1)] = container_of(job, struct task, job)->n; }

Test(pool, steps_without_threads)
{
	struct pool pool;
	struct task tasks[5];
	atomic_store(&done, 0);
	cr_assert_eq(pool_start(&pool, "test", 0, 0), 0);
	cr_assert(!pool_step(&pool));
	for (int i = 0; i < 5; i++) {
		tasks[i] = (struct task){.job.run = on_task, .n = i};
		pool_add(&pool, &tasks[i].job);
	}
	cr_assert(pool_pending(&pool));
	cr_assert(pool_step(&pool) && pool_step(&pool));
	cr_assert_eq(atomic_load(&done), 2);
	pool_stop(&pool);
	cr_assert_eq(atomic_load(&done), 5);
	for (int i = 0; i < 5; i++)
		cr_assert_eq(order[i], i);
}

Test(pool, threads_finish_what_is_queued)
{
	struct pool pool;
	struct task tasks[64];
	atomic_store(&done, 0);
	cr_assert_eq(pool_start(&pool, "test", 3, 0), 0);
	for (int i = 0; i < 64; i++) {
		tasks[i] = (struct task){.job.run = on_task, .n = i};
		pool_add(&pool, &tasks[i].job);
	}
	pool_stop(&pool);
	cr_assert_eq(atomic_load(&done), 64);
}
