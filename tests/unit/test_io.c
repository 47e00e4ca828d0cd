/* test_io.c: the real table in a directory of its own, and the slow one. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/io.h"

static char dir[64];

static void setup(void)
{
	strcpy(dir, "penstock-test-io-XXXXXX");
	cr_assert_not_null(mkdtemp(dir));
}

static void teardown(void) { cr_assert_eq(rmdir(dir), 0, "the test left files behind"); }

static const char *in(const char *name)
{
	static char paths[4][128];
	static int at;
	at = (at + 1) % 4;
	snprintf(paths[at], sizeof(paths[at]), "%s/%s", dir, name);
	return paths[at];
}

static void on_name(void *arg, const char *name)
{
	buf_put_str(arg, str_of(name));
	buf_put_char(arg, ' ');
}

Test(io, files, .init = setup, .fini = teardown)
{
	struct io *io = io_posix();
	cr_assert_eq(io->open(io, in("a"), IO_READ), -ENOENT);
	int file = io->open(io, in("a"), IO_CREATE);
	cr_assert_geq(file, 0);
	cr_assert_eq(io->open(io, in("a"), IO_CREATE), -EEXIST);
	struct iovec iov[3] = {{(void *)"hello ", 6}, {NULL, 0}, {(void *)"world", 5}};
	cr_assert_eq(io->pwritev(io, file, iov, 3, 4), 11);
	cr_assert_eq(io->size(io, file), 15);
	char text[32];
	cr_assert_eq(io->pread(io, file, text, sizeof(text), 4), 11, "a short read is the end of the file");
	cr_assert_eq(memcmp(text, "hello world", 11), 0);
	cr_assert_eq(io->pread(io, file, text, sizeof(text), 15), 0);
	cr_assert_eq(io->fdatasync(io, file), 0);
	cr_assert_eq(io->truncate(io, file, 6), 0);
	cr_assert_eq(io->size(io, file), 6);
	cr_assert_eq(io->close(io, file), 0);
	file = io->open(io, in("a"), IO_READ);
	cr_assert_eq(io->pwritev(io, file, iov, 1, 0), -EBADF);
	io->close(io, file);
	cr_assert_eq(io->unlink(io, in("a")), 0);
	cr_assert_eq(io->unlink(io, in("a")), -ENOENT);
}

/* Whole pages past the page cache, seen by whoever reads through it. On tmpfs and its like: refused, as io.h says. */
Test(io, direct, .init = setup, .fini = teardown)
{
	static _Alignas(IO_DIRECT_ALIGN) char bytes[2 * IO_DIRECT_ALIGN];
	struct io *io = io_posix();
	cr_assert_eq(io->open(io, in("x"), IO_DIRECT), -ENOENT, "it makes no file");
	int file = io->open(io, in("x"), IO_CREATE), direct = io->open(io, in("x"), IO_DIRECT);
	if (direct == -EINVAL)
		cr_skip_test("this file system takes no direct writes");
	memset(bytes, 'x', sizeof(bytes));
	struct iovec iov[2] = {{bytes, IO_DIRECT_ALIGN}, {bytes, IO_DIRECT_ALIGN}};
	cr_assert_eq(io->pwritev(io, direct, iov, 2, IO_DIRECT_ALIGN), sizeof(bytes));
	cr_assert_eq(io->fdatasync(io, direct), 0);
	cr_assert_eq(io->size(io, file), 3 * IO_DIRECT_ALIGN);
	memset(bytes, 0, sizeof(bytes));
	cr_assert_eq(io->pread(io, file, bytes, 4, IO_DIRECT_ALIGN - 2), 4);
	cr_assert_eq(memcmp(bytes, "\0\0xx", 4), 0);
	cr_assert_eq(io->close(io, direct), 0);
	cr_assert_eq(io->close(io, file), 0);
}

Test(io, long_vectors, .init = setup, .fini = teardown)
{
	struct io *io = io_posix();
	int file = io->open(io, in("v"), IO_CREATE);
	static char bytes[2000];
	struct iovec iov[2000];
	for (int i = 0; i < 2000; i++) {
		bytes[i] = (char)i;
		iov[i] = (struct iovec){&bytes[i], i % 3 ? 1 : 0}; /* more pieces than one system call takes */
	}
	int64_t n = io->pwritev(io, file, iov, 2000, 0);
	cr_assert_eq(n, 1333);
	static char back[2000];
	cr_assert_eq(io->pread(io, file, back, sizeof(back), 0), n);
	for (int i = 0, k = 0; i < 2000; i++)
		if (i % 3)
			cr_assert_eq(back[k++], (char)i);
	cr_assert_eq(io->pwritev(io, file, iov, 0, 0), 0);
	io->close(io, file);
	io->unlink(io, in("v"));
}

Test(io, directories, .init = setup, .fini = teardown)
{
	struct io *io = io_posix();
	cr_assert_eq(io->mkdir(io, in("d")), 0);
	cr_assert_eq(io->mkdir(io, in("d")), -EEXIST);
	io->close(io, io->open(io, in("d/one"), IO_CREATE));
	cr_assert_eq(io->rename(io, in("d/one"), in("d/two")), 0);
	cr_assert_eq(io->sync_dir(io, in("d")), 0);
	cr_assert_eq(io->sync_dir(io, in("none")), -ENOENT);
	struct buf names = {0};
	cr_assert_eq(io->list(io, in("d"), on_name, &names), 0);
	cr_assert(str_equal((struct str){(char *)names.p, names.n}, STR("two ")));
	buf_free(&names);
	cr_assert_eq(io->list(io, in("none"), on_name, &names), -ENOENT);
	cr_assert_eq(io->rmdir(io, in("d")), -ENOTEMPTY);
	cr_assert_eq(io->unlink(io, in("d/two")), 0);
	cr_assert_eq(io->rmdir(io, in("d")), 0);
	cr_assert_gt(io->free_bytes(io, dir), 0);
	cr_assert_eq(io->free_bytes(io, in("none")), -ENOENT);
}

Test(io, clocks)
{
	struct io *io = io_posix();
	uint64_t first = io_mono_ns(io);
	cr_assert_geq(io_mono_ns(io), first);
	cr_assert_gt(io_wall_ms(io), INT64_C(1600000000000));
	cr_expect_geq(io_boot_ns(io) + 1000000, io_mono_ns(io), "it runs on while the machine sleeps");
	int64_t before_ms = io_wall_ms(io), vouched_ms = io_vouched_ms(io), after_ms = io_wall_ms(io);
	if (vouched_ms != -1)
		cr_expect(before_ms <= vouched_ms && vouched_ms <= after_ms, "one clock, whoever is asked");
}

Test(io, slow_delays_only_the_sync, .init = setup, .fini = teardown)
{
	struct io *io = io_slow(io_posix(), 20000);
	int file = io->open(io, in("s"), IO_CREATE);
	cr_assert_geq(file, 0);
	struct iovec iov = {(void *)"x", 1};
	cr_assert_eq(io->pwritev(io, file, &iov, 1, 0), 1);
	uint64_t before = io_mono_ns(io);
	cr_assert_eq(io->fdatasync(io, file), 0);
	cr_assert_geq(io_mono_ns(io) - before, 20000000);
	cr_assert_eq(io->size(io, file), 1);
	io->close(io, file);
	cr_assert_eq(io->unlink(io, in("s")), 0);
	io_slow_free(io);
}
