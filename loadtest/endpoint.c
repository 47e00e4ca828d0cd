/* endpoint.c: from options, environment and files to an endpoint that has answered once; see endpoint.h.
 *
 *   - credentials and the profile's region (credentials.c), the URL (url.c), the region, TLS trust, then a first connection
 * (endpoint_probe.c)
 *
 * Failures are sentences: what is wrong, and with which host, file or variable. */
#include "loadtest/endpoint.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "loadtest/credentials.h"
#include "loadtest/url.h"

#define DEFAULT_URL "http://127.0.0.1:4567"
#define DEFAULT_REGION "us-east-1"

static const char *first_set(const char *a, const char *b)
{
	const char *value = getenv(a);
	if (!value || !*value)
		value = getenv(b);
	return value && *value ? value : NULL;
}

/* ---- Region and URL ---- */

static bool set_region(struct endpoint *endpoint, const char *region, char why[256])
{
	size_t n = strlen(region);
	if (n == 0 || n >= sizeof endpoint->region || strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") != n) {
		snprintf(why, 256, "\"%.64s\" is no region: 1 to 32 of a-z, 0-9 and -", region);
		return false;
	}
	memcpy(endpoint->region, region, n + 1);
	return true;
}

/* What is said of the region before the host is known; NULL: nothing. */
static const char *region_said(const struct endpoint_options *options, const struct credentials *credentials)
{
	const char *said = options->region ? options->region : first_set("AWS_REGION", "AWS_DEFAULT_REGION");
	return said ? said : credentials->region[0] ? credentials->region : NULL;
}

static bool choose_url(struct endpoint *endpoint, const struct endpoint_options *options, const char *region,
		       const struct credentials *credentials, char why[256])
{
	const char *url = options->url ? options->url : first_set("AWS_ENDPOINT_URL_KINESIS", "AWS_ENDPOINT_URL");
	struct url parts;
	if (!url && options->aws && region && !credentials->placeholder)
		snprintf(endpoint->url, sizeof endpoint->url, "https://kinesis.%.32s.amazonaws.com%s", region,
			 strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
	else
		snprintf(endpoint->url, sizeof endpoint->url, "%s", url ? url : DEFAULT_URL);
	if (!url_parse(url ? url : endpoint->url, &parts, why))
		return false;
	memcpy(endpoint->host, parts.host, sizeof endpoint->host);
	memcpy(endpoint->authority, parts.authority, sizeof endpoint->authority);
	endpoint->port = parts.port;
	endpoint->tls = parts.tls;
	return true;
}

static bool choose_region(struct endpoint *endpoint, const char *said, char why[256])
{
	char of_host[33];
	if (said)
		return set_region(endpoint, said, why);
	return set_region(endpoint, url_region(endpoint->host, of_host) ? of_host : DEFAULT_REGION, why);
}

/* ---- Credentials ---- */

static bool take_credentials(struct endpoint *endpoint, const struct credentials *credentials, char why[256])
{
	memcpy(endpoint->key, credentials->key, sizeof endpoint->key);
	memcpy(endpoint->secret, credentials->secret, sizeof endpoint->secret);
	memcpy(endpoint->token, credentials->token, sizeof endpoint->token);
	memcpy(endpoint->credentials_from, credentials->from, sizeof endpoint->credentials_from);
	endpoint->placeholder = credentials->placeholder;
	if (!endpoint->placeholder || !url_is_aws(endpoint->host))
		return true;
	snprintf(why, 256, "no credentials for %.80s: %.150s", endpoint->host, credentials->from);
	return false;
}

/* ---- Trust ---- */

static bool trust(SSL_CTX *context, const struct endpoint_options *options, char why[256])
{
	const char *bundle = getenv("AWS_CA_BUNDLE"), *ca = options->ca ? options->ca : bundle && *bundle ? bundle : NULL;
	if (options->insecure)
		return true;
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_default_verify_paths(context);
	if (ca && SSL_CTX_load_verify_file(context, ca) != 1) {
		const char *reason = ERR_reason_error_string(ERR_peek_last_error());
		snprintf(why, 256, "%.150s: is no PEM file of certificates: %s", ca, reason ? reason : "unknown");
		return false;
	}
	return true;
}

static bool tls_init(struct endpoint *endpoint, const struct endpoint_options *options, char why[256])
{
	if (!endpoint->tls)
		return true;
	SSL_CTX *context = endpoint->tls_context = SSL_CTX_new(TLS_client_method());
	if (!context) {
		snprintf(why, 256, "TLS cannot be used: %s", ERR_reason_error_string(ERR_peek_last_error()));
		return false;
	}
	SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_read_ahead(context, 1); /* several records per system call */
	SSL_CTX_set_default_read_buffer_len(context, 64 << 10);
	bool good = trust(context, options, why);
	ERR_clear_error();
	return good;
}

bool endpoint_open(struct endpoint *endpoint, const struct endpoint_options *options, char why[256])
{
	struct credentials credentials;
	*endpoint = (struct endpoint){0};
	bool good = credentials_find(&credentials, why);
	const char *region = good ? region_said(options, &credentials) : NULL;
	good = good && choose_url(endpoint, options, region, &credentials, why) && choose_region(endpoint, region, why) &&
	       take_credentials(endpoint, &credentials, why) && tls_init(endpoint, options, why) &&
	       endpoint_probe(endpoint, options->protocol, why);
	if (!good)
		endpoint_close(endpoint);
	return good;
}

void endpoint_close(struct endpoint *endpoint)
{
	SSL_CTX_free(endpoint->tls_context);
	endpoint->tls_context = NULL;
}
