/* SPDX-License-Identifier: Apache-2.0 */
/* Where the newest N matching rows begin, and in which batches they lie: a bounded heap of keys over the
 * batches from the newest back. merge_run then shows them oldest first. One thread. */
#ifndef COLLECTOR_NEWEST_H
#define COLLECTOR_NEWEST_H

#include "collector/reading.h"
#include "collector/row_key.h"

#define NEWEST_MAX 200000 /* rows: 10 MB of keys */

struct newest {
	struct row_key from; /* of the oldest of them */
	bool cut; /* there are more than the limit */
	struct store_ref *refs; /* malloc'ed, ordered by first_wall_ns, each once */
	size_t n;
};

/* limit: 1..NEWEST_MAX. Errors as reading_batch's; -E2BIG: they lie in too many batches. */
MUST_CHECK int newest_find(struct reading *r, const struct store_question *q, size_t limit,
			   struct newest *ret, struct error *e);
void newest_release(struct newest *n);

#endif
