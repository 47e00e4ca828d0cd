/* url.c: an endpoint's URL; see url.h. http-parser takes it apart; what a signed call cannot have (user, path, query) is refused. */
#include "loadtest/url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <http_parser.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "penstock/bytes.h"

static bool flawed(const char *text, const char *flaw, char why[256])
{
	snprintf(why, 256, "\"%.150s\" is no endpoint's URL: %s", text, flaw);
	return false;
}

static struct str part(const char *text, const struct http_parser_url *parts, enum http_parser_url_fields field)
{
	if (!(parts->field_set & (1u << field)))
		return STR("");
	return (struct str){text + parts->field_data[field].off, parts->field_data[field].len};
}

static bool is_v6(const char *host)
{
	struct in6_addr address;
	return inet_pton(AF_INET6, host, &address) == 1;
}

static bool is_name(const char *host)
{
	for (const char *p = host; *p; p++)
		if (!isalnum((unsigned char)*p) && !strchr("-._", *p))
			return false;
	return *host != 0 && *host != '.';
}

bool url_parse(const char *text, struct url *out, char why[256])
{
	struct http_parser_url parts;
	http_parser_url_init(&parts);
	*out = (struct url){0};
	if (strncasecmp(text, "https://", 8) == 0)
		out->tls = true;
	else if (strncasecmp(text, "http://", 7) != 0)
		return flawed(text, "it begins with neither http:// nor https://", why);
	if (strlen(text) > 4096 || http_parser_parse_url(text, strlen(text), 0, &parts) != 0)
		return flawed(text, "it has no host, or a port that is none", why);
	if (parts.field_set & (1u << UF_USERINFO | 1u << UF_QUERY | 1u << UF_FRAGMENT))
		return flawed(text, "it has more than a host and a port", why);
	struct str host = part(text, &parts, UF_HOST), path = part(text, &parts, UF_PATH);
	if (path.n > 1)
		return flawed(text, "it has a path", why);
	if (host.n >= sizeof out->host)
		return flawed(text, "its host is too long", why);
	for (size_t i = 0; i < host.n; i++)
		out->host[i] = (char)tolower((unsigned char)host.p[i]);
	bool bracketed = host.n && host.p[-1] == '[';
	if (bracketed ? !is_v6(out->host) : !is_name(out->host))
		return flawed(text, "its host is neither a name nor an address", why);
	int standard = out->tls ? 443 : 80;
	out->port = parts.field_set & (1u << UF_PORT) ? parts.port : standard;
	if (out->port == 0)
		return flawed(text, "its port is none", why);
	int n = snprintf(out->authority, sizeof out->authority, bracketed ? "[%s]" : "%s", out->host);
	if (out->port != standard)
		snprintf(out->authority + n, sizeof out->authority - (size_t)n, ":%d", out->port);
	return true;
}

static bool is_under(const char *host, const char *domain)
{
	size_t n = strlen(host), d = strlen(domain);
	return n >= d && strcmp(host + n - d, domain) == 0 && (n == d || host[n - d - 1] == '.');
}

bool url_is_aws(const char *host)
{
	char name[256];
	size_t n = (size_t)snprintf(name, sizeof name, "%s", host);
	if (n && n < sizeof name && name[n - 1] == '.') /* the root's dot */
		name[n - 1] = 0;
	return is_under(name, "amazonaws.com") || is_under(name, "amazonaws.com.cn") || is_under(name, "api.aws");
}

/* Two letters, words, a number: "us-gov-east-1". */
static bool is_region(struct str label)
{
	size_t i = label.n, dashes = 0;
	while (i && isdigit((unsigned char)label.p[i - 1]))
		i--;
	if (i == label.n || i < 5 || label.p[i - 1] != '-' || label.p[2] != '-' || label.n > 32)
		return false;
	for (size_t k = 0; k < i; k++) {
		dashes += label.p[k] == '-';
		if (label.p[k] != '-' && !islower((unsigned char)label.p[k]))
			return false;
	}
	return dashes >= 2;
}

bool url_region(const char *host, char region[33])
{
	if (!url_is_aws(host))
		return false;
	for (const char *p = host; *p;) {
		struct str label = {p, strcspn(p, ".")};
		if (is_region(label)) {
			snprintf(region, 33, STR_FMT, STR_ARG(label));
			return true;
		}
		p += label.n + (p[label.n] == '.');
	}
	return false;
}
