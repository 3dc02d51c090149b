/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fanotify_bench.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "proto/actions.h"

static void copy(char to[static PATH_MAX], struct bytes from)
{
	assert_true(from.len < PATH_MAX);
	if (from.len)
		memcpy(to, from.at, from.len);
	to[from.len] = 0;
}

void fanotify_bench_event(void *ctx, struct event *ev)
{
	struct fanotify_bench *b = ctx;
	struct fanotify_seen_event *s;

	b->total++;
	if (ev->action == ACTION_GAP) {
		b->gaps++;
		assert_int_equal(ev->u.gap.where, GAP_FANOTIFY);
		assert_false(ev->u.gap.has_count);
		assert_true(ev->u.gap.from_ns <= ev->u.gap.to_ns);
	}
	if (b->n == FANOTIFY_BENCH_SEEN_MAX)
		return;
	s = &b->seen[b->n++];
	s->ev = *ev;
	if (ev->action != ACTION_GAP) {
		copy(s->path, ev->u.file.path);
		copy(s->old_path, ev->u.file.old_path);
	}
}

void fanotify_bench_drain(struct fanotify_bench *b)
{
	b->n = b->total = b->gaps = 0;
	b->now_ns += NSEC_PER_SEC;
	while (fanotify_drain(b->f, b->now_ns, 100000, fanotify_bench_event, b))
		;
}

char *fanotify_bench_in(const struct fanotify_bench *b, const char *name)
{
	static char paths[4][PATH_MAX];
	static unsigned int next;
	char *path = paths[next++ % 4];

	(void)snprintf(path, PATH_MAX, "%s/%s", b->dir, name);
	return path;
}

void fanotify_bench_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(close(fd), 0);
}

void fanotify_bench_assert(const struct fanotify_bench *b, size_t i, uint32_t action,
			   const char *path)
{
	assert_true(i < b->n);
	assert_int_equal(b->seen[i].ev.action, action);
	assert_int_equal(b->seen[i].ev.class,
			 action == ACTION_GAP ? CLASS_AGENT : CLASS_FILE_CHANGE);
	assert_string_equal(b->seen[i].path, path);
}

int fanotify_bench_open(struct fanotify_bench *b, const struct fanotify_config *more)
{
	struct fanotify_config c = *more;

	c.mountinfo = "/proc/self/mountinfo";
	c.only = b->dir;
	return fanotify_open(&c, 1, &b->f, NULL);
}

int fanotify_bench_setup(void **state)
{
	struct fanotify_bench *b = calloc(1, sizeof(*b));

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

int fanotify_bench_teardown(void **state)
{
	struct fanotify_bench *b = *state;
	int r = 0;

	fanotify_close(b->f);
	if (b->dir[0])
		r = umount(b->dir) < 0 || rmdir(b->dir) < 0 ? -1 : 0;
	free(b);
	return r;
}

struct fanotify_bench *fanotify_bench_ready(void **state, const struct fanotify_config *more)
{
	struct fanotify_bench *b = *state;

	if (!b->dir[0])
		skip();
	if (fanotify_bench_open(b, more) < 0)
		skip(); /* a kernel or container without fanotify */
	fanotify_bench_drain(b);
	return b;
}

int fanotify_bench_run(struct tests *t, const char *group)
{
	/* Mounts of the tests stay here, and are gone with the process. */
	if (geteuid() == 0 && unshare(CLONE_NEWNS) == 0)
		(void)mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	for (size_t i = 0; i < t->n; i++) {
		t->test[i].setup_func = fanotify_bench_setup;
		t->test[i].teardown_func = fanotify_bench_teardown;
	}
	return tests_run(t, group);
}
