/* SPDX-License-Identifier: Apache-2.0 */
/* The launcher starts this program again as its uplink: with the word "uplink" it says over its link who it is and
 * does what the next argument says. */
#include "agent/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "agent/acquire/acquire.h"
#include "agent/acquire/control.h"
#include "agent/launch_message.h"
#include "tests/unit/rows.h"

#define WAIT_MS 20000
#define FDS_LOOKED_AT 256

/* What an uplink finds when it begins. */
struct found {
	pid_t pid;
	int n_args, open_fds, no_new_privileges;
	bool hup_blocked;
	char args[4][32];
};

static void look_around(struct found *f, int argc, char **argv)
{
	sigset_t mask;

	*f = (struct found){ .pid = getpid(), .n_args = argc };
	for (int i = 0; i < argc && i < 4; i++)
		(void)snprintf(f->args[i], sizeof(f->args[i]), "%s", argv[i]);
	for (int fd = LAUNCH_LINK_FD + 1; fd < FDS_LOOKED_AT; fd++)
		f->open_fds += fcntl(fd, F_GETFD) >= 0;
	f->no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	(void)sigprocmask(SIG_SETMASK, NULL, &mask);
	f->hup_blocked = sigismember(&mask, SIGHUP) == 1;
}

static int be_uplink(int argc, char **argv)
{
	struct found f;
	char byte;

	look_around(&f, argc, argv);
	if (send(LAUNCH_LINK_FD, &f, sizeof(f), MSG_NOSIGNAL) != (ssize_t)sizeof(f))
		return 2;
	if (strcmp(argv[2], "fail") == 0)
		return 3;
	while (recv(LAUNCH_LINK_FD, &byte, 1, 0) == 1)
		(void)!send(LAUNCH_LINK_FD, &byte, 1, MSG_NOSIGNAL);
	return 0;
}

/* ---- helpers ----------------------------------------------------------------------------------- */

struct launched {
	int control, link;
	pid_t launcher;
	struct found uplink;
};

static bool readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, WAIT_MS) == 1;
}

/* The next uplink, once it has said who it is. */
static void next_uplink(struct launched *l)
{
	struct launch_report report;
	int r = 0;

	if (l->link >= 0)
		(void)close(l->link);
	while (r == 0) {
		assert_true(readable(l->control));
		r = launch_receive(l->control, &report);
	}
	assert_int_equal(r, 1);
	assert_int_equal(report.kind, LAUNCH_LINK);
	l->link = report.fd;
	assert_true(readable(l->link));
	assert_int_equal(recv(l->link, &l->uplink, sizeof(l->uplink), MSG_WAITALL),
			 sizeof(l->uplink));
}

static void start(struct launched *l, const char *what)
{
	char program[] = "test", word[16];
	char *argv[] = { program, word, NULL };
	struct error e = { 0 };

	*l = (struct launched){ .link = -1 };
	(void)snprintf(word, sizeof(word), "%s", what);
	assert_int_equal(launch_start(argv, &l->control, &l->launcher, &e), 0);
	next_uplink(l);
}

static void assert_link_ends(const struct launched *l)
{
	char byte;

	assert_true(readable(l->link));
	assert_true(recv(l->link, &byte, 1, 0) <= 0);
}

static void stop(struct launched *l)
{
	(void)close(l->control);
	assert_int_equal(waitpid(l->launcher, NULL, 0), l->launcher);
	assert_link_ends(l);
	(void)close(l->link);
}

/* ---- tests ------------------------------------------------------------------------------------- */

static void uplink_begins_with_its_link_and_nothing_else(void **state)
{
	int leaked = fcntl(STDERR_FILENO, F_DUPFD, 50); /* without close-on-exec */
	struct launched l;
	char byte = 'x';

	(void)state;
	assert_true(leaked >= 50);
	start(&l, "stay");
	assert_int_equal(l.uplink.n_args, 3);
	assert_string_equal(l.uplink.args[0], "test");
	assert_string_equal(l.uplink.args[1], "uplink");
	assert_string_equal(l.uplink.args[2], "stay");
	assert_int_equal(l.uplink.open_fds, 0);
	assert_int_equal(l.uplink.no_new_privileges, 1);
	assert_false(l.uplink.hup_blocked);
	assert_int_not_equal(l.uplink.pid, l.launcher);
	assert_int_equal(send(l.link, &byte, 1, 0), 1);
	byte = 0;
	assert_true(readable(l.link));
	assert_int_equal(recv(l.link, &byte, 1, 0), 1);
	assert_int_equal(byte, 'x');
	stop(&l);
	(void)close(leaked);
}

