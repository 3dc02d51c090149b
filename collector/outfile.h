/* SPDX-License-Identifier: Apache-2.0 */
/* Write a new file from front to back through a buffer; the first error sticks. One owner. */
#ifndef COLLECTOR_OUTFILE_H
#define COLLECTOR_OUTFILE_H

#include "proto/base/base.h"

struct outfile {
	int fd;
	int error; /* negative errno of the first failure */
	uint64_t offset; /* of the next byte */
	size_t used;
	uint8_t *buffer;
};

/* Creates (or empties) name in dirfd, mode 0600. 0 or negative errno. */
MUST_CHECK int outfile_open(struct outfile *o, int dirfd, const char *name);
void outfile_write(struct outfile *o, const void *data, size_t len);
/* Flush, write head over the first head_len bytes, fsync, close. 0 or the first error. */
MUST_CHECK int outfile_finish(struct outfile *o, const void *head, size_t head_len);
/* Close without caring for the content. Harmless after finish. */
void outfile_close(struct outfile *o);

#endif
