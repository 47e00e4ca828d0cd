/* page.c: the files of loadtest/page/ as bytes of the program, so that a report needs no file beside the binary and no network.
 *
 * The assembler reads them (PAGE_DIR comes from CMakeLists.txt, which also names them as dependencies of this file). */
#include "loadtest/page.h"

/* name and name_end around the bytes of a file. */
#define EMBED(name, file)                       \
	extern const char name[], name##_end[]; \
	__asm__(".pushsection .rodata\n" #name ":\n.incbin \"" PAGE_DIR "/" file "\"\n" #name "_end:\n.byte 0\n.popsection\n")

EMBED(page_template, "template.html");
EMBED(page_style, "report.css");
EMBED(page_script, "report.js");
EMBED(page_uplot, "uplot.js");
EMBED(page_uplot_style, "uplot.css");
EMBED(page_uplot_licence, "uplot.LICENSE");

#define PIECE(name)                                   \
	{                                             \
#name, page_##name, page_##name##_end \
	}

struct str page_piece(struct str name)
{
	static const struct {
		const char *name, *begin, *end;
	} pieces[] = {PIECE(template), PIECE(style), PIECE(script), PIECE(uplot), PIECE(uplot_style), PIECE(uplot_licence)};
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
		if (str_equal(name, str_of(pieces[i].name)))
			return (struct str){pieces[i].begin, (size_t)(pieces[i].end - pieces[i].begin)};
	return (struct str){0};
}
