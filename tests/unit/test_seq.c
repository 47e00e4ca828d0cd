/* test_seq.c: sequence numbers against recorded vectors and a plain long division; hash keys; shard names; statuses. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "penstock/seq.h"

static const char *number(int64_t created_s, uint32_t shard, uint64_t index, int64_t time_s)
{
	static char text[SEQ_DIGITS + 1];
	struct shard_key key = {.shard = shard, .created_s = created_s};
	seq_format(text, &key, index, time_s);
	return text;
}

Test(seq, recorded_vectors)
{
	cr_assert_str_eq(number(1600000000, 0, 0, 1600000000), "49610756384790827419890419256589692040303913337075269634");
	cr_assert_str_eq(number(1600000000, 1, 0, 1600000000), "49610756384813128165088949879731227758576561698581250066");
	cr_assert_str_eq(number(1600000000, 17, 0, 1600000000), "49610756384813128165088949879731227758576561698581250322");
	cr_assert_str_eq(number(1600000000, 0, 1, 1600000005), "49610756384790827419890419256590900966123528309847359490");
	cr_assert_str_eq(number(1600000000, 0, SEQ_INDEX_MAX, 1600001000), "49610756384801977792489684568159250973620691608130289666");
	cr_assert_str_eq(number(1600001001, 2, 0, 1600001001), "49610756742004164009953940737708827331585436728065785890");
}

/* The same by schoolbook: hex digits to decimal, one at a time. */
static void by_school(char out[SEQ_DIGITS + 1], const struct shard_key *key, uint64_t index, int64_t time_s)
{
	char hex[64];
	snprintf(hex, sizeof(hex), "2%09lx%x%016lx00%09lx%08x2", (unsigned long)key->created_s, key->shard & 15, (unsigned long)index,
		 (unsigned long)time_s, key->shard);
	cr_assert_eq(strlen(hex), 47);
	unsigned decimal[SEQ_DIGITS] = {0}; /* least first */
	for (const char *p = hex; *p; p++) {
		unsigned carry = (unsigned)(*p <= '9' ? *p - '0' : *p - 'a' + 10);
		for (int i = 0; i < SEQ_DIGITS; i++) {
			carry += decimal[i] * 16;
			decimal[i] = carry % 10;
			carry /= 10;
		}
		cr_assert_eq(carry, 0);
	}
	for (int i = 0; i < SEQ_DIGITS; i++)
		out[SEQ_DIGITS - 1 - i] = (char)('0' + decimal[i]);
	out[SEQ_DIGITS] = '\0';
}

Test(seq, format_and_parse_agree_with_schoolbook)
{
	srandom(1);
	for (int round = 0; round < 20000; round++) {
		uint64_t bits = (uint64_t)random() << 40 ^ (uint64_t)random() << 20 ^ (uint64_t)random();
		struct shard_key key = {.shard = (uint32_t)random() >> random() % 32, .created_s = random() % SEQ_SECONDS_MAX};
		uint64_t index = (bits >> random() % 63) & SEQ_INDEX_MAX;
		int64_t time_s = (int64_t)(bits % SEQ_SECONDS_MAX);
		char want[SEQ_DIGITS + 1], got[SEQ_DIGITS + 1];
		by_school(want, &key, index, time_s);
		got[SEQ_DIGITS] = '\0';
		seq_format(got, &key, index, time_s);
		cr_assert_str_eq(got, want);
		struct seq seq;
		cr_assert_eq(seq_parse(str_of(got), &seq), STATUS_OK);
		cr_assert_eq(seq.version, 2);
		cr_assert_eq(seq.created_s, key.created_s);
		cr_assert_eq(seq.shard, key.shard);
		cr_assert_eq(seq.index, index);
		cr_assert_eq(seq.time_s, time_s);
		cr_assert_not(seq.position);
	}
}

Test(seq, order_follows_the_index)
{
	struct shard_key key = {.shard = 5, .created_s = 1600000000};
	char before[SEQ_DIGITS], after[SEQ_DIGITS];
	for (uint64_t index = 0; index < 100000; index += 997) {
		seq_format(before, &key, index, 1700000000);
		seq_format(after, &key, index + 1, 1600000000); /* the clock went back */
		cr_assert_lt(memcmp(before, after, SEQ_DIGITS), 0);
	}
}

