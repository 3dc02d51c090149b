/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: one append-only Merkle log over everything stored and everything done, in the layout of C2SP
 * tlog-tiles with signed-note checkpoints (Ed25519). Leaves are LedgerEntry (proto/service.proto).
 *
 * DIR/ledger/checkpoint, DIR/ledger/tile/L/N[.p/W], DIR/ledger/tile/entries/N[.p/W]; pending leaves wait in
 * DIR/ledger/pending until the next checkpoint. Any thread; appends of several threads share one fdatasync. */
#ifndef COLLECTOR_LEDGER_H
#define COLLECTOR_LEDGER_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/seal.h"
#include "service.pb-c.h"

#define LEDGER_ENTRY_MAX KiB(4)
#define LEDGER_ORIGIN_MAX 128
#define LEDGER_CHECKPOINT_MAX KiB(4)
#define LEDGER_PROOF_MAX 64 /* hashes */

struct ledger;

struct ledger_config {
	const char *dir; /* the collector's state folder */
	const char *origin; /* "exhibit.example/TENANT-OR-NAME": name of the log and of its key */
	const char *key_file; /* Ed25519, PEM */
	uint64_t checkpoint_ms; /* at the latest so long after an append; 0: 1,000 */
};

/* Opens, makes, recovers (pending leaves are taken in, torn ones that were never reported are cut). A log
 * whose tiles do not give its checkpoint's root is not opened: -EBADMSG names the tile. */
MUST_CHECK int ledger_open(const struct ledger_config *c, struct ledger **ret, struct error *e);
/* Writes a last checkpoint. NULL allowed. */
void ledger_close(struct ledger *l);
/* Append n entries as one group; durable when this returns 0, in a checkpoint soon after. wall_ns 0: now.
 * ret_first: index of the first (may be NULL). */
MUST_CHECK int ledger_append(struct ledger *l, const Exhibit__V1__LedgerEntry *const *entries,
			     size_t n, uint64_t *ret_first, struct error *e);
/* Have a checkpoint over all that was appended before this call, now. */
MUST_CHECK int ledger_checkpoint(struct ledger *l, struct error *e);
/* The newest checkpoint's text (signed note), malloc'ed, and its size. */
MUST_CHECK int ledger_newest(struct ledger *l, char **ret_note, uint64_t *ret_size,
			     struct error *e);
/* Proofs against the newest checkpoint's tree of `size` leaves. ret: LEDGER_PROOF_MAX hashes. -ERANGE. */
MUST_CHECK int ledger_consistency(struct ledger *l, uint64_t old_size, uint64_t size,
				  struct seal_hash *ret, size_t *ret_n, struct error *e);
MUST_CHECK int ledger_inclusion(struct ledger *l, uint64_t index, uint64_t size,
				struct seal_hash *ret, size_t *ret_n, struct error *e);
/* One leaf as hashed, malloc'ed. -ENOENT past the newest checkpoint. */
MUST_CHECK int ledger_entry(struct ledger *l, uint64_t index, uint8_t **ret, size_t *ret_len,
			    struct error *e);
/* Called after each new checkpoint, from the ledger's thread; for what tells agents. */
void ledger_on_checkpoint(struct ledger *l, void (*fn)(void *ctx), void *ctx);

#endif
