/* SPDX-License-Identifier: Apache-2.0 */
/* The newest run of an agent that took stock of its host: whoever lived then was listed or is told of later. A
 * process that is neither ended while nobody watched, and no exit of it will ever be told. */
#ifndef COLLECTOR_WATCH_RUN_H
#define COLLECTOR_WATCH_RUN_H

#include "collector/query_scope.h"

struct watch_run {
	bool known; /* else nothing can be concluded */
	uint8_t boot_id[BATCH_BOOT_LEN], epoch[BATCH_EPOCH_LEN];
	uint64_t number; /* its first batch of the critical lane: also what is told from between attaching and
			  * the start's own event is of this run */
	int64_t start_ns; /* Unix time */
	int64_t stock_end_ns; /* Unix time: its stock was told by then */
};

/* Of one host, started before at_ns (Unix time), its stock told by then, too. */
MUST_CHECK int watch_run_find(struct query_scope *s, const struct batch_name *host, int64_t at_ns,
			      struct watch_run *ret, struct error *e);
/* Whether the batch (of exec, fork, exit or stock) was told by this run or a later one. */
bool watch_run_told(const struct watch_run *w, const struct store_ref *ref);

#endif
