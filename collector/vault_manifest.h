/* SPDX-License-Identifier: Apache-2.0 */
/* What the vault asks of a manifest: whose it is, which items it names, whether the host calls it complete.
 * All else is kept as it came. Pure functions of hostile bytes; fuzzed. */
#ifndef COLLECTOR_VAULT_MANIFEST_H
#define COLLECTOR_VAULT_MANIFEST_H

#include "collector/vault.h"

/* A host signs DOMAIN, NUL, SHA-256(manifest.json). */
#define VAULT_MANIFEST_DOMAIN "exhibit/manifest/v1"

struct vault_manifest_item {
	char name[VAULT_NAME_MAX + 1];
	uint64_t bytes;
	struct seal_hash sha256;
};

struct vault_manifest {
	uint8_t exhibit_id[VAULT_ID_LEN], order_id[VAULT_ID_LEN];
	bool complete; /* what the host says; true when it says nothing */
	char failure[256]; /* why it failed, as the host says; empty: it did not */
	size_t n_unfinished; /* items that the host began and did not end */
	char unfinished[VAULT_ITEMS_MAX][VAULT_NAME_MAX + 1];
	size_t n_items;
	struct vault_manifest_item items[VAULT_ITEMS_MAX];
};

/* len: at most VAULT_MANIFEST_MAX. ret: malloc'ed. -EBADMSG with a sentence; -E2BIG. */
MUST_CHECK int vault_manifest_read(const void *data, size_t len, struct vault_manifest **ret,
				   struct error *e);
/* Does it tell what arrived? info: ids and items, all of them. 0, or -EBADMSG: the first difference, as one
 * sentence. */
MUST_CHECK int vault_manifest_compare(const struct vault_manifest *m,
				      const Exhibit__V1__ExhibitInfo *info, struct error *e);

#endif
