/* state_page.c: /state, built in slices and by every worker in turn.
 *
 * A page is a walk over rows: the streams of a snapshot, on the request's worker, then each
 * worker's own subscriptions on that worker's thread. At most SLICE_ROWS are written in one turn of
 * a loop; the walk then goes on as a chore, behind the sockets, or as mail to the next worker. Only
 * one thread has the walk at a time, so that it needs no lock. At home it is answered.
 *
 * Bounds: STATE_ROWS_MAX rows a page; over all clients ROWS_PER_SECOND, which are reserved for a
 * page when it begins and given back as far as it did not need them.
 *
 * Failure modes: a bad parameter is answered 400, too many rows 429; none begins on a worker that
 * stops (503). A walk under way when the server stops goes on: the loops of all workers turn until
 * no request is left. If one had to be left behind, workers_fini finishes it. A client that leaves
 * meanwhile: the walk goes on to its end, and the answer falls away. */
#include "server/state_page.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/fanout.h"
#include "penstock/writer.h"
#include "server/fault.h"
#include "server/page.h"
#include "server/pairs.h"
#include "server/worker.h"

#define SLICE_ROWS 100u /* some 0.1 ms */
#define ROWS_PER_SECOND 20000
#define ROWS_AT_ONCE 40000
#define WORKER_OF(id) ((unsigned)((id) >> 48))

/* Where in a stream the walk is. */
enum part { BETWEEN, SHARDS, CONSUMERS };

struct walk {
	struct chore chore;
	struct mail mail;
	struct request *request;
	struct worker *at; /* whose turn it is */
	struct buf body;
	struct writer w;
	unsigned rows; /* that may still be written */
	bool full;     /* there is a next page */

	struct catalogue *catalogue; /* what the streams are read from; NULL: they are done */
	uint32_t stream;             /* the next one; or the one that the walk is in */
	enum part part;
	uint32_t item; /* the next shard or consumer of it */

	uint64_t subscription; /* the last one written; its worker's first id - 1: none yet */
};

/* ---- Pace ---- */

void state_pace_init(struct state_pace *pace, uint64_t now_ns)
{
	pthread_mutex_init(&pace->lock, NULL);
	bucket_init(&pace->rows, ROWS_PER_SECOND, ROWS_AT_ONCE, now_ns);
}

static bool reserve_rows(struct worker *worker, unsigned rows)
{
	struct state_pace *pace = &worker->server->state_pace;
	pthread_mutex_lock(&pace->lock);
	bool good = bucket_take(&pace->rows, rows, worker_now_ns(worker));
	pthread_mutex_unlock(&pace->lock);
	return good;
}

static void give_back_rows(struct worker *worker, unsigned rows)
{
	struct state_pace *pace = &worker->server->state_pace;
	pthread_mutex_lock(&pace->lock);
	bucket_charge(&pace->rows, -(int64_t)rows, worker_now_ns(worker));
	pthread_mutex_unlock(&pace->lock);
}

/* ---- Tokens ---- */

/* stream~NAME: behind that stream. shard~NAME~N: from shard N of it on. consumer~NAME~APP: behind
 * that consumer of it; APP may be empty. subscription~ID: behind that one. */
