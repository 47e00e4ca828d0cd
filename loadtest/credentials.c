/* credentials.c: the environment and ~/.aws; see credentials.h.
 *
 * The files are read as SDKs read them, whose rules are laxer than the server's for its own file: a line that fits nowhere is passed over,
 * names of settings are of either case, an indented line belongs to the setting above it, " #" and " ;" end a value, of one setting that is
 * there twice the last counts, and sections of one name are one. */
#include "loadtest/credentials.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <unistd.h>

#include "penstock/bytes.h"
#include "penstock/ini.h"

#define FILE_MAX ((size_t)1 << 20)

struct profile {
	const char *name;
	int rank; /* 0: not seen; [default] 1; [profile NAME] or a credentials file's [NAME] 2 */
	struct buf key, secret, token, region;
	char other[40]; /* a setting that says how else to get credentials */
};

/* The environment's string; NULL if it is not set or empty. */
static const char *setting(const char *name)
{
	const char *value = getenv(name);
	return value && *value ? value : NULL;
}

/* ---- Files ---- */

static char *path_of(const char *variable, const char *in_home)
{
	const char *set = setting(variable), *home = setting("HOME");
	struct passwd *user = home ? NULL : getpwuid(getuid());
	if (!home)
		home = user && user->pw_dir ? user->pw_dir : "";
	if (set && strncmp(set, "~/", 2) == 0)
		return xasprintf("%s/%s", home, set + 2);
	return set ? xstrdup(set) : xasprintf("%s/.aws/%s", home, in_home);
}

/* A file that is not there, or cannot be read, has nothing in it. */
static void read_file(const char *path, struct buf *text)
{
	FILE *file = fopen(path, "re");
	if (!file)
		return;
	for (size_t n = 1; n && text->n < FILE_MAX; text->n += n)
		n = fread(buf_reserve(text, 4096), 1, 4096, file);
	fclose(file);
}

static struct str without_comment(struct str value)
{
	for (size_t i = 1; i < value.n; i++)
		if ((value.p[i] == '#' || value.p[i] == ';') && strchr(" \t", value.p[i - 1])) {
			for (value.n = i; value.n && strchr(" \t", value.p[value.n - 1]);)
				value.n--;
			return value;
		}
	return value;
}

static struct str unquoted(struct str name)
{
	while (name.n && strchr(" \t", name.p[0]))
		name = (struct str){name.p + 1, name.n - 1};
	if (name.n >= 2 && strchr("\"'", name.p[0]) && name.p[name.n - 1] == name.p[0])
		name = (struct str){name.p + 1, name.n - 2};
	return name;
}

/* How well does a section's name stand for the profile? 0: not at all. */
static int rank_of(const struct profile *profile, struct str section, bool config)
{
	struct str wanted = str_of(profile->name);
	if (!config)
		return str_equal(section, wanted) ? 2 : 0;
	if (section.n > 7 && memcmp(section.p, "profile", 7) == 0 && strchr(" \t", section.p[7]))
		return str_equal(unquoted((struct str){section.p + 7, section.n - 7}), wanted) ? 2 : 0;
	return str_equal(section, STR("default")) && str_equal(section, wanted) ? 1 : 0;
}

static void keep(struct buf *into, struct str value)
{
	into->n = 0;
	buf_put_str(into, value);
}

static bool named(struct str name, const char *wanted) { return name.n == strlen(wanted) && strncasecmp(name.p, wanted, name.n) == 0; }

static void take_setting(struct profile *profile, struct str name, struct str value)
{
	static const char *const others[] = {"role_arn",           "sso_session",       "sso_start_url",
					     "credential_process", "credential_source", "web_identity_token_file"};
	if (named(name, "aws_access_key_id"))
		keep(&profile->key, value);
	else if (named(name, "aws_secret_access_key"))
		keep(&profile->secret, value);
	else if (named(name, "aws_session_token"))
		keep(&profile->token, value);
	else if (named(name, "region"))
		keep(&profile->region, value);
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (named(name, others[i]))
			snprintf(profile->other, sizeof profile->other, "%s", others[i]);
}

static void profile_forget(struct profile *profile)
{
	buf_free(&profile->key);
	buf_free(&profile->secret);
	buf_free(&profile->token);
	buf_free(&profile->region);
	*profile = (struct profile){.name = profile->name};
}

