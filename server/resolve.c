/* resolve.c: names, ARNs, shard names and positions of requests, resolved against the worker's snapshot of the catalogue.
 *
 * Thread: the request's worker. Nothing here waits or allocates but in the request's arena.
 *
 * - a stream: name from StreamName or behind `stream/` in the ARN; region and account of an ARN must be ours;
 * - a consumer: the same, and the number in its ARN must be that of its present incarnation;
 * - a shard: the text behind the first '-' as a number (so `abc-0` is shard 0), then the canonical name in every text;
 * - a position: type, number and time against each other, then the number against the shard.
 *
 * Fails with AWS's texts where they are known; those that are ours are marked so. */
#include "server/resolve.h"

#include <inttypes.h>
#include <stdio.h>

#include "penstock/seq.h"

/* AT_TIMESTAMP less than this ahead of our clock is not "the future": clients turn LATEST into their own now, and clocks differ. */
#define FUTURE_TOLERANCE_MS 1000

/* ---- ARNs ---- */

/* Cuts the next part off *rest, up to the next ':'. */
static bool arn_part(struct str *rest, struct str *out)
{
	const char *colon = memchr(rest->p, ':', rest->n);
	if (colon == NULL)
		return false;
	*out = (struct str){rest->p, (size_t)(colon - rest->p)};
	*rest = (struct str){colon + 1, rest->n - out->n - 1};
	return true;
}

static bool starts_with(struct str s, struct str prefix) { return s.n >= prefix.n && memcmp(s.p, prefix.p, prefix.n) == 0; }

/* NAME/consumer/CNAME:SECONDS into *out; false when the end of it is not of that form. */
static bool consumer_parse(struct str rest, struct arn *out)
{
	const char *slash = memmem(rest.p, rest.n, "/consumer/", 10);
	out->stream = slash ? (struct str){rest.p, (size_t)(slash - rest.p)} : rest;
	out->consumer = (struct str){NULL, 0};
	if (slash == NULL)
		return true;
	struct str consumer = {slash + 10, rest.n - out->stream.n - 10};
	const char *colon = memrchr(consumer.p, ':', consumer.n);
	if (colon == NULL)
		return false;
	out->consumer = (struct str){consumer.p, (size_t)(colon - consumer.p)};
	out->consumer_s = 0;
	size_t digits = consumer.n - out->consumer.n - 1;
	if (digits < 1 || digits > 18) /* 18 digits fit in 63 bits */
		return false;
	for (size_t i = 1; i <= digits; i++) {
		if (colon[i] < '0' || colon[i] > '9')
			return false;
		out->consumer_s = out->consumer_s * 10 + (colon[i] - '0');
	}
	return true;
}

bool resolve_arn(struct str text, struct arn *out)
{
	struct str rest = text, arn, partition, service;
	if (!str_present(text) || !arn_part(&rest, &arn) || !arn_part(&rest, &partition) || !arn_part(&rest, &service) ||
	    !arn_part(&rest, &out->region) || !arn_part(&rest, &out->account))
		return false;
	if (!str_equal(arn, STR("arn")) || !starts_with(partition, STR("aws")) || !str_equal(service, STR("kinesis")))
		return false;
	if (!starts_with(rest, STR("stream/")) || rest.n == 7)
		return false;
	return consumer_parse((struct str){rest.p + 7, rest.n - 7}, out);
}

static const char *partition_of(const char *region)
{
	if (strncmp(region, "cn-", 3) == 0)
		return "aws-cn";
	return strncmp(region, "us-gov-", 7) == 0 ? "aws-us-gov" : "aws";
}

struct str resolve_stream_arn(const struct server *server, struct arena *arena, struct str stream)
{
	return arena_printf(arena, "arn:%s:kinesis:%s:%s:stream/" STR_FMT, partition_of(server->region), server->region, server->account,
			    STR_ARG(stream));
}

struct str resolve_consumer_arn(const struct server *server, struct arena *arena, struct str stream, const struct consumer_info *consumer)
{
	return arena_printf(arena, "arn:%s:kinesis:%s:%s:stream/" STR_FMT "/consumer/%s:%" PRId64, partition_of(server->region),
			    server->region, server->account, STR_ARG(stream), consumer->name, consumer->created_s);
}

/* ---- Shared texts ---- */

static const char *account(const struct request *request) { return request->worker->server->account; }

void resolve_fail_stream(struct request *request, struct str stream)
{
	request_fail(request, STATUS_NOT_FOUND, "Stream " STR_FMT " under account %s not found.", STR_ARG(stream), account(request));
}

void resolve_fail_shard(struct request *request, uint32_t shard, struct str stream)
{
	char name[SHARD_NAME_LEN + 1];
	shard_name(name, shard);
	request_fail(request, STATUS_NOT_FOUND, "Shard %s in stream " STR_FMT " under account %s does not exist", name, STR_ARG(stream),
		     account(request));
}

