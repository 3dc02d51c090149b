/* SPDX-License-Identifier: Apache-2.0 */
/* The authorities as OpenSSL holds them, for files of proto/ that check certificates by themselves. */
#ifndef PROTO_AUTHORITIES_X509_H
#define PROTO_AUTHORITIES_X509_H

#include "proto/authorities.h"

#include <openssl/x509.h>

/* What identity_from_leaf checks, of a certificate that is parsed already. A clock that may be off by some
 * seconds is somewhere between early_s and late_s (Unix time). a NULL: whoever issued it is not looked at,
 * the issuer is the one that should have. */
MUST_CHECK int authorities_read_leaf(X509 *leaf, const struct authorities *a, int64_t early_s,
				     int64_t late_s, struct identity *ret, struct error *e);
/* Owned by a; NULL past the end. */
X509 *authorities_certificate(const struct authorities *a, enum identity_issuer which, size_t i);

#endif
