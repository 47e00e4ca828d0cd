/* peer_kafka.c: Kafka under ./dev bench peers, with librdkafka: a producer without linger that asks for all acknowledgements, and for each
 * consumer an instance of its own, which is assigned partition 0 of a topic made for the run.
 *
 * librdkafka reads its sockets in threads of its own and hands messages over in a queue; the queue wakes this file's loop by a descriptor,
 * and the time of receipt is that at which the message is taken out of the queue: no application has it sooner. One application thread for
 * all consumers, not one for each: fewer switches on the client's core. */
#include "bench/peer_kafka.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "penstock/bytes.h"

#define ADMIN_MS 30000

struct instance {
	rd_kafka_t *rk;
	rd_kafka_queue_t *queue;
	int event;
};

struct kafka_peer {
	struct instance *instances; /* the consumers, then the producer */
	rd_kafka_topic_t *topic;
	const void *record;
};

static const char *const consumer_settings[] = {"group.id",
						"penstock-peers",
						"enable.auto.commit",
						"false",
						"enable.auto.offset.store",
						"false",
						"fetch.min.bytes",
						"1",
						"fetch.wait.max.ms",
						"10000",
						"auto.offset.reset",
						"earliest",
						NULL};
static const char *const producer_settings[] = {
	"acks", "all", "linger.ms", "0", "max.in.flight.requests.per.connection", "5", "compression.type", "none", NULL};

/* ---- Instances and the topic ---------------------------------------------------------------------------------------- */

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
	char why[256];
	if (rd_kafka_conf_set(conf, name, value, why, sizeof why) != RD_KAFKA_CONF_OK)
		peer_die("%s=%s: %s", name, value, why);
}

rd_kafka_t *kafka_new(const struct peer_options *options, const char *const *settings,
		      void (*on_delivery)(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque), void *opaque)
{
	char address[32], why[256];
	rd_kafka_conf_t *conf = rd_kafka_conf_new();
	snprintf(address, sizeof address, "127.0.0.1:%d", options->port);
	set(conf, "bootstrap.servers", address);
	set(conf, "broker.address.family", "v4");
	set(conf, "socket.nagle.disable", "true"); /* off by default, unlike in Kafka's own client */
	for (; *settings; settings += 2)
		set(conf, settings[0], settings[1]);
	rd_kafka_conf_set_opaque(conf, opaque);
	if (on_delivery)
		rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
	rd_kafka_t *rk = rd_kafka_new(on_delivery ? RD_KAFKA_PRODUCER : RD_KAFKA_CONSUMER, conf, why, sizeof why);
	if (!rk)
		peer_die("%s", why);
	return rk;
}

static void topic_judge(rd_kafka_event_t *event)
{
	size_t n;
	if (!event)
		peer_die("CreateTopics: no answer");
	if (rd_kafka_event_error(event))
		peer_die("CreateTopics: %s", rd_kafka_event_error_string(event));
	const rd_kafka_topic_result_t **results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &n);
	for (size_t i = 0; i < n; i++)
		if (rd_kafka_topic_result_error(results[i]))
			peer_die("CreateTopics: %s", rd_kafka_topic_result_error_string(results[i]));
}

void kafka_topic_make(rd_kafka_t *rk, const struct peer_options *options)
{
	char why[256], number[16];
	rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
	rd_kafka_AdminOptions_t *admin = rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_CREATETOPICS);
	rd_kafka_NewTopic_t *topic = rd_kafka_NewTopic_new(options->topic, (int)options->partitions, 1, why, sizeof why);
	if (!topic)
		peer_die("%s", why);
	if (options->flush_messages) {
		snprintf(number, sizeof number, "%u", options->flush_messages);
		rd_kafka_NewTopic_set_config(topic, "flush.messages", number);
	}
	rd_kafka_AdminOptions_set_operation_timeout(admin, ADMIN_MS, why, sizeof why);
	rd_kafka_CreateTopics(rk, &topic, 1, admin, queue);
	rd_kafka_event_t *event = rd_kafka_queue_poll(queue, ADMIN_MS);
	topic_judge(event);
	rd_kafka_event_destroy(event);
	rd_kafka_NewTopic_destroy(topic);
	rd_kafka_AdminOptions_destroy(admin);
	rd_kafka_queue_destroy(queue);
}