static void restart_ends_one_and_starts_another(void **state)
{
	struct launched l;

	(void)state;
	start(&l, "stay");
	pid_t first = l.uplink.pid;

	launch_restart(l.control);
	assert_link_ends(&l);
	next_uplink(&l);
	assert_int_not_equal(l.uplink.pid, first);
	stop(&l);
}

static void who_ends_is_started_again(void **state)
{
	struct launched l;

	(void)state;
	start(&l, "fail");
	for (int i = 0; i < 2; i++) {
		pid_t before = l.uplink.pid;

		next_uplink(&l);
		assert_int_not_equal(l.uplink.pid, before);
	}
	stop(&l);
}

static void who_is_killed_is_started_again(void **state)
{
	struct launched l;

	(void)state;
	start(&l, "stay");
	pid_t first = l.uplink.pid;

	assert_int_equal(kill(first, SIGKILL), 0);
	next_uplink(&l);
	assert_int_not_equal(l.uplink.pid, first);
	stop(&l);
}

/* Signals of the whole group, such as Ctrl-C, are for sense to decide. */
static void launcher_outlives_what_is_meant_for_sense(void **state)
{
	struct launched l;

	(void)state;
	start(&l, "stay");
	assert_int_equal(kill(l.launcher, SIGTERM), 0);
	assert_int_equal(kill(l.launcher, SIGINT), 0);
	assert_int_equal(kill(l.launcher, SIGHUP), 0);
	launch_restart(l.control);
	next_uplink(&l);
	assert_int_equal(waitpid(l.launcher, NULL, WNOHANG), 0);
	stop(&l);
}

static void uplink_does_not_outlive_a_killed_launcher(void **state)
{
	struct launched l;
	struct launch_report report;

	(void)state;
	start(&l, "stay");
	assert_int_equal(kill(l.launcher, SIGKILL), 0);
	assert_int_equal(waitpid(l.launcher, NULL, 0), l.launcher);
	assert_link_ends(&l);
	assert_int_equal(launch_receive(l.control, &report), -EPIPE);
	(void)close(l.control);
	(void)close(l.link);
}

static void too_many_arguments_are_refused(void **state)
{
	static char word[] = "x";
	char *argv[600];
	struct error e = { 0 };
	int control = -1;
	pid_t pid = 0;

	(void)state;
	for (size_t i = 0; i + 1 < ARRAY_LEN(argv); i++)
		argv[i] = word;
	argv[ARRAY_LEN(argv) - 1] = NULL;
	assert_int_equal(launch_start(argv, &control, &pid, &e), -E2BIG);
	assert_non_null(strstr(e.text, "arguments"));
	assert_int_equal(control, -1);
}

static void only_a_descriptor_is_a_link(void **state)
{
	const struct launch_message no_fd = { .word = LAUNCH_WORD_LINK };
	struct launch_report report;
	int pair[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	assert_int_equal(launch_receive(pair[0], &report), 0);
	assert_int_equal(send(pair[1], "l", 1, 0), 1);
	assert_int_equal(launch_receive(pair[0], &report), -EPIPE);
	assert_int_equal(launch_message_send(pair[1], &no_fd, NULL, 0, false), 0);
	assert_int_equal(launch_receive(pair[0], &report), -EPIPE);
	(void)close(pair[1]);
	assert_int_equal(launch_receive(pair[0], &report), -EPIPE);
	(void)close(pair[0]);
}

/* ---- acquirers --------------------------------------------------------------------------------- */

/* With the word "acquire": says what it finds, then waits for what comes over its control socket. */
static int be_acquirer(int argc, char **argv)
{
	struct found f;
	char byte;

	look_around(&f, argc, argv);
	f.open_fds = fcntl(CONTROL_PAYLOAD_FD + 1, F_GETFD) >= 0;
	if (send(CONTROL_PAYLOAD_FD, &f, sizeof(f), MSG_NOSIGNAL) != (ssize_t)sizeof(f))
		return 2;
	return recv(CONTROL_FD, &byte, 1, 0) == 1 ? byte : 9;
}

struct acquirer {
	int control[2], payload[2];
	struct found found;
};

static void start_acquirer(const struct launched *l, uint32_t token, struct acquirer *a)
{
	const struct acquire_kind *kind = acquire_at(0);
	struct error e = { 0 };

	assert_non_null(kind);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a->control), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, a->payload), 0);
	assert_int_equal(
		launch_acquire(l->control, token, kind->kind, a->control[1], a->payload[1], &e), 0);
	(void)close(a->control[1]);
	(void)close(a->payload[1]);
	assert_true(readable(a->payload[0]));
	assert_int_equal(recv(a->payload[0], &a->found, sizeof(a->found), MSG_WAITALL),
			 sizeof(a->found));
}

