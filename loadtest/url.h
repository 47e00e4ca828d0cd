/* url.h: the URL of an endpoint. */
#ifndef PENSTOCK_LOADTEST_URL_H
#define PENSTOCK_LOADTEST_URL_H

#include <stdbool.h>

struct url {
	bool tls;
	char host[256];      /* lower case; of [::1] without the brackets */
	char authority[272]; /* as the Host header has it: no port when it is the scheme's */
	int port;
};

/* "http://HOST", "https://HOST:PORT/": HOST is a name, an IPv4 or a bracketed IPv6 address. False: *why has a sentence for people. */
bool url_parse(const char *text, struct url *out, char why[256]);
/* Is `host` AWS's own (amazonaws.com, amazonaws.com.cn, api.aws, and names below them)? */
bool url_is_aws(const char *host);
/* The region that a name of AWS's says, "kinesis.eu-west-1.amazonaws.com"; false: none. */
bool url_region(const char *host, char region[33]);

#endif
