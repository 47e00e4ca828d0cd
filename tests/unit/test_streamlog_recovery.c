/* Recovery: torn tails at every byte, flipped bits anywhere, crashes at every call of a workload and of recovery itself. What was
 * acknowledged is found, in order, with the right bytes; what was told once is never lost; damage is named and never cut. */
#include "tests/unit/streamlog_fixture.h"

#include "penstock/crc32c.h"
#include "shardstore/streamlog_internal.h"

/* ---- Files as they lie, to be laid out again ---- */

struct file {
	char path[64];
	uint8_t *p;
	uint64_t n;
};

struct snapshot {
	struct file file[64];
	size_t n;
	struct io *io;
};

static void on_snapshot_name(void *arg, const char *name)
{
	struct snapshot *snapshot = arg;
	struct file *file = &snapshot->file[snapshot->n++];
	cr_assert(snapshot->n <= 64);
	snprintf(file->path, sizeof(file->path), LOG_PATH "/%.24s", name);
}

static int by_path(const void *a, const void *b) { return strcmp(((const struct file *)a)->path, ((const struct file *)b)->path); }

static void snapshot_take(struct snapshot *snapshot, struct io *io)
{
	*snapshot = (struct snapshot){.io = io};
	cr_assert(io->list(io, LOG_PATH, on_snapshot_name, snapshot) == 0);
	qsort(snapshot->file, snapshot->n, sizeof(snapshot->file[0]), by_path);
	for (size_t i = 0; i < snapshot->n; i++) {
		struct file *file = &snapshot->file[i];
		int handle = io->open(io, file->path, IO_READ);
		file->n = (uint64_t)io->size(io, handle);
		file->p = xmalloc(file->n + 1);
		cr_assert(io->pread(io, handle, file->p, file->n, 0) == (int64_t)file->n);
		io->close(io, handle);
	}
}

static void snapshot_fini(struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->n; i++)
		free(snapshot->file[i].p);
}

/* All but the file `without` (SIZE_MAX: all), on a fresh disk, durable. */
static struct sim_disk *lay_out_without(const struct snapshot *snapshot, size_t without)
{
	struct sim_disk *disk = sim_disk_new(7);
	struct io *io = sim_disk_io(disk);
	make_parents(io);
	io->mkdir(io, LOG_PATH);
	io->sync_dir(io, "data/streams");
	for (size_t i = 0; i < snapshot->n; i++) {
		if (i == without)
			continue;
		int handle = io->open(io, snapshot->file[i].path, IO_CREATE);
		struct iovec iov = {snapshot->file[i].p, snapshot->file[i].n};
		cr_assert(handle >= 0 && (!iov.iov_len || io->pwritev(io, handle, &iov, 1, 0) >= 0));
		io->fdatasync(io, handle);
		io->close(io, handle);
	}
	io->sync_dir(io, LOG_PATH);
	return disk;
}

static struct sim_disk *lay_out(const struct snapshot *snapshot) { return lay_out_without(snapshot, SIZE_MAX); }

static bool snapshot_equal(const struct snapshot *a, const struct snapshot *b)
{
	bool equal = a->n == b->n;
	for (size_t i = 0; equal && i < a->n; i++)
		equal = strcmp(a->file[i].path, b->file[i].path) == 0 && a->file[i].n == b->file[i].n &&
			memcmp(a->file[i].p, b->file[i].p, a->file[i].n) == 0;
	return equal;
}

/* A log with sealed segments and an unsealed one, as a crash leaves it. */
static void write_log(struct snapshot *snapshot, struct writer *writer, int groups, bool prepare)
{
	struct sim_disk *disk = sim_disk_new(3);
	struct io *io = sim_disk_io(disk);
	make_parents(io);
	writer_init(writer, io, 5);
	cr_assert(create_log(io, &writer->log) == STATUS_OK);
	/* At least three groups lie in the open segment. */
	uint64_t number = 0;
	for (int i = 0, inside = 0; i < groups || inside < 3; i++) {
		cr_assert(writer_commit(writer, 3) == STATUS_OK);
		inside = writer->log->open->number == number ? inside + 1 : 1;
		number = writer->log->open->number;
		if (prepare && streamlog_wants_prepare(writer->log))
			cr_assert(streamlog_prepare(writer->log) == STATUS_OK);
	}
	snapshot_take(snapshot, io);
	streamlog_close(writer->log, false);
	writer->log = NULL;
	sim_disk_free(disk);
}

