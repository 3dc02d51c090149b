/* SPDX-License-Identifier: Apache-2.0 */
/* From the store into the ledger: every frame that is durable in a segment becomes a leaf before anything is
 * acknowledged. What a crash or a failure left without a leaf is found again from a mark, which says up to where
 * frames have theirs (DIR/stored, derived: without it everything is compared). The writer's thread; until that
 * starts, whoever opens. */
#ifndef COLLECTOR_LEDGER_FEED_H
#define COLLECTOR_LEDGER_FEED_H

#include "collector/ledger.h"
#include "collector/store.h"

struct ledger_feed;

/* Leaves for all that the store holds without one. l and s are borrowed. */
MUST_CHECK int ledger_feed_open(struct ledger *l, struct store *s, const char *ledger_dir,
				struct ledger_feed **ret, struct error *e);
void ledger_feed_free(struct ledger_feed *f); /* NULL allowed */
/* A frame is durable (store_config.on_frame): it is owed its leaf. */
void ledger_feed_owe(struct ledger_feed *f, enum store_kind kind, const struct batch_name *tenant,
		     const uint8_t *body, size_t len);
/* Append what is owed; durable when this returns 0. Until then nothing more may be stored or acknowledged. */
MUST_CHECK int ledger_feed_pay(struct ledger_feed *f, struct error *e);
/* Move the mark, now and then: every FEED_MARK_NS of monotonic time, or at once. */
void ledger_feed_mark(struct ledger_feed *f, bool at_once);

#endif
