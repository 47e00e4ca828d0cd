/* fuzz_seq.c: any text as a sequence number, a hash key and a shard name; and any fields through their formats.
 *
 * Oracles: what parses comes back the same from its own format; formats parse; the index alone decides the order in a shard. */
#include <assert.h>

#include "penstock/seq.h"

static void same_again(const struct seq *seq)
{
	char text[SEQ_DIGITS];
	struct shard_key shard = {.shard = seq->shard, .created_s = seq->created_s};
	struct seq again;
	seq_format(text, &shard, seq->index, seq->time_s);
	assert(seq_parse((struct str){text, SEQ_DIGITS}, &again) == STATUS_OK);
	assert(again.version == 2 && again.created_s == seq->created_s && again.shard == seq->shard && again.index == seq->index &&
	       again.time_s == seq->time_s);
}

static void as_text(struct str text)
{
	struct seq seq;
	uint32_t shard;
	uint128 hash, again;
	enum status status = seq_parse(text, &seq);
	assert(status == STATUS_OK || status == STATUS_INVALID_ARGUMENT);
	if (status == STATUS_OK) {
		assert(seq.version >= 0 && seq.version <= 2 && seq.index <= SEQ_INDEX_MAX);
		if (seq.version == 2)
			same_again(&seq);
	}
	if (shard_parse(text, &shard)) {
		char name[SHARD_NAME_LEN + 1];
		uint32_t number;
		assert(shard <= 2147483647);
		shard_name(name, shard);
		assert(shard_parse((struct str){name, SHARD_NAME_LEN}, &number) && number == shard);
	}
	if (hash_parse(text, &hash)) {
		char digits[HASH_DIGITS];
		size_t n = hash_format(digits, hash);
		assert(n >= 1 && n <= HASH_DIGITS && hash_parse((struct str){digits, n}, &again) && again == hash);
	}
}

struct fields {
	uint64_t created_s, time_s, index, other;
	uint32_t shard;
};

static void as_fields(const uint8_t *data)
{
	struct fields fields;
	char text[SEQ_DIGITS], other[SEQ_DIGITS];
	memcpy(&fields, data, sizeof(fields));
	struct seq seq = {.created_s = (int64_t)(fields.created_s % (uint64_t)SEQ_SECONDS_MAX),
			  .time_s = (int64_t)(fields.time_s % (uint64_t)SEQ_SECONDS_MAX),
			  .index = fields.index & SEQ_INDEX_MAX,
			  .shard = fields.shard & INT32_MAX};
	struct shard_key shard = {.shard = seq.shard, .created_s = seq.created_s};
	same_again(&seq);
	seq_format(text, &shard, seq.index, seq.time_s);
	seq_format(other, &shard, fields.other & SEQ_INDEX_MAX, 0);
	int order = memcmp(text, other, SEQ_DIGITS);
	assert(seq.index == (fields.other & SEQ_INDEX_MAX) || (order < 0) == (seq.index < (fields.other & SEQ_INDEX_MAX)));
	uint128 hash, again;
	char digits[HASH_DIGITS];
	memcpy(&hash, data, sizeof(hash));
	size_t n = hash_format(digits, hash);
	assert(hash_parse((struct str){digits, n}, &again) && again == hash);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	as_text((struct str){(const char *)data, n});
	if (n >= sizeof(struct fields))
		as_fields(data);
	return 0;
}
