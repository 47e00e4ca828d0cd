/* test_keys.c: credentials files: what is read, what is refused, and that no refusal tells a secret. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "penstock/slog.h"
#include "server/keys.h"

static char path[] = "penstock-keys-XXXXXX";
static struct keys *keys;
static char *why;

static void setup(void)
{
	slog_set_level(SLOG_ERROR);
	cr_assert_geq(close(mkstemp(path)), 0); /* mode 0600 */
}

static void teardown(void)
{
	unlink(path);
	free(why);
	keys_unref(keys);
}

TestSuite(keys, .init = setup, .fini = teardown);

static enum status load_bytes(const char *text, size_t n)
{
	FILE *file = fopen(path, "w");
	cr_assert(file && fwrite(text, 1, n, file) == n && fclose(file) == 0);
	free(why);
	why = NULL;
	keys_unref(keys);
	keys = NULL;
	return keys_load(path, &keys, &why);
}

static enum status load(const char *text) { return load_bytes(text, strlen(text)); }

#define ONE "[default]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = hushhush\n"

Test(keys, a_file_with_everything)
{
	cr_assert_eq(load("# who may call\n\n; both kinds of comment\r\n" ONE "\n[ with token ]\r\n  aws_access_key_id=ASIA\r\n"
			  "\taws_secret_access_key\t=\ta/b+c==\t\naws_session_token = tok/en+==\naccount_id=123456789012"),
		     STATUS_OK);
	cr_assert_eq(keys->n, 2);
	const struct principal *plain = keys_find(keys, STR("AKIDEXAMPLE")), *token = keys_find(keys, STR("ASIA"));
	cr_assert(plain && token);
	cr_expect_str_eq(plain->profile, "default");
	cr_expect_str_eq(plain->secret, "hushhush");
	cr_expect(!plain->token && !plain->account);
	cr_expect_str_eq(token->profile, "with token");
	cr_expect_str_eq(token->secret, "a/b+c==");
	cr_expect_str_eq(token->token, "tok/en+==");
	cr_expect_str_eq(token->account, "123456789012");
	cr_expect_null(keys_find(keys, STR("AKIDEXAMPL")));
	cr_expect_null(keys_find(keys, STR("")));
	cr_expect_null(keys_find(keys, STR("ZZZ")));
	cr_expect(strlen(keys->nobody.secret) == 40 && keys->nobody.number == 2);
}

Test(keys, a_thousand_are_all_found)
{
	struct buf text = {0};
	for (int i = 0; i < 1000; i++)
		buf_printf(&text, "[p%d]\naws_access_key_id=AK%d\naws_secret_access_key=s%d\n", i, i * 7919 % 1000, i * 7919 % 1000);
	cr_assert_eq(load_bytes((const char *)text.p, text.n), STATUS_OK);
	buf_free(&text);
	for (uint32_t i = 0; i < 1000; i++) {
		char key[16];
		snprintf(key, sizeof(key), "AK%u", i);
		const struct principal *found = keys_find(keys, str_of(key));
		cr_assert_not_null(found);
		cr_expect(strcmp(found->secret + 1, key + 2) == 0 && found == &keys->principals[found->number]);
	}
}

Test(keys, other_settings_are_passed_over)
{
	cr_assert_eq(load(ONE "region = eu-west-1\n"), STATUS_OK);
	cr_expect_eq(keys->n, 1);
}

static void expect_refused(int line, const char *text, unsigned at, const char *flaw)
{
	char wanted[256];
	cr_expect_eq(load(text), STATUS_INVALID_ARGUMENT, "line %d", line);
	snprintf(wanted, sizeof(wanted), "%s:%u: %s", path, at, flaw);
	cr_assert_not_null(why, "line %d", line);
	cr_expect_str_eq(why, wanted, "line %d: %s", line, why);
	cr_expect_null(strstr(why, "hush"), "line %d: a secret is told", line);
}
#define REFUSED(text, at, flaw) expect_refused(__LINE__, text, at, flaw)

