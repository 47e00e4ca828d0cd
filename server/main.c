/* main.c: the program: opens everything in order, accepts, and closes everything in the other order.
 *
 * Thread: main. It makes all others, with SIGTERM and SIGINT (with --credentials or --metrics-token-file SIGHUP too) blocked, which
 * therefore reach only it.
 *
 * Happy path:
 * - options, descriptors shared out, the addresses, the data directory with its lock and catalogue, a certificate
 * - the store, and in it every stream's log, recovered before anybody can ask for it
 * - workers; the control thread, which mails each worker its first catalogue; then, and only then, the ports are listened on
 * - SIGHUP: the credentials are read anew and mailed to every worker, the token of /metrics is read anew
 * - a signal: no more connections; workers finish what they have (GOAWAY, END_STREAM, at most 5 s); control ends once the store has
 *   answered it; lanes drain, readers and syncers join; what the store still mailed to workers is run; all is freed; exit 0
 *
 * Control stops before the store: it is one of the store's clients, and what it asks of a stopped lane nobody would answer.
 *
 * Failure modes:
 * - anything that cannot be opened: one line on stderr with what, why and what to do; what was opened is closed; exit 1
 * - credentials or a token that cannot be read anew: the log has why, and those of before stay in force
 * - damage in a log, or one that cannot be read: said in the log; that stream is read-only or answers errors, all else is served
 * - the log of a stream is poisoned (a failed write or sync): nothing may be accepted any more that might not be kept. The process says so
 *   and exits 1 after 200 ms, in which waiting producers get their 500; the next start reads what is really on the disk
 * - a second signal: exit 130 at once; acknowledged records are safe, they were durable before the acknowledgement */
#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <nghttp2/nghttp2.h>
#include <openssl/crypto.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/slog.h"
#include "server/acceptor.h"
#include "server/certificate.h"
#include "server/fault.h"
#include "server/files.h"
#include "server/keys.h"
#include "server/options.h"
#include "server/peers.h"
#include "server/rates.h"
#include "server/slice.h"
#include "server/ticket_keys.h"
#include "server/worker.h"

#define RESERVE_BYTES (UINT64_C(8) << 20) /* SQLite's WAL up to a checkpoint, and what that adds to the file: 1,000 pages each */
#define POISON_GRACE_US 200000

/* Read by jemalloc at the start. What a herd of requests has used goes back to the kernel within seconds, by a thread of its own: 100,000
 * subscriptions must not keep for hours what 100,000 SubscribeToShard requests needed for a moment. */
extern const char *malloc_conf;
const char *malloc_conf = "background_thread:true,dirty_decay_ms:2000,muzzy_decay_ms:0";

struct program {
	struct options options;
	struct acceptor acceptor;
	struct server server;
	struct profile profile;
	struct io *slow; /* --test-sync-delay-us */
	struct files files;
	struct io *log_io; /* the log's: few of its files are open at a time */
	_Atomic bool poisoned;
	bool store_started;
	unsigned workers_started;
};

/* ---- The process ---- */

/* SIGHUP keeps its inherited disposition (ignored under nohup), unless there is something to re-read.
 * SIGINT and SIGTERM stop the process even if they were ignored at the start, as SIGINT is in a job that
 * a script starts in the background: a blocked signal is queued for the signalfd all the same. */
static void set_signals(bool hangup)
{
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	if (hangup)
		sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN); /* a client that left is an error of write() */
}

static void on_second_signal(int number)
{
	(void)number;
	_exit(130);
}

/* From the first signal on, before anything can take long. */
static void exit_on_second_signal(void)
{
	struct sigaction action = {.sa_handler = on_second_signal};
	sigset_t signals;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	sigprocmask(SIG_UNBLOCK, &signals, NULL);
}

/* ---- The store ---- */

/* On a lane's thread. */
static void on_poisoned(void *arg, const char *why)
{
	struct program *program = arg;

	slog(SLOG_ERROR, "log_poisoned", "why=\"%s\" advice=\"the process ends; see to the disk, then start it again\"", why);
	program->poisoned = true;
	acceptor_alarm(&program->acceptor);
}

