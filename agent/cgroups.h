/* SPDX-License-Identifier: Apache-2.0 */
/* Cgroup id (inode of its directory) to path and workload: scanned at start, looked up on a miss by
 * kernfs handle, else by a rate-limited scan, else from /proc/PID/cgroup. Bounded. One thread. */
#ifndef AGENT_CGROUPS_H
#define AGENT_CGROUPS_H

#include "agent/containers.h"
#include "agent/workload.h"
#include "proto/base/error.h"

struct cgroups_config {
	const char *root; /* "/sys/fs/cgroup", or where the host's is mounted in a container */
	const char *proc; /* "/proc" */
	size_t max; /* cached cgroups; the longest unused go first, of containers' own at last */
	struct containers *containers; /* taken over; NULL: none is named */
};

/* Which cgroup, by every name that is known. Zero and empty: not known. */
struct cgroup_ask {
	uint64_t id; /* unified hierarchy */
	uint64_t v1_id; /* memory or pids controller */
	uint32_t pid; /* a process in it, for /proc/PID/cgroup */
	struct bytes name; /* its directory's last component: enough for a container that is gone */
};

/* Valid until the next call. */
struct cgroup {
	struct bytes path; /* empty: not known */
	uint64_t id; /* of the hierarchy that path is of; without a path the unified one's, else v1's */
	struct workload workload; /* without a container where one is only imitated */
	struct container *
		container; /* what its runtime says; NULL: none, or known by its cgroup's name only */
};

struct cgroups;

/* Scans. -ENOENT no cgroup file system below root: still usable with names alone, *ret_c is set. */
MUST_CHECK int cgroups_open(const struct cgroups_config *c, struct cgroups **ret_c,
			    struct error *e);
void cgroups_close(struct cgroups *c); /* NULL allowed */
/* Of the hierarchies the path that names a container, else a unit, else the unified one. */
struct cgroup cgroups_find(struct cgroups *c, const struct cgroup_ask *ask, uint64_t now_ns);

/* A cgroup was made just now: path is what the kernel calls it. What it is of is read at once. */
void cgroups_made(struct cgroups *c, bool v1, uint64_t id, struct bytes path, uint64_t now_ns);
/* Changes when a container got names after it had been told without. */
uint64_t cgroups_version(const struct cgroups *c);
/* NULL: none. */
const struct containers *cgroups_containers(const struct cgroups *c);

struct cgroups_stats {
	uint64_t cached, hits, handles, scans, procs, unknown, evicted;
};
void cgroups_stats(const struct cgroups *c, struct cgroups_stats *ret);

#endif
