/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of a child of ours, stopped and let go. */
#include "agent/acquire/core_threads.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "proto/base/clock.h"
#include "rows.h"

#define THREADS 5
#define SOON (2 * NSEC_PER_SEC)

struct world {
	pid_t pid;
	int dir; /* /proc/PID */
	int beats; /* a byte of each thread, again and again */
	struct core_threads t;
};

static void *beat(void *arg)
{
	const int *fd = arg;

	for (;;) {
		(void)!write(*fd, "b", 1);
		(void)usleep(1000);
	}
	return NULL;
}

static int never_end(void *arg)
{
	const int *fd = arg;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)!write(*fd, "b", 1);
	for (;;)
		(void)pause();
	return 0;
}

/* Cannot be stopped: it waits for the end of a child that shares its memory. */
static void *stuck(void *arg)
{
	static char stack[KiB(64)];

	(void)clone(never_end, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, arg);
	return NULL;
}

static void child(int fd, void *(*main_does)(void *))
{
	pthread_t thread;

	for (int i = 1; i < THREADS; i++)
		if (pthread_create(&thread, NULL, beat, &fd) != 0)
			_exit(1);
	(void)main_does(&fd);
	_exit(0);
}

static void begin(struct world *w, void *(*main_does)(void *))
{
	char path[32];
	int pair[2];

	memset(w, 0, sizeof(*w));
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	w->pid = fork();
	assert_true(w->pid >= 0);
	if (w->pid == 0) {
		(void)close(pair[0]);
		child(pair[1], main_does);
	}
	(void)close(pair[1]);
	w->beats = pair[0];
	(void)snprintf(path, sizeof(path), "/proc/%d", (int)w->pid);
	w->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(w->dir >= 0);
	for (int i = 0; i < 200 && core_threads_count(w->dir) < THREADS; i++)
		(void)usleep(10000);
	assert_int_equal(core_threads_init(&w->t, w->pid, THREADS, NULL), 0);
}

static void end(struct world *w)
{
	(void)kill(w->pid, SIGKILL);
	(void)waitpid(w->pid, NULL, __WALL);
	core_threads_release(&w->t);
	(void)close(w->beats);
	(void)close(w->dir);
}

/* Everything that is on its way, then whether anything comes. */
static bool beats(const struct world *w)
{
	char buf[4096];

	(void)fcntl(w->beats, F_SETFL, O_NONBLOCK);
	while (read(w->beats, buf, sizeof(buf)) > 0)
		;
	for (int i = 0; i < 20; i++) {
		(void)usleep(5000);
		if (read(w->beats, buf, sizeof(buf)) > 0)
			return true;
	}
	return false;
}

static void block_news(int how)
{
	sigset_t news;

	(void)sigemptyset(&news);
	(void)sigaddset(&news, SIGCHLD);
	assert_int_equal(pthread_sigmask(how, &news, NULL), 0);
}

static const struct news_row {
	const char *name;
	int how;
} news_rows[] = {
	{ "told by the signal", SIG_BLOCK },
	{ "somebody else takes the signal", SIG_UNBLOCK },
};

static void stops_all_and_lets_go(void **state)
{
	const struct news_row *row = *state;
	struct error e = { 0 };
	struct world w;

	block_news(row->how);
	begin(&w, beat);
	assert_int_equal(core_threads_ask(&w.t, w.dir, &e), 0);
	assert_int_equal(core_threads_wait(&w.t, w.dir, clock_monotonic_ns() + SOON, &e), 0);
	assert_int_equal(core_threads_in(&w.t, THREAD_STOPPED), THREADS);
	assert_false(beats(&w));
	assert_int_equal(core_threads_registers(&w.t), 0);
	for (size_t i = 0; i < w.t.n; i++)
		assert_true(w.t.all[i].has_registers && w.t.all[i].has_floating);
	core_threads_go(&w.t);
	assert_true(beats(&w));
	end(&w);
	block_news(SIG_BLOCK);
}

/* Nothing to do but wait: a few looks, not thousands. */
static void waits_for_one_that_never_stops(void **state)
{
	struct rusage before, after;
	struct error e = { 0 };
	struct world w;

	(void)state;
	begin(&w, stuck);
	(void)usleep(50000);
	assert_int_equal(core_threads_ask(&w.t, w.dir, &e), 0);
	assert_int_equal(getrusage(RUSAGE_THREAD, &before), 0);
	assert_int_equal(core_threads_wait(&w.t, w.dir, clock_monotonic_ns() + NSEC_PER_SEC / 2,
					   &e),
			 -ETIMEDOUT);
	assert_int_equal(getrusage(RUSAGE_THREAD, &after), 0);
	assert_non_null(strstr(e.text, "1 threads of process"));
	assert_int_equal(core_threads_in(&w.t, THREAD_STOPPED), THREADS - 1);
	assert_true(after.ru_nvcsw - before.ru_nvcsw < 200);
	core_threads_go(&w.t);
	end(&w);
}

static void of_a_dead_one_nothing_is_waited_for(void **state)
{
	struct error e = { 0 };
	struct world w;

	(void)state;
	begin(&w, beat);
	assert_int_equal(core_threads_ask(&w.t, w.dir, &e), 0);
	assert_int_equal(kill(w.pid, SIGKILL), 0);
	int r = core_threads_wait(&w.t, w.dir, clock_monotonic_ns() + SOON, &e);

	assert_true(r == 0 || r == -ESRCH);
	assert_int_equal(core_threads_in(&w.t, THREAD_RUNNING), 0);
	core_threads_release(&w.t);
	assert_int_equal(core_threads_init(&w.t, w.pid, THREADS, NULL), 0);
	assert_int_equal(core_threads_ask(&w.t, w.dir, &e), -ESRCH);
	assert_non_null(strstr(e.text, "has ended"));
	end(&w);
}

int main(void)
{
	static struct tests t;

	block_news(SIG_BLOCK);
	ADD_ROWS(&t, stops_all_and_lets_go, news_rows);
	ADD_TEST(&t, waits_for_one_that_never_stops);
	ADD_TEST(&t, of_a_dead_one_nothing_is_waited_for);
	return tests_run(&t, "core_threads");
}
