/* ini.h: the form of ~/.aws/credentials and ~/.aws/config, line by line: [section], setting = value, # or ; comment, blank.
 *
 * Pure: text in, lines out, lent from the text. What a line that fits nowhere means is the caller's to say: the server refuses its file, an
 * SDK (and the load client) passes over it. */
#ifndef PENSTOCK_INI_H
#define PENSTOCK_INI_H

#include <stdbool.h>

#include "penstock/bytes.h"

enum ini_kind {
	INI_SECTION, /* name: inside the brackets, absent if they are not closed; value: what stands behind them */
	INI_SETTING, /* name, not empty, and value, of which either side's blanks are gone */
	INI_OTHER    /* neither: no equals sign, no name */
};

struct ini_line {
	enum ini_kind kind;
	bool indented;      /* begins with a blank: to an SDK it belongs to the setting above it */
	unsigned number;    /* from 1 */
	struct str name, value;
};

/* Takes the next line that is no blank or comment off *text. `line` begins zeroed. False: the text is over, line->number is its last. */
bool ini_next(struct str *text, struct ini_line *line);

#endif
