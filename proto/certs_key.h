/* SPDX-License-Identifier: Apache-2.0 */
/* Keys as OpenSSL holds them, for host_record.c and for who issues to keys made elsewhere. */
#ifndef PROTO_CERTS_KEY_H
#define PROTO_CERTS_KEY_H

#include "proto/certs.h"

#include <limits.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

EVP_PKEY *certs_authority_key(const struct certs_authority *a); /* owned by a, as is the next */
X509 *certs_authority_certificate(const struct certs_authority *a);
/* A certificate for a public key that somebody else made, as file. */
MUST_CHECK int certs_issue_public(const struct certs_authority *a, const struct certs_leaf *leaf,
				  EVP_PKEY *public, int64_t now_s, const char *cert_file,
				  struct error *e);
/* The same as PEM text, malloc'ed. */
MUST_CHECK int certs_issue_pem(const struct certs_authority *a, const struct certs_leaf *leaf,
			       EVP_PKEY *public, int64_t now_s, char **ret, struct error *e);
/* PKCS#8 PEM, 0600. */
MUST_CHECK int certs_write_key(EVP_PKEY *key, const char *path, struct error *e);

#endif
