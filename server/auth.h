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

/* Kinesis-behaviour 1.6. STATUS_OK, or the status with AWS's text in *text (in the request's arena). */
enum status auth_check(struct request *request, struct str *text);

/* Step 5, for auth_check: the form is good (steps 1 to 4); is the signature? worker->auth is there. */
enum status auth_verify(struct request *request, bool presigned, struct str *text);

#endif