/* A position lies between the record of its index and the next, whatever the seconds of all three. */
Test(seq, positions_lie_between_records)
{
	struct shard_key key = {.shard = 5, .created_s = 1600000000};
	char record[SEQ_DIGITS], low[SEQ_DIGITS + 1] = "", high[SEQ_DIGITS + 1] = "", next[SEQ_DIGITS];
	for (uint64_t index = 0; index < 100000; index += 997) {
		seq_format(record, &key, index, SEQ_TIME_MAX);
		seq_format_position(low, &key, index, 1600000000);
		seq_format_position(high, &key, index, SEQ_TIME_MAX);
		seq_format(next, &key, index + 1, 0);
		cr_assert(memcmp(record, low, SEQ_DIGITS) < 0 && memcmp(low, high, SEQ_DIGITS) < 0 && memcmp(high, next, SEQ_DIGITS) < 0);
		struct seq seq;
		cr_assert(seq_parse(str_of(high), &seq) == STATUS_OK && seq.position && seq.version == 2);
		cr_assert(seq.index == index && seq.time_s == SEQ_TIME_MAX && seq.shard == 5 && seq.created_s == 1600000000);
	}
}

static bool parses(const char *text)
{
	struct seq seq;
	return seq_parse(str_of(text), &seq) == STATUS_OK;
}