static bool has_directory(const char *data_dir, uint64_t stream)
{
	char *path = xasprintf("%s/streams/%" PRIu64, data_dir, stream);
	bool has = access(path, F_OK) == 0;

	free(path);
	return has;
}

/* Which streams the store is to have before anybody asks: not one that it is still to open (control does that), and of those being deleted
 * only such as have something left to delete. */
static bool wants_recovery(const struct program *program, const struct stream_info *stream)
{
	if (stream->status == STREAM_CREATING)
		return false;
	if (has_directory(program->options.data_dir, stream->id))
		return true;
	if (stream->status == STREAM_DELETING)
		return false;
	slog(SLOG_ERROR, "stream_lost", "stream=%s missing=\"%s/streams/%" PRIu64 "\" advice=\"it begins empty; was it removed by hand?\"",
	     stream->name, program->options.data_dir, stream->id);
	return true;
}

static void on_damaged(void *arg, const struct stream_info *stream, const char *why)
{
	(void)arg;
	slog(SLOG_ERROR, "stream_damaged",
	     "stream=%s id=%" PRIu64
	     " why=\"%s\" advice=\"what is whole can be read; nothing is written; see to the disk, then start again\"",
	     stream->name, stream->id, why ? why : "");
}

static void recover_streams(struct program *program)
{
	struct catalogue *snapshot = control_snapshot(program->server.control);
	const struct stream_info **wanted = xcalloc(snapshot->n_streams + 1, sizeof(struct stream_info *));
	uint32_t n = 0;

	for (uint32_t i = 0; i < snapshot->n_streams; i++)
		if (wants_recovery(program, &snapshot->streams[i]))
			wanted[n++] = &snapshot->streams[i];
	store_recover_all(program->server.store, wanted, n, on_damaged, NULL);
	free(wanted);
	catalogue_unref(snapshot);
}

static enum status open_store(struct program *program, char **why)
{
	program->log_io = io_bounded(program->server.io, program->files.log);
	struct store_config config = {
		.io = program->log_io,
		.data_dir = program->options.data_dir,
		.limits = program->options.limits,
		.encode = message_encode,
		.lanes = program->options.lanes,
		.syncers = program->options.syncers,
		.readers = program->options.readers,
		.free_floor = program->options.free_floor_mib << 20,
		.threads = true,
		.on_poisoned = on_poisoned,
		.arg = program,
	};
	enum status status = store_open(&config, &program->server.store, why);

	if (!status) {
		recover_streams(program);
		status = store_start(program->server.store);
	}
	program->store_started = !status;
	return status;
}

/* ---- Credentials ---- */

/* A request that is sent after this line is in the log is judged by the new keys: mail goes before sockets. */
static void say_keys(const char *path, const struct keys *keys)
{
	slog(SLOG_INFO, "credentials_loaded", "file=\"%s\" profiles=%u", path, keys->n);
}

static enum status open_keys(struct program *program, char **why)
{
	const char *path = program->options.credentials;
	enum status status = path ? keys_load(path, &program->server.keys, why) : STATUS_OK;

	if (path && !status)
		say_keys(path, program->server.keys);
	return status;
}

static void reload_keys(struct program *program, const char *path)
{
	struct keys *keys;
	char *why = NULL;

	if (keys_load(path, &keys, &why)) {
		slog(SLOG_ERROR, "credentials_kept",
		     "why=\"%s\" advice=\"the keys of before stay in force; mend the file, send SIGHUP again\"", why);
		free(why);
		return;
	}
	for (unsigned i = 0; i < program->server.n_workers; i++)
		worker_set_keys(&program->server.workers[i], keys_ref(keys));
	say_keys(path, keys);
	keys_unref(keys);
}

static enum status open_token(struct program *program, char **why)
{
	const char *path = program->options.metrics_token_file;

	return path ? bearer_load(&program->server.metrics_token, path, why) : STATUS_OK;
}

static void reload_token(struct program *program, const char *path)
{
	char *why = NULL;

	if (bearer_load(&program->server.metrics_token, path, &why))
		slog(SLOG_ERROR, "metrics_token_kept",
		     "why=\"%s\" advice=\"the token of before stays in force; mend the file, send SIGHUP again\"", why);
	else
		slog(SLOG_INFO, "metrics_token_loaded", "file=\"%s\"", path);
	free(why);
}

