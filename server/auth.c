/* auth.c: the form of a request's signature, in the Authorization header or in the query string; auth_verify.c looks at the rest.
 *
 * Thread: the request's worker. Pure but for the text in the request's arena.
 *
 * - both forms, or neither: refused;
 * - header: everything behind the algorithm is cut at commas and blanks into key=value; three keys must have a value, and there must be a
 *   date header;
 * - query: five parameters must have a value.
 *
 * Fails with AWS's texts (recorded ones), which name every missing part in a fixed order. */
#include "server/auth.h"

#include "penstock/echo.h"
#include "server/pairs.h"
#include "server/worker.h"

static const char *const header_keys[] = {"Credential", "Signature", "SignedHeaders"};
static const char *const query_keys[] = {"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"};

static bool has_value(struct str text, const char *cuts, const char *key)
{
	struct str value;
	return pairs_find(text, cuts, key, &value) && value.n > 0;
}

static struct str take_text(struct request *request, struct buf *text)
{
	struct str copy = arena_str(&request->arena, (struct str){(const char *)text->p, text->n});
	buf_free(text);
	return copy;
}

static enum status header_check(struct request *request, struct str header, struct str *text)
{
	struct buf missing = {0};
	struct str algorithm, rest = header;
	pairs_next(&rest, ", ", &algorithm);
	for (size_t i = 0; i < sizeof(header_keys) / sizeof(header_keys[0]); i++)
		if (!has_value(rest, ", ", header_keys[i]))
			buf_printf(&missing, "Authorization header requires '%s' parameter. ", header_keys[i]);
	if (request_header(request, "x-amz-date").n == 0 && request_header(request, "date").n == 0)
		buf_printf(&missing, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
	if (missing.n == 0)
		return STATUS_OK;
	buf_printf(&missing, "Authorization=");
	echo_put(&missing, header);
	*text = take_text(request, &missing);
	return STATUS_INCOMPLETE_SIGNATURE;
}

static enum status query_check(struct request *request, struct str *text)
{
	struct buf missing = {0};
	for (size_t i = 0; i < sizeof(query_keys) / sizeof(query_keys[0]); i++)
		if (!has_value(request->exchange->query, "&", query_keys[i]))
			buf_printf(&missing, "AWS query-string parameters must include '%s'. ", query_keys[i]);
	if (missing.n == 0)
		return STATUS_OK;
	buf_printf(&missing, "Re-examine the query-string parameters.");
	*text = take_text(request, &missing);
	return STATUS_INCOMPLETE_SIGNATURE;
}

enum status auth_check(struct request *request, struct auth_call *call)
{
	struct str header = request_header(request, "authorization"), value;
	bool in_query = pairs_find(request->exchange->query, "&", "X-Amz-Algorithm", &value);
	call->caller = NULL;
	call->text = (struct str){0};
	if (header.n > 0 && in_query) {
		call->text = STR("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.");
		return STATUS_INVALID_SIGNATURE;
	}
	if (header.n == 0 && !in_query) {
		call->text = STR("Missing Authentication Token");
		return STATUS_MISSING_AUTH;
	}
	enum status status = in_query ? query_check(request, &call->text) : header_check(request, header, &call->text);
	return status || !request->worker->auth ? status : auth_verify(request, in_query, call);
}

/* ---- The scope, unverified ---- */

/* Of a credential in a query: its slashes, which are percent-encoded there. */
static struct str with_slashes(struct request *request, struct str credential)
{
	char *p = arena_alloc(&request->arena, credential.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < credential.n; i++) {
		bool slash = i + 2 < credential.n && (memcmp(credential.p + i, "%2F", 3) == 0 || memcmp(credential.p + i, "%2f", 3) == 0);
		p[n++] = slash ? '/' : credential.p[i];
		i += slash ? 2 : 0;
	}
	return (struct str){p, n};
}

static bool is_service(struct str name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!((name.p[i] >= 'a' && name.p[i] <= 'z') || (name.p[i] >= '0' && name.p[i] <= '9') || name.p[i] == '-'))
			return false;
	return name.n > 0 && name.n <= AUTH_SERVICE_MAX;
}

struct str auth_service(struct request *request)
{
	struct str credential, rest, part, before = {0}, last = {0};
	if (!pairs_find(request_header(request, "authorization"), ", ", "Credential", &credential)) {
		if (!pairs_find(request->exchange->query, "&", "X-Amz-Credential", &credential))
			return (struct str){0};
		credential = with_slashes(request, credential);
	}
	rest = credential;
	while (pairs_next(&rest, "/", &part)) {
		before = last;
		last = part;
	}
	return str_equal(last, STR("aws4_request")) && is_service(before) ? before : (struct str){0};
}
