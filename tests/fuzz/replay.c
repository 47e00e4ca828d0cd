/* replay.c: a fuzz target as a regression test, without a fuzzer. Runs each file of the folders and files given once; a finding ends the
 * process, as it would end the fuzzer's. The name of the file is on stderr then. */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static unsigned passed, failed;

/* In a malloc of the file's size, so that ASan sees a read past it. */
static uint8_t *read_file(const char *path, size_t *n)
{
	struct stat stat;
	FILE *file = fopen(path, "rb");
	uint8_t *data = NULL;
	if (file && fstat(fileno(file), &stat) == 0) {
		*n = (size_t)stat.st_size;
		data = malloc(*n ? *n : 1);
		if (data && fread(data, 1, *n, file) != *n) {
			free(data);
			data = NULL;
		}
	}
	if (file)
		fclose(file);
	return data;
}

static void run_file(const char *path)
{
	size_t n;
	uint8_t *data = read_file(path, &n);
	if (!data) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		failed++;
		return;
	}
	fprintf(stderr, "%s\n", path);
	LLVMFuzzerTestOneInput(data, n);
	free(data);
	passed++;
}

static void run_folder(const char *path, DIR *folder)
{
	for (struct dirent *entry; (entry = readdir(folder));) {
		char name[4096];
		if (entry->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		run_file(name);
	}
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		DIR *folder = opendir(argv[i]);
		if (!folder) {
			run_file(argv[i]);
			continue;
		}
		run_folder(argv[i], folder);
		closedir(folder);
	}
	printf("replay: %u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
