/* sim_event.c: what one message of a subscription says, against what it must say.
 *
 * - The records follow each other and the last one seen, and are the ones that were put.
 * - The bytes equal a reference encoding: a batch made of just these records and encoded anew; only MillisBehindLatest may differ.
 * - A continuation names the last record, or a position behind it, and nothing that is not durable; it lies above the one before, and
 *   above what the subscription was resumed from.
 * - The first message is the initial-response, once; an exception or the end of the shard comes last. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/value.h"
#include "penstock/writer.h"
#include "tests/sim/sim.h"

#define BEHIND ",\"MillisBehindLatest\":"

/* A sequence number of the client's shard. */
static bool parse_number(struct sim_client *client, const struct value *value, struct seq *seq)
{
	if (!value || value->kind != VALUE_STRING || seq_parse(value->str, seq) || seq->version != 2 ||
	    seq->shard != client->shard->number || seq->created_s != client->sub.shard.created_s) {
		sim_fail(client->sim, "event: no sequence number of shard %u", client->shard->number);
		return false;
	}
	return true;
}

/* The head of a reference: everything up to the trailer. */
static void check_head(struct sim_client *client, const uint8_t *p, size_t n, const uint8_t *reference, size_t head_len)
{
	if (n != head_len + MESSAGE_TRAILER || memcmp(p, reference, head_len) != 0)
		sim_fail(client->sim, "event: shard %u: bytes differ from the reference encoding", client->shard->number);
}

/* Number, blanks up to the fixed width, brace: what eventstream_decode (CRC) and the JSON parser leave open. */
static void check_trailer(struct sim_client *client, const struct eventstream_view *view, int64_t behind)
{
	char want[MESSAGE_TRAILER];
	int n = snprintf(want, sizeof(want), BEHIND "%-20lld}", (long long)behind);
	if (n != MESSAGE_TRAILER - 4 || view->payload.n < (size_t)n || memcmp(view->payload.p + view->payload.n - n, want, (size_t)n) != 0)
		sim_fail(client->sim, "event: the trailer is not of its fixed form");
	if (behind > 0 && client->expected - 1 > client->shard->behind_max)
		client->shard->behind_max = client->expected - 1;
	if (behind < 0)
		sim_fail(client->sim, "event: MillisBehindLatest is negative");
}

/* ---- Records ---- */

static bool parse_record(struct sim_client *client, const struct value *value, struct record *record, uint8_t *data)
{
	struct seq seq;
	const struct value *arrival = value_member(value, STR("ApproximateArrivalTimestamp"));
	const struct value *blob = value_member(value, STR("Data")), *key = value_member(value, STR("PartitionKey"));
	size_t n;
	if (!parse_number(client, value_member(value, STR("SequenceNumber")), &seq))
		return false;
	if (!arrival || arrival->kind != VALUE_DOUBLE || !blob || blob->kind != VALUE_STRING || !key || key->kind != VALUE_STRING ||
	    !base64_decode(blob->str, data, &n)) {
		sim_fail(client->sim, "event: a record's members are not what they should be");
		return false;
	}
	*record = (struct record){
		.index = seq.index, .arrival_ms = llround(arrival->number * 1000), .key = key->str, .data = {(const char *)data, n}};
	return true;
}

/* The same records, encoded anew. */
static void check_reference(struct sim_client *client, struct batch *batch, const uint8_t *p, size_t n)
{
	if (message_encode(batch) != STATUS_OK || batch->n_messages != 1)
		sim_fail(client->sim, "event: %u records from %llu are cut in %u events", batch->count, (unsigned long long)batch->first,
			 batch->n_messages);
	else
		check_head(client, p, n, batch->messages[0]->head, batch->messages[0]->head_len);
}

