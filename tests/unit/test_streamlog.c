/* The log in good days and on a bad disk: append, read, roll, trim, destroy; full disks and failing ones. */
#include "tests/unit/streamlog_fixture.h"

#include "shardstore/streamlog_internal.h"

static struct sim_disk *disk;
static struct io *io;
static struct writer writer;

static void set_up(void)
{
	disk = sim_disk_new(1);
	io = sim_disk_io(disk);
	make_parents(io);
	writer_init(&writer, io, 42);
	cr_assert(create_log(io, &writer.log) == STATUS_OK);
}

static void tear_down(void)
{
	streamlog_close(writer.log, false);
	cr_assert(sim_disk_open_files(disk) == 0, "handles leak");
	sim_disk_free(disk);
}

TestSuite(streamlog, .init = set_up, .fini = tear_down);

static void reopen(struct told *told, bool seal)
{
	streamlog_close(writer.log, seal);
	cr_assert(open_log(io, told, &writer.log) == STATUS_OK);
}

static void commit(int n)
{
	while (n-- > 0)
		cr_assert(writer_commit(&writer, 4) == STATUS_OK);
}

static uint64_t newest(void) { return writer.log->segments[writer.log->n_segments - 1]->number; }

/* ---- Good days ---- */

Test(streamlog, reads_back_what_was_appended)
{
	for (int i = 0; i < 50; i++) {
		commit(1);
		for (uint32_t k = 0; k < writer.last_n; k++) {
			struct batch *batch = NULL;
			cr_assert(read_extent(&writer.last[k], &batch) == STATUS_OK);
			cr_assert(batch->first == writer.last[k].first && batch->arrival_ms == SIM_WALL_START_MS);
			cr_assert(batch->frames_cap == batch->frames_len, "exact size");
			check_batch(batch);
			batch_unref(batch);
		}
	}
}

Test(streamlog, segments_double_up_to_the_largest)
{
	commit(100);
	cr_assert(writer.log->n_segments > 4);
	cr_assert(writer.log->header.capacity == LOG_MAX);
	for (uint32_t i = 0; i < writer.log->n_segments; i++)
		cr_assert(writer.log->segments[i]->number == i + 1);
}

Test(streamlog, a_group_larger_than_a_segment_gets_its_own)
{
	struct batch *batch = make_batch(0, 1, 400, 5);
	struct extent_ref extent;
	struct group group = {.n_batches = 1, .n_extents = 1, .batches = &batch, .extents = &extent};
	struct shard_mark mark = {0, 401, 5};
	cr_assert(batch->frames_len > LOG_MAX);
	cr_assert(streamlog_commit(writer.log, &group, &mark, 1) == STATUS_OK);
	cr_assert(group.bytes >= batch->frames_len && newest() == 1);
	batch_unref(batch);
	struct batch *back = NULL;
	cr_assert(read_extent(&extent, &back) == STATUS_OK);
	check_batch(back);
	batch_unref(back);
}

Test(streamlog, a_day_old_segment_rolls)
{
	commit(1);
	cr_assert(newest() == 1);
	sim_disk_advance(disk, UINT64_C(25) * 3600 * 1000000000);
	commit(1);
	cr_assert(newest() == 2);
}

Test(streamlog, reopens_sealed_without_scanning)
{
	struct told told;
	commit(60);
	reopen(&told, true);
	cr_assert(told.damages == 0 && told.torn == 0);
	uint64_t next[SHARDS];
	check_recovered(&told, writer.acked, next);
	check_complete(&told, writer.acked);
	cr_assert(memcmp(next, writer.next, sizeof(next)) == 0);
	told_fini(&told);
	/* A second start changes nothing and reads headers and footers only. */
	uint64_t writes = sim_disk_calls(disk, SIM_PWRITEV), reads = sim_disk_calls(disk, SIM_PREAD);
	reopen(&told, true);
	cr_assert(sim_disk_calls(disk, SIM_PWRITEV) == writes);
	cr_assert(sim_disk_calls(disk, SIM_PREAD) - reads <= 4 * (uint64_t)writer.log->n_segments);
	told_fini(&told);
}