static void profile_read(struct profile *profile, const char *path, bool config)
{
	struct buf text = {0};
	struct ini_line line = {0};
	bool inside = false;
	read_file(path, &text);
	struct str rest = {(const char *)text.p, text.n};
	while (ini_next(&rest, &line)) {
		if (line.kind == INI_SECTION) {
			int rank = rank_of(profile, line.name, config);
			inside = rank && rank >= profile->rank;
			if (inside && rank > profile->rank) { /* [profile default] puts [default] out of use */
				profile_forget(profile);
				profile->rank = rank;
			}
		} else if (inside && line.kind == INI_SETTING && !line.indented) {
			take_setting(profile, line.name, without_comment(line.value));
		}
	}
	buf_free(&text);
}

/* ---- What was found ---- */

static bool take(char *into, size_t size, struct str value, const char *what, const char *from, char why[256])
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] <= ' ' || value.p[i] > '~') {
			snprintf(why, 256, "the %s of %.180s has a blank or a character that is no ASCII", what, from);
			return false;
		}
	if (value.n >= size) {
		snprintf(why, 256, "the %s of %.180s is longer than %zu characters", what, from, size - 1);
		return false;
	}
	snprintf(into, size, STR_FMT, STR_ARG(value));
	return true;
}

static struct str str_of_buf(const struct buf *buf) { return (struct str){buf->n ? (const char *)buf->p : "", buf->n}; }

static bool take_all(struct credentials *out, struct str key, struct str secret, struct str token, char why[256])
{
	out->placeholder = false;
	return take(out->key, sizeof out->key, key, "access key id", out->from, why) &&
	       take(out->secret, sizeof out->secret, secret, "secret access key", out->from, why) &&
	       take(out->token, sizeof out->token, token, "session token", out->from, why);
}

static bool use_profile(struct credentials *out, const struct profile *profile, const char *path, char why[256])
{
	snprintf(out->from, sizeof out->from, "profile \"%.64s\" of %s", profile->name, path);
	return take_all(out, str_of_buf(&profile->key), str_of_buf(&profile->secret), str_of_buf(&profile->token), why);
}

static void explain(struct credentials *out, const struct profile *shared, const struct profile *config, const char *shared_path,
		    const char *config_path)
{
	const char *other = shared->other[0] ? shared->other : config->other;
	if (setting("AWS_ACCESS_KEY_ID") || setting("AWS_SECRET_ACCESS_KEY"))
		snprintf(out->from, sizeof out->from, "of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY only one is set");
	else if (other[0])
		snprintf(out->from, sizeof out->from, "profile \"%.64s\" has %s, which is not followed", shared->name, other);
	else
		snprintf(out->from, sizeof out->from, "profile \"%.64s\" has no keys in %.200s or %.200s", shared->name, shared_path,
			 config_path);
}

static bool choose(struct credentials *out, const struct profile *shared, const struct profile *config, const char *shared_path,
		   const char *config_path, char why[256])
{
	const struct buf *region = config->region.n ? &config->region : &shared->region;
	const char *key = setting("AWS_ACCESS_KEY_ID"), *secret = setting("AWS_SECRET_ACCESS_KEY"), *token = setting("AWS_SESSION_TOKEN");
	if (!take(out->region, sizeof out->region, str_of_buf(region), "region", config->region.n ? config_path : shared_path, why))
		return false;
	if (key && secret) {
		snprintf(out->from, sizeof out->from, "the environment");
		return take_all(out, str_of(key), str_of(secret), token ? str_of(token) : STR(""), why);
	}
	if (!key && !secret && shared->key.n && shared->secret.n)
		return use_profile(out, shared, shared_path, why);
	if (!key && !secret && config->key.n && config->secret.n)
		return use_profile(out, config, config_path, why);
	explain(out, shared, config, shared_path, config_path);
	strcpy(out->key, "penstock");
	strcpy(out->secret, "penstock");
	return true;
}

bool credentials_find(struct credentials *credentials, char why[256])
{
	const char *name = setting("AWS_PROFILE") ? setting("AWS_PROFILE") : "default";
	struct profile shared = {.name = name}, config = {.name = name};
	char *shared_path = path_of("AWS_SHARED_CREDENTIALS_FILE", "credentials"), *config_path = path_of("AWS_CONFIG_FILE", "config");
	*credentials = (struct credentials){.placeholder = true};
	profile_read(&shared, shared_path, false);
	profile_read(&config, config_path, true);
	bool good = choose(credentials, &shared, &config, shared_path, config_path, why);
	profile_forget(&shared);
	profile_forget(&config);
	free(shared_path);
	free(config_path);
	return good;
}
