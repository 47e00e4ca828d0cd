/* sigv4.h: AWS Signature Version 4: what is signed, how it is signed, and what a client says about it.
 *
 *   canonical request  = method, path, query, signed headers, their names, hash of the body     sigv4_canonical
 *   string to sign     = algorithm, time, scope, hash of the canonical request                  sigv4_signature
 *   key                = HMACs of secret, date, region, service, terminator                     sigv4_derive
 *   claim              = what an Authorization header or a presigned query says                 sigv4_parse_header, sigv4_parse_query
 *
 * Pure: no I/O, no clock, no globals. A struct sigv4 belongs to one thread. Whether a claim is true is the caller's to decide: it knows
 * keys, clock and region. */
#ifndef PENSTOCK_SIGV4_H
#define PENSTOCK_SIGV4_H

#include <stdbool.h>
#include <stdint.h>

#include "penstock/bytes.h"

#define SIGV4_ALGORITHM "AWS4-HMAC-SHA256"
#define SIGV4_TERMINATOR "aws4_request"
#define SIGV4_TIME_LEN 16 /* 20260131T235959Z */
#define SIGV4_DATE_LEN 8
#define SIGV4_HASH 32

/* Digests fetched once, and contexts to use again. */
struct sigv4 {
	void *mac, *hmac;      /* EVP_MAC, EVP_MAC_CTX */
	void *sha256, *digest; /* EVP_MD, EVP_MD_CTX */
	struct buf canonical;  /* of the last request; memory to use again */
};

void sigv4_init(struct sigv4 *sigv4);
void sigv4_fini(struct sigv4 *sigv4);
void sigv4_sha256(struct sigv4 *sigv4, const void *p, size_t n, uint8_t out[SIGV4_HASH]);
/* In constant time. */
bool sigv4_equal(const uint8_t a[SIGV4_HASH], const uint8_t b[SIGV4_HASH]);
void sigv4_hex(const uint8_t hash[SIGV4_HASH], char out[2 * SIGV4_HASH]);               /* lower case, no NUL */
bool sigv4_unhex(struct str text, uint8_t out[SIGV4_HASH]);                             /* exactly 64 lower-case digits */

/* ---- Times ---- */

/* "20260131T235959Z", or as Date has it "Sat, 31 Jan 2026 23:59:59 GMT" (also -0000, +0000). Nothing else, and no day that is none. */
bool sigv4_time_parse(struct str text, int64_t *seconds);
/* The former, with a NUL. seconds: of the years 1970 to 9999. */
void sigv4_time_text(int64_t seconds, char out[SIGV4_TIME_LEN + 1]);

/* ---- What is wrong with a claim or a request ---- */

enum sigv4_flaw {
	SIGV4_OK,
	SIGV4_BAD_ALGORITHM,      /* is not AWS4-HMAC-SHA256 */
	SIGV4_BAD_PAIR,           /* `what` is no key=value, is unknown, or there twice */
	SIGV4_BAD_CREDENTIAL,     /* has not five parts */
	SIGV4_BAD_TIME,           /* of a presigned query */
	SIGV4_BAD_EXPIRES,        /* is not 1 to 604800 */
	SIGV4_BAD_SIGNED_HEADERS, /* not in lower case, sorted and each once */
	SIGV4_BAD_SIGNATURE,      /* is not 64 lower-case hexadecimal digits */
	SIGV4_BAD_QUERY,          /* a percent sign without two hexadecimal digits */
	SIGV4_ABSENT_HEADER,      /* `what` is said to be signed, and is not there */
	SIGV4_FLAWS
};

/* ---- The request, as it is signed ---- */

struct sigv4_field {
	struct str name; /* lower case */
	struct str value;
};

struct sigv4_request {
	struct str method, path, query; /* as they are on the wire; an empty path is "/" */
	const struct sigv4_field *fields; /* "host" and ":authority" among them; those of one name in the order in which they came */
	size_t n_fields;
	uint8_t payload[SIGV4_HASH];    /* SHA-256 of the body */
};

/* Appends the canonical request. X-Amz-Signature is left out of a presigned query. signed_headers: as sigv4_parse_* accepts them.
 * SIGV4_BAD_QUERY and SIGV4_ABSENT_HEADER come with *what, lent from the arguments. */
enum sigv4_flaw sigv4_canonical(const struct sigv4_request *request, struct str signed_headers, bool presigned, struct buf *out,
				struct str *what);

/* ---- Signatures ---- */

struct sigv4_scope {
	struct str date, region, service, terminator;
};

/* secret: at most SIGV4_SECRET_MAX bytes. */
#define SIGV4_SECRET_MAX 256
void sigv4_derive(struct sigv4 *sigv4, struct str secret, const struct sigv4_scope *scope, uint8_t key[SIGV4_HASH]);
void sigv4_signature(struct sigv4 *sigv4, const uint8_t key[SIGV4_HASH], int64_t seconds, const struct sigv4_scope *scope,
		     const void *canonical, size_t n, uint8_t out[SIGV4_HASH]);

/* ---- Claims ---- */

/* Strings are lent from the header, or in the arena. */
struct sigv4_claim {
	bool presigned;
	struct str credential;           /* all five parts */
	struct str key;                  /* the access key's id */
	struct sigv4_scope scope;
	struct str signed_headers;
	uint8_t signature[SIGV4_HASH];
	/* presigned alone; in the header form the request's own headers say them */
	int64_t seconds;                 /* X-Amz-Date */
	int64_t expires_s;               /* X-Amz-Expires; 0: not said */
	struct str token;                /* X-Amz-Security-Token; p NULL: none */
};

/* "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=a;b, Signature=HEX"; blanks behind commas are free. */
enum sigv4_flaw sigv4_parse_header(struct str authorization, struct sigv4_claim *out, struct str *what);
/* The X-Amz-* parameters among all others. */
enum sigv4_flaw sigv4_parse_query(struct str query, struct arena *arena, struct sigv4_claim *out, struct str *what);
/* Is `name` one of signed_headers? */
bool sigv4_signs(struct str signed_headers, struct str name);
/* Appends the header's value in its plain form. */
void sigv4_render_header(const struct sigv4_claim *claim, struct buf *out);

/* ---- For clients ---- */

struct sigv4_signer {
	struct str key, secret, region, service;
	/* sigv4_sign's: the key of the day on which it signed last. Zero before the first time; nothing else changes after it. */
	char day[SIGV4_DATE_LEN];
	uint8_t derived[SIGV4_HASH];
};
/* Signs every field, which the caller has sorted by name; appends the Authorization header's value. */
void sigv4_sign(struct sigv4 *sigv4, struct sigv4_signer *signer, int64_t seconds, const struct sigv4_request *request, struct buf *out);

#endif
