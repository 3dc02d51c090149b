/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/seal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/pem.h>
#include <string.h>

#include "proto/base/files.h"
#include "proto/openssl_util.h"

#define KEY_FILE_MAX KiB(16)
#define DOMAIN_MAX 32
#define SIGNED_TEXT_MAX (DOMAIN_MAX + 1 + SEAL_HASH_LEN)

struct seal_key {
	EVP_PKEY *pkey;
	EVP_MD_CTX *ctx;
	uint8_t public[SEAL_PUBLIC_LEN];
};

struct seal_verifier {
	EVP_PKEY *pkey;
	EVP_MD_CTX *ctx;
};

/* A key file that asks for a passphrase fails, instead of a daemon that waits at a terminal. */
static int no_passphrase(char *buf, int size, int rwflag, void *ctx)
{
	(void)buf;
	(void)size;
	(void)rwflag;
	(void)ctx;
	return 0;
}

static int adopt_pkey(struct seal_key *k, const char *path, const uint8_t *pem, size_t len,
		      struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = BIO_new_mem_buf(pem, (int)len);
	size_t public_len = SEAL_PUBLIC_LEN;

	if (!bio)
		return error_set(e, -ENOMEM, "cannot read the key '%s': %m", path);
	k->pkey = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	if (!k->pkey)
		return error_set(e, -EINVAL, "cannot read the key '%s': %s", path,
				 openssl_reason());
	if (EVP_PKEY_get_id(k->pkey) != EVP_PKEY_ED25519)
		return error_set(e, -EINVAL, "the key '%s' is not an Ed25519 key", path);
	if (EVP_PKEY_get_raw_public_key(k->pkey, k->public, &public_len) != 1 ||
	    public_len != SEAL_PUBLIC_LEN)
		return error_set(e, -EINVAL, "cannot use the key '%s': %s", path, openssl_reason());
	return 0;
}

static void seal_key_free_ptr(struct seal_key **k)
{
	seal_key_free(*k);
}

int seal_key_load(const char *path, struct seal_key **ret_key, struct error *e)
{
	AUTO(seal_key_free_ptr) struct seal_key *k = calloc(1, sizeof(*k));
	uint8_t *pem = NULL;
	size_t len = 0;
	int r;

	if (k)
		k->ctx = EVP_MD_CTX_new();
	if (!k || !k->ctx)
		return error_set(e, -ENOMEM, "cannot read the key '%s': %m", path);
	r = files_read(path, KEY_FILE_MAX, &pem, &len, e);
	if (r < 0)
		return error_wrap(e, r, "cannot read the sealing key");
	r = adopt_pkey(k, path, pem, len, e);
	OPENSSL_cleanse(pem, len);
	free(pem);
	if (r < 0) {
		error_hint(e, "make one with: openssl genpkey -algorithm ed25519 -out FILE");
		return r;
	}
	*ret_key = TAKE(k);
	return 0;
}

void seal_key_free(struct seal_key *k)
{
	if (!k)
		return;
	EVP_MD_CTX_free(k->ctx);
	EVP_PKEY_free(k->pkey);
	free(k);
}

void seal_key_public(const struct seal_key *k, uint8_t ret_public[static SEAL_PUBLIC_LEN])
{
	memcpy(ret_public, k->public, SEAL_PUBLIC_LEN);
}

/* DOMAIN || NUL || SHA-256(data). */
static int signed_text(const char *domain, const void *data, size_t len,
		       uint8_t text[static SIGNED_TEXT_MAX], size_t *ret_len)
{
	size_t domain_len = strlen(domain);
	struct seal_hash hash;
	int r;

	if (domain_len > DOMAIN_MAX)
		return -EINVAL;
	r = seal_sha256(data, len, &hash);
	if (r < 0)
		return r;
	memcpy(text, domain, domain_len + 1);
	memcpy(text + domain_len + 1, hash.b, sizeof(hash.b));
	*ret_len = domain_len + 1 + sizeof(hash.b);
	return 0;
}

