/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger re-read as a whole, and compared with the store: every tile against what is below it, the root against
 * the signed checkpoint, every stored frame against the leaves, every leaf of a batch or an exhibit against what is
 * stored or was removed. Offline: nobody else has the folder open. One thread. */
#ifndef COLLECTOR_LEDGER_CHECK_H
#define COLLECTOR_LEDGER_CHECK_H

#include "collector/ledger.h"
#include "collector/store.h"

struct ledger_check;

/* Reads and checks the ledger alone. report: one sentence per fault. */
MUST_CHECK int ledger_check_begin(const struct ledger_config *c,
				  void (*report)(void *ctx, const char *sentence), void *ctx,
				  struct ledger_check **ret, struct error *e);
/* Does this frame have a leaf? (store_config.has_leaf) */
bool ledger_check_frame(void *check, enum store_kind kind, const struct batch_name *tenant,
			const uint8_t *body, size_t len);
/* Where the exhibits lie that leaves speak of; without it they are not looked for. dir: copied. */
MUST_CHECK int ledger_check_vault(struct ledger_check *k, const char *dir, struct error *e);
/* After all frames: whether what leaves speak of is there. */
MUST_CHECK int ledger_check_end(struct ledger_check *k, struct error *e);
uint64_t ledger_check_faults(const struct ledger_check *k);
void ledger_check_free(struct ledger_check *k); /* NULL allowed */

#endif