/* Opens, checks, closes, opens again: the same, and without a change. Returns the told of the first. */
static void recover_twice(struct sim_disk *disk, const uint64_t acked[SHARDS], struct told *told, uint64_t next[SHARDS])
{
	struct io *io = sim_disk_io(disk);
	struct streamlog *log;
	struct snapshot first, second;
	struct told again;
	uint64_t later[SHARDS];
	cr_assert(open_log(io, told, &log) == STATUS_OK);
	cr_assert(streamlog_readonly(log) == (told->damages > 0));
	check_recovered(told, acked, next);
	streamlog_close(log, false);
	snapshot_take(&first, io);
	sim_disk_crash(disk, NULL);
	cr_assert(open_log(io, &again, &log) == STATUS_OK);
	check_recovered(&again, acked, later);
	cr_assert(again.n == told->n && again.damages == told->damages && again.torn == 0);
	cr_assert(memcmp(next, later, sizeof(later)) == 0);
	streamlog_close(log, false);
	snapshot_take(&second, io);
	cr_assert(snapshot_equal(&first, &second), "a second recovery changes the files");
	cr_assert(sim_disk_open_files(disk) == 0, "handles leak");
	snapshot_fini(&first);
	snapshot_fini(&second);
	told_fini(&again);
}

/* ---- Torn tails ---- */

enum tear { TEAR_SHORT, TEAR_ZEROS, TEAR_GARBAGE, TEAR_FRONT, TEARS };

/* The last group whole only up to `at` (TEAR_FRONT: only from `at` on). */
static void tear(struct file *file, uint64_t start, uint64_t end, uint64_t at, enum tear how)
{
	switch (how) {
	case TEAR_SHORT:
		file->n = at;
		break;
	case TEAR_ZEROS:
		memset(file->p + at, 0, end - at);
		break;
	case TEAR_GARBAGE:
		memset(file->p + at, 0x5c, end - at);
		break;
	default:
		memset(file->p + start, 0, at - start);
		break;
	}
}

Test(streamlog_recovery, torn_tail_at_every_byte_of_the_last_group, .timeout = 120)
{
	struct snapshot whole;
	struct writer writer;
	struct told told;
	uint64_t next[SHARDS], before[SHARDS] = {0};
	write_log(&whole, &writer, 3, false);
	struct file *file = &whole.file[whole.n - 1];
	uint64_t padding = writer.last[writer.last_n - 1].offset + writer.last[writer.last_n - 1].length;
	uint64_t size = (padding + SEGMENT_SECTOR - 1) / SEGMENT_SECTOR * SEGMENT_SECTOR; /* without the zeros up to the end of its page */
	uint8_t *original = xmalloc(size), *torn = file->p;
	memcpy(original, file->p, size);
	/* The last group begins before its first extent: by whole sectors. */
	uint64_t start = (writer.last[0].offset - GROUP_HEAD) / SEGMENT_SECTOR * SEGMENT_SECTOR;
	for (uint32_t s = 0; s < SHARDS; s++)
		before[s] = writer.acked[s];
	for (uint32_t i = 0; i < writer.last_n; i++)
		before[writer.last[i].shard] = writer.last[i].first - 1;
	for (enum tear how = 0; how < TEARS; how++) {
		for (uint64_t at = start; at <= size; at++) {
			memcpy(torn, original, size);
			file->n = size;
			tear(file, start, size, at, how);
			bool same = file->n == size && memcmp(torn, original, padding) == 0;
			struct sim_disk *disk = lay_out(&whole);
			recover_twice(disk, before, &told, next);
			cr_assert(told.damages == 0);
			for (uint32_t s = 0; s < SHARDS; s++)
				cr_assert(next[s] == (same ? writer.acked[s] : before[s]) + 1, "tear %d at %" PRIu64, how, at - start);
			if (told.torn)
				cr_assert(told.offset == start && strcmp(told.file, file->path) == 0);
			told_fini(&told);
			sim_disk_free(disk);
		}
	}
	free(original);
	snapshot_fini(&whole);
}

