/* sigv4_canonical.c: the one form of a request that both sides hash.
 *
 * Pure, any thread. Each part has one spelling, and a part in that spelling stays as it is:
 *
 *   - path: dot segments and doubled slashes go; then every byte but A-Z a-z 0-9 - _ . ~ / is percent-encoded, percent signs too (the path
 *     on the wire is encoded already: services other than S3 encode it twice)
 *   - query: each name and value is decoded and encoded again (space is %20, digits in upper case); sorted by name, then value
 *   - headers: only the signed ones, in the order of SignedHeaders; blanks around values go, inner runs become one; values of one name
 *     are joined by commas
 *
 * Failures: a query that cannot be decoded, and a signed header that is not there, are named. */
#include <stdlib.h>

#include "codec/percent.h"
#include "penstock/sigv4.h"

/* The next piece of *rest up to c; false when there is none (rest->p NULL). Behind a c at the end is one more, empty piece. */
static bool next_piece(struct str *rest, char c, struct str *out)
{
	if (!str_present(*rest))
		return false;
	const char *at = rest->n ? memchr(rest->p, c, rest->n) : NULL;
	*out = (struct str){rest->p, at ? (size_t)(at - rest->p) : rest->n};
	*rest = at ? (struct str){at + 1, rest->n - out->n - 1} : (struct str){NULL, 0};
	return true;
}

/* ---- The path ---- */

/* Back to before the last segment that was put since `root`. */
static void drop_segment(struct buf *out, size_t root)
{
	while (out->n > root && out->p[out->n - 1] != '/')
		out->n--;
	if (out->n > root)
		out->n--;
}

static void put_path(struct str path, struct buf *out)
{
	size_t root = out->n; /* from here on: "/segment" each */
	struct str rest = path, segment;
	bool slashed = path.n == 0 || path.p[path.n - 1] == '/';
	while (next_piece(&rest, '/', &segment)) {
		if (segment.n == 0 || str_equal(segment, STR(".")))
			continue;
		if (str_equal(segment, STR(".."))) {
			drop_segment(out, root);
			continue;
		}
		buf_put_char(out, '/');
		for (size_t i = 0; i < segment.n; i++)
			percent_encode(segment.p[i], out);
	}
	if (slashed || out->n == root)
		buf_put_char(out, '/');
}

/* ---- The query ---- */

struct parameter {
	struct str name, value; /* encoded */
};

/* Decodes and encodes again. out has room enough: nothing moves. */
static bool recode(struct str text, struct buf *out, struct str *encoded)
{
	size_t begin = out->n;
	for (size_t i = 0; i < text.n;) {
		char c;
		if (!percent_decode(text, &i, &c))
			return false;
		percent_encode(c, out);
	}
	*encoded = (struct str){(const char *)out->p + begin, out->n - begin};
	return true;
}

static int compare_parameters(const void *a, const void *b)
{
	const struct parameter *x = a, *y = b;
	int order = str_compare(x->name, y->name);
	return order ? order : str_compare(x->value, y->value);
}

static size_t count_of(struct str text, char c)
{
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++)
		n += text.p[i] == c;
	return n;
}

/* Cuts the query into parameters, encoded into text. False: *what cannot be decoded. */
static bool read_parameters(struct str query, bool presigned, struct buf *text, struct parameter *parameters, size_t *n, struct str *what)
{
	struct str rest = query, piece;
	while (next_piece(&rest, '&', &piece)) {
		struct parameter *parameter = &parameters[*n];
		const char *equals = piece.n ? memchr(piece.p, '=', piece.n) : NULL;
		struct str name = {piece.p, equals ? (size_t)(equals - piece.p) : piece.n};
		struct str value = equals ? (struct str){equals + 1, piece.n - name.n - 1} : STR("");
		if (presigned && str_equal(name, STR("X-Amz-Signature")))
			continue;
		*what = piece;
		if (!recode(name, text, &parameter->name) || !recode(value, text, &parameter->value))
			return false;
		++*n;
	}
	return true;
}

static bool put_query(struct str query, bool presigned, struct buf *out, struct str *what)
{
	size_t n = 0;
	struct buf text = {0};
	if (query.n == 0)
		return true;
	struct parameter *parameters = xcalloc(count_of(query, '&') + 1, sizeof(*parameters));
	buf_reserve(&text, 3 * query.n);
	bool good = read_parameters(query, presigned, &text, parameters, &n, what);
	qsort(parameters, good ? n : 0, sizeof(*parameters), compare_parameters);
	for (size_t i = 0; good && i < n; i++) {
		if (i)
			buf_put_char(out, '&');
		buf_put_str(out, parameters[i].name);
		buf_put_char(out, '=');
		buf_put_str(out, parameters[i].value);
	}
	free(parameters);
	buf_free(&text);
	return good;
}

/* ---- The headers ---- */

static bool is_blank(char c) { return c == ' ' || c == '\t'; }

static void put_value(struct str value, struct buf *out)
{
	bool gap = false, begun = false;
	for (size_t i = 0; i < value.n; i++) {
		if (is_blank(value.p[i])) {
			gap = begun;
			continue;
		}
		if (gap)
			buf_put_char(out, ' ');
		buf_put_char(out, value.p[i]);
		gap = false;
		begun = true;
	}
}

static bool put_field(const struct sigv4_request *request, struct str name, struct buf *out)
{
	bool found = false;
	buf_put_str(out, name);
	for (size_t i = 0; i < request->n_fields; i++) {
		if (!str_equal(request->fields[i].name, name))
			continue;
		buf_put_char(out, found ? ',' : ':');
		put_value(request->fields[i].value, out);
		found = true;
	}
	buf_put_char(out, '\n');
	return found;
}

bool sigv4_signs(struct str signed_headers, struct str name)
{
	struct str rest = signed_headers, each;
	while (next_piece(&rest, ';', &each))
		if (str_equal(each, name))
			return true;
	return false;
}

enum sigv4_flaw sigv4_canonical(const struct sigv4_request *request, struct str signed_headers, bool presigned, struct buf *out,
				struct str *what)
{
	struct str rest = signed_headers, name;
	char payload[2 * SIGV4_HASH];
	buf_put_str(out, request->method);
	buf_put_char(out, '\n');
	put_path(request->path, out);
	buf_put_char(out, '\n');
	if (!put_query(request->query, presigned, out, what))
		return SIGV4_BAD_QUERY;
	buf_put_char(out, '\n');
	while (next_piece(&rest, ';', &name)) {
		*what = name;
		if (!put_field(request, name, out))
			return SIGV4_ABSENT_HEADER;
	}
	buf_put_char(out, '\n');
	buf_put_str(out, signed_headers);
	buf_put_char(out, '\n');
	sigv4_hex(request->payload, payload);
	buf_put(out, payload, sizeof(payload));
	return SIGV4_OK;
}
