/* SPDX-License-Identifier: Apache-2.0 */
/* How far the open segment is known to be durable, beside it as ID.mark: what tells a bit that flipped in the
 * last group commit, which was acknowledged, from a group that was being written when the machine died.
 * Derived and never synced: it is written only after the segment was, so whatever is read of it is true, and
 * what a crash took of it makes the answer weaker, not false. Format: collector/README.md, "Segments". Writer
 * thread only. */
#ifndef COLLECTOR_DURABLE_MARK_H
#define COLLECTOR_DURABLE_MARK_H

#include "collector/segment.h"

struct durable_mark {
	uint64_t length; /* bytes of the file that were synced; 0: not known */
	uint32_t ordinal; /* of the frame that follows them */
};

struct durable_marker;

/* A new file without a mark. NULL: could not be made; nothing depends on it. dirfd: borrowed. */
struct durable_marker *durable_marker_new(int dirfd, const struct segment_id *id);
void durable_marker_free(struct durable_marker *m); /* NULL allowed */
/* After fdatasync. One pwrite(2). A failure ends the marks, and the last one stays true. */
void durable_marker_set(struct durable_marker *m, const struct durable_mark *mark);
/* The newest whole one; length 0: there is none. */
void durable_mark_read(int dirfd, const struct segment_id *id, struct durable_mark *ret);
void durable_mark_remove(int dirfd, const struct segment_id *id);

#endif
