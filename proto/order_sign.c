/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/order.h"

#include <errno.h>
#include <openssl/pem.h>
#include <string.h>
#include <time.h>

#include "proto/authorities_x509.h"
#include "proto/base/files.h"
#include "proto/openssl_util.h"
#include "proto/order_pkcs11.h"
#include "proto/order_signature.h"

#define FILE_MAX KiB(64)

struct order_signer {
	struct identity id;
	EVP_PKEY *key;
	X509 *certificate;
	uint8_t *der; /* of the certificate */
	size_t der_len;
};

void order_signer_free(struct order_signer *s)
{
	if (s == NULL)
		return;
	EVP_PKEY_free(s->key);
	X509_free(s->certificate);
	OPENSSL_free(s->der);
	free(s);
}

static void order_signer_free_ptr(struct order_signer **s)
{
	order_signer_free(*s);
}

const struct identity *order_signer_identity(const struct order_signer *s)
{
	return &s->id;
}

static int read_bio(const char *path, BIO **ret, struct error *e)
{
	AUTO(free_ptr) uint8_t *data = NULL;
	size_t len = 0;
	int r = files_read(path, FILE_MAX, &data, &len, e);

	if (r < 0)
		return r;
	/* Memory of its own: keys are cleansed with it. */
	*ret = BIO_new(BIO_s_secmem());
	if (*ret == NULL || BIO_write(*ret, data, (int)len) != (int)len)
		r = error_set(e, -ENOMEM, "cannot read '%s': out of memory", path);
	OPENSSL_cleanse(data, len);
	return r;
}

static int load_file(const char *path, EVP_PKEY **ret, struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = NULL;
	int r = read_bio(path, &bio, e);

	if (r < 0)
		return error_wrap(e, r, "cannot read the signing key");
	/* No callback of ours: an encrypted key asks at the terminal, where a person sits. */
	*ret = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
	if (*ret == NULL)
		return error_set(e, -EINVAL, "cannot read the signing key '%s': %s", path,
				 openssl_reason());
	return 0;
}

static int load_certificate(struct order_signer *s, const char *path, struct error *e)
{
	AUTO(bio_free_ptr) BIO *bio = NULL;
	int r = read_bio(path, &bio, e), len;

	if (r < 0)
		return error_wrap(e, r, "cannot read the signing certificate");
	s->certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);
	len = s->certificate != NULL ? i2d_X509(s->certificate, &s->der) : 0;
	if (len <= 0)
		return error_set(e, -EINVAL, "cannot read the signing certificate '%s': %s", path,
				 openssl_reason());
	s->der_len = (size_t)len;
	return 0;
}

/* What every host would say, said here where it can be mended. */
static int check_pair(struct order_signer *s, const char *key, const char *certificate,
		      struct error *e)
{
	int64_t now_s = time(NULL);
	int r = order_certificate_usage(s->certificate, e);

	if (r == 0)
		r = authorities_read_leaf(s->certificate, NULL, now_s, now_s, &s->id, e);
	if (r < 0) {
		if (r == -EKEYEXPIRED)
			error_hint(e, "have the order authority issue a new one: "
				      "exhibit authority issue");
		return error_wrap(e, r, "cannot sign with '%s'", certificate);
	}
	if (EVP_PKEY_eq(X509_get0_pubkey(s->certificate), s->key) == 1)
		return 0;
	(void)openssl_reason();
	return error_set(e, -EINVAL, "the signing key '%s' does not belong to the certificate '%s'",
			 key, certificate);
}

int order_signer_open(const char *key, const char *certificate, struct order_signer **ret,
		      struct error *e)
{
	AUTO(order_signer_free_ptr) struct order_signer *s = calloc(1, sizeof(*s));
	int r;

	if (s == NULL)
		return error_set(e, -ENOMEM, "cannot sign orders: %m");
	r = load_certificate(s, certificate, e);
	if (r == 0)
		r = order_pkcs11_is(key) ? order_pkcs11_load(key, &s->key, e) :
					   load_file(key, &s->key, e);
	if (r == 0)
		r = check_pair(s, key, certificate, e);
	if (r == 0)
		*ret = TAKE(s);
	return r;
}

static int sign(struct order_signer *s, const uint8_t *text, size_t len, uint8_t *out,
		size_t *inout_len, struct error *e)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *digest;

	/* The certificate's key, not the token's, says which: both are the same by now. */
	if (ctx == NULL || !order_key_digest(X509_get0_pubkey(s->certificate), &digest) ||
	    EVP_DigestSignInit(ctx, NULL, digest, NULL, s->key) != 1 ||
	    EVP_DigestSign(ctx, out, inout_len, text, len) != 1) {
		(void)error_set(e, -EIO, "cannot sign with the key of '%s': %s", s->id.name,
				openssl_reason());
		error_hint(e, "on a token, the PIN may be missing or wrong");
		return -EIO;
	}
	return 0;
}

int order_sign(struct order_signer *s, const char *domain, const void *order, size_t len,
	       Exhibit__V1__OrderSignature *ret, struct error *e)
{
	uint8_t text[ORDER_TEXT_MAX], signature[ORDER_SIGNATURE_MAX];
	size_t text_len, signature_len = sizeof(signature);
	int r = order_signed_text(domain, order, len, text, &text_len);

	if (r < 0)
		return error_set(e, r, "cannot hash an order: %m");
	r = sign(s, text, text_len, signature, &signature_len, e);
	if (r < 0)
		return r;
	exhibit__v1__order_signature__init(ret);
	ret->certificate.data = malloc(s->der_len);
	ret->signature.data = malloc(signature_len);
	if (ret->certificate.data == NULL || ret->signature.data == NULL) {
		order_signature_release(ret);
		return error_set(e, -ENOMEM, "cannot keep a signature: out of memory");
	}
	memcpy(ret->certificate.data, s->der, s->der_len);
	ret->certificate.len = s->der_len;
	memcpy(ret->signature.data, signature, signature_len);
	ret->signature.len = signature_len;
	return 0;
}

void order_signature_release(Exhibit__V1__OrderSignature *s)
{
	free(s->certificate.data);
	free(s->signature.data);
	exhibit__v1__order_signature__init(s);
}
