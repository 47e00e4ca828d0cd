/* pairs.c: see pairs.h. */
#include "server/pairs.h"

bool pairs_next(struct str *rest, const char *cuts, struct str *out)
{
	if (rest->n == 0)
		return false;
	size_t n = 0;
	while (n < rest->n && (rest->p[n] == '\0' || strchr(cuts, rest->p[n]) == NULL))
		n++;
	*out = (struct str){rest->p, n};
	size_t used = n < rest->n ? n + 1 : n;
	*rest = (struct str){rest->p + used, rest->n - used};
	return true;
}

bool pairs_find(struct str text, const char *cuts, const char *key, struct str *value)
{
	struct str piece, wanted = str_of(key);
	while (pairs_next(&text, cuts, &piece)) {
		const char *equals = memchr(piece.p, '=', piece.n);
		struct str name = {piece.p, equals ? (size_t)(equals - piece.p) : piece.n};
		if (!str_equal(name, wanted))
			continue;
		*value = equals ? (struct str){equals + 1, piece.n - name.n - 1} : STR("");
		return true;
	}
	return false;
}
