/* SPDX-License-Identifier: Apache-2.0 */
/* exec, fork and exit of real processes on this kernel. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "agent/stock.h"
#include "proto/base/files.h"
#include "tests/unit/rows.h"
#include "tests/unit/sensors.h"

#define MANY 200
#define DEEP 150
#define PREFIX 13 /* bytes of "sh", "-c", "read x" with their NULs */

static char *const empty_env[] = { NULL };

static int exec_true(void *arg)
{
	(void)execve("/bin/true", arg, empty_env);
	return 127;
}

static size_t flatten(char *const *args, char *out)
{
	size_t n = 0;

	for (size_t i = 0; args[i]; i++) {
		size_t len = strlen(args[i]) + 1;

		memcpy(out + n, args[i], len);
		n += len;
	}
	return n;
}

static void each_exec_once(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *l = sensors_open(&config);
	static pid_t pid[MANY];
	char *const args[] = { (char *)"true", (char *)"an \xff argument\n", (char *)"",
			       (char *)"end", NULL };
	char flat[64], cwd[4096], real[4096];
	size_t flat_len = flatten(args, flat);
	struct stat st;

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_non_null(realpath("/bin/true", real));
	assert_int_equal(stat("/bin/true", &st), 0);
	for (size_t i = 0; i < MANY; i++)
		pid[i] = sensors_child(exec_true, (void *)args, NULL);
	for (size_t i = 0; i < MANY; i++) {
		const struct rec_exit *exit = sensors_wait(l, REC_EXIT, pid[i], 0);
		const struct rec_exec *exec = sensors_wait(l, REC_EXEC, pid[i], 0);
		const struct rec_fork *fork = sensors_wait(l, REC_FORK, pid[i], 0);

		assert_int_equal(sensors_count(l, REC_EXEC, pid[i]), 1);
		assert_int_equal(sensors_count(l, REC_FORK, pid[i]), 1);
		assert_int_equal(sensors_count(l, REC_EXIT, pid[i]), 1);
		assert_int_equal(fork->caller.pid, getpid());
		assert_int_equal(fork->h.actor.parent.pid, getpid());
		assert_memory_equal(&exec->replaced, &fork->h.actor.image,
				    sizeof(struct rec_image));
		assert_int_equal(exec->h.actor.image.exec_id, exec->replaced.exec_id + 1);
		assert_memory_equal(&exit->h.actor.image, &exec->h.actor.image,
				    sizeof(struct rec_image));
		assert_int_equal(exec->h.actor.parent.pid, getpid());
		sensors_expect_part(exec, SENSORS_PATH, real, strlen(real));
		sensors_expect_part(exec, SENSORS_NAME, "/bin/true", 9);
		sensors_expect_part(exec, SENSORS_CWD, cwd, strlen(cwd));
		sensors_expect_part(exec, SENSORS_ARGS, flat, flat_len);
		assert_int_equal(exec->args_bytes, flat_len);
		assert_int_equal(exec->inode, st.st_ino);
		assert_int_equal(exec->size, st.st_size);
		assert_int_equal(exec->h.flags, 0);
		assert_int_equal(exit->exit_code, 0);
		assert_int_equal(exit->signal, 0);
	}
	sensors_expect_balance(l);
	assert_int_equal(sensors_holes(l, REC_RING_CRITICAL), 0);
}

static const struct length_row {
	const char *name;
	size_t bytes; /* of one argument, its NUL included; beside it "true\0" */
	size_t want_len;
	uint16_t want_flags;
} length_rows[] = {
	{ "a page", 4096, 4096 + 5, 0 },
	{ "one byte below the maximum", REC_ARGS_MAX - 6, REC_ARGS_MAX - 1, 0 },
	{ "the maximum", REC_ARGS_MAX - 5, REC_ARGS_MAX, 0 },
	{ "one byte above", REC_ARGS_MAX - 4, REC_ARGS_MAX, REC_TRUNCATED },
	{ "100 KiB", 100 << 10, REC_ARGS_MAX, REC_TRUNCATED },
};

