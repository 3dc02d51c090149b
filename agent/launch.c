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

#include "agent/launch_acquirers.h"
#include "agent/launch_args.h"
#include "agent/launch_message.h"
#include "agent/privilege.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"

#define RESTART_FIRST_MS 1000 /* at the least between two starts ... */
#define RESTART_MAX_MS 30000 /* ... of an uplink that keeps failing */
#define STEADY_NS (10 * NSEC_PER_SEC) /* who lived that long did not fail to start */

struct launcher {
	int control, signals;
	char **argv;
	sigset_t mask; /* as it was when we were started */
	pid_t uplink; /* 0: none */
	uint64_t started_ns, wait_ms;
	struct launch_acquirers acquirers;
};

int launch_receive(int control, struct launch_report *ret)
{
	struct launch_message m;
	int fds[LAUNCH_FDS_MAX];
	size_t n;
	int r = launch_message_receive(control, &m, fds, &n);

	if (r <= 0)
		return r;
	*ret = (struct launch_report){ .fd = -1, .token = m.token, .status = m.status };
	if (m.word == LAUNCH_WORD_LINK && n == 1) {
		ret->kind = LAUNCH_LINK;
		ret->fd = fds[0];
		return 1;
	}
	for (size_t i = 0; i < n; i++)
		(void)close(fds[i]);
	ret->kind = LAUNCH_ENDED;
	return m.word == LAUNCH_WORD_ENDED && n == 0 ? 1 : -EPIPE;
}

static void tell(int control, enum launch_word word, uint32_t token)
{
	/* Full: the launcher is stopped, and will find enough to do. */
	(void)!launch_message_send(
		control, &(struct launch_message){ .word = word, .token = token }, NULL, 0, false);
}

void launch_restart(int control)
{
	tell(control, LAUNCH_WORD_RESTART, 0);
}

void launch_stop(int control, uint32_t token, bool force)
{
	tell(control, force ? LAUNCH_WORD_KILL : LAUNCH_WORD_STOP, token);
}

int launch_acquire(int control, uint32_t token, uint32_t kind, int control_fd, int payload_fd,
		   struct error *e)
{
	const struct launch_message m = { .word = LAUNCH_WORD_ACQUIRE,
					  .token = token,
					  .kind = kind };
	int r = launch_message_send(control, &m, (int[]){ control_fd, payload_fd }, 2, false);

	return r < 0 ? error_set(e, r, "cannot ask the launcher for an acquirer: %m") : 0;
}

/* In the child: our own program again, as the uplink. Never returns. */
static void become_uplink(const struct launcher *l, int link_fd)
{
	char *args[LAUNCH_ARGS_MAX + 2];

	launch_args(l->argv, (char[]){ "uplink" }, args);
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
	int r = l->uplink < 0 ?
			-errno :
			launch_message_send(l->control,
					    &(struct launch_message){ .word = LAUNCH_WORD_LINK },
					    &pair[0], 1, true);

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

static void report_end(const struct launcher *l, uint32_t token, int status)
{
	const struct launch_message m = { .word = LAUNCH_WORD_ENDED,
					  .token = token,
					  .status = status };

	/* Lost when sense is gone: then there is nobody to tell. */
	if (token != 0)
		(void)!launch_message_send(l->control, &m, NULL, 0, true);
}

static void reap(struct launcher *l)
{
	int status;

	for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
		if (pid != l->uplink) {
			report_end(l, launch_acquirers_reaped(&l->acquirers, pid), status);
			continue;
		}
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

static void start_acquirer(struct launcher *l, const struct launch_message *m,
			   const int fds[static LAUNCH_FDS_MAX], size_t n)
{
	int r = n != LAUNCH_FDS_MAX ? -EBADMSG :
				      launch_acquirers_start(&l->acquirers, m->token, m->kind,
							     l->argv, &l->mask, fds);

	if (r < 0)
		report_end(l, m->token, -1);
	for (size_t i = 0; i < n; i++)
		(void)close(fds[i]);
}

/* false: sense is gone. */
static bool obey(struct launcher *l)
{
	struct launch_message m;
	int fds[LAUNCH_FDS_MAX];
	size_t n;
	int r = launch_message_receive(l->control, &m, fds, &n);

	if (r <= 0)
		return r == 0;
	switch (m.word) {
	case LAUNCH_WORD_RESTART:
		end_uplink(l, SIGHUP);
		break;
	case LAUNCH_WORD_ACQUIRE:
		start_acquirer(l, &m, fds, n);
		break;
	case LAUNCH_WORD_STOP:
	case LAUNCH_WORD_KILL:
		launch_acquirers_signal(&l->acquirers, m.token,
					m.word == LAUNCH_WORD_KILL ? SIGKILL : SIGTERM);
		break;
	default:
		break;
	}
	return true;
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
	launch_acquirers_kill(&l->acquirers);
}

int launch_start(char **argv, int *ret_control, pid_t *ret_pid, struct error *e)
{
	struct launcher l = { .argv = argv, .wait_ms = RESTART_FIRST_MS };
	size_t n_args = 0;
	sigset_t mask;
	int pair[2];

	while (argv[n_args] != NULL)
		n_args++;
	if (n_args > LAUNCH_ARGS_MAX)
		return error_set(e, -E2BIG, "more than %d arguments: use a configuration file",
				 LAUNCH_ARGS_MAX);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
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

	if (l.signals >= 0 && privilege_drop_launcher(launch_acquirers_capabilities(), &why) == 0)
		run_launcher(&l);
	else
		log_failure(LOG_LEVEL_ERROR, "the launcher cannot start", &why);
	_exit(1);
}
