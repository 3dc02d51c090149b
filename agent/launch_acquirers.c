/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/launch_acquirers.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <sys/prctl.h>

#include "agent/acquire/acquire.h"
#include "agent/acquire/control.h"
#include "agent/launch_args.h"
#include "agent/privilege.h"

/* What an acquirer needs to set itself up: limits, and giving up the rest. */
#define SETUP ((1ULL << CAP_SYS_RESOURCE) | (1ULL << CAP_SETPCAP))
#define ABOVE 10 /* out of the way of the two that it gets */

uint64_t launch_acquirers_capabilities(void)
{
	const struct acquire_kind *kind;
	uint64_t all = SETUP;

	for (size_t i = 0; (kind = acquire_at(i)) != NULL; i++)
		all |= kind->capabilities;
	return all;
}

/* In the child. Never returns. */
static void become_acquirer(const struct acquire_kind *kind, char **argv, const sigset_t *mask,
			    const int fds[static 2])
{
	char *args[LAUNCH_ARGS_MAX + 2];
	int control = fcntl(fds[0], F_DUPFD_CLOEXEC, ABOVE);
	int payload = fcntl(fds[1], F_DUPFD_CLOEXEC, ABOVE);

	launch_args(argv, (char[]){ "acquire" }, args);
	(void)sigprocmask(SIG_SETMASK, mask, NULL);
	if (control < 0 || payload < 0 || dup2(control, CONTROL_FD) < 0 ||
	    dup2(payload, CONTROL_PAYLOAD_FD) < 0)
		_exit(127);
	(void)close_range(CONTROL_PAYLOAD_FD + 1, UINT_MAX, 0);
	if (privilege_hand_down(kind->capabilities | SETUP, NULL) < 0)
		_exit(127);
	/* What sense or the launcher started goes with it; what it froze its watchdog lets go. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv("/proc/self/exe", args);
	_exit(127);
}

int launch_acquirers_start(struct launch_acquirers *a, uint32_t token, uint32_t kind, char **argv,
			   const sigset_t *mask, const int fds[static 2])
{
	const struct acquire_kind *row = acquire_by_kind((Exhibit__V1__OrderKind)kind);

	if (row == NULL)
		return -EOPNOTSUPP;
	if (a->n == LAUNCH_ACQUIRERS_MAX)
		return -EAGAIN;
	pid_t pid = fork();

	if (pid == 0)
		become_acquirer(row, argv, mask, fds);
	if (pid < 0)
		return -errno;
	a->at[a->n++] = (struct launch_acquirer){ .token = token, .pid = pid };
	return 0;
}

void launch_acquirers_signal(const struct launch_acquirers *a, uint32_t token, int signal_no)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->at[i].token == token)
			(void)kill(a->at[i].pid, signal_no);
}

uint32_t launch_acquirers_reaped(struct launch_acquirers *a, pid_t pid)
{
	for (size_t i = 0; i < a->n; i++) {
		uint32_t token = a->at[i].token;

		if (a->at[i].pid != pid)
			continue;
		a->at[i] = a->at[--a->n];
		return token;
	}
	return 0;
}

void launch_acquirers_kill(const struct launch_acquirers *a)
{
	for (size_t i = 0; i < a->n; i++)
		(void)kill(a->at[i].pid, SIGKILL);
}
