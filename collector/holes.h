/* SPDX-License-Identifier: Apache-2.0 */
/* What agents themselves say is missing in a span of time: gap events and tombstones, per host, place
 * and class: each stretch of them by itself, or, where they are many, their sum. */
#ifndef COLLECTOR_HOLES_H
#define COLLECTOR_HOLES_H

#include "collector/reading.h"

#define HOLES_BATCHES_MAX                                                                          \
	4096 /* batches with gaps that one question reads, of all hosts or of each */

struct holes_question {
	const struct batch_name *tenant;
	bool named; /* only the hosts of reading.hosts; else all of the tenant */
	int64_t since_ns, until_ns; /* INT64_MIN/MAX: open */
	uint32_t classes; /* bits 1 << class that matter; holes of no known class always do */
};

/* Adds to r->missing. r->filter is set aside meanwhile. */
MUST_CHECK int holes_find(struct reading *r, const struct holes_question *q, struct error *e);

#endif
