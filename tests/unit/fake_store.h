/* fake_store.h: a store that does nothing by itself, a clock that stands still, and clients of subscriptions, for tests of fanout.
 *
 * The store's functions are defined here, so that the linker takes none of the real ones: what a hub asks waits in `fake` until the test
 * answers it. The log is one shard's; what `commit` puts there is durable at once and told by `notify`. Included by one file per test
 * executable. */
#ifndef FAKE_STORE_H
#define FAKE_STORE_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>

#include "fanout/hub.h"
#include "penstock/eventstream.h"
#include "penstock/metrics.h"
#include "penstock/writer.h"

#define SECOND UINT64_C(1000000000)
#define MS UINT64_C(1000000)
#define CREATED_S INT64_C(1600000000)
#define STREAM_ID 7
#define CONSUMER_ID 70
#define LOG_MAX 65536

static const struct shard_key the_shard = {.stream = STREAM_ID, .shard = 3, .created_s = CREATED_S};

static struct {
	struct io io;
	int64_t wall_ms;
	uint64_t mono_ns;
	struct mailbox box;
	struct outbox outbox;
	struct hub *hub;
	struct listener *listener;

	struct batch *log[LOG_MAX];     /* dense */
	uint32_t n_log, n_told, oldest; /* batches; told: by notices; oldest: kept by retention */
	uint64_t durable_end;
	bool closed;

	struct store_join *joins[64];
	uint32_t n_joins;
	struct store_read *reads[64];
	uint32_t n_reads, most_reads, reads_asked;
	uint64_t left[8192]; /* subscriptions' ids, in order */
	uint32_t n_left;
	struct notice notices[16];
	uint32_t n_notices, notice_at;
} fake;

/* ---- The store ---- */

void store_join(struct store *store, struct outbox *from, struct store_join *join)
{
	(void)store, (void)from;
	cr_assert(fake.n_joins < 64);
	fake.joins[fake.n_joins++] = join;
}

void store_leave(struct store *store, struct outbox *from, uint64_t stream, uint32_t shard, uint64_t consumer, uint64_t subscription,
		 struct listener *listener)
{
	(void)store, (void)from, (void)consumer, (void)shard;
	cr_assert(stream == STREAM_ID && listener == fake.listener);
	fake.left[fake.n_left++ % 8192] = subscription;
}

void store_read(struct store *store, struct outbox *from, struct store_read *read)
{
	(void)store, (void)from;
	cr_assert(fake.n_reads < 64);
	cr_assert(read->encode && !read->limited);
	fake.reads[fake.n_reads++] = read;
	fake.reads_asked++;
	if (fake.n_reads > fake.most_reads)
		fake.most_reads = fake.n_reads;
}

void store_read_release(struct store_read *read)
{
	for (uint32_t i = 0; i < read->n_batches; i++)
		batch_unref(read->batches[i]);
	free(read->batches);
	read->batches = NULL;
	read->n_batches = 0;
}

void listener_init(struct listener *listener, struct mailbox *box, void (*notice)(struct listener *))
{
	*listener = (struct listener){.box = box, .on_notice = notice};
	fake.listener = listener;
}

void listener_fini(struct listener *listener) { cr_assert(listener == fake.listener); }

bool listener_take(struct listener *listener, struct notice *out)
{
	cr_assert(listener == fake.listener);
	if (fake.notice_at == fake.n_notices)
		return false;
	*out = fake.notices[fake.notice_at++];
	return true;
}

void notice_fini(struct notice *notice)
{
	for (uint32_t i = 0; i < notice->n_batches; i++)
		batch_unref(notice->batches[i]);
	free(notice->batches);
}

/* ---- Its clock ---- */

static int64_t fake_wall_ms(struct io *io) { return io == &fake.io ? fake.wall_ms : 0; }
static uint64_t fake_mono_ns(struct io *io) { return io == &fake.io ? fake.mono_ns : 0; }

static inline void clock_add(uint64_t ns)
{
	int64_t before = (int64_t)(fake.mono_ns / MS);
	fake.mono_ns += ns;
	fake.wall_ms += (int64_t)(fake.mono_ns / MS) - before;
}

