/* SPDX-License-Identifier: Apache-2.0 */
/* An item of an exhibit that is still arriving, read behind its upload: never further than chunks.jsonl says, so
 * that nothing is shown that was not compared with its SHA-256 and is not durable. Reads files alone and holds no
 * lock: an upload that breaks off, goes on, or is sealed meanwhile is no matter. One thread. */
#ifndef COLLECTOR_VAULT_FOLLOW_H
#define COLLECTOR_VAULT_FOLLOW_H

#include "collector/vault.h"

struct vault_follow;

/* name: len bytes. 0: ret is set. 1: it is no longer arriving, vault_open_item has it. -EAGAIN: that item has not
 * begun. -ENOENT: there is no such exhibit. */
MUST_CHECK int vault_follow_open(struct vault *v, const struct batch_name *tenant,
				 const uint8_t id[static VAULT_ID_LEN], const void *name,
				 size_t len, struct vault_follow **ret, struct error *e);
/* ret_bytes: durable now, of the item. ret_end: no more will come of it. */
MUST_CHECK int vault_follow_look(struct vault_follow *f, uint64_t *ret_bytes, bool *ret_end,
				 struct error *e);
/* Where its bytes are read; f's own. */
int vault_follow_fd(const struct vault_follow *f);
void vault_follow_free(struct vault_follow *f); /* NULL allowed */

#endif
