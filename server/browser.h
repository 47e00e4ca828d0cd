/* browser.h: what a web page may make a browser do here: the rules of Origin (CORS) and of Host.
 *
 * A browser on a machine that reaches this port runs the code of strangers. Without --credentials
 * a request proves nothing, so:
 *
 * - a request with an Origin is obeyed if --allow-origin lists it. Browsers send Origin with each
 *   request but GET and HEAD, and always with those whose answer another origin may read;
 * - an operation without an Origin comes from no browser: any Host is good;
 * - a page (GET /state and the like) may be read without an Origin by a site whose DNS name was
 *   moved to this address (DNS rebinding): its Host must be a loopback one, or --allow-host's.
 *
 * With --credentials a request proves its sender. Then every origin and Host is good, as on AWS,
 * unless the options name some.
 *
 * Thread: the request's worker. */
#ifndef PENSTOCK_BROWSER_H
#define PENSTOCK_BROWSER_H

#include <stdbool.h>

#include "server/request.h"

/* Adds the CORS headers of a good Origin, answers preflights, refuses other origins (403).
 * True: the request is answered. */
bool browser_origin(struct request *request);
/* The Host of a page. False: answered (403). */
bool browser_host(struct request *request);

#endif
