/* ops_shards.c: ListShards, and the pieces of answers that speak of shards and pages.
 *
 * Thread: the request's worker; all from its snapshot.
 *
 * - which parameters go together (kinesis-behaviour 3.6; a NextToken with a ShardFilter is tolerated, since Beam sends both: R12);
 * - the stream, by its name or by what the token says; CREATING or DELETING: ResourceInUse, which KCL knows how to wait out (R17);
 * - the filter of 4.7 over shards in order of their numbers.
 *
 * A shard's life is [opened, its children's opening), so that every moment belongs to exactly one generation and what a filter returns
 * covers the whole hash range: KCL refuses to start on anything less. The first generation lives from the stream's creation on. */
#include <assert.h>
#include <inttypes.h>

#include "server/ops.h"
#include "server/rates.h"
#include "server/resolve.h"
#include "server/token.h"
#include "server/worker.h"

#define LIST_SHARDS_MAX 1000 /* default and effective maximum of MaxResults */
#define HOUR_MS INT64_C(3600000)

enum filter_type { FILTER_ALL, FILTER_AT_LATEST, FILTER_AT_TIME, FILTER_FROM_TIME };

struct filter {
	enum filter_type type;
	int64_t ms;
};

/* ---- Pieces ---- */

static void write_hash(struct writer *w, const char *key, uint128 hash)
{
	char digits[HASH_DIGITS];
	write_kv_str(w, key, (struct str){digits, hash_format(digits, hash)});
}

static void write_hash_range(struct writer *w, const struct shard_info *shard)
{
	write_key(w, "HashKeyRange");
	write_map(w);
	write_hash(w, "StartingHashKey", shard->hash_first);
	write_hash(w, "EndingHashKey", shard->hash_last);
	write_map_end(w);
}

static void write_shard_name(struct writer *w, const char *key, uint32_t shard)
{
	char name[SHARD_NAME_LEN + 1];
	shard_name(name, shard);
	write_kv_str(w, key, str_of(name));
}

static void write_sequence(struct writer *w, const char *key, const struct shard_key *shard, uint64_t index, int64_t time_s)
{
	char digits[SEQ_DIGITS];
	seq_format(digits, shard, index, time_s);
	write_kv_str(w, key, (struct str){digits, SEQ_DIGITS});
}

void ops_shards_write(struct writer *w, const struct shard_info *shard)
{
	write_map(w);
	write_shard_name(w, "ShardId", shard->key.shard);
	if (shard->parent != NO_PARENT)
		write_shard_name(w, "ParentShardId", shard->parent);
	if (shard->adjacent != NO_PARENT)
		write_shard_name(w, "AdjacentParentShardId", shard->adjacent);
	write_hash_range(w, shard);
	write_key(w, "SequenceNumberRange");
	write_map(w);
	write_sequence(w, "StartingSequenceNumber", &shard->key, 0, shard->key.created_s);
	if (shard->closed)
		write_sequence(w, "EndingSequenceNumber", &shard->key, SEQ_INDEX_MAX, shard->closed_s);
	write_map_end(w);
	write_map_end(w);
}

static bool is_child(const struct shard_info *child, uint32_t shard) { return child->parent == shard || child->adjacent == shard; }

static void write_child(struct writer *w, const struct shard_info *child)
{
	char name[SHARD_NAME_LEN + 1];
	write_map(w);
	write_shard_name(w, "ShardId", child->key.shard);
	write_key(w, "ParentShards"); /* both of a merge, at the end of each of them (R8) */
	write_list(w);
	shard_name(name, child->parent);
	write_str(w, str_of(name));
	if (child->adjacent != NO_PARENT) {
		shard_name(name, child->adjacent);
		write_str(w, str_of(name));
	}
	write_list_end(w);
	write_hash_range(w, child);
	write_map_end(w);
}

