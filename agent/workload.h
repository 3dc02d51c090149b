/* SPDX-License-Identifier: Apache-2.0 */
/* What a cgroup's path tells of the workload in it. Pure. Forms: containerd, CRI-O, docker, podman
 * with the systemd and the cgroupfs driver, plain containerd, ECS; see the rows of the unit test.
 * Names below a container's cgroup are chosen by whoever runs in it, and tell nothing here. */
#ifndef AGENT_WORKLOAD_H
#define AGENT_WORKLOAD_H

#include "agent/event.h"

#define WORKLOAD_UID_LEN 36

struct workload {
	struct bytes container_id; /* outermost: 64 hex digits, or ECS' 32 hex digits "-" number */
	size_t container_len; /* bytes of path that lead to the container's own cgroup; 0: none */
	struct bytes unit; /* deepest *.service or *.scope, not below a container */
	struct bytes session; /* of logind: what is between "session-" and ".scope" */
	/* Of the pod's own cgroup, at most WORKLOAD_UID_LEN; systemd's form has '_' for '-'. */
	struct bytes pod_uid;
};

/* path: absolute or a single component; may begin with "/.." (private cgroup namespace) and end in
 * " (deleted)". The result leads into path. Empty: not told. */
struct workload workload_parse(struct bytes path);

/* Of the lines of a /proc/PID/cgroup the path that tells most: the one that names a container, else a
 * unit; among equals the unified hierarchy, then memory, pids, name=systemd. NULL, 0: no line. */
struct bytes workload_of_proc_cgroup(struct bytes file);

#endif
