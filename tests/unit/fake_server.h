/* fake_server.h: a worker without threads, sockets, store or hub, for tests of dispatch and the operations.
 *
 * The functions of the rooms below are defined here, so that the linker takes none of the real ones: each keeps what it was given, and a
 * test lets it answer. Included by one file per test executable. */
#ifndef FAKE_SERVER_H
#define FAKE_SERVER_H

#include <criterion/criterion.h>
#include <jansson.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "penstock/api.h"
#include "penstock/fanout.h"
#include "penstock/limits.h"
#include "server/answer_bound.h"
#include "server/rates.h"
#include "server/request.h"
#include "server/worker.h"

#define NOW_MS INT64_C(1600000100000)
#define CREATED_S INT64_C(1600000000)
#define AUTH "AWS4-HMAC-SHA256 Credential=a/20200101/us-east-1/kinesis/aws4_request, SignedHeaders=host, Signature=abc"

static struct options fake_options = {.limits = LIMITS_AWS};
static struct server fake_server;
static struct worker fake_worker;
static struct io fake_io;
static int64_t fake_now_ms;

/* What the last answer was. */
static struct {
	int count, status;
	char type[64];
	struct buf body;
	struct header extra[8];
	uint32_t n_extra;
	bool plain, bare, streamed;
	char values[8][256];
} answer;

/* What was sent on, and waits. */
static struct store_put *sent_put;
static struct store_locate *sent_locate;
static struct store_read *sent_read;
static struct change *sent_change;
static struct subscription *sent_sub;
static struct position sent_position;

/* ---- The rooms below ---- */

uint64_t worker_now_ns(const struct worker *worker)
{
	(void)worker;
	return UINT64_C(1000000000);
}
void store_put(struct store *store, struct outbox *from, struct store_put *put)
{
	(void)store, (void)from;
	sent_put = put;
}
void store_locate(struct store *store, struct outbox *from, struct store_locate *locate)
{
	(void)store, (void)from;
	sent_locate = locate;
}
void store_read(struct store *store, struct outbox *from, struct store_read *read)
{
	(void)store, (void)from;
	sent_read = read;
}
void store_read_release(struct store_read *read)
{
	for (uint32_t i = 0; i < read->n_batches; i++)
		batch_unref(read->batches[i]);
	free(read->batches);
	read->batches = NULL;
	read->n_batches = 0;
}
void catalogue_change(struct control *control, struct outbox *from, struct change *change)
{
	(void)control, (void)from;
	sent_change = change;
}
void sub_start(struct hub *hub, struct subscription *sub, const struct sub_ops *ops, struct shard_key shard, uint64_t consumer,
	       struct position position)
{
	(void)hub;
	sub->ops = ops;
	sub->shard = shard;
	sub->consumer = consumer;
	sent_position = position;
	sent_sub = sub;
}
void sub_stop(struct subscription *sub) { (void)sub; }
static unsigned n_finished;
void sub_finish(struct subscription *sub)
{
	(void)sub;
	n_finished++;
}
bool hub_each(struct hub *hub, uint64_t *after, unsigned most, void (*fn)(void *arg, struct subscription *sub), void *arg)
{
	(void)hub;
	if (!sent_sub || *after >= sent_sub->id)
		return false;
	if (most == 0)
		return true;
	*after = sent_sub->id;
	fn(arg, sent_sub);
	return false;
}
static const char *fake_sub_stream = "orders", *fake_sub_consumer = "app";
void sub_names(const struct subscription *sub, const char **stream, const char **consumer)
{
	(void)sub;
	*stream = fake_sub_stream;
	*consumer = fake_sub_consumer;
}
/* Runs at once: a walk in slices is over when its request was sent. */
static unsigned n_later;
void worker_later(struct worker *worker, struct chore *chore)
{
	(void)worker;
	n_later++;
	chore->run(chore);
}
void sub_lag(const struct subscription *sub, uint64_t *records, int64_t *ms)
{
	(void)sub;
	*records = 7;
	*ms = 8;
}
const char *sub_state_name(enum sub_state state) { return state == SUB_JOINING ? "JOINING" : "READY"; }

static int64_t fake_wall_ms(struct io *io)
{
	(void)io;
	return fake_now_ms;
}
/* The time that retention goes by, behind the wall clock, and the latest time ever shown. */
static int64_t fake_doubt_ms, fake_latest_ms;
int64_t store_believed_ms(const struct store *store)
{
	(void)store;
	return fake_now_ms - fake_doubt_ms;
}
int64_t store_latest_ms(const struct store *store)
{
	(void)store;
	return fake_latest_ms > fake_now_ms ? fake_latest_ms : fake_now_ms;
}
static uint64_t fake_mono_ns(struct io *io)
{
	(void)io;
	return UINT64_C(1000000000);
}

