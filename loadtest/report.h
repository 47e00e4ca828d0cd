/* report.h: an outcome made readable. Nothing here measures. One thread; `false`: the file could not be written, said on stderr. */
#ifndef PENSTOCK_LOADTEST_REPORT_H
#define PENSTOCK_LOADTEST_REPORT_H

#include <jansson.h>
#include <stdio.h>

#include "loadtest/outcome.h"

void report_progress(FILE *out, const struct regime *regime, const struct tick *tick); /* one line: rate, p50, p99, throttles */
void report_table(FILE *out, const struct outcome *outcome);   /* for people; at most 120 columns */
json_t *report_to_json(const struct outcome *outcome);         /* docs/load-json.md says what each member is; the caller's */
bool report_json(const struct outcome *outcome, const char *path);
bool report_csv(const struct outcome *outcome, const char *path); /* one row per regime and side */
bool report_hdr(const struct outcome *outcome, const char *prefix); /* PREFIX-REGIME-{put,push,poll}.hgrm: HdrHistogram's percentile text */
bool report_html(const struct outcome *outcome, const char *path); /* one self-contained page */

/* report_file.c: "-" is stdout. Both say on stderr what failed. */
FILE *report_open(const char *path);              /* NULL: cannot be written */
bool report_close(FILE *file, const char *path);  /* false: not all of it was written */

#endif