/* ---- Damage ---- */

/* Reads all that is told: right bytes, or CORRUPT; never wrong ones. */
static void read_all(const struct told *told, uint64_t read[SHARDS], const char *path, uint64_t offset, unsigned *corrupt)
{
	for (size_t i = 0; i < told->n; i++) {
		const struct extent_ref *extent = &told->extents[i];
		struct batch *batch = NULL;
		enum status status = read_extent(extent, &batch);
		if (status == STATUS_OK) {
			check_batch(batch);
			read[extent->shard] += batch->count;
			batch_unref(batch);
			continue;
		}
		cr_assert(status == STATUS_CORRUPT && strcmp(extent->segment->path, path) == 0);
		cr_assert(extent->offset <= offset && offset < extent->offset + extent->length, "the wrong extent is called damaged");
		++*corrupt;
	}
}

static void flip_one(const struct snapshot *whole, const struct writer *writer, struct rng *rng, unsigned counts[3])
{
	const struct file *file = &whole->file[rng_below(rng, whole->n)];
	uint64_t offset = rng_below(rng, file->n);
	struct sim_disk *disk = lay_out(whole);
	struct streamlog *log;
	struct told told;
	uint64_t read[SHARDS] = {0};
	unsigned corrupt = 0;
	sim_disk_flip(disk, file->path, offset, (uint8_t)(1u << rng_below(rng, 8)));
	cr_assert(open_log(sim_disk_io(disk), &told, &log) == STATUS_OK);
	read_all(&told, read, file->path, offset, &corrupt);
	bool complete = true;
	for (uint32_t s = 0; s < SHARDS; s++)
		complete = complete && read[s] == writer->acked[s];
	bool detected = corrupt || told.damages || told.torn;
	cr_assert(complete || detected, "%s: byte %" PRIu64 " flipped, and nobody says so", file->path, offset);
	if (told.damages || told.torn) {
		cr_assert(strcmp(told.file, file->path) == 0, "%s is named for %s", told.file, file->path);
		cr_assert(told.offset <= offset && offset < told.offset + told.length, "%" PRIu64 "+%" PRIu64 " is named for %" PRIu64,
			  told.offset, told.length, offset);
	}
	cr_assert(streamlog_readonly(log) == (told.damages > 0));
	counts[complete ? 0 : told.torn ? 1 : 2]++;
	told_fini(&told);
	streamlog_close(log, false);
	sim_disk_free(disk);
}

Test(streamlog_recovery, flipped_bits_are_detected_and_named, .timeout = 300)
{
	struct snapshot whole;
	struct writer writer;
	struct rng rng;
	unsigned counts[3] = {0};
	rng_init(&rng, 99);
	write_log(&whole, &writer, 60, true);
	cr_assert(whole.n > 3);
	for (int i = 0; i < 6000; i++)
		flip_one(&whole, &writer, &rng, counts);
	cr_assert(counts[0] && counts[1] && counts[2], "harmless %u, cut %u, damage %u", counts[0], counts[1], counts[2]);
	snapshot_fini(&whole);
}

