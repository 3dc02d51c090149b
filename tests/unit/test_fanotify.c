/* SPDX-License-Identifier: Apache-2.0 */
/* What happens on one file system. */
#include "tests/unit/fanotify_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "proto/actions.h"
#include "tests/unit/uring.h"

static const struct fanotify_config plain;

static void nothing_happens_on_an_idle_file_system(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);
	struct fanotify_coverage c;

	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 1);
	assert_int_equal(c.unmarked, 0);
	/* Whoever mounts in a namespace of their own is seen a moment later, and that is said. */
	assert_true(c.partial);
	assert_non_null(strstr(c.reason, "other mount namespaces"));
	assert_true(fanotify_coverage_changed(b->f));
	assert_false(fanotify_coverage_changed(b->f));
	fanotify_bench_drain(b);
	assert_int_equal(b->total, 0);
}

static void write_rename_unlink(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);
	struct fanotify_coverage c;
	struct stat st;

	fanotify_coverage(b->f, &c);
	fanotify_bench_write(fanotify_bench_in(b, "a"), "hello");
	assert_int_equal(stat(fanotify_bench_in(b, "a"), &st), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "a"));
	assert_int_equal(b->seen[0].ev.image.pid, getpid());
	assert_int_equal(b->seen[0].ev.hook, HOOK_FANOTIFY);
	assert_true(b->seen[0].ev.u.file.has_size);
	assert_int_equal(b->seen[0].ev.u.file.size, 5);
	assert_false(b->seen[0].ev.u.file.has_size_before);
	assert_int_equal(b->seen[0].ev.u.file.inode, st.st_ino);
	assert_int_equal(b->seen[0].ev.u.file.device, st.st_dev);
	assert_int_equal(b->seen[0].ev.u.file.mode, S_IFREG | 0644);

	assert_int_equal(rename(fanotify_bench_in(b, "a"), fanotify_bench_in(b, "b\nc")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_RENAME, fanotify_bench_in(b, "b\nc"));
	assert_string_equal(b->seen[0].old_path, fanotify_bench_in(b, "a"));
	assert_int_equal(b->seen[0].ev.flags, 0);
	assert_int_equal(b->seen[0].ev.u.file.inode, st.st_ino);

	assert_int_equal(unlink(fanotify_bench_in(b, "b\nc")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_UNLINK, fanotify_bench_in(b, "b\nc"));
	assert_false(b->seen[0].ev.u.file.has_size);
}

static void size_is_absent_of_what_is_gone(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);

	fanotify_bench_write(fanotify_bench_in(b, "a"), "hello");
	assert_int_equal(unlink(fanotify_bench_in(b, "a")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 2);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "a"));
	assert_false(b->seen[0].ev.u.file.has_size);
	fanotify_bench_assert(b, 1, ACTION_UNLINK, fanotify_bench_in(b, "a"));
}

static void removed_folders_still_have_names(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);
	struct fanotify_coverage c;
	struct fanotify_stats s;

	fanotify_coverage(b->f, &c);
	if (!c.rename)
		skip(); /* it is FAN_REPORT_TARGET_FID that tells */
	assert_int_equal(mkdir(fanotify_bench_in(b, "d"), 0755), 0);
	assert_int_equal(mkdir(fanotify_bench_in(b, "d/e"), 0755), 0);
	fanotify_bench_write(fanotify_bench_in(b, "d/e/f"), "x");
	assert_int_equal(unlink(fanotify_bench_in(b, "d/e/f")), 0);
	assert_int_equal(rmdir(fanotify_bench_in(b, "d/e")), 0);
	assert_int_equal(rmdir(fanotify_bench_in(b, "d")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 2);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "d/e/f"));
	fanotify_bench_assert(b, 1, ACTION_UNLINK, fanotify_bench_in(b, "d/e/f"));
	assert_int_equal(b->seen[1].ev.flags, 0);
	fanotify_stats(b->f, &s);
	assert_int_equal(s.unresolved, 0);
	assert_int_equal(s.ignored, 2);
}

static void renamed_folder_is_asked_anew(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);

	assert_int_equal(mkdir(fanotify_bench_in(b, "d"), 0755), 0);
	fanotify_bench_write(fanotify_bench_in(b, "d/f"), "x");
	fanotify_bench_drain(b);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "d/f"));
	assert_int_equal(rename(fanotify_bench_in(b, "d"), fanotify_bench_in(b, "d2")), 0);
	fanotify_bench_write(fanotify_bench_in(b, "d2/f"), "xy");
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 2);
	fanotify_bench_assert(b, 0, ACTION_RENAME, fanotify_bench_in(b, "d2"));
	assert_string_equal(b->seen[0].old_path, fanotify_bench_in(b, "d"));
	assert_true(S_ISDIR(b->seen[0].ev.u.file.mode));
	fanotify_bench_assert(b, 1, ACTION_MODIFY, fanotify_bench_in(b, "d2/f"));
}

