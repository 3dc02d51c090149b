/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes that order signatures are over, and checking one. Private to proto/order* and revocations.c. */
#ifndef PROTO_ORDER_SIGNATURE_H
#define PROTO_ORDER_SIGNATURE_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/seal.h"

#include <openssl/evp.h>
#include <openssl/x509.h>

#define ORDER_SIGNATURE_MAX 128 /* bytes; Ed25519 has 64, P-256 in DER at most 72 */
#define ORDER_CERTIFICATE_MAX KiB(4) /* DER */
#define ORDER_TEXT_MAX (32 + 1 + SEAL_HASH_LEN)

/* DOMAIN || NUL || SHA-256(data). -EINVAL: the domain is too long; -ENOMEM. */
MUST_CHECK int order_signed_text(const char *domain, const void *data, size_t len,
				 uint8_t ret[static ORDER_TEXT_MAX], size_t *ret_len);
/* NULL for Ed25519, which hashes by itself; SHA-256 for P-256. false: another kind of key. */
MUST_CHECK bool order_key_digest(const EVP_PKEY *key, const EVP_MD **ret);
/* By key over order_signed_text. -EBADMSG: false. */
MUST_CHECK int order_signature_verify(EVP_PKEY *key, const char *domain, const void *data,
				      size_t len, const void *signature, size_t signature_len);
/* DER, whole. NULL: it is none, or too long. */
X509 *order_certificate_parse(const void *der, size_t len);
/* For signing orders, and for nothing else: extended key usage is ORDER_SIGNING_EKU alone, key usage allows
 * signatures, it is no authority, Ed25519 or P-256. -EACCES. */
MUST_CHECK int order_certificate_usage(X509 *cert, struct error *e);

#endif
