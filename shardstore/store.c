/* store.c: the store as a whole: its lanes and pools, their start and end, and the doors that turn calls into mail.
 *
 * - open: the directory, the lanes and the pools; recover: each stream to its lane, on the caller's thread; start: the lanes' threads.
 * - a call names a stream; the stream's lane is its id modulo the number of lanes; the request is mail to that lane.
 * - stop: each lane finishes what gathers and what is in flight; then the pools end; then the logs are closed with a seal.
 *
 * Free space is looked at by syncers: after a commit, or when a put found the store full and the last look is old; and by the control
 * thread before a change that needs room. No lane or worker asks the disk, so a full disk costs puts nothing but their answer.
 *
 * Failure: what cannot be opened is named in *why. Threads: the doors any; open, recover, start, stop and free the owner's. */
#include "penstock/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "shardstore/lane.h"

#define SEGMENT_MIN (UINT64_C(1) << 20)
#define SEGMENT_MAX (UINT64_C(64) << 20)

/* A syncer sleeps all the time, and a put waits for it. Where both processors of a machine were busy, fdatasync took 2 to 4 ms at p99 as
 * seen by an ordinary thread, and 0.4 ms by one with this; a shorter slice (sched_setattr) changed nothing. */
#define SYNCER_NICE (-19)

/* ---- Open ---- */

static enum status refuse(char **why, const char *path, const char *what, int error)
{
	struct buf text = {0};
	buf_printf(&text, "%s: %s: %s", path, what, strerror(error));
	*why = xstrndup((const char *)text.p, text.n);
	buf_free(&text);
	return STATUS_IO;
}

static enum status make_directory(struct store *store, char **why)
{
	struct io *io = store->config.io;
	struct buf path = {0};
	buf_printf(&path, "%s/streams", store->config.data_dir);
	store->streams_dir = xstrndup((const char *)path.p, path.n);
	buf_free(&path);
	int error = io->mkdir(io, store->streams_dir);
	if (error && error != -EEXIST)
		return refuse(why, store->streams_dir, "cannot be made", -error);
	/* Also when it is there: the process that made it may have been killed before this. */
	error = io->sync_dir(io, store->config.data_dir);
	if (error)
		return refuse(why, store->config.data_dir, "cannot be synced", -error);
	/* And a directory that it deleted would be back after a power cut, when the catalogue has let go of its stream. */
	error = io->sync_dir(io, store->streams_dir);
	return error ? refuse(why, store->streams_dir, "cannot be synced", -error) : STATUS_OK;
}

static void run_space(struct job *job)
{
	struct store *store = container_of(job, struct store, space_job);
	store_check_space(store, true);
	atomic_store(&store->space_checking, false);
}

static void plan_space(struct store *store)
{
	int64_t bytes = store->config.io->free_bytes(store->config.io, store->config.data_dir);
	uint64_t percent = bytes > 0 ? (uint64_t)bytes / 100 : 0, segments = 2 * store->config.segment_max;
	store->free_floor = store->config.free_floor ? store->config.free_floor : percent > segments ? percent : segments;
	store->space_job.run = run_space;
	store_check_space(store, true);
}

static enum status start_pools(struct store *store, char **why)
{
	int error = pool_start(&store->syncers, "syncer", store->config.syncers, SYNCER_NICE);
	if (!error) {
		error = pool_start(&store->readers, "reader", store->config.readers, 0);
		if (error)
			pool_stop(&store->syncers);
	}
	return error ? refuse(why, store->streams_dir, "threads cannot be started", -error) : STATUS_OK;
}

enum status store_open(const struct store_config *config, struct store **out, char **why)
{
	struct store *store = xcalloc(1, sizeof(*store));
	store->config = *config;
	if (!store->config.segment_min)
		store->config.segment_min = SEGMENT_MIN;
	if (!store->config.segment_max)
		store->config.segment_max = SEGMENT_MAX;
	atomic_flag_clear(&store->poisoned);
	atomic_init(&store->wall_ahead_ms, CLOCK_UNSET);
	atomic_init(&store->believed_ahead_ms, CLOCK_UNSET);
	enum status status = make_directory(store, why);
	if (!status)
		status = start_pools(store, why);
	if (status) {
		free(store->streams_dir);
		free(store);
		return status;
	}
	plan_space(store);
	store->lanes = xcalloc(store->config.lanes, sizeof(*store->lanes));
	for (unsigned i = 0; i < store->config.lanes; i++) {
		int error = lane_init(&store->lanes[i], store, i);
		if (error) {
			store->config.lanes = i;
			store_free(store);
			return refuse(why, "eventfd", "cannot be had", -error);
		}
	}
	*out = store;
	return STATUS_OK;
}

enum status store_start(struct store *store)
{
	for (unsigned i = 0; store->config.threads && i < store->config.lanes; i++) {
		struct lane *lane = &store->lanes[i];
		if (pthread_create(&lane->thread, NULL, lane_main, lane) != 0)
			return STATUS_NO_MEMORY;
		pthread_setname_np(lane->thread, "lane");
		pthread_mutex_lock(&lane->run_lock);
		lane->started = true;
		pthread_mutex_unlock(&lane->run_lock);
	}
	store->started = true;
	return STATUS_OK;
}

/* ---- End ---- */

