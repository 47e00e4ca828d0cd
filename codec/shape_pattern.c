/* shape_pattern.c: the five patterns of the service model, each as a matcher. Pure: any thread.
 *
 * No regular expressions: these texts come from strangers, and a backtracking matcher on `.*:kinesis:.*:` is quadratic.
 * Java's rules hold: the match is anchored at both ends, `.` is any character but a line end, `\S` any but an ASCII blank.
 *
 * - names and numbers: one walk;
 * - ARNs: `arn:aws.*:kinesis:.*` is decided by the *earliest* `:kinesis:` (whatever a later one could match, the `.*` behind the earliest
 *   matches too); a consumer's end is taken apart from behind, where the characters of a name leave only one reading.
 *
 * Failure: false. */
#include "codec/shape_table.h"

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_' || c == '.' || c == '-';
}

static bool is_blank(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static bool matches_name(struct str s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!is_name_char(s.p[i]))
			return false;
	return s.n > 0;
}

/* `^(0|([1-9]\d{0,more}))$` */
static bool matches_number(struct str s, size_t more)
{
	if (s.n == 0 || s.n > more + 1)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (!is_digit(s.p[i]))
			return false;
	return s.p[0] != '0' || s.n == 1;
}

static bool matches_hash_key(struct str s) { return matches_number(s, 38); }
static bool matches_sequence_number(struct str s) { return matches_number(s, 128); }

/* Bytes of the line end at the start of s (n >= 1), 0 if there is none: \n, \r, U+0085, U+2028, U+2029. */
static size_t line_end(const char *p, size_t n)
{
	if (p[0] == '\n' || p[0] == '\r')
		return 1;
	if (n >= 2 && memcmp(p, "\xc2\x85", 2) == 0)
		return 2;
	return n >= 3 && (memcmp(p, "\xe2\x80\xa8", 3) == 0 || memcmp(p, "\xe2\x80\xa9", 3) == 0) ? 3 : 0;
}

/* Length of the longest `.*` at the start of s. */
static size_t dots(struct str s)
{
	size_t i = 0;
	while (i < s.n && line_end(s.p + i, s.n - i) == 0)
		i++;
	return i;
}

static bool has_prefix(struct str s, struct str prefix) { return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0; }

/* Cuts `arn:aws.*:kinesis:` off s. */
static bool skip_service(struct str *s)
{
	struct str head = STR("arn:aws"), service = STR(":kinesis:");
	if (!has_prefix(*s, head))
		return false;
	struct str rest = {s->p + head.n, s->n - head.n};
	const char *at = memmem(rest.p, rest.n, service.p, service.n);
	if (!at || dots(rest) < (size_t)(at - rest.p))
		return false;
	at += service.n;
	*s = (struct str){at, (size_t)(s->p + s->n - at)};
	return true;
}

/* `:\d{12}:` at p. */
static bool is_account(const char *p, size_t n)
{
	if (n < 14 || p[0] != ':' || p[13] != ':')
		return false;
	for (size_t i = 1; i <= 12; i++)
		if (!is_digit(p[i]))
			return false;
	return true;
}

/* `.*:\d{12}:stream/\S+`: any account will do whose tail has no blank; so only those behind the last blank count. */
static bool matches_stream_arn(struct str s)
{
	struct str kind = STR("stream/");
	if (!skip_service(&s))
		return false;
	size_t reach = dots(s), first = s.n;
	while (first > 0 && !is_blank(s.p[first - 1]))
		first--;
	for (size_t i = 0; i < s.n && i <= reach; i++) {
		size_t name = i + 14 + kind.n;
		if (is_account(s.p + i, s.n - i) && name < s.n && name >= first && memcmp(s.p + i + 14, kind.p, kind.n) == 0)
			return true;
	}
	return false;
}

/* Cuts characters of a name off the end of s; false when there is none. */
static bool cut_name(struct str *s)
{
	size_t n = s->n;
	while (s->n > 0 && is_name_char(s->p[s->n - 1]))
		s->n--;
	return s->n < n;
}

static bool cut_suffix(struct str *s, struct str suffix)
{
	if (s->n < suffix.n || memcmp(s->p + s->n - suffix.n, suffix.p, suffix.n) != 0)
		return false;
	s->n -= suffix.n;
	return true;
}

static bool cut_digits(struct str *s)
{
	size_t n = s->n;
	while (s->n > 0 && is_digit(s->p[s->n - 1]))
		s->n--;
	return s->n < n;
}

/* `.*:\d{12}:.*` followed by `stream/NAME/consumer/NAME:DIGITS`. */
static bool matches_consumer_arn(struct str s)
{
	if (!skip_service(&s) || !cut_digits(&s) || !cut_suffix(&s, STR(":")) || !cut_name(&s) || !cut_suffix(&s, STR("/consumer/")))
		return false;
	/* A slash is in no name, so `stream/` must end where the name begins. */
	if (!cut_name(&s) || !cut_suffix(&s, STR("stream/")) || dots(s) < s.n)
		return false;
	for (size_t i = 0; i < s.n; i++)
		if (is_account(s.p + i, s.n - i))
			return true;
	return false;
}

const struct pattern pattern_name = {"[a-zA-Z0-9_.-]+", matches_name};
const struct pattern pattern_stream_arn = {"arn:aws.*:kinesis:.*:\\d{12}:stream/\\S+", matches_stream_arn};
const struct pattern pattern_consumer_arn = {
	"^(arn):aws.*:kinesis:.*:\\d{12}:.*stream\\/[a-zA-Z0-9_.-]+\\/consumer\\/[a-zA-Z0-9_.-]+:[0-9]+", matches_consumer_arn};
const struct pattern pattern_hash_key = {"^(0|([1-9]\\d{0,38}))$", matches_hash_key};
const struct pattern pattern_sequence_number = {"^(0|([1-9]\\d{0,128}))$", matches_sequence_number};