Test(streamlog_recovery, damage_before_a_durable_group_is_kept_and_named)
{
	struct snapshot whole;
	struct writer writer;
	struct told told;
	struct streamlog *log;
	write_log(&whole, &writer, 11, false);
	struct file *file = &whole.file[whole.n - 1];
	file->p[4096] ^= 1; /* the head of the unsealed segment's first group */
	struct sim_disk *disk = lay_out(&whole);
	for (int i = 0; i < 3; i++) {
		cr_assert(open_log(sim_disk_io(disk), &told, &log) == STATUS_OK);
		cr_assert(told.damages == 1 && told.torn == 0 && told.offset == 4096 && strcmp(told.file, file->path) == 0);
		cr_assert(told.n && told.extents[told.n - 1].segment->number == whole.n, "what lies behind it is readable");
		cr_assert(streamlog_readonly(log) && !streamlog_wants_prepare(log));
		struct writer more;
		writer_init(&more, sim_disk_io(disk), 1);
		more.log = log;
		cr_assert(writer_commit(&more, 3) == STATUS_CORRUPT);
		streamlog_close(log, true);
		told_fini(&told);
		sim_disk_crash(disk, NULL);
	}
	sim_disk_free(disk);
	snapshot_fini(&whole);
}

/* Whole in itself, but of another start, another place or another log: what a revenant or a stray block looks like. */
Test(streamlog_recovery, a_group_out_of_place_is_no_group)
{
	for (int what = 0; what < 4; what++) {
		struct snapshot whole;
		struct writer writer;
		struct told told;
		uint64_t next[SHARDS], none[SHARDS] = {0};
		struct group_head head;
		write_log(&whole, &writer, 11, false);
		struct file *file = &whole.file[whole.n - 1];
		uint64_t start = (writer.last[0].offset - GROUP_HEAD) / SEGMENT_SECTOR * SEGMENT_SECTOR;
		cr_assert(group_peek(file->p + start, file->n - start, &head) && group_verify(file->p + start, &head));
		head.epoch += what == 1;
		head.position += what == 2 ? SEGMENT_SECTOR : 0;
		head.log_id[3] ^= what == 3;
		group_encode(file->p + start, &head);
		struct sim_disk *disk = lay_out(&whole);
		recover_twice(disk, none, &told, next);
		cr_assert(told.torn == (what ? 1 : 0) && told.damages == 0, "change %d", what);
		cr_assert(!what || told.offset == start);
		cr_assert(next[writer.last[0].shard] == writer.last[0].first + (what ? 0 : writer.last[0].count));
		told_fini(&told);
		sim_disk_free(disk);
		snapshot_fini(&whole);
	}
}

static void expect_damage(const struct snapshot *snapshot, size_t without, const char *file)
{
	struct told told;
	struct streamlog *log;
	struct sim_disk *disk = lay_out_without(snapshot, without);
	cr_assert(open_log(sim_disk_io(disk), &told, &log) == STATUS_OK);
	cr_assert(told.damages && strcmp(told.file, file) == 0, "%u damages, last in %s", told.damages, told.file);
	cr_assert(streamlog_readonly(log));
	told_fini(&told);
	streamlog_close(log, false);
	sim_disk_free(disk);
}

Test(streamlog_recovery, a_missing_segment_is_damage)
{
	struct snapshot whole;
	struct writer writer;
	write_log(&whole, &writer, 60, false);
	for (size_t i = 1; i + 1 < whole.n; i++)
		expect_damage(&whole, i, whole.file[i].path);
	snapshot_fini(&whole);
}

Test(streamlog_recovery, a_segment_of_another_log_is_damage)
{
	struct snapshot whole, other;
	struct writer writer;
	write_log(&whole, &writer, 60, false);
	write_log(&other, &writer, 60, false);
	for (size_t i = 1; i < whole.n; i++) {
		struct file mine = whole.file[i];
		whole.file[i] = other.file[i];
		expect_damage(&whole, SIZE_MAX, mine.path);
		whole.file[i] = mine;
	}
	snapshot_fini(&whole);
	snapshot_fini(&other);
}

