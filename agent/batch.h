/* SPDX-License-Identifier: Apache-2.0 */
/* Batches being filled: entries of one lane, encoded, until count, size or age closes them.
 * Filled by the drain thread; a closed batch is handed to the seal thread whole. */
#ifndef AGENT_BATCH_H
#define AGENT_BATCH_H

#include "proto/batch.h"

/* A closed batch on its way to be sealed. Owned by whoever holds it; batch_closed_free. */
struct batch_closed {
	enum batch_lane lane;
	uint8_t *raw; /* entries, each with its length before it; malloc'ed */
	size_t raw_len;
	uint32_t count, entries, gaps;
	uint64_t first_sequence, last_sequence; /* 0, 0: no event */
	uint64_t first_boottime_ns, last_boottime_ns;
	uint64_t watermark_ns;
	uint64_t counts[16]; /* events by class */
	/* What its gap events tell of: if this batch cannot be kept, it has to be told again. */
	uint64_t lost[16]; /* events by class */
	bool lost_unknown; /* one of them knows no count */
	uint64_t lost_from_ns, lost_to_ns; /* boottime; 0, 0: no gap event */
	size_t n_rings;
	struct batch_ring rings[]; /* what this batch or earlier ones account for */
};

void batch_closed_free(struct batch_closed *b); /* NULL allowed */

#endif
