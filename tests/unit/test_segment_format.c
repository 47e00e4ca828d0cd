/* The bytes of a segment file: what is encoded is decoded, and no changed bit is taken for whole. */
#include <criterion/criterion.h>

#include "penstock/crc32c.h"
#include "shardstore/segment_format.h"

static struct segment_header sample_header(uint32_t n_marks)
{
	struct segment_header header = {
		.number = 7,
		.base = 123456,
		.created_ms = 1700000000123,
		.epoch = 3,
		.capacity = 1 << 20,
		.length = segment_header_length(n_marks),
		.n_marks = n_marks,
	};
	memset(header.log_id, 0xa5, SEGMENT_LOG_ID);
	return header;
}

Test(segment_format, header_round_trip)
{
	struct shard_mark marks[200];
	for (uint32_t i = 0; i < 200; i++)
		marks[i] = (struct shard_mark){i * 3, (uint64_t)i << 40 | 1, 1700000000000 + i};
	struct segment_header header = sample_header(200), back;
	uint8_t *p = xmalloc(header.length);
	segment_header_encode(p, &header, marks);
	cr_assert(header.length == 8192);
	cr_assert(memcmp(p, "PNSTKSEG\x01\0\0\0\0\x20\0\0", 16) == 0);
	cr_assert(segment_header_peek(p) == header.length);
	cr_assert(segment_header_decode(p, &back));
	cr_assert(memcmp(&back, &header, sizeof(back)) == 0);
	for (uint32_t i = 0; i < 200; i++) {
		struct shard_mark mark;
		segment_mark_decode(p, i, &mark);
		cr_assert(mark.shard == marks[i].shard && mark.next_index == marks[i].next_index &&
			  mark.last_arrival_ms == marks[i].last_arrival_ms);
	}
	free(p);
}

