/* producer.c: puts on a fixed schedule.
 *
 *   each producer has a connection, and puts every producers/rate seconds, whatever became of the last one (open loop)
 *   a timer that comes late sends what is due, each record stamped with the time at which it was due
 *   rate 0: each producer keeps `in_flight` puts in work (closed loop), for throughput
 *
 * A refused put is counted, and fails the measurement. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/load.h"
#include "penstock/writer.h"

struct put {
	struct call call;
	struct producer *producer;
	uint64_t first_number, sent_ns;
	unsigned n;
};

struct producer {
	struct load *load;
	struct connection *connection;
	struct event *timer;
	uint64_t due_ns, gap_ns;
	unsigned in_flight;
};

static void put_next(struct producer *producer, uint64_t due_ns);

static void count_results(struct load *load, struct put *put)
{
	/* A result without ErrorCode is a stored record; the count is exact because error names appear nowhere else. */
	static const char failed[] = "\"ErrorCode\"";
	const char *p = (const char *)put->call.answer.p;
	size_t n = put->call.answer.n;
	unsigned refused = 0;
	for (const char *hit = p; n && (hit = memmem(hit, (size_t)(p + n - hit), failed, sizeof failed - 1)); hit++)
		refused++;
	load->put_failed += refused;
	load->acknowledged += put->n - refused;
}

static void on_put_answered(struct call *call, bool complete)
{
	struct put *put = call->arg;
	struct producer *producer = put->producer;
	struct load *load = producer->load;
	uint64_t now = now_ns();
	producer->in_flight--;
	if (complete && call->status == 200) {
		count_results(load, put);
		for (unsigned i = 0; i < put->n; i++)
			load->answered_ns[put->first_number + i] = now;
		histogram_add(&load->put_latency, now - put->sent_ns);
		load->put_end_ns = now;
	} else {
		if (load->put_failed == 0)
			fprintf(stderr, "penstock-load: %s: %d " STR_FMT "\n", call->operation, call->status, (int)call->answer.n,
				(char *)call->answer.p);
		load->put_failed += put->n;
	}
	call_free(call);
	free(put);
	if (load->putting && load->options->rate <= 0)
		put_next(producer, now);
}

static void write_record(struct load *load, struct writer *w, struct record_stamp *stamp, uint8_t *data)
{
	char key[24];
	record_stamp_write(data, stamp);
	snprintf(key, sizeof key, "k%" PRIu64, stamp->number);
	write_key(w, "Data");
	write_blob(w, (struct str){(char *)data, load->options->size});
	write_kv_str(w, "PartitionKey", str_of(key));
}

static void write_body(struct load *load, struct put *put, uint64_t due_ns)
{
	const struct load_options *options = load->options;
	struct record_stamp stamp = {.sent_ns = due_ns, .counted = due_ns >= load->put_begin_ns + (uint64_t)(options->warmup * 1e9)};
	uint8_t *data = xcalloc(1, options->size);
	struct writer w;
	writer_init(&w, ENCODING_JSON, &put->call.body);
	write_map(&w);
	write_kv_str(&w, "StreamName", str_of(options->stream));
	if (options->batch > 1) {
		write_key(&w, "Records");
		write_list(&w);
	}
	for (unsigned i = 0; i < put->n; i++) {
		stamp.number = put->first_number + i;
		if (options->batch > 1)
			write_map(&w);
		write_record(load, &w, &stamp, data);
		if (options->batch > 1)
			write_map_end(&w);
	}
	if (options->batch > 1)
		write_list_end(&w);
	write_map_end(&w);
	load->counted += stamp.counted ? put->n : 0;
	free(data);
}

static void put_next(struct producer *producer, uint64_t due_ns)
{
	struct load *load = producer->load;
	const struct load_options *options = load->options;
	if (load->put + options->batch > load->numbers_max) {
		load->putting = false;
		return;
	}
	struct put *put = xcalloc(1, sizeof *put);
	put->producer = producer;
	put->n = options->batch;
	put->first_number = load->put;
	put->sent_ns = due_ns;
	put->call = (struct call){.operation = options->batch > 1 ? "PutRecords" : "PutRecord", .on_end = on_put_answered, .arg = put};
	load->put += put->n;
	load->put_bytes += (uint64_t)put->n * options->size;
	load->put_calls++;
	producer->in_flight++;
	write_body(load, put, due_ns);
	connection_call(producer->connection, &put->call);
}

static void arm(struct producer *producer)
{
	uint64_t now = now_ns(), wait = producer->due_ns > now ? (producer->due_ns - now) / 1000 : 0;
	struct timeval in = {.tv_sec = (time_t)(wait / 1000000), .tv_usec = (suseconds_t)(wait % 1000000)};
	evtimer_add(producer->timer, &in);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
	struct producer *producer = arg;
	struct load *load = producer->load;
	(void)fd, (void)what;
	if (now_ns() > load->put_begin_ns + (uint64_t)((load->options->warmup + load->options->seconds) * 1e9))
		load->putting = false;
	while (load->putting && producer->due_ns <= now_ns()) {
		put_next(producer, producer->due_ns);
		producer->due_ns += producer->gap_ns;
	}
	if (load->putting)
		arm(producer);
}

static void on_closed_loop_over(evutil_socket_t fd, short what, void *arg)
{
	(void)fd, (void)what;
	((struct producer *)arg)->load->putting = false;
}

static void begin(struct producer *producer, unsigned i)
{
	const struct load_options *options = producer->load->options;
	if (options->rate > 0) {
		producer->gap_ns = (uint64_t)(1e9 * options->producers / options->rate);
		producer->due_ns = producer->load->put_begin_ns + producer->gap_ns * i / options->producers;
		producer->timer = evtimer_new(producer->load->base, on_due, producer);
		arm(producer);
		return;
	}
	struct timeval in = {.tv_sec = (time_t)(options->seconds + options->warmup)};
	producer->timer = evtimer_new(producer->load->base, on_closed_loop_over, producer);
	evtimer_add(producer->timer, &in);
	for (unsigned k = 0; k < options->in_flight; k++)
		put_next(producer, now_ns());
}

bool producers_start(struct load *load)
{
	load->producers = xcalloc(load->options->producers, sizeof *load->producers);
	for (unsigned i = 0; i < load->options->producers; i++) {
		load->producers[i].load = load;
		load->producers[i].connection = connection_open(load->base, &load->options->endpoint, 0);
		if (!load->producers[i].connection)
			return false;
	}
	load->putting = true;
	load->put_begin_ns = now_ns();
	for (unsigned i = 0; i < load->options->producers; i++)
		begin(&load->producers[i], i);
	return true;
}

bool producers_idle(const struct load *load)
{
	if (load->putting)
		return false;
	for (unsigned i = 0; i < load->options->producers; i++)
		if (load->producers[i].in_flight)
			return false;
	return true;
}

void producers_free(struct load *load)
{
	for (unsigned i = 0; load->producers && i < load->options->producers; i++) {
		connection_close(load->producers[i].connection);
		if (load->producers[i].timer)
			event_free(load->producers[i].timer);
	}
	free(load->producers);
	load->producers = NULL;
}
