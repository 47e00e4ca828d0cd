/* limits.c: the table of limits, for those who speak of them by name: the command line, the configuration file, /state.
 *
 * struct limits has nothing but the table's fields, in its order and of one type, so limit k is its k-th number. */
#include "penstock/limits.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

_Static_assert(sizeof(struct limits) == LIMIT_COUNT * sizeof(int64_t), "a limit is an int64_t, and nothing else is in the struct");

static const struct {
	const char *name, *what;
} rules[] = {
#define X(name, aws, what) {#name, what},
	LIMITS_LIST(X)
#undef X
};

const char *limit_name(enum limit limit)
{
	assert(limit < LIMIT_COUNT);
	return rules[limit].name;
}

const char *limit_what(enum limit limit)
{
	assert(limit < LIMIT_COUNT);
	return rules[limit].what;
}

int64_t limit_get(const struct limits *limits, enum limit limit)
{
	int64_t value;
	assert(limit < LIMIT_COUNT);
	memcpy(&value, (const char *)limits + limit * sizeof(value), sizeof(value));
	return value;
}

void limit_set(struct limits *limits, enum limit limit, int64_t value)
{
	assert(limit < LIMIT_COUNT && value >= 0);
	memcpy((char *)limits + limit * sizeof(value), &value, sizeof(value));
}

static bool is_name(const char *given, size_t n, const char *name)
{
	if (strlen(name) != n)
		return false;
	for (size_t i = 0; i < n; i++)
		if (given[i] != name[i] && !(given[i] == '-' && name[i] == '_'))
			return false;
	return true;
}

enum limit limit_find(const char *name, size_t n)
{
	unsigned limit = 0;
	while (limit < LIMIT_COUNT && !is_name(name, n, rules[limit].name))
		limit++;
	return (enum limit)limit;
}