static void check_records(struct sim_client *client, const struct value *list, const uint8_t *p, const struct eventstream_view *view)
{
	struct sim *sim = client->sim;
	struct batch *batch = batch_new(&client->sub.shard);
	uint8_t *data = xmalloc(view->payload.n);
	for (const struct value *value = list->first; value && !sim->failed; value = value->next) {
		struct record record;
		if (!parse_record(client, value, &record, data))
			break;
		if (batch->count == 0) {
			batch->first = record.index;
			batch->arrival_ms = record.arrival_ms;
			if (record.index > client->expected)
				sim_observe_gap(sim, client->shard, client->expected, record.index, "push");
			else if (record.index < client->expected)
				sim_fail(sim, "push: shard %u: %llu again, %llu was due", client->shard->number,
					 (unsigned long long)record.index, (unsigned long long)client->expected);
		} else if (record.index != client->expected) {
			sim_fail(sim, "push: shard %u: %llu where %llu was due", client->shard->number, (unsigned long long)record.index,
				 (unsigned long long)client->expected);
		}
		sim_observe(sim, client->shard, &record, "push");
		batch_append(batch, record.key, record.data);
		client->expected = record.index + 1;
		sim->count.records++;
	}
	client->payload += batch->payload;
	if (batch->payload > client->payload_max)
		client->payload_max = batch->payload;
	if (!sim->failed)
		check_reference(client, batch, p, view->total);
	batch_unref(batch);
	free(data);
}

/* ---- Events ---- */

static void check_empty(struct sim_client *client, const struct seq *seq, const uint8_t *p, const struct eventstream_view *view)
{
	static const char before[] = "{\"Records\":[],\"ContinuationSequenceNumber\":\"";
	uint8_t head[512];
	size_t front = eventstream_begin(head, EVENTSTREAM_EVENT, (struct str){0}, sizeof(before) + SEQ_DIGITS + MESSAGE_TRAILER - 4);
	memcpy(head + front, before, sizeof(before) - 1);
	front += sizeof(before) - 1;
	seq_format_position((char *)head + front, &client->sub.shard, seq->index, seq->time_s);
	front += SEQ_DIGITS;
	head[front++] = '"';
	check_head(client, p, view->total, head, front);
	client->sim->count.heartbeats++;
	/* The cursor may have been led over what retention took before there is a record to show it. */
	if (seq->index >= client->expected) {
		sim_observe_gap(client->sim, client->shard, client->expected, seq->index + 1, "empty event");
		client->expected = seq->index + 1;
	}
}

static bool above(const struct seq *seq, const struct seq *floor)
{
	if (seq->index != floor->index)
		return seq->index > floor->index;
	if (seq->position != floor->position)
		return seq->position;
	return seq->time_s > floor->time_s;
}

static void tell(struct sim_client *client, const struct seq *seq, bool records)
{
	if (seq->position == records)
		sim_fail(client->sim, "event: with records the continuation names the last one, else a position");
	if (client->floored && !above(seq, &client->floor))
		sim_fail(client->sim, "event: continuation %llu does not lie above the one before", (unsigned long long)seq->index);
	client->floor = *seq;
	client->floored = true;
	if (seq->index != client->expected - 1)
		sim_fail(client->sim, "event: continuation %llu, the last record is %llu", (unsigned long long)seq->index,
			 (unsigned long long)client->expected - 1);
	if (seq->index > sim_durable_end(client->sim, client->shard) && sim_at_lane(client->sim, client->shard))
		sim_fail(client->sim, "event: continuation %llu is not durable", (unsigned long long)seq->index);
	client->told[client->n_told++ % SIM_CONTINUATIONS] = *seq;
}

/* ---- The end of a shard ---- */

static bool names_shard(const struct value *value, uint32_t number)
{
	uint32_t named;
	return value && value->kind == VALUE_STRING && shard_parse(value->str, &named) && named == number;
}

static bool says_hash(const struct value *range, struct str member, uint128 hash)
{
	const struct value *value = value_member(range, member);
	uint128 said;
	return value && value->kind == VALUE_STRING && hash_parse(value->str, &said) && said == hash;
}

/* Is it that child, with its parents in their order and its range? */
static bool is_child(const struct value *value, const struct sim_shard *child)
{
	const struct value *parents = value_member(value, STR("ParentShards")), *range = value_member(value, STR("HashKeyRange"));
	if (!names_shard(value_member(value, STR("ShardId")), child->number) || !parents || parents->kind != VALUE_LIST || !range ||
	    !parents->first || !names_shard(parents->first, child->info.parent))
		return false;
	bool merged = child->info.adjacent != NO_PARENT;
	if (parents->n != 1u + merged || (merged && !names_shard(parents->first->next, child->info.adjacent)))
		return false;
	return says_hash(range, STR("StartingHashKey"), child->info.hash_first) &&
	       says_hash(range, STR("EndingHashKey"), child->info.hash_last);
}

