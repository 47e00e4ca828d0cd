/* peer_kafka_put.c: how many bytes a second Kafka takes: several producers, each an instance with a connection and a thread of its own,
 * with batches that are full before they are sent, and a few of them under way at once. Counted is what was acknowledged.
 *
 * Happy path, in each thread: a batch after the other to the partitions in turn until the time is over; when librdkafka's queue is full,
 * acknowledgements are taken, which make room. */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/peer_kafka.h"
#include "penstock/bytes.h"

#define FLUSH_MS 30000

struct putter {
	const struct peer_options *options;
	pthread_t thread;
	rd_kafka_t *rk;
	unsigned number;
	uint8_t *record;
	uint64_t end_ns;
	_Atomic uint64_t acknowledged; /* bytes of records */
};

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	struct putter *putter = opaque;
	(void)rk;
	if (message->err)
		peer_die("not delivered: %s", rd_kafka_err2str(message->err));
	atomic_fetch_add_explicit(&putter->acknowledged, message->len, memory_order_relaxed);
}

/* All of it; what finds no room is put again. */
static void put_batch(struct putter *putter, rd_kafka_topic_t *topic, rd_kafka_message_t *messages, int partition)
{
	int batch = (int)putter->options->batch;
	for (int i = 0; i < batch; i++)
		messages[i] = (rd_kafka_message_t){.payload = putter->record, .len = putter->options->size};
	for (int at = 0; at < batch;) {
		int taken = rd_kafka_produce_batch(topic, partition, 0, messages + at, batch - at);
		at += taken;
		if (at < batch && messages[at].err != RD_KAFKA_RESP_ERR__QUEUE_FULL)
			peer_die("produce: %s", rd_kafka_err2str(messages[at].err));
		rd_kafka_poll(putter->rk, at < batch ? 10 : 0);
	}
}

static void *put_all(void *arg)
{
	struct putter *putter = arg;
	rd_kafka_topic_t *topic = rd_kafka_topic_new(putter->rk, putter->options->topic, NULL);
	rd_kafka_message_t *messages = xcalloc(putter->options->batch, sizeof *messages);
	for (unsigned i = putter->number; peer_now_ns() < putter->end_ns; i++)
		put_batch(putter, topic, messages, (int)(i % putter->options->partitions));
	if (rd_kafka_flush(putter->rk, FLUSH_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
		peer_die("the last puts were not answered");
	rd_kafka_topic_destroy(topic);
	free(messages);
	return NULL;
}

static void putter_init(struct putter *putter, const struct peer_options *options, unsigned number)
{
	char batch[16], bytes[16], in_flight[16], room[16];
	snprintf(batch, sizeof batch, "%u", options->batch);
	snprintf(bytes, sizeof bytes, "%zu", options->batch * (options->size + 64)); /* with what the protocol adds to each */
	snprintf(in_flight, sizeof in_flight, "%u", options->in_flight);
	snprintf(room, sizeof room, "%u", options->batch * (options->in_flight + 1) * options->partitions);
	/* Full batches are sent at once; linger keeps others from being sent half full. */
	const char *const settings[] = {"acks",
					"all",
					"linger.ms",
					"20",
					"compression.type",
					"none",
					"batch.num.messages",
					batch,
					"batch.size",
					bytes,
					"max.in.flight.requests.per.connection",
					in_flight,
					"queue.buffering.max.messages",
					room,
					NULL};
	*putter = (struct putter){.options = options, .number = number, .record = xcalloc(1, options->size)};
	memset(putter->record, 'x', options->size);
	putter->rk = kafka_new(options, settings, on_delivery, putter);
}

static uint64_t acknowledged(struct putter *putters, unsigned n)
{
	uint64_t sum = 0;
	for (unsigned i = 0; i < n; i++)
		sum += atomic_load_explicit(&putters[i].acknowledged, memory_order_relaxed);
	return sum;
}

void kafka_put(const struct peer_options *options)
{
	static const struct timespec pause = {.tv_nsec = 2000000};
	struct putter *putters = xcalloc(options->connections, sizeof *putters);
	uint64_t warm = 0, warm_ns = 0, begin_ns, end_ns;
	double warm_cpu = 0;
	unsigned told = 0;
	for (unsigned i = 0; i < options->connections; i++)
		putter_init(&putters[i], options, i);
	kafka_topic_make(putters[0].rk, options);
	begin_ns = peer_now_ns();
	end_ns = begin_ns + (uint64_t)((options->warmup + options->seconds) * 1e9);
	for (unsigned i = 0; i < options->connections; i++) {
		putters[i].end_ns = end_ns;
		if (pthread_create(&putters[i].thread, NULL, put_all, &putters[i]) != 0)
			peer_die("no thread");
	}
	while (peer_now_ns() < end_ns) {
		nanosleep(&pause, NULL);
		peer_second(begin_ns, &told);
		if (!warm_ns && peer_now_ns() >= begin_ns + (uint64_t)(options->warmup * 1e9)) {
			warm_ns = peer_now_ns();
			warm = acknowledged(putters, options->connections);
			warm_cpu = peer_cpu_s();
		}
	}
	double seconds = (double)(peer_now_ns() - warm_ns) / 1e9, bytes = (double)(acknowledged(putters, options->connections) - warm);
	double cpu = (peer_cpu_s() - warm_cpu) / seconds;
	for (unsigned i = 0; i < options->connections; i++) {
		pthread_join(putters[i].thread, NULL);
		rd_kafka_destroy(putters[i].rk);
		free(putters[i].record);
	}
	free(putters);
	printf("{\"mb_per_s\": %.2f, \"client_cpu\": %.3f}\n", bytes / seconds / 1e6, cpu);
}
