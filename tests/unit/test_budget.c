/* A budget, its classes, and workers' shares of it. */
#include <criterion/criterion.h>
#include <pthread.h>

#include "server/budget.h"

#define LIMIT (32 << 20)

TestSuite(budget, .timeout = 60);

static struct budget budget;

static void setup(void) { budget_init(&budget, LIMIT); }

Test(budget, each_class_stops_at_its_ceiling, .init = setup)
{
	cr_assert_not(budget_take(&budget, LIMIT / 2 + 1, BUDGET_PAGE));
	cr_assert(budget_take(&budget, LIMIT / 2, BUDGET_PAGE));
	cr_assert_not(budget_take(&budget, 1, BUDGET_PAGE));
	cr_assert(budget_take(&budget, LIMIT / 8, BUDGET_READ_FIRST));
	cr_assert_not(budget_take(&budget, 1, BUDGET_READ_FIRST));
	cr_assert(budget_take(&budget, LIMIT / 4, BUDGET_READ));
	cr_assert_not(budget_take(&budget, 1, BUDGET_READ));
	cr_assert(budget_take(&budget, LIMIT * 3 / 32, BUDGET_CALL));
	cr_assert_not(budget_take(&budget, 1, BUDGET_CALL));
	cr_assert(budget_take(&budget, LIMIT / 32, BUDGET_REFUSAL));
	cr_assert_not(budget_take(&budget, 1, BUDGET_REFUSAL));
	cr_assert_eq(budget_taken(&budget), LIMIT);
	budget_give(&budget, LIMIT);
	cr_assert(budget_take(&budget, LIMIT / 2, BUDGET_PAGE));
}

Test(budget, a_share_touches_the_budget_once_a_chunk, .init = setup)
{
	struct budget_share share = {0};
	cr_assert(budget_share_take(&budget, &share, 1000, BUDGET_CALL));
	int64_t taken = budget_taken(&budget);
	cr_assert_eq(taken, 1000 + BUDGET_CHUNK);
	for (unsigned i = 0; i < 1000; i++) {
		cr_assert(budget_share_take(&budget, &share, 1000, BUDGET_CALL));
		budget_share_give(&budget, &share, 1000);
		cr_assert_eq(budget_taken(&budget), taken);
	}
	budget_share_give(&budget, &share, 1000);
	cr_assert_leq(share.spare, 2 * BUDGET_CHUNK);
	cr_assert_eq(budget_taken(&budget), share.spare);
}

Test(budget, a_share_gives_back_what_is_large, .init = setup)
{
	struct budget_share share = {0};
	cr_assert(budget_share_take(&budget, &share, LIMIT / 2, BUDGET_READ));
	cr_assert_eq(share.spare, 0, "reads pass the share by");
	budget_share_give(&budget, &share, LIMIT / 2);
	cr_assert_eq(share.spare, BUDGET_CHUNK);
	cr_assert_eq(budget_taken(&budget), BUDGET_CHUNK);
}

Test(budget, the_last_bytes_are_found_without_a_chunk_and_with_the_spare, .init = setup)
{
	struct budget_share share = {0};
	int64_t most = LIMIT - LIMIT / 32;
	cr_assert(budget_take(&budget, (size_t)most - BUDGET_CHUNK - 3000, BUDGET_CALL));
	cr_assert(budget_share_take(&budget, &share, 1000, BUDGET_CALL));
	cr_assert_eq(share.spare, BUDGET_CHUNK);
	cr_assert(budget_share_take(&budget, &share, BUDGET_CHUNK + 2000, BUDGET_CALL));
	cr_assert_eq(budget_taken(&budget), most);
	cr_assert_not(budget_share_take(&budget, &share, 1, BUDGET_CALL));
	cr_assert(budget_share_take(&budget, &share, 1, BUDGET_REFUSAL));
}

/* Shares of other threads take and give meanwhile; the limit holds at each moment, and at the end nothing is lost. */
static _Atomic int64_t reserved;

static void *churn(void *arg)
{
	struct budget_share share = {0};
	unsigned state = (unsigned)(uintptr_t)arg;
	size_t held[16] = {0};
	for (unsigned i = 0; i < 100000; i++) {
		state = state * 1103515245 + 12345;
		unsigned at = state >> 16 & 15;
		if (held[at]) {
			atomic_fetch_sub(&reserved, (int64_t)held[at]);
			budget_share_give(&budget, &share, held[at]);
			held[at] = 0;
		} else {
			size_t n = state % (1 << 20);
			if (n && budget_share_take(&budget, &share, n, state >> 20 & 1 ? BUDGET_CALL : BUDGET_READ)) {
				held[at] = n;
				cr_assert_leq(atomic_fetch_add(&reserved, (int64_t)n) + (int64_t)n, LIMIT);
			}
		}
	}
	for (unsigned at = 0; at < 16; at++)
		budget_share_give(&budget, &share, held[at]);
	budget_give(&budget, (size_t)share.spare);
	return NULL;
}

Test(budget, threads_never_pass_the_limit, .init = setup)
{
	pthread_t threads[4];
	for (uintptr_t i = 0; i < 4; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, churn, (void *)(i + 1)), 0);
	for (unsigned i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(budget_taken(&budget), 0);
}
