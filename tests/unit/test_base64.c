/* base64: RFC 4648's vectors, canonical only, in place. */
#include <openssl/evp.h>

#include "codec_fixture.h"

static void pair(const char *plain, const char *text)
{
	char out[64];
	size_t n = base64_encode(out, plain, strlen(plain));
	cr_expect_eq(n, base64_len(strlen(plain)));
	cr_expect(n == strlen(text) && memcmp(out, text, n) == 0, "%s", text);
	uint8_t back[64];
	cr_assert(base64_decode(str_of(text), back, &n));
	cr_expect(n == strlen(plain) && memcmp(back, plain, n) == 0, "%s", text);
}

Test(base64, rfc4648)
{
	pair("", "");
	pair("f", "Zg==");
	pair("fo", "Zm8=");
	pair("foo", "Zm9v");
	pair("foob", "Zm9vYg==");
	pair("fooba", "Zm9vYmE=");
	pair("foobar", "Zm9vYmFy");
}

Test(base64, what_is_refused)
{
	static const char *const bad[] = {"A",
					  "AA",
					  "AAA",
					  "AAAAA",
					  "====",
					  "A===",
					  "=AAA",
					  "A=AA",
					  "AA=A",
					  "AA==AAAA",
					  "AAA=AAAA",
					  "QR==",
					  "Zm9=",
					  "Zm8 ",
					  " Zm8",
					  "Zm\n8",
					  "Zm-_",
					  "Zm8*",
					  "AAAA====",
					  "AAAA=",
					  "\xc3\xa4"
					  "aa",
					  "AAA\x80",
					  "*AAAAAAA",
					  "AAA*AAAA"};
	uint8_t out[64];
	size_t n;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_not(base64_decode(str_of(bad[i]), out, &n), "taken: %s", bad[i]);
}

Test(base64, every_byte_and_length_as_openssl)
{
	uint8_t plain[300], back[300];
	char ours[401], theirs[401];
	for (size_t n = 0; n < sizeof(plain); n++) {
		for (size_t i = 0; i < n; i++)
			plain[i] = (uint8_t)(i * 151 + n * 7);
		size_t len = base64_encode(ours, plain, n);
		cr_assert_eq(len, (size_t)EVP_EncodeBlock((unsigned char *)theirs, plain, (int)n));
		cr_assert_eq(memcmp(ours, theirs, len), 0);
		size_t m;
		cr_assert(base64_decode((struct str){ours, len}, back, &m));
		cr_assert(m == n && memcmp(back, plain, n) == 0);
		/* In place, and no byte outside. */
		uint8_t *place = exact_copy(ours, len);
		cr_assert(base64_decode((struct str){(char *)place, len}, place, &m));
		cr_assert(m == n && memcmp(place, plain, n) == 0);
		free(place);
	}
}

/* Whatever character stands wherever: decoded only if encoding it again gives the same text. */
Test(base64, only_canonical_texts)
{
	for (size_t at = 0; at < 8; at++)
		for (unsigned c = 0; c < 256; c++) {
			char text[9] = "Zm9vYmE=", again[9];
			uint8_t out[6];
			size_t n;
			text[at] = (char)c;
			if (base64_decode((struct str){text, 8}, out, &n))
				cr_expect(base64_encode(again, out, n) == 8 && memcmp(again, text, 8) == 0, "%zu %u", at, c);
		}
}

/* Long texts are decoded 32 characters at a time: a stranger is found at each place of them, too. */
Test(base64, a_stranger_anywhere_in_a_long_text)
{
	uint8_t plain[150], out[150];
	char text[201], again[201];
	for (size_t i = 0; i < sizeof(plain); i++)
		plain[i] = (uint8_t)(i * 89 + 3);
	cr_assert_eq(base64_encode(text, plain, sizeof(plain)), 200);
	for (size_t at = 0; at < 200; at++)
		for (unsigned c = 0; c < 256; c++) {
			char was = text[at];
			bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/';
			size_t n;
			text[at] = (char)c;
			bool taken = base64_decode((struct str){text, 200}, out, &n);
			/* A last `=` may be right: the group then has two bytes, if no bit is left over. */
			if (c == '=' && at == 199)
				cr_expect(!taken || (n == 149 && base64_encode(again, out, n) == 200 && memcmp(again, text, 200) == 0));
			else
				cr_expect(taken == letter, "%zu %u", at, c);
			if (taken && letter)
				cr_expect(n == 150 && base64_encode(again, out, n) == 200 && memcmp(again, text, 200) == 0, "%zu %u", at,
					  c);
			text[at] = was;
		}
}
