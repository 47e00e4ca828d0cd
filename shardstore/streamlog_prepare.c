/* streamlog_prepare.c: zeros written ahead of the groups, and the file of the next segment, before a commit needs them.
 *
 * Purpose: fdatasync of bytes that overwrite written ones need not commit metadata (0.28 against 0.53 ms for a 700 KB group on ext4).
 *
 * Invariants: at most one prepare is in flight; it writes only at and behind `zeroed`, and a commit that would reach there waits for it: so
 * their ranges never meet. It writes through a handle of its own: an error of write-back is told once per open file, and a prepare must not
 * eat the one that a commit has to see.
 *
 * - plan: less than 2 MiB ahead -> up to 4 MiB of zeros; all zeroed and three quarters full, or none open -> a spare with its first zeros.
 * - write, fdatasync, for a spare also the directory; then `zeroed` moves.
 * - a commit that rolls or cuts holds prepare off meanwhile, by the same flag.
 *
 * Failure modes: a full disk ends it until a commit has gone well; any other error poisons. A crash leaves zeros behind the last group, or
 * a headerless file: recovery cuts the one and removes the other. */
#include "shardstore/streamlog_internal.h"

#include <errno.h>

#define PREPARE_LOW (2u << 20)  /* ahead of the groups: some groups' worth while the next piece is written */
#define PREPARE_STEP (4u << 20) /* a call's bound: some 10 ms of a slow disk, beside commits */
#define PREPARE_PIECE (256u << 10)

static const uint8_t zeros[PREPARE_PIECE];

static uint64_t min64(uint64_t a, uint64_t b) { return a < b ? a : b; }

void streamlog_plan_prepare(struct streamlog *log)
{
	bool wants;
	if (log->readonly || log->refused || log->preparing || atomic_load(&log->poisoned))
		wants = false;
	else if (!log->open)
		wants = !log->spare;
	else if (log->zeroed < log->header.capacity)
		wants = log->zeroed < log->offset + PREPARE_LOW;
	else
		wants = !log->spare && log->offset > log->header.capacity / 4 * 3;
	atomic_store_explicit(&log->wants_prepare, wants, memory_order_relaxed);
}

bool streamlog_wants_prepare(const struct streamlog *log) { return atomic_load_explicit(&log->wants_prepare, memory_order_relaxed); }

void streamlog_hold_prepare(struct streamlog *log)
{
	pthread_mutex_lock(&log->lock);
	while (log->preparing)
		pthread_cond_wait(&log->prepared, &log->lock);
	log->preparing = true;
	streamlog_plan_prepare(log);
	pthread_mutex_unlock(&log->lock);
}

void streamlog_release_prepare(struct streamlog *log)
{
	pthread_mutex_lock(&log->lock);
	log->preparing = false;
	streamlog_plan_prepare(log);
	pthread_cond_broadcast(&log->prepared);
	pthread_mutex_unlock(&log->lock);
}

static int64_t write_zeros(struct io *io, int file, uint64_t from, uint64_t to)
{
	int64_t err = 0;
	while (!err && from < to) {
		size_t n = (size_t)min64(to - from, PREPARE_PIECE);
		err = segment_write(io, file, zeros, n, from);
		from += n;
	}
	return err ? err : io->fdatasync(io, file);
}

static enum status zero_ahead(struct streamlog *log, const char *path, uint64_t from, uint64_t to)
{
	struct io *io = log->io;
	int file = io->open(io, path, IO_WRITE);
	if (file < 0)
		return streamlog_refused(log, "open", path, file);
	int64_t err = write_zeros(io, file, from, to);
	int closed = io->close(io, file);
	if (!err)
		err = closed;
	return err ? streamlog_refused(log, "write_ahead", path, err) : STATUS_OK;
}

/* `*out` is set as soon as there is a file, also when its zeros or its name failed: the number is taken. */
static enum status make_spare(struct streamlog *log, uint64_t number, uint64_t zero, struct segment **out, bool *named)
{
	struct segment *spare = segment_new(log->io, log->path, number);
	int64_t err = segment_open(spare, IO_CREATE);
	if (err) {
		enum status status = streamlog_refused(log, "create", spare->path, err);
		segment_unref(spare);
		return status;
	}
	*out = spare;
	err = write_zeros(log->io, spare->file, 0, zero);
	if (err)
		return streamlog_refused(log, "write_ahead", spare->path, err);
	err = log->io->sync_dir(log->io, log->path);
	*named = !err;
	return err ? streamlog_refused(log, "sync_dir", log->path, err) : STATUS_OK;
}

struct plan {
	bool spare;
	uint64_t number;
	uint64_t from, to;
	const char *path; /* of the open segment: no roll while preparing, so it stays */
};

static bool begin(struct streamlog *log, struct plan *plan)
{
	pthread_mutex_lock(&log->lock);
	bool go = streamlog_wants_prepare(log) && !log->preparing;
	if (go) {
		plan->spare = !log->open || log->zeroed >= log->header.capacity;
		plan->number = log->next_number;
		plan->from = plan->spare ? 0 : log->zeroed;
		plan->to = min64(plan->from + PREPARE_STEP, plan->spare ? log->next_capacity : log->header.capacity);
		plan->path = plan->spare ? NULL : log->open->path;
		log->preparing = true;
		streamlog_plan_prepare(log);
	}
	pthread_mutex_unlock(&log->lock);
	return go;
}

enum status streamlog_prepare(struct streamlog *log)
{
	struct plan plan;
	struct segment *spare = NULL;
	bool named = false;
	enum status status;
	if (!begin(log, &plan))
		return atomic_load(&log->poisoned) ? STATUS_IO : STATUS_OK;
	if (plan.spare)
		status = make_spare(log, plan.number, plan.to, &spare, &named);
	else
		status = zero_ahead(log, plan.path, plan.from, plan.to);

	pthread_mutex_lock(&log->lock);
	log->preparing = false;
	log->refused = status == STATUS_DISK_FULL;
	if (plan.spare) {
		log->spare = spare;
		log->spare_named = named;
		log->spare_zeroed = status ? 0 : plan.to;
	} else if (!status) {
		log->zeroed = plan.to;
	} else {
		atomic_store(&log->undo_due, true);
	}
	streamlog_plan_prepare(log);
	pthread_cond_broadcast(&log->prepared);
	pthread_mutex_unlock(&log->lock);
	return status;
}