bool ops_shards_write_children(struct writer *w, const struct stream_info *stream, uint32_t shard)
{
	bool any = false;
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		if (!is_child(&stream->shards[i], shard))
			continue;
		if (!any) {
			write_key(w, "ChildShards");
			write_list(w);
		}
		any = true;
		write_child(w, &stream->shards[i]);
	}
	if (any)
		write_list_end(w);
	return any;
}

/* Not the creation alone: its second rises for each name, and may run ahead of the clock, by which
 * shards are opened and closed. */
static int64_t beginning(const struct stream_info *stream)
{
	int64_t began_ms = stream->created_ms;
	for (uint32_t i = 0; i < stream->n_shards; i++)
		if (stream->shards[i].opened_ms < began_ms)
			began_ms = stream->shards[i].opened_ms;
	return began_ms;
}

int64_t ops_shards_horizon(const struct request *request, const struct stream_info *stream)
{
	int64_t horizon_ms = store_believed_ms(request->worker->server->store) - stream->retention_hours * HOUR_MS;
	int64_t began_ms = beginning(stream);
	return horizon_ms > began_ms ? horizon_ms : began_ms;
}

bool ops_shards_kept(const struct shard_info *shard, int64_t horizon_ms) { return !shard->closed || shard->closed_ms >= horizon_ms; }

const struct shard_info *ops_shards_find(const struct request *request, const struct stream_info *stream, uint32_t number)
{
	const struct shard_info *shard = stream_shard(stream, number);
	return shard && ops_shards_kept(shard, ops_shards_horizon(request, stream)) ? shard : NULL;
}

bool ops_created_at(const struct stream_info *stream, struct opt_time time)
{
	return !time.has || time.ms / 1000 == stream->created_ms / 1000;
}

bool ops_page_open(struct request *request, int kind, struct str token, struct page *out)
{
	const struct server *server = request->worker->server;
	int64_t now_ms = io_wall_ms(server->io);
	enum status status = token_page_open(server->page_key, (enum page_kind)kind, token, now_ms, out);
	if (status == STATUS_OK)
		return true;
	char created[TOKEN_TIME_MAX], now[TOKEN_TIME_MAX];
	token_time(now, now_ms);
	if (status == STATUS_EXPIRED_TOKEN) { /* our text, after the iterator's */
		token_time(created, out->created_ms);
		request_fail(request, status,
			     "NextToken expired. The token was created at time %s while right now it is %s which is further in the future "
			     "than the "
			     "tolerated delay of %d milliseconds.",
			     created, now, TOKEN_LIFE_MS);
	} else {
		request_fail(request, STATUS_INVALID_ARGUMENT, "Invalid NextToken."); /* our text */
	}
	return false;
}

void ops_page_write(struct request *request, struct writer *w, struct page *page)
{
	const struct server *server = request->worker->server;
	char token[TOKEN_TEXT_MAX];
	page->created_ms = io_wall_ms(server->io);
	token_page_seal(server->page_key, page, token);
	write_kv_str(w, "NextToken", str_of(token));
}

/* ---- The filter ---- */

/* When each shard's life ended: its children's opening; INT64_MAX while it is open. */
static int64_t *shard_ends(struct request *request, const struct stream_info *stream)
{
	int64_t *ends = arena_alloc(&request->arena, (stream->n_shards + 1) * sizeof(*ends));
	for (uint32_t i = 0; i < stream->n_shards; i++)
		ends[i] = stream->shards[i].closed ? stream->shards[i].closed_ms : INT64_MAX;
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		const struct shard_info *child = &stream->shards[i];
		uint32_t parents[2] = {child->parent, child->adjacent};
		for (int k = 0; k < 2; k++) {
			const struct shard_info *parent = parents[k] == NO_PARENT ? NULL : stream_shard(stream, parents[k]);
			if (parent)
				ends[parent - stream->shards] = child->opened_ms;
		}
	}
	return ends;
}

