/* ticket_keys.c: keys of session tickets: one that seals, and the one before it, which still opens.
 *
 * Without rotation whoever learns a process's ticket key could read each TLS 1.2 connection that was resumed since its start (the ticket
 * holds the master secret), and, of TLS 1.3, whatever is not protected by the handshake's own exchange.
 *
 * Invariants: `current` is at most TICKET_LIFE_S old when it seals; `previous` opens until the next rotation
 * (OpenSSL refuses a ticket that has outlived itself). Threads: workers,
 * under one leaf mutex, once per handshake that makes or brings a ticket; a key is copied out, and rotated where its age is found.
 *
 *   - seal: the current key; its name goes with the ticket
 *   - open: the key of that name; with the previous one the client gets a new ticket
 *   - a name that is neither's: a full handshake
 *
 * Failures: no random bytes for a new key: no ticket is given, and none is opened, until there are. An idle server rotates late, at its
 * next handshake: the old keys have sealed nothing meanwhile. */
#include "server/ticket_keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "penstock/bytes.h"

#define NAME 16 /* bytes; OpenSSL's */
#define SECOND UINT64_C(1000000000)

struct key {
	unsigned char name[NAME], cipher[32], mac[32];
};

struct ticket_keys {
	pthread_mutex_t lock;
	struct io *io;
	struct key current, previous;
	bool has_current, has_previous;
	uint64_t begun_ns; /* of current */
};

static pthread_once_t place_once = PTHREAD_ONCE_INIT;
static int place = -1; /* among the context's ex_data */

/* ---- The keys; under the lock ---- */

static bool make_key(struct key *key)
{
	return RAND_bytes(key->name, sizeof(key->name)) == 1 && RAND_priv_bytes(key->cipher, sizeof(key->cipher)) == 1 &&
	       RAND_priv_bytes(key->mac, sizeof(key->mac)) == 1;
}

/* False: there is no key to seal with. */
static bool rotate(struct ticket_keys *keys)
{
	uint64_t now_ns = io_mono_ns(keys->io), age_ns = now_ns - keys->begun_ns, life_ns = TICKET_LIFE_S * SECOND;
	if (keys->has_current && age_ns < life_ns)
		return true;
	keys->has_previous = keys->has_current && age_ns < 2 * life_ns;
	keys->previous = keys->current;
	keys->has_current = make_key(&keys->current);
	keys->begun_ns = now_ns;
	if (!keys->has_previous)
		OPENSSL_cleanse(&keys->previous, sizeof(keys->previous));
	return keys->has_current;
}

/* The key that seals (name NULL), or the one of that name. 0: none; 1; 2: an older one, the client is to get a new ticket. */
static int choose(struct ticket_keys *keys, const unsigned char *name, struct key *out)
{
	int found = 0;
	pthread_mutex_lock(&keys->lock);
	if (rotate(keys) && (!name || memcmp(name, keys->current.name, NAME) == 0))
		found = 1;
	else if (name && keys->has_previous && memcmp(name, keys->previous.name, NAME) == 0)
		found = 2;
	if (found)
		*out = found == 1 ? keys->current : keys->previous;
	pthread_mutex_unlock(&keys->lock);
	return found;
}

/* ---- OpenSSL's side ---- */

static bool set_mac(EVP_MAC_CTX *mac, struct key *key)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key->mac, sizeof(key->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};
	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static bool begin_seal(struct key *key, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	memcpy(name, key->name, NAME);
	return RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 &&
	       EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1 && set_mac(mac, key);
}

static bool begin_open(struct key *key, const unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
	return set_mac(mac, key) && EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->cipher, iv) == 1;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
	struct ticket_keys *keys = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), place);
	struct key key;
	int found = choose(keys, sealing ? NULL : name, &key);
	if (found == 0)
		return 0;
	bool good = sealing ? begin_seal(&key, name, iv, cipher, mac) : begin_open(&key, iv, cipher, mac);
	OPENSSL_cleanse(&key, sizeof(key));
	return good ? found : -1;
}

static void on_free(void *parent, void *p, CRYPTO_EX_DATA *data, int at, long number, void *arg)
{
	struct ticket_keys *keys = p;
	(void)parent, (void)data, (void)at, (void)number, (void)arg;
	if (!keys)
		return;
	pthread_mutex_destroy(&keys->lock);
	OPENSSL_cleanse(keys, sizeof(*keys));
	free(keys);
}

static void find_place(void) { place = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, on_free); }

enum status ticket_keys_install(SSL_CTX *tls, struct io *io)
{
	pthread_once(&place_once, find_place);
	if (place < 0)
		return STATUS_INTERNAL;
	struct ticket_keys *keys = xcalloc(1, sizeof(*keys));
	pthread_mutex_init(&keys->lock, NULL);
	keys->io = io;
	if (!rotate(keys) || SSL_CTX_set_ex_data(tls, place, keys) != 1) {
		on_free(NULL, keys, NULL, 0, 0, NULL);
		return STATUS_INTERNAL;
	}
	SSL_CTX_set_timeout(tls, TICKET_LIFE_S);
	return SSL_CTX_set_tlsext_ticket_key_evp_cb(tls, on_ticket) == 1 ? STATUS_OK : STATUS_INTERNAL;
}