/* Time passes, and every timer runs at its time. */
static inline void pass(uint64_t ns)
{
	uint64_t end = fake.mono_ns + ns;
	for (;;) {
		uint64_t due = hub_deadline(fake.hub);
		if (due > end)
			break;
		clock_add(due > fake.mono_ns ? due - fake.mono_ns : 0);
		hub_tick(fake.hub, fake.mono_ns);
		cr_assert(hub_deadline(fake.hub) > fake.mono_ns, "a timer that does not run");
	}
	clock_add(end - fake.mono_ns);
}

/* ---- Its log ---- */

/* Data of a record: its index, so that a wrong one is seen. */
static inline size_t make_data(char *out, uint64_t index, size_t n)
{
	int len = snprintf(out, 24, "%llu ", (unsigned long long)index);
	if (n > (size_t)len)
		memset(out + len, 'x', n - (size_t)len);
	return n > (size_t)len ? n : (size_t)len;
}

static inline struct batch *make_batch(uint64_t first, uint32_t count, size_t n, bool encode)
{
	struct batch *batch = batch_new(&the_shard);
	char *data = malloc(n + 32);
	batch->first = first;
	batch->arrival_ms = fake.wall_ms;
	for (uint32_t i = 0; i < count; i++) {
		size_t len = make_data(data, first + i, n);
		cr_assert(batch_append(batch, STR("key"), (struct str){data, len}) == STATUS_OK);
	}
	free(data);
	if (encode)
		cr_assert(message_encode(batch) == STATUS_OK);
	return batch;
}

static inline struct batch *commit(uint32_t count, size_t n)
{
	struct batch *batch = make_batch(fake.durable_end + 1, count, n, true);
	cr_assert(fake.n_log < LOG_MAX);
	fake.log[fake.n_log++] = batch;
	fake.durable_end = batch_last(batch);
	return batch;
}

static inline int64_t end_ms(void) { return fake.n_log ? fake.log[fake.n_log - 1]->arrival_ms : 0; }

/* Tells all that was not told, with batches or only "durable up to n". */
static inline void notify_how(bool with_batches)
{
	struct notice notice = {.shard = the_shard, .durable_end = fake.durable_end, .durable_end_ms = end_ms(), .closed = fake.closed};
	uint32_t n = fake.n_log - fake.n_told;
	if (with_batches && n) {
		notice.batches = malloc(n * sizeof(struct batch *));
		for (uint32_t i = 0; i < n; i++)
			notice.batches[notice.n_batches++] = batch_ref(fake.log[fake.n_told + i]);
	}
	fake.n_told = fake.n_log;
	fake.notices[0] = notice;
	fake.n_notices = 1;
	fake.notice_at = 0;
	fake.listener->on_notice(fake.listener);
	cr_assert(fake.notice_at == 1);
}
static inline void notify(void) { notify_how(true); }

static inline void publish(uint32_t count, size_t n)
{
	commit(count, n);
	notify();
}

static inline uint64_t oldest_index(void) { return fake.oldest < fake.n_log ? fake.log[fake.oldest]->first : fake.durable_end + 1; }

static inline struct store_join *pop_join(void)
{
	cr_assert(fake.n_joins > 0);
	struct store_join *join = fake.joins[0];
	memmove(fake.joins, fake.joins + 1, --fake.n_joins * sizeof(fake.joins[0]));
	return join;
}

/* Answers the oldest join: from `next` on (0: the tip). */
static inline void answer_join(enum status status, uint64_t next)
{
	struct store_join *join = pop_join();
	join->status = status;
	join->key = the_shard;
	join->next = next ? next : fake.durable_end + 1;
	join->before_s = CREATED_S;
	for (uint32_t i = 0; i < fake.n_log; i++)
		if (fake.log[i]->first < join->next && join->next - 1 <= batch_last(fake.log[i]))
			join->before_s = message_time_s(&the_shard, fake.log[i]->arrival_ms);
	for (uint32_t i = 0; i < fake.n_log && !join->next_ms; i++)
		if (fake.log[i]->first <= join->next && join->next <= batch_last(fake.log[i]))
			join->next_ms = fake.log[i]->arrival_ms;
	join->durable_end = fake.durable_end;
	join->durable_end_ms = end_ms();
	join->closed = fake.closed;
	join->on_done(join);
}

