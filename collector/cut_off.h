/* SPDX-License-Identifier: Apache-2.0 */
/* What a start cuts off a segment is kept aside, as ID-OFFSET.cut (OFFSET: 16 hex digits, where in the segment
 * it stood): nothing of it was ever acknowledged as far as the store knows, but whoever looks into a damaged
 * disk wants to see it. It goes when retention removes its segment or a later one. Writer thread only. */
#ifndef COLLECTOR_CUT_OFF_H
#define COLLECTOR_CUT_OFF_H

#include "collector/segment.h"

#define CUT_OFF_NAME_MAX (SEGMENT_ID_TEXT + 32)
#define CUT_OFF_FILES_MAX                                                                          \
	64 /* per tenant: a machine that crashes over and over must not fill the disk */
#define CUT_OFF_BYTES_MAX MiB(64) /* of one file; more is not kept */

struct cut_off_totals {
	uint64_t files, bytes;
};

/* Copy size - offset bytes of fd, durable when this returns 0. ret_bytes: how many. 0 of them: no room for one
 * more file, said in the log. -EIO, -ENOSPC, -ENOMEM. */
MUST_CHECK int cut_off_keep(int dirfd, const struct segment_id *id, int fd, uint64_t offset,
			    uint64_t size, uint64_t *ret_bytes, struct error *e);
/* Is the name one of ours? ret_offset: where in the segment. */
MUST_CHECK bool cut_off_parse(const char *name, struct segment_id *ret_id, uint64_t *ret_offset);
/* Each file of the folder. */
MUST_CHECK int cut_off_each(int dirfd,
			    void (*fn)(void *ctx, const char *name, const struct segment_id *id,
				       uint64_t offset, uint64_t bytes),
			    void *ctx);
void cut_off_count(int dirfd, struct cut_off_totals *add_to);
/* Those of segments up to sequence. */
void cut_off_remove(int dirfd, uint64_t sequence, struct cut_off_totals *take_from);

#endif
