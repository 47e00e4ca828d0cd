/* slog_json.c: the JSON form of a log line, made from the same format and arguments as the text form.
 *
 * The keys stand in the format, and so do the bounds of the values: quotes and blanks inside an argument cannot be taken for bounds. But a
 * va_list can only be walked once, by one printf. So that printf gets a format of the values alone, each behind it with a separator:
 *
 *     path=%s why="%s" bytes=%zu     keys path, why, bytes (a number)     values "%s\x1e%s\x1e%zu\x1e"
 *
 * - split: keys and the format of the values
 * - vsnprintf once
 * - each piece becomes a member: as a number, or as a string with what JSON wants escaped and what is no UTF-8 made '?'
 *
 * Failure: a value that does not fit ends in "...", members behind it fall away. An argument that has the separator inside garbles its own
 * line, which is valid JSON all the same; no such value is logged.
 *
 * Thread: any; nothing is kept. */
#include "base/slog_json.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define PAIRS_MAX 24 /* "started" has a dozen */
#define FORMAT_MAX 1024
#define VALUES_MAX 2048 /* a line is not longer either */
#define SEPARATOR '\x1e'
#define END_MAX 8 /* kept free for the end of whatever is cut: ..."} */

struct pair {
	const char *key;
	size_t key_len;
	bool number;
};

struct line {
	char *p;
	size_t n, room;
	bool full;
};

/* ---- The format ---- */

/* A conversion of a number and nothing else: %d, %zu, %llu. With flags or a width it need not be a JSON number. */
static bool is_number(const char *spec, size_t n)
{
	size_t i = 1;
	if (n < 2 || spec[0] != '%')
		return false;
	while (i + 1 < n && strchr("hljzt", spec[i]))
		i++;
	return i + 1 == n && strchr("diu", spec[i]);
}

/* Cuts the format into pairs; `values` gets what printf is to print. Returns how many there are. */
static unsigned split(const char *format, struct pair *pairs, char *values)
{
	unsigned n = 0;
	size_t used = 0;
	for (const char *at = format; *at && n < PAIRS_MAX;) {
		size_t key = strcspn(at, "= ");
		if (at[key] != '=') { /* a word without a value: not one of ours */
			at += key + (at[key] == ' ');
			continue;
		}
		const char *value = at + key + 1;
		bool quoted = *value == '"';
		value += quoted;
		size_t len = strcspn(value, quoted ? "\"" : " ");
		if (used + len + 2 > FORMAT_MAX)
			break;
		pairs[n++] = (struct pair){.key = at, .key_len = key, .number = !quoted && is_number(value, len)};
		memcpy(values + used, value, len);
		used += len;
		values[used++] = SEPARATOR;
		at = value + len + (quoted && value[len]);
		at += *at == ' ';
	}
	values[used] = '\0';
	return n;
}

/* ---- The object ---- */

static void put(struct line *line, const char *p, size_t n)
{
	if (line->full || line->n + n + END_MAX > line->room) {
		line->full = true;
		return;
	}
	memcpy(line->p + line->n, p, n);
	line->n += n;
}

static void put_end(struct line *line, const char *end)
{
	size_t n = strlen(end);
	memcpy(line->p + line->n, end, n);
	line->n += n;
}

/* Bytes of the character at p; 0: it is no UTF-8. */
static size_t utf8_len(const unsigned char *p, size_t n)
{
	size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
	bool beyond = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
	return overlong || beyond ? 0 : len;
}

static void put_string(struct line *line, const char *p, size_t n)
{
	put(line, "\"", 1);
	if (line->full)
		return;
	for (size_t i = 0; i < n && !line->full;) {
		char text[8] = "?";
		size_t len = utf8_len((const unsigned char *)p + i, n - i);
		if (p[i] == '"' || p[i] == '\\')
			snprintf(text, sizeof(text), "\\%c", p[i]);
		else if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			snprintf(text, sizeof(text), "\\u%04x", (unsigned)(unsigned char)p[i]);
		else if (len)
			memcpy(text, p + i, len);
		put(line, text, strlen(text));
		i += len ? len : 1;
	}
	put_end(line, line->full ? "...\"" : "\"");
}

/* All of it, or nothing when its key has no room. */
static void put_member(struct line *line, const struct pair *pair, const char *value, size_t n)
{
	size_t before = line->n;
	bool number = pair->number && n > 0;
	put(line, before > 1 ? "," : "", before > 1);
	put(line, "\"", 1);
	put(line, pair->key, pair->key_len);
	put(line, "\":", 2);
	if (number)
		put(line, value, n);
	if (line->full || (!number && line->n + END_MAX + 1 > line->room)) {
		line->full = true;
		line->n = before;
	} else if (!number) {
		put_string(line, value, n);
	}
}

static void put_pairs(struct line *line, const char *format, va_list args)
{
	struct pair pairs[PAIRS_MAX];
	char formats[FORMAT_MAX], values[VALUES_MAX];
	unsigned n = split(format, pairs, formats);
	int len = vsnprintf(values, sizeof(values), formats, args);
	const char *at = values, *end = values + (len < 0 ? 0 : (size_t)len < sizeof(values) ? (size_t)len : sizeof(values) - 1);
	for (unsigned i = 0; i < n && at < end && !line->full; i++) {
		const char *stop = memchr(at, SEPARATOR, (size_t)(end - at));
		size_t size = (size_t)((stop ? stop : end) - at);
		put_member(line, &pairs[i], at, size);
		at += size + 1;
	}
}

size_t slog_json(char *p, size_t room, const char *ts, const char *level, const char *event, const char *format, va_list args)
{
	static const struct pair head[] = {{"ts", 2, false}, {"level", 5, false}, {"event", 5, false}};
	struct line line = {.p = p, .room = room};
	put(&line, "{", 1);
	put_member(&line, &head[0], ts, strlen(ts));
	put_member(&line, &head[1], level, strlen(level));
	put_member(&line, &head[2], event, strnlen(event, 64));
	if (format)
		put_pairs(&line, format, args);
	put_end(&line, "}");
	return line.n;
}
