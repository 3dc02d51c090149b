/* SPDX-License-Identifier: Apache-2.0 */
/* The files of a bundle, from its tar or from the folder that it was unpacked into: names, SHA-256, and the bytes of
 * those that are small. Hostile: names are plain, numbers and sizes bounded. One thread. */
#ifndef CLI_BUNDLE_FILES_H
#define CLI_BUNDLE_FILES_H

#include "collector/cli/bundle.h"

#define BUNDLE_FILES_MAX 4000000
#define BUNDLE_KEPT_MAX MiB(2) /* of one file whose bytes are kept */

struct bundle_file {
	char *path; /* in the bundle, without its folder */
	uint64_t size, offset; /* offset: in the tar */
	struct seal_hash sha256;
	struct blob bytes; /* data NULL: too large, or an item's */
	bool known; /* something else speaks of it */
	bool faulty; /* it was named once */
};

struct bundle_files {
	bool tar;
	int fd; /* of the tar, or of the folder */
	size_t n, max;
	struct bundle_file *at; /* by path, once all are read */
};

/* Reads all. fault: called for what is not a bundle's (a damaged tar header, a link), with the byte range in the tar.
 * Errors: -ENOENT and the like, -E2BIG. */
MUST_CHECK int bundle_files_read(const char *path, struct bundle_files *ret,
				 void (*fault)(void *ctx, const char *name, uint64_t from,
					       uint64_t to, const char *why),
				 void *ctx, struct error *e);
void bundle_files_release(struct bundle_files *f);
struct bundle_file *bundle_files_find(const struct bundle_files *f, const char *path);
/* A file's bytes, at most max. -EFBIG. */
MUST_CHECK int bundle_file_load(const struct bundle_files *f, const struct bundle_file *file,
				uint64_t max, struct blob *ret, struct error *e);
/* SHA-256 of len bytes at offset of a file. */
MUST_CHECK int bundle_file_range(const struct bundle_files *f, const struct bundle_file *file,
				 uint64_t offset, uint64_t len, struct seal_hash *ret,
				 struct error *e);

#endif
