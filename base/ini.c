/* ini.c: lines of an INI file; see ini.h. */
#include "penstock/ini.h"

static struct str trim(struct str s)
{
	while (s.n > 0 && s.p[0] && strchr(" \t\r", s.p[0]))
		s = (struct str){s.p + 1, s.n - 1};
	while (s.n > 0 && s.p[s.n - 1] && strchr(" \t\r", s.p[s.n - 1]))
		s.n--;
	return s;
}

/* `s` cut at the byte `at` of it, which goes. */
static void cut(struct str s, const char *at, struct ini_line *line)
{
	size_t n = (size_t)(at - s.p);
	line->name = trim((struct str){s.p, n});
	line->value = trim((struct str){at + 1, s.n - n - 1});
}

static void parse(struct str s, struct ini_line *line)
{
	bool section = s.p[0] == '[';
	struct str inside = section ? (struct str){s.p + 1, s.n - 1} : s;
	const char *end = memchr(inside.p, section ? ']' : '=', inside.n);
	line->kind = section ? INI_SECTION : INI_OTHER;
	if (!end)
		return;
	cut(inside, end, line);
	if (!section && line->name.n)
		line->kind = INI_SETTING;
}

bool ini_next(struct str *text, struct ini_line *line)
{
	while (text->n > 0) {
		const char *end = memchr(text->p, '\n', text->n);
		struct str raw = {text->p, end ? (size_t)(end - text->p) : text->n}, s = trim(raw);
		size_t used = end ? raw.n + 1 : raw.n;
		*text = (struct str){text->p + used, text->n - used};
		*line = (struct ini_line){.number = line->number + 1, .indented = s.p != raw.p};
		if (s.n == 0 || s.p[0] == '#' || s.p[0] == ';')
			continue;
		parse(s, line);
		return true;
	}
	return false;
}
