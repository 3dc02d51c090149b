/* SPDX-License-Identifier: Apache-2.0 */
/* What a host asks for when it has no identity yet (EnrollRequest): the same file makes it and checks it.
 * Both keys are made on the host and never leave it; what proves that the host holds them is the CSR's own
 * signature, and one by the sealing key over SHA-256(CSR) || token. Any thread. */
#ifndef PROTO_ENROL_H
#define PROTO_ENROL_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/seal.h"
#include "service.pb-c.h"

#include <openssl/evp.h>

#define ENROL_PATH "/exhibit.v1.Enrolment/Enroll"
#define ENROL_DOMAIN "exhibit/enroll/v1"
#define ENROL_TOKEN_LEN 16
#define ENROL_TOKEN_TEXT (2 * ENROL_TOKEN_LEN + 1) /* lower-case hex with NUL */
#define ENROL_CSR_MAX KiB(4)
#define ENROL_TEXT_MAX 253 /* of each thing that the machine says of itself */
#define ENROL_CLOUD_MAX KiB(64)
#define ENROL_REQUEST_MAX (ENROL_CLOUD_MAX + KiB(8))

/* One line of hex, perhaps with white space around it. -EINVAL with a sentence that does not hold the text. */
MUST_CHECK int enrol_token_parse(const char *text, size_t len, uint8_t ret[static ENROL_TOKEN_LEN],
				 struct error *e);

/* Fills csr and sealing_signature of m, whose token is set already; both malloc'ed. tls: P-256. */
MUST_CHECK int enrol_sign(Exhibit__V1__EnrollRequest *m, EVP_PKEY *tls, struct seal_key *seal,
			  struct error *e);

struct enrol_checked {
	Exhibit__V1__EnrollRequest *m;
	EVP_PKEY *tls; /* the CSR's public key */
	/* SHA-256(its SubjectPublicKeyInfo || sealing key): the same host asking again has the same. */
	struct seal_hash keys;
	/* SHA-256 of the request without its token: what the ledger names. */
	struct seal_hash evidence;
};
/* Unpack and check all that can be known without the token: sizes, the CSR's key and signature, the sealing
 * key's. Fuzzed. -EBADMSG with a sentence that may be shown to the peer; -ENOMEM. */
MUST_CHECK int enrol_open(const void *data, size_t len, struct enrol_checked *ret, struct error *e);
void enrol_checked_release(struct enrol_checked *c);

#endif
