/* options.h: the command line of penstock-load: penstock-load [MODE] [OPTION...]. Bad input gets one line that names the option, and exit
 * status 2. */
#ifndef PENSTOCK_LOADTEST_OPTIONS_H
#define PENSTOCK_LOADTEST_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "loadtest/endpoint.h"
#include "loadtest/outcome.h"
#include "penstock/value.h" /* enum encoding */

#define LOAD_SHARDS_MAX 1024
#define LOAD_RECEIVERS_MAX 1000
#define RECORD_MIN 28        /* bytes of data that a record's stamp takes; see record.h */

enum mode { MODE_COMPARE, MODE_PUT, MODE_PUSH, MODE_POLL, MODE_IDLE, MODE_MIXED };

/* Bytes of data of a record: all alike, evenly from least to most, or exponential about a mean (from RECORD_MIN to 1 MiB). */
struct size_rule {
	enum { SIZE_FIXED, SIZE_EVEN, SIZE_EXPONENTIAL } kind;
	uint32_t least, most, mean;
};

struct options {
	enum mode mode;
	const char *mode_name;
	struct endpoint_options endpoint;
	enum encoding format;
	const char *stream;      /* NULL: one of its own, with a random name */
	unsigned shards;
	unsigned consumers;      /* pushed; one connection each */
	unsigned pollers;        /* shared consumers: each polls every shard, all together at 5 calls/s and shard */
	unsigned consumers_max, pollers_max; /* compare */
	unsigned connections;    /* that put */
	double rate;             /* puts per second over all connections; 0: closed loop, as fast as answers come */
	unsigned in_flight;      /* with rate 0: puts that each connection has in work at once */
	unsigned batch;          /* records a put; 1: PutRecord */
	struct size_rule size;
	double seconds, warmup;  /* of putting; records of the warm-up are delivered, not measured */
	uint64_t records;        /* at most so many; 0: as seconds and rate say. With existing: at least what the stream holds */
	uint64_t seed;
	unsigned stalled;        /* so many subscriptions (of the last consumers) are not read until the puts are over, nor measured */
	bool horizon;            /* receivers begin at TRIM_HORIZON after everything was put (drain), not at LATEST before */
	double drain_seconds;    /* with horizon: how long to read; 0: until all is delivered */
	double drain_skip;       /* with drain_seconds: so long at the start is not counted (until the budget's bucket is dry) */
	bool existing;           /* the stream is there, with its records: put nothing, read it from TRIM_HORIZON, keep it */
	bool existing_puts;      /* the stream is there: put into it, and keep it */
	bool keep;               /* do not delete the stream */
	bool progress;           /* a line each second while it runs, to stderr */
	const char *json, *csv, *hdr, *report, *label; /* NULL: none */
	struct prices prices;
	char arguments[512];     /* the command line */
};

/* 0: go on. 1: --help was printed, exit 0. 2: a bad option was named. Strings are argv's own. */
int load_options_parse(int argc, char **argv, struct options *out);
/* The bytes that record `number` has, always the same for one seed. */
uint32_t size_of(const struct options *options, uint64_t number);

#endif