Test(streamlog, goes_on_in_a_new_segment_of_a_higher_epoch)
{
	struct told told;
	commit(3);
	uint64_t before = newest(), epoch = writer.log->epoch;
	reopen(&told, false);
	told_fini(&told);
	commit(3);
	cr_assert(newest() == before + 1 && writer.log->epoch == epoch + 1);
	reopen(&told, false);
	uint64_t next[SHARDS];
	check_recovered(&told, writer.acked, next);
	check_complete(&told, writer.acked);
	told_fini(&told);
}

Test(streamlog, idle_restarts_make_no_files)
{
	struct told told;
	commit(3);
	uint64_t before = newest(), capacity = 0;
	for (int i = 0; i < 5; i++) {
		reopen(&told, i & 1);
		told_fini(&told);
		cr_assert(newest() == before);
		cr_assert(!i || writer.log->next_capacity == capacity, "nor does an idle log's next segment grow");
		capacity = writer.log->next_capacity;
	}
}

Test(streamlog, create_takes_up_an_earlier_try_but_no_records)
{
	streamlog_close(writer.log, false);
	cr_assert(create_log(io, &writer.log) == STATUS_OK);
	commit(1);
	streamlog_close(writer.log, false);
	cr_assert(create_log(io, &writer.log) == STATUS_IN_USE);
	cr_assert(!writer.log);
	struct told told;
	cr_assert(open_log(io, &told, &writer.log) == STATUS_OK && told.n > 0);
	told_fini(&told);
}

Test(streamlog, open_of_nothing)
{
	struct told told;
	struct streamlog *log;
	struct streamlog_config config = {.io = io, .path = "data/streams/2", .segment_min = LOG_MIN, .segment_max = LOG_MAX};
	struct streamlog_recovery recovery = {on_run, on_shard, on_damage, on_torn_tail, &told};
	cr_assert(streamlog_open(&config, &recovery, &log) == STATUS_NOT_FOUND && !log);
}

/* ---- Prepare ---- */

Test(streamlog, prepare_writes_ahead_and_makes_the_next_segment)
{
	cr_assert(streamlog_wants_prepare(writer.log) == false || streamlog_prepare(writer.log) == STATUS_OK);
	for (int i = 0; i < 100; i++) {
		commit(1);
		while (streamlog_wants_prepare(writer.log))
			cr_assert(streamlog_prepare(writer.log) == STATUS_OK);
		cr_assert(writer.log->zeroed >= writer.log->header.capacity);
		cr_assert(sim_disk_file_size(disk, writer.log->open->path) >= (int64_t)writer.log->header.capacity);
	}
	uint64_t creates = newest();
	struct told told;
	reopen(&told, false);
	cr_assert(told.torn == 0 && told.damages == 0, "zeros ahead are no torn tail");
	cr_assert(newest() == creates, "a spare is removed");
	uint64_t next[SHARDS];
	check_recovered(&told, writer.acked, next);
	check_complete(&told, writer.acked);
	told_fini(&told);
}

/* A file system that takes no direct writes gets the same zeros by the way of all other writes. */
Test(streamlog, prepare_where_direct_writes_are_refused)
{
	for (int how = SIM_DIRECT_REFUSED; how <= SIM_DIRECT_REFUSED_LATE; how++) {
		sim_disk_set_direct(disk, (enum sim_direct)how);
		writer.log->buffered = false;
		while (!streamlog_wants_prepare(writer.log))
			commit(1);
		uint64_t zeroed = writer.log->zeroed + writer.log->spare_zeroed;
		cr_assert(streamlog_prepare(writer.log) == STATUS_OK && writer.log->buffered);
		cr_assert(writer.log->zeroed + writer.log->spare_zeroed > zeroed);
	}
	commit(60);
	struct told told;
	uint64_t next[SHARDS];
	reopen(&told, false);
	check_recovered(&told, writer.acked, next);
	check_complete(&told, writer.acked);
	told_fini(&told);
}

