/* admin.c: /healthz, /metrics, /state; /faults is fault_page.c's.
 *
 * Threads: a page is answered on its request's worker. /state goes round: its mail visits every other worker, each of which adds its own
 * subscriptions on its own thread, and comes home to be answered. Nobody else may touch the document meanwhile, so it needs no lock.
 *
 * - /healthz: 200 as soon as the worker turns; for POST too, which protocol checkers use;
 * - /metrics: Prometheus text of the process's counters;
 * - /state: the limits (0: lifted), profile and faults, streams with their shards and consumers, and every subscription with what it waits
 * for, in words.
 *
 * Fails: /state during shutdown is refused, and a round under way is cut short: a worker that has stopped reads no mail. A client that
 * leaves meanwhile: the round is finished, and its answer falls away. */
#include "server/admin.h"

#include <jansson.h>
#include <stdlib.h>

#include "penstock/fanout.h"
#include "penstock/metrics.h"
#include "server/browser.h"
#include "server/fault.h"
#include "server/worker.h"

#define JSON_TYPE "application/json"

struct state_call {
	struct mail mail;
	struct request *request;
	struct worker *at; /* whose turn it is */
	json_t *root, *subscriptions;
};

/* ---- What one worker adds ---- */

/* The state as people want it: a subscription that has bytes and is not pulled waits for its transport, which says for what. */
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

static const char *consumer_name(const struct stream_info *stream, uint64_t id)
{
	for (uint32_t i = 0; stream && i < stream->n_consumers; i++)
		if (stream->consumers[i].id == id)
			return stream->consumers[i].name;
	return "";
}

static void add_subscription(void *arg, struct subscription *sub)
{
	struct state_call *call = arg;
	struct worker *worker = call->at;
	const struct stream_info *stream = catalogue_stream_by_id(worker->catalogue, sub->shard.stream);
	char shard[SHARD_NAME_LEN + 1];
	uint64_t records;
	int64_t lag_ms;
	const char *state = state_of(sub);
	shard_name(shard, sub->shard.shard);
	sub_lag(sub, &records, &lag_ms);
	uint64_t age_ms = (worker_now_ns(worker) - sub->started_ns) / 1000000;
	json_array_append_new(call->subscriptions,
			      json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:i}", "id", (json_int_t)sub->id,
					"stream", stream ? stream->name : "", "shard", shard, "consumer",
					consumer_name(stream, sub->consumer), "state", state, "reason", reason_of(state), "cursor",
					(json_int_t)sub->next, "lag_records", (json_int_t)records, "lag_ms", (json_int_t)lag_ms,
					"delivered_records", (json_int_t)sub->delivered_records, "delivered_bytes",
					(json_int_t)sub->delivered_bytes, "events", (json_int_t)sub->events, "age_ms", (json_int_t)age_ms,
					"worker", (int)worker->number));
}

/* ---- What the first one adds ---- */

static json_t *shards_of(const struct stream_info *stream)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		char name[SHARD_NAME_LEN + 1];
		shard_name(name, stream->shards[i].key.shard);
		json_array_append_new(list, json_pack("{s:s, s:s}", "id", name, "status", stream->shards[i].closed ? "CLOSED" : "OPEN"));
	}
	return list;
}

static json_t *consumers_of(const struct stream_info *stream)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < stream->n_consumers; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", stream->consumers[i].name, "status",
						      consumer_status_name(stream->consumers[i].status)));
	return list;
}

static json_t *streams_of(const struct catalogue *catalogue)
{
	json_t *list = json_array();
	for (uint32_t i = 0; i < catalogue->n_streams; i++) {
		const struct stream_info *stream = &catalogue->streams[i];
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:i, s:o, s:o}", "name", stream->name, "status",
						      stream_status_name(stream->status), "mode", stream_mode_name(stream->mode),
						      "retention_hours", (int)stream->retention_hours, "shards", shards_of(stream),
						      "consumers", consumers_of(stream)));
	}
	return list;
}

