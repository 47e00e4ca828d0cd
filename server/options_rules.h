/* options_rules.h: the table of options, for those who read them: options.c (the command line) and options_file.c (--config).
 * Private to them. */
#ifndef PENSTOCK_OPTIONS_RULES_H
#define PENSTOCK_OPTIONS_RULES_H

#include "server/options.h"

enum option_kind {
	TAKE_STRING,
	TAKE_UNSIGNED,
	TAKE_UINT64,
	TAKE_FLAG,
	TAKE_LIMITS, /* aws or off */
	TAKE_LIMIT,  /* NAME=VALUE */
	TAKE_LIST,   /* one string of at most `most`; those of the command line stand for all of the file's */
	TAKE_FAULT,  /* NAME=SHARE[:TIME]; those of the command line stand for all of the file's */
	TAKE_LEVEL,
	TAKE_FORMAT,
	SHOW_HELP,
	SHOW_VERSION
};

struct option_rule {
	const char *name;
	enum option_kind kind;
	size_t at;            /* of the field in struct options */
	uint64_t least, most; /* numbers */
	/* strings, and each of a list: is it well-formed? `wants` says what it should be */
	bool (*check)(const char *value);
	const char *wants;
};

#define OPTIONS_MAX 64

/* Who has set something: the command line comes first and wins. */
enum option_source { FROM_DEFAULTS, FROM_COMMAND_LINE, FROM_FILE };

struct option_reader {
	struct options *out;
	const char *file;                     /* --config: what is read now; NULL: the command line */
	enum option_source from[OPTIONS_MAX]; /* by the rule's place in the table */
	struct limits limits;                 /* what --limit said, and who of each; on top of --limits, in whatever order they came */
	enum option_source limit_from[LIMIT_COUNT];
};

const struct option_rule *option_rules(size_t *n);
/* Takes the value, if nobody who wins has set it. The string is kept by TAKE_STRING. 0, 1 or 2, as options_parse; 2: it was named. */
int option_take(struct option_reader *reader, const struct option_rule *rule, const char *value);

/* ---- options_file.c ---- */

/* Takes every member of the JSON object in `path`. 0, or 2 when something in it was named. */
int options_read_file(struct option_reader *reader, const char *path);

#endif
