/* echo.c: the one place that cuts repeated values. */
#include "penstock/echo.h"

static bool is_continuation(char c) { return ((unsigned char)c & 0xc0) == 0x80; }

void echo_put(struct buf *out, struct str value)
{
	size_t n = value.n;
	if (n > ECHO_MAX) {
		n = ECHO_MAX;
		while (n > 0 && is_continuation(value.p[n]))
			n--;
	}
	buf_put(out, value.p, n);
	if (n < value.n)
		buf_put_str(out, STR("..."));
}