/* ---- The transport ---- */

static void on_reply(struct request *request, int http_status, const char *content_type, struct buf *body)
{
	const struct operation *operation = request->exchange->operation;
	if (operation && http_status == 200 && operation->number != OP_GET_RECORDS)
		cr_expect_leq(ANSWER_HEAD + body->n, answer_bound(request), "%s: an answer of %zu bytes is beyond its bound",
			      operation->name, body->n);
	request_hand_over(request, body->n); /* as a transport does; nothing has to be given back here */
	answer.count++;
	answer.status = http_status;
	snprintf(answer.type, sizeof(answer.type), "%s", content_type ? content_type : "none");
	buf_free(&answer.body);
	answer.body = *body;
	*body = (struct buf){0};
	buf_put_char(&answer.body, '\0');
	answer.body.n--;
	memcpy(answer.extra, request->exchange->extra, sizeof(answer.extra));
	for (uint32_t i = 0; i < request->exchange->n_extra; i++)
		snprintf(answer.values[i], sizeof(answer.values[i]), STR_FMT, STR_ARG(request->exchange->extra[i].value));
	answer.n_extra = request->exchange->n_extra;
	answer.plain = request->plain;
	answer.bare = request->bare;
	request_free(request);
}
static void on_stream(struct request *request)
{
	(void)request;
	answer.streamed = true;
}
static void on_transport_ready(struct request *request) { (void)request; }
static bool on_transport_probe(struct request *request)
{
	(void)request;
	return false;
}
static const char *fake_blocked;
static const char *on_transport_blocked(struct request *request)
{
	(void)request;
	return fake_blocked;
}
static unsigned n_reset;
static bool fake_remote; /* the client is on another machine */
static void on_transport_reset(struct request *request)
{
	n_reset++;
	request->in_work = false;
	request_free(request);
}
static bool on_transport_local(struct request *request)
{
	(void)request;
	return !fake_remote;
}
static const struct transport_ops fake_transport = {
	on_reply, on_stream, on_transport_ready, on_transport_probe, on_transport_blocked, on_transport_reset, on_transport_local};

static inline const char *text(void) { return (const char *)answer.body.p; }

static inline const char *extra(const char *name)
{
	for (uint32_t i = 0; i < answer.n_extra; i++)
		if (str_equal(answer.extra[i].name, str_of(name)))
			return answer.values[i];
	return NULL;
}

/* ---- A catalogue ---- */

/* orders: shard 0 split into 2 and 3, shards 1 and 4 merged into 5; all but 2, 3 and 5 closed. */
static struct shard_info orders_shards[6], single_shard[1];
static struct consumer_info orders_consumers[3];
static struct stream_info streams[5];
static struct catalogue fake_catalogue;

static inline struct shard_info fake_shard(uint64_t stream, uint32_t number, int64_t created_s, uint32_t parent, uint32_t adjacent,
					   int64_t closed_s)
{
	return (struct shard_info){.key = {stream, number, created_s},
				   .hash_first = number,
				   .hash_last = number + 9,
				   .parent = parent,
				   .adjacent = adjacent,
				   .closed = closed_s != 0,
				   .closed_s = closed_s,
				   .opened_ms = (created_s + (parent == NO_PARENT ? 1 : 0)) * 1000,
				   .closed_ms = closed_s * 1000};
}

static inline void fake_catalogue_fill(void)
{
	orders_shards[0] = fake_shard(1, 0, CREATED_S, NO_PARENT, NO_PARENT, CREATED_S + 20);
	orders_shards[1] = fake_shard(1, 1, CREATED_S, NO_PARENT, NO_PARENT, CREATED_S + 40);
	orders_shards[2] = fake_shard(1, 2, CREATED_S + 21, 0, NO_PARENT, 0);
	orders_shards[3] = fake_shard(1, 3, CREATED_S + 21, 0, NO_PARENT, 0);
	orders_shards[4] = fake_shard(1, 4, CREATED_S, NO_PARENT, NO_PARENT, CREATED_S + 40);
	orders_shards[5] = fake_shard(1, 5, CREATED_S + 41, 1, 4, 0);
	orders_shards[0].end_index = orders_shards[1].end_index = orders_shards[4].end_index = 2;
	orders_consumers[0] = (struct consumer_info){11, "app", CONSUMER_ACTIVE, CREATED_S + 5, (CREATED_S + 5) * 1000};
	orders_consumers[1] = (struct consumer_info){12, "fresh", CONSUMER_CREATING, CREATED_S + 6, (CREATED_S + 6) * 1000};
	orders_consumers[2] = (struct consumer_info){13, "gone", CONSUMER_DELETING, CREATED_S + 7, (CREATED_S + 7) * 1000};
	single_shard[0] = fake_shard(4, 0, CREATED_S, NO_PARENT, NO_PARENT, 0);
	streams[0] = (struct stream_info){2, "coming", STREAM_CREATING, MODE_PROVISIONED, 2, NOW_MS - 10, 24, 1024, 0, NULL, 0, NULL};
	streams[1] = (struct stream_info){3, "leaving", STREAM_DELETING, MODE_PROVISIONED, 1, CREATED_S * 1000, 24, 1024, 0, NULL, 0, NULL};
	streams[2] = (struct stream_info){
		1, "orders", STREAM_ACTIVE, MODE_PROVISIONED, 3, CREATED_S * 1000 + 1, 24, 1024, 6, orders_shards, 3, orders_consumers};
	streams[3] =
		(struct stream_info){4, "solo", STREAM_UPDATING, MODE_ON_DEMAND, 4, CREATED_S * 1000, 48, 2048, 1, single_shard, 0, NULL};
	fake_catalogue = (struct catalogue){.refs = 1, .version = 1, .n_streams = 4, .streams = streams};
}