static inline struct store_read *pop_read(uint32_t i)
{
	cr_assert(i < fake.n_reads);
	struct store_read *read = fake.reads[i];
	memmove(fake.reads + i, fake.reads + i + 1, (--fake.n_reads - i) * sizeof(fake.reads[0]));
	return read;
}

/* Its own copy, as a reader makes one: the log has each part of a batch as an extent. */
static inline struct batch *part_of(const struct batch *log, uint32_t k)
{
	struct batch *batch = batch_new(&the_shard);
	struct batch_part part = batch_part(log, k);
	struct record record;
	size_t cursor = part.at;
	uint32_t nth = part.nth;
	batch->first = log->first + part.nth;
	batch->arrival_ms = log->arrival_ms;
	for (uint32_t i = 0; i < part.count; i++) {
		cr_assert(batch_next(log, &cursor, &nth, &record));
		batch_append(batch, record.key, record.data);
	}
	return batch;
}

#define READ_MAX 4096

static inline void fill_read(struct store_read *read)
{
	size_t bytes = 0;
	read->from = read->next > oldest_index() ? read->next : oldest_index();
	read->durable_end = fake.durable_end;
	read->durable_end_ms = end_ms();
	read->closed = fake.closed;
	read->batches = malloc(READ_MAX * sizeof(struct batch *));
	for (uint32_t i = fake.oldest; i < fake.n_log && (read->n_batches == 0 || bytes < read->max_bytes); i++) {
		if (batch_last(fake.log[i]) < read->from)
			continue;
		for (uint32_t k = 0; k < batch_parts(fake.log[i]) && (read->n_batches == 0 || bytes < read->max_bytes); k++) {
			struct batch *batch = part_of(fake.log[i], k);
			if (batch_last(batch) < read->from) {
				batch_unref(batch);
				continue;
			}
			cr_assert(message_encode(batch) == STATUS_OK);
			cr_assert(read->n_batches < READ_MAX);
			read->batches[read->n_batches++] = batch;
			bytes += batch->payload;
		}
	}
	if (read->n_batches == 0) {
		free(read->batches);
		read->batches = NULL;
	}
}

static inline void answer_read_nth(uint32_t i, enum status status)
{
	struct store_read *read = pop_read(i);
	read->status = status;
	if (status == STATUS_OK)
		fill_read(read);
	read->on_done(read);
}
static inline void answer_read(enum status status) { answer_read_nth(0, status); }

/* ---- Clients ---- */

struct client {
	struct subscription sub;
	struct buf bytes; /* pulled, not yet looked at */
	uint32_t joined, ready;
	enum status status;
	bool pull_on_ready, stop_on_ready, gone, ended;
	uint64_t expect; /* next index; 0: any */
	char continuation[SEQ_DIGITS + 1];
	uint64_t records, empties, events, payload;
};

static void on_joined(struct subscription *sub, enum status status)
{
	struct client *client = container_of(sub, struct client, sub);
	client->joined++;
	client->status = status;
	cr_assert(sub->state == (status ? SUB_CLOSED : SUB_READY));
}

static void client_emit(void *arg, struct message *owner, const uint8_t *p, size_t n)
{
	struct client *client = arg;
	cr_assert(n > 0);
	if (owner)
		cr_assert((p >= owner->head && p + n <= owner->head + owner->head_len) ||
			  (p >= owner->trailer0 && p + n <= owner->trailer0 + MESSAGE_TRAILER));
	else
		cr_assert(n <= MESSAGE_TRAILER);
	buf_put(&client->bytes, p, n);
}

/* Pulls at most max bytes in one go; what sub_avail said. */
static inline int64_t pull_once(struct client *client, size_t max)
{
	int64_t n = sub_avail(&client->sub, max);
	cr_assert(n <= (int64_t)max);
	if (n > 0)
		sub_take(&client->sub, (size_t)n, client_emit, client);
	if (n == SUB_END)
		client->ended = true;
	return n;
}