static void close_acquirer(const struct acquirer *a)
{
	(void)close(a->control[0]);
	(void)close(a->payload[0]);
}

static void assert_ended(const struct launched *l, uint32_t token, int status)
{
	struct launch_report report;

	assert_true(readable(l->control));
	assert_int_equal(launch_receive(l->control, &report), 1);
	assert_int_equal(report.kind, LAUNCH_ENDED);
	assert_int_equal(report.token, token);
	assert_int_equal(report.status, status);
}

static void acquirers_begin_with_their_sockets_and_are_reported(void **state)
{
	struct launched l;
	struct acquirer a, b;

	(void)state;
	start(&l, "stay");
	start_acquirer(&l, 7, &a);
	start_acquirer(&l, 8, &b);
	assert_string_equal(a.found.args[1], "acquire");
	assert_string_equal(a.found.args[2], "stay");
	assert_int_equal(a.found.open_fds, 0);
	assert_int_equal(a.found.no_new_privileges, 1);
	assert_int_equal(send(b.control[0], "\x05", 1, 0), 1);
	assert_ended(&l, 8, 5 << 8);
	assert_int_equal(send(a.control[0], "\x00", 1, 0), 1);
	assert_ended(&l, 7, 0);
	close_acquirer(&a);
	close_acquirer(&b);
	stop(&l);
}

static void acquirers_are_stopped_by_token(void **state)
{
	struct launched l;
	struct acquirer a, b;

	(void)state;
	start(&l, "stay");
	start_acquirer(&l, 1, &a);
	start_acquirer(&l, 2, &b);
	launch_stop(l.control, 3, true);
	launch_stop(l.control, 2, false);
	assert_ended(&l, 2, SIGTERM);
	launch_stop(l.control, 1, true);
	assert_ended(&l, 1, SIGKILL);
	close_acquirer(&a);
	close_acquirer(&b);
	stop(&l);
}

static void acquirers_do_not_outlive_sense(void **state)
{
	struct launched l;
	struct acquirer a;
	char byte;

	(void)state;
	start(&l, "stay");
	start_acquirer(&l, 1, &a);
	stop(&l);
	assert_true(readable(a.payload[0]));
	assert_true(recv(a.payload[0], &byte, 1, 0) <= 0);
	close_acquirer(&a);
}

static void an_unknown_kind_ends_at_once(void **state)
{
	struct launched l;
	struct error e = { 0 };

	(void)state;
	start(&l, "stay");
	assert_int_equal(launch_acquire(l.control, 4, 99, STDIN_FILENO, STDIN_FILENO, &e), 0);
	assert_ended(&l, 4, -1);
	stop(&l);
}

int main(int argc, char **argv)
{
	static struct tests t;

	if (argc > 2 && strcmp(argv[1], "uplink") == 0)
		return be_uplink(argc, argv);
	if (argc > 2 && strcmp(argv[1], "acquire") == 0)
		return be_acquirer(argc, argv);
	ADD_TEST(&t, only_a_descriptor_is_a_link);
	ADD_TEST(&t, an_unknown_kind_ends_at_once);
	ADD_TEST(&t, acquirers_begin_with_their_sockets_and_are_reported);
	ADD_TEST(&t, acquirers_are_stopped_by_token);
	ADD_TEST(&t, acquirers_do_not_outlive_sense);
	ADD_TEST(&t, too_many_arguments_are_refused);
	ADD_TEST(&t, uplink_begins_with_its_link_and_nothing_else);
	ADD_TEST(&t, restart_ends_one_and_starts_another);
	ADD_TEST(&t, who_ends_is_started_again);
	ADD_TEST(&t, who_is_killed_is_started_again);
	ADD_TEST(&t, launcher_outlives_what_is_meant_for_sense);
	ADD_TEST(&t, uplink_does_not_outlive_a_killed_launcher);
	return tests_run(&t, "launch");
}
