/* sigv4_parse.c: what a client says about its signature, in the Authorization header or in the query of a presigned request.
 *
 * Pure, any thread. Both forms fill the same claim. Strict: each part once and in its one spelling, so that a claim that is rendered again
 * (sigv4_render_header) reads the same. Nothing here says that a claim is true.
 *
 *   - header: the algorithm, a blank, then key=value pairs between commas, in any order
 *   - query: the parameters by their names; values percent-decoded into the arena
 *
 * Failures: the first flaw, and the piece that has it, which never is the signature or a token. */
#include "codec/percent.h"
#include "penstock/sigv4.h"

#define EXPIRES_MAX 604800 /* a week, as AWS has it */

/* ---- Pieces ---- */

static bool cut(struct str *rest, char c, struct str *out)
{
	const char *at = rest->n ? memchr(rest->p, c, rest->n) : NULL;
	if (!at)
		return false;
	*out = (struct str){rest->p, (size_t)(at - rest->p)};
	*rest = (struct str){at + 1, rest->n - out->n - 1};
	return true;
}

static struct str trim(struct str s)
{
	while (s.n > 0 && s.p[0] == ' ')
		s = (struct str){s.p + 1, s.n - 1};
	while (s.n > 0 && s.p[s.n - 1] == ' ')
		s.n--;
	return s;
}

/* Printable, and none of what parts are separated by. */
static bool is_part(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || s.p[i] == ',' || s.p[i] == '/' || s.p[i] == '=' || s.p[i] == ';')
			return false;
	return s.n > 0;
}

static enum sigv4_flaw take_credential(struct str text, struct sigv4_claim *out)
{
	struct sigv4_scope *scope = &out->scope;
	struct str rest = text;
	out->credential = text;
	if (!cut(&rest, '/', &out->key) || !cut(&rest, '/', &scope->date) || !cut(&rest, '/', &scope->region) ||
	    !cut(&rest, '/', &scope->service))
		return SIGV4_BAD_CREDENTIAL;
	scope->terminator = rest;
	bool good = is_part(out->key) && is_part(scope->date) && is_part(scope->region) && is_part(scope->service) &&
		    is_part(scope->terminator);
	return good ? SIGV4_OK : SIGV4_BAD_CREDENTIAL;
}

/* A header's name in lower case. Over HTTP/2 some SDKs sign :authority in the place of host. */
static bool is_name(struct str s)
{
	if (str_equal(s, STR(":authority")))
		return true;
	static const char others[] = "!#$%&'*+-.^_`|~";
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c != '\0' && strchr(others, c))))
			return false;
	}
	return s.n > 0;
}

static enum sigv4_flaw take_signed_headers(struct str text, struct sigv4_claim *out)
{
	struct str rest = text, name, before = {NULL, 0};
	out->signed_headers = text;
	for (bool more = true; more; before = name) {
		more = cut(&rest, ';', &name);
		if (!more)
			name = rest;
		if (!is_name(name) || (str_present(before) && str_compare(before, name) >= 0))
			return SIGV4_BAD_SIGNED_HEADERS;
	}
	return SIGV4_OK;
}

/* ---- The header ---- */

enum pair { PAIR_CREDENTIAL, PAIR_SIGNED_HEADERS, PAIR_SIGNATURE, PAIRS };

static const char *const pair_names[PAIRS] = {"Credential", "SignedHeaders", "Signature"};

static enum pair pair_of(struct str name)
{
	enum pair pair = PAIR_CREDENTIAL;
	while (pair < PAIRS && !str_equal(name, str_of(pair_names[pair])))
		pair++;
	return pair;
}

/* Cuts pairs into values by their place. False: `what` is no pair of ours, or one too many. */
static bool read_pairs(struct str rest, struct str values[PAIRS], struct str *what)
{
	for (bool more = true; more;) {
		struct str piece, value, name;
		more = cut(&rest, ',', &piece);
		value = trim(more ? piece : rest);
		*what = STR("");
		if (!cut(&value, '=', &name))
			return false;
		enum pair pair = pair_of(name);
		*what = name; /* not what stands behind it: it may be a misplaced signature */
		if (pair == PAIRS || str_present(values[pair]))
			return false;
		values[pair] = value;
	}
	return true;
}