/* Zeros go into the next segment, in step with the open one, and not into the file that groups go to. */
Test(streamlog, the_next_segment_is_zeros_before_it_opens)
{
	int rolls = 0;
	for (int i = 0; i < 200; i++) {
		struct segment *open = writer.log->open;
		commit(1);
		if (writer.log->open != open && rolls++ > 1) {
			cr_assert(writer.log->zeroed >= writer.log->header.capacity, "segment %d", rolls);
			cr_assert(!streamlog_wants_prepare(writer.log) || writer.log->offset > writer.log->header.capacity / 4);
		}
		while (streamlog_wants_prepare(writer.log))
			cr_assert(streamlog_prepare(writer.log) == STATUS_OK);
		if (writer.log->offset <= writer.log->header.capacity / 4)
			cr_assert(!writer.log->spare, "a stream that stands still pays for no second segment");
	}
	cr_assert(rolls > 3);
}

/* A part of a page that is on the disk only would have to be read before it is written. */
Test(streamlog, a_group_is_written_up_to_the_end_of_its_page)
{
	for (int i = 0; i < 20; i++) {
		commit(1);
		uint64_t end = page_end(writer.log->offset);
		cr_assert(writer.log->zeroed >= end && writer.log->zeroed % IO_DIRECT_ALIGN == 0);
		cr_assert(sim_disk_file_size(disk, writer.log->open->path) >= (int64_t)end);
	}
}

Test(streamlog, prepare_stops_on_a_full_disk_until_a_commit_went_well)
{
	commit(2);
	cr_assert(streamlog_wants_prepare(writer.log));
	sim_disk_set_capacity(disk, sim_disk_used(disk) + 2048);
	cr_assert(streamlog_prepare(writer.log) == STATUS_DISK_FULL);
	cr_assert(!streamlog_wants_prepare(writer.log));
	sim_disk_set_capacity(disk, 0);
	commit(1);
	cr_assert(streamlog_wants_prepare(writer.log));
	cr_assert(streamlog_prepare(writer.log) == STATUS_OK);
}

/* Zeros that are for later must not hold what a full disk needs now. */
Test(streamlog, a_full_disk_gets_the_spares_zeros_back)
{
	while (writer.log->zeroed < writer.log->header.capacity || !streamlog_wants_prepare(writer.log))
		if (streamlog_wants_prepare(writer.log))
			cr_assert(streamlog_prepare(writer.log) == STATUS_OK);
		else
			commit(1);
	cr_assert_null(writer.log->spare);
	uint64_t used = sim_disk_used(disk);
	sim_disk_set_capacity(disk, used + 4096);
	cr_assert(streamlog_prepare(writer.log) == STATUS_DISK_FULL);
	cr_assert_not_null(writer.log->spare);
	cr_assert_eq(sim_disk_used(disk), used);
	sim_disk_set_capacity(disk, 0);
	for (int i = 0; i < 40; i++)
		commit(1);
}

Test(streamlog, an_empty_log_takes_no_room)
{
	cr_assert(sim_disk_used(disk) == 0 && !streamlog_wants_prepare(writer.log));
	struct told told;
	reopen(&told, true);
	cr_assert(told.damages == 0 && sim_disk_used(disk) == 0);
	cr_assert(!streamlog_wants_prepare(writer.log) && !streamlog_wants_rest(writer.log));
	told_fini(&told);
}

static void pass_time(uint64_t ns) { sim_disk_advance(disk, ns); }

static void prepare_all(void)
{
	while (streamlog_wants_prepare(writer.log))
		cr_assert(streamlog_prepare(writer.log) == STATUS_OK);
}

