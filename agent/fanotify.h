/* SPDX-License-Identifier: Apache-2.0 */
/* Class file_change by fanotify: modify (closed after being written), rename, unlink, on every local
 * file system; new mounts are marked when they appear, those of other mount namespaces when a process
 * was seen there (fanotify_seen). Notification only, never permission: it cannot hold anybody up. Weaker than the BPF classes, and says so: equal events
 * merge, an overflow is a gap without a count, an unresolved directory is marked incomplete.
 * fanotify(7); kernel 5.9 at least (FAN_REPORT_DFID_NAME), FAN_RENAME and FAN_REPORT_TARGET_FID from
 * 5.17. Belongs to the drain thread; nothing here blocks. */
#ifndef AGENT_FANOTIFY_H
#define AGENT_FANOTIFY_H

#include "agent/event.h"
#include "proto/base/error.h"

#define FANOTIFY_OWN_MAX 16

struct fanotify_config {
	const char *mountinfo; /* "/proc/self/mountinfo" */
	bool bounded; /* do not ask for FAN_UNLIMITED_QUEUE */
	bool before_5_17; /* tests: do without FAN_RENAME and FAN_REPORT_TARGET_FID */
	const char *only; /* tests: mark only what is mounted there and below; NULL: all */
	/* What the agent and a collector beside it write is filtered and counted. */
	const char *own_folders[FANOTIFY_OWN_MAX]; /* absolute; NULL ends */
	uint32_t own_pids[FANOTIFY_OWN_MAX]; /* 0 ends */
};

struct fanotify;

/* -ENOSYS, -EPERM, -EINVAL with a sentence: the class is not covered then. Copies what c names. */
MUST_CHECK int fanotify_open(const struct fanotify_config *c, uint64_t now_ns,
			     struct fanotify **ret_f, struct error *e);
void fanotify_close(struct fanotify *f); /* NULL allowed */
/* Add a process of our own (the uplink, after its fork). -ENOSPC: FANOTIFY_OWN_MAX are there. */
MUST_CHECK int fanotify_own_pid(struct fanotify *f, uint32_t pid);

/* Take at most budget events and hand each to fn, which must not keep ev's pointers: ev->image.pid is
 * the process (0: outside of our pid namespace), enrich_event completes it; gaps have no process.
 * Also looks for new mounts. Returns the number of kernel events taken (up to a buffer more than
 * budget): 0 when none waited, at least budget when more may wait. */
size_t fanotify_drain(struct fanotify *f, uint64_t now_ns, size_t budget,
		      void (*fn)(void *ctx, struct event *ev), void *ctx);
/* A record told of something that pid (0: nobody in particular) did in that mount namespace: what it has
 * mounted is to be marked too. Cheap: for every record. mnt_ns 0: nothing. */
void fanotify_seen(struct fanotify *f, uint32_t mnt_ns, uint32_t pid, uint64_t now_ns);
/* Readable when events wait, for poll; owned by f. */
int fanotify_fd(const struct fanotify *f);

/* For the coverage table. */
struct fanotify_coverage {
	bool partial; /* always: what others mount is not marked at once */
	bool rename; /* FAN_RENAME: old and new name in one event */
	size_t marked, unmarked; /* file systems */
	char reason[256]; /* "...; no mark on 2 file systems: /mnt/a (overlay) gives no file handles, ..." */
};
void fanotify_coverage(const struct fanotify *f, struct fanotify_coverage *ret);
/* true once after each change of what fanotify_coverage says. */
bool fanotify_coverage_changed(struct fanotify *f);

struct fanotify_stats {
	uint64_t events, filtered, overflows, malformed, unresolved,
		ignored; /* ignored: directories removed */
};
void fanotify_stats(const struct fanotify *f, struct fanotify_stats *ret);

#endif
