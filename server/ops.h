/* ops.h: the operations, one function each, private to the server's room. dispatch.c calls them with a bound input.
 *
 * Thread: the request's worker. Each answers its request exactly once, now or in a later turn (request_ok, request_fail, or, for
 * SubscribeToShard, transport->stream); what is in flight until then lives in the request's arena. */
#ifndef PENSTOCK_OPS_H
#define PENSTOCK_OPS_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/api.h"
#include "penstock/catalogue.h"
#include "penstock/writer.h"
#include "server/request.h"

void ops_stream_create(struct request *request);
void ops_stream_delete(struct request *request);
void ops_stream_describe(struct request *request);
void ops_stream_summary(struct request *request);
void ops_stream_list(struct request *request);

void ops_shards_list(struct request *request);

void ops_reshard_split(struct request *request);
void ops_reshard_merge(struct request *request);
void ops_reshard_update_count(struct request *request);

void ops_put_record(struct request *request);
void ops_put_records(struct request *request);

void ops_read_iterator(struct request *request);
void ops_read_records(struct request *request);

void ops_consumer_register(struct request *request);
void ops_consumer_describe(struct request *request);
void ops_consumer_list(struct request *request);
void ops_consumer_deregister(struct request *request);

void ops_subscribe_to_shard(struct request *request);

/* ---- Pieces that several of them write (ops_shards.c, ops_stream.c) ---- */

/* One Shard, HashKeyRange and SequenceNumberRange always inside. */
void ops_shards_write(struct writer *w, const struct shard_info *shard);
/* "ChildShards": the shards made from `shard`; false, and nothing written, when the snapshot has none. */
bool ops_shards_write_children(struct writer *w, const struct stream_info *stream, uint32_t shard);
/* The oldest arrival time, ms, that retention keeps, by the time that it goes by
 * (store_believed_ms); never before the stream and its shards began. */
int64_t ops_shards_horizon(const struct request *request, const struct stream_info *stream);
/* Not expired: open, or closed at or after the horizon. */
bool ops_shards_kept(const struct shard_info *shard, int64_t horizon_ms);
/* The shard of that number, NULL if there is none or it has expired. */
const struct shard_info *ops_shards_find(const struct request *request, const struct stream_info *stream, uint32_t number);

/* AWS's text for more open shards than the account may have. */
void ops_stream_fail_shard_limit(struct request *request, int64_t have, int64_t limit, int64_t would);

/* NextToken of a listing; false: answered. */
struct page;
bool ops_page_open(struct request *request, int kind, struct str token, struct page *out);
/* Seals *page and writes it as "NextToken". */
void ops_page_write(struct request *request, struct writer *w, struct page *page);
/* Is StreamCreationTimestamp (absent: yes) that of this incarnation? By the second: clients round. */
bool ops_created_at(const struct stream_info *stream, struct opt_time time);

#endif