Test(streamlog, a_log_at_rest_gives_its_zeros_back)
{
	commit(2);
	prepare_all();
	while (!writer.log->spare) {
		commit(1);
		prepare_all();
	}
	cr_assert(!streamlog_wants_rest(writer.log), "it is in use");
	pass_time(STREAMLOG_REST_NS);
	cr_assert(streamlog_wants_rest(writer.log));
	uint64_t data = 0;
	for (uint32_t i = 0; i + 1 < writer.log->n_segments; i++)
		data += (uint64_t)sim_disk_file_size(disk, writer.log->segments[i]->path);
	cr_assert(streamlog_rest(writer.log) == STATUS_OK);
	cr_assert_eq(sim_disk_used(disk), data + writer.log->offset);
	cr_assert(!streamlog_wants_rest(writer.log) && !streamlog_wants_prepare(writer.log));
	/* A record an hour needs none; several a minute do. */
	commit(1);
	cr_assert(!streamlog_wants_prepare(writer.log));
	pass_time(STREAMLOG_REST_NS);
	commit(1);
	cr_assert(!streamlog_wants_prepare(writer.log));
	commit(60);
	prepare_all();
	cr_assert(writer.log->zeroed >= writer.log->header.capacity);
	struct told told;
	uint64_t next[SHARDS];
	reopen(&told, false);
	check_recovered(&told, writer.acked, next);
	check_complete(&told, writer.acked);
	cr_assert(told.damages == 0);
	told_fini(&told);
}

Test(streamlog, a_rest_that_fails_breaks_nothing_or_poisons)
{
	commit(2);
	prepare_all();
	pass_time(STREAMLOG_REST_NS);
	sim_disk_fail(disk, SIM_TRUNCATE, 1, 1, ENOSPC);
	cr_assert(streamlog_rest(writer.log) == STATUS_DISK_FULL);
	commit(30);
	prepare_all();
	pass_time(STREAMLOG_REST_NS);
	sim_disk_fail(disk, SIM_TRUNCATE, 1, 1, EIO);
	cr_assert(streamlog_rest(writer.log) == STATUS_IO);
	cr_assert(writer_commit(&writer, 4) == STATUS_IO);
}

/* ---- Retention ---- */

Test(streamlog, trim_keeps_the_newest_and_its_marks)
{
	commit(60);
	uint32_t n = writer.log->n_segments;
	cr_assert(streamlog_trim_point(writer.log, SIM_WALL_START_MS, UINT32_MAX) == 1, "nothing arrived before");
	cr_assert(streamlog_trim(writer.log, SIM_WALL_START_MS, UINT32_MAX) == 0);
	cr_assert(streamlog_trim_point(writer.log, SIM_WALL_START_MS + 1, UINT32_MAX) == n);
	cr_assert(streamlog_trim(writer.log, SIM_WALL_START_MS + 1, UINT32_MAX) == n - 1);
	cr_assert(streamlog_sweep(writer.log) == STATUS_OK);
	cr_assert(writer.log->n_segments == 1 && writer.log->n_doomed == 0);
	struct told told;
	reopen(&told, true);
	uint64_t next[SHARDS];
	check_recovered(&told, writer.acked, next);
	cr_assert(told.damages == 0 && memcmp(next, writer.next, sizeof(next)) == 0);
	told_fini(&told);
	/* Also over a roll: the newest header alone knows the next indexes. */
	sim_disk_advance(disk, UINT64_C(1000000000));
	commit(1);
	cr_assert(streamlog_trim(writer.log, SIM_WALL_START_MS + 1, UINT32_MAX) == 1);
	cr_assert(streamlog_sweep(writer.log) == STATUS_OK);
	reopen(&told, false);
	check_recovered(&told, writer.acked, next);
	cr_assert(memcmp(next, writer.next, sizeof(next)) == 0);
	told_fini(&told);
}

