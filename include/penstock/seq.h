/* seq.h: sequence numbers, hash keys and shard names.
 *
 * Inside, a record's place in its shard is a dense 64-bit index: the first record has 1; 0 is the shard's start. Outside it is the
 * 56-digit decimal of a 186-bit number, as 47 hex digits (version 2; layout recorded by kinesalite, checked against AWS numbers):
 *
 *   0      `2`
 *   1-9    shard creation time, epoch seconds (below 16025175000)
 *   10     low nibble of the shard number
 *   11-26  sequence index (63 bits)
 *   27-28  `00`; in a position (a ContinuationSequenceNumber that is no record's number) `01`
 *   29-37  time of the record, epoch seconds
 *   38-45  shard number, 32 bits
 *   46     `2`
 *
 * The index stands before the time, so it alone decides the order of records within a shard. The mark stands between them: a position
 * sorts above the record of its index, whatever their seconds, and below the next. All functions are pure. */
#ifndef PENSTOCK_SEQ_H
#define PENSTOCK_SEQ_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/status.h"

__extension__ typedef unsigned __int128 uint128; /* a hash key: 0 to 2^128 - 1 */

#define SEQ_DIGITS 56                           /* what seq_format writes */
#define SEQ_INDEX_MAX INT64_MAX                 /* the closing number's index: above any record's */
#define SEQ_SECONDS_MAX INT64_C(16025175000)    /* creation times lie below */

/* A shard, whichever way it is spoken of. */
struct shard_key {
	uint64_t stream;    /* catalogue id of the stream's incarnation; never used again */
	uint32_t shard;     /* number in shardId-%012u */
	int64_t created_s;  /* the second inside its sequence numbers; may run ahead of the clock */
};

struct seq {
	int64_t created_s;
	uint32_t shard;
	uint64_t index;     /* 0 to 2^63 - 1 */
	int64_t time_s;
	int version;        /* 0, 1 or 2 */
	bool position;      /* version 2: digits 27 and 28 are not `00`: it names no record, but the place behind `index` */
};

/* Writes exactly SEQ_DIGITS digits, no NUL. */
void seq_format(char out[SEQ_DIGITS], const struct shard_key *shard, uint64_t index, int64_t time_s);

/* The same for a position behind record `index` (0: the shard's start). Positions of one index sort by their seconds: 0 to
 * SEQ_TIME_MAX. */
void seq_format_position(char out[SEQ_DIGITS], const struct shard_key *shard, uint64_t index, int64_t time_s);
#define SEQ_TIME_MAX INT64_C(0xfffffffff)

/* The second inside a record's number: that of its arrival, but never before the shard's own. One rule for puts, reads and events. */
static inline int64_t seq_time_s(const struct shard_key *shard, int64_t arrival_ms)
{
	int64_t time_s = arrival_ms / 1000;
	return time_s < shard->created_s ? shard->created_s : time_s;
}

/* Accepts `0|([1-9]\d{0,128})`. STATUS_OK, or STATUS_INVALID_ARGUMENT for what is no sequence number of any version. */
enum status seq_parse(struct str text, struct seq *out);

/* "shardId-000000000017" (20 characters and NUL). */
#define SHARD_NAME_LEN 20
void shard_name(char out[SHARD_NAME_LEN + 1], uint32_t shard);
/* The text behind the first '-' up to the next, or all of it; decimal digits, 0 to 2147483647. False: not resolvable. */
bool shard_parse(struct str text, uint32_t *out);

/* Decimal of a hash key: at most 39 digits; returns how many. hash_parse: false for non-digits or a value of 2^128 and above. */
#define HASH_DIGITS 39
size_t hash_format(char out[HASH_DIGITS], uint128 hash);
bool hash_parse(struct str text, uint128 *out);

/* First hash key of shard i of n at creation: floor(2^128 / n) * i. n >= 1. */
uint128 hash_uniform_start(uint32_t i, uint32_t n);

#endif
