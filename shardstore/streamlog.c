/* streamlog.c: the life of a log, and what leaves it: create, close, trim, sweep, destroy. (open: streamlog_recover.c)
 *
 * Invariants: the numbers of the segment files run on without a gap, also while trimmed ones are unlinked, since recovery reads a gap as
 * damage: so files go oldest first, each made durable before the next. The newest segment with a header always stays: it carries the
 * shards' marks.
 *
 * - create: directory, parent synced. An empty stream costs no file: the first commit makes the first segment.
 * - trim (lane): segments move to `doomed`, memory only. sweep (pool): unlink, sync the directory, drop the log's reference; a read in
 *   flight keeps the bytes by its handle, not by the name.
 * - close: a footer on the open segment, the spare goes, handles close.
 *
 * Failure modes: a crash between trim and sweep brings segments back at the next start, and retention trims them again. A failed sync of
 * the directory poisons as one of a file does. A crash inside destroy leaves a log of the newest segments, which can be opened and
 * destroyed again; so does one that fails. A full disk or a lack of descriptors leaves a trimmed file for the next sweep. */
#include "penstock/slog.h"
#include "shardstore/streamlog_internal.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

/* ---- Life ---- */

static char *parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	if (!slash)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

struct streamlog *streamlog_alloc(const struct streamlog_config *config)
{
	struct streamlog *log = xcalloc(1, sizeof(*log));
	log->io = config->io;
	log->path = xstrdup(config->path);
	log->parent = parent_of(config->path);
	log->segment_min = config->segment_min;
	log->segment_max = config->segment_max;
	log->epoch = 1;
	log->resting = true;
	log->next_number = 1;
	log->next_capacity = config->segment_min;
	pthread_mutex_init(&log->lock, NULL);
	pthread_cond_init(&log->prepared, NULL);
	return log;
}

void streamlog_free(struct streamlog *log)
{
	if (!log)
		return;
	for (uint32_t i = 0; i < log->n_segments; i++)
		segment_unref(log->segments[i]);
	for (uint32_t i = 0; i < log->n_doomed; i++)
		segment_unref(log->doomed[i]);
	segment_unref(log->spare);
	pthread_mutex_destroy(&log->lock);
	pthread_cond_destroy(&log->prepared);
	buf_free(&log->head);
	extent_runs_free(&log->runs);
	free(log->iov);
	free(log->segments);
	free(log->doomed);
	free(log->path);
	free(log->parent);
	free(log);
}

static void push_segment(struct segment ***array, uint32_t *n, uint32_t *cap, struct segment *segment)
{
	if (*n == *cap) {
		*cap = *cap ? *cap * 2 : 8;
		*array = xrealloc(*array, *cap * sizeof(**array));
	}
	(*array)[(*n)++] = segment;
}

void streamlog_add_segment(struct streamlog *log, struct segment *segment)
{
	push_segment(&log->segments, &log->n_segments, &log->cap_segments, segment);
}

bool streamlog_readonly(const struct streamlog *log) { return log->readonly; }

/* ---- Failure ---- */

/* EFBIG: a file size limit. All three go away when somebody makes room. */
bool streamlog_full(int64_t err) { return err == -ENOSPC || err == -EDQUOT || err == -EFBIG; }

enum status streamlog_poison(struct streamlog *log, const char *what, const char *file, int64_t err)
{
	if (!atomic_exchange(&log->poisoned, true))
		slog(SLOG_ERROR, "log_poisoned", "file=%s call=%s why=\"%s\"", file, what, strerror((int)-err));
	atomic_store(&log->wants_prepare, false);
	return STATUS_IO;
}

static enum status nothing_kept(const char *what, const char *file, int64_t err)
{
	bool full = streamlog_full(err);
	slog(SLOG_WARN, full ? "disk_full" : "no_files", "file=%s call=%s why=\"%s\"", file, what, strerror((int)-err));
	return full ? STATUS_DISK_FULL : STATUS_NO_FILES;
}

enum status streamlog_refused(struct streamlog *log, const char *what, const char *file, int64_t err)
{
	if (!streamlog_full(err) && !io_is_shortage(err))
		return streamlog_poison(log, what, file, err);
	return nothing_kept(what, file, err);
}