Test(streamlog, reads_in_flight_outlive_trim_and_sweep)
{
	commit(1);
	struct extent_ref extent = writer.last[0];
	segment_ref(extent.segment);
	commit(60);
	cr_assert(streamlog_trim(writer.log, SIM_WALL_START_MS + 1, UINT32_MAX) > 0);
	cr_assert(streamlog_sweep(writer.log) == STATUS_OK);
	cr_assert(sim_disk_file_size(disk, extent.segment->path) == -ENOENT);
	struct batch *batch = NULL;
	cr_assert(read_extent(&extent, &batch) == STATUS_OK);
	check_batch(batch);
	batch_unref(batch);
	segment_unref(extent.segment);
}

Test(streamlog, sweep_that_a_full_disk_refuses_goes_on_in_order)
{
	commit(60);
	uint32_t n = streamlog_trim(writer.log, SIM_WALL_START_MS + 1, UINT32_MAX);
	sim_disk_fail(disk, SIM_UNLINK, 2, 1, ENOSPC);
	cr_assert(streamlog_sweep(writer.log) == STATUS_DISK_FULL);
	cr_assert(writer.log->n_doomed == n - 1);
	cr_assert(streamlog_sweep(writer.log) == STATUS_OK && writer.log->n_doomed == 0);
}

Test(streamlog, destroy_while_a_read_is_in_flight)
{
	commit(30);
	struct extent_ref extent = writer.last[0];
	segment_ref(extent.segment);
	cr_assert(streamlog_destroy(writer.log) == STATUS_OK);
	writer.log = NULL;
	cr_assert(sim_disk_used(disk) == 0 || sim_disk_file_size(disk, extent.segment->path) == -ENOENT);
	struct batch *batch = NULL;
	cr_assert(read_extent(&extent, &batch) == STATUS_OK);
	check_batch(batch);
	batch_unref(batch);
	segment_unref(extent.segment);
	sim_disk_crash(disk, NULL);
	struct told told;
	cr_assert(open_log(io, &told, &writer.log) == STATUS_NOT_FOUND, "the parent was synced");
}

/* ---- Bad disks ---- */

Test(streamlog, full_disk_keeps_nothing_and_goes_on_when_there_is_room)
{
	for (int round = 0; round < 20; round++) {
		enum status status = STATUS_OK;
		sim_disk_set_capacity(disk, sim_disk_used(disk) + 12000);
		for (int i = 0; i < 100 && !status; i++)
			status = writer_commit(&writer, 8);
		cr_assert(status == STATUS_DISK_FULL, "round %d: %s", round, status_name(status));
		sim_disk_set_capacity(disk, sim_disk_used(disk)); /* what was refused has left less than it needed, but some */
		cr_assert(writer_commit(&writer, 500) == STATUS_DISK_FULL);
		sim_disk_set_capacity(disk, 0);
		commit(3);
	}
	struct told told;
	reopen(&told, false);
	uint64_t next[SHARDS];
	check_recovered(&told, writer.acked, next);
	check_complete(&told, writer.acked);
	cr_assert(told.damages == 0 && memcmp(next, writer.next, sizeof(next)) == 0);
	told_fini(&told);
}

/* Each call of a commit that can be refused, refused once: the log goes on, and nothing of the group is seen after a crash. */
static void refuse(enum sim_call kind, int err)
{
	for (uint64_t nth = 1; nth <= 4; nth++) {
		for (int i = 0; i < 12; i++) {
			sim_disk_fail(disk, kind, nth, 1, err);
			enum status status = writer_commit(&writer, 8);
			cr_assert(status == STATUS_OK || streamlog_kept_nothing(status));
			sim_disk_fail(disk, kind, 1, 0, err);
		}
		commit(2);
		struct told told;
		uint64_t next[SHARDS];
		sim_disk_crash(disk, NULL);
		reopen(&told, false);
		check_recovered(&told, writer.acked, next);
		check_complete(&told, writer.acked);
		cr_assert(told.damages == 0 && memcmp(next, writer.next, sizeof(next)) == 0);
		told_fini(&told);
	}
}

