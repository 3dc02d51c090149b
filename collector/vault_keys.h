/* SPDX-License-Identifier: Apache-2.0 */
/* The public sealing keys of all host records that the check meets in the store. One thread. */
#ifndef COLLECTOR_VAULT_KEYS_H
#define COLLECTOR_VAULT_KEYS_H

#include "proto/batch.h"
#include "proto/seal.h"

struct vault_keys {
	void *root; /* of tsearch */
};

/* A zeroed one is empty. */
void vault_keys_release(struct vault_keys *k);
/* The key of a SignedHostRecord that was verified when it was stored. 0, also for one that cannot be read (the store's
 * check names it); -ENOMEM. */
MUST_CHECK int vault_keys_add_record(struct vault_keys *k, const void *record, size_t len);
MUST_CHECK int vault_keys_add(struct vault_keys *k, const struct batch_name *tenant,
			      const struct batch_name *host,
			      const uint8_t public[static SEAL_PUBLIC_LEN]);
/* false: no host record has it. */
MUST_CHECK bool vault_keys_find(const struct vault_keys *k, const struct batch_name *tenant,
				const struct batch_name *host,
				const uint8_t key_id[static SEAL_KEY_ID_LEN],
				uint8_t ret_public[static SEAL_PUBLIC_LEN]);

#endif
