/* SPDX-License-Identifier: Apache-2.0 */
/* On a tmpfs of the test's own, in a mount namespace of its own. Needs root; skipped without. */
#include "tests/unit/rows.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "agent/fanotify.h"
#include "agent/hooks_check.h"
#include "proto/actions.h"

#define SEEN_MAX 64

/* One event, with its texts copied. */
struct seen {
	struct event ev;
	char path[PATH_MAX], old_path[PATH_MAX];
};

struct bench {
	char dir[64];
	struct fanotify *f;
	uint64_t now_ns;
	size_t n, total, gaps; /* n: kept in seen */
	struct seen seen[SEEN_MAX];
};

static void copy(char to[static PATH_MAX], struct bytes from)
{
	assert_true(from.len < PATH_MAX);
	if (from.len)
		memcpy(to, from.at, from.len);
	to[from.len] = 0;
}

static void on_event(void *ctx, struct event *ev)
{
	struct bench *b = ctx;
	struct seen *s;

	b->total++;
	if (ev->action == ACTION_GAP) {
		b->gaps++;
		assert_int_equal(ev->u.gap.where, GAP_FANOTIFY);
		assert_false(ev->u.gap.has_count);
		assert_true(ev->u.gap.from_ns <= ev->u.gap.to_ns);
	}
	if (b->n == SEEN_MAX)
		return;
	s = &b->seen[b->n++];
	s->ev = *ev;
	if (ev->action != ACTION_GAP) {
		copy(s->path, ev->u.file.path);
		copy(s->old_path, ev->u.file.old_path);
	}
}

static void drain(struct bench *b)
{
	b->n = b->total = b->gaps = 0;
	b->now_ns += NSEC_PER_SEC;
	while (fanotify_drain(b->f, b->now_ns, 100000, on_event, b))
		;
}

static char *in(const struct bench *b, const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned int next;
	char *path = paths[next++ % 4];

	(void)snprintf(path, PATH_MAX, "%s/%s", b->dir, name);
	return path;
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

static void assert_event(const struct bench *b, size_t i, uint32_t action, const char *path)
{
	assert_true(i < b->n);
	assert_int_equal(b->seen[i].ev.action, action);
	assert_int_equal(b->seen[i].ev.class,
			 action == ACTION_GAP ? CLASS_AGENT : CLASS_FILE_CHANGE);
	assert_string_equal(b->seen[i].path, path);
}

static int open_bench(struct bench *b, const struct fanotify_config *more)
{
	struct fanotify_config c = *more;

	c.mountinfo = "/proc/self/mountinfo";
	c.only = b->dir;
	return fanotify_open(&c, 1, &b->f, NULL);
}

static int setup(void **state)
{
	struct bench *b = calloc(1, sizeof(*b));

	*state = b;
	if (!b || geteuid() != 0)
		return b ? 0 : -1;
	(void)snprintf(b->dir, sizeof(b->dir), "/tmp/test_fanotify.XXXXXX");
	if (!mkdtemp(b->dir))
		return -1;
	if (mount("test", b->dir, "tmpfs", 0, "size=64m") < 0) {
		(void)rmdir(b->dir);
		b->dir[0] = 0; /* no right to mount: skip */
	}
	return 0;
}

static int teardown(void **state)
{
	struct bench *b = *state;
	int r = 0;

	fanotify_close(b->f);
	if (b->dir[0])
		r = umount(b->dir) < 0 || rmdir(b->dir) < 0 ? -1 : 0;
	free(b);
	return r;
}

static struct bench *ready(void **state, const struct fanotify_config *more)
{
	struct bench *b = *state;

	if (!b->dir[0])
		skip();
	if (open_bench(b, more) < 0)
		skip(); /* a kernel or container without fanotify */
	drain(b);
	return b;
}

static const struct fanotify_config plain;

static void nothing_happens_on_an_idle_file_system(void **state)
{
	struct bench *b = ready(state, &plain);
	struct fanotify_coverage c;

	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 1);
	assert_int_equal(c.unmarked, 0);
	/* Whoever mounts in a namespace of their own is seen a moment later, and that is said. */
	assert_true(c.partial);
	assert_non_null(strstr(c.reason, "other mount namespaces"));
	assert_true(fanotify_coverage_changed(b->f));
	assert_false(fanotify_coverage_changed(b->f));
	drain(b);
	assert_int_equal(b->total, 0);
}