static void write_next(struct walk *walk, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void write_next(struct walk *walk, const char *format, ...)
{
	char token[2 * STREAM_NAME_MAX + 16];
	va_list args;
	va_start(args, format);
	vsnprintf(token, sizeof(token), format, args);
	va_end(args);
	write_kv_str(&walk->w, "next", str_of(token));
}

static void write_token(struct walk *walk)
{
	if (!walk->catalogue) {
		write_next(walk, "subscription~%llu", (unsigned long long)walk->subscription);
		return;
	}
	const struct stream_info *streams = walk->catalogue->streams, *in = &streams[walk->stream];
	if (walk->part == BETWEEN && walk->stream == walk->catalogue->n_streams)
		write_next(walk, "subscription~0");
	else if (walk->part == BETWEEN)
		write_next(walk, "stream~%s", streams[walk->stream - 1].name);
	else if (walk->part == SHARDS && walk->item < in->n_shards)
		write_next(walk, "shard~%s~%u", in->name, in->shards[walk->item].key.shard);
	else if (walk->part == SHARDS || walk->item == 0)
		write_next(walk, "consumer~%s~", in->name);
	else
		write_next(walk, "consumer~%s~%s", in->name, in->consumers[walk->item - 1].name);
}

static bool take_number(struct str s, uint64_t *out)
{
	*out = 0;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
		*out = *out * 10 + (uint64_t)(s.p[i] - '0');
	}
	return s.n >= 1 && s.n <= 19;
}

