/* test_simdisk.c: the simulated disk keeps what was synced, may lose what was not, and fails when told to. Each test fails if the disk
 * is kinder than a real one, or crueller than it may be. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/bytes.h"
#include "tests/sim/disk.h"

static struct sim_disk *disk;
static struct io *io;

static void setup(void)
{
	disk = sim_disk_new(1);
	io = sim_disk_io(disk);
}

static void teardown(void) { sim_disk_free(disk); }

TestSuite(simdisk, .init = setup, .fini = teardown);

static int64_t put(int file, const char *text, uint64_t offset)
{
	struct iovec iov = {(void *)text, strlen(text)};
	return io->pwritev(io, file, &iov, 1, offset);
}

static void fill(int file, uint8_t byte, size_t n, uint64_t offset)
{
	uint8_t *p = malloc(n);
	memset(p, byte, n);
	struct iovec iov[2] = {{p, n / 3}, {p + n / 3, n - n / 3}};
	cr_assert_eq(io->pwritev(io, file, iov, 2, offset), (int64_t)n);
	free(p);
}

static int made(const char *path)
{
	int file = io->open(io, path, IO_CREATE);
	cr_assert_geq(file, 0, "%s: %d", path, file);
	return file;
}

/* The file's bytes, as text. "-" when there is no such file. */
static const char *text_of(const char *path)
{
	static char text[64];
	int file = io->open(io, path, IO_READ);
	if (file < 0)
		return "-";
	int64_t n = io->pread(io, file, text, sizeof(text) - 1, 0);
	text[n < 0 ? 0 : n] = '\0';
	io->close(io, file);
	return text;
}

static void on_name(void *arg, const char *name)
{
	(void)name;
	++*(int *)arg;
}

static int entries(const char *path)
{
	int n = 0;
	return io->list(io, path, on_name, &n) == 0 ? n : -1;
}

Test(simdisk, is_a_file_system)
{
	cr_assert_eq(io->open(io, "/d/a", IO_CREATE), -ENOENT);
	cr_assert_eq(io->mkdir(io, "/d"), 0);
	cr_assert_eq(io->mkdir(io, "d"), -EEXIST);
	int file = made("/d/a");
	cr_assert_eq(io->open(io, "/d/a", IO_CREATE), -EEXIST);
	cr_assert_eq(io->open(io, "/d", IO_READ), -EISDIR);
	cr_assert_eq(io->open(io, "/d/a/b", IO_READ), -ENOTDIR);
	cr_assert_eq(put(file, "hello", 3), 5);
	cr_assert_eq(io->size(io, file), 8);
	char text[16];
	cr_assert_eq(io->pread(io, file, text, sizeof(text), 0), 8);
	cr_assert_eq(memcmp(text, "\0\0\0hello", 8), 0);
	cr_assert_eq(io->truncate(io, file, 5), 0);
	cr_assert_eq(io->truncate(io, file, 7), 0);
	cr_assert_eq(io->pread(io, file, text, sizeof(text), 2), 5);
	cr_assert_eq(memcmp(text, "\0he\0\0", 5), 0, "what was cut comes back as zeros");
	int reader = io->open(io, "//d/./a", IO_READ);
	cr_assert_eq(put(reader, "x", 0), -EBADF);
	cr_assert_eq(io->unlink(io, "/d/a"), 0);
	cr_assert_eq(io->pread(io, reader, text, 1, 3), 1, "an open file outlives its name");
	cr_assert_eq(io->rmdir(io, "/d"), 0);
	cr_assert_eq(io->rmdir(io, "/d"), -ENOENT);
	cr_assert_eq(sim_disk_open_files(disk), 2);
	cr_assert_eq(io->close(io, reader), 0);
	cr_assert_eq(io->close(io, reader), -EBADF);
	io->close(io, file);
	cr_assert_eq(sim_disk_used(disk), 0);
}

