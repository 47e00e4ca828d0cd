/* check.c: the load client checks what it measures: each record exactly once per consumer, in order per shard. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "loadtest/load.h"

void record_stamp_write(uint8_t *p, const struct record_stamp *stamp)
{
	uint64_t counted = stamp->counted;
	memcpy(p, RECORD_MAGIC, 4);
	memcpy(p + 4, &stamp->number, 8);
	memcpy(p + 12, &stamp->sent_ns, 8);
	memcpy(p + 20, &counted, 8);
}

bool record_stamp_read(const uint8_t *p, size_t n, struct record_stamp *stamp)
{
	uint64_t counted;
	if (n < RECORD_MIN || memcmp(p, RECORD_MAGIC, 4) != 0)
		return false;
	memcpy(&stamp->number, p + 4, 8);
	memcpy(&stamp->sent_ns, p + 12, 8);
	memcpy(&counted, p + 20, 8);
	stamp->counted = counted != 0;
	return true;
}

void ledger_init(struct ledger *ledger, uint64_t numbers_max)
{
	ledger->seen = xcalloc(1, (size_t)(numbers_max / 8 + 1));
	ledger->last_sequence = xcalloc(LOAD_SHARDS_MAX, sizeof *ledger->last_sequence);
	ledger->count = 0;
}

void ledger_fini(struct ledger *ledger)
{
	free(ledger->seen);
	free(ledger->last_sequence);
}

static void book_order(struct ledger *ledger, struct tally *tally, unsigned shard, struct str sequence)
{
	char *last = ledger->last_sequence[shard];
	if (sequence.n != 56 || (last[0] && memcmp(sequence.p, last, 56) <= 0)) {
		tally->disordered++;
		return;
	}
	memcpy(last, sequence.p, 56);
}

void ledger_book(struct load *load, struct ledger *ledger, struct tally *tally, unsigned shard, struct str sequence, size_t key_len,
		 const uint8_t *data, size_t n, uint64_t at_ns, struct histogram *also)
{
	struct record_stamp stamp;
	if (!record_stamp_read(data, n, &stamp) || stamp.number >= load->numbers_max) {
		tally->errors++;
		return;
	}
	uint8_t *byte = &ledger->seen[stamp.number / 8], bit = (uint8_t)(1 << (stamp.number % 8));
	if (*byte & bit) {
		tally->doubled++;
		return;
	}
	*byte |= bit;
	book_order(ledger, tally, shard, sequence);
	ledger->count++;
	tally->records++;
	tally->bytes += n + key_len;
	if (at_ns >= load->window_begin_ns && at_ns < load->window_end_ns)
		ledger->window_bytes += n + key_len;
	if (!tally->first_ns)
		tally->first_ns = at_ns;
	tally->last_ns = at_ns;
	if (!stamp.counted)
		return;
	uint64_t answered = load->answered_ns[stamp.number];
	uint64_t latency = at_ns > stamp.sent_ns ? at_ns - stamp.sent_ns : 0;
	histogram_add(&tally->latency, latency);
	if (also)
		histogram_add(also, latency);
	histogram_add(&tally->after_answer, answered && at_ns > answered ? at_ns - answered : 0);
}

static bool tally_checked(const char *who, const struct tally *tally, uint64_t expected)
{
	if (tally->records == expected && tally->doubled == 0 && tally->disordered == 0 && tally->errors == 0)
		return true;
	printf("WRONG: %s: %" PRIu64 " of %" PRIu64 " records, %" PRIu64 " doubled, %" PRIu64 " out of order, %" PRIu64 " errors\n", who,
	       tally->records, expected, tally->doubled, tally->disordered, tally->errors);
	return false;
}

bool load_checked(struct load *load)
{
	const struct load_options *options = load->options;
	bool good = !load->failed;
	if (load->put_failed) {
		printf("WRONG: %" PRIu64 " records were refused\n", load->put_failed);
		good = false;
	}
	good &= tally_checked("pushed", &load->pushed, load->acknowledged * options->consumers);
	good &= tally_checked("polled", &load->polled, load->acknowledged * options->pollers);
	return good;
}
