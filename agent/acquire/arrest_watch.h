/* SPDX-License-Identifier: Apache-2.0 */
/* Stopping processes as they start (bpf/arrest.bpf.c), and a guard: a process of its own that, when we end in
 * whichever way, lets go of what the kernel stopped and no watchdog has yet. */
#ifndef ACQUIRE_ARREST_WATCH_H
#define ACQUIRE_ARREST_WATCH_H

#include <sys/types.h>

#include "agent/acquire/acquire.h"
#include "bpf/arrest.h"

struct arrest_watch;

/* From now on processes that match are stopped. -EOPNOTSUPP, -EPERM: this kernel, or our rights, do not allow it. */
MUST_CHECK int arrest_watch_open(const struct acquire_request *r, struct arrest_watch **ret,
				 struct error *e);
/* No process is stopped any more; what no watchdog holds goes on. NULL allowed. */
void arrest_watch_close(struct arrest_watch *w);
/* The next process that was stopped; 0: none now. Each is then seen or given back. */
pid_t arrest_watch_next(struct arrest_watch *w, uint64_t *ret_boottime_ns);
/* That one is held by a watchdog now. */
void arrest_watch_seen(struct arrest_watch *w);
/* That one was not meant, and was let go: another one may be stopped for it. */
void arrest_watch_give_back(struct arrest_watch *w);

/* Whether a program of that name must not be stopped: container runtimes, the kubelet, the first process, this
 * agent. path: in the host's view. Pure. */
bool arrest_protects(const char *path, size_t len);

#endif
