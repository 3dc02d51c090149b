/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher: a small process, forked before `sense` has threads, BPF or keys, whose job is to keep an
 * uplink running and to start acquirers when sense asks. It is apart because `sense` forbids itself network
 * sockets by seccomp, a filter is inherited by every child, and what sense may not do some acquirers must.
 * Each time it starts an uplink it sends sense the other end of a new link (SCM_RIGHTS over the control
 * socket, datagrams); when sense closes the control socket, or dies, it ends its children and itself.
 *
 * An acquirer starts with the capabilities of its row in acquire/table.c and a few to set itself up
 * (acquire/main.c gives those up), and dies when the launcher dies; it is reaped and reported here. */
#ifndef AGENT_LAUNCH_H
#define AGENT_LAUNCH_H

#include <sys/types.h>

#include "proto/base/base.h"
#include "proto/base/error.h"

#define LAUNCH_LINK_FD 3 /* where the uplink finds its end of the link */

/* Fork the launcher. argv: our own, which the uplink gets with the word "uplink" before the flags; -E2BIG:
 * too many.
 * ret_control: the control socket, close-on-exec. */
MUST_CHECK int launch_start(char **argv, int *ret_control, pid_t *ret_pid, struct error *e);
enum launch_kind {
	LAUNCH_LINK, /* a new uplink; fd: its link */
	LAUNCH_ENDED, /* the acquirer with this token; status as of waitpid, -1: it could not be started */
};

struct launch_report {
	enum launch_kind kind;
	int fd;
	uint32_t token;
	int status;
};

/* The next report. 1: *ret; 0: none yet; -EPIPE: the launcher ended. */
MUST_CHECK int launch_receive(int control, struct launch_report *ret);
/* Have the uplink end and start anew (certificates were renewed). */
void launch_restart(int control);
/* Start an acquirer for a kind of order. token: names it from now on, not 0, unique among those that run.
 * control_fd, payload_fd: borrowed; it finds them at CONTROL_FD and CONTROL_PAYLOAD_FD. LAUNCH_ENDED follows
 * whatever becomes of it, unless this fails. Any thread, as launch_stop. */
#define LAUNCH_ACQUIRERS_MAX 32
MUST_CHECK int launch_acquire(int control, uint32_t token, uint32_t kind, int control_fd,
			      int payload_fd, struct error *e);
/* SIGTERM: it finishes with what it has; force: SIGKILL. */
void launch_stop(int control, uint32_t token, bool force);

#endif
