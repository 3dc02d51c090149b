/* SPDX-License-Identifier: Apache-2.0 */
/* The tar that a bundle travels in (POSIX ustar, pax headers for long names and large files): written in a stream,
 * read as hostile bytes. Only plain files and folders. */
#ifndef CLI_BUNDLE_TAR_H
#define CLI_BUNDLE_TAR_H

#include "collector/cli/bundle.h"

struct tar_out {
	FILE *out; /* borrowed */
	int64_t mtime_s;
	uint64_t left; /* of the file that is being written */
	uint64_t bytes; /* of all, to know the padding */
};
/* A file of size bytes begins. -EINVAL: the one before is not complete; -EIO. */
MUST_CHECK int tar_begin(struct tar_out *t, const char *path, uint64_t size, struct error *e);
MUST_CHECK int tar_data(struct tar_out *t, const void *data, size_t len, struct error *e);
/* The last file is complete: its padding; after the last of all: finish. */
MUST_CHECK int tar_end_file(struct tar_out *t, struct error *e);
MUST_CHECK int tar_finish(struct tar_out *t, struct error *e);

struct tar_entry {
	char path[BUNDLE_PATH_MAX]; /* as written */
	uint64_t size, offset; /* of its bytes in the file */
};
/* The next plain file at *at; *at is moved behind it. 1; 0: the end. -EBADMSG: what stands at *at is no header (why in
 * e); -EIO. */
MUST_CHECK int tar_next(int fd, uint64_t *at, uint64_t file_size, struct tar_entry *ret,
			struct error *e);

#endif
