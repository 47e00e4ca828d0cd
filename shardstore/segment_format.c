/* segment_format.c: encodes and decodes the structures of a segment file.
 *
 * Invariants: nothing here allocates or reads beyond what the caller says is there; a *_peek only bounds what may be read next, and only
 * *_decode and *_verify, which check the CRC32C, vouch for a value. Pure: any thread.
 *
 * Failure modes: a structure that is torn, damaged, of another version or inconsistent in itself is "none" or "not whole"; who reads
 * decides whether that is a torn tail or damage. */
#include <assert.h>
#include <string.h>

#include "penstock/crc32c.h"
#include "shardstore/segment_format.h"

#define HEADER_MAGIC "PNSTKSEG"
#define GROUP_MAGIC 0x50524750u   /* "PGRP" */
#define FOOTER_MAGIC 0x52544650u  /* "PFTR" */
#define TRAILER_MAGIC 0x444e4550u /* "PEND" */

static void put16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static void put64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> (8 * i));
}

static uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }

static uint32_t get32(const uint8_t *p) { return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24; }

static uint64_t get64(const uint8_t *p) { return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32; }

static uint64_t round_up(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

/* ---- Segment header ---- */

uint32_t segment_header_length(uint32_t n_marks)
{
	uint64_t length = round_up(SEGMENT_HEADER_HEAD + (uint64_t)n_marks * SEGMENT_MARK, SEGMENT_HEADER_ALIGN);
	assert(length <= SEGMENT_HEADER_MAX);
	return (uint32_t)length;
}

static uint32_t header_crc(const uint8_t *p, uint32_t length) { return crc32c(crc32c(0, p, 76), p + 80, length - 80); }

void segment_header_encode(uint8_t *out, const struct segment_header *header, const struct shard_mark *marks)
{
	assert(header->length == segment_header_length(header->n_marks));
	memset(out, 0, header->length);
	memcpy(out, HEADER_MAGIC, 8);
	put32(out + 8, SEGMENT_VERSION);
	put32(out + 12, header->length);
	memcpy(out + 16, header->log_id, SEGMENT_LOG_ID);
	put64(out + 32, header->number);
	put64(out + 40, header->base);
	put64(out + 48, (uint64_t)header->created_ms);
	put64(out + 56, header->epoch);
	put64(out + 64, header->capacity);
	put32(out + 72, header->n_marks);
	for (uint32_t i = 0; i < header->n_marks; i++) {
		uint8_t *p = out + SEGMENT_HEADER_HEAD + (size_t)i * SEGMENT_MARK;
		put32(p, marks[i].shard);
		put64(p + 8, marks[i].next_index);
		put64(p + 16, (uint64_t)marks[i].last_arrival_ms);
	}
	put32(out + 76, header_crc(out, header->length));
}

uint32_t segment_header_peek(const uint8_t *p)
{
	uint32_t length = get32(p + 12);
	bool ours = memcmp(p, HEADER_MAGIC, 8) == 0 && get32(p + 8) == SEGMENT_VERSION;
	return ours && length && length <= SEGMENT_HEADER_MAX && length % SEGMENT_HEADER_ALIGN == 0 ? length : 0;
}

bool segment_header_decode(const uint8_t *p, struct segment_header *out)
{
	uint32_t length = segment_header_peek(p);
	if (!length || get32(p + 76) != header_crc(p, length))
		return false;
	*out = (struct segment_header){
		.number = get64(p + 32),
		.base = get64(p + 40),
		.created_ms = (int64_t)get64(p + 48),
		.epoch = get64(p + 56),
		.capacity = get64(p + 64),
		.length = length,
		.n_marks = get32(p + 72),
	};
	memcpy(out->log_id, p + 16, SEGMENT_LOG_ID);
	return SEGMENT_HEADER_HEAD + (uint64_t)out->n_marks * SEGMENT_MARK <= length;
}

void segment_mark_decode(const uint8_t *header, uint32_t nth, struct shard_mark *out)
{
	const uint8_t *p = header + SEGMENT_HEADER_HEAD + (size_t)nth * SEGMENT_MARK;
	*out = (struct shard_mark){.shard = get32(p), .next_index = get64(p + 8), .last_arrival_ms = (int64_t)get64(p + 16)};
}

/* ---- Group ---- */

uint64_t group_length(uint32_t n_extents, uint64_t frames)
{
	return round_up(GROUP_HEAD + (uint64_t)n_extents * EXTENT_HEAD + frames, SEGMENT_SECTOR);
}

void extent_encode(uint8_t out[EXTENT_HEAD], const struct extent_ref *extent)
{
	put32(out, extent->shard);
	put32(out + 4, extent->count);
	put64(out + 8, extent->first);
	put64(out + 16, (uint64_t)extent->arrival_ms);
	put64(out + 24, extent->payload);
	put32(out + 32, extent->length);
	put32(out + 36, extent->crc);
}

void extent_decode(const uint8_t p[EXTENT_HEAD], struct extent_ref *out)
{
	*out = (struct extent_ref){
		.shard = get32(p),
		.count = get32(p + 4),
		.first = get64(p + 8),
		.arrival_ms = (int64_t)get64(p + 16),
		.payload = get64(p + 24),
		.length = get32(p + 32),
		.crc = get32(p + 36),
	};
}

static uint32_t group_crc(const uint8_t *p, uint32_t n_extents)
{
	return crc32c(crc32c(0, p, 60), p + GROUP_HEAD, (size_t)n_extents * EXTENT_HEAD);
}

void group_encode(uint8_t *out, const struct group_head *head)
{
	put32(out, GROUP_MAGIC);
	put16(out + 4, SEGMENT_VERSION);
	put16(out + 6, 0);
	memcpy(out + 8, head->log_id, SEGMENT_LOG_ID);
	put64(out + 24, head->epoch);
	put64(out + 32, head->position);
	put64(out + 40, head->durable_upto);
	put64(out + 48, head->length);
	put32(out + 56, head->n_extents);
	put32(out + 60, group_crc(out, head->n_extents));
}

bool group_peek(const uint8_t p[GROUP_HEAD], uint64_t room, struct group_head *out)
{
	if (get32(p) != GROUP_MAGIC || get16(p + 4) != SEGMENT_VERSION)
		return false;
	*out = (struct group_head){
		.epoch = get64(p + 24),
		.position = get64(p + 32),
		.durable_upto = get64(p + 40),
		.length = get64(p + 48),
		.n_extents = get32(p + 56),
	};
	memcpy(out->log_id, p + 8, SEGMENT_LOG_ID);
	return out->n_extents && out->durable_upto <= out->position && out->length % SEGMENT_SECTOR == 0 && out->length <= room &&
	       GROUP_HEAD + (uint64_t)out->n_extents * EXTENT_HEAD <= out->length;
}

bool group_verify(const uint8_t *p, const struct group_head *head)
{
	if (get32(p + 60) != group_crc(p, head->n_extents))
		return false;
	uint64_t frames = 0;
	for (uint32_t i = 0; i < head->n_extents; i++) {
		struct extent_ref extent;
		extent_decode(p + GROUP_HEAD + (size_t)i * EXTENT_HEAD, &extent);
		if (!extent_plausible(&extent))
			return false;
		frames += extent.length;
	}
	return group_length(head->n_extents, frames) == head->length;
}

/* ---- Footer ---- */

uint64_t footer_length(const struct extent_runs *runs)
{
	uint64_t n = FOOTER_HEAD + (uint64_t)runs->n * FOOTER_RUN + FOOTER_TRAILER;
	for (uint32_t i = 0; i < runs->n; i++)
		n += runs->runs[i].n_bytes;
	return round_up(n, SEGMENT_SECTOR);
}

/* Over all but itself; with the runs, and so it is the runs' only checksum. */
static uint32_t footer_crc(const uint8_t *p, uint64_t length) { return crc32c(crc32c(0, p, 76), p + 80, (size_t)length - 80); }

static uint8_t *put_runs(uint8_t *p, const struct extent_runs *runs)
{
	for (uint32_t i = 0; i < runs->n; i++, p += FOOTER_RUN) {
		put32(p, runs->runs[i].shard);
		put32(p + 4, runs->runs[i].n_bytes);
	}
	for (uint32_t i = 0; i < runs->n; i++) {
		memcpy(p, runs->runs[i].bytes, runs->runs[i].n_bytes);
		p += runs->runs[i].n_bytes;
	}
	return p;
}

void footer_encode(uint8_t *out, const struct segment_footer *footer, const struct extent_runs *runs)
{
	assert(footer->length == footer_length(runs));
	put32(out, FOOTER_MAGIC);
	put16(out + 4, FOOTER_VERSION);
	put16(out + 6, 0);
	memcpy(out + 8, footer->log_id, SEGMENT_LOG_ID);
	put64(out + 24, footer->epoch);
	put64(out + 32, footer->number);
	put64(out + 40, footer->position);
	put64(out + 48, footer->length);
	memset(out + 56, 0, 16);
	put32(out + 72, runs->n);
	uint8_t *trailer = out + footer->length - FOOTER_TRAILER, *p = put_runs(out + FOOTER_HEAD, runs);
	memset(p, 0, (size_t)(trailer - p));
	put64(trailer, footer->length);
	put32(trailer + 8, TRAILER_MAGIC);
	put32(trailer + 12, crc32c(0, trailer, 12));
	put32(out + 76, footer_crc(out, footer->length));
}

static uint64_t footer_fits(uint64_t length, uint64_t room)
{
	return length && length % SEGMENT_SECTOR == 0 && length <= room ? length : 0;
}

uint64_t footer_trailer_decode(const uint8_t p[FOOTER_TRAILER], uint64_t size)
{
	bool whole = get32(p + 8) == TRAILER_MAGIC && get32(p + 12) == crc32c(0, p, 12);
	return whole ? footer_fits(get64(p), size) : 0;
}

uint64_t footer_peek(const uint8_t p[FOOTER_HEAD], uint64_t room)
{
	return get32(p) == FOOTER_MAGIC ? footer_fits(get64(p + 48), room) : 0;
}

bool footer_decode(const uint8_t *p, uint64_t length, struct segment_footer *out)
{
	if (footer_peek(p, length) != length || get32(p + 76) != footer_crc(p, length))
		return false;
	*out = (struct segment_footer){
		.epoch = get64(p + 24),
		.number = get64(p + 32),
		.position = get64(p + 40),
		.length = length,
		.n_runs = get32(p + 72),
		.version = get16(p + 4),
	};
	memcpy(out->log_id, p + 8, SEGMENT_LOG_ID);
	return true;
}

/* The directory is in order, and it and the runs fill the footer as footer_length says. */
static bool directory_fits(const uint8_t *directory, const struct segment_footer *footer)
{
	uint64_t n = FOOTER_HEAD + (uint64_t)footer->n_runs * FOOTER_RUN + FOOTER_TRAILER;
	if (n > footer->length)
		return false;
	for (uint32_t i = 0; i < footer->n_runs; i++) {
		n += get32(directory + (size_t)i * FOOTER_RUN + 4);
		if (i && get32(directory + (size_t)i * FOOTER_RUN) <= get32(directory + (size_t)(i - 1) * FOOTER_RUN))
			return false;
	}
	return round_up(n, SEGMENT_SECTOR) == footer->length;
}

bool footer_runs_decode(const uint8_t *p, const struct segment_footer *footer, uint64_t limit, struct extent_runs *out)
{
	const uint8_t *directory = p + FOOTER_HEAD;
	*out = (struct extent_runs){0};
	if (footer->version != FOOTER_VERSION || !directory_fits(directory, footer))
		return false;
	const uint8_t *bytes = directory + (size_t)footer->n_runs * FOOTER_RUN;
	for (uint32_t i = 0; i < footer->n_runs; i++, directory += FOOTER_RUN) {
		uint32_t n = get32(directory + 4);
		if (!extent_run_load(extent_runs_add(out, get32(directory)), bytes, n, limit)) {
			extent_runs_free(out);
			return false;
		}
		bytes += n;
	}
	return true;
}
