/* test_control_unreadable.c: a catalogue on a disk whose reads fail: each read of a start fails once, and no failed read is told as damage.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/catalogue.h"
#include "penstock/slog.h"
#include "tests/sim/disk.h"
#include "tests/sim/disk_vfs.h"

static struct sim_disk *disk;

static enum status open_catalogue(struct control **control, char **why)
{
	struct control_config config = {
		.io = sim_disk_io(disk), .data_dir = "data", .limits = LIMITS_OFF, .transition_ms = 20, .stepped = true, .vfs = SIM_VFS};
	*control = NULL;
	*why = NULL;
	return control_open(&config, control, why);
}

static void up(void)
{
	slog_set_level(SLOG_ERROR);
	disk = sim_disk_new(1);
	sim_vfs_register(disk, 1, NULL, NULL);
	struct io *io = sim_disk_io(disk);
	cr_assert_eq(io->mkdir(io, "data"), 0);
}

static void down(void)
{
	sim_vfs_unregister();
	sim_disk_free(disk);
}

Test(control_unreadable, a_failed_read_is_no_damage, .init = up, .fini = down)
{
	struct control *control;
	char *why;
	unsigned by_check = 0;
	cr_assert_eq(open_catalogue(&control, &why), STATUS_OK, "%s", why);
	control_free(control);
	uint64_t before = sim_disk_calls(disk, SIM_PREAD);
	cr_assert_eq(open_catalogue(&control, &why), STATUS_OK, "%s", why);
	control_free(control);
	uint64_t reads = sim_disk_calls(disk, SIM_PREAD) - before;
	cr_assert_gt(reads, 5);
	for (uint64_t n = 1; n <= reads; n++) {
		sim_disk_fail(disk, SIM_PREAD, n, 1, EIO);
		enum status status = open_catalogue(&control, &why);
		if (status == STATUS_OK) {
			control_free(control);
			continue;
		}
		cr_expect_eq(status, STATUS_IO, "read %llu: %s: %s", (unsigned long long)n, status_name(status), why);
		cr_expect(why && !strstr(why, "backup") && !strchr(why, '\n'), "read %llu: %s", (unsigned long long)n, why);
		by_check += strstr(why, "cannot be read") != NULL;
		free(why);
	}
	cr_expect_gt(by_check, 0, "SQLite's own check met none of them");
	sim_disk_fail(disk, SIM_PREAD, 1, 0, EIO);
	cr_assert_eq(open_catalogue(&control, &why), STATUS_OK, "%s", why);
	control_free(control);
}
