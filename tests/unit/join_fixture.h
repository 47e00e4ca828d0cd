/* join_fixture.h: on top of a store on a simulated disk, workers' ears and lease holders that write down what they are told. */
#ifndef PENSTOCK_TESTS_JOIN_FIXTURE_H
#define PENSTOCK_TESTS_JOIN_FIXTURE_H

#include "tests/unit/store_fixture.h"

#define EARS 2
#define TOLD_MAX 64

/* One worker: its ear and its lease holder. Both use the fixture's box. */
static struct ear {
	struct listener listener;
	struct lease_holder holder;
	struct notice notices[TOLD_MAX];
	unsigned n_notices, knocks;
	struct {
		uint64_t subscription;
		enum lease_end why;
	} ends[TOLD_MAX];
	unsigned n_ends, probes;
	bool gone; /* what a probe is answered */
} ears[EARS];

static void on_notice(struct listener *listener)
{
	struct ear *ear = container_of(listener, struct ear, listener);
	ear->knocks++;
	while (listener_take(listener, &ear->notices[ear->n_notices])) {
		ear->n_notices++;
		cr_assert(ear->n_notices < TOLD_MAX);
	}
}

static void on_lease_end(struct lease_holder *holder, uint64_t subscription, enum lease_end why)
{
	struct ear *ear = container_of(holder, struct ear, holder);
	ear->ends[ear->n_ends].subscription = subscription;
	ear->ends[ear->n_ends++].why = why;
}

static bool on_lease_probe(struct lease_holder *holder, uint64_t subscription)
{
	struct ear *ear = container_of(holder, struct ear, holder);
	(void)subscription;
	ear->probes++;
	return ear->gone;
}

static inline void join_fixture_limits(struct limits limits, uint32_t shards)
{
	fixture(limits, shards);
	memset(ears, 0, sizeof(ears));
	for (int i = 0; i < EARS; i++) {
		listener_init(&ears[i].listener, &fix.box, on_notice);
		ears[i].holder = (struct lease_holder){.box = &fix.box, .on_lease_end = on_lease_end, .on_lease_probe = on_lease_probe};
	}
}

static inline void join_fixture(uint32_t shards) { join_fixture_limits((struct limits)LIMITS_OFF, shards); }

static inline void forget_notices(void)
{
	for (int i = 0; i < EARS; i++) {
		for (unsigned k = 0; k < ears[i].n_notices; k++)
			notice_fini(&ears[i].notices[k]);
		ears[i].n_notices = ears[i].knocks = 0;
	}
}

static inline void join_fixture_fini(void)
{
	if (fix.store)
		store_stop(fix.store);
	while (box_step() || lane_step())
		;
	forget_notices();
	for (int i = 0; i < EARS; i++)
		listener_fini(&ears[i].listener); /* as a worker does: before the store is freed */
	if (fix.store)
		store_free(fix.store);
	fix.store = NULL;
	fixture_fini();
}

struct test_join {
	struct store_join join;
	bool done;
};

static void on_join(struct store_join *join)
{
	struct test_join *test = container_of(join, struct test_join, join);
	cr_assert(!test->done);
	test->done = true;
}

/* A join of consumer `consumer` from worker `ear`; the subscription's id is the caller's. */
static inline void join_send(struct test_join *test, int ear, uint32_t shard, uint64_t consumer, uint64_t subscription)
{
	*test = (struct test_join){.join = {.reply_to = &fix.box,
					    .on_done = on_join,
					    .stream = STREAM,
					    .shard = shard,
					    .consumer = consumer,
					    .position = {.kind = POSITION_LATEST},
					    .listener = &ears[ear].listener,
					    .holder = &ears[ear].holder,
					    .subscription = subscription}};
	store_join(fix.store, &fix.out, &test->join);
}

static inline void leave_send(int ear, uint32_t shard, uint64_t consumer, uint64_t subscription)
{
	store_leave(fix.store, &fix.out, STREAM, shard, consumer, subscription, &ears[ear].listener);
}

/* Joined on return. */
static inline void join_now(int ear, uint32_t shard, uint64_t consumer, uint64_t subscription)
{
	struct test_join test;
	join_send(&test, ear, shard, consumer, subscription);
	settle();
	cr_assert(test.done);
	cr_assert_eq(test.join.status, STATUS_OK);
}

#endif
