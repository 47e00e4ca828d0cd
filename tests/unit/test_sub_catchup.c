/* test_sub_catchup.c: behind the ring: reads, and the way back to the ring without a gap or a double. */
#include "fake_store.h"

static struct client a, b;

static void see_all(struct client *client)
{
	struct seen seen;
	while (see(client, &seen))
		;
	see_nothing(client);
}

Test(sub_catchup, from_the_log_to_the_ring)
{
	fake_start((struct hub_config){0});
	for (int i = 0; i < 10; i++)
		commit(3, 100);
	fake.n_told = fake.n_log;
	client_join(&a, 1);
	a.pull_on_ready = true;
	pull(&a);
	cr_assert(a.sub.state == SUB_READING && fake.n_reads == 1);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	see_nothing(&a);
	publish(3, 100); /* meanwhile: into the ring */
	cr_assert(a.ready == 0);
	answer_read(STATUS_OK);
	see_all(&a);
	cr_assert(a.records == 33 && a.expect == 34 && a.sub.state == SUB_IDLE && fake.n_reads == 0);
	cr_assert(metric_get(METRIC_catchup_reads) == 1);
	publish(1, 100);
	see_all(&a);
	cr_assert(a.records == 34 && fake.reads_asked == 1);
	client_stop(&a);
	fake_stop();
}

/* The bytes are the same wherever they come from. */
Test(sub_catchup, same_bytes_from_ring_and_log)
{
	fake_start((struct hub_config){.ring_bytes = 64 << 20});
	client_idle(&a);
	for (int i = 0; i < 5; i++)
		publish(400, 1000);
	pull(&a);
	struct buf ring = {0};
	buf_put(&ring, a.bytes.p, a.bytes.n);
	see_all(&a);
	client_stop(&a);
	memset(&a, 0, sizeof(a));
	client_join(&a, 1);
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	while (a.sub.state == SUB_READING) {
		answer_read(STATUS_OK);
		pull(&a);
	}
	cr_assert(a.bytes.n == ring.n && a.sub.state == SUB_IDLE);
	cr_assert(memcmp(a.bytes.p, ring.p, ring.n) == 0);
	buf_free(&ring);
	client_stop(&a);
	fake_stop();
}