enum status streamlog_failure(const char *what, const char *file, int64_t err)
{
	if (streamlog_full(err) || io_is_shortage(err))
		return nothing_kept(what, file, err);
	slog(SLOG_ERROR, "log_failed", "file=%s call=%s why=\"%s\"", file, what, strerror((int)-err));
	return STATUS_IO;
}

/* ---- Create ---- */

static enum status make_directory(struct streamlog *log)
{
	int err = log->io->mkdir(log->io, log->path);
	if (err && err != -EEXIST)
		return streamlog_refused(log, "mkdir", log->path, err);
	err = log->io->sync_dir(log->io, log->parent);
	return err ? streamlog_refused(log, "sync_dir", log->parent, err) : STATUS_OK;
}

static void on_name(void *arg, const char *name)
{
	uint64_t number;
	if (segment_name_parse(name, &number))
		*(bool *)arg = true;
}

static void on_any_run(void *arg, const struct extent_run *run)
{
	(void)run;
	*(bool *)arg = true;
}

static void on_any_shard(void *arg, uint32_t shard, uint64_t next_index, int64_t last_arrival_ms)
{
	(void)shard, (void)next_index, (void)last_arrival_ms;
	*(bool *)arg = true;
}

static void on_any_damage(void *arg, const char *file, uint64_t offset, uint64_t length, const char *what)
{
	(void)file, (void)offset, (void)length, (void)what;
	*(bool *)arg = true;
}

static void on_any_tail(void *arg, const char *file, uint64_t offset, uint64_t length)
{
	(void)arg, (void)file, (void)offset, (void)length;
}

/* An earlier create was cut short after its first segment: taken up if no record was ever written, else the directory is somebody's. */
static enum status adopt(const struct streamlog_config *config, struct streamlog **out)
{
	bool used = false;
	struct streamlog_recovery recovery = {on_any_run, on_any_shard, on_any_damage, on_any_tail, &used};
	enum status status = streamlog_open(config, &recovery, out);
	if (!status && used)
		status = STATUS_IN_USE;
	if (status) {
		streamlog_close(*out, false);
		*out = NULL;
	}
	return status;
}

enum status streamlog_create(const struct streamlog_config *config, struct streamlog **out)
{
	struct streamlog *log = streamlog_alloc(config);
	bool segments = false;
	*out = NULL;
	enum status status = make_directory(log);
	if (!status) {
		int err = log->io->list(log->io, log->path, on_name, &segments);
		status = err ? streamlog_failure("list", log->path, err) : STATUS_OK;
	}
	if (status || segments) {
		streamlog_free(log);
		return status ? status : adopt(config, out);
	}
	if (getrandom(log->log_id, sizeof(log->log_id), 0) != (ssize_t)sizeof(log->log_id)) {
		streamlog_free(log);
		return STATUS_IO;
	}
	*out = log;
	return STATUS_OK;
}

/* ---- Retention ---- */

/* How many segments from the oldest lie wholly before the horizon. Never the newest: see the head of this file. */
static uint32_t trim_count(const struct streamlog *log, int64_t horizon_ms, uint32_t most)
{
	uint32_t n = 0;
	while (n < most && n + 1 < log->n_segments && log->segments[n]->last_arrival_ms < horizon_ms)
		n++;
	return n;
}

uint64_t streamlog_trim_point(const struct streamlog *log, int64_t horizon_ms, uint32_t most)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&log->lock;
	pthread_mutex_lock(lock);
	uint64_t number = log->n_segments ? log->segments[trim_count(log, horizon_ms, most)]->number : 0;
	pthread_mutex_unlock(lock);
	return number;
}

uint32_t streamlog_trim(struct streamlog *log, int64_t horizon_ms, uint32_t most)
{
	pthread_mutex_lock(&log->lock);
	uint32_t n = trim_count(log, horizon_ms, most);
	for (uint32_t i = 0; i < n; i++) {
		log->segments[i]->doomed = true;
		push_segment(&log->doomed, &log->n_doomed, &log->cap_doomed, log->segments[i]);
	}
	log->n_segments -= n;
	if (n)
		memmove(log->segments, log->segments + n, log->n_segments * sizeof(log->segments[0]));
	pthread_mutex_unlock(&log->lock);
	return n;
}