static void write_rename_unlink(void **state)
{
	struct bench *b = ready(state, &plain);
	struct fanotify_coverage c;
	struct stat st;

	fanotify_coverage(b->f, &c);
	write_file(in(b, "a"), "hello");
	assert_int_equal(stat(in(b, "a"), &st), 0);
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_MODIFY, in(b, "a"));
	assert_int_equal(b->seen[0].ev.image.pid, getpid());
	assert_int_equal(b->seen[0].ev.hook, HOOK_FANOTIFY);
	assert_true(b->seen[0].ev.u.file.has_size);
	assert_int_equal(b->seen[0].ev.u.file.size, 5);
	assert_false(b->seen[0].ev.u.file.has_size_before);
	assert_int_equal(b->seen[0].ev.u.file.inode, st.st_ino);
	assert_int_equal(b->seen[0].ev.u.file.device, st.st_dev);
	assert_int_equal(b->seen[0].ev.u.file.mode, S_IFREG | 0644);

	assert_int_equal(rename(in(b, "a"), in(b, "b\nc")), 0);
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_RENAME, in(b, "b\nc"));
	assert_string_equal(b->seen[0].old_path, in(b, "a"));
	assert_int_equal(b->seen[0].ev.flags, 0);
	assert_int_equal(b->seen[0].ev.u.file.inode, st.st_ino);

	assert_int_equal(unlink(in(b, "b\nc")), 0);
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_UNLINK, in(b, "b\nc"));
	assert_false(b->seen[0].ev.u.file.has_size);
}

static void size_is_absent_of_what_is_gone(void **state)
{
	struct bench *b = ready(state, &plain);

	write_file(in(b, "a"), "hello");
	assert_int_equal(unlink(in(b, "a")), 0);
	drain(b);
	assert_int_equal(b->n, 2);
	assert_event(b, 0, ACTION_MODIFY, in(b, "a"));
	assert_false(b->seen[0].ev.u.file.has_size);
	assert_event(b, 1, ACTION_UNLINK, in(b, "a"));
}

static void removed_folders_still_have_names(void **state)
{
	struct bench *b = ready(state, &plain);
	struct fanotify_coverage c;
	struct fanotify_stats s;

	fanotify_coverage(b->f, &c);
	if (!c.rename)
		skip(); /* it is FAN_REPORT_TARGET_FID that tells */
	assert_int_equal(mkdir(in(b, "d"), 0755), 0);
	assert_int_equal(mkdir(in(b, "d/e"), 0755), 0);
	write_file(in(b, "d/e/f"), "x");
	assert_int_equal(unlink(in(b, "d/e/f")), 0);
	assert_int_equal(rmdir(in(b, "d/e")), 0);
	assert_int_equal(rmdir(in(b, "d")), 0);
	drain(b);
	assert_int_equal(b->n, 2);
	assert_event(b, 0, ACTION_MODIFY, in(b, "d/e/f"));
	assert_event(b, 1, ACTION_UNLINK, in(b, "d/e/f"));
	assert_int_equal(b->seen[1].ev.flags, 0);
	fanotify_stats(b->f, &s);
	assert_int_equal(s.unresolved, 0);
	assert_int_equal(s.ignored, 2);
}

static void renamed_folder_is_asked_anew(void **state)
{
	struct bench *b = ready(state, &plain);

	assert_int_equal(mkdir(in(b, "d"), 0755), 0);
	write_file(in(b, "d/f"), "x");
	drain(b);
	assert_event(b, 0, ACTION_MODIFY, in(b, "d/f"));
	assert_int_equal(rename(in(b, "d"), in(b, "d2")), 0);
	write_file(in(b, "d2/f"), "xy");
	drain(b);
	assert_int_equal(b->n, 2);
	assert_event(b, 0, ACTION_RENAME, in(b, "d2"));
	assert_string_equal(b->seen[0].old_path, in(b, "d"));
	assert_true(S_ISDIR(b->seen[0].ev.u.file.mode));
	assert_event(b, 1, ACTION_MODIFY, in(b, "d2/f"));
}

