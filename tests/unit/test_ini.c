/* test_ini.c: lines of ~/.aws files, before anybody says what they mean. */
#include <criterion/criterion.h>

#include "penstock/ini.h"

/* What a line is, as text: "number section|setting|other[ indented] name=value". */
static void expect_lines(int at, const char *text, size_t n, const char *wanted)
{
	static const char *const kinds[] = {"section", "setting", "other"};
	struct str rest = {text, n};
	struct ini_line line = {0};
	struct buf seen = {0};
	while (ini_next(&rest, &line))
		buf_printf(&seen, "%u %s%s " STR_FMT "=" STR_FMT "\n", line.number, kinds[line.kind], line.indented ? " indented" : "",
			   STR_ARG(line.name), STR_ARG(line.value));
	buf_printf(&seen, "%u", line.number);
	buf_put_char(&seen, 0);
	cr_expect_str_eq((char *)seen.p, wanted, "line %d: %s", at, seen.p);
	cr_expect_eq(rest.n, 0);
	buf_free(&seen);
}
#define LINES(text, wanted) expect_lines(__LINE__, text, sizeof(text) - 1, wanted)

Test(ini, lines)
{
	LINES("", "0");
	LINES("\n\n  \n\t\r\n", "4");
	LINES("# a = b\n  ; [c]\n#", "3");
	LINES("[a]\nb=c", "1 section a=\n2 setting b=c\n2");
	LINES("[ a b ] # c\r\n b \t=\t c = d \r\n", "1 section a b=# c\n2 setting indented b=c = d\n2");
	LINES("a=\n=a\n=\nabc\n", "1 setting a=\n2 other =a\n3 other =\n4 other =\n4");
	LINES("[\n[a\n[]\n[a]b]\n", "1 section =\n2 section =\n3 section =\n4 section a=b]\n4");
}

Test(ini, a_bracket_that_is_not_closed_has_no_name)
{
	struct str rest = STR("[a\n[]");
	struct ini_line line = {0};
	cr_assert(ini_next(&rest, &line));
	cr_expect(!str_present(line.name));
	cr_assert(ini_next(&rest, &line));
	cr_expect(str_present(line.name) && line.name.n == 0);
}

Test(ini, bytes_of_any_kind)
{
	struct buf text = {0};
	for (unsigned i = 0; i < 4096; i++)
		buf_put_char(&text, (char)(i * 2654435761u >> 24));
	struct str rest = {(char *)text.p, text.n};
	struct ini_line line = {0};
	unsigned n = 0;
	while (ini_next(&rest, &line))
		n++;
	cr_expect_gt(n, 0);
	cr_expect_leq(n, line.number);
	buf_free(&text);
}
