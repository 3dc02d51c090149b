/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "agent/acquire/priority.h"
#include "proto/base/clock.h"

#define SOCKET_FD 0 /* where the other process keeps its end */
#define FIRST_FD 3

/* What is asked, one byte; the answer is one byte too. */
enum ask {
	ASK_CGROUP_V2 = 'c',
	ASK_CGROUP_V1 = 'C',
	ASK_PID = 'p',
	ASK_RELEASE = 'r',
	ASK_FORGET = 'f'
};
enum answer { ANSWER_DONE = 'd', ANSWER_EXPIRED = 'e', ANSWER_FULL = 'x' };

struct hold {
	int fd;
	char what; /* enum ask */
};

/* The process that watches. */
struct holder {
	uint64_t deadline_ms, until_ns; /* monotonic; 0: nothing is held */
	bool expired;
	size_t n;
	struct hold held[WATCHDOG_HOLDS_MAX];
};

struct watchdog {
	int socket;
	pid_t pid;
	uint64_t deadline_ms, until_ns; /* as the other process counts, never later */
};

static void let_go(const struct hold *h)
{
	static const char v2[] = "0\n", v1[] = "THAWED\n";

	if (h->what == ASK_CGROUP_V2)
		(void)!pwrite(h->fd, v2, sizeof(v2) - 1, 0);
	else if (h->what == ASK_CGROUP_V1)
		(void)!pwrite(h->fd, v1, sizeof(v1) - 1, 0);
	else
		(void)pidfd_send_signal(h->fd, SIGCONT, NULL, 0);
}

static void clear_all(struct holder *w, bool letting_go)
{
	for (size_t i = w->n; i > 0; i--) {
		if (letting_go)
			let_go(&w->held[i - 1]);
		(void)close(w->held[i - 1].fd);
	}
	w->n = 0;
	w->until_ns = 0;
}

static char hold(struct holder *w, char what, int *fd)
{
	if (w->expired)
		return ANSWER_EXPIRED;
	if (*fd < 0 || w->n == WATCHDOG_HOLDS_MAX)
		return ANSWER_FULL;
	if (w->n == 0)
		w->until_ns = clock_monotonic_ns() + w->deadline_ms * NSEC_PER_MSEC;
	w->held[w->n++] = (struct hold){ .fd = take_fd(fd), .what = what };
	return ANSWER_DONE;
}

static char obey(struct holder *w, char what, int *fd)
{
	char answer = w->expired ? ANSWER_EXPIRED : ANSWER_DONE;

	switch (what) {
	case ASK_RELEASE:
	case ASK_FORGET:
		clear_all(w, what == ASK_RELEASE);
		w->expired = false;
		return answer;
	default:
		return hold(w, what, fd);
	}
}

static int wait_ms(const struct holder *w)
{
	uint64_t now = clock_monotonic_ns();

	if (w->until_ns == 0)
		return -1;
	return now >= w->until_ns ? 0 : (int)((w->until_ns - now) / NSEC_PER_MSEC) + 1;
}

