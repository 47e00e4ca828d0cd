/* fault.c: where faults are met.
 *
 * Thread: the request's worker, but for the running counts (atomic) and fault_set.
 *
 * - fault_call: one running number per operation, from which all kinds draw; the first that is met of reset, error and throttle ends the
 *   call before anything was done. Else what comes later is noted in the request: a delay, a lost answer, the end of a subscription.
 * - a hold: a timer of the worker's loop with what is to happen then: an answer that is kept back, a call that begins later, a subscription
 *   that ends or is reset. A request has at most one at a time, and it dies with the request.
 *
 * A delayed answer is kept in memory, and counted there, but what it tells of is done already.
 *
 * Failure modes: a client that leaves while its answer is held: the answer falls away when its time comes, as any other's. A server that
 * stops answers at once what it holds. */
#include "server/fault.h"

#include <assert.h>
#include <event2/event.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "penstock/metrics.h"
#include "penstock/slog.h"
#include "server/worker.h"

struct faults {
	atomic_uint refs;
	struct fault_rules rules;
	_Atomic uint64_t calls[OP_COUNT];
};

/* What a request is still to meet. */
struct fault_plan {
	bool lost;                 /* done, and answered 500 all the same */
	uint64_t delay_ns;         /* its answer is kept back for so long */
	uint64_t end_ns, reset_ns; /* a subscription's, from its start */
	void (*perform)(struct request *request);
	struct fault_hold *hold; /* something waits for its time */
};

struct fault_hold {
	struct list link; /* worker->holds */
	struct event *timer;
	struct request *request;
	void (*then)(struct request *request); /* NULL: the answer below */
	int http_status;
	const char *content_type;
	struct buf body; /* counted in METRIC_answer_bytes */
};

/* ---- The rules that hold ---- */

static void faults_unref(struct faults *faults)
{
	if (faults && atomic_fetch_sub_explicit(&faults->refs, 1, memory_order_acq_rel) == 1)
		free(faults);
}

struct new_faults {
	struct mail mail;
	struct worker *worker;
	struct faults *faults; /* NULL: none from here on */
};

static void on_faults(struct mail *mail)
{
	struct new_faults *news = container_of(mail, struct new_faults, mail);
	faults_unref(news->worker->faults);
	news->worker->faults = news->faults;
	free(news);
}

static void print_rule(void *arg, const char *name, const char *value) { buf_printf(arg, " %s=%s", name, value); }

static void say(const struct fault_rules *rules)
{
	struct buf text = {0};
	if (!fault_rules_any(rules)) {
		slog(SLOG_WARN, "faults_off", NULL);
		return;
	}
	fault_rules_each(rules, print_rule, &text);
	slog(SLOG_WARN, "faults_on", "seed=%" PRIu64 STR_FMT " advice=\"these faults are met on purpose\"", rules->seed, (int)text.n,
	     (const char *)text.p);
	buf_free(&text);
}

void fault_set(struct server *server, const struct fault_rules *rules)
{
	/* Two that set at once: every worker must come to have the same. */
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	struct faults *faults = NULL;
	if (fault_rules_any(rules)) {
		faults = xcalloc(1, sizeof(*faults));
		faults->rules = *rules;
		atomic_init(&faults->refs, server->n_workers);
	}
	pthread_mutex_lock(&lock);
	say(rules);
	for (unsigned i = 0; i < server->n_workers; i++) {
		struct new_faults *news = xmalloc(sizeof(*news));
		*news = (struct new_faults){.mail.run = on_faults, .worker = &server->workers[i], .faults = faults};
		mailbox_post(&server->workers[i].box, &news->mail);
	}
	pthread_mutex_unlock(&lock);
}

const struct fault_rules *fault_rules_now(const struct worker *worker) { return worker->faults ? &worker->faults->rules : NULL; }

void fault_begin(struct worker *worker) { list_init(&worker->holds); }

void fault_fini(struct worker *worker)
{
	assert(list_empty(&worker->holds));
	faults_unref(worker->faults);
}

/* ---- Holding back ---- */

static void hold_free(struct fault_hold *hold)
{
	hold->request->fault->hold = NULL;
	list_remove(&hold->link);
	event_free(hold->timer);
	metric_add(METRIC_answer_bytes, -(int64_t)hold->body.n);
	buf_free(&hold->body);
	free(hold);
}

static void go_on(struct fault_hold *hold)
{
	struct request *request = hold->request;
	void (*then)(struct request *) = hold->then;
	struct buf body = hold->body;
	int http_status = hold->http_status;
	const char *content_type = hold->content_type;
	metric_add(METRIC_answer_bytes, -(int64_t)body.n);
	hold->body = (struct buf){0};
	hold_free(hold);
	if (!then)
		request_answer(request, http_status, content_type, &body);
	else
		then(request);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	go_on(arg);
}

static struct fault_hold *hold_new(struct request *request, uint64_t ns, void (*then)(struct request *))
{
	struct worker *worker = request->worker;
	struct timeval wait = {.tv_sec = (time_t)(ns / 1000000000), .tv_usec = (suseconds_t)(ns / 1000 % 1000000)};
	struct fault_hold *hold = xcalloc(1, sizeof(*hold));
	assert(!request->fault->hold);
	hold->request = request;
	hold->then = then;
	hold->timer = evtimer_new(worker->base, on_time, hold);
	assert(hold->timer); /* small memory; see bytes.h */
	evtimer_add(hold->timer, &wait);
	list_append(&worker->holds, &hold->link);
	request->fault->hold = hold;
	return hold;
}

