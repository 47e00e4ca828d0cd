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

#include "server/worker.h"

static const char *const header_keys[] = {"Credential", "Signature", "SignedHeaders"};
static const char *const query_keys[] = {"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date"};

/* The next piece of *rest up to any of `cuts`; false at the end. */
static bool next_piece(struct str *rest, const char *cuts, struct str *out)
{
	if (rest->n == 0)
		return false;
	size_t n = 0;
	while (n < rest->n && strchr(cuts, rest->p[n]) == NULL)
		n++;
	*out = (struct str){rest->p, n};
	size_t used = n < rest->n ? n + 1 : n;
	*rest = (struct str){rest->p + used, rest->n - used};
	return true;
}

/* Finds key=value among the pieces of text. `present` without a value is possible; the value is then empty. */
static bool find_value(struct str text, const char *cuts, const char *key, struct str *value)
{
	struct str piece, wanted = str_of(key);
	while (next_piece(&text, cuts, &piece)) {
		const char *equals = memchr(piece.p, '=', piece.n);
		struct str name = {piece.p, equals ? (size_t)(equals - piece.p) : piece.n};
		if (!str_equal(name, wanted))
			continue;
		*value = equals ? (struct str){equals + 1, piece.n - name.n - 1} : STR("");
		return true;
	}
	return false;
}

static bool has_value(struct str text, const char *cuts, const char *key)
{
	struct str value;
	return find_value(text, cuts, key, &value) && value.n > 0;
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
	next_piece(&rest, ", ", &algorithm);
	for (size_t i = 0; i < sizeof(header_keys) / sizeof(header_keys[0]); i++)
		if (!has_value(rest, ", ", header_keys[i]))
			buf_printf(&missing, "Authorization header requires '%s' parameter. ", header_keys[i]);
	if (request_header(request, "x-amz-date").n == 0 && request_header(request, "date").n == 0)
		buf_printf(&missing, "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header. ");
	if (missing.n == 0)
		return STATUS_OK;
	buf_printf(&missing, "Authorization=");
	buf_put_str(&missing, header);
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

enum status auth_check(struct request *request, struct str *text)
{
	struct str header = request_header(request, "authorization"), value;
	bool in_query = find_value(request->exchange->query, "&", "X-Amz-Algorithm", &value);
	if (header.n > 0 && in_query) {
		*text = STR("Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.");
		return STATUS_INVALID_SIGNATURE;
	}
	if (header.n == 0 && !in_query) {
		*text = STR("Missing Authentication Token");
		return STATUS_MISSING_AUTH;
	}
	enum status status = in_query ? query_check(request, text) : header_check(request, header, text);
	return status || !request->worker->auth ? status : auth_verify(request, in_query, text);
}
