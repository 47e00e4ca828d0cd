/* load_home.h: a home directory of a test's own, and no AWS_ variable but those that the test sets. */
#ifndef LOAD_HOME_H
#define LOAD_HOME_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "penstock/bytes.h"

extern char **environ;

static char home[64];

static inline void home_make(void)
{
	for (char **at = environ; at && *at;) {
		char *name = strndup(*at, strcspn(*at, "="));
		if (strncmp(name, "AWS_", 4) == 0) {
			unsetenv(name);
			at = environ;
		} else {
			at++;
		}
		free(name);
	}
	strcpy(home, "penstock-home-XXXXXX");
	cr_assert(mkdtemp(home));
	char *aws = xasprintf("%s/.aws", home);
	cr_assert_eq(mkdir(aws, 0700), 0);
	free(aws);
	setenv("HOME", home, 1);
}

static inline void home_write(const char *name, const char *text)
{
	char *path = xasprintf("%s/%s", home, name);
	FILE *file = fopen(path, "w");
	cr_assert(file && fputs(text, file) >= 0 && fclose(file) == 0);
	free(path);
}

static inline void home_remove(void)
{
	static const char *const files[] = {".aws/credentials", ".aws/config", "other", "ca.pem"};
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		char *path = xasprintf("%s/%s", home, files[i]);
		unlink(path);
		free(path);
	}
	char *aws = xasprintf("%s/.aws", home);
	rmdir(aws);
	rmdir(home);
	free(aws);
}

#endif