Test(simdisk, rename_and_list)
{
	io->mkdir(io, "d");
	io->mkdir(io, "e");
	int file = made("d/a");
	put(file, "a", 0);
	io->close(io, file);
	file = made("d/b");
	put(file, "b", 0);
	io->close(io, file);
	cr_assert_eq(entries("d"), 2);
	cr_assert_eq(io->rename(io, "d/a", "d/b"), 0);
	cr_assert_eq(entries("d"), 1);
	cr_assert_str_eq(text_of("d/b"), "a");
	cr_assert_eq(io->rename(io, "d/b", "e/c"), 0);
	cr_assert_str_eq(text_of("e/c"), "a");
	cr_assert_eq(entries("d"), 0);
	cr_assert_eq(io->rename(io, "d/b", "e/c"), -ENOENT);
	cr_assert_eq(io->rename(io, "e/c", "d"), -EISDIR);
	cr_assert_eq(io->rename(io, "d", "e"), -ENOTEMPTY);
	cr_assert_eq(io->rename(io, "d", "f"), 0);
	cr_assert_eq(io->rmdir(io, "e"), -ENOTEMPTY);
	cr_assert_eq(io->list(io, "none", on_name, NULL), -ENOENT);
	cr_assert_eq(entries("/"), 2);
}

Test(simdisk, synced_survives_unsynced_is_lost)
{
	int file = made("a");
	cr_assert_eq(put(file, "kept", 0), 4);
	cr_assert_eq(io->fdatasync(io, file), 0);
	cr_assert_eq(io->sync_dir(io, "/"), 0);
	cr_assert_eq(put(file, "lost", 2), 4);
	cr_assert_str_eq(text_of("a"), "kelost");
	sim_disk_crash(disk, NULL);
	cr_assert_str_eq(text_of("a"), "kept");
	cr_assert_eq(io->size(io, file), -EBADF, "handles do not survive");
	file = io->open(io, "a", IO_WRITE);
	cr_assert_eq(put(file, "more", 4), 4);
	cr_assert_eq(io->size(io, file), 8);
}

Test(simdisk, a_name_needs_its_directory_synced)
{
	int file = made("a");
	put(file, "x", 0);
	io->fdatasync(io, file);
	sim_disk_crash(disk, NULL);
	cr_assert_str_eq(text_of("a"), "-");

	io->mkdir(io, "d");
	io->sync_dir(io, "/");
	io->mkdir(io, "d/e"); /* never synced: takes all inside with it */
	file = made("d/e/a");
	io->fdatasync(io, file);
	io->sync_dir(io, "d/e");
	sim_disk_crash(disk, NULL);
	cr_assert_eq(entries("d"), 0);

	file = made("d/a");
	put(file, "x", 0);
	io->fdatasync(io, file);
	io->sync_dir(io, "d");
	cr_assert_eq(io->unlink(io, "d/a"), 0);
	cr_assert_str_eq(text_of("d/a"), "-");
	sim_disk_crash(disk, NULL);
	cr_assert_str_eq(text_of("d/a"), "x", "an unlink that was not synced comes back");
	cr_assert_eq(io->rename(io, "d/a", "d/b"), 0);
	sim_disk_crash(disk, NULL);
	cr_assert_str_eq(text_of("d/a"), "x");
	io->rename(io, "d/a", "d/b");
	io->sync_dir(io, "d");
	sim_disk_crash(disk, NULL);
	cr_assert_str_eq(text_of("d/a"), "-");
	cr_assert_str_eq(text_of("d/b"), "x");
}

