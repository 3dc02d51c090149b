/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/sysmacros.h>

#include "agent/decode_types.h"
#include "proto/actions.h"

const char *decode_file_open(const struct rec_header *h, struct reader *r, struct decoded *d)
{
	struct rec_file_open x;

	DECODE_FIXED(r, h, &x);
	if (x.op != REC_FILE_CREATE && x.op != REC_FILE_OPEN_WRITE)
		return "a file record's operation is unknown";
	if (x.path_len > REC_PATH_MAX)
		return "a text in a record is longer than its maximum";
	d->event.action = x.op == REC_FILE_CREATE ? ACTION_CREATE : ACTION_OPEN_WRITE;
	d->event.class = CLASS_FILE_OPEN;
	d->event.u.file = (struct event_file){
		.path = decode_tail(r, x.path_len),
		.inode = x.inode,
		.device = makedev(x.dev_major, x.dev_minor),
		.size = x.size,
		.has_size = true,
		.size_before = x.size,
		.has_size_before = x.size_before_known && x.op == REC_FILE_OPEN_WRITE,
		.mode = x.mode,
		.uid = x.uid,
		.gid = x.gid,
		.open_flags = x.open_flags,
		.repeated = x.repeated,
	};
	return NULL;
}