/* A sealed segment that lost its footer is scanned; that it lost groups as well shows by where the next one begins. */
Test(streamlog_recovery, a_sealed_segment_cut_short)
{
	struct snapshot whole;
	struct writer writer;
	struct told told;
	uint64_t next[SHARDS];
	write_log(&whole, &writer, 60, false);
	struct file *file = &whole.file[1];
	uint64_t size = file->n;
	file->n -= 1; /* the trailer is gone, the groups are whole */
	struct sim_disk *disk = lay_out(&whole);
	recover_twice(disk, writer.acked, &told, next);
	cr_assert(told.damages == 0 && told.torn == 0);
	check_complete(&told, writer.acked);
	told_fini(&told);
	sim_disk_free(disk);
	for (file->n = 0; file->n < size; file->n += SEGMENT_SECTOR) {
		disk = lay_out(&whole);
		struct streamlog *log;
		cr_assert(open_log(sim_disk_io(disk), &told, &log) == STATUS_OK);
		uint64_t seen = 0, acked = 0;
		for (size_t i = 0; i < told.n; i++)
			seen += told.extents[i].count;
		for (uint32_t s = 0; s < SHARDS; s++)
			acked += writer.acked[s];
		cr_assert(seen == acked || (told.damages && streamlog_readonly(log)), "at %" PRIu64, file->n);
		streamlog_close(log, false);
		told_fini(&told);
		sim_disk_free(disk);
	}
	file->n = size;
	snapshot_fini(&whole);
}

/* ---- Footers ---- */

