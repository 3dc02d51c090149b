/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/vault_message.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#define PROTOCOL 1

int vault_message_open(const void *data, size_t len, Exhibit__V1__UploadRequest **ret,
		       struct error *e)
{
	*ret = exhibit__v1__upload_request__unpack(NULL, len, data);
	return *ret != NULL ? 0 : error_set(e, -EBADMSG, "the message cannot be read");
}

int vault_message_start(const Exhibit__V1__UploadStart *m, uint8_t ret_order[static VAULT_ID_LEN],
			uint8_t ret_exhibit[static VAULT_ID_LEN], struct error *e)
{
	if (m->protocol != PROTOCOL)
		return error_set(e, -EPROTONOSUPPORT,
				 "upload protocol %u is not supported, this collector speaks %d",
				 m->protocol, PROTOCOL);
	if (m->order_id.len != VAULT_ID_LEN || m->exhibit_id.len != VAULT_ID_LEN)
		return error_set(e, -EBADMSG, "the ids of order and exhibit have %d bytes each",
				 VAULT_ID_LEN);
	memcpy(ret_order, m->order_id.data, VAULT_ID_LEN);
	memcpy(ret_exhibit, m->exhibit_id.data, VAULT_ID_LEN);
	return 0;
}

int vault_message_hash(const ProtobufCBinaryData *b, struct seal_hash *ret, struct error *e)
{
	if (b->len != SEAL_HASH_LEN)
		return error_set(e, -EBADMSG, "a SHA-256 has %zu bytes instead of %d", b->len,
				 SEAL_HASH_LEN);
	memcpy(ret->b, b->data, SEAL_HASH_LEN);
	return 0;
}

static int decompress(const Exhibit__V1__Chunk *m, ZSTD_DCtx *z, uint8_t *buffer, struct error *e)
{
	size_t n = ZSTD_decompressDCtx(z, buffer, m->raw_bytes, m->data.data, m->data.len);

	if (ZSTD_isError(n) || n != m->raw_bytes)
		return error_set(e, -EBADMSG,
				 "the chunk of item %u at byte %llu does not hold %u bytes of zstd",
				 m->item, (unsigned long long)m->offset, m->raw_bytes);
	return 0;
}

int vault_message_raw(const Exhibit__V1__Chunk *m, struct ZSTD_DCtx_s *z, uint8_t *buffer,
		      const uint8_t **ret_raw, size_t *ret_len, struct error *e)
{
	int r = 0;

	if (m->raw_bytes == 0 || m->raw_bytes > VAULT_CHUNK_BYTES)
		return error_set(e, -EBADMSG, "a chunk of item %u has %u bytes, not 1 to %llu",
				 m->item, m->raw_bytes, (unsigned long long)VAULT_CHUNK_BYTES);
	if (m->offset > INT64_MAX - VAULT_CHUNK_BYTES)
		return error_set(e, -EBADMSG, "a chunk of item %u lies beyond all files", m->item);
	*ret_len = m->raw_bytes;
	switch (m->codec) {
	case EXHIBIT__V1__CODEC__CODEC_RAW:
		*ret_raw = m->data.data;
		if (m->data.len != m->raw_bytes)
			r = error_set(
				e, -EBADMSG,
				"the chunk of item %u at byte %llu has %zu bytes instead of %u",
				m->item, (unsigned long long)m->offset, m->data.len, m->raw_bytes);
		return r;
	case EXHIBIT__V1__CODEC__CODEC_ZSTD:
		*ret_raw = buffer;
		return decompress(m, z, buffer, e);
	case EXHIBIT__V1__CODEC__CODEC_ZERO:
		*ret_raw = NULL;
		if (m->data.len != 0)
			r = error_set(e, -EBADMSG, "a chunk of zeros of item %u brings data",
				      m->item);
		return r;
	case _EXHIBIT__V1__CODEC_IS_INT_SIZE:
		break;
	}
	return error_set(e, -EBADMSG, "codec %d does not exist", (int)m->codec);
}
