/* percent.c: percent-encoding of URIs, byte by byte. Pure, any thread. */
#include "codec/percent.h"

static int value_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool percent_decode(struct str text, size_t *at, char *c)
{
	*c = text.p[(*at)++];
	if (*c != '%')
		return true;
	if (text.n - *at < 2)
		return false;
	int high = value_of(text.p[*at]), low = value_of(text.p[*at + 1]);
	*at += 2;
	if (high < 0 || low < 0)
		return false;
	*c = (char)(high << 4 | low);
	return true;
}

static bool is_plain(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.' || c == '~';
}

void percent_encode(char c, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";
	if (is_plain(c)) {
		buf_put_char(out, c);
		return;
	}
	buf_put_char(out, '%');
	buf_put_char(out, digits[(uint8_t)c >> 4]);
	buf_put_char(out, digits[(uint8_t)c & 15]);
}
