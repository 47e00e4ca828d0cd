/* test_io_bounded.c: few open files for many handles, on the simulated disk and under a real limit. */
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "penstock/io.h"
#include "penstock/metrics.h"
#include "tests/sim/disk.h"

#define MOST 3

static struct sim_disk *disk;
static struct io *io;

static void setup(void)
{
	disk = sim_disk_new(1);
	io = io_bounded(sim_disk_io(disk), MOST);
}

static void teardown(void)
{
	io_bounded_free(io);
	cr_assert_eq(sim_disk_open_files(disk), 0);
	cr_assert_eq(metric_get(METRIC_log_files), 0);
	sim_disk_free(disk);
}

static const char *path_of(int n)
{
	static char path[32];
	snprintf(path, sizeof(path), "/f%d", n);
	return path;
}

static int64_t put(int file, const char *text)
{
	struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
	return io->pwritev(io, file, &iov, 1, 0);
}

/* A file that holds its number. */
static int make(int n)
{
	char text[16];
	int file = io->open(io, path_of(n), IO_CREATE);
	cr_assert_geq(file, 0);
	snprintf(text, sizeof(text), "%d", n);
	cr_assert_gt(put(file, text), 0);
	cr_assert_eq(io->fdatasync(io, file), 0);
	return file;
}

static void check(int file, int n)
{
	char text[16] = "";
	cr_assert_gt(io->pread(io, file, text, 15, 0), 0);
	cr_assert_eq(atoi(text), n);
}

#define TEST(name) Test(io_bounded, name, .init = setup, .fini = teardown, .timeout = 60)

TEST(many_handles_few_files)
{
	int files[1000];
	for (int i = 0; i < 1000; i++) {
		files[i] = make(i);
		cr_assert_leq(sim_disk_open_files(disk), MOST);
	}
	for (int i = 0; i < 1000; i++)
		check(files[i], i);
	cr_assert_leq(sim_disk_open_files(disk), MOST);
	cr_assert_eq(metric_get(METRIC_log_files), MOST);
	for (int i = 0; i < 1000; i++)
		cr_assert_eq(io->close(io, files[i]), 0);
}

TEST(what_is_used_stays_open)
{
	int hot = make(0), cold[20];
	for (int i = 0; i < 20; i++)
		io->close(io, make(1 + i));
	for (int i = 0; i < 20; i++) {
		cold[i] = io->open(io, path_of(1 + i), IO_READ);
		uint64_t opens = sim_disk_calls(disk, SIM_OPEN);
		check(hot, 0);
		cr_assert_eq(sim_disk_calls(disk, SIM_OPEN), opens, "the file in use was closed");
	}
	io->close(io, hot);
	for (int i = 0; i < 20; i++)
		io->close(io, cold[i]);
}

TEST(unsynced_writes_keep_a_file_open)
{
	int dirty[MOST + 2];
	for (int i = 0; i < MOST + 2; i++) {
		dirty[i] = io->open(io, path_of(i), IO_CREATE);
		put(dirty[i], "x");
	}
	cr_assert_eq(sim_disk_open_files(disk), MOST + 2);
	for (int i = 0; i < MOST + 2; i++)
		cr_assert_eq(io->fdatasync(io, dirty[i]), 0);
	int other = make(100);
	cr_assert_eq(sim_disk_open_files(disk), MOST);
	io->close(io, other);
	for (int i = 0; i < MOST + 2; i++)
		io->close(io, dirty[i]);
}

TEST(an_unlinked_file_can_be_read_until_it_is_closed)
{
	int gone = make(0), others[10];
	for (int i = 0; i < 10; i++)
		others[i] = make(1 + i);
	cr_assert_eq(io->unlink(io, path_of(0)), 0);
	int again = make(0);
	cr_assert_eq(put(again, "7"), 1);
	cr_assert_eq(io->fdatasync(io, again), 0);
	for (int i = 0; i < 10; i++)
		check(others[i], 1 + i);
	check(gone, 0);
	check(again, 7);
	io->close(io, gone);
	io->close(io, again);
	for (int i = 0; i < 10; i++)
		io->close(io, others[i]);
	cr_assert_eq(io->unlink(io, path_of(0)), 0);
}

TEST(a_shortage_closes_idle_files)
{
	int a = make(0), b = make(1);
	cr_assert_eq(sim_disk_open_files(disk), 2);
	sim_disk_fail(disk, SIM_OPEN, 1, 1, EMFILE);
	int c = make(2);
	cr_assert_eq(sim_disk_open_files(disk), 2);
	sim_disk_fail(disk, SIM_SYNC_DIR, 1, 1, ENFILE);
	cr_assert_eq(io->sync_dir(io, "/"), 0);
	sim_disk_fail(disk, SIM_SYNC_DIR, 1, 1, EIO);
	cr_assert_eq(io->sync_dir(io, "/"), -EIO, "a failed sync is never repeated");
	check(a, 0);
	check(b, 1);
	check(c, 2);
	io->close(io, a);
	io->close(io, b);
	io->close(io, c);
}

TEST(a_lasting_shortage_is_reported_and_changes_nothing)
{
	int files[MOST + 1];
	for (int i = 0; i < MOST + 1; i++)
		files[i] = make(i);
	sim_disk_fail(disk, SIM_OPEN, 1, 100, EMFILE);
	char text[4];
	cr_assert_eq(io->pread(io, files[0], text, 4, 0), -EMFILE);
	cr_assert_eq(put(files[1], "9"), -EMFILE);
	cr_assert_eq(io->unlink(io, path_of(0)), -EMFILE);
	cr_assert(io_is_shortage(io->open(io, path_of(0), IO_READ)));
	sim_disk_fail(disk, SIM_OPEN, 1, 0, EMFILE);
	for (int i = 0; i < MOST + 1; i++) {
		check(files[i], i);
		io->close(io, files[i]);
	}
}

/* ---- Threads, under a real limit ---- */

#define THREADS 4
#define FILES 64
static char dir[32] = "penstock-test-bounded-XXXXXX";
static int shared[FILES];

static void *read_shared(void *arg)
{
	unsigned seed = *(unsigned *)arg;
	for (int i = 0; i < 3000; i++) {
		int n = rand_r(&seed) % FILES;
		char text[16] = "";
		if (io->pread(io, shared[n], text, 15, 0) <= 0 || atoi(text) != n)
			return arg;
	}
	return NULL;
}

Test(io_bounded, threads_share_what_a_limit_allows, .timeout = 60)
{
	struct rlimit limit;
	pthread_t threads[THREADS];
	unsigned seeds[THREADS];
	char path[64];
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	int next = dup(0);
	limit.rlim_cur = (rlim_t)next + 12;
	close(next);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	io = io_bounded(io_posix(), 1000); /* more than the process may have */
	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%d", dir, i);
		shared[i] = io->open(io, path, IO_CREATE);
		cr_assert_geq(shared[i], 0);
		cr_assert_gt(put(shared[i], strrchr(path, '/') + 1), 0);
		cr_assert_eq(io->fdatasync(io, shared[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		seeds[i] = i;
		cr_assert_eq(pthread_create(&threads[i], NULL, read_shared, &seeds[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		void *failed;
		pthread_join(threads[i], &failed);
		cr_assert_null(failed);
	}
	for (int i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%d", dir, i);
		io->close(io, shared[i]);
		cr_assert_eq(io->unlink(io, path), 0);
	}
	io_bounded_free(io);
	cr_assert_eq(rmdir(dir), 0);
}
