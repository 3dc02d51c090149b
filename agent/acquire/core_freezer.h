/* SPDX-License-Identifier: Apache-2.0 */
/* The cgroup of a container or pod: which processes are in it and below, and freezing it by the kernel's freezer
 * of version 2 or 1 (Documentation/admin-guide/cgroup-v2.rst; cgroup-v1/freezer-subsystem.rst). Every change is told
 * the watchdog before it is made, and only it undoes them. What was frozen before stays so. */
#ifndef ACQUIRE_CORE_FREEZER_H
#define ACQUIRE_CORE_FREEZER_H

#include <limits.h>
#include <sys/types.h>

#include "agent/acquire/acquire.h"
#include "agent/acquire/watchdog.h"

#define FREEZER_TOPS_MAX 8 /* directories of one container, none below another */
#define FREEZER_PROCESSES_MAX 65536

enum freezer_kind {
	FREEZER_V2, /* freeze first, then stop threads */
	FREEZER_V1, /* stop threads first: a frozen one never comes to its stop */
	FREEZER_NONE, /* a hierarchy that tells who is in it, and cannot freeze */
};

struct freezer {
	enum freezer_kind kind;
	size_t n;
	struct freezer_top {
		int dir;
		char path[PATH_MAX]; /* in its hierarchy */
		int knob; /* what freezes; -1: it may not be frozen by us */
		bool was_frozen;
	} tops[FREEZER_TOPS_MAX];
};

/* id: of a container as events show it, or "pod" and the pod's uid. -ENOENT: no such cgroup, or no process in it;
 * -EPERM: it is one of our own, or holds one. */
MUST_CHECK int freezer_find(const struct acquire_request *r, const char *id, struct freezer *ret,
			    struct error *e);
void freezer_release(struct freezer *f);
bool freezer_was_frozen(const struct freezer *f);
/* Whether a cgroup's directory name is that of the container or pod. Pure. */
bool freezer_names(const char *component, size_t len, const char *id);
/* Processes in it and below; returns how many, at most max are in pids. */
size_t freezer_processes(const struct freezer *f, pid_t *pids, size_t max);
/* Ask for freezing, and wait until a monotonic time. 0: frozen; -ETIMEDOUT: not all; else not at all. */
int freezer_freeze(struct freezer *f, struct watchdog *w, uint64_t until_ns, struct error *e);

#endif