Test(segment_format, header_every_bit_counts)
{
	struct shard_mark marks[2] = {{1, 5, 9}, {2, 6, 10}};
	struct segment_header header = sample_header(2), back;
	uint8_t p[4096];
	segment_header_encode(p, &header, marks);
	for (size_t bit = 0; bit < sizeof(p) * 8; bit++) {
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		/* A longer length is refused before more is read: peek says how much decode may look at. */
		uint32_t length = segment_header_peek(p);
		cr_assert(!length || length > sizeof(p) || !segment_header_decode(p, &back), "bit %zu", bit);
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	cr_assert(segment_header_decode(p, &back));
}

static size_t sample_group(uint8_t *p, struct group_head *head)
{
	struct extent_ref extents[2] = {
		{.length = 100, .crc = 0xdeadbeef, .first = 17, .count = 3, .payload = 76, .arrival_ms = 1700000000123, .shard = 4},
		{.length = 300, .crc = 0x01020304, .first = UINT64_C(1) << 40, .count = 1, .payload = 292, .arrival_ms = 5, .shard = 9},
	};
	*head = (struct group_head){.epoch = 3, .position = 4096, .durable_upto = 4096, .length = group_length(2, 400), .n_extents = 2};
	memset(head->log_id, 0x5a, SEGMENT_LOG_ID);
	for (size_t i = 0; i < 2; i++)
		extent_encode(p + GROUP_HEAD + i * EXTENT_HEAD, &extents[i]);
	group_encode(p, head);
	return GROUP_HEAD + 2 * EXTENT_HEAD;
}

Test(segment_format, group_round_trip)
{
	uint8_t p[256];
	struct group_head head, back = {0};
	sample_group(p, &head);
	cr_assert(head.length == 1024, "544 bytes take two sectors");
	cr_assert(group_peek(p, 1024, &back) && group_verify(p, &back));
	cr_assert(memcmp(back.log_id, head.log_id, SEGMENT_LOG_ID) == 0);
	cr_assert(back.epoch == 3 && back.position == 4096 && back.durable_upto == 4096 && back.length == 1024 && back.n_extents == 2);
	struct extent_ref extent;
	extent_decode(p + GROUP_HEAD, &extent);
	cr_assert(extent.shard == 4 && extent.first == 17 && extent.count == 3 && extent.payload == 76 && extent.length == 100 &&
		  extent.crc == 0xdeadbeef && extent.arrival_ms == 1700000000123);
	cr_assert(!group_peek(p, 1023, &back), "longer than what is left of the file");
}

Test(segment_format, group_every_bit_counts)
{
	uint8_t p[256];
	struct group_head head, back;
	size_t n = sample_group(p, &head);
	for (size_t bit = 0; bit < n * 8; bit++) {
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		bool fits = group_peek(p, 1 << 20, &back) && GROUP_HEAD + (uint64_t)back.n_extents * EXTENT_HEAD <= sizeof(p);
		cr_assert(!fits || !group_verify(p, &back), "bit %zu", bit);
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
}

Test(segment_format, group_that_does_not_add_up)
{
	uint8_t p[256];
	struct group_head head, back;
	sample_group(p, &head);
	head.length += SEGMENT_SECTOR;
	group_encode(p, &head);
	cr_assert(group_peek(p, 1 << 20, &back) && !group_verify(p, &back), "a right CRC over a wrong length");
	sample_group(p, &head);
	head.durable_upto = head.position + 1;
	group_encode(p, &head);
	cr_assert(!group_peek(p, 1 << 20, &back), "durable beyond itself");
	sample_group(p, &head);
	p[GROUP_HEAD + 24]++;
	group_encode(p, &head);
	cr_assert(group_peek(p, 1 << 20, &back) && !group_verify(p, &back), "a payload that the frames cannot have");
	sample_group(p, &head);
	head.n_extents = 0;
	group_encode(p, &head);
	cr_assert(!group_peek(p, 1 << 20, &back));
}

/* Two shards, one of them with extents enough for two blocks. */
static void sample_runs(struct extent_runs *runs)
{
	*runs = (struct extent_runs){0};
	for (uint32_t i = 0; i < 100; i++)
		extent_runs_append(runs, &(struct extent_ref){.offset = 4096 + i * 512 + 104,
							      .length = 80,
							      .crc = i * 0x01010101,
							      .first = i + 1,
							      .count = 1,
							      .arrival_ms = 1700000000123 + i,
							      .shard = 9});
	extent_runs_append(runs,
			   &(struct extent_ref){.offset = 60000, .length = 176, .first = 17, .count = 2, .arrival_ms = 5, .shard = 4});
}

static struct segment_footer sample_footer(const struct extent_runs *runs)
{
	return (struct segment_footer){.epoch = 1, .number = 2, .position = 99, .length = footer_length(runs)};
}

Test(segment_format, footer_round_trip_and_every_bit)
{
	uint8_t p[2048];
	struct extent_runs runs, again;
	sample_runs(&runs);
	struct segment_footer footer = sample_footer(&runs), back;
	cr_assert(footer.length <= sizeof(p) && footer.length % SEGMENT_SECTOR == 0);
	footer_encode(p, &footer, &runs);
	const uint8_t *trailer = p + footer.length - FOOTER_TRAILER;
	cr_assert(footer_trailer_decode(trailer, footer.length) == footer.length);
	cr_assert(footer_trailer_decode(trailer, footer.length - 1) == 0, "longer than the file");
	cr_assert(footer_peek(p, footer.length) == footer.length && footer_decode(p, footer.length, &back));
	cr_assert(back.epoch == 1 && back.number == 2 && back.position == 99 && back.n_runs == 2 && back.version == FOOTER_VERSION);
	cr_assert(footer_runs_decode(p, &back, 60176, &again));
	cr_assert(again.n == 2 && again.runs[0].shard == 4 && again.runs[1].shard == 9);
	for (uint32_t i = 0; i < 2; i++) {
		const struct extent_run *run = &runs.runs[i], *other = &again.runs[i];
		cr_assert(run->n_bytes == other->n_bytes && memcmp(run->bytes, other->bytes, run->n_bytes) == 0);
		cr_assert(run->next == other->next && run->arrival_ms == other->arrival_ms && run->end == other->end);
	}
	for (size_t bit = 0; bit < footer.length * 8; bit++) {
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert(!footer_decode(p, footer.length, &back), "bit %zu", bit);
		p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	extent_runs_free(&runs);
	extent_runs_free(&again);
}

static void put_crc(uint8_t *p, uint64_t length)
{
	uint32_t crc = crc32c(crc32c(0, p, 76), p + 80, (size_t)length - 80);
	for (int i = 0; i < 4; i++)
		p[76 + i] = (uint8_t)(crc >> (8 * i));
}

/* Whole in itself, and so a proof that the segment ended there, but nothing is taken of what it says. */
Test(segment_format, footer_whose_runs_are_not_taken)
{
	struct {
		size_t at;
		uint8_t byte;
	} changes[] = {
		{4, 1},              /* another version */
		{72, 3},             /* more runs than fit */
		{72, 1},             /* or fewer */
		{80, 10},            /* shards out of order */
		{84, 0},             /* a run of no bytes, and bytes of no run */
		{96 + 24, 0},        /* an extent of no records */
		{96 + 24, 200},      /* of more records than bytes; and the varint runs on */
		{96 + 16 + 2, 0xff}, /* behind the end of the groups */
		{96 + 7, 0xff},      /* an index above all */
	};
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		uint8_t p[2048];
		struct extent_runs runs, again;
		sample_runs(&runs);
		struct segment_footer footer = sample_footer(&runs), back;
		footer_encode(p, &footer, &runs);
		p[changes[i].at] = changes[i].byte;
		put_crc(p, footer.length);
		cr_assert(footer_decode(p, footer.length, &back));
		cr_assert(!footer_runs_decode(p, &back, 60176, &again) && again.n == 0 && !again.runs, "change %zu", i);
		extent_runs_free(&runs);
	}
}

Test(segment_format, lengths)
{
	cr_assert(segment_header_length(0) == 4096 && segment_header_length(167) == 4096 && segment_header_length(168) == 8192);
	cr_assert(group_length(1, 512 - 64 - 40) == 512 && group_length(1, 512 - 64 - 40 + 1) == 1024);
	cr_assert(footer_length(&(struct extent_runs){0}) == 512);
	cr_assert(group_length(UINT32_MAX, UINT64_C(1) << 40) > UINT64_C(1) << 40, "no overflow");
}
