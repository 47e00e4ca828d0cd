/* test_load_credentials.c: which credentials are found, of those in the environment and in ~/.aws, and how laxly the files are read. */
#include "load_home.h"

#include "loadtest/credentials.h"

static struct credentials found;
static char why[256];

TestSuite(load_credentials, .init = home_make, .fini = home_remove);

static void expect_found(int at, const char *key, const char *secret, const char *token)
{
	cr_assert(credentials_find(&found, why), "line %d: %s", at, why);
	cr_expect_str_eq(found.key, key, "line %d: %s", at, found.key);
	cr_expect_str_eq(found.secret, secret, "line %d: %s", at, found.secret);
	cr_expect_str_eq(found.token, token, "line %d: %s", at, found.token);
	cr_expect_not(found.placeholder, "line %d: %s", at, found.from);
}
#define FOUND(...) expect_found(__LINE__, __VA_ARGS__)

static void expect_none(int at, const char *because)
{
	cr_assert(credentials_find(&found, why), "line %d: %s", at, why);
	cr_expect(found.placeholder, "line %d", at);
	cr_expect(found.key[0] && found.secret[0] && !found.token[0], "line %d", at);
	cr_expect(strstr(found.from, because), "line %d: %s", at, found.from);
}
#define NONE(because) expect_none(__LINE__, because)

#define KEYS(key, secret) "aws_access_key_id = " key "\naws_secret_access_key = " secret "\n"

Test(load_credentials, environment_comes_first)
{
	home_write(".aws/credentials", "[default]\n" KEYS("FILE", "file") "aws_session_token = of-file\n");
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "env", 1);
	FOUND("ENV", "env", "");
	cr_expect_str_eq(found.from, "the environment");
	setenv("AWS_SESSION_TOKEN", "token", 1);
	FOUND("ENV", "env", "token");
	setenv("AWS_PROFILE", "other", 1);
	FOUND("ENV", "env", "token");
	setenv("AWS_ACCESS_KEY_ID", "", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "", 1);
	setenv("AWS_PROFILE", "", 1);
	FOUND("FILE", "file", "of-file");
}

Test(load_credentials, half_of_it_is_none)
{
	home_write(".aws/credentials", "[default]\n" KEYS("FILE", "file"));
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	NONE("only one is set");
	unsetenv("AWS_ACCESS_KEY_ID");
	setenv("AWS_SECRET_ACCESS_KEY", "env", 1);
	NONE("only one is set");
	unsetenv("AWS_SECRET_ACCESS_KEY");
	home_write(".aws/credentials", "[default]\naws_access_key_id = A\n");
	NONE("profile \"default\" has no keys");
}

Test(load_credentials, credentials_file_before_config_file)
{
	home_write(".aws/config", "[default]\n" KEYS("CONFIG", "config") "region = eu-west-1\n[profile p]\n" KEYS("P", "p"));
	FOUND("CONFIG", "config", "");
	cr_expect_str_eq(found.region, "eu-west-1");
	home_write(".aws/credentials", "[default]\n" KEYS("SHARED", "shared") "region = eu-west-2\n");
	FOUND("SHARED", "shared", "");
	cr_expect_str_eq(found.region, "eu-west-1");
	cr_expect(strstr(found.from, ".aws/credentials"));
	setenv("AWS_PROFILE", "p", 1);
	FOUND("P", "p", "");
	cr_expect_str_eq(found.region, "");
	cr_expect(strstr(found.from, ".aws/config"));
	setenv("AWS_PROFILE", "q", 1);
	NONE("profile \"q\" has no keys");
}

Test(load_credentials, region_of_the_profile_with_keys_of_the_environment)
{
	home_write(".aws/credentials", "[default]\nregion = ap-south-1\n");
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", "env", 1);
	FOUND("ENV", "env", "");
	cr_expect_str_eq(found.region, "ap-south-1");
}