void resolve_fail_state(struct request *request, struct str stream, const char *state)
{
	request_fail(request, STATUS_IN_USE, "Stream " STR_FMT " under account %s not ACTIVE, instead in state %s", STR_ARG(stream),
		     account(request), state);
}

void resolve_fail_room(struct request *request)
{
	request_fail(request, STATUS_DISK_FULL, "The disk of the log has reached its free-space floor; nothing was changed.");
}

void resolve_fail_rate(struct request *request, uint32_t shard, struct str stream)
{
	char name[SHARD_NAME_LEN + 1];
	shard_name(name, shard);
	request_fail(request, STATUS_THROTTLED, "Rate exceeded for shard %s in stream " STR_FMT " under account %s.", name, STR_ARG(stream),
		     account(request));
}

/* ---- Streams ---- */

static bool arn_is_ours(const struct request *request, const struct arn *arn)
{
	const struct server *server = request->worker->server;
	return str_equal(arn->region, str_of(server->region)) && str_equal(arn->account, str_of(server->account));
}

/* A stream's ARN as the client wrote it. An ARN that is well-formed by the model's loose pattern but not by ours names nothing. */
static bool stream_arn_name(struct request *request, struct str text, struct str *out)
{
	struct arn arn;
	if (!resolve_arn(text, &arn)) {
		request_fail(request, STATUS_NOT_FOUND, "Stream arn " STR_FMT " not found.", STR_ARG(text));
		return false;
	}
	if (!arn_is_ours(request, &arn)) {
		request_fail(request, STATUS_NOT_FOUND, "Stream " STR_FMT " under account " STR_FMT " not found.", STR_ARG(arn.stream),
			     STR_ARG(arn.account));
		return false;
	}
	*out = arn.stream;
	return true;
}

bool resolve_name(struct request *request, struct str name, struct str arn, struct str *out)
{
	*out = name;
	if (str_present(arn) && !stream_arn_name(request, arn, out))
		return false;
	if (str_present(name) && !str_equal(*out, name)) {
		request_fail(request, STATUS_INVALID_ARGUMENT, "StreamARN and StreamName do not match."); /* our text */
		return false;
	}
	if (!str_present(*out)) {
		request_fail(request, STATUS_INVALID_ARGUMENT, "Either StreamName or StreamARN must be provided."); /* our text */
		return false;
	}
	return true;
}

const struct stream_info *resolve_stream(struct request *request, struct str name, struct str arn)
{
	struct str stream_name;
	if (!resolve_name(request, name, arn, &stream_name))
		return NULL;
	const struct stream_info *stream = catalogue_stream(request->worker->catalogue, stream_name);
	if (stream == NULL)
		resolve_fail_stream(request, stream_name);
	return stream;
}

/* ---- Consumers ---- */

static const struct consumer_info *fail_consumer(struct request *request, struct str given)
{
	request_fail(request, STATUS_NOT_FOUND, "Consumer " STR_FMT ", account %s not found.", STR_ARG(given), account(request));
	return NULL;
}

static const struct consumer_info *consumer_by_arn(struct request *request, const struct stream_consumer_input *input,
						   const struct stream_info **stream)
{
	struct arn arn, of_stream;
	if (!resolve_arn(input->consumer_arn, &arn) || !str_present(arn.consumer) || !arn_is_ours(request, &arn))
		return fail_consumer(request, input->consumer_arn);
	bool other_name = str_present(input->consumer_name) && !str_equal(input->consumer_name, arn.consumer);
	bool other_stream =
		str_present(input->stream_arn) && (!resolve_arn(input->stream_arn, &of_stream) || !arn_is_ours(request, &of_stream) ||
						   !str_equal(of_stream.stream, arn.stream));
	if (other_name || other_stream) {
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "ConsumerARN does not match the StreamARN and ConsumerName given."); /* our text */
		return NULL;
	}
	*stream = catalogue_stream(request->worker->catalogue, arn.stream);
	if (*stream == NULL) {
		resolve_fail_stream(request, arn.stream);
		return NULL;
	}
	const struct consumer_info *consumer = stream_consumer(*stream, arn.consumer);
	return consumer && consumer->created_s == arn.consumer_s ? consumer : fail_consumer(request, input->consumer_arn);
}

const struct consumer_info *resolve_consumer(struct request *request, const struct stream_consumer_input *input,
					     const struct stream_info **stream)
{
	if (str_present(input->consumer_arn))
		return consumer_by_arn(request, input, stream);
	if (!str_present(input->stream_arn) || !str_present(input->consumer_name)) {
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "Either ConsumerARN or both StreamARN and ConsumerName must be provided."); /* our text */
		return NULL;
	}
	*stream = resolve_stream(request, (struct str){NULL, 0}, input->stream_arn);
	if (*stream == NULL)
		return NULL;
	const struct consumer_info *consumer = stream_consumer(*stream, input->consumer_name);
	return consumer ? consumer : fail_consumer(request, input->consumer_name);
}