static void on_hangup(void *arg)
{
	struct program *program = arg;

	if (program->options.credentials)
		reload_keys(program, program->options.credentials);
	if (program->options.metrics_token_file)
		reload_token(program, program->options.metrics_token_file);
}

static bool has_secrets(const struct options *options) { return options->credentials || options->metrics_token_file; }

/* ---- Start ---- */

static enum status open_catalogue(struct program *program, char **why)
{
	struct server *server = &program->server;
	struct control_config config = {
		.io = server->io,
		.data_dir = program->options.data_dir,
		.limits = program->options.limits,
		.transition_ms = program->options.transition_ms,
		.reserve_bytes = RESERVE_BYTES,
		.retention_check_ms = (int64_t)program->options.retention_ms,
		.clock_grace_ms = (int64_t)program->options.clock_grace_s * 1000,
		.believe_clock = program->options.believe_clock,
	};
	enum status status = control_open(&config, &server->control, why);

	if (!status)
		status = control_secret(server->control, "iterators", server->iterator_key);
	if (!status)
		status = control_secret(server->control, "pages", server->page_key);
	return status;
}

static enum status open_tickets(struct server *server, char **why)
{
	enum status status = ticket_keys_install(server->tls, server->io);
	if (status)
		*why = xstrdup("OpenSSL has no random bytes for the keys of TLS session tickets");
	return status;
}

static enum status start_workers(struct program *program, char **why)
{
	struct server *server = &program->server;
	struct catalogue_reader readers[16]; /* --workers is at most 16 */

	server->n_workers = program->options.workers;
	server->workers = xcalloc(server->n_workers, sizeof(*server->workers));
	for (unsigned i = 0; i < server->n_workers; i++) {
		int code = worker_start(&server->workers[i], server, i);

		if (code != 0) {
			*why = xasprintf("worker %u cannot be started: %s", i, strerror(-code));
			server->n_workers = i; /* the others have no mailboxes */
			return STATUS_INTERNAL;
		}
		program->workers_started++;
		readers[i] = (struct catalogue_reader){
			.box = &server->workers[i].box, .on_snapshot = worker_on_snapshot, .arg = &server->workers[i]};
	}
	if (fault_rules_any(&program->options.faults))
		fault_set(server, &program->options.faults);
	return control_start(server->control, server->store, readers, server->n_workers);
}

static enum status start(struct program *program, char **why)
{
	const struct options *options = &program->options;
	struct server *server = &program->server;
	enum status status;

	program->acceptor.signal_fd = program->acceptor.alarm_fd = -1;
	server->options = options;
	(void)profile_find(options->profile, options->faults.seed, &program->profile); /* the option was checked */
	server->profile = program->profile.name ? &program->profile : NULL;
	server->rates = rates_new(&options->limits);
	budget_init(&server->answers, ANSWERS_MAX);
	server->peers = peers_new(options->connections_per_address, ANSWERS_OF_GROUP, options->workers);
	snprintf(server->region, sizeof(server->region), "%s", options->region);
	snprintf(server->account, sizeof(server->account), "%s", options->account);
	if (options->fsync_delay_us)
		program->slow = io_slow(io_posix(), options->fsync_delay_us);
	server->io = program->slow ? program->slow : io_posix();
	server->started_ns = io_mono_ns(server->io);
	state_pace_init(&server->state_pace, server->started_ns);
	status = files_plan(options, &program->files, why);
	if (!status) {
		program->options.max_connections = program->files.connections;
		status = acceptor_open(&program->acceptor, &options->listen, why);
	}
	if (!status)
		status = open_keys(program, why);
	if (!status)
		status = open_token(program, why);
	if (!status)
		status = open_catalogue(program, why);
	if (!status)
		status = certificate_context(options->tls_cert, options->tls_key, options->data_dir, &server->tls, why);
	if (!status)
		status = open_tickets(server, why);
	if (!status)
		status = open_store(program, why);
	if (!status)
		status = start_workers(program, why);
	if (!status)
		status = acceptor_listen(&program->acceptor, why);
	return status;
}

