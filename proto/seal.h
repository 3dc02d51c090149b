/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes and Ed25519 signatures of everything that is sealed. Signed text is always
 * DOMAIN || NUL || SHA-256(bytes), so that no signature can serve for another kind of message.
 * A seal_key or seal_verifier belongs to one thread. */
#ifndef PROTO_SEAL_H
#define PROTO_SEAL_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define SEAL_HASH_LEN 32
#define SEAL_SIGNATURE_LEN 64
#define SEAL_PUBLIC_LEN 32
#define SEAL_KEY_ID_LEN 8

#define SEAL_DOMAIN_BATCH "exhibit/batch/v1"
#define SEAL_DOMAIN_TOMBSTONE "exhibit/tombstone/v1"
#define SEAL_DOMAIN_IDLE "exhibit/idle/v1"
#define SEAL_DOMAIN_RETENTION "exhibit/retention/v1"

struct seal_hash {
	uint8_t b[SEAL_HASH_LEN];
};

struct seal_key; /* private key */
struct seal_verifier; /* public key, parsed once */

/* PEM file with an Ed25519 private key. Errors: -ENOENT, -EACCES, -EINVAL (not Ed25519). */
MUST_CHECK int seal_key_load(const char *path, struct seal_key **ret_key, struct error *e);
void seal_key_free(struct seal_key *k);
void seal_key_public(const struct seal_key *k, uint8_t ret_public[static SEAL_PUBLIC_LEN]);
MUST_CHECK int seal_sign(struct seal_key *k, const char *domain, const void *data, size_t len,
			 uint8_t ret_signature[static SEAL_SIGNATURE_LEN], struct error *e);

MUST_CHECK int seal_verifier_new(const uint8_t public[static SEAL_PUBLIC_LEN],
				 struct seal_verifier **ret_v, struct error *e);
void seal_verifier_free(struct seal_verifier *v);
/* 0, or -EBADMSG when the signature is false (any length of signature is accepted as input). */
MUST_CHECK int seal_verify(struct seal_verifier *v, const char *domain, const void *data,
			   size_t len, const void *signature, size_t signature_len);

/* Notes alone (proto/note.h), whose format has its own text: Ed25519 over the text as it is. A text holds no NUL,
 * so it cannot pass for what seal_sign signs. */
MUST_CHECK int seal_sign_text(struct seal_key *k, const char *text, size_t len,
			      uint8_t ret_signature[static SEAL_SIGNATURE_LEN], struct error *e);
/* As seal_verify. */
MUST_CHECK int seal_verify_text(struct seal_verifier *v, const char *text, size_t len,
				const void *signature, size_t signature_len);

/* First SEAL_KEY_ID_LEN bytes of SHA-256(public). */
void seal_key_id(const uint8_t public[static SEAL_PUBLIC_LEN],
		 uint8_t ret_id[static SEAL_KEY_ID_LEN]);
/* SHA-256. -ENOMEM only. */
MUST_CHECK int seal_sha256(const void *data, size_t len, struct seal_hash *ret_hash);

#endif
