/* SPDX-License-Identifier: Apache-2.0 */
/* What stands in the ledger for a frame of the store. Pure. */
#ifndef COLLECTOR_LEDGER_LEAF_H
#define COLLECTOR_LEDGER_LEAF_H

#include "collector/segment.h"
#include "proto/base/arena.h"
#include "service.pb-c.h"

#define LEDGER_LEAF_TEXT 192

struct ledger_leaf {
	Exhibit__V1__LedgerKind kind;
	struct batch_name tenant, host_id;
	struct seal_hash object; /* batch: hash of its header; else SHA-256 of the signed message */
	uint64_t size; /* bytes of the signed message */
	uint64_t batches; /* of a retention record: that it removed */
	char text[LEDGER_LEAF_TEXT]; /* of a retention record */
};

/* a: scratch, reset by the caller. 0: ret is set; 1: this frame has no leaf (begin, end); -EBADMSG: it cannot be
 * read; -ENOMEM. */
MUST_CHECK int ledger_leaf_of(enum frame_kind kind, const struct batch_name *tenant,
			      const uint8_t *body, size_t len, struct arena *a,
			      struct ledger_leaf *ret, struct error *e);
/* Borrows from leaf. */
void ledger_leaf_entry(const struct ledger_leaf *leaf, Exhibit__V1__LedgerEntry *ret);

#endif