static inline void pull(struct client *client)
{
	while (pull_once(client, 16384) > 0)
		;
}

static void on_ready(struct subscription *sub)
{
	struct client *client = container_of(sub, struct client, sub);
	cr_assert(sub->state == SUB_READY || sub->state == SUB_CLOSING);
	client->ready++;
	if (client->stop_on_ready)
		sub_stop(sub);
	else if (client->pull_on_ready)
		pull(client);
}

static bool on_probe(struct subscription *sub)
{
	struct client *client = container_of(sub, struct client, sub);
	if (client->gone)
		sub_stop(sub);
	return client->gone;
}

static const struct sub_ops client_ops = {.on_joined = on_joined, .on_ready = on_ready, .on_probe = on_probe};

static inline void client_start(struct client *client)
{
	sub_start(fake.hub, &client->sub, &client_ops, the_shard, CONSUMER_ID, (struct position){.kind = POSITION_LATEST});
	cr_assert(client->sub.state == SUB_JOINING);
}

static inline void client_join(struct client *client, uint64_t next)
{
	client_start(client);
	answer_join(STATUS_OK, next);
	cr_assert(client->joined == 1 && client->status == STATUS_OK && client->sub.state == SUB_READY);
}

static inline void client_stop(struct client *client)
{
	sub_stop(&client->sub);
	cr_assert(client->sub.state == SUB_CLOSED);
	buf_free(&client->bytes);
}

/* ---- What a client reads ---- */

struct seen {
	enum { SEEN_NOTHING, SEEN_INITIAL, SEEN_EVENT, SEEN_EXCEPTION } kind;
	char type[64], text[256];
	uint32_t records, children;
	uint64_t first, last, continuation; /* indexes; continuation UINT64_MAX: no such key */
	int64_t second;                     /* of the continuation, if it is a position; else 0 */
	int64_t behind;
	size_t bytes;
};

static inline struct seq seq_of(const char *number)
{
	struct seq seq;
	cr_assert(seq_parse(str_of(number), &seq) == STATUS_OK);
	cr_assert(seq.shard == the_shard.shard && seq.created_s == the_shard.created_s);
	return seq;
}

static inline uint64_t index_of(const char *number)
{
	struct seq seq = seq_of(number);
	cr_assert(!seq.position);
	return seq.index;
}

static inline void look_at_record(struct client *client, struct seen *seen, json_t *record)
{
	char *data = strdup(json_string_value(json_object_get(record, "Data")));
	size_t n;
	cr_assert(json_number_value(json_object_get(record, "ApproximateArrivalTimestamp")) > 1e9);
	cr_assert_str_eq(json_string_value(json_object_get(record, "PartitionKey")), "key");
	cr_assert(base64_decode(str_of(data), (uint8_t *)data, &n));
	uint64_t index = index_of(json_string_value(json_object_get(record, "SequenceNumber")));
	cr_assert(strtoull(data, NULL, 10) == index, "the data is of another record");
	bool passed = client->expect < index && client->expect < oldest_index(); /* by retention: that may be skipped */
	cr_assert(!client->expect || client->expect == index || passed, "lost or doubled: expected %llu, got %llu",
		  (unsigned long long)client->expect, (unsigned long long)index);
	client->expect = index + 1;
	if (seen->records++ == 0)
		seen->first = index;
	seen->last = index;
	client->records++;
	client->payload += n + 3;
	free(data);
}

static inline void look_at_event(struct client *client, struct seen *seen, json_t *root)
{
	json_t *records = json_object_get(root, "Records"), *number = json_object_get(root, "ContinuationSequenceNumber");
	json_t *children = json_object_get(root, "ChildShards"), *behind = json_object_get(root, "MillisBehindLatest");
	for (size_t i = 0; i < json_array_size(records); i++)
		look_at_record(client, seen, json_array_get(records, i));
	cr_assert(json_is_array(records) && json_is_integer(behind), "R15");
	cr_assert(!number == (json_array_size(children) > 0), "R8");
	seen->children = (uint32_t)json_array_size(children);
	seen->behind = json_integer_value(behind);
	seen->continuation = UINT64_MAX;
	if (number) {
		const char *text = json_string_value(number);
		struct seq seq = seq_of(text);
		cr_assert(strlen(text) == SEQ_DIGITS && strcmp(text, client->continuation) > 0, "R10: it rises with each event");
		strcpy(client->continuation, text);
		seen->continuation = seq.index;
		seen->second = seq.position ? seq.time_s : 0;
		cr_assert(seq.position == (seen->records == 0), "a position, if there is no record that it could name");
		cr_assert(seen->continuation <= fake.durable_end, "past the durable end");
		cr_assert(!seen->records || seen->continuation == seen->last);
	}
	client->events++;
	client->empties += seen->records == 0;
}