static inline json_t *member(const char *path);

static inline void fake_teardown(void)
{
	buf_free(&answer.body);
	member("");
	rates_free(fake_server.rates);
	EVP_MD_CTX_free(fake_worker.md5_ctx);
	EVP_MD_free(fake_worker.md5);
}

static inline void fake_setup(void)
{
	static const struct limits no_rates = LIMITS_OFF; /* the clock stands: a test of many calls would be refused */
	fake_now_ms = NOW_MS;
	fake_io.wall_ms = fake_wall_ms;
	fake_io.mono_ns = fake_mono_ns;
	fake_server = (struct server){.options = &fake_options,
				      .io = &fake_io,
				      .workers = &fake_worker,
				      .n_workers = 1,
				      .region = "us-east-1",
				      .account = "000000000000"};
	fake_server.rates = rates_new(&no_rates);
	budget_init(&fake_server.answers, ANSWERS_MAX);
	fake_worker.answers = (struct budget_share){0};
	memset(fake_server.iterator_key, 1, 32);
	memset(fake_server.page_key, 2, 32);
	fake_worker.server = &fake_server;
	fake_worker.catalogue = &fake_catalogue;
	fake_worker.md5 = EVP_MD_fetch(NULL, "MD5", NULL);
	fake_worker.md5_ctx = EVP_MD_CTX_new();
	outbox_init(&fake_worker.outbox);
	fake_catalogue_fill();
}

/* ---- Calls ---- */

static inline struct request *fake_request(const char *method, const char *target)
{
	struct request *request = request_new(&fake_worker, &fake_transport, NULL);
	request_set_target(request, str_of(method), str_of(target));
	answer.status = 0;
	return request;
}

static inline void fake_header(struct request *request, const char *name, const char *value)
{
	cr_assert(request_add_header(request, str_of(name), str_of(value)));
}

static inline void fake_send(struct request *request, const void *body, size_t n)
{
	if (n > 0)
		cr_assert_eq(request_add_body(request, body, n, n), 0);
	request_dispatch(request);
}

/* A signed JSON call. */
static inline void call(const char *operation, const char *body)
{
	struct request *request = fake_request("POST", "/");
	char target[128];
	snprintf(target, sizeof(target), "Kinesis_20131202.%s", operation);
	fake_header(request, "X-Amz-Target", target);
	fake_header(request, "Content-Type", "application/x-amz-json-1.1");
	fake_header(request, "Authorization", AUTH);
	fake_header(request, "X-Amz-Date", "20200101T000000Z");
	fake_send(request, body, strlen(body));
}

/* The last answer's member, by path "a.0.b". Lives until the next answer that is looked at. */
static inline json_t *member(const char *path)
{
	static json_t *root;
	json_decref(root);
	root = NULL;
	if (answer.body.p == NULL)
		return NULL;
	root = json_loads(text(), 0, NULL);
	cr_assert_not_null(root, "not JSON: %s", text());
	json_t *at = root;
	while (*path && at) {
		size_t n = strcspn(path, ".");
		char *key = xstrndup(path, n);
		at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10)) : json_object_get(at, key);
		free(key);
		path += path[n] ? n + 1 : n;
	}
	return at;
}

static inline const char *string(const char *path)
{
	const char *value = json_string_value(member(path));
	return value ? value : "(absent)";
}

static inline void expect_error(int line, int status, const char *type, const char *message)
{
	cr_expect_eq(answer.status, status, "line %d: status %d: %s", line, answer.status, text());
	cr_expect_str_eq(string("__type"), type, "line %d: %s", line, text());
	cr_expect_str_eq(string("message"), message, "line %d: %s", line, text());
	cr_expect_str_eq(extra("x-amzn-ErrorType"), type);
}
#define EXPECT_ERROR(type, message) expect_error(__LINE__, 400, type, message)

#endif
