/* tags.c: the rules for tags beyond their shape, in the order of AWS's answers to AddTagsToStream
 * (kinesis-behaviour 3.7), which also hold for tags given at a creation (3.1).
 *
 * - a character that no tag may have; then '%', which AWS's first text allows and its second refuses;
 * - a key that begins with "aws:", in whatever case: reserved, the text is ours;
 * - more than TAGS_MAX tags. AWS's text was seen with a 10 in the place of its limit of 50; here it
 *   is the limit.
 *
 * Thread: the request's worker. Fails: InvalidArgumentException, nothing is changed. */
#include "server/tags.h"

#include "server/worker.h"

/* ---- Characters ---- */

/* The character at p of well-formed UTF-8, and its length. */
static uint32_t decode(const uint8_t *p, size_t *n)
{
	if (p[0] < 0x80) {
		*n = 1;
		return p[0];
	}
	*n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	uint32_t c = p[0] & (0x7fu >> *n);
	for (size_t i = 1; i < *n; i++)
		c = c << 6 | (p[i] & 0x3fu);
	return c;
}

static bool in_range(uint32_t c, uint32_t first, uint32_t last) { return c >= first && c <= last; }

/* AWS's class of letters as recorded answers draw it. ':' was refused in 2020 and is allowed by the
 * model of today. */
static bool is_allowed(uint32_t c)
{
	if (c < 0x80)
		return in_range(c, '0', '9') || in_range(c, 'A', 'Z') || in_range(c, 'a', 'z') || (c && strchr("_./-=+@%: ", (int)c));
	return in_range(c, 0xc0, 0x1fff) || in_range(c, 0x2c00, 0xd7ff);
}

static bool all_allowed(struct str s)
{
	size_t n;
	for (size_t i = 0; i < s.n; i += n)
		if (!is_allowed(decode((const uint8_t *)s.p + i, &n)))
			return false;
	return true;
}

static bool has_percent(struct str s) { return s.n && memchr(s.p, '%', s.n); }

static bool is_reserved(struct str key) { return key.n >= 4 && strncasecmp(key.p, "aws:", 4) == 0; }

/* ---- The rules ---- */

struct found {
	bool bad_character, percent, reserved;
};

static struct found look_at(const struct tag *tags, uint32_t n)
{
	struct found found = {0};
	for (uint32_t i = 0; i < n; i++) {
		found.bad_character |= !all_allowed(tags[i].key) || !all_allowed(tags[i].value);
		found.percent |= has_percent(tags[i].key) || has_percent(tags[i].value);
		found.reserved |= is_reserved(tags[i].key);
	}
	return found;
}

/* "Failed to add tags to stream NAME under account ACCT because" and the reason. */
static void fail_because(struct request *request, const char *kind, struct str name, const char *reason)
{
	request_fail(request, STATUS_INVALID_ARGUMENT, "Failed to add tags to %s " STR_FMT " under account %s because %s", kind,
		     STR_ARG(name), request->worker->server->account, reason);
}

bool tags_pass(struct request *request, const char *kind, struct str name, const struct tag *tags, uint32_t n)
{
	struct found found = look_at(tags, n);
	if (found.bad_character)
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - %% "
			     "@.");
	else if (found.percent)
		fail_because(request, kind, name,
			     "some tags contained illegal characters. The allowed characters are Unicode letters, white-spaces, "
			     "'_',',','/','=','+','-','@'.");
	else if (found.reserved)
		fail_because(request, kind, name, "keys that begin with aws: are reserved.");
	else if (n > TAGS_MAX)
		fail_because(
			request, kind, name,
			arena_printf(&request->arena, "a given %s cannot have more than %d tags associated with it.", kind, TAGS_MAX).p);
	else
		return true;
	return false;
}