static struct segment *first_doomed(struct streamlog *log)
{
	pthread_mutex_lock(&log->lock);
	struct segment *segment = log->n_doomed ? log->doomed[0] : NULL;
	pthread_mutex_unlock(&log->lock);
	return segment;
}

static void drop_first_doomed(struct streamlog *log)
{
	pthread_mutex_lock(&log->lock);
	struct segment *segment = log->doomed[0];
	log->n_doomed--;
	memmove(log->doomed, log->doomed + 1, log->n_doomed * sizeof(log->doomed[0]));
	pthread_mutex_unlock(&log->lock);
	segment_unref(segment);
}

static enum status unlink_durably(struct streamlog *log, const char *path)
{
	int err = log->io->unlink(log->io, path);
	if (err && err != -ENOENT)
		return streamlog_refused(log, "unlink", path, err);
	err = log->io->sync_dir(log->io, log->path);
	return err ? streamlog_refused(log, "sync_dir", log->path, err) : STATUS_OK;
}

bool streamlog_wants_sweep(const struct streamlog *log)
{
	pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&log->lock;
	pthread_mutex_lock(lock);
	bool wants = log->n_doomed > 0;
	pthread_mutex_unlock(lock);
	return wants && !log->readonly && !atomic_load(&log->poisoned);
}

enum status streamlog_sweep(struct streamlog *log)
{
	struct segment *segment;
	/* Each name durably gone before the next goes: or a crash could keep an older file and lose a newer. One that a full disk or a
	 * lack of descriptors refuses waits at the head of the line. */
	while (!atomic_load(&log->poisoned) && (segment = first_doomed(log))) {
		enum status status = unlink_durably(log, segment->path);
		if (status)
			return status;
		drop_first_doomed(log);
	}
	return atomic_load(&log->poisoned) ? STATUS_IO : STATUS_OK;
}

/* ---- End ---- */

void streamlog_close(struct streamlog *log, bool seal)
{
	if (!log)
		return;
	/* Of a poisoned file nothing is known, so a footer must not vouch for it. */
	if (seal && !log->readonly && !atomic_load(&log->poisoned)) {
		if (log->open)
			(void)streamlog_seal(log); /* said in the log; the next start then scans */
		if (log->spare)
			log->io->unlink(log->io, log->spare->path); /* not synced: recovery removes it as well */
		(void)streamlog_sweep(log);
	}
	streamlog_free(log);
}

struct names {
	struct io *io;
	const char *path;
	char **name;
	size_t n, cap;
};

static void on_file(void *arg, const char *name)
{
	struct names *names = arg;
	size_t n = strlen(names->path) + 1 + strlen(name) + 1;
	if (names->n == names->cap) {
		names->cap = names->cap ? names->cap * 2 : 16;
		names->name = xrealloc(names->name, names->cap * sizeof(names->name[0]));
	}
	char *path = xmalloc(n);
	snprintf(path, n, "%s/%s", names->path, name);
	names->name[names->n++] = path;
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Oldest first, as a trim would, so that what a crash leaves is still a log. */
static int unlink_all(struct io *io, const char *path)
{
	struct names names = {.io = io, .path = path};
	int err = io->list(io, path, on_file, &names);
	if (names.n)
		qsort(names.name, names.n, sizeof(names.name[0]), by_name);
	for (size_t i = 0; i < names.n; i++) {
		int gone = io->unlink(io, names.name[i]);
		if (gone && gone != -ENOENT && !err)
			err = gone;
		free(names.name[i]);
	}
	free(names.name);
	return err;
}

enum status streamlog_remove(struct io *io, const char *path)
{
	char *parent = parent_of(path);
	int err = unlink_all(io, path);
	bool gone = err == -ENOENT;
	if (!err)
		err = io->rmdir(io, path);
	/* Also when it is gone: an earlier call may have failed to sync. */
	if (!err || err == -ENOENT)
		err = io->sync_dir(io, parent);
	free(parent);
	if (err)
		return streamlog_failure("delete", path, err);
	return gone ? STATUS_NOT_FOUND : STATUS_OK;
}

enum status streamlog_destroy(struct streamlog *log)
{
	struct io *io = log->io;
	char *path = xstrdup(log->path);
	/* First the log's own handles: a file whose name goes is kept open as long as it has one. */
	streamlog_free(log);
	enum status status = streamlog_remove(io, path);
	free(path);
	return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}
