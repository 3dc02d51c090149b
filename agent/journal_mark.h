/* SPDX-License-Identifier: Apache-2.0 */
/* How far each lane's newest file is known to be durable, in the file marks: what tells a bit that flipped in the
 * newest frame, which counted as safe, from a frame that was being written when the machine died. Never synced:
 * it is written only after the frame was, so whatever is read of it is true, and what a crash took of it makes
 * recovery know less, not wrongly. Format: agent/README.md "Journal". Seal thread only. */
#ifndef AGENT_JOURNAL_MARK_H
#define AGENT_JOURNAL_MARK_H

#include "agent/journal_frame.h"

#define JOURNAL_MARK_SLOTS                                                                         \
	2 /* of a lane, in turn: one that a crash tears leaves the one before it */
#define JOURNAL_MARK_LEN 32
#define JOURNAL_MARKS_LEN (BATCH_LANES * JOURNAL_MARK_SLOTS * JOURNAL_MARK_LEN)

struct journal_mark {
	uint64_t file; /* its number; 0: not known */
	uint64_t length; /* bytes of the file that were synced */
	uint64_t position; /* of the last frame in them */
};

/* The slots of all lanes as bytes; len may be anything. Pure. */
void journal_marks_read(const uint8_t *data, size_t len,
			struct journal_mark ret[static BATCH_LANES]);

struct journal_marker {
	int fd; /* -1: no marks */
	unsigned int next[BATCH_LANES]; /* slot of each lane */
};

/* What stands in dir_fd; all zero where there is nothing, which is no error. Then marks can be set, unless the
 * file cannot be opened: nothing depends on it. */
void journal_marker_open(struct journal_marker *m, int dir_fd,
			 struct journal_mark ret[static BATCH_LANES]);
void journal_marker_close(struct journal_marker *m);
/* After fdatasync. One pwrite(2). A failure ends the marks; the last one stays true. */
void journal_marker_set(struct journal_marker *m, enum batch_lane lane,
			const struct journal_mark *mark);

#endif
