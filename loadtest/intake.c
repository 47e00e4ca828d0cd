/* intake.c: the receiving end of one consumer or poller, and the proof: each acknowledged record exactly once, in order per shard.
 *
 * Happy path, per record: its stamp names the run and its number; `seen` counts it; its sequence number lies behind the shard's last one;
 * its latency is booked.
 *
 * A put whose answer was lost is put again, so its records may be in the stream as often as they were sent: such a double is the
 * producer's, and counted apart. Any other second sight is the server's, and so is a record that stands before one already received.
 *
 * Failure modes: data that is not base64, or has no stamp of ours, is damaged; a record of another run is left alone. An endpoint whose
 * CBOR nobody could read ends the run: some emulators have text where bytes belong. */
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/run.h"
#include "penstock/writer.h"

#define COUNTED 1u

void record_stamp_write(uint8_t *p, const struct record_stamp *stamp)
{
	uint32_t flags = stamp->counted ? COUNTED : 0;
	memcpy(p, RECORD_MAGIC, 4);
	memcpy(p + 4, &stamp->number, 8);
	memcpy(p + 12, &stamp->sent_ns, 8);
	memcpy(p + 20, &stamp->epoch, 4);
	memcpy(p + 24, &flags, 4);
}

bool record_stamp_read(const uint8_t *p, size_t n, struct record_stamp *stamp)
{
	uint32_t flags;
	if (n < RECORD_MIN || memcmp(p, RECORD_MAGIC, 4) != 0)
		return false;
	memcpy(&stamp->number, p + 4, 8);
	memcpy(&stamp->sent_ns, p + 12, 8);
	memcpy(&stamp->epoch, p + 20, 4);
	memcpy(&flags, p + 24, 4);
	stamp->counted = flags & COUNTED;
	return true;
}

void intake_init(struct intake *intake, struct run *run, struct side *side, struct histogram *second)
{
	*intake = (struct intake){.run = run, .side = side, .second = second, .receiver = &side->each[side->receivers++]};
	intake->seen = xcalloc(1, (size_t)run->book.max);
	intake->last_sequence = xcalloc(LOAD_SHARDS_MAX, sizeof *intake->last_sequence);
}

void intake_fini(struct intake *intake)
{
	free(intake->seen);
	free(intake->last_sequence);
}

/* Decimal numbers without leading zeros: penstock's and AWS's have one width, emulators' may not. */
static int number_compare(struct str a, struct str b)
{
	if (a.n != b.n)
		return a.n < b.n ? -1 : 1;
	return memcmp(a.p, b.p, a.n);
}

/* Raises *last to the number; false: it is no larger. */
static bool raise(char last[SEQUENCE_MAX + 1], struct str sequence)
{
	if (sequence.n == 0 || sequence.n > SEQUENCE_MAX || number_compare(str_of(last), sequence) >= 0)
		return false;
	memcpy(last, sequence.p, sequence.n);
	last[sequence.n] = '\0';
	return true;
}

/* False: it does not lie behind the shard's last one. */
static bool in_order(struct intake *intake, unsigned shard, struct str sequence) { return raise(intake->last_sequence[shard], sequence); }

void book_retried(struct book *book, unsigned shard, struct str sequence) { raise(book->retried[shard], sequence); }

static void book_bytes(struct intake *intake, uint64_t bytes, uint64_t at_ns)
{
	const struct run *run = intake->run;
	intake->side->records++;
	intake->side->bytes += bytes;
	intake->receiver->records++;
	intake->receiver->bytes += bytes;
	intake->second_bytes += bytes;
	if (at_ns >= run->window_begin_ns && at_ns < run->window_end_ns)
		intake->window_bytes += bytes;
	if (!intake->first_ns)
		intake->first_ns = at_ns;
	intake->last_ns = at_ns;
}

static void book_latency(struct intake *intake, const struct record_stamp *stamp, uint64_t at_ns, bool measured)
{
	uint64_t answered = intake->run->book.answered_ns[stamp->number];
	uint64_t latency = at_ns > stamp->sent_ns ? at_ns - stamp->sent_ns : 0;
	if (!measured)
		return;
	histogram_add(intake->second, latency);
	if (!stamp->counted)
		return;
	histogram_add(&intake->side->latency, latency);
	histogram_add(&intake->side->after_answer, answered && at_ns > answered ? at_ns - answered : 0);
}

/* The first one of a side is named. */
static void damaged(struct intake *intake, struct str sequence, const char *how)
{
	if (intake->side->damaged++ == 0)
		fprintf(stderr, "penstock-load: %s: record " STR_FMT " is damaged: %s\n", intake->receiver->name, STR_ARG(sequence), how);
}

