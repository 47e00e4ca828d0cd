/* keys.h: who may call: the principals of a --credentials file, as an immutable, reference-counted table. Reading it anew makes a new
 * table; whoever has the old one keeps it until it is told of the new one. */
#ifndef PENSTOCK_KEYS_H
#define PENSTOCK_KEYS_H

#include <stdatomic.h>
#include <stdint.h>

#include "penstock/bytes.h"
#include "penstock/status.h"

struct principal {
	char *profile;  /* "default" */
	char *key;      /* the access key's id */
	char *secret;
	char *token;    /* NULL: none */
	char *account;  /* NULL: the server's */
	uint32_t number; /* its place in the table; n for nobody */
	unsigned line;  /* of its [profile] */
};

struct keys {
	atomic_uint refs;
	uint32_t n;
	struct principal *principals; /* by key, byte order */
	struct principal nobody;      /* stands in for unknown keys: a random secret that nobody knows */
};

/* The form of ~/.aws/credentials: [profile], aws_access_key_id, aws_secret_access_key, and as one likes aws_session_token, account_id;
 * other settings are passed over and said in the log. STATUS_INVALID_ARGUMENT or STATUS_IO: *why, which the caller frees, names file, line
 * and flaw, and no secret. STATUS_OK: one reference. Any thread. */
enum status keys_load(const char *path, struct keys **out, char **why);
struct keys *keys_ref(struct keys *keys);
void keys_unref(struct keys *keys); /* NULL: nothing; the last one wipes the secrets */
/* NULL: there is none of that id. */
const struct principal *keys_find(const struct keys *keys, struct str key);

#endif