static void folder_that_is_named_deleted_keeps_its_name(void **state)
{
	struct bench *b = ready(state, &plain);

	assert_int_equal(mkdir(in(b, "d (deleted)"), 0755), 0);
	write_file(in(b, "d (deleted)/f"), "x");
	drain(b);
	assert_event(b, 0, ACTION_MODIFY, in(b, "d (deleted)/f"));
}

static void own_folder_is_filtered_and_counted(void **state)
{
	struct bench *b = *state;
	struct fanotify_config c = { .own_folders = { in(b, "own") } };
	struct fanotify_stats s;

	b = ready(state, &c);
	assert_int_equal(mkdir(in(b, "own"), 0755), 0);
	assert_int_equal(mkdir(in(b, "owner"), 0755), 0);
	write_file(in(b, "own/a"), "x");
	write_file(in(b, "owner/a"), "x");
	/* What is carried off from there is told. */
	assert_int_equal(rename(in(b, "own/a"), in(b, "owner/b")), 0);
	/* ... and what is put there. */
	assert_int_equal(rename(in(b, "owner/a"), in(b, "own/c")), 0);
	drain(b);
	assert_int_equal(b->n, 3);
	assert_event(b, 0, ACTION_MODIFY, in(b, "owner/a"));
	assert_event(b, 1, ACTION_RENAME, in(b, "owner/b"));
	assert_event(b, 2, ACTION_RENAME, in(b, "own/c"));
	fanotify_stats(b->f, &s);
	assert_int_equal(s.filtered, 1);
	assert_int_equal(fanotify_own_pid(b->f, (uint32_t)getpid()), 0);
	write_file(in(b, "owner/c"), "x");
	drain(b);
	assert_int_equal(b->n, 0);
	fanotify_stats(b->f, &s);
	assert_int_equal(s.filtered, 2);
	for (int i = 1; i < FANOTIFY_OWN_MAX; i++)
		assert_int_equal(fanotify_own_pid(b->f, 1), 0);
	assert_int_equal(fanotify_own_pid(b->f, 1), -ENOSPC);
}

static void before_5_17_two_halves_are_one_rename(void **state)
{
	struct bench *b = ready(state, &(struct fanotify_config){ .before_5_17 = true });
	struct fanotify_coverage c;

	fanotify_coverage(b->f, &c);
	assert_false(c.rename);
	write_file(in(b, "a"), "hello");
	assert_int_equal(rename(in(b, "a"), in(b, "b")), 0);
	drain(b);
	assert_int_equal(b->n, 2);
	assert_int_equal(b->seen[0].ev.action, ACTION_MODIFY);
	assert_event(b, 1, ACTION_RENAME, in(b, "b"));
	assert_string_equal(b->seen[1].old_path, in(b, "a"));
	assert_int_equal(b->seen[1].ev.flags, 0);
	assert_int_equal(unlink(in(b, "b")), 0);
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_UNLINK, in(b, "b"));
}

/* A queue of the kernel's default size: what does not fit is a gap without a count. */
static void overflow_is_a_gap(void **state)
{
	struct bench *b = ready(state, &(struct fanotify_config){ .bounded = true });
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
		write_file(in(b, name), "");
	}
	drain(b);
	fanotify_stats(b->f, &s);
	assert_int_equal(b->gaps, 1);
	assert_int_equal(s.overflows, 1);
	assert_int_equal(b->total, max + 1);
	write_file(in(b, "later"), "x");
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_MODIFY, in(b, "later"));
}

static void budget_is_kept(void **state)
{
	struct bench *b = ready(state, &plain);
	char name[32];
	size_t taken;

	for (int i = 0; i < 5000; i++) {
		(void)snprintf(name, sizeof(name), "f%d", i);
		write_file(in(b, name), "");
	}
	b->total = 0;
	taken = fanotify_drain(b->f, b->now_ns, 10, on_event, b);
	assert_true(taken >= 10 && taken < 2500);
	assert_int_equal(b->total, taken);
	while (fanotify_drain(b->f, b->now_ns, 10, on_event, b) > 0)
		continue;
	assert_int_equal(b->total, 5000);
}