Test(streamlog, refused_write) { refuse(SIM_PWRITEV, ENOSPC); }
Test(streamlog, refused_write_quota) { refuse(SIM_PWRITEV, EDQUOT); }
Test(streamlog, refused_fdatasync) { refuse(SIM_FDATASYNC, ENOSPC); }
Test(streamlog, refused_truncate) { refuse(SIM_TRUNCATE, ENOSPC); }
Test(streamlog, refused_create) { refuse(SIM_OPEN, ENOSPC); }
Test(streamlog, refused_sync_dir) { refuse(SIM_SYNC_DIR, ENOSPC); }
Test(streamlog, refused_create_for_lack_of_descriptors) { refuse(SIM_OPEN, EMFILE); }
Test(streamlog, refused_sync_dir_for_lack_of_descriptors) { refuse(SIM_SYNC_DIR, ENFILE); }

Test(streamlog, a_file_that_cannot_be_opened_again_refuses_and_breaks_nothing)
{
	struct io *few = io_bounded(io, 1);
	struct streamlog_config config = {.io = few, .path = "data/streams/7", .segment_min = LOG_MIN, .segment_max = LOG_MAX};
	struct writer other;
	writer_init(&other, few, 7);
	cr_assert(streamlog_create(&config, &other.log) == STATUS_OK);
	cr_assert(writer_commit(&other, 4) == STATUS_OK);
	struct extent_ref extent = other.last[0];
	segment_ref(extent.segment);
	int file = few->open(few, "data/other", IO_CREATE); /* takes the place of the segment */
	struct batch *batch = NULL;
	sim_disk_fail(disk, SIM_OPEN, 1, 100, EMFILE);
	cr_assert(writer_commit(&other, 4) == STATUS_NO_FILES);
	cr_assert(read_extent(&extent, &batch) == STATUS_NO_FILES && !batch);
	sim_disk_fail(disk, SIM_OPEN, 1, 0, EMFILE);
	cr_assert(writer_commit(&other, 4) == STATUS_OK);
	cr_assert(read_extent(&extent, &batch) == STATUS_OK);
	check_batch(batch);
	batch_unref(batch);
	segment_unref(extent.segment);
	few->close(few, file);
	streamlog_close(other.log, false);
	io_bounded_free(few);
}

Test(streamlog, sweep_without_descriptors_goes_on_later)
{
	commit(60);
	streamlog_trim(writer.log, SIM_WALL_START_MS + 1, UINT32_MAX);
	sim_disk_fail(disk, SIM_SYNC_DIR, 2, 1, EMFILE);
	cr_assert(streamlog_sweep(writer.log) == STATUS_NO_FILES);
	cr_assert(streamlog_wants_sweep(writer.log));
	cr_assert(streamlog_sweep(writer.log) == STATUS_OK && !streamlog_wants_sweep(writer.log));
	commit(1);
}

Test(streamlog, what_a_failed_deletion_left_is_deleted_later)
{
	commit(30);
	sim_disk_fail(disk, SIM_UNLINK, 2, 3, EIO);
	cr_assert(streamlog_destroy(writer.log) == STATUS_IO);
	writer.log = NULL;
	sim_disk_fail(disk, SIM_SYNC_DIR, 1, 1, EMFILE);
	cr_assert(streamlog_remove(io, "data/streams/1") == STATUS_NO_FILES);
	cr_assert(streamlog_remove(io, "data/streams/1") == STATUS_NOT_FOUND, "gone, and the parent is synced");
	cr_assert(sim_disk_used(disk) == 0);
}