static void arguments_byte_for_byte(void **state)
{
	const struct length_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *l = sensors_open(&config);
	AUTO(free_ptr) char *arg = malloc(row->bytes);
	AUTO(free_ptr) char *flat = malloc(row->bytes + 5);
	char *const args[] = { (char *)"true", arg, NULL };

	assert_non_null(arg);
	assert_non_null(flat);
	for (size_t i = 0; i < row->bytes - 1; i++)
		arg[i] = (char)(1 + i % 255);
	arg[row->bytes - 1] = '\0';
	size_t flat_len = flatten(args, flat);
	pid_t pid = sensors_child(exec_true, (void *)args, NULL);
	const struct rec_exec *exec = sensors_wait(l, REC_EXEC, pid, 0);

	assert_int_equal(exec->args_bytes, flat_len);
	assert_int_equal(exec->h.flags, row->want_flags);
	sensors_expect_part(exec, SENSORS_ARGS, flat, row->want_len);
}

/* The program that runs in place of the child: a copy, so that it can be odd in all ways. */
static int copy_true(const char *path, int fd)
{
	AUTO(free_ptr) uint8_t *bytes = NULL;
	size_t len;

	assert_int_equal(files_read("/bin/true", MiB(1), &bytes, &len, NULL), 0);
	if (path)
		fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	assert_true(fd >= 0);
	assert_int_equal(files_write_all(fd, bytes, len, NULL), 0);
	if (path)
		assert_int_equal(close(fd), 0);
	return 0;
}

static int exec_fd(void *arg)
{
	char *const args[] = { (char *)"[kworker/0:1]", NULL };
	const int *fd = arg;

	(void)syscall(SYS_execveat, *fd, "", args, empty_env, AT_EMPTY_PATH);
	return 127;
}

static void memfd_is_named(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *l = sensors_open(&config);
	AUTO(close_fd) int fd = memfd_create("innocent", MFD_CLOEXEC);

	copy_true(NULL, fd);
	pid_t pid = sensors_child(exec_fd, &fd, NULL);
	const struct rec_exec *exec = sensors_wait(l, REC_EXEC, pid, 0);

	sensors_expect_part(exec, SENSORS_PATH, "memfd:innocent", 14);
	sensors_expect_part(exec, SENSORS_ARGS, "[kworker/0:1]", 14);
	assert_int_equal(exec->exe_flags, REC_EXE_MEMFD | REC_EXE_DELETED);
}

