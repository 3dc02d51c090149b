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

struct rebuild {
	Exhibit__V1__LedgerRebuild m;
	struct seal_hash proof[LEDGER_PROOF_MAX];
	ProtobufCBinaryData hashes[LEDGER_PROOF_MAX];
	uint8_t entry[LEDGER_ENTRY_MAX];
};

/* What hosts need to see that the log did not go back in silence. NULL: that leaf is in no checkpoint yet. */
static int fill_rebuild(struct ledger *l, uint64_t size, struct rebuild **ret,
			Exhibit__V1__LedgerRebuild **ret_message, struct error *e)
{
	uint64_t leaf = (uint64_t)ledger_rebuild(l);
	struct rebuild *b = calloc(1, sizeof(*b));
	AUTO(free_ptr) uint8_t *entry = NULL;
	size_t len = 0, n = 0;
	int r;

	*ret = b;
	if (!b)
		return error_set(e, -ENOMEM, "cannot give the newest checkpoint: %m");
	if (leaf >= size)
		return 0;
	r = ledger_entry(l, leaf, &entry, &len, e);
	if (r == 0)
		r = ledger_inclusion(l, leaf, size, b->proof, &n, e);
	if (r < 0)
		return r;
	exhibit__v1__ledger_rebuild__init(&b->m);
	memcpy(b->entry, entry, len < sizeof(b->entry) ? len : sizeof(b->entry));
	b->m.entry = borrowed(b->entry, len);
	b->m.index = leaf;
	for (size_t i = 0; i < n; i++)
		b->hashes[i] = borrowed(b->proof[i].b, SEAL_HASH_LEN);
	b->m.n_inclusion = n;
	b->m.inclusion = b->hashes;
	*ret_message = &b->m;
	return 0;
}

int ledger_call_update(void *ctx, uint64_t old_size, uint8_t **ret, size_t *ret_len,
		       uint64_t *ret_size, struct error *e)
{
	Exhibit__V1__LedgerUpdate update = EXHIBIT__V1__LEDGER_UPDATE__INIT;
	struct seal_hash proof[LEDGER_PROOF_MAX];
	ProtobufCBinaryData hashes[LEDGER_PROOF_MAX];
	struct ledger *l = ctx;
	AUTO(free_ptr) char *note = NULL;
	AUTO(free_ptr) struct rebuild *rebuild = NULL;
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
	if (ledger_rebuild(l) >= 0) {
		r = fill_rebuild(l, *ret_size, &rebuild, &update.rebuild, e);
		if (r < 0)
			return r;
	}
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
