/* SPDX-License-Identifier: Apache-2.0 */
/* The newest checkpoint of the collector's ledger that this host has seen, and whether each later one follows
 * from it: a collector that was set back to an old copy, or that shows two histories, is contradicted. The
 * ledger is one for all tenants of a collector; the first checkpoint is taken as it comes. Orders thread.
 *
 * Another key that the order authority certified may go on with the same tree. A log that says in a leaf that it was
 * rebuilt from less than what this host holds is explained, never silently believed: who took the collector over could
 * write such a leaf. So it is followed only where the order authority certified a new key for it; the checkpoint that
 * was held stays beside as PATH.lost-SIZE. */
#ifndef AGENT_LEDGER_WATCH_H
#define AGENT_LEDGER_WATCH_H

#include "proto/authorities.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/seal.h"

#define LEDGER_WATCH_UPDATE_MAX KiB(32)

struct ledger_watch;

/* What is held, a LedgerUpdate as it came, lies in path (missing: nothing yet). authorities: borrowed. -EBADMSG:
 * the file is damaged. */
MUST_CHECK int ledger_watch_open(const char *path, const struct authorities *authorities,
				 struct ledger_watch **ret, struct error *e);
void ledger_watch_free(struct ledger_watch *w); /* NULL allowed */
/* Take a LedgerUpdate. 0: held from now on, durably; -EALREADY: nothing new; -EBADMSG: not signed by a ledger that the order
 * authority named; -ESTALE: it was rebuilt, what was lost is in the sentence: once, then -EALREADY; 1: the same, and it
 * has a new key: held from now on; -ECONNREFUSED: it contradicts what is held: ask ledger_watch_note for both; -EAGAIN: it comes
 * with a proof from another size than the one that is held, so that it proves nothing; -EIO. */
MUST_CHECK int ledger_watch_take(struct ledger_watch *w, const void *data, size_t len,
				 int64_t now_s, struct error *e);
/* The checkpoint that is held (signed note), and its tree's size; "" and 0: none. */
const char *ledger_watch_note(const struct ledger_watch *w, size_t *ret_len);
uint64_t ledger_watch_size(const struct ledger_watch *w);
/* SHA-256 of the note. false: none is held. */
bool ledger_watch_hash(const struct ledger_watch *w, struct seal_hash *ret);

#endif
