/* resolve.h: from what a request names (stream by name or ARN, consumer, shard, position) to what the catalogue has, with AWS's texts
 * for what is not there (kinesis-behaviour 3.0, 3.10, 3.18, 3.23).
 *
 * Functions that take a request answer it when they fail; then they return NULL or false, and the request must not be touched again.
 * Thread: the request's worker. What they return lives as long as the worker's present snapshot: until the turn ends. */
#ifndef PENSTOCK_RESOLVE_H
#define PENSTOCK_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/api.h"
#include "penstock/bytes.h"
#include "penstock/catalogue.h"
#include "penstock/store.h"
#include "server/request.h"
#include "server/worker.h"

/* The parts of a stream's or consumer's ARN, lent from its text. */
struct arn {
	struct str region, account, stream;
	struct str consumer; /* p NULL: a stream's ARN */
	int64_t consumer_s;  /* the number behind a consumer's name */
};

bool resolve_arn(struct str text, struct arn *out);
struct str resolve_stream_arn(const struct server *server, struct arena *arena, struct str stream);
struct str resolve_consumer_arn(const struct server *server, struct arena *arena, struct str stream, const struct consumer_info *consumer);

/* The name that StreamName and StreamARN (either may be absent) speak of; the stream need not exist. */
bool resolve_name(struct request *request, struct str name, struct str arn, struct str *out);
const struct stream_info *resolve_stream(struct request *request, struct str name, struct str arn);
/* By ConsumerARN, by StreamARN and ConsumerName, or by all of them when they agree. */
const struct consumer_info *resolve_consumer(struct request *request, const struct stream_consumer_input *input, const struct stream_info **stream);
/* The number inside a shard's name as the client wrote it; the shard need not exist. */
bool resolve_shard_number(struct request *request, struct str given, struct str stream, uint32_t *out);
/* Where to start in a shard, by the checks of 3.23 in their order. `operation` is named in texts. */
bool resolve_position(struct request *request, const char *operation, struct str stream, const struct shard_info *shard, struct str type,
		      struct str number, struct opt_time time, struct position *out);

/* Can records be put and read? CREATING and DELETING streams are as good as absent. */
static inline bool resolve_serving(const struct stream_info *stream)
{
	return stream->status == STREAM_ACTIVE || stream->status == STREAM_UPDATING;
}

/* The texts that several operations share. Each answers the request. */
void resolve_fail_stream(struct request *request, struct str stream);                           /* Stream ... not found. */
void resolve_fail_shard(struct request *request, uint32_t shard, struct str stream);             /* Shard ... does not exist */
void resolve_fail_state(struct request *request, struct str stream, const char *state);          /* ... not ACTIVE, instead in state ... */
void resolve_fail_room(struct request *request);                                                  /* ... free-space floor; our text */
void resolve_fail_rate(struct request *request, uint32_t shard, struct str stream);              /* Rate exceeded for shard ... */

/* Called when all checks of an operation have passed. If DryRun is true: answers
 * DryRunOperationException and returns true; the caller then asks nothing of the store. Rates, leases
 * and free space are the store's state, so a dry run does not look at them. */
bool resolve_dry_run(struct request *request, struct opt_bool dry_run);

#endif
