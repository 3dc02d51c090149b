/* SPDX-License-Identifier: Apache-2.0 */
/* Events as read(2) from a fanotify group with FAN_REPORT_DFID_NAME gives them (fanotify(7),
 * linux/fanotify.h). Pure; the kernel wrote them, but names and handles in them are others'. */
#ifndef AGENT_DECODE_FANOTIFY_H
#define AGENT_DECODE_FANOTIFY_H

#include "agent/event.h"
#include "proto/base/reader.h"

#define FANOTIFY_HANDLE_MAX 128 /* MAX_HANDLE_SZ */

/* A file handle, as open_by_handle_at(2) takes it. */
struct fanotify_handle {
	uint8_t fsid[8]; /* statfs' f_fsid */
	int32_t type;
	struct bytes bytes; /* empty: no handle */
};

/* A directory, and a name in it. */
struct fanotify_place {
	struct fanotify_handle dir;
	struct bytes name; /* empty: none */
};

/* Pointers lead into the reader's bytes. */
struct fanotify_record {
	uint64_t mask; /* FAN_*; several when events were merged */
	int32_t pid; /* thread group; 0: outside of our pid namespace */
	struct fanotify_place at; /* of a rename: the new place */
	struct fanotify_place old; /* renames */
	struct fanotify_handle object; /* the file itself; FAN_REPORT_TARGET_FID */
};

/* The next event of r: 1 and *ret, or 0 at the end, or -EBADMSG: the rest of r cannot be read. */
MUST_CHECK int decode_fanotify(struct reader *r, struct fanotify_record *ret);

#endif
