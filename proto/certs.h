/* SPDX-License-Identifier: Apache-2.0 */
/* Keys and certificates, made with OpenSSL: two authorities, leaves with one SPIFFE name, sealing keys,
 * host records. Files are PEM; keys 0600, the rest 0644, each replaced as a whole.
 *
 * Roles of people stand in one X.509 extension, not critical, OID 1.3.6.1.4.1.58888.1.1:
 *   ExhibitRoles ::= SEQUENCE SIZE (1..8) OF UTF8String (SIZE (1..32)), each of [a-z0-9-]
 * The arc 1.3.6.1.4.1.58888 is private and experimental: no enterprise number has been assigned to this
 * project yet; nobody else should expect to meet it. */
#ifndef PROTO_CERTS_H
#define PROTO_CERTS_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/identity.h"

#define CERTS_ROLES_OID "1.3.6.1.4.1.58888.1.1"

/* An authority's certificate and key. */
struct certs_authority;

/* Load BASE.crt and BASE.key. */
MUST_CHECK int certs_authority_load(const char *base, struct certs_authority **ret,
				    struct error *e);
/* Make a P-256 key and a self-signed authority certificate as BASE.key and BASE.crt. */
MUST_CHECK int certs_authority_make(const char *base, const char *common_name, unsigned int days,
				    int64_t now_s, struct error *e);
void certs_authority_free(struct certs_authority *a); /* NULL allowed */
static inline void certs_authority_free_ptr(struct certs_authority **a)
{
	certs_authority_free(*a);
}

struct certs_leaf {
	/* domain, tenant, kind, name, roles; the rest is ignored. */
	struct identity id;
	const char *
		sans; /* "localhost,127.0.0.1": DNS names and addresses of a collector; NULL: none */
	uint64_t seconds; /* from now; it begins 5 minutes ago */
	bool signs_orders; /* a responder's: for signing orders (order.h), not for TLS */
};

/* Make a key and a certificate for it as BASE.key and BASE.crt. P-256; Ed25519 for signing orders. Extended
 * key usage: clientAuth for hosts and responders, serverAuth and clientAuth for collectors; for signing
 * orders ORDER_SIGNING_EKU alone, critical. Serial: 127 random bits. */
MUST_CHECK int certs_issue(const struct certs_authority *a, const struct certs_leaf *leaf,
			   int64_t now_s, const char *base, struct error *e);
/* Whether BASE.crt and BASE.key exist, match, were issued by a for this name, SANs and roles, and have at
 * least a third of their life left: then they can be kept. */
bool certs_fresh(const struct certs_authority *a, const struct certs_leaf *leaf, int64_t now_s,
		 const char *base);

/* An Ed25519 key as PKCS#8 PEM in key_file. ret_public: its raw public key. An existing file is kept and
 * read. */
MUST_CHECK int certs_sealing_key(const char *key_file, uint8_t ret_public[static 32],
				 struct error *e);
/* A SignedHostRecord for id (tenant, name) as file. a must be the fleet authority. */
MUST_CHECK int certs_host_record(const struct certs_authority *a, const struct identity *id,
				 const char *host_name, const uint8_t sealing_public[static 32],
				 int64_t valid_from_ns, const char *file, struct error *e);
/* The same in memory. */
#define CERTS_HOST_RECORD_MAX (KiB(8) + 96)
MUST_CHECK int certs_host_record_pack(const struct certs_authority *a, const struct identity *id,
				      const char *host_name,
				      const uint8_t sealing_public[static 32],
				      int64_t valid_from_ns,
				      uint8_t ret[static CERTS_HOST_RECORD_MAX], size_t *ret_len,
				      struct error *e);
/* A SignedRevocationList (proto/order.proto), malloc'ed. a must be the order authority. serials: as in
 * identity.h. -E2BIG: more than a list may hold. */
MUST_CHECK int certs_revocations(const struct certs_authority *a, const char *tenant,
				 uint64_t number, const char *const *serials, size_t n,
				 int64_t made_ns, uint8_t **ret, size_t *ret_len, struct error *e);

#endif