/* Over many seeds: what a sector, a size, a name looks like after the crash. */
Test(simdisk, unsynced_sectors_survive_vanish_or_tear)
{
	int old = 0, new = 0, torn = 0, short_file = 0, long_file = 0, between = 0;
	for (uint64_t seed = 0; seed < 200; seed++) {
		struct rng rng;
		rng_init(&rng, seed);
		struct sim_disk *one = sim_disk_new(seed);
		io = sim_disk_io(one);
		int file = made("a");
		fill(file, 'o', 4 * SIM_SECTOR, 0);
		io->fdatasync(io, file);
		io->sync_dir(io, "/");
		fill(file, 'n', 2 * SIM_SECTOR, SIM_SECTOR); /* sectors 1 and 2 */
		fill(file, 'n', SIM_SECTOR, 4 * SIM_SECTOR); /* grows by one */
		sim_disk_crash(one, &rng);
		file = io->open(io, "a", IO_READ);
		int64_t size = io->size(io, file);
		uint8_t bytes[5 * SIM_SECTOR];
		cr_assert_eq(io->pread(io, file, bytes, sizeof(bytes), 0), size);
		cr_assert(size >= 4 * SIM_SECTOR && size <= 5 * SIM_SECTOR);
		short_file += size == 4 * SIM_SECTOR;
		long_file += size == 5 * SIM_SECTOR;
		between += size % SIM_SECTOR != 0;
		for (int i = 0; i < SIM_SECTOR; i++)
			cr_assert(bytes[i] == 'o' && bytes[3 * SIM_SECTOR + i] == 'o', "synced sectors never change");
		for (int sector = 1; sector <= 2; sector++) {
			int count = 0;
			for (int i = 0; i < SIM_SECTOR; i++) {
				uint8_t byte = bytes[sector * SIM_SECTOR + i];
				cr_assert(byte == 'o' || byte == 'n');
				count += byte == 'n';
			}
			old += count == 0;
			new += count == SIM_SECTOR;
			torn += count > 0 && count < SIM_SECTOR;
		}
		sim_disk_free(one);
	}
	cr_assert(old > 40 && new > 40 && torn > 20, "%d %d %d", old, new, torn);
	cr_assert(short_file > 20 && long_file > 20 && between > 20, "%d %d %d", short_file, long_file, between);
}

Test(simdisk, unsynced_names_survive_or_vanish_one_by_one)
{
	int count[4] = {0};
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct rng rng;
		rng_init(&rng, seed);
		struct sim_disk *one = sim_disk_new(seed);
		io = sim_disk_io(one);
		made("a");
		made("b");
		sim_disk_crash(one, &rng);
		count[entries("/")]++;
		sim_disk_free(one);
	}
	cr_assert(count[0] > 5 && count[1] > 20 && count[2] > 5, "%d %d %d", count[0], count[1], count[2]);
}

Test(simdisk, appending_to_a_synced_sector_never_harms_it)
{
	for (uint64_t seed = 0; seed < 100; seed++) {
		struct rng rng;
		rng_init(&rng, seed);
		struct sim_disk *one = sim_disk_new(seed);
		io = sim_disk_io(one);
		sim_disk_set_writeback(one, 50);
		int file = made("a");
		fill(file, 'k', 700, 0);
		io->fdatasync(io, file);
		io->sync_dir(io, "/");
		for (int i = 0; i < 10; i++)
			fill(file, 'n', 100, 700 + 100 * (uint64_t)i);
		sim_disk_crash(one, &rng);
		uint8_t bytes[700];
		file = io->open(io, "a", IO_READ);
		cr_assert_eq(io->pread(io, file, bytes, 700, 0), 700);
		for (int i = 0; i < 700; i++)
			cr_assert_eq(bytes[i], 'k');
		sim_disk_free(one);
	}
}

Test(simdisk, failed_sync_marks_pages_clean)
{
	int file = made("a");
	put(file, "old", 0);
	io->fdatasync(io, file);
	io->sync_dir(io, "/");
	put(file, "new", 0);
	sim_disk_fail(disk, SIM_FDATASYNC, 1, 1, EIO);
	cr_assert_eq(io->fdatasync(io, file), -EIO);
	cr_assert_eq(io->fdatasync(io, file), 0, "as Linux says");
	cr_assert_str_eq(text_of("a"), "new");
	struct rng rng;
	rng_init(&rng, 3);
	sim_disk_crash(disk, &rng);
	cr_assert_str_eq(text_of("a"), "old");
}

