/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger as the callbacks that orders and vault take; ctx is the struct ledger. Any thread. */
#ifndef COLLECTOR_LEDGER_CALLS_H
#define COLLECTOR_LEDGER_CALLS_H

#include "collector/ledger.h"

/* One leaf, durable when this returns 0; ret_index may be NULL. */
MUST_CHECK int ledger_call_leaf(void *ctx, const Exhibit__V1__LedgerEntry *entry, struct error *e);
MUST_CHECK int ledger_call_leaf_at(void *ctx, const Exhibit__V1__LedgerEntry *entry,
				   uint64_t *ret_index, struct error *e);
/* The newest checkpoint as LedgerUpdate, packed, malloc'ed, with a proof that it follows from old_size (0, or larger
 * than the log: without one, and old_size is 0 in it). ret_size: its tree's. */
MUST_CHECK int ledger_call_update(void *ctx, uint64_t old_size, uint8_t **ret, size_t *ret_len,
				  uint64_t *ret_size, struct error *e);

#endif