Test(keys, every_bad_line_is_named)
{
	REFUSED("", 0, "the file ends without a profile");
	REFUSED("# nothing\n", 1, "the file ends without a profile");
	REFUSED("aws_access_key_id = A\n", 1, "a setting before the first [profile]");
	REFUSED(ONE "hushhush\n", 4, "neither [profile] nor setting = value nor # comment");
	REFUSED(ONE "= hush\n", 4, "neither [profile] nor setting = value nor # comment");
	REFUSED("[default\n", 1, "a profile's line is its name in square brackets, and no more");
	REFUSED("[]\n", 1, "a profile's line is its name in square brackets, and no more");
	REFUSED("[\n", 1, "a profile's line is its name in square brackets, and no more");
	REFUSED("[a] x\n", 1, "a profile's line is its name in square brackets, and no more");
	REFUSED("[a]b]\n", 1, "a profile's line is its name in square brackets, and no more");
	REFUSED(ONE ONE, 4, "this profile is there twice");
	REFUSED("[a]\n" ONE, 1, "this profile has no aws_access_key_id");
	REFUSED(ONE "\n[b]\naws_access_key_id = B\n", 5, "this profile has no aws_secret_access_key");
	REFUSED(ONE "aws_secret_access_key = hush2\n", 4, "this setting is there twice");
	REFUSED("[a]\naws_access_key_id = A K\n", 2, "aws_access_key_id is 1 to 128 letters, digits, _, - and .");
	REFUSED("[a]\naws_access_key_id = hush/hush\n", 2, "aws_access_key_id is 1 to 128 letters, digits, _, - and .");
	REFUSED("[a]\naws_access_key_id =\n", 2, "aws_access_key_id is 1 to 128 letters, digits, _, - and .");
	REFUSED("[a]\naws_secret_access_key = hush hush\n", 2, "aws_secret_access_key is 1 to 256 characters of ASCII without blanks");
	REFUSED("[a]\naws_secret_access_key = hush\xc3\xa4\n", 2, "aws_secret_access_key is 1 to 256 characters of ASCII without blanks");
	REFUSED(ONE "aws_session_token =\n", 4, "aws_session_token is 1 to 8192 characters of ASCII without blanks");
	REFUSED(ONE "account_id = 12345678901\n", 4, "account_id is 12 digits");
	REFUSED(ONE "account_id = 12345678901x\n", 4, "account_id is 12 digits");
	REFUSED(ONE "[b]\naws_access_key_id = AKIDEXAMPLE\naws_secret_access_key = hush\n", 4,
		"this profile's aws_access_key_id is another one's too");
}

Test(keys, bytes_that_are_no_text)
{
	static const char zero[] = "[a\0b]\n";
	cr_expect_eq(load_bytes(zero, sizeof(zero) - 1), STATUS_INVALID_ARGUMENT);
	static const char secret[] = "[a]\naws_secret_access_key = hu\0sh\n";
	cr_expect_eq(load_bytes(secret, sizeof(secret) - 1), STATUS_INVALID_ARGUMENT);
	for (unsigned seed = 1; seed <= 2000; seed++) { /* any change of one byte is read, or refused */
		char text[] = ONE ONE;
		unsigned at = seed * 2654435761u % (sizeof(text) - 1);
		text[at] = (char)(seed * 40503u >> 8);
		(void)load_bytes(text, sizeof(text) - 1);
	}
}

static void expect_mode(mode_t mode, bool good)
{
	cr_assert_eq(chmod(path, mode), 0);
	free(why);
	why = NULL;
	struct keys *loaded = NULL;
	enum status status = keys_load(path, &loaded, &why);
	cr_expect_eq(status, good ? STATUS_OK : STATUS_IO, "%o", mode);
	cr_expect(good || strstr(why, "chmod 600"), "%o", mode);
	keys_unref(loaded);
}

Test(keys, only_its_owner_may_get_at_it)
{
	static const mode_t bad[] = {0644, 0640, 0604, 0660, 0602, 0610, 0601, 0777};
	cr_assert_eq(load(ONE), STATUS_OK);
	expect_mode(0600, true);
	expect_mode(0400, true);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_mode(bad[i], false);
}

Test(keys, what_is_no_file)
{
	cr_expect_eq(keys_load("penstock-keys-absent", &keys, &why), STATUS_IO);
	cr_expect_str_eq(why, "--credentials penstock-keys-absent: No such file or directory");
	free(why);
	cr_expect_eq(keys_load(".", &keys, &why), STATUS_IO);
	cr_expect_str_eq(why, "--credentials .: is no ordinary file");
}