static void deleted_file_keeps_its_path(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *l = sensors_open(&config);
	char path[64];

	(void)snprintf(path, sizeof(path), "/tmp/live-gone\n-%d", getpid());
	copy_true(path, -1);
	AUTO(close_fd) int fd = open(path, O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(unlink(path), 0);
	pid_t pid = sensors_child(exec_fd, &fd, NULL);
	const struct rec_exec *exec = sensors_wait(l, REC_EXEC, pid, 0);

	sensors_expect_part(exec, SENSORS_PATH, path, strlen(path));
	assert_int_equal(exec->exe_flags, REC_EXE_DELETED);
}

static int exec_deep(void *arg)
{
	char *const args[] = { (char *)"true", NULL };

	for (size_t i = 0; i < *(size_t *)arg; i++)
		if (mkdir("directory-with-a-name", 0700) < 0 || chdir("directory-with-a-name") < 0)
			return 1;
	copy_true("true", -1);
	(void)execve("./true", args, empty_env);
	return 127;
}

static const struct deep_row {
	const char *name;
	size_t levels;
	bool whole;
} deep_rows[] = {
	{ "150 levels", DEEP, true },
	{ "longer than 4 KiB", 400, false },
};

static void deep_path(void **state)
{
	const struct deep_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *l = sensors_open(&config);
	char dir[] = "/tmp/live-deep-XXXXXX";
	AUTO(free_ptr) char *want = malloc(32 + row->levels * 22);
	size_t at, len, levels = row->levels;

	assert_non_null(want);
	assert_non_null(mkdtemp(dir));
	AUTO(close_fd) int home = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_int_equal(chdir(dir), 0);
	pid_t pid = sensors_child(exec_deep, &levels, NULL);

	assert_int_equal(fchdir(home), 0);
	const struct rec_exec *exec = sensors_wait(l, REC_EXEC, pid, 0);
	const char *path = sensors_part(exec, SENSORS_PATH, &len);

	memcpy(want, dir, strlen(dir));
	at = strlen(dir);
	for (size_t i = 0; i < levels; i++, at += 22)
		memcpy(want + at, "/directory-with-a-name", 22);
	memcpy(want + at, "/true", 5);
	at += 5;
	if (row->whole) {
		sensors_expect_part(exec, SENSORS_PATH, want, at);
		sensors_expect_part(exec, SENSORS_CWD, want, at - 5);
		assert_int_equal(exec->h.flags, 0);
	} else {
		/* Its tail, cut before a component. */
		assert_true(len < at && len > REC_PATH_MAX - REC_NAME_MAX);
		assert_memory_equal(path, want + at - len, len);
		assert_int_equal(exec->h.flags, REC_INCOMPLETE | REC_CWD_INCOMPLETE);
	}
	sensors_remove_tree(dir);
}

static int exit_three(void *arg)
{
	(void)arg;
	return 3;
}

static int kill_self(void *arg)
{
	(void)kill(getpid(), *(int *)arg);
	while (pause() < 0)
		;
	return 0;
}

static void *sleep_forever(void *arg)
{
	(void)arg;
	while (pause() < 0)
		;
	return NULL;
}

static void *exec_from_thread(void *arg)
{
	(void)exec_true(arg);
	return NULL;
}

/* Its pid stays, its other threads' ends are no exits. */
static int exec_in_thread(void *arg)
{
	pthread_t other, executor;

	if (pthread_create(&other, NULL, sleep_forever, NULL) ||
	    pthread_create(&executor, NULL, exec_from_thread, arg))
		return 126;
	while (pause() < 0)
		;
	return 0;
}

static void *exit_later(void *arg)
{
	(void)arg;
	(void)usleep(50000);
	_exit(9);
}

static int leader_ends_first(void *arg)
{
	pthread_t other;

	(void)arg;
	if (pthread_create(&other, NULL, exit_later, NULL))
		return 126;
	pthread_exit(NULL);
}

static int sigkill = SIGKILL, sigusr1 = SIGUSR1;
static char *true_args[] = { (char *)"true", NULL };

static const struct end_row {
	const char *name;
	int (*fn)(void *arg);
	void *arg;
	uint32_t code, signal;
	size_t execs;
} end_rows[] = {
	{ "a code", exit_three, NULL, 3, 0, 0 },
	{ "SIGKILL", kill_self, &sigkill, 0, SIGKILL, 0 },
	{ "SIGUSR1", kill_self, &sigusr1, 0, SIGUSR1, 0 },
	{ "exec from another thread", exec_in_thread, true_args, 0, 0, 1 },
	{ "the leader ends first", leader_ends_first, NULL, 9, 0, 0 },
};

static void one_exit_at_the_real_end(void **state)
{
	const struct end_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *l = sensors_open(&config);
	pid_t pid = sensors_child(row->fn, row->arg, NULL);
	const struct rec_exit *exit = sensors_wait(l, REC_EXIT, pid, 0);
	const struct rec_fork *fork = sensors_wait(l, REC_FORK, pid, 0);

	assert_int_equal(sensors_count(l, REC_EXIT, pid), 1);
	assert_int_equal(sensors_count(l, REC_FORK, pid), 1);
	assert_int_equal(sensors_count(l, REC_EXEC, pid), row->execs);
	assert_int_equal(exit->exit_code, row->code);
	assert_int_equal(exit->signal, row->signal);
	assert_int_equal(exit->h.actor.image.start_ns, fork->h.actor.image.start_ns);
	assert_int_equal(exit->h.actor.image.exec_id, fork->h.actor.image.exec_id + row->execs);
}

static int clone_sibling(void *arg)
{
	long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);

	(void)arg;
	return pid < 0 ? 126 : 0;
}

static void sibling_names_parent_and_caller(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *l = sensors_open(&config);
	pid_t caller = sensors_child(clone_sibling, NULL, NULL), sibling = waitpid(-1, NULL, 0);
	const struct rec_fork *fork = sensors_wait(l, REC_FORK, sibling, 0);

	assert_int_equal(fork->caller.pid, caller);
	assert_int_equal(fork->h.actor.parent.pid, getpid());
}