/* ---- Shards and positions ---- */

bool resolve_shard_number(struct request *request, struct str given, struct str stream, uint32_t *out)
{
	if (shard_parse(given, out))
		return true;
	request_fail(request, STATUS_NOT_FOUND, "Could not find shard " STR_FMT " in stream " STR_FMT " under account %s.", STR_ARG(given),
		     STR_ARG(stream), account(request));
	return false;
}

/* Step 3: is there a number exactly when the type wants one? */
static bool number_fits_type(struct request *request, struct str type, struct str number, bool wanted)
{
	if (wanted == str_present(number))
		return true;
	request_fail(
		request, STATUS_INVALID_ARGUMENT,
		"Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or (2) TRIM_HORIZON or "
		"LATEST and no StartingSequenceNumber. Request specified " STR_FMT " and %s StartingSequenceNumber.",
		STR_ARG(type), wanted ? "no" : "also a");
	return false;
}

/* Steps 4 to 6: is it a number of this shard? */
static bool position_number(struct request *request, const char *operation, struct str stream, const struct shard_info *shard,
			    struct str number, bool at, struct position *out)
{
	char name[SHARD_NAME_LEN + 1];
	struct seq seq;
	shard_name(name, shard->key.shard);
	if (seq_parse(number, &seq) != STATUS_OK) {
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "StartingSequenceNumber " STR_FMT " used in %s on shard %s in stream " STR_FMT " under account %s is invalid.",
			     STR_ARG(number), operation, name, STR_ARG(stream), account(request));
		return false;
	}
	if (seq.shard != shard->key.shard) {
		/* The number inside is signed: minus and 11 digits when it is negative. */
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "Invalid StartingSequenceNumber. It encodes shardId-%012" PRId32
			     ", while it was used in a call to a shard with %s",
			     (int32_t)seq.shard, name);
		return false;
	}
	*out = position_of(&seq, at);
	if (seq.version == 2 && seq.created_s == shard->key.created_s)
		return true;
	if (seq.version == 0)
		request_fail_bare(request, STATUS_INTERNAL); /* as recorded from AWS */
	else
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "StartingSequenceNumber " STR_FMT " used in %s on shard %s in stream " STR_FMT
			     " under account %s is invalid because it did not come from this stream.",
			     STR_ARG(number), operation, name, STR_ARG(stream), account(request));
	return false;
}

/* Step 7. */
static bool position_time(struct request *request, struct opt_time time, int64_t *ms)
{
	int64_t now_ms = io_wall_ms(request->worker->server->io);
	if (!time.has) {
		request_fail(request, STATUS_INVALID_ARGUMENT,
			     "Must specify timestampInMillis parameter for iterator of type AT_TIMESTAMP. Current request has no timestamp "
			     "parameter.");
		return false;
	}
	/* An arrival time from before the clock was set back is no time of the future. */
	if (time.ms >= 0 && time.ms - now_ms >= FUTURE_TOLERANCE_MS && time.ms > store_latest_ms(request->worker->server->store)) {
		request_fail(
			request, STATUS_INVALID_ARGUMENT,
			"The timestampInMillis parameter cannot be greater than the currentTimestampInMillis. timestampInMillis: %" PRId64
			", currentTimestampInMillis: %" PRId64,
			time.ms, now_ms);
		return false;
	}
	*ms = time.ms;
	return true;
}

bool resolve_position(struct request *request, const char *operation, struct str stream, const struct shard_info *shard, struct str type,
		      struct str number, struct opt_time time, struct position *out)
{
	*out = (struct position){0};
	if (str_equal(type, STR("AT_TIMESTAMP"))) {
		out->kind = POSITION_AT_TIME;
		return position_time(request, time, &out->time_ms);
	}
	bool at = str_equal(type, STR("AT_SEQUENCE_NUMBER")), after = str_equal(type, STR("AFTER_SEQUENCE_NUMBER"));
	if (!number_fits_type(request, type, number, at || after))
		return false;
	if (!at && !after) {
		out->kind = str_equal(type, STR("LATEST")) ? POSITION_LATEST : POSITION_TRIM_HORIZON;
		return true;
	}
	return position_number(request, operation, stream, shard, number, at, out);
}

bool resolve_dry_run(struct request *request, struct opt_bool dry_run)
{
	if (!dry_run.has || !dry_run.v)
		return false;
	/* Our text, after EC2's. */
	request_fail(request, STATUS_DRY_RUN, "Request would have succeeded, but DryRun flag is set.");
	return true;
}
