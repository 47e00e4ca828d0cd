/* budget.h: a bound on memory that many threads take from, and a worker's part of it.
 *
 * A budget counts what is reserved; it allocates nothing. `taken` also holds what workers' shares keep spare, so that a worker that
 * reserves and releases little by little touches its own share alone, and the shared counter once per BUDGET_CHUNK.
 *
 * Threads: a budget is any thread's; a share is its worker's. */
#ifndef PENSTOCK_BUDGET_H
#define PENSTOCK_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How far a kind of answer may fill a budget. What costs most and matters least stops first: listings and pages at a half, so that
 * records can still be read; large answers with records at five eighths, and at seven eighths on a connection that has taken one
 * promptly before; calls, with small answers, at 31/32, so that what is refused can still be told why. */
enum budget_class { BUDGET_PAGE, BUDGET_READ_FIRST, BUDGET_READ, BUDGET_CALL, BUDGET_REFUSAL };

#define BUDGET_LARGE (64u << 10) /* bytes; an answer beyond it is large */

#define BUDGET_CHUNK (64 << 10) /* bytes; a share keeps at most twice as much spare */

struct budget {
	int64_t limit;          /* bytes, > 0 */
	_Atomic int64_t taken;  /* 0 .. limit, but for budget_force */
};

struct budget_share {
	int64_t spare; /* bytes of the budget that are taken and not reserved, >= 0 */
};

void budget_init(struct budget *budget, int64_t limit);
/* False: no room for n bytes more of that class, and nothing is taken. */
bool budget_take(struct budget *budget, size_t n, enum budget_class class);
/* Takes whatever the limit says: for what must not fail any more. */
void budget_force(struct budget *budget, size_t n);
void budget_give(struct budget *budget, size_t n);
static inline int64_t budget_taken(const struct budget *budget) { return atomic_load_explicit(&budget->taken, memory_order_relaxed); }

/* More than a half is taken: who holds some of it has less time to take it. */
static inline bool budget_is_crowded(const struct budget *budget) { return budget_taken(budget) > budget->limit / 2; }

/* The same through a share. PAGE and READ pass the share by: their ceilings lie below what it may hold spare. */
bool budget_share_take(struct budget *budget, struct budget_share *share, size_t n, enum budget_class class);
void budget_share_give(struct budget *budget, struct budget_share *share, size_t n);

#endif