/* ---- Puts and receipts ---------------------------------------------------------------------------------------------- */

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
	(void)rk, (void)opaque;
	if (message->err)
		peer_die("not delivered: %s", rd_kafka_err2str(message->err));
}

static void receive(struct peer *peer, unsigned tag)
{
	struct kafka_peer *kafka = peer->own;
	for (rd_kafka_message_t *message; (message = rd_kafka_consumer_poll(kafka->instances[tag].rk, 0));) {
		if (message->err)
			peer_die("consumer %u: %s", tag, rd_kafka_message_errstr(message));
		peer_received(peer, tag, message->payload, message->len, peer_now_ns());
		rd_kafka_message_destroy(message);
	}
}

static void on_ready(struct peer *peer, unsigned tag)
{
	struct kafka_peer *kafka = peer->own;
	uint64_t events;
	if (read(kafka->instances[tag].event, &events, sizeof events) < 0 && errno != EAGAIN)
		peer_die("eventfd: %s", strerror(errno));
	if (tag == peer->options.consumers)
		rd_kafka_poll(kafka->instances[tag].rk, 0);
	else
		receive(peer, tag);
}

static void prepare(struct peer *peer, const void *record, size_t n)
{
	struct kafka_peer *kafka = peer->own;
	(void)n;
	kafka->record = record;
}

static void send_it(struct peer *peer)
{
	struct kafka_peer *kafka = peer->own;
	if (rd_kafka_produce(kafka->topic, 0, RD_KAFKA_MSG_F_COPY, (void *)(uintptr_t)kafka->record, peer->options.size, NULL, 0, NULL) !=
	    0)
		peer_die("produce: %s", rd_kafka_err2str(rd_kafka_last_error()));
}

/* ---- A run ---------------------------------------------------------------------------------------------------------- */

static void watch(struct peer *peer, struct instance *instance, unsigned tag)
{
	static const uint64_t one = 1; /* what an eventfd takes */
	instance->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	rd_kafka_queue_io_event_enable(instance->queue, instance->event, &one, sizeof one);
	peer_watch(peer, instance->event, tag);
}

static void consumer_begin(struct peer *peer, struct instance *instance, unsigned tag)
{
	instance->rk = kafka_new(&peer->options, consumer_settings, NULL, NULL);
	rd_kafka_poll_set_consumer(instance->rk);
	instance->queue = rd_kafka_queue_get_consumer(instance->rk);
	watch(peer, instance, tag);
	rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
	rd_kafka_topic_partition_list_add(list, peer->options.topic, 0)->offset = RD_KAFKA_OFFSET_BEGINNING;
	rd_kafka_resp_err_t error = rd_kafka_assign(instance->rk, list);
	if (error)
		peer_die("assign: %s", rd_kafka_err2str(error));
	rd_kafka_topic_partition_list_destroy(list);
}

static void instance_end(struct instance *instance)
{
	rd_kafka_queue_destroy(instance->queue);
	rd_kafka_destroy_flags(instance->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
	close(instance->event);
}

static void run(const struct peer_options *options)
{
	static const struct peer_ops ops = {.prepare = prepare, .send = send_it, .on_ready = on_ready};
	struct kafka_peer kafka = {.instances = xcalloc(options->consumers + 1, sizeof *kafka.instances)};
	struct instance *producer = &kafka.instances[options->consumers];
	struct peer peer;
	peer_init(&peer, options, &ops, &kafka);
	producer->rk = kafka_new(options, producer_settings, on_delivery, NULL);
	kafka_topic_make(producer->rk, options);
	kafka.topic = rd_kafka_topic_new(producer->rk, options->topic, NULL);
	producer->queue = rd_kafka_queue_get_main(producer->rk);
	watch(&peer, producer, options->consumers);
	for (unsigned i = 0; i < options->consumers; i++)
		consumer_begin(&peer, &kafka.instances[i], i);
	peer_run(&peer);
	rd_kafka_topic_destroy(kafka.topic);
	for (unsigned i = 0; i <= options->consumers; i++)
		instance_end(&kafka.instances[i]);
	free(kafka.instances);
	peer_fini(&peer);
}

int main(int argc, char **argv)
{
	struct peer_options options;
	peer_options_parse(&options, argc, argv);
	if (options.put)
		kafka_put(&options);
	else
		run(&options);
	return 0;
}
