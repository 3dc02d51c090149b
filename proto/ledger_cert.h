/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger key's certificate: how the order authority says whose checkpoints count. X.509 with an Ed25519 key,
 * so that `openssl verify` checks it too; one name spiffe://DOMAIN/TENANT/ledger/NAME, which no TLS end and no
 * order accepts; extended key usage LEDGER_CERT_EKU alone. The log's origin is that name without its scheme.
 * Any thread. */
#ifndef PROTO_LEDGER_CERT_H
#define PROTO_LEDGER_CERT_H

#include "proto/authorities.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/note.h"

#define LEDGER_CERT_EKU "1.3.6.1.4.1.58888.1.3" /* certs.h has the arc */
#define LEDGER_CERT_MAX KiB(4)

struct certs_authority;

/* PEM file for the public key, NAME its key id, as long as the authority lives. order: the order authority. */
MUST_CHECK int ledger_cert_make(const struct certs_authority *order, const char *domain,
				const char *tenant, const uint8_t public[static SEAL_PUBLIC_LEN],
				int64_t now_s, const char *path, struct error *e);
/* A PEM file's first certificate as DER, malloc'ed. Not checked. */
MUST_CHECK int ledger_cert_load(const char *path, uint8_t **ret_der, size_t *ret_len,
				struct error *e);
/* The key whose checkpoints count. a NULL: whoever issued it is not looked at; now_s 0: dates are not (a log is
 * read long after it was written). -EACCES, -EKEYEXPIRED, with a sentence. */
MUST_CHECK int ledger_cert_check(const void *der, size_t len, const struct authorities *a,
				 int64_t now_s, struct note_key *ret, struct error *e);

#endif
