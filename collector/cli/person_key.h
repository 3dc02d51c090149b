/* SPDX-License-Identifier: Apache-2.0 */
/* The public half of a signing key that a person made: a PEM file (PUBLIC KEY, or CERTIFICATE REQUEST, whose
 * own signature is checked), or a PKCS#11 URI. */
#ifndef CLI_PERSON_KEY_H
#define CLI_PERSON_KEY_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#include <openssl/evp.h>

/* Ed25519 or P-256; else -EINVAL. */
MUST_CHECK int person_key_load(const char *what, EVP_PKEY **ret, struct error *e);
static inline void person_key_free_ptr(EVP_PKEY **key)
{
	EVP_PKEY_free(*key);
}

#endif
