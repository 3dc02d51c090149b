/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/lifeline.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "agent/acquire/priority.h"

struct lifeline {
	pid_t pid;
	int fd; /* closed: it came back, or ended */
};

#define PIPE_FD 0
#define TARGET_FD 1

static void wait_or_kill(uint64_t after_ms)
{
	struct pollfd p = { .fd = PIPE_FD, .events = POLLIN };
	int ready = poll(&p, 1, after_ms < INT_MAX ? (int)after_ms : INT_MAX);

	if (ready == 0)
		(void)pidfd_send_signal(TARGET_FD, SIGKILL, NULL, 0);
}

/* In the new process, which allocates nothing. fd, target: not the numbers that they become. */
static void become(int fd, int target, uint64_t after_ms)
{
	(void)setsid();
	(void)prctl(PR_SET_NAME, "exhibit-life");
	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_IGN);
	priority_normal();
	int pipe_fd = fcntl(fd, F_DUPFD, 3), target_fd = fcntl(target, F_DUPFD, 3);

	if (pipe_fd < 0 || target_fd < 0 || dup2(pipe_fd, PIPE_FD) < 0 ||
	    dup2(target_fd, TARGET_FD) < 0)
		_exit(1);
	(void)close_range(TARGET_FD + 1, UINT_MAX, 0);
	wait_or_kill(after_ms);
	_exit(0);
}

static int start(struct lifeline *l, int target, uint64_t after_ms, struct error *e)
{
	int pair[2];

	if (target < 0 || pipe2(pair, O_CLOEXEC) < 0)
		return error_set(e, -errno, "cannot start the lifeline: %m");
	l->pid = fork();
	int saved = errno;

	if (l->pid == 0)
		become(pair[0], target, after_ms);
	(void)close(pair[0]);
	if (l->pid < 0) {
		(void)close(pair[1]);
		return error_set(e, -saved, "cannot start the lifeline: %m");
	}
	l->fd = pair[1];
	return 0;
}

int lifeline_start(uint64_t after_ms, struct lifeline **ret, struct error *e)
{
	AUTO(close_fd) int target = pidfd_open(getpid(), 0);
	struct lifeline *l = calloc(1, sizeof(*l));

	if (l == NULL)
		return error_set(e, -ENOMEM, "cannot start the lifeline: out of memory");
	int r = start(l, target, after_ms, e);

	if (r < 0)
		free(l);
	else
		*ret = l;
	return r;
}

void lifeline_end(struct lifeline *l)
{
	if (l == NULL)
		return;
	(void)close(l->fd);
	while (waitpid(l->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	free(l);
}