Test(simdisk, faults_come_at_the_nth_call)
{
	int file = made("a");
	sim_disk_fail(disk, SIM_PWRITEV, 3, 2, ENOSPC);
	cr_assert_eq(put(file, "x", 0), 1);
	cr_assert_eq(put(file, "x", 1), 1);
	cr_assert_eq(io->size(io, file), 2, "other kinds are not counted");
	cr_assert_eq(put(file, "x", 2), -ENOSPC);
	cr_assert_eq(put(file, "x", 2), -ENOSPC);
	cr_assert_eq(put(file, "x", 2), 1);
	sim_disk_fail(disk, SIM_OPEN, 1, 1, EMFILE);
	cr_assert_eq(io->open(io, "b", IO_CREATE), -EMFILE);
	cr_assert_eq(entries("/"), 1, "and had no effect");
	sim_disk_fail(disk, SIM_ANY, 2, 1, EIO);
	cr_assert_eq(io->size(io, file), 3);
	cr_assert_eq(io->size(io, file), -EIO);
	cr_assert_eq(io->size(io, file), 3);
	cr_assert_eq(sim_disk_calls(disk, SIM_PWRITEV), 5);
}

Test(simdisk, capacity)
{
	cr_assert_gt(io->free_bytes(io, "/"), INT64_C(1) << 30);
	sim_disk_set_capacity(disk, 1000);
	int file = made("a");
	fill(file, 'a', 900, 0);
	cr_assert_eq(io->free_bytes(io, "/"), 100);
	char more[200];
	struct iovec iov = {more, sizeof(more)};
	memset(more, 'b', sizeof(more));
	cr_assert_eq(io->pwritev(io, file, &iov, 1, 900), -ENOSPC);
	cr_assert_eq(io->size(io, file), 1000, "what fits is written all the same");
	cr_assert_eq(io->pwritev(io, file, &iov, 1, 0), 200, "overwriting needs no room");
	cr_assert_eq(io->free_bytes(io, "/"), 0);
	io->unlink(io, "a");
	cr_assert_eq(io->free_bytes(io, "/"), 0, "an open file keeps its room");
	io->close(io, file);
	cr_assert_eq(io->free_bytes(io, "/"), 1000);
}

Test(simdisk, dies_at_the_armed_call)
{
	int effects = 0;
	for (uint64_t seed = 0; seed < 40; seed++) {
		struct sim_disk *one = sim_disk_new(seed);
		io = sim_disk_io(one);
		int file = made("a");
		uint64_t before = sim_disk_calls(one, SIM_ANY);
		sim_disk_arm(one, 3);
		cr_assert_eq(put(file, "abc", 0), 3);
		cr_assert_eq(io->fdatasync(io, file), 0);
		cr_assert_eq(io->sync_dir(io, "/"), -EIO);
		cr_assert(sim_disk_dead(one));
		cr_assert_eq(sim_disk_calls(one, SIM_ANY), before + 3);
		cr_assert_eq(put(file, "def", 0), -EIO);
		cr_assert_eq(io->open(io, "a", IO_READ), -EIO);
		cr_assert_eq(io->close(io, file), 0);
		sim_disk_crash(one, NULL);
		cr_assert(!sim_disk_dead(one));
		const char *text = text_of("a");
		cr_assert(strcmp(text, "abc") == 0 || strcmp(text, "-") == 0);
		effects += *text == 'a';
		sim_disk_free(one);
	}
	cr_assert(effects > 5 && effects < 35, "the dying call happens or not: %d", effects);
}

Test(simdisk, kill_keeps_the_page_cache)
{
	int file = made("a");
	put(file, "x", 0);
	sim_disk_kill(disk);
	cr_assert_eq(io->size(io, file), -EBADF);
	cr_assert_str_eq(text_of("a"), "x");
	sim_disk_crash(disk, NULL);
	cr_assert_str_eq(text_of("a"), "-");
}

Test(simdisk, flips_stay)
{
	int file = made("a");
	put(file, "abc", 0);
	io->fdatasync(io, file);
	io->sync_dir(io, "/");
	cr_assert(sim_disk_flip(disk, "a", 1, 'b' ^ 'X'));
	cr_assert(!sim_disk_flip(disk, "a", 3, 1));
	cr_assert(!sim_disk_flip(disk, "b", 0, 1));
	cr_assert_str_eq(text_of("a"), "aXc");
	sim_disk_crash(disk, NULL);
	cr_assert_str_eq(text_of("a"), "aXc");
	cr_assert_eq(sim_disk_file_size(disk, "a"), 3);
}

