/* SPDX-License-Identifier: Apache-2.0 */
/* { bytes message = 1; bytes signature = 2; }: the envelope of tombstones and idle messages; for the
 * files of batch.h only. */
#ifndef PROTO_BATCH_SIGNED_H
#define PROTO_BATCH_SIGNED_H

#include "proto/batch.h"

/* ret_bytes: in arena a. */
MUST_CHECK int batch_signed_seal(struct seal_key *k, const char *domain, const void *message,
				 size_t len, struct arena *a, const uint8_t **ret_bytes,
				 size_t *ret_len, struct error *e);
/* ret_message: inside bytes. v may be NULL: the signature is not checked, but has to be there.
 * -EBADMSG. */
MUST_CHECK int batch_signed_open(struct seal_verifier *v, const char *domain, const void *bytes,
				 size_t len, const uint8_t **ret_message, size_t *ret_len,
				 struct error *e);

#endif
