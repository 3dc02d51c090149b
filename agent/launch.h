/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher: a small process, forked before `sense` has threads, BPF or keys, whose one job is to keep
 * an uplink running. It is apart because `sense` forbids itself network sockets by seccomp, and a filter
 * is inherited by every child. Each time it starts an uplink it sends sense the other end of a new link
 * (SCM_RIGHTS over the control socket); a byte from sense restarts the uplink; when sense closes the
 * control socket, or dies, it ends the uplink and itself. */
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
/* Take the next link from the control socket. 1: *ret_fd; 0: none yet; -EPIPE: the launcher ended. */
MUST_CHECK int launch_receive(int control, int *ret_fd);
/* Have the uplink end and start anew (certificates were renewed). */
void launch_restart(int control);

#endif