/* One question with its descriptor. 1, 0: none yet, negative: the asker is gone. */
static int receive(char *ret_what, int *ret_fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = ret_what, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(SOCKET_FD, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	const struct cmsghdr *c = n == 1 ? CMSG_FIRSTHDR(&m) : NULL;

	if (c != NULL && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(ret_fd, CMSG_DATA(c), sizeof(int));
	return n == 1 ? 1 : -EPIPE;
}

static void watch(struct holder *w)
{
	struct pollfd p = { .fd = SOCKET_FD, .events = POLLIN };

	for (;;) {
		char what = 0;
		AUTO(close_fd) int fd = -1;
		int timeout = wait_ms(w);

		if (timeout == 0) {
			clear_all(w, true);
			w->expired = true;
			continue;
		}
		if (poll(&p, 1, timeout) < 0 && errno != EINTR)
			return;
		int r = receive(&what, &fd);

		if (r < 0)
			return;
		if (r == 0)
			continue;
		char answer = obey(w, what, &fd);

		if (send(SOCKET_FD, &answer, 1, MSG_NOSIGNAL) < 0)
			return;
	}
}

/* In the new process, which allocates nothing. */
static void become_watcher(struct holder *w, int socket)
{
	struct rlimit files;

	(void)setsid(); /* no terminal's Ctrl-C */
	(void)prctl(PR_SET_NAME, "exhibit-watch");
	for (int s = 1; s < NSIG; s++)
		(void)signal(s, SIG_IGN); /* it ends with its asker, and lets go before */
	(void)signal(SIGCHLD, SIG_DFL);
	priority_normal();
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	if (dup2(socket, SOCKET_FD) < 0)
		_exit(1);
	(void)close_range(SOCKET_FD + 1, UINT_MAX, 0);
	watch(w);
	clear_all(w, true);
	_exit(0);
}

int watchdog_start(uint64_t deadline_ms, struct watchdog **ret, struct error *e)
{
	AUTO(free_ptr) struct watchdog *w = calloc(1, sizeof(*w));
	AUTO(free_ptr) struct holder *h = calloc(1, sizeof(*h));
	int pair[2];

	if (w == NULL || h == NULL)
		return error_set(e, -ENOMEM, "cannot start the watchdog: out of memory");
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return error_set(e, -errno, "cannot start the watchdog: %m");
	h->deadline_ms = w->deadline_ms = deadline_ms;
	w->pid = fork();
	int saved = errno;

	if (w->pid == 0)
		become_watcher(h, pair[1]);
	(void)close(pair[1]);
	if (w->pid < 0) {
		(void)close(pair[0]);
		return error_set(e, -saved, "cannot start the watchdog: %m");
	}
	w->socket = pair[0];
	*ret = TAKE(w);
	return 0;
}

/* fd: -1: none. */
static int send_ask(struct watchdog *w, char what, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec iov = { .iov_base = &what, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof(control);
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	return sendmsg(w->socket, &m, MSG_NOSIGNAL) == 1 ? 0 : -errno;
}

static int ask(struct watchdog *w, char what, int fd, struct error *e)
{
	char answer = 0;
	int r = send_ask(w, what, fd);
	ssize_t n = -1;

	while (r == 0 && (n = recv(w->socket, &answer, 1, 0)) < 0 && errno == EINTR)
		continue;
	if (r < 0 || n != 1)
		return error_set(e, -EPIPE, "the watchdog is gone");
	if (answer == ANSWER_EXPIRED)
		return error_set(e, -ETIMEDOUT,
				 "the target was let go: it may be held for %llu ms at most",
				 (unsigned long long)w->deadline_ms);
	if (answer != ANSWER_DONE)
		return error_set(e, -E2BIG, "the watchdog cannot hold more than %d things",
				 WATCHDOG_HOLDS_MAX);
	return 0;
}

static int ask_hold(struct watchdog *w, char what, int fd, struct error *e)
{
	uint64_t now = clock_monotonic_ns();
	int r = ask(w, what, fd, e);

	if (r == 0 && w->until_ns == 0)
		w->until_ns = now + w->deadline_ms * NSEC_PER_MSEC;
	return r;
}

int watchdog_hold_cgroup(struct watchdog *w, int fd, enum watchdog_cgroup version, struct error *e)
{
	return ask_hold(w, version == WATCHDOG_CGROUP_V1 ? ASK_CGROUP_V1 : ASK_CGROUP_V2, fd, e);
}

int watchdog_hold_pid(struct watchdog *w, int pidfd, struct error *e)
{
	return ask_hold(w, ASK_PID, pidfd, e);
}

int watchdog_release(struct watchdog *w, struct error *e)
{
	w->until_ns = 0;
	return ask(w, ASK_RELEASE, -1, e);
}

int watchdog_forget(struct watchdog *w, struct error *e)
{
	w->until_ns = 0;
	return ask(w, ASK_FORGET, -1, e);
}

bool watchdog_expired(struct watchdog *w)
{
	return w->until_ns != 0 && clock_monotonic_ns() >= w->until_ns;
}

void watchdog_free(struct watchdog *w)
{
	if (w == NULL)
		return;
	(void)close(w->socket);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		continue;
	free(w);
}
