/* SPDX-License-Identifier: Apache-2.0 */
/* Who a certificate says its holder is: one SPIFFE name (SPIFFE-ID 2.1, a subset: no percent, bounded
 * parts), which of our two authorities issued it, its roles. Pure functions over bytes, and the loading
 * of a certificate with its key. Any thread. */
#ifndef PROTO_IDENTITY_H
#define PROTO_IDENTITY_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define IDENTITY_PART_MAX 96 /* bytes of domain, tenant and name, without the NUL */
#define IDENTITY_SPIFFE_MAX (9 + 3 * (IDENTITY_PART_MAX + 1) + 16) /* of the whole name with its NUL */
#define IDENTITY_SERIAL_MAX 40 /* hex digits: 20 octets (RFC 5280 4.1.2.2) */
#define IDENTITY_ROLE_MAX 32
#define IDENTITY_ROLES_MAX 8
#define IDENTITY_PEM_MAX KiB(64) /* of a file */

enum identity_kind { IDENTITY_HOST, IDENTITY_RESPONDER, IDENTITY_COLLECTOR };
enum identity_issuer { IDENTITY_FLEET, IDENTITY_ORDER };

struct identity {
	char domain[IDENTITY_PART_MAX + 1];
	char tenant[IDENTITY_PART_MAX + 1];
	enum identity_kind kind;
	char name[IDENTITY_PART_MAX + 1]; /* host id, person, collector */
	/* What follows is not known from the name alone: identity_from_leaf fills it. */
	enum identity_issuer issuer;
	char serial[IDENTITY_SERIAL_MAX + 1]; /* lower-case hex without leading zeros */
	int64_t not_before_s, not_after_s; /* Unix time */
	size_t n_roles;
	char roles[IDENTITY_ROLES_MAX][IDENTITY_ROLE_MAX + 1];
};

const char *identity_kind_name(enum identity_kind kind); /* "host", "responder", "collector" */
const char *identity_issuer_name(enum identity_issuer issuer); /* "fleet", "order" */
/* A part that may stand in a name: 1..IDENTITY_PART_MAX of [A-Za-z0-9._-], neither "." nor with "..". */
MUST_CHECK bool identity_part_valid(const char *part, size_t len);
/* spiffe://DOMAIN/TENANT/{host|responder|collector}/NAME, len bytes, nothing before or after it.
 * Fuzzed. -EINVAL with a sentence. ret: zeroed but for the four. */
MUST_CHECK int identity_parse_spiffe(const char *text, size_t len, struct identity *ret, struct error *e);
/* buf: IDENTITY_SPIFFE_MAX bytes. Returns buf. */
const char *identity_spiffe(const struct identity *id, char buf[static IDENTITY_SPIFFE_MAX]);
/* Same domain, tenant, kind and name. */
bool identity_same_name(const struct identity *a, const struct identity *b);
bool identity_has_role(const struct identity *id, const char *role);

/* The two authorities that everybody pins, each one or more certificates. Immutable. */
struct authorities;

/* order_ca_file or fleet_ca_file may be NULL: then nothing counts as issued by it. */
MUST_CHECK int authorities_load(const char *fleet_ca_file, const char *order_ca_file, struct authorities **ret,
				struct error *e);
void authorities_free(struct authorities *a); /* NULL allowed */
static inline void authorities_free_ptr(struct authorities **a)
{
	authorities_free(*a);
}
/* All certificates as PEM, concatenated, for TLS roots. Owned by a. */
const char *authorities_pem(const struct authorities *a);

/* The identity in a leaf certificate (PEM; only the first certificate is read). Checks: exactly one URI
 * SAN, the name, signature by one of a's authorities, that this authority may issue this kind (host: fleet;
 * others: order), dates against now_s, roles. -EACCES (-EKEYEXPIRED for a date past) with a sentence
 * that can be shown to the peer. */
MUST_CHECK int identity_from_leaf(const char *pem, size_t len, const struct authorities *a, int64_t now_s,
				  struct identity *ret, struct error *e);

/* A certificate and its key as files, checked: key matches, dates, chain, kind allowed; P-256 (RSA is
 * refused: it would bring back TLS 1.2, see rpc_guard.h). */
struct identity_pair {
	struct identity id;
	char *cert_pem; /* malloc'ed, the whole chain file */
	char *key_pem; /* malloc'ed, cleansed on release */
};

MUST_CHECK int identity_load_pair(const char *cert_file, const char *key_file, const struct authorities *a,
				  int64_t now_s, struct identity_pair *ret, struct error *e);
void identity_pair_release(struct identity_pair *p);

/* Host record (proto/batch.proto): signature by a fleet authority's key over
 * "exhibit/host-record/v1\0" || record, ECDSA P-256 with SHA-256, DER. 0, or -EBADMSG with a sentence. */
MUST_CHECK int authorities_verify_host_record(const struct authorities *a, const void *record, size_t len,
					      const void *signature, size_t signature_len, struct error *e);

#endif
