/* SPDX-License-Identifier: Apache-2.0 */
/* Upload messages as the collector opens them. */
#include <zstd.h>

#include "collector/vault_message.h"
#include "tests/fuzz/fuzz.h"

static uint8_t buffer[VAULT_CHUNK_BYTES];

static void open_chunk(const Exhibit__V1__Chunk *m, ZSTD_DCtx *z)
{
	const uint8_t *raw = NULL;
	struct seal_hash hash;
	size_t len = 0;

	(void)!vault_message_hash(&m->sha256, &hash, NULL);
	if (vault_message_raw(m, z, buffer, &raw, &len, NULL) < 0)
		return;
	if (len == 0 || len > VAULT_CHUNK_BYTES || (raw == NULL && m->data.len != 0))
		abort();
	/* All of it can be read. */
	for (size_t i = 0; raw != NULL && i < len; i++)
		((volatile uint8_t *)buffer)[i] = raw[i];
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static ZSTD_DCtx *z;
	Exhibit__V1__UploadRequest *m = NULL;
	uint8_t order[VAULT_ID_LEN], exhibit[VAULT_ID_LEN];

	if (z == NULL && (z = ZSTD_createDCtx()) == NULL)
		abort();
	if (vault_message_open(data, size, &m, NULL) < 0)
		return 0;
	if (m->kind_case == EXHIBIT__V1__UPLOAD_REQUEST__KIND_START)
		(void)!vault_message_start(m->start, order, exhibit, NULL);
	if (m->kind_case == EXHIBIT__V1__UPLOAD_REQUEST__KIND_CHUNK)
		open_chunk(m->chunk, z);
	if (m->kind_case == EXHIBIT__V1__UPLOAD_REQUEST__KIND_ITEM)
		(void)!vault_name_valid(m->item->name.data, m->item->name.len);
	exhibit__v1__upload_request__free_unpacked(m, NULL);
	return 0;
}