void intake_unreadable(struct intake *intake, const char *operation, const char *how)
{
	struct run *run = intake->run;
	char *why = run->regime->unreadable;
	if (why[0])
		return;
	snprintf(why, sizeof run->regime->unreadable, "%s: the endpoint's CBOR answer could not be read: %s; try --format json", operation,
		 how);
	fprintf(stderr, "penstock-load: %s\n", why);
	run->failed = true;
}

static void data_wrong(struct intake *intake, struct str sequence, enum encoding encoding)
{
	char how[SEQUENCE_MAX + 64];
	if (encoding == ENCODING_JSON) {
		damaged(intake, sequence, "its Data is no base64");
		return;
	}
	snprintf(how, sizeof how, "the Data of record %.*s is no byte string", (int)(sequence.n < SEQUENCE_MAX ? sequence.n : SEQUENCE_MAX),
		 sequence.p);
	intake_unreadable(intake, "GetRecords", how);
}

/* `key_len`: the partition key counts, as the limits count it. */
static void book(struct intake *intake, unsigned shard, struct str sequence, size_t key_len, const uint8_t *data, size_t n, uint64_t at_ns,
		 bool measured)
{
	struct run *run = intake->run;
	struct record_stamp stamp;
	bool existing = run->load->options->existing;
	if (!record_stamp_read(data, n, &stamp)) {
		damaged(intake, sequence, "it has no stamp of penstock-load's");
		return;
	}
	if (stamp.epoch != run->epoch && !existing)
		return;
	if (stamp.number >= (existing ? run->book.max : run->numbers)) {
		damaged(intake, sequence, "its number was never put");
		return;
	}
	uint8_t *seen = &intake->seen[stamp.number], sends = existing ? 1 : run->book.sends[stamp.number];
	if (*seen < UINT8_MAX)
		++*seen;
	if (*seen > sends) {
		intake->side->doubled++;
		return;
	}
	if (!in_order(intake, shard, sequence))
		intake->side->disordered++;
	book_bytes(intake, n + key_len, at_ns);
	if (*seen > 1) {
		intake->side->put_twice++;
		return;
	}
	intake->unique++;
	book_latency(intake, &stamp, at_ns, measured);
}

void intake_records(struct intake *intake, unsigned shard, const struct value *records, enum encoding encoding, uint64_t at_ns,
		    bool measured)
{
	for (const struct value *record = records->first; record; record = record->next) {
		const struct value *data = value_member(record, STR("Data"));
		struct str sequence = text_member(record, "SequenceNumber"), key = text_member(record, "PartitionKey");
		size_t n;
		if (data && encoding == ENCODING_CBOR && data->kind == VALUE_BYTES)
			book(intake, shard, sequence, key.n, (const uint8_t *)data->str.p, data->str.n, at_ns, measured);
		else if (data && encoding == ENCODING_JSON && data->kind == VALUE_STRING &&
			 base64_decode(data->str, (uint8_t *)(uintptr_t)data->str.p, &n))
			book(intake, shard, sequence, key.n, (const uint8_t *)data->str.p, n, at_ns, measured);
		else
			data_wrong(intake, sequence, encoding);
	}
}

/* ---- The proof ------------------------------------------------------------------------------------------------------ */

static uint64_t missing(const struct intake *intake, bool one_is_enough)
{
	const struct book *book = &intake->run->book;
	uint64_t n = 0;
	for (uint64_t i = 0; i < intake->run->numbers; i++)
		if (book->answered_ns[i] && !intake->seen[i]) {
			n++;
			if (one_is_enough)
				break;
		}
	return n;
}

/* The copy that was acknowledged is the last of its record, so a receiver that has passed the largest
 * of them in each shard has seen every double. */
static bool past_retried(const struct intake *intake)
{
	const struct book *book = &intake->run->book;
	for (unsigned i = 0; i < LOAD_SHARDS_MAX; i++)
		if (number_compare(str_of(intake->last_sequence[i]), str_of(book->retried[i])) < 0)
			return false;
	return true;
}

bool intake_complete(const struct intake *intake)
{
	/* The first is cheap, and the others cannot hold without it. */
	return intake->unique >= intake->run->regime->acknowledged && missing(intake, true) == 0 && past_retried(intake);
}

void intake_judge(struct intake *intake, uint64_t most)
{
	if (intake->run->load->options->existing)
		intake->side->missing += most - intake->unique;
	else
		intake->side->missing += missing(intake, false);
}
