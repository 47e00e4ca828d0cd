/* metrics.h: what is counted, for /metrics. Counters rise, gauges move; relaxed atomics, any thread.
 * Names on the wire: penstock_<name>; counters end in _total there. */
#ifndef PENSTOCK_METRICS_H
#define PENSTOCK_METRICS_H

#include <stdatomic.h>
#include <stdint.h>

#define METRIC_LIST(C, G)                                                                        \
	C(requests, "Requests answered")                                                         \
	C(request_errors, "Requests answered with an error")                                     \
	C(connections_accepted, "Connections accepted")                                          \
	C(connections_refused, "Connections refused for a bound")                                \
	C(clients_cut, "Connections ended because their client passed a bound")                  \
	G(connections, "Connections open")                                                       \
	C(records_put, "Records made durable")                                                   \
	C(bytes_put, "Data and partition-key bytes made durable")                                \
	C(records_throttled, "Records refused by the write limits")                              \
	C(reads_throttled, "GetRecords and GetShardIterator calls refused by their limits")      \
	C(groups, "Commit groups synced")                                                        \
	C(group_bytes, "Bytes written in commit groups")                                         \
	C(syncs, "fdatasync calls for commit groups")                                            \
	C(sync_ns, "Nanoseconds spent in fdatasync for commit groups")                           \
	C(store_reads, "Reads of durable extents")                                               \
	C(store_read_bytes, "Bytes read from segments")                                          \
	C(notices, "Notices mailed to workers")                                                  \
	C(batches_encoded, "Batches encoded into events")                                        \
	C(events_encoded, "Events encoded")                                                      \
	C(event_bytes_encoded, "Bytes of encoded events")                                        \
	G(events_live, "Encoded events in memory")                                               \
	G(event_bytes_live, "Bytes of encoded events in memory")                                 \
	G(batches_live, "Batches in memory")                                                     \
	G(batch_bytes_live, "Bytes of batches in memory")                                        \
	C(faults_throttle, "Calls throttled on purpose")                                         \
	C(faults_error, "Calls answered 500 on purpose, nothing done")                           \
	C(faults_lost_answer, "Calls done and answered 500 on purpose")                          \
	C(faults_reset, "Streams and connections reset on purpose")                              \
	C(faults_delay, "Answers delayed on purpose")                                            \
	C(faults_end, "Subscriptions ended early on purpose")                                    \
	C(events_pushed, "Events pushed to subscribers")                                         \
	C(records_pushed, "Records pushed to subscribers")                                       \
	C(bytes_pushed, "Data and partition-key bytes pushed to subscribers")                    \
	C(heartbeats, "Empty events pushed")                                                     \
	G(subscriptions, "Subscriptions live")                                                   \
	C(subscriptions_started, "Subscriptions begun")                                          \
	C(subscriptions_taken_over, "Subscriptions ended by a later one")                        \
	C(catchup_reads, "Reads for subscriptions behind the ring")                              \
	C(catchup_shared, "Times that a subscription behind the ring found what another had read") \
	G(catchup_bytes, "Bytes of reads kept for subscriptions that follow")                    \
	G(ring_bytes, "Bytes held by rings of recent batches")                                   \
	C(socket_writes, "Writes to sockets")                                                    \
	C(socket_bytes, "Bytes written to sockets")                                              \
	G(body_bytes, "Bytes of request bodies in memory")                                       \
	G(answer_bytes, "Bytes of answers in memory")                                            \
	C(retention_rounds, "Rounds in which lanes were told what has passed retention")         \
	G(clock_doubt_ms, "Milliseconds that the wall clock is ahead of the time that retention goes by") \
	G(connections_max, "Connections that are accepted at most")                              \
	G(files_limit, "Descriptors that the process may have open (RLIMIT_NOFILE)")             \
	G(log_files, "Files of the log that are open")                                           \
	G(log_files_max, "Files of the log that are kept open at most")                          \
	G(streams_damaged, "Streams that take no records: damaged or unreadable at the start")

enum metric {
#define X(name, help) METRIC_##name,
	METRIC_LIST(X, X)
#undef X
	METRIC_COUNT
};

extern _Atomic int64_t metrics[METRIC_COUNT];

static inline void metric_add(enum metric metric, int64_t n) { atomic_fetch_add_explicit(&metrics[metric], n, memory_order_relaxed); }
static inline int64_t metric_get(enum metric metric) { return atomic_load_explicit(&metrics[metric], memory_order_relaxed); }

/* How long things take, per hop. Prometheus summaries penstock_<name>_seconds with quantiles 0.5, 0.9, 0.99 since the start. A mutex each,
 * taken once per observation: for what happens per group or per put, not per delivery. */
#define METRIC_TIME_LIST(T)                                                                      \
	T(sync, "fdatasync of a commit group")                                                   \
	T(queue, "A put's wait from reaching its lane until its group closed")                   \
	T(commit, "A put's wait from its group's closing until it was durable")                  \
	T(notice, "News of a shard, from being durable until a worker took it")                  \
	T(write, "Records pushed, from the worker's taking the news until the first socket had them")

enum metric_time {
#define X(name, help) METRIC_TIME_##name,
	METRIC_TIME_LIST(X)
#undef X
	METRIC_TIME_COUNT
};

void metric_observe(enum metric_time time, uint64_t ns); /* any thread */

struct buf;
void metrics_text(struct buf *out); /* Prometheus text format: counters, gauges, then the times */
void metric_times_text(struct buf *out);

#endif
