/* SPDX-License-Identifier: Apache-2.0 */
/* What happens on an overlay, in the words of who uses it. */
#include "tests/unit/fanotify_bench.h"

#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "agent/hooks_check.h"
#include "proto/actions.h"

static const struct fanotify_config plain;

static bool shows_overlay_writes(void)
{
	struct utsname u;

	return uname(&u) == 0 && hooks_kernel_number(u.release) >= KERNEL_NUMBER(6, 5, 0);
}

static void overlay(struct fanotify_bench *b)
{
	char options[4 * PATH_MAX];

	assert_int_equal(mkdir(fanotify_bench_in(b, "lower"), 0755), 0);
	assert_int_equal(mkdir(fanotify_bench_in(b, "lower/dir"), 0755), 0);
	assert_int_equal(mkdir(fanotify_bench_in(b, "upper"), 0755), 0);
	assert_int_equal(mkdir(fanotify_bench_in(b, "work"), 0755), 0);
	assert_int_equal(mkdir(fanotify_bench_in(b, "m"), 0755), 0);
	fanotify_bench_write(fanotify_bench_in(b, "lower/old"), "x");
	fanotify_bench_write(fanotify_bench_in(b, "lower/old2"), "x");
	fanotify_bench_write(fanotify_bench_in(b, "lower/dir/f"), "x");
	(void)snprintf(options, sizeof(options),
		       "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", b->dir, b->dir,
		       b->dir);
	if (mount("test", fanotify_bench_in(b, "m"), "overlay", 0, options) < 0)
		skip(); /* a kernel without overlays */
	fanotify_bench_drain(b);
	fanotify_bench_drain(b);
}

static void in_overlay(struct fanotify_bench *b)
{
	fanotify_bench_write(fanotify_bench_in(b, "m/new"), "hello");
	fanotify_bench_drain(b);
	if (shows_overlay_writes()) {
		assert_int_equal(b->n, 1);
		fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "m/new"));
	}
	/* A copy is made of what is only below; the copying itself is nobody's doing. */
	fanotify_bench_write(fanotify_bench_in(b, "m/old"), "hello");
	fanotify_bench_drain(b);
	if (shows_overlay_writes()) {
		assert_int_equal(b->n, 1);
		fanotify_bench_assert(b, 0, ACTION_MODIFY, fanotify_bench_in(b, "m/old"));
		assert_int_equal(b->seen[0].ev.u.file.size, 5);
	}
	assert_int_equal(unlink(fanotify_bench_in(b, "m/old2")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_UNLINK, fanotify_bench_in(b, "m/old2"));
	assert_int_equal(unlink(fanotify_bench_in(b, "m/old")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_UNLINK, fanotify_bench_in(b, "m/old"));
	assert_int_equal(rename(fanotify_bench_in(b, "m/dir/f"), fanotify_bench_in(b, "m/dir/g")),
			 0);
	fanotify_bench_drain(b);
	fanotify_bench_assert(b, 0, ACTION_RENAME, fanotify_bench_in(b, "m/dir/g"));
	assert_string_equal(b->seen[0].old_path, fanotify_bench_in(b, "m/dir/f"));
	assert_int_equal(b->n, 1);
	assert_int_equal(unlink(fanotify_bench_in(b, "m/dir/g")), 0);
	assert_int_equal(rmdir(fanotify_bench_in(b, "m/dir")), 0);
	assert_int_equal(unlink(fanotify_bench_in(b, "m/new")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 2); /* a removed directory is not told, anywhere */
	fanotify_bench_assert(b, 0, ACTION_UNLINK, fanotify_bench_in(b, "m/dir/g"));
	fanotify_bench_assert(b, 1, ACTION_UNLINK, fanotify_bench_in(b, "m/new"));
}

static void overlay_is_told_as_its_user_sees_it(void **state)
{
	struct fanotify_bench *b = fanotify_bench_ready(state, &plain);

	overlay(b);
	in_overlay(b);
	assert_int_equal(umount(fanotify_bench_in(b, "m")), 0);
}

static void overlay_before_5_17(void **state)
{
	struct fanotify_bench *b =
		fanotify_bench_ready(state, &(struct fanotify_config){ .before_5_17 = true });

	overlay(b);
	assert_int_equal(unlink(fanotify_bench_in(b, "m/old2")), 0);
	fanotify_bench_drain(b);
	assert_int_equal(b->n, 1);
	fanotify_bench_assert(b, 0, ACTION_UNLINK, fanotify_bench_in(b, "m/old2"));
	assert_int_equal(umount(fanotify_bench_in(b, "m")), 0);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, overlay_is_told_as_its_user_sees_it);
	ADD_TEST(&t, overlay_before_5_17);
	return fanotify_bench_run(&t, "fanotify_overlay");
}
