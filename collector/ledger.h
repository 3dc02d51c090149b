/* SPDX-License-Identifier: Apache-2.0 */
/* The ledger: one append-only Merkle log over everything stored and everything done, in the layout of C2SP
 * tlog-tiles with signed-note checkpoints (Ed25519). Leaves are LedgerEntry (proto/service.proto).
 *
 * DIR/checkpoint, DIR/tile/L/N[.p/W], DIR/tile/entries/N[.p/W]; leaves wait in DIR/pending-SEQ until a
 * checkpoint holds them (collector/README.md, "The ledger"); DIR/index.sqlite is derived.
 *
 * Any thread; appends of several threads share one fdatasync. A thread of the ledger's own writes tiles and
 * checkpoints. */
#ifndef COLLECTOR_LEDGER_H
#define COLLECTOR_LEDGER_H

#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/note.h"
#include "proto/seal.h"
#include "service.pb-c.h"

#define LEDGER_ENTRY_MAX KiB(4)
#define LEDGER_CHECKPOINT_MAX KiB(4)
#define LEDGER_PROOF_MAX 64 /* hashes */
#define LEDGER_GROUP_MAX 4096 /* entries of one append */
#define LEDGER_FOLDER ".ledger" /* in the store's folder; no tenant's name begins with a dot */

struct ledger;

struct ledger_config {
	const char *dir; /* the ledger's own folder; made when missing */
	const char *key_file; /* Ed25519, PEM */
	const char *
		cert_file; /* PEM, of the order authority (proto/ledger_cert.h); names the log. NULL: no
				* certificate, the log is called origin */
	const char *origin; /* without cert_file: name of the log and of its key */
	uint64_t checkpoint_ms; /* at the latest so long after an append; 0: 1,000 */
};

/* Opens, makes, recovers (pending leaves are taken in, torn ones that were never reported are cut). A log
 * whose tiles do not give its checkpoint's root is not opened: -EBADMSG names the tile. Nobody else may have
 * the folder open: the store's lock sees to that. */
MUST_CHECK int ledger_open(const struct ledger_config *c, struct ledger **ret, struct error *e);
/* Writes a last checkpoint. NULL allowed. */
void ledger_close(struct ledger *l);
/* Whose signature the checkpoints bear, and the certificate that says so (DER; NULL: none). Owned by l. */
const struct note_key *ledger_key(const struct ledger *l);
const uint8_t *ledger_certificate(const struct ledger *l, size_t *ret_len);
/* Append n entries (1..LEDGER_GROUP_MAX) as one group; durable when this returns 0, in a checkpoint soon
 * after. wall_ns 0: now; version is set. ret_first: index of the first (may be NULL). -ENOSPC, -EIO: nothing
 * of it is in the log; -EMSGSIZE: an entry is too long. */
MUST_CHECK int ledger_append(struct ledger *l, const Exhibit__V1__LedgerEntry *const *entries,
			     size_t n, uint64_t *ret_first, struct error *e);
/* Have a checkpoint over all that was appended before this call, now. */
MUST_CHECK int ledger_checkpoint(struct ledger *l, struct error *e);
/* The newest checkpoint's text (signed note), malloc'ed, and its size. */
MUST_CHECK int ledger_newest(struct ledger *l, char **ret_note, uint64_t *ret_size,
			     struct error *e);
/* Proofs in the tree of `size` leaves, at most the newest checkpoint's. ret: LEDGER_PROOF_MAX hashes. -ERANGE. */
MUST_CHECK int ledger_consistency(struct ledger *l, uint64_t old_size, uint64_t size,
				  struct seal_hash *ret, size_t *ret_n, struct error *e);
MUST_CHECK int ledger_inclusion(struct ledger *l, uint64_t index, uint64_t size,
				struct seal_hash *ret, size_t *ret_n, struct error *e);
/* Root of the first size leaves. -ERANGE: there are fewer in the newest checkpoint. */
MUST_CHECK int ledger_root(struct ledger *l, uint64_t size, struct seal_hash *ret, struct error *e);
/* The log was rebuilt: this leaf says from what (LEDGER_REBUILD). Before others ask; -1: it was not. */
void ledger_set_rebuild(struct ledger *l, int64_t leaf);
int64_t ledger_rebuild(const struct ledger *l);
/* One leaf as hashed, malloc'ed. -ENOENT past the newest checkpoint. */
MUST_CHECK int ledger_entry(struct ledger *l, uint64_t index, uint8_t **ret, size_t *ret_len,
			    struct error *e);
/* Indexes of leaves below size that name this case or this exhibit (or are of the host record with this SHA-256; len
 * 0: not asked), ascending, malloc'ed. -E2BIG: more than max. */
MUST_CHECK int ledger_find(struct ledger *l, const void *case_id, size_t case_len,
			   const void *exhibit_id, size_t exhibit_len, uint64_t size, size_t max,
			   uint64_t **ret, size_t *ret_n, struct error *e);
/* Called after each new checkpoint, from the ledger's thread; for what tells agents. fn may ask the ledger, but
 * not for a checkpoint. NULL: nobody any more (returns when no call is under way). */
void ledger_on_checkpoint(struct ledger *l, void (*fn)(void *ctx), void *ctx);

#endif
