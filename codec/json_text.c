/* json_text.c: what a JSON string looks like between its quotes. Pure: any thread.
 *
 * - only `"`, `\` and control characters are escaped; everything else, non-ASCII too, goes out as it is;
 * - most strings (keys, names, numbers) need no escape: then the length is found in one walk and the copy is a memcpy.
 *
 * Failure: none; that the text is UTF-8 was checked when it came in. */
#include "penstock/writer.h"

/* The letter of a two-character escape, 'u' for a six-character one, 0: none. */
static char escape_of(uint8_t c)
{
	static const char control[32] = {
		'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'b', 't', 'n', 'u', 'f', 'r', 'u', 'u',
		'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u', 'u',
	};
	if (c < sizeof(control))
		return control[c];
	return c == '"' || c == '\\' ? (char)c : 0;
}

size_t json_escaped_len(struct str s)
{
	size_t n = s.n;
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];
		if (c < 0x20 || c == '"' || c == '\\')
			n += escape_of(c) == 'u' ? 5 : 1;
	}
	return n;
}

size_t json_escape(char *out, struct str s)
{
	static const char hex[] = "0123456789abcdef";
	size_t n = 0, from = 0; /* s[from..i) waits to be copied */
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];
		char escape = escape_of(c);
		if (!escape)
			continue;
		memcpy(out + n, s.p + from, i - from);
		n += i - from;
		from = i + 1;
		out[n++] = '\\';
		out[n++] = escape;
		if (escape == 'u') {
			memcpy(out + n, (char[4]){'0', '0', hex[c >> 4], hex[c & 15]}, 4);
			n += 4;
		}
	}
	if (s.n > from)
		memcpy(out + n, s.p + from, s.n - from);
	return n + (s.n - from);
}