static int exec_unshared(void *arg)
{
	if (unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
		return 126;
	return exec_true(arg);
}

static void namespaces_and_ids(void **state)
{
	(void)state;
	const struct hooks_config config = { 0 };
	AUTO(sensors_close_ptr) struct sensors *l = sensors_open(&config);
	const struct rec_exec *plain =
		sensors_wait(l, REC_EXEC, sensors_child(exec_true, true_args, NULL), 0);
	const struct rec_exec *apart =
		sensors_wait(l, REC_EXEC, sensors_child(exec_unshared, true_args, NULL), 0);
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/mnt", &st), 0);
	assert_int_equal(plain->h.actor.mnt_ns, st.st_ino);
	assert_int_equal(stat("/proc/self/ns/pid", &st), 0);
	assert_int_equal(plain->h.actor.pid_ns, st.st_ino);
	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	assert_int_equal(plain->h.actor.net_ns, st.st_ino);
	assert_int_equal(stat("/proc/self/ns/user", &st), 0);
	assert_int_equal(plain->h.actor.user_ns, st.st_ino);
	assert_int_equal(plain->h.actor.uid, geteuid());
	assert_true(plain->cap_effective != 0);
	assert_int_not_equal(apart->h.actor.mnt_ns, plain->h.actor.mnt_ns);
	assert_int_not_equal(apart->h.actor.net_ns, plain->h.actor.net_ns);
	assert_int_equal(apart->h.actor.pid_ns, plain->h.actor.pid_ns);
}

static pid_t start_reader(char *const *args, int *ret_write)
{
	int ends[2];

	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		if (dup2(ends[0], STDIN_FILENO) < 0)
			_exit(126);
		(void)execve("/bin/sh", args, empty_env);
		_exit(127);
	}
	(void)close(ends[0]);
	*ret_write = ends[1];
	return pid;
}

static void wait_for_exec(pid_t pid, const char *name)
{
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	for (size_t tries = 0; tries < 1000; tries++) {
		AUTO(free_ptr) uint8_t *comm = NULL;
		size_t len;

		if (files_read(path, 64, &comm, &len, NULL) == 0 &&
		    strncmp((char *)comm, name, strlen(name)) == 0)
			return;
		(void)usleep(2000);
	}
	fail_msg("process %d did not become %s", pid, name);
}

static const struct stock_row {
	const char *name;
	size_t bytes; /* of the long argument */
	size_t want_len;
} stock_rows[] = {
	{ "short arguments", 10, 10 + PREFIX },
	{ "longer than an iterator takes", 20000, 20000 + PREFIX },
	{ "longer than a record takes", 40000, REC_ARGS_MAX },
};

/* Who is there already has the key that later records will use, and all that an exec would have said. */
static void a_process_that_exists(void **state)
{
	const struct stock_row *row = *state;
	const struct hooks_config config = { 0 };
	AUTO(free_ptr) char *arg = malloc(row->bytes), *flat = malloc(row->bytes + PREFIX);
	char *const args[] = { (char *)"sh", (char *)"-c", (char *)"read x", arg, NULL };
	char real[4096];
	int end;

	assert_true(arg && flat);
	memset(arg, 'x', row->bytes - 1);
	arg[row->bytes - 1] = '\0';
	assert_int_equal(flatten(args, flat), row->bytes + PREFIX);
	assert_non_null(realpath("/bin/sh", real));
	pid_t pid = start_reader(args, &end);

	wait_for_exec(pid, "sh");
	AUTO(sensors_close_ptr) struct sensors *s = sensors_open(&config);
	struct error e = { 0 };

	if (stock_processes(sensors_hooks(s), sensors_take, s, &e) < 2)
		fail_msg("%s", e.text);
	assert_int_equal(sensors_count(s, REC_PROCESS, getpid()), 1);
	assert_int_equal(sensors_count(s, REC_PROCESS, pid), 1);
	const struct rec_exec *found = sensors_find(s, REC_PROCESS, pid, 0);

	assert_int_equal(found->h.actor.parent.pid, getpid());
	assert_true(found->h.flags & REC_EXISTING);
	assert_int_equal(!!(found->h.flags & REC_TRUNCATED), row->want_len < row->bytes + PREFIX);
	assert_int_equal(found->args_bytes, row->bytes + PREFIX);
	sensors_expect_part(found, SENSORS_ARGS, flat, row->want_len);
	sensors_expect_part(found, SENSORS_PATH, real, strlen(real));
	assert_int_equal(close(end), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	const struct rec_exit *exit = sensors_wait(s, REC_EXIT, pid, 0);

	assert_memory_equal(&exit->h.actor.image, &found->h.actor.image, sizeof(struct rec_image));
	sensors_expect_balance(s);
}

int main(void)
{
	struct tests t = { 0 };

	ADD_TEST(&t, each_exec_once);
	ADD_ROWS(&t, arguments_byte_for_byte, length_rows);
	ADD_TEST(&t, memfd_is_named);
	ADD_TEST(&t, deleted_file_keeps_its_path);
	ADD_ROWS(&t, deep_path, deep_rows);
	ADD_ROWS(&t, one_exit_at_the_real_end, end_rows);
	ADD_TEST(&t, sibling_names_parent_and_caller);
	ADD_TEST(&t, namespaces_and_ids);
	ADD_ROWS(&t, a_process_that_exists, stock_rows);
	return tests_run(&t, "sensors_process");
}
