/* SPDX-License-Identifier: Apache-2.0 */
/* Cleanup functions and error text for the files that use OpenSSL. */
#ifndef PROTO_OPENSSL_UTIL_H
#define PROTO_OPENSSL_UTIL_H

#include "proto/base/base.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

static inline void bio_free_ptr(BIO **p)
{
	(void)BIO_free(*p);
}
static inline void x509_free_ptr(X509 **p)
{
	X509_free(*p);
}
static inline void pkey_free_ptr(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
}
static inline void md_ctx_free_ptr(EVP_MD_CTX **p)
{
	EVP_MD_CTX_free(*p);
}
static inline void bn_free_ptr(BIGNUM **p)
{
	BN_free(*p);
}
static inline void openssl_free_ptr(void *p)
{
	void **pp = p;

	OPENSSL_free(*pp);
}

/* Why the last OpenSSL call of this thread failed; empties the error queue. Never NULL. */
const char *openssl_reason(void);

#endif