/* Without threads the owner does their work. */
static void finish_lane(struct store *store, struct lane *lane)
{
	while (!lane->stopped) {
		lane_turn(lane);
		while (pool_step(&store->syncers) || pool_step(&store->readers))
			;
	}
}

/* What came behind the stop: each request answers CLOSING, leaves and probes find nothing. */
static void drain(struct lane *lane)
{
	pthread_mutex_lock(&lane->run_lock); /* workers may still try it */
	lane->stopping = true;
	mailbox_run(&lane->box);
	outbox_flush(&lane->outbox);
	pthread_mutex_unlock(&lane->run_lock);
}

void store_stop(struct store *store)
{
	if (store->ended)
		return;
	store->ended = true;
	for (unsigned i = 0; store->started && i < store->config.lanes; i++) {
		struct lane *lane = &store->lanes[i];
		lane->stop_mail.run = lane_run_stop;
		mailbox_post(&lane->box, &lane->stop_mail);
		if (store->config.threads)
			pthread_join(lane->thread, NULL);
		else
			finish_lane(store, lane);
	}
	pool_stop(&store->readers);
	pool_stop(&store->syncers);
	for (unsigned i = 0; i < store->config.lanes; i++) {
		struct lane *lane = &store->lanes[i];
		lane_forget_listeners(lane);
		drain(lane);
		for (size_t k = 0; k < lane->n_streams; k++) {
			streamlog_close(lane->streams[k]->log, !lane->streams[k]->refuses);
			lane->streams[k]->log = NULL;
		}
	}
}

void store_free(struct store *store)
{
	if (!store)
		return;
	store_stop(store);
	for (unsigned i = 0; i < store->config.lanes; i++) {
		drain(&store->lanes[i]); /* what workers answered as they ran their last mail */
		lane_fini(&store->lanes[i]);
	}
	free(store->lanes);
	free(store->streams_dir);
	free(store);
}

/* ---- Free space ---- */

void store_check_space(struct store *store, bool now)
{
	struct io *io = store->config.io;
	uint64_t now_ns = io_mono_ns(io);
	if (!now && now_ns - atomic_load(&store->space_checked_ns) < SPACE_CHECK_NS)
		return;
	atomic_store(&store->space_checked_ns, now_ns);
	int64_t bytes = io->free_bytes(io, store->config.data_dir);
	if (bytes >= 0)
		atomic_store(&store->full, (uint64_t)bytes < store->free_floor);
}

bool store_has_room(struct store *store)
{
	store_check_space(store, false);
	return !atomic_load(&store->full);
}

void store_want_space(struct lane *lane)
{
	struct store *store = lane->store;
	if (lane->now_ns < atomic_load(&store->space_checked_ns) + SPACE_CHECK_NS || atomic_exchange(&store->space_checking, true))
		return;
	pool_add(&store->syncers, &store->space_job);
}

/* ---- The doors ---- */

static struct lane *lane_of(struct store *store, uint64_t stream) { return &store->lanes[stream % store->config.lanes]; }

void store_put(struct store *store, struct outbox *from, struct store_put *put)
{
	put->lane = lane_of(store, put->stream);
	put->mail.run = lane_run_put;
	for (uint32_t i = 0; i < put->n; i++)
		from->bytes += put->records[i].key.n + put->records[i].data.n;
	outbox_add(from, &put->lane->box, &put->mail);
}

void store_locate(struct store *store, struct outbox *from, struct store_locate *locate)
{
	locate->lane = lane_of(store, locate->stream);
	locate->mail.run = lane_run_locate;
	outbox_add(from, &locate->lane->box, &locate->mail);
}

void store_read(struct store *store, struct outbox *from, struct store_read *read)
{
	read->lane = lane_of(store, read->stream);
	read->mail.run = lane_run_read;
	outbox_add(from, &read->lane->box, &read->mail);
}

void store_join(struct store *store, struct outbox *from, struct store_join *join)
{
	join->lane = lane_of(store, join->stream);
	join->mail.run = lane_run_join;
	outbox_add(from, &join->lane->box, &join->mail);
}

void store_leave(struct store *store, struct outbox *from, uint64_t stream, uint32_t shard, uint64_t consumer, uint64_t subscription,
		 struct listener *listener)
{
	struct lane *lane = lane_of(store, stream);
	(void)listener; /* the lease knows it */
	outbox_add(from, &lane->box, leave_new(lane, stream, shard, consumer, subscription));
}

void store_admin(struct store *store, struct outbox *from, struct store_admin *admin)
{
	if (admin->kind == ADMIN_OPEN_STREAM || admin->kind == ADMIN_RETAIN)
		admin->stream_id = admin->kind == ADMIN_RETAIN ? admin->id : admin->stream->id;
	admin->lane = lane_of(store, admin->stream_id);
	admin->mail.run = lane_run_admin;
	outbox_add(from, &admin->lane->box, &admin->mail);
}

/* ---- The simulation's handles ---- */

unsigned store_lanes(struct store *store) { return store->config.lanes; }
bool store_lane_pending(struct store *store, unsigned lane) { return mailbox_pending(&store->lanes[lane].box); }
void store_lane_turn(struct store *store, unsigned lane) { lane_turn(&store->lanes[lane]); }
struct pool *store_syncers(struct store *store) { return &store->syncers; }
struct pool *store_readers(struct store *store) { return &store->readers; }
