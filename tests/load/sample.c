/* sample.c: writes every report of a made-up outcome, for tests/load/test_report.py and for looking at.
 *
 * load-sample FOLDER [good|spoilt|single|long|empty]: report.html, report.json, report.csv, report.txt, report-REGIME-KIND.hgrm */
#include <string.h>

#include "loadtest/report.h"
#include "tests/load/sample.h"

static bool outcome_make(struct outcome *outcome, const char *kind)
{
	if (!strcmp(kind, "good") || !strcmp(kind, "spoilt"))
		sample_outcome(outcome);
	else if (!strcmp(kind, "single"))
		sample_single(outcome);
	else if (!strcmp(kind, "long"))
		sample_long(outcome);
	else if (!strcmp(kind, "empty"))
		sample_head(outcome, "compare", "compare");
	else
		return false;
	if (!strcmp(kind, "spoilt"))
		sample_spoil(outcome);
	return true;
}

static bool reports_write(const struct outcome *outcome, const char *folder)
{
	static const char *names[] = {"report.html", "report.json", "report.csv", "report.txt", "report"};
	char path[5][4096];
	for (int i = 0; i < 5; i++)
		snprintf(path[i], sizeof path[i], "%s/%s", folder, names[i]);
	FILE *text = report_open(path[3]);
	if (!text)
		return false;
	report_table(text, outcome);
	return report_close(text, path[3]) && report_html(outcome, path[0]) && report_json(outcome, path[1]) &&
	       report_csv(outcome, path[2]) && report_hdr(outcome, path[4]);
}

int main(int argc, char **argv)
{
	struct outcome outcome;
	if (argc < 2 || !outcome_make(&outcome, argc > 2 ? argv[2] : "good")) {
		fprintf(stderr, "load-sample FOLDER [good|spoilt|single|long|empty]\n");
		return 2;
	}
	bool good = reports_write(&outcome, argv[1]);
	outcome_fini(&outcome);
	return good ? 0 : 1;
}
