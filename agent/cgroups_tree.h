/* SPDX-License-Identifier: Apache-2.0 */
/* The mounted cgroup hierarchies that ids refer to, and how to ask the kernel for a directory by id. */
#ifndef AGENT_CGROUPS_TREE_H
#define AGENT_CGROUPS_TREE_H

#include <linux/limits.h>

#include "agent/event.h"

enum cgroup_kind { CGROUP_UNIFIED, CGROUP_V1 };
#define CGROUP_KINDS 2

struct cgroup_tree {
	int fd; /* of the mounted root; -1: not mounted */
	char root[PATH_MAX];
};

/* Find the unified hierarchy and the v1 one (memory, else pids) below dir, the usual mount point of
 * both. Returns how many were found. */
size_t cgroup_trees_open(const char *dir, struct cgroup_tree trees[static CGROUP_KINDS]);
void cgroup_trees_close(struct cgroup_tree trees[static CGROUP_KINDS]);

/* Path within the hierarchy ("/" is its root) of the directory with this id, by a kernfs handle;
 * needs CAP_DAC_READ_SEARCH. buf: PATH_MAX bytes. Empty: no such cgroup, or not permitted. */
struct bytes cgroup_tree_path(const struct cgroup_tree *tree, uint64_t id, const char *proc,
			      char *buf);

/* Hand every directory to fn, at most max; returns how many. Deeper than 64 levels is left out. */
size_t cgroup_tree_walk(const struct cgroup_tree *tree, size_t max,
			void (*fn)(void *ctx, uint64_t id, struct bytes path), void *ctx);

#endif