/* The next message that is there whole; false: none. */
static inline bool see(struct client *client, struct seen *seen)
{
	struct eventstream_view view;
	*seen = (struct seen){0};
	if (client->bytes.n == 0)
		return false;
	int whole = eventstream_decode(client->bytes.p, client->bytes.n, &view);
	cr_assert(whole >= 0, "a broken frame");
	if (!whole)
		return false;
	json_t *root = json_loadb(view.payload.p, view.payload.n, 0, NULL);
	cr_assert(root);
	seen->bytes = view.total;
	if (str_equal(view.message_type, STR("exception"))) {
		seen->kind = SEEN_EXCEPTION;
		snprintf(seen->type, sizeof(seen->type), STR_FMT, STR_ARG(view.exception_type));
		snprintf(seen->text, sizeof(seen->text), "%s", json_string_value(json_object_get(root, "message")));
	} else if (str_equal(view.event_type, STR("initial-response"))) {
		seen->kind = SEEN_INITIAL;
	} else {
		cr_assert(str_equal(view.event_type, STR("SubscribeToShardEvent")));
		seen->kind = SEEN_EVENT;
		look_at_event(client, seen, root);
	}
	json_decref(root);
	client->bytes.n -= view.total;
	memmove(client->bytes.p, client->bytes.p + view.total, client->bytes.n);
	return true;
}

static inline struct seen see_one(struct client *client)
{
	struct seen seen;
	cr_assert(see(client, &seen), "nothing to see");
	return seen;
}

static inline void see_nothing(struct client *client) { cr_assert(client->bytes.n == 0, "bytes that nobody expects"); }

/* Greeting and the first, empty event. */
static inline void see_greeting(struct client *client)
{
	cr_assert(see_one(client).kind == SEEN_INITIAL);
	struct seen seen = see_one(client);
	cr_assert(seen.kind == SEEN_EVENT && seen.records == 0 && seen.continuation != UINT64_MAX, "R5");
}

/* Joined at the tip, greeted, idle. */
static inline void client_idle(struct client *client)
{
	client_join(client, 0);
	pull(client);
	see_greeting(client);
	see_nothing(client);
	cr_assert(client->sub.state == SUB_IDLE);
}

/* ---- Set-up ---- */

static inline void fake_start(struct hub_config config)
{
	memset(&fake, 0, sizeof(fake));
	fake.io = (struct io){.wall_ms = fake_wall_ms, .mono_ns = fake_mono_ns};
	fake.wall_ms = CREATED_S * 1000 + 100000;
	fake.mono_ns = 1000 * SECOND;
	cr_assert(mailbox_init(&fake.box, false) == 0);
	outbox_init(&fake.outbox);
	config.io = &fake.io;
	config.box = &fake.box;
	config.outbox = &fake.outbox;
	fake.hub = hub_new(&config);
}

/* Nothing may be left: hub_free asserts its own, and the gauges say the rest. */
static inline void fake_stop(void)
{
	cr_assert(fake.n_joins == 0 && fake.n_reads == 0);
	hub_free(fake.hub);
	mailbox_fini(&fake.box);
	for (uint32_t i = 0; i < fake.n_log; i++)
		batch_unref(fake.log[i]);
	cr_assert(metric_get(METRIC_events_live) == 0 && metric_get(METRIC_batches_live) == 0);
	cr_assert(metric_get(METRIC_ring_bytes) == 0 && metric_get(METRIC_subscriptions) == 0);
}

#endif
