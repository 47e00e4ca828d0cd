/* SigV4: the Authorization header, the presigned query and the canonical request, from one input of five lines: header, path, query,
 * a header's name, its value.
 *
 * - a claim that is read, rendered and read again is the same, and renders the same
 * - path, query and value in their canonical form are canonical already (the path but for its percent signs, which are encoded twice)
 * - what is lent back lies inside what was given, and no accepted claim breaks the canonical request's lines */
#include <assert.h>
#include <stdlib.h>

#include "penstock/sigv4.h"

static struct str text_of(const struct buf *buf) { return (struct str){buf->n ? (const char *)buf->p : "", buf->n}; }

/* The next line, in memory of exactly its size, for the sanitizer. */
static struct str take_line(const uint8_t **p, const uint8_t *end)
{
	const uint8_t *at = *p < end ? memchr(*p, '\n', (size_t)(end - *p)) : NULL;
	size_t n = (size_t)((at ? at : end) - *p);
	char *copy = malloc(n ? n : 1);
	assert(copy);
	if (n)
		memcpy(copy, *p, n);
	*p = at ? at + 1 : end;
	return (struct str){copy, n};
}

static bool same(const struct sigv4_claim *a, const struct sigv4_claim *b)
{
	return str_equal(a->key, b->key) && str_equal(a->scope.date, b->scope.date) && str_equal(a->scope.region, b->scope.region) &&
	       str_equal(a->scope.service, b->scope.service) && str_equal(a->scope.terminator, b->scope.terminator) &&
	       str_equal(a->signed_headers, b->signed_headers) && memcmp(a->signature, b->signature, SIGV4_HASH) == 0;
}

static void check_claim(const struct sigv4_claim *claim)
{
	struct buf once = {0}, twice = {0};
	struct sigv4_claim again;
	struct str what;
	assert(memchr(claim->signed_headers.p, '\n', claim->signed_headers.n) == NULL && claim->signed_headers.n > 0);
	sigv4_render_header(claim, &once);
	enum sigv4_flaw flaw = sigv4_parse_header(text_of(&once), &again, &what);
	assert(flaw == SIGV4_OK && same(claim, &again));
	sigv4_render_header(&again, &twice);
	assert(str_equal(text_of(&once), text_of(&twice)));
	buf_free(&once);
	buf_free(&twice);
}

static void check_header(struct str header)
{
	struct sigv4_claim claim;
	struct str what = {NULL, 0};
	enum sigv4_flaw flaw = sigv4_parse_header(header, &claim, &what);
	assert(flaw >= 0 && flaw < SIGV4_FLAWS);
	if (flaw == SIGV4_OK)
		check_claim(&claim);
	else
		assert(str_present(what));
}

static void check_query(struct str query)
{
	struct arena arena = {0};
	struct sigv4_claim claim;
	struct str what = {NULL, 0};
	enum sigv4_flaw flaw = sigv4_parse_query(query, &arena, &claim, &what);
	assert(flaw >= 0 && flaw < SIGV4_FLAWS);
	if (flaw == SIGV4_OK) {
		check_claim(&claim);
		assert(claim.expires_s >= 0 && claim.expires_s <= 604800);
	} else {
		assert(str_present(what));
	}
	arena_free(&arena);
}

/* The n-th line of a canonical request. */
static struct str line_of(const struct buf *canonical, int n)
{
	const uint8_t *p = canonical->p, *end = p + canonical->n, *at;
	for (; n > 0; n--) {
		at = memchr(p, '\n', (size_t)(end - p));
		assert(at);
		p = at + 1;
	}
	at = memchr(p, '\n', (size_t)(end - p));
	assert(at);
	return (struct str){(const char *)p, (size_t)(at - p)};
}

static void check_canonical(struct sigv4_request *request, struct str names)
{
	struct buf once = {0}, twice = {0};
	struct str what, value, name = request->fields[0].name;
	struct sigv4_field again_field;
	if (sigv4_canonical(request, names, false, &once, &what) == SIGV4_OK) {
		value = line_of(&once, 3);
		assert(value.n > name.n && memcmp(value.p, name.p, name.n) == 0);
		again_field = (struct sigv4_field){name, {value.p + name.n + 1, value.n - name.n - 1}};
		struct sigv4_request again = {request->method, line_of(&once, 1), line_of(&once, 2), &again_field, 1, {0}};
		enum sigv4_flaw flaw = sigv4_canonical(&again, names, false, &twice, &what);
		assert(flaw == SIGV4_OK);
		assert(again.path.n > 0 && again.path.p[0] == '/');
		if (!memchr(again.path.p, '%', again.path.n))
			assert(str_equal(line_of(&twice, 1), again.path));
		assert(str_equal(line_of(&twice, 2), again.query) && str_equal(line_of(&twice, 3), value));
	}
	buf_free(&once);
	buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n;
	struct str lines[5];
	int64_t seconds;
	for (int i = 0; i < 5; i++)
		lines[i] = take_line(&p, end);
	check_header(lines[0]);
	check_query(lines[2]);
	if (sigv4_time_parse(lines[4], &seconds)) {
		char text[SIGV4_TIME_LEN + 1];
		sigv4_time_text(seconds, text);
		assert(lines[4].n != SIGV4_TIME_LEN || memcmp(text, lines[4].p, SIGV4_TIME_LEN) == 0);
	}
	struct sigv4_field field = {lines[3].n ? lines[3] : STR("host"), lines[4]};
	struct sigv4_request request = {STR("POST"), lines[1], lines[2], &field, 1, {0}};
	check_canonical(&request, field.name);
	for (int i = 0; i < 5; i++)
		free((void *)(uintptr_t)lines[i].p);
	return 0;
}