void fault_drop(struct request *request)
{
	if (request->fault->hold)
		hold_free(request->fault->hold);
	free(request->fault);
	request->fault = NULL;
}

void fault_stop(struct worker *worker)
{
	struct list held, *node;
	list_init(&held);
	list_splice(&held, &worker->holds);
	while ((node = list_pop(&held)))
		go_on(container_of(node, struct fault_hold, link));
}

bool fault_hold_answer(struct request *request, int http_status, const char *content_type, struct buf *body)
{
	uint64_t ns = request->fault->delay_ns;
	request->fault->delay_ns = 0;
	if (ns == 0 || request->worker->stopping)
		return false;
	metric_add(METRIC_faults_delay, 1);
	struct fault_hold *hold = hold_new(request, ns, NULL);
	hold->http_status = http_status;
	hold->content_type = content_type;
	hold->body = *body;
	*body = (struct buf){0};
	metric_add(METRIC_answer_bytes, (int64_t)hold->body.n);
	return true;
}

/* ---- Calls ---- */

static bool is_data(enum operation_number operation)
{
	return operation == OP_PUT_RECORD || operation == OP_PUT_RECORDS || operation == OP_GET_RECORDS ||
	       operation == OP_GET_SHARD_ITERATOR;
}

/* The texts say that it was on purpose: whoever looks for a mistake is not led astray. */
static void throttle(struct request *request, enum operation_number operation)
{
	metric_add(METRIC_faults_throttle, 1);
	request_fail(request, is_data(operation) ? STATUS_THROTTLED : STATUS_LIMIT_EXCEEDED,
		     "Rate exceeded, on purpose: --fault throttle is on.");
}

static void fail(struct request *request, const char *name)
{
	request_fail(request, STATUS_INTERNAL, "Internal Service Failure, on purpose: --fault %s is on.", name);
}

static void reset(struct request *request)
{
	metric_add(METRIC_faults_reset, 1);
	request->transport->reset(request);
}

/* True: it ends here. */
static bool refuse(struct request *request, const struct fault_rules *rules, enum operation_number operation, uint64_t nth)
{
	uint64_t ns;
	if (operation != OP_SUBSCRIBE_TO_SHARD && fault_rules_meet(rules, FAULT_RESET, operation, nth, &ns)) {
		reset(request);
	} else if (fault_rules_meet(rules, FAULT_ERROR, operation, nth, &ns)) {
		metric_add(METRIC_faults_error, 1);
		fail(request, "error");
	} else if (fault_rules_meet(rules, FAULT_THROTTLE, operation, nth, &ns)) {
		throttle(request, operation);
	} else {
		return false;
	}
	return true;
}

/* A client that has left meanwhile must not begin a subscription: nobody would end it. */
static void perform_late(struct request *request)
{
	struct buf nothing = {0};
	if (request->transport)
		request->fault->perform(request);
	else
		request_answer(request, 500, NULL, &nothing);
}

bool fault_call(struct request *request, void (*perform)(struct request *request))
{
	struct faults *faults = request->worker->faults;
	enum operation_number operation = (enum operation_number)request->exchange->operation->number;
	uint64_t nth = atomic_fetch_add_explicit(&faults->calls[operation], 1, memory_order_relaxed), delay_ns, unused;
	const struct fault_rules *rules = &faults->rules;
	if (refuse(request, rules, operation, nth))
		return true;
	request->fault = xcalloc(1, sizeof(*request->fault));
	request->fault->lost = fault_rules_meet(rules, FAULT_LOST_ANSWER, operation, nth, &unused);
	bool delayed = fault_rules_meet(rules, FAULT_DELAY, operation, nth, &delay_ns) && !request->worker->stopping;
	if (operation != OP_SUBSCRIBE_TO_SHARD) {
		request->fault->delay_ns = delay_ns;
		return false;
	}
	fault_rules_meet(rules, FAULT_END, operation, nth, &request->fault->end_ns);
	fault_rules_meet(rules, FAULT_RESET, operation, nth, &request->fault->reset_ns);
	if (!delayed)
		return false;
	metric_add(METRIC_faults_delay, 1);
	request->fault->perform = perform;
	hold_new(request, delay_ns, perform_late);
	return true;
}

bool fault_lost(struct request *request)
{
	if (!request->fault->lost)
		return false;
	request->fault->lost = false;
	metric_add(METRIC_faults_lost_answer, 1);
	fail(request, "lost-answer");
	return true;
}

/* ---- Subscriptions ---- */

/* One that is over already is on its way out. */
static bool lives(const struct request *request) { return request->transport && request->subscribed; }

static void end_now(struct request *request)
{
	if (!lives(request) || request->worker->stopping)
		return;
	metric_add(METRIC_faults_end, 1);
	sub_finish(&request->sub);
}

static void reset_now(struct request *request)
{
	if (lives(request) && !request->worker->stopping)
		reset(request);
}

void fault_joined(struct request *request)
{
	uint64_t end_ns = request->fault->end_ns, reset_ns = request->fault->reset_ns;
	if (reset_ns && (!end_ns || reset_ns < end_ns))
		hold_new(request, reset_ns, reset_now);
	else if (end_ns)
		hold_new(request, end_ns, end_now);
}
