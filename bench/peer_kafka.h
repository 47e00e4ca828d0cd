/* peer_kafka.h: what peer_kafka.c and peer_kafka_put.c share. Private to the two. */
#ifndef PENSTOCK_BENCH_PEER_KAFKA_H
#define PENSTOCK_BENCH_PEER_KAFKA_H

#include <librdkafka/rdkafka.h>

#include "bench/peer.h"

/* settings: name and value in turn, NULL last. on_delivery: NULL for a consumer. The opaque value is handed to it. */
rd_kafka_t *kafka_new(const struct peer_options *options, const char *const *settings,
		      void (*on_delivery)(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque), void *opaque);
void kafka_topic_make(rd_kafka_t *rk, const struct peer_options *options);
/* Throughput: batches from several connections, as fast as they are acknowledged. */
void kafka_put(const struct peer_options *options);

#endif
