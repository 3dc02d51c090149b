/* SPDX-License-Identifier: Apache-2.0 */
/* Between certs.c and host_record.c: keys as OpenSSL holds them. */
#ifndef PROTO_CERTS_KEY_H
#define PROTO_CERTS_KEY_H

#include "proto/certs.h"

#include <limits.h>
#include <openssl/evp.h>

EVP_PKEY *certs_authority_key(const struct certs_authority *a); /* owned by a */
/* PKCS#8 PEM, 0600. */
MUST_CHECK int certs_write_key(EVP_PKEY *key, const char *path, struct error *e);

#endif
