/* auth.h: who calls. Without --credentials (worker->auth is NULL) any well-formed signature is accepted; with it each is verified. */
#ifndef PENSTOCK_AUTH_H
#define PENSTOCK_AUTH_H

#include "penstock/bytes.h"
#include "penstock/status.h"
#include "server/keys.h"
#include "server/request.h"

/* What one worker verifies with: the keys in force, signing keys derived from them, digests. */
struct auth;

struct auth *auth_new(struct keys *keys);                 /* takes the reference */
void auth_set_keys(struct auth *auth, struct keys *keys); /* takes it: these are in force from here on */
void auth_free(struct auth *auth);                        /* NULL: nothing */

/* One signature to be checked. */
struct auth_call {
	/* in */
	struct str service; /* that the scope must name: "kinesis", "sts" */
	const char *action; /* of that service: "PutRecord"; NULL: callers of every account may */
	/* out */
	struct str text;                /* why not; in the request's arena, or constant */
	const struct principal *caller; /* NULL without credentials; good in this turn of the worker's loop */
};

/* Kinesis-behaviour 1.6. STATUS_OK, or the status with AWS's text in call->text. */
enum status auth_check(struct request *request, struct auth_call *call);

/* Step 5, for auth_check: the form is good (steps 1 to 4); is the signature? worker->auth is there. */
enum status auth_verify(struct request *request, bool presigned, struct auth_call *call);

/* The service of the scope that a header or query names, unverified: lower-case letters, digits and
 * hyphens, at most AUTH_SERVICE_MAX. p NULL: none is named. Lives as long as the request's arena. */
#define AUTH_SERVICE_MAX 64
struct str auth_service(struct request *request);

#endif