static bool same_extents(const struct told *a, const struct told *b)
{
	bool same = a->n == b->n;
	for (size_t i = 0; same && i < a->n; i++) {
		const struct extent_ref *left = &a->extents[i], *right = &b->extents[i];
		same = left->segment->number == right->segment->number && left->offset == right->offset && left->length == right->length &&
		       left->crc == right->crc && left->first == right->first && left->count == right->count &&
		       left->payload == right->payload && left->arrival_ms == right->arrival_ms && left->shard == right->shard;
	}
	return same;
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

enum footer_change { FOOTER_ANOTHER_VERSION, FOOTER_RUNS_AMISS, FOOTER_BIT, FOOTER_TORN, FOOTER_CHANGES };

/* Whole by its CRC in the first two cases: then it still says that the segment ended here. */
static void change_footer(struct file *file, enum footer_change how)
{
	uint64_t length = footer_trailer_decode(file->p + file->n - FOOTER_TRAILER, file->n);
	uint8_t *p = file->p + file->n - length;
	cr_assert(length && memcmp(p, "PFTR\x02\0", 6) == 0);
	switch (how) {
	case FOOTER_ANOTHER_VERSION:
		p[4] = 1;
		break;
	case FOOTER_RUNS_AMISS:
		p[84]++; /* the first run is one byte longer than it is */
		break;
	case FOOTER_BIT:
		p[100] ^= 4;
		return;
	default:
		memset(p + 64, 0, (size_t)length - 64);
		return;
	}
	put32(p + 76, crc32c(crc32c(0, p, 76), p + 80, (size_t)length - 80));
}

/* A footer is a cache: with any of them changed, the same extents are told; and the last segment is sealed again. */
Test(streamlog_recovery, a_footer_that_is_not_taken_changes_nothing)
{
	struct snapshot whole;
	struct writer writer;
	struct told told, again;
	struct streamlog *log, *log_again;
	write_log(&whole, &writer, 60, false);
	struct sim_disk *disk = lay_out(&whole);
	cr_assert(open_log(sim_disk_io(disk), &told, &log) == STATUS_OK);
	snapshot_fini(&whole);
	snapshot_take(&whole, sim_disk_io(disk)); /* the newest is sealed, too, now */
	for (size_t i = 0; i < whole.n; i++) {
		for (enum footer_change how = 0; how < FOOTER_CHANGES; how++) {
			struct file *file = &whole.file[i];
			uint8_t *p = xmalloc(file->n);
			memcpy(p, file->p, file->n);
			change_footer(file, how);
			struct sim_disk *changed = lay_out(&whole);
			cr_assert(open_log(sim_disk_io(changed), &again, &log_again) == STATUS_OK);
			cr_assert(same_extents(&told, &again) && !again.damages, "segment %zu, change %d", i + 1, how);
			cr_assert(again.torn == (i + 1 == whole.n && how >= FOOTER_BIT), "only what may be a torn group is said to be one");
			memcpy(file->p, p, file->n);
			if (i + 1 == whole.n) {
				struct snapshot mended;
				snapshot_take(&mended, sim_disk_io(changed));
				cr_assert(snapshot_equal(&whole, &mended), "the newest gets the footer that it had");
				snapshot_fini(&mended);
			}
			streamlog_close(log_again, false);
			told_fini(&again);
			sim_disk_free(changed);
			free(p);
		}
	}
	told_fini(&told);
	streamlog_close(log, false);
	sim_disk_free(disk);
	snapshot_fini(&whole);
}

Test(streamlog_recovery, an_unreadable_log_is_not_opened)
{
	struct snapshot whole;
	struct writer writer;
	struct told told;
	struct streamlog *log;
	write_log(&whole, &writer, 20, false);
	struct sim_disk *disk = lay_out(&whole);
	sim_disk_fail(disk, SIM_PREAD, 1, 1, EIO);
	for (uint64_t nth = 2; open_log(sim_disk_io(disk), &told, &log) == STATUS_IO; nth++) {
		cr_assert(!log && sim_disk_open_files(disk) == 0);
		told_fini(&told);
		sim_disk_fail(disk, SIM_PREAD, nth, 1, EIO);
	}
	sim_disk_fail(disk, SIM_PREAD, 1, 0, EIO);
	uint64_t next[SHARDS];
	check_recovered(&told, writer.acked, next);
	cr_assert(told.torn == 0 && told.damages == 0);
	told_fini(&told);
	streamlog_close(log, false);
	sim_disk_free(disk);
	snapshot_fini(&whole);
}

Test(streamlog_recovery, a_full_disk_refuses_the_footer_and_no_more)
{
	struct snapshot whole;
	struct writer writer;
	struct told told;
	struct streamlog *log;
	uint64_t next[SHARDS];
	write_log(&whole, &writer, 20, false);
	struct sim_disk *disk = lay_out(&whole);
	struct io *io = sim_disk_io(disk);
	sim_disk_set_capacity(disk, sim_disk_used(disk) + SEGMENT_SECTOR - 1);
	for (int i = 0; i < 2; i++) {
		cr_assert(open_log(io, &told, &log) == STATUS_OK);
		check_recovered(&told, writer.acked, next);
		cr_assert(told.torn == 0 && told.damages == 0);
		told_fini(&told);
		streamlog_close(log, false);
	}
	sim_disk_set_capacity(disk, 0);
	cr_assert(open_log(io, &told, &writer.log) == STATUS_OK);
	writer.io = io;
	cr_assert(writer_commit(&writer, 3) == STATUS_OK);
	streamlog_close(writer.log, false);
	told_fini(&told);
	cr_assert(open_log(io, &told, &log) == STATUS_OK);
	check_recovered(&told, writer.acked, next);
	check_complete(&told, writer.acked);
	told_fini(&told);
	streamlog_close(log, false);
	sim_disk_free(disk);
	snapshot_fini(&whole);
}

/* ---- Crashes ---- */

struct world {
	struct sim_disk *disk;
	struct writer writer;
	struct rng rng;
	bool trims;       /* then records may be gone from the front */
	uint64_t dies_at; /* number of the call; 0: none */
	uint64_t checked; /* calls made by checks */
};

/* A check reads, too: its calls count for nothing. */
static void world_check(struct world *world, const struct told *told)
{
	struct writer *writer = &world->writer;
	uint64_t next[SHARDS], before = sim_disk_calls(world->disk, SIM_ANY);
	sim_disk_arm(world->disk, 0);
	check_recovered(told, writer->acked, next);
	if (!world->trims)
		check_complete(told, writer->acked);
	for (uint32_t s = 0; s < SHARDS; s++) {
		writer->next[s] = next[s];
		writer->acked[s] = next[s] - 1;
	}
	uint64_t calls = sim_disk_calls(world->disk, SIM_ANY) - before;
	world->checked += calls;
	if (!world->dies_at)
		return;
	sim_disk_arm(world->disk, world->dies_at - before);
	world->dies_at += calls;
}

static void world_arm(struct world *world, uint64_t nth)
{
	world->dies_at = nth ? sim_disk_calls(world->disk, SIM_ANY) + nth : 0;
	sim_disk_arm(world->disk, nth);
}

static void world_init(struct world *world, uint64_t seed)
{
	*world = (struct world){.disk = sim_disk_new(seed), .trims = seed & 1};
	sim_disk_set_writeback(world->disk, seed % 3 == 0 ? 0 : 40);
	sim_disk_set_direct(world->disk, (enum sim_direct)(seed / 3 % 3));
	make_parents(sim_disk_io(world->disk));
	writer_init(&world->writer, sim_disk_io(world->disk), seed);
	rng_init(&world->rng, seed + 1000);
}

static void world_fini(struct world *world)
{
	streamlog_close(world->writer.log, false);
	sim_disk_free(world->disk);
}

/* What is told is promised from now on. False: the disk died meanwhile, or there is no log yet. */
static bool world_open(struct world *world)
{
	struct writer *writer = &world->writer;
	struct told told;
	streamlog_close(writer->log, false);
	writer->log = NULL;
	enum status status = open_log(writer->io, &told, &writer->log);
	cr_assert(told.damages == 0, "%s %" PRIu64 "+%" PRIu64, told.file, told.offset, told.length);
	if (!status) {
		if (!sim_disk_dead(world->disk))
			world_check(world, &told);
	} else {
		cr_assert(status == STATUS_NOT_FOUND || sim_disk_dead(world->disk), "%s", status_name(status));
		for (uint32_t s = 0; s < SHARDS && status == STATUS_NOT_FOUND; s++)
			cr_assert(writer->acked[s] == 0);
	}
	told_fini(&told);
	return !status && !sim_disk_dead(world->disk);
}

static void world_step(struct world *world)
{
	struct writer *writer = &world->writer;
	uint64_t dice = rng_below(&world->rng, 20);
	sim_disk_advance(world->disk, UINT64_C(1000000000));
	if (dice == 0) {
		streamlog_close(writer->log, rng_chance(&world->rng, 50));
		writer->log = NULL;
		world_open(world);
	} else if (dice < 3 && world->trims) {
		streamlog_trim(writer->log, io_wall_ms(writer->io) - 5000, UINT32_MAX);
		streamlog_sweep(writer->log);
	} else if (dice < 8 && streamlog_wants_prepare(writer->log)) {
		streamlog_prepare(writer->log);
	} else {
		enum status status = writer_commit(writer, dice == 19 ? 20 : 3);
		cr_assert(!status || sim_disk_dead(world->disk));
	}
}

#define STEPS 45

static void world_run(struct world *world)
{
	if (create_log(world->writer.io, &world->writer.log) != STATUS_OK)
		return;
	for (int i = 0; i < STEPS && world->writer.log && !sim_disk_dead(world->disk); i++)
		world_step(world);
}

static uint64_t clean_calls(uint64_t seed)
{
	struct world world;
	world_init(&world, seed);
	uint64_t before = sim_disk_calls(world.disk, SIM_ANY);
	world_run(&world);
	uint64_t calls = sim_disk_calls(world.disk, SIM_ANY) - before - world.checked;
	cr_assert(world.writer.log && !sim_disk_dead(world.disk));
	world_fini(&world);
	return calls;
}

/* Power cut with dice, without, or only the process gone. */
static void crash(struct world *world, uint64_t seed, uint64_t nth)
{
	struct rng dice;
	rng_init(&dice, seed * 1000003 + nth);
	switch (nth % 4) {
	case 0:
		sim_disk_crash(world->disk, NULL);
		break;
	case 1:
		sim_disk_kill(world->disk);
		break;
	default:
		sim_disk_crash(world->disk, &dice);
		break;
	}
}

static void die_at(struct world *world, uint64_t seed, uint64_t nth)
{
	world_init(world, seed);
	world_arm(world, nth);
	world_run(world);
	world_arm(world, 0);
	streamlog_close(world->writer.log, false);
	world->writer.log = NULL;
	crash(world, seed, nth);
}

/* Whatever the crash left: it can be opened, or made; and goes on. */
static void live_on(struct world *world)
{
	if (!world_open(world))
		cr_assert(create_log(world->writer.io, &world->writer.log) == STATUS_OK);
	for (int i = 0; i < 3; i++)
		cr_assert(writer_commit(&world->writer, 3) == STATUS_OK);
	sim_disk_crash(world->disk, NULL);
	cr_assert(world_open(world));
}

Test(streamlog_recovery, crash_at_every_call, .timeout = 600)
{
	for (uint64_t seed = 1; seed <= 12; seed++) {
		uint64_t calls = clean_calls(seed);
		cr_assert(calls > 60);
		for (uint64_t nth = 1; nth <= calls; nth++) {
			struct world world;
			die_at(&world, seed, nth);
			live_on(&world);
			world_fini(&world);
		}
	}
}

/* Recovery dies at its m-th call, for every m, until it gets through; then all must be as if it had not. */
static void recovery_dies_at(uint64_t seed, uint64_t nth)
{
	bool through = false;
	for (uint64_t m = 1; !through; m++) {
		struct world world;
		die_at(&world, seed, nth);
		world_arm(&world, m);
		world_open(&world);
		through = !sim_disk_dead(world.disk);
		world_arm(&world, 0);
		streamlog_close(world.writer.log, false);
		world.writer.log = NULL;
		crash(&world, seed + m, nth + m);
		live_on(&world);
		world_fini(&world);
	}
}

Test(streamlog_recovery, crash_at_every_call_of_recovery, .timeout = 600)
{
	for (uint64_t seed = 1; seed <= 4; seed++) {
		uint64_t calls = clean_calls(seed);
		for (uint64_t nth = 1 + seed; nth <= calls; nth += 9)
			recovery_dies_at(seed, nth);
	}
}

/* The first segment's name was not synced, and the next process goes on: the second one's name may become durable before it, and must
 * not pass for a log that has lost its beginning. */
Test(streamlog_recovery, names_that_only_memory_knows)
{
	for (uint64_t seed = 1; seed <= 64; seed++) {
		struct sim_disk *disk = sim_disk_new(seed);
		struct io *io = sim_disk_io(disk);
		struct streamlog *log = NULL;
		struct told told;
		struct rng rng;
		rng_init(&rng, seed);
		make_parents(io);
		struct writer writer;
		writer_init(&writer, io, seed);
		cr_assert_eq(create_log(io, &writer.log), STATUS_OK);
		sim_disk_fail(disk, SIM_SYNC_DIR, 1, 1, EIO);
		cr_assert_eq(writer_commit(&writer, 4), STATUS_IO);
		streamlog_close(writer.log, false);
		sim_disk_kill(disk);
		cr_assert_eq(open_log(io, &told, &writer.log), STATUS_OK);
		told_fini(&told);
		sim_disk_fail(disk, SIM_SYNC_DIR, 1, 1, EIO);
		cr_assert_eq(writer_commit(&writer, 4), STATUS_IO);
		streamlog_close(writer.log, false);
		sim_disk_crash(disk, &rng);
		enum status status = open_log(io, &told, &log);
		cr_assert(told.damages == 0, "%" PRIu64 ": %s", seed, told.file);
		cr_assert(status == STATUS_OK || status == STATUS_NOT_FOUND);
		told_fini(&told);
		if (log)
			streamlog_close(log, true);
		sim_disk_free(disk);
	}
}
