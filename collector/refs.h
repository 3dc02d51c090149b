/* SPDX-License-Identifier: Apache-2.0 */
/* The batches that may hold an answer, in pieces of time small enough to hold in memory: where the store
 * finds more than REFS_MAX, the span of time is halved until they fit. A host of which alone more than
 * REFS_MAX batches claim one minute lies or floods: it is left out of the answer, which says so, lest it make
 * every question about the others fail. One owner. */
#ifndef COLLECTOR_REFS_H
#define COLLECTOR_REFS_H

#include "collector/reading.h"
#include "proto/base/base.h"
#include "proto/base/error.h"

#define REFS_MAX 32768 /* references in memory at one time: 500 events each, about 20 MB */
#define REFS_SPANS_MAX 160 /* halving 2^64 ns leaves at most 64 spans waiting */
#define REFS_NARROW_NS (60 * NSEC_PER_SEC)

struct refs_walk {
	struct reading *reading;
	struct store_question question; /* the spans' times stand in for its own */
	bool newest_first;
	size_t n_spans;
	struct {
		int64_t since_ns, until_ns;
	} spans[REFS_SPANS_MAX]; /* the next one last */
	struct batch_name *kept; /* hosts, once one was left out; malloc'ed */
};

/* q is copied; what it points to is borrowed. r: its store, hosts and missing are used. End with refs_end. */
void refs_begin(struct refs_walk *w, struct reading *r, const struct store_question *q,
		bool newest_first);
/* The next span's batches (without tombstones), ordered by first_wall_ns, and the span. ret_refs: malloc'ed.
 * 1: there is one (perhaps with no batch); 0: the end; negative errno. */
MUST_CHECK int refs_next(struct refs_walk *w, struct store_ref **ret_refs, size_t *ret_n,
			 int64_t *ret_since_ns, int64_t *ret_until_ns, struct error *e);
void refs_end(struct refs_walk *w);

#endif
