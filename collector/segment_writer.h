/* SPDX-License-Identifier: Apache-2.0 */
/* The segment that is being written: append groups of frames durably, seal. What is in it stands in its
 * table. One writer thread; the table is read by others under the store's lock. */
#ifndef COLLECTOR_SEGMENT_WRITER_H
#define COLLECTOR_SEGMENT_WRITER_H

#include "collector/segment_table.h"

#define SEGMENT_NAME_MAX (SEGMENT_ID_TEXT + 16)
#define SEGMENT_GROUP_MAX 320 /* frames in one put */

struct segment_writer;

/* "open-ID.seg", "ID.seg", "ID.idx": buf holds SEGMENT_NAME_MAX bytes. */
const char *segment_name_open(const struct segment_id *id, char buf[static SEGMENT_NAME_MAX]);
const char *segment_name_sealed(const struct segment_id *id, char buf[static SEGMENT_NAME_MAX]);
const char *segment_name_index(const struct segment_id *id, char buf[static SEGMENT_NAME_MAX]);

/* A new file with its first frame, durable, its folder too. dirfd: borrowed as long as the writer.
 * -ENOSPC, -EIO, -ENOMEM: no file is left. */
MUST_CHECK int segment_writer_create(int dirfd, const struct segment_begin *b,
				     struct segment_writer **ret_w, struct error *e);
/* Go on with a file that was recovered: resume (fd: taken over on success), a leaf per intact frame,
 * resumed. */
MUST_CHECK int segment_writer_resume(int dirfd, int fd, const struct segment_begin *b,
				     struct segment_writer **ret_w, struct error *e);
MUST_CHECK int segment_writer_leaf(struct segment_writer *w, const void *body, size_t len);
/* After the last leaf: hash length bytes of the file (durable by now) and take over the table, which is
 * left empty. ordinal: of the next frame; more than there were leaves when damage was skipped. */
MUST_CHECK int segment_writer_resumed(struct segment_writer *w, uint64_t length, uint32_t ordinal,
				      struct segment_table *table, struct error *e);
void segment_writer_free(struct segment_writer *w); /* NULL allowed; nothing is written */
static inline void segment_writer_free_ptr(struct segment_writer **w)
{
	segment_writer_free(*w);
}

struct segment_table *segment_writer_table(struct segment_writer *w);
const struct segment_begin *segment_writer_begin(const struct segment_writer *w);
uint64_t segment_writer_bytes(const struct segment_writer *w); /* durable */
/* Something failed such that nothing may be written any more. */
bool segment_writer_frozen(const struct segment_writer *w);

/* Append n frames (kind, flags, length, received_ns, body are set; the rest is set here), durable when
 * this returns 0. -ENOSPC: nothing was written. -EIO: frozen. Cost: one pwritev, one fdatasync. */
MUST_CHECK int segment_writer_put(struct segment_writer *w, struct frame *frames, size_t n,
				  struct error *e);

/* What is in the table from this row on, for the next start (token_log.h). Fails silently. */
void segment_writer_note(struct segment_writer *w, uint32_t first_row);

/* Last frame, index file, final name, read-only. 0: w is finished, to be freed. -ENOSPC, -ENOMEM:
 * as before, try later. -EIO: frozen. */
MUST_CHECK int segment_writer_seal(struct segment_writer *w, struct index_summary *ret_summary,
				   struct error *e);
#endif
