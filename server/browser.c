/* browser.c: the rules of browser.h, and their answers.
 *
 * A refusal is a 403 with a JSON text that names the option; it has no CORS header, so only the
 * browser's own tools show it. The log has one line a minute and origin or host (log_pace.h).
 *
 * Failure modes: a header that a preflight asks for and that is no list of names within
 * GRANT_MAX bytes is not granted; the browser then does not send the request. */
#include "server/browser.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <strings.h>

#include "penstock/slog.h"
#include "server/log_pace.h"
#include "server/options.h"
#include "server/page.h"
#include "server/worker.h"

#define GRANT_MAX 1024u /* bytes of a preflight's header that its answer repeats */
#define TOLD_MAX 128u   /* bytes of an origin or host in texts and log lines */

/* ---- Lists ---- */

static bool same_word(struct str a, struct str b) { return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0; }

static bool is_listed(const struct option_list *list, struct str value)
{
	for (unsigned i = 0; i < list->n; i++)
		if (strcmp(list->items[i], "*") == 0 || same_word(str_of(list->items[i]), value))
			return true;
	return false;
}

/* With credentials an empty list lets all pass. */
static bool passes(const struct request *request, const struct option_list *list, struct str value)
{
	return (request->worker->auth && list->n == 0) || is_listed(list, value);
}

/* ---- Refusals ---- */

static void refuse(struct request *request, const char *text) { page_error(request, 403, "AccessDeniedException", text); }

static bool is_logged(struct request *request, const char *event, struct str subject)
{
	return log_pace_take(&request->worker->server->log_pace, event, subject, worker_now_ns(request->worker));
}

static void refuse_origin(struct request *request, struct str origin)
{
	const char *told = arena_printable(&request->arena, origin, TOLD_MAX).p;
	if (is_logged(request, "origin_refused", origin))
		slog(SLOG_INFO, "origin_refused", "origin=\"%s\" advice=\"--allow-origin lists the web pages that may call this server\"",
		     told);
	refuse(request, arena_printf(&request->arena,
				     "penstock obeys only web pages whose origin --allow-origin lists: start it with --allow-origin %s if "
				     "this page may read and write everything.",
				     told)
				.p);
}

static void refuse_host(struct request *request)
{
	struct str host = request->exchange->host;
	const char *told = arena_printable(&request->arena, host, TOLD_MAX).p;
	if (is_logged(request, "host_refused", host))
		slog(SLOG_INFO, "host_refused", "host=\"%s\" advice=\"--allow-host lists the names that pages are shown under\"", told);
	refuse(request, arena_printf(&request->arena,
				     "penstock shows this page only under names of loopback, such as localhost, and those that "
				     "--allow-host lists, not under %s.",
				     told)
				.p);
}

/* ---- Origin ---- */

static void add_extra(struct request *request, struct str name, struct str value)
{
	assert(request->exchange->n_extra < REQUEST_EXTRA_MAX);
	request->exchange->extra[request->exchange->n_extra++] = (struct header){name, value};
}

/* Names of headers or methods (RFC 9110's tokens), with commas and blanks between them. */
static bool is_names(struct str value)
{
	for (size_t i = 0; i < value.n; i++) {
		char c = value.p[i];
		bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
		if (!alnum && (c == '\0' || !strchr("!#$%&'*+-.^_`|~, ", c)))
			return false;
	}
	return value.n > 0 && value.n <= GRANT_MAX;
}

static void grant(struct request *request, const char *asked, struct str name)
{
	struct str value = request_header(request, asked);
	if (is_names(value))
		add_extra(request, name, value);
}

static void answer_preflight(struct request *request)
{
	struct buf empty = {0};
	add_extra(request, STR("Access-Control-Max-Age"), STR("172800"));
	grant(request, "access-control-request-headers", STR("Access-Control-Allow-Headers"));
	grant(request, "access-control-request-method", STR("Access-Control-Allow-Methods"));
	request->bare = true;
	request_answer(request, 200, NULL, &empty);
}

/* The first Origin that is not listed; p NULL: none. */
static struct str unlisted(const struct request *request)
{
	const struct option_list *list = &request->worker->server->options->allow_origin;
	for (uint32_t i = 0; i < request->exchange->n_headers; i++) {
		const struct header *header = &request->exchange->headers[i];
		if (str_equal(header->name, STR("origin")) && !passes(request, list, header->value))
			return header->value;
	}
	return (struct str){0};
}

bool browser_origin(struct request *request)
{
	if (!str_present(request_header(request, "origin")))
		return false;
	struct str stranger = unlisted(request);
	if (str_present(stranger)) {
		refuse_origin(request, stranger);
		return true;
	}
	add_extra(request, STR("Access-Control-Allow-Origin"), STR("*"));
	if (str_equal(request->exchange->method, STR("OPTIONS"))) {
		answer_preflight(request);
		return true;
	}
	add_extra(request, STR("Access-Control-Expose-Headers"),
		  STR("x-amzn-RequestId,x-amzn-ErrorType,x-amz-request-id,x-amz-id-2,x-amzn-ErrorMessage,Date"));
	return false;
}

/* ---- Host ---- */

static bool is_digits(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return true;
}

/* The name or address without its port, brackets and the dot of a full name; p NULL: it is none. */
static struct str host_name(struct str host)
{
	bool bracket = host.n > 0 && host.p[0] == '[';
	const char *end = host.n ? memchr(host.p, bracket ? ']' : ':', host.n) : NULL;
	if (bracket && !end)
		return (struct str){0};
	struct str name = {host.p + bracket, (end ? (size_t)(end - host.p) : host.n) - bracket};
	struct str behind = end ? (struct str){end + bracket, (size_t)(host.p + host.n - end) - bracket} : STR("");
	if (behind.n > 0 && (behind.p[0] != ':' || !is_digits((struct str){behind.p + 1, behind.n - 1})))
		return (struct str){0};
	if (!bracket && name.n > 1 && name.p[name.n - 1] == '.')
		name.n--;
	return name.n > 0 ? name : (struct str){0};
}

/* Every name under localhost is the machine itself (RFC 6761 6.3): none can be registered. */
static bool is_localhost(struct str name)
{
	const size_t n = sizeof("localhost") - 1;
	if (name.n < n || strncasecmp(name.p + name.n - n, "localhost", n) != 0)
		return false;
	return name.n == n || name.p[name.n - n - 1] == '.';
}

static bool is_loopback(struct str name)
{
	char text[INET6_ADDRSTRLEN];
	struct in_addr v4;
	struct in6_addr v6;
	if (is_localhost(name))
		return true;
	if (name.n >= sizeof(text))
		return false;
	memcpy(text, name.p, name.n);
	text[name.n] = '\0';
	if (inet_pton(AF_INET, text, &v4) == 1)
		return ntohl(v4.s_addr) >> 24 == 127;
	return inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

/* An item of --allow-host may have brackets. */
static bool is_listed_host(const struct option_list *list, struct str name)
{
	for (unsigned i = 0; i < list->n; i++)
		if (strcmp(list->items[i], "*") == 0 || same_word(host_name(str_of(list->items[i])), name))
			return true;
	return false;
}

/* Browsers always send one; HTTP/1.0 may leave it out. */
bool browser_host(struct request *request)
{
	const struct option_list *list = &request->worker->server->options->allow_host;
	struct str host = request->exchange->host, name = host_name(host);
	if (!str_present(host) || (request->worker->auth && list->n == 0))
		return true;
	if (str_present(name) && (is_loopback(name) || is_listed_host(list, name)))
		return true;
	refuse_host(request);
	return false;
}
