/* budget.c: a bound on memory, with a part of it at each worker.
 *
 * Invariants: taken = what is reserved + what shares keep spare; no class passes its ceiling, whatever else runs at the same time
 * (compare and swap, not add and undo: a refused reservation is never visible to another thread). */
#include "server/budget.h"

#include <assert.h>

void budget_init(struct budget *budget, int64_t limit)
{
	assert(limit > 0);
	budget->limit = limit;
	atomic_init(&budget->taken, 0);
}

static int64_t ceiling(const struct budget *budget, enum budget_class class)
{
	switch (class) {
	case BUDGET_PAGE:
		return budget->limit / 2;
	case BUDGET_READ_FIRST:
		return budget->limit / 8 * 5;
	case BUDGET_READ:
		return budget->limit - budget->limit / 8;
	case BUDGET_CALL:
		return budget->limit - budget->limit / 32;
	case BUDGET_REFUSAL:
		break;
	}
	return budget->limit;
}

bool budget_take(struct budget *budget, size_t n, enum budget_class class)
{
	int64_t most = ceiling(budget, class) - (int64_t)n, taken = budget_taken(budget);
	do {
		if (taken > most)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(&budget->taken, &taken, taken + (int64_t)n, memory_order_relaxed,
							memory_order_relaxed));
	return true;
}

void budget_force(struct budget *budget, size_t n) { atomic_fetch_add_explicit(&budget->taken, (int64_t)n, memory_order_relaxed); }

void budget_give(struct budget *budget, size_t n)
{
	int64_t before = atomic_fetch_sub_explicit(&budget->taken, (int64_t)n, memory_order_relaxed);
	assert(before >= (int64_t)n);
	(void)before;
}

bool budget_share_take(struct budget *budget, struct budget_share *share, size_t n, enum budget_class class)
{
	if (class < BUDGET_CALL)
		return budget_take(budget, n, class);
	if (share->spare >= (int64_t)n) {
		share->spare -= (int64_t)n;
		return true;
	}
	size_t missing = n - (size_t)share->spare;
	if (budget_take(budget, missing + BUDGET_CHUNK, BUDGET_CALL)) {
		share->spare = BUDGET_CHUNK;
		return true;
	}
	if (!budget_take(budget, missing, class))
		return false;
	share->spare = 0;
	return true;
}

void budget_share_give(struct budget *budget, struct budget_share *share, size_t n)
{
	share->spare += (int64_t)n;
	if (share->spare <= 2 * BUDGET_CHUNK)
		return;
	budget_give(budget, (size_t)share->spare - BUDGET_CHUNK);
	share->spare = BUDGET_CHUNK;
}
