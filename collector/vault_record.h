/* SPDX-License-Identifier: Apache-2.0 */
/* exhibit.json: what the vault itself says of an exhibit. Pure functions of bytes; README.md "Vault" has the
 * members. Reading is for our own files, which somebody may have changed: fuzzed. */
#ifndef COLLECTOR_VAULT_RECORD_H
#define COLLECTOR_VAULT_RECORD_H

#include "exhibit.pb-c.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/batch.h"
#include "proto/seal.h"

struct vault_record {
	Exhibit__V1__ExhibitInfo *info; /* owned; exhibit_info__free_unpacked */
	bool leaf; /* info->ledger_index counts */
	bool has_key;
	uint8_t key_id[SEAL_KEY_ID_LEN]; /* of the manifest's signature */
	bool has_chunks;
	struct seal_hash chunks; /* SHA-256 of chunks.jsonl */
};

void vault_record_release(struct vault_record *r);
/* A copy with members of its own. NULL: out of memory. */
Exhibit__V1__ExhibitInfo *vault_info_copy(const Exhibit__V1__ExhibitInfo *info);
/* ret: malloc'ed, ends in a newline. */
MUST_CHECK int vault_record_write(const struct vault_record *r, const struct batch_name *tenant,
				  char **ret, size_t *ret_len, struct error *e);
/* -EBADMSG with a sentence, also when the record does not have its sum. ret_tenant may be NULL. */
MUST_CHECK int vault_record_read(const void *data, size_t len, struct vault_record *ret,
				 struct batch_name *ret_tenant, struct error *e);
/* The same without the sum: fuzzing, which cannot guess one, reaches the members through it. */
MUST_CHECK int vault_record_read_members(const void *data, size_t len, struct vault_record *ret,
					 struct batch_name *ret_tenant, struct error *e);
/* hold.json. -EBADMSG: it says neither. */
MUST_CHECK int vault_hold_read(const void *data, size_t len, bool *ret, struct error *e);
/* "memory" of ORDER_MEMORY; "unknown". buf: 32 bytes. */
const char *vault_kind_name(Exhibit__V1__OrderKind kind, char buf[static 32]);
/* "arriving", "sealed", "incomplete"; "unknown". */
const char *vault_state_name(Exhibit__V1__ExhibitState state);

#endif
