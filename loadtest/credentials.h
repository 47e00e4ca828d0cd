/* credentials.h: who asks: looked for where the SDKs look.
 *
 *   AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, with AWS_SESSION_TOKEN if it is set
 *   the profile AWS_PROFILE, else "default", of AWS_SHARED_CREDENTIALS_FILE, else of ~/.aws/credentials
 *   the same profile of AWS_CONFIG_FILE, else of ~/.aws/config, where it is called [profile NAME] (and the default one also [default])
 *
 * Roles, SSO and credential processes are not followed: `aws configure export-credentials` makes of them what can be set here. */
#ifndef PENSTOCK_LOADTEST_CREDENTIALS_H
#define PENSTOCK_LOADTEST_CREDENTIALS_H

#include <stdbool.h>

struct credentials {
	char key[129], secret[129], token[4097]; /* token: "" if there is none */
	bool placeholder;  /* nothing was found: they do for a server that verifies nothing */
	char region[33];   /* the profile's: config file first; "": it says none */
	char from[512];    /* for people, nothing secret: where they are from; of placeholders: why */
};

/* False: what was found cannot be used (too long, a control character); *why says which. */
bool credentials_find(struct credentials *credentials, char why[256]);

#endif