static const char *limits_in_words(const struct limits *limits)
{
	static const struct limits aws = LIMITS_AWS, off = LIMITS_OFF;

	if (memcmp(limits, &aws, sizeof(aws)) == 0)
		return "aws";
	return memcmp(limits, &off, sizeof(off)) == 0 ? "off" : "mixed"; /* /state has them all */
}

static const char *signatures_in_words(const struct options *options)
{
	if (options->credentials)
		return "verified";
	return options->insecure_listen ? "accepted" : "accepted, so only loopback is bound";
}

static bool allows_all(const struct option_list *list)
{
	for (unsigned i = 0; i < list->n; i++)
		if (strcmp(list->items[i], "*") == 0)
			return true;
	return false;
}

static void say_started(const struct program *program)
{
	const struct options *options = &program->options;
	const struct acceptor *acceptor = &program->acceptor;
	char listen[LISTEN_MOST * 64] = "";

	for (unsigned i = 0, n = 0; i < acceptor->n_sockets; i++)
		n += (unsigned)snprintf(listen + n, sizeof(listen) - n, "%s%s", i ? "," : "", acceptor->sockets[i].address);
	slog(SLOG_INFO, "started",
	     "version=%s nghttp2=%s openssl=%s libevent=%s sqlite=%s listen=%s data_dir=\"%s\" workers=%u connections=%u limits=%s "
	     "signatures=\"%s\"",
	     PENSTOCK_VERSION, nghttp2_version(0)->version_str, OpenSSL_version(OPENSSL_VERSION_STRING), event_get_version(),
	     sqlite3_libversion(), listen, options->data_dir, options->workers, options->max_connections, limits_in_words(&options->limits),
	     signatures_in_words(options));
	if (program->server.profile)
		slog(SLOG_WARN, "profile_on", "profile=%s seed=%" PRIu64 " advice=\"deliveries are delayed on purpose\"",
		     program->server.profile->name, program->server.profile->seed);
	if (!options->credentials && allows_all(&options->allow_origin))
		slog(SLOG_WARN, "any_web_page",
		     "advice=\"without --credentials, --allow-origin * lets every web page read and write everything\"");
	for (unsigned i = 0; options->print_ready && i < acceptor->n_sockets; i++)
		printf("listening %s\n", acceptor->sockets[i].address);
	fflush(stdout);
}

/* ---- Stop ---- */

/* Closes whatever was opened, in the order that the head of this file gives. */
static void stop(struct program *program)
{
	struct server *server = &program->server;

	acceptor_shut(&program->acceptor);
	for (unsigned i = 0; i < program->workers_started; i++)
		worker_stop(&server->workers[i]);
	for (unsigned i = 0; i < program->workers_started; i++)
		worker_join(&server->workers[i]);
	if (server->control)
		control_stop(server->control);
	if (program->store_started)
		store_stop(server->store);
	workers_fini(server->workers, program->workers_started);
	free(server->workers);
	if (server->store)
		store_free(server->store);
	if (program->log_io)
		io_bounded_free(program->log_io);
	control_free(server->control);
	rates_free(server->rates);
	peers_free(server->peers);
	keys_unref(server->keys);
	SSL_CTX_free(server->tls);
	if (program->slow)
		io_slow_free(program->slow);
	libevent_global_shutdown();
	acceptor_close(&program->acceptor);
}

int main(int argc, char **argv)
{
	static struct program program; /* the acceptor is rung from other threads until they are joined */
	char *why = NULL;
	int code = options_parse(argc, argv, &program.options);

	if (code)
		return code == 1 ? 0 : code;
	slog_set_level(program.options.log_level);
	slog_set_format(program.options.log_format);
	slice_shorten();
	set_signals(has_secrets(&program.options));
	if (start(&program, &why)) {
		fprintf(stderr, "penstock: %s\n", why ? why : "cannot start; the log says why");
		free(why);
		stop(&program);
		return 1;
	}
	if (has_secrets(&program.options))
		acceptor_on_hangup(&program.acceptor, on_hangup, &program);
	say_started(&program);
	if (acceptor_run(&program.acceptor, &program.server) == ACCEPTOR_ALARMED) {
		usleep(POISON_GRACE_US);
		_exit(1);
	}
	exit_on_second_signal();
	stop(&program);
	slog(SLOG_INFO, "stopped", NULL);
	return program.poisoned ? 1 : 0;
}
