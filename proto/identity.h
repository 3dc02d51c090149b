/* SPDX-License-Identifier: Apache-2.0 */
/* Who a certificate says its holder is: one SPIFFE name (SPIFFE-ID 2.1, a subset: no percent, bounded
 * parts), which of our two authorities issued it, its roles. Pure functions over bytes; what reads
 * certificates is authorities.h. Any thread. */
#ifndef PROTO_IDENTITY_H
#define PROTO_IDENTITY_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define IDENTITY_PART_MAX 96 /* bytes of domain, tenant and name, without the NUL */
#define IDENTITY_SPIFFE_MAX                                                                        \
	(9 + 3 * (IDENTITY_PART_MAX + 1) + 16) /* of the whole name with its NUL */
#define IDENTITY_SERIAL_MAX 40 /* hex digits: 20 octets (RFC 5280 4.1.2.2) */
#define IDENTITY_ROLE_MAX 32
#define IDENTITY_ROLES_MAX 8

enum identity_kind { IDENTITY_HOST, IDENTITY_RESPONDER, IDENTITY_COLLECTOR };
enum identity_issuer { IDENTITY_FLEET, IDENTITY_ORDER };

struct identity {
	char domain[IDENTITY_PART_MAX + 1];
	char tenant[IDENTITY_PART_MAX + 1];
	enum identity_kind kind;
	char name[IDENTITY_PART_MAX + 1]; /* host id, person, collector */
	/* What follows is not known from the name alone: identity_from_leaf (authorities.h) fills it. */
	enum identity_issuer issuer;
	char serial[IDENTITY_SERIAL_MAX + 1]; /* lower-case hex without leading zeros */
	int64_t not_before_s, not_after_s; /* Unix time */
	size_t n_roles;
	char roles[IDENTITY_ROLES_MAX][IDENTITY_ROLE_MAX + 1];
};

const char *identity_kind_name(enum identity_kind kind); /* "host", "responder", "collector" */
const char *identity_issuer_name(enum identity_issuer issuer); /* "fleet", "order" */
/* A part that may stand in a name: 1..IDENTITY_PART_MAX of [A-Za-z0-9._-], no leading dot, no "..":
 * parts may become names of files. */
MUST_CHECK bool identity_part_valid(const char *part, size_t len);
/* spiffe://DOMAIN/TENANT/{host|responder|collector}/NAME, len bytes, nothing before or after it.
 * Fuzzed. -EINVAL with a sentence. ret: zeroed but for the four. */
MUST_CHECK int identity_parse_spiffe(const char *text, size_t len, struct identity *ret,
				     struct error *e);
/* buf: IDENTITY_SPIFFE_MAX bytes. Returns buf. */
const char *identity_spiffe(const struct identity *id, char buf[static IDENTITY_SPIFFE_MAX]);
/* Same domain, tenant, kind and name. */
bool identity_same_name(const struct identity *a, const struct identity *b);
bool identity_has_role(const struct identity *id, const char *role);
/* 1..IDENTITY_ROLE_MAX of [a-z0-9-]. */
MUST_CHECK bool identity_role_valid(const char *role, size_t len);
/* The roles that exist. A certificate may hold others, from a later version; they grant nothing here. */
#define IDENTITY_ROLES_TEXT "viewer, acquirer, approver"
MUST_CHECK bool identity_role_known(const char *role);

#endif
