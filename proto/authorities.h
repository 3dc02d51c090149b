/* SPDX-License-Identifier: Apache-2.0 */
/* The two authorities that everybody pins, and what they vouch for: leaf certificates, pairs of
 * certificate and key, host records. Any thread. */
#ifndef PROTO_AUTHORITIES_H
#define PROTO_AUTHORITIES_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/identity.h"

#define AUTHORITIES_FILE_MAX KiB(64)
#define AUTHORITIES_MAX 8 /* certificates of each */

/* Both authorities, each one or more certificates. Immutable. */
struct authorities;

/* order_ca_file or fleet_ca_file may be NULL: then nothing counts as issued by it. */
MUST_CHECK int authorities_load(const char *fleet_ca_file, const char *order_ca_file,
				struct authorities **ret, struct error *e);
void authorities_free(struct authorities *a); /* NULL allowed */
static inline void authorities_free_ptr(struct authorities **a)
{
	authorities_free(*a);
}
/* Certificates as PEM, concatenated, for TLS roots: of both authorities (a server's), of the order authority
 * alone (a client's; "" when there is none). Owned by a. */
const char *authorities_pem(const struct authorities *a);
const char *authorities_order_pem(const struct authorities *a);

/* The identity in a leaf certificate (PEM; only the first certificate is read). Checks: exactly one URI
 * SAN, the name, signature by one of a's authorities, that this authority may issue this kind (host: fleet;
 * others: order), dates against now_s, roles. -EACCES (-EKEYEXPIRED for a date past, -EAGAIN for one to
 * come) with a sentence that can be shown to the peer. */
MUST_CHECK int identity_from_leaf(const char *pem, size_t len, const struct authorities *a,
				  int64_t now_s, struct identity *ret, struct error *e);

/* A certificate and its key as files, checked: key matches, dates, issuer, kind allowed; P-256 (RSA is
 * refused: it would bring back TLS 1.2, see rpc_guard.h). a NULL: the issuer is not checked. */
struct identity_pair {
	struct identity id;
	char *cert_pem; /* malloc'ed, the whole chain file */
	char *key_pem; /* malloc'ed, cleansed on release */
};

MUST_CHECK int identity_load_pair(const char *cert_file, const char *key_file,
				  const struct authorities *a, int64_t now_s,
				  struct identity_pair *ret, struct error *e);
void identity_pair_release(struct identity_pair *p);

/* What stands before a host record in the bytes that are signed; its NUL is part of it. */
#define AUTHORITIES_HOST_RECORD_CONTEXT "exhibit/host-record/v1"

/* Host record (proto/batch.proto): signature by a fleet authority's key over
 * "exhibit/host-record/v1\0" || record, ECDSA P-256 with SHA-256, DER. 0, or -EBADMSG with a sentence. */
MUST_CHECK int authorities_verify_host_record(const struct authorities *a, const void *record,
					      size_t len, const void *signature,
					      size_t signature_len, struct error *e);

#endif
