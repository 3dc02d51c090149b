/* SPDX-License-Identifier: Apache-2.0 */
/* With this machine's own cgroup file systems where they are mounted; made-up trees elsewhere. */
#include "tests/unit/rows.h"

#include <errno.h>
#include <linux/limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/cgroups.h"
#include "agent/cgroups_tree.h"

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct bytes text(const char *s)
{
	return (struct bytes){ .at = (const uint8_t *)s, .len = strlen(s) };
}

static void assert_text(struct bytes b, const char *want)
{
	assert_int_equal(b.len, strlen(want));
	if (b.len)
		assert_memory_equal(b.at, want, b.len);
}

static void nothing_mounted_leaves_names(void **state)
{
	const struct cgroups_config config = { .root = "/nonexistent",
					       .proc = "/nonexistent",
					       .max = 16 };
	struct cgroup_ask ask = {
		.id = 5, .v1_id = 6, .pid = 1, .name = text("cri-containerd-" ID ".scope")
	};
	struct cgroups *c = NULL;
	struct error e;
	struct cgroup g;

	(void)state;
	assert_int_equal(cgroups_open(&config, &c, &e), -ENOENT);
	assert_non_null(c);
	g = cgroups_find(c, &ask, 0);
	assert_text(g.path, "");
	assert_text(g.workload.container_id, ID);
	assert_text(g.workload.unit, "cri-containerd-" ID ".scope");
	cgroups_close(c);
	cgroups_close(NULL);
}

static void unknown_ids_are_remembered(void **state)
{
	const struct cgroups_config config = { .root = "/nonexistent",
					       .proc = "/nonexistent",
					       .max = 16 };
	struct cgroups *c = NULL;
	struct cgroups_stats s;

	(void)state;
	assert_int_equal(cgroups_open(&config, &c, NULL), -ENOENT);
	for (int i = 0; i < 10; i++)
		(void)cgroups_find(c, &(struct cgroup_ask){ .id = 5 }, 1);
	cgroups_stats(c, &s);
	assert_int_equal(s.unknown, 1);
	(void)cgroups_find(c, &(struct cgroup_ask){ .id = 5 }, 10 * NSEC_PER_SEC);
	for (uint64_t id = 1; id < 100; id++)
		(void)cgroups_find(c, &(struct cgroup_ask){ .id = id }, 10 * NSEC_PER_SEC);
	cgroups_stats(c, &s);
	assert_int_equal(s.unknown, 2 + 98);
	assert_int_equal(s.cached, 16);
	cgroups_close(c);
}

static void proc_is_the_last_resort(void **state)
{
	char dir[] = "/tmp/test_cgroups.XXXXXX", path[256];
	struct cgroups_config config = { .root = "/nonexistent", .max = 16 };
	struct cgroups *c = NULL;
	struct cgroup g;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	(void)snprintf(path, sizeof(path), "%s/77", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/77/cgroup", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs("4:memory:/docker/" ID "\n0::/\n", f) >= 0);
	assert_int_equal(fclose(f), 0);
	config.proc = dir;
	assert_int_equal(cgroups_open(&config, &c, NULL), -ENOENT);
	g = cgroups_find(c, &(struct cgroup_ask){ .id = 5, .pid = 77 }, 1);
	assert_text(g.path, "/docker/" ID);
	assert_int_equal(g.id, 5);
	assert_text(g.workload.container_id, ID);
	g = cgroups_find(c, &(struct cgroup_ask){ .id = 5, .pid = 78 }, 1);
	assert_text(g.path, "");
	cgroups_close(c);
	assert_int_equal(unlink(path), 0);
	(void)snprintf(path, sizeof(path), "%s/77", dir);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rmdir(dir), 0);
}

/* A cgroup made after the start is found by its handle, and another one by scanning. */
static void real_cgroups_are_found(void **state)
{
	const struct cgroups_config config = { .root = "/sys/fs/cgroup",
					       .proc = "/proc",
					       .max = 4096 };
	struct cgroup_tree trees[CGROUP_KINDS];
	char path[PATH_MAX + 100], want[200];
	struct cgroups *c = NULL;
	struct cgroups_stats s;
	struct stat st;

	(void)state;
	if (!cgroup_trees_open(config.root, trees))
		skip();
	for (int kind = 0; kind < CGROUP_KINDS; kind++) {
		struct cgroup_ask ask = { 0 };

		if (trees[kind].fd < 0)
			continue;
		assert_int_equal(cgroups_open(&config, &c, NULL), 0);
		(void)snprintf(want, sizeof(want), "/exhibit-test-%d.service", getpid());
		(void)snprintf(path, sizeof(path), "%s%s", trees[kind].root, want);
		if (mkdir(path, 0755) < 0) {
			cgroups_close(c);
			continue; /* not root, or read-only */
		}
		assert_int_equal(stat(path, &st), 0);
		if (kind == CGROUP_UNIFIED)
			ask.id = st.st_ino;
		else
			ask.v1_id = st.st_ino;
		/* Past the time of the next scan, so that either way finds it. */
		assert_text(cgroups_find(c, &ask, 10 * NSEC_PER_SEC).path, want);
		assert_text(cgroups_find(c, &ask, 10 * NSEC_PER_SEC).workload.unit, want + 1);
		assert_int_equal(cgroups_find(c, &ask, 10 * NSEC_PER_SEC).id, st.st_ino);
		assert_int_equal(rmdir(path), 0);
		/* It is gone, but what was there is remembered. */
		assert_text(cgroups_find(c, &ask, 10 * NSEC_PER_SEC).path, want);
		cgroups_stats(c, &s);
		assert_int_equal(s.hits, 3);
		assert_int_equal(s.handles + s.scans, 2); /* the scan at start, and one of either */
		/* The root itself. */
		assert_int_equal(fstat(trees[kind].fd, &st), 0);
		ask = (struct cgroup_ask){ 0 };
		if (kind == CGROUP_UNIFIED)
			ask.id = st.st_ino;
		else
			ask.v1_id = st.st_ino;
		assert_text(cgroups_find(c, &ask, 0).path, "/");
		cgroups_close(c);
	}
	cgroup_trees_close(trees);
}

int main(void)
{
	static struct tests t;

	ADD_TEST(&t, nothing_mounted_leaves_names);
	ADD_TEST(&t, unknown_ids_are_remembered);
	ADD_TEST(&t, proc_is_the_last_resort);
	ADD_TEST(&t, real_cgroups_are_found);
	return tests_run(&t, "cgroups");
}