static void folder_that_is_named_deleted_keeps_its_name(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);

	assert_int_equal(mkdir(fanotify_bench_in(b, "d (deleted)"), 0755), 0);
	fanotify_bench_write(fanotify_bench_in(b, "d (deleted)/f"), "x");
	fanotify_bench_drain(b);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "d (deleted)/f"));
}

static void own_folder_is_filtered_and_counted(void **state)
{
	struct fanotify_bench *b = *state;
	struct fanotify_config c = { .own_folders = { fanotify_bench_in(b, "own") } };
	struct fanotify_stats s;

	b = fanotify_bench_ready(state, &c);
	assert_int_equal(mkdir(fanotify_bench_in(b, "own"), 0755), 0);
	assert_int_equal(mkdir(fanotify_bench_in(b, "owner"), 0755), 0);
	fanotify_bench_write(fanotify_bench_in(b, "own/a"), "x");
	fanotify_bench_write(fanotify_bench_in(b, "owner/a"), "x");
	/* What is carried off from there is told. */
	assert_int_equal(rename(fanotify_bench_in(b, "own/a"), fanotify_bench_in(b, "owner/b")), 0);
	/* ... and what is put there. */
	assert_int_equal(rename(fanotify_bench_in(b, "owner/a"), fanotify_bench_in(b, "own/c")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 3);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "owner/a"));
	fanotify_bench_assert(b, 1, ACTION_RENAME, fanotify_bench_in(b, "owner/b"));
	fanotify_bench_assert(b, 2, ACTION_RENAME, fanotify_bench_in(b, "own/c"));
	fanotify_stats(b->f, &s);
	assert_int_equal(s.filtered, 1);
	assert_int_equal(fanotify_own_pid(b->f, (uint32_t)getpid()), 0);
	fanotify_bench_write(fanotify_bench_in(b, "owner/c"), "x");
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 0);
	fanotify_stats(b->f, &s);
	assert_int_equal(s.filtered, 2);
	for (int i = 1; i < FANOTIFY_OWN_MAX; i++)
		assert_int_equal(fanotify_own_pid(b->f, 1), 0);
	assert_int_equal(fanotify_own_pid(b->f, 1), -ENOSPC);
}

static void before_5_17_two_halves_are_one_rename(void **state)
{
	struct fanotify_bench *b =
		fanotify_bench_ready(state, &(struct fanotify_config){ .before_5_17 = true });
	struct fanotify_coverage c;

	fanotify_coverage(b->f, &c);
	assert_false(c.rename);
	fanotify_bench_write(fanotify_bench_in(b, "a"), "hello");
	assert_int_equal(rename(fanotify_bench_in(b, "a"), fanotify_bench_in(b, "b")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 2);
	assert_int_equal(b->seen[0].ev.action, ACTION_MODIFY);
	fanotify_bench_assert(b, 1, ACTION_RENAME, fanotify_bench_in(b, "b"));
	assert_string_equal(b->seen[1].old_path, fanotify_bench_in(b, "a"));
	assert_int_equal(b->seen[1].ev.flags, 0);
	assert_int_equal(unlink(fanotify_bench_in(b, "b")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_UNLINK, fanotify_bench_in(b, "b"));
}

/* A queue of the kernel's default size: what does not fit is a gap without a count. */
static void overflow_is_a_gap(void **state)
{
	struct fanotify_bench *b =
		fanotify_bench_ready(state, &(struct fanotify_config){ .bounded = true });
	char name[32];
	FILE *f = fopen("/proc/sys/fs/fanotify/max_queued_events", "r");
	unsigned long max = 0;
	struct fanotify_stats s;
	char line[32];

	if (f && fgets(line, sizeof(line), f))
		max = strtoul(line, NULL, 10);
	if (max > 100000)
		max = 0;
	if (f)
		(void)fclose(f);
	if (!max)
		skip();
	for (unsigned int i = 0; i < max + 50; i++) {
		(void)snprintf(name, sizeof(name), "f%u", i);
		fanotify_bench_write(fanotify_bench_in(b, name), "");
	}
	fanotify_bench_drain(b);
	fanotify_stats(b->f, &s);
	assert_int_equal(b->gaps, 1);
	assert_int_equal(s.overflows, 1);
	assert_int_equal(b->total, max + 1);
	fanotify_bench_write(fanotify_bench_in(b, "later"), "x");
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "later"));
}

static void budget_is_kept(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);
	char name[32];
	size_t taken;

	for (int i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		fanotify_bench_write(fanotify_bench_in(b, name), "");
	}
	b->total = 0;
	taken = fanotify_drain(b->f, b->now_ns, 10, fanotify_bench_event, b);
	assert_true(taken >= 10 && taken < 2500);
	assert_int_equal(b->total, taken);
	while (fanotify_drain(b->f, b->now_ns, 10, fanotify_bench_event, b) > 0)
		continue;
	assert_int_equal(b->total, 5000);
}

