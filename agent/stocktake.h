/* SPDX-License-Identifier: Apache-2.0 */
/* Runs the iterators (stock.h) on a thread of their own, since reading a process's arguments may wait as
 * long as that process likes, and keeps their records until the drain thread takes them. */
#ifndef AGENT_STOCKTAKE_H
#define AGENT_STOCKTAKE_H

#include "agent/stock.h"

#define STOCKTAKE_BYTES_MAX MiB(64) /* of records; past that stock-taking ends and says so */

struct stocktake;

/* hooks: borrowed until stocktake_free. */
MUST_CHECK int stocktake_start(const struct hooks *h, struct stocktake **ret_s, struct error *e);
bool stocktake_done(const struct stocktake *s);
/* Once done: each record to fn, in the iterators' order. Returns 0, or what the iterators failed with
 * (with e); records that were found before the failure are handed over all the same. */
MUST_CHECK int stocktake_take(struct stocktake *s, ring_fn fn, void *ctx, struct error *e);
/* Joins the thread; call once done (or at the end of the process). NULL allowed. */
void stocktake_free(struct stocktake *s);

#endif
