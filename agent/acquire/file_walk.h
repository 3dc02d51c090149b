/* SPDX-License-Identifier: Apache-2.0 */
/* Paths and patterns in a target's view, and all that lies below a folder, in the order of names. A pattern's
 * components are as fnmatch(3)'s, hidden names included; a name that is the component itself matches too, so that
 * "a[1]" is found. Components without wildcards are followed through links as the target itself would follow them,
 * the last never. Other file systems below a folder are gone into, but for those
 * that hold no data of their own (proc, sysfs, ...) or may hang (network, FUSE): they are told of. */
#ifndef ACQUIRE_FILE_WALK_H
#define ACQUIRE_FILE_WALK_H

#include "agent/acquire/target.h"

#define FILE_WALK_DEPTH_MAX 128

struct file_walk {
	const struct target *target;
	/* fd: O_PATH of what was found. Negative: stop. */
	int (*found)(void *ctx, int fd, const char *path, struct error *e);
	/* What could not be looked at, or is left out, with the reason. */
	int (*missed)(void *ctx, const char *path, const char *reason, struct error *e);
	void *ctx;
};

/* Everything that pattern (absolute, NUL-terminated) names, folders with all below. ret_n: how many were found. */
MUST_CHECK int file_walk(const struct file_walk *w, const char *pattern, uint64_t *ret_n,
			 struct error *e);
/* Whether the file system that fd lies on holds data that a walk may read. */
bool file_walk_readable(int fd);

#endif
