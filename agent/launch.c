/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "agent/privilege.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define ARGS_MAX 512
#define RESTART_FIRST_MS 1000 /* at the least between two starts ... */
#define RESTART_MAX_MS 30000 /* ... of an uplink that keeps failing */
#define STEADY_NS (10 * NSEC_PER_SEC) /* who lived that long did not fail to start */

struct launcher {
	int control, signals;
	char **argv;
	sigset_t mask; /* as it was when we were started */
	pid_t uplink; /* 0: none */
	uint64_t started_ns, wait_ms;
};

/* Send one byte and a descriptor. */
static int send_fd(int socket, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = (char[]){ 'l' }, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	return sendmsg(socket, &m, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

int launch_receive(int control, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} buffer;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &buffer,
			    .msg_controllen = sizeof(buffer) };
	ssize_t n = recvmsg(control, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
	const struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	if (n == 0 || c == NULL || c->cmsg_type != SCM_RIGHTS ||
	    c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EPIPE;
	memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return 1;
}

void launch_restart(int control)
{
	/* A full socket already holds such a byte. */
	(void)!send(control, "r", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* In the child: our own program again, as the uplink. Never returns. */
static void become_uplink(const struct launcher *l, int link_fd)
{
	char *args[ARGS_MAX + 2];
	size_t n = 0;

	args[n++] = l->argv[0];
	args[n++] = (char[]){ "uplink" };
	for (size_t i = 1; l->argv[i] != NULL; i++)
		args[n++] = l->argv[i];
	args[n] = NULL;
	(void)sigprocmask(SIG_SETMASK, &l->mask, NULL);
	(void)prctl(PR_SET_PDEATHSIG,
		    SIGKILL); /* until it becomes another user: then the link's end */
	/* dup2 onto itself would leave close-on-exec set. */
	if (link_fd == LAUNCH_LINK_FD ? fcntl(link_fd, F_SETFD, 0) < 0 :
					dup2(link_fd, LAUNCH_LINK_FD) < 0)
		_exit(127);
	/* What we were started with and do not know of; before Linux 5.9 it stays. */
	(void)close_range(LAUNCH_LINK_FD + 1, UINT_MAX, 0);
	execv("/proc/self/exe", args);
	_exit(127);
}

static int start_uplink(struct launcher *l)
{
	int pair[2];

	l->started_ns = clock_monotonic_ns();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	l->uplink = fork();
	if (l->uplink == 0)
		become_uplink(l, pair[1]);
	int r = l->uplink < 0 ? -errno : send_fd(l->control, pair[0]);

	if (l->uplink < 0)
		l->uplink = 0;
	(void)close(pair[0]);
	(void)close(pair[1]);
	return r;
}

static void end_uplink(struct launcher *l, int signal_no)
{
	if (l->uplink > 0)
		(void)kill(l->uplink, signal_no);
}

/* Who fails at once waits longer each time. */
static void note_end(struct launcher *l)
{
	if (clock_monotonic_ns() - l->started_ns >= STEADY_NS)
		l->wait_ms = RESTART_FIRST_MS;
	else
		l->wait_ms = 2 * l->wait_ms < RESTART_MAX_MS ? 2 * l->wait_ms : RESTART_MAX_MS;
}

static void reap(struct launcher *l)
{
	int status;

	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid != l->uplink)
			continue;
		l->uplink = 0;
		note_end(l);
		if (WIFSIGNALED(status))
			log_warn("the uplink died and is started again",
				 KV_I64("signal", WTERMSIG(status)));
		else if (WEXITSTATUS(status) != 0)
			log_warn("the uplink failed and is started again",
				 KV_I64("status", WEXITSTATUS(status)));
	}
}

/* false: sense is gone. */
static bool obey(struct launcher *l)
{
	char byte;
	ssize_t n = recv(l->control, &byte, 1, MSG_DONTWAIT);

	if (n == 1)
		end_uplink(l, SIGHUP);
	return n == 1 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/* How long to wait before the next start; -1: one is running. */
static int next_start_ms(const struct launcher *l)
{
	if (l->uplink > 0)
		return -1;
	uint64_t since_ms = (clock_monotonic_ns() - l->started_ns) / NSEC_PER_MSEC;

	return l->started_ns == 0 || since_ms >= l->wait_ms ? 0 : (int)(l->wait_ms - since_ms);
}

/* false: sense is gone. */
static bool try_start(struct launcher *l)
{
	struct error e = { 0 };
	int r = start_uplink(l);

	if (r == -EPIPE || r == -ECONNRESET)
		return false;
	if (r < 0) {
		note_end(l);
		(void)error_set(&e, r, "cannot start the uplink: %m");
		log_failure(LOG_LEVEL_ERROR, "batches stay in the journal", &e);
	}
	return true;
}

static void run_launcher(struct launcher *l)
{
	struct pollfd fds[] = { { .fd = l->control, .events = POLLIN },
				{ .fd = l->signals, .events = POLLIN } };

	for (;;) {
		int wait_ms = next_start_ms(l);

		if (wait_ms == 0 && !try_start(l))
			break;
		if (poll(fds, ARRAY_LEN(fds), wait_ms) < 0 && errno != EINTR)
			break;
		struct signalfd_siginfo info;

		while (read(l->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
			continue; /* SIGCHLD is why we woke; the others are for sense to decide */
		reap(l);
		if ((fds[0].revents & (POLLIN | POLLHUP)) != 0 && !obey(l))
			break;
	}
	end_uplink(l, SIGKILL);
}

int launch_start(char **argv, int *ret_control, pid_t *ret_pid, struct error *e)
{
	struct launcher l = { .argv = argv, .wait_ms = RESTART_FIRST_MS };
	size_t n_args = 0;
	sigset_t mask;
	int pair[2];

	while (argv[n_args] != NULL)
		n_args++;
	if (n_args > ARGS_MAX)
		return error_set(e, -E2BIG, "more than %d arguments: use a configuration file",
				 ARGS_MAX);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(e, -errno, "cannot make a socket for the launcher: %m");
	pid_t parent = getpid();
	pid_t pid = fork();

	if (pid != 0) {
		int saved = errno;

		(void)close(pair[1]);
		if (pid < 0) {
			(void)close(pair[0]);
			return error_set(e, -saved, "cannot fork the launcher: %m");
		}
		*ret_control = pair[0];
		*ret_pid = pid;
		return 0;
	}
	(void)close(pair[0]);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	(void)prctl(PR_SET_NAME, "exhibit-launch");
	l.control = pair[1];
	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGCHLD);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGINT);
	(void)sigaddset(&mask, SIGHUP);
	(void)sigprocmask(SIG_BLOCK, &mask, &l.mask);
	l.signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	struct error why = { 0 };

	if (l.signals >= 0 && privilege_drop_launcher(&why) == 0)
		run_launcher(&l);
	else
		log_failure(LOG_LEVEL_ERROR, "the launcher cannot start", &why);
	_exit(1);
}