Test(sub_catchup, cursor_inside_an_event_in_the_ring)
{
	fake_start((struct hub_config){0});
	client_idle(&b);
	publish(10, 100);
	publish(10, 100);
	client_join(&a, 4);
	pull(&a);
	see_one(&a);
	struct seen seen = see_one(&a);
	cr_assert(seen.first == 4 && seen.last == 10 && seen.behind > 0);
	seen = see_one(&a);
	cr_assert(seen.first == 11 && seen.last == 20 && seen.behind == 0);
	see_nothing(&a);
	cr_assert(fake.reads_asked == 0);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

Test(sub_catchup, cursor_inside_an_event_of_the_log)
{
	fake_start((struct hub_config){0});
	commit(10, 100);
	client_join(&a, 8);
	a.pull_on_ready = true;
	pull(&a);
	answer_read(STATUS_OK);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	struct seen seen = see_one(&a);
	cr_assert(seen.first == 8 && seen.last == 10 && seen.behind == 0);
	client_stop(&a);
	fake_stop();
}

/* A slow reader is no special case: the ring moves on while its window is shut, later it reads the log. */
Test(sub_catchup, slow_reader)
{
	fake_start((struct hub_config){.ring_bytes = 30000});
	client_idle(&a);
	publish(10, 200);
	cr_assert(pull_once(&a, 1000) == 1000, "the middle of an event");
	for (int i = 0; i < 200; i++)
		publish(10, 200);
	cr_assert(a.ready == 1 && fake.n_reads == 0, "nothing is read while nobody pulls");
	a.pull_on_ready = true;
	pull(&a);
	while (fake.n_reads)
		answer_read(STATUS_OK);
	see_all(&a);
	cr_assert(a.records == 2010 && a.sub.state == SUB_IDLE);
	client_stop(&a);
	fake_stop();
}

/* Only so many reads at once; the others wait in order, and a stopped one makes room. Each stands at another place, and reads one batch. */
Test(sub_catchup, credit)
{
	enum { N = 10 };
	static struct client clients[N];
	fake_start((struct hub_config){.reads = 3, .read_bytes = 1, .kept_bytes = 1});
	for (int i = 0; i < N; i++)
		commit(5, 100);
	for (unsigned i = 0; i < N; i++) {
		client_join(&clients[i], 5 * i + 1);
		clients[i].expect = 5 * i + 1;
		clients[i].pull_on_ready = true;
		pull(&clients[i]);
		cr_assert(clients[i].sub.state == SUB_READING);
	}
	cr_assert(fake.n_reads == 3);
	client_stop(&clients[0]); /* in flight */
	client_stop(&clients[5]); /* waiting */
	cr_assert(fake.n_reads == 3);
	while (fake.n_reads) {
		answer_read(STATUS_OK);
		cr_assert(fake.n_reads <= 3);
	}
	for (unsigned i = 0; i < N; i++) {
		if (i == 0 || i == 5)
			continue;
		see_all(&clients[i]);
		cr_assert(clients[i].records == 5 * (N - i));
		client_stop(&clients[i]);
	}
	cr_assert(fake.most_reads == 3);
	fake_stop();
}

/* ---- A herd reads once ---- */

enum { HERD = 20 };
static struct client herd[HERD];

/* Twenty from the same place: each stretch of the log is read and encoded once, whoever comes to it first. */
Test(sub_catchup, a_herd_shares_reads_in_flight)
{
	fake_start((struct hub_config){.read_bytes = 3000});
	for (int i = 0; i < 30; i++)
		commit(3, 300);
	int64_t encoded = metric_get(METRIC_batches_encoded);
	for (int i = 0; i < HERD; i++) {
		client_join(&herd[i], 1);
		herd[i].pull_on_ready = true;
		pull(&herd[i]);
		cr_assert(herd[i].sub.state == SUB_READING);
	}
	cr_assert(fake.n_reads == 1, "%u", fake.n_reads);
	while (fake.n_reads) {
		answer_read(STATUS_OK);
		cr_assert(fake.n_reads <= 1);
	}
	for (int i = 0; i < HERD; i++) {
		see_all(&herd[i]);
		cr_assert(herd[i].records == 90 && herd[i].expect == 91 && herd[i].sub.state == SUB_IDLE);
	}
	cr_assert(metric_get(METRIC_batches_encoded) - encoded == 30);
	for (int i = 0; i < HERD; i++)
		client_stop(&herd[i]);
	cr_assert(metric_get(METRIC_catchup_bytes) == 0 && metric_get(METRIC_batches_live) == 30, "nothing is kept for nobody");
	fake_stop();
}

/* One who comes later, and from the middle of what was read, finds it. */
Test(sub_catchup, who_follows_reads_nothing)
{
	fake_start((struct hub_config){.read_bytes = 3000});
	for (int i = 0; i < 30; i++)
		commit(3, 300);
	client_join(&a, 1);
	a.pull_on_ready = true;
	pull(&a);
	while (fake.n_reads)
		answer_read(STATUS_OK);
	see_all(&a);
	uint32_t asked = fake.reads_asked;
	client_join(&b, 20); /* inside an event */
	b.expect = 20;
	b.pull_on_ready = true;
	pull(&b);
	see_all(&b);
	cr_assert(fake.reads_asked == asked && b.records == 71 && b.expect == 91);
	cr_assert(metric_get(METRIC_catchup_shared) > 0);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* What is kept has a bound; what has fallen out is read again. */
Test(sub_catchup, what_is_kept_is_bounded)
{
	fake_start((struct hub_config){.read_bytes = 3000, .kept_bytes = 20000});
	for (int i = 0; i < 30; i++)
		commit(3, 300);
	client_join(&a, 1);
	a.pull_on_ready = true;
	pull(&a);
	while (fake.n_reads) {
		answer_read(STATUS_OK);
		cr_assert(fake.hub->kept_bytes <= 20000 && metric_get(METRIC_catchup_bytes) == (int64_t)fake.hub->kept_bytes);
	}
	see_all(&a);
	uint32_t asked = fake.reads_asked;
	client_join(&b, 1);
	b.pull_on_ready = true;
	pull(&b);
	while (fake.n_reads)
		answer_read(STATUS_OK);
	see_all(&b);
	cr_assert(b.records == 90 && fake.reads_asked > asked);
	client_stop(&a);
	client_stop(&b);
	fake_stop();
}

/* A read that many wait for fails for each of them; one that is stopped by another's callback is left alone. */
Test(sub_catchup, a_failed_read_fails_for_all)
{
	fake_start((struct hub_config){0});
	commit(3, 300);
	for (int i = 0; i < 3; i++) {
		client_join(&herd[i], 1);
		pull(&herd[i]);
	}
	cr_assert(fake.n_reads == 1);
	client_stop(&herd[1]);
	answer_read(STATUS_IO);
	for (int i = 0; i < 3; i += 2) {
		pull(&herd[i]);
		cr_assert(see_one(&herd[i]).kind == SEEN_INITIAL);
		cr_assert(see_one(&herd[i]).kind == SEEN_EXCEPTION && herd[i].ended);
		client_stop(&herd[i]);
	}
	fake_stop();
}

static void fails_with(enum status status, const char *type)
{
	fake_start((struct hub_config){0});
	commit(5, 100);
	client_join(&a, 1);
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	answer_read(status);
	cr_assert(a.ready == 1 && a.sub.state == SUB_CLOSING && fake.n_left == 1);
	pull(&a);
	cr_assert(a.ended);
	if (type)
		cr_assert_str_eq(see_one(&a).type, type);
	see_nothing(&a);
	client_stop(&a);
	fake_stop();
}

Test(sub_catchup, damage_is_an_exception) { fails_with(STATUS_CORRUPT, "InternalFailureException"); }
Test(sub_catchup, io_error_is_an_exception) { fails_with(STATUS_IO, "InternalFailureException"); }
Test(sub_catchup, no_memory_is_an_exception) { fails_with(STATUS_NO_MEMORY, "InternalFailureException"); }
Test(sub_catchup, stream_gone_is_not_found) { fails_with(STATUS_NOT_FOUND, "ResourceNotFoundException"); }
Test(sub_catchup, a_closing_store_is_a_clean_end) { fails_with(STATUS_CLOSING, NULL); }

/* An answer that has nothing although there is something would be asked for ever. */
Test(sub_catchup, an_empty_answer_is_damage)
{
	fake_start((struct hub_config){0});
	commit(5, 100);
	client_join(&a, 1);
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	struct store_read *read = pop_read(0);
	read->from = 1;
	read->durable_end = 5;
	read->on_done(read);
	pull(&a);
	cr_assert_str_eq(see_one(&a).type, "InternalFailureException");
	client_stop(&a);
	fake_stop();
}

/* What comes before the damage is sent. */
Test(sub_catchup, all_before_the_damage)
{
	fake_start((struct hub_config){.read_bytes = 1000});
	for (int i = 0; i < 30; i++)
		commit(1, 500);
	client_join(&a, 1);
	a.pull_on_ready = true;
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	answer_read(STATUS_OK);
	answer_read(STATUS_OK);
	answer_read(STATUS_CORRUPT);
	cr_assert(see_one(&a).last == 1 && see_one(&a).last == 2 && see_one(&a).last == 3 && see_one(&a).last == 4);
	cr_assert_str_eq(see_one(&a).text, "Internal Service Error");
	cr_assert(a.ended);
	client_stop(&a);
	fake_stop();
}

/* What retention has passed is skipped. */
Test(sub_catchup, retention_passes_the_cursor)
{
	fake_start((struct hub_config){0});
	for (int i = 0; i < 10; i++)
		commit(2, 100);
	client_join(&a, 1);
	a.pull_on_ready = true;
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	fake.oldest = 5;
	answer_read(STATUS_OK);
	cr_assert(see_one(&a).first == 11);
	see_all(&a);
	cr_assert(a.records == 10 && a.sub.state == SUB_IDLE);
	client_stop(&a);
	fake_stop();
}

Test(sub_catchup, retention_passes_everything)
{
	fake_start((struct hub_config){0});
	commit(2, 100);
	client_join(&a, 1);
	a.pull_on_ready = true;
	pull(&a);
	cr_assert(see_one(&a).kind == SEEN_INITIAL);
	fake.oldest = 1;
	answer_read(STATUS_OK);
	cr_assert(a.sub.state == SUB_IDLE && a.sub.next == 3);
	pass(5 * SECOND);
	cr_assert(see_one(&a).continuation == 2);
	client_stop(&a);
	fake_stop();
}

/* ---- What slow readers may pin ---- */

enum { SLOW = 40 };
static struct client slow[SLOW];

/* Each in the middle of its own event, whose batch has left the ring. */
static void stall_all(void)
{
	fake_start((struct hub_config){.ring_bytes = 1, .reads = 2, .read_bytes = 20000});
	for (int i = 0; i < SLOW; i++) {
		client_idle(&slow[i]);
		slow[i].expect = fake.durable_end + 1;
		publish(30, 1000);
		cr_assert(pull_once(&slow[i], 5000) == 5000);
	}
	publish(1, 10);
}

Test(sub_catchup, stalled_readers_pin_no_more_than_the_cap)
{
	stall_all();
	cr_assert(fake.hub->held <= 2 * 20000 * 4, "%zu", fake.hub->held);
	/* Memory: what is held, the ring's newest, and this test's own log (all of which is encoded). */
	int64_t logs = 0;
	for (uint32_t i = 0; i < fake.n_log; i++)
		logs += fake.log[i]->n_messages;
	cr_assert(metric_get(METRIC_events_live) <= logs + 20);
	for (int i = 0; i < SLOW; i++) {
		slow[i].pull_on_ready = true;
		pull(&slow[i]);
		while (fake.n_reads)
			answer_read(STATUS_OK);
		see_all(&slow[i]);
		cr_assert(slow[i].expect == fake.durable_end + 1, "%d", i);
		client_stop(&slow[i]);
	}
	fake_stop();
}

/* Five minutes are over while an event is half sent and given up: its rest is read, then the end. */
Test(sub_catchup, R7_a_given_up_event_is_finished)
{
	stall_all();
	struct client *first = &slow[0];
	cr_assert(first->sub.offset > 0 && !first->sub.message, "given up");
	sub_finish(&first->sub);
	cr_assert(first->sub.state == SUB_CLOSING && fake.n_left == 1);
	pull(first);
	cr_assert(!first->ended && fake.n_reads == 1);
	uint32_t ready = first->ready;
	answer_read(STATUS_OK);
	cr_assert(first->ready == ready + 1);
	pull(first);
	cr_assert(first->ended && see_one(first).last == 30);
	see_nothing(first);
	for (int i = 0; i < SLOW; i++)
		client_stop(&slow[i]);
	fake_stop();
}

/* The rest of a half-sent event that retention has taken: the body ends, with nothing that would be read as part of it. */
Test(sub_catchup, retention_takes_the_rest_of_an_event)
{
	stall_all();
	struct client *first = &slow[0], *second = &slow[1];
	fake.oldest = 10;
	pull(first);
	answer_read(STATUS_OK);
	pull(first);
	cr_assert(first->ended && first->bytes.n == 5000);
	sub_finish(&second->sub);
	pull(second);
	answer_read(STATUS_OK);
	pull(second);
	cr_assert(second->ended && second->bytes.n == 5000);
	for (int i = 0; i < SLOW; i++)
		client_stop(&slow[i]);
	fake_stop();
}
