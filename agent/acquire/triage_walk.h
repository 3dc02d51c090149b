/* SPDX-License-Identifier: Apache-2.0 */
/* Everything below a directory, one file system deep, without following a symbolic link and without a trace in
 * access times where the kernel allows it. */
#ifndef ACQUIRE_TRIAGE_WALK_H
#define ACQUIRE_TRIAGE_WALK_H

#include <limits.h>

#include "agent/acquire/triage.h"

#define TRIAGE_DEPTH_MAX 24

struct triage_walk {
	struct triage *t;
	uint64_t left; /* entries that may still be visited */
	bool cut; /* there were more, or deeper ones */
	void *ctx;
	/* name in dir; path: from the root of the view, without a leading slash. */
	void (*visit)(void *ctx, int dir, const char *name, const char *path);
	char path[PATH_MAX];
};

/* dir: a directory to be read (taken), whose path stands in w->path. */
void triage_walk(struct triage_walk *w, int dir);
/* To be read, O_NOATIME where allowed. how: more flags (O_NOFOLLOW). */
int triage_open_dir(struct triage *t, int dir, const char *name, int how);
/* Another host's or process's file system, where each call may wait forever; and it is not the root's own. */
bool triage_is_remote(const struct triage *t, int fd);

#endif
