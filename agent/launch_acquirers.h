/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher's acquirers: which run, by token. */
#ifndef AGENT_LAUNCH_ACQUIRERS_H
#define AGENT_LAUNCH_ACQUIRERS_H

#include <signal.h>
#include <sys/types.h>

#include "agent/launch.h"

struct launch_acquirers {
	size_t n;
	struct launch_acquirer {
		uint32_t token;
		pid_t pid;
	} at[LAUNCH_ACQUIRERS_MAX];
};

/* All that an acquirer may be started with: the launcher keeps these. Bits 1 << CAP_*. */
uint64_t launch_acquirers_capabilities(void);
/* Start one. argv: our own; mask: signals as they were. fds: control and payload, borrowed. Negative errno:
 * it was not started. */
MUST_CHECK int launch_acquirers_start(struct launch_acquirers *a, uint32_t token, uint32_t kind,
				      char **argv, const sigset_t *mask, const int fds[static 2]);
void launch_acquirers_signal(const struct launch_acquirers *a, uint32_t token, int signal_no);
/* A child was reaped. Its token; 0: it was none of these. */
uint32_t launch_acquirers_reaped(struct launch_acquirers *a, pid_t pid);
void launch_acquirers_kill(const struct launch_acquirers *a); /* all */

#endif
