/* auth.h: is a request signed at all, and well-formedly? Any well-formed signature is accepted: the server binds loopback. */
#ifndef PENSTOCK_AUTH_H
#define PENSTOCK_AUTH_H

#include "penstock/bytes.h"
#include "penstock/status.h"
#include "server/request.h"

/* Kinesis-behaviour 1.6, steps 1 to 4. STATUS_OK, or the status with AWS's text in *text (in the request's arena). */
enum status auth_check(struct request *request, struct str *text);

#endif