static int sign_bytes(struct seal_key *k, const void *data, size_t len,
		      uint8_t ret_signature[static SEAL_SIGNATURE_LEN], struct error *e)
{
	size_t signature_len = SEAL_SIGNATURE_LEN;

	if (EVP_DigestSignInit(k->ctx, NULL, NULL, NULL, k->pkey) != 1 ||
	    EVP_DigestSign(k->ctx, ret_signature, &signature_len, data, len) != 1 ||
	    signature_len != SEAL_SIGNATURE_LEN)
		return error_set(e, -EIO, "cannot sign: %s", openssl_reason());
	return 0;
}

int seal_sign(struct seal_key *k, const char *domain, const void *data, size_t len,
	      uint8_t ret_signature[static SEAL_SIGNATURE_LEN], struct error *e)
{
	uint8_t text[SIGNED_TEXT_MAX];
	size_t text_len;
	int r = signed_text(domain, data, len, text, &text_len);

	if (r < 0)
		return error_set(e, r, "cannot hash what is to be signed: %m");
	return sign_bytes(k, text, text_len, ret_signature, e);
}

int seal_sign_text(struct seal_key *k, const char *text, size_t len,
		   uint8_t ret_signature[static SEAL_SIGNATURE_LEN], struct error *e)
{
	if (memchr(text, '\0', len))
		return error_set(e, -EINVAL, "a text that is signed as it is holds no NUL");
	return sign_bytes(k, text, len, ret_signature, e);
}

int seal_verifier_new(const uint8_t public[static SEAL_PUBLIC_LEN], struct seal_verifier **ret_v,
		      struct error *e)
{
	struct seal_verifier *v = calloc(1, sizeof(*v));

	if (v) {
		v->ctx = EVP_MD_CTX_new();
		v->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public,
						      SEAL_PUBLIC_LEN);
	}
	if (!v || !v->ctx || !v->pkey) {
		seal_verifier_free(v);
		return error_set(e, -ENOMEM, "cannot use the sealing key: %s", openssl_reason());
	}
	*ret_v = v;
	return 0;
}

void seal_verifier_free(struct seal_verifier *v)
{
	if (!v)
		return;
	EVP_MD_CTX_free(v->ctx);
	EVP_PKEY_free(v->pkey);
	free(v);
}

static int verify_bytes(struct seal_verifier *v, const void *data, size_t len,
			const void *signature, size_t signature_len)
{
	if (signature_len != SEAL_SIGNATURE_LEN)
		return -EBADMSG;
	if (EVP_DigestVerifyInit(v->ctx, NULL, NULL, NULL, v->pkey) != 1 ||
	    EVP_DigestVerify(v->ctx, signature, signature_len, data, len) != 1) {
		(void)openssl_reason();
		return -EBADMSG;
	}
	return 0;
}

int seal_verify(struct seal_verifier *v, const char *domain, const void *data, size_t len,
		const void *signature, size_t signature_len)
{
	uint8_t text[SIGNED_TEXT_MAX];
	size_t text_len;
	int r;

	if (signature_len != SEAL_SIGNATURE_LEN)
		return -EBADMSG;
	r = signed_text(domain, data, len, text, &text_len);
	return r < 0 ? r : verify_bytes(v, text, text_len, signature, signature_len);
}

int seal_verify_text(struct seal_verifier *v, const char *text, size_t len, const void *signature,
		     size_t signature_len)
{
	if (memchr(text, '\0', len))
		return -EBADMSG;
	return verify_bytes(v, text, len, signature, signature_len);
}

void seal_key_id(const uint8_t public[static SEAL_PUBLIC_LEN],
		 uint8_t ret_id[static SEAL_KEY_ID_LEN])
{
	struct seal_hash hash = { 0 };

	/* Out of memory leaves an id of zeros: nobody's. */
	if (seal_sha256(public, SEAL_PUBLIC_LEN, &hash) < 0)
		memset(hash.b, 0, sizeof(hash.b));
	memcpy(ret_id, hash.b, SEAL_KEY_ID_LEN);
}

int seal_sha256(const void *data, size_t len, struct seal_hash *ret_hash)
{
	if (EVP_Digest(data, len, ret_hash->b, NULL, EVP_sha256(), NULL) != 1) {
		(void)openssl_reason();
		return -ENOMEM;
	}
	return 0;
}