/* The first stream whose name is not before this one. */
static uint32_t lower_bound(const struct catalogue *catalogue, struct str name)
{
	uint32_t low = 0, high = catalogue->n_streams;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (str_compare(str_of(catalogue->streams[middle].name), name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static bool is_stream_at(const struct walk *walk, struct str name)
{
	return walk->stream < walk->catalogue->n_streams && str_equal(str_of(walk->catalogue->streams[walk->stream].name), name);
}

/* A stream that has gone meanwhile: the walk goes on with the one behind it. */
static bool resume_in_stream(struct walk *walk, struct str kind, struct str name, struct str item)
{
	uint64_t number;
	bool shard = str_equal(kind, STR("shard"));
	if (!shard && !str_equal(kind, STR("consumer")))
		return false;
	if (shard && !take_number(item, &number))
		return false;
	walk->stream = lower_bound(walk->catalogue, name);
	if (!is_stream_at(walk, name))
		return true;
	const struct stream_info *stream = &walk->catalogue->streams[walk->stream];
	walk->part = shard ? SHARDS : CONSUMERS;
	if (shard)
		while (walk->item < stream->n_shards && stream->shards[walk->item].key.shard < number)
			walk->item++;
	else
		while (walk->item < stream->n_consumers && str_compare(str_of(stream->consumers[walk->item].name), item) <= 0)
			walk->item++;
	return true;
}

static void end_streams(struct walk *walk)
{
	catalogue_unref(walk->catalogue);
	walk->catalogue = NULL;
}

/* False: it is none of the tokens that pages have given. */
static bool resume(struct walk *walk, struct str token)
{
	struct str rest = token, kind, name = {0}, item = STR("");
	if (!pairs_next(&rest, "~", &kind) || !pairs_next(&rest, "~", &name))
		return false;
	item = rest;
	if (str_equal(kind, STR("subscription"))) {
		end_streams(walk);
		return item.n == 0 && take_number(name, &walk->subscription);
	}
	if (name.n > STREAM_NAME_MAX || item.n > STREAM_NAME_MAX || (item.n && memchr(item.p, '~', item.n)))
		return false;
	if (!str_equal(kind, STR("stream")))
		return resume_in_stream(walk, kind, name, item);
	walk->stream = lower_bound(walk->catalogue, name);
	if (is_stream_at(walk, name))
		walk->stream++;
	return item.n == 0;
}

/* ---- Subscriptions ---- */

/* A subscription that has bytes and is not pulled waits for its transport, which knows why. */
static const char *state_of(struct subscription *sub)
{
	struct request *request = container_of(sub, struct request, sub);
	const char *blocked = NULL;
	if (sub->state == SUB_READY || sub->state == SUB_CLOSING)
		blocked = request->transport->blocked(request);
	return blocked ? blocked : sub_state_name(sub->state);
}

/* Why nothing is sent at this moment. */
static const char *reason_of(const char *state)
{
	static const char *const reasons[][2] = {
		{"JOINING", "waits for the lane to grant its lease and start"},
		{"IDLE", "is at the tail: nothing newer is durable"},
		{"READY", "has bytes, which leave in this turn"},
		{"WINDOW", "has bytes, but its client's HTTP/2 window is shut"},
		{"ROOM", "has bytes, but its client's socket is backed up"},
		{"BUDGET", "has spent its bytes per second"},
		{"READING", "is behind the recent batches: reads the log"},
		{"CLOSING", "has its last bytes to send"},
	};
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (strcmp(reasons[i][0], state) == 0)
			return reasons[i][1];
	return "is over";
}

static void add_subscription(void *arg, struct subscription *sub)
{
	struct walk *walk = arg;
	struct writer *w = &walk->w;
	const char *stream, *consumer, *state = state_of(sub);
	char shard[SHARD_NAME_LEN + 1];
	uint64_t records;
	int64_t lag_ms;
	shard_name(shard, sub->shard.shard);
	sub_lag(sub, &records, &lag_ms);
	sub_names(sub, &stream, &consumer);
	write_map(w);
	write_kv_int(w, "id", (int64_t)sub->id);
	write_kv_str(w, "stream", str_of(stream));
	write_kv_str(w, "shard", str_of(shard));
	write_kv_str(w, "consumer", str_of(consumer));
	write_kv_str(w, "state", str_of(state));
	write_kv_str(w, "reason", str_of(reason_of(state)));
	write_kv_int(w, "cursor", (int64_t)sub->next);
	write_kv_int(w, "lag_records", (int64_t)records);
	write_kv_int(w, "lag_ms", lag_ms);
	write_kv_int(w, "delivered_records", (int64_t)sub->delivered_records);
	write_kv_int(w, "delivered_bytes", (int64_t)sub->delivered_bytes);
	write_kv_int(w, "events", (int64_t)sub->events);
	write_kv_int(w, "age_ms", (int64_t)((worker_now_ns(walk->at) - sub->started_ns) / 1000000));
	write_kv_int(w, "worker", walk->at->number);
	write_map_end(w);
	buf_put_char(&walk->body, '\n');
	walk->rows--;
}

/* True: this worker has more. */
static bool add_subscriptions(struct walk *walk)
{
	unsigned most = walk->rows < SLICE_ROWS ? walk->rows : SLICE_ROWS;
	return hub_each(walk->at->hub, &walk->subscription, most, add_subscription, walk);
}

/* ---- Streams ---- */

static void begin_stream(struct walk *walk)
{
	const struct stream_info *stream = &walk->catalogue->streams[walk->stream];
	struct writer *w = &walk->w;
	write_map(w);
	write_kv_str(w, "name", str_of(stream->name));
	write_kv_str(w, "status", str_of(stream_status_name(stream->status)));
	write_kv_str(w, "mode", str_of(stream_mode_name(stream->mode)));
	write_kv_int(w, "retention_hours", stream->retention_hours);
	write_key(w, "shards");
	write_list(w);
}

static void add_shard(struct writer *w, const struct shard_info *shard)
{
	char name[SHARD_NAME_LEN + 1];
	shard_name(name, shard->key.shard);
	write_map(w);
	write_kv_str(w, "id", str_of(name));
	write_kv_str(w, "status", shard->closed ? STR("CLOSED") : STR("OPEN"));
	write_map_end(w);
}

static void add_consumer(struct writer *w, const struct consumer_info *consumer)
{
	write_map(w);
	write_kv_str(w, "name", str_of(consumer->name));
	write_kv_str(w, "status", str_of(consumer_status_name(consumer->status)));
	write_map_end(w);
}

static void begin_consumers(struct walk *walk)
{
	write_list_end(&walk->w);
	write_key(&walk->w, "consumers");
	write_list(&walk->w);
}

static void end_stream(struct walk *walk)
{
	write_list_end(&walk->w);
	write_map_end(&walk->w);
	buf_put_char(&walk->body, '\n');
}

/* Writes one row, or goes from one part of a stream to the next. Returns the rows it wrote. */
static unsigned step(struct walk *walk)
{
	const struct stream_info *stream = &walk->catalogue->streams[walk->stream];
	if (walk->part == BETWEEN) {
		begin_stream(walk);
		walk->part = SHARDS;
		walk->item = 0;
		return 1;
	}
	if (walk->part == SHARDS && walk->item < stream->n_shards) {
		add_shard(&walk->w, &stream->shards[walk->item++]);
		return 1;
	}
	if (walk->part == CONSUMERS && walk->item < stream->n_consumers) {
		add_consumer(&walk->w, &stream->consumers[walk->item++]);
		return 1;
	}
	if (walk->part == SHARDS) {
		begin_consumers(walk);
		walk->part = CONSUMERS;
		walk->item = 0;
		return 0;
	}
	end_stream(walk);
	walk->part = BETWEEN;
	walk->stream++;
	return 0;
}

static bool has_streams(const struct walk *walk) { return walk->part != BETWEEN || walk->stream < walk->catalogue->n_streams; }

static void add_streams(struct walk *walk)
{
	unsigned written = 0;
	while (has_streams(walk) && walk->rows > 0 && written < SLICE_ROWS) {
		unsigned n = step(walk);
		written += n;
		walk->rows -= n;
	}
}

/* ---- The walk ---- */

static void finish_streams(struct walk *walk)
{
	if (walk->part == SHARDS)
		begin_consumers(walk);
	if (walk->part != BETWEEN)
		end_stream(walk);
	write_list_end(&walk->w);
	write_key(&walk->w, "subscriptions");
	write_list(&walk->w);
}

static void answer(struct walk *walk)
{
	struct buf body;
	write_list_end(&walk->w);
	if (walk->full)
		write_token(walk);
	write_map_end(&walk->w);
	buf_put_char(&walk->body, '\n');
	body = walk->body;
	if (walk->catalogue)
		end_streams(walk);
	give_back_rows(walk->at, walk->rows);
	request_answer(walk->request, 200, PAGE_JSON, &body); /* the walk is gone */
}

static void go_to(struct walk *walk, struct worker *next)
{
	struct worker *from = walk->at;
	walk->at = next;
	outbox_add(&from->outbox, &next->box, &walk->mail);
}

static void go_home(struct walk *walk)
{
	if (walk->at == walk->request->worker)
		answer(walk);
	else
		go_to(walk, walk->request->worker);
}

/* The streams are written: to the worker that the token names, or to the first one. */
static void go_to_subscriptions(struct walk *walk)
{
	struct server *server = walk->at->server;
	unsigned number = WORKER_OF(walk->subscription);
	if (number >= server->n_workers)
		go_home(walk);
	else if (number == walk->at->number)
		worker_later(walk->at, &walk->chore);
	else
		go_to(walk, &server->workers[number]);
}

static void visit_streams(struct walk *walk)
{
	add_streams(walk);
	if (has_streams(walk) && walk->rows > 0) {
		worker_later(walk->at, &walk->chore);
		return;
	}
	walk->full = walk->rows == 0;
	finish_streams(walk);
	if (walk->full) {
		answer(walk);
		return;
	}
	end_streams(walk);
	go_to_subscriptions(walk);
}

static void visit_subscriptions(struct walk *walk)
{
	bool more = add_subscriptions(walk);
	walk->full = more && walk->rows == 0;
	if (walk->full) {
		go_home(walk);
	} else if (more) {
		worker_later(walk->at, &walk->chore);
	} else {
		walk->subscription = (uint64_t)(walk->at->number + 1) << 48;
		go_to_subscriptions(walk);
	}
}

static void visit(struct walk *walk)
{
	if (walk->catalogue)
		visit_streams(walk);
	else
		visit_subscriptions(walk);
}

static void on_chore(struct chore *chore) { visit(container_of(chore, struct walk, chore)); }

/* At home the walk may begin its subscriptions, or be over. */
static void on_mail(struct mail *mail)
{
	struct walk *walk = container_of(mail, struct walk, mail);
	bool here = WORKER_OF(walk->subscription) == walk->at->number;
	if (walk->full || (walk->at == walk->request->worker && !here))
		answer(walk);
	else
		visit(walk);
}

static void begin_walk(struct walk *walk)
{
	if (walk->catalogue) {
		visit_streams(walk);
		return;
	}
	finish_streams(walk); /* the token is a subscription's: there are none on this page */
	go_to_subscriptions(walk);
}

/* ---- The page ---- */

static void begin_page(struct walk *walk)
{
	struct worker *worker = walk->at;
	const struct server *server = worker->server;
	struct writer *w = &walk->w;
	json_t *faults = fault_json(fault_rules_now(worker));
	char *text = json_dumps(faults, JSON_COMPACT);
	json_decref(faults);
	writer_init(w, ENCODING_JSON, &walk->body);
	write_map(w);
	write_kv_str(w, "version", STR(PENSTOCK_VERSION));
	write_kv_int(w, "uptime_ms", (int64_t)((worker_now_ns(worker) - server->started_ns) / 1000000));
	write_kv_int(w, "workers", server->n_workers);
	write_key(w, "limits");
	write_map(w);
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		write_kv_int(w, limit_name((enum limit)i), limit_get(&server->options->limits, (enum limit)i));
	write_map_end(w);
	write_kv_str(w, "profile", str_of(server->profile ? server->profile->name : "none"));
	write_key(w, "faults");
	write_encoded(w, str_of(text));
	free(text);
	buf_put_char(&walk->body, '\n');
	write_key(w, "streams");
	write_list(w);
	if (walk->catalogue && walk->part != BETWEEN) /* the rest of a stream */
		begin_stream(walk);
	if (walk->catalogue && walk->part == CONSUMERS)
		begin_consumers(walk);
}

/* NULL, or what is wrong. */
static const char *take_parameters(struct walk *walk)
{
	struct str query = walk->request->exchange->query, value;
	uint64_t limit = STATE_ROWS_MAX;
	if (pairs_find(query, "&", "limit", &value) && (!take_number(value, &limit) || limit < 1 || limit > STATE_ROWS_MAX))
		return "limit wants a number of rows, 1 to 1000";
	if (pairs_find(query, "&", "after", &value) && !resume(walk, value))
		return "after wants what `next` of an earlier page was";
	walk->rows = (unsigned)limit;
	return NULL;
}

static void refuse(struct walk *walk, int http_status, const char *type, const char *text)
{
	if (walk->catalogue)
		end_streams(walk);
	page_error(walk->request, http_status, type, text);
}

void state_page(struct request *request)
{
	struct worker *worker = request->worker;
	struct walk *walk = arena_zalloc(&request->arena, sizeof(*walk));
	*walk = (struct walk){.chore.run = on_chore,
			      .mail.run = on_mail,
			      .request = request,
			      .at = worker,
			      .catalogue = catalogue_ref(worker->catalogue)};
	const char *wrong = take_parameters(walk);
	if (wrong) {
		refuse(walk, 400, "ValidationException", wrong);
	} else if (worker->stopping) {
		refuse(walk, 503, "ServiceUnavailable", "The server stops.");
	} else if (!reserve_rows(worker, walk->rows)) {
		refuse(walk, 429, "LimitExceededException", "/state is read too fast: all clients together may read 20000 rows a second.");
	} else if (!request_reserve(request, STATE_HEAD_BYTES + walk->rows * STATE_ROW_BYTES, BUDGET_PAGE)) {
		refuse(walk, 503, "ServiceUnavailable", "There is no memory for this page now.");
	} else {
		begin_page(walk);
		begin_walk(walk);
	}
}
