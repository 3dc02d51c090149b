/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/acquire/watchdog.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "proto/base/files.h"
#include "rows.h"

#define LONG_MS 60000
#define PATIENCE 1000 /* times 10 ms */

/* A file in place of cgroup.freeze. */
struct freezer {
	char path[40];
	int fd;
};

static void open_freezer(struct freezer *f)
{
	memcpy(f->path, "/tmp/test-watchdog-XXXXXX", 26);
	f->fd = mkstemp(f->path);
	assert_true(f->fd >= 0);
	assert_int_equal(write(f->fd, "1", 1), 1);
}

static bool thawed(const struct freezer *f, char first)
{
	char byte = 0;

	return pread(f->fd, &byte, 1, 0) == 1 && byte == first;
}

static bool wait_thawed(const struct freezer *f, char first)
{
	for (int i = 0; i < PATIENCE && !thawed(f, first); i++)
		(void)usleep(10000);
	return thawed(f, first);
}

static void close_freezer(struct freezer *f)
{
	(void)close(f->fd);
	(void)unlink(f->path);
}

static void test_release(void **state)
{
	struct watchdog *w;
	struct freezer a, b;
	struct error e = { 0 };

	(void)state;
	open_freezer(&a);
	open_freezer(&b);
	assert_int_equal(watchdog_start(LONG_MS, &w, &e), 0);
	assert_int_equal(watchdog_hold_cgroup(w, a.fd, WATCHDOG_CGROUP_V2, &e), 0);
	assert_int_equal(watchdog_hold_cgroup(w, b.fd, WATCHDOG_CGROUP_V1, &e), 0);
	assert_true(thawed(&a, '1') && thawed(&b, '1'));
	assert_false(watchdog_expired(w));
	assert_int_equal(watchdog_release(w, &e), 0);
	assert_true(thawed(&a, '0') && thawed(&b, 'T'));
	/* And again. */
	assert_int_equal(pwrite(a.fd, "1", 1, 0), 1);
	assert_int_equal(watchdog_hold_cgroup(w, a.fd, WATCHDOG_CGROUP_V2, &e), 0);
	assert_int_equal(watchdog_release(w, &e), 0);
	assert_true(thawed(&a, '0'));
	watchdog_free(w);
	close_freezer(&a);
	close_freezer(&b);
}

static void test_forget(void **state)
{
	struct watchdog *w;
	struct freezer f;
	struct error e = { 0 };

	(void)state;
	open_freezer(&f);
	assert_int_equal(watchdog_start(LONG_MS, &w, &e), 0);
	assert_int_equal(watchdog_hold_cgroup(w, f.fd, WATCHDOG_CGROUP_V2, &e), 0);
	assert_int_equal(watchdog_forget(w, &e), 0);
	watchdog_free(w);
	assert_true(thawed(&f, '1'));
	close_freezer(&f);
}

static void test_deadline(void **state)
{
	struct watchdog *w;
	struct freezer f;
	struct error e = { 0 };

	(void)state;
	open_freezer(&f);
	assert_int_equal(watchdog_start(20, &w, &e), 0);
	assert_int_equal(watchdog_hold_cgroup(w, f.fd, WATCHDOG_CGROUP_V2, &e), 0);
	assert_true(wait_thawed(&f, '0'));
	assert_true(watchdog_expired(w));
	/* Nothing more is frozen in vain. */
	assert_int_equal(watchdog_hold_cgroup(w, f.fd, WATCHDOG_CGROUP_V2, &e), -ETIMEDOUT);
	assert_int_equal(watchdog_release(w, &e), -ETIMEDOUT);
	assert_string_equal(e.text, "the target was let go: it may be held for 20 ms at most");
	assert_int_equal(watchdog_release(w, &e), 0);
	assert_false(watchdog_expired(w));
	watchdog_free(w);
	close_freezer(&f);
}

/* The acquirer is killed while it holds. */
static void test_killed(void **state)
{
	struct watchdog *w;
	struct freezer f;
	struct error e = { 0 };

	(void)state;
	open_freezer(&f);
	pid_t pid = fork();

	if (pid == 0) {
		if (watchdog_start(LONG_MS, &w, &e) < 0 ||
		    watchdog_hold_cgroup(w, f.fd, WATCHDOG_CGROUP_V2, &e) < 0)
			_exit(1);
		(void)raise(SIGKILL);
	}
	int status = 0;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_true(wait_thawed(&f, '0'));
	close_freezer(&f);
}

static bool wait_state(pid_t pid, char state)
{
	char path[40], byte = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	for (int i = 0; i < PATIENCE && byte != state; i++) {
		AUTO(free_ptr) uint8_t *text = NULL;
		size_t len;

		assert_int_equal(files_read(path, KiB(4), &text, &len, NULL), 0);
		byte = strrchr((char *)text, ')')[2];
		if (byte != state)
			(void)usleep(10000);
	}
	return byte == state;
}

static void test_pid(void **state)
{
	struct watchdog *w;
	struct error e = { 0 };
	pid_t pid = fork();

	(void)state;
	if (pid == 0)
		for (;;)
			(void)pause();
	AUTO(close_fd) int fd = pidfd_open(pid, 0);

	assert_true(fd >= 0);
	assert_int_equal(watchdog_start(LONG_MS, &w, &e), 0);
	assert_int_equal(watchdog_hold_pid(w, fd, &e), 0);
	assert_int_equal(kill(pid, SIGSTOP), 0);
	assert_true(wait_state(pid, 'T'));
	watchdog_free(w); /* lets go */
	assert_true(wait_state(pid, 'S'));
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void test_full(void **state)
{
	struct watchdog *w;
	struct freezer f;
	struct error e = { 0 };

	(void)state;
	open_freezer(&f);
	assert_int_equal(watchdog_start(LONG_MS, &w, &e), 0);
	for (size_t i = 0; i < WATCHDOG_HOLDS_MAX; i++)
		assert_int_equal(watchdog_hold_cgroup(w, f.fd, WATCHDOG_CGROUP_V2, &e), 0);
	assert_int_equal(watchdog_hold_cgroup(w, f.fd, WATCHDOG_CGROUP_V2, &e), -E2BIG);
	assert_int_equal(watchdog_release(w, &e), 0);
	watchdog_free(w);
	close_freezer(&f);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, test_release);
	ADD_TEST(&t, test_forget);
	ADD_TEST(&t, test_deadline);
	ADD_TEST(&t, test_killed);
	ADD_TEST(&t, test_pid);
	ADD_TEST(&t, test_full);
	return tests_run(&t, "watchdog");
}