/* Each child that there is, in order, and nothing else. */
static void check_children(struct sim_client *client, const struct value *list)
{
	struct sim_stream *stream = client->shard->stream;
	const struct value *value = list->kind == VALUE_LIST ? list->first : NULL;
	unsigned n = 0, told = 0;
	for (uint32_t i = 0; i < stream->n_shards; i++) {
		struct sim_shard *child = &stream->shards[i];
		if (!child->known || (child->info.parent != client->shard->number && child->info.adjacent != client->shard->number))
			continue;
		if (value && is_child(value, child)) {
			value = value->next;
			told++;
			if (rng_below(&client->sim->rng, ++n) == 0)
				client->heir = child;
		} else if (!child->expired) {
			sim_fail(client->sim, "event: shard %u ends without its child %u", client->shard->number, child->number);
		}
	}
	if (value || told == 0)
		sim_fail(client->sim, "event: shard %u ends with other children than it has", client->shard->number);
}

/* Children, and no continuation. */
static void check_final(struct sim_client *client, const struct value *children)
{
	const struct shard_info *info = &client->shard->info;
	uint64_t end = info->end_index;
	if (!info->closed || client->expected > end + 1)
		sim_fail(client->sim, "event: shard %u, %s, ends at %llu, %llu was due", client->shard->number,
			 info->closed ? "closed" : "open", (unsigned long long)end, (unsigned long long)client->expected);
	sim_observe_gap(client->sim, client->shard, client->expected, end + 1, "end of shard");
	check_children(client, children);
	client->over = true;
	client->sim->count.finals++;
}

static void check_event(struct sim_client *client, const uint8_t *p, const struct eventstream_view *view)
{
	struct sim *sim = client->sim;
	struct arena arena = {0};
	struct value *root;
	if (value_decode(ENCODING_JSON, (const uint8_t *)view->payload.p, view->payload.n, &arena, &root) || root->kind != VALUE_MAP) {
		sim_fail(sim, "event: its payload is not JSON");
		goto out;
	}
	const struct value *records = value_member(root, STR("Records")), *behind = value_member(root, STR("MillisBehindLatest"));
	const struct value *next = value_member(root, STR("ContinuationSequenceNumber")),
			   *children = value_member(root, STR("ChildShards"));
	if (!records || records->kind != VALUE_LIST || !behind || behind->kind != VALUE_INT || !next == !children) {
		sim_fail(sim, "event: Records, MillisBehindLatest, and either a continuation or children belong in it");
		goto out;
	}
	if (children) {
		check_final(client, children);
		goto out;
	}
	struct seq seq;
	if (!parse_number(client, next, &seq))
		goto out;
	if (records->n)
		check_records(client, records, p, view);
	else
		check_empty(client, &seq, p, view);
	tell(client, &seq, records->n > 0);
	check_trailer(client, view, behind->integer);
	sim->count.events++;
out:
	arena_free(&arena);
}

static void check_exception(struct sim_client *client, const struct eventstream_view *view)
{
	struct sim *sim = client->sim;
	bool expected = str_equal(view->exception_type, STR("ResourceInUseException")) ||
			(str_equal(view->exception_type, STR("ResourceNotFoundException")) &&
			 (sim_client_dropped(client) || sim_shard_may_be_gone(sim, client->shard)));
	if (!expected && !sim_broken(sim))
		sim_fail(sim, "subscription of shard %u ends with " STR_FMT ": " STR_FMT, client->shard->number,
			 STR_ARG(view->exception_type), STR_ARG(view->payload));
	client->over = true;
}

void sim_check_message(struct sim_client *client, const uint8_t *p, const struct eventstream_view *view)
{
	struct sim *sim = client->sim;
	client->heard_ns = io_mono_ns(sim->io);
	bool initial = str_equal(view->event_type, STR("initial-response"));
	if (client->over)
		sim_fail(sim, "event: something follows the last words");
	else if (initial == client->greeted)
		sim_fail(sim, "event: the initial-response comes first, and once");
	else if (initial)
		client->greeted = true;
	else if (str_equal(view->message_type, STR("exception")))
		check_exception(client, view);
	else
		check_event(client, p, view);
}
