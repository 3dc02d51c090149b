/* SPDX-License-Identifier: Apache-2.0 */
/* One stored batch -> its events, each with its process. What was verified when it was stored is not
 * verified again; the frame's checksum is. One scan belongs to one thread. */
#ifndef COLLECTOR_SCAN_H
#define COLLECTOR_SCAN_H

#include "collector/store.h"
#include "proto/base/base.h"
#include "proto/base/error.h"
#include "proto/entity.h"
#include "proto/fields.h"

struct filter;
struct scan;

MUST_CHECK int scan_new(struct scan **ret, struct error *e);
void scan_free(struct scan *s); /* NULL allowed */
static inline void scan_free_ptr(struct scan **s)
{
	scan_free(*s);
}

/* Who a process entry is, read without unpacking it. */
struct scan_keys {
	struct entity id, parent; /* boot ids are the batch's */
	bool has_parent;
};

/* Are events of this process wanted now? Asked for each event that names one; no: the event is passed over
 * without being unpacked. */
typedef bool scan_want_fn(void *ctx, const struct scan_keys *keys);

/* Borrowed for one call of the callback. */
struct scan_row {
	struct subject subject;
	const uint8_t *event, *process; /* bytes as stored; process NULL: none */
	size_t event_len, process_len;
	uint32_t index; /* of the entry in its batch */
	/* Unix time, never outside what the header says of the batch: so that a header that lies hides
	 * nothing from the index. */
	int64_t time_ns;
};

struct scan_counts {
	uint64_t events; /* seen, matching or not */
	uint64_t unknown; /* of them, unless passed over: with an action that this collector has no name for */
	uint64_t unreadable; /* entries that cannot be read */
};

/* For the calls that follow; NULL: events of all processes are wanted. ctx: that of the scan_fn. */
void scan_set_want(struct scan *s, scan_want_fn *want);

/* Calls fn for each event that matches (filter NULL: each), in stored order. Stops when fn fails and returns
 * what it returned. -ENOENT: removed by retention; -EBADMSG: damaged. counts: added to. */
typedef int scan_fn(void *ctx, const struct scan_row *row);
MUST_CHECK int scan_batch(struct scan *s, struct store *store, const struct store_ref *ref,
			  const struct filter *f, scan_fn *fn, void *ctx,
			  struct scan_counts *counts, struct error *e);
/* The same of a batch that is at hand as stored. */
MUST_CHECK int scan_bytes(struct scan *s, const struct store_ref *ref, const uint8_t *bytes,
			  size_t len, const struct filter *f, scan_fn *fn, void *ctx,
			  struct scan_counts *counts, struct error *e);

/* Fill context from ref and the batch's header; all bytes are borrowed from them. */
void scan_context(const struct store_ref *ref, const struct batch_header *h,
		  Exhibit__V1__BatchContext *ret);

#endif