Test(simdisk, clocks)
{
	int64_t wall = io_wall_ms(io);
	uint64_t mono = io_mono_ns(io);
	cr_assert_eq(wall, SIM_WALL_START_MS);
	sim_disk_advance(disk, 999999);
	cr_assert_eq(io_wall_ms(io), wall);
	sim_disk_advance(disk, 1);
	cr_assert_eq(io_wall_ms(io), wall + 1);
	sim_disk_step_wall(disk, -5000);
	cr_assert_eq(io_wall_ms(io), wall + 1 - 5000);
	cr_assert_eq(io_mono_ns(io), mono + 1000000);
}

/* The same seed, the same disk: all bytes after a storm of calls and a crash. */
static uint64_t storm(uint64_t seed)
{
	struct sim_disk *one = sim_disk_new(seed);
	struct rng rng;
	rng_init(&rng, seed);
	io = sim_disk_io(one);
	sim_disk_set_writeback(one, 30);
	for (int i = 0; i < 300; i++) {
		char path[16];
		snprintf(path, sizeof(path), "f%d", (int)rng_below(&rng, 5));
		int file = io->open(io, path, rng_chance(&rng, 50) ? IO_CREATE : IO_WRITE);
		if (file < 0)
			continue;
		fill(file, (uint8_t)i, rng_range(&rng, 1, 3000), rng_below(&rng, 5000));
		if (rng_chance(&rng, 30))
			io->fdatasync(io, file);
		if (rng_chance(&rng, 20))
			io->sync_dir(io, "/");
		if (rng_chance(&rng, 10))
			io->unlink(io, path);
		if (rng_chance(&rng, 10))
			io->rename(io, path, "f4");
		if (rng_chance(&rng, 10))
			io->truncate(io, file, rng_below(&rng, 6000));
		io->close(io, file);
		if (rng_chance(&rng, 5))
			sim_disk_crash(one, &rng);
	}
	sim_disk_crash(one, &rng);
	uint64_t sum = sim_disk_used(one);
	for (int i = 0; i < 5; i++) {
		char path[16];
		snprintf(path, sizeof(path), "f%d", i);
		int file = io->open(io, path, IO_READ);
		static uint8_t bytes[20000];
		int64_t n = file < 0 ? 0 : io->pread(io, file, bytes, sizeof(bytes), 0);
		for (int64_t k = 0; k < n; k++)
			sum = sum * 31 + bytes[k];
	}
	sim_disk_free(one);
	return sum;
}

Test(simdisk, same_seed_same_disk)
{
	uint64_t first = storm(11);
	cr_assert_eq(storm(11), first);
	cr_assert_neq(storm(12), first);
}

Test(simdisk, direct_writes_are_as_volatile_as_others_and_may_be_refused)
{
	static _Alignas(IO_DIRECT_ALIGN) uint8_t page[IO_DIRECT_ALIGN] = {1};
	struct iovec iov = {page, sizeof(page)};
	int file = io->open(io, "direct", IO_CREATE), direct = io->open(io, "direct", IO_DIRECT);
	cr_assert_eq(io->pwritev(io, direct, &iov, 1, 0), sizeof(page));
	cr_assert_eq(io->size(io, file), sizeof(page));
	io->sync_dir(io, "/");
	sim_disk_crash(disk, NULL);
	cr_assert_eq(sim_disk_file_size(disk, "direct"), 0, "no sync, no bytes");
	sim_disk_set_direct(disk, SIM_DIRECT_REFUSED_LATE);
	direct = io->open(io, "direct", IO_DIRECT);
	cr_assert_eq(io->pwritev(io, direct, &iov, 1, 0), -EINVAL);
	sim_disk_set_direct(disk, SIM_DIRECT_REFUSED);
	cr_assert_eq(io->open(io, "direct", IO_DIRECT), -EINVAL);
	cr_assert_eq(sim_disk_file_size(disk, "direct"), 0);
}
