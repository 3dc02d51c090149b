/* SPDX-License-Identifier: Apache-2.0 */
/* The rows of many overlapping batches in exact order of their keys, with bounded memory: batches are opened
 * when their time comes; where more overlap than fit, the end of the span is pulled in, what lies beyond is
 * dropped and read again in the next pass. One thread. */
#ifndef COLLECTOR_MERGE_H
#define COLLECTOR_MERGE_H

#include "collector/reading.h"
#include "collector/row_set.h"

#define MERGE_BUDGET MiB(24)

/* 0 to go on; anything else ends the merge and is returned. row: borrowed. */
typedef int merge_emit_fn(void *ctx, const struct kept_row *row);

struct merge_question {
	const struct store_ref *refs; /* ordered by first_wall_ns */
	size_t n;
	struct row_key from; /* the first key wanted */
	int64_t until_ns; /* of time, exclusive; INT64_MAX: open */
	size_t budget; /* bytes of rows in memory, MERGE_BUDGET */
	bool again; /* the batches were read before: their faults are known */
};

MUST_CHECK int merge_run(struct reading *r, const struct merge_question *q, merge_emit_fn *emit,
			 void *ctx, struct error *e);

#endif
