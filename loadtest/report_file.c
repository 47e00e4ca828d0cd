/* report_file.c: where reports go. A full disk shows at the latest in fclose. One thread. */
#include <errno.h>
#include <string.h>

#include "loadtest/report.h"

static bool is_stdout(const char *path) { return strcmp(path, "-") == 0; }

FILE *report_open(const char *path)
{
	FILE *file = is_stdout(path) ? stdout : fopen(path, "w");
	if (!file)
		fprintf(stderr, "penstock-load: cannot write %s: %s\n", path, strerror(errno));
	return file;
}

bool report_close(FILE *file, const char *path)
{
	errno = 0;
	bool good = !ferror(file);
	good = (is_stdout(path) ? fflush(file) : fclose(file)) == 0 && good;
	if (!good)
		fprintf(stderr, "penstock-load: cannot write all of %s: %s\n", path, errno ? strerror(errno) : "a write failed");
	return good;
}