enum sigv4_flaw sigv4_parse_header(struct str authorization, struct sigv4_claim *out, struct str *what)
{
	struct str rest = authorization, algorithm, values[PAIRS] = {{NULL, 0}};
	*out = (struct sigv4_claim){0};
	if (!cut(&rest, ' ', &algorithm))
		algorithm = STR("");
	*what = algorithm;
	if (!str_equal(algorithm, STR(SIGV4_ALGORITHM)))
		return SIGV4_BAD_ALGORITHM;
	if (!read_pairs(rest, values, what))
		return SIGV4_BAD_PAIR;
	for (enum pair pair = PAIR_CREDENTIAL; pair < PAIRS; pair++) {
		*what = str_of(pair_names[pair]);
		if (!str_present(values[pair]))
			return SIGV4_BAD_PAIR;
	}
	*what = values[PAIR_CREDENTIAL];
	enum sigv4_flaw flaw = take_credential(values[PAIR_CREDENTIAL], out);
	if (flaw)
		return flaw;
	*what = values[PAIR_SIGNED_HEADERS];
	flaw = take_signed_headers(values[PAIR_SIGNED_HEADERS], out);
	if (flaw)
		return flaw;
	return sigv4_unhex(values[PAIR_SIGNATURE], out->signature) ? SIGV4_OK : SIGV4_BAD_SIGNATURE;
}

/* ---- The query ---- */

enum parameter { ALGORITHM, CREDENTIAL, SIGNATURE, SIGNED_HEADERS, DATE, EXPIRES, TOKEN, PARAMETERS };

static const char *const parameter_names[PARAMETERS] = {"X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Signature",     "X-Amz-SignedHeaders",
							"X-Amz-Date",      "X-Amz-Expires",    "X-Amz-Security-Token"};

static bool decode(struct str text, struct arena *arena, struct str *out)
{
	char *p = arena_alloc(arena, text.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < text.n; n++)
		if (!percent_decode(text, &i, &p[n]))
			return false;
	p[n] = '\0';
	*out = (struct str){p, n};
	return true;
}

static enum sigv4_flaw take_parameter(struct str piece, struct arena *arena, struct str values[PARAMETERS], struct str *what)
{
	struct str value = piece, name;
	if (!cut(&value, '=', &name))
		return SIGV4_OK;
	for (int i = 0; i < PARAMETERS; i++) {
		if (!str_equal(name, str_of(parameter_names[i])))
			continue;
		*what = name;
		if (str_present(values[i]))
			return SIGV4_BAD_PAIR;
		return decode(value, arena, &values[i]) ? SIGV4_OK : SIGV4_BAD_QUERY;
	}
	return SIGV4_OK;
}

static bool take_expires(struct str text, int64_t *out)
{
	if (text.n < 1 || text.n > 6 || text.p[0] == '0')
		return false;
	*out = 0;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] < '0' || text.p[i] > '9')
			return false;
		*out = *out * 10 + (text.p[i] - '0');
	}
	return *out <= EXPIRES_MAX;
}

/* One after the other: which flaw is told first is part of what a client sees. */
static enum sigv4_flaw take_values(const struct str values[PARAMETERS], struct sigv4_claim *out, struct str *what)
{
	enum sigv4_flaw flaw;
	*what = values[ALGORITHM];
	if (!str_equal(values[ALGORITHM], STR(SIGV4_ALGORITHM)))
		return SIGV4_BAD_ALGORITHM;
	*what = values[CREDENTIAL];
	if ((flaw = take_credential(values[CREDENTIAL], out)))
		return flaw;
	*what = values[DATE];
	if (values[DATE].n != SIGV4_TIME_LEN || !sigv4_time_parse(values[DATE], &out->seconds))
		return SIGV4_BAD_TIME;
	*what = values[EXPIRES];
	if (str_present(values[EXPIRES]) && !take_expires(values[EXPIRES], &out->expires_s))
		return SIGV4_BAD_EXPIRES;
	*what = values[SIGNED_HEADERS];
	if ((flaw = take_signed_headers(values[SIGNED_HEADERS], out)))
		return flaw;
	return sigv4_unhex(values[SIGNATURE], out->signature) ? SIGV4_OK : SIGV4_BAD_SIGNATURE;
}

enum sigv4_flaw sigv4_parse_query(struct str query, struct arena *arena, struct sigv4_claim *out, struct str *what)
{
	struct str values[PARAMETERS] = {{NULL, 0}}, rest = query, piece;
	*out = (struct sigv4_claim){.presigned = true};
	for (bool more = true; more;) {
		more = cut(&rest, '&', &piece);
		enum sigv4_flaw flaw = take_parameter(more ? piece : rest, arena, values, what);
		if (flaw)
			return flaw;
	}
	for (int i = ALGORITHM; i <= DATE; i++) {
		*what = str_of(parameter_names[i]);
		if (!str_present(values[i]))
			return SIGV4_BAD_PAIR;
	}
	out->token = values[TOKEN];
	return take_values(values, out, what);
}
