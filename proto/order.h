/* SPDX-License-Identifier: Apache-2.0 */
/* Signed orders and revocation lists: making them, and deciding whether one counts. Both ends use the same
 * code: the collector to refuse early and to log, each host to decide. Pure but for the keys. */
#ifndef PROTO_ORDER_H
#define PROTO_ORDER_H

#include "order.pb-c.h"
#include "proto/authorities.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/seal.h"

#define ORDER_BYTES_MAX KiB(64) /* of an Order */
#define ORDER_SIGNED_MAX KiB(128) /* of a SignedOrder */
#define REVOCATIONS_BYTES_MAX MiB(1) /* of a SignedRevocationList: it travels as one message */
#define ORDER_ID_LEN 16
#define ORDER_APPROVALS_MAX 8
#define ORDER_HOSTS_MAX 64
/* Of a certificate that signs orders; and by how much whoever issues it dates it back, for clocks that lag. */
#define ORDER_CERTIFICATE_HOURS_MAX 12
#define ORDER_CERTIFICATE_BACKDATE_S 3600
#define ORDER_LIFE_MAX_NS (24 * 3600 * NSEC_PER_SEC)
#define ORDER_DOMAIN "exhibit/order/v1"
#define ORDER_DOMAIN_APPROVAL "exhibit/approval/v1"
#define ORDER_DOMAIN_REVOCATIONS "exhibit/revocations/v1"
/* Extended key usage of certificates that may sign orders, and of nothing else (certs.h has the arc). */
#define ORDER_SIGNING_EKU "1.3.6.1.4.1.58888.1.2"

/* ---- who may do what: one table ---------------------------------------------------------------- */
#define ORDER_ROLE_VIEWER "viewer"
#define ORDER_ROLE_ACQUIRER "acquirer"
#define ORDER_ROLE_APPROVER "approver"
/* "memory"; NULL: not a kind. */
const char *order_kind_name(Exhibit__V1__OrderKind kind);
MUST_CHECK bool order_kind_parse(const char *word, Exhibit__V1__OrderKind *ret);
const char *order_state_name(Exhibit__V1__OrderState state); /* "refused" */

/* ---- signing (CLI) ------------------------------------------------------------------------------ */
struct order_signer;

/* key: a PEM file (Ed25519 or P-256), or a PKCS#11 URI ("pkcs11:token=...;object=...", P-256). certificate:
 * PEM file. The pair must match. */
MUST_CHECK int order_signer_open(const char *key, const char *certificate,
				 struct order_signer **ret, struct error *e);
void order_signer_free(struct order_signer *s); /* NULL allowed */
const struct identity *order_signer_identity(const struct order_signer *s);
/* ret: certificate and signature malloc'ed; order_signature_release. */
MUST_CHECK int order_sign(struct order_signer *s, const char *domain, const void *order, size_t len,
			  Exhibit__V1__OrderSignature *ret, struct error *e);
void order_signature_release(Exhibit__V1__OrderSignature *s);

/* ---- checking ----------------------------------------------------------------------------------- */
struct revocations; /* the newest list of one tenant; empty at first. The caller guards it */

/* tenant: copied; lists of other tenants are refused, since each tenant's numbers rise by themselves. */
MUST_CHECK int revocations_new(const char *tenant, struct revocations **ret, struct error *e);
void revocations_free(struct revocations *r); /* NULL allowed */
uint64_t revocations_number(const struct revocations *r);
/* Take a SignedRevocationList. -EBADMSG: not signed by the order authority, or malformed; -EALREADY: this
 * number or a higher one is held; 0: taken (the caller stores the bytes). */
MUST_CHECK int revocations_take(struct revocations *r, const struct authorities *a,
				const void *data, size_t len, struct error *e);
bool revocations_has(const struct revocations *r, const char *serial);

struct order_context {
	const struct authorities *authorities; /* only the order authority counts */
	const struct revocations *revocations; /* NULL: none */
	const char *domain, *tenant; /* of whoever checks */
	/* Of the host that checks. NULL: the collector, which takes orders for any host, and before their time
	 * (it holds them back). */
	const char *host_id;
	int64_t now_ns; /* Unix time */
	unsigned int approvals; /* that local policy demands for this kind; 0 */
	int64_t clock_skew_ns; /* tolerated */
};

/* An order that counts: parsed, with who is behind it. */
struct order_checked {
	Exhibit__V1__Order *order; /* owned */
	uint8_t id[ORDER_ID_LEN];
	struct seal_hash hash; /* of the order's bytes */
	bool requester_good; /* the signature was verified */
	struct identity requester;
	struct seal_hash requester_certificate; /* SHA-256 of its DER */
	size_t n_approvers;
	struct identity approvers[ORDER_APPROVALS_MAX];
	struct seal_hash approver_certificates[ORDER_APPROVALS_MAX];
};

/* The shape alone (for everything before a signature is looked at, and for fuzzing): kind and detail agree,
 * bounds, ids, paths absolute and without "..", times in order. -EBADMSG with one sentence. */
MUST_CHECK int order_parse(const void *data, size_t len, Exhibit__V1__Order **ret, struct error *e);
/* A whole SignedOrder. Errors, each one sentence that a person can act on:
 * -EBADMSG malformed or a false signature; -EACCES certificate (issuer, role, name, usage, revoked), another
 * tenant or host; -EKEYEXPIRED certificate or order expired; -EAGAIN not yet valid; -EPERM approvals missing
 * (not different people, the requester's own, without the role). Nonces are the caller's. */
MUST_CHECK int order_check(const struct order_context *c, const void *data, size_t len,
			   struct order_checked *ret, struct error *e);
/* The same, but where it fails for its time or its approvals alone, ret holds what was verified before: the order,
 * its requester, the approvals up to the one that failed. After all other errors it is empty. */
MUST_CHECK int order_check_keep(const struct order_context *c, const void *data, size_t len,
				struct order_checked *ret, struct error *e);
/* One more approval over the same bytes. Errors as above. */
MUST_CHECK int order_check_approval(const struct order_context *c, const void *order, size_t len,
				    const Exhibit__V1__OrderSignature *approval,
				    struct identity *ret_approver, struct error *e);
void order_checked_release(struct order_checked *o);

#endif