static json_t *limits_of(const struct limits *limits)
{
	json_t *object = json_object();
	for (unsigned i = 0; i < LIMIT_COUNT; i++)
		json_object_set_new(object, limit_name((enum limit)i), json_integer(limit_get(limits, (enum limit)i)));
	return object;
}

/* ---- The round ---- */

static void state_answer(struct state_call *call)
{
	struct buf body = {0};
	char *text = json_dumps(call->root, JSON_INDENT(2));
	json_decref(call->root);
	if (text)
		buf_put_str(&body, str_of(text));
	free(text);
	buf_put_char(&body, '\n');
	request_answer(call->request, 200, JSON_TYPE, &body);
}

/* Adds this worker's part, then mails the call to the next one; home again it is answered. */
static void state_visit(struct state_call *call)
{
	struct worker *worker = call->at, *home = call->request->worker;
	const struct server *server = worker->server;
	hub_each(worker->hub, add_subscription, call);
	call->at = &server->workers[(worker->number + 1) % server->n_workers];
	if (call->at == home && worker == home)
		state_answer(call);
	else
		outbox_add(&worker->outbox, &call->at->box, &call->mail);
}

static void on_state(struct mail *mail)
{
	struct state_call *call = container_of(mail, struct state_call, mail);
	struct worker *worker = call->at, *home = call->request->worker;
	if (worker == home) {
		state_answer(call);
	} else if (worker->stopping) { /* straight home: the next one may have stopped already */
		call->at = home;
		outbox_add(&worker->outbox, &home->box, &call->mail);
	} else {
		state_visit(call);
	}
}

static void answer_state(struct request *request)
{
	struct worker *worker = request->worker;
	const struct server *server = worker->server;
	struct state_call *call = arena_zalloc(&request->arena, sizeof(*call));
	call->request = request;
	call->mail.run = on_state;
	call->at = worker;
	call->subscriptions = json_array();
	call->root = json_pack("{s:s, s:I, s:i, s:o, s:s, s:o, s:o, s:o}", "version", PENSTOCK_VERSION, "uptime_ms",
			       (json_int_t)((worker_now_ns(worker) - server->started_ns) / 1000000), "workers", (int)server->n_workers,
			       "limits", limits_of(&server->options->limits), "profile", server->profile ? server->profile->name : "none",
			       "faults", fault_json(fault_rules_now(worker)), "streams", streams_of(worker->catalogue), "subscriptions",
			       call->subscriptions);
	state_visit(call);
}

/* ---- The pages ---- */

static void answer_healthz(struct request *request)
{
	struct buf body = {0};
	buf_put_str(&body, STR("{\"status\":\"ok\"}"));
	request_answer(request, 200, JSON_TYPE, &body);
}

static void answer_metrics(struct request *request)
{
	struct buf body = {0};
	metrics_text(&body);
	request_answer(request, 200, "text/plain; version=0.0.4", &body);
}

/* A Kinesis call may be posted to any path: with a target it is one, wherever it goes. */
static bool is_healthz(const struct request *request, bool get)
{
	bool post = str_equal(request->exchange->method, STR("POST")) && !str_present(request_header(request, "x-amz-target"));
	return (get || post) && str_equal(request->exchange->path, STR("/healthz"));
}

bool admin_healthz(struct request *request)
{
	if (!is_healthz(request, str_equal(request->exchange->method, STR("GET"))))
		return false;
	request->plain = true;
	answer_healthz(request);
	return true;
}

bool admin_page(struct request *request)
{
	struct str path = request->exchange->path;
	bool get = str_equal(request->exchange->method, STR("GET")), put = str_equal(request->exchange->method, STR("PUT"));
	void (*page)(struct request *) = NULL;
	if (str_equal(path, STR("/faults")) && (get || put))
		page = fault_page;
	else if (get && str_equal(path, STR("/metrics")))
		page = answer_metrics;
	else if (get && str_equal(path, STR("/state")) && !request->worker->stopping)
		page = answer_state;
	if (page == NULL)
		return false;
	request->plain = true;
	if (browser_host(request))
		page(request);
	return true;
}
