/* SPDX-License-Identifier: Apache-2.0 */
#include "collector/ledger_calls.h"

#include <errno.h>
#include <string.h>

int ledger_call_leaf_at(void *ctx, const Exhibit__V1__LedgerEntry *entry, uint64_t *ret_index,
			struct error *e)
{
	const Exhibit__V1__LedgerEntry *list[1] = { entry };

	return ledger_append(ctx, list, 1, ret_index, e);
}

int ledger_call_leaf(void *ctx, const Exhibit__V1__LedgerEntry *entry, struct error *e)
{
	return ledger_call_leaf_at(ctx, entry, NULL, e);
}

static ProtobufCBinaryData borrowed(const void *data, size_t len)
{
	/* protobuf-c has no const; packing only reads. */
	return (ProtobufCBinaryData){ len, (uint8_t *)(uintptr_t)data };
}

int ledger_call_update(void *ctx, uint64_t old_size, uint8_t **ret, size_t *ret_len,
		       uint64_t *ret_size, struct error *e)
{
	Exhibit__V1__LedgerUpdate update = EXHIBIT__V1__LEDGER_UPDATE__INIT;
	struct seal_hash proof[LEDGER_PROOF_MAX];
	ProtobufCBinaryData hashes[LEDGER_PROOF_MAX];
	struct ledger *l = ctx;
	AUTO(free_ptr) char *note = NULL;
	const uint8_t *certificate;
	size_t n = 0, len;
	int r = ledger_newest(l, &note, ret_size, e);

	update.old_size = r == 0 && old_size <= *ret_size ? old_size : 0;
	if (r == 0)
		r = ledger_consistency(l, update.old_size, *ret_size, proof, &n, e);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		hashes[i] = borrowed(proof[i].b, SEAL_HASH_LEN);
	certificate = ledger_certificate(l, &len);
	update.checkpoint = borrowed(note, strlen(note));
	update.n_consistency = n;
	update.consistency = hashes;
	update.certificate = borrowed(certificate, len);
	*ret_len = exhibit__v1__ledger_update__get_packed_size(&update);
	*ret = malloc(*ret_len + 1);
	if (!*ret)
		return error_set(e, -ENOMEM, "cannot give the newest checkpoint: %m");
	(void)exhibit__v1__ledger_update__pack(&update, *ret);
	return 0;
}