Test(seq, what_is_no_number)
{
	static const char *const bad[] = {
		"", "00", "01", "-1", "+1", " 1", "1 ", "0x1", "1.0", "abc",
		/* 2^129 */
		"680564733841876926926749214863536422912",
		/* 2^185 - 1, 2^185 */
		"49039857307708443467467104868809893875799651909875269631", "49039857307708443467467104868809893875799651909875269632",
		/* 1.5 * 2^185 and one digit more than any */
		"73559785961562665201200657303214840813699477864812904448", "496107563847908274198904192565896920403039133370752696340",
		/* versions 0 and 3 in a number of 186 bits */
		"49610756384790827419890419256589692040303913337075269632", "49610756384790827419890419256589692040303913337075269635"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(!parses(bad[i]), "%s", bad[i]);
	char digits[130];
	memset(digits, '9', 129);
	digits[129] = '\0';
	cr_assert(!parses(digits));
	cr_assert_eq(STATUS_INVALID_ARGUMENT, seq_parse((struct str){NULL, 0}, &(struct seq){0}));
}

Test(seq, index_and_second_out_of_range)
{
	struct seq seq;
	cr_assert_eq(seq_parse(str_of(number(1600000000, 0, SEQ_INDEX_MAX, 1600001000)), &seq), STATUS_OK);
	cr_assert_eq(seq.index, SEQ_INDEX_MAX);
	cr_assert(!parses("49610756384801977792489684568160459899440237517828259842"), "index 2^63");
	cr_assert(parses("54757830818341439203525169363663526790224514067453706242"));
	cr_assert(!parses("54757830818698251126701659333928098282586887920268869634"), "creation second 16025175000");
}

static void expect_parsed(const char *text, int version, int64_t created_s, uint32_t shard, uint64_t index, int64_t time_s)
{
	struct seq seq;
	cr_assert_eq(seq_parse(str_of(text), &seq), STATUS_OK, "%s", text);
	cr_assert_eq(seq.version, version);
	cr_assert_eq(seq.created_s, created_s);
	cr_assert_eq(seq.shard, shard);
	cr_assert_eq(seq.index, index);
	cr_assert_eq(seq.time_s, time_s);
}

Test(seq, older_versions)
{
	expect_parsed("0", 0, 0, 0, 0, 0);
	/* version 0, hex 1 05f5e1000 00 0123456789abcdef 0007: as it is, less 2^124, and with a digit more */
	expect_parsed("21762823948272811449424205385770663943", 0, 1600000000, 7, 0, 1600000000);
	expect_parsed("495176015714157482963292421285150727", 0, 1600000000, 7, 0, 1600000000);
	expect_parsed("348205183172364983190787286172330623088", 0, 1600000000, 7, 0, 1600000000);
	/* version 1, hex 2 05f5e1000 5 00 05f5e1005 00000000000000 2a 00000015 1 */
	expect_parsed("49610756384902333174124039075717414057588131338339221841", 1, 1600000000, 21, 42, 1600000005);
}

/* ---- Hash keys ---- */

static void expect_hash(uint128 hash, const char *want)
{
	char text[HASH_DIGITS + 1];
	text[hash_format(text, hash)] = '\0';
	cr_assert_str_eq(text, want);
	uint128 back;
	cr_assert(hash_parse(str_of(want), &back));
	cr_assert(back == hash);
}

Test(seq, hash_keys)
{
	expect_hash(0, "0");
	expect_hash(9, "9");
	expect_hash(10, "10");
	expect_hash(~(uint128)0, "340282366920938463463374607431768211455");
	expect_hash((uint128)1 << 64, "18446744073709551616");
	expect_hash(UINT64_C(10000000000000000000), "10000000000000000000");
	uint128 hash;
	cr_assert(!hash_parse(STR("340282366920938463463374607431768211456"), &hash));
	cr_assert(!hash_parse(STR("999999999999999999999999999999999999999"), &hash));
	cr_assert(!hash_parse(STR("1000000000000000000000000000000000000000"), &hash));
	cr_assert(!hash_parse(STR(""), &hash));
	cr_assert(!hash_parse(STR("12a"), &hash));
	cr_assert(!hash_parse(STR("-1"), &hash));
	uint128 x = 1;
	for (int i = 0; i < 3000; i++) {
		char text[HASH_DIGITS];
		x = x * 6364136223846793005u + 1442695040888963407u;
		uint128 value = x >> i % 128;
		size_t n = hash_format(text, value);
		cr_assert(hash_parse((struct str){text, n}, &hash) && hash == value);
	}
}

Test(seq, uniform_ranges)
{
	expect_hash(hash_uniform_start(0, 1), "0");
	expect_hash(hash_uniform_start(1, 2), "170141183460469231731687303715884105728");
	expect_hash(hash_uniform_start(1, 3) - 1, "113427455640312821154458202477256070484");
	expect_hash(hash_uniform_start(2, 3) - 1, "226854911280625642308916404954512140969");
	expect_hash(hash_uniform_start(1, 4) - 1, "85070591730234615865843651857942052863");
	expect_hash(hash_uniform_start(2, 4) - 1, "170141183460469231731687303715884105727");
	expect_hash(hash_uniform_start(3, 4) - 1, "255211775190703847597530955573826158591");
	expect_hash(hash_uniform_start(1, 7) - 1, "48611766702991209066196372490252601635");
}

/* ---- Shards ---- */

Test(seq, shard_names)
{
	char name[SHARD_NAME_LEN + 1];
	shard_name(name, 17);
	cr_assert_str_eq(name, "shardId-000000000017");
	shard_name(name, INT32_MAX);
	cr_assert_str_eq(name, "shardId-002147483647");
	uint32_t shard = 0;
	cr_assert(shard_parse(STR("shardId-000000000017"), &shard) && shard == 17);
	cr_assert(shard_parse(STR("shard-5"), &shard) && shard == 5);
	cr_assert(shard_parse(STR("a-7-b"), &shard) && shard == 7);
	cr_assert(shard_parse(STR("23"), &shard) && shard == 23);
	cr_assert(shard_parse(STR("-4"), &shard) && shard == 4);
	cr_assert(shard_parse(STR("x-2147483647"), &shard) && shard == INT32_MAX);
	cr_assert(shard_parse(STR("x-00000000000000000000000000001"), &shard) && shard == 1);
	static const char *const bad[] = {"", "shardId-", "shardId", "x-2147483648", "x-1a", "x--1", "x- 1", "x-99999999999999999999999"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_assert(!shard_parse(str_of(bad[i]), &shard), "%s", bad[i]);
}

Test(seq, status_names)
{
	cr_assert_eq(status_http(STATUS_OK), 200);
	cr_assert_str_eq(status_name(STATUS_OK), "OK");
	cr_assert_eq(status_http(STATUS_NOT_FOUND), 400);
	cr_assert_str_eq(status_type(STATUS_THROTTLED), "ProvisionedThroughputExceededException");
	cr_assert_eq(status_http(STATUS_CLOSING), 503);
	cr_assert_str_eq(status_name(STATUS_CLOSING), "CLOSING");
	cr_assert_str_eq(status_name((enum status) - 99), "INTERNAL");
	cr_assert_eq(status_http((enum status)1), 500);
}