/* Watching holds nothing open: what is marked can be unmounted, and comes back. */
static void mounts_come_and_go(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);
	struct fanotify_coverage c;

	fanotify_bench_write(fanotify_bench_in(b, "a"), "x");
	fanotify_bench_drain(b);
	(void)fanotify_coverage_changed(b->f);
	assert_int_equal(umount(b->dir), 0);
	fanotify_bench_drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 0);
	assert_true(fanotify_coverage_changed(b->f));
	assert_int_equal(mount("again", b->dir, "tmpfs", 0, NULL), 0);
	fanotify_bench_drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 1);
	assert_true(fanotify_coverage_changed(b->f));
	fanotify_bench_write(fanotify_bench_in(b, "b"), "x");
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "b"));
}

/* Everything that this machine has mounted: nothing blocks, and what has no mark is named. */
static void whole_machine_is_covered_or_says_why(void **state)
{
	struct fanotify_bench *b = *state;
	const struct fanotify_config c = { .mountinfo = "/proc/self/mountinfo" };
	struct fanotify_coverage covered;

	if (!b->dir[0] || fanotify_open(&c, 1, &b->f, NULL) < 0)
		skip();
	fanotify_coverage(b->f, &covered);
	assert_true(covered.marked > 0);
	assert_true(covered.partial);
	assert_int_equal(strstr(covered.reason, "no mark on") != NULL, covered.unmarked > 0);
}

static void no_mount_table_is_one_sentence(void **state)
{
	struct fanotify_bench *b = *state;
	const struct fanotify_config c = { .mountinfo = "/nonexistent" };
	struct error e = { 0 };

	assert_true(fanotify_open(&c, 1, &b->f, &e) < 0);
	assert_null(b->f);
	assert_true(e.text[0] != 0);
}

/* ---- through io_uring ---- */

/* A file that only the ring's own table has: no descriptor, no system call, and no completion. */
static int write_through_ring(const char *path)
{
	const struct io_uring_sqe open = { .opcode = IORING_OP_OPENAT,
					   .flags = IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS,
					   .fd = AT_FDCWD,
					   .addr = (uintptr_t)path,
					   .len = 0600,
					   .open_flags = O_CREAT | O_WRONLY,
					   .file_index = 1 };
	const struct io_uring_sqe write = { .opcode = IORING_OP_WRITE,
					    .flags = IOSQE_FIXED_FILE | IOSQE_IO_LINK |
						     IOSQE_CQE_SKIP_SUCCESS,
					    .addr = (uintptr_t) "hello",
					    .len = 5 };
	const struct io_uring_sqe close = { .opcode = IORING_OP_CLOSE, .file_index = 1 };
	const struct io_uring_sqe *const all[] = { &open, &write, &close };
	struct uring u;
	int none = -1, r = uring_make(&u, 0);

	if (r)
		return r;
	if (syscall(SYS_io_uring_register, u.fd, IORING_REGISTER_FILES, &none, 1) != 0)
		return URING_UNAVAILABLE;
	if (uring_submit_all(&u, all, ARRAY_LEN(all)) != 0)
		return 1;
	return uring_result(&u) == 0 ? 0 : URING_UNAVAILABLE;
}

static void what_a_ring_writes_is_seen(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid)
		_exit(write_through_ring(fanotify_bench_in(b, "ring")));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WEXITSTATUS(status) == URING_UNAVAILABLE)
		skip();
	assert_int_equal(status, 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "ring"));
	assert_int_equal(b->seen[0].ev.image.pid, pid);
	assert_int_equal(b->seen[0].ev.u.file.size, 5);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, no_mount_table_is_one_sentence);
	ADD_TEST(&t, nothing_happens_on_an_idle_file_system);
	ADD_TEST(&t, overflow_is_a_gap);
	ADD_TEST(&t, size_is_absent_of_what_is_gone);
	ADD_TEST(&t, write_rename_unlink);
	ADD_TEST(&t, removed_folders_still_have_names);
	ADD_TEST(&t, renamed_folder_is_asked_anew);
	ADD_TEST(&t, folder_that_is_named_deleted_keeps_its_name);
	ADD_TEST(&t, own_folder_is_filtered_and_counted);
	ADD_TEST(&t, before_5_17_two_halves_are_one_rename);
	ADD_TEST(&t, budget_is_kept);
	ADD_TEST(&t, mounts_come_and_go);
	ADD_TEST(&t, whole_machine_is_covered_or_says_why);
	ADD_TEST(&t, what_a_ring_writes_is_seen);
	return fanotify_bench_run(&t, "fanotify");
}