Test(load_credentials, other_files)
{
	home_write("other", "[default]\n" KEYS("OTHER", "other"));
	setenv("AWS_SHARED_CREDENTIALS_FILE", "~/other", 1);
	FOUND("OTHER", "other", "");
	setenv("AWS_SHARED_CREDENTIALS_FILE", "~/absent", 1);
	setenv("AWS_CONFIG_FILE", "~/other", 1);
	FOUND("OTHER", "other", "");
	unsetenv("AWS_CONFIG_FILE");
	NONE("profile \"default\" has no keys");
}

Test(load_credentials, names_of_profiles_in_the_config_file)
{
	home_write(".aws/config",
		   "[p]\n" KEYS("BARE", "bare") "[profile  \"two words\" ]\n" KEYS("TWO", "two") "[profilep]\n" KEYS("X", "x"));
	setenv("AWS_PROFILE", "p", 1);
	NONE("no keys");
	setenv("AWS_PROFILE", "two words", 1);
	FOUND("TWO", "two", "");
	unsetenv("AWS_PROFILE");
	home_write(".aws/config",
		   "[profile default]\n" KEYS("FULL", "full") "[default]\n" KEYS("SHORT", "short") "aws_session_token = short\n");
	FOUND("FULL", "full", "");
	home_write(".aws/config",
		   "[default]\n" KEYS("SHORT", "short") "aws_session_token = short\n[profile default]\n" KEYS("FULL", "full"));
	FOUND("FULL", "full", "");
	home_write(".aws/credentials", "[profile p]\n" KEYS("NO", "no"));
	setenv("AWS_PROFILE", "p", 1);
	NONE("no keys");
}

Test(load_credentials, laxly_read)
{
	home_write(".aws/credentials", "junk\naws_access_key_id = STRAY\n# [default]\n\r\n; comment\n"
				       "[ default ] # the usual\r\n\n"
				       "AWS_Access_Key_Id=FIRST\n"
				       "aws_access_key_id = SECOND ; the last one counts\r\n"
				       "aws_secret_access_key\t=\ta#b;c=d/+ # a comment\n"
				       "s3 =\n  aws_access_key_id = NESTED\n\taws_session_token = NESTED\n"
				       "no equals sign\n= no name\n[unclosed\n");
	FOUND("SECOND", "a#b;c=d/+", "");
	home_write(".aws/credentials", "[default]\naws_access_key_id = A\n[b]\n" KEYS("B", "b") "[default]\naws_secret_access_key = a");
	FOUND("A", "a", "");
	home_write(".aws/credentials", "[default]\n" KEYS("A", "a") "aws_session_token =\n[Default]\n" KEYS("B", "b"));
	FOUND("A", "a", "");
}

Test(load_credentials, what_is_not_followed_is_named)
{
	home_write(".aws/config",
		   "[default]\nsso_session = mine\nregion = us-west-2\n[profile r]\nrole_arn = arn\nsource_profile = default\n");
	NONE("sso_session, which is not followed");
	cr_expect_str_eq(found.region, "us-west-2");
	setenv("AWS_PROFILE", "r", 1);
	NONE("profile \"r\" has role_arn, which is not followed");
}

Test(load_credentials, what_cannot_be_used)
{
	char *longest = xasprintf("%0200d", 1);
	setenv("AWS_ACCESS_KEY_ID", "ENV", 1);
	setenv("AWS_SECRET_ACCESS_KEY", longest, 1);
	cr_expect_not(credentials_find(&found, why));
	cr_expect_str_eq(why, "the secret access key of the environment is longer than 128 characters");
	setenv("AWS_SECRET_ACCESS_KEY", "hush\nhush", 1);
	cr_expect_not(credentials_find(&found, why));
	cr_expect(strstr(why, "secret access key of the environment has a blank") && !strstr(why, "hush"), "%s", why);
	free(longest);
}

Test(load_credentials, nothing_at_all)
{
	NONE("profile \"default\" has no keys in penstock-home-");
	cr_expect_str_eq(found.region, "");
}
