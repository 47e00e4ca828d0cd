/* token.h: what clients carry for us: shard iterators and page tokens, sealed so that they cannot be made or changed elsewhere.
 *
 * A token is base64 of: 8 bytes 00..01, a 12-byte nonce, AES-256-GCM ciphertext, a 16-byte tag (the first 8 bytes are authenticated
 * too). The keys live in the catalogue, so tokens outlive a restart. Both kinds live 300 s (kinesis-behaviour 3.5, 3.24, 4.2).
 * Any thread. */
#ifndef PENSTOCK_TOKEN_H
#define PENSTOCK_TOKEN_H

#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/catalogue.h"
#include "penstock/status.h"

#define TOKEN_LIFE_MS 300000
#define TOKEN_TEXT_MAX 512       /* base64 and NUL; AWS's own limit for an iterator */
#define TOKEN_TIME_MAX 80 /* 29 are used; the compiler counts what the types allow */

/* A position in a shard. Its incarnation of the stream is `stream`; the name is for texts once that is gone. */
struct iterator {
	int64_t created_ms;
	uint64_t stream;
	uint32_t shard;
	uint64_t next; /* first index wanted */
	char name[STREAM_NAME_MAX + 1];
};

enum page_kind { PAGE_STREAMS = 1, PAGE_SHARDS, PAGE_CONSUMERS };

/* Where a listing goes on. */
struct page {
	enum page_kind kind;
	int64_t created_ms;
	uint64_t stream;   /* SHARDS, CONSUMERS */
	uint32_t shard;    /* SHARDS: the last one that was listed */
	uint32_t filter;   /* SHARDS: which filter (ops_shards.c) */
	int64_t filter_ms; /* SHARDS: its time */
	char name[STREAM_NAME_MAX + 1]; /* STREAMS, CONSUMERS: the last one listed; SHARDS: the stream's, for texts */
};

/* Each call gives another text, also for the same content. The length of an iterator follows from the length of the name alone. */
void token_iterator_seal(const uint8_t key[32], const struct iterator *iterator, char out[TOKEN_TEXT_MAX]);
/* Literal double quotes around it are dropped. An iterator from before the clock was set back counts
 * as new. INVALID_ARGUMENT: not ours. EXPIRED_ITERATOR: *out is filled, for the text. */
enum status token_iterator_open(const uint8_t key[32], struct str text, int64_t now_ms, struct iterator *out);

void token_page_seal(const uint8_t key[32], const struct page *page, char out[TOKEN_TEXT_MAX]);
/* INVALID_ARGUMENT: not ours, or of another kind. EXPIRED_TOKEN: *out is filled. */
enum status token_page_open(const uint8_t key[32], enum page_kind kind, struct str text, int64_t now_ms, struct page *out);

/* "Thu Jan 22 01:22:02 UTC 2015", as the texts about expiry have it. */
void token_time(char out[TOKEN_TIME_MAX], int64_t ms);

#endif
