/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of processes, copied into a spool while they are held: only pages that have content (pagemap.h), by
 * /proc/PID/mem, never by process_vm_readv, which would un-share what a fork shares. The spool is allocated,
 * touched and locked beforehand; while something is held, nothing else is written to.
 *
 * Used from one thread at a time. */
#ifndef ACQUIRE_CORE_COPY_H
#define ACQUIRE_CORE_COPY_H

#include "agent/acquire/core_maps.h"
#include "agent/acquire/pagemap.h"

#define CORE_LATER UINT64_MAX /* not in the spool: to be read when the target runs again */

struct core_run {
	uint64_t start, bytes;
	uint64_t at; /* in the spool, or CORE_LATER */
};

enum core_gap_reason {
	GAP_UNTOUCHED,
	GAP_NOT_RESIDENT,
	GAP_GUARD,
	GAP_DEVICE,
	GAP_UNREADABLE,
	GAP_ENDED, /* the process, or the image that it ran */
	GAP_STOPPED, /* the order's limit */
};
const char *core_gap_text(enum core_gap_reason reason);

struct core_gap {
	uint64_t start, bytes;
	enum core_gap_reason reason;
};

/* What was copied of one process. */
struct core_index {
	struct core_run *runs; /* ascending */
	struct core_gap *gaps; /* ascending */
	size_t n_runs, runs_room, n_gaps, gaps_room;
	bool bad; /* out of memory: not all stands in it */
};
void core_index_release(struct core_index *i);
void core_index_gap(struct core_index *i, uint64_t start, uint64_t bytes, enum core_gap_reason r);

struct core_shared; /* pages that several processes share, in the spool */

struct core_spool {
	uint8_t *data;
	uint64_t bytes, used; /* bytes 0: none */
	bool locked;
	struct core_shared *shared; /* NULL: one process */
	uint64_t shared_bytes; /* that were not copied again */
};
/* share: for several processes. */
MUST_CHECK int core_spool_open(uint64_t bytes, bool share, struct core_spool *ret, struct error *e);
void core_spool_close(struct core_spool *s);

struct core_source {
	int mem, pagemap; /* /proc/PID/mem and pagemap, borrowed */
	const struct core_maps *maps;
	/* Asked before each piece; true: copy no more, the target is not held any longer. NULL: never. */
	bool (*over)(void *ctx);
	void *ctx;
};

/* How much there is to copy now, and make room in an index for it. */
uint64_t core_copy_measure(const struct core_source *s, struct core_index *i);
/* A first pass over a running process whose soft-dirty bits were just cleared: what it has to itself. */
void core_copy_first(const struct core_source *s, struct core_spool *spool, struct core_index *ret);
/* Copy. before: NULL, or what an earlier pass copied into the same spool since the soft-dirty bits were cleared:
 * what is not dirty is kept. */
void core_copy(const struct core_source *s, struct core_spool *spool,
	       const struct core_index *before, struct core_index *ret);
/* All with content is CORE_LATER. */
void core_copy_nothing(const struct core_source *s, struct core_index *ret);

#endif