/* Any other failure: IO for ever, also when the disk would work again; a restart finds all that was acknowledged. */
static void poison(enum sim_call kind, uint64_t nth)
{
	enum status status = STATUS_OK;
	sim_disk_fail(disk, kind, nth, 1, EIO);
	for (int i = 0; i < 40 && !status; i++)
		status = writer_commit(&writer, 8);
	cr_assert(status == STATUS_IO);
	uint64_t writes = sim_disk_calls(disk, SIM_PWRITEV), syncs = sim_disk_calls(disk, SIM_FDATASYNC);
	for (int i = 0; i < 3; i++)
		cr_assert(writer_commit(&writer, 8) == STATUS_IO);
	cr_assert(streamlog_prepare(writer.log) == STATUS_IO && !streamlog_wants_prepare(writer.log));
	streamlog_close(writer.log, true);
	cr_assert(sim_disk_calls(disk, SIM_PWRITEV) == writes && sim_disk_calls(disk, SIM_FDATASYNC) == syncs, "nothing is retried");

	/* The process goes, the page cache stays: what it shows as whole is on the disk before it is served. */
	struct told told, again;
	uint64_t next[SHARDS], later[SHARDS];
	sim_disk_kill(disk);
	cr_assert(open_log(io, &told, &writer.log) == STATUS_OK);
	check_recovered(&told, writer.acked, next);
	check_complete(&told, writer.acked);
	sim_disk_crash(disk, NULL);
	reopen(&again, false);
	check_recovered(&again, writer.acked, later);
	cr_assert(told.n == again.n && memcmp(next, later, sizeof(next)) == 0, "served, then lost");
	memcpy(writer.next, next, sizeof(next)); /* as the lane would go on */
	told_fini(&told);
	told_fini(&again);
}

Test(streamlog, poisoned_by_write) { poison(SIM_PWRITEV, 3); }
Test(streamlog, poisoned_by_fdatasync) { poison(SIM_FDATASYNC, 3); }
Test(streamlog, poisoned_by_first_fdatasync) { poison(SIM_FDATASYNC, 1); }
Test(streamlog, poisoned_by_truncate_at_the_roll) { poison(SIM_TRUNCATE, 1); }
Test(streamlog, poisoned_by_sync_dir_at_the_roll) { poison(SIM_SYNC_DIR, 1); }
Test(streamlog, poisoned_at_each_sync)
{
	for (uint64_t nth = 4; nth < 24; nth++)
		poison(SIM_FDATASYNC, nth);
}

Test(streamlog, poisoned_by_prepare)
{
	commit(2);
	sim_disk_fail(disk, SIM_FDATASYNC, 1, 1, EIO);
	cr_assert(streamlog_prepare(writer.log) == STATUS_IO);
	cr_assert(writer_commit(&writer, 4) == STATUS_IO);
}

Test(streamlog, create_on_a_bad_disk)
{
	streamlog_close(writer.log, true);
	writer.log = NULL;
	struct streamlog_config config = {.io = io, .path = "data/streams/9", .segment_min = LOG_MIN, .segment_max = LOG_MAX};
	sim_disk_fail(disk, SIM_MKDIR, 1, 1, ENOSPC);
	cr_assert(streamlog_create(&config, &writer.log) == STATUS_DISK_FULL && !writer.log);
	sim_disk_fail(disk, SIM_LIST, 1, 1, EMFILE);
	cr_assert(streamlog_create(&config, &writer.log) == STATUS_NO_FILES && !writer.log);
	sim_disk_fail(disk, SIM_SYNC_DIR, 1, 1, EIO);
	cr_assert(streamlog_create(&config, &writer.log) == STATUS_IO && !writer.log);
	cr_assert(streamlog_create(&config, &writer.log) == STATUS_OK);
}

Test(streamlog, damaged_extent_is_never_served)
{
	commit(1);
	struct extent_ref *extent = &writer.last[0];
	for (uint32_t i = 0; i < extent->length; i++) {
		struct batch *batch = NULL;
		cr_assert(sim_disk_flip(disk, extent->segment->path, extent->offset + i, 0x10));
		cr_assert(read_extent(extent, &batch) == STATUS_CORRUPT && !batch);
		cr_assert(sim_disk_flip(disk, extent->segment->path, extent->offset + i, 0x10));
	}
	sim_disk_fail(disk, SIM_PREAD, 1, 1, EIO);
	struct batch *batch = NULL;
	cr_assert(read_extent(extent, &batch) == STATUS_IO && !batch);
}
