/* SPDX-License-Identifier: Apache-2.0 */
/* What a host's upload messages say, checked as far as one message tells. Pure functions of hostile bytes;
 * fuzzed. */
#ifndef COLLECTOR_VAULT_MESSAGE_H
#define COLLECTOR_VAULT_MESSAGE_H

#include "collector/vault.h"

/* -EBADMSG: not an UploadRequest. A kind that we do not know: ret->kind_case is 0. */
MUST_CHECK int vault_message_open(const void *data, size_t len, Exhibit__V1__UploadRequest **ret,
				  struct error *e);
MUST_CHECK int vault_message_start(const Exhibit__V1__UploadStart *m,
				   uint8_t ret_order[static VAULT_ID_LEN],
				   uint8_t ret_exhibit[static VAULT_ID_LEN], struct error *e);
MUST_CHECK int vault_message_hash(const ProtobufCBinaryData *b, struct seal_hash *ret,
				  struct error *e);

struct ZSTD_DCtx_s;

/* A chunk's raw bytes, with their length. buffer: VAULT_CHUNK_BYTES, used where they are compressed. ret_raw: in
 * m or in buffer; NULL: zeros. Never more than VAULT_CHUNK_BYTES come out, whatever the frame says. */
MUST_CHECK int vault_message_raw(const Exhibit__V1__Chunk *m, struct ZSTD_DCtx_s *z,
				 uint8_t *buffer, const uint8_t **ret_raw, size_t *ret_len,
				 struct error *e);

#endif
