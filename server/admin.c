/* admin.c: which pages there are, and which clients see them.
 *
 * Thread: a page is answered on its request's worker, or goes round (state_page.c).
 *
 * - /healthz: 200 as soon as the worker turns; for POST too, which protocol checkers use. Open;
 * - /metrics: Prometheus text of the process's counters: as many rows whatever streams there are,
 *   and no names. With --metrics-token-file its bearer token is wanted, else it is open, also with
 *   --credentials: a scraper cannot sign;
 * - /state and /faults name streams and consumers: signed when --credentials is on.
 *
 * Without --credentials pages look at Host (browser.h).
 *
 * Fails: 403 for a signature that is not good, with the API's type and text; 401 for a token. */
#include "server/admin.h"

#include "penstock/metrics.h"
#include "server/auth.h"
#include "server/bearer.h"
#include "server/browser.h"
#include "server/fault.h"
#include "server/page.h"
#include "server/state_page.h"
#include "server/worker.h"

/* ---- The pages ---- */

static void answer_healthz(struct request *request)
{
	struct buf body = {0};
	buf_put_str(&body, STR("{\"status\":\"ok\"}"));
	request_answer(request, 200, PAGE_JSON, &body);
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

/* ---- Guards: may this client see the page? False: answered ---- */

static bool is_signed(struct request *request, const char *action)
{
	struct auth_call call = {.service = STR("kinesis"), .action = action};
	enum status status = request->worker->auth ? auth_check(request, &call) : STATUS_OK;
	if (status)
		page_error(request, 403, status_type(status), arena_printf(&request->arena, STR_FMT, STR_ARG(call.text)).p);
	return !status;
}

static bool guard_signed(struct request *request, const char *action) { return is_signed(request, action) && browser_host(request); }

/* A client that knows the token is no web site, whatever its Host. */
static bool guard_token(struct request *request, const char *action)
{
	struct server *server = request->worker->server;
	(void)action;
	if (!server->options->metrics_token_file)
		return browser_host(request);
	if (bearer_is_good(&server->metrics_token, request_header(request, "authorization")))
		return true;
	request->exchange->extra[request->exchange->n_extra++] = (struct header){STR("WWW-Authenticate"), STR("Bearer realm=\"penstock\"")};
	page_error(request, 401, "UnauthorizedException", "This page wants the token of --metrics-token-file: Authorization: Bearer TOKEN");
	return false;
}

/* ---- Routes ---- */

struct route {
	const char *method, *path;
	bool (*guard)(struct request *request, const char *action);
	void (*page)(struct request *request);
	const char *action; /* as refusals name it */
};

static const struct route routes[] = {
	{"GET", "/metrics", guard_token, answer_metrics, NULL},
	{"GET", "/state", guard_signed, state_page, "GetState"},
	{"GET", "/faults", guard_signed, fault_page, "GetFaults"},
	{"PUT", "/faults", guard_signed, fault_page, "PutFaults"},
};

bool admin_page(struct request *request)
{
	for (size_t i = 0; i < sizeof(routes) / sizeof(routes[0]); i++) {
		const struct route *route = &routes[i];
		if (!str_equal(request->exchange->path, str_of(route->path)) ||
		    !str_equal(request->exchange->method, str_of(route->method)))
			continue;
		request->plain = true;
		if (route->guard(request, route->action))
			route->page(request);
		return true;
	}
	return false;
}
