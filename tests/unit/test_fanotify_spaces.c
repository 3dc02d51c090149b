/* SPDX-License-Identifier: Apache-2.0 */
/* What happens in mount namespaces of others. */
#include "tests/unit/fanotify_bench.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "proto/actions.h"

static const struct fanotify_config plain;

/* A process with a tmpfs of its own over the folder, which only its mount namespace has; it does what it is
 * asked for, one step for each byte. */
static void live_elsewhere(const struct fanotify_bench *b, int asked, int done)
{
	char step;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("theirs", b->dir, "tmpfs", 0, "size=1m") < 0)
		_exit(1);
	while (write(done, "x", 1) == 1 && read(asked, &step, 1) == 1) {
		if (step == 'w') {
			int fd = open(fanotify_bench_in(b, "theirs"),
				      O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

			if (fd < 0 || write(fd, "hello", 5) != 5 || close(fd) < 0)
				_exit(1);
		} else if (rename(fanotify_bench_in(b, "theirs"), fanotify_bench_in(b, "moved")) <
				   0 ||
			   unlink(fanotify_bench_in(b, "moved")) < 0) {
			_exit(1);
		}
	}
	_exit(0);
}

struct elsewhere {
	pid_t pid;
	int ask, done;
	uint32_t ns;
};

static void step(const struct elsewhere *x, char what)
{
	char byte;

	if (what)
		assert_int_equal(write(x->ask, &what, 1), 1);
	assert_int_equal(read(x->done, &byte, 1), 1);
}

static void go_elsewhere(const struct fanotify_bench *b, struct elsewhere *ret)
{
	int ask[2], done[2];
	char path[64];
	struct stat st;

	assert_int_equal(pipe2(ask, O_CLOEXEC), 0);
	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	ret->pid = fork();
	assert_true(ret->pid >= 0);
	if (!ret->pid) {
		(void)close(ask[1]);
		(void)close(done[0]);
		live_elsewhere(b, ask[0], done[1]);
	}
	(void)close(ask[0]);
	(void)close(done[1]);
	ret->ask = ask[1];
	ret->done = done[0];
	step(ret, 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/mnt", ret->pid);
	assert_int_equal(stat(path, &st), 0);
	ret->ns = (uint32_t)st.st_ino;
}

static void leave_elsewhere(const struct elsewhere *x)
{
	int status;

	(void)close(x->ask);
	(void)close(x->done);
	assert_int_equal(waitpid(x->pid, &status, 0), x->pid);
	assert_int_equal(status, 0);
}

static void other_mount_namespaces_are_seen(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);
	struct fanotify_coverage c;
	struct elsewhere x;

	go_elsewhere(b, &x);
	fanotify_seen(b->f, x.ns, (uint32_t)x.pid, b->now_ns);
	fanotify_bench_drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 2);
	step(&x, 'w');
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "theirs"));
	assert_int_equal(b->seen[0].ev.image.pid, x.pid);
	assert_true(b->seen[0].ev.u.file.has_size);
	assert_int_equal(b->seen[0].ev.u.file.size, 5);
	step(&x, 'r');
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 2);
	fanotify_bench_assert(b, 0, ACTION_RENAME, fanotify_bench_in(b, "moved"));
	assert_string_equal(b->seen[0].old_path, fanotify_bench_in(b, "theirs"));
	fanotify_bench_assert(b, 1, ACTION_UNLINK, fanotify_bench_in(b, "moved"));
	assert_int_equal(b->seen[1].ev.flags, 0);
	leave_elsewhere(&x);
	/* The namespace ended with its last process: nothing of ours holds it. */
	fanotify_seen(b->f, x.ns, 0, b->now_ns);
	fanotify_bench_drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 1);
}

/* The id of a process that has another namespace by now leads nowhere. */
static void false_ways_into_namespaces_are_not_taken(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);
	struct fanotify_coverage c;
	struct elsewhere x;

	go_elsewhere(b, &x);
	fanotify_seen(b->f, x.ns, (uint32_t)getpid(), b->now_ns);
	fanotify_seen(b->f, x.ns, UINT32_MAX, b->now_ns);
	fanotify_seen(b->f, 0, (uint32_t)x.pid, b->now_ns);
	fanotify_bench_drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 1);
	fanotify_seen(b->f, x.ns, (uint32_t)x.pid, b->now_ns);
	fanotify_bench_drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 2);
	leave_elsewhere(&x);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, other_mount_namespaces_are_seen);
	ADD_TEST(&t, false_ways_into_namespaces_are_not_taken);
	return fanotify_bench_run(&t, "fanotify_spaces");
}
