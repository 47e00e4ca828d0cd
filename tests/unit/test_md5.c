/* Against OpenSSL: every length, every place, every number of texts. */
#include <criterion/criterion.h>
#include <openssl/evp.h>

#include "penstock/md5.h"

static void expect(struct str text, const uint8_t *digest)
{
	uint8_t right[MD5_BYTES];
	unsigned n = sizeof(right);
	cr_assert(EVP_Digest(text.p, text.n, right, &n, EVP_md5(), NULL));
	cr_assert(memcmp(right, digest, sizeof(right)) == 0, "length %zu", text.n);
}

Test(md5, every_length_at_every_place)
{
	char bytes[MD5_TEXTS][MD5_SHORT];
	struct str texts[MD5_TEXTS];
	uint8_t digests[MD5_TEXTS][MD5_BYTES];
	for (size_t n = 1; n <= MD5_TEXTS; n++)
		for (size_t length = 0; length <= MD5_SHORT; length++) {
			for (size_t i = 0; i < n; i++) {
				texts[i] = (struct str){bytes[i], (length + 7 * i) % (MD5_SHORT + 1)};
				for (size_t j = 0; j < texts[i].n; j++)
					bytes[i][j] = (char)(n * 31 + length * 17 + i * 101 + j * 13);
			}
			if (!md5_short(texts, n, digests))
				cr_skip_test("this CPU has no AVX2");
			for (size_t i = 0; i < n; i++)
				expect(texts[i], digests[i]);
		}
}