static bool filter_passes(const struct filter *filter, const struct stream_info *stream, const struct shard_info *shard,
			  const int64_t *ends, int64_t horizon_ms)
{
	if (!ops_shards_kept(shard, horizon_ms))
		return false;
	switch (filter->type) {
	case FILTER_ALL:
		return true;
	case FILTER_AT_LATEST:
		return !shard->closed;
	case FILTER_AT_TIME:
		/* No filter's time lies before the stream's beginning. */
		return (shard->parent == NO_PARENT || shard->opened_ms <= filter->ms) && ends[shard - stream->shards] > filter->ms;
	default: /* FILTER_FROM_TIME */
		return !shard->closed || shard->closed_ms >= filter->ms;
	}
}

/* Checks the filter's members against its type. All texts are ours. False: answered. */
static bool filter_check(struct request *request, const struct shard_filter *given)
{
	bool timed = str_equal(given->type, STR("AT_TIMESTAMP")) || str_equal(given->type, STR("FROM_TIMESTAMP"));
	bool after = str_equal(given->type, STR("AFTER_SHARD_ID"));
	if (timed != given->timestamp.has)
		request_fail(request, STATUS_INVALID_ARGUMENT, "ShardFilter of type " STR_FMT " must %s Timestamp.", STR_ARG(given->type),
			     timed ? "have a" : "not have a");
	else if (after != str_present(given->shard_id))
		request_fail(request, STATUS_INVALID_ARGUMENT, "ShardFilter of type " STR_FMT " must %s ShardId.", STR_ARG(given->type),
			     after ? "have a" : "not have a");
	else
		return true;
	return false;
}

/* A time before the horizon means the horizon: what was before is gone, and an empty answer would stop a KCL. */
static struct filter filter_of(const struct shard_filter *given, int64_t horizon_ms)
{
	struct filter filter = {FILTER_ALL, horizon_ms};
	if (!given->present)
		return filter;
	if (given->timestamp.has && given->timestamp.ms > horizon_ms)
		filter.ms = given->timestamp.ms;
	if (str_equal(given->type, STR("AT_LATEST")))
		filter.type = FILTER_AT_LATEST;
	else if (str_equal(given->type, STR("AT_TRIM_HORIZON")) || str_equal(given->type, STR("AT_TIMESTAMP")))
		filter.type = FILTER_AT_TIME;
	else if (str_equal(given->type, STR("FROM_TIMESTAMP")))
		filter.type = FILTER_FROM_TIME;
	return filter; /* FROM_TRIM_HORIZON is all; AFTER_SHARD_ID is a start, see list_start */
}

/* ---- ListShards ---- */

/* What one call lists. */
struct listing {
	const struct stream_info *stream;
	struct filter filter;
	struct str after, after_too; /* shard names above both; p NULL: no bound */
	int64_t horizon_ms;
	uint32_t limit;
};

/* With NextToken nothing may be named that it has inside. False: answered. */
static bool token_alone(struct request *request, const struct list_shards_input *input)
{
	const char *other = str_present(input->stream_name)                ? "StreamName"
			    : str_present(input->stream_arn)               ? "StreamARN"
			    : str_present(input->exclusive_start_shard_id) ? "ExclusiveStartShardId"
			    : input->stream_creation_timestamp.has         ? "StreamCreationTimestamp"
									   : NULL;
	if (other)
		request_fail(request, STATUS_INVALID_ARGUMENT, "NextToken and %s cannot be provided together.", other);
	return other == NULL;
}

/* CREATING and DELETING are passing states, and ResourceNotFound would mean "gone" to KCL, Flink and Spark (R17). */
static bool listable(struct request *request, const struct stream_info *stream)
{
	if (resolve_serving(stream))
		return true;
	resolve_fail_state(request, str_of(stream->name), stream_status_name(stream->status));
	return false;
}

