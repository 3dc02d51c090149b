/* SPDX-License-Identifier: Apache-2.0 */
/* Lets go of what an acquirer holds, whatever becomes of the acquirer: a process of its own, forked before
 * anything is held, which gets a descriptor for each thing and undoes it when the deadline passes, when the
 * acquirer ends in whichever way, or when it is told to.
 *
 * Order of use: watchdog_start; for each thing first watchdog_hold_*, then freeze or stop it, then work,
 * then watchdog_release. A hold returns only when the other process has it. One thread. */
#ifndef ACQUIRE_WATCHDOG_H
#define ACQUIRE_WATCHDOG_H

#include "proto/base/base.h"
#include "proto/base/error.h"

#define WATCHDOG_HOLDS_MAX 4096

struct watchdog;

/* The deadline counts from the first hold after start or after a release. */
MUST_CHECK int watchdog_start(uint64_t deadline_ms, struct watchdog **ret, struct error *e);
/* A cgroup that is about to be frozen. fd: its cgroup.freeze (v2: gets "0") or freezer.state (v1: gets
 * "THAWED"), open for writing; borrowed. -ETIMEDOUT: the deadline of earlier holds has passed. */
enum watchdog_cgroup { WATCHDOG_CGROUP_V2, WATCHDOG_CGROUP_V1 };
MUST_CHECK int watchdog_hold_cgroup(struct watchdog *w, int fd, enum watchdog_cgroup version,
				    struct error *e);
/* A process that is about to be, or already is, stopped by SIGSTOP: gets SIGCONT. pidfd: borrowed. */
MUST_CHECK int watchdog_hold_pid(struct watchdog *w, int pidfd, struct error *e);
/* Let go of everything now, newest first. 0: it was held until now; -ETIMEDOUT: it was let go before,
 * because the deadline passed: what was copied is not of one instant. -EPIPE: the watchdog itself was
 * killed; the caller has to let go by itself. Usable again. */
MUST_CHECK int watchdog_release(struct watchdog *w, struct error *e);
/* Forget everything without letting go: what stays stopped on purpose (ARREST_STAY gives it to another
 * watchdog), or what was killed. */
MUST_CHECK int watchdog_forget(struct watchdog *w, struct error *e);
/* Whether the deadline has passed since the first hold (no message is sent). */
bool watchdog_expired(struct watchdog *w);
/* Lets go of what is held and ends the process. NULL allowed. */
void watchdog_free(struct watchdog *w);

#endif