/* Watching holds nothing open: what is marked can be unmounted, and comes back. */
static void mounts_come_and_go(void **state)
{
	struct bench *b = ready(state, &plain);
	struct fanotify_coverage c;

	write_file(in(b, "a"), "x");
	drain(b);
	(void)fanotify_coverage_changed(b->f);
	assert_int_equal(umount(b->dir), 0);
	drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 0);
	assert_true(fanotify_coverage_changed(b->f));
	assert_int_equal(mount("again", b->dir, "tmpfs", 0, NULL), 0);
	drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 1);
	assert_true(fanotify_coverage_changed(b->f));
	write_file(in(b, "b"), "x");
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_MODIFY, in(b, "b"));
}

/* A process with a tmpfs of its own over the folder, which only its mount namespace has; it does what it is
 * asked for, one step for each byte. */
static void live_elsewhere(const struct bench *b, int asked, int done)
{
	char step;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("theirs", b->dir, "tmpfs", 0, "size=1m") < 0)
		_exit(1);
	while (write(done, "x", 1) == 1 && read(asked, &step, 1) == 1) {
		if (step == 'w') {
			int fd = open(in(b, "theirs"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

			if (fd < 0 || write(fd, "hello", 5) != 5 || close(fd) < 0)
				_exit(1);
		} else if (rename(in(b, "theirs"), in(b, "moved")) < 0 ||
			   unlink(in(b, "moved")) < 0) {
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

static void go_elsewhere(const struct bench *b, struct elsewhere *ret)
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
	struct bench *b = ready(state, &plain);
	struct fanotify_coverage c;
	struct elsewhere x;

	go_elsewhere(b, &x);
	fanotify_seen(b->f, x.ns, (uint32_t)x.pid, b->now_ns);
	drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 2);
	step(&x, 'w');
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_MODIFY, in(b, "theirs"));
	assert_int_equal(b->seen[0].ev.image.pid, x.pid);
	assert_true(b->seen[0].ev.u.file.has_size);
	assert_int_equal(b->seen[0].ev.u.file.size, 5);
	step(&x, 'r');
	drain(b);
	assert_int_equal(b->n, 2);
	assert_event(b, 0, ACTION_RENAME, in(b, "moved"));
	assert_string_equal(b->seen[0].old_path, in(b, "theirs"));
	assert_event(b, 1, ACTION_UNLINK, in(b, "moved"));
	assert_int_equal(b->seen[1].ev.flags, 0);
	leave_elsewhere(&x);
	/* The namespace ended with its last process: nothing of ours holds it. */
	fanotify_seen(b->f, x.ns, 0, b->now_ns);
	drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 1);
}

/* The id of a process that has another namespace by now leads nowhere. */
static void false_ways_into_namespaces_are_not_taken(void **state)
{
	struct bench *b = ready(state, &plain);
	struct fanotify_coverage c;
	struct elsewhere x;

	go_elsewhere(b, &x);
	fanotify_seen(b->f, x.ns, (uint32_t)getpid(), b->now_ns);
	fanotify_seen(b->f, x.ns, UINT32_MAX, b->now_ns);
	fanotify_seen(b->f, 0, (uint32_t)x.pid, b->now_ns);
	drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 1);
	fanotify_seen(b->f, x.ns, (uint32_t)x.pid, b->now_ns);
	drain(b);
	fanotify_coverage(b->f, &c);
	assert_int_equal(c.marked, 2);
	leave_elsewhere(&x);
}

static bool shows_overlay_writes(void)
{
	struct utsname u;

	return uname(&u) == 0 && hooks_kernel_number(u.release) >= KERNEL_NUMBER(6, 5, 0);
}

