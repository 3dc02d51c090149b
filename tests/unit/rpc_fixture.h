/* SPDX-License-Identifier: Apache-2.0 */
/* A temporary folder with two authorities and certificates of every good and bad kind, for tests that
 * need TLS. Everything asserts: a fixture that fails ends the test. */
#ifndef TESTS_RPC_FIXTURE_H
#define TESTS_RPC_FIXTURE_H

#include "proto/base/base.h"
#include "proto/identity.h"

#include <limits.h>

#define FIXTURE_DOMAIN "example.org"
#define FIXTURE_TENANT "acme"

struct pki {
	char dir[64];
};

/* dir/{fleet,order}.{crt,key}; also dir/other.{crt,key}, an authority that nobody trusts. */
void pki_make(struct pki *p);
void pki_remove(struct pki *p);
/* dir/name.suffix; valid until the eighth call after. */
const char *pki_path(const struct pki *p, const char *name, const char *suffix);
/* dir/name.{crt,key} issued by dir/authority, for `seconds` from now on (negative: over for so long).
 * identity's name is id. */
void pki_issue(const struct pki *p, const char *authority, enum identity_kind kind, const char *id,
	       const char *name, int64_t seconds);
/* Replace one extension of dir/name.crt (an OpenSSL NID, a value as in openssl.cnf) and sign it again. */
void pki_alter(const struct pki *p, const char *authority, const char *name, int nid,
	       const char *value);
/* What stands in the certificate. */
void pki_identity(const struct pki *p, const char *name, struct identity *ret);

#endif
