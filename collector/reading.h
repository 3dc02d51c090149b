/* SPDX-License-Identifier: Apache-2.0 */
/* How one question reads batches: with which tools, until when it may, and where faults are noted. A batch
 * that is damaged or gone makes the answer incomplete; it never ends it. One owner, one thread. */
#ifndef COLLECTOR_READING_H
#define COLLECTOR_READING_H

#include "collector/completeness.h"
#include "collector/scan.h"
#include "proto/base/base.h"
#include "proto/base/error.h"

struct reading {
	struct store *store;
	struct scan *scan;
	const struct filter *filter; /* NULL: every event */
	bool (*cancelled)(void *ctx);
	void *cancel_ctx;
	struct missing_list *missing;
	/* Every host that the question is about, for when one of them claims so much that it must be left
	 * out; borrowed. */
	const struct batch_name *hosts;
	size_t n_hosts;
	uint64_t unknown, unreadable; /* as struct scan_counts; not told yet */
	uint64_t batches; /* read so far */
};

/* Read one batch through r->filter. again: it was read before in this question, so its faults are noted
 * already. -ECANCELED: the asker is gone or out of time. */
MUST_CHECK int reading_batch(struct reading *r, const struct store_ref *ref, bool again,
			     scan_fn *fn, void *ctx, struct error *e);
/* At the end, and of a live tail now and then: what was counted since becomes rows of missing. */
void reading_end(struct reading *r);

#endif