static void overlay(struct bench *b)
{
	char options[4 * PATH_MAX];

	assert_int_equal(mkdir(in(b, "lower"), 0755), 0);
	assert_int_equal(mkdir(in(b, "lower/dir"), 0755), 0);
	assert_int_equal(mkdir(in(b, "upper"), 0755), 0);
	assert_int_equal(mkdir(in(b, "work"), 0755), 0);
	assert_int_equal(mkdir(in(b, "m"), 0755), 0);
	write_file(in(b, "lower/old"), "x");
	write_file(in(b, "lower/old2"), "x");
	write_file(in(b, "lower/dir/f"), "x");
	(void)snprintf(options, sizeof(options),
		       "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", b->dir, b->dir,
		       b->dir);
	if (mount("test", in(b, "m"), "overlay", 0, options) < 0)
		skip(); /* a kernel without overlays */
	drain(b);
	drain(b);
}

static void in_overlay(struct bench *b)
{
	write_file(in(b, "m/new"), "hello");
	drain(b);
	if (shows_overlay_writes()) {
		assert_int_equal(b->n, 1);
		assert_event(b, 0, ACTION_MODIFY, in(b, "m/new"));
	}
	/* A copy is made of what is only below; the copying itself is nobody's doing. */
	write_file(in(b, "m/old"), "hello");
	drain(b);
	if (shows_overlay_writes()) {
		assert_int_equal(b->n, 1);
		assert_event(b, 0, ACTION_MODIFY, in(b, "m/old"));
		assert_int_equal(b->seen[0].ev.u.file.size, 5);
	}
	assert_int_equal(unlink(in(b, "m/old2")), 0);
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_UNLINK, in(b, "m/old2"));
	assert_int_equal(unlink(in(b, "m/old")), 0);
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_UNLINK, in(b, "m/old"));
	assert_int_equal(rename(in(b, "m/dir/f"), in(b, "m/dir/g")), 0);
	drain(b);
	assert_event(b, 0, ACTION_RENAME, in(b, "m/dir/g"));
	assert_string_equal(b->seen[0].old_path, in(b, "m/dir/f"));
	assert_int_equal(b->n, 1);
	assert_int_equal(unlink(in(b, "m/dir/g")), 0);
	assert_int_equal(rmdir(in(b, "m/dir")), 0);
	assert_int_equal(unlink(in(b, "m/new")), 0);
	drain(b);
	assert_int_equal(b->n, 2); /* a removed directory is not told, anywhere */
	assert_event(b, 0, ACTION_UNLINK, in(b, "m/dir/g"));
	assert_event(b, 1, ACTION_UNLINK, in(b, "m/new"));
}

static void overlay_is_told_as_its_user_sees_it(void **state)
{
	struct bench *b = ready(state, &plain);

	overlay(b);
	in_overlay(b);
	assert_int_equal(umount(in(b, "m")), 0);
}

static void overlay_before_5_17(void **state)
{
	struct bench *b = ready(state, &(struct fanotify_config){ .before_5_17 = true });

	overlay(b);
	assert_int_equal(unlink(in(b, "m/old2")), 0);
	drain(b);
	assert_int_equal(b->n, 1);
	assert_event(b, 0, ACTION_UNLINK, in(b, "m/old2"));
	assert_int_equal(umount(in(b, "m")), 0);
}

/* Everything that this machine has mounted: nothing blocks, and what has no mark is named. */
static void whole_machine_is_covered_or_says_why(void **state)
{
	struct bench *b = *state;
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
	struct bench *b = *state;
	const struct fanotify_config c = { .mountinfo = "/nonexistent" };
	struct error e = { 0 };

	assert_true(fanotify_open(&c, 1, &b->f, &e) < 0);
	assert_null(b->f);
	assert_true(e.text[0] != 0);
}

int main(void)
{
	static struct tests t;

	/* Mounts of the tests stay here, and are gone with the process. */
	if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0)
		(void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
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
	ADD_TEST(&t, other_mount_namespaces_are_seen);
	ADD_TEST(&t, false_ways_into_namespaces_are_not_taken);
	ADD_TEST(&t, overlay_is_told_as_its_user_sees_it);
	ADD_TEST(&t, overlay_before_5_17);
	ADD_TEST(&t, whole_machine_is_covered_or_says_why);
	for (size_t i = 0; i < t.n; i++) {
		t.test[i].setup_func = setup;
		t.test[i].teardown_func = teardown;
	}
	return tests_run(&t, "fanotify");
}