static bool list_continue(struct request *request, const struct list_shards_input *input, struct listing *listing)
{
	struct page page;
	if (!token_alone(request, input) || !ops_page_open(request, PAGE_SHARDS, input->next_token, &page))
		return false;
	listing->stream = catalogue_stream_by_id(request->worker->catalogue, page.stream);
	if (listing->stream == NULL) {
		resolve_fail_stream(request, arena_str(&request->arena, str_of(page.name)));
		return false;
	}
	char *name = arena_alloc(&request->arena, SHARD_NAME_LEN + 1);
	shard_name(name, page.shard);
	listing->after = str_of(name);
	listing->filter = (struct filter){(enum filter_type)page.filter, page.filter_ms};
	return listable(request, listing->stream);
}

static bool list_start(struct request *request, const struct list_shards_input *input, struct listing *listing)
{
	if (!str_present(input->stream_name) && !str_present(input->stream_arn)) {
		request_fail(request, STATUS_INVALID_ARGUMENT, "Either NextToken or StreamName should be provided.");
		return false;
	}
	if (input->filter.present && !filter_check(request, &input->filter))
		return false;
	const struct stream_info *stream = resolve_stream(request, input->stream_name, input->stream_arn);
	if (stream == NULL || !listable(request, stream))
		return false;
	if (!ops_created_at(stream, input->stream_creation_timestamp)) {
		resolve_fail_stream(request, str_of(stream->name));
		return false;
	}
	listing->stream = stream;
	listing->filter = filter_of(&input->filter, ops_shards_horizon(request, stream));
	listing->after = input->exclusive_start_shard_id;
	listing->after_too = input->filter.shard_id;
	return true;
}

static bool in_listing(const struct listing *listing, const struct shard_info *shard, const int64_t *ends)
{
	char name[SHARD_NAME_LEN + 1];
	shard_name(name, shard->key.shard);
	if ((str_present(listing->after) && str_compare(str_of(name), listing->after) <= 0) ||
	    (str_present(listing->after_too) && str_compare(str_of(name), listing->after_too) <= 0))
		return false;
	return filter_passes(&listing->filter, listing->stream, shard, ends, listing->horizon_ms);
}

static void list_answer(struct request *request, const struct listing *listing)
{
	const struct stream_info *stream = listing->stream;
	const int64_t *ends = shard_ends(request, stream);
	const struct shard_info *last = NULL;
	uint32_t written = 0;
	bool more = false;
	struct buf body = {0};
	struct writer w;
	writer_init(&w, request->encoding, &body);
	write_map(&w);
	write_key(&w, "Shards");
	write_list(&w);
	for (uint32_t i = 0; i < stream->n_shards && !more; i++) {
		if (!in_listing(listing, &stream->shards[i], ends))
			continue;
		more = written == listing->limit;
		if (!more) {
			last = &stream->shards[i];
			ops_shards_write(&w, last);
		}
		written++;
	}
	write_list_end(&w);
	if (more) {
		assert(last); /* the limit is at least 1 */
		struct page page = {.kind = PAGE_SHARDS,
				    .stream = stream->id,
				    .shard = last->key.shard,
				    .filter = listing->filter.type,
				    .filter_ms = listing->filter.ms};
		memcpy(page.name, stream->name, sizeof(page.name));
		ops_page_write(request, &w, &page);
	}
	write_map_end(&w);
	request_ok(request, &body);
}

void ops_shards_list(struct request *request)
{
	const struct list_shards_input *input = request->exchange->input;
	struct listing listing = {0};
	bool good = str_present(input->next_token) ? list_continue(request, input, &listing) : list_start(request, input, &listing);
	if (!good || !rates_pass(request, listing.stream->id, str_of(listing.stream->name)))
		return;
	listing.horizon_ms = ops_shards_horizon(request, listing.stream);
	listing.limit = input->max_results.has && input->max_results.v < LIST_SHARDS_MAX ? (uint32_t)input->max_results.v : LIST_SHARDS_MAX;
	list_answer(request, &listing);
}
