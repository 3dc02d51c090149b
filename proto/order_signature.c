/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/order_signature.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/objects.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "proto/openssl_util.h"
#include "proto/order.h"

int order_signed_text(const char *domain, const void *data, size_t len,
		      uint8_t ret[static ORDER_TEXT_MAX], size_t *ret_len)
{
	size_t domain_len = strlen(domain);
	struct seal_hash hash;
	int r;

	if (domain_len + 1 + sizeof(hash.b) > ORDER_TEXT_MAX)
		return -EINVAL;
	r = seal_sha256(data, len, &hash);
	if (r < 0)
		return r;
	memcpy(ret, domain, domain_len + 1);
	memcpy(ret + domain_len + 1, hash.b, sizeof(hash.b));
	*ret_len = domain_len + 1 + sizeof(hash.b);
	return 0;
}

bool order_key_digest(const EVP_PKEY *key, const EVP_MD **ret)
{
	char group[32];
	size_t len;

	*ret = NULL;
	if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519)
		return true;
	if (EVP_PKEY_get_base_id(key) != EVP_PKEY_EC ||
	    EVP_PKEY_get_group_name(key, group, sizeof(group), &len) != 1 ||
	    strcmp(group, "prime256v1") != 0)
		return false;
	*ret = EVP_sha256();
	return true;
}

int order_signature_verify(EVP_PKEY *key, const char *domain, const void *data, size_t len,
			   const void *signature, size_t signature_len)
{
	AUTO(md_ctx_free_ptr) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	const EVP_MD *digest;
	uint8_t text[ORDER_TEXT_MAX];
	size_t text_len;
	int r = order_signed_text(domain, data, len, text, &text_len);

	if (r < 0 || ctx == NULL)
		return r < 0 ? r : -ENOMEM;
	if (signature_len <= ORDER_SIGNATURE_MAX && order_key_digest(key, &digest) &&
	    EVP_DigestVerifyInit(ctx, NULL, digest, NULL, key) == 1 &&
	    EVP_DigestVerify(ctx, signature, signature_len, text, text_len) == 1)
		return 0;
	ERR_clear_error();
	return -EBADMSG;
}

X509 *order_certificate_parse(const void *der, size_t len)
{
	const unsigned char *at = der;
	AUTO(x509_free_ptr)
	X509 *cert = len > 0 && len <= ORDER_CERTIFICATE_MAX ? d2i_X509(NULL, &at, (long)len) :
							       NULL;

	ERR_clear_error();
	if (cert == NULL || at != (const unsigned char *)der + len)
		return NULL;
	return TAKE(cert);
}

static bool signs_orders_alone(X509 *cert)
{
	EXTENDED_KEY_USAGE *usages = X509_get_ext_d2i(cert, NID_ext_key_usage, NULL, NULL);
	ASN1_OBJECT *wanted = OBJ_txt2obj(ORDER_SIGNING_EKU, 1);
	bool good = usages != NULL && wanted != NULL && sk_ASN1_OBJECT_num(usages) == 1 &&
		    OBJ_cmp(sk_ASN1_OBJECT_value(usages, 0), wanted) == 0;

	ASN1_OBJECT_free(wanted);
	EXTENDED_KEY_USAGE_free(usages);
	ERR_clear_error();
	return good;
}

int order_certificate_usage(X509 *cert, struct error *e)
{
	EVP_PKEY *key = X509_get0_pubkey(cert);
	uint32_t flags = X509_get_extension_flags(cert);
	const EVP_MD *digest;

	if (!signs_orders_alone(cert) || (X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE) == 0) {
		(void)error_set(e, -EACCES, "the certificate is not one for signing orders");
		error_hint(e, "take the signing certificate, not the one for TLS");
		return -EACCES;
	}
	/* EXFLAG_CRITICAL: a critical extension that libcrypto does not know. */
	if ((flags & (EXFLAG_INVALID | EXFLAG_CRITICAL | EXFLAG_CA)) != 0)
		return error_set(e, -EACCES,
				 "the certificate is invalid, an authority's, or holds a critical "
				 "extension that is not known here");
	if (key == NULL || !order_key_digest(key, &digest))
		return error_set(e, -EACCES, "the certificate's key is neither Ed25519 nor P-256");
	return 0;
}
